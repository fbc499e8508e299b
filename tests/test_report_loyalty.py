"""Paper 3's tables in their layout, the figures of loyalty and transfer, attacked texts as diffs."""

import re
from itertools import combinations, product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from robust_lib import compare, published, report
from robust_lib.report.layout import UNITS

TABLES = ("Table 1", "Table 2", "Table 3")


def measured(value: float, half: float = 0.5, *, seed_sd: float = np.nan, seeds: int = 3) -> compare.Interval:
    return compare.Interval(value, value - half, value + half, 1000, seeds, 0.95, seed_sd)


def as_printed(item: str, half: float = 0.5) -> dict[tuple[str, str], compare.Interval]:
    """Every printed cell, measured as it was printed."""
    printed = published.table(3, item)
    return {(one["row"], one["column"]): measured(one["printed"], half) for one in printed.to_dict("records")}


def made(item: str, cells: dict[tuple[str, str], compare.Interval], **options: Any) -> report.Table:
    given = {"units": report.COMPRESSION_UNITS, "scale": "paper", "same_setting": True} | options
    return report.paper_table(cells, printed=published.table(3, item), **given)


def rows(table: report.Table) -> list[str]:
    return list(dict.fromkeys(one["row"] for one in table.records))


def cell(table: report.Table, row: str, column: str) -> report.Record:
    return next(one for one in table.records if (one["row"], one["column"]) == (row, column))


# -- tables ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", TABLES)
def test_a_table_stands_as_in_the_paper_whatever_the_order_of_the_cells(item: str) -> None:
    cells, printed = as_printed(item), published.table(3, item)
    table = made(item, dict(reversed(cells.items())))
    assert rows(table) == list(dict.fromkeys(printed["row"]))
    assert list(table.units) == list(dict.fromkeys(printed["column"]))
    assert [(one["row"], one["column"], one["printed"]) for one in table.records] == list(
        printed[["row", "column", "printed"]].itertuples(index=False, name=None)
    )
    assert {one["verdict"] for one in table.scored} == {"reproduced"}
    assert table.title == f"Paper 3, {item}: {published.protocol(3, item)['caption']} (in the paper)"
    assert set(table.units.values()) <= set(UNITS)


def test_rows_and_columns_of_ours_stand_behind_those_before_them() -> None:
    cells: dict[tuple[str, str], compare.Interval] = {}
    for row in ("Teacher", "Q8-PTQ", "Q8-PTQ (ONNX)", "Q8-QAT"):
        cells[row, "Speed-up"] = measured(1.0)
        cells[row, "Size"] = compare.counted(25.5)
        cells[row, "MNLI m"] = measured(80)
    cells["ours", "Loyalty Label, chance"] = measured(0.5)
    table = made("Table 1", cells)
    assert rows(table) == ["Teacher", "Q8-PTQ", "Q8-PTQ (ONNX)", "Q8-QAT", "ours"]
    assert list(table.units) == ["Speed-up", "Size", "MNLI m", "Loyalty Label, chance"]
    assert cell(table, "Teacher", "Size")["printed"] is None
    assert cell(table, "Q8-PTQ (ONNX)", "MNLI m")["verdict"] is None
    assert cell(table, "Teacher", "Size")["n"] is None
    assert len(table.scored) == 6
    first = made("Table 1", {("ours", "MNLI m"): measured(80), ("Teacher", "MNLI m"): measured(80)})
    assert rows(first) == ["ours", "Teacher"]


def test_units_are_told_and_columns_stand_in_the_papers_groups() -> None:
    table = made("Table 1", as_printed("Table 1"))
    text, page = repr(table), table._repr_html_()
    heads = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line, below in zip(text.splitlines(), text.splitlines()[1:], strict=False)
        if below.startswith("| --")
    ]
    assert heads == [
        ["", "# Layer", "Speed-up"],
        ["MNLI", "m", "mm"],
        ["Loyalty", "Label", "Probability"],
        ["Adversarial Attack", "Acc", "#Query"],
    ]
    for told in ("layers counted", "speed-up over the teacher as a factor", "loyalty in percent"):
        assert told in text.lower()
        assert told in page.lower()
    assert "queries per attacked text that was right" in text
    assert "89.2 [88.7, 89.7]  (89.2 ✓)" in text  # Pure KD, label loyalty


def test_micro_compares_nothing() -> None:
    table = made("Table 1", as_printed("Table 1"), scale="micro")
    assert {one["verdict"] for one in table.scored} == {"not comparable at this scale"}


