"""How many seeds resolve a difference: the power of the two-sided t test of two models' seeds.

Each model has `seeds` trainings, independent of the other's, and one number from each, as its accuracy. `sd` is how
much that number varies from seed to seed (`Interval.seed_sd`, `published.seed_noise`): normal, and as much in both
models. Difference and sd share one unit, whichever.
"""

from bisect import bisect_left

import numpy as np
from scipy import optimize
from statsmodels.stats.power import TTestIndPower

from robust_lib.compare.intervals import CompareError

MOST_SEEDS = 10**6
LARGEST = 1000.0  # difference in sd that is looked for


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


def _power(effect: float, seeds: int, level: float) -> float:
    """Both tails apart, because SciPy's noncentral t gives NaN where a tail is 0 or 1 to the last digit; that NaN also
    defeats statsmodels' own `solve_power`."""
    tails = {"larger": 1.0, "smaller": 0.0}  # and what NaN stands for
    return sum(
        float(
            np.nan_to_num(TTestIndPower().power(effect, seeds, (1 - level) / 2, alternative=tail), nan=limit)
        )
        for tail, limit in tails.items()
    )


def _check(sd: float, level: float, seeds: int = 2, power: float = 0.8) -> None:
    if not (sd > 0 and 0 < level < 1 and seeds >= 2 and 1 - level < power < 1):
        raise CompareError(
            f"sd is {sd}, level {level}, seeds {seeds}, power {power}: need sd > 0, 0 < level < 1, at least 2 "
            "seeds, and a power between 1 - level and 1"
        )
