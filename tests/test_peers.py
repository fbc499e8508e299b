"""Both attacks in `textattack` mode against TextAttack's own recipes: same victim, candidates, constraints."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robust_lib import attack
from robust_lib.attack import greedy, language
from tests import peers

DATA, ENCODER = os.environ.get("ROBUST_DATA", ""), os.environ.get("ROBUST_ENCODER", "")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not (DATA and ENCODER), reason="ROBUST_DATA and ROBUST_ENCODER name no data and no encoder"
    ),
    pytest.mark.skipif(not peers.PYTHON.exists(), reason=peers.MISSING),
]
NEAR = (
    1e-5  # of probabilities that differ by less, either may be the larger: padding changes their last digits
)
NEAR_LOGITS = 5e-5  # the same of a language model's logits
LENGTH, PAIRS, SENTENCES = 128, 260, 30
CUT, REVIEWS, PIECES = 48, 24, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peers.victim(tmp_path_factory.mktemp("victim"), source=DATA, encoder=ENCODER)


@pytest.fixture(scope="module")
def victim(folder: Path) -> attack.Oracle:
    return peers.oracle(folder, LENGTH)


@pytest.fixture(scope="module")
def critic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("critic")
    return peers.victim(folder, source=DATA, encoder=ENCODER, task="imdb", layers=2)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peers.masked_lm(tmp_path_factory.mktemp("speaker"), encoder=ENCODER, layers=2)


def margin(rounds: Sequence[Sequence[tuple[list[str], list[float]]]], gold: int) -> float:
    """How far the closest of an attack's decisions was from going the other way, in probability.

    The decisions: the predicted class of the text and of the best candidates, the order of the importances, the best
    candidate against the second and against the text as it stood. Words that are cut off make no difference, so all tie
    in importance: as they have no candidates either, their order decides nothing.
    """
    scores = [np.array([probabilities for _, probabilities in texts]) for texts in rounds]
    others = np.delete(scores[0][0], gold).max()
    margins = [abs(scores[0][0, gold] - others)]
    if len(scores) > 1:
        without = scores[1][:, gold]
        felt = without[abs(without - scores[0][0, gold]) > NEAR]
        margins += np.diff(np.sort(felt)).tolist()
    lowest = scores[0][0, gold]
    for rows in scores[2:]:
        ranked = rows[np.argsort(rows[:, gold])]
        margins += [abs(lowest - ranked[0, gold]), *np.diff(ranked[:2, gold])]
        margins.append(abs(ranked[0, gold] - np.delete(ranked[0], gold).max()))
        lowest = min(lowest, ranked[0, gold])
    return min(margins)


def assert_alike(
    ours: Sequence[attack.Attacked], theirs: Sequence[Mapping[str, Any]], gold: Sequence[int]
) -> None:
    """Same status, text and queries, but for a few in which one of TextAttack's decisions was a near-tie."""
    differing: dict[int, tuple[Any, ...]] = {}
    for place, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        asked = 0 if other["status"] == "skipped" else other["queries"]  # TextAttack counts the text it skips
        if (mine.status, list(mine.text), mine.queries) != (other["status"], other["text"], asked):
            gap = math.inf if other.get("gap") is None else other["gap"]
            differing[place] = margin(other["rounds"], gold[place]), gap, mine, other["text"], asked
    assert all(case[0] < NEAR or case[1] < NEAR_LOGITS for case in differing.values()), differing
    assert len(differing) <= len(ours) / 20, differing


def test_textattack_finds_the_same_adversarial_pairs(folder: Path, victim: attack.Oracle) -> None:
    texts, gold = (column[:PAIRS] for column in peers.examples(folder, DATA))
    ours = peers.ours(victim, texts, gold, source=DATA)
    attacked = [one.status for one in ours if one.status != "skipped"]
    assert len(attacked) >= 100
    assert set(attacked) == {"success", "failed"}
    theirs = peers.theirs(folder, texts, gold, source=DATA, max_length=LENGTH)["outcomes"]
    assert_alike(ours, theirs, gold)
    rows = [one["rounds"][0][0][1] for one in theirs]
    np.testing.assert_allclose(victim(texts), rows, rtol=0, atol=NEAR)


def test_textattack_finds_the_same_adversarial_sentences(folder: Path, victim: attack.Oracle) -> None:
    texts = [text[:1] for text in peers.examples(folder, DATA)[0][:SENTENCES]]
    gold = victim(texts).argmax(axis=1).tolist()
    ours = peers.ours(victim, texts, gold, source=DATA)
    assert {one.status for one in ours} == {"success", "failed"}
    assert_alike(ours, peers.theirs(folder, texts, gold, source=DATA, max_length=LENGTH)["outcomes"], gold)


def pieces(speech: language.Language, text: attack.Text) -> list[int]:
    """Of how many pieces each word of the text is."""
    return [len(speech.pieces(word)) for word in greedy.textattack_words(text[0])]


@pytest.mark.parametrize(
    ("k", "words"),
    [pytest.param(3, CUT + CUT // 4, id="3-cut-off"), pytest.param(None, CUT // 2, id="the-recipes-own")],
)
def test_textattack_finds_the_same_bertattacks(
    critic: Path, speaker: Path, k: int | None, words: int
) -> None:
    """Reviews that are longer than what the models read, and whole ones."""
    speech = peers.language(speaker, CUT, k=k or 8)
    found = zip(*peers.reviews(critic, DATA, words=words, texts=2 * REVIEWS), strict=True)
    # TextAttack looks at all combinations of the k best of a word's pieces
    some = [case for case in found if max(pieces(speech, case[0])) <= PIECES][:REVIEWS]
    texts, gold = [text for text, _ in some], [right for _, right in some]
    ours = peers.our_bertattack(peers.oracle(critic, CUT), speech, texts, gold)
    attacked = [one.status for one in ours if one.status != "skipped"]
    assert len(attacked) >= REVIEWS / 2
    assert set(attacked) == {"success", "failed"}
    changed = [
        count
        for text, one in zip(texts, ours, strict=True)
        for count, old, new in zip(
            pieces(speech, text),
            greedy.textattack_words(text[0]),
            greedy.textattack_words(one.text[0]),
            strict=True,
        )
        if old != new
    ]
    assert sum(count > 1 for count in changed) >= 3
    theirs = peers.their_bertattack(critic, speaker, texts, gold, source=DATA, max_length=CUT, k=k)
    assert_alike(ours, theirs["outcomes"], gold)
