"""Splits that no publisher has: made from the splits of a data directory by a fixed rule, and stored nowhere.

SQuAD 2's training set stands in no data directory that has only SQuAD 1.1's and SQuAD 2's development set. There the
development set's articles are halved: one half gives its unanswerable questions for training, the other is held out.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import pandas as pd

from robust_lib.data.tasks import DataError

VERSION = "1"  # of the rules: part of the splits' fingerprints


def train_stand_in(train: pd.DataFrame, validation: pd.DataFrame) -> pd.DataFrame:
    """A training set with unanswerable questions from SQuAD 1.1's training and SQuAD 2's development set.

    The unanswerable questions of the learnt half of the development set's articles, and twice as many answerable
    ones of the training set: those whose ids have the smallest SHA-256, of articles that the development set has not.
    As in SQuAD 2's own training set a third is unanswerable; unlike there, no article has both kinds of question.
    """
    unanswerable = validation[
        validation["title"].isin(learnt(validation["title"])) & ~_answerable(validation)
    ]
    others = train[_answerable(train) & ~train["title"].isin(validation["title"])]
    wanted = 2 * len(unanswerable)
    if len(others) < wanted:
        raise DataError(
            f"{len(others)} answerable training questions of articles that the development set has not, where "
            f"{wanted} are needed: take the whole training set"
        )
    drawn = others["id"].map(_digest).sort_values().index[:wanted]
    return pd.concat([others.loc[sorted(drawn)], unanswerable], ignore_index=True)


def validation_held_out(validation: pd.DataFrame) -> pd.DataFrame:
    """All questions of the articles of SQuAD 2's development set that the stand-in for training does not see."""
    return validation[~validation["title"].isin(learnt(validation["title"]))].reset_index(drop=True)


def learnt(titles: Iterable[str]) -> set[str]:
    """Half of the articles, rounded down: those whose titles have the smallest SHA-256."""
    ordered = sorted(set(titles), key=_digest)
    return set(ordered[: len(ordered) // 2])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _answerable(frame: pd.DataFrame) -> pd.Series:
    return frame["answers"].map(lambda answers: bool(answers["text"]))


RULES: Mapping[str, Callable[..., pd.DataFrame]] = MappingProxyType(
    {"squad/train_stand_in": train_stand_in, "squad/validation_held_out": validation_held_out}
)
