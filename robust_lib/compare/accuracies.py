"""Accuracies, F1 and F_bias with intervals, their differences and ratios, and McNemar's test.

What is said of accuracy holds for F1 as well where the arms or profiles are measured by it (`Arm.measure`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from robust_lib import metrics
from robust_lib.compare.intervals import (
    Arm,
    CompareError,
    Draws,
    Floats,
    Interval,
    interval,
    same_items,
)
from robust_lib.compare.profile import Profile, ProfileKey

ROUNDING = 1e-12  # of means: limits as close as this have no width

Accuracy = Literal["id", "ood", "gap"]  # in distribution, out of it, the second less the first
Beds = Literal["id", "ood"]
Pairs = Sequence[tuple[Profile, Profile]]  # (model, reference), one for each task


@dataclass(frozen=True)
class McNemar:
    """Items that only the first, only the second model got right, of `n`, and the exact two-sided p-value."""

    only_first: int
    only_second: int
    n: int
    p_value: float


def accuracy(arm: Arm, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of the share of right items, or of F1, mean over seeds.

    All right or all wrong, which has no spread: exact binomial limits. F1 has none: 0 or 1 stands without spread.
    """
    found = interval(lambda rate: rate, [arm], generator=generator, level=level, bounds=(0, 1))
    if arm.measure != "accuracy" or 0 < found.value < 1:
        return found
    exact = stats.binomtest(round(found.value * found.n), found.n).proportion_ci(level)
    return replace(found, low=float(exact.low), high=float(exact.high))


