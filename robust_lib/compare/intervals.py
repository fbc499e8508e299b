"""Arms of outcomes, and the bootstrap interval over seeds x items of any function of their means."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from robust_lib import metrics

Floats = NDArray[np.float64]
Draws = np.random.Generator | int  # of resamples: a generator, or the seed of a fresh one
Outcomes = Mapping[int, "pd.Series[Any] | pd.DataFrame"]
Statistic = Callable[..., Floats]

SEEDINGS = 10  # draws of seeds for each of items: Student's tails are long, and weights cost little
STEP = 1e-5  # of a mean, for slopes


class CompareError(ValueError):
    """Outcomes that cannot be compared; the message names the test bed and the seeds or ids at fault."""


@dataclass(frozen=True)
class Interval:
    """A value and its limits over `n` items (of all test beds together) and `seeds` (the fewest of any arm).

    A NaN value is undefined, an infinite limit unbounded: F_bias against a reference that may well have no
    gap. `seed_sd` is the spread of the value from seed to seed, NaN where it cannot be seen (one seed, or
    arms that do not share their seeds).
    """

    value: float
    low: float
    high: float
    n: int
    seeds: int
    level: float
    seed_sd: float = np.nan

    def times(self, factor: float) -> "Interval":
        """The same in another unit: 100 makes percent of shares. The factor is positive."""
        value, low, high, spread = (factor * x for x in (self.value, self.low, self.high, self.seed_sd))
        return replace(self, value=value, low=low, high=high, seed_sd=spread)


@dataclass(frozen=True, eq=False)
class Arm:
    """One model on one test bed: an outcome for each training seed and item.

    `values` is seeds x items x quantities: one quantity for accuracy and F1, whose mean it is (`metrics.outcomes`).
    `measure` says which. Arms of one `testbed` share their items; arms of one `task` with equal `seeds` share these.
    """

    task: str
    testbed: str
    seeds: tuple[int, ...]
    ids: "pd.Index[Any]"
    values: Floats
    measure: metrics.Measure = "accuracy"


def arm(task: str, testbed: str, outcomes: Outcomes, *, measure: metrics.Measure = "accuracy") -> Arm:
    """An arm from one Series per seed, indexed by example id (`metrics.outcomes`), or one frame of quantities.

    Raises CompareError for no seed, no item, an id that stands twice, an outcome that is not a finite
    number, and seeds that do not hold the same items.
    """
    seeds = tuple(sorted(outcomes))
    if not seeds or not len(outcomes[seeds[0]]):
        raise CompareError(f"{testbed}: nothing to compare, {len(seeds)} seeds of 0 items")
    ids = outcomes[seeds[0]].index
    if not ids.is_unique:
        raise CompareError(f"{testbed}: ids stand twice: {some(ids[ids.duplicated()])}")
    for seed in seeds[1:]:
        same_items(testbed, f"seed {seeds[0]}", ids, f"seed {seed}", outcomes[seed].index)
    values = np.stack([outcomes[seed].reindex(ids).to_numpy(dtype=np.float64) for seed in seeds])
    if not np.isfinite(values).all():
        raise CompareError(f"{testbed}: {(~np.isfinite(values)).sum()} outcomes are not finite numbers")
    return Arm(task, testbed, seeds, ids, values.reshape(*values.shape[:2], -1), measure)


def interval(
    statistic: Statistic,
    arms: Sequence[Arm],
    *,
    generator: Draws = 0,
    level: float = 0.95,
    resamples: int = 2000,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """Bootstrap interval, over items and seeds, of any function of the arms' means.

    `statistic` takes one array for each arm, (resamples,) or, of several quantities, (quantities,
    resamples), and returns (resamples,); NaN where it is undefined. A resample moves the arms' means in two
    ways:
    - items are drawn with replacement, one draw for all arms and seeds of a test bed;
    - seeds are weighted rather than drawn: S seeds deviate from equal weights by (z_s - mean z) / sqrt(S (S
      - 1)), z standard normal, which moves a mean by its standard error, over sqrt(chi2(S - 1) / (S - 1)), so that few
      seeds get Student's interval. Three seeds drawn with replacement have ten outcomes, a third too little variance,
      and intervals that miss the truth one time in four. Each draw of items meets `SEEDINGS` draws of seeds.

    What a training does to single items is in the spread of the items and in that of the seeds; it is counted once,
    by drawing the items in toward their mean (`_item_scales`, of the statistic made linear), though never into limits
    narrower than those over the items alone. The limits are percentiles:
    of a sum of both sources what Behrens and Fisher have, of a ratio what Fieller has. They are stretched about the
    value by t(df) / z for the items' degrees of freedom: a single item has no finite interval. Undefined resamples
    count against both limits, so a statistic that is undefined more often than (1 - level) / 2 is unbounded. Last,
    limits keep to `bounds`.

    At level 0.95 accuracies, differences, gaps, ratios, F_bias, F1 and loyalties of simulated models (500 items; see
    tests/test_compare_simulation.py) are covered 0.935 to 0.97 of the time with one seed, and 0.95 to 0.995 with two
    to five: too wide rather than too narrow where trainings hardly differ, which so few of them cannot show.
    """
    if not 0 < level < 1 or resamples < 100:
        raise CompareError(
            f"level is {level} and resamples {resamples}: need 0 < level < 1 and 100 resamples"
        )
    arms, generator = in_one_order(arms), np.random.default_rng(generator)
    means = [arm.values.mean(axis=(0, 1))[None] for arm in arms]
    beds = list(_item_parts(arms, resamples, generator))
    groups = list(_seed_parts(arms, SEEDINGS * resamples, generator))

    def at(*chosen: _Part) -> Floats:
        rows = max((len(move) for part in chosen for move in part.moves.values()), default=1)
        moved = [np.repeat(mean, rows, axis=0) for mean in means]
        for part in chosen:
            for i, move in part.moves.items():
                moved[i] += np.tile(move, (rows // len(move), 1))
        return evaluated(statistic, moved)

    value = float(at()[0])
    stretch = _stretch([_width(at(bed), level) for bed in beds], [bed.freedom for bed in beds], level)
    low, high = _limits(value, at(*beds), level, stretch)
    if groups:  # a few seeds may lie close by chance: no narrower than for these very models
        own = [bed.scaled(scale) for bed, scale in zip(beds, _item_scales(statistic, arms), strict=True)]
        wide = _limits(value, at(*own, *groups), level, stretch)
        low, high = min(low, wide[0]), max(high, wide[1])
    n = sum({arm.testbed: len(arm.ids) for arm in arms}.values())
    seeds = min(len(arm.seeds) for arm in arms)
    spread = _seed_sd(statistic, arms)
    return Interval(value, max(low, bounds[0]), min(high, bounds[1]), n, seeds, level, spread)


def interaction(outcomes: Floats) -> float:
    """Of the variance of a mean over seeds x items what is neither of the seeds nor of the items: from the residual
    mean square of the two-way layout. 0 of one seed."""
    seeds, items = outcomes.shape
    if seeds < 2 or items < 2:
        return 0.0
    residuals = outcomes - outcomes.mean(axis=0) - outcomes.mean(axis=1, keepdims=True) + outcomes.mean()
    return float(np.square(residuals).mean() / ((seeds - 1) * (items - 1)))


def counted(value: float) -> Interval:
    """What is counted rather than measured, as parameters or layers: no items, no seeds, no width."""
    return Interval(value, value, value, n=0, seeds=0, level=1.0, seed_sd=0.0)


def frame(intervals: Mapping[tuple[Any, ...], Interval], names: Sequence[str]) -> pd.DataFrame:
    """Intervals as a tidy frame: `names` are the columns of their keys, then value, low, high, n, seeds."""
    rows = [(*key, one.value, one.low, one.high, one.n, one.seeds) for key, one in intervals.items()]
    return pd.DataFrame(rows, columns=[*names, "value", "low", "high", "n", "seeds"])


@dataclass(frozen=True, eq=False)
class _Part:
    """One source of chance: the moves of the arms' means, (resamples, quantities), and degrees of freedom."""

    moves: dict[int, Floats]
    freedom: int

    def scaled(self, factor: float) -> "_Part":
        return _Part({i: factor * move for i, move in self.moves.items()}, self.freedom)


