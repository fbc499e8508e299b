"""Paper 4: F1 profiles and their comparisons, checks of retained and comparable, its table and figures."""

import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from scipy import stats
from sklearn.metrics import f1_score

from robust_lib import compare, metrics, report
from robust_lib.report import Line

BEDS = {
    "mnli": ["mnli/validation_matched", "hans/validation"],
    "qqp": ["qqp/validation", "paws_wiki/test", "paws_qqp/dev_and_test"],
}
NAMES = {"mnli/validation_matched": "dev", "hans/validation": "HANS", "paws_wiki/test": "PAWS-wiki"}
LINES = [Line("imp", "imp (std)"), Line("mask", "mask train (std)", "black", "X")]
FULL, CONTROL = [Line("dense", "full bert (std)")], [Line("control", "dense control")]
ITEMS = {"qqp/validation": 300, "paws_wiki/test": 400, "paws_qqp/dev_and_test": 80}
Found = dict[compare.ProfileKey, compare.Profile]


def pairs(seeds: tuple[int, ...] = (0, 1, 2)) -> dict[compare.PredictionKey, pd.DataFrame]:
    """Scores of "duplicate" for each model, seed and test bed, the sparser the closer to chance."""
    generator = np.random.default_rng(4)
    frames: dict[compare.PredictionKey, pd.DataFrame] = {}
    for task, beds in BEDS.items():
        for bed in beds:
            count = ITEMS.get(bed, 90)
            classes = ("not_duplicate", "duplicate") if task == "qqp" else metrics.NLI
            truth = generator.integers(0, len(classes), count) if bed in (beds[0], "hans/validation") else (
                generator.random(count) < 0.35
            ).astype(int)  # fmt: skip
            gold = np.array(classes)[truth]
            if bed == "hans/validation":
                gold = np.where(gold == "entailment", gold, "non-entailment")
            for method, sparsity in [("dense", 0.0), *((m, s) for m in ("imp", "mask") for s in (0.5, 0.9))]:
                for seed in seeds:
                    noise = generator.normal(size=(count, len(classes))) * (0.5 + sparsity)
                    logits = noise + np.eye(len(classes))[truth] * 1.2
                    columns = {f"logit_{name}": logits[:, i] for i, name in enumerate(classes)}
                    frames[task, bed, method, sparsity, seed] = pd.DataFrame(
                        {"id": range(count), "gold": gold} | columns
                    )
    return frames


@pytest.fixture(scope="module")
def frames() -> dict[compare.PredictionKey, pd.DataFrame]:
    return pairs()


@pytest.fixture(scope="module")
def found(frames: dict[compare.PredictionKey, pd.DataFrame]) -> Found:
    return compare.profiles(frames, BEDS, measures={"qqp": "f1"})


def reference_f1(frame: pd.DataFrame) -> float:
    said = np.where(frame["logit_duplicate"] > frame["logit_not_duplicate"], "duplicate", "not_duplicate")
    return float(f1_score(frame["gold"], said, pos_label="duplicate"))


MASK, DENSE = ("qqp", "mask", 0.9), ("qqp", "dense", 0.0)


# -- F1 --------------------------------------------------------------------------------------------------------


def test_f1_of_a_profile_is_the_mean_of_its_seeds(
    found: Found, frames: dict[compare.PredictionKey, pd.DataFrame]
) -> None:
    tidy = compare.tidy(found, model="m")
    assert set(tidy["metric"][tidy["task"] == "qqp"]) == {"f1"}
    assert set(tidy["metric"][tidy["task"] == "mnli"]) == {"accuracy"}
    for arm in found[MASK].arms:
        expected = [reference_f1(frames["qqp", arm.testbed, "mask", 0.9, seed]) for seed in (0, 1, 2)]
        mine = tidy[(tidy["testbed"] == arm.testbed) & (tidy["method"] == "mask") & (tidy["sparsity"] == 0.9)]
        np.testing.assert_allclose(mine["value"], expected)
        ours = compare.accuracy(arm)
        assert ours.value == pytest.approx(np.mean(expected))
        assert ours.seed_sd == pytest.approx(np.std(expected, ddof=1))
    pooled = compare.ood_accuracy(found[MASK])
    sets = [compare.accuracy(arm).value for arm in found[MASK].ood]
    assert pooled.value == pytest.approx(np.mean(sets))  # 400 and 80 pairs, and yet evenly
    assert compare.points(found).set_index(["task", "method", "sparsity"]).loc[MASK, "ood"] == pooled.value


