"""Metrics: label names, the HANS merge, F1, pooling, F_bias, and the `evaluate` modules."""

import math

import evaluate
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import f1_score

from robust_lib import metrics
from robust_lib.metrics import loyalty
from robust_lib.metrics.accuracy.accuracy import Accuracy
from robust_lib.metrics.f1.f1 import F1
from robust_lib.metrics.label_loyalty.label_loyalty import LabelLoyalty
from robust_lib.metrics.probability_loyalty.probability_loyalty import ProbabilityLoyalty
from robust_lib.metrics.relative_bias.relative_bias import RelativeBias


def frame(
    gold: list[str], classes: tuple[str, ...], logits: list[list[float]], **columns: list[str]
) -> pd.DataFrame:
    scores = {f"logit_{name}": column for name, column in zip(classes, np.array(logits).T, strict=True)}
    return pd.DataFrame({"id": range(len(gold)), "gold": gold, **scores, **columns})


def log(rows: list[list[float]]) -> list[list[float]]:
    return np.log(rows).tolist()


# p(entailment) is the largest of three but less than half; then more than half; then not the largest.
SPLIT = log([[0.4, 0.3, 0.3], [0.6, 0.3, 0.1], [0.2, 0.1, 0.7]])


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_labels_are_compared_by_name_whatever_the_column_order(order: list[int]) -> None:
    predictions = frame(["entailment", "neutral", "neutral"], metrics.NLI, SPLIT)
    columns = [f"logit_{metrics.NLI[i]}" for i in order]
    shuffled = predictions[["id", *columns, "gold"]]
    assert metrics.correct(shuffled).tolist() == [1, 0, 0]
    assert metrics.predicted(shuffled).tolist() == ["entailment", "entailment", "contradiction"]


def test_hans_argmax_takes_three_classes_and_sum_takes_two() -> None:
    hans = frame(["non-entailment"] * 3, metrics.NLI, SPLIT)
    assert metrics.predicted(hans).tolist() == ["entailment", "entailment", "non-entailment"]
    assert metrics.correct(hans, merge="argmax").tolist() == [0, 0, 1]
    assert metrics.correct(hans, merge="sum").tolist() == [1, 0, 1]


def test_a_hans_slice_of_entailed_pairs_is_merged_like_the_whole() -> None:
    hans = frame(["entailment"] * 3, metrics.NLI, SPLIT, heuristic=["constituent"] * 3)
    assert metrics.correct(hans, merge="sum").tolist() == [0, 1, 0]


def test_a_two_class_hans_model_needs_no_merge() -> None:
    hans = frame(["entailment", "non-entailment"], metrics.HANS, [[1.0, 0.0], [1.0, 0.0]])
    assert metrics.correct(hans).tolist() == [1, 0]


def test_a_three_class_model_may_be_wrong_by_saying_the_third_class() -> None:
    classes = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
    symmetric = frame(["SUPPORTS", "REFUTES"], classes, [[0, 1, 2], [0, 1, 0]])
    assert metrics.correct(symmetric).tolist() == [0, 1]


def test_correct_is_indexed_by_id_and_its_mean_is_the_accuracy() -> None:
    predictions = frame(["positive", "negative"], ("negative", "positive"), [[0, 1], [0, 1]])
    predictions["id"] = ["b7", "a3"]
    assert metrics.correct(predictions).to_dict() == {"b7": 1, "a3": 0}


def test_an_unknown_label_name_is_named_with_the_classes() -> None:
    predictions = frame(["duplicate", "paraphrase"], ("duplicate", "not_duplicate"), [[1, 0], [0, 1]])
    with pytest.raises(metrics.MetricError, match=r"gold labels paraphrase .*duplicate, not_duplicate"):
        metrics.correct(predictions)


def test_a_missing_gold_label_is_an_error() -> None:
    predictions = frame(["duplicate", "duplicate"], ("duplicate", "not_duplicate"), [[1, 0], [0, 1]])
    predictions.loc[1, "gold"] = None
    with pytest.raises(metrics.MetricError, match="gold labels"):
        metrics.correct(predictions)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_named_by_id(value: float) -> None:
    predictions = frame(["a"] * 9, ("a", "b"), [[value, 0]] * 7 + [[1, 0]] * 2)
    with pytest.raises(metrics.MetricError, match=r"7 of 9 examples: id 0, .* id 4, and 2 more"):
        metrics.correct(predictions)


