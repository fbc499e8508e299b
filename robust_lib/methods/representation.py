"""How models represent the same data points (paper 2): vectors, shared neighbours, CKA, distances to training data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import transformers
from accelerate import Accelerator
from torch import Tensor

from robust_lib import cka, data, models, neighbours, passes, predict

Vectors = Mapping[str, Tensor]  # what `vectors` returns
TRAIN = "train"


def vectors(
    *,
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    split: data.Split,
    read: str,
    max_length: int,
    summary: predict.Summary = "cls",
    precision: passes.Precision = "fp32",
) -> dict[str, Tensor]:
    """The vector that stands for each data point of a split, of any reader or classifier, before or after fine-tuning.

    "vectors" (points, width) in fp32, in the order of `data.points(split, read)`; `summary` as in `predict.vectors`.
    ValueError for "cls" where the tokenizer has no such token.
    """
    tokenizer = encoder.tokenizer()
    if summary == "cls" and tokenizer.cls_token_id is None:
        raise ValueError(f'vectors: the tokenizer of {encoder.name} has no [CLS] token; take summary "mean"')
    encoded = data.encoded_points(data.points(split, read), tokenizer, max_length)
    return {"vectors": predict.vectors(model, encoded, summary=summary, precision=precision)}


def shared_neighbours(
    *, vectors: Mapping[str, Vectors], pairs: Sequence[Sequence[str]], ks: Sequence[int]
) -> pd.DataFrame:
    """Of every point, how many of its k nearest neighbours under cosine two models share, for all pairs and `ks`.

    Columns point (counted from 0), first, second, k and shared. The points are those of the same split in all models.
    """
    sets = _chosen(vectors, pairs)
    device = Accelerator().device
    near = {name: neighbours.nearest(rows.to(device), max(ks)) for name, rows in sets.items()}
    parts = []
    for first, second in pairs:
        shared = neighbours.shared(near[first], near[second], ks).cpu()
        parts.append(_long(shared, ks, "shared").assign(first=first, second=second))
    return pd.concat(parts, ignore_index=True)[["point", "first", "second", "k", "shared"]]


def alignment(
    *, vectors: Mapping[str, Vectors], pairs: Sequence[Sequence[str]], blocks: int = 20
) -> pd.DataFrame:
    """Debiased linear CKA of all pairs, as one pseudo-value for each of `blocks` blocks of points (see `cka`).

    Columns first, second, block and value. The mean over the blocks is the CKA of all points, their spread that of an
    estimate: successive points, as the questions on one article, stay in one block.
    """
    sets = _chosen(vectors, pairs)
    own = {name: cka.hsic(rows, rows, blocks=blocks) for name, rows in sets.items()}
    parts = []
    for first, second in pairs:
        between = cka.hsic(sets[first], sets[second], blocks=blocks)
        values = cka.pseudo_values(between, own[first], own[second])
        parts.append(
            pd.DataFrame({"first": first, "second": second, "block": range(blocks), "value": values})
        )
    return pd.concat(parts, ignore_index=True)


def distances(
    *, train: Vectors, sets: Mapping[str, Vectors], ks: Sequence[int], normalised: bool = True
) -> pd.DataFrame:
    """Squared distance of every point of some sets to its k-th nearest training point (see `neighbours.kth_distances`).

    Columns set, point (counted from 0), k and distance. The set "train" stands on top: the training points themselves,
    each of which leaves itself out.
    """
    if TRAIN in sets:
        raise ValueError(
            f"distances: a set is named {TRAIN!r}, as the training points themselves are; rename it"
        )
    device = Accelerator().device
    points = train["vectors"].to(device)
    parts = []
    for name, queries in {
        TRAIN: None,
        **{name: one["vectors"].to(device) for name, one in sets.items()},
    }.items():
        found = neighbours.kth_distances(points, ks, queries=queries, normalised=normalised)
        parts.append(_long(found.cpu(), ks, "distance").assign(set=name))
    return pd.concat(parts, ignore_index=True)[["set", "point", "k", "distance"]]


def _chosen(vectors: Mapping[str, Vectors], pairs: Sequence[Sequence[str]]) -> dict[str, Tensor]:
    """The vectors of the models in the pairs. ValueError for a name without vectors, and for sets of other points."""
    names = list(dict.fromkeys(itertools.chain.from_iterable(pairs)))
    absent = [name for name in names if name not in vectors]
    if absent:
        raise ValueError(f"pairs: {absent[0]!r} has no vectors; there are those of {', '.join(vectors)}")
    sets = {name: vectors[name]["vectors"] for name in names}
    counts = {name: len(rows) for name, rows in sets.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(
            f"vectors: the models do not have the same points ({listed}); take one split and `read`"
        )
    return sets


def _long(values: Tensor, ks: Sequence[int], name: str) -> pd.DataFrame:
    """A row for every point and k of a table (points, ks)."""
    points = np.repeat(np.arange(len(values)), len(ks))
    return pd.DataFrame({"point": points, "k": np.tile(ks, len(values)), name: values.flatten().numpy()})