def test_f1s_interval_is_a_bootstraps_that_computes_f1_anew(
    frames: dict[compare.PredictionKey, pd.DataFrame],
) -> None:
    one = frames["qqp", "paws_wiki/test", "mask", 0.9, 0]
    outcomes = metrics.outcomes(one, "f1")
    ours = compare.accuracy(compare.arm("qqp", "paws", {0: outcomes}, measure="f1"))
    said = (one["logit_duplicate"] > one["logit_not_duplicate"]).to_numpy()
    peer = stats.bootstrap(
        [(one["gold"] == "duplicate").to_numpy(), said], f1_score, paired=True, vectorized=False,
        method="percentile", n_resamples=1000, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert ours.value == pytest.approx(reference_f1(one))
    limits = peer.confidence_interval
    np.testing.assert_allclose([ours.low, ours.high], [limits.low, limits.high], atol=0.012)


def answered(gold: list[str], said: list[str]) -> pd.DataFrame:
    right = [float(one == "duplicate") for one in said]
    columns = {"logit_not_duplicate": 0.5, "logit_duplicate": right}
    return pd.DataFrame({"id": range(len(gold)), "gold": gold} | columns)


def test_f1_of_all_right_none_right_and_no_class_at_all() -> None:
    yes, no = "duplicate", "not_duplicate"
    assert metrics.outcomes(answered([yes, no], [yes, no]), "f1").tolist() == [1, 1]
    assert metrics.outcomes(answered([yes, no], [no, yes]), "f1").tolist() == [0, 0]
    whole = compare.arm("qqp", "b", {0: metrics.outcomes(answered([yes, no], [yes, no]), "f1")}, measure="f1")
    perfect = compare.accuracy(whole)
    assert (perfect.value, perfect.low, perfect.high) == (1, 1, 1)  # exact limits are those of accuracy
    with pytest.raises(metrics.MetricError, match="F1 is undefined: no example is of its class"):
        metrics.outcomes(answered([no, no], [no, no]), "f1")
    with pytest.raises(metrics.MetricError, match="measure is 'mcc'; it can be 'accuracy' or 'f1'"):
        metrics.outcomes(answered([yes], [yes]), "mcc")  # type: ignore[arg-type]


@pytest.mark.parametrize(("positives", "expected"), [(0, 0), (4, 1), (1, 0.4), (2, 2 / 3)])
def test_the_baseline_of_f1_is_that_of_calling_all_duplicate(positives: int, expected: float) -> None:
    gold = pd.Series(["duplicate"] * positives + ["not_duplicate"] * (4 - positives))
    assert metrics.baseline(gold, "f1") == pytest.approx(expected)
    said = metrics.outcomes(answered(gold.tolist(), ["duplicate"] * 4), "f1")
    assert metrics.baseline(gold, "f1") == pytest.approx(said.mean())
    assert metrics.baseline(gold) == 1 / gold.nunique()


def test_the_baselines_of_paws_are_the_published_rates() -> None:
    """Positives 31.3 % of PAWS-QQP and 44.2 % of PAWS-wiki: F1 0.477 and 0.613."""
    for rate, expected in ((0.313, 0.477), (0.442, 0.613)):
        gold = pd.Series(np.where(np.arange(1000) < 1000 * rate, "duplicate", "not_duplicate"))
        assert metrics.baseline(gold, "f1") == pytest.approx(expected, abs=5e-4)


# -- comparisons -----------------------------------------------------------------------------------------------


def test_comparisons_of_f1_profiles_are_those_of_their_f1(found: Found) -> None:
    model, other = found[MASK], found[DENSE]
    inside = [compare.accuracy(one.id).value for one in (model, other)]
    outside = [compare.ood_accuracy(one).value for one in (model, other)]
    for of, expected in (
        ("id", inside[0] - inside[1]),
        ("ood", outside[0] - outside[1]),
        ("gap", outside[0] - inside[0] - (outside[1] - inside[1])),
    ):
        assert compare.contrast([model], [other], of).value == pytest.approx(expected)  # type: ignore[arg-type]
    assert compare.difference(model.id, other.id).value == pytest.approx(inside[0] - inside[1])
    assert compare.retained(model, other).value == pytest.approx(inside[0] / inside[1])
    assert compare.retained(model, other, "ood").value == pytest.approx(outside[0] / outside[1])
    bias = metrics.f_bias(inside[0], outside[0], inside[1], outside[1])
    ours = compare.f_bias([(model, other)]).value
    assert ours == pytest.approx(float(bias)) or (math.isnan(ours) and math.isnan(bias))


def test_a_part_of_an_f1_profile_has_the_f1_of_its_items(
    frames: dict[compare.PredictionKey, pd.DataFrame],
) -> None:
    mine = {key: one for key, one in frames.items() if key[0] == "qqp" and key[2] == "dense"}
    flagged = {
        key: one.assign(hard=(one["id"] % 3 == 0).astype(int)) if key[1] == BEDS["qqp"][0] else one
        for key, one in mine.items()
    }
    profile = compare.profiles(flagged, BEDS, measures={"qqp": "f1"})[DENSE]
    for name, flag in (("hard", 1), ("easy", 0)):
        parts = [one[one["hard"] == flag] for key, one in flagged.items() if "hard" in one]
        assert compare.accuracy(profile.slices[name]).value == pytest.approx(
            np.mean([*map(reference_f1, parts)])
        )


def test_a_model_retains_all_of_itself_and_a_known_share_of_another() -> None:
    def profile(right: int, measure: metrics.Measure = "accuracy") -> compare.Profile:
        outcome = pd.Series((np.arange(400) < right).astype(float))
        return compare.Profile(
            compare.arm("t", "b", {0: outcome, 1: outcome}, measure=measure), (), "examples"
        )

    model, other = profile(285), profile(300)
    itself = compare.retained(model, model)
    assert (itself.value, itself.low, itself.high) == (1, 1, 1)
    ours = compare.retained(model, other)
    assert ours.value == pytest.approx(0.95)
    assert 0.92 < ours.low < 0.95 < ours.high < 0.98  # paired: the answers are nested
    assert compare.retained(other, model).value > 1
    assert math.isnan(compare.retained(model, profile(0)).value)
    with pytest.raises(compare.CompareError, match="first is measured by accuracy, the second by f1"):
        compare.retained(model, profile(300, "f1"))


def test_accuracy_is_not_held_against_f1(
    found: Found, frames: dict[compare.PredictionKey, pd.DataFrame]
) -> None:
    plain = compare.profiles(frames, BEDS)
    one, two = found[MASK], plain[DENSE]
    asked = [
        lambda: compare.difference(one.id, two.id),
        lambda: compare.contrast([one], [two], "id"),
        lambda: compare.f_bias([(one, two)]),
        lambda: compare.f_bias_reduction([(two, two)], [(one, two)]),
    ]
    for question in asked:
        with pytest.raises(compare.CompareError, match=r"is measured by .*: give both the same `measures`"):
            question()
    mixed = [found["mnli", "mask", 0.9], one]  # several tasks together, each with its own measure
    assert math.isfinite(compare.contrast(mixed, [found["mnli", "dense", 0.0], found[DENSE]], "id").value)


def test_every_test_bed_has_a_row_with_its_baseline(found: Found) -> None:
    rows = compare.by_testbed(found)
    assert len(rows) == 5 * (2 + 3)
    one = rows[(rows["testbed"] == "paws_qqp/dev_and_test") & (rows["method"] == "dense")].iloc[0]
    ours = compare.accuracy(found[DENSE].ood[1])
    assert [one[k] for k in ("value", "low", "high", "sd", "n", "seeds")] == [
        ours.value, ours.low, ours.high, ours.seed_sd, 80, 3
    ]  # fmt: skip
    assert (one["where"], one["measure"]) == ("ood", "f1")
    assert one["baseline"] == found[DENSE].baselines["paws_qqp/dev_and_test"]
    assert rows[rows["testbed"] == "hans/validation"]["baseline"].unique().tolist() == [0.5]
    assert set(rows[rows["where"] == "id"]["testbed"]) == {"mnli/validation_matched", "qqp/validation"}
    assert compare.by_testbed(compare.profiles(pairs((0,)), BEDS))["sd"].isna().all()


# -- checks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.9, 0.9, "holds"),
        (-1.0, 0.5, "cannot be told"),
        (0.2, 1.1, "cannot be told"),
        (1.0, 2.0, "does not hold"),
        (-3.0, -1.0, "does not hold"),
        (-math.inf, math.inf, "cannot be told"),
    ],
)
def test_comparable_is_within_the_margin_on_both_sides(low: float, high: float, verdict: str) -> None:
    ours = compare.Interval((low + high) / 2 if math.isfinite(low) else 0.0, low, high, 100, 4, 0.95)
    assert report.claim_verdict(ours, within=1) == verdict
    single = compare.Interval(0.0, low, high, 100, 1, 0.95)
    assert report.claim_verdict(single, within=1) == "cannot be told"
    with pytest.raises(ValueError, match="one boundary"):
        report.claim_verdict(ours, within=1, above=0)


