"""Bias-only models: form, what they can and cannot read, a slow reference, and the real and micro hard subsets."""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from robust_lib import bias, data, metrics

NLI = metrics.NLI
REAL = os.environ.get("ROBUST_DATA", "")
MNLI = [Path(REAL) / "mnli" / f"{name}.parquet" for name in ("train_subset", "validation_matched")]


def rows(texts: list[str], labels: list[str], column: str = "hypothesis") -> pd.DataFrame:
    return pd.DataFrame({"premise": "any", column: texts, "label": labels})


CUES = rows(
    ["the cat sleeps", "a dog never sleeps", "the dog sleeps outside", "a cat never eats"] * 10,
    ["entailment", "contradiction", "neutral", "contradiction"] * 10,
)


def test_predictions_have_a_models_form() -> None:
    test = CUES.iloc[:4].set_axis([7, 3, 40, 12])
    predictions = bias.hypothesis_only(CUES, test)
    assert set(predictions.columns) == {"id", "gold", *(f"logit_{label}" for label in NLI)}
    assert predictions["id"].tolist() == [7, 3, 40, 12]
    assert predictions["gold"].tolist() == test["label"].tolist()
    logits = predictions.filter(like="logit_")
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1)
    assert metrics.correct(predictions).tolist() == [1, 1, 1, 1]


def ngrams(text: str) -> Iterator[str]:
    words = text.lower().split()
    yield from words
    yield from (f"{one} {two}" for one, two in pairwise(words))


def reference_hypothesis_only(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Softmax regression with a column for each n-gram, its penalised likelihood minimised without a gradient.

    Probabilities of the labels in alphabetical order.
    """
    names = sorted({gram for text in [*train["hypothesis"], *test["hypothesis"]] for gram in ngrams(text)})
    labels = sorted(set(train["label"]))

    def features(texts: "pd.Series[str]") -> np.ndarray:
        counts = np.array([[list(ngrams(text)).count(name) for name in names] for text in texts], dtype=float)
        return counts / np.sqrt((counts**2).sum(axis=1, keepdims=True))

    def log_probabilities(flat: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        weights, intercepts = np.split(flat.reshape(len(names) + 1, len(labels)), [len(names)])
        scores = inputs @ weights + intercepts
        return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)

    inputs, gold = features(train["hypothesis"]), [labels.index(label) for label in train["label"]]

    def objective(flat: np.ndarray) -> float:
        penalty = (flat[: len(names) * len(labels)] ** 2).sum() / 2
        return penalty / bias.C - log_probabilities(flat, inputs)[range(len(gold)), gold].sum()

    best = optimize.minimize(objective, np.zeros((len(names) + 1) * len(labels)), method="L-BFGS-B")
    return np.exp(log_probabilities(best.x, features(test["hypothesis"])))


def test_it_is_softmax_regression_on_words_and_pairs_of_words() -> None:
    test = rows(["the dog never eats", "a cat sleeps sleeps", "birds sleep"], ["neutral"] * 3)
    ours = bias.hypothesis_only(CUES, test)
    columns = [f"logit_{label}" for label in sorted(NLI)]
    np.testing.assert_allclose(np.exp(ours[columns]), reference_hypothesis_only(CUES, test), atol=2e-3)


def test_order_tells_through_bigrams_case_and_other_columns_tell_nothing() -> None:
    train = rows(["red cat", "cat red"] * 20, ["entailment", "neutral"] * 20)
    predictions = bias.hypothesis_only(train, train.iloc[:2])
    assert metrics.correct(predictions).tolist() == [1, 1]
    shouted = train.assign(hypothesis=train["hypothesis"].str.upper(), premise="other")
    pd.testing.assert_frame_equal(bias.hypothesis_only(train, shouted.iloc[:2]), predictions)


def test_a_contracted_negation_is_a_word() -> None:
    train = rows(["she isn't here", "she is here"] * 20, ["contradiction", "entailment"] * 20)
    asked = rows(["isn't", "is n t"], ["contradiction", "entailment"])
    assert metrics.correct(bias.hypothesis_only(train, asked)).tolist() == [1, 1]


def test_text_that_says_nothing_leaves_the_most_frequent_label() -> None:
    train = rows(["the same"] * 10, ["neutral"] * 5 + ["entailment"] * 3 + ["contradiction"] * 2)
    predictions = bias.hypothesis_only(train, train)
    assert set(metrics.predicted(predictions)) == {"neutral"}
    assert np.exp(predictions.loc[0, "logit_entailment"]) == pytest.approx(0.3, abs=0.01)


def test_the_order_of_training_rows_changes_nothing() -> None:
    shuffled = CUES.sample(frac=1, random_state=0)
    one, two = (bias.hypothesis_only(train, CUES).filter(like="logit_") for train in (CUES, shuffled))
    np.testing.assert_allclose(one, two, atol=1e-3)


def test_claims_are_read_from_their_own_column() -> None:
    claims = rows(["he never sang", "he sang"] * 10, ["REFUTES", "SUPPORTS"] * 10, column="claim")
    assert metrics.correct(bias.hypothesis_only(claims, claims, text="claim")).mean() == 1
    with pytest.raises(ValueError, match="train has no column hypothesis; it has premise, claim, label"):
        bias.hypothesis_only(claims, claims)


def hard_against(test: pd.DataFrame, predictions: pd.DataFrame) -> tuple[float, float, float]:
    """Accuracy, agreement of the errors with the split's own `hard`, and the agreement of a constant answer."""
    flagged = metrics.with_hard(predictions, predictions).set_index("id")["hard"]
    constant = max(test["hard"].mean(), 1 - test["hard"].mean())
    return 1 - flagged.mean(), (flagged == test["hard"]).mean(), constant


def test_the_micro_worlds_hard_items_are_found_again() -> None:
    """The world's own flags come from naive Bayes on other training pairs: two readings of one cue."""
    train = data.Split("mnli", "mnli/train", "micro", 5000).frame()
    test = data.Split("mnli", "mnli/validation_matched", "micro").frame()
    accuracy, agreement, constant = hard_against(test, bias.hypothesis_only(train, test))
    assert 0.55 < accuracy < 0.65
    assert agreement > 0.85 > constant


@pytest.mark.real
@pytest.mark.skipif(not all(file.is_file() for file in MNLI), reason="ROBUST_DATA has no MNLI subset")
def test_the_published_hard_items_of_mnli_are_found_again() -> None:
    """The published classifier had 40 times the pairs: ours, on 9,999, agrees with it on two items in three."""
    train, test = (data.Split("mnli", f"mnli/{file.stem}", REAL).frame() for file in MNLI)
    accuracy, agreement, constant = hard_against(test, bias.hypothesis_only(train, test))
    assert accuracy > 0.45  # three classes, a third each
    assert agreement > constant + 0.1
