"""Compressed models beside their teacher: every measure of paper 3 as an arm, from saved predictions and attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from robust_lib.compare import loyalties
from robust_lib.compare.accuracies import accuracy
from robust_lib.compare.intervals import Arm, Draws, Floats, Interval, arm, interval
from robust_lib.compare.profile import PredictionKey, profiles

ArmKey = tuple[str, str, str]  # task, method, measure
LOYALTIES: tuple[loyalties.Measure, ...] = ("label_loyalty", "probability_loyalty")
CHANCE = "chance of "  # before a loyalty's name: of a model as accurate that knows nothing of the teacher


def compressed(
    predictions: Mapping[PredictionKey, pd.DataFrame],
    attacked: Mapping[tuple[str, str, int], pd.DataFrame],
    timed: Mapping[tuple[str, int], pd.DataFrame],
    beds: Mapping[str, Sequence[str]],
    *,
    teacher: str = "Teacher",
) -> dict[ArmKey, Arm]:
    """The arms of every task and method, by the name of the measure:

    accuracy <test bed>                on each of the task's `beds`
    label_loyalty, probability_loyalty to the teacher of the same seed, on the first bed; "chance of" each
    right, after_attack, fooled,       of `attacked`, frames by task, method and seed: see `loyalties.right_before`,
    queries, calls                     `survived`, `fooled`, `attack_cost`
    seconds <batch size>               teacher's and own, of `timed`: columns method, device, batch_size, round,
                                       teacher, seconds, by task and seed; the rounds are the items (see `speedup`)
    cpu seconds <batch size>           the same on the CPU, for models that ran on another device too

    `measured` reads them. CompareError for a seed of which there is no teacher.
    """
    arms: dict[ArmKey, Arm] = {}
    for (task, method, _), profile in profiles(predictions, beds).items():
        for one in profile.arms:
            arms[task, method, f"accuracy {one.testbed}"] = one
        bed = beds[task][0]
        student, other = (
            {seed: frame for (*at, seed), frame in predictions.items() if at == [task, bed, name, 0.0]}
            for name in (method, teacher)
        )
        for measure in LOYALTIES:
            arms[task, method, measure] = loyalties.loyalty(task, bed, student, other, measure)
            arms[task, method, CHANCE + measure] = loyalties.chance(task, bed, student, other, measure)
    return arms | _attacks(attacked) | _times(timed)


def measured(arms: Mapping[ArmKey, Arm], key: ArmKey, *, generator: Draws = 0) -> Interval:
    """The interval of one arm of `compressed`: shares as shares, queries as counts, seconds as a speed-up."""
    measure, one = key[2], arms[key]
    if measure in ("queries", "calls"):
        return loyalties.mean_queries(one, generator=generator)
    if measure == "fooled":
        return loyalties.success_rate(one, generator=generator)
    if "seconds" in measure:
        return speedup(one, generator=generator)
    if measure.endswith("probability_loyalty"):
        return loyalties.mean(one, bounds=(0, 1), generator=generator)
    return accuracy(one, generator=generator)


def speedup(one: Arm, other: Arm | None = None, *, generator: Draws = 0) -> Interval:
    """Interval of the teacher's seconds over the model's, all rounds together; less the same of another model if given.

    Rounds are the items: the interval says how the clock varied, and over seeds how the trained models did.
    """
    if other is None:
        return interval(_ratio, [one], generator=generator, bounds=(0, np.inf))
    return interval(lambda first, second: _ratio(first) - _ratio(second), [one, other], generator=generator)


def transfer(
    predicted: Mapping[tuple[str, int], pd.DataFrame], attacked: Mapping[tuple[str, int], pd.DataFrame]
) -> pd.DataFrame:
    """How often adversarial texts found on one model fool another, in percent: source, target, value, low, high, n.

    `predicted` by target and seed has columns source, id, gold, predicted; `attacked`, by method and seed, is as for
    `survived`. Of each target count the texts whose original it had right. Texts of several seeds count alike; the
    limits are exact binomial ones, as if they were independent.
    """
    parts = []
    for (target, seed), frame in predicted.items():
        own = attacked[target, seed].set_index("id")["status"]
        right = own.index[own.isin(loyalties.CORRECT)]
        parts.append(frame[frame["id"].isin(right)].assign(target=target))
    tried = pd.concat(parts).assign(fooled=lambda frame: frame["predicted"].ne(frame["gold"]))
    rows = []
    for (source, victim), fooled in tried.groupby(["source", "target"], sort=False)["fooled"]:
        limits = stats.binomtest(int(fooled.sum()), len(fooled)).proportion_ci()
        shares = (100 * share for share in (fooled.mean(), limits.low, limits.high))
        rows.append((str(source), str(victim), *shares, len(fooled)))
    return pd.DataFrame(rows, columns=["source", "target", "value", "low", "high", "n"])


def _attacks(attacked: Mapping[tuple[str, str, int], pd.DataFrame]) -> dict[ArmKey, Arm]:
    arms: dict[ArmKey, Arm] = {}
    for task, method in dict.fromkeys((task, method) for task, method, _ in attacked):
        frames = {seed: frame for (*at, seed), frame in attacked.items() if at == [task, method]}
        arms[task, method, "right"] = loyalties.right_before(task, "attacked", frames)
        arms[task, method, "after_attack"] = loyalties.survived(task, "attacked", frames)
        arms[task, method, "fooled"] = loyalties.fooled(task, "attacked", frames)
        for cost in ("queries", "calls"):
            arms[task, method, cost] = loyalties.attack_cost(task, "attacked", frames, cost)
    return arms


def _times(timed: Mapping[tuple[str, int], pd.DataFrame]) -> dict[ArmKey, Arm]:
    rounds: dict[ArmKey, dict[int, pd.DataFrame]] = {}
    for (task, seed), frame in timed.items():
        for (method, batch), several in frame.groupby(["method", "batch_size"], sort=False):
            for device, one in several.groupby("device", sort=False):  # the CPU first
                rows = one.set_index("round")[["teacher", "seconds"]]
                rounds.setdefault((task, str(method), f"seconds {batch}"), {})[seed] = rows
                if device == "cpu":
                    rounds.setdefault((task, str(method), f"cpu seconds {batch}"), {})[seed] = rows
    return {key: arm(key[0], key[2], frames) for key, frames in rounds.items()}


def _ratio(means: Floats) -> Floats:
    return np.asarray(means[0] / means[1])