def test_the_printed_spread_is_the_noise_between_seeds() -> None:
    """Table 1 prints Pure KD 89.5 ± 0.2 over three runs: 0.5 / z / sqrt(1 / 3) would reach 0.226 beyond the limits."""
    w = 1.959964 * 0.2 * np.sqrt(1 / 3)
    for off, expected in (
        (0.05 + np.hypot(0.1, w) - 0.01, "reproduced"),
        (0.05 + np.hypot(0.1, w) + 0.01, "differs"),
    ):
        cells = {("Pure KD", "Loyalty Probability"): measured(89.5 + off, 0.1, seed_sd=9.0)}
        assert cell(made("Table 1", cells), "Pure KD", "Loyalty Probability")["verdict"] == expected


def test_without_a_printed_spread_our_own_seeds_tell_or_nothing_does() -> None:
    def told(seed_sd: float) -> str:
        cells = {("Theseus +KD", "Loyalty Label"): measured(95.0, 0.1, seed_sd=seed_sd)}
        return cell(made("Table 2", cells), "Theseus +KD", "Loyalty Label")["verdict"]

    assert told(0.2) == "differs"
    assert told(9.0) == "reproduced"
    assert told(np.nan) == "not comparable at this scale"


def test_a_table_saves_its_printed_cells_into_the_scorecard(tmp_path: Any) -> None:
    table = made("Table 3", as_printed("Table 3") | {("ours", "SST-2"): measured(90)})
    report.save(tmp_path / "micro" / "05", {"table_3": table}, about={"parameters": {"scale": "paper"}})
    records = report.scored(tmp_path / "micro" / "scorecard.json")
    assert len(records) == len(published.table(3, "Table 3"))


def test_a_table_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="no cell is measured"):
        made("Table 1", {})
    with pytest.raises(ValueError, match="column 'Colour' is known to no table of paper 3"):
        made("Table 1", {("Teacher", "Colour"): compare.counted(1)})


# -- figures ---------------------------------------------------------------------------------------------------

METHODS = {
    "teacher": ["Teacher"],
    "KD": ["Truncate & Finetune", "Pure KD"],
    "quantisation": ["Q8-PTQ", "Q8-QAT"],
    "module replacing": ["BERT-of-Theseus"],
}
QUANTITIES = ("accuracy", "label_loyalty", "probability_loyalty", "after_attack_accuracy")


def points(count: int = 1) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    made_up = []
    for group, methods in METHODS.items():
        for method, copy, quantity in product(methods, range(count), QUANTITIES):
            value = 50 + 40 * generator.random()
            row = {
                "group": group,
                "method": f"{method}{' again' * copy}",
                "quantity": quantity,
                "value": value,
            }
            row |= {
                "low": value - 1,
                "high": value + 2,
                "printed": value + 3 if method == "Q8-PTQ" else np.nan,
            }
            made_up.append(row | {"chance": value - 20 if "loyalty" in quantity else np.nan})
    return pd.DataFrame(made_up)


def texts(figure: Figure) -> list[Text]:
    axes = figure.axes
    labels = [*axes[0].get_yticklabels(), *(text for axis in axes for text in axis.texts)]
    return [text for text in labels if text.get_text()]


def assert_readable(figure: Figure, labels: list[Text]) -> None:
    with plt.rc_context(report.figures.STYLE):
        figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in labels]
    for (one, first), (two, second) in combinations(boxes, 2):
        assert not first.padded(-1).overlaps(second.padded(-1)), f"{one} lies on {two}"
    for text, box in boxes:
        assert figure.bbox.padded(1).contains(*box.min), text
        assert figure.bbox.padded(1).contains(*box.max), text


def test_each_method_is_a_row_of_values_limits_chance_and_print() -> None:
    given = points()
    figure = report.loyalty_figure(given)
    assert [axis.get_title("left") for axis in figure.axes] == [
        "Accuracy",
        "Label loyalty",
        "Probability loyalty",
        "After-attack accuracy",
    ]
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == list(dict.fromkeys(given["method"]))
    heights = dict(zip(labels, figure.axes[0].get_yticks(), strict=True))
    assert list(heights.values()) == sorted(heights.values())
    for axis, quantity in zip(figure.axes, QUANTITIES, strict=True):
        drawn = {
            (line.get_marker(), tuple(np.round(line.get_xdata(), 6)), tuple(np.round(line.get_ydata(), 6)))
            for line in axis.lines
        }
        for one in given[given["quantity"] == quantity].to_dict("records"):
            at = round(heights[one["method"]], 6)
            assert ("o", (round(one["value"], 6),), (at,)) in drawn
            assert ("None", (round(one["low"], 6), round(one["high"], 6)), (at, at)) in drawn
            assert (("|", (round(one["chance"], 6),), (at,)) in drawn) == ("loyalty" in quantity)
            assert (("D", (round(one["printed"], 6),), (at,)) in drawn) == (one["method"] == "Q8-PTQ")
        assert "%" in axis.get_xlabel()
    low, high = figure.axes[0].get_ylim()
    assert low > high  # the first row on top
    legend = [text.get_text() for text in figure.legends[0].texts]
    assert legend == ["ours, 95 % interval", "an unrelated model of the same accuracy", "paper (BERT-base)"]
    assert [text.get_text() for text in figure.axes[-1].texts] == list(METHODS)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("count", [1, 3])
