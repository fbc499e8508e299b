"""Every compression method by every measure of the four papers, against its teacher and against a second training.

    found = compare.evidence(
        predictions, beds, answers=answers, attacked=attacked, shared=shared, distances=distances, k=10
    )
    table = compare.matrix(found, control="Teacher, another seed")

A measure is of one model (accuracy) or of a model and its teacher (loyalty). Both are read against the control, the
teacher trained again with another seed: what a method does beyond that is the method's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from robust_lib import metrics
from robust_lib.compare import accuracies, agreements, loyalties, scores
from robust_lib.compare.compressed import speedup
from robust_lib.compare.intervals import Arm, CompareError, Interval, arm, counted
from robust_lib.compare.profile import PredictionKey, Profile, ProfileKey, profiles

One = TypeVar("One")
Cell = tuple[str, str, str]  # task, method, measure
TEACHER, JUDGE = "Teacher", "Judge"


@dataclass(frozen=True)
class Measure:
    """How a number is computed from a cell's evidence, and from two models' evidence the difference of their numbers.

    `better` is 1 where more is better, -1 where less is. `of_pair`: the number is of a model and its teacher.
    """

    better: int
    value: Callable[[Any], Interval]
    difference: Callable[[Any, Any], Interval]
    of_pair: bool = False


def _jaccard(one: Arm) -> Interval:
    return agreements.pair_agreement(one, "jaccard")


def _jaccards(one: Arm, other: Arm) -> Interval:
    return agreements.mean_pair_agreement([one], "jaccard", [other])


def _counts(one: float, other: float) -> Interval:
    return counted(one - other)


MEASURES: Mapping[str, Measure] = {
    "accuracy": Measure(
        1, lambda one: accuracies.accuracy(one.id), lambda one, other: accuracies.difference(one.id, other.id)
    ),
    "OOD accuracy": Measure(
        1, accuracies.ood_accuracy, lambda one, other: accuracies.contrast([one], [other], "ood")
    ),
    "F_bias": Measure(
        -1,
        lambda pair: accuracies.f_bias([pair]),
        lambda one, other: accuracies.f_bias_difference([one], [other]),
    ),
    "easy-hard gap": Measure(-1, accuracies.easy_hard_gap, accuracies.gap_change),
    "label loyalty": Measure(1, accuracies.accuracy, accuracies.difference, of_pair=True),
    "probability loyalty": Measure(
        1, lambda one: loyalties.mean(one, bounds=(0, 1)), accuracies.difference, of_pair=True
    ),
    "errors kept": Measure(1, _jaccard, _jaccards, of_pair=True),
    "neighbours kept": Measure(1, _jaccard, _jaccards, of_pair=True),
    "distribution kept": Measure(1, _jaccard, _jaccards, of_pair=True),
    "calibration error": Measure(-1, scores.calibration_error, scores.calibration_error_difference),
    "after-attack accuracy": Measure(1, accuracies.accuracy, accuracies.difference),
    "attack success": Measure(-1, loyalties.success_rate, loyalties.success_rate_difference),
    "speed-up": Measure(1, speedup, speedup),
    "gflop": Measure(-1, counted, _counts),
    "megabytes": Measure(-1, counted, _counts),
}

COSTS = ("speed-up", "gflop", "megabytes")  # of them no training is one of several


def evidence(
    predictions: Mapping[PredictionKey, pd.DataFrame],
    beds: Mapping[str, Sequence[str]],
    *,
    answers: Mapping[PredictionKey, pd.DataFrame],
    attacked: Mapping[tuple[str, str, int], pd.DataFrame],
    shared: Mapping[tuple[str, int], pd.DataFrame],
    distances: Mapping[tuple[str, str, int], pd.DataFrame],
    k: int,
) -> dict[Cell, Any]:
    """What every measure of every method on every task is computed from, for `MEASURES` to read.

    `predictions` of classifiers and `answers` of readers by task, test bed, method, sparsity and seed; `beds` by task,
    the one in distribution first. `attacked` frames by task, method and seed; `shared` neighbours with the teacher by
    task and seed, at `k`; `distances` to the training examples by task, method and seed (see `flagged`). The teacher is
    the method "Teacher". Where there is a method "Judge", a further training of it, the half of the test bed that it
    is less sure of (mean over seeds) is hard; it is no row itself. Readers are right where they match exactly.
    """
    found: dict[Cell, Any] = {}
    hard = _hard(predictions, beds)
    known = {key: hard(key, frame) for key, frame in predictions.items() if key[2] != JUDGE}
    of_all = profiles(known, beds) | _readers(answers, beds)
    for (task, method, _), profile in of_all.items():
        found[task, method, "accuracy"] = found[task, method, "OOD accuracy"] = profile
        if profile.slices:
            found[task, method, "easy-hard gap"] = profile
        if method != TEACHER:
            whole = of_all[task, TEACHER, 0.0]
            found[task, method, "F_bias"] = profile, whole
            errors = agreements.paired(task, beds[task][0], _wrong(whole), _wrong(profile))
            found[task, method, "errors kept"] = errors
    found |= _loyalties(known, beds) | _attacks(attacked) | _neighbours(shared, beds, k)
    return found | _distributions(distances, beds, k)


def costs(
    timed: Mapping[str, pd.DataFrame], weights: Mapping[tuple[str, str], Mapping[str, float]], *, seed: int
) -> dict[Cell, Any]:
    """The evidence of speed-up over the teacher, GFLOP and megabytes, of the trainings of one `seed`.

    `timed` are frames of timings by task, `weights` the columns of `footprint` by task and method.
    """
    found: dict[Cell, Any] = {
        (task, method, name): one[name]
        for (task, method), one in weights.items()
        for name in ("gflop", "megabytes")
        if name in one
    }
    for task, frame in timed.items():
        for method, rows in frame[frame["device"] == "cpu"].groupby("method", sort=False):
            seconds = rows.set_index("round")[["teacher", "seconds"]]
            found[task, str(method), "speed-up"] = arm(task, "speed-up", {seed: seconds})
    return found


def matrix(found: Mapping[Cell, Any], *, control: str) -> pd.DataFrame:
    """One row for every task, method and measure that there is evidence of, the teacher's own first.

    Columns: task, method, measure, value, low, high; control, control_low, control_high (the same of the control);
    difference, difference_low, difference_high (to the control, paired by item and seed); n, seeds; verdict: "better"
    or "worse" than the control where the interval of the difference is on one side of 0, else "not told apart";
    "undefined" for a difference without value or limits, "one seed" where a single training of each was measured, but
    for costs: the luck of one control is no bar. No correction is made for the many cells. CompareError for a task
    without the control.
    """
    rows = []
    for (task, method, name), one in found.items():
        measure, other = MEASURES[name], found.get((task, control, name))
        own = measure.value(one)
        row: dict[str, Any] = {"task": task, "method": method, "measure": name}
        row |= {"value": own.value, "low": own.low, "high": own.high}
        if other is not None:
            row |= _limits("control", measure.value(other))
            apart = measure.difference(one, other)
            row |= _limits("difference", apart)
            row["verdict"] = _verdict(
                apart, measure.better, trained_once=apart.seeds == 1 and name not in COSTS
            )
        rows.append(row | {"n": own.n, "seeds": own.seeds})
    if missing := sorted(
        {task for task, *_ in found} - {task for task, method, _ in found if method == control}
    ):
        raise CompareError(f"{missing[0]}: there is no method {control!r} to compare with")
    return pd.DataFrame(rows)


def by_seed(found: Mapping[int, Mapping[Cell, Any]]) -> pd.DataFrame:
    """The bare values from each seed's own evidence: index task, method, seed, a column for each measure."""
    values = {
        (*key[:2], seed, key[2]): MEASURES[key[2]].value(one).value
        for seed, cells in found.items()
        for key, one in cells.items()
    }
    index = pd.MultiIndex.from_tuples(values, names=["task", "method", "seed", "measure"])
    table = pd.Series(list(values.values()), index=index, dtype=float).unstack("measure")
    return table[[name for name in MEASURES if name in table]]


