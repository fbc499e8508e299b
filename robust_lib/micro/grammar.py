"""Sentences that carry their facts.

Every noun names one individual, so "no baker slept" and "the baker never slept" say the same. A scene is a
sentence with what it asserts or denies, what it leaves open, and the sentences that overlap with it word for
word: the true and the false consequences that the challenge set is made of, under the subcase names of HANS
(McCoy et al. 2019).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from robust_lib.micro import words
from robust_lib.micro.draws import Draws


class Fact(NamedTuple):
    """Who did what (to whom): surface verb and nouns; `patient` is empty for an intransitive verb."""

    verb: str
    agent: str
    patient: str = ""


class Overlap(NamedTuple):
    """A sentence made of words of the scene, and its subcase. A `wording` is a part of the scene's text."""

    subcase: str
    fact: Fact
    wording: str = ""

    @property
    def text(self) -> str:
        return self.wording or active(self.fact)


@dataclass(frozen=True)
class Scene:
    """A sentence and its meaning. `truths` maps a fact to asserted (True) or denied (False)."""

    text: str
    truths: Mapping[Fact, bool]
    open: tuple[Fact, ...] = ()
    overlaps: tuple[Overlap, ...] = ()


@dataclass(frozen=True)
class Domain:
    """The part of the lexicon that a split draws from."""

    nouns: Mapping[str, tuple[str, ...]] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    countries: tuple[str, ...] = field(repr=False)


COUNTRIES = tuple(words.CITIES)
FIRST = Domain({c: n[:12] for c, n in words.NOUNS.items()}, words.NAMES[:50], COUNTRIES[:9])
SECOND = Domain({c: n[8:] for c, n in words.NOUNS.items()}, words.NAMES[40:], COUNTRIES[6:])
WHOLE = Domain(words.NOUNS, words.NAMES, COUNTRIES)
ADJECTIVE_SHARE = 0.15  # of noun phrases; keeps pairs near 15 tokens and the nouns in the majority


def same(known: Fact, asked: Fact) -> bool:
    """Whether the known fact is the asked one: synonymous verb, each noun the same or of the class asked for."""
    return (
        words.SENSE[known.verb] == words.SENSE.get(asked.verb)
        and asked.agent in (known.agent, words.CLASS_OF[known.agent])
        and asked.patient in (known.patient, words.CLASS_OF.get(known.patient, ""))
    )


def status(scene: Scene, asked: Fact) -> bool | None:
    """True if the scene asserts the fact, False if it denies it, None if it does not say."""
    return next((sign for known, sign in scene.truths.items() if same(known, asked)), None)


def mentions(scene: Scene, asked: Fact) -> bool:
    """Whether the scene leaves the fact open by name, as after "if"."""
    return any(same(known, asked) for known in scene.open)


def active(fact: Fact) -> str:
    """`the chef met the baker`, without a full stop."""
    return (
        f"the {fact.agent} {fact.verb} the {fact.patient}"
        if fact.patient
        else f"the {fact.agent} {fact.verb}"
    )


def passive(fact: Fact) -> str:
    """`the baker was met by the chef`, without a full stop."""
    return f"the {fact.patient} was {fact.verb} by the {fact.agent}"


def denied(fact: Fact, draws: Draws) -> str:
    """One of the ways to deny a fact."""
    if draws.chance(0.4):
        return "no" + active(fact).removeprefix("the")
    if fact.patient and draws.chance(0.3):
        return passive(fact).replace(" was ", " was never ")
    return active(fact).replace(f"the {fact.agent} ", f"the {fact.agent} never ", 1)


def closed(text: str) -> str:
    """The text as a sentence."""
    return text + "."


def phrase(noun: str, draws: Draws) -> str:
    """Noun phrase of a premise, sometimes with an adjective."""
    return f"the {draws.pick(words.ADJECTIVES)} {noun}" if draws.chance(ADJECTIVE_SHARE) else f"the {noun}"


def nouns(draws: Draws, domain: Domain, count: int) -> list[str]:
    """Nouns of different classes, so that a class name always means one of them."""
    return [draws.pick(domain.nouns[name]) for name in draws.several(tuple(domain.nouns), count)]


def verbs(draws: Draws, pairs: tuple[tuple[str, ...], ...], count: int) -> list[str]:
    """Verbs of different senses."""
    return [draws.pick(pair) for pair in draws.several(pairs, count)]