def _seed_sd(statistic: Statistic, arms: Sequence[Arm]) -> float:
    """Spread of the statistic computed for each seed alone."""
    if len({arm.seeds for arm in arms}) > 1 or len(arms[0].seeds) < 2:
        return np.nan
    return float(np.std(evaluated(statistic, [arm.values.mean(axis=1) for arm in arms]), ddof=1))


def evaluated(statistic: Statistic, means: Sequence[Floats]) -> Floats:
    """The statistic of means shaped (rows, quantities), for each row."""
    given = (mean[:, 0] if mean.shape[1] == 1 else mean.T for mean in means)
    return np.asarray(statistic(*given), dtype=np.float64)


def _item_parts(arms: Sequence[Arm], resamples: int, generator: np.random.Generator) -> Iterator[_Part]:
    for testbed in dict.fromkeys(arm.testbed for arm in arms):
        mine = [i for i, arm in enumerate(arms) if arm.testbed == testbed]
        columns = [arms[i].values.mean(axis=0) for i in mine]
        moves = _item_moves(np.concatenate(columns, axis=1), resamples, generator)
        ends = np.cumsum([column.shape[1] for column in columns])[:-1]
        yield _Part(dict(zip(mine, np.split(moves, ends, axis=1), strict=True)), len(columns[0]) - 1)