def controls(values: pd.DataFrame, table: pd.DataFrame, *, control: str) -> pd.DataFrame:
    """What two trainings of one model differ by, from the teacher and the control of each seed in `by_seed`.

    Of a measure of a pair, as loyalty: the mean of the S pairs, and limits that hold the next pair's value with 95 %,
    m +- t(S - 1) s sqrt(1 + 1 / S), within [0, 1]; infinite with one seed. Of a measure of one model: the root mean
    square r of control less teacher, and limits of the next pair's difference, +- t(S) r: of two trainings neither is
    the first. All this on as many items as in `table`, of `matrix`; pairs differ more on fewer.

    Columns: measure, task, value, low, high, n, seeds. Costs are left out, and F_bias, which is of a pair by nature.
    """
    rows = []
    own = table["method"].eq(control) & ~table["measure"].isin([*COSTS, "F_bias"])
    for task, name, n in table.loc[own, ["task", "measure", "n"]].itertuples(index=False):
        of_task, of_pair = values[name].xs(task, level="task").unstack("method"), MEASURES[name].of_pair
        pairs = (of_task[control] if of_pair else of_task[control] - of_task[TEACHER]).dropna()
        if len(pairs):
            limits = _next_pair(pairs) if of_pair else _next_difference(pairs)
            rows.append((name, task, *limits, n, len(pairs)))
    return pd.DataFrame(rows, columns=["measure", "task", "value", "low", "high", "n", "seeds"])


