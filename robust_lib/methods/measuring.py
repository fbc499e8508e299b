"""Predictions of what was trained, on every test bed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
import transformers

from robust_lib import data, masks, models, passes, predict, quantize, runs
from robust_lib.methods.subnetworks import mask_trained
from robust_lib.methods.training import Subnetwork


def predicted(
    *,
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    split: data.Split,
    max_length: int,
    batch_size: int = 128,
    precision: passes.Precision = "fp32",
    subnetwork: Subnetwork | None = None,
) -> pd.DataFrame:
    """The model's logits on every example of a split, beside the gold labels (see `predict.frame`).

    Of a `subnetwork`, with its masks on.
    """
    if subnetwork is not None:
        masks.apply(model, subnetwork["masks"])
    encoded = data.tokenised(split, encoder.tokenizer(), max_length)
    return predict.frame(
        model, split, predict.logits(model, encoded, batch_size=batch_size, precision=precision)
    )


def q8_ptq_predicted(
    *,
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    split: data.Split,
    max_length: int,
    batch_size: int = 128,
) -> pd.DataFrame:
    """The same after 8-bit post-training quantisation, in integer arithmetic on the CPU (see `quantize.dynamic`)."""
    encoded = data.tokenised(split, encoder.tokenizer(), max_length)
    small = quantize.dynamic(model)
    rows = predict.logits(small, encoded, batch_size=batch_size, device=torch.device("cpu"))
    return predict.frame(model, split, rows)


ModelKey = tuple[str, str, float, int]  # task, method, sparsity, seed


def measured(
    trained: Mapping[ModelKey, runs.Unit],
    beds: Mapping[str, Sequence[str]],
    *,
    source: str,
    size: int | None,
    max_length: int,
    by: Callable[..., pd.DataFrame] = predicted,
    **fixed: Any,
) -> dict[tuple[str, str, str, float, int], runs.Unit]:
    """The unit of predictions of every trained model, or model under trained masks, on every test bed of its task.

    Keyed as `compare` wants it.
    `beds` are paths by task, `size` examples are taken of each. `by` is `predicted` or `q8_ptq_predicted`, `fixed`
    its further arguments.
    """
    return {
        (task, bed, method, sparsity, seed): runs.unit(
            by,
            **_worn(model),
            encoder=model.arguments["encoder"],
            split=data.Split(task, bed, source, size),
            max_length=max_length,
            **fixed,
        )
        for (task, method, sparsity, seed), model in trained.items()
        for bed in beds[task]
    }


def _worn(trained: runs.Unit) -> dict[str, runs.Unit]:
    """The model that predicts; of trained masks, the one they were found in, with them on."""
    if trained.function is mask_trained:
        return {"model": trained.arguments["start"], "subnetwork": trained}
    return {"model": trained}
