"""Bias-only models: what a part of the input, or what is on its surface, gives away about the label.

Each is fit on one frame of examples and predicts another, in a model's form: id (the index of `test`), gold (of
`test`), and logit_<label>, the log-probability, for each label of `train`. A debiasing loss needs the predictions
on the training split itself: train and test are then one frame, and the predictions are in-sample, as in the
reference code of paper 4 and of Clark et al. (2019).
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

WORD = r"[\w']+"  # "isn't" is one word: negation is the strongest cue
BUCKETS = 2**18  # n-grams share coefficients by hash, as in fastText; memory does not grow with the data
C = 1.0  # inverse L2 strength, best of 0.1 to 30 in cross-validation on 9,999 pairs of MNLI's training set
OVERLAP_C = 100.0  # as good as none, in the reference code

Vectors = Callable[[Sequence[str]], NDArray[np.float32]]  # words to unit vectors; zero for a word without one


def hypothesis_only(train: pd.DataFrame, test: pd.DataFrame, *, text: str = "hypothesis") -> pd.DataFrame:
    """Predictions for `test` by a linear classifier that reads one text column alone, in a model's form.

    Gururangan et al. (2018), who used fastText: softmax regression on word unigrams and bigrams, lower case, counts
    scaled to unit length. Items it gets wrong are hard, the others easy [paper 1, section 4 and appendix F];
    `metrics.with_hard` puts that onto a model's predictions. FEVER's claim-only model has text="claim".

    Where the text says nothing about the label, it is about as good as the most frequent label. Raises ValueError
    for a frame without the columns.
    """
    _require("hypothesis_only", train, test, text)
    ngrams = HashingVectorizer(
        ngram_range=(1, 2), token_pattern=WORD, n_features=BUCKETS, alternate_sign=False, norm="l2"
    )
    logs = _softmax_regression(ngrams.transform(train[text]), train["label"], ngrams.transform(test[text]))
    return _predictions(test, logs)


def claim(train: pd.DataFrame, test: pd.DataFrame, *, text: str = "claim", vectors: Vectors) -> pd.DataFrame:
    """Predictions for `test` by a linear classifier on the max-pooled word vectors of one text column.

    The bias model of paper 4 for FEVER [section 4.1.3], of which nothing more is published: softmax regression, C as
    for `hypothesis_only`. In every dimension the largest value over the words, lower case, that have a vector
    (`models.Encoder.vectors`); a text without one is all zeros. ValueError as for `hypothesis_only`.
    """
    _require("claim", train, test, text)
    inputs, asked = (_pooled(frame[text], vectors) for frame in (train, test))
    return _predictions(test, _softmax_regression(inputs, train["label"], asked))


def overlap(
    train: pd.DataFrame, test: pd.DataFrame, *, text: Sequence[str], positive: str, vectors: Vectors
) -> pd.DataFrame:
    """Predictions for `test` by a linear classifier that knows how far the words of two texts overlap.

    The bias model of Clark et al. (2019), which paper 4 takes for HANS and PAWS [section 4.1.3]: logistic regression
    of `positive` (entailment, duplicate) against the rest on `overlap_features`, classes weighted to be equally
    frequent. The other labels share the rest equally: log p - ln(labels - 1), which with three is Clark et al.'s.

    `text` names two columns, in the places of premise and hypothesis. For question pairs sentence2 as hypothesis is a
    choice of ours: nothing is published on it. Equal features for all leave `positive` at a half. ValueError for a
    frame without the columns, and for a `positive` that is no label of `train`.
    """
    _require("overlap", train, test, *text)
    others = sorted(set(train["label"]) - {positive})
    if len(others) == train["label"].nunique():
        raise ValueError(f"overlap: no label of train is {positive!r}; they are {', '.join(others)}")
    first, second = text
    inputs, asked = (
        overlap_features(frame[first], frame[second], vectors=vectors) for frame in (train, test)
    )
    model = LogisticRegression(C=OVERLAP_C, solver="liblinear", class_weight="balanced")
    model.fit(inputs, train["label"] == positive)
    odds = model.decision_function(asked)
    # From the log odds, not the probabilities: the rest stays finite where `positive` is certain.
    rest = -np.logaddexp(0, odds) - math.log(len(others))
    return _predictions(test, {positive: -np.logaddexp(0, -odds)} | dict.fromkeys(others, rest))


def overlap_features(first: Iterable[str], second: Iterable[str], *, vectors: Vectors) -> NDArray[np.float64]:
    """Seven features (pairs, 7) of how far the words of `second`, the hypothesis h, are in `first`, the premise p.

    As in the code of Clark et al. (chrisc36/debias, build_mnli_bias_only.py), in this order:
    1. 1 where h is a contiguous run of words of p
    2. 1 where every word of h is in p
    3. the share of the words of h that are in p
    4. ln(max(len(p) - len(h), 1)), lengths in words
    5. the sum over the words of h of the largest cosine with a word of p, divided by len(h)
    6. the smallest of these cosines
    7. the second smallest

    5 to 7 know the words that have a vector alone. What is missing is 0: all but 4 of an h without words, 5 to 7
    without vectors, 7 with one. Words are runs of letters, digits and apostrophes in lower case, a deviation: the
    reference has NLTK's tokens, which include punctuation, and looks vectors up in the original case.
    """
    pairs = [(_words(premise), _words(hypothesis)) for premise, hypothesis in zip(first, second, strict=True)]
    embedded = _embedded(list(chain.from_iterable(pairs)), vectors)
    rows = [
        [*_shared(premise, hypothesis), *_similar(next(embedded), next(embedded), len(hypothesis))]
        for premise, hypothesis in pairs
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 7)


def _shared(premise: list[str], hypothesis: list[str]) -> list[float]:
    """Features 1 to 4."""
    length = math.log(max(len(premise) - len(hypothesis), 1))
    if not hypothesis:
        return [0, 0, 0, length]
    words = set(premise)
    share = sum(word in words for word in hypothesis) / len(hypothesis)
    run = f" {' '.join(hypothesis)} " in f" {' '.join(premise)} "
    return [run, share == 1, share, length]


def _similar(premise: NDArray[np.float32], hypothesis: NDArray[np.float32], length: int) -> list[float]:
    """Features 5 to 7, from the vectors of the words that have one; `length` counts all words of the hypothesis."""
    if not len(premise) or not len(hypothesis):
        return [0, 0, 0]
    nearest = np.sort((hypothesis @ premise.T).max(axis=1))
    return [nearest.sum() / length, *[*nearest[:2], 0.0][:2]]


def _pooled(texts: Iterable[str], vectors: Vectors) -> NDArray[np.float32]:
    """The largest value (texts, width) over the words' vectors in every dimension."""
    embedded = _embedded([_words(text) for text in texts], vectors)
    return np.stack([rows.max(axis=0) if len(rows) else np.zeros(rows.shape[1]) for rows in embedded])