def standardised(table: pd.DataFrame, *, control: str) -> pd.DataFrame:
    """The difference of each method to the control, better upwards, in standard deviations of methods, mean over tasks.

    From `matrix`. A task's differences in one measure are divided by their standard deviation over all methods but the
    control; the mean over T tasks has the limits value +- sqrt(sum of squared distances of the tasks' limits) / T, as
    tasks share neither items nor models (MOVER, Zou and Donner 2008). Columns: method, measure, value, low, high, tasks
    and told (whether the interval leaves out 0; sizes, which have no interval, are told where they differ; nothing is
    told of one seed).
    """
    known = table[table["method"].ne(control) & np.isfinite(table["difference"])].copy()
    known["better"] = known["measure"].map(lambda name: MEASURES[name].better)
    scale = known.groupby(["task", "measure"])["difference"].transform("std")
    known = known[scale > 0].assign(scale=scale)
    rows = []
    for (method, name), tasks in known.groupby(["method", "measure"], sort=False):
        factor = tasks["better"] / tasks["scale"]
        value, first, second = (tasks[f"difference{end}"] * factor for end in ("", "_low", "_high"))
        low, high = np.minimum(first, second), np.maximum(first, second)
        mean, below, above = value.mean(), _root(value - low), _root(high - value)
        rows.append((method, name, mean, mean - below, mean + above, len(tasks)))
    found = pd.DataFrame(rows, columns=["method", "measure", "value", "low", "high", "tasks"])
    several = ~known["verdict"].eq("one seed").groupby([known["method"], known["measure"]], sort=False).any()
    told = several.loc[list(zip(found["method"], found["measure"], strict=True))].to_numpy()
    return found.assign(told=told & ((found["low"] > 0) | (found["high"] < 0)))


def mean_over_tasks(table: pd.DataFrame) -> pd.DataFrame:
    """Each method's values, mean over its tasks, limits as in `standardised`.

    Columns: method, measure, value, low, high, tasks.
    """
    rows = []
    for (method, name), tasks in table.dropna(subset="value").groupby(["method", "measure"], sort=False):
        mean = tasks["value"].mean()
        below, above = _root(tasks["value"] - tasks["low"]), _root(tasks["high"] - tasks["value"])
        rows.append((method, name, mean, mean - below, mean + above, len(tasks)))
    return pd.DataFrame(rows, columns=["method", "measure", "value", "low", "high", "tasks"])


def pareto(cost: pd.Series[float], value: pd.Series[float]) -> pd.Series[bool]:
    """Whether no other method costs at most as much and is worth at least as much, and one of the two strictly.

    Both by method, `cost` better downwards, `value` upwards; so is what is returned.
    """
    points = pd.DataFrame({"cost": cost, "value": value}).dropna()
    costs, values = points["cost"].to_numpy(), points["value"].to_numpy()
    cheaper, better = costs[:, None] <= costs, values[:, None] >= values  # each row than each column
    strictly = (costs[:, None] < costs) | (values[:, None] > values)
    return pd.Series(~(cheaper & better & strictly).any(axis=0), index=points.index, name="front")


