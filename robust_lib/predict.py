"""A model and a split to logits: the last place where tensors live; from here on it is one frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import transformers
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from robust_lib import data, models, passes

Summary = Literal["cls", "mean"]
CARRIED = ("heuristic", "subcase", "hard")


def logits(
    model: transformers.PreTrainedModel,
    encoded: data.Encoded,
    *,
    batch_size: int = 128,
    precision: passes.Precision = "fp32",
    device: torch.device | None = None,
) -> Tensor:
    """Logits (examples, classes) in fp32, in the order of the examples, on `device`: the one there is if None.

    Dropout is off meanwhile. The model is left where and as it was, so one in training can be looked at.
    """
    rows = torch.full((len(encoded), len(models.labels(model))), torch.nan)
    for index, out in _passes(model, encoded, batch_size, precision, device or Accelerator().device):
        rows[index] = out.logits.float().cpu()
    return rows


def cls_states(
    model: transformers.PreTrainedModel,
    encoded: data.Encoded,
    layers: Sequence[int],
    *,
    batch_size: int = 128,
    precision: passes.Precision = "fp32",
) -> Tensor:
    """[CLS] states (examples, layers, width) after these layers (from 0), in half precision."""
    rows = torch.empty(len(encoded), len(layers), model.config.hidden_size, dtype=torch.float16)
    with models.cls_states(model):
        for index, out in _passes(model, encoded, batch_size, precision, Accelerator().device):
            rows[index] = out.cls_states[:, list(layers)].half().cpu()
    return rows


def _passes(
    model: transformers.PreTrainedModel,
    encoded: data.Encoded,
    batch_size: int,
    precision: passes.Precision,
    device: torch.device,
) -> Iterator[tuple[Tensor, Any]]:
    """The rows of each batch and the model's output for them; the model is left where and as it was.

    Where memory runs out, batches are halved from there on.
    """
    home, mode = next(model.parameters()).device, model.training
    nn.Module.to(model, device).train(False)
    with torch.inference_mode(), passes.autocast(device, precision):
        for batch in data.batches(encoded, batch_size):
            start = 0
            while start < len(batch["index"]):
                part = {name: tensor[start : start + batch_size] for name, tensor in batch.items()}
                try:
                    made = model(**{name: part[name].to(device) for name in passes.INPUTS if name in part})
                except (RuntimeError, MemoryError) as error:
                    batch_size = passes.halved(len(part["index"]), error, device)
                    continue
                start += len(part["index"])
                yield part["index"], made
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


def spans(
    model: transformers.PreTrainedModel,
    windows: data.Windows,
    split: data.Split,
    *,
    batch_size: int = 128,
    precision: passes.Precision = "fp32",
    longest: int = 30,
    best: int = 20,
) -> pd.DataFrame:
    """The best answer to each question: one row per question, in the split's order.

    `id` is the question's own, `answers` the texts of its gold answers, none where it is unanswerable. `text` is the
    best span of up to `longest` tokens over all windows of the question, `score` the sum of its start and end logits.
    As in transformers' run_qa, the `best` highest starts and ends of a window are put together, and `null` is the
    lowest sum of start and end logits at the null position over the windows: every window must want no answer. No
    answer is given where null - score is above a threshold (`metrics.exact_match`). Without any span `text` is empty
    and `score` -inf, where run_qa writes "empty" with a score of 0. ValueError for a model that reads no spans.
    """
    if models.labels(model) != ["start", "end"]:
        raise ValueError(f"{type(model).__name__} is no reader of spans: make one by models.Encoder.reader")
    found = np.zeros((len(windows), 2), np.int64)
    scores, nulls = np.zeros((2, len(windows)))
    starts, lengths = windows.encoded.starts, windows.encoded.lengths
    for index, out in _passes(model, windows.encoded, batch_size, precision, Accelerator().device):
        for window, rows in zip(index.tolist(), out.logits.float().cpu().numpy(), strict=True):
            logits = rows[: lengths[window]].astype(np.float64)
            offsets = windows.offsets[starts[window] : starts[window + 1]]
            found[window], scores[window] = _best_span(logits, offsets, longest, best)
            nulls[window] = logits[windows.null[window]].sum()
    examples = split.frame()
    # Windows of a question from the best down, the first of equals first.
    order = np.lexsort((-scores, windows.question))
    top = order[np.unique(windows.question[order], return_index=True)[1]]
    texts = [
        context[begin:end].strip()
        for context, (begin, end) in zip(examples["context"], found[top], strict=True)
    ]
    null = pd.Series(nulls).groupby(windows.question).min().to_numpy()
    return pd.DataFrame(
        {
            "id": examples["id"].to_numpy(),
            "answers": [answers["text"] for answers in examples["answers"]],
            "text": texts,
            "score": scores[top],
            "null": null,
        }
    )


def _best_span(
    logits: NDArray[np.float64], offsets: NDArray[np.int32], longest: int, best: int
) -> tuple[tuple[int, int], float]:
    """Characters of the context from and to, and score, of the best span of one window; ((0, 0), -inf) without any."""
    first, last = np.argsort(-logits, axis=0, kind="stable")[:best].T
    begin, end = offsets[first, 0][:, None], offsets[last, 1]
    tokens = last - first[:, None] + 1
    possible = (begin >= 0) & (end > begin) & (tokens >= 1) & (tokens <= longest)
    sums = np.where(possible, logits[first, 0][:, None] + logits[last, 1], -np.inf)
    one, other = np.unravel_index(sums.argmax(), sums.shape)
    if not possible[one, other]:
        return (0, 0), -np.inf
    return (int(begin[one, 0]), int(end[other])), float(sums[one, other])


def vectors(
    model: transformers.PreTrainedModel,
    encoded: data.Encoded,
    *,
    summary: Summary = "cls",
    batch_size: int = 128,
    precision: passes.Precision = "fp32",
) -> Tensor:
    """One fp32 vector (examples, width) per example: the encoder's last hidden state, below whatever head it is under.

    "cls" is that of the first token, which has to be the tokenizer's [CLS]; "mean" the mean over all tokens that are
    not padding. Of an encoder with a decoder (T5) the encoder alone is run.
    """
    body: Any = model.base_model
    if body.config.is_encoder_decoder:
        body = body.get_encoder()
    rows = torch.full((len(encoded), body.config.hidden_size), torch.nan)
    for index, out in _passes(body, encoded, batch_size, precision, Accelerator().device):
        states = out.last_hidden_state.float()
        if summary == "cls":
            rows[index] = states[:, 0].cpu()
        else:
            lengths = torch.from_numpy(encoded.lengths)[index].to(states.device)
            read = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
            rows[index] = ((states * read[:, :, None]).sum(dim=1) / lengths[:, None]).cpu()
    return rows
