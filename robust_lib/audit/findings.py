"""Every number of the audit's page, with its interval, paired test, control and chance level: a row each.

    found = findings.measured({"test": {"original": frame, "compressed": frame}}, parts={"length: 3 to 9": marked})

Models go by their role: "original", "compressed", and where there is one "second", the original trained again with
another seed. What the second differs by from the original stands in each row as its control. Each is one model, so
intervals speak of new items for these very models.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from robust_lib import compare, metrics
from robust_lib.audit import verdicts
from robust_lib.compare import Arm, Floats, Interval, Statistic, loyalties

Row = dict[str, Any]
Roles = Mapping[str, pd.DataFrame]  # by role
One = TypeVar("One")  # what a measure is read from: an arm, several, a profile

COLUMNS = (
    "topic", "measure", "set", "part", "unit", "original", "original_low", "original_high", "compressed",
    "compressed_low", "compressed_high", "value", "low", "high", "n", "test", "p", "p_corrected", "control",
    "control_low", "control_high", "control_from", "chance", "resolves", "verdict",
)  # fmt: skip
ORIGINAL, COMPRESSED, SECOND = "original", "compressed", "second"
TEST, OOD, HELD_OUT = "test", "ood", "heldout"
TASK, SEED = "audit", 0  # of all arms
LOYALTIES: dict[loyalties.Measure, str] = {
    "label_loyalty": "label loyalty",
    "probability_loyalty": "probability loyalty",
}
FLIPS: tuple[loyalties.Measure, ...] = ("lost", "won", "swapped")
WEIGHTS = {
    "megabytes": ("size on disk", "MB"),
    "parameters": ("parameters", "million"),
    "nonzero": ("parameters that are not 0", "million"),
    "memory": ("memory", "MB"),
}
# Of half the width of a 95 % interval: the change that four such samples in five call significant at 5 %.
RESOLVED = float(1 + stats.norm.ppf(0.8) / stats.norm.ppf(0.975))


class Test(NamedTuple):
    """A paired test: its name, its p-value, and the smallest change it resolves, NaN where the interval tells it."""

    name: str = ""
    p: float = np.nan
    resolves: float = np.nan


UNTESTED = Test()


def measured(
    answers: Mapping[str, Roles],
    *,
    parts: "Mapping[str, pd.Series[bool]] | None" = None,
    neighbours: Roles | None = None,
    distances: Roles | None = None,
    attacked: Roles | None = None,
    transferred: Mapping[str, Roles] | None = None,
    times: pd.DataFrame | None = None,
    sizes: Mapping[str, Mapping[str, float | None]] | None = None,
) -> pd.DataFrame:
    """All findings of an audit, one row for each number; what is not given has no row.

    answers      predictions frames (`metrics`) by set ("test", "ood") and role, of the same ids in all roles. A set
                 without gold labels (None) gets its loyalties alone
    parts        slices of the test set: True or False by id, under "column: value"
    neighbours   by role (compressed, second): point, shared, k: how many of its k nearest neighbours among all points
                 each point shares with the original's
    distances    by role: set ("heldout", "ood"), point, k, distance, as for `compare.flagged`; one k
    attacked     by role: id, status, queries, ... of TextFooler (`methods.attacked`) on the same texts
    transferred  by the role the texts were found on, then by the role they were tried on: id, gold, predicted
    times        role, batch_size, round, texts, seconds
    sizes        by role: megabytes, parameters and nonzero (millions), memory (MB); None where unknown

    The columns are COLUMNS. In the row of a change, `value` is the compressed model's number less the original's, which
    stand before it; in that of a pair (loyalty, flips, neighbours kept) these are NaN and `value` is the pair's own
    number. Shares are in percent, their changes in points. `control` is the same number of the second training, or of
    other models (`verdicts.CONTROLS`). Limits are of 95 % intervals, p_corrected is over all tests of the frame
    (Benjamini and Hochberg), `resolves` the smallest change that `n` items show with 80 % power. For the verdict see
    `verdicts`.
    """
    rows = [
        *(row for bed, models in answers.items() for row in _of_set(bed, models)),
        *_out_of_distribution(answers.get(TEST, {}), answers.get(OOD, {})),
        *_attacks(attacked or {}),
        *_transfer(transferred or {}, attacked or {}),
        *_by_difficulty(answers.get(TEST, {})),
        *_neighbours(neighbours or {}),
        *_flagged(distances or {}),
        *_times(times),
        *_weights(sizes or {}),
        *(row for name, marked in (parts or {}).items() for row in _of_part(name, marked, answers[TEST])),
    ]
    return verdicts.judged(pd.DataFrame(rows, columns=list(COLUMNS)))


# -- topics -------------------------------------------------------------------------------------------------------


def _of_set(bed: str, models: Roles) -> Iterator[Row]:
    """Accuracy, loss, loyalty, flips and calibration on one set."""
    labelled = _labelled(models)
    if labelled:
        yield _accuracy(bed, _right(bed, models), models)
        losses = {role: _arm(bed, metrics.losses(frame)) for role, frame in models.items()}
        yield _change(
            "accuracy", "loss", bed, losses, compare.mean, compare.difference, _swapped, unit="nats"
        )
    chances = _chances(models) | {"probability_loyalty": _unrelated(bed, models)}
    for measure, name in LOYALTIES.items():
        yield _agreement("loyalty", name, bed, _kept(bed, models, measure), chances[measure])
    if labelled:
        classes = models[ORIGINAL].columns.str.startswith("logit_").sum()
        for flip in FLIPS if classes > 2 else FLIPS[:2]:  # with two there is no other wrong one
            yield _agreement("flips", flip, bed, _kept(bed, models, flip), chances[flip])
        yield from _calibration(bed, models)


def _calibration(bed: str, models: Roles) -> Iterator[Row]:
    arms = {role: compare.calibration(TASK, bed, {SEED: frame}) for role, frame in models.items()}
    yield _change(
        "calibration", "calibration error", bed, arms,
        compare.calibration_error, compare.calibration_error_difference,
        lambda one, two: _swapped(one, two, lambda gaps: np.abs(gaps).sum(axis=0)),
    )  # fmt: skip
    yield _change(
        "calibration", "overconfidence", bed, arms, compare.overconfidence, compare.overconfidence_difference,
        lambda one, two: _swapped(one, two, lambda gaps: gaps.sum(axis=0)),
    )  # fmt: skip


def _out_of_distribution(inside: Roles, outside: Roles) -> Iterator[Row]:
    """How far each model falls from the test set to the OOD set, in points and relative to the original (F_bias)."""
    roles = [role for role in inside if role in outside]
    if not roles or not _labelled(inside) or not _labelled(outside):
        return
    beds = {TEST: inside, OOD: outside}
    frames = {(TASK, bed, role, 0.0, SEED): models[role] for bed, models in beds.items() for role in roles}
    found = compare.profiles(frames, {TASK: [TEST, OOD]})
    of = {role: found[TASK, role, 0.0] for role in roles}
    yield _change(
        "out of distribution", "gap", OOD, of,
        lambda one: compare.interval(lambda here, there: there - here, one.arms),
        lambda one, two: compare.contrast([one], [two], "gap"),
        lambda one, two: _swapped(one.arms, two.arms, lambda here, there: there - here),
    )  # fmt: skip
    original = of.pop(ORIGINAL)
    test = _swapped(of[COMPRESSED].arms, original.arms, lambda here, there: _over(there, here))
    biases = {role: compare.f_bias([(one, original)]) for role, one in of.items()}
    yield _row("out of distribution", "F_bias", OOD, biases, test, unit="")


def _flagged(distances: Roles) -> Iterator[Row]:
    """How many OOD points each model tells from the test set by their nearest neighbours, and which both tell."""
    if not distances:
        return
    topic, k = "out of distribution", int(distances[ORIGINAL]["k"].iloc[0])
    flags = {role: compare.flagged(frame, k=k, by=HELD_OUT, of=OOD) for role, frame in distances.items()}
    arms = {role: _arm(OOD, marked) for role, marked in flags.items()}
    yield _change(
        topic, "points detected", OOD, arms, compare.accuracy, compare.difference, _mcnemar, chance=0.05
    )
    original = flags.pop(ORIGINAL)
    pairs = {
        role: compare.paired(TASK, OOD, {SEED: original}, {SEED: marked}) for role, marked in flags.items()
    }
    chance = compare.pair_agreement(pairs[COMPRESSED], "chance").value
    jaccard = partial(compare.pair_agreement, measure="jaccard")
    yield _pair(topic, "points detected by both", OOD, pairs, jaccard, chance=chance)


def _by_difficulty(models: Roles) -> Iterator[Row]:
    """Accuracy and loyalty on the thirds of the test set that the original is least and most sure of.

    What it is sure of it also gets right by luck, which another model does not share: see the second training.
    """
    if not models or not _labelled(models):
        return
    topic, of = "difficulty", _right(TEST, models)
    rank = metrics.confidence(models[ORIGINAL]).rank(method="first", pct=True)
    thirds = {"hardest third": rank <= 1 / 3, "easiest third": rank > 2 / 3}
    for name, marked in thirds.items():
        mine, kept = (_part(arms, marked, name) for arms in (of, _kept(TEST, models, "label_loyalty")))
        yield _accuracy(TEST, mine, models) | {"topic": topic, "measure": f"accuracy, {name}"}
        chance = _chances(models, marked)["label_loyalty"]
        yield _agreement(topic, f"label loyalty, {name}", TEST, kept, chance)
    parts = [_part(of, marked, name) for name, marked in thirds.items()]
    pairs = {role: [arms[role] for arms in parts] for role in models}
    yield _change(
        topic, "easy less hard", TEST, pairs,
        lambda one: compare.interval(lambda hard, easy: easy - hard, one),
        lambda one, two: compare.interval(lambda h, e, hard, easy: e - h - (easy - hard), [*one, *two]),
        lambda one, two: _swapped(one, two, lambda hard, easy: easy - hard),
    )  # fmt: skip


def _neighbours(shared: Roles) -> Iterator[Row]:
    """The share of each point's nearest neighbours that stay, and how many would by chance."""
    if not shared:
        return
    arms = {role: _arm(TEST, _share(frame)) for role, frame in shared.items()}
    frame = shared[COMPRESSED]
    chance = float(frame["k"].iloc[0]) / (len(frame) - 1)
    yield _agreement("neighbours", "neighbours kept", TEST, arms, chance)