def test_checks_say_f1_where_it_is_and_what_is_kept(found: Found) -> None:
    checks = report.Checks(4, found, "micro", {"dense": "full bert (std)", "mask": "mask train (std)"})
    checks.retained("4.2.2-b", MASK, DENSE, above=95)
    checks.dev("4.2.2-j", MASK, DENSE, within=2)
    checks.dev("4.2.2-a", [("mnli", "mask", 0.9), MASK], [("mnli", "dense", 0.0), DENSE], below=0)
    checks.retained("4.2.2-b", ("mnli", "mask", 0.9), ("mnli", "dense", 0.0), of="ood", above=95)
    kept, comparable, both, accuracy = checks.records
    assert kept["column"] == "DEV F1, percent of full bert (std) (claimed > 95)"
    assert kept["ours"] == pytest.approx(100 * compare.retained(found[MASK], found[DENSE]).value)
    assert comparable["column"] == "DEV F1, points above full bert (std) (claimed within ±2)"
    assert both["column"] == "DEV accuracy and F1, points above full bert (std) (claimed < 0)"
    assert accuracy["column"] == "OOD, percent of full bert (std) (claimed > 95)"
    assert kept["row"] == "QQP mask train (std) 90%"


def test_chance_is_no_floor_of_f1(found: Found) -> None:
    known = {key: replace(profile, chance=0.99) for key, profile in found.items()}
    checks = report.Checks(4, known, "micro")
    assert not checks.at_chance(DENSE)
    assert checks.at_chance(("mnli", "dense", 0.0))
    checks.ood("4.2.2-j", ("mnli", "mask", 0.9), ("mnli", "dense", 0.0), within=50)
    assert checks.records[-1]["verdict"] == "cannot be told"
    assert "a reference not above chance OOD" in checks.records[-1]["column"]


