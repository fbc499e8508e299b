"""Tables and claims as a reader sees them: HTML in JupyterLab, Markdown in a log."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from robust_lib import published
from robust_lib.report.scorecard import CELL_VERDICTS, MARKS, Record

FORMATS = {"percent": ".1f", "ratio": ".2f", "million": ".3g"}
PRINTED = {"percent": ".1f", "ratio": ".3f", "million": "g"}
STYLES: list[Any] = [
    {
        "selector": "td, th",
        "props": "text-align: left; vertical-align: top; padding: .2em .55em; line-height: 1.25;",
    },
    {"selector": "td", "props": "white-space: nowrap;"},
    {"selector": "td.words", "props": "white-space: normal; max-width: 36em;"},
    {"selector": "th.row_heading", "props": "white-space: nowrap;"},
    {"selector": "thead th", "props": "border-bottom: 1px solid currentColor;"},
    {
        "selector": "caption",
        "props": "caption-side: top; text-align: left; font-weight: 600; padding-bottom: .5em;",
    },
    {"selector": "small", "props": "opacity: .75;"},
    {"selector": ".good", "props": "background: rgba(2, 158, 115, .18);"},
    {"selector": ".bad", "props": "background: rgba(213, 94, 0, .18);"},
]
SHADES = {"reproduced": "good", "holds": "good", "differs": "bad", "does not hold": "bad"}


@dataclass(frozen=True, repr=False)
class Table:
    """A table in the paper's layout: each cell our value, its interval, the printed value and its verdict.

    `records` as in `scorecard`, in reading order; cells that the paper does not print have printed and
    verdict None. `units` of the columns, in their order: percent, ratio or million. `setting` says what it was
    measured on: encoder, data, conventions.
    """

    title: str
    records: tuple[Record, ...]
    units: Mapping[str, str]
    setting: str = ""

    @property
    def scored(self) -> list[Record]:
        """The cells that the paper prints: these belong into the scorecard."""
        return [entry for entry in self.records if entry["printed"] is not None]

    def __repr__(self) -> str:
        """Markdown, one block for each task, so that lines stay short enough for a log."""
        cells, rows = self._cells()
        blocks = []
        for group, columns in self._groups().items():
            body = [
                [row, *(_text_cell(cells.get((row, c)), self.units[c]) for c in columns.values())]
                for row in rows
            ]
            blocks.append(pipes([group, *columns], body))
        return "\n\n".join([f"**{self.title}**", *blocks, self._legend()])

    def _repr_html_(self) -> str:
        cells, rows = self._cells()
        columns = [(group, title, c) for group, held in self._groups().items() for title, c in held.items()]
        head = pd.MultiIndex.from_tuples([(group, _subscript(title)) for group, title, _ in columns])
        body = [[_html_cell(cells.get((row, c)), self.units[c]) for _, _, c in columns] for row in rows]
        shades = [
            [SHADES.get(str(cells.get((row, c), {}).get("verdict")), "") for _, _, c in columns]
            for row in rows
        ]
        styler = Styler(pd.DataFrame(body, index=rows, columns=head), cell_ids=False)
        styler = styler.set_td_classes(pd.DataFrame(shades, index=rows, columns=head)).set_table_styles(
            STYLES
        )
        styler = styler.set_uuid(_identifier(self.title)).set_caption(html.escape(self.title))
        below = f"<small>{html.escape(self._legend())}</small>"
        return f"<div style='overflow-x: auto; font-size: .9em'>{styler.to_html()}{below}</div>"

    def _cells(self) -> tuple[dict[tuple[str, str], Record], list[str]]:
        cells = {(entry["row"], entry["column"]): entry for entry in self.records}
        return cells, list(dict.fromkeys(row for row, _ in cells))

    def _groups(self) -> dict[str, dict[str, str]]:
        """Columns under the task that their name begins with: {"MNLI": {"DEV": "MNLI DEV", ...}, ...}."""
        groups: dict[str, dict[str, str]] = {}
        for column in self.units:
            head, _, rest = column.partition(" ")
            named = bool(rest) and (head.isupper() or head == "Average")
            groups.setdefault(head if named else "", {})[rest if named else column] = column
        return groups

    def _legend(self) -> str:
        told = [one for one in CELL_VERDICTS if any(entry["verdict"] == one for entry in self.records)]
        marks = ", ".join(f"{MARKS[one]} {one}" for one in told)
        seeds = sorted({entry["seeds"] for entry in self.records if entry["seeds"]})
        setting = ", ".join(filter(None, [f"Scale {self.records[0]['scale']}", self.setting]))
        return (
            f"{setting}; training seeds: {' to '.join(map(str, seeds))}. A cell: ours [95 % interval], then the "
            f"paper's value behind its verdict ({marks}). A limit `?` is unbounded."
        )


@dataclass(frozen=True, repr=False)
class Claims:
    """The paper's claims beside what we measured, one record for each measurement of a claim."""

    records: tuple[Record, ...]

    @property
    def scored(self) -> list[Record]:
        return list(self.records)

    def __repr__(self) -> str:
        return pipes(
            ["claim", "", "measured on", "quantity", "ours", "verdict"], [list(row) for row in self._rows()]
        )

    def _repr_html_(self) -> str:
        columns = ["claim", "", "measured on", "quantity", "ours", "verdict"]
        frame = pd.DataFrame(self._rows(), columns=columns)
        shades = frame.copy().astype(object)
        shades.loc[:] = ""
        shades.iloc[:, 1] = "words"
        shades["verdict"] = [SHADES.get(entry["verdict"], "") for entry in self.records]
        styler = Styler(frame, cell_ids=False).hide(axis="index").format(escape="html").set_td_classes(shades)
        return str(styler.set_table_styles(STYLES).set_uuid("claims").to_html())

    def _rows(self) -> list[tuple[str, ...]]:
        texts = {
            (c["paper"], c["item"]): c["claim"]
            for p in published.PAPERS
            for c in published.claims(p).to_dict("records")
        }
        rows: list[tuple[str, ...]] = []
        before = None
        for entry in self.records:
            name = (entry["paper"], entry["item"])
            told = ("", "") if name == before else (entry["item"].removeprefix("claim "), texts.get(name, ""))
            verdict = f"{MARKS[entry['verdict']]} {entry['verdict']}"
            rows.append((*told, entry["row"], entry["column"], _ours(entry, ".3g"), verdict))
            before = name
        return rows


def pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up as plain text."""
    widths = [max(3, *(len(row[i]) for row in (head, *rows))) for i in range(len(head))]
    rule = ["-" * width for width in widths]
    padded = (
        [cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, rule, *rows)
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)


def _ours(entry: Record, form: str) -> str:
    if entry["ours"] is None:
        return "undefined"
    if entry["n"] is None:
        return f"{entry['ours']:{form}}"
    low, high = ("?" if entry[limit] is None else f"{entry[limit]:{form}}" for limit in ("low", "high"))
    return f"{entry['ours']:{form}} [{low}, {high}]"


def _text_cell(entry: Record | None, unit: str) -> str:
    if entry is None:
        return ""
    theirs = (
        "" if entry["printed"] is None else f"  {MARKS[entry['verdict']]}{entry['printed']:{PRINTED[unit]}}"
    )
    return _ours(entry, FORMATS[unit]) + theirs


def _html_cell(entry: Record | None, unit: str) -> str:
    if entry is None:
        return ""
    value, _, limits = _ours(entry, FORMATS[unit]).partition(" ")
    lines = [f"<b>{value}</b>", *([f"<small>{limits}</small>"] if limits else [])]
    if entry["printed"] is not None:
        told = entry["verdict"]
        lines.append(f"<small title='{told}'>paper {entry['printed']:{PRINTED[unit]}} {MARKS[told]}</small>")
    return "<br>".join(lines)


def _identifier(title: str) -> str:
    """Of the page's element, so that the same table gives the same HTML: paper_1_table_1."""
    return re.sub(r"\W+", "_", title.partition(":")[0]).lower()


def _subscript(title: str) -> str:
    return html.escape(title).replace("F_bias", "F<sub>bias</sub>")
