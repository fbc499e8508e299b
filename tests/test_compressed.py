"""The arms of paper 3 from small frames made by hand: every number below can be counted."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robust_lib import compare

BEDS = {"sst2": ["sst2/validation", "elsewhere/validation"]}
GOLD = ["positive", "positive", "negative", "negative"]
TEACHER = ["positive", "negative", "negative", "negative"]  # 3 of 4 right
STUDENT = ["positive", "negative", "positive", "negative"]  # 2 of 4 right, 3 of 4 as the teacher


def predictions(said: list[str], *, sure: float = 2.0, gold: list[str] = GOLD) -> pd.DataFrame:
    logits = np.where(np.array(said) == "positive", sure, -sure)
    return pd.DataFrame(
        {"id": range(len(said)), "gold": gold, "logit_negative": 0.0, "logit_positive": logits}
    )


def predicted(seeds: tuple[int, ...] = (0,)) -> dict[compare.PredictionKey, pd.DataFrame]:
    said = {"Teacher": predictions(TEACHER), "Q8-PTQ": predictions(STUDENT, sure=1.0)}
    return {
        ("sst2", bed, name, 0.0, seed): frame
        for bed in BEDS["sst2"]
        for name, frame in said.items()
        for seed in seeds
    }


def attacked(*rows: tuple[str, int, int]) -> pd.DataFrame:
    """A frame of status, queries and calls."""
    frame = pd.DataFrame(rows, columns=["status", "queries", "calls"])
    return frame.assign(id=range(len(rows)))


def timed(**seconds: list[tuple[float, float]]) -> pd.DataFrame:
    """The teacher's seconds and the model's, round by round, in batches of 1 and of 32 that take twice as long."""
    rows = [
        (name.replace("_", "-"), size, turn, times * teacher, times * own)
        for name, rounds in seconds.items()
        for turn, (teacher, own) in enumerate(rounds, start=1)
        for size, times in ((1, 1), (32, 2))
    ]
    frame = pd.DataFrame(rows, columns=["method", "batch_size", "round", "teacher", "seconds"])
    return frame.assign(device="cpu")


FELL = attacked(
    ("success", 10, 9), ("failed", 20, 15), ("skipped", 0, 1), ("budget", 30, 30), ("error", 7, 7)
)
STOOD = attacked(("failed", 4, 4), ("failed", 5, 5), ("skipped", 0, 1), ("skipped", 0, 1), ("skipped", 0, 1))


def value(arms: dict[compare.ArmKey, compare.Arm], name: str, measure: str) -> compare.Interval:
    return compare.measured(arms, ("sst2", name, measure))


def test_every_measure_of_every_model_is_an_arm_under_its_name() -> None:
    fell = {("sst2", name, 0): FELL for name in ("Teacher", "Q8-PTQ")}
    arms = compare.compressed(predicted(), fell, {("sst2", 0): timed(Q8_PTQ=[(2, 1), (4, 2)])}, BEDS)
    loyalties = ["label_loyalty", "probability_loyalty"]
    common = [f"accuracy {bed}" for bed in BEDS["sst2"]] + [
        "right",
        "after_attack",
        "fooled",
        "queries",
        "calls",
    ]
    common += loyalties + [compare.CHANCE + measure for measure in loyalties]
    expected = {("sst2", name, measure) for name in ("Teacher", "Q8-PTQ") for measure in common}
    speeds = [f"{device}seconds {size}" for device in ("", "cpu ") for size in (1, 32)]
    assert set(arms) == expected | {("sst2", "Q8-PTQ", measure) for measure in speeds}
    assert {one.task for one in arms.values()} == {"sst2"}


def test_accuracy_and_loyalty_are_those_that_are_counted() -> None:
    arms = compare.compressed(predicted(), {}, {}, BEDS)
    assert value(arms, "Teacher", "accuracy sst2/validation").value == 3 / 4
    assert value(arms, "Q8-PTQ", "accuracy elsewhere/validation").value == 2 / 4
    assert value(arms, "Q8-PTQ", "label_loyalty").value == 3 / 4
    for measure in ("label_loyalty", "probability_loyalty"):
        assert value(arms, "Teacher", measure).value == 1
        assert value(arms, "Q8-PTQ", compare.CHANCE + measure).value < 1
    own, other = (np.array([1, math.exp(logit)]) / (1 + math.exp(logit)) for logit in (1.0, 2.0))
    like, unlike = (
        1 - math.sqrt(_jensen_shannon(one, other)) for one in (own, own[::-1])
    )  # as sure as it is of the same label, and of the other one
    found = value(arms, "Q8-PTQ", "probability_loyalty")
    assert found.value == pytest.approx((3 * like + unlike) / 4)
    assert 0 <= found.low <= found.value <= found.high <= 1


def _jensen_shannon(one: np.ndarray, other: np.ndarray) -> float:
    """In bits."""
    mean = (one + other) / 2
    return float(stats.entropy(one, mean, base=2) + stats.entropy(other, mean, base=2)) / 2


def test_loyalty_is_to_the_teacher_of_the_same_seed_on_the_first_bed() -> None:
    given = predicted(seeds=(0, 1))
    reversed_ = ["negative" if said == "positive" else "positive" for said in TEACHER]
    given["sst2", BEDS["sst2"][0], "Teacher", 0.0, 1] = predictions(reversed_)
    arms = compare.compressed(given, {}, {}, BEDS)
    one = arms["sst2", "Q8-PTQ", "label_loyalty"]
    assert one.seeds == (0, 1)
    assert one.values.mean(axis=(1, 2)).tolist() == [3 / 4, 1 / 4]
    assert value(arms, "Q8-PTQ", "label_loyalty").value == 1 / 2


def test_a_seed_without_a_teacher_is_named() -> None:
    given = predicted(seeds=(0, 1))
    for bed in BEDS["sst2"]:
        del given["sst2", bed, "Teacher", 0.0, 1]
    with pytest.raises(compare.CompareError, match=r"sst2/validation: no teacher of seed 1; there are \[0\]"):
        compare.compressed(given, {}, {}, BEDS)
    with pytest.raises(compare.CompareError, match="no teacher of seed 0"):
        compare.compressed(predicted(), {}, {}, BEDS, teacher="BERT")


def test_of_the_attacked_texts_those_count_that_stay_right() -> None:
    """A spent budget did not fool; an error counts as lost. Queries, and who was fooled, are of those that were right
    and whose attack came to an end.
    """
    arms = compare.compressed({}, {("sst2", "Teacher", 0): FELL}, {}, {})
    assert value(arms, "Teacher", "after_attack").value == 2 / 5
    assert value(arms, "Teacher", "right").value == 3 / 5
    assert value(arms, "Teacher", "fooled").value == pytest.approx(1 / 3)
    assert value(arms, "Teacher", "queries").value == pytest.approx((10 + 20 + 30) / 3)
    assert value(arms, "Teacher", "calls").value == pytest.approx((9 + 15 + 30) / 3)


def test_attacks_of_several_seeds_count_alike() -> None:
    arms = compare.compressed({}, {("sst2", "Teacher", 0): FELL, ("sst2", "Teacher", 1): STOOD}, {}, {})
    measures = ("right", "after_attack", "fooled", "queries", "calls")
    assert set(arms) == {("sst2", "Teacher", measure) for measure in measures}
    assert value(arms, "Teacher", "after_attack").value == pytest.approx((2 + 2) / 10)
    assert value(arms, "Teacher", "fooled").value == pytest.approx(1 / (3 + 2))
    assert value(arms, "Teacher", "queries").value == pytest.approx((60 + 9) / (3 + 2))
    assert value(arms, "Teacher", "calls").seeds == 2


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (FELL.drop(columns="calls"), "the attacks of seed 0 lack the column 'calls'; found status, queries, id"),
        (FELL.drop(columns="status"), "lack the column 'status'"),
        (FELL.replace({"status": {"budget": "broke"}}), "seed 0 has the status 'broke'; there are success, failed"),
    ],
)  # fmt: skip
def test_a_frame_that_is_none_of_an_attack_is_refused(frame: pd.DataFrame, said: str) -> None:
    with pytest.raises(compare.CompareError, match=said):
        compare.compressed({}, {("sst2", "Teacher", 0): frame}, {}, {})


def test_speed_up_is_the_teachers_seconds_over_the_models_all_rounds_together() -> None:
    arms = compare.compressed(
        {}, {}, {("sst2", 0): timed(Q8_PTQ=[(2, 1), (4, 1)], Pure_KD=[(3, 3), (3, 3)])}, {}
    )
    assert {key[1] for key in arms} == {"Q8-PTQ", "Pure-KD"}
    found = value(arms, "Q8-PTQ", "seconds 1")
    assert found.value == pytest.approx((2 + 4) / (1 + 1))
    assert value(arms, "Q8-PTQ", "seconds 32").value == pytest.approx(found.value)
    assert (found.n, found.seeds) == (2, 1)
    same = value(arms, "Pure-KD", "seconds 1")
    assert (same.value, same.low, same.high) == (1, 1, 1)


def test_speed_is_of_the_other_device_where_there_is_one_and_of_the_cpu_beside_it() -> None:
    """Quantised models have no other: theirs is the CPU's."""
    on_cpu = timed(Q8_PTQ=[(2, 1), (2, 1)], Pure_KD=[(4, 1), (4, 1)])
    there = timed(Pure_KD=[(6, 4), (6, 4)]).assign(device="GPU")
    arms = compare.compressed({}, {}, {("sst2", 0): pd.concat([on_cpu, there])}, {})
    assert value(arms, "Pure-KD", "seconds 1").value == pytest.approx(1.5)
    assert value(arms, "Pure-KD", "cpu seconds 1").value == pytest.approx(4)
    both = [value(arms, "Q8-PTQ", f"{device}seconds 32").value for device in ("", "cpu ")]
    assert both == [2, 2]


