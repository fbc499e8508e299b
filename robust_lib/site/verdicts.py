"""Verdicts as HTML: counted, as marks on a map, and in lists to sort and to filter."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence

from robust_lib import report
from robust_lib.report import live

MEANINGS = {
    "reproduced": "the printed number lies within our interval and the known spread between seeds",
    "differs": "it does not",
    "not comparable at this scale": "other data, another encoder or too little known to judge",
    "holds": "the whole 95 % interval is on the side the claim says",
    "does not hold": "all of it is on the other side",
    "cannot be told": "the interval spans the boundary, or there is one seed",
}


BAR = "<span class='bar'></span>"
COLUMNS = (
    "item", "row, measured on", "column, quantity", "printed", "ours", "95 % interval", "n", "seeds", "verdict",
)  # fmt: skip


def tally(records: Sequence[report.Record]) -> str:
    """How many cells and claims of each paper have which verdict, and what the verdicts mean."""
    there = {one["verdict"] for one in records}
    verdicts = [one for one in (*report.CELL_VERDICTS, *report.CLAIM_VERDICTS) if one in there]
    head = "".join(f"<th>{_mark(one)} {one}</th>" for one in verdicts)
    rows = []
    for (paper, kind), mine in _kinds(records).items():
        counts = Counter(one["verdict"] for one in mine)
        cells = "".join(f"<td>{counts[one] or ''}</td>" for one in verdicts)
        name = f"<a href='paper_{paper}.html'>Paper {paper}</a>, {kind}"
        rows.append(f"<tr><th>{name}</th><td>{len(mine)}</td>{cells}</tr>\n")
    legend = "".join(f"<li>{_mark(one)} <b>{one}</b>: {MEANINGS[one]}</li>" for one in verdicts)
    return (
        f"<div class='wide'><table class='counts'><thead><tr><th></th><th>in all</th>{head}</tr></thead>\n"
        f"<tbody>{''.join(rows)}</tbody></table></div>\n<ul class='legend'>{legend}"
        f"<li>{BAR} behind the bar: the same claim against our controls, which the paper has not</li></ul>"
    )


def _kinds(records: Sequence[report.Record]) -> dict[tuple[int, str], list[report.Record]]:
    """Printed cells, claims as the paper compares, claims against our controls: of each paper, those that there are."""
    kinds: dict[tuple[int, str], list[report.Record]] = {}
    for one in records:
        claim, ours = one["item"].startswith("claim "), one["item"].endswith(report.OURS)
        kind = "claims, our controls" if ours else "claims" if claim else "printed cells"
        kinds.setdefault((one["paper"], kind), []).append(one)
    return dict(
        sorted(kinds.items(), key=lambda kind: (kind[0][0], kind[0][1] != "printed cells", kind[0][1]))
    )


def _mark(verdict: str) -> str:
    return f"<span class='mark {_class(verdict)}'>{report.MARKS[verdict]}</span>"


def _class(verdict: str) -> str:
    return verdict.split(" at ")[0].replace(" ", "-")


def overview(records: Sequence[report.Record], claims: Mapping[str, str] | None = None) -> str:
    """Every verdict as a mark that leads to its row in the paper's list, an item on a line.

    What was asked against our controls stands behind a bar. `claims` are the sentences to show, by item.
    """
    lines: dict[str, tuple[list[str], list[str]]] = {}
    for number, one in enumerate(records):
        item = one["item"].removesuffix(report.OURS)
        lines.setdefault(item, ([], []))[one["item"].endswith(report.OURS)].append(_linked_mark(number, one))
    told = []
    for item, (theirs, ours) in lines.items():
        text = f"<p>{html.escape(claims[item])}</p>" if claims and item in claims else ""
        marks = "".join([*theirs, BAR * bool(ours), *ours])
        told.append(f"<div><dt>{html.escape(item.removeprefix('claim '))}{text}</dt><dd>{marks}</dd></div>")
    return f"<dl class='map{' told' * bool(claims)}'>\n" + "\n".join(told) + "\n</dl>"


def _linked_mark(number: int, one: report.Record) -> str:
    verdict, ours = one["verdict"], f"{_number(one['ours'])} {_limits(one)}".strip() or "undefined"
    told = html.escape(f"{one['row']}, {one['column']}: {ours}, {verdict}")
    address = f"paper_{one['paper']}.html#r{number}"
    return f'<a class="mark {_class(verdict)}" href="{address}" title="{told}">{report.MARKS[verdict]}</a>'


def listing(records: Sequence[report.Record]) -> str:
    """A row for each record, to sort and to filter."""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    rows = "\n".join(_row(number, one) for number, one in enumerate(records))
    table = f"<table class='records live'><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>"
    return live.live(f"<div class='wide'>{table}</div>")


def _row(number: int, one: report.Record) -> str:
    measured = [_number(one[key]) for key in ("printed", "ours")]
    cells = [
        one["item"],
        one["row"],
        one["column"],
        *measured,
        _limits(one),
        *(_number(one[key]) for key in ("n", "seeds")),
    ]
    texts = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    verdict = f"<td>{_mark(one['verdict'])} {one['verdict']}</td>"
    return f"<tr id='r{number}'>{texts}{verdict}</tr>"


def _limits(one: report.Record) -> str:
    if one["n"] is None or one["ours"] is None:
        return ""
    return f"[{_number(one['low']) or '?'}, {_number(one['high']) or '?'}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