def _share(frame: pd.DataFrame) -> "pd.Series[Any]":
    return (frame["shared"] / frame["k"]).set_axis(pd.Index(frame["point"]))


def _attacks(attacked: Roles) -> Iterator[Row]:
    """Accuracy after the attack, the share of right answers it turns, and the queries that it takes."""
    if not attacked:
        return
    by_seed = {role: {SEED: frame} for role, frame in attacked.items()}
    survived, fooled, queries = (
        {role: arm(TASK, "attacked", frames) for role, frames in by_seed.items()}
        for arm in (compare.survived, compare.fooled, compare.attack_cost)
    )
    ratio = partial(_swapped, statistic=lambda means: _over(*means))
    yield _change(
        "attack", "accuracy after attack", TEST, survived, compare.accuracy, compare.difference, _mcnemar
    )
    yield _change(
        "attack", "share fooled", TEST, fooled, compare.success_rate, compare.success_rate_difference, ratio
    )
    yield _change(
        "attack", "queries", TEST, queries,
        compare.mean_queries, compare.mean_queries_difference, ratio, unit="queries",
    )  # fmt: skip


def _transfer(found: Mapping[str, Mapping[str, pd.DataFrame]], attacked: Roles) -> Iterator[Row]:
    """How many of the texts that fool one model fool another that was right before; between two trainings as well."""
    for source, target, control in (
        (ORIGINAL, COMPRESSED, (ORIGINAL, SECOND)),
        (COMPRESSED, ORIGINAL, (SECOND, ORIGINAL)),
    ):
        tried = {COMPRESSED: (source, target), SECOND: control}
        of = {
            role: _fooled(found[one][other], attacked[other])
            for role, (one, other) in tried.items()
            if other in found.get(one, {}) and other in attacked
        }
        of = {role: marked for role, marked in of.items() if len(marked)}
        if COMPRESSED in of:
            yield _pair("attack", f"transfer, {source} to {target}", TEST, of, _exact)