def test_a_long_round_weighs_more_than_a_short_one() -> None:
    arms = compare.compressed({}, {}, {("sst2", 0): timed(Q8_PTQ=[(1, 1), (9, 3)])}, {})
    assert value(arms, "Q8-PTQ", "seconds 1").value == pytest.approx(10 / 4)


def test_of_two_models_speed_ups_are_subtracted() -> None:
    one = timed(Q8_PTQ=[(2, 1), (4, 1)], Pure_KD=[(3, 2), (3, 2)])
    arms = compare.compressed({}, {}, {("sst2", 0): one, ("sst2", 1): one}, {})
    fast, slow = (arms["sst2", name, "seconds 1"] for name in ("Q8-PTQ", "Pure-KD"))
    assert compare.speedup(fast, slow).value == pytest.approx(3 - 1.5)
    assert compare.speedup(fast).seeds == 2
    assert compare.speedup(fast, fast).value == compare.speedup(fast, fast).high == 0


# Texts of A fool it on ids 0, 1 and 2, those of B on 1 and 3. A has 3 wrong from the start, B has 2.
ENDED = {
    ("A", 0): attacked(*[(status, 1, 1) for status in ("success", "success", "success", "skipped")]),
    ("B", 0): attacked(*[(status, 1, 1) for status in ("failed", "success", "skipped", "success")]),
}


