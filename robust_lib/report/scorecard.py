"""Verdicts, records and the file of records that other programs read.

A *record* is one printed cell, or one claim, beside what we measured. `scorecard.json` is a list of
records, each with exactly these keys, in this order:

    paper     1 to 4
    item      "Table 1", "Figure 3", "Section 3.5", or "claim 3.5-a"; "claim 3.5-a, our controls" where the claim is
              asked against a control that the paper has not, as a dense model of as many steps
    row       row of the paper's table ("40%"); for a claim, what it was measured on
    column    column of the paper's table ("MNLI HANS"); for a claim, the quantity
    printed   number the paper prints, in its unit (84.2 is percent); null for a claim without a number
    ours      our number in the same unit; null where it is undefined (F_bias against a reference without a gap)
    low, high limits of our 95 % interval; null where unbounded
    n         test items behind ours; null for what is counted rather than measured (parameters)
    seeds     training seeds behind ours, null likewise; 1 = the interval does not know how seeds differ
    scale     "micro", "colab" or "paper"
    verdict   of a printed cell: "reproduced", "differs" or "not comparable at this scale" (see `verdict`);
              of a claim: "holds", "does not hold" or "cannot be told" (see `claim_verdict`)

Records stand in the order paper, item (tables, figures, sections, claims), then as their notebook gave them.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock
from scipy import stats

from robust_lib import published
from robust_lib.compare import Interval
from robust_lib.report import files

Scale = Literal["micro", "colab", "paper"]
Record = dict[str, Any]

KEYS = (
    "paper", "item", "row", "column", "printed", "ours", "low", "high", "n", "seeds", "scale", "verdict"
)  # fmt: skip
CELL_VERDICTS = ("reproduced", "differs", "not comparable at this scale")
CLAIM_VERDICTS = ("holds", "does not hold", "cannot be told")
OURS = ", our controls"  # behind the item of a claim that is asked against a control the paper has not
MARKS = dict(zip((*CELL_VERDICTS, *CLAIM_VERDICTS), "✓≠~✓✗?", strict=True))


class ScorecardError(ValueError):
    """A record or a scorecard file that breaks the schema; the message names the record, key or file."""


def verdict(
    printed: float,
    ours: Interval,
    seed_noise_sd: float,
    scale: Scale,
    *,
    runs: int = 1,
    rounding: float = 0.0,
    same_setting: bool = False,
) -> str:
    """What became of a printed number. All in the unit of the printed one.

    "not comparable at this scale": always at micro; elsewhere unless `same_setting`, that is the paper's
    encoder, data and hyper-parameters (`params.as_published`). Else "reproduced" if the printed value lies within

        value - sqrt((value - low)^2 + w^2) - rounding  ...  value + sqrt((high - value)^2 + w^2) + rounding
        w = z(level) * seed_noise_sd * sqrt(1 / runs + [seeds = 1])

    and "differs" otherwise. The printed number is itself a mean of `runs` trainings of other seeds, so it
    may be off by the known spread between seeds; our own seeds' part is in the interval already, unless
    there is only one. `rounding` is half a unit of the last printed place. An unknown seed_noise_sd (NaN)
    can confirm but not refute: where it would be "differs", nothing can be compared.
    """
    if scale == "micro" or not same_setting or math.isnan(ours.value):
        return "not comparable at this scale"
    known = 0.0 if math.isnan(seed_noise_sd) else seed_noise_sd
    z = float(stats.norm.ppf((1 + ours.level) / 2))
    w = (
        z * known * math.sqrt(1 / runs + (ours.seeds == 1)) if known else 0.0
    )  # z of a counted number is infinite
    below, above = math.hypot(ours.value - ours.low, w), math.hypot(ours.high - ours.value, w)
    if ours.value - below - rounding <= printed <= ours.value + above + rounding:
        return "reproduced"
    return "not comparable at this scale" if math.isnan(seed_noise_sd) else "differs"


def claim_verdict(
    ours: Interval, *, above: float | None = None, below: float | None = None, within: float | None = None
) -> str:
    """Whether a quantity is above (or below) a boundary: "holds" if the whole interval is, "does not hold" if none
    of it is, "cannot be told" if it spans the boundary, is unbounded on that side, or the quantity is
    undefined; and always on one seed. A claim speaks of a method, and one training leaves the spread between
    trainings unknown, which is as large as most differences the papers print (`published.seed_noise`).

    `within` asks for equivalence, as of two models that are "comparable": between -within and within, on both sides.
    Give one of the three. A value exactly on the boundary is neither above nor below it, nor within.
    """
    if [above, below, within].count(None) != 2:
        raise ValueError(f"a claim has one boundary: above is {above}, below is {below}, within is {within}")
    if math.isnan(ours.value) or ours.seeds < 2:
        return "cannot be told"
    if above is not None:
        inside, outside = ours.low > above, ours.high <= above
    elif below is not None:
        inside, outside = ours.high < below, ours.low >= below
    elif within is not None:
        inside = -within < ours.low and ours.high < within
        outside = ours.low >= within or ours.high <= -within
    return "holds" if inside else "does not hold" if outside else "cannot be told"


# -- records and the scorecard --------------------------------------------------------------------------------


def record(
    paper: int,
    item: str,
    row: str,
    column: str,
    printed: float | None,
    ours: Interval,
    scale: Scale,
    verdict: str | None,
) -> Record:
    """One record; NaN and infinite limits become null. `verdict` None = a cell the paper does not print."""
    value, low, high = (float(x) if math.isfinite(x) else None for x in (ours.value, ours.low, ours.high))
    if value is None:
        low = high = None
    values = (
        paper,
        item,
        row,
        column,
        printed,
        value,
        low,
        high,
        ours.n or None,
        ours.seeds or None,
        scale,
        verdict,
    )
    return dict(zip(KEYS, values, strict=True))


def claim(
    paper: int,
    item: str,
    row: str,
    column: str,
    ours: Interval,
    *,
    scale: Scale,
    above: float | None = None,
    below: float | None = None,
    within: float | None = None,
    printed: float | None = None,
) -> Record:
    """The record of one claim, item as in `published.claims`; see `claim_verdict` for the boundary."""
    told = claim_verdict(ours, above=above, below=below, within=within)
    return record(paper, item, row, column, printed, ours, scale, told)


def scored(path: Path) -> list[Record]:
    """The records of a scorecard file. Raises ScorecardError if the file is no scorecard."""
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ScorecardError(f"{path} is no JSON ({error}); delete it and run the notebooks again") from error
    if not isinstance(records, list):
        raise ScorecardError(f"{path} holds no list of records; delete it and run the notebooks again")
    for entry in records:
        _check(entry)
    return records


def score(path: Path, records: Iterable[Record]) -> None:
    """Put records into a scorecard file. Those of an item replace the item's old ones; other items stay.

    Two notebooks may do so at once. Raises ScorecardError, and writes nothing, if a record breaks the schema.
    """
    new = list(records)
    for entry in new:
        _check(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        renewed = {(entry["paper"], entry["item"]) for entry in new}
        old = scored(path) if path.exists() else []
        kept = [entry for entry in old if (entry["paper"], entry["item"]) not in renewed]
        ordered = sorted(kept + new, key=_order)
        files.write(path, json.dumps(ordered, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def summary(path: Path) -> str:
    """How many cells and claims a scorecard holds and which verdicts, in all and for each paper; for a terminal."""
    records = scored(path)
    scales = ", ".join(sorted({entry["scale"] for entry in records})) or "empty"
    lines = [f"scorecard ({scales})"]
    for paper in sorted({entry["paper"] for entry in records}):
        lines += _tally(f"paper {paper}", [entry for entry in records if entry["paper"] == paper])
    together = _tally("all", records) if len({entry["paper"] for entry in records}) > 1 else []
    return "\n".join(lines + together)


def _tally(name: str, records: Sequence[Record]) -> list[str]:
    lines = []
    kinds = {"cells": CELL_VERDICTS, "claims": CLAIM_VERDICTS, "claims, our controls": CLAIM_VERDICTS}
    for kind, verdicts in kinds.items():
        counts = Counter(entry["verdict"] for entry in records if _kind(entry) == kind)
        if counts:
            told = ", ".join(f"{counts[one]} {one}" for one in verdicts if counts[one])
            lines.append(f"  {name:<8} {counts.total():>4} {kind:<6}  {told}")
    return lines


def _kind(entry: Record) -> str:
    if not str(entry["item"]).startswith("claim "):
        return "cells"
    return "claims, our controls" if str(entry["item"]).endswith(OURS) else "claims"


def _check(entry: Any) -> None:
    if not isinstance(entry, dict) or tuple(entry) != KEYS:
        raise ScorecardError(f"a record needs the keys {', '.join(KEYS)} in this order, got {entry}")
    verdicts = CLAIM_VERDICTS if str(entry["item"]).startswith("claim ") else CELL_VERDICTS
    expected = {
        "paper": entry["paper"] in published.PAPERS,
        "item": isinstance(entry["item"], str),
        "row": isinstance(entry["row"], str),
        "column": isinstance(entry["column"], str),
        "printed": _number(entry["printed"]) and (verdicts is CLAIM_VERDICTS or entry["printed"] is not None),
        **{key: _number(entry[key]) for key in ("ours", "low", "high")},
        "n": _count(entry["n"]),
        "seeds": _count(entry["seeds"]),
        "scale": entry["scale"] in get_args(Scale),
        "verdict": entry["verdict"] in verdicts,
    }
    bad = [f"{key} {entry[key]!r}" for key, fine in expected.items() if not fine]
    if bad:
        where = f"{entry['item']}, {entry['row']}, {entry['column']}"
        raise ScorecardError(f"record of paper {entry['paper']}, {where}: cannot be {' and '.join(bad)}")


def _number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)


def _order(entry: Record) -> tuple[int, int, list[tuple[int, str]]]:
    """Tables, figures, sections, claims; "Table 2" before "Table 10"."""
    kinds = ("Table", "Figure", "Section", "Appendix", "claim")
    kind = next((i for i, name in enumerate(kinds) if entry["item"].startswith(name)), len(kinds))
    parts = re.findall(r"(\d+)|(\D+)", entry["item"])
    return entry["paper"], kind, [(int(digits or -1), text) for digits, text in parts]
