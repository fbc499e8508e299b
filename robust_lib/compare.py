"""Intervals and paired tests over seeds x items, from per-example outcomes alone.

What is crossed with what: every training seed of a model answers the same items, so an item is drawn for
all seeds and all models at once, and a seed for all models of its task that were trained with the same
seeds. Arms that share neither are drawn independently. An interval speaks of new seeds and new items; with
one seed it speaks of new items for that very model, and says `seeds=1`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from robust_lib import metrics

Floats = NDArray[np.float64]
Outcomes = Mapping[int, "pd.Series[Any] | pd.DataFrame"]
Statistic = Callable[..., Floats]
PredictionKey = tuple[str, str, str, float, int]  # task, testbed, method, sparsity, seed
ProfileKey = tuple[str, str, float]  # task, method, sparsity
Accuracy = Literal["id", "ood", "gap"]  # in distribution, out of it, the second less the first


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

    `values` is seeds x items x quantities: one quantity for accuracy, three for F1. Arms of one `testbed`
    share their items; arms of one `task` with equal `seeds` share these.
    """

    task: str
    testbed: str
    seeds: tuple[int, ...]
    ids: "pd.Index[Any]"
    values: Floats


@dataclass(frozen=True, eq=False)
class Profile:
    """One model on one task: its in-distribution arm, its OOD arms, and how these become one accuracy.

    `slices` are named parts of the in-distribution test bed (hard, easy); `chance` is the OOD accuracy of
    guessing evenly among the labels that occur.
    """

    id: Arm
    ood: tuple[Arm, ...]
    pool: metrics.Pool
    slices: Mapping[str, Arm] = field(default_factory=dict)
    chance: float = np.nan

    @property
    def arms(self) -> tuple[Arm, ...]:
        return (self.id, *self.ood)

    def ood_accuracy(self, rates: Sequence[Floats]) -> Floats:
        """The OOD rates, one array for each set, as one."""
        return metrics.pooled(rates, [len(arm.ids) for arm in self.ood], self.pool)


@dataclass(frozen=True)
class McNemar:
    """Items that only the first, only the second model got right, of `n`, and the exact two-sided p-value."""

    only_first: int
    only_second: int
    n: int
    p_value: float


def arm(task: str, testbed: str, outcomes: Outcomes) -> Arm:
    """An arm from one Series per seed, indexed by example id (`metrics.correct`), or one frame of quantities.

    Raises CompareError for no seed, no item, an id that stands twice, an outcome that is not a finite
    number, and seeds that do not hold the same items.
    """
    seeds = tuple(sorted(outcomes))
    if not seeds or not len(outcomes[seeds[0]]):
        raise CompareError(f"{testbed}: nothing to compare, {len(seeds)} seeds of 0 items")
    ids = outcomes[seeds[0]].index
    if not ids.is_unique:
        raise CompareError(f"{testbed}: ids stand twice: {_some(ids[ids.duplicated()])}")
    for seed in seeds[1:]:
        _same_items(testbed, f"seed {seeds[0]}", ids, f"seed {seed}", outcomes[seed].index)
    values = np.stack([outcomes[seed].reindex(ids).to_numpy(dtype=np.float64) for seed in seeds])
    if not np.isfinite(values).all():
        raise CompareError(f"{testbed}: {(~np.isfinite(values)).sum()} outcomes are not finite numbers")
    return Arm(task, testbed, seeds, ids, values.reshape(*values.shape[:2], -1))


