"""A model and a split to logits: the last place where tensors live; from here on it is one frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    rows = torch.full((len(encoded), len(models.labels(model))), torch.nan)
    for index, out in _passes(model, encoded, batch_size, precision, device or Accelerator().device):
        rows[index] = out.float().cpu()
    return rows


def cls_states(
    model: transformers.PreTrainedModel,
    encoded: data.Encoded,
    layers: Sequence[int],
    *,
    batch_size: int = 128,
    precision: train.Precision = "fp32",
) -> Tensor:
    """[CLS] states (examples, layers, width) after these layers (from 0), in half precision."""
    rows = torch.empty(len(encoded), len(layers), model.config.hidden_size, dtype=torch.float16)
    with models.cls_states(model) as states:
        for index, _ in _passes(model, encoded, batch_size, precision, Accelerator().device):
            rows[index] = torch.stack([states[layer] for layer in layers], dim=1).half().cpu()
    return rows


def _passes(
    model: transformers.PreTrainedModel,
    encoded: data.Encoded,
    batch_size: int,
    precision: train.Precision,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of each batch and the model's logits for them; the model is left where and as it was."""
    home, mode = next(model.parameters()).device, model.training
    nn.Module.to(model, device).train(False)
    with torch.inference_mode(), train.autocast(device, precision):
        for batch in data.batches(encoded, batch_size):
            inputs = {name: batch[name].to(device) for name in train.INPUTS if name in batch}
            yield batch["index"], model(**inputs).logits
    nn.Module.to(model, home).train(mode)


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
