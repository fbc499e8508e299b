"""What the cues of a task give away without reading the pair: bias-only models.

The measure of how strong a bias is. Overlap and negation for inference, the claim's words alone for fact
verification, overlap for paraphrase; multinomial logistic regression on top, as in SRNets 3.3.
"""

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from robust_lib.micro.frames import frame

Floats = NDArray[np.float64]
NEGATIONS = {"no", "never", "not"}
TASKS = ("mnli", "fever", "qqp")


def inference(premise: str, hypothesis: str) -> list[float]:
    """Of the hypothesis: share of its words in the premise, whether all are, a negation, whether it is a part."""
    one, two = re.findall("[a-z]+", premise), re.findall("[a-z]+", hypothesis)
    share = len(set(one) & set(two)) / len(set(two))
    return [
        share,
        float(share == 1),
        float(bool(NEGATIONS & set(two))),
        float(" ".join(two) in " ".join(one)),
    ]


def paraphrase(first: str, second: str) -> list[float]:
    """Shares of common words among the second sentence's and among both, and whether the words are the same."""
    one, two = set(re.findall("[a-z]+", first)), set(re.findall("[a-z]+", second))
    return [len(one & two) / len(two), len(one & two) / len(one | two), float(one == two)]


def predicted(
    *, task: str, path: str, train_size: int | None = None, test_size: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """What the bias-only model of a task says of every row of a split, in the form of a model's predictions.

    task: mnli, fever or qqp; path: a test bed of it; `train_size` rows drawn by `seed` train it. Columns: id, gold,
    and logit_<label> for each label of the task, the log-probability.
    """
    train, test = frame(f"{task}/train", train_size, seed), frame(path, test_size)
    if task == "fever":
        words = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern="[a-z]+")  # noqa: S106 - a pattern
        known, asked = words.fit_transform(train["claim"]), words.transform(test["claim"])
    else:
        known, asked = _overlaps(train, task), _overlaps(test, task)
    model = LogisticRegression(max_iter=3000).fit(known, train["label"])
    logits = pd.DataFrame(
        model.predict_log_proba(asked), columns=[f"logit_{name}" for name in model.classes_]
    )
    return pd.DataFrame({"id": range(len(test)), "gold": test["label"]}).join(logits)


def _overlaps(rows: pd.DataFrame, task: str) -> Floats:
    if task == "mnli":
        return np.array([inference(*pair) for pair in zip(rows["premise"], rows["hypothesis"], strict=True)])
    return np.array([paraphrase(*pair) for pair in zip(rows["sentence1"], rows["sentence2"], strict=True)])
