"""Tables and claims as a reader sees them: HTML in JupyterLab, Markdown in a log, LaTeX in a paper."""

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from robust_lib import published
from robust_lib.report import latex, live
from robust_lib.report.scorecard import CELL_VERDICTS, MARKS, OURS, Record

UNITS = {  # unit: how a reader is told, format of ours, format of the printed
    "million": ("#Param in millions", ".3g", "g"),
    "count": ("attention heads counted", "g", "g"),
    "megabyte": ("size on disk in megabytes", ".4g", "g"),
    "percent": ("accuracies in percent", ".1f", ".1f"),
    "percentage points": ("gaps in percentage points", ".1f", ".1f"),
    "ratio": ("F_bias a ratio", ".2f", ".3f"),
    "layer": ("layers counted", "g", "g"),
    "times": ("speed-up over the teacher as a factor", ".2f", ".1f"),
    "millisecond": ("latency in milliseconds", ".3g", "g"),
    "GFLOP": ("work in GFLOP per example", ".3g", "g"),
    "loyalty": ("loyalty in percent", ".1f", ".1f"),
    "bit": ("divergence in bits", ".3f", "g"),
    "queries": ("queries per attacked text that was right", ".1f", ".1f"),
    "width": ("embedding dimension counted", "g", "g"),
    "Jaccard": ("Jaccard coefficients between 0 and 1", ".3f", "g"),
    "agreement": ("overlap coefficient, kappa and CKA as fractions of 1", ".3f", "g"),
    "variance": ("variances over data points", ".4f", "g"),
    "fraction": ("accuracies as fractions of 1", ".3f", ".4g"),
    "relative change": ("relative change in percent of the accuracy before", ".1f", ".1f"),
}
GROUPS = (  # of columns, beside tasks
    "Average",
    "Loyalty",
    "Adversarial Attack",
    "Prediction Errors",
    "Data Representation before fine tuning",
    "Data Representation after fine tuning",
    "Data Distribution",
)
DAGGER = "†"
STYLES: list[Any] = [
    {
        "selector": "td, th",
        "props": "text-align: left; vertical-align: top; padding: .2em .55em; line-height: 1.25;",
    },
    {"selector": "td", "props": "white-space: nowrap;"},
    {"selector": "td.words", "props": "white-space: normal; min-width: 13em; max-width: 36em;"},
    {"selector": "td.brief", "props": "white-space: normal; min-width: 7em; max-width: 16em;"},
    {
        "selector": "th.row_heading",  # stays in sight when a wide table is scrolled
        "props": "white-space: nowrap; position: sticky; left: 0; z-index: 1; "
        "background: var(--jp-layout-color0, var(--color-background-primary, Canvas));",
    },
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


@dataclass(repr=False)
class Table:
    """A table in the paper's layout: each cell our value, its interval, the printed value and its verdict.

    `records` as in `scorecard`, in reading order; cells that the paper does not print have printed and
    verdict None. `units` of the columns, in their order: each of UNITS. `setting` says what it was measured on:
    encoder, data, conventions. A printed value that the paper's other numbers contradict bears a dagger. `remarks` are
    what the run has to say of how its units came about, a sentence each: `save` writes them in.
    """

    title: str
    records: tuple[Record, ...]
    units: Mapping[str, str]
    setting: str = ""
    remarks: Sequence[str] = ()

    @property
    def scored(self) -> list[Record]:
        """The cells that the paper prints: these belong into the scorecard."""
        return [entry for entry in self.records if entry["printed"] is not None]

    def __repr__(self) -> str:
        """Markdown, one block for each task, so that lines stay short enough for a log."""
        blocks = [pipes(head, rows) for head, rows in self._blocks(_text_cell)]
        return "\n\n".join([f"**{self.title}**", self._told_units(), *blocks, *self._notes()])

    def to_latex(self) -> str:
        """One tabular for each task, a cell on up to three lines."""
        blocks = [
            pd.DataFrame(
                [[latex.escape(row), *cells] for row, *cells in rows], columns=list(map(_of_bias, head))
            )
            for head, rows in self._blocks(_latex_cell)
        ]
        return latex.table(self.title, blocks, [self._told_units(), *self._notes()])

    def _blocks(
        self, cell: Callable[[Record | None, str, bool], str]
    ) -> Iterator[tuple[list[str], list[list[str]]]]:
        """Heading and rows of each group of columns, as far as any of them was measured."""
        cells, rows, odd = self._cells()
        for group, columns in self._groups().items():
            yield (
                [group, *columns],
                [
                    [
                        row,
                        *(
                            cell(cells.get((row, c)), self.units[c], (row, c) in odd)
                            for c in columns.values()
                        ),
                    ]
                    for row in rows
                    if any((row, c) in cells for c in columns.values())
                ],
            )

    def _repr_html_(self) -> str:
        cells, rows, odd = self._cells()
        columns = [(group, title, c) for group, held in self._groups().items() for title, c in held.items()]
        head = pd.MultiIndex.from_tuples([(group, _subscript(title)) for group, title, _ in columns])
        body = [
            [_html_cell(cells.get((row, c)), self.units[c], (row, c) in odd) for _, _, c in columns]
            for row in rows
        ]
        shades = [
            [SHADES.get(str(cells.get((row, c), {}).get("verdict")), "") for _, _, c in columns]
            for row in rows
        ]
        styler = Styler(pd.DataFrame(body, index=rows, columns=head), cell_ids=False)
        styler = styler.set_td_classes(pd.DataFrame(shades, index=rows, columns=head)).set_table_styles(
            STYLES
        )
        above = (
            "<div style='position: sticky; left: 0; max-width: min(50em, 80vw); white-space: normal'>"
            f"{html.escape(self.title)}<br><small>{_subscript(self._told_units())}</small></div>"
        )
        styler = styler.set_uuid(identifier(self.title)).set_caption(above).set_table_attributes(live.TABLE)
        below = live.small(map(_subscript, self._notes()))
        return live.live(f"<div style='overflow-x: auto; font-size: .9em'>{styler.to_html()}{below}</div>")

    def _notes(self) -> list[str]:
        return [self._legend(), *self._contradictions(), *remarked(self.remarks)]

    def _cells(self) -> tuple[dict[tuple[str, str], Record], list[str], dict[tuple[str, str], str]]:
        """Records by row and column, the rows, and what the paper's other numbers say of those it contradicts."""
        cells = {(entry["row"], entry["column"]): entry for entry in self.records}
        odd = {
            (one["row"], one["column"]): one["follows"]
            for one in _contradicted(self.records[0]["paper"], self.records[0]["item"])
        }
        marked = {
            key: odd[key] for key, entry in cells.items() if key in odd and entry["printed"] is not None
        }
        return cells, list(dict.fromkeys(row for row, _ in cells)), marked

    def _groups(self) -> dict[str, dict[str, str]]:
        """Columns under the task or group that their name begins with: {"MNLI": {"DEV": "MNLI DEV", ...}, ...}.

        A column that is named as its group alone is titled by its unit.
        """
        groups: dict[str, dict[str, str]] = {}
        for column, unit in self.units.items():
            known = next((group for group in GROUPS if re.match(rf"{group}\b", column)), "")
            head = known or column.partition(" ")[0]
            rest = column.removeprefix(head).lstrip(", ") or (unit if known else "")
            named = bool(rest) and (head.isupper() or bool(known))
            groups.setdefault(head if named else "", {})[rest if named else column] = column
        return groups

    def _told_units(self) -> str:
        told = ", ".join(told for unit, (told, _, _) in UNITS.items() if unit in self.units.values())
        return f"{told[0].upper()}{told[1:]}."

    def _legend(self) -> str:
        told = [one for one in CELL_VERDICTS if any(entry["verdict"] == one for entry in self.records)]
        marks = ", ".join(f"{MARKS[one]} {one}" for one in told)
        theirs = f", then the paper's value and its verdict ({marks})" if told else ""
        setting = ", ".join(filter(None, [f"Scale {self.records[0]['scale']}", self.setting]))
        seeds = sorted({entry["seeds"] for entry in self.records if entry["seeds"]})
        if not seeds:  # all is counted
            return f"{setting}. A cell: ours{theirs}."
        return (
            f"{setting}; training seeds: {' to '.join(map(str, seeds))}. A cell: ours [95 % interval]{theirs}. "
            "A limit `?` is unbounded."
        )

    def _contradictions(self) -> list[str]:
        """What the dagger means, a paragraph; none without one."""
        _, _, odd = self._cells()
        listed = "; ".join(f"{row}, {column}: {follows}" for (row, column), follows in odd.items())
        known = _contradicted(self.records[0]["paper"], self.records[0]["item"])
        reasons = dict.fromkeys(one["reason"] for one in known if one["kind"] == "count")
        why = f" ({'; '.join(reasons)})" if reasons else ""
        return (
            [f"{DAGGER} The paper's other numbers contradict this one; from them follows {listed}{why}."]
            if odd
            else []
        )


@dataclass(repr=False)
class Claims:
    """The paper's claims beside what we measured, a record for each measurement of a claim; `remarks` as in `Table`."""

    records: tuple[Record, ...]
    remarks: Sequence[str] = ()
    _HEAD = ("claim", "", "measured on", "quantity", "ours", "verdict")

    @property
    def scored(self) -> list[Record]:
        return list(self.records)

    def __repr__(self) -> str:
        return "\n\n".join([pipes(self._HEAD, self._rows()), *remarked(self.remarks)])

    def _repr_html_(self) -> str:
        shades = [SHADES.get(entry["verdict"], "") for entry in self.records]
        rows = [[html.escape(one) for one in row] for row in self._rows()]
        for row, entry in zip(rows, self.records, strict=True):
            row[4] = live.hover(row[4], _hover(entry, ".3g"))
        classes: dict[str, str | list[str]] = {"": "words", "measured on": "brief", "quantity": "brief"}
        classes["verdict"] = shades
        page = listed(self._HEAD, rows, classes, "claims", above=2)
        return live.live(f"{page}{live.small(map(html.escape, remarked(self.remarks)))}")

    def to_latex(self) -> str:
        rows = [[latex.escape(one) for one in row] for row in self._rows()]
        frame = pd.DataFrame(rows, columns=["claim", " ", *self._HEAD[2:]])
        title = "Claims, and what was measured of them"
        return latex.table(title, [frame], remarked(self.remarks), columns="lp{4cm}p{3cm}p{4cm}lp{2cm}")

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
            text = "the same, against our controls" if entry["item"].endswith(OURS) else texts.get(name, "")
            told = ("", "") if name == before else (entry["item"].removeprefix("claim "), text)
            verdict = f"{MARKS[entry['verdict']]} {entry['verdict']}"
            rows.append((*told, entry["row"], entry["column"], _ours(entry, ".3g"), verdict))
            before = name
        return rows


@dataclass(frozen=True, repr=False)
class Disagreements:
    """The rows of a table, figure or section whose printed values the paper's other numbers contradict."""

    paper: int
    item: str
    _HEAD = ("row", "column", "printed", "follows from the paper's other numbers", "why")

    def __repr__(self) -> str:
        return pipes(self._HEAD, self._rows())

    def _repr_html_(self) -> str:
        rows = [list(map(html.escape, row)) for row in self._rows()]
        return listed(self._HEAD, rows, {"why": "words"}, f"disagreements_{identifier(self.item)}")

    def _rows(self) -> list[tuple[str, ...]]:
        keys = ("row", "column", "printed_text", "follows", "reason")
        return [tuple(one[key] for key in keys) for one in _contradicted(self.paper, self.item)]


def disagreements(paper: int, item: str) -> Disagreements:
    """Where the numbers that a paper prints in one of its items contradict its others, and why."""
    return Disagreements(paper, item)


def pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up as plain text."""
    widths = [max(3, *(len(row[i]) for row in (head, *rows))) for i in range(len(head))]
    rule = ["-" * width for width in widths]
    padded = (
        [cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, rule, *rows)
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)


def remarked(remarks: Sequence[str]) -> list[str]:
    """What stands below a table of how its numbers came about."""
    return [f"Remark: {one}" for one in remarks]


def listed(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    classes: Mapping[str, str | list[str]],
    name: str,
    *,
    above: int = 0,
) -> str:
    """Rows of HTML as a table that can be sorted and filtered (see `live.live`).

    `classes` of STYLES by column. In the first `above` columns a blank cell says the same as the one above it.
    """
    frame = pd.DataFrame(rows, columns=list(head))
    shades = pd.DataFrame("", index=frame.index, columns=frame.columns).assign(**classes)
    styler = Styler(frame, cell_ids=False).hide(axis="index").set_td_classes(shades).set_table_styles(STYLES)
    page = styler.set_table_attributes(f"{live.TABLE} data-above='{above}'").set_uuid(name).to_html()
    return f"<div class='{live.PLAIN}' style='overflow-x: auto; font-size: .9em'>{page}</div>"


def _contradicted(paper: int, item: str) -> list[dict[str, str]]:
    """The rows of `published.disagreements`, with `follows`: "1.296 to 1.312"."""
    known = published.disagreements().query("paper == @paper and item == @item")
    limits = ([f"{x:.4g}" for x in (one["low"], one["high"])] for _, one in known.iterrows())
    known = known.assign(follows=[" to ".join(dict.fromkeys(pair)) for pair in limits])
    return [{str(key): str(value) for key, value in one.items()} for one in known.to_dict("records")]


def _ours(entry: Record, form: str) -> str:
    if entry["ours"] is None:
        return "undefined"
    if entry["n"] is None:
        return f"{entry['ours']:{form}}"
    low, high = ("?" if entry[limit] is None else f"{entry[limit]:{form}}" for limit in ("low", "high"))
    return f"{entry['ours']:{form}} [{low}, {high}]"


def _printed(entry: Record, unit: str, odd: bool) -> str:
    return f"{entry['printed']:{UNITS[unit][2]}}{DAGGER if odd else ''}"


def _text_cell(entry: Record | None, unit: str, odd: bool) -> str:
    if entry is None:
        return ""
    if entry["printed"] is None:
        return _ours(entry, UNITS[unit][1])
    return f"{_ours(entry, UNITS[unit][1])}  ({_printed(entry, unit, odd)} {MARKS[entry['verdict']]})"


def _lines(entry: Record, unit: str, odd: bool) -> list[str]:
    """A cell from above: ours, its interval, the printed value with its verdict."""
    value, _, limits = _ours(entry, UNITS[unit][1]).partition(" ")
    theirs = (
        "" if entry["printed"] is None else f"paper {_printed(entry, unit, odd)} {MARKS[entry['verdict']]}"
    )
    return list(filter(None, [value, limits, theirs]))


def _latex_cell(entry: Record | None, unit: str, odd: bool) -> str:
    return "" if entry is None else latex.stacked(_lines(entry, unit, odd))


def _html_cell(entry: Record | None, unit: str, odd: bool) -> str:
    if entry is None:
        return ""
    value, *more = _lines(entry, unit, odd)
    shown = "<br> ".join([f"<b>{value}</b>", *(f"<small>{line}</small>" for line in more)])
    return live.hover(shown, _hover(entry, UNITS[unit][1]))


def _hover(entry: Record, form: str) -> str:
    """2,000 items · 3 training seeds · 95 % interval 83.1 to 85.3 · the paper has 84.2: reproduced"""
    low, high = (f"{entry[one]:{form}}" if entry[one] is not None else "unbounded" for one in ("low", "high"))
    limits = f"95 % interval {low} to {high}" if entry["n"] and entry["ours"] is not None else ""
    theirs = f"the paper has {entry['printed']:g}" if entry["printed"] is not None else ""
    verdict = ": ".join(filter(None, [theirs, entry["verdict"]]))
    return live.told(entry["n"], entry["seeds"], limits, verdict)


def identifier(title: str) -> str:
    """Of the page's element, so that the same table gives the same HTML: paper_1_table_1."""
    return re.sub(r"\W+", "_", title.partition(":")[0]).lower()


def _of_bias(title: str) -> str:
    return latex.escape(title).replace(r"F\_bias", r"$F_\mathrm{bias}$")


def _subscript(title: str) -> str:
    return html.escape(title).replace("F_bias", "F<sub>bias</sub>")


def extremes(variances: pd.DataFrame, examples: pd.DataFrame, *, count: int = 10) -> pd.DataFrame:
    """The easiest and the hardest examples, by the variance of their losses: their texts, gold label and variance.

    `variances` has id, gold and variance; `examples` the texts, indexed by id.
    """
    table = variances.set_index("id").join(examples).sort_values("variance", kind="stable")
    ends = {"easiest": table.head(count), "hardest": table.tail(count)[::-1]}
    both = pd.concat(ends, names=["end", "id"])[[*examples.columns, "gold", "variance"]]
    return both.assign(variance=both["variance"].map("{:.2g}".format))
