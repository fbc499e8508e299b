"""Paper 2's tables in their layout, from cells under the project's names."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from robust_lib import compare, published, report
from robust_lib.report.layout import UNITS

LARGE, BASE, MINI, TINY = "BERT-large", "BERT-base", "BERT-mini", "Tiny-BERT"
AGAIN = f"{LARGE}, another seed"
Cells = dict[tuple[str, str], compare.Interval]


def measured(value: float, half: float = 0.02) -> compare.Interval:
    return compare.Interval(value, value - half, value + half, 1000, 3, 0.95, 0.01)


def made(item: str, cells: Cells, **options: Any) -> report.Table:
    given = {"units": report.MINIATURE_UNITS, "scale": "paper", "same_setting": True} | options
    return report.paper_table(cells, printed=published.table(2, item), **given)


def as_printed(item: str) -> dict[tuple[str, str], float]:
    """Every printed number by row and column."""
    printed = published.table(2, item)
    return {(one["row"], one["column"]): one["printed"] for one in printed.to_dict("records")}


def places(cells: Cells) -> list[tuple[str, str]]:
    return list(cells)


def assert_as_printed(table: report.Table, item: str) -> None:
    assert [(one["row"], one["column"]) for one in table.records] == list(as_printed(item))
    assert {one["verdict"] for one in table.scored} == {"reproduced"}


# -- Table 1 ---------------------------------------------------------------------------------------------------


def weights(**others: float) -> dict[str, dict[str, float]]:
    """The printed sizes under the project's names, the smallest first."""
    printed = as_printed("Table 1")
    columns = {"Layers": "layers", "Parameters (Million)": "parameters", "Embedding Dimension": "width"}
    columns |= {"Size (MB)": "megabytes"}
    of = {name: one for name, (one, _) in report.SPELLINGS.items()}
    return {
        name: {size: printed[of[name], column] for column, size in columns.items()} | others
        for name in reversed(of)
    }


def test_sizes_stand_under_the_names_of_table_1() -> None:
    table = made("Table 1", report.family_cells(weights(gflop=3.0)))
    assert_as_printed(table, "Table 1")
    assert set(table.units.values()) == {"layer", "million", "width", "megabyte"}
    assert {(one["n"], one["seeds"]) for one in table.records} == {(None, None)}
    assert "| Distil BERT | 6  (6 ✓)" in repr(table)


def test_what_is_counted_has_neither_seeds_nor_limits_in_the_legend() -> None:
    text = repr(made("Table 1", report.family_cells(weights())))
    assert text.endswith("Scale paper. A cell: ours, then the paper's value and its verdict (✓ reproduced).")


def test_another_model_keeps_its_name_and_stands_behind() -> None:
    given = {"t5-small": weights()[TINY]} | weights()
    cells = report.family_cells(given)
    assert [row for row, _ in cells][-4:] == ["t5-small"] * 4
    table = made("Table 1", report.family_cells({"t5-small": weights()[TINY]}))
    assert table.scored == []
    assert "brackets" not in repr(table)


def test_a_missing_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"weights of 'Tiny-BERT' lack 'width'; there are layers"):
        report.family_cells({TINY: {"layers": 2, "parameters": 4.4, "megabytes": 17.7}})


# -- Table 2 ---------------------------------------------------------------------------------------------------


def pairs(*, turned: bool) -> dict[tuple[str, str, str], compare.Interval]:
    """Every printed cell, its pair as printed or turned round."""
    found = {}
    for (row, column), value in reversed(as_printed("Table 2").items()):
        first, second = reversed(row.split(" / ")) if turned else row.split(" / ")
        found[first, second, column] = measured(value)
    return found


@pytest.mark.parametrize("turned", [False, True])
def test_pairs_stand_as_printed_in_whichever_order_they_come(turned: bool) -> None:
    table = made("Table 2", report.pair_cells(pairs(turned=turned)))
    assert_as_printed(table, "Table 2")
    assert table.records[-1]["row"] == "Tiny-BERT / BERT-mini"


def test_a_pair_of_ours_stands_behind_and_a_column_of_ours_beside_its_own() -> None:
    errors, distribution = "Prediction Errors", "Data Distribution"
    given = {(LARGE, AGAIN, errors): measured(0.7)} | pairs(turned=False)
    given |= {(LARGE, BASE, f"{errors}, chance"): measured(0.2), (LARGE, AGAIN, distribution): measured(0.6)}
    table = made("Table 2", report.pair_cells(given))
    rows = list(dict.fromkeys(one["row"] for one in table.records))
    assert rows == [*published.table(2, "Table 2")["row"].unique(), f"{LARGE} / {AGAIN}"]
    assert list(table.units)[:2] == [errors, f"{errors}, chance"]
    assert len(table.scored) == len(as_printed("Table 2"))