# -- table -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def points(found: Found) -> pd.DataFrame:
    rows = compare.by_testbed(found)
    control = rows[rows["method"] == "imp"].assign(method="control")
    return pd.concat([rows, control], ignore_index=True)


def drawn_up(points: pd.DataFrame) -> report.SubnetworkTable:
    return report.subnetwork_table(
        points,
        lines=LINES,
        full=FULL,
        controls=CONTROL,
        beds=NAMES,
        title="Paper 4, Figure 2",
        setting="Micro",
    )


def test_the_table_has_every_value_with_its_limits_and_spread(points: pd.DataFrame, tmp_path: Path) -> None:
    table = drawn_up(points)
    rows = list(dict.fromkeys(table.cells["row"]))
    assert rows == [
        "full bert (std)", "dense control 50%", "dense control 90%", "all called duplicate",
        "imp (std) 50%", "imp (std) 90%", "mask train (std) 50%", "mask train (std) 90%",
    ]  # fmt: skip
    one = points[(points["testbed"] == "paws_wiki/test") & (points["method"] == "mask")].iloc[-1]
    value, low, high, sd = (100 * one[name] for name in ("value", "low", "high", "sd"))
    text, page = repr(table), table._repr_html_()
    assert f"{value:.1f} [{low:.1f}, {high:.1f}] ±{sd:.1f}" in text
    assert f"<b>{value:.1f}</b><br> <small>[{low:.1f}, {high:.1f}] ±{sd:.1f}</small>" in page
    assert f"95 % interval {low:.1f} to {high:.1f} · standard deviation over seeds {sd:.1f}" in page
    assert "qqp/validation 300, PAWS-wiki 400" in text
    assert "Accuracy, F1 of duplicate on QQP, in percent." in text
    mnli, qqp = (text[text.index(f"| {task}") :].split("\n\n")[0] for task in ("MNLI", "QQP"))
    assert ("all called duplicate" in qqp, "all called duplicate" in mnli) == (True, False)
    shown = text + page.partition("<script>")[0]
    assert "nan" not in shown.lower().replace("<na>", "nan")
    report.save(tmp_path / "micro" / "04", {"table_figure_2": table}, about={})
    back = pd.read_csv(tmp_path / "micro" / "04" / "table_figure_2.csv")
    mine = back[
        (back["testbed"] == "paws_wiki/test") & (back["method"] == "mask") & (back["sparsity"] == 0.9)
    ]
    np.testing.assert_allclose(mine[["value", "low", "high", "sd"]].iloc[0], [value, low, high, sd])
    assert (tmp_path / "micro" / "04" / "table_figure_2.md").read_text() == f"{text}\n"
    assert not (tmp_path / "micro" / "scorecard.json").exists()  # the paper prints none of it