def tried(*rows: tuple[str, int, str]) -> pd.DataFrame:
    """Source, id, predicted; all golds are positive."""
    return pd.DataFrame(rows, columns=["source", "id", "predicted"]).assign(gold="positive")


TRIED = {
    ("A", 0): tried(*[("A", id_, "negative") for id_ in (0, 1, 2)], ("B", 1, "positive"), ("B", 3, "negative")),
    ("B", 0): tried(("A", 0, "positive"), ("A", 1, "negative"), ("A", 2, "negative"), ("B", 1, "negative"),
                    ("B", 3, "negative")),
}  # fmt: skip


def test_transfer_counts_texts_whose_original_the_target_had_right() -> None:
    rates = compare.transfer(TRIED, ENDED)
    assert list(rates.columns) == ["source", "target", "value", "low", "high", "n"]
    found = rates.set_index(["source", "target"])
    assert len(found) == 4
    expected = {("A", "A"): (3, 3), ("B", "A"): (0, 1), ("A", "B"): (1, 2), ("B", "B"): (2, 2)}
    for pair, (fooled, of) in expected.items():
        row = found.loc[pair]
        assert (row["value"], row["n"]) == (pytest.approx(100 * fooled / of), of)
        low = stats.beta.ppf(0.025, fooled, of - fooled + 1) if fooled else 0  # Clopper and Pearson
        high = stats.beta.ppf(0.975, fooled + 1, of - fooled) if fooled < of else 1
        assert (row["low"], row["high"]) == (pytest.approx(100 * low), pytest.approx(100 * high))


def test_texts_of_several_seeds_are_counted_together() -> None:
    second = {
        (name, seed + 1): frame.assign(predicted="positive") for (name, seed), frame in TRIED.items()
    }  # fooled by none
    ended = ENDED | {(name, 1): frame for (name, _), frame in ENDED.items()}
    found = compare.transfer(TRIED | second, ended).set_index(["source", "target"])
    assert (found.loc[("A", "A"), "value"], found.loc[("A", "A"), "n"]) == (pytest.approx(50.0), 6)
    assert (found.loc[("A", "B"), "value"], found.loc[("A", "B"), "n"]) == (pytest.approx(25.0), 4)


def test_where_no_attack_succeeded_nothing_transfers() -> None:
    none = {key: frame.head(0) for key, frame in TRIED.items()}
    rates = compare.transfer(none, ENDED)
    assert rates.empty
    assert list(rates.columns) == ["source", "target", "value", "low", "high", "n"]


@pytest.mark.parametrize(("status", "share"), [("success", 1.0), ("failed", 0.0)])
def test_all_or_none_fooled_has_the_limits_of_a_share_of_as_many_right_answers(
    status: str, share: float
) -> None:
    frame = attacked(*[(status, 5, 5)] * 6, ("skipped", 0, 1))
    found = compare.measured(
        compare.compressed({}, {("sst2", "Teacher", 0): frame}, {}, {}), ("sst2", "Teacher", "fooled")
    )
    exact = stats.binomtest(round(6 * share), 6).proportion_ci()
    assert (found.value, found.low, found.high) == pytest.approx((share, exact.low, exact.high))
