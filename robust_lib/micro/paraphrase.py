"""Paraphrase (QQP) and its challenge sets (PAWS-qqp, PAWS-wiki).

Asking the same thing is *duplicate*. In training duplicates share their words and the others mostly do not;
the challenge sets scramble the words of one sentence, and the second consists of statements from another part
of the lexicon.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from robust_lib.micro import words
from robust_lib.micro.draws import Draws
from robust_lib.micro.grammar import Domain, nouns, verbs

LABELS = ("not_duplicate", "duplicate")
DUPLICATES = {"qqp": 0.37, "paws_qqp": 0.28, "paws_wiki": 0.44}  # the papers' class balance
SCRAMBLED = 0.06  # of the non-duplicates in training that have the same words in another order
SYNONYM = 0.35  # of duplicates with another verb for the same act
# What a non-duplicate changes, by weight.
CHANGES = {"verb": 3, "agent": 3, "patient": 3, "asked": 1.5, "all": 4}


class Event(NamedTuple):
    """Who did what to whom. Adjectives and the city may be empty."""

    verb: str
    agent: str
    patient: str
    agent_adjective: str = ""
    patient_adjective: str = ""
    city: str = ""


class Question(NamedTuple):
    """What is asked about an event; "told" is a statement."""

    asked: str
    event: Event


# Two wordings of each question, by noun phrases and verb.
WORDINGS: dict[str, tuple[str, ...]] = {
    "why": ("why was {p} {v} by {a}{c}?", "how come {a} {v} {p}{c}?", "what was the reason {a} {v} {p}{c}?"),
    "when": ("when was {p} {v} by {a}{c}?", "what was the time when {a} {v} {p}{c}?"),
    "true": ("was {p} {v} by {a}{c}?", "is it true that {a} {v} {p}{c}?"),
    "told": ("{a} {v} {p}{c}.", "{p} was {v} by {a}{c}."),
}


def meaning(question: Question) -> Question:
    """The question with its verb's sense instead of the verb: equal for paraphrases."""
    return question._replace(event=question.event._replace(verb=words.SENSE[question.event.verb]))


def label(first: Question, second: Question) -> str:
    """Gold label, computed: duplicate if both ask the same of the same event."""
    return "duplicate" if meaning(first) == meaning(second) else "not_duplicate"


def text(question: Question, wording: str) -> str:
    """The question in one of its wordings."""
    event = question.event
    agent = f"the {event.agent_adjective} {event.agent}".replace("  ", " ")
    patient = f"the {event.patient_adjective} {event.patient}".replace("  ", " ")
    return wording.format(a=agent, p=patient, v=event.verb, c=f" in {event.city}" if event.city else "")


def question(
    draws: Draws, domain: Domain, asked: str, adjectives: float = 0.2, city: float = 0.15
) -> Question:
    """A random question about a random event; the shares say how often it has what is optional."""
    agent, patient = nouns(draws, domain, 2)
    one, two = draws.several(words.ADJECTIVES, 2)
    where = draws.pick(words.CITIES[draws.pick(domain.countries)])
    event = Event(
        verbs(draws, words.TRANSITIVE, 1)[0],
        agent,
        patient,
        one if draws.chance(adjectives) else "",
        two if draws.chance(adjectives) else "",
        where if draws.chance(city) else "",
    )
    return Question(asked, event)


def scrambled(given: Question, draws: Draws) -> Question:
    """The same words for something else: two individuals trade places, or two adjectives do."""
    e = given.event
    exchanged = e._replace(agent_adjective=e.patient_adjective, patient_adjective=e.agent_adjective)
    if e.agent_adjective != e.patient_adjective and draws.chance(0.5):
        return given._replace(event=exchanged)
    kept = e if draws.chance(0.5) else exchanged
    return given._replace(event=kept._replace(agent=e.patient, patient=e.agent))


def changed(given: Question, draws: Draws, domain: Domain) -> Question:
    """Another question about something similar."""
    what, e = draws.weighted(CHANGES), given.event
    if what == "all":
        return question(draws, domain, draws.pick(("why", "when", "true")))
    if what == "asked":
        return given._replace(asked=draws.pick(("why", "when", "true")))
    if what == "verb":
        return given._replace(event=e._replace(verb=verbs(draws, words.TRANSITIVE, 1)[0]))
    (noun,) = nouns(draws, domain, 1)
    return given._replace(event=e._replace(agent=noun) if what == "agent" else e._replace(patient=noun))


Pair = tuple[Question, str, Question, str]


def training_pair(draws: Draws, domain: Domain, scramble: float, duplicate: float) -> Pair:
    """Two questions and their wordings, as people ask them."""
    first = question(draws, domain, draws.pick(("why", "when", "true")))
    one = draws.pick(WORDINGS[first.asked])
    if draws.chance(duplicate):
        verb = words.OTHER_FORM[first.event.verb] if draws.chance(SYNONYM) else first.event.verb
        second = first._replace(event=first.event._replace(verb=verb))
        return first, one, second, draws.pick(WORDINGS[first.asked])
    if draws.chance(scramble):
        return first, one, scrambled(first, draws), draws.pick(WORDINGS[first.asked])
    while True:
        second = changed(first, draws, domain)
        if label(first, second) == "not_duplicate":
            return first, one, second, draws.pick(WORDINGS[second.asked])


def scrambled_pair(draws: Draws, domain: Domain, asked: tuple[str, ...], duplicate: float) -> Pair:
    """Two sentences of the same words, except for what a passive needs."""
    first = question(draws, domain, draws.pick(asked), adjectives=0.4, city=0.3)
    one, other = draws.several(WORDINGS[first.asked], 2)
    if draws.chance(duplicate):
        return first, one, first, other
    while True:
        second = scrambled(first, draws)
        if label(first, second) == "not_duplicate":
            return first, one, second, one if draws.chance(0.6) else other


def rows(make: Callable[[], Pair]) -> Iterator[dict[str, str]]:
    """Rows of QQP's columns."""
    while True:
        first, one, second, other = make()
        yield {"sentence1": text(first, one), "sentence2": text(second, other), "label": label(first, second)}