def _fooled(tried: pd.DataFrame, attacked: pd.DataFrame) -> "pd.Series[bool]":
    """Whether a model is fooled by each text found on another, of those whose original it had right."""
    right = attacked["id"][attacked["status"].isin(loyalties.CORRECT)]
    mine = tried[tried["id"].isin(right)]
    return mine["predicted"].ne(mine["gold"])


def _times(times: pd.DataFrame | None) -> Iterator[Row]:
    """Milliseconds for a text, and how much faster the compressed model is, for each batch size."""
    if times is None:
        return
    timed = times.assign(ms=1000 * times["seconds"] / times["texts"])
    for size, rows in timed.groupby("batch_size"):
        bed, rounds = f"batch {size}", rows.pivot_table(index="round", columns="role", values="ms")
        arms = {str(role): _arm(bed, rounds[role]) for role in rounds}
        yield _change("cost", f"time per text, {bed}", "", arms, compare.mean, compare.difference, unit="ms")
        faster = {
            role: compare.arm(TASK, bed, {SEED: rounds[[ORIGINAL, role]]})
            for role in arms
            if role != ORIGINAL
        }
        yield _pair("cost", f"speed-up, {bed}", "", faster, compare.speedup, unit="times")


def _weights(sizes: Mapping[str, Mapping[str, float | None]]) -> Iterator[Row]:
    """What the models take; counted, so without limits."""
    for key, (measure, unit) in WEIGHTS.items():
        known = {
            role: compare.counted(weight)
            for role, own in sizes.items()
            if (weight := own.get(key)) is not None
        }
        if ORIGINAL in known and COMPRESSED in known:
            yield _change("cost", measure, "", known, lambda one: one, _apart, unit=unit)