def test_the_rows_can_be_read_at_six_and_at_eighteen_methods(count: int) -> None:
    figure = report.loyalty_figure(points(count))
    assert_readable(figure, texts(figure))


def test_groups_have_colours_of_their_own_and_the_teacher_is_black() -> None:
    figure = report.loyalty_figure(points())
    colours = [to_rgba(text.get_color()) for text in figure.axes[-1].texts]
    assert colours[0] == to_rgba("black")
    assert len(set(colours)) == len(colours)


def test_loyalty_does_without_print_chance_or_a_panel() -> None:
    given = points()
    given = given[given["quantity"] != "after_attack_accuracy"].drop(columns=["chance", "printed"])
    figure = report.loyalty_figure(given)
    assert len(figure.axes) == 3
    assert [text.get_text() for text in figure.legends[0].texts] == ["ours, 95 % interval"]
    with pytest.raises(ValueError, match="unknown quantity 'auc'; there are accuracy"):
        report.loyalty_figure(given.assign(quantity="auc"))


def test_an_unbounded_limit_leaves_the_panel_finite() -> None:
    given = points()
    given.loc[given["quantity"] == "accuracy", ["low", "high"]] = [-np.inf, np.inf]
    low, high = report.loyalty_figure(given).axes[0].get_xlim()
    assert -10 < low < 0
    assert 100 < high < 110


def transfers(names: list[str]) -> pd.DataFrame:
    pairs = [(one, two) for one in names for two in names if one != two]
    frame = pd.DataFrame(pairs, columns=["source", "target"])
    shares = np.linspace(0, 100, len(frame))
    return frame.assign(value=shares, n=100 + 10 * frame["source"].map(names.index))


@pytest.mark.parametrize("count", [3, 15])
def test_transfer_is_a_map_of_numbers_with_sources_and_targets_in_one_order(count: int) -> None:
    names = ["Teacher", *(f"Head Prune +KD+PTQ {i}" for i in range(count - 1))]
    given = transfers(names)
    figure = report.transfer_figure(given)
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.get_xticklabels()] == names
    assert [text.get_text() for text in axis.get_yticklabels()] == [
        f"{name} (n = {100 + 10 * i})" for i, name in enumerate(names)
    ]
    told = {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axis.texts
    }
    assert told == {
        (names.index(one["source"]), names.index(one["target"])): f"{one['value']:.0f}"
        for one in given.to_dict("records")
    }
    shown = np.ma.filled(axis.images[0].get_array(), np.nan)
    assert np.isnan(np.diag(shown)).all()
    assert shown[0, 1] == given["value"].iloc[0]
    assert axis.images[0].get_clim() == (0, 100)
    assert_readable(figure, [*axis.texts, *axis.get_yticklabels()])
    assert_readable(figure, [axis.xaxis.label, axis.yaxis.label, figure.axes[1].yaxis.label])
    assert "%" in figure.axes[1].get_ylabel()
    assert plt.get_fignums() == []


def test_a_pair_that_was_not_tried_stays_empty_and_counts_may_differ_by_target() -> None:
    given = transfers(["a", "b", "c"]).iloc[1:]
    given = pd.concat([given, pd.DataFrame([{"source": "b", "target": "d", "value": 5.0, "n": 7}])])
    axis = report.transfer_figure(given).axes[0]
    assert len(axis.texts) == 6
    assert [text.get_text() for text in axis.get_xticklabels()] == ["a", "b", "c", "d"]
    assert axis.get_yticklabels()[1].get_text() == "b (n = 7 to 110)"


# -- attacked texts ----------------------------------------------------------------------------------------------


def attack(**changed: Any) -> pd.DataFrame:
    one = {
        "id": 7,
        "original": "The man plays a guitar .",
        "attacked": "The guy plays a lute .",
        "queries": 43,
    }
    return pd.DataFrame([one | {"before": "entailment", "after": "neutral"} | changed])