def _embedded(texts: Sequence[list[str]], vectors: Vectors) -> Iterator[NDArray[np.float32]]:
    """For each text the vectors (words, width) of those of its words that have one; every word looked up once."""
    distinct = list(dict.fromkeys(chain.from_iterable(texts)))
    found = vectors(distinct)
    places = {word: place for place, word in enumerate(distinct) if found[place].any()}
    for words in texts:
        yield found[np.array([places[word] for word in words if word in places], dtype=np.int64)]


def _words(text: str) -> list[str]:
    return re.findall(WORD, text.lower())


def _softmax_regression(inputs: Any, labels: "pd.Series[str]", asked: Any) -> dict[str, NDArray[np.float64]]:
    """Log-probabilities of each label for the rows `asked`, by a model fit on `inputs`."""
    # Second order: some seconds where lbfgs takes minutes, and the optimum whatever the order of the rows.
    model = LogisticRegression(C=C, solver="newton-cg", max_iter=1000)
    model.fit(inputs, labels)
    return dict(zip(model.classes_, model.predict_log_proba(asked).T, strict=True))


def _predictions(test: pd.DataFrame, logs: dict[str, NDArray[np.float64]]) -> pd.DataFrame:
    predictions = pd.DataFrame({"id": test.index, "gold": test["label"].to_numpy()})
    return predictions.assign(**{f"logit_{label}": logs[label] for label in sorted(logs)})


def _require(model: str, train: pd.DataFrame, test: pd.DataFrame, *texts: str) -> None:
    """ValueError for a frame without the label or a text column."""
    for name, frame in (("train", train), ("test", test)):
        missing = [column for column in (*texts, "label") if column not in frame.columns]
        if missing:
            raise ValueError(f"{model}: {name} has no column {missing[0]}; it has {', '.join(frame.columns)}")
