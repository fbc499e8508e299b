"""TextFooler in `textattack` mode against TextAttack's own recipe: same victim, candidates, constraints."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robust_lib import attack
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
LENGTH, PAIRS, SENTENCES = 128, 260, 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peers.victim(tmp_path_factory.mktemp("victim"), source=DATA, encoder=ENCODER)


@pytest.fixture(scope="module")
def victim(folder: Path) -> attack.Oracle:
    return peers.oracle(folder, LENGTH)


def margin(rounds: Sequence[Sequence[tuple[list[str], list[float]]]], gold: int) -> float:
    """How far the closest of an attack's decisions was from going the other way, in probability.

    The decisions: the predicted class of the text and of the best candidates, the order of the importances, the best
    candidate against the second and against the text as it stood.
    """
    scores = [np.array([probabilities for _, probabilities in texts]) for texts in rounds]
    others = np.delete(scores[0][0], gold).max()
    margins = [abs(scores[0][0, gold] - others)]
    if len(scores) > 1:
        margins += np.diff(np.sort(scores[1][:, gold])).tolist()
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
    """Same status, text and queries, but for examples in which one of TextAttack's decisions was a near-tie."""
    differing = {}
    for place, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        asked = 0 if other["status"] == "skipped" else other["queries"]  # TextAttack counts the text it skips
        if (mine.status, list(mine.text), mine.queries) != (other["status"], other["text"], asked):
            differing[place] = (margin(other["rounds"], gold[place]), mine, other["text"], asked)
    assert all(case[0] < NEAR for case in differing.values()), differing


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