def test_one_seed_has_no_spread_and_epochs_name_the_rows(points: pd.DataFrame) -> None:
    single = points.assign(sd=np.nan, seeds=1)
    assert "±" not in repr(drawn_up(single))
    gradual = points[points["method"] == "mask"].assign(
        method="gradual", epochs=lambda rows: 10 * rows["sparsity"]
    )
    table = report.subnetwork_table(gradual, lines=[Line("gradual", "gradual")], title="Figure 8")
    rows = ["gradual, 5 epochs", "gradual, 9 epochs"]
    assert [row for row in dict.fromkeys(table.cells["row"]) if row != "all called duplicate"] == rows
    assert "epochs" in table.cells


def test_a_method_without_points_is_named(points: pd.DataFrame) -> None:
    for make in (report.subnetwork_figure, report.subnetwork_table):
        options = {"title": "t"} if make is report.subnetwork_table else {}
        with pytest.raises(ValueError, match="no points of method 'omp'; there are 'dense', 'imp', 'mask'"):
            make(points, lines=[Line("omp", "omp")], **options)  # type: ignore[operator]


# -- figures ---------------------------------------------------------------------------------------------------


def named(axis: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    (line,) = [line for line in axis.lines if line.get_label() == label]
    return np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)


def bars(axis: Axes) -> set[tuple[float, float]]:
    """Ends of all bars."""
    found = (bar for bar in axis.collections if isinstance(bar, LineCollection))
    ends = (np.round(segment[:, 1], 6) for bar in found for segment in bar.get_segments())
    return {(float(low), float(high)) for low, high in ends}


def test_subnetworks_are_drawn_by_task_and_test_bed(points: pd.DataFrame) -> None:
    shuffled = points.sort_values("sparsity", ascending=False, kind="stable")  # a figure sorts for itself
    shuffled = shuffled.sort_values("task", kind="stable")
    figure = report.subnetwork_figure(shuffled, lines=LINES, full=FULL, controls=CONTROL, beds=NAMES)
    axes = {axis.get_title("left"): axis for axis in figure.axes}
    assert list(axes) == ["dev", "qqp/validation", "HANS", "PAWS-wiki", "paws_qqp/dev_and_test"]
    told = {"HANS": ["chance"], "dev": []}
    for title, bed in zip(
        axes, ["mnli/validation_matched", "qqp/validation", "hans/validation", *BEDS["qqp"][1:]], strict=True
    ):
        axis, mine = axes[title], points[points["testbed"] == bed]
        assert [text.get_text().strip() for text in axis.texts] == told.get(title, ["all duplicate"])
        assert axis.get_ylabel() == ("F1 (%)" if mine["task"].iloc[0] == "qqp" else "accuracy (%)")
        for line in LINES:
            arm = mine[mine["method"] == line.method].sort_values("sparsity")
            x, y = named(axis, line.name)
            np.testing.assert_allclose(x, 100 * arm["sparsity"], atol=1)  # a little beside each other
            np.testing.assert_allclose(y, 100 * arm["value"])
        _, level = named(axis, "full bert (std)")
        np.testing.assert_allclose(level, 100 * mine[mine["method"] == "dense"]["value"].iloc[0])
        limits = zip((100 * mine["low"]).round(6), (100 * mine["high"]).round(6), strict=True)
        assert set(limits) <= bars(axis)
        assert axis.get_xticks().tolist() == [50, 90]
    assert "sparsity" in axes["HANS"].get_xlabel()
    legend = [text.get_text() for text in figure.legends[0].texts]
    assert legend == [
        "full bert (std)", "dense control", "imp (std)", "mask train (std)",
        "± standard deviation over seeds", "95 % interval",
    ]  # fmt: skip
    assert [line.get_color() for line in axes["HANS"].lines if line.get_label() == "mask train (std)"] == [
        "black"
    ]
    assert plt.get_fignums() == []