def interval(
    statistic: Statistic,
    arms: Sequence[Arm],
    *,
    generator: np.random.Generator,
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
      - 1)), z standard normal, which moves a mean by its standard error. Three seeds drawn with replacement
      have ten outcomes, a third too little variance, and intervals that miss the truth one time in four.
    The percentile limits are then stretched about the value by t(df) / z with the df of Welch and
    Satterthwaite: few seeds get Student's interval, a single item no finite one. Undefined resamples count
    against both limits, so a statistic that is undefined more often than (1 - level) / 2 is unbounded.
    Last, limits keep to `bounds`.

    At level 0.95 accuracies simulated with one to five seeds are covered 0.93 to 0.99 of the time, F_bias with
    three noisy seeds 0.90 to 0.93.
    """
    if not 0 < level < 1 or resamples < 100:
        raise CompareError(
            f"level is {level} and resamples {resamples}: need 0 < level < 1 and 100 resamples"
        )
    arms = _aligned(arms)
    means = [arm.values.mean(axis=(0, 1))[None] for arm in arms]
    parts = [*_item_parts(arms, resamples, generator), *_seed_parts(arms, resamples, generator)]

    def at(*chosen: _Part) -> Floats:
        rows = resamples if chosen else 1
        moved = [np.repeat(mean, rows, axis=0) for mean in means]
        for part in chosen:
            for i, move in part.moves.items():
                moved[i] += move
        return _evaluate(statistic, moved)

    value = float(at()[0])
    stretch = _stretch([_width(at(part), level) for part in parts], [part.freedom for part in parts], level)
    low, high = _limits(value, at(*parts), level, stretch)
    n = sum({arm.testbed: len(arm.ids) for arm in arms}.values())
    seeds = min(len(arm.seeds) for arm in arms)
    spread = _seed_sd(statistic, arms)
    return Interval(value, max(low, bounds[0]), min(high, bounds[1]), n, seeds, level, spread)


def profiles(
    predictions: Mapping[PredictionKey, pd.DataFrame],
    testbeds: Mapping[str, Sequence[str]],
    merge: metrics.Merge = "argmax",
) -> dict[ProfileKey, Profile]:
    """Profiles by (task, method, sparsity) from predictions by (task, testbed, method, sparsity, seed).

    `testbeds` names for each task its in-distribution test bed first, then its OOD sets. Where an
    in-distribution frame has a column `hard` (1, 0 or unknown), its two parts become slices. Raises
    CompareError when a model of a task has no predictions on one of the task's test beds, or on other seeds
    than elsewhere.
    """
    found: dict[ProfileKey, dict[str, dict[int, pd.DataFrame]]] = {}
    for (task, testbed, method, sparsity, seed), frame in predictions.items():
        if testbed in testbeds.get(task, ()):
            found.setdefault((task, method, sparsity), {}).setdefault(testbed, {})[seed] = frame
    return {key: _profile(key, beds, testbeds[key[0]], merge) for key, beds in found.items()}


def points(found: Mapping[ProfileKey, Profile], *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """In-distribution and pooled OOD accuracy of each profile, as shares with limits: what the figures draw.

    Columns: task, method, sparsity, chance, seeds, id, id_low, id_high, ood, ood_low, ood_high.
    """
    rows = []
    for (task, method, sparsity), profile in found.items():
        row = {"task": task, "method": method, "sparsity": sparsity, "chance": profile.chance}
        inside = accuracy(profile.id, generator=np.random.default_rng(seed), level=level)
        outside = ood_accuracy(profile, generator=np.random.default_rng(seed), level=level)
        for name, one in (("id", inside), ("ood", outside)):
            row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
        rows.append(row | {"seeds": inside.seeds})
    return pd.DataFrame(rows)


def tidy(found: Mapping[ProfileKey, Profile], *, model: str) -> pd.DataFrame:
    """Accuracies (shares) of each seed: task, testbed, model, method, sparsity, seed, metric, value."""
    columns = ["task", "testbed", "model", "method", "sparsity", "seed", "metric", "value"]
    rows = [
        (task, arm.testbed, model, method, sparsity, seed, "accuracy", value)
        for (task, method, sparsity), profile in found.items()
        for arm in (*profile.arms, *profile.slices.values())
        for seed, value in zip(arm.seeds, arm.values.mean(axis=(1, 2)), strict=True)
    ]
    return pd.DataFrame(rows, columns=columns)


def accuracy(arm: Arm, *, generator: np.random.Generator, level: float = 0.95) -> Interval:
    """Interval of the share of right items; all right or all wrong, which has no spread: exact limits."""
    found = interval(lambda rate: rate, [arm], generator=generator, level=level, bounds=(0, 1))
    if 0 < found.value < 1:
        return found
    exact = stats.binomtest(round(found.value * found.n), found.n).proportion_ci(level)
    return replace(found, low=float(exact.low), high=float(exact.high))


def ood_accuracy(profile: Profile, *, generator: np.random.Generator, level: float = 0.95) -> Interval:
    """Interval of the accuracy on the task's OOD sets taken together, pooled as the profile says."""
    if len(profile.ood) == 1:
        return accuracy(profile.ood[0], generator=generator, level=level)
    return interval(
        lambda *rates: profile.ood_accuracy(rates),
        profile.ood,
        generator=generator,
        level=level,
        bounds=(0, 1),
    )