def _apart(one: Interval, two: Interval) -> Interval:
    return compare.counted(one.value - two.value)


def _of_part(name: str, marked: "pd.Series[bool]", models: Roles) -> Iterator[Row]:
    """Accuracy and label loyalty on a slice of the test set, if the models answered any of it."""
    if not models[ORIGINAL]["id"].isin(marked.index[marked]).any():
        return
    if _labelled(models):
        yield _accuracy(TEST, _part(_right(TEST, models), marked, name), models) | {"part": name}
    kept = _part(_kept(TEST, models, "label_loyalty"), marked, name)
    chance = _chances(models, marked)["label_loyalty"]
    yield _agreement("loyalty", "label loyalty", TEST, kept, chance) | {"part": name}


# -- rows ---------------------------------------------------------------------------------------------------------


def _accuracy(bed: str, right: Mapping[str, Arm], models: Roles) -> Row:
    alone, apart, chance = compare.accuracy, compare.difference, metrics.baseline(models[ORIGINAL]["gold"])
    return _change("accuracy", "accuracy", bed, right, alone, apart, _mcnemar, chance=chance)


def _agreement(topic: str, measure: str, bed: str, of: Mapping[str, Arm], chance: float) -> Row:
    """What the compressed model has in common with the original, tested against what the second training has."""
    counted = np.isin(of[COMPRESSED].values, (0, 1)).all()
    alone = compare.accuracy if counted else partial(compare.mean, bounds=(0, 1))
    row = _pair(topic, measure, bed, of, alone, chance=chance)
    if SECOND not in of:
        return row
    one, two = of[COMPRESSED], of[SECOND]
    tested = _mcnemar(one, two) if counted else _swapped(one, two)
    return row | _tested(tested, compare.difference(one, two), "%")


