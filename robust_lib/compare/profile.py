"""Models on their tasks: in-distribution and OOD arms gathered from saved predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from robust_lib import metrics
from robust_lib.compare.intervals import Arm, CompareError, Floats, arm

PredictionKey = tuple[str, str, str, float, int]  # task, testbed, method, sparsity, seed
ProfileKey = tuple[str, str, float]  # task, method, sparsity


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
