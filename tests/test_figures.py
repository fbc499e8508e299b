"""The figures of paper 1 draw what their frames hold: values, limits, printed points, labels that can be read."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from robust_lib import published, report
from robust_lib.report.figures import look

SPARSITIES = [0.2, 0.4, 0.6, 0.7, 0.85]
LABEL = {method: label for method, (label, _, _) in look.LOOK.items()}


def frame(quantities: Mapping[str, float], methods: tuple[str, ...], sparsities: list[float]) -> pd.DataFrame:
    """Values about the given heights, with limits that lie unevenly about them."""
    generator = np.random.default_rng(5)
    rows: list[dict[str, Any]] = []
    for method in methods:
        for sparsity in [0.0] if method == "dense" else sparsities:
            for quantity, height in quantities.items():
                value, below, above = height * (1 + 0.05 * generator.random(3))
                rows.append({"method": method, "sparsity": sparsity, "quantity": quantity, "value": value})
                rows[-1] |= {"low": value - below / 20, "high": value + above / 30, "seeds": 1}
    return pd.DataFrame(rows).sample(frac=1, random_state=0)  # a figure sorts for itself


def easy_hard(sparsities: list[float] = SPARSITIES) -> pd.DataFrame:
    return frame({"easy": 90, "hard": 75, "gap": 15}, ("dense", "pruned", "control"), sparsities)


def mitigation(sparsities: list[float] = SPARSITIES) -> pd.DataFrame:
    return frame({"ood": 55, "f_bias": 1.2}, ("vanilla", "rmc", "control"), sparsities)


def arm(points: pd.DataFrame, quantity: str, *methods: str) -> pd.DataFrame:
    mine = points[(points["quantity"] == quantity) & points["method"].isin(methods)]
    return mine.sort_values("sparsity")


def lines(axis: Axes) -> list[tuple[list[float], list[float]]]:
    """x and y of every line, rounded."""
    drawn = (line.get_xydata().astype(float).round(6) for line in axis.lines)
    return [(points[:, 0].tolist(), points[:, 1].tolist()) for points in drawn]


def bands(axis: Axes) -> set[tuple[float, float]]:
    """All corners of all bands."""
    corners = [path.vertices for band in axis.collections for path in band.get_paths()]
    return (
        {tuple(map(float, corner)) for corner in np.round(np.concatenate(corners), 6)} if corners else set()
    )


def assert_drawn(axis: Axes, mine: pd.DataFrame) -> None:
    """A line through the values and a band between the limits."""
    x = (100 * mine["sparsity"]).round(6).tolist()
    assert (x, mine["value"].round(6).tolist()) in lines(axis)
    for limit in ("low", "high"):
        assert set(zip(x, mine[limit].round(6), strict=True)) <= bands(axis)


def words(axis: Axes) -> list[str]:
    return [text.get_text().strip() for text in axis.texts]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].texts]


def assert_readable(figure: Figure, texts: list[Text]) -> None:
    """No two texts on each other, none off the figure, after the figure was laid out for saving."""
    with plt.rc_context(report.figures.STYLE):
        figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in texts]  # of an annotation without its arrow
    for (one, first), (two, second) in combinations(zip(texts, boxes, strict=True), 2):
        apart = not first.padded(-1).overlaps(second.padded(-1))
        assert apart, f"{one.get_text()} lies on {two.get_text()}"
    for text, box in zip(texts, boxes, strict=True):
        assert figure.bbox.padded(1).contains(*box.min), text.get_text()
        assert figure.bbox.padded(1).contains(*box.max), text.get_text()


# -- Figure 1 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsities", [SPARSITIES, [0.4]], ids=["five", "one"])
def test_easy_and_hard_are_drawn_with_their_gap(sparsities: list[float]) -> None:
    points = easy_hard(sparsities)
    figure = report.easy_hard_figure(points, printed=published.table(1, "Figure 1"))
    left, right = figure.axes
    for axis, quantity in ((left, "easy"), (left, "hard"), (right, "gap")):
        for method in ("pruned", "control"):
            assert_drawn(axis, arm(points, quantity, "dense", method))
    assert ([40.0, 85.0], [16.1, 22.7]) in [(sorted(x), sorted(y)) for x, y in lines(right)]
    assert words(left) == ["easy items", "hard items"]
    assert legend(figure) == [
        "dense",
        "pruned",
        "dense control, trained for as many steps",
        "paper (BERT-base)",
    ]
    assert (left.get_ylabel(), right.get_ylabel()) == ("accuracy (%)", "percentage points")
    assert left.get_xlabel() == right.get_xlabel() == "sparsity (% of weights removed)"
    assert right.get_ylim()[0] == 0
    dashed = [line.get_linestyle() for line in left.lines if line.get_label() == LABEL["control"]]
    assert dashed == ["--", "--"]
    assert_readable(figure, left.texts)
    assert plt.get_fignums() == []


def test_easy_and_hard_do_without_control_and_printed_gaps() -> None:
    points = easy_hard()
    figure = report.easy_hard_figure(points[points["method"] != "control"])
    assert legend(figure) == ["dense", "pruned"]
    assert_drawn(figure.axes[1], arm(points, "gap", "dense", "pruned"))


def test_a_negative_gap_is_in_the_picture() -> None:
    points = easy_hard()
    points.loc[points["quantity"] == "gap", ["value", "low", "high"]] -= 30
    assert report.easy_hard_figure(points).axes[1].get_ylim()[0] < points["low"].min()


# -- Figure 3 --------------------------------------------------------------------------------------------------


def test_mitigation_is_drawn_beside_the_printed_points() -> None:
    points = mitigation()
    figure = report.mitigation_figure(points, printed=published.table(1, "Table 4"), chance=50)
    left, right = figure.axes
    for axis, quantity in ((left, "ood"), (right, "f_bias")):
        for method in ("vanilla", "rmc", "control"):
            assert_drawn(axis, arm(points, quantity, method))
    for axis, vanilla, rmc in ((left, 54.7, 58.6), (right, 1.204, 1.049)):
        hollow = {
            to_rgba(line.get_color()): (line.get_xdata().tolist(), line.get_ydata().tolist())
            for line in axis.lines
            if line.get_markerfacecolor() == "white" and len(line.get_xdata())
        }
        assert hollow == {to_rgba(look.BLUE): ([40], [vanilla]), to_rgba(look.GREEN): ([40], [rmc])}
    assert legend(figure) == ["pruned, Vanilla", "pruned, RMC", LABEL["control"], "paper (BERT-base)"]
    assert (words(left), words(right)) == (["chance"], ["dense"])
    assert "%" in left.get_ylabel()
    assert "bias" in right.get_ylabel()
    assert plt.get_fignums() == []


def test_mitigation_does_without_control_chance_and_print() -> None:
    points = mitigation()
    figure = report.mitigation_figure(points[points["method"] != "control"])
    assert legend(figure) == ["pruned, Vanilla", "pruned, RMC"]
    assert words(figure.axes[0]) == []


def test_a_single_sparsity_still_shows_its_interval() -> None:
    points = mitigation([0.4])
    figure = report.mitigation_figure(points)
    for axis, quantity in zip(figure.axes, ("ood", "f_bias"), strict=True):
        bars = [bar for bar in axis.collections if isinstance(bar, LineCollection)]
        drawn = {tuple(np.round(np.ravel(ends), 6)) for bar in bars for ends in bar.get_segments()}
        mine = points[points["quantity"] == quantity]
        assert drawn == {
            (40, round(low, 6), 40, round(high, 6))
            for low, high in zip(mine["low"], mine["high"], strict=True)
        }


def test_an_unbounded_f_bias_leaves_the_panel_and_the_rest_legible() -> None:
    points = mitigation()
    bounded = report.mitigation_figure(points).axes[1].get_ylim()
    points.loc[(points["quantity"] == "f_bias") & (points["sparsity"] == 0.85), "high"] = np.inf
    points.loc[(points["quantity"] == "f_bias") & (points["sparsity"] == 0.85), "low"] = -np.inf
    axis = report.mitigation_figure(points).axes[1]
    values = points[points["quantity"] == "f_bias"]["value"]
    low, high = axis.get_ylim()
    assert low < min(values.min(), 1) < max(values.max(), 1) < high
    assert high - low < 4 * (bounded[1] - bounded[0])
    assert max(y for _, y in bands(axis)) > high
    assert min(y for _, y in bands(axis)) < low


# -- difficulty ------------------------------------------------------------------------------------------------


def confidences() -> pd.DataFrame:
    generator = np.random.default_rng(3)
    parts = [
        pd.DataFrame(
            {"method": method, "subset": subset, "confidence": 1 / 3 + 2 / 3 * generator.random(200)}
        )
        for method in ("dense", "pruned")
        for subset in ("easy", "hard")
    ]
    return pd.concat(parts, ignore_index=True).assign(correct=lambda f: f["confidence"] > 0.5)


def test_confidence_is_a_share_of_each_subset_with_its_means() -> None:
    given = confidences()
    figure = report.confidence_figure(given)
    assert [axis.get_title("left") for axis in figure.axes] == ["Easy items", "Hard items"]
    for axis, subset in zip(figure.axes, ("easy", "hard"), strict=True):
        for method, steps in zip(("dense", "pruned"), axis.patches, strict=True):
            mine = given[(given["subset"] == subset) & (given["method"] == method)]
            values, edges, _ = steps.get_data()
            assert values.sum() == pytest.approx(100)
            inside = mine["confidence"].between(edges[3] / 100, edges[4] / 100, inclusive="left")
            assert values[3] == pytest.approx(100 * inside.mean())
            for column, style in (("confidence", "-"), ("correct", "--")):
                at = 100 * mine[column].mean()
                drawn = [
                    line for line in axis.lines if len(line.get_xdata()) and line.get_linestyle() == style
                ]
                assert any(line.get_xdata()[0] == pytest.approx(at) for line in drawn)
                assert any(f"{LABEL[method]}: " in text and f"{at:.1f} %" in text for text in words(axis))
        assert_readable(figure, axis.texts)
    assert legend(figure) == ["dense", "pruned", "mean confidence", "accuracy"]
    assert plt.get_fignums() == []


def test_confidence_does_without_a_subset_or_a_method() -> None:
    given = confidences()
    figure = report.confidence_figure(given[(given["subset"] == "hard") & (given["method"] == "dense")])
    assert [axis.get_title("left") for axis in figure.axes] == ["Hard items"]
    assert legend(figure) == ["dense", "mean confidence", "accuracy"]


def test_agreement_is_drawn_by_the_cut_beside_the_lines_given() -> None:
    cuts = np.linspace(0, 100, 21)
    curve = pd.DataFrame(
        {"cut": cuts, "value": 50 + cuts / 10, "low": 48 + cuts / 10, "high": 53 + cuts / 10}
    )
    figure = report.agreement_figure(
        curve.sample(frac=1, random_state=0), cut=56.1, printed=82.8, constant=82.6
    )
    (axis,) = figure.axes
    assert (cuts.tolist(), curve["value"].round(6).tolist()) in lines(axis)
    assert set(zip(cuts, curve["high"].round(6), strict=True)) <= bands(axis)
    for height in (82.8, 82.6):
        assert ([0.0, 1.0], [height, height]) in lines(axis)
    assert ([56.1, 56.1], [0.0, 1.0]) in lines(axis)
    assert words(axis) == ["cut at 56.1 %", "paper, 82.8 %", "best constant answer, 82.6 %"]
    assert_readable(figure, axis.texts)
    assert "%" in axis.get_xlabel()
    assert "%" in axis.get_ylabel()
    bare = report.agreement_figure(curve).axes[0]
    assert (len(bare.lines), words(bare)) == (1, [])
    assert plt.get_fignums() == []


def stages(generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    for group, names in {
        "fewer levels": ["four levels", "three levels", "two levels", "0.2 and 0.85"],
        "fewer samples": ["half", "a quarter", "a tenth"],
        "fewer weights": ["small", "mini", "tiny"],
        "no training (one-shot)": ["magnitude", "random", "quantised"],
    }.items():
        for name in names:
            cost, value = 10 ** generator.uniform(-2, 0), generator.uniform(0.5, 1)
            rows.append(
                (group, name, 0.0 if "one-shot" in group else cost, value, value - 0.03, value + 0.02)
            )
    return pd.DataFrame(rows, columns=["group", "label", "cost", "value", "low", "high"])


@pytest.mark.parametrize("seed", range(4))
def test_cheaper_first_stages_are_drawn_with_labels_that_do_not_collide(seed: int) -> None:
    given = stages(np.random.default_rng(seed))
    figure = report.stage_one_figure(given, ceiling=0.93)
    (axis,) = figure.axes
    for group, mine in given.groupby("group"):
        x = (100 * mine["cost"]).clip(lower=1).round(6).tolist()
        assert (x, mine["value"].round(6).tolist()) in lines(axis), group
        ends = set(zip(x, mine["low"].round(6), strict=True)) | set(
            zip(x, mine["high"].round(6), strict=True)
        )
        assert ends <= bands(axis)
    assert axis.get_xscale() == "log"
    assert words(axis)[1:] == given["label"].tolist()
    assert words(axis)[0] == "all five"
    assert legend(figure) == list(dict.fromkeys(given["group"]))
    assert axis.xaxis.get_major_formatter()(1) == "≤ 1"
    assert_readable(figure, axis.texts)
    assert plt.get_fignums() == []


def test_without_a_ceiling_there_is_no_line() -> None:
    given = stages(np.random.default_rng(0))
    assert words(report.stage_one_figure(given[given["cost"] > 0]).axes[0])[0] == "four levels"


def test_the_difficulty_of_every_sample_is_counted() -> None:
    generator = np.random.default_rng(2)
    alphas = {"mnli": 0.5, "fever": 0.3, "qqp": 0.2}
    given = pd.concat(
        [
            pd.DataFrame(
                {"task": task, "alpha": alpha, "difficulty": alpha + (1 - alpha) * generator.beta(1, 9, 500)}
            )
            for task, alpha in alphas.items()
        ]
    )
    figure = report.difficulty_figure(given)
    for axis, (task, alpha) in zip(figure.axes, alphas.items(), strict=True):
        counts, edges, _ = axis.patches[0].get_data()
        assert (counts.sum(), edges[0], edges[-1]) == (500, alpha, 1)
        assert axis.get_yscale() == "log"
        assert axis.get_title("left") == task.upper()
        assert f"α = {alpha:g}" in axis.get_xlabel()
        assert axis.lines[0].get_xdata()[0] == given[given["task"] == task]["difficulty"].median()
    assert plt.get_fignums() == []


# -- resolution ------------------------------------------------------------------------------------------------


def curves(*testbeds: str) -> pd.DataFrame:
    seeds = np.array([2, 3, 5, 10, 30, 100])
    return pd.concat(
        [
            pd.DataFrame({"testbed": bed, "seeds": seeds, "detectable": 10 / np.sqrt(seeds)})
            for bed in testbeds
        ]
    )


def printed_differences() -> pd.DataFrame:
    """Against BERT-base (Table 1) and against Vanilla (Table 4)."""
    rows = []
    for item, reference in (("Table 1", "BERT-base"), ("Table 4", "40% – Vanilla")):
        table = published.table(1, item)
        for testbed in ("HANS", "DEV"):
            values = table[table["column"] == f"MNLI {testbed}"].set_index("row")["printed"]
            rows += [(testbed, row, value - values[reference]) for row, value in values.iloc[1:].items()]
    return pd.DataFrame(rows, columns=["testbed", "label", "difference"])


def test_every_printed_difference_stands_beside_the_seeds_it_needs() -> None:
    given = curves("HANS", "DEV")
    figure = report.resolution_figure(given, printed_differences())
    assert [axis.get_title("left") for axis in figure.axes] == ["HANS", "DEV"]
    for axis in figure.axes:
        assert (
            given["seeds"].unique().tolist(),
            (10 / np.sqrt(given["seeds"].unique())).round(6).tolist(),
        ) in lines(axis)
        assert ([3, 3], [0, 1]) in lines(axis)
        assert_readable(figure, axis.texts)
    told = " ".join(" ".join(words(axis)) for axis in figure.axes).replace("\n", " ").replace("\u00a0", " ")
    assert "70%: 7.6 points, 2 seeds" in told
    assert "40%: 5.1 points, 4 seeds" in told  # (10 / 5.1)^2 = 3.84
    assert "40% – RMC: 3.9 points, 7 seeds" in told  # 6.6
    assert "points, over 100 seeds" in told  # 0.1 of DEV
    hans = {round(y[0], 1): x[0] for x, y in lines(figure.axes[0]) if len(x) == 2 and y[0] == y[1]}
    assert hans[5.1] == pytest.approx((10 / 5.1) ** 2)
    assert "percentage points" in figure.axes[0].get_ylabel()
    assert plt.get_fignums() == []


def test_equal_differences_share_a_label_and_none_is_no_difference() -> None:
    rows = [("HANS", "a", 2.0), ("HANS", "b", -2.0), ("HANS", "c", 0.0), ("other", "d", 1.0)]
    differences = pd.DataFrame(rows, columns=["testbed", "label", "difference"])
    (axis,) = report.resolution_figure(curves("HANS"), differences).axes
    assert [text.replace("\u00a0", " ") for text in words(axis)] == ["a, b: 2.0 points, 25 seeds"]


def test_a_test_bed_without_differences_shows_its_curve() -> None:
    none = pd.DataFrame({"testbed": [], "label": [], "difference": []})
    assert words(report.resolution_figure(curves("HANS"), none).axes[0]) == []


# -- what they share -------------------------------------------------------------------------------------------


def test_labels_are_moved_no_more_than_they_must_be() -> None:
    with plt.rc_context(look.STYLE):
        figure, (axis,) = look.panels(["a"], width=4, height=4)
        axis.set_ylim(0, 100)
        figure.draw_without_rendering()
        line = 100 * 1.35 * 8 * figure.dpi / 72 / axis.get_window_extent().height
        placed = look.apart(axis, np.array([50.0, 10.0, 50.0, 90.0]), size=8)
        np.testing.assert_allclose(placed, [50 - line / 2, 10, 50 + line / 2, 90])
        tall = look.apart(axis, np.array([50.0, 50.0]), size=8, lines=np.array([1.0, 3.0]))
        np.testing.assert_allclose(tall, [50 - line, 50 + line])
        assert len(look.apart(axis, np.array([]), size=8)) == 0


# -- paper 2 ---------------------------------------------------------------------------------------------------

FAMILY = ["BERT-base", "Distil-BERT", "BERT-medium", "BERT-mini", "Tiny-BERT"]
SECOND = "BERT-large, another seed"
KS = [1, 2, 5, 10, 20, 50, 100]


def neighbours(
    models: list[str], panels: tuple[str, ...] = ("before", "after", "distribution")
) -> pd.DataFrame:
    rows = []
    for panel in panels:
        for place, model in enumerate(models):
            for k in KS:
                value = 0.4 - 0.05 * place + 0.001 * k
                chance = 0.05 + 0.01 * place if panel == "distribution" else k / (4000 - k)
                rows.append((panel, model, k, value, value - 0.02, value + 0.03, chance, 2000, 3))
    columns = ["panel", "model", "k", "value", "low", "high", "chance", "n", "seeds"]
    return pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=0)


def bars(axis: Axes) -> set[tuple[float, float]]:
    """Both ends of every upright bar."""
    drawn = [one for one in axis.collections if isinstance(one, LineCollection)]
    return {tuple(np.round(end, 6)) for one in drawn for bar in one.get_segments() for end in bar}


def test_neighbour_agreement_is_drawn_over_k_beside_control_and_chance() -> None:
    given = neighbours([*FAMILY, SECOND])
    figure = report.neighbour_figure(given)
    titles = [axis.get_title("left").replace("\n", " ") for axis in figure.axes]
    assert titles == [
        "a  Data representation before fine-tuning",
        "b  Data representation after fine-tuning",
        "c  Data distribution",
    ]
    for axis, panel in zip(figure.axes, ("before", "after", "distribution"), strict=True):
        for model in [*FAMILY, SECOND]:
            mine = given[(given["panel"] == panel) & (given["model"] == model)].sort_values("k")
            assert (KS, mine["value"].round(6).tolist()) in lines(axis)
            drawn = bands(axis) if model == SECOND else bars(axis)
            assert set(zip(KS, mine["low"].round(6), strict=True)) <= drawn
            assert set(zip(KS, mine["high"].round(6), strict=True)) <= drawn
        dotted = [line for line in axis.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
        assert len(dotted) == 1
        (control,) = [line for line in axis.lines if line.get_label() == SECOND]
        assert (control.get_linestyle(), to_rgba(control.get_color())) == ("--", to_rgba("black"))
        assert axis.get_xscale() == "log"
        assert [text.get_text() for text in axis.get_xticklabels()] == [f"{k}" for k in KS]
        assert axis.get_ylim()[0] == 0
    assert sorted(legend(figure)) == sorted([*FAMILY, SECOND, "two unrelated models"])
    assert plt.get_fignums() == []


def test_a_model_keeps_its_colour_and_a_panel_its_letter_when_others_are_missing() -> None:
    def colours(figure: Figure) -> dict[str, Any]:
        return {str(line.get_label()): line.get_color() for axis in figure.axes for line in axis.lines}

    figure = report.neighbour_figure(neighbours(["Tiny-BERT", "t5-small"], ("distribution",)))
    all_of_them = colours(report.neighbour_figure(neighbours([*FAMILY, "t5-small"])))
    assert {name: colours(figure)[name] for name in ("Tiny-BERT", "t5-small")} == {
        name: all_of_them[name] for name in ("Tiny-BERT", "t5-small")
    }
    assert len({to_rgba(all_of_them[name]) for name in [*FAMILY, "t5-small"]}) == 6
    assert [axis.get_title("left") for axis in figure.axes] == ["c  Data distribution"]
    with pytest.raises(ValueError, match="unknown panel 'errors'; there are before, after, distribution"):
        report.neighbour_figure(neighbours(FAMILY, ("errors",)))


def test_an_undefined_agreement_leaves_the_axis_between_0_and_1() -> None:
    given = neighbours(FAMILY, ("distribution",))
    given.loc[given["model"] == "Tiny-BERT", ["value", "low", "high", "chance"]] = [
        np.nan,
        -np.inf,
        np.inf,
        np.nan,
    ]
    (axis,) = report.neighbour_figure(given).axes
    low, high = axis.get_ylim()
    assert low == 0
    assert given["value"].max() < high < 1.1
    known = given[given["model"] != "Tiny-BERT"]
    assert {y for _, y in bars(axis)} == set(known[["low", "high"]].to_numpy().round(6).ravel())


def pairs() -> pd.DataFrame:
    """Table 2 as measured, with the control first; representations have no bound."""
    columns = {
        "errors": "Prediction Errors",
        "before": "Data Representation before fine tuning Mean",
        "after": "Data Representation after fine tuning Mean",
        "distribution": "Data Distribution",
    }
    table, rows = published.table(2, "Table 2"), []
    for name, column in columns.items():
        printed = table[table["column"] == column].set_index("row")["printed"]
        for pair in [*printed.index, f"BERT-large / {SECOND}"]:
            theirs = printed.get(pair, np.nan)
            value = 0.6 if np.isnan(theirs) else 0.9 * theirs
            bound = 1.5 * value if name in ("errors", "distribution") else np.nan
            rows.append((name, pair, value, 0.9 * value, 1.1 * value, value / 2, bound, theirs, 0.54, 0.66))
    columns_of = ["characteristic", "pair", "value", "low", "high", "chance", "bound", "printed"]
    return pd.DataFrame(rows, columns=[*columns_of, "control_low", "control_high"])


def test_each_pair_is_a_row_of_value_limits_chance_bound_print_and_control() -> None:
    given = pairs()
    figure = report.pairs_figure(given)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == list(dict.fromkeys(given["pair"]))
    heights = dict(zip(labels, figure.axes[0].get_yticks(), strict=True))
    for axis, name in zip(figure.axes, ("errors", "before", "after", "distribution"), strict=True):
        drawn = {
            (
                str(line.get_marker()),
                *(tuple(np.round(one, 6)) for one in (line.get_xdata(), line.get_ydata())),
            )
            for line in axis.lines
        }
        for one in given[given["characteristic"] == name].to_dict("records"):
            at = round(heights[one["pair"]], 6)
            assert ("None", (round(one["low"], 6), round(one["high"], 6)), (at, at)) in drawn
            for column, marker in {"value": "o", "chance": "|", "bound": "$]$", "printed": "D"}.items():
                there = [mark for mark in drawn if mark[0] == marker and mark[2] == (at,)]
                known = [] if np.isnan(one[column]) else [(marker, (round(one[column], 6),), (at,))]
                assert there == known
            assert {(0.54, at - 0.5), (0.66, at + 0.5)} <= bands(axis)
    low, high = figure.axes[0].get_ylim()
    assert low > high  # the first row on top
    assert legend(figure) == [
        "ours, 95 % interval",
        "two trainings of a model, at these sizes",
        "two unrelated models",
        "largest for these sizes",
        "paper",
    ]
    assert [text.replace("\n", " ") for text in words(figure.axes[-1])] == [
        "with the original",
        "among the compressed",
        "control",
    ]
    assert_readable(figure, [*figure.axes[0].get_yticklabels(), *figure.axes[-1].texts])
    assert plt.get_fignums() == []


def test_pairs_with_the_original_stand_on_top_and_marks_may_be_missing() -> None:
    given = pd.DataFrame(
        {"characteristic": "errors", "pair": ["a / b", "b / c", f"a / {SECOND}", "a / c"], "value": 0.5}
    )
    figure = report.pairs_figure(given.assign(low=-np.inf, high=np.inf))
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["a / b", "a / c", "b / c", f"a / {SECOND}"]
    assert legend(figure) == ["ours, 95 % interval"]
    low, high = figure.axes[0].get_xlim()
    assert -0.1 < low < 0 < 1 <= high < 1.1
    with pytest.raises(ValueError, match="unknown characteristic 'auc'; there are errors, before"):
        report.pairs_figure(given.assign(characteristic="auc", low=0, high=1))


def attacked() -> pd.DataFrame:
    table = published.table(2, "Table 3").pivot(index="row", columns="column", values="printed")
    before, after = (table[f"{name} accuracy"].to_numpy() for name in ("Original", "After attack"))
    limits = {"before": before - 0.02, "after": after - 0.04}
    columns: dict[str, Any] = {
        "model": table.index,
        "printed_before": before,
        "printed_after": after,
    } | limits
    for name, value in limits.items():
        columns |= {f"{name}_low": value - 0.03, f"{name}_high": value + 0.01}
    return pd.DataFrame(columns)


def test_accuracy_before_and_after_the_attack_is_joined_beside_the_printed() -> None:
    given = attacked()
    figure = report.robustness_under_attack_figure(given)
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.get_yticklabels()] == given["model"].tolist()
    drawn = [([*np.round(x, 4)], [*np.round(y, 4)]) for x, y in lines(axis)]
    for at, one in enumerate((100 * given.drop(columns="model")).round(4).to_dict("records")):
        assert ([one["before"], one["after"]], [at, at]) in drawn
        for name in ("before", "after"):
            assert ([one[f"{name}_low"], one[f"{name}_high"]], [at, at]) in drawn
            assert ([one[name]], [at]) in drawn
            assert ([one[f"printed_{name}"]], [pytest.approx(at + 0.28)]) in drawn
    large = given.index[given["model"] == "bert large"][0]
    assert words(axis)[large] == "−43 %  (paper −40 %)"  # 0.5235 / 0.9239 and 0.5635 / 0.9439
    assert legend(figure) == ["before, 95 % interval", "after the attack, 95 % interval", "paper"]
    assert_readable(figure, [*axis.get_yticklabels(), *axis.texts])
    assert "%" in axis.get_xlabel()
    assert plt.get_fignums() == []


def test_the_attack_figure_does_without_print_and_names_no_change_of_nothing() -> None:
    given = attacked().drop(columns=["printed_before", "printed_after"])
    given.loc[0, ["before", "before_low", "before_high", "after", "after_low", "after_high"]] = 0.0
    given.loc[1, "after"] = 1.1 * given.loc[1, "before"]
    (axis,) = (figure := report.robustness_under_attack_figure(given)).axes
    assert words(axis)[:2] == ["undefined", "+10 %"]
    assert legend(figure) == ["before, 95 % interval", "after the attack, 95 % interval"]