def f1(arm: Arm, *, generator: np.random.Generator, level: float = 0.95) -> Interval:
    """Interval of the F1 of one class; the arm's outcomes are the three columns of `metrics.confusion`."""
    return interval(lambda r: metrics.f1_score(*r), [arm], generator=generator, level=level, bounds=(0, 1))


def difference(first: Arm, second: Arm, *, generator: np.random.Generator, level: float = 0.95) -> Interval:
    """Interval of first minus second, paired by item, and by seed where both have the same seeds."""
    return interval(lambda one, two: one - two, [first, second], generator=generator, level=level)


def ood_difference(
    first: Profile, second: Profile, *, generator: np.random.Generator, level: float = 0.95
) -> Interval:
    """Interval of the pooled OOD accuracy of first minus second, paired as in `difference`."""
    beds = len(first.ood)
    return interval(
        lambda *rates: first.ood_accuracy(rates[:beds]) - second.ood_accuracy(rates[beds:]),
        [*first.ood, *second.ood],
        generator=generator,
        level=level,
    )


def gap_difference(
    first: Profile, second: Profile, *, generator: np.random.Generator, level: float = 0.95
) -> Interval:
    """Interval of first minus second in (pooled OOD accuracy less in-distribution accuracy), paired as above.

    Negative where the first lost more out of distribution than in distribution against the second.
    """
    beds = len(first.ood)

    def gaps(own: Floats, other: Floats, *rates: Floats) -> Floats:
        return first.ood_accuracy(rates[:beds]) - own - (second.ood_accuracy(rates[beds:]) - other)

    arms = [first.id, second.id, *first.ood, *second.ood]
    return interval(gaps, arms, generator=generator, level=level)