def _seed_parts(arms: Sequence[Arm], resamples: int, generator: np.random.Generator) -> Iterator[_Part]:
    groups = dict.fromkeys((arm.task, arm.seeds) for arm in arms if len(arm.seeds) > 1)
    for task, seeds in groups:
        count = len(seeds)
        normal = generator.standard_normal((resamples, count))
        spread = np.sqrt(generator.chisquare(count - 1, (resamples, 1)) / (count - 1))
        weights = (normal - normal.mean(axis=1, keepdims=True)) / np.sqrt(count * (count - 1)) / spread
        mine = [i for i, arm in enumerate(arms) if (arm.task, arm.seeds) == (task, seeds)]
        yield _Part({i: weights @ arms[i].values.mean(axis=1) for i in mine}, count - 1)


def _slopes(statistic: Statistic, arms: Sequence[Arm]) -> list[Floats]:
    """How fast the statistic grows with the mean of each quantity of each arm."""
    means = [arm.values.mean(axis=(0, 1)) for arm in arms]
    ends = np.cumsum([len(mean) for mean in means])
    steps = np.split(STEP * np.eye(ends[-1]), ends[:-1], axis=1)
    up, down = (
        evaluated(statistic, [mean + sign * step for mean, step in zip(means, steps, strict=True)])
        for sign in (1, -1)
    )
    return np.split((up - down) / (2 * STEP), ends[:-1])


def _item_scales(statistic: Statistic, arms: Sequence[Arm]) -> Iterator[float]:
    """For each test bed by how much the items' spread, in sd, is larger for what trainings do to single items:
    sqrt(1 - theirs / all)."""
    slopes = _slopes(statistic, arms)
    for testbed in dict.fromkeys(arm.testbed for arm in arms):
        linear: dict[tuple[str, tuple[int, ...]], Floats] = {}
        for arm, slope in zip(arms, slopes, strict=True):
            if arm.testbed == testbed:
                key = arm.task, arm.seeds
                linear[key] = linear.get(key, 0.0) + arm.values @ slope
        items = np.sum([outcomes.mean(axis=0) for outcomes in linear.values()], axis=0)
        whole = items.var() / len(items)
        known = whole > 0 and np.isfinite(whole)  # not where the statistic has no slope, or an infinite one
        yield float(np.sqrt(max(1 - sum(map(interaction, linear.values())) / whole, 0))) if known else 1.0