def test_missing_columns_are_named() -> None:
    with pytest.raises(metrics.MetricError, match="found id, logit_a"):
        metrics.correct(pd.DataFrame({"id": [1], "logit_a": [0.0]}))


def test_an_unknown_merge_is_an_error() -> None:
    with pytest.raises(metrics.MetricError, match="'argmax' or 'sum'"):
        metrics.correct(frame(["non-entailment"], metrics.NLI, SPLIT[:1]), merge="mean")  # type: ignore[arg-type]


def reference_probability(row: "pd.Series", label: str) -> float:
    """Softmax by its definition; on HANS the two other classes are one."""
    weights = {
        name.removeprefix("logit_"): np.exp(row[name]) for name in row.index if name.startswith("logit_")
    }
    names = ("neutral", "contradiction") if label == "non-entailment" else (label,)
    return sum(weights[name] for name in names) / sum(weights.values())


@pytest.mark.parametrize("gold", [metrics.NLI, metrics.HANS], ids=["three classes", "HANS"])
@pytest.mark.parametrize("merge", ["argmax", "sum"])
def test_losses_and_confidence_are_those_of_the_softmax(gold: tuple[str, ...], merge: metrics.Merge) -> None:
    generator = np.random.default_rng(3)
    hans = {"heuristic": ["constituent"] * 50} if gold == metrics.HANS else {}
    logits = generator.normal(0, 2, (50, 3)).tolist()
    predictions = frame(generator.choice(gold, 50).tolist(), metrics.NLI, logits, **hans)
    said = metrics.predicted(predictions, merge)
    rows = list(predictions.iterrows())
    losses = [-np.log(reference_probability(row, row["gold"])) for _, row in rows]
    confidence = [reference_probability(row, said[i]) for i, row in rows]
    np.testing.assert_allclose(metrics.losses(predictions), losses)
    np.testing.assert_allclose(metrics.confidence(predictions, merge), confidence)


def test_even_logits_cost_the_log_of_the_classes_and_far_ones_stay_finite() -> None:
    predictions = frame(["a", "b", "a"], ("a", "b", "c"), [[7, 7, 7], [1e4, 0, 0], [1e4, 0, 0]])
    predictions["id"] = ["x", "y", "z"]
    expected = pd.Series([np.log(3), 1e4, 0], index=pd.Index(["x", "y", "z"], name="id"), name="loss")
    pd.testing.assert_series_equal(metrics.losses(predictions), expected)
    assert metrics.confidence(predictions).tolist() == pytest.approx([1 / 3, 1, 1])


def test_losses_need_gold_labels_the_model_knows() -> None:
    with pytest.raises(metrics.MetricError, match="gold labels d are none of the classes a, b"):
        metrics.losses(frame(["d"], ("a", "b"), [[0, 1]]))


def test_hard_is_where_the_hypothesis_only_model_errs_matched_by_id() -> None:
    predictions = frame(["a", "b", "a"], ("a", "b"), [[1, 0]] * 3).assign(id=[30, 10, 20])
    partial = frame(["a", "b", "a", "b"], ("a", "b"), [[1, 0], [1, 0], [0, 1], [1, 0]]).assign(
        id=[30, 10, 20, 40]
    )
    flagged = metrics.with_hard(predictions, partial.iloc[::-1])
    assert flagged["hard"].tolist() == [0, 1, 1]
    assert "hard" not in predictions


def test_a_published_column_hard_stays() -> None:
    predictions = frame(["a"], ("a", "b"), [[1, 0]]).assign(hard=1)
    assert metrics.with_hard(predictions, predictions)["hard"].tolist() == [1]


def test_hard_needs_every_example_and_the_same_split() -> None:
    predictions = frame(["a", "b"], ("a", "b"), [[1, 0]] * 2)
    with pytest.raises(metrics.MetricError, match="no hypothesis-only prediction for 1 of 2 examples: id 1"):
        metrics.with_hard(predictions, predictions.iloc[:1])
    other = frame(["a", "a"], ("a", "b"), [[1, 0]] * 2)
    with pytest.raises(metrics.MetricError, match=r"gold labels differ .* for id 1: is it another split"):
        metrics.with_hard(predictions, other)


