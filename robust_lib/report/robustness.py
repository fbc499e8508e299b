"""Tables 1, 2, 4 and 5 of paper 1: accuracy on each test bed, and F_bias by task and on average."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robust_lib import compare, published
from robust_lib.compare import Interval, Profile, ProfileKey
from robust_lib.report.layout import Table
from robust_lib.report.scorecard import Record, Scale, record, verdict


@dataclass(frozen=True)
class Row:
    """A row of the table: its name, the method and sparsity it shows, and those of its dense control, if any."""

    name: str
    method: str
    sparsity: float
    control: tuple[str, float] | None = None


def pruning_rows(sparsities: Sequence[float]) -> list[Row]:
    """Table 1: BERT-base, then each sparsity followed by the dense control that was trained for as many steps.

    The methods are `dense` (at sparsity 0), `pruned`, and `control` at the sparsity of the row it belongs to.
    """
    rows = [Row("BERT-base", "dense", 0.0)]
    for sparsity in sorted(sparsities):
        name = f"{100 * sparsity:g}%"
        rows.append(Row(name, "pruned", sparsity, ("control", sparsity)))
        rows.append(Row(f"{name} dense control", "control", sparsity))
    return rows


def robustness_table(
    profiles: Mapping[ProfileKey, Profile],
    rows: Sequence[Row],
    *,
    printed: pd.DataFrame,
    scale: Scale,
    setting: str = "",
    same_setting: bool = False,
    parameters: Mapping[tuple[str, float], float] | None = None,
    reference: tuple[str, float] = ("dense", 0.0),
    seed: int = 0,
) -> Table:
    """The table in the paper's layout, with F_bias twice: against the reference, as in the paper, and against the
    row's own dense control.

    `printed` is `published.table(1, "Table 1")`; a column is the paper's where task, metric and test bed
    are, and any other test bed is a column of its own. `parameters`: millions of them by (method,
    sparsity). `setting` as in `Table`, `same_setting` as in `verdict`. Every interval has a fresh generator
    of the same `seed`, so that a further row moves no other.
    """
    theirs = printed.to_dict("records")
    study = _Study(profiles, reference, _column_names(theirs), parameters or {}, seed)
    cells = [cell for row in rows for cell in study.cells(row)]
    paper, item = int(printed["paper"].iloc[0]), str(printed["item"].iloc[0])
    protocol = published.protocol(paper, item)
    runs = protocol["runs"] if isinstance(protocol.get("runs"), int) else 1
    known = _comparable(theirs, {cell.column for cell in cells})

    def told(cell: "_Cell") -> Record:
        value = judged = None
        if (cell.row, cell.column) in known:
            print_ = known[cell.row, cell.column]
            value = float(print_["printed"])
            noise = cell.ours.seed_sd if math.isnan(cell.noise) else cell.noise
            rounding = float(print_["rounding"])
            judged = verdict(
                value, cell.ours, noise, scale, runs=runs, rounding=rounding, same_setting=same_setting
            )
        return record(paper, item, cell.row, cell.column, value, cell.ours, scale, judged)

    units = {cell.column: cell.unit for cell in sorted(cells, key=lambda cell: cell.position)}
    return Table(f"Paper {paper}, {item}: {protocol['caption']}", tuple(map(told, cells)), units, setting)


@dataclass(frozen=True)
class _Cell:
    position: tuple[int, int]  # of its column: task, then place within it
    row: str
    column: str
    unit: str
    ours: Interval
    noise: float = math.nan  # published spread between seeds, in the unit


@dataclass(frozen=True)
class _Study:
    profiles: Mapping[ProfileKey, Profile]
    reference: tuple[str, float]
    names: Mapping[tuple[str, str, str], str]
    parameters: Mapping[tuple[str, float], float]
    seed: int

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(task for task, _, _ in self.profiles))

    @property
    def draws(self) -> dict[str, Any]:
        return {"generator": np.random.default_rng(self.seed)}

    def cells(self, row: Row) -> Iterator[_Cell]:
        key = (row.method, row.sparsity)
        if key in self.parameters:
            count = self.parameters[key]
            exact = Interval(count, count, count, n=0, seeds=0, level=1.0, seed_sd=0.0)
            yield _Cell((-1, 0), row.name, "#Param", "million", exact)
        for task in self.tasks:
            if (task, *key) in self.profiles:
                yield from self.accuracies(row, task, self.profiles[task, *key])
        yield from self.biases(row, "F_bias", self.reference, rank=100)
        if row.control is not None:
            yield from self.biases(row, "F_bias vs control", row.control, rank=101)

    def accuracies(self, row: Row, task: str, profile: Profile) -> Iterator[_Cell]:
        whole = profile.id.testbed
        dev = self._column(task, whole, "accuracy")
        named = [(dev, profile.id, whole)]
        for name, arm in profile.slices.items():
            named.append((self.names.get((task, whole, f"accuracy_{name}"), f"{dev} {name}"), arm, ""))
        named += [(self._column(task, arm.testbed, "accuracy"), arm, arm.testbed) for arm in profile.ood]
        for rank, (column, arm, testbed) in enumerate(named):
            ours = compare.accuracy(arm, **self.draws).times(100)
            noise = 100 * published.seed_noise(task, testbed).sd
            yield _Cell((self.tasks.index(task), rank), row.name, column, "percent", ours, noise)

    def _column(self, task: str, testbed: str, metric: str) -> str:
        return self.names.get((task, testbed, metric), f"{task.upper()} {testbed}")

    def biases(self, row: Row, title: str, other: tuple[str, float], *, rank: int) -> Iterator[_Cell]:
        key = (row.method, row.sparsity)
        if key == other:
            return
        pairs = {
            task: (self.profiles[task, *key], self.profiles[task, *other])
            for task in self.tasks
            if (task, *key) in self.profiles and (task, *other) in self.profiles
        }
        for task, pair in pairs.items():
            ours = compare.f_bias([pair], **self.draws)
            yield _Cell((self.tasks.index(task), rank), row.name, f"{task.upper()} {title}", "ratio", ours)
        if len(pairs) == len(self.tasks) > 1:
            ours = compare.f_bias(list(pairs.values()), **self.draws)
            yield _Cell((len(self.tasks), rank), row.name, f"Average {title}", "ratio", ours)


def _column_names(theirs: Sequence[Mapping[Any, Any]]) -> dict[tuple[str, str, str], str]:
    """The paper's column by task, test bed and metric; its name begins with the task's."""
    return {(c["column"].split()[0].lower(), c["testbed"], c["metric"]): c["column"] for c in theirs}


def _comparable(
    theirs: Sequence[Mapping[Any, Any]], measured: set[str]
) -> dict[tuple[str, str], Mapping[Any, Any]]:
    """Printed cells by row and column, less the average where it is not over the paper's tasks."""
    missing = {c["column"] for c in theirs if c["column"].endswith("F_bias")} - measured
    known = {(c["row"], c["column"]): c for c in theirs}
    return {key: c for key, c in known.items() if not (missing and key[1].startswith("Average"))}
