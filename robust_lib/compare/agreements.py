"""Agreement of two models on errors, neighbours, representations and OOD points, with intervals over seeds x items.

    errors = compare.paired("squad", "squad/validation_v2", of_large, of_tiny)   # bool by seed, indexed by question
    found, unrelated = (compare.pair_agreement(errors, one) for one in ("jaccard", "chance"))

A model of the first mapping is held against the model of the second that has the same key, its seed. An interval over
items redraws them as questions put to both models: what the models were trained on, and the set that neighbours
were searched in, stay as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from robust_lib.compare.intervals import (
    Arm,
    CompareError,
    Draws,
    Floats,
    Interval,
    Statistic,
    arm,
    interval,
    same_items,
)

Parts = Callable[..., tuple[Floats, Floats]]  # the quantities' means to a ratio's upper and lower number
BySeed = Mapping[int, "pd.Series[Any]"]  # indexed by item

ROUNDING = 1e-9  # of sums of shares: what is closer is the same

_SETS: dict[str, Parts] = {
    "jaccard": lambda p, q, both: (both, p + q - both),
    "overlap coefficient": lambda p, q, both: (both, np.minimum(p, q)),
    "kappa": lambda p, q, both: (both - p * q, (p + q) / 2 - p * q),
    "Loevinger's H": lambda p, q, both: (both - p * q, np.minimum(p, q) - p * q),
    "chance": lambda p, q, both: (p * q, p + q - p * q),
    "bound": lambda p, q, both: (np.minimum(p, q), np.maximum(p, q)),
    "left out": lambda p, q, both: (p - both, p),
    "size": lambda p, q, both: (p, np.ones_like(p)),
    "other size": lambda p, q, both: (q, np.ones_like(q)),
}
_NEIGHBOURS: dict[str, Parts] = {
    "jaccard": lambda mean, square, share, *_: (mean, np.ones_like(mean)),
    "variance": lambda mean, square, *_: (np.maximum(square - mean**2, 0), np.ones_like(mean)),
    "overlap coefficient": lambda mean, square, share, *_: (share, np.ones_like(share)),
    "kappa": lambda mean, square, share, chance, level: (share - level, 1 - level),
    "chance": lambda mean, square, share, chance, level: (chance, np.ones_like(chance)),
}
_ALIGNMENT: dict[str, Parts] = {"cka": lambda value: (value, np.ones_like(value))}
_KINDS = {3: ("two sets", _SETS), 5: ("neighbours", _NEIGHBOURS), 1: ("an alignment", _ALIGNMENT)}
_LEAST = {"kappa": -1.0, "cka": -1.0, "Loevinger's H": -np.inf}  # of measures that may be below 0
SETS, NEIGHBOURS = tuple(_SETS), tuple(_NEIGHBOURS)  # the measures of each


def paired(task: str, testbed: str, first: BySeed, second: BySeed) -> Arm:
    """The arm of two sets of items, as of two models' errors, from membership (True, False) by seed.

    Its quantities are that an item is in the first set, in the second, in both. Raises CompareError for other seeds or
    items in the second than in the first, and for membership that is neither True nor False.
    """
    if set(first) != set(second):
        raise CompareError(f"{testbed}: the first has seeds {sorted(first)}, the second {sorted(second)}")
    rows = {}
    for seed, one in first.items():
        two = second[seed]
        same_items(testbed, f"the first of seed {seed}", one.index, "the second", two.index)
        columns = pd.DataFrame({"first": one, "second": two.reindex(one.index)})
        if not columns.isin([0, 1]).all(axis=None):
            raise CompareError(f"{testbed}: seed {seed} has membership other than True and False")
        rows[seed] = columns.astype(float).assign(both=lambda sets: sets["first"] * sets["second"])
    return arm(task, testbed, rows)


def neighbourhood(task: str, testbed: str, shared: BySeed, *, k: int, n: int) -> Arm:
    """The arm of each point's k nearest neighbours under two models, from how many of them both models find, by seed.

    `n` is the number of points searched, the point's own among them, so that n - 1 can be neighbours. With s shared
    neighbours the quantities of a point are its Jaccard s / (2 k - s), the square of that, the share s / k, and what
    the first and the third are on average where each model draws its k neighbours blindly:

        E[s / (2 k - s)], s hypergeometric (k of n - 1, drawn k times),  and  k / (n - 1)

    Raises CompareError unless 1 <= k < n and s is a whole number that two sets of k out of n - 1 can share.
    """
    if not 1 <= k < n:
        raise CompareError(
            f"{testbed}: k is {k} and n is {n}: each of n points has n - 1 others to find k of"
        )
    least = max(0, 2 * k - (n - 1))
    possible = np.arange(least, k + 1)
    by_chance = float(stats.hypergeom(n - 1, k, k).pmf(possible) @ (possible / (2 * k - possible)))
    rows = {}
    for seed, counts in shared.items():
        strange = counts[~counts.isin(possible)]
        if len(strange):
            raise CompareError(
                f"{testbed}: seed {seed}, point {strange.index[0]} shares {strange.iloc[0]} neighbours: "
                f"two sets of {k} out of {n - 1} share {least} to {k}"
            )
        jaccard = counts / (2 * k - counts)
        columns = {"jaccard": jaccard, "square": jaccard**2, "share": counts / k}
        rows[seed] = pd.DataFrame(columns).assign(chance=by_chance, level=k / (n - 1))
    return arm(task, testbed, rows)


def aligned(task: str, testbed: str, pseudo_values: BySeed) -> Arm:
    """The arm of the centred kernel alignment (CKA) of two representations, from its jackknife pseudo-values by seed.

    Their mean is the CKA, and they spread as if each were a measurement of it: the items of an interval are then the
    blocks of points that were left out in turn.
    """
    return arm(task, testbed, pseudo_values)


def pair_agreement(arm: Arm, measure: str, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of how far two models agree, by one measure; of several seeds that of their answers taken together.

    Of two sets (`paired`), with the shares p in the first, q in the second and b in both:
    jaccard              b / (p + q - b)                    1 for equal sets, 0 for disjoint ones
    overlap coefficient  b / min(p, q)                      1 where one holds the other
    kappa                (p_o - p_e) / (1 - p_e), p_o = 1 - p - q + 2 b, p_e = 1 - p - q + 2 p q       [Cohen 1960]
    Loevinger's H        (b - p q) / (min(p, q) - p q)      1 where one holds the other, 0 at chance  [Loevinger 1948]
    chance               p q / (p + q - p q)                the Jaccard of independent sets as large
    bound                min(p, q) / max(p, q)              the largest Jaccard of sets as large
    left out             (p - b) / p                        of the first what the second lacks: 0 for a subset
    size, other size     p, q: of the first set and of the second

    Of neighbours (`neighbourhood`): the mean over the points of "jaccard" and "overlap coefficient" (of k each, so the
    share of k); "variance" over the points (and seeds) of the Jaccard; "kappa" = (share - k / (n - 1)) / (1 - k / (n -
    1)); "chance", the expected Jaccard of blind neighbours, which has no width. Of an alignment (`aligned`): "cka".

    Jaccard and kappa fall where the sets only differ in size, as those of a good and a poor model; H does not.

    All lie in [0, 1], kappa and cka in [-1, 1], H is at most 1. NaN with infinite limits where undefined: the Jaccard
    of two empty sets, kappa of two that hold nothing or all, a share of an empty set. Two sets at 0 or 1 whose
    resamples do not differ get exact binomial limits, of as many trials as items that the lower number counts; kappa's
    are wider than exact. "bound" of two sets that are equally large but for chance is below 1, and its interval may
    miss 1. Models agree beyond "chance" already because they err on the same hard items: the level to compare with is
    that of two trainings of one model.

    Items are taken as independent. Questions share their context: redrawn by article, intervals of the published error
    lists are 1.9 to 2.4 times as wide.

    At level 0.95 Jaccard, kappa, overlap coefficient and "left out" of simulated errors (200 and 1000 items, one and
    three seeds) are covered 0.92 to 0.98 of the time, neighbours' mean and variance 0.90 to 0.94.
    """
    low = _LEAST.get(measure, 0.0)
    found = interval(_ratio(arm, measure), [arm], generator=generator, level=level, bounds=(low, 1))
    if np.isnan(found.value):
        return replace(found, low=-np.inf, high=np.inf)
    at_the_end = min(abs(found.value), abs(1 - found.value)) < ROUNDING
    if not _without_width(found, [arm]) or not at_the_end:
        return found
    trials = _trials(arm, measure)
    exact = stats.binomtest(round(found.value) * trials, trials).proportion_ci(level)
    # Kappa of a set that holds nothing or all is 0 in every resample, and may be on either side of it.
    below = -exact.high if measure == "kappa" and exact.low == 0 else exact.low
    return replace(found, low=float(below), high=float(exact.high))


