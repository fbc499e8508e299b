"""How many seeds or items resolve a difference: the power of two-sided tests of two models.

Of seeds (`power`, `detectable`, `seeds_needed`): the t test of two models' trainings. Each model has `seeds` of them,
independent of the other's, and one number from each, as its accuracy. `sd` is how much that number varies from seed to
seed (`Interval.seed_sd`, `published.seed_noise`): normal, and as much in both models. Difference and sd share one unit,
whichever.

Of items (`share_power`, `detectable_share`, `items_needed`): the exact McNemar test of two models' right answers, and
`detectable_mean` the paired t test of any measure of items. They speak of these very models.
"""

from bisect import bisect_left

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from robust_lib.compare.intervals import CompareError

MOST_SEEDS = 10**6
MOST_ITEMS = 10**6
LARGEST = 1000.0  # difference in sd that is looked for
TRAININGS, ITEMS = TTestIndPower(), TTestPower()


def power(difference: float, sd: float, seeds: int, *, level: float = 0.95) -> float:
    """Chance that `seeds` trainings of each model show a true difference, significant at 1 - level.

    From the noncentral t distribution with 2 seeds - 2 degrees of freedom; 1 - level without a difference.
    """
    _check(sd, level, seeds)
    return _power(abs(difference) / sd, seeds, level)


def detectable(sd: float, seeds: int, *, power: float = 0.8, level: float = 0.95) -> float:
    """Smallest true difference that `seeds` trainings of each model show with this power, in the unit of sd."""
    _check(sd, level, seeds, power)
    return sd * float(optimize.brentq(lambda effect: _power(effect, seeds, level) - power, 0, LARGEST))


def seeds_needed(difference: float, sd: float, *, power: float = 0.8, level: float = 0.95) -> int:
    """Fewest trainings of each model, at least 2, that show a true difference with this power."""
    _check(sd, level, power=power)
    effect = abs(difference) / sd
    enough = bisect_left(range(MOST_SEEDS), power, lo=2, key=lambda seeds: _power(effect, seeds, level))
    if enough == MOST_SEEDS:
        raise CompareError(f"a difference of {difference} at sd {sd} needs {MOST_SEEDS} seeds or more")
    return enough


def share_power(difference: float, n: int, discordant: float, *, level: float = 0.95) -> float:
    """Chance that n paired items show a true difference of two accuracies, by `mcnemar` at 1 - level.

    `discordant` is the share of items that one model alone gets right, in [0, 1]; it is at least the difference, and
    where a smaller one is given it is taken for the difference itself. Exact: the number D of discordant items is
    binomial (n, discordant), and of D those that the first alone gets right are binomial (D, (1 + difference /
    discordant) / 2) (Connor 1987, without his normal approximation). Below 1 - level without a difference.
    """
    _check_items(n, level, discordant)
    return _share_power(abs(difference), n, discordant, level)


def detectable_share(n: int, discordant: float, *, power: float = 0.8, level: float = 0.95) -> float:
    """Smallest true difference of two accuracies, as a share, that n paired items show with this power.

    `discordant` as in `share_power`. NaN where even two models
    that differ on every item cannot be told apart: below six items at level 0.95.
    """
    _check_items(n, level, discordant, power)
    if _share_power(1.0, n, discordant, level) < power:
        return np.nan
    return float(
        optimize.brentq(
            lambda difference: _share_power(difference, n, discordant, level) - power, 0, 1, xtol=1e-7
        )
    )


def items_needed(difference: float, discordant: float, *, power: float = 0.8, level: float = 0.95) -> int:
    """Paired items that show a true difference of two accuracies (a share) with this power, `share_power`.

    The power of an exact test grows with n in steps that may dip by a hair, so one item fewer may do as well. Raises
    CompareError from a million items on.
    """
    _check_items(1, level, discordant, power)
    enough = bisect_left(
        range(MOST_ITEMS), power, lo=1, key=lambda n: _share_power(abs(difference), n, discordant, level)
    )
    if enough == MOST_ITEMS:
        raise CompareError(
            f"a difference of {difference} with {discordant} discordant needs {MOST_ITEMS} items or more"
        )
    return enough


def detectable_mean(sd: float, n: int, *, power: float = 0.8, level: float = 0.95) -> float:
    """Smallest true mean of n paired differences that the t test shows with this power, in the unit of `sd`.

    `sd` is how much the difference of the two models varies from item to item: of losses, confidences, loyalties.
    """
    _check_items(n, level, 0, power)
    if n < 2 or not sd > 0:
        raise CompareError(f"n is {n} and sd {sd}: the t test needs two items and sd > 0")
    return sd * float(optimize.brentq(lambda effect: _power(effect, n, level, ITEMS) - power, 0, LARGEST))


def _share_power(difference: float, n: int, discordant: float, level: float) -> float:
    share = max(discordant, difference)
    if not share:
        return 0.0
    fewest, most = stats.binom.interval(1 - 1e-10, n, share)
    counts = np.arange(fewest, most + 1)
    limit = stats.binom.ppf((1 - level) / 2, counts, 0.5)  # the test rejects up to here, or one below
    limit -= 2 * stats.binom.cdf(limit, counts, 0.5) > 1 - level
    first = (1 + difference / share) / 2
    shown = stats.binom.cdf(limit, counts, first) + stats.binom.sf(counts - limit - 1, counts, first)
    return float(stats.binom.pmf(counts, n, share) @ shown)


def _power(effect: float, count: int, level: float, test: TTestIndPower | TTestPower = TRAININGS) -> float:
    """Both tails apart, because SciPy's noncentral t gives NaN where a tail is 0 or 1 to the last digit; that NaN also
    defeats statsmodels' own `solve_power`."""
    tails = {"larger": 1.0, "smaller": 0.0}  # and what NaN stands for
    return sum(
        float(np.nan_to_num(test.power(effect, count, (1 - level) / 2, alternative=tail), nan=limit))
        for tail, limit in tails.items()
    )


def _check(sd: float, level: float, seeds: int = 2, power: float = 0.8) -> None:
    if not (sd > 0 and 0 < level < 1 and seeds >= 2 and 1 - level < power < 1):
        raise CompareError(
            f"sd is {sd}, level {level}, seeds {seeds}, power {power}: need sd > 0, 0 < level < 1, at least 2 "
            "seeds, and a power between 1 - level and 1"
        )


def _check_items(n: int, level: float, discordant: float, power: float = 0.8) -> None:
    if not (n >= 1 and 0 < level < 1 and 0 <= discordant <= 1 and 1 - level < power < 1):
        raise CompareError(
            f"n is {n}, level {level}, discordant {discordant}, power {power}: need at least one item, 0 < level < 1, "
            "a share discordant in [0, 1], and a power between 1 - level and 1"
        )
