"""How far a compressed model does what the model it came from does, right or wrong, from both their predictions.

    agreed = loyalty.label_loyalty(student, teacher)

Both are predictions frames as in `metrics`, matched by `id` and by label name, in whatever order. What two models say
is compared in their own classes: a three-class inference model on HANS stays three-class, and neutral against
contradiction is a disagreement although both count as non-entailment. Only `flips` reads the gold labels, and there
HANS is read as in `metrics.correct`.

Two good models agree often without knowing of each other: `independent` makes the model that tells how often.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from robust_lib import metrics
from robust_lib.metrics import Floats, MetricError


def label_loyalty(student: pd.DataFrame, teacher: pd.DataFrame) -> "pd.Series[int]":
    """1 where both predict the same label name, else 0; one entry per example, indexed by `id`.

    Its mean is the label loyalty, the accuracy with the teacher's predictions as gold labels.  [paper 3, equation 1]

    1 of a model to itself; at least a + b - 1 for accuracies a and b. Needs no gold labels. Raises
    MetricError for two models with other ids or other classes.
    """
    own, other = _logits(student, teacher)
    same = (own.argmax(axis=1) == other.argmax(axis=1)).astype(np.int8)
    return pd.Series(same, index=_ids(student), name="label_loyalty")


def probability_loyalty(
    student: pd.DataFrame, teacher: pd.DataFrame, *, base: float = 2.0
) -> "pd.Series[float]":
    """1 - sqrt(JS(P, Q)) of the predicted distributions, one entry per example, indexed by `id`.

    JS(P, Q) = KL(P || M) / 2 + KL(Q || M) / 2,   M = (P + Q) / 2             [paper 3, equations 3 and 4]

    sqrt(JS) is a metric, the Jensen-Shannon distance. 1 for equal distributions; for two that share no label 0 in base
    2, the range the paper states. `math.e` is SciPy's default and so that of the authors' README: at least
    1 - sqrt(ln 2) = 0.167. Which one the paper printed is not known. Symmetric. Errors as in `label_loyalty`, and for a
    base that is not above 1.
    """
    own, other = (special.softmax(logits, axis=1) for logits in _logits(student, teacher))
    return pd.Series(1 - distance(own, other, base=base), index=_ids(student), name="probability_loyalty")


def distance(first: Floats, second: Floats, *, base: float = 2.0) -> Floats:
    """Jensen-Shannon distance of each pair of rows of probabilities, in [0, sqrt(log 2 / log base)].

    SciPy's `jensenshannon`, which gives NaN where rounding takes a divergence below 0.
    """
    if not base > 1:
        raise MetricError(f"base is {base}; a logarithm's base is above 1: 2, or math.e for nats")
    middle = (first + second) / 2
    nats = (special.rel_entr(first, middle) + special.rel_entr(second, middle)).sum(axis=1) / 2
    return np.asarray(np.sqrt(nats.clip(0) / np.log(base)))


def divergence(student: pd.DataFrame, teacher: pd.DataFrame) -> pd.DataFrame:
    """Kullback-Leibler divergences in bits, >= 0 and unbounded, one row per example, indexed by `id`.

    `kl_forward` is KL(teacher || student), what distillation minimises: large where the student rules out what the
    teacher holds possible. `kl_reverse` is KL(student || teacher). Both 0 for equal distributions. Errors as in
    `label_loyalty`.
    """
    own, other = (special.log_softmax(logits, axis=1) for logits in _logits(student, teacher))
    columns = {
        "kl_forward": (np.exp(other) * (other - own)).sum(axis=1),
        "kl_reverse": (np.exp(own) * (own - other)).sum(axis=1),
    }
    return pd.DataFrame(columns, index=_ids(student)).clip(lower=0).div(np.log(2))


def flips(student: pd.DataFrame, teacher: pd.DataFrame) -> pd.DataFrame:
    """Per example 0/1: what compression `lost` (teacher right, student wrong), what it `won` (wrong, then right), and
    what was `swapped` (one wrong label for another), indexed by `id`.

    accuracy(student) - accuracy(teacher) = won - lost, so equal accuracies may hide many flips; and
    label loyalty = 1 - lost - won - swapped, but on HANS, where two right answers may differ in the models' classes.
    Errors as in `label_loyalty`, and for gold labels that differ or are none of the classes.
    """
    agreed = label_loyalty(student, teacher).astype(bool)
    gold = teacher.set_index("id")["gold"].loc[student["id"]].to_numpy(dtype=object)
    other = student["gold"].to_numpy(dtype=object) != gold
    if other.any():
        ids = metrics._some(student["id"][other])
        raise MetricError(f"gold labels of student and teacher differ for {ids}: is it another split?")
    right = metrics.correct(student).astype(bool)
    was_right = metrics.correct(teacher).astype(bool).loc[right.index]
    columns = {
        "lost": was_right & ~right,
        "won": ~was_right & right,
        "swapped": ~was_right & ~right & ~agreed,
    }
    return pd.DataFrame(columns, index=right.index).astype(np.int8)


def independent(student: pd.DataFrame, seed: int, *, within: Sequence[str] = ("gold",)) -> pd.DataFrame:
    """The student with its logits shuffled among the examples of each gold label, or of equal columns `within`.

    A model of exactly the same accuracy, confusion matrix and distribution of confidence within every label, whose
    errors know nothing of the teacher's: its loyalty is what two unrelated models of these accuracies reach. All other
    columns stay where they are. `within` gold and heuristic it is as accurate on each heuristic, too; examples that
    lack one of the further columns keep their logits. Raises MetricError for an example without gold label.
    """
    if student["gold"].isna().any():
        count = int(student["gold"].isna().sum())
        raise MetricError(f"{count} of {len(student)} examples have no gold label: there is no chance level")
    columns = [name for name in student.columns if str(name).startswith("logit_")]
    generator = np.random.default_rng(seed)
    source = np.arange(len(student))
    for rows in student.groupby(list(within)).indices.values():
        source[rows] = generator.permutation(rows)
    shuffled = student[columns].to_numpy()[source]
    return student.assign(**dict(zip(columns, shuffled.T, strict=True)))


def _logits(student: pd.DataFrame, teacher: pd.DataFrame) -> tuple[Floats, Floats]:
    """Both models' logits, examples and classes in the student's order."""
    own, classes = metrics._logits(student)
    other, others = metrics._logits(teacher)
    if set(classes) != set(others):
        raise MetricError(
            f"the student's classes are {', '.join(classes)}, the teacher's {', '.join(others)}: "
            "loyalty is between models of the same labels"
        )
    for name, frame in (("student", student), ("teacher", teacher)):
        twice = frame["id"].duplicated()
        if twice.any():
            raise MetricError(f"ids of the {name} stand twice: {metrics._some(frame['id'][twice])}")
    rows = pd.Index(teacher["id"]).get_indexer(pd.Index(student["id"]))
    odd = pd.concat([student["id"][rows < 0], teacher["id"][~teacher["id"].isin(student["id"])]])
    if len(odd):
        raise MetricError(
            f"the student has {len(student)} examples and the teacher {len(teacher)}; not in both: {metrics._some(odd)}"
        )
    return own, other[rows][:, [others.index(name) for name in classes]]


def _ids(student: pd.DataFrame) -> "pd.Index[Any]":
    index: pd.Index[Any] = pd.Index(student["id"], name="id")
    return index