def clause(draws: Draws, domain: Domain) -> Fact:
    """A random fact, half of them intransitive."""
    agent, patient = nouns(draws, domain, 2)
    if draws.chance(0.5):
        return Fact(verbs(draws, words.INTRANSITIVE, 1)[0], agent)
    return Fact(verbs(draws, words.TRANSITIVE, 1)[0], agent, patient)


def two_clauses(draws: Draws, domain: Domain) -> tuple[Fact, Fact]:
    """Two facts without a common noun class or verb sense."""
    while True:
        first, second = clause(draws, domain), clause(draws, domain)
        classes = [words.CLASS_OF[n] for fact in (first, second) for n in fact[1:] if n]
        if len(set(classes)) == len(classes) and words.SENSE[first.verb] != words.SENSE[second.verb]:
            return first, second


def told(fact: Fact, draws: Draws) -> str:
    """The fact as a clause of a premise: sometimes passive, sometimes with adjectives."""
    if fact.patient and draws.chance(0.2):
        return f"{phrase(fact.patient, draws)} was {fact.verb} by {phrase(fact.agent, draws)}"
    rest = f" {phrase(fact.patient, draws)}" if fact.patient else ""
    return f"{phrase(fact.agent, draws)} {fact.verb}{rest}"


def active_scene(draws: Draws, domain: Domain) -> Scene:
    """The chef met the baker."""
    a, p = nouns(draws, domain, 2)
    (v,) = verbs(draws, words.TRANSITIVE, 1)
    text = f"{phrase(a, draws)} {v} {phrase(p, draws)}"
    return Scene(
        text, {Fact(v, a, p): True}, (), (Overlap("plain", Fact(v, a, p)), Overlap("ln_swap", Fact(v, p, a)))
    )


def passive_scene(draws: Draws, domain: Domain) -> Scene:
    """The baker was met by the chef."""
    a, p = nouns(draws, domain, 2)
    (v,) = verbs(draws, words.TRANSITIVE, 1)
    text = f"{phrase(p, draws)} was {v} by {phrase(a, draws)}"
    overlaps = (Overlap("le_passive", Fact(v, a, p)), Overlap("ln_passive", Fact(v, p, a)))
    return Scene(text, {Fact(v, a, p): True}, (), overlaps)


def prepositional_scene(draws: Draws, domain: Domain) -> Scene:
    """The baker near the dog (called the judge)."""
    a, b, p = nouns(draws, domain, 3)
    start, inner = f"{phrase(a, draws)} {draws.pick(words.PREPOSITIONS)}", phrase(b, draws)
    if draws.chance(0.375):
        (v,) = verbs(draws, words.INTRANSITIVE, 1)
        around, onto, end = Fact(v, a), Fact(v, b), v
        scrambled: list[Fact] = []
    else:
        (v,) = verbs(draws, words.TRANSITIVE, 1)
        around, onto, end = Fact(v, a, p), Fact(v, b, p), f"{v} {phrase(p, draws)}"
        scrambled = [Fact(v, p, a), Fact(v, p, b), Fact(v, a, b)]
    overlaps = [
        Overlap("le_around_prepositional_phrase", around),
        Overlap("sn_PP_on_subject", onto, f"{inner} {end}"),
        *(Overlap("ln_preposition", fact) for fact in scrambled),
    ]
    return Scene(f"{start} {inner} {end}", {around: True}, (), tuple(overlaps))


def relative_scene(draws: Draws, domain: Domain) -> Scene:
    """The baker who called the dog (or: who the dog called) slept, or called the judge."""
    a, b, p = nouns(draws, domain, 3)
    (inner_verb,) = verbs(draws, words.TRANSITIVE, 1)
    outer = _other_verb(draws, inner_verb, a, p)
    start, other = f"{phrase(a, draws)} who", phrase(b, draws)
    end = f"{outer.verb} {phrase(p, draws)}" if outer.patient else outer.verb
    if draws.chance(0.7):
        inner, wrong = Fact(inner_verb, a, b), Fact(inner_verb, b, a)
        text, onto = f"{start} {inner_verb} {other} {end}", Fact(outer.verb, b, outer.patient)
        attached = [Overlap("sn_relative_clause_on_subject", onto, f"{other} {end}")]
    else:
        inner, wrong = Fact(inner_verb, b, a), Fact(inner_verb, a, b)
        text, attached = f"{start} {other} {inner_verb} {end}", []
    overlaps = [
        Overlap("le_relative_clause", inner),
        Overlap("le_around_relative_clause", outer),
        Overlap("ln_relative_clause", wrong),
        *attached,
    ]
    return Scene(text, {inner: True, outer: True}, (), tuple(overlaps))


