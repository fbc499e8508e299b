"""One training loop: a model, examples, a loss, a linear schedule. What is trained is the model's own choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import transformers
from accelerate import Accelerator
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from robust_lib import data, models, passes

CHECKED_EVERY = 32  # steps


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: what the methods have in common, and the papers call their training setup.

    `max_length` in tokens, `warmup` and `until` shares of all steps; the other values as `fit` takes them.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    max_length: int
    warmup: float = 0.0
    weight_decay: float = 0.0
    precision: passes.Precision = "fp32"
    until: float = 1.0


class DivergedError(ArithmeticError):
    """The loss became NaN or infinite; the message names the step and the examples of its batch."""


def fit(
    model: transformers.PreTrainedModel,
    encoded: data.Encoded,
    loss: passes.Loss,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    warmup: float = 0.0,
    weight_decay: float = 0.0,
    clip: float = 1.0,
    precision: passes.Precision = "fp32",
    until: float = 1.0,
    seed: int | Sequence[int] = 0,
    before_step: Callable[[int, int], None] = lambda step, total: None,
) -> list[float]:
    """Train in place with AdamW, linear warm-up and decay to 0, and global gradient clipping.

    `loss` maps the logits and the batch to a scalar; a batch holds `labels` and `index` (the rows of its
    examples) beside the model's inputs, and within `models.cls_states` the model's `cls_states`. `warmup` is a share
    of all steps, `clip` the largest gradient norm, `precision` that of the forward and backward pass (the weights stay
    fp32). Biases and LayerNorms do not decay. `until` is the share of the schedule that is run: at 0.5 training ends
    half way, the learning rate with it. `before_step` is called with (step, total) before every step and once more at
    the end, when step is the number of steps run. `seed` draws the order and the dropout.

    Several seeds train several masks together, one for each (`masks.score`): each mask sees its own order, has its
    own loss and clipping, and comes out as if it had been trained alone; their dropout is drawn together. The
    losses returned are the sums.

    Where memory runs out, that step is begun again with half as many examples at a time, and all later ones follow.
    The loss stays that of the whole batch (whose logits are kept) and its gradient exact, whatever the loss, at the
    price of a second forward pass. Dropout is drawn part by part, and the moving ranges of simulated 8 bits follow the
    first part of each batch. It is said by a passes.SmallerBatches warning.

    Several processes (`accelerate launch --num_processes 4 script.py`, or `accelerate.notebook_launcher`) that all
    make this call train one model together: each computes its share of every batch, so batches, schedule, clipping
    and the losses returned are those of one process; what is drawn within the model differs, and ranges follow the
    first process. All end with the same weights: let the main process alone write them. Memory that runs out in one
    of several processes ends the training, as it does in the optimizer's step, whose first takes twice the weights.

    Returns the loss of every step. Raises DivergedError on a loss that is not finite, MemoryError where a single
    example does not fit.
    """
    seeds = [seed] if isinstance(seed, int) else list(seed)
    trained = [parameter.shape for parameter in model.parameters() if parameter.requires_grad]
    if len(seeds) > 1 and any(len(shape) != 3 or shape[0] != len(seeds) for shape in trained):
        raise ValueError(
            f"fit: {len(seeds)} seeds train as many masks together; masks.score makes them first"
        )
    whole = passes.Passes(model, Accelerator(), len(seeds), precision, batch_size)
    torch.manual_seed(seeds[0] + whole.accelerator.process_index)  # every process draws its own dropout
    total = epochs * math.ceil(len(encoded) / batch_size)
    optimizer = torch.optim.AdamW(_groups(model, weight_decay), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: linear(step, total, warmup))
    model.train()
    losses: list[Tensor] = []
    examples: list[Tensor] = []
    steps = round(until * total)
    streams = [_stream(encoded, batch_size, models.labels(model), one) for one in seeds]
    for step, parts in zip(range(steps), zip(*streams, strict=True), strict=False):
        before_step(step, total)
        batch = parts[0] if len(parts) == 1 else data.joined(encoded, parts)
        batch = {name: tensor.to(whole.accelerator.device) for name, tensor in batch.items()}
        losses.append(whole.backward(loss, batch, [len(part["index"]) for part in parts]))
        examples.append(batch["index"])
        if step % CHECKED_EVERY == 0 or step == steps - 1:
            _check(losses, examples, total)
        if len(seeds) == 1:
            clip_grad_norm_(model.parameters(), clip)
        else:
            _clip_each(model, clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    before_step(steps, total)
    model.cpu().train(False)
    whole.remark(batch_size)
    return torch.stack(losses).tolist() if losses else []


def linear(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at `step`: up over the first `warmup` share of the steps, then down to 0."""
    rising = warmup * total
    return (step + 1) / (rising + 1) if step < rising else max(0.0, (total - step) / max(1.0, total - rising))


def _stream(
    encoded: data.Encoded, batch_size: int, names: Sequence[str], seed: int
) -> Iterator[dict[str, Tensor]]:
    """Batches without end, every pass over the examples in another order."""
    order = torch.Generator().manual_seed(seed)
    while True:
        yield from data.batches(encoded, batch_size, generator=order, labels=names)


def _clip_each(model: transformers.PreTrainedModel, limit: float) -> None:
    """Clip the gradients of masks trained together, each mask's over all its matrices."""
    gradients = [p.grad.flatten(1) for p in model.parameters() if p.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(one, dim=1) for one in gradients]).norm(dim=0)
    for one in gradients:
        one.mul_((limit / (norms + 1e-6)).clamp(max=1.0)[:, None])


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
