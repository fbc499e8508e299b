"""The numbers behind the figures of paper 4, which prints none: a row for each method and sparsity."""

import html
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from robust_lib.report import latex, live
from robust_lib.report.figures.look import Line, known
from robust_lib.report.layout import STYLES, identifier, pipes, remarked

ALL_DUPLICATE = "all called duplicate"
SHARES = ["value", "low", "high", "sd"]
COLUMNS = ["row", "method", "sparsity", "task", "testbed", "measure", *SHARES, "n", "seeds"]


@dataclass(repr=False)
class SubnetworkTable:
    """Accuracy or F1 of each model on each test bed.

    `cells` is tidy, one row for each cell, in reading order: row, method, sparsity, task, testbed, measure, value, low,
    high and sd over training seeds in percent (sd empty for one seed), n, seeds. `setting` says what it was measured
    on, `beds` are readable names of test beds, `remarks` as in `Table`.
    """

    title: str
    cells: pd.DataFrame
    beds: Mapping[str, str]
    setting: str = ""
    remarks: Sequence[str] = ()

    def __repr__(self) -> str:
        """Markdown, one block for each task."""
        blocks = [pipes(head, rows) for head, rows in self._blocks()]
        return "\n\n".join([f"**{self.title}**", self._units(), *blocks, *self._notes()])

    def to_latex(self) -> str:
        """One tabular for each task, the interval under its value."""
        blocks = []
        for head, rows in self._blocks():
            stacked = [[latex.stacked(cell.split(" ", 1)) for cell in row[1:]] for row in rows]
            names = [[latex.escape(row[0])] for row in rows]
            body = [name + cells for name, cells in zip(names, stacked, strict=True)]
            blocks.append(pd.DataFrame(body, columns=list(map(latex.escape, head))))
        return latex.table(self.title, blocks, [self._units(), *self._notes()])

    def _blocks(self) -> Iterator[tuple[list[str], list[list[str]]]]:
        """Heading and rows of each task."""
        for task, mine in self.cells.groupby("task", sort=False):
            columns, texts = list(dict.fromkeys(mine["testbed"])), _texts(mine)
            body = [
                [row, *(texts.get((row, bed), "") for bed in columns)] for row in dict.fromkeys(mine["row"])
            ]
            yield [str(task).upper(), *map(self._name, columns)], body

    def _repr_html_(self) -> str:
        rows = list(dict.fromkeys(self.cells["row"]))
        keys = list(dict.fromkeys(zip(self.cells["task"], self.cells["testbed"], strict=True)))
        texts = {task: _texts(mine) for task, mine in self.cells.groupby("task")}
        hovers = {
            (one["task"], one["row"], one["testbed"]): _hover(one) for one in self.cells.to_dict("records")
        }
        head = pd.MultiIndex.from_tuples([(task.upper(), html.escape(self._name(bed))) for task, bed in keys])
        body = [
            [_broken(texts[task].get((row, bed), ""), hovers.get((task, row, bed), "")) for task, bed in keys]
            for row in rows
        ]
        styler = Styler(pd.DataFrame(body, index=rows, columns=head), cell_ids=False).set_table_styles(STYLES)
        above = f"{html.escape(self.title)}<br><small>{html.escape(self._units())}</small>"
        styler = styler.set_uuid(identifier(self.title)).set_caption(above).set_table_attributes(live.TABLE)
        below = live.small(map(html.escape, self._notes()))
        return live.live(f"<div style='overflow-x: auto; font-size: .9em'>{styler.to_html()}{below}</div>")

    def _notes(self) -> list[str]:
        return [self._legend(), *remarked(self.remarks)]

    def _name(self, testbed: str) -> str:
        return self.beds.get(testbed, testbed)

    def _units(self) -> str:
        measures = dict(zip(self.cells["task"], self.cells["measure"], strict=True))
        by_f1 = [task.upper() for task, measure in measures.items() if measure == "f1"]
        told = [f"F1 of duplicate on {', '.join(by_f1)}"] if by_f1 else []
        return ", ".join((["Accuracy"] if len(by_f1) < len(measures) else []) + told) + ", in percent."

    def _legend(self) -> str:
        sizes = self.cells.drop_duplicates("testbed")
        items = ", ".join(
            f"{self._name(bed)} {n}" for bed, n in zip(sizes["testbed"], sizes["n"], strict=True)
        )
        seeds = sorted(self.cells["seeds"].dropna().unique())
        spread = " ± standard deviation over training seeds" if seeds[-1] > 1 else ""
        counts = " to ".join(dict.fromkeys(f"{n:g}" for n in (seeds[0], seeds[-1])))
        told = f"A cell: value [95 % interval]{spread}. Items: {items}; training seeds: {counts}."
        return f"{self.setting}. {told}" if self.setting else told


