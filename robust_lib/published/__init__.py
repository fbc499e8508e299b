"""Every number the four papers print, with the protocol it was measured under.

`paperN_*.csv` hold the numbers as printed: one file per table, laid out as in the paper, and one for the
numbers in text and figures. `paperN.yaml` says what each column is, how it was measured, and which sentences
are claims. An item is named as in the scorecard: "Table 1", "Figure 3", "Section 3.5"; a claim is "claim
3.5-a". Nothing here was measured by us and nothing is corrected: where a paper contradicts itself,
`disagreements` says so.
"""

import re
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml

PAPERS = (1, 2, 3, 4)

_FOLDER = files(__name__)
_NUMBER = re.compile(r"(\d[\d,]*)(?:\.(\d+))?(?:(?:e|×10\^)-(\d+))?")
_SPREAD = re.compile(r"±([\d.]+)")
_WORDS = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}
_EXACT = ("count", "setting")  # units of numbers that were not rounded
_FIELDS = ["paper", "item", "row", "column", "printed", "printed_text", "rounding", "spread"]
_FIELDS += ["unit", "metric", "testbed"]


class UnknownItem(ValueError):
    """A paper, or a table, figure or section of one, that is not among the published."""


@dataclass(frozen=True)
class SeedNoise:
    """Mean and standard deviation of accuracy, as fractions of 1, over runs that differ in the seed alone.

    `runs` is None where the source does not say how many; mean and sd are NaN where nobody published them.
    """

    mean: float
    sd: float
    runs: int | None
    source: str


def items() -> pd.DataFrame:
    """All tables, figures and sections that print a number or draw one.

    Columns: `paper`, `item`, `section`, `caption`, `values` (how many numbers are printed; 0 for a figure
    that only draws).
    """
    records = [
        {"paper": paper, "item": item, "section": entry["section"], "caption": entry["caption"]}
        | {"values": len(table(paper, item))}
        for paper in PAPERS
        for item, entry in _described(paper)["items"].items()
    ]
    return pd.DataFrame(records)


def table(paper: int, item: str) -> pd.DataFrame:
    """The printed numbers of one table, figure or section, one row per number, in reading order.

    Columns: `paper`, `item`, `row` and `column` (named as in the paper), `printed` (in `unit`: 84.2 percent
    is 84.2), `printed_text`, `rounding` (half a unit of the last printed place, 0 for counts and settings:
    the value behind the print lies in printed ± rounding), `spread` (the printed ±, NaN where there is none),
    `unit`, `metric` and `testbed` (this project's names; empty where the number is no measurement). How it
    was measured: `protocol(paper, item)`.

    Empty for a figure whose values are drawn only. Raises `UnknownItem`.
    """
    _entry(paper, item)
    numbers = _numbers(paper)
    return numbers[numbers["item"] == item].reset_index(drop=True)


def protocol(paper: int, item: str) -> dict[str, Any]:
    """How the numbers of an item were measured: encoder, data, runs, training, what the paper leaves unsaid.

    The paper's common protocol overridden by the item's own, with `citation`, `section`, `caption` and, for
    each printed column of a table, its `unit`, `metric` and `testbed` under `columns`. Raises `UnknownItem`.
    """
    described, entry = _described(paper), _entry(paper, item)
    printed = table(paper, item)["column"].unique()
    return deepcopy(
        {
            "citation": described["citation"],
            "section": entry["section"],
            "caption": entry["caption"],
            **described["protocol"],
            **entry.get("protocol", {}),
            "columns": {name: described["columns"][name] for name in printed if name in described["columns"]},
        }
    )


def claims(paper: int) -> pd.DataFrame:
    """The sentences of a paper that are claims, in our words.

    Columns: `paper`, `id` ("1:3.5-a"), `item` ("claim 3.5-a", as the scorecard writes it), `section`, `about`
    (the tables and figures it rests on), `claim`, `note` (what the paper leaves open or contradicts; often
    empty).
    """
    records = [
        {"paper": paper, "id": f"{paper}:{name}", "item": f"claim {name}", "section": name.rpartition("-")[0]}
        | {"about": ", ".join(entry["about"]), "claim": entry["claim"], "note": entry.get("note", "")}
        for name, entry in _described(paper)["claims"].items()
    ]
    return pd.DataFrame(records)


def disagreements() -> pd.DataFrame:
    """Where the printed numbers of a paper contradict each other; all other derived numbers follow from their
    inputs.

    Columns: `paper`, `item`, `row`, `column`, `printed_text`, `low` and `high` (the range that the paper's
    other numbers allow, given their rounding), `kind` and `reason`. Kinds: "derived", it does not follow from
    the numbers it is computed from; "repeated", printed differently elsewhere; "count", impossible for the
    stated number of examples.
    """
    return _read("disagreements.csv").astype({"paper": int, "low": float, "high": float})


