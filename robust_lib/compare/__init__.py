"""Intervals and paired tests over seeds x items, from per-example outcomes alone.

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
from robust_lib.compare.intervals import (
    Arm,
    CompareError,
    Draws,
    Floats,
    Interval,
    Outcomes,
    Statistic,
    arm,
    frame,
    interval,
)
from robust_lib.compare.planning import detectable, power, seeds_needed
from robust_lib.compare.profile import PredictionKey, Profile, ProfileKey, profiles, tidy
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

__all__ = [
    "Accuracy",
    "Arm",
    "Beds",
    "CompareError",
    "Draws",
    "Floats",
    "Interval",
    "McNemar",
    "Outcomes",
    "PredictionKey",
    "Profile",
    "ProfileKey",
    "Statistic",
    "accuracy",
    "agreement",
    "arm",
    "auroc",
    "by_testbed",
    "calibration",
    "calibration_error",
    "calibration_error_difference",
    "contrast",
    "detectable",
    "difference",
    "easy_hard_gap",
    "f1",
    "f_bias",
    "f_bias_difference",
    "f_bias_reduction",
    "frame",
    "gap_change",
    "gap_reduction",
    "interval",
    "mcnemar",
    "ood_accuracy",
    "overconfidence",
    "overconfidence_difference",
    "points",
    "power",
    "profiles",
    "rank_correlation",
    "retained",
    "seeds_needed",
    "tidy",
]
