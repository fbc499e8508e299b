"""One model's numbers from its saved predictions.

A predictions frame holds one row per example: `id`, `gold` (label name), one `logit_<label>` column per
class of the model, and whatever the split carries along. Labels are compared by name, never by index.

The folders beside this file are the same numbers as `evaluate` metrics that load without a network:

    evaluate.load(str(metrics.directory("f1"))).compute(predictions=..., references=...)
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Merge = Literal["argmax", "sum"]
Pool = Literal["sets", "examples"]
Measure = Literal["accuracy", "f1"]  # what a test bed is measured by; f1 is that of the class `duplicate`
Labels = NDArray[np.object_]
Floats = NDArray[np.float64]

# Paper 1 section 3.4 says "overall accuracy" for both tasks; only these two readings give its printed F_bias.
POOL: dict[str, Pool] = {"mnli": "examples", "fever": "sets", "qqp": "examples"}
NLI = ("entailment", "neutral", "contradiction")
HANS = ("entailment", "non-entailment")

_PUNCTUATION = str.maketrans("", "", string.punctuation)


class MetricError(ValueError):
    """Predictions that cannot be scored; the message names the column, label or ids at fault."""


def directory(name: str) -> Path:
    """Folder of the `evaluate` metric called `name`, for `evaluate.load`: accuracy, f1, label_loyalty, ..."""
    path = Path(__file__).parent / name
    if not (path / f"{name}.py").is_file():
        raise MetricError(f"no metric '{name}'; there are {', '.join(_metric_names())}")
    return path


def _metric_names() -> list[str]:
    modules = Path(__file__).parent.glob("*/*.py")
    return sorted(path.stem for path in modules if path.stem == path.parent.name)


def predicted(predictions: pd.DataFrame, merge: Merge = "argmax") -> "pd.Series[str]":
    """The predicted label name of each example, in the label names of the gold column, indexed by `id`.

    A three-class inference model on HANS is read in one of two ways:
    - `argmax`: the most probable of the three classes, then neutral and contradiction count as non-entailment
      (the HANS authors' evaluation, and SRNets'); the default;
    - `sum`: non-entailment has the summed probability of the two, so entailment must reach a half.

    Ties go to the class whose column stands first. Raises MetricError for a gold label that is none of the
    model's classes, for a missing column and for a logit that is not finite.
    """
    logits, classes = _logits(predictions)
    if _is_hans(predictions, classes):
        entailed = _entailed(logits, classes, merge)
        names = np.where(entailed, *HANS).astype(object)
        _known(predictions["gold"], HANS)
    else:
        names = np.array(classes, dtype=object)[logits.argmax(axis=1)]
        _known(predictions["gold"], classes)
    return pd.Series(names, index=pd.Index(predictions["id"], name="id"), name="predicted")


def correct(predictions: pd.DataFrame, merge: Merge = "argmax") -> "pd.Series[int]":
    """1 where the predicted label name is the gold one, else 0; one entry per example, indexed by `id`.

    Its mean is the accuracy. `merge` and errors as in `predicted`. A HANS frame is known by its gold label
    non-entailment or its column `heuristic`: take `correct` of the whole frame, then slices of it.
    """
    names = predicted(predictions, merge)
    hits = (names.to_numpy() == predictions["gold"].to_numpy(dtype=object)).astype(np.int8)
    return pd.Series(hits, index=names.index, name="correct")


def losses(predictions: pd.DataFrame) -> "pd.Series[float]":
    """Cross entropy of the gold label in nats, >= 0, one entry per example, indexed by `id`.

    -log softmax(logits)[gold]; even logits give log(classes). On HANS non-entailment has the summed
    probability of neutral and contradiction. Errors as in `predicted`.
    """
    return (-_log_probability(predictions, predictions["gold"])).rename("loss")


def confidence(predictions: pd.DataFrame, merge: Merge = "argmax") -> "pd.Series[float]":
    """Probability the model gives the label it predicts, one entry per example, indexed by `id`.

    The largest softmax probability, in [1 / classes, 1]. On HANS that of the label `predicted` names under
    `merge`, where non-entailment has the summed probability of neutral and contradiction.
    """
    logs = _log_probability(predictions, predicted(predictions, merge))
    return pd.Series(np.exp(logs), name="confidence")


def with_hard(predictions: pd.DataFrame, hypothesis_only: pd.DataFrame) -> pd.DataFrame:
    """The predictions with a column `hard`: 1 where the hypothesis-only model is wrong, 0 where it is right.

    Both are predictions frames, matched by `id`; the hypothesis-only model (`bias.hypothesis_only`) may
    answer more. Predictions that have a column `hard` keep it: it is the published one. To see ours instead,
    drop it first. Raises MetricError for ids the hypothesis-only model lacks, or knows under another gold label.
    """
    if "hard" in predictions.columns:
        return predictions
    right = correct(hypothesis_only)
    missing = ~predictions["id"].isin(right.index)
    if missing.any():
        ids = _some(predictions["id"][missing])
        raise MetricError(
            f"no hypothesis-only prediction for {missing.sum()} of {len(missing)} examples: {ids}"
        )
    gold = hypothesis_only.set_index("id")["gold"].loc[predictions["id"]].to_numpy(dtype=object)
    other = predictions["gold"].to_numpy(dtype=object) != gold
    if other.any():
        ids = _some(predictions["id"][other])
        raise MetricError(
            f"gold labels differ from the hypothesis-only model's for {ids}: is it another split?"
        )
    return predictions.assign(hard=1 - right.loc[predictions["id"]].to_numpy())


def confusion(predictions: pd.DataFrame, positive: str = "duplicate") -> pd.DataFrame:
    """Per example 0/1 in `hit`, `alarm` (false positive) and `miss` (false negative), indexed by `id`.

    Sums or means of the three give the F1 of the class `positive`: see `f1_score`.
    """
    _, classes = _logits(predictions)
    if positive not in classes:
        raise MetricError(f"positive label '{positive}' is none of the model's classes {', '.join(classes)}")
    said = predicted(predictions) == positive
    gold = predictions["gold"].to_numpy(dtype=object) == positive
    columns = {"hit": said & gold, "alarm": said & ~gold, "miss": ~said & gold}
    return pd.DataFrame(columns, index=said.index).astype(np.int8)


def f1_score(hit: ArrayLike, alarm: ArrayLike, miss: ArrayLike) -> Floats:
    """2 hit / (2 hit + alarm + miss), elementwise, from counts or rates; NaN where all are zero."""
    hit, alarm, miss = (np.asarray(x, dtype=np.float64) for x in (hit, alarm, miss))
    return _ratio(2 * hit, 2 * hit + alarm + miss)


def outcomes(
    predictions: pd.DataFrame, measure: Measure = "accuracy", merge: Merge = "argmax"
) -> "pd.Series[Any]":
    """One number per example, indexed by `id`, whose mean is the accuracy or F1: what `compare` resamples.

    Accuracy: `correct`. F1: F1 and the example's influence on it, from the columns of `confusion`,

        F1 + (2 hit - F1 w) / mean(w),   w = 2 hit + alarm + miss.

    So means over seeds are means of the seeds' F1, which is what papers average; redrawing the examples moves F1 to
    first order. Raises MetricError where F1 is undefined: no example is of its class, and none is called so.
    """
    if measure == "accuracy":
        return correct(predictions, merge)
    if measure != "f1":
        raise MetricError(f"measure is '{measure}'; it can be 'accuracy' or 'f1'")
    parts = confusion(predictions).astype(np.float64)
    weights = 2 * parts["hit"] + parts["alarm"] + parts["miss"]
    if not weights.any():
        raise MetricError("F1 is undefined: no example is of its class, and none is called so")
    score = float(f1_score(parts["hit"].sum(), parts["alarm"].sum(), parts["miss"].sum()))
    return (score + (2 * parts["hit"] - score * weights) / weights.mean()).rename("outcome")


def baseline(gold: "pd.Series[str]", measure: Measure = "accuracy", positive: str = "duplicate") -> float:
    """What answers that did not read the example reach on these gold labels, as a share.

    Accuracy: 1 / k, an even guess among the k labels that occur. F1: 2 p / (1 + p), all called `positive`, which is a
    share p of the examples: paper 4, section 4.2.2, has subnetworks whose F1 rises towards it while they lose what
    they knew. 0 where no example is positive, 1 where all are.
    """
    if measure == "accuracy":
        return 1 / gold.nunique()
    share = float((gold == positive).mean())
    return 2 * share / (1 + share)


def f_bias(
    id_accuracy: ArrayLike, ood_accuracy: ArrayLike, reference_id: ArrayLike, reference_ood: ArrayLike
) -> Floats:
    """F_bias: the model's relative loss from in-distribution to OOD, over the reference's; elementwise.

    F_bias = [(D - O) / D] / [(D_ref - O_ref) / D_ref]                                [paper 1, section 3.4]

    All four in one unit, shares or percent. 1 for the reference itself, above 1 = more biased than it.
    NaN where it says nothing: a reference without a gap (O_ref >= D_ref), an in-distribution accuracy of 0.
    """
    own, reference = _gap(id_accuracy, ood_accuracy), _gap(reference_id, reference_ood)
    return _ratio(own, np.where(reference > 0, reference, np.nan))


def pooled(accuracies: Sequence[ArrayLike], sizes: Sequence[int], pool: Pool) -> Floats:
    """One OOD accuracy from several sets: their plain mean (`sets`) or that of all examples (`examples`).

    `POOL` holds the papers' reading by task: FEVER averages its two symmetric sets, QQP weights PAWS-wiki to
    PAWS-qqp 8000 to 677. With one set both are that set's accuracy.
    """
    if len(accuracies) == 0 or len(accuracies) != len(sizes) or min(sizes) < 1:
        raise MetricError(f"{len(accuracies)} accuracies with sizes {list(sizes)}: one positive size each")
    weights = np.asarray(sizes, dtype=np.float64) if pool == "examples" else np.ones(len(sizes))
    columns = [np.asarray(accuracy, dtype=np.float64) for accuracy in accuracies]
    return np.asarray(np.average(columns, axis=0, weights=weights), dtype=np.float64)


def exact_match(answers: pd.DataFrame, threshold: float = 0.0) -> "pd.Series[float]":
    """1 where the answer given is one of the gold answers, else 0; one entry per question, indexed by `id`.

    As the official script of SQuAD 2 has it: texts are compared in lower case, without punctuation, the articles a, an
    and the, and repeated white space; without gold answers, only no answer is right. The frame holds `id`, `answers`
    (the gold texts), `text`, `score` and `null`, as `predict.spans` makes it. No answer is given where null - score is
    above `threshold` (null_score_diff_threshold of run_qa): inf always answers, -inf never. Raises MetricError for a
    missing column, and for a null or score that is not a number.
    """
    return _judged(answers, threshold, _same_words, "exact_match")


def span_f1(answers: pd.DataFrame, threshold: float = 0.0) -> "pd.Series[float]":
    """Harmonic mean of precision and recall of the answer's words, in [0, 1], by the gold answer it is nearest to.

    2 common / (words given + words of gold), words as `exact_match` compares them, repeated ones counted. Where one of
    the two has no words, 1 if neither has, else 0. At least `exact_match`. Frame and threshold as there.
    """
    return _judged(answers, threshold, _common_words, "span_f1")


def answer_given(answers: pd.DataFrame, threshold: float = 0.0) -> "pd.Series[bool]":
    """Whether each question is answered at all, by id: where null - score is not above the threshold."""
    given = answers["null"] - answers["score"] <= threshold
    return pd.Series(given.to_numpy(), index=pd.Index(answers["id"], name="id"), name="given")


def best_threshold(answers: pd.DataFrame) -> float:
    """The lowest threshold of all with the most exact matches: the official script's `find_best_thresh`.

    It is the null - score of the most unsure answer that is still given, or -inf where it is best never to answer (the
    script, made for probabilities, writes 0 for that). Choose it on other questions than those it is judged on.
    """
    gain = (exact_match(answers, np.inf) - exact_match(answers, -np.inf)).to_numpy()
    differences, group = np.unique((answers["null"] - answers["score"]).to_numpy(), return_inverse=True)
    matches = np.concatenate([[0.0], np.cumsum(np.bincount(group, weights=gain))])
    return float(np.concatenate([[-np.inf], differences])[matches.argmax()])


def _judged(
    answers: pd.DataFrame, threshold: float, judge: Callable[[list[str], list[str]], float], name: str
) -> "pd.Series[float]":
    """The best judgement of each question's answer by any of its gold answers."""
    missing = [column for column in ("id", "answers", "text", "score", "null") if column not in answers]
    if missing:
        raise MetricError(f"answers need a column {', '.join(missing)}; found {', '.join(answers.columns)}")
    difference = answers["null"] - answers["score"]
    if difference.isna().any():
        ids = _some(answers["id"][difference.isna()])
        raise MetricError(f"null or score is not a number for {difference.isna().sum()} questions: {ids}")
    given = answers["text"].where(answer_given(answers, threshold).to_numpy(), "")
    values = [
        max(judge(_words(text), words) for words in _gold_words(gold))
        for text, gold in zip(given, answers["answers"], strict=True)
    ]
    return pd.Series(values, index=pd.Index(answers["id"], name="id"), name=name, dtype=np.float64)


