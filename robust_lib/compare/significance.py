"""Paired tests of two models on the same items, and the correction of a whole table of tests.

`mcnemar` is the exact test for right and wrong, `swapped` the permutation test for any statistic; both speak of new
items for these very models. `difference_test` is the test that goes with the interval of `difference`, and of several
seeds speaks of new seeds too.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from robust_lib.compare.accuracies import mcnemar, same_measure
from robust_lib.compare.intervals import (
    Arm,
    CompareError,
    Draws,
    Floats,
    Statistic,
    evaluated,
    in_one_order,
    interaction,
)

DRAWS = 49_999  # so many that a p-value survives its correction by hundreds of pairs
SIGNS = 2**23  # drawn at a time, a matter of memory
ROUNDING = 1e-9  # relative: differences as close as this are equal


def corrected(p_values: ArrayLike) -> Floats:
    """Benjamini-Hochberg adjusted p-values of one family of tests, in the order given.

    Rejecting where they are at most q keeps the expected share of false rejections among all rejections at q for tests
    that are independent or positively dependent (Benjamini and Hochberg 1995; Benjamini and Yekutieli 2001). NaN (no
    test was made) stays NaN and does not count. Raises CompareError for what is no p-value.
    """
    given = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(given)
    strange = given[tested & ((given < 0) | (given > 1))]
    if len(strange):
        raise CompareError(f"p is {strange[0]:g}: give numbers from 0 to 1, and NaN where there is no test")
    adjusted = np.full_like(given, np.nan)
    adjusted[tested] = stats.false_discovery_control(given[tested])
    return adjusted


def swapped(
    first: Sequence[Arm],
    second: Sequence[Arm],
    statistic: Statistic = lambda mean: mean,
    *,
    generator: Draws = 0,
    resamples: int = 9999,
) -> float:
    """Two-sided p-value of the paired permutation test: does it matter which of two models an answer is from?

        swapped([one], [two])                                                 means, as of losses or loyalties
        swapped([bed, ood], [bed2, ood2], lambda inside, outside: inside - outside)            gaps
        swapped([one], [two], lambda gaps: abs(gaps).sum(axis=0))             calibration errors (`calibration`)

    Of statistic(first) - statistic(second), where `statistic` is of one model's means as `interval` takes it, one arm
    for each argument. Each item's outcomes, those of all seeds and arms of its test bed, are swapped between the
    models or not; p is the share of `resamples` such draws, the observed one counted in, whose difference is at least
    as large. All patterns are taken instead where they are no more. A NaN difference has p 1. Means of 0/1 outcomes
    have the p-value of `mcnemar`, but for the draw.

    The hypothesis is that the models are exchangeable. Two with equal gaps and unequal accuracies are not, and get
    a p-value that is too large for means and differences of means; for calibration errors that holds no more, and a
    small p may tell that one model is too sure and the other not sure enough. Raises CompareError for other test beds
    or items, and for accuracy against F1.
    """
    _same_beds(first, second)
    outcomes = [arm.values.mean(axis=0) for arm in in_one_order([*first, *second])]
    pairs = list(zip(outcomes[: len(first)], outcomes[len(first) :], strict=True))
    middle = [(one + two).mean(axis=0) / 2 for one, two in pairs]
    ends = np.cumsum([len(mean) for mean in middle])[:-1]

    def apart(moves: Floats) -> Floats:
        """First less second where their means are these moves above and below the middle, for each row."""
        moved = list(zip(middle, np.split(moves, ends, axis=1), strict=True))
        one, two = (evaluated(statistic, [mean + sign * move for mean, move in moved]) for sign in (1, -1))
        return np.abs(one - two)

    halves = _halves([arm.testbed for arm in first], [(one - two) / 2 for one, two in pairs])
    observed = apart(halves.sum(axis=0, keepdims=True)).item()
    if np.isnan(observed):
        return 1.0
    halves = halves[halves.any(axis=1)]
    drawn = np.concatenate([apart(signs @ halves) for signs in _signs(len(halves), resamples, generator)])
    reached = np.count_nonzero(~(drawn < observed * (1 - ROUNDING)))
    every = 2 ** len(halves) <= resamples
    return float(reached / len(drawn) if every else (1 + reached) / (1 + len(drawn)))


def difference_test(first: Arm, second: Arm) -> float:
    """Two-sided p-value of no difference between two models' means, paired by item and seed as in `difference`.

    With one seed the exact McNemar test of outcomes 0 or 1, and the paired t test of others. With several seeds the
    share of `DRAWS` of items + seeds, each Student's t, that are as large as the difference, with variances as
    `interval` has them: significant where the interval of `difference` excludes 0. 1 where the models differ nowhere.
    Raises CompareError for other test beds or items, and for accuracy against F1.
    """
    _same_beds([first], [second])
    one, two = (arm.values[:, :, 0] for arm in in_one_order([first, second]))
    items = one.mean(axis=0) - two.mean(axis=0)
    if not items.any():
        return 1.0
    if len(one) == len(two) == 1:
        if np.isin([one, two], (0, 1)).all():
            return mcnemar(pd.Series(one[0]), pd.Series(two[0])).p_value
        return float(stats.ttest_1samp(items, 0).pvalue)
    if len(items) < 2:
        return 1.0  # a single item says nothing of others
    paired = (first.task, first.seeds) == (second.task, second.seeds)
    groups = [one - two] if paired else [one, two]
    generator, alone = np.random.default_rng(0), items.var(ddof=1) / len(items)
    shocks = generator.standard_t(len(items) - 1, DRAWS)
    drawn = np.sqrt(max(alone - sum(map(interaction, groups)), 0)) * shocks
    for trainings in (group.mean(axis=1) for group in groups if len(group) > 1):
        drawn += stats.sem(trainings) * generator.standard_t(len(trainings) - 1, DRAWS)
    # A few seeds may lie close by chance: never more certain than of these very models.
    reached = max(np.count_nonzero(abs(one) >= abs(items.mean())) for one in (drawn, np.sqrt(alone) * shocks))
    return float((1 + reached) / (1 + DRAWS))


def _same_beds(first: Sequence[Arm], second: Sequence[Arm]) -> None:
    same_measure(first, second)
    if [arm.testbed for arm in first] != [arm.testbed for arm in second]:
        beds = (", ".join(arm.testbed for arm in arms) for arms in (first, second))
        raise CompareError(f"paired tests need the same test beds in one order, not {' against '.join(beds)}")


def _halves(testbeds: Sequence[str], halves: Sequence[Floats]) -> Floats:
    """Each item's part in the means of the halves: (items of all test beds, quantities of all arms)."""
    sizes = {bed: len(half) for bed, half in zip(testbeds, halves, strict=True)}
    above = dict(zip(sizes, np.cumsum([0, *sizes.values()]), strict=False))
    total = sum(sizes.values())
    columns = [
        np.pad(half / len(half), ((above[bed], total - above[bed] - len(half)), (0, 0)))
        for bed, half in zip(testbeds, halves, strict=True)
    ]
    return np.concatenate(columns, axis=1)


def _signs(items: int, resamples: int, generator: Draws) -> Iterator[NDArray[np.signedinteger[Any]]]:
    """Rows of 1 and -1: all patterns if they are no more than `resamples`, else as many random ones."""
    if 2**items <= resamples:
        yield 2 * (np.arange(2**items)[:, None] >> np.arange(items) & 1) - 1
        return
    generator = np.random.default_rng(generator)
    rows = max(SIGNS // items, 1)
    for start in range(0, resamples, rows):
        drawn = generator.integers(0, 2, (min(rows, resamples - start), items), dtype=np.int8)
        yield 2 * drawn - 1