def differences(paper: int, item: str, reference: str) -> pd.DataFrame:
    """Printed accuracies of a table less those of its row `reference`, where a published seed noise is known.

    Columns: `item`, `row`, `column`, `against`, `difference` and `seed_sd` (percentage points; the spread of
    `seed_noise`, of BERT-base alone), `noise` (its source). Raises `UnknownItem`.
    """
    cells = table(paper, item)
    cells = cells[cells["metric"] == "accuracy"]
    base = cells[cells["row"] == reference].set_index("column")["printed"]
    rows = []
    for cell in cells[cells["row"] != reference].to_dict("records"):
        noise = seed_noise(cell["column"].split()[0].lower(), cell["testbed"])
        difference = round(cell["printed"] - base[cell["column"]], 2)
        rows.append((item, cell["row"], cell["column"], reference, difference, 100 * noise.sd, noise.source))
    columns = ["item", "row", "column", "against", "difference", "seed_sd", "noise"]
    return pd.DataFrame(rows, columns=columns).dropna(subset="seed_sd").reset_index(drop=True)


def seed_noise(task: str, testbed: str) -> SeedNoise:
    """Published spread over seeds of BERT-base fine-tuned on `task`, in accuracy on `testbed`.

    NaN where nobody published one: unknown is not zero.
    """
    known = yaml.safe_load((_FOLDER / "seed_noise.yaml").read_text(encoding="utf-8"))
    unknown = {"mean": float("nan"), "sd": float("nan"), "runs": None, "source": "none published"}
    return SeedNoise(**known.get(task, {}).get(testbed, unknown))


def _entry(paper: int, item: str) -> dict[str, Any]:
    entries: dict[str, dict[str, Any]] = _described(paper)["items"]
    if item not in entries:
        raise UnknownItem(f"paper {paper} has no item {item!r}; it has {', '.join(entries)}")
    return entries[item]


@cache
def _described(paper: int) -> dict[str, Any]:
    if paper not in PAPERS:
        raise UnknownItem(f"there is no paper {paper!r}; the papers are {PAPERS}")
    described: dict[str, Any] = yaml.safe_load((_FOLDER / f"paper{paper}.yaml").read_text(encoding="utf-8"))
    return described


@cache
def _numbers(paper: int) -> pd.DataFrame:
    described = _described(paper)
    tables = [item for item in described["items"] if (_FOLDER / _file(paper, item)).is_file()]
    frames = [_as_laid_out(paper, item, described["columns"]) for item in tables]
    numbers = pd.concat([*frames, _read(f"paper{paper}_text.csv")], ignore_index=True)
    numbers["paper"] = paper
    parsed = [_parsed(*cell) for cell in zip(numbers["printed_text"], numbers["unit"], strict=True)]
    numbers[["printed", "rounding", "spread"]] = parsed
    return numbers[_FIELDS]


def _as_laid_out(paper: int, item: str, columns: dict[str, dict[str, str]]) -> pd.DataFrame:
    wide = _read(_file(paper, item))
    cells = wide.melt("row", var_name="column", value_name="printed_text", ignore_index=False)
    cells = cells.sort_index(kind="stable")
    cells = cells[cells["printed_text"] != "-"]
    about = pd.DataFrame(columns).T.reindex(columns=["unit", "metric", "testbed"]).fillna("")
    return cells.join(about, on="column").assign(item=item)


def _parsed(text: str, unit: str) -> tuple[float, float, float]:
    """Value, half a unit of its last printed place, printed spread."""
    number = _NUMBER.search(_WORDS.get(text, text))
    if number is None:
        raise ValueError(f"no number in {text!r}")
    whole, decimals, exponent = number[1].replace(",", ""), number[2] or "", int(number[3] or 0)
    value = float(f"{whole}.{decimals or 0}e-{exponent}")
    rounding = 0.0 if unit in _EXACT else float(f"0.5e-{len(decimals) + exponent}")
    spread = _SPREAD.search(text)
    return value, rounding, float(spread[1]) if spread else float("nan")


def _file(paper: int, item: str) -> str:
    return f"paper{paper}_{item.lower().replace(' ', '_')}.csv"


def _read(name: str) -> pd.DataFrame:
    with (_FOLDER / name).open(encoding="utf-8") as stream:
        return pd.read_csv(stream, dtype=str, keep_default_na=False)