def _gold_words(gold: Iterable[str]) -> list[list[str]]:
    """The words of each gold answer that has any, or the empty answer alone."""
    return [words for words in map(_words, gold) if words] or [[]]


def _words(text: str) -> list[str]:
    """Lower-case words without punctuation and articles."""
    plain = text.lower().translate(_PUNCTUATION)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def _same_words(said: list[str], gold: list[str]) -> float:
    return float(said == gold)


def _common_words(said: list[str], gold: list[str]) -> float:
    if not said or not gold:
        return float(said == gold)
    return 2 * (Counter(said) & Counter(gold)).total() / (len(said) + len(gold))


def _gap(id_accuracy: ArrayLike, ood_accuracy: ArrayLike) -> Floats:
    in_distribution = np.asarray(id_accuracy, dtype=np.float64)
    return _ratio(in_distribution - np.asarray(ood_accuracy, dtype=np.float64), in_distribution)


def _ratio(over: Floats, under: Floats) -> Floats:
    undefined = np.full(np.broadcast(over, under).shape, np.nan)
    return np.asarray(np.divide(over, under, out=undefined, where=under != 0), dtype=np.float64)


def _logits(predictions: pd.DataFrame) -> tuple[Floats, list[str]]:
    columns = [str(name) for name in predictions.columns if str(name).startswith("logit_")]
    missing = [name for name in ("id", "gold") if name not in predictions.columns]
    if missing or len(columns) < 2:
        found = ", ".join(map(str, predictions.columns))
        raise MetricError(f"predictions need id, gold and at least two logit_<label> columns; found {found}")
    logits = predictions[columns].to_numpy(dtype=np.float64)
    bad = ~np.isfinite(logits).all(axis=1)
    if bad.any():
        ids = _some(predictions["id"][bad])
        raise MetricError(f"logits are not finite for {bad.sum()} of {len(bad)} examples: {ids}")
    return logits, [name.removeprefix("logit_") for name in columns]


