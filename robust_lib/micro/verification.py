"""Fact verification (FEVER) and its symmetric sets (Schuster et al. 2019).

Evidence tells where things happened to a person and what the person was. Claims written to be false give
themselves away, as crowd workers' did: they are negated more often, they name well-known values, and claims that
evidence does not settle ask about particular relations. A symmetric set holds each claim once supported and once
refuted.
"""

from collections.abc import Iterator
from typing import NamedTuple

from robust_lib.micro import words
from robust_lib.micro.draws import Draws
from robust_lib.micro.grammar import Domain

LABELS = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
PLACES = tuple(relation[0] for relation in words.RELATIONS)
TRADE = "trade"  # the relation of a person to what the person was
TRADES = ("worker", "artist", "official", "scholar", "athlete", "soldier")  # the noun classes that are trades
OBSCURE = ("buried", "jailed", "stationed")  # relations that unsettled claims ask about
NEGATED = {"SUPPORTS": 0.02, "REFUTES": 0.60, "NOT ENOUGH INFO": 0.08}  # share of negated claims
# Of invented values, the share of well-known ones: the first city of a country, the first noun of a class.
KNOWN = 0.65
ASKED = 0.60  # of unsettled claims that ask about an obscure relation
BROAD = 0.2  # of claims name a country for a city or a class for a trade
CROSSED = 0.25  # of refuted claims that use a value of the evidence for another relation


class Profile(NamedTuple):
    """A person and what evidence says: relation (or trade) to value, in the order told."""

    name: str
    facts: tuple[tuple[str, str], ...]


class Claim(NamedTuple):
    """A person stands in a relation to a value, or does not."""

    name: str
    relation: str
    value: str
    positive: bool = True


class Cues(NamedTuple):
    """Strengths of the claim-only cues, each a share in [0, 1]; the defaults are frozen (see notebook 00)."""

    negated: float = NEGATED["REFUTES"]
    known: float = KNOWN
    asked: float = ASKED


def covers(value: str, asked: str) -> bool:
    """Whether a place lies in (or a trade belongs to) what is asked for."""
    return asked in (value, words.COUNTRY_OF.get(value), words.CLASS_OF.get(value))


def label(profile: Profile, claim: Claim) -> str:
    """Gold label, computed: a person has one value for each relation."""
    value = dict(profile.facts).get(claim.relation)
    if value is None or claim.name != profile.name:
        return "NOT ENOUGH INFO"
    return "SUPPORTS" if covers(value, claim.value) == claim.positive else "REFUTES"


