"""Tables 1 to 6 of paper 1: accuracy on each test bed, F_bias by task and on average, the gap of easy and hard."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robust_lib import compare, published
from robust_lib.compare import Interval, Profile, ProfileKey
from robust_lib.report.layout import Table
from robust_lib.report.scorecard import Record, Scale, record, verdict

SLICES = ("accuracy_hard", "accuracy_easy")
METRICS = ("accuracy", *SLICES, "easy_hard_gap", "relative_bias")  # names as in `published`
EXACT = {"#Param": "million", "Attention heads": "count", "Size on disk": "megabyte"}  # column: unit


@dataclass(frozen=True)
class Row:
    """A row of the table: its name, as the paper prints it where it does, the method and sparsity it shows, and
    those of its dense control. The control may be the reference itself or None: both say that there is no other.
    """

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
    metrics: Collection[str] | None = None,
    exact: Mapping[str, Mapping[tuple[str, float], float]] | None = None,
    reference: tuple[str, float] = ("dense", 0.0),
    seed: int = 0,
) -> Table:
    """A table of paper 1 in its layout, with the columns that the paper lacks behind those they belong to.

    `printed` is `published.table(1, "Table 4")`. Every task of `profiles` is shown; a column is the paper's where
    task, metric and test bed are, and any other test bed is a column of its own. `metrics` of METRICS choose
    the columns: by default those that the paper prints, and hard and easy accuracy where they were measured.
    F_bias stands twice: against the reference, as in the paper, and against the row's own dense control.
    `exact` holds what is counted rather than measured, by column of EXACT (#Param and size on disk in
    millions and megabytes), then by (method, sparsity).

    `setting` as in `Table`, `same_setting` as in `verdict`. Every interval has a fresh generator of the same
    `seed`, so that a further row moves no other. Raises ValueError for an unknown metric or exact column, and
    where no row was measured.
    """
    theirs = printed.to_dict("records")
    shown = {*printed["metric"], *SLICES} if metrics is None else _known("metric", metrics, METRICS)
    _known("exact column", exact or {}, EXACT)
    study = _Study(profiles, reference, _column_names(theirs), exact or {}, shown, seed)
    cells = [cell for row in rows for cell in study.cells(row)]
    if not cells:
        raise ValueError(
            f"no row is measured: the rows are {[(row.method, row.sparsity) for row in rows]}, and the profiles "
            f"hold {sorted({(method, sparsity) for _, method, sparsity in profiles})}"
        )
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

    title = f"Paper {paper}, {item}: {protocol['caption']} (in the paper)"
    return Table(title, tuple(map(told, cells)), _units(cells, printed), setting)


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
    exact: Mapping[str, Mapping[tuple[str, float], float]]
    metrics: Collection[str]
    seed: int

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(task for task, _, _ in self.profiles))

    def cells(self, row: Row) -> Iterator[_Cell]:
        key = (row.method, row.sparsity)
        for rank, column in enumerate(EXACT):
            values = self.exact.get(column, {})
            if key in values:
                count = compare.counted(values[key])
                yield _Cell((-1, rank), row.name, column, EXACT[column], count)
        for task in self.tasks:
            if (task, *key) in self.profiles:
                yield from self.accuracies(row, task, self.profiles[task, *key])
        if "relative_bias" in self.metrics:
            yield from self.biases(row, "F_bias", self.reference, rank=100)
            if row.control is not None and row.control != self.reference:
                yield from self.biases(row, "F_bias vs control", row.control, rank=101)

    def accuracies(self, row: Row, task: str, profile: Profile) -> Iterator[_Cell]:
        whole, place = profile.id.testbed, self.tasks.index(task)
        dev = self._column(task, whole, "accuracy")
        named = [("accuracy", dev, profile.id, whole)]
        for name, arm in profile.slices.items():
            metric = f"accuracy_{name}"
            named.append((metric, self._column(task, whole, metric, f"{dev} {name}"), arm, ""))
        behind = len(named)  # the gap stands between the parts of the test bed and the OOD sets
        named += [
            ("accuracy", self._column(task, arm.testbed, "accuracy"), arm, arm.testbed) for arm in profile.ood
        ]
        for rank, (metric, column, arm, testbed) in enumerate(named):
            if metric in self.metrics:
                ours = compare.accuracy(arm, generator=self.seed).times(100)
                noise = 100 * published.seed_noise(task, testbed).sd
                yield _Cell((place, rank + (rank >= behind)), row.name, column, "percent", ours, noise)
        if "easy_hard_gap" in self.metrics and {"easy", "hard"} <= set(profile.slices):
            column = self._column(task, whole, "easy_hard_gap", f"{dev} gap (easy - hard)")
            ours = compare.easy_hard_gap(profile, generator=self.seed).times(100)
            yield _Cell((place, behind), row.name, column, "percentage points", ours)

    def _column(self, task: str, testbed: str, metric: str, ours: str = "") -> str:
        """The paper's name of a column, else ours."""
        return self.names.get((task, testbed, metric), ours or f"{task.upper()} {testbed}")

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
            ours = compare.f_bias([pair], generator=self.seed)
            yield _Cell((self.tasks.index(task), rank), row.name, f"{task.upper()} {title}", "ratio", ours)
        if len(pairs) == len(self.tasks) > 1:
            ours = compare.f_bias(list(pairs.values()), generator=self.seed)
            yield _Cell((len(self.tasks), rank), row.name, f"Average {title}", "ratio", ours)


def _known(what: str, given: Collection[str], names: Collection[str]) -> Collection[str]:
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"unknown {what} {unknown[0]!r}; there are {', '.join(names)}")
    return given


def _units(cells: Sequence[_Cell], printed: pd.DataFrame) -> dict[str, str]:
    """Units by column: tasks in our order, their columns in the paper's, each of ours behind the one before it."""
    longest = max(
        (list(row["column"]) for _, row in printed.groupby("row")), key=len
    )  # the reference lacks F_bias
    keys: dict[str, tuple[int, int]] = {}
    task, place = -1, -1
    for cell in sorted(cells, key=lambda cell: cell.position):
        if cell.position[0] != task:
            task, place = cell.position[0], -1
        place = longest.index(cell.column) if cell.column in longest else place
        keys.setdefault(cell.column, (task, place))
    units = {cell.column: cell.unit for cell in cells}
    return {column: units[column] for column in sorted(keys, key=keys.__getitem__)}


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