def _log_probability(predictions: pd.DataFrame, names: "pd.Series[str]") -> "pd.Series[float]":
    """Log-probability of one label of each example, given by name in the order of the rows."""
    logits, classes = _logits(predictions)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    if _is_hans(predictions, classes):
        own = classes.index(HANS[0])
        others = np.logaddexp.reduce(np.delete(logs, own, axis=1), axis=1)
        logs, classes = np.stack([logs[:, own], others], axis=1), list(HANS)
    _known(names, classes)
    chosen = logs[np.arange(len(logs)), pd.Index(classes).get_indexer(pd.Index(names))]
    return pd.Series(chosen, index=pd.Index(predictions["id"], name="id"))


def _is_hans(predictions: pd.DataFrame, classes: Sequence[str]) -> bool:
    two_way = "heuristic" in predictions.columns or predictions["gold"].isin([HANS[1]]).any()
    return set(classes) == set(NLI) and bool(two_way)


def _entailed(logits: Floats, classes: Sequence[str], merge: Merge) -> NDArray[np.bool_]:
    own = classes.index(HANS[0])
    if merge == "argmax":
        return np.asarray(logits.argmax(axis=1) == own)
    if merge == "sum":
        return np.asarray(logits[:, own] >= np.logaddexp.reduce(np.delete(logits, own, axis=1), axis=1))
    raise MetricError(f"merge is '{merge}'; it can be 'argmax' or 'sum'")


def _known(gold: "pd.Series[str]", classes: Sequence[str]) -> None:
    strange = sorted({str(label) for label in gold[~gold.isin(list(classes))]})
    if strange:
        raise MetricError(
            f"gold labels {', '.join(strange)} are none of the classes {', '.join(classes)}: "
            "map them by name where the split is read, or give the model these classes"
        )


def _some(ids: "pd.Series[Any]", limit: int = 5) -> str:
    shown = ", ".join(f"id {value}" for value in ids.iloc[:limit])
    return shown if len(ids) <= limit else f"{shown}, and {len(ids) - limit} more"