def ood_accuracy(profile: Profile, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of accuracy or F1 on the task's OOD sets taken together, pooled as the profile says."""
    if len(profile.ood) == 1:
        return accuracy(profile.ood[0], generator=generator, level=level)
    return interval(
        lambda *rates: profile.ood_accuracy(rates),
        profile.ood,
        generator=generator,
        level=level,
        bounds=(0, 1),
    )


def f1(arm: Arm, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of the F1 of one class; the arm's outcomes are the three columns of `metrics.confusion`.

    Of several seeds that of their answers taken together; the mean of their F1s is `accuracy` of an arm of F1.
    """
    return interval(lambda r: metrics.f1_score(*r), [arm], generator=generator, level=level, bounds=(0, 1))


def difference(first: Arm, second: Arm, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of first minus second, paired by item, and by seed where both have the same seeds.

    A model differs from itself by nothing. Two whose difference is the same on all items have no spread either: the
    limits are then those of a share of which no item was seen, exact binomial. Raises CompareError for accuracy
    against F1.
    """
    same_measure([first], [second])
    found = interval(lambda one, two: one - two, [first, second], generator=generator, level=level)
    if first is second or found.high - found.low > ROUNDING or not np.isin(first.values, (0, 1)).all():
        return found
    unseen = float(stats.binomtest(0, found.n).proportion_ci(level).high)
    return replace(found, low=max(found.value - unseen, -1), high=min(found.value + unseen, 1))


def contrast(
    first: Sequence[Profile],
    second: Sequence[Profile],
    of: Accuracy,
    *,
    generator: Draws = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean over the first profiles less that over the second: in-distribution accuracy (`id`), pooled
    OOD accuracy (`ood`), or OOD less in-distribution (`gap`). Paired as in `difference`.

    Several profiles are those of several tasks, or of several models of one. Tasks measured by accuracy and by F1 may
    stand together, but not against each other: CompareError.
    """
    same_measure(first, second)

    def mean(profiles: Sequence[Profile], left: Iterator[Floats]) -> Floats:
        return np.asarray(np.mean([_rate(profile, of, left) for profile in profiles], axis=0))

    def less(*rates: Floats) -> Floats:
        left = iter(rates)
        return mean(first, left) - mean(second, left)

    arms = [arm for profile in (*first, *second) for arm in _part(profile, of)]
    return interval(less, arms, generator=generator, level=level)


def retained(
    model: Profile, reference: Profile, of: Beds = "id", *, generator: Draws = 0, level: float = 0.95
) -> Interval:
    """Interval of the share of the reference's accuracy or F1 that the model has, paired by item and seed.

    model / reference, in distribution (`id`) or on the pooled OOD sets (`ood`): paper 4, section 4.2.2, has
    subnetworks that "preserve 95% of the full model's ID performance". 1 for the reference itself, above 1 where the
    model is better; NaN where the reference has 0. Raises CompareError for accuracy against F1.
    """
    same_measure([model], [reference])

    def ratio(*rates: Floats) -> Floats:
        left = iter(rates)
        own = _rate(model, of, left)
        return _over_positive(own, _rate(reference, of, left))

    arms = [*_part(model, of), *_part(reference, of)]
    return interval(ratio, arms, generator=generator, level=level)


def easy_hard_gap(profile: Profile, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of the accuracy on easy minus that on hard items of the in-distribution test bed.

    "Gap (E-H)" of paper 1, Table 6, as a share. Easy and hard items are drawn apart, seeds together. Raises
    CompareError for a profile without both slices.
    """
    return difference(*_easy_and_hard(profile), generator=generator, level=level)


def gap_change(first: Profile, second: Profile, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of first minus second in `easy_hard_gap`, paired by item and seed; negative = the first leans less
    on what makes items easy."""
    arms = [*_easy_and_hard(first), *_easy_and_hard(second)]
    return interval(lambda e, h, e2, h2: e - h - (e2 - h2), arms, generator=generator, level=level)


def gap_reduction(first: Profile, second: Profile, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of the share of the second's `easy_hard_gap` that the first is without, paired by item and seed.

    1 - gap_first / gap_second: paper 1, section 6.4 prints 10.6 % of RMC over Vanilla. 0 where both are equal,
    1 where the first has no gap, below 0 where its gap is larger. Its value is NaN where the second has no gap,
    its limits infinite where the second's gap cannot be told from zero.
    """

    def reduction(easy: Floats, hard: Floats, other_easy: Floats, other_hard: Floats) -> Floats:
        return 1 - _over_positive(easy - hard, other_easy - other_hard)

    arms = [*_easy_and_hard(first), *_easy_and_hard(second)]
    return interval(reduction, arms, generator=generator, level=level)


def f_bias(pairs: Pairs, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of F_bias averaged over tasks, from one (model, reference) for each.

    F_bias as in `metrics.f_bias`; items and seeds are paired between model and reference. Its value is NaN
    where one reference has no gap, its limits infinite where a reference's gap cannot be told from zero. Of a
    task measured by F1 it is the relative loss of F1. Raises CompareError for accuracy against F1.
    """
    return interval(
        lambda *rates: _mean_bias(pairs, iter(rates)), _arms(pairs), generator=generator, level=level
    )


def f_bias_difference(
    first: Pairs,
    second: Pairs,
    *,
    generator: Draws = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the average F_bias of the first (model, reference) pairs less that of the second."""

    def less(*rates: Floats) -> Floats:
        left = iter(rates)
        return _mean_bias(first, left) - _mean_bias(second, left)

    return interval(less, [*_arms(first), *_arms(second)], generator=generator, level=level)


def f_bias_reduction(first: Pairs, second: Pairs, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of the share of the second's F_bias that the first is without, each averaged over its tasks.

    1 - mean F_first / mean F_second, from pairs as `f_bias` takes them, both against the same references.
    Paper 1, section 6.3: 10 % of RMC over Vanilla from 0.990 and 1.101 (ratio of means, not mean of ratios: only
    that gives the 10.4 % of Table 5). Paired by item and seed; undefined where F_bias is, or the second's is not
    positive.
    """

    def reduction(*rates: Floats) -> Floats:
        left = iter(rates)
        own = _mean_bias(first, left)
        return 1 - _over_positive(own, _mean_bias(second, left))

    return interval(reduction, [*_arms(first), *_arms(second)], generator=generator, level=level)


def points(found: Mapping[ProfileKey, Profile], *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """In-distribution and pooled OOD accuracy or F1 of each profile, as shares with limits: what the figures draw.

    Columns: task, method, sparsity, chance, seeds, id, id_low, id_high, ood, ood_low, ood_high.
    """
    rows = []
    for (task, method, sparsity), profile in found.items():
        row = {"task": task, "method": method, "sparsity": sparsity, "chance": profile.chance}
        inside = accuracy(profile.id, generator=seed, level=level)
        outside = ood_accuracy(profile, generator=seed, level=level)
        for name, one in (("id", inside), ("ood", outside)):
            row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
        rows.append(row | {"seeds": inside.seeds})
    return pd.DataFrame(rows)


def by_testbed(found: Mapping[ProfileKey, Profile], *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Accuracy or F1 of each profile on each of its test beds, one row for each, as shares.

    Columns: task, testbed, where (id, ood), method, sparsity, measure (accuracy, f1), value, low, high, sd (over
    training seeds, NaN for one), n (items), seeds, baseline (`metrics.baseline` of the test bed).
    """
    rows = []
    for (task, method, sparsity), profile in found.items():
        for arm in profile.arms:
            one = accuracy(arm, generator=seed, level=level)
            where = "id" if arm is profile.id else "ood"
            row: dict[str, Any] = {"task": task, "testbed": arm.testbed, "where": where, "method": method}
            row |= {"sparsity": sparsity, "measure": arm.measure, "value": one.value, "low": one.low}
            row |= {"high": one.high, "sd": one.seed_sd, "n": one.n, "seeds": one.seeds}
            rows.append(row | {"baseline": profile.baselines.get(arm.testbed, np.nan)})
    return pd.DataFrame(rows)


def mcnemar(first: "pd.Series[Any]", second: "pd.Series[Any]") -> McNemar:
    """Exact McNemar test of two models on the same items, from 0/1 outcomes indexed by example id.

    Two-sided binomial test of the items that only one of the two got right, against one half; 1 where there
    are none. It speaks of new items for these two models, not of new seeds.
    """
    same_items("mcnemar", "the first", first.index, "the second", second.index)
    one, two = first.to_numpy(dtype=bool), second.reindex(first.index).to_numpy(dtype=bool)
    only_first, only_second = int((one & ~two).sum()), int((~one & two).sum())
    tail = stats.binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    return McNemar(only_first, only_second, len(one), min(1.0, 2 * float(tail)))


def same_measure(first: Sequence[Arm | Profile], second: Sequence[Arm | Profile]) -> None:
    """Raise CompareError for accuracy against F1."""
    one, two = ({each.measure for each in group} for group in (first, second))
    if one != two:
        raise CompareError(
            f"the first is measured by {' and '.join(sorted(one))}, the second by {' and '.join(sorted(two))}: "
            "give both the same `measures`"
        )


def _easy_and_hard(profile: Profile) -> tuple[Arm, Arm]:
    missing = [name for name in ("easy", "hard") if name not in profile.slices]
    if missing:
        raise CompareError(
            f"{profile.id.testbed}: no {' and no '.join(missing)} items: its predictions need a column 'hard' "
            "with 0 and 1 (`metrics.with_hard`)"
        )
    return profile.slices["easy"], profile.slices["hard"]


def _arms(pairs: Pairs) -> list[Arm]:
    for model, reference in pairs:
        same_measure([model], [reference])
    return [arm for pair in pairs for profile in pair for arm in profile.arms]


def _mean_bias(pairs: Pairs, rates: Iterator[Floats]) -> Floats:
    """F_bias averaged over the pairs, from the rates of `_arms(pairs)` in that order."""
    values = []
    for model, reference in pairs:
        own, other = (_id_and_ood(profile, rates) for profile in (model, reference))
        values.append(metrics.f_bias(*own, *other))
    return np.asarray(np.mean(values, axis=0))


def _part(profile: Profile, of: Accuracy) -> tuple[Arm, ...]:
    return {"id": (profile.id,), "ood": profile.ood, "gap": profile.arms}[of]


def _rate(profile: Profile, of: Accuracy, left: Iterator[Floats]) -> Floats:
    """One accuracy of a profile, from the rates of `_part(profile, of)`."""
    if of == "gap":
        own, pooled = _id_and_ood(profile, left)
        return pooled - own
    rates = [next(left) for _ in _part(profile, of)]
    return rates[0] if of == "id" else profile.ood_accuracy(rates)


def _id_and_ood(profile: Profile, rates: Iterator[Floats]) -> tuple[Floats, Floats]:
    in_distribution, *ood = (next(rates) for _ in profile.arms)
    return in_distribution, profile.ood_accuracy(ood)


def _over_positive(over: Floats, under: Floats) -> Floats:
    """The ratio, NaN where the lower number is not positive."""
    return np.asarray(over / np.where(under > 0, under, np.nan))