def test_confusion_gives_the_f1_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    classes = ("not_duplicate", "duplicate")
    gold = generator.choice(classes, 200).tolist()
    predictions = frame(gold, classes, generator.normal(size=(200, 2)).tolist())
    rates = metrics.confusion(predictions).mean()
    expected = f1_score(gold, metrics.predicted(predictions), pos_label="duplicate")
    assert metrics.f1_score(rates["hit"], rates["alarm"], rates["miss"]) == pytest.approx(expected)


def test_confusion_needs_a_class_of_the_model() -> None:
    with pytest.raises(metrics.MetricError, match="'duplicate' is none"):
        metrics.confusion(frame(["a"], ("a", "b"), [[0, 1]]))


def test_f1_of_saying_duplicate_always_and_of_nothing() -> None:
    assert metrics.f1_score(0.313, 0.687, 0) == pytest.approx(2 * 0.313 / 1.313)
    assert np.isnan(metrics.f1_score(0, 0, 0))


def test_f_bias_of_the_reference_is_one_and_of_printed_rows_the_printed_value() -> None:
    assert metrics.f_bias(84.2, 59.8, 84.2, 59.8) == pytest.approx(1)
    assert metrics.f_bias(84.4, 55.5, 84.2, 59.8) == pytest.approx(1.182, abs=0.001)  # Table 1, 20 %, MNLI
    assert metrics.f_bias(0.844, 0.555, 0.842, 0.598) == pytest.approx(1.182, abs=0.001)


def test_f_bias_of_printed_rows_needs_the_papers_pooling() -> None:
    def fever(one: float, two: float) -> np.ndarray:
        return metrics.pooled([one, two], [717, 712], metrics.POOL["fever"])

    def qqp(wiki: float, own: float) -> np.ndarray:
        return metrics.pooled([wiki, own], [8000, 677], metrics.POOL["qqp"])

    # Table 1, 20 %: by sets QQP would be 1.028, by examples FEVER is the same to three decimals.
    assert metrics.f_bias(86.5, fever(57.0, 64.6), 86.2, fever(58.9, 64.5)) == pytest.approx(1.045, abs=0.001)
    assert metrics.f_bias(90.7, qqp(47.2, 33.5), 90.9, qqp(48.9, 34.7)) == pytest.approx(1.037, abs=0.001)


def test_f_bias_is_elementwise_and_undefined_without_a_reference_gap() -> None:
    values = metrics.f_bias([0.8, 0.8, 0.0], 0.6, [0.8, 0.6, 0.8], 0.6)
    np.testing.assert_allclose(values, [1, np.nan, np.nan])


def test_pooling_weights_examples_or_sets() -> None:
    assert metrics.pooled([0.2, 0.6], [3, 1], "examples") == pytest.approx(0.3)
    assert metrics.pooled([0.2, 0.6], [3, 1], "sets") == pytest.approx(0.4)
    with pytest.raises(metrics.MetricError, match="one positive size each"):
        metrics.pooled([0.2, 0.6], [3], "sets")
    with pytest.raises(metrics.MetricError, match="one positive size each"):
        metrics.pooled([], [], "sets")


GOLD = ["duplicate", "duplicate", "not_duplicate", "not_duplicate"]
SAID = ["duplicate", "not_duplicate", "duplicate", "not_duplicate"]