def test_one_seed_has_bars_and_no_band(points: pd.DataFrame) -> None:
    single = points[points["task"] == "mnli"].assign(sd=np.nan, seeds=1)
    figure = report.subnetwork_figure(single, lines=LINES, full=FULL)
    for axis in figure.axes:
        filled = [one for one in axis.collections if not isinstance(one, LineCollection)]
        assert all(not path.vertices.size for one in filled for path in one.get_paths())
        assert not axis.patches
    assert [text.get_text() for text in figure.legends[0].texts][-1] == "95 % interval"
    assert not any("deviation" in text.get_text() for text in figure.legends[0].texts)


def test_lengths_stand_over_epochs(points: pd.DataFrame) -> None:
    both = points[points["method"].isin(["imp", "mask"])].replace({"imp": "fixed", "mask": "gradual"})
    both = both.assign(epochs=both["sparsity"].map({0.5: 3, 0.9: 7}))
    for axis in report.lengths_figure(both).axes:
        assert axis.get_xticks().tolist() == [3, 7]
        for name in ("fixed", "gradual"):
            np.testing.assert_allclose(named(axis, name)[0], [3, 7], atol=0.1)


def test_curves_are_means_over_seeds_by_start() -> None:
    rows = [
        {
            "measure": "accuracy",
            "testbed": bed,
            "start": start,
            "step": step,
            "seed": seed,
            "value": 0.2 + 0.01 * seed + step / 1000 + 0.3 * rise,
        }
        for bed in ("dev", "hans/validation")
        for rise, start in enumerate(["ft step 0", "ft to end"])
        for step in (200, 0, 100)
        for seed in (1, 2, 3)
    ]
    figure = report.curves_figure(pd.DataFrame(rows), beds=NAMES)
    assert [axis.get_title("left") for axis in figure.axes] == ["dev", "HANS"]
    assert [axis.get_ylabel() for axis in figure.axes] == ["accuracy (%)"] * 2
    by_f1 = pd.DataFrame(rows).assign(measure="f1")
    assert [axis.get_ylabel() for axis in report.curves_figure(by_f1).axes] == ["F1 (%)"] * 2
    for axis in figure.axes:
        for rise, start in enumerate(["ft step 0", "ft to end"]):
            x, y = named(axis, start)
            np.testing.assert_allclose(x, [0, 100, 200])
            np.testing.assert_allclose(y, 100 * np.array([0.22, 0.32, 0.42]) + 30 * rise)
        heights = np.concatenate([p.vertices[:, 1] for one in axis.collections for p in one.get_paths()])
        assert (heights.min(), heights.max()) == (pytest.approx(21), pytest.approx(73))  # 1 point of spread
    assert [text.get_text() for text in figure.legends[0].texts][:2] == ["ft step 0", "ft to end"]
    single = report.curves_figure(pd.DataFrame([row for row in rows if row["seed"] == 1]))
    assert [text.get_text() for text in single.legends[0].texts] == ["ft step 0", "ft to end"]


def test_a_band_of_wide_spread_ends_where_a_share_does() -> None:
    rows = [
        {
            "measure": "accuracy",
            "testbed": "dev",
            "start": "ft to end",
            "step": step,
            "seed": seed,
            "value": value,
        }
        for step in (0, 100)
        for seed, value in ((1, 0.0), (2, 1.0))
    ]
    (axis,) = report.curves_figure(pd.DataFrame(rows)).axes
    heights = np.concatenate([p.vertices[:, 1] for one in axis.collections for p in one.get_paths()])
    assert (heights.min(), heights.max()) == (0, 100)
