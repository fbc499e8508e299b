"""One training loop: a model, examples, a loss, a linear schedule. What is trained is the model's own choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import transformers
from accelerate import Accelerator
from torch import Tensor

from robust_lib import data, models

Batch = Mapping[str, Tensor]
Precision = Literal["fp32", "bf16"]
Loss = Callable[[Tensor, Batch], Tensor]
CHECKED_EVERY = 32  # steps
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: what the methods have in common, and the papers call their training setup.

    `max_length` in tokens, `warmup` a share of all steps; the other values as `fit` takes them.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    max_length: int
    warmup: float = 0.0
    weight_decay: float = 0.0
    precision: Precision = "fp32"


class DivergedError(ArithmeticError):
    """The loss became NaN or infinite; the message names the step and the examples of its batch."""


def fit(
    model: transformers.PreTrainedModel,
    encoded: data.Encoded,
    loss: Loss,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    warmup: float = 0.0,
    weight_decay: float = 0.0,
    clip: float = 1.0,
    precision: Precision = "fp32",
    seed: int = 0,
    before_step: Callable[[int, int], None] = lambda step, total: None,
) -> list[float]:
    """Train in place with AdamW, linear warm-up and decay to 0, and global gradient clipping.

    `loss` maps the logits and the batch to a scalar; a batch holds `labels` and `index` (the rows of its
    examples) beside the model's inputs. `warmup` is a share of all steps, `clip` the largest gradient norm,
    `precision` that of the forward and backward pass (the weights stay fp32). Biases and LayerNorms do not
    decay. `before_step` is called with (step, total) before every step and once more at the end. `seed` draws
    the order and the dropout.
    Returns the loss of every step. Raises DivergedError on a loss that is not finite.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    names = models.labels(model)
    accelerator = Accelerator()
    total = epochs * math.ceil(len(encoded) / batch_size)
    optimizer = torch.optim.AdamW(_groups(model, weight_decay), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: linear(step, total, warmup))
    model.train()
    prepared, optimizer = accelerator.prepare(model, optimizer)
    losses: list[Tensor] = []
    examples: list[Tensor] = []
    passes = (data.batches(encoded, batch_size, generator=order, labels=names) for _ in range(epochs))
    for step, batch in enumerate(batch for epoch in passes for batch in epoch):
        before_step(step, total)
        batch = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
        with autocast(accelerator.device, precision):
            logits = prepared(**{name: batch[name] for name in INPUTS if name in batch}).logits
        value = loss(logits.float(), batch)
        losses.append(value.detach())
        examples.append(batch["index"])
        if step % CHECKED_EVERY == 0 or step == total - 1:
            _check(losses, examples, total)
        accelerator.backward(value)
        accelerator.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    before_step(total, total)
    accelerator.unwrap_model(prepared).cpu().eval()
    return torch.stack(losses).tolist() if losses else []


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context of a forward pass: matrix products in bf16, or nothing. Not accelerate's, which fixes one
    precision for the whole process."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def linear(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at `step`: up over the first `warmup` share of the steps, then down to 0."""
    rising = warmup * total
    return (step + 1) / (rising + 1) if step < rising else max(0.0, (total - step) / max(1.0, total - rising))


def _check(losses: list[Tensor], examples: list[Tensor], total: int) -> None:
    """Raise on the first loss that is not finite. Looked at in groups: each look waits for the GPU."""
    first = max(0, len(losses) - CHECKED_EVERY)
    bad = (~torch.stack(losses[first:]).isfinite()).nonzero()
    if len(bad):
        step = first + int(bad[0])
        raise DivergedError(
            f"the loss is {losses[step].item()} at step {step} of {total}; examples {examples[step].tolist()}; "
            "try a lower learning rate or more warm-up"
        )


def _groups(model: transformers.PreTrainedModel, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay, vectors (biases, LayerNorms) do not; frozen parameters are left out."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
