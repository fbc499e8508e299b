"""Frames as a reader sees them: to sort and to filter, with what stands behind a number on hovering."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robust_lib.report import live
from robust_lib.report.layout import listed, pipes

Cell = tuple[str, str]  # what is shown, and what is told on hovering
LONG = 60  # signs from which on a column is prose, and its lines are broken


@dataclass(frozen=True, repr=False)
class Sheet:
    """Rows under a heading."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __repr__(self) -> str:
        """Markdown."""
        return pipes(self.head, [[text for text, _ in row] for row in self.rows])

    def _repr_html_(self) -> str:
        names = [html.escape(name) for name in self.head]
        prose = {
            name: "words" for at, name in enumerate(names) if any(len(row[at][0]) > LONG for row in self.rows)
        }
        return live.live(listed(names, [list(map(_cell, row)) for row in self.rows], prose, "sheet"))


def sheet(frame: pd.DataFrame, *, digits: int = 3) -> Sheet:
    """A frame, its named index too. Numbers have at most so many digits behind the point, smaller ones two significant.

    What is unknown is blank.
    """
    flat = frame.reset_index() if frame.index.names != [None] else frame
    head = list(map(str, flat.columns))
    return Sheet(head, [[(_text(one, digits), "") for one in row] for row in flat.astype(object).to_numpy()])


def wide(tidy: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], *, digits: int = 3) -> Sheet:
    """Tidy values, a row for each of `rows` and a column for each of `columns`, as both first appear in `tidy`.

    `tidy` has the column value, and may have chance (then in brackets behind the value) and low, high, n and seeds,
    which are told on hovering. Raises ValueError for a cell that is given twice.
    """
    cells: dict[tuple[tuple[str, ...], str], Cell] = {}
    for one in tidy.to_dict("records"):
        key, title = tuple(str(one[name]) for name in rows), ", ".join(str(one[name]) for name in columns)
        if (key, title) in cells:
            raise ValueError(f"{', '.join(key)}, {title}: given twice; add what tells them apart")
        chance = _text(one.get("chance"), digits)
        shown = _text(one["value"], digits) + (f" ({chance})" if chance else "")
        cells[key, title] = (shown, _told(one, digits))
    names = {key: None for key, _ in cells}, {title: None for _, title in cells}
    body = [
        [*((name, "") for name in key), *(cells.get((key, title), ("", "")) for title in names[1])]
        for key in names[0]
    ]
    return Sheet([*rows, *names[1]], body)


def _told(one: Mapping[Any, Any], digits: int) -> str:
    """As `live.told`; nothing where nothing is known."""
    known = {name: one[name] for name in ("n", "seeds", "low", "high") if pd.notna(one.get(name))}
    low, high = (_text(known.get(name), digits) for name in ("low", "high"))
    n, seeds = (int(known[name]) if name in known else None for name in ("n", "seeds"))
    return live.told(n, seeds, f"95 % interval {low} to {high}" if low else "") if known else ""


def _text(value: Any, digits: int) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if not isinstance(value, float):
        return str(value)
    if not value % 1:
        return f"{value + 0.0:.0f}"  # and no -0
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if abs(value) >= 10**-digits else f"{value:.2g}"


def _cell(cell: Cell) -> str:
    text, told = cell
    shown = html.escape(text).replace("\n", "<br>")
    return live.hover(shown, told) if told else shown