def contrast(
    first: Sequence[Profile],
    second: Sequence[Profile],
    of: Accuracy,
    *,
    generator: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean over the first profiles less that over the second: in-distribution accuracy (`id`), pooled
    OOD accuracy (`ood`), or OOD less in-distribution (`gap`). Paired as in `difference`.

    Several profiles are those of several tasks, or of several models of one.
    """

    def mean(profiles: Sequence[Profile], left: Iterator[Floats]) -> Floats:
        values = []
        for own, pooled in (_id_and_ood(profile, left) for profile in profiles):
            values.append({"id": own, "ood": pooled, "gap": pooled - own}[of])
        return np.asarray(np.mean(values, axis=0))

    def less(*rates: Floats) -> Floats:
        left = iter(rates)
        return mean(first, left) - mean(second, left)

    arms = [arm for profile in (*first, *second) for arm in profile.arms]
    return interval(less, arms, generator=generator, level=level)


def f_bias(
    pairs: Sequence[tuple[Profile, Profile]],
    *,
    generator: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """Interval of F_bias averaged over tasks, from one (model, reference) for each.

    F_bias as in `metrics.f_bias`; items and seeds are paired between model and reference. Its value is NaN
    where one reference has no gap, its limits infinite where a reference's gap cannot be told from zero.
    """
    return interval(
        lambda *rates: _mean_bias(pairs, iter(rates)), _arms(pairs), generator=generator, level=level
    )


def f_bias_difference(
    first: Sequence[tuple[Profile, Profile]],
    second: Sequence[tuple[Profile, Profile]],
    *,
    generator: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """Interval of the average F_bias of the first (model, reference) pairs less that of the second."""

    def less(*rates: Floats) -> Floats:
        left = iter(rates)
        return _mean_bias(first, left) - _mean_bias(second, left)

    return interval(less, [*_arms(first), *_arms(second)], generator=generator, level=level)


def f_bias_reduction(
    first: Sequence[tuple[Profile, Profile]],
    second: Sequence[tuple[Profile, Profile]],
    *,
    generator: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """Interval of the share by which the first pairs' average F_bias is below the second's (paper 1, section 6.3:
    "by 10 %"). NaN where the second's is zero or undefined; its sign means nothing where the second's is negative."""

    def reduced(*rates: Floats) -> Floats:
        left = iter(rates)
        own, other = _mean_bias(first, left), _mean_bias(second, left)
        return 1 - np.divide(own, other, out=np.full_like(own, np.nan), where=other != 0)

    return interval(reduced, [*_arms(first), *_arms(second)], generator=generator, level=level)


def mcnemar(first: "pd.Series[Any]", second: "pd.Series[Any]") -> McNemar:
    """Exact McNemar test of two models on the same items, from 0/1 outcomes indexed by example id.

    Two-sided binomial test of the items that only one of the two got right, against one half; 1 where there
    are none. It speaks of new items for these two models, not of new seeds.
    """
    _same_items("mcnemar", "the first", first.index, "the second", second.index)
    one, two = first.to_numpy(dtype=bool), second.reindex(first.index).to_numpy(dtype=bool)
    only_first, only_second = int((one & ~two).sum()), int((~one & two).sum())
    tail = stats.binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    return McNemar(only_first, only_second, len(one), min(1.0, 2 * float(tail)))


@dataclass(frozen=True, eq=False)
class _Part:
    """One source of chance: the moves of the arms' means, (resamples, quantities), and degrees of freedom."""

    moves: dict[int, Floats]
    freedom: int


def _profile(
    key: ProfileKey,
    frames: Mapping[str, Mapping[int, pd.DataFrame]],
    testbeds: Sequence[str],
    merge: metrics.Merge,
) -> Profile:
    task, method, sparsity = key
    seeds = {bed: sorted(frames.get(bed, ())) for bed in testbeds}
    if any(own != seeds[testbeds[0]] for own in seeds.values()):
        have = "; ".join(f"{bed} has seeds {own}" for bed, own in seeds.items())
        raise CompareError(
            f"{task}, {method}, sparsity {sparsity}: every test bed needs the same seeds; {have}"
        )
    right = {
        bed: {seed: metrics.correct(frame, merge) for seed, frame in frames[bed].items()} for bed in testbeds
    }
    inside, *outside = (arm(task, bed, right[bed]) for bed in testbeds)
    golds = [next(iter(frames[bed].values()))["gold"] for bed in testbeds[1:]]
    guessed = [1 / gold.nunique() for gold in golds]
    pool = metrics.POOL.get(task, "examples")
    chance = float(metrics.pooled(guessed, [len(gold) for gold in golds], pool)) if golds else np.nan
    slices = _slices(task, testbeds[0], frames[testbeds[0]], right[testbeds[0]])
    return Profile(inside, tuple(outside), pool, slices, chance)


def _slices(
    task: str, testbed: str, frames: Mapping[int, pd.DataFrame], right: Mapping[int, "pd.Series[int]"]
) -> dict[str, Arm]:
    frame = next(iter(frames.values()))
    if "hard" not in frame.columns:
        return {}
    hard = pd.Series(frame["hard"].to_numpy(), index=pd.Index(frame["id"]))
    known = pd.to_numeric(hard, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    parts = {name: hard.index[known == flag] for name, flag in (("hard", 1), ("easy", 0))}
    return {
        name: arm(task, f"{testbed} ({name})", {seed: outcome.loc[ids] for seed, outcome in right.items()})
        for name, ids in parts.items()
        if len(ids)
    }


def _seed_sd(statistic: Statistic, arms: Sequence[Arm]) -> float:
    """Spread of the statistic computed for each seed alone."""
    if len({arm.seeds for arm in arms}) > 1 or len(arms[0].seeds) < 2:
        return np.nan
    return float(np.std(_evaluate(statistic, [arm.values.mean(axis=1) for arm in arms]), ddof=1))


def _evaluate(statistic: Statistic, means: Sequence[Floats]) -> Floats:
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
        weights = (normal - normal.mean(axis=1, keepdims=True)) / np.sqrt(count * (count - 1))
        mine = [i for i, arm in enumerate(arms) if (arm.task, arm.seeds) == (task, seeds)]
        yield _Part({i: weights @ arms[i].values.mean(axis=1) for i in mine}, count - 1)


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
    if np.isnan(value) or np.isinf(stretch):
        return -np.inf, np.inf
    undefined = np.isnan(values)
    # No interpolation: an infinite neighbour would make NaN of a finite limit.
    low = np.quantile(np.where(undefined, -np.inf, values), (1 - level) / 2, method="lower")
    high = np.quantile(np.where(undefined, np.inf, values), (1 + level) / 2, method="higher")
    return float(value + (low - value) * stretch), float(value + (high - value) * stretch)


def _arms(pairs: Sequence[tuple[Profile, Profile]]) -> list[Arm]:
    return [arm for pair in pairs for profile in pair for arm in profile.arms]


def _mean_bias(pairs: Sequence[tuple[Profile, Profile]], left: Iterator[Floats]) -> Floats:
    """Average F_bias of the pairs, from the rates of their arms in order."""
    values = []
    for model, reference in pairs:
        own, other = (_id_and_ood(profile, left) for profile in (model, reference))
        values.append(metrics.f_bias(*own, *other))
    return np.asarray(np.mean(values, axis=0))


def _id_and_ood(profile: Profile, rates: Iterator[Floats]) -> tuple[Floats, Floats]:
    in_distribution, *ood = (next(rates) for _ in profile.arms)
    return in_distribution, profile.ood_accuracy(ood)


def _aligned(arms: Sequence[Arm]) -> list[Arm]:
    """The arms with the items of each test bed in the order of its first arm."""
    if not arms:
        raise CompareError("nothing to compare: no arms")
    first: dict[str, Arm] = {}
    aligned = []
    for i, arm in enumerate(arms):
        ids = first.setdefault(arm.testbed, arm).ids
        _same_items(arm.testbed, "the first arm", ids, f"arm {i + 1}", arm.ids)
        aligned.append(arm if arm.ids.equals(ids) else replace(arm, ids=ids, values=_ordered(arm, ids)))
    return aligned


def _ordered(arm: Arm, ids: "pd.Index[Any]") -> Floats:
    return arm.values[:, arm.ids.get_indexer(ids)]


def _same_items(testbed: str, one: str, ids: "pd.Index[Any]", two: str, others: "pd.Index[Any]") -> None:
    odd = ids.symmetric_difference(others)
    if len(odd) or len(ids) != len(others):
        raise CompareError(
            f"{testbed}: {one} has {len(ids)} items and {two} {len(others)}; not in both: {_some(odd)}"
        )


def _some(ids: "pd.Index[Any]", limit: int = 5) -> str:
    shown = ", ".join(f"id {value}" for value in ids[:limit])
    return shown if len(ids) <= limit else f"{shown}, and {len(ids) - limit} more"
