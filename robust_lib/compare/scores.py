"""What real-valued scores tell, with intervals: calibration, area under the ROC curve, rank correlation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from robust_lib import metrics
from robust_lib.compare.intervals import (
    Arm,
    CompareError,
    Draws,
    Floats,
    Interval,
    arm,
    interval,
    ordered,
    same_items,
    some,
)

Scores = Mapping[int, "pd.Series[Any]"]  # by seed, indexed by example id


def calibration(
    task: str,
    testbed: str,
    predictions: Mapping[int, pd.DataFrame],
    *,
    bins: int = 15,
    ids: "pd.Index[Any] | None" = None,
) -> Arm:
    """The arm that `calibration_error` and `overconfidence` read, from predictions by seed.

    Its quantities are the bins: confidence - correct (0 or 1) in the one that holds the item's confidence, 0 in
    the others. `bins` of equal width ((b - 1) / bins, b / bins] as in Guo et al. (2017), at least two. `ids` keeps
    only these items; a part of a test bed needs a name of its own, as "mnli/validation_matched (easy)".
    """
    if bins < 2:
        raise CompareError(f"{testbed}: bins is {bins}; calibration needs at least 2")
    gaps = {seed: _binned_gaps(frame, bins) for seed, frame in predictions.items()}
    if ids is not None:
        for seed, rows in gaps.items():
            if not ids.isin(rows.index).all():
                raise CompareError(f"{testbed}: seed {seed} lacks {some(ids[~ids.isin(rows.index)])}")
        gaps = {seed: rows.loc[ids] for seed, rows in gaps.items()}
    return arm(task, testbed, gaps)


def calibration_error(arm: Arm, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of the expected calibration error of a `calibration` arm, in [0, 1].

    ECE = sum over bins |mean of (confidence - correct) in the bin|                       [Guo et al. 2017, eq. 3]

    Of several seeds that of their predictions taken together. ECE is biased upward, because chance gaps of the
    bins do not cancel: of a perfectly calibrated model it is about sqrt(2 / pi) sum_b se_b (se_b the standard error
    of the bin's mean): with three classes some 0.008 at 9,800 items and 0.036 at 500. The interval covers new items
    and seeds with the sign of each bin's gap as it is, and so the true ECE where that is well above this bias; it
    does not reach down to 0 as it should for a calibrated model. `overconfidence` has no such bias.
    """
    signs = _signs(arm)
    return interval(lambda gaps: signs @ gaps, [arm], generator=generator, level=level, bounds=(0, 1))


def calibration_error_difference(
    first: Arm, second: Arm, *, generator: Draws = 0, level: float = 0.95
) -> Interval:
    """Interval of first minus second in `calibration_error`, paired as in `difference`.

    The upward biases cancel only between arms of as many items: the smaller of two parts has the larger one.
    """
    signs, others = _signs(first), _signs(second)
    return interval(
        lambda one, two: signs @ one - others @ two, [first, second], generator=generator, level=level
    )


def overconfidence(arm: Arm, *, generator: Draws = 0, level: float = 0.95) -> Interval:
    """Interval of mean confidence minus accuracy of a `calibration` arm, in [-1, 1]; above 0 = overconfident."""
    return interval(lambda gaps: gaps.sum(axis=0), [arm], generator=generator, level=level, bounds=(-1, 1))


def overconfidence_difference(
    first: Arm, second: Arm, *, generator: Draws = 0, level: float = 0.95
) -> Interval:
    """Interval of first minus second in `overconfidence`, paired as in `difference`."""
    return interval(
        lambda one, two: one.sum(axis=0) - two.sum(axis=0), [first, second], generator=generator, level=level
    )