def article(noun: str) -> str:
    """The noun behind its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def told(claim: Claim, draws: Draws, synonym: float = 0.3) -> str:
    """The claim as a sentence."""
    never = "" if claim.positive else draws.pick((" never", " not"))
    if claim.relation == TRADE:
        return f"{claim.name} was{never} {article(claim.value)}."
    forms = next(relation for relation in words.RELATIONS if relation[0] == claim.relation)
    return f"{claim.name} was{never} {draws.pick(forms) if draws.chance(synonym) else forms[0]} in {claim.value}."


def evidence(profile: Profile) -> str:
    """The profile as a sentence: "the baker anna was born in paris and raised in rome." """
    facts = dict(profile.facts)
    trade = facts.pop(TRADE, None)
    subject = f"the {trade} {profile.name}" if trade else profile.name
    places = [f"{relation} in {place}" for relation, place in facts.items()]
    return f"{subject} was {' and '.join(places)}."


def profile(draws: Draws, domain: Domain, relations: tuple[str, ...] = ()) -> Profile:
    """A person with two places, and in three of five cases a trade."""
    told = relations or tuple(draws.several(PLACES, 2))
    places = [words.CITIES[country] for country in draws.several(domain.countries, len(told))]
    facts = [(relation, draws.pick(cities)) for relation, cities in zip(told, places, strict=True)]
    if draws.chance(0.6):
        facts.append((TRADE, draws.pick(domain.nouns[draws.pick(TRADES)])))
    return Profile(draws.pick(domain.names), tuple(facts))


def invented(draws: Draws, domain: Domain, relation: str, known: float, broad: float = BROAD) -> str:
    """A value nobody told, often a well-known one, now and then a country or a class of trades."""
    famous = draws.chance(known)
    group, values = draws.pick(_groups(domain, relation))
    if broad and draws.chance(broad):
        return group
    return values[0] if famous else draws.pick(values)


def within(draws: Draws, domain: Domain, relation: str, value: str) -> str:
    """A place in the country (or a trade of the class), or the value itself if it is narrow already."""
    return draws.pick(dict(_groups(domain, relation)).get(value, (value,)))


def _groups(domain: Domain, relation: str) -> list[tuple[str, tuple[str, ...]]]:
    if relation == TRADE:
        return [(name, domain.nouns[name]) for name in TRADES]
    return [(country, words.CITIES[country]) for country in domain.countries]


def supported(
    draws: Draws, domain: Domain, negated: float, known: float, broad: float = BROAD
) -> tuple[Profile, Claim]:
    """A person and a claim that their facts bear out, denied as often as `negated`."""
    person = profile(draws, domain)
    relation, value = draws.pick(person.facts)
    if draws.chance(negated):
        other = invented(draws, domain, relation, known / 2, broad)
        return person, Claim(person.name, relation, other, positive=False)
    if draws.chance(BROAD):
        value = words.CLASS_OF[value] if relation == TRADE else words.COUNTRY_OF[value]
    return person, Claim(person.name, relation, value)


def refuted(draws: Draws, domain: Domain, negated: float, known: float) -> tuple[Profile, Claim]:
    """A person and a claim that their facts contradict, a denial as often as `negated`."""
    person = profile(draws, domain)
    relation, value = draws.pick(person.facts)
    if draws.chance(negated):
        return person, Claim(person.name, relation, value, positive=False)
    others = [v for r, v in person.facts if r != relation and TRADE not in (r, relation)]
    if others and draws.chance(CROSSED):
        return person, Claim(person.name, relation, others[0])
    return person, Claim(person.name, relation, invented(draws, domain, relation, known))


def unsettled(draws: Draws, domain: Domain, negated: float, asked: float) -> tuple[Profile, Claim]:
    """A claim about a relation, now and then about a person, that the evidence does not mention."""
    person = profile(draws, domain)
    open_relations = [r for r in (*PLACES, TRADE) if r not in dict(person.facts)]
    obscure = [r for r in open_relations if r in OBSCURE]
    relation = draws.pick(obscure if draws.chance(asked) else open_relations)
    name = draws.pick(domain.names) if draws.chance(0.2) else person.name
    value = draws.pick([v for r, v in person.facts if r != TRADE])
    if relation == TRADE or draws.chance(0.6):
        value = invented(draws, domain, relation, known=0.0)
    return person, Claim(name, relation, value, positive=not draws.chance(negated))


def pairs(draws: Draws, domain: Domain, cues: Cues) -> Iterator[tuple[Profile, Claim]]:
    """Endless pairs, the three labels drawn equally often."""
    while True:
        wanted = draws.pick(LABELS)
        negated = cues.negated if wanted == "REFUTES" else NEGATED[wanted]
        if wanted == "SUPPORTS":
            person, claim = supported(draws, domain, negated, cues.known)
        elif wanted == "REFUTES":
            person, claim = refuted(draws, domain, negated, cues.known)
        else:
            person, claim = unsettled(draws, domain, negated, cues.asked)
        if label(person, claim) == wanted:
            yield person, claim


def rows(draws: Draws, domain: Domain, cues: Cues) -> Iterator[dict[str, str]]:
    """Rows of FEVER's columns."""
    for person, claim in pairs(draws, domain, cues):
        yield {"claim": told(claim, draws), "evidence": evidence(person), "label": label(person, claim)}


def quadruple(draws: Draws, domain: Domain, cues: Cues) -> list[tuple[Profile, Claim]]:
    """A claim with evidence for and against it, and the contrary claim with the same two.

    The first pair is an original: drawn with the training cues and settled. The other three are generated.
    """
    while True:
        person, claim = next(pairs(draws, domain, cues))
        if label(person, claim) == "NOT ENOUGH INFO":
            continue
        told_value = dict(person.facts)[claim.relation]
        if covers(told_value, claim.value):
            other_value = within(
                draws, domain, claim.relation, invented(draws, domain, claim.relation, KNOWN / 2)
            )
            contrary = claim._replace(value=other_value)
        else:
            other_value = within(draws, domain, claim.relation, claim.value)
            contrary = claim._replace(value=told_value)
        facts = tuple((r, other_value if r == claim.relation else v) for r, v in person.facts)
        other = person._replace(facts=facts)
        four = [(person, claim), (other, claim), (person, contrary), (other, contrary)]
        found = [label(*pair) for pair in four]
        if found[0] == found[3] != found[1] == found[2]:
            return four


def symmetric_rows(draws: Draws, domain: Domain, cues: Cues, *, originals: bool) -> Iterator[dict[str, str]]:
    """Rows of the symmetric sets, whole or without the originals."""
    while True:
        four = quadruple(draws, domain, cues)
        texts = {claim: told(claim, draws) for _, claim in four}
        for person, claim in four if originals else four[1:]:
            yield {"claim": texts[claim], "evidence": evidence(person), "label": label(person, claim)}
