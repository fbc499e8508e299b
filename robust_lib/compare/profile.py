"""Models on their tasks: in-distribution and OOD arms gathered from saved predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from robust_lib import metrics
from robust_lib.compare.intervals import Arm, CompareError, Floats, arm

PredictionKey = tuple[str, str, str, float, int]  # task, testbed, method, sparsity, seed
ProfileKey = tuple[str, str, float]  # task, method, sparsity


@dataclass(frozen=True, eq=False)
class Profile:
    """One model on one task: its in-distribution arm, its OOD arms, and how these become one number.

    `slices` are named parts of the in-distribution test bed (hard, easy). `baselines` are what answers that did not
    read the example reach, by test bed, `chance` that of the OOD sets together (`metrics.baseline`): of accuracy
    guessing evenly among the labels that occur, of F1 calling all duplicate.
    """

    id: Arm
    ood: tuple[Arm, ...]
    pool: metrics.Pool
    slices: Mapping[str, Arm] = field(default_factory=dict)
    chance: float = np.nan
    baselines: Mapping[str, float] = field(default_factory=dict)

    @property
    def arms(self) -> tuple[Arm, ...]:
        return (self.id, *self.ood)

    @property
    def measure(self) -> metrics.Measure:
        """What the model is measured by, the same on all its test beds."""
        return self.id.measure

    def ood_accuracy(self, rates: Sequence[Floats]) -> Floats:
        """The OOD accuracies or F1s, one array for each set, as one."""
        return metrics.pooled(rates, [len(arm.ids) for arm in self.ood], self.pool)


def profiles(
    predictions: Mapping[PredictionKey, pd.DataFrame],
    testbeds: Mapping[str, Sequence[str]],
    merge: metrics.Merge = "argmax",
    *,
    measures: Mapping[str, metrics.Measure] | None = None,
) -> dict[ProfileKey, Profile]:
    """Profiles by (task, method, sparsity) from predictions by (task, testbed, method, sparsity, seed).

    `testbeds` names for each task its in-distribution test bed first, then its OOD sets. `measures` names by task what
    is measured where that is not accuracy: paper 4 has {"qqp": "f1"}. Several OOD sets become one number as
    `metrics.POOL` says; their F1s by their plain mean, since F1 is no mean over examples. Where an in-distribution
    frame has a column `hard` (1, 0 or unknown), its two parts become slices. Raises CompareError when a model
    of a task has no predictions on one of the task's test beds, or on other seeds than elsewhere.
    """
    found: dict[ProfileKey, dict[str, dict[int, pd.DataFrame]]] = {}
    for (task, testbed, method, sparsity, seed), frame in predictions.items():
        if testbed in testbeds.get(task, ()):
            found.setdefault((task, method, sparsity), {}).setdefault(testbed, {})[seed] = frame
    return {
        key: _profile(key, beds, testbeds[key[0]], merge, (measures or {}).get(key[0], "accuracy"))
        for key, beds in found.items()
    }


def tidy(found: Mapping[ProfileKey, Profile], *, model: str) -> pd.DataFrame:
    """Accuracy or F1 (shares) of each seed: task, testbed, model, method, sparsity, seed, metric, value."""
    columns = ["task", "testbed", "model", "method", "sparsity", "seed", "metric", "value"]
    rows = [
        (task, arm.testbed, model, method, sparsity, seed, arm.measure, value)
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
    measure: metrics.Measure,
) -> Profile:
    task, method, sparsity = key
    seeds = {bed: sorted(frames.get(bed, ())) for bed in testbeds}
    if any(own != seeds[testbeds[0]] for own in seeds.values()):
        have = "; ".join(f"{bed} has seeds {own}" for bed, own in seeds.items())
        raise CompareError(
            f"{task}, {method}, sparsity {sparsity}: every test bed needs the same seeds; {have}"
        )
    outcomes = {
        bed: {seed: metrics.outcomes(frame, measure, merge) for seed, frame in frames[bed].items()}
        for bed in testbeds
    }
    inside, *outside = (arm(task, bed, outcomes[bed], measure=measure) for bed in testbeds)
    golds = {bed: next(iter(frames[bed].values()))["gold"] for bed in testbeds}
    baselines = {bed: metrics.baseline(gold, measure) for bed, gold in golds.items()}
    pool: metrics.Pool = "sets" if measure == "f1" else metrics.POOL.get(task, "examples")
    sizes = [len(one.ids) for one in outside]
    chance = float(metrics.pooled([baselines[bed] for bed in testbeds[1:]], sizes, pool)) if sizes else np.nan
    slices = _slices(inside, frames[testbeds[0]], merge)
    return Profile(inside, tuple(outside), pool, slices, chance, baselines)


def _slices(whole: Arm, frames: Mapping[int, pd.DataFrame], merge: metrics.Merge) -> dict[str, Arm]:
    """The parts of an in-distribution arm that its predictions' column `hard` makes."""
    frame = next(iter(frames.values()))
    if "hard" not in frame.columns:
        return {}
    known = pd.to_numeric(frame["hard"], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    parts = {name: frame["id"][known == flag] for name, flag in (("hard", 1), ("easy", 0))}

    def part(name: str, ids: "pd.Series[Any]") -> Arm:
        mine = {seed: one[one["id"].isin(ids)] for seed, one in frames.items()}
        outcomes = {seed: metrics.outcomes(one, whole.measure, merge) for seed, one in mine.items()}
        return arm(whole.task, f"{whole.testbed} ({name})", outcomes, measure=whole.measure)

    return {name: part(name, ids) for name, ids in parts.items() if len(ids)}