def _change(
    topic: str,
    measure: str,
    bed: str,
    of: Mapping[str, One],
    alone: Callable[[One], Interval],
    apart: Callable[[One, One], Interval],
    test: "Callable[[One, One], Test] | None" = None,
    *,
    unit: str = "%",
    chance: float = np.nan,
) -> Row:
    """A number that each model has by itself, and what it changed by; `of` is what it is read from, by role."""
    changes = {role: apart(one, of[ORIGINAL]) for role, one in of.items() if role != ORIGINAL}
    tested = test(of[COMPRESSED], of[ORIGINAL]) if test else UNTESTED
    row = _row(topic, measure, bed, changes, tested, unit, chance)
    for role in (ORIGINAL, COMPRESSED):
        row |= _limits(role, alone(of[role]), unit)
    return row


def _pair(
    topic: str,
    measure: str,
    bed: str,
    of: Mapping[str, One],
    alone: Callable[[One], Interval],
    *,
    unit: str = "%",
    chance: float = np.nan,
) -> Row:
    """A number of the compressed model and the original together; `of` has that of the second training as well."""
    return _row(topic, measure, bed, {role: alone(one) for role, one in of.items()}, UNTESTED, unit, chance)


def _row(
    topic: str,
    measure: str,
    bed: str,
    found: Mapping[str, Interval],
    test: Test = UNTESTED,
    unit: str = "%",
    chance: float = np.nan,
) -> Row:
    """`found` of the compressed model is the value, of the second training the control."""
    one, scale = found[COMPRESSED], _scale(unit)
    row = {"topic": topic, "measure": measure, "set": bed, "part": "", "unit": unit, "n": one.n or np.nan}
    row |= _limits("value", one, unit) | {"test": "", "chance": scale * chance}
    row |= _tested(test, one, unit) if test.name else {}
    if SECOND in found:
        row |= _limits("control", found[SECOND], unit) | {"control_from": verdicts.SECOND}
    return row


def _tested(test: Test, change: Interval, unit: str) -> Row:
    """A test, and the smallest change that would be seen: of a change without any spread, the exact binomial limit of
    the items that may differ although none of these did."""
    width = RESOLVED * (change.high - change.low) / 2
    unseen = stats.binomtest(0, change.n).proportion_ci().high if not width > 0 else 0.0
    resolves = np.nanmax([test.resolves, width, unseen])
    return {"test": test.name, "p": test.p, "resolves": _scale(unit) * resolves}


def _limits(name: str, found: Interval, unit: str) -> Row:
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return {name: _scale(unit) * found.value, low: _scale(unit) * found.low, high: _scale(unit) * found.high}


def _scale(unit: str) -> int:
    return 100 if unit == "%" else 1


# -- tests --------------------------------------------------------------------------------------------------------


def _mcnemar(first: Arm, second: Arm) -> Test:
    """Of 0/1 outcomes; what is resolved follows from the share of items on which the two differ."""
    one, two = (pd.Series(arm.values[0, :, 0], index=arm.ids) for arm in (first, second))
    found = compare.mcnemar(one, two)
    discordant = (found.only_first + found.only_second) / found.n
    return Test("exact McNemar", found.p_value, compare.detectable_share(found.n, discordant))


def _swapped(
    first: Arm | Sequence[Arm], second: Arm | Sequence[Arm], statistic: Statistic = lambda mean: mean
) -> Test:
    """The permutation test of a statistic of each model's means."""
    one, two = ([arms] if isinstance(arms, Arm) else arms for arms in (first, second))
    return Test("paired permutation", compare.swapped(one, two, statistic))