def _hard(
    predictions: Mapping[PredictionKey, pd.DataFrame], beds: Mapping[str, Sequence[str]]
) -> Callable[[PredictionKey, pd.DataFrame], pd.DataFrame]:
    """Puts a column `hard` onto predictions on the first test bed of a task, where there are the judge's too."""
    sure: dict[tuple[str, str], list[pd.Series[float]]] = {}
    for (task, bed, method, _, _), frame in predictions.items():
        if method == JUDGE and bed == beds[task][0]:
            sure.setdefault((task, bed), []).append(metrics.confidence(frame))
    means = {at: pd.concat(several, axis=1).mean(axis=1) for at, several in sure.items()}
    hard = {at: mean.rank(method="first", pct=True).le(0.5).astype(int) for at, mean in means.items()}

    def put(key: PredictionKey, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(hard=frame["id"].map(hard[key[:2]])) if key[:2] in hard else frame

    return put


def _readers(
    answers: Mapping[PredictionKey, pd.DataFrame], beds: Mapping[str, Sequence[str]]
) -> dict[ProfileKey, Profile]:
    """Profiles of readers by exact match: of their answers on the first test bed, and on the others."""
    right: dict[ProfileKey, dict[str, dict[int, pd.Series[Any]]]] = {}
    for (task, bed, method, sparsity, seed), frame in answers.items():
        seeds = right.setdefault((task, method, sparsity), {}).setdefault(bed, {})
        seeds[seed] = metrics.exact_match(frame)
    found = {}
    for key, of_bed in right.items():
        inside, *outside = (arm(key[0], bed, of_bed[bed]) for bed in beds[key[0]])
        found[key] = Profile(inside, tuple(outside), "examples")
    return found


def _wrong(profile: Profile) -> dict[int, pd.Series[bool]]:
    """By seed, whether each item in distribution is answered wrongly."""
    one = profile.id
    return {seed: pd.Series(one.values[at, :, 0] < 1, one.ids) for at, seed in enumerate(one.seeds)}


def _by_method(found: Mapping[tuple[str, str, int], One]) -> dict[tuple[str, str], dict[int, One]]:
    """What is known of each seed, by task and method."""
    grouped: dict[tuple[str, str], dict[int, One]] = {}
    for (task, method, seed), one in found.items():
        grouped.setdefault((task, method), {})[seed] = one
    return grouped


def _loyalties(
    predictions: Mapping[PredictionKey, pd.DataFrame], beds: Mapping[str, Sequence[str]]
) -> dict[Cell, Any]:
    """Loyalty to the teacher and calibration, on the first test bed."""
    inside = {
        (task, method, seed): frame
        for (task, bed, method, _, seed), frame in predictions.items()
        if bed == beds[task][0]
    }
    grouped, found = _by_method(inside), {}
    for (task, method), frames in grouped.items():
        bed = beds[task][0]
        found[task, method, "calibration error"] = scores.calibration(task, bed, frames)
        if method != TEACHER:
            pair = task, bed, frames, grouped[task, TEACHER]
            found[task, method, "label loyalty"] = loyalties.loyalty(*pair, "label_loyalty")
            found[task, method, "probability loyalty"] = loyalties.loyalty(*pair, "probability_loyalty")
    return found


def _attacks(attacked: Mapping[tuple[str, str, int], pd.DataFrame]) -> dict[Cell, Any]:
    found: dict[Cell, Any] = {}
    for (task, method), frames in _by_method(attacked).items():
        found[task, method, "after-attack accuracy"] = loyalties.survived(task, f"{task} attacked", frames)
        found[task, method, "attack success"] = loyalties.fooled(task, f"{task} attacked", frames)
    return found


def _neighbours(
    shared: Mapping[tuple[str, int], pd.DataFrame], beds: Mapping[str, Sequence[str]], k: int
) -> dict[Cell, Any]:
    with_teacher = {
        (task, str(method), seed): rows.set_index("point")["shared"]
        for (task, seed), frame in shared.items()
        for method, rows in frame[frame["k"].eq(k) & frame["first"].eq(TEACHER)].groupby("second", sort=False)
    }
    return {
        (task, method, "neighbours kept"): agreements.neighbourhood(
            task, beds[task][0], counts, k=k, n=len(next(iter(counts.values())))
        )
        for (task, method), counts in _by_method(with_teacher).items()
    }


def _distributions(
    distances: Mapping[tuple[str, str, int], pd.DataFrame], beds: Mapping[str, Sequence[str]], k: int
) -> dict[Cell, Any]:
    """The points of the second test bed that teacher and method call out of distribution."""
    out = _by_method({key: agreements.flagged(frame, k=k) for key, frame in distances.items()})
    return {
        (task, method, "distribution kept"): agreements.paired(
            task, beds[task][1], out[task, TEACHER], flagged
        )
        for (task, method), flagged in out.items()
        if method != TEACHER
    }


def _limits(name: str, one: Interval) -> dict[str, float]:
    return {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}


def _verdict(apart: Interval, better: int, *, trained_once: bool) -> str:
    if not np.isfinite([apart.value, apart.low, apart.high]).all():
        return "undefined"
    if trained_once:
        return "one seed"
    if apart.low <= 0 <= apart.high:
        return "not told apart"
    return "better" if apart.value * better > 0 else "worse"


def _next_pair(values: pd.Series[float]) -> tuple[float, float, float]:
    count, mean = len(values), float(values.mean())
    if count < 2:
        return mean, -np.inf, np.inf
    half = stats.t.ppf(0.975, count - 1) * values.std() * np.sqrt(1 + 1 / count)
    return mean, max(mean - half, 0), min(mean + half, 1)


def _next_difference(values: pd.Series[float]) -> tuple[float, float, float]:
    size = float(np.sqrt((values**2).mean()))
    half = float(stats.t.ppf(0.975, len(values))) * size
    return size, -half, half


def _root(distances: pd.Series[float]) -> float:
    return float(np.sqrt((distances**2).sum()) / len(distances))