def _item_moves(columns: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """How far redrawing the items moves the mean of each column, (resamples, columns).

    Items with equal outcomes are interchangeable: where there are few distinct rows, as with right and
    wrong, their counts are drawn, which is the same distribution at a fraction of the cost.
    """
    n = len(columns)
    rows, counts = np.unique(columns, axis=0, return_counts=True)
    if 12 * len(rows) < n + 2400:  # where the two cost about the same
        drawn = generator.multinomial(n, counts / n, size=resamples) @ rows
    else:
        redrawn = (np.bincount(generator.integers(0, n, n), minlength=n) for _ in range(resamples))
        drawn = np.stack([weights @ columns for weights in redrawn])
    return np.asarray(drawn / n - columns.mean(axis=0))


def _width(values: Floats, level: float) -> float:
    """Half the width of the central `level` of the defined values."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return 0.0
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(high - low) / 2


def _stretch(widths: Sequence[float], freedoms: Sequence[int], level: float) -> float:
    if min(freedoms) < 1:
        return np.inf
    variances = np.square(widths)
    if not variances.sum():
        return 1.0
    freedom = variances.sum() ** 2 / np.sum(variances**2 / np.asarray(freedoms))
    upper = (1 + level) / 2
    return float(stats.t.ppf(upper, freedom) / stats.norm.ppf(upper))


def _limits(value: float, values: Floats, level: float, stretch: float) -> tuple[float, float]:
    if not np.isfinite(value) or np.isinf(stretch):
        return -np.inf, np.inf
    undefined = np.isnan(values)
    # No interpolation: an infinite neighbour would make NaN of a finite limit.
    low = np.quantile(np.where(undefined, -np.inf, values), (1 - level) / 2, method="lower")
    high = np.quantile(np.where(undefined, np.inf, values), (1 + level) / 2, method="higher")
    return float(value + (low - value) * stretch), float(value + (high - value) * stretch)


def in_one_order(arms: Sequence[Arm]) -> list[Arm]:
    """The arms with the items of each test bed in the order of its first arm."""
    if not arms:
        raise CompareError("nothing to compare: no arms")
    first: dict[str, Arm] = {}
    aligned = []
    for i, arm in enumerate(arms):
        ids = first.setdefault(arm.testbed, arm).ids
        same_items(arm.testbed, "the first arm", ids, f"arm {i + 1}", arm.ids)
        aligned.append(arm if arm.ids.equals(ids) else replace(arm, ids=ids, values=ordered(arm, ids)))
    return aligned


def ordered(arm: Arm, ids: "pd.Index[Any]") -> Floats:
    """The arm's values with its items in the order of `ids`."""
    return arm.values[:, arm.ids.get_indexer(ids)]


def same_items(testbed: str, one: str, ids: "pd.Index[Any]", two: str, others: "pd.Index[Any]") -> None:
    """Raise CompareError, naming ids, unless both hold the same ids in whatever order."""
    odd = ids.symmetric_difference(others)
    if len(odd) or len(ids) != len(others):
        raise CompareError(
            f"{testbed}: {one} has {len(ids)} items and {two} {len(others)}; not in both: {some(odd)}"
        )


def some(ids: "pd.Index[Any]", limit: int = 5) -> str:
    """The first ids for a message, and how many more."""
    shown = ", ".join(f"id {value}" for value in ids[:limit])
    return shown if len(ids) <= limit else f"{shown}, and {len(ids) - limit} more"