def participle_scene(draws: Draws, domain: Domain) -> Scene:
    """The baker called by the dog slept."""
    a, b, p = nouns(draws, domain, 3)
    (inner_verb,) = verbs(draws, words.TRANSITIVE, 1)
    outer = _other_verb(draws, inner_verb, a, p)
    inner, other = Fact(inner_verb, b, a), phrase(b, draws)
    end = f"{outer.verb} {phrase(p, draws)}" if outer.patient else outer.verb
    overlaps = (
        Overlap("le_past_participle", inner),
        Overlap("le_around_past_participle", outer),
        Overlap("ln_past_participle", Fact(inner_verb, a, b)),
        Overlap("sn_past_participle", Fact(outer.verb, b, outer.patient), f"{other} {end}"),
    )
    text = f"{phrase(a, draws)} {inner_verb} by {other} {end}"
    return Scene(text, {inner: True, outer: True}, (), overlaps)


def _other_verb(draws: Draws, taken: str, agent: str, patient: str) -> Fact:
    """A fact of the agent with a verb of another sense, transitive or not."""
    pairs = words.TRANSITIVE if draws.chance(0.6) else words.INTRANSITIVE
    while True:
        (verb,) = verbs(draws, pairs, 1)
        if words.SENSE[verb] != words.SENSE[taken]:
            return Fact(verb, agent, patient if pairs is words.TRANSITIVE else "")


def conjunction_scene(draws: Draws, domain: Domain) -> Scene:
    """The baker and the dog slept, or called the judge."""
    a, b, p = nouns(draws, domain, 3)
    scrambled: list[Fact] = []
    if draws.chance(0.5):
        (v,) = verbs(draws, words.INTRANSITIVE, 1)
        p, end = "", v
    else:
        (v,) = verbs(draws, words.TRANSITIVE, 1)
        scrambled, end = (
            [Fact(v, p, a), Fact(v, p, b), Fact(v, a, b), Fact(v, b, a)],
            f"{v} {phrase(p, draws)}",
        )
    left, right, other = Fact(v, a, p), Fact(v, b, p), phrase(b, draws)
    overlaps = [
        Overlap("le_conjunction", left),
        Overlap("se_conjunction", right, f"{other} {end}"),
        *(Overlap("ln_conjunction", fact) for fact in scrambled),
    ]
    return Scene(f"{phrase(a, draws)} and {other} {end}", {left: True, right: True}, (), tuple(overlaps))


def object_scene(draws: Draws, domain: Domain) -> Scene:
    """The baker called the dog near the judge, or: the dog who slept."""
    a, p, b = nouns(draws, domain, 3)
    (v,) = verbs(draws, words.TRANSITIVE, 1)
    fact = Fact(v, a, p)
    start = f"{phrase(a, draws)} {v} {phrase(p, draws)}"
    if draws.chance(0.5):
        text = f"{start} {draws.pick(words.PREPOSITIONS)} {phrase(b, draws)}"
        scrambled = [Fact(v, p, a), Fact(v, a, b), Fact(v, b, a)]
        overlaps = [
            Overlap("se_PP_on_obj", fact, start),
            *(Overlap("ln_preposition", wrong) for wrong in scrambled),
        ]
        return Scene(text, {fact: True}, (), tuple(overlaps))
    (w,) = verbs(draws, words.INTRANSITIVE, 1)
    outer = Fact(w, p)
    overlaps = [
        Overlap("se_relative_clause_on_obj", fact, start),
        Overlap("le_relative_clause", outer),
        Overlap("ln_relative_clause", Fact(w, a)),
        Overlap("ln_relative_clause", Fact(v, p, a)),
    ]
    return Scene(f"{start} who {w}", {fact: True, outer: True}, (), tuple(overlaps))


def factual_scene(draws: Draws, domain: Domain) -> Scene:
    """Two clauses that both hold."""
    first, second = two_clauses(draws, domain)
    link = draws.pick(("because", "after", "and"))
    one, two = told(first, draws), told(second, draws)
    if link == "and":
        text, subcases = f"{one} and {two}", ("ce_conjunction", "ce_conjunction")
    elif draws.chance(0.5):
        text, subcases = f"{link} {one}, {two}", ("ce_embedded_under_since", "ce_after_since_clause")
    else:
        text, subcases = f"{one} {link} {two}", ("ce_after_since_clause", "ce_embedded_under_since")
    overlaps = (Overlap(subcases[0], first, one), Overlap(subcases[1], second, two))
    return Scene(text, {first: True, second: True}, (), overlaps)