def test_pairs_refuse_a_column_of_no_kind_and_a_cell_given_twice() -> None:
    with pytest.raises(ValueError, match=r"no column 'Colour' in Table 2; there are Prediction Errors"):
        report.pair_cells({(LARGE, BASE, "Colour"): measured(0.4)})
    twice = dict.fromkeys(
        [(TINY, MINI, "Data Distribution"), (MINI, TINY, "Data Distribution")], measured(0.4)
    )
    with pytest.raises(ValueError, match=r"Tiny-BERT / BERT-mini, Data Distribution: given twice"):
        report.pair_cells(twice)


def test_every_characteristic_is_a_block_and_its_own_column_is_titled_by_its_unit() -> None:
    cells = report.pair_cells({(LARGE, BASE, column): measured(0.3) for column in report.PAIR_UNITS})
    table = made("Table 2", cells)
    lines = repr(table).splitlines()
    heads = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line, below in pairwise(lines)
        if below.startswith("| --")
    ]
    of_sets = ["Jaccard", "chance", "overlap coefficient", "kappa"]
    of_neighbours = ["Mean", "Mean, chance", "Variance", "overlap coefficient", "kappa", "CKA"]
    assert heads == [
        ["Prediction Errors", *of_sets],
        ["Data Representation before fine tuning", *of_neighbours],
        ["Data Representation after fine tuning", *of_neighbours],
        ["Data Distribution", *of_sets],
    ]
    assert set(report.PAIR_UNITS.values()) <= set(UNITS)
    assert "0.300 [0.280, 0.320]  (0.528 ≠)" in repr(table)
    assert table._repr_html_().count(">Jaccard<") == 2


# -- Table 3 ---------------------------------------------------------------------------------------------------


def attacks(*names: str) -> list[dict[str, compare.Interval]]:
    """Before, after, absolute and relative change: of the paper's models what is printed, all as fractions."""
    printed = as_printed("Table 3")
    columns = list(dict.fromkeys(column for _, column in printed))
    found = []
    for column, factor in zip(columns, (1, 1, 1, 0.01), strict=True):
        of = {name: printed.get((report.SPELLINGS.get(name, ("", ""))[1], column), 0.5) for name in names}
        found.append({name: measured(factor * value, 0.001) for name, value in of.items()})
    return found


def test_attacks_stand_under_the_names_of_table_3_and_the_relative_change_in_percent() -> None:
    table = made("Table 3", report.attack_cells(*attacks(*reversed(report.SPELLINGS))))
    assert_as_printed(table, "Table 3")
    assert table.units["% change in accuracy"] == "relative change"
    cell = next(one for one in table.records if one["column"] == "% change in accuracy")
    assert (cell["row"], cell["ours"]) == ("bert large", pytest.approx(40.30366))
    assert cell["high"] - cell["ours"] == pytest.approx(0.1)


def test_an_attacked_control_stands_behind_and_what_was_not_measured_is_empty() -> None:
    before, after, absolute, _ = attacks(AGAIN, LARGE)
    cells = report.attack_cells(before, after, absolute, {})
    assert list(dict.fromkeys(row for row, _ in cells)) == ["bert large", AGAIN]
    assert len(cells) == 6


# -- what papers 2 and 3 share ---------------------------------------------------------------------------------


def test_a_paper_that_does_not_state_its_runs_made_one() -> None:
    """One training may be off by z sd: 1.96 x 0.01 beside our half of 0.02; beyond the root of both it differs."""
    off = np.hypot(0.02, 1.959964 * 0.01)
    for further, expected in ((-0.002, "reproduced"), (0.002, "differs")):
        cells = {(f"{LARGE} / {BASE}", "Prediction Errors"): measured(0.528 + off + further)}
        assert made("Table 2", cells).records[0]["verdict"] == expected


def test_a_unit_that_is_none_is_refused_with_those_there_are() -> None:
    cells = {(LARGE, "Layers"): compare.counted(24)}
    with pytest.raises(
        ValueError, match=r"column 'Layers' has the unit 'storeys'; give `units` one of million"
    ):
        made("Table 1", cells, units={"Layers": "storeys"})
    with pytest.raises(ValueError, match="column 'Colour' is known to no table of paper 2"):
        made("Table 1", {(LARGE, "Colour"): compare.counted(1)})
