"""A model and a split to logits: the last place where tensors live; from here on it is one frame."""

import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from robust_lib import data, train

CARRIED = ("heuristic", "subcase", "hard")


def logits(model: PreTrainedModel, batches: train.Batches, *, examples: int, precision: str = "no") -> Tensor:
    """Logits (examples, classes) in fp32, row i for the example whose batch `index` is i. Dropout is off."""
    accelerator = Accelerator(mixed_precision=precision)
    model = model.to(accelerator.device).eval()
    rows = torch.full((examples, model.config.num_labels), torch.nan)
    with torch.inference_mode(), accelerator.autocast():
        for batch in batches:
            inputs = {name: batch[name].to(accelerator.device) for name in train.INPUTS if name in batch}
            rows[batch["index"]] = model(**inputs).logits.float().cpu()
    model.to("cpu")
    return rows


def frame(model: PreTrainedModel, split: data.Split, rows: Tensor) -> pd.DataFrame:
    """One row per example: `id`, `gold`, a column `logit_<label>` per class of the model, and what the split
    knows of the example (heuristic, subcase, hard)."""
    examples = split.frame()
    predicted = pd.DataFrame({"id": range(len(examples)), "gold": examples["label"].to_numpy()})
    for index, label in model.config.id2label.items():
        predicted[f"logit_{label}"] = rows[:, index].numpy()
    for column in CARRIED:
        if column in examples:
            predicted[column] = examples[column].to_numpy()
    return predicted