def _exact(marked: "pd.Series[bool]") -> Interval:
    """A share with exact binomial limits."""
    limits = stats.binomtest(int(marked.sum()), len(marked)).proportion_ci()
    return Interval(float(marked.mean()), limits.low, limits.high, n=len(marked), seeds=1, level=0.95)


# -- arms ---------------------------------------------------------------------------------------------------------


def _labelled(models: Roles) -> bool:
    return bool(models) and bool(models[ORIGINAL]["gold"].notna().all())


def _arm(bed: str, outcomes: "pd.Series[Any]") -> Arm:
    return compare.arm(TASK, bed, {SEED: outcomes})


def _right(bed: str, models: Roles) -> dict[str, Arm]:
    return {role: _arm(bed, metrics.correct(frame)) for role, frame in models.items()}


def _kept(bed: str, models: Roles, measure: loyalties.Measure) -> dict[str, Arm]:
    """A measure of loyalty or flips of all models to the original."""
    original = {SEED: models[ORIGINAL]}
    return {
        role: compare.loyalty(TASK, bed, {SEED: frame}, original, measure)
        for role, frame in models.items()
        if role != ORIGINAL
    }


def _chances(models: Roles, marked: "pd.Series[bool] | None" = None) -> dict[str, float]:
    """Label loyalty and flips of two models as accurate as these that know nothing of each other, on one part.

    The mean over all shuffles that `metrics.loyalty.independent` draws from: of answers independent given the gold
    label. Without gold labels, of models that say each class as often.
    """
    frames = {role: models[role].set_index("id") for role in (COMPRESSED, ORIGINAL)}
    gold = frames[ORIGINAL]["gold"].fillna("")
    if marked is not None:
        gold = gold[marked.reindex(gold.index, fill_value=False)]
    said = [
        pd.get_dummies(frame.filter(regex="^logit_").idxmax(axis=1), dtype=float) for frame in frames.values()
    ]
    found = {"label_loyalty": _independent(gold, *said)}
    if _labelled(models):
        one, two = (metrics.correct(models[role]).to_frame() for role in frames)
        found |= {"lost": _independent(gold, 1 - one, two), "won": _independent(gold, one, 1 - two)}
        found["swapped"] = 1 - sum(found.values())
    return found


def _unrelated(bed: str, models: Roles) -> float:
    """Probability loyalty of a model as accurate and sure as the compressed one that knows nothing of the original."""
    student, teacher = ({SEED: models[role].fillna({"gold": ""})} for role in (COMPRESSED, ORIGINAL))
    return float(compare.chance(TASK, bed, student, teacher, "probability_loyalty").values.mean())


def _independent(gold: "pd.Series[Any]", one: pd.DataFrame, two: pd.DataFrame) -> float:
    """Mean of the products of two models' outcomes, summed over columns, were they independent given the gold label."""
    means = [frame.loc[gold.index].groupby(gold).mean() for frame in (one, two)]
    expected: pd.Series[float] = (means[0] * means[1]).sum(axis=1)  # for each gold label
    return float(expected.loc[gold].mean())


def _part(of: Mapping[str, Arm], marked: "pd.Series[bool]", name: str) -> dict[str, Arm]:
    """The items of one part, which are drawn for themselves: its test bed gets a name of its own."""
    parts = {}
    for role, arm in of.items():
        inside = marked.reindex(arm.ids, fill_value=False).to_numpy(dtype=bool)
        bed, values = f"{arm.testbed} ({name})", arm.values[:, inside]
        parts[role] = replace(arm, testbed=bed, ids=arm.ids[inside], values=values)
    return parts


def _over(one: Floats, two: Floats) -> Floats:
    return np.asarray(one / np.where(two > 0, two, np.nan))
