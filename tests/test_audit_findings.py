"""The audit's findings, verdicts and sentences, on models whose differences are known."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from robust_lib import metrics
from robust_lib.audit import findings, verdicts, words
from robust_lib.audit.problems import Problem
from robust_lib.metrics import loyalty

N = 2000
CLASSES = ("negative", "positive")


def logits(gold: Any, right: Any, margin: Any) -> pd.DataFrame:
    """Predictions of two classes: right or wrong by this margin between the logits."""
    towards = np.where(right, 1, -1) * np.where(gold, 1, -1) * margin / 2
    names = np.array(CLASSES, dtype=object)[gold]
    ids = np.arange(len(gold))
    return pd.DataFrame({"id": ids, "gold": names, "logit_negative": -towards, "logit_positive": towards})


def drawn(seed: int, n: int = N, *, scale: float = 0.7, flips: float = 0.0) -> dict[str, pd.DataFrame]:
    """Three calibrated models of one accuracy, each of which turns some answers of a common one, independently."""
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, 2, n)
    margin = generator.gamma(4, scale, n)
    common = generator.random(n) < special.expit(margin)

    def model() -> pd.DataFrame:
        return logits(
            gold, common ^ (generator.random(n) < flips), margin * np.exp(generator.normal(0, 0.2, n))
        )

    return {role: model() for role in ("original", "compressed", "second")}


def audit(models: Mapping[str, pd.DataFrame], **given: Any) -> pd.DataFrame:
    return findings.measured({"test": models}, **given)


def row(found: pd.DataFrame, measure: str, part: str = "", bed: str = "test") -> "pd.Series[Any]":
    (one,) = (
        each
        for _, each in found[found["measure"] == measure].iterrows()
        if (each["part"], each["set"]) == (part, bed)
    )
    return one


@pytest.fixture(scope="module")
def models() -> dict[str, pd.DataFrame]:
    return drawn(0, flips=0.03)


def test_a_model_against_itself_is_loyal_and_all_tests_are_silent(models: dict[str, pd.DataFrame]) -> None:
    original = models["original"]
    same = {"original": original, "compressed": original.sample(frac=1, random_state=0)}  # in another order
    marked = original.set_index("id")["gold"] == "positive"
    found = findings.measured({"test": same, "ood": same}, parts={"gold: positive": marked})
    assert row(found, "label loyalty")["value"] == row(found, "probability loyalty")["value"] == 100
    assert not found.loc[found["topic"] == "flips", "value"].any()
    tested = found[found["test"] != ""]
    assert len(tested) == 4 + 4 + 2 + 3 + 1  # test set, OOD set, gap and F_bias, difficulty, slice
    assert (tested[["p", "p_corrected"]] == 1).all(axis=None)
    assert set(found["verdict"]) <= {verdicts.NO_CHANGE, verdicts.UNTOLD, verdicts.ALIKE, ""}
    assert words.summary(found)[0].startswith(
        f"None of {((found['verdict'] != '') & (found['part'] == '')).sum()} measures got"
    )


def test_accuracy_row_is_the_exact_test_and_has_the_second_training_beside_it(
    models: dict[str, pd.DataFrame],
) -> None:
    one = row(audit(models), "accuracy")
    right = {role: metrics.correct(frame) for role, frame in models.items()}
    lost = int(((right["original"] == 1) & (right["compressed"] == 0)).sum())
    won = int(((right["original"] == 0) & (right["compressed"] == 1)).sum())
    assert one["p"] == pytest.approx(stats.binomtest(lost, lost + won).pvalue)
    assert one["original"] == pytest.approx(100 * right["original"].mean())
    assert one["value"] == pytest.approx(100 * (won - lost) / N)
    assert one["control"] == pytest.approx(100 * (right["second"].mean() - right["original"].mean()))
    assert (one["control_from"], one["chance"], one["n"]) == (verdicts.SECOND, 50, N)
    assert one["low"] < one["value"] < one["high"]


def test_planted_loss_of_accuracy_is_found_and_worded(models: dict[str, pd.DataFrame]) -> None:
    right = metrics.correct(models["original"]).to_numpy(dtype=bool)
    turned = turn(right, 100, 0)
    found = audit({**models, "compressed": rewritten(models["original"], turned)})
    one = row(found, "accuracy")
    assert (one["verdict"], one["value"]) == (verdicts.WORSE, pytest.approx(-5))
    lines = words.summary(found)
    assert "measures got worse: accuracy" in lines[0]
    assert lines[1].startswith("Accuracy on the test set is worse: ")
    assert "−5.0 points" in lines[1]
    assert "the second training changed it by" in lines[1]


def test_planted_loss_in_one_slice_is_found_where_the_whole_is_unchanged(
    models: dict[str, pd.DataFrame],
) -> None:
    original = models["original"]
    right = metrics.correct(original).to_numpy(dtype=bool)
    inside = np.arange(N) < 300
    turned = turn(right & inside, 40, 0) | turn(right | inside, 0, 40)
    marked = pd.Series(inside, index=original["id"])
    found = audit(
        {**models, "compressed": rewritten(original, turned)}, parts={"a: yes": marked, "a: no": ~marked}
    )
    assert row(found, "accuracy")["p"] == 1
    assert row(found, "accuracy", "a: yes")["verdict"] == verdicts.WORSE
    assert row(found, "accuracy", "a: yes")["value"] == pytest.approx(-100 * 40 / 300)
    assert row(found, "accuracy", "a: no")["verdict"].startswith(verdicts.BETTER)
    assert "Accuracy got worse on 1 of 2 slices, most on a: yes" in " ".join(words.summary(found))


def test_planted_overconfidence_is_found_while_every_answer_stays(models: dict[str, pd.DataFrame]) -> None:
    original = models["original"]
    surer = original.assign(**{name: 2 * original[name] for name in original if name.startswith("logit_")})
    found = audit({**models, "compressed": surer})
    assert row(found, "overconfidence")["verdict"] == "more confident"
    assert row(found, "calibration error")["verdict"] == verdicts.WORSE
    assert row(found, "accuracy")["p"] == 1
    assert row(found, "label loyalty")["value"] == 100
    assert "Calibration error on the test set is worse" in " ".join(words.summary(found))


def test_planted_disloyalty_is_found_where_accuracy_is_equal(models: dict[str, pd.DataFrame]) -> None:
    original = models["original"]
    right = metrics.correct(original).to_numpy(dtype=bool)
    found = audit({**models, "compressed": rewritten(original, turn(right, 150, 150))})
    assert row(found, "accuracy")["p"] == 1
    assert row(found, "label loyalty")["verdict"] == verdicts.BEYOND
    assert row(found, "label loyalty")["p_corrected"] < verdicts.LEVEL
    assert row(found, "lost")["value"] == row(found, "won")["value"] == pytest.approx(7.5)
    assert "more change than a second training makes" in " ".join(words.summary(found))


def turn(right: Any, lost: int, won: int) -> Any:
    """Marks so many of the right and so many of the wrong answers, at random."""
    generator = np.random.default_rng(1)
    marked = np.zeros(len(right), dtype=bool)
    for kind, count in ((right, lost), (~right, won)):
        marked[generator.choice(np.flatnonzero(kind), count, replace=False) if count else []] = True
    return marked


def rewritten(frame: pd.DataFrame, turned: Any) -> pd.DataFrame:
    """The frame with the two logits of the marked rows exchanged: the other answer, as sure."""
    names = [f"logit_{name}" for name in CLASSES]
    values = frame[names].to_numpy()
    return frame.assign(**dict(zip(names, np.where(turned[:, None], values[:, ::-1], values).T, strict=True)))


def test_two_trainings_of_one_model_are_seldom_called_different() -> None:
    """Of seeds 0 to 499, 16 audits had a corrected rejection (3.2 %), against 5 % stated; here are the first."""
    audits = 30
    rejected = sum(
        bool((audit(drawn(seed, 200, flips=0.05))["p_corrected"] < verdicts.LEVEL).any())
        for seed in range(audits)
    )
    assert rejected <= stats.binom.ppf(0.999, audits, verdicts.LEVEL)


def test_chance_is_the_mean_of_the_shuffled_models(models: dict[str, pd.DataFrame]) -> None:
    pair = {role: models[role] for role in ("original", "compressed")}
    found = audit(pair)
    shuffled = (loyalty.independent(pair["compressed"], seed) for seed in range(100))
    changed = pd.DataFrame([loyalty.flips(one, pair["original"]).mean() for one in shuffled])
    spread = 4 * changed["lost"].std() / np.sqrt(len(changed))
    for flip in ("lost", "won"):
        assert row(found, flip)["chance"] / 100 == pytest.approx(changed[flip].mean(), abs=spread)
    apart = 1 - (changed["lost"] + changed["won"]).mean()
    assert row(found, "label loyalty")["chance"] / 100 == pytest.approx(apart, abs=2 * spread)


def test_out_of_distribution_rows_are_those_of_the_metric(models: dict[str, pd.DataFrame]) -> None:
    ood = {role: frame.head(800) for role, frame in drawn(7, scale=0.3, flips=0.05).items()}
    found = findings.measured({"test": models, "ood": ood})
    accuracies = {
        role: [metrics.correct(each[role]).mean() for each in (models, ood)]
        for role in ("original", "compressed")
    }
    bias = row(found, "F_bias", bed="ood")
    gap = row(found, "gap", bed="ood")
    assert bias["value"] == pytest.approx(
        float(metrics.f_bias(*accuracies["compressed"], *accuracies["original"]))
    )
    assert gap["original"] == pytest.approx(100 * np.diff(accuracies["original"])[0])
    assert gap["value"] == pytest.approx(gap["compressed"] - gap["original"])


def test_a_model_without_a_gap_leaves_relative_bias_untold(models: dict[str, pd.DataFrame]) -> None:
    found = findings.measured({"test": models, "ood": models})
    bias = row(found, "F_bias", bed="ood")
    assert np.isnan(bias["value"])
    assert bias["verdict"] == verdicts.UNTOLD


def test_a_set_without_gold_labels_gets_its_loyalties_alone(models: dict[str, pd.DataFrame]) -> None:
    unlabelled = {role: frame.assign(gold=None) for role, frame in models.items()}
    found = findings.measured({"test": models, "ood": unlabelled})
    mine = found[found["set"] == "ood"]
    assert set(mine["topic"]) == {"loyalty"}
    assert row(found, "label loyalty", bed="ood")["value"] == row(found, "label loyalty")["value"]
    assert row(found, "label loyalty", bed="ood")["chance"] == pytest.approx(50, abs=3)


def test_neighbours_transfer_time_and_size_are_in_their_units(models: dict[str, pd.DataFrame]) -> None:
    points = pd.DataFrame({"point": range(101), "shared": [4] * 50 + [6] * 51, "k": 10})
    ids = range(40)
    attacked = pd.DataFrame(
        {
            "id": ids,
            "gold": "negative",
            "status": ["success"] * 20 + ["failed"] * 12 + ["skipped"] * 8,
            "queries": 50,
        }
    )
    tried = pd.DataFrame(
        {"id": range(20), "gold": "negative", "predicted": ["positive"] * 5 + ["negative"] * 15}
    )
    times = pd.DataFrame(
        [
            (role, 8, turn, 100, seconds * (1 + 0.01 * turn))
            for turn in (1, 2, 3)
            for role, seconds in (("original", 2.0), ("compressed", 1.0))
        ],
        columns=["role", "batch_size", "round", "texts", "seconds"],
    )
    sizes = {
        "original": {"megabytes": 40.0, "memory": None},
        "compressed": {"megabytes": 10.0, "memory": 5.0},
    }
    found = audit(
        models,
        neighbours={"compressed": points},
        attacked={"original": attacked, "compressed": attacked},
        transferred={"original": {"compressed": tried}, "compressed": {"original": tried}},
        times=times,
        sizes=sizes,
    )
    kept = row(found, "neighbours kept")
    assert (kept["value"], kept["chance"]) == (pytest.approx(100 * (50 * 4 + 51 * 6) / 1010), 10)
    transfer = row(found, "transfer, original to compressed")
    exact = stats.binomtest(5, 20).proportion_ci()
    assert tuple(transfer[["value", "low", "high", "n"]]) == pytest.approx(
        (25, 100 * exact.low, 100 * exact.high, 20)
    )
    assert row(found, "accuracy after attack")["original"] == 30
    assert row(found, "share fooled")["p"] == 1
    faster = row(found, "speed-up, batch 8", bed="")
    assert (faster["value"], faster["verdict"]) == (pytest.approx(2), "faster")
    assert row(found, "time per text, batch 8", bed="")["original"] == pytest.approx(20.4)
    assert row(found, "size on disk", bed="")["verdict"] == "smaller"
    assert "memory" not in set(found["measure"])


def test_a_control_of_other_models_is_carried_to_the_accuracy_at_hand(
    models: dict[str, pd.DataFrame],
) -> None:
    pair = {role: models[role] for role in ("original", "compressed")}
    found = audit(pair)
    one, lost = row(found, "label loyalty"), row(found, "lost")
    known = verdicts.controls().set_index(["measure", "task"])
    source = known.loc[("label loyalty", "sst2")]
    assert one["control_from"] == "micro world: sst2"  # of the two tasks the one that allows for more change
    assert (100 - one["control"]) / (100 - one["chance"]) == pytest.approx(
        (100 - source["value"]) / (100 - source["chance"])
    )
    assert 0 <= lost["control_low"] < lost["control"] < lost["control_high"]
    accuracy = row(found, "accuracy")
    assert accuracy["control_from"].startswith("published: ")
    assert accuracy["control_low"] == -accuracy["control_high"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, verdicts.WORSE),
        ({"value": 3.0, "low": 2.5, "high": 3.5}, verdicts.BETTER),
        ({"p_corrected": 0.05}, verdicts.NO_CHANGE),
        ({"p_corrected": 0.05, "resolves": 2.1}, verdicts.UNTOLD),
        ({"high": 0.1}, verdicts.NO_CHANGE),
        ({"value": -1.0, "low": -1.9, "high": -0.1}, verdicts.WORSE + verdicts.SMALL),
        ({"control_low": -1.0, "control_high": 3.1}, verdicts.WORSE + verdicts.WITHIN),
        (
            {"control_low": -1.0, "control_high": 3.1, "control_from": "micro world"},
            verdicts.WORSE + verdicts.WITHIN_OTHERS,
        ),
        ({"control_low": np.nan, "control_high": np.nan}, verdicts.WORSE),
        ({"measure": "loss"}, verdicts.BETTER),
        ({"measure": "F_bias", "value": 1.5, "low": 1.2, "high": 1.8, "control_low": 0.6}, verdicts.WORSE),
        (
            {"measure": "F_bias", "value": 1.5, "low": 1.2, "high": 1.8, "control_low": 0.4},
            "worse" + verdicts.WITHIN,
        ),
    ],
)
def test_a_change_is_judged_by_its_test_its_interval_its_control_and_what_matters(
    changed: dict[str, Any], told: str
) -> None:
    one = {
        "topic": "accuracy",
        "measure": "accuracy",
        "test": "exact McNemar",
        "p_corrected": 0.01,
        "original": 90.0,
    }
    one |= {
        "value": -3.0,
        "low": -4.0,
        "high": -2.0,
        "resolves": 1.5,
        "control_low": 0.0,
        "control_high": 1.0,
        "control_from": verdicts.SECOND,
    }
    assert verdicts.verdict(one | changed) == told


@pytest.mark.parametrize(
    ("measure", "limits", "control", "chance", "told"),
    [
        ("label loyalty", (90, 92), (93, 96), 80, verdicts.BEYOND),
        ("label loyalty", (90, 94), (93, 96), 80, verdicts.ALIKE),
        ("label loyalty", (79, 82), (93, 96), 80, verdicts.BY_CHANCE),
        ("label loyalty", (90, 92), (np.nan, np.nan), 80, ""),
        ("label loyalty", (78, 80), (np.nan, np.nan), 80, verdicts.BY_CHANCE),
        ("lost", (5, 6), (1, 2), 10, verdicts.BEYOND),
        ("lost", (1, 3), (1, 2), 10, verdicts.ALIKE),
        ("transfer", (5, 6), (1, 2), np.nan, ""),
    ],
)
def test_a_pair_is_judged_by_its_control_and_chance(
    measure: str, limits: tuple[float, float], control: tuple[float, float], chance: float, told: str
) -> None:
    one = {"topic": "loyalty", "measure": measure, "test": "", "value": np.mean(limits), "low": limits[0]}
    one |= {
        "high": limits[1],
        "control": np.mean(control),
        "control_low": control[0],
        "control_high": control[1],
    }
    assert verdicts.verdict(one | {"chance": chance}) == told


def test_every_measure_has_a_rule_and_the_page_shows_it(models: dict[str, pd.DataFrame]) -> None:
    found = audit(models)
    shown = set(verdicts.table()["measure"])
    assert {measure.split(",")[0] for measure in found["measure"]} <= shown


def test_the_summary_names_problems_and_what_was_not_measured(models: dict[str, pd.DataFrame]) -> None:
    told = words.summary(
        audit(models),
        [Problem("leaked rows", "test", "3 of 2,000", "leave them out")],
        [("attack", "no lexicon")],
    )
    assert "problems that these numbers may rest on: leaked rows" in told[1]
    assert told[-1] == "Not measured: attack (no lexicon)."
    assert len(told) <= 10


def test_a_part_on_which_all_are_right_is_not_alike_by_chance() -> None:
    """Without a second training, and with so few items that two equal models are always right on the easiest third."""
    original = drawn(0, 20)["original"]
    right = original[metrics.correct(original).to_numpy() == 1]
    found = findings.measured({"test": {"original": right, "compressed": right}})
    assert set(found["chance"].dropna()) >= {100.0}
    assert verdicts.BY_CHANCE not in set(found["verdict"])


def test_nothing_is_resolved_by_a_few_items_that_do_not_differ() -> None:
    few = drawn(0, 40)["original"]
    found = findings.measured({"test": {"original": few, "compressed": few}})
    assert (found.loc[found["test"] != "", "resolves"] > 0).all()
    assert "cannot be told" in words.summary(found)[0]


def test_a_pair_is_held_against_the_second_training_by_the_paired_test() -> None:
    """Intervals of the two overlap, the same items tell them apart."""
    models = drawn(0, flips=0.05)
    turned = metrics.loyalty.label_loyalty(models["second"], models["original"]).to_numpy() == 0
    extra = turn(~turned, 40, 0)
    found = audit({**models, "compressed": rewritten(models["original"], turned | extra)})
    one = row(found, "label loyalty")
    assert one["high"] > one["control_low"]
    assert (one["test"], one["verdict"]) == ("exact McNemar", verdicts.BEYOND)
