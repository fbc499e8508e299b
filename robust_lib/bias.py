"""Bias-only models: what a part of the input gives away about the label."""

import pandas as pd
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

WORD = r"[\w']+"  # "isn't" is one word: negation is the strongest cue
BUCKETS = 2**18  # n-grams share coefficients by hash, as in fastText; memory does not grow with the data
C = 1.0  # inverse L2 strength, best of 0.1 to 30 in cross-validation on 9,999 pairs of MNLI's training set


def hypothesis_only(train: pd.DataFrame, test: pd.DataFrame, *, text: str = "hypothesis") -> pd.DataFrame:
    """Predictions for `test` by a linear classifier that reads one text column alone, in a model's form.

    Gururangan et al. (2018), who used fastText: softmax regression on word unigrams and bigrams, lower case, counts
    scaled to unit length. Items it gets wrong are hard, the others easy [paper 1, section 4 and appendix F];
    `metrics.with_hard` puts that onto a model's predictions. FEVER's claim-only model has text="claim".

    Columns: id (the index of `test`), gold, and logit_<label>, the log-probability, for each label of `train`.
    Where the text says nothing about the label, it is about as good as the most frequent label. Raises ValueError
    for a frame without the columns.
    """
    for name, frame in (("train", train), ("test", test)):
        missing = [column for column in (text, "label") if column not in frame.columns]
        if missing:
            raise ValueError(
                f"hypothesis_only: {name} has no column {missing[0]}; it has {', '.join(frame.columns)}"
            )
    ngrams = HashingVectorizer(
        ngram_range=(1, 2), token_pattern=WORD, n_features=BUCKETS, alternate_sign=False, norm="l2"
    )
    # Second order: some seconds where lbfgs takes minutes, and the optimum whatever the order of the rows.
    model = LogisticRegression(C=C, solver="newton-cg", max_iter=1000)
    model.fit(ngrams.transform(train[text]), train["label"])
    logs = model.predict_log_proba(ngrams.transform(test[text]))
    predictions = pd.DataFrame({"id": test.index, "gold": test["label"].to_numpy()})
    return predictions.join(pd.DataFrame(logs, columns=[f"logit_{label}" for label in model.classes_]))
