"""Loyalty of students to their teachers and their fate under attack, as arms over seeds x items.

    arm = compare.loyalty("mnli", "mnli/validation_matched", students, teachers, "label_loyalty")
    found, unrelated = compare.accuracy(arm), compare.chance("mnli", "mnli/validation_matched", students, ...)

Students and teachers are predictions frames by seed: a student is loyal to the teacher of its own seed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from robust_lib import metrics
from robust_lib.compare.accuracies import accuracy
from robust_lib.compare.intervals import Arm, CompareError, Draws, Floats, Interval, arm, interval, some
from robust_lib.compare.scores import calibration, calibration_error, rank_correlation
from robust_lib.metrics import loyalty as of_pair

Predictions = Mapping[int, pd.DataFrame]  # by seed
Measure = Literal[
    "label_loyalty", "probability_loyalty", "lost", "won", "swapped", "kl_forward", "kl_reverse"
]
Cost = Literal["queries", "calls"]

CHANGES: tuple[Measure, ...] = ("lost", "won", "swapped", "kl_forward", "kl_reverse")
SHARES = ("label_loyalty", "lost", "won", "swapped")  # 0 or 1 for each item
STATUSES = ("success", "failed", "budget", "skipped", "error")
SURVIVED = ("failed", "budget")
CORRECT = ("success", *SURVIVED)  # what the victim got right before the attack
SHUFFLES = 20


def loyalty(
    task: str, testbed: str, students: Predictions, teachers: Predictions, measure: Measure = "label_loyalty"
) -> Arm:
    """The arm of one measure of `metrics.loyalty`: its mean is the share, the loyalty, or the divergence in bits.

    For `accuracy` (the shares) or `mean`, and for `difference` between students of one teacher. Probability loyalty is
    in base 2. Raises CompareError for a student's seed without a teacher and for an unknown measure, MetricError for
    two models that do not answer the same examples in the same labels.
    """
    return arm(task, testbed, _outcomes(testbed, students, teachers, measure))


def chance(
    task: str,
    testbed: str,
    students: Predictions,
    teachers: Predictions,
    measure: Measure = "label_loyalty",
    *,
    shuffles: int = SHUFFLES,
    within: Sequence[str] = ("gold",),
) -> Arm:
    """The same measure of students that are as accurate and know nothing of the teacher, mean over shuffles.

    `metrics.loyalty.independent`, shuffled `within` these columns: what a student has beyond this it has from the
    teacher. An arm as `loyalty` gives
    it, so `difference` of the two pairs items and seeds.
    """
    draws = [
        pd.concat(_outcomes(testbed, shuffled, teachers, measure), names=["seed"])
        for shuffled in _shuffled(students, shuffles, within)
    ]
    mean = pd.concat(draws, axis=1).mean(axis=1)
    return arm(task, testbed, {seed: mean.xs(seed) for seed in students})


def mean(
    arm: Arm,
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    generator: Draws = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean over items and seeds of any quantity; `bounds` are those of the quantity itself."""
    return interval(lambda value: value, [arm], generator=generator, level=level, bounds=bounds)