@pytest.fixture
def offline(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a metric reached for the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    return {"cache_dir": str(tmp_path)}


def test_modules_load_by_class_by_path_and_combined(offline: dict[str, str]) -> None:
    loaded = evaluate.load(str(metrics.directory("f1")), **offline)
    assert loaded.compute(predictions=SAID, references=GOLD) == {"f1": 0.5}
    assert Accuracy(**offline).compute(predictions=[1, 1], references=[1, 0]) == {"accuracy": 0.5}
    both = evaluate.combine([Accuracy(**offline), F1(**offline)])
    assert both.compute(predictions=SAID, references=GOLD) == {"accuracy": 0.5, "f1": 0.5}
    assert both.compute(predictions=[1, 1], references=[1, 0], positive=1) == {"accuracy": 0.5, "f1": 2 / 3}


def test_the_module_of_f_bias_equals_the_function(offline: dict[str, str]) -> None:
    gold, own = list("a" * 20), list("a" * 9 + "b" + "a" * 2 + "b" * 6 + "a" * 1 + "b" * 1)
    reference = list("a" * 9 + "b" + "a" * 6 + "b" * 2 + "a" * 2)
    testbeds = ["id"] * 10 + ["wiki"] * 8 + ["own"] * 2
    metric = evaluate.load(str(metrics.directory("relative_bias")), **offline)
    inputs = {
        "predictions": own,
        "references": gold,
        "reference_predictions": reference,
        "testbeds": testbeds,
    }
    by_examples, by_sets = (
        metric.compute(**inputs, pool=pool)["relative_bias"] for pool in ("examples", "sets")
    )
    assert by_examples == pytest.approx(float(metrics.f_bias(0.9, 0.3, 0.9, 0.8)))
    assert by_sets == pytest.approx(float(metrics.f_bias(0.9, (2 / 8 + 1 / 2) / 2, 0.9, (6 / 8 + 1) / 2)))


def test_the_modules_of_loyalty_equal_the_functions(offline: dict[str, str]) -> None:
    generator = np.random.default_rng(4)
    gold = generator.choice(metrics.NLI, 30).tolist()
    student, teacher = (frame(gold, metrics.NLI, generator.normal(size=(30, 3)).tolist()) for _ in range(2))
    said = [metrics.predicted(one).tolist() for one in (student, teacher)]
    module = evaluate.load(str(metrics.directory("label_loyalty")), **offline)
    expected = loyalty.label_loyalty(student, teacher).mean()
    assert module.compute(predictions=said[0], references=said[1]) == {"label_loyalty": expected}
    rows = [softmax(one.filter(like="logit_").to_numpy(), axis=1).tolist() for one in (student, teacher)]
    module = evaluate.load(str(metrics.directory("probability_loyalty")), **offline)
    for base in (2, math.e):
        found = module.compute(predictions=rows[0], references=rows[1], base=base)["probability_loyalty"]
        assert found == pytest.approx(loyalty.probability_loyalty(student, teacher, base=base).mean())
    assert module.compute(predictions=rows[0], references=rows[0]) == {"probability_loyalty": 1}
    both = evaluate.combine([LabelLoyalty(**offline), Accuracy(**offline)])
    assert both.compute(predictions=[1, 1], references=[1, 0]) == {"label_loyalty": 0.5, "accuracy": 0.5}


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([[0.5, 0.5], [2.0, -1.0]], [[0.5, 0.5]] * 2, "predictions of example 1 are no probabilities"),
        ([[0.5, 0.5]], [[0.5, 0.1]], "references of example 0 are no probabilities"),
        ([[0.5, 0.5]], [[0.2, 0.4, 0.4]], "over 2 classes, references over 3"),
        ([[0.5, 0.5], [1.0]], [[0.5, 0.5]] * 2, "predictions need as many probabilities"),
    ],
)
def test_probability_loyalty_is_of_probabilities(
    predictions: list[list[float]], references: list[list[float]], message: str, offline: dict[str, str]
) -> None:
    with pytest.raises(metrics.MetricError, match=message):
        ProbabilityLoyalty(**offline).compute(predictions=predictions, references=references)


def test_the_modules_refuse_what_has_no_value(offline: dict[str, str]) -> None:
    with pytest.raises(metrics.MetricError, match="'Duplicate' occurs nowhere"):
        F1(**offline).compute(predictions=SAID, references=GOLD, positive="Duplicate")
    same = {"predictions": SAID, "references": GOLD, "reference_predictions": GOLD}
    with pytest.raises(metrics.MetricError, match="need 'id' and an OOD name"):
        RelativeBias(**offline).compute(**same, testbeds=["id"] * 4)
    with pytest.raises(metrics.MetricError, match="undefined"):
        RelativeBias(**offline).compute(**same, testbeds=["id", "id", "x", "x"])


def test_an_unknown_metric_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        metrics.MetricError, match="accuracy, f1, label_loyalty, probability_loyalty, relative_bias"
    ):
        metrics.directory("rouge")
