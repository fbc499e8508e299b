"""Data points: what of a task's examples is given to an encoder to see how it represents them."""

from typing import Any

import numpy as np
import pandas as pd

from robust_lib.data.encoding import Encoded, encode
from robust_lib.data.split import Split
from robust_lib.data.tasks import DataError

PAIR = "pair"


def points(split: Split, read: str) -> "pd.Series[Any]":
    """The data points of a split, by the row of the whole split in which each first stands.

    `read` is one text column, whose distinct texts are the points, or "pair": all text columns of each example, a tuple
    in the order the encoder reads them. Paper 2 does not say which it took. DataError for any other name.
    """
    if read not in (PAIR, *split.text):
        raise DataError(
            f"{split.path}: points read {read!r}; it has {', '.join(split.text)}, or {PAIR} for all of them"
        )
    frame = split.frame()
    if read == PAIR:
        pairs = list(frame[list(split.text)].itertuples(index=False, name=None))
        return pd.Series(pairs, index=frame.index, name=PAIR)
    return frame[read].drop_duplicates()


def encoded_points(points: "pd.Series[Any]", tokenizer: Any, max_length: int) -> Encoded:
    """Points under a fast tokenizer, without labels, cut to `max_length` tokens, pairs from their longer text.

    Of a question and its context that is the first window. Not kept in memory: a model's pass takes far longer.
    """
    texts = points.tolist()
    columns = list(zip(*texts, strict=True)) if points.name == PAIR else [texts]
    return encode(
        [list(column) for column in columns], tokenizer, max_length, np.zeros(len(texts), np.int64), ()
    )