def slices(
    task: str,
    testbed: str,
    students: Predictions,
    teachers: Predictions,
    measure: Measure = "label_loyalty",
    *,
    lengths: "pd.Series[Any] | None" = None,
    shuffles: int = SHUFFLES,
    generator: Draws = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """A measure on the parts of a test bed: by gold label, heuristic, hard or easy, and length.

    Columns: slice (class, heuristic, difficulty, length), part, value, low, high, n, seeds, chance (`chance` of
    students that are as accurate on the part). Heuristics and difficulty where the students' frames have columns
    `heuristic` and `hard`. `lengths` by id, in whatever unit, is cut at its terciles; equal lengths stay together.
    """
    whole = loyalty(task, testbed, students, teachers, measure)
    rows: list[dict[str, Any]] = []
    for name, labels in _parts(testbed, next(iter(students.values())), lengths):
        parted = {seed: frame.assign(part=frame["id"].map(labels)) for seed, frame in students.items()}
        unrelated = chance(
            task, testbed, parted, teachers, measure, shuffles=shuffles, within=("gold", "part")
        )
        for part in dict.fromkeys(labels.dropna()):
            ids = labels.index[labels == part]
            mine, other = (_part(each, ids, part) for each in (whole, unrelated))
            one = _measured(mine, measure, generator=generator, level=level)
            row = {"slice": name, "part": part, "value": one.value, "low": one.low, "high": one.high}
            rows.append(row | {"n": one.n, "seeds": one.seeds, "chance": float(other.values.mean())})
    return pd.DataFrame(rows)


def exit_agreement(
    task: str,
    testbed: str,
    students: Predictions,
    teachers: Predictions,
    *,
    generator: Draws = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of Spearman's rho of the student's and the teacher's confidence over the items, mean over seeds.

    Whether a cascade that stops early where the student is confident stops where the teacher would: 1 for equal orders.
    Confidence and its HANS reading as in `metrics.confidence`.
    """
    own, other = (
        {seed: metrics.confidence(frames[seed]) for seed in frames}
        for frames in (students, _taught(testbed, students, teachers))
    )
    return rank_correlation(task, testbed, own, other, generator=generator, level=level)


def exit_chance(
    testbed: str, students: Predictions, teachers: Predictions, *, shuffles: int = SHUFFLES
) -> float:
    """`exit_agreement` of students that know nothing of the teacher, mean over shuffles and seeds.

    Not quite 0: where both are surer of one gold label than of another, that much agreement is left.
    """
    taught = _taught(testbed, students, teachers)
    sure = {seed: metrics.confidence(frame) for seed, frame in taught.items()}
    found = [
        stats.spearmanr(own, sure[seed].loc[own.index]).statistic
        for shuffled in _shuffled(students, shuffles)
        for seed, own in ((seed, metrics.confidence(frame)) for seed, frame in shuffled.items())
    ]
    return float(np.mean(found))


def changes(task: str, testbed: str, students: Predictions, teachers: Predictions) -> pd.DataFrame:
    """What loyalty does not say, each with the level of an unrelated student where there is one.

    Columns: measure, value, low, high, chance, n, seeds. Measures: lost, won, swapped; kl_forward and kl_reverse in
    bits; exit agreement (`exit_agreement`); the student's calibration error (`calibration_error`).
    """
    taught = _taught(testbed, students, teachers)
    own = _changed(students, taught)
    levels = pd.concat(
        pd.concat(_changed(shuffled, taught)).mean() for shuffled in _shuffled(students, SHUFFLES)
    )
    found: dict[str, tuple[Interval, float]] = {}
    for measure in CHANGES:
        one = arm(task, testbed, {seed: frame[measure] for seed, frame in own.items()})
        found[measure] = _measured(one, measure, generator=0, level=0.95), float(levels[measure].mean())
    exits = exit_agreement(task, testbed, students, teachers)
    found["exit agreement"] = exits, exit_chance(testbed, students, teachers)
    found["calibration error"] = calibration_error(calibration(task, testbed, students)), np.nan
    rows = [
        (measure, one.value, one.low, one.high, level, one.n, one.seeds)
        for measure, (one, level) in found.items()
    ]
    return pd.DataFrame(rows, columns=["measure", "value", "low", "high", "chance", "n", "seeds"])


def survived(task: str, testbed: str, attacked: Predictions) -> Arm:
    """The arm whose mean is the after-attack accuracy: 1 where the victim was right and the attack did not succeed.

    `attacked` are frames by seed with columns id and status: success, failed, skipped (the victim was wrong already),
    budget (the attack spent its queries: it failed) or error (the victim broke off). An error counts as lost, since
    there is no right answer: after-attack accuracy is too low by at most the share of errors, see `attack_counts`.
    Divided by all examples, those wrong from the start included, as TextFooler does. For `accuracy` and `difference`.
    """
    return arm(
        task,
        testbed,
        {seed: status.isin(SURVIVED).astype(int) for seed, status in _statuses(testbed, attacked).items()},
    )


def attack_cost(task: str, testbed: str, attacked: Predictions, cost: Cost = "queries") -> Arm:
    """The arm that `mean_queries` reads: the cost of an attack on each originally correct example, and that it was one.

    `cost` is the column to count: queries, in the recipe's own counting, or calls, distinct texts that the victim
    really scored. Successes and failures alike, and a spent budget with what it spent; no errors, whose attack did not
    end.
    """
    rows = {}
    for seed, status in _statuses(testbed, attacked, cost).items():
        counted = status.isin(CORRECT).astype(float)
        spent = attacked[seed].set_index("id")[cost].to_numpy(dtype=np.float64)
        rows[seed] = pd.DataFrame({"spent": np.where(counted == 1, spent, 0), "counted": counted})
    return arm(task, testbed, rows)


def right_before(task: str, testbed: str, attacked: Predictions) -> Arm:
    """The arm whose mean is the accuracy on the attacked texts before the attack, errors counted as wrong."""
    statuses = _statuses(testbed, attacked)
    return arm(task, testbed, {seed: status.isin(CORRECT).astype(int) for seed, status in statuses.items()})


def fooled(task: str, testbed: str, attacked: Predictions) -> Arm:
    """The arm that `success_rate` reads: that the attack succeeded, and that the example was right before it."""
    rows = {}
    for seed, status in _statuses(testbed, attacked).items():
        columns = {"fooled": status == "success", "counted": status.isin(CORRECT)}
        rows[seed] = pd.DataFrame(columns).astype(float)
    return arm(task, testbed, rows)


def success_rate(arm: Arm, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of the share of originally correct examples that the attack fools, from a `fooled` arm.

    Unlike after-attack accuracy it does not favour the model that was more often right before. Where all or none are
    fooled the limits are exact binomial ones.
    """
    found = interval(_ratio, [arm], generator=generator, level=level, bounds=(0, 1))
    if found.value not in (0, 1):
        return found
    right = round(float(arm.values[:, :, 1].mean(axis=0).sum()))
    exact = stats.binomtest(right * round(found.value), right).proportion_ci(level)
    return replace(found, low=float(exact.low), high=float(exact.high))


def success_rate_difference(
    first: Arm, second: Arm, *, generator: Draws = 0, level: float = 0.95
) -> Interval:
    """Interval of first minus second in `success_rate`, paired as in `difference`."""
    return interval(
        lambda one, two: _ratio(one) - _ratio(two), [first, second], generator=generator, level=level
    )


def mean_queries(arm: Arm, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of the mean number of queries for an originally correct example, from an `attack_cost` arm.

    sum of queries / number of originally correct examples ("#Query" of paper 3); of several seeds that of their attacks
    taken together. NaN where no example was correct.
    """
    return interval(_ratio, [arm], generator=generator, level=level, bounds=(0, np.inf))


def mean_queries_difference(
    first: Arm, second: Arm, *, generator: Draws = 0, level: float = 0.95
) -> Interval:
    """Interval of first minus second in `mean_queries`, paired as in `difference`."""
    return interval(
        lambda one, two: _ratio(one) - _ratio(two), [first, second], generator=generator, level=level
    )


def attack_counts(attacked: Predictions) -> pd.DataFrame:
    """How many attacks of each seed ended how: columns seed, n, then each of the statuses."""
    rows = []
    for seed, status in _statuses("attacked", attacked).items():
        counts = {name: int((status == name).sum()) for name in STATUSES}
        rows.append({"seed": seed, "n": len(status)} | counts)
    return pd.DataFrame(rows)


def _outcomes(
    testbed: str, students: Predictions, teachers: Predictions, measure: Measure
) -> "dict[int, pd.Series[Any]]":
    if measure not in get_args(Measure):
        raise CompareError(f"measure is {measure!r}; there are {', '.join(get_args(Measure))}")
    taught = _taught(testbed, students, teachers)
    return {seed: _of(student, taught[seed], measure) for seed, student in students.items()}


def _changed(students: Predictions, taught: Predictions) -> dict[int, pd.DataFrame]:
    """All of CHANGES, per example."""
    several = of_pair.flips, of_pair.divergence
    return {
        seed: pd.concat([measure(frame, taught[seed]) for measure in several], axis=1)
        for seed, frame in students.items()
    }


def _of(student: pd.DataFrame, teacher: pd.DataFrame, measure: Measure) -> "pd.Series[Any]":
    alone: dict[str, Callable[..., pd.Series[Any]]] = {
        "label_loyalty": of_pair.label_loyalty,
        "probability_loyalty": of_pair.probability_loyalty,
    }
    if measure in alone:
        return alone[measure](student, teacher)
    several = of_pair.divergence if measure.startswith("kl") else of_pair.flips
    return several(student, teacher)[measure]


def _measured(arm: Arm, measure: Measure, *, generator: Draws, level: float) -> Interval:
    if measure in SHARES:
        return accuracy(arm, generator=generator, level=level)
    bounds = (0, 1) if measure == "probability_loyalty" else (0, np.inf)
    return mean(arm, bounds=bounds, generator=generator, level=level)


def _taught(testbed: str, students: Predictions, teachers: Predictions) -> dict[int, pd.DataFrame]:
    """The teacher of each student's seed."""
    missing = sorted(set(students) - set(teachers))
    if missing:
        raise CompareError(f"{testbed}: no teacher of seed {missing[0]}; there are {sorted(teachers)}")
    return {seed: teachers[seed] for seed in students}


def _shuffled(
    students: Predictions, shuffles: int, within: Sequence[str] = ("gold",)
) -> Iterator[dict[int, pd.DataFrame]]:
    if shuffles < 1:
        raise CompareError(f"shuffles is {shuffles}; a chance level needs at least 1")
    for shuffle in range(shuffles):
        yield {seed: of_pair.independent(frame, shuffle, within=within) for seed, frame in students.items()}


def _parts(
    testbed: str, predictions: pd.DataFrame, lengths: "pd.Series[Any] | None"
) -> Iterator[tuple[str, "pd.Series[Any]"]]:
    """Slices by name, each a label for every id, missing where the id is in no part."""
    frame = predictions.set_index("id")
    yield "class", frame["gold"]
    if "heuristic" in frame:
        yield "heuristic", frame["heuristic"]
    if "hard" in frame:
        yield "difficulty", pd.to_numeric(frame["hard"], errors="coerce").map({0: "easy", 1: "hard"})
    if lengths is not None:
        if not frame.index.isin(lengths.index).all():
            raise CompareError(
                f"{testbed}: lengths lack {some(frame.index[~frame.index.isin(lengths.index)])}"
            )
        yield "length", _terciles(lengths.loc[frame.index])


def _terciles(lengths: "pd.Series[Any]") -> "pd.Series[Any]":
    """Each length's part as "3 to 9", the shortest first."""
    ordered = lengths.sort_values(kind="stable")
    part = np.searchsorted(np.quantile(ordered, [1 / 3, 2 / 3]), ordered)
    ranges = ordered.groupby(part).agg(["min", "max"])
    names = {at: " to ".join(dict.fromkeys(f"{x:g}" for x in ends)) for at, *ends in ranges.itertuples()}
    return pd.Series([names[at] for at in part], index=ordered.index)


def _part(whole: Arm, ids: "pd.Index[Any]", name: str) -> Arm:
    """The items of one part, which are drawn for themselves: the test bed gets a name of its own."""
    values = whole.values[:, whole.ids.get_indexer(ids)]
    return Arm(whole.task, f"{whole.testbed} ({name})", whole.seeds, ids, values)


def _statuses(testbed: str, attacked: Predictions, *further: str) -> "dict[int, pd.Series[Any]]":
    """How each attack ended, by seed, indexed by id; the frames have the columns needed for that, and further ones."""
    for seed, frame in attacked.items():
        missing = [name for name in ("id", "status", *further) if name not in frame]
        if missing:
            columns = ", ".join(map(str, frame.columns))
            raise CompareError(
                f"{testbed}: the attacks of seed {seed} lack the column {missing[0]!r}; found {columns}"
            )
    found = {seed: frame.set_index("id")["status"] for seed, frame in attacked.items()}
    for seed, status in found.items():
        strange = sorted({str(one) for one in status[~status.isin(STATUSES)]})
        if strange:
            raise CompareError(
                f"{testbed}: seed {seed} has the status {strange[0]!r}; there are {', '.join(STATUSES)}"
            )
    return found


def _ratio(means: Floats) -> Floats:
    """The first over the second, NaN where nothing was counted."""
    return np.asarray(means[0] / np.where(means[1] > 0, means[1], np.nan))
