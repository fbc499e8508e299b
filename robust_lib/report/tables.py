"""A printed table rebuilt from measured cells: the tables of papers 2 and 3."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from robust_lib import published
from robust_lib.compare import Interval
from robust_lib.report.layout import UNITS, Table
from robust_lib.report.scorecard import Record, Scale, record, verdict


def paper_table(
    cells: Mapping[tuple[str, str], Interval],
    *,
    printed: pd.DataFrame,
    units: Mapping[str, str],
    scale: Scale,
    setting: str = "",
    same_setting: bool = False,
) -> Table:
    """A paper's table in its layout from measured cells by row and column, both named as in the paper.

    `printed` is `published.table(3, "Table 1")`. Rows and columns of the paper stand in its order, as far as they were
    measured; one of ours stands behind the one before it in `cells`. A cell is in the unit of its column: percent,
    not a share, where the paper prints percent. What is counted (layers, a teacher's loyalty to itself) has n and
    seeds 0.

    `units` are those of columns, each of UNITS, where the published unit is more general or there is none: a name
    without one takes that of its part before a comma, as "Loyalty Label, chance".

    A printed ± is taken as the standard deviation between training seeds: paper 3 has it over three runs and does not
    say whether it is that or the error of the mean. Without it the spread is that of `published.seed_noise`, then that
    of our own seeds. A paper that does not state its runs made one. `setting` as in `Table`, `same_setting` as in
    `verdict`. Raises ValueError for no cells and for a column without a unit.
    """
    if not cells:
        raise ValueError("no cell is measured: give intervals by (row, column)")
    paper, item = int(printed["paper"].iloc[0]), str(printed["item"].iloc[0])
    protocol = published.protocol(paper, item)
    runs = protocol["runs"] if isinstance(protocol["runs"], int) else 1
    theirs = {(one["row"], one["column"]): one for one in printed.to_dict("records")}
    rows, columns = (
        _order(given, printed[name])
        for given, name in zip(zip(*cells, strict=True), ("row", "column"), strict=True)
    )

    def told(row: str, column: str) -> Record:
        ours, print_ = cells[row, column], theirs.get((row, column))
        if print_ is None:
            return record(paper, item, row, column, None, ours, scale, None)
        judged = verdict(
            print_["printed"], ours, _noise(print_, ours), scale,
            runs=runs, rounding=print_["rounding"], same_setting=same_setting,
        )  # fmt: skip
        return record(paper, item, row, column, print_["printed"], ours, scale, judged)

    records = tuple(told(row, column) for row in rows for column in columns if (row, column) in cells)
    title = f"Paper {paper}, {item}: {protocol['caption']} (in the paper)"
    return Table(title, records, _units(columns, printed, units), setting)


def _order(ours: Sequence[str], theirs: "pd.Series[str]") -> list[str]:
    """Names in the paper's order, each of ours behind the one before it."""
    printed = list(dict.fromkeys(theirs))
    places: dict[str, int] = {}
    place = -1
    for name in dict.fromkeys(ours):
        place = printed.index(name) if name in printed else place
        places[name] = place
    return sorted(places, key=lambda name: (places[name], name not in printed))


def _units(columns: Sequence[str], printed: pd.DataFrame, given: Mapping[str, str]) -> dict[str, str]:
    known: dict[str, str] = dict(zip(printed["column"], printed["unit"], strict=True)) | dict(given)
    units = {column: known.get(column, known.get(column.partition(",")[0], "")) for column in columns}
    for column, unit in units.items():
        if unit not in UNITS:
            told = (
                f"has the unit {unit!r}"
                if unit
                else f"is known to no table of paper {printed['paper'].iloc[0]}"
            )
            raise ValueError(f"column {column!r} {told}; give `units` one of {', '.join(UNITS)} for it")
    return units


def _noise(print_: Mapping[Any, Any], ours: Interval) -> float:
    """Standard deviation between seeds behind a printed cell, in its unit."""
    task = str(print_["testbed"]).partition("/")[0]
    known = [print_["spread"]]
    if print_["metric"] == "accuracy":
        percent = 100 if print_["unit"] == "percent" else 1
        known.append(percent * published.seed_noise(task, print_["testbed"]).sd)
    return next((float(sd) for sd in known if not math.isnan(sd)), ours.seed_sd)
