"""Intervals and paired tests over seeds x items, from saved per-example predictions alone.

A tour, from two models' answers to a table that may be read. Predictions are frames with the columns `id`, `gold` and
`logit_<class>` (`robust_lib.metrics`), one for each training seed; an arm holds one outcome for each seed and item:

    >>> import numpy as np, pandas as pd
    >>> from robust_lib import compare, metrics
    >>> draw = np.random.default_rng(0)
    >>> gold = draw.integers(0, 2, 1000)
    >>> def answers(noise):
    ...     sign = gold - 0.5 + noise * draw.normal(size=1000)
    ...     names = np.where(gold, "good", "bad")
    ...     return pd.DataFrame({"id": range(1000), "gold": names, "logit_bad": -sign, "logit_good": sign})
    >>> large, small = ({seed: answers(noise) for seed in (0, 1, 2)} for noise in (0.40, 0.42))
    >>> def right(model):
    ...     return compare.arm("reviews", "test", {seed: metrics.correct(one) for seed, one in model.items()})

Intervals are of new items and of new seeds; a difference is paired by both:

    >>> found = compare.difference(right(small), right(large)).times(100)
    >>> print(f"{found.value:.1f} points [{found.low:.1f}, {found.high:.1f}], n {found.n}, {found.seeds} seeds")
    -0.8 points [-3.7, 1.9], n 1000, 3 seeds

Any function of means will do for an interval (`interval`) and for a paired test of one seed's models (`swapped`):
measure by measure, then corrected over the whole table, and what so many items can show at all:

    >>> one, two = small[0], large[0]
    >>> losses, errors = (
    ...     [arm(model) for model in (one, two)]
    ...     for arm in (
    ...         lambda model: compare.arm("reviews", "test", {0: metrics.losses(model)}),
    ...         lambda model: compare.calibration("reviews", "test", {0: model}),
    ...     )
    ... )
    >>> table = pd.Series({
    ...     "accuracy": compare.mcnemar(metrics.correct(one), metrics.correct(two)).p_value,
    ...     "loss": compare.swapped([losses[0]], [losses[1]]),
    ...     "calibration": compare.swapped([errors[0]], [errors[1]], lambda gaps: abs(gaps).sum(axis=0)),
    ... }, name="p").to_frame()
    >>> table.assign(corrected=compare.corrected(table["p"])).round(4)
                      p  corrected
    accuracy     0.1710        0.2
    loss         0.1161        0.2
    calibration  0.2000        0.2
    >>> differing = (metrics.correct(one) != metrics.correct(two)).mean()
    >>> round(100 * compare.detectable_share(1000, differing), 1)  # points, with a power of 80 %
    3.8

Several models of one test set, where those that share a letter cannot be told apart:

    >>> ranked = compare.ranking({name: right(model) for name, model in {"large": large, "small": small}.items()})
    >>> ranked[["model", "value", "groups"]].round(4)
       model   value groups
    0  large  0.8960      a
    1  small  0.8877      a

What is crossed with what: every training seed of a model answers the same items, so an item is drawn for
all seeds and all models at once, and a seed for all models of its task that were trained with the same
seeds. Arms that share neither are drawn independently. An interval speaks of new seeds and new items; with
one seed it speaks of new items for that very model, and says `seeds=1`.
"""

from robust_lib.compare.accuracies import (
    Accuracy,
    Beds,
    McNemar,
    accuracy,
    by_testbed,
    contrast,
    difference,
    easy_hard_gap,
    f1,
    f_bias,
    f_bias_difference,
    f_bias_reduction,
    gap_change,
    gap_reduction,
    mcnemar,
    ood_accuracy,
    points,
    retained,
)
from robust_lib.compare.agreements import (
    NEIGHBOURS,
    SETS,
    aligned,
    flagged,
    mean_pair_agreement,
    neighbourhood,
    pair_agreement,
    paired,
)
from robust_lib.compare.compressed import CHANCE, ArmKey, compressed, measured, speedup, transfer
from robust_lib.compare.correlations import rank_correlations
from robust_lib.compare.intervals import (
    Arm,
    CompareError,
    Draws,
    Floats,
    Interval,
    Outcomes,
    Statistic,
    arm,
    counted,
    frame,
    interval,
)
from robust_lib.compare.loyalties import (
    STATUSES,
    attack_cost,
    attack_counts,
    chance,
    changes,
    exit_agreement,
    exit_chance,
    fooled,
    loyalty,
    mean,
    mean_queries,
    mean_queries_difference,
    right_before,
    slices,
    success_rate,
    success_rate_difference,
    survived,
)
from robust_lib.compare.matrix import (
    COSTS,
    MEASURES,
    Measure,
    by_seed,
    controls,
    costs,
    evidence,
    matrix,
    mean_over_tasks,
    pareto,
    standardised,
)
from robust_lib.compare.planning import (
    detectable,
    detectable_mean,
    detectable_share,
    items_needed,
    power,
    seeds_needed,
    share_power,
)
from robust_lib.compare.profile import PredictionKey, Profile, ProfileKey, profiles, tidy
from robust_lib.compare.ranking import letters, ranking
from robust_lib.compare.scores import (
    agreement,
    auroc,
    calibration,
    calibration_error,
    calibration_error_difference,
    overconfidence,
    overconfidence_difference,
    rank_correlation,
)
from robust_lib.compare.significance import corrected, difference_test, swapped

__all__ = [
    "CHANCE",
    "COSTS",
    "MEASURES",
    "NEIGHBOURS",
    "SETS",
    "STATUSES",
    "Accuracy",
    "Arm",
    "ArmKey",
    "Beds",
    "CompareError",
    "Draws",
    "Floats",
    "Interval",
    "McNemar",
    "Measure",
    "Outcomes",
    "PredictionKey",
    "Profile",
    "ProfileKey",
    "Statistic",
    "accuracy",
    "agreement",
    "aligned",
    "arm",
    "attack_cost",
    "attack_counts",
    "auroc",
    "by_seed",
    "by_testbed",
    "calibration",
    "calibration_error",
    "calibration_error_difference",
    "chance",
    "changes",
    "compressed",
    "contrast",
    "controls",
    "corrected",
    "costs",
    "counted",
    "detectable",
    "detectable_mean",
    "detectable_share",
    "difference",
    "difference_test",
    "easy_hard_gap",
    "evidence",
    "exit_agreement",
    "exit_chance",
    "f1",
    "f_bias",
    "f_bias_difference",
    "f_bias_reduction",
    "flagged",
    "fooled",
    "frame",
    "gap_change",
    "gap_reduction",
    "interval",
    "items_needed",
    "letters",
    "loyalty",
    "matrix",
    "mcnemar",
    "mean",
    "mean_over_tasks",
    "mean_pair_agreement",
    "mean_queries",
    "mean_queries_difference",
    "measured",
    "neighbourhood",
    "ood_accuracy",
    "overconfidence",
    "overconfidence_difference",
    "pair_agreement",
    "paired",
    "pareto",
    "points",
    "power",
    "profiles",
    "rank_correlation",
    "rank_correlations",
    "ranking",
    "retained",
    "right_before",
    "seeds_needed",
    "share_power",
    "slices",
    "speedup",
    "standardised",
    "success_rate",
    "success_rate_difference",
    "survived",
    "swapped",
    "tidy",
    "transfer",
]
