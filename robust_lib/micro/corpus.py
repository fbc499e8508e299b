"""Sentence pairs for pretraining, from every task family.

The second sentence follows from the first. Early on it is the first again, so that copying is learnt; then
more and more a consequence in other words. A pair that does not belong together takes its second sentence
from another pair.
"""

from typing import NamedTuple

from robust_lib.micro import grammar, inference, paraphrase, reading, sentiment, verification, words
from robust_lib.micro.draws import Draws
from robust_lib.micro.grammar import KIND_WEIGHTS, WHOLE, Scene

# Inference needs by far the most practice, since half of it is copying between sentences; reviews and
# contexts are long.
SHARES: dict[str, float] = {
    "inference": 55,
    "verification": 14,
    "paraphrase": 14,
    "sentiment": 7,
    "reading": 10,
}
SWAPPED = 0.4  # of the pairs stand in reverse order


class Pair(NamedTuple):
    """Two sentences; `follows` is False where the second belongs to another pair."""

    first: str
    second: str
    follows: bool


def consequence(scene: Scene, draws: Draws) -> str:
    """A sentence that the scene makes true, 40 % with a synonym or a class name, 30 % of the transitive ones
    passive.
    """
    fact = draws.pick((*scene.truths, *scene.open))
    if scene.truths.get(fact) is False:
        return grammar.denied(fact, draws)
    if fact not in scene.truths:
        return f"perhaps {grammar.active(fact)}"
    if draws.chance(0.4):
        return inference.reworded(fact, draws).text
    return grammar.passive(fact) if fact.patient and draws.chance(0.3) else grammar.active(fact)


def _inference(draws: Draws, different: bool) -> tuple[str, str]:
    scene = grammar.scene(draws, WHOLE, KIND_WEIGHTS)
    return grammar.closed(scene.text), grammar.closed(consequence(scene, draws) if different else scene.text)


def _verification(draws: Draws, different: bool) -> tuple[str, str]:
    person, claim = verification.supported(draws, WHOLE, negated=0.1, known=0.0, broad=0.0)
    told = verification.evidence(person)
    settled = verification.label(person, claim) == "SUPPORTS"
    return told, verification.told(claim, draws) if different and settled else told


def _paraphrase(draws: Draws, different: bool) -> tuple[str, str]:
    asked = paraphrase.question(draws, WHOLE, draws.pick(tuple(paraphrase.WORDINGS)))
    one, other = draws.several(paraphrase.WORDINGS[asked.asked], 2)
    event = asked.event
    verb = words.OTHER_FORM[event.verb] if draws.chance(paraphrase.SYNONYM) else event.verb
    again = asked._replace(event=event._replace(verb=verb))
    return paraphrase.text(asked, one), paraphrase.text(again, other) if different else paraphrase.text(
        asked, one
    )


def _sentiment(draws: Draws, different: bool) -> tuple[str, str]:
    wanted = draws.pick((-1, 1))
    one = sentiment.review(draws, wanted) if draws.chance(0.3) else f"{sentiment.sentence(draws, wanted)}."
    return one, f"{sentiment.sentence(draws, wanted)}." if different else one


def _reading(draws: Draws, different: bool) -> tuple[str, str]:
    """A question and its context, or three times in ten the one sentence that answers it."""
    style = draws.pick((reading.SQUAD, reading.NEWS))
    told = reading.story(draws, WHOLE, style)
    given = draws.pick(told)
    if not different:
        return given.sentence, given.sentence
    question = reading.asked(given, draws.pick(("left", "right")), draws, style)
    return question, given.sentence if draws.chance(0.3) else " ".join(item.sentence for item in told)


MAKERS = {
    "inference": _inference,
    "verification": _verification,
    "paraphrase": _paraphrase,
    "sentiment": _sentiment,
    "reading": _reading,
}


def pairs(draws: Draws, count: int, *, different: float, negative: float) -> list[Pair]:
    """`count` pairs; `different` is the share of consequences, `negative` of pairs that do not belong together.

    A negative's second sentence is that of an earlier pair of the same family, so the topic gives nothing
    away.
    """
    previous: dict[str, str] = {}
    made: list[Pair] = []
    while len(made) < count:
        name = draws.weighted(SHARES)
        first, second = MAKERS[name](draws, draws.chance(different))
        follows = name not in previous or not draws.chance(negative)
        shown = second if follows else previous[name]
        previous[name] = second
        made.append(Pair(shown, first, follows) if draws.chance(SWAPPED) else Pair(first, shown, follows))
    return made