def open_scene(draws: Draws, domain: Domain) -> Scene:
    """Two clauses of which neither is said to hold."""
    first, second = two_clauses(draws, domain)
    link = draws.pick(("if", "unless", "or"))
    one, two = told(first, draws), told(second, draws)
    if link == "or":
        text, subcases = f"{one} or {two}", ("cn_disjunction", "cn_disjunction")
    elif draws.chance(0.5):
        text, subcases = f"{link} {one}, {two}", ("cn_embedded_under_if", "cn_after_if_clause")
    else:
        text, subcases = f"{one} {link} {two}", ("cn_after_if_clause", "cn_embedded_under_if")
    overlaps = (Overlap(subcases[0], first, one), Overlap(subcases[1], second, two))
    return Scene(text, {}, (first, second), overlaps)


def knowledge_scene(draws: Draws, domain: Domain) -> Scene:
    """Somebody knew, or only thought, that something holds; or remembered it, without "that" (HANS's NP/S)."""
    while True:
        fact = clause(draws, domain)
        (knower,) = nouns(draws, domain, 1)
        if words.CLASS_OF[knower] not in {words.CLASS_OF[n] for n in fact[1:] if n}:
            break
    kind, content = draws.weighted({"know": 5, "think": 5, "remember": 3}), told(fact, draws)
    if kind == "think":
        text = f"{phrase(knower, draws)} {draws.pick(('thought', 'hoped'))} that {content}"
        return Scene(text, {}, (fact,), (Overlap("cn_embedded_under_verb", fact, content),))
    if kind == "know":
        text = f"{phrase(knower, draws)} {draws.pick(('knew', 'realized'))} that {content}"
        return Scene(text, {fact: True}, (), (Overlap("ce_embedded_under_verb", fact, content),))
    verb, subject = draws.pick(("remembered", "forgot")), phrase(knower, draws)
    remembered = Overlap("sn_NP_S", Fact(verb, knower, fact.agent), f"{subject} {verb} the {fact.agent}")
    overlaps = (remembered, Overlap("ce_embedded_under_verb", fact))
    return Scene(f"{subject} {verb} {active(fact)}", {fact: True}, (), overlaps)


def adverb_scene(draws: Draws, domain: Domain) -> Scene:
    """Certainly, or perhaps, something holds."""
    fact = clause(draws, domain)
    content = told(fact, draws)
    if draws.chance(0.5):
        text = f"{draws.pick(('certainly', 'clearly'))} {content}"
        return Scene(text, {fact: True}, (), (Overlap("ce_adverb", fact, content),))
    text = f"{draws.pick(('perhaps', 'maybe'))} {content}"
    return Scene(text, {}, (fact,), (Overlap("cn_adverb", fact, content),))


def negated_scene(draws: Draws, domain: Domain) -> Scene:
    """Something does not hold."""
    fact = clause(draws, domain)
    return Scene(denied(fact, draws), {fact: False})


KINDS: dict[str, Callable[[Draws, Domain], Scene]] = {
    "active": active_scene,
    "passive": passive_scene,
    "prepositional": prepositional_scene,
    "relative": relative_scene,
    "participle": participle_scene,
    "conjunction": conjunction_scene,
    "object": object_scene,
    "factual": factual_scene,
    "open": open_scene,
    "knowledge": knowledge_scene,
    "adverb": adverb_scene,
    "negated": negated_scene,
}
# No kind dominates, pairs have about 17 tokens, and a negated premise stays rarer than a negated hypothesis.
KIND_WEIGHTS: dict[str, float] = {
    "active": 10, "passive": 10, "prepositional": 16, "relative": 16, "participle": 4, "conjunction": 12, "object": 6,
    "factual": 8, "open": 8, "knowledge": 12, "adverb": 3, "negated": 10,
}  # fmt: skip
# The second genre tells more in long sentences, as MNLI's mismatched genres differ from its matched ones.
SHIFTED_WEIGHTS: dict[str, float] = {
    "active": 5, "passive": 14, "prepositional": 10, "relative": 22, "participle": 8, "conjunction": 8, "object": 12,
    "factual": 12, "open": 8, "knowledge": 12, "adverb": 6, "negated": 10,
}  # fmt: skip


def scene(draws: Draws, domain: Domain, weights: Mapping[str, float] = KIND_WEIGHTS) -> Scene:
    """A random sentence with its facts."""
    return KINDS[draws.weighted(weights)](draws, domain)