def test_changed_words_stand_beside_what_they_were() -> None:
    assert repr(report.attack_diffs(attack())) == (
        "id 7 · entailment → neutral · 43 queries\nThe [-man-] {+guy+} plays a [-guitar-] {+lute+} ."
    )
    page = report.attack_diffs(attack())._repr_html_()
    assert re.findall(r"<del[^>]*>(.*?)</del>", page) == ["man", "guitar"]
    assert re.findall(r"<ins[^>]*>(.*?)</ins>", page) == ["guy", "lute"]
    assert "entailment → neutral" in page


def test_neighbouring_replacements_stand_word_by_word_and_lengths_may_change() -> None:
    shown = repr(report.attack_diffs(attack(original="a b c d", attacked="a x y d")))
    assert shown.endswith("\na [-b-] {+x+} [-c-] {+y+} d")
    shown = repr(report.attack_diffs(attack(original="a b c d", attacked="a x y z d")))
    assert shown.endswith("\na [-b c-] {+x y z+} d")
    shown = repr(report.attack_diffs(attack(original="a b c", attacked="a c")))
    assert shown.endswith("\na [-b-] c")


def test_victim_and_context_are_told_and_a_failed_attack_says_so() -> None:
    shown = repr(
        report.attack_diffs(attack(victim="Q8-PTQ", context="A concert .", after="entailment", queries=1))
    )
    assert shown.splitlines()[:2] == ["id 7 · Q8-PTQ · entailment, unchanged · 1 query", "A concert ."]


def test_texts_are_escaped_and_braces_stay() -> None:
    given = attack(
        original="<script> {0} a", attacked="<b> {0} a&b", context="<i>", victim="<u>", before="<x>"
    )
    page = report.attack_diffs(given)._repr_html_()
    for tag in ("<script>", "<b>", "<i>", "<u>", "<x>"):
        assert tag not in page
    assert "&lt;script&gt;" in page
    assert "{0}" in page
    assert "a&amp;b" in page


def test_the_colours_of_diffs_are_translucent_so_that_any_page_shows_through() -> None:
    page = report.attack_diffs(attack())._repr_html_()
    assert set(re.findall(r"background: (\w+)\(", page)) == {"rgba"}
    assert not re.search(r"[^-]color:", page)  # words keep the page's own colour


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="attacks lack the column 'attacked'; there are id, original"):
        report.attack_diffs(attack().drop(columns="attacked"))


# -- from arms to cells ----------------------------------------------------------------------------------------


def test_cells_are_the_measured_arms_under_the_papers_names() -> None:
    def shares(*values: float) -> compare.Arm:
        return compare.arm("mnli", "bed", {0: pd.Series(values)})

    seconds = pd.DataFrame({"teacher": [2.0, 4.0], "seconds": [1.0, 2.0]})
    arms = {
        ("mnli", "Pure KD", "accuracy mnli/validation_matched"): shares(1, 1, 0, 1),
        ("mnli", "Pure KD", "label_loyalty"): shares(1, 0, 0, 1),
        ("mnli", "Pure KD", "seconds 32"): compare.arm("mnli", "rounds", {0: seconds}),
        ("mnli", "Pure KD", "seconds 1"): compare.arm(
            "mnli", "rounds of one", {0: seconds.assign(seconds=4.0)}
        ),
        ("sst2", "Pure KD", "label_loyalty"): shares(0, 0, 0, 1),
    }
    weights = {("mnli", "Pure KD"): {"layers": 6, "parameters": 66.0, "megabytes": 264.0, "gflop": 5.0}}
    cells = report.compression_cells(arms, weights, "mnli", {"KD": "Pure KD", "Teacher": "Teacher"})
    assert cells["KD", "MNLI m"].value == 75
    assert cells["KD", "Loyalty Label"].value == 50
    assert (cells["KD", "Speed-up"].value, cells["KD", "Speed-up, batch 1"].value) == (2, 0.75)
    assert (cells["KD", "# Layer"].value, cells["KD", "Size"].value) == (6, 264)
    assert cells["Teacher", "Loyalty Probability"].value == 100
    assert ("Teacher", "# Layer") not in cells


def test_the_figure_takes_the_printed_value_of_a_method_or_none() -> None:
    cells = {("Pure KD", "MNLI m"): measured(80), ("Q8-PTQ", "Loyalty Label"): measured(99)}
    cells |= {("Q8-PTQ", "Loyalty Label, chance"): measured(90)}
    frame = report.loyalty_frame(cells, published.table(3, "Table 1")).set_index("method")
    assert frame.loc["Pure KD", ["group", "quantity", "printed"]].tolist() == ["KD", "accuracy", 81.1]
    assert frame.loc["Q8-PTQ", ["quantity", "printed", "chance"]].tolist() == ["label_loyalty", 89.6, 90]