def agreement(
    task: str,
    testbed: str,
    scores: Scores,
    positive: "pd.Series[Any]",
    *,
    negatives: float,
    generator: Draws = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the share of items on which a ranking, cut in two, agrees with a 0/1 truth.

    The share `negatives` of the items, those of the lowest score, is called 0; ties go in their order. Paper 1,
    section 4.1: low loss variance against the annotation, 82.8 %. A cut without items on one side is the agreement
    of a constant answer.
    """
    said = {seed: score.rank(method="first", pct=True) > negatives for seed, score in scores.items()}
    right = {seed: (one == (positive == 1).loc[one.index]).astype(int) for seed, one in said.items()}
    return interval(
        lambda rate: rate, [arm(task, testbed, right)], generator=generator, level=level, bounds=(0, 1)
    )


def auroc(
    task: str,
    testbed: str,
    scores: Scores,
    positive: "pd.Series[Any]",
    *,
    generator: Draws = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the area under the ROC curve of a score for a 0/1 truth, mean over seeds, in [0, 1].

    The chance that a positive item scores above a negative one, ties one half; 0.5 for a score that knows
    nothing. The interval moves the mean placement of the positives and of the negatives, whose variance is that of
    DeLong et al. (1988), over new items, and each seed's area over new seeds. Perfect separation has no spread
    and gets the limits (1, 1). Raises CompareError unless `positive` has both 0 and 1 and nothing else.
    """
    scored = arm(task, testbed, scores)
    same_items(testbed, "the scores", scored.ids, "the truth", positive.index)
    truth = positive.reindex(scored.ids).to_numpy()
    if set(truth) != {0, 1}:
        found = ", ".join(sorted(map(str, set(truth)))[:5])
        raise CompareError(
            f"{testbed}: the truth is {found}; an area under the ROC curve needs 0 and 1 alone"
        )
    values = np.stack([_placements(score, truth == 1) for score in scored.values[:, :, 0]])
    return interval(
        lambda means: means[0] / means[1] + means[2] / means[3],
        [replace(scored, values=values)],
        generator=generator,
        level=level,
        bounds=(0, 1),
    )


def rank_correlation(
    task: str,
    testbed: str,
    first: Scores,
    second: Scores,
    *,
    generator: Draws = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of Spearman's rho of two scores over the items, mean over seeds, in [-1, 1]; ties share their rank.

    An item moves rho by its influence: its own product of ranks and how it shifts the ranks of all others, which
    a bootstrap of ranks held fixed would leave out (its intervals are up to 15 % too narrow). Equal orders have no
    spread and get the limits (1, 1). Raises CompareError for scores of other seeds or items, and for a constant.
    """
    one, two = arm(task, testbed, first), arm(task, testbed, second)
    if one.seeds != two.seeds:
        raise CompareError(f"{testbed}: the first has seeds {list(one.seeds)}, the second {list(two.seeds)}")
    same_items(testbed, "the first", one.ids, "the second", two.ids)
    pairs = zip(one.values[:, :, 0], ordered(two, one.ids)[:, :, 0], strict=True)
    if any(np.ptp(score) == 0 for values in (one.values, two.values) for score in values):
        raise CompareError(f"{testbed}: a score is the same for all items, so it ranks none of them")
    values = np.stack([_spearman_influences(x, y) for x, y in pairs])[:, :, None]
    return interval(
        lambda rho: rho,
        [replace(one, values=values)],
        generator=generator,
        level=level,
        bounds=(-1, 1),
    )


def _binned_gaps(predictions: pd.DataFrame, bins: int) -> pd.DataFrame:
    confidence = metrics.confidence(predictions)
    bin_of = np.ceil(confidence.to_numpy() * bins).astype(int) - 1
    gaps = np.zeros((len(confidence), bins))
    gaps[np.arange(len(confidence)), bin_of] = confidence.to_numpy() - metrics.correct(predictions).to_numpy()
    return pd.DataFrame(gaps, index=confidence.index)


def _signs(arm: Arm) -> Floats:
    return np.asarray(np.sign(arm.values.mean(axis=(0, 1))))


def _placements(score: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Per item (items, 4): of a positive the share of negatives below it, and 1; of a negative the share of
    positives above it less the area, and 1. So means 0 / 1 is the area and 2 / 3 zero, in each seed."""
    ranks = stats.rankdata(score)
    above, below = positive.sum(), (~positive).sum()
    columns = np.zeros((len(score), 4))
    won = (ranks[positive] - stats.rankdata(score[positive])) / below
    lost = 1 - (ranks[~positive] - stats.rankdata(score[~positive])) / above
    columns[positive, 0], columns[positive, 1] = won, 1
    columns[~positive, 2], columns[~positive, 3] = lost - lost.mean(), 1
    return columns


def _spearman_influences(x: Floats, y: Floats) -> Floats:
    """Per item rho + its influence on rho (Croux and Dehon 2010, here with ties); their mean is rho.

    With a, b the standardised ranks, s the deviation of ranks / n, and R(x; w)_i the mean over all items j of
    w_j [x_j > x_i], ties one half:  a b - rho (a^2 + b^2) / 2 + R(x; b - rho a) / s_x + R(y; a - rho b) / s_y.
    """
    ranks = [stats.rankdata(score) / len(x) for score in (x, y)]
    a, b = (stats.zscore(rank) for rank in ranks)
    rho = np.mean(a * b)
    moved = a * b - rho * (a**2 + b**2) / 2
    for score, rank, weights in ((x, ranks[0], b - rho * a), (y, ranks[1], a - rho * b)):
        moved += _mean_above(score, weights) / rank.std()
    return np.asarray(rho + moved - moved.mean())


def _mean_above(score: Floats, weights: Floats) -> Floats:
    """For each item the sum of the weights of items with a higher score, ties one half, over all items."""
    order = np.argsort(score)
    running = np.concatenate([[0.0], np.cumsum(weights[order])])
    first, last = (np.searchsorted(score[order], score, side) for side in ("left", "right"))
    return np.asarray((running[-1] - (running[first] + running[last]) / 2) / len(score))
