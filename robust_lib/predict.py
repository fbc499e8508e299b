"""A model and a split to logits: the last place where tensors live; from here on it is one frame."""

from __future__ import annotations

import pandas as pd
import torch
import transformers
from accelerate import Accelerator
from torch import Tensor, nn

from robust_lib import data, models, train

CARRIED = ("heuristic", "subcase", "hard")


def logits(
    model: transformers.PreTrainedModel,
    encoded: data.Encoded,
    *,
    batch_size: int = 128,
    precision: train.Precision = "fp32",
    device: torch.device | None = None,
) -> Tensor:
    """Logits (examples, classes) in fp32, in the order of the examples, on `device`: the one there is if None.

    Dropout is off meanwhile. The model is left where and as it was, so one in training can be looked at.
    """
    device, home, mode = device or Accelerator().device, next(model.parameters()).device, model.training
    nn.Module.to(model, device).train(False)
    rows = torch.full((len(encoded), len(models.labels(model))), torch.nan)
    with torch.inference_mode(), train.autocast(device, precision):
        for batch in data.batches(encoded, batch_size):
            inputs = {name: batch[name].to(device) for name in train.INPUTS if name in batch}
            rows[batch["index"]] = model(**inputs).logits.float().cpu()
    nn.Module.to(model, home).train(mode)
    return rows


def frame(model: transformers.PreTrainedModel, split: data.Split, rows: Tensor) -> pd.DataFrame:
    """One row per example: `id` (its row in the whole split), `gold`, a column `logit_<label>` per class of the
    model, and what the split knows of the example (heuristic, subcase, hard)."""
    examples = split.frame()
    predicted = pd.DataFrame({"id": examples.index, "gold": examples["label"].to_numpy()})
    for index, label in enumerate(models.labels(model)):
        predicted[f"logit_{label}"] = rows[:, index].numpy()
    for column in CARRIED:
        if column in examples:
            predicted[column] = examples[column].to_numpy()
    return predicted