def subnetwork_table(
    points: pd.DataFrame,
    *,
    lines: Sequence[Line],
    full: Sequence[Line] = (),
    controls: Sequence[Line] = (),
    beds: Mapping[str, str] | None = None,
    title: str,
    setting: str = "",
) -> SubnetworkTable:
    """The table of `subnetwork_figure`, from the same points: full models, controls, then the lines by sparsity.

    A row has the line's name, with its sparsity where that is not 0. Where a task is measured by F1 the row above the
    lines is what calling all duplicate reaches. `points` may have a column `epochs`, as for `lengths_figure`: it then
    names the rows in place of the sparsity.

    Raises ValueError for a method without points.
    """
    by = "epochs" if "epochs" in points else "sparsity"
    known(points, (*full, *controls, *lines))
    first, rest = (_rows(points, chosen, by) for chosen in ((*full, *controls), lines))
    unread = [_unread(points)] if (points["measure"] == "f1").any() else []
    cells = pd.concat([*first, *unread, *rest], ignore_index=True)
    cells = cells.assign(seeds=cells["seeds"].astype("Int64"), **{name: 100 * cells[name] for name in SHARES})
    shown = [*COLUMNS, "epochs"] if by == "epochs" else COLUMNS
    return SubnetworkTable(title, cells[shown], dict(beds or {}), setting)


def _rows(points: pd.DataFrame, lines: Sequence[Line], by: str) -> list[pd.DataFrame]:
    chosen = [points[points["method"] == line.method].sort_values(by, kind="stable") for line in lines]
    return [
        mine.assign(row=[_row(line.name, by, at) for at in mine[by]])
        for line, mine in zip(lines, chosen, strict=True)
    ]


def _row(name: str, by: str, at: float) -> str:
    if by == "epochs":
        return name if np.isnan(at) else f"{name}, {at:g} epoch{'s' * (at != 1)}"
    return f"{name} {100 * at:g}%" if at else name


def _unread(points: pd.DataFrame) -> pd.DataFrame:
    """What calling all duplicate reaches, once for each test bed."""
    beds = points[points["measure"] == "f1"].drop_duplicates("testbed")
    unknown = {name: np.nan for name in ("sparsity", "low", "high", "sd", "seeds", "epochs")}
    return beds.assign(row=ALL_DUPLICATE, method="", value=beds["baseline"], **unknown)


def _texts(cells: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Each cell in words, by row and test bed: 77.0 [74.1, 79.5] ±3.2"""
    texts = {}
    for one in cells.to_dict("records"):
        limits = "" if np.isnan(one["low"]) else f" [{one['low']:.1f}, {one['high']:.1f}]"
        spread = "" if np.isnan(one["sd"]) else f" ±{one['sd']:.1f}"
        texts[one["row"], one["testbed"]] = f"{one['value']:.1f}{limits}{spread}"
    return texts


def _hover(one: Mapping[Hashable, Any]) -> str:
    """2,000 items · 3 training seeds · 95 % interval 74.1 to 79.5 · standard deviation over seeds 3.2"""
    n, seeds = (None if pd.isna(one[key]) else int(one[key]) for key in ("n", "seeds"))
    limits = "" if np.isnan(one["low"]) else f"95 % interval {one['low']:.1f} to {one['high']:.1f}"
    spread = "" if np.isnan(one["sd"]) else f"standard deviation over seeds {one['sd']:.1f}"
    return live.told(n, seeds, limits, spread)


def _broken(text: str, told: str) -> str:
    """A cell on two lines."""
    value, _, limits = text.partition(" ")
    shown = f"<b>{value}</b>" + (f"<br> <small>{limits}</small>" if limits else "")
    return live.hover(shown, told) if text else ""
