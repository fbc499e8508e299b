"""Extractive question answering: readers of spans, whole and pruned, and what they answer (paper 2)."""

from __future__ import annotations

from typing import Any

import pandas as pd
import transformers

from robust_lib import data, masks, models, objectives, passes, predict, train
from robust_lib.methods import training


def reader(
    *,
    encoder: models.Encoder,
    split: data.Split,
    recipe: train.Recipe,
    stride: int,
    seed: int = 0,
    subnetwork: training.Subnetwork | None = None,
) -> transformers.PreTrainedModel:
    """The encoder fine-tuned to read answers off windows of the context, with the null position where there is none.

    The recipe's `max_length` is that of a window, `stride` what neighbouring windows share. No epochs leave the
    pretrained encoder under a new head. A `subnetwork`'s masks hold during training, as in `finetuned`.
    """
    model = encoder.reader(seed=seed)
    training.hold(model, subnetwork)
    windows = data.windows(split, encoder.tokenizer(), recipe.max_length, stride=stride)
    loss = objectives.spans(models.labels(model), split.frame().index)
    training.follow(model, windows.encoded, loss, recipe, seed)
    masks.unwrap(model)
    return model


def answered(
    *,
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    split: data.Split,
    max_length: int,
    stride: int,
    precision: passes.Precision = "fp32",
) -> pd.DataFrame:
    """The reader's best answer to every question of a split, and what no answer scores (see `predict.spans`)."""
    windows = data.windows(split, encoder.tokenizer(), max_length, stride=stride)
    return predict.spans(model, windows, split, precision=precision)


def magnitude_pruned(*, encoder: models.Encoder, sparsity: float) -> dict[str, Any]:
    """One-shot magnitude `masks` of the pretrained encoder: `sparsity` of every matrix of its layers is removed.

    A subnetwork for `reader` and for `finetuned` alike, under whose heads these matrices have the same names. A
    classifier's pooler stays whole: a reader has none.
    """
    layers = masks.linears(encoder.reader(seed=0), training.BODY)
    return {"masks": {name: masks.magnitude(layer.weight, sparsity) for name, layer in layers.items()}}