def mean_pair_agreement(
    arms: Sequence[Arm],
    measure: str,
    others: Sequence[Arm] = (),
    *,
    generator: Draws = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean of `pair_agreement` over several pairs of models, less the mean over `others` if given.

    Paired by item, and by seed where the arms have the same seeds. Pairs differ from themselves by nothing. NaN with
    infinite limits where one is undefined. Sets whose resamples all give the same get the limits of a share of which no
    item was seen, exact binomial, of the smallest number of trials.
    """
    every = [*arms, *others]
    ratios = [_ratio(one, measure) for one in every]

    def apart(*means: Floats) -> Floats:
        found = [ratio(mean) for ratio, mean in zip(ratios, means, strict=True)]
        mine, theirs = found[: len(arms)], found[len(arms) :]
        return np.asarray(np.mean(mine, axis=0) - (np.mean(theirs, axis=0) if theirs else 0.0))

    least = _LEAST.get(measure, 0.0)
    low, high = (least - 1, 1 - least) if others else (least, 1.0)
    found = interval(apart, every, generator=generator, level=level, bounds=(low, high))
    if np.isnan(found.value):
        return replace(found, low=-np.inf, high=np.inf)
    if list(map(id, arms)) == list(map(id, others)) or not _without_width(found, every):
        return found
    trials = min(_trials(one, measure) for one in every)
    unseen = float(stats.binomtest(0, trials).proportion_ci(level).high)
    return replace(found, low=max(found.value - unseen, low), high=min(found.value + unseen, high))


def flagged(
    distances: pd.DataFrame, *, k: int, share: float = 0.95, by: str = "heldout", of: str = "test"
) -> "pd.Series[bool]":
    """Which points of the set `of` are out of distribution by deep nearest neighbours, indexed by point.

    `distances` has the columns set, point, k, distance (to the k-th neighbour in the training data). The threshold
    leaves the `share` of the set `by` in distribution, which is either held out or the training data itself. As the
    released code of Sun et al. (2022) has it, of n distances from the largest down it is the one at index
    round((1 - share) n), counted from 0, and a point as far as that is out already: of the n one more than
    round((1 - share) n) are out, and with them all that are as far.

    Raises CompareError for columns, sets or k that are not there, for a point that stands twice, for a distance that
    is no number, and unless 0 < share < 1.
    """
    if not 0 < share < 1:
        raise CompareError(
            f"share is {share}: the share of in-distribution points left in is above 0, below 1"
        )
    known = np.sort(_distances(distances, by, k))[::-1]
    left_out = round(
        round(1 - share, 12) * len(known)
    )  # 1 - 0.95 is a little above 0.05, which is half of 10 x 0.05
    threshold = known[min(left_out, len(known) - 1)]
    beyond_it: pd.Series[bool] = _distances(distances, of, k) >= threshold
    return beyond_it.rename("flagged")


def _distances(distances: pd.DataFrame, name: str, k: int) -> "pd.Series[Any]":
    missing = [column for column in ("set", "point", "k", "distance") if column not in distances]
    if missing:
        raise CompareError(
            f"the distances lack the column {missing[0]!r}; found {', '.join(map(str, distances.columns))}"
        )
    of_set = distances[distances["set"] == name]
    if of_set.empty:
        raise CompareError(
            f"no distances of the set {name!r}; there are {', '.join(map(str, distances['set'].unique()))}"
        )
    found = of_set[of_set["k"] == k].set_index("point")["distance"]
    if found.empty:
        raise CompareError(
            f"{name}: no distances at k {k}; there are {sorted(of_set['k'].unique().tolist())}"
        )
    if not found.index.is_unique or not np.isfinite(found).all():
        odd = found[found.index.duplicated() | ~np.isfinite(found)]
        raise CompareError(f"{name}: point {odd.index[0]} stands twice or has no finite distance")
    return found


def _ratio(arm: Arm, measure: str) -> Statistic:
    parts = _parts(arm, measure)

    def ratio(means: Floats) -> Floats:
        over, under = parts(*np.atleast_2d(means))
        return np.asarray(over / np.where(under > ROUNDING, under, np.nan))

    return ratio


def _parts(arm: Arm, measure: str) -> Parts:
    kind, measures = _KINDS[arm.values.shape[2]]
    if measure not in measures:
        raise CompareError(f"measure is {measure!r}; of {kind} there are {', '.join(measures)}")
    return measures[measure]


def _without_width(found: Interval, arms: list[Arm]) -> bool:
    """Whether intervals of sets have no spread; shares of neighbours and alignments are not counted in trials."""
    return found.high - found.low < ROUNDING and all(arm.values.shape[2] == 3 for arm in arms)


def _trials(arm: Arm, measure: str) -> int:
    """How many items the lower number of the ratio counts."""
    _, under = _parts(arm, measure)(*arm.values.mean(axis=(0, 1)))
    return max(round(float(under) * len(arm.ids)), 1)
