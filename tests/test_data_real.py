"""Every split of a real data directory (ROBUST_DATA), in canonical form, with the counts its publishers state."""

import os
from pathlib import Path

import pytest

from robust_lib import data
from robust_lib.data import tasks

REAL = os.environ.get("ROBUST_DATA", "")
ROWS = {
    "attack_sets/imdb": (1000,),
    "attack_sets/mnli_matched": (1000,),
    "attack_sets/mnli_mismatched": (1000,),
    "fever/dev": (16_664,),
    "fever/train": (242_911,),
    "fever_symmetric/v1_full": (956,),
    "fever_symmetric/v1_generated": (717,),
    "fever_symmetric/v2_dev": (708,),
    "fever_symmetric/v2_test": (712,),
    "hans/train": (30_000,),
    "hans/validation": (30_000,),
    "imdb/test": (25_000,),
    "imdb/train": (20_000, 25_000),
    "imdb/validation": (5_000,),
    "mnli/train": (392_702,),
    "mnli/train_subset": (9_999,),
    "mnli/validation_matched": (9_815,),
    "mnli/validation_mismatched": (9_832,),
    "paws_qqp/dev_and_test": (677,),
    "paws_wiki/test": (8_000,),
    "policyqa/test": (4_152,),
    "qqp/validation": (40_430,),
    "squad/train_v1": (87_599,),
    "squad/train_v2": (130_319,),
    "squad/validation_v2": (11_873,),
    "sst2/train": (67_349,),
    "sst2/validation": (872,),
}
PATHS = (
    sorted(str(file.relative_to(REAL).with_suffix("")) for file in Path(REAL).glob("*/*.parquet"))
    if REAL
    else []
)

pytestmark = [pytest.mark.real, pytest.mark.skipif(not PATHS, reason="ROBUST_DATA names no data directory")]


def real(path: str) -> data.Split:
    if path not in PATHS:
        pytest.skip(f"ROBUST_DATA has no {path}")
    return data.Split(tasks.dataset(path).task, path, REAL)


@pytest.mark.parametrize("path", PATHS)
def test_a_real_split_is_canonical(path: str) -> None:
    split = real(path)
    frame = split.frame()
    assert len(frame) in ROWS.get(path, (len(frame),))
    assert list(frame.columns[: len(tasks.dataset(path).columns)]) == list(tasks.dataset(path).columns)
    if split.labels:
        assert set(frame["label"]) <= set(split.labels)
    some = data.Split(split.task, path, REAL, size=100, seed=1)
    assert some.frame().equals(frame.loc[some.frame().index])
    assert len({split.fingerprint(), some.fingerprint()}) == 2


def test_hans_is_balanced_over_thirty_subcases() -> None:
    frame = real("hans/validation").frame()
    assert frame["label"].value_counts().to_dict() == {"entailment": 15_000, "non-entailment": 15_000}
    assert frame.groupby("heuristic")["subcase"].nunique().to_dict() == dict.fromkeys(tasks.HEURISTICS, 10)
    assert (frame["subcase"].value_counts() == 1000).all()


def test_a_subsample_of_hans_has_every_subcase_equally_often() -> None:
    real("hans/validation")
    some = data.Split("mnli", "hans/validation", REAL, size=300).frame()
    assert (some["subcase"].value_counts() == 10).all()
    assert some["subcase"].nunique() == 30


@pytest.mark.parametrize(
    ("path", "hard"), [("mnli/validation_matched", 4573), ("mnli/validation_mismatched", 4530)]
)
def test_mnli_keeps_its_hard_examples(path: str, hard: int) -> None:
    frame = real(path).frame()
    if "hard" not in frame:
        pytest.skip("this copy of MNLI has no hard subset")
    assert int(frame["hard"].sum()) == hard


def test_the_paraphrases_made_from_qqp_are_mostly_none() -> None:
    counts = real("paws_qqp/dev_and_test").frame()["label"].value_counts()
    assert counts.to_dict() == {"not_duplicate": 486, "duplicate": 191}


def test_half_of_squads_development_questions_are_unanswerable() -> None:
    answers = real("squad/validation_v2").frame()["answers"]
    assert sum(not answer["text"] for answer in answers) == 5945
