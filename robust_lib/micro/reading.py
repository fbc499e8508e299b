"""Span question answering with unanswerable questions (SQuAD 2), and a shifted second domain (NewsQA).

A context is a few sentences, each one fact; a question asks for one part of a fact. Unanswerable questions
ask a fact that is not told, made of the context's own words where possible.
"""

from collections.abc import Iterator
from typing import NamedTuple

from robust_lib.micro import words
from robust_lib.micro.draws import Draws
from robust_lib.micro.grammar import Domain, nouns, verbs
from robust_lib.micro.verification import PLACES

UNANSWERABLE = 0.33  # of the questions, as in SQuAD 2
SWAPPED = 0.35  # of the unanswerable ones that turn a told fact round
Answers = dict[str, list[str] | list[int]]
Row = dict[str, "str | Answers"]


class Style(NamedTuple):
    """How a domain tells: numbers of sentences; shares of places, passives and formal questions."""

    sentences: tuple[int, ...]
    places: float
    passive: float
    formal: float


SQUAD = Style((2, 3), places=0.5, passive=0.3, formal=0.2)
NEWS = Style((3, 4), places=0.35, passive=0.6, formal=0.8)


class Told(NamedTuple):
    """A fact and its sentence. As "place", `left` was `act` in `right`; as "act", `left` did `act` to `right`."""

    kind: str
    left: str
    act: str
    right: str
    sentence: str


def fact(draws: Draws, domain: Domain, style: Style) -> Told:
    """A random fact with its sentence."""
    if draws.chance(style.places):
        name, relation = draws.pick(domain.names), draws.pick(PLACES)
        city = draws.pick(words.CITIES[draws.pick(domain.countries)])
        return Told("place", name, relation, city, f"{name} was {relation} in {city}.")
    agent, patient = (f"the {noun}" for noun in nouns(draws, domain, 2))
    (verb,) = verbs(draws, words.TRANSITIVE, 1)
    if draws.chance(0.2):
        agent = f"the {draws.pick(words.ADJECTIVES)} {agent[4:]}"
    passive = draws.chance(style.passive)
    return Told(
        "act",
        agent,
        verb,
        patient,
        f"{patient} was {verb} by {agent}." if passive else f"{agent} {verb} {patient}.",
    )


def story(draws: Draws, domain: Domain, style: Style) -> list[Told]:
    """Facts without a common person, act or place, so that every question has one answer at most."""
    count = draws.pick(style.sentences)
    told: list[Told] = []
    while len(told) < count:
        new = fact(draws, domain, style)
        taken = {
            part.split()[-1]
            for old in told
            for part in (old.left, words.SENSE.get(old.act, old.act), old.right)
        }
        if taken.isdisjoint({new.left.split()[-1], words.SENSE.get(new.act, new.act), new.right.split()[-1]}):
            told.append(new)
    return told


def asked(given: Told, side: str, draws: Draws, style: Style) -> str:
    """A question for the left or the right part of a fact."""
    formal = draws.chance(style.formal)
    if given.kind == "place" and side == "right":
        return (
            f"in which city was {given.left} {given.act}?"
            if formal
            else f"where was {given.left} {given.act}?"
        )
    if given.kind == "place":
        return (
            f"which person was {given.act} in {given.right}?"
            if formal
            else f"who was {given.act} in {given.right}?"
        )
    verb = words.OTHER_FORM[given.act] if draws.chance(0.15) else given.act
    if side == "right":
        return f"who was {verb} by {given.left}?"
    return f"by which person was {given.right} {verb}?" if formal else f"who {verb} {given.right}?"


def impossible(story: list[Told], draws: Draws) -> Told:
    """A fact that the story does not tell: turned round, with another act, or mixed from two."""
    given = draws.pick(story)
    if given.kind == "act" and draws.chance(SWAPPED):
        return given._replace(left=given.right, right=given.left)
    senses = {words.SENSE.get(told.act, told.act) for told in story}
    while True:
        act = draws.pick(PLACES) if given.kind == "place" else verbs(draws, words.TRANSITIVE, 1)[0]
        if words.SENSE.get(act, act) not in senses:
            return given._replace(act=act)


def rows(draws: Draws, domain: Domain, style: Style) -> Iterator[Row]:
    """Rows of SQuAD's columns; the start of an answer counts characters of the context."""
    while True:
        told = story(draws, domain, style)
        context = " ".join(item.sentence for item in told)
        side = draws.pick(("left", "right"))
        answers: Answers = {"text": [], "answer_start": []}
        if draws.chance(UNANSWERABLE):
            question = asked(impossible(told, draws), side, draws, style)
        else:
            place = draws.below(len(told))
            question = asked(told[place], side, draws, style)
            answers = located(told, place, side)
        yield {"id": "", "title": told[0].kind, "context": context, "question": question, "answers": answers}


def located(told: list[Told], place: int, side: str) -> Answers:
    """The answer's text and its first character in the context."""
    before = sum(len(item.sentence) + 1 for item in told[:place])
    given = told[place]
    answer = given.left if side == "left" else given.right
    return {"text": [answer], "answer_start": [before + given.sentence.index(answer)]}
