"""One training loop: a model, examples, a loss, a linear schedule. What is trained is the model's own choice."""

from __future__ import annotations

import math
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import broadcast
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters
from torch.utils.checkpoint import checkpoint

from robust_lib import data, models

Batch = Mapping[str, Tensor]
Precision = Literal["fp32", "bf16"]
Loss = Callable[[Tensor, Batch], Tensor]
CHECKED_EVERY = 32  # steps
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ("logits", "cls_states")  # what a loss may be of; the second within `models.cls_states` alone


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
    precision: Precision = "fp32"
    until: float = 1.0


class DivergedError(ArithmeticError):
    """The loss became NaN or infinite; the message names the step and the examples of its batch."""


class SmallerBatches(UserWarning):
    """Memory ran out in training and batches were computed in parts; the message says in how many, and where."""


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
    first part of each batch. It is said by a SmallerBatches warning.

    Several processes (`accelerate launch --num_processes 4 script.py`, or `accelerate.notebook_launcher`) that all
    make this call train one model together: each computes its share of every batch, so batches, schedule, clipping
    and the losses returned are those of one process; what is drawn within the model differs, and ranges follow the
    first process. All end with the same weights: let the main process alone write them. Memory that runs out in one
    of several processes ends the training.

    Returns the loss of every step. Raises DivergedError on a loss that is not finite, MemoryError where a single
    example does not fit.
    """
    seeds = [seed] if isinstance(seed, int) else list(seed)
    trained = [parameter.shape for parameter in model.parameters() if parameter.requires_grad]
    if len(seeds) > 1 and any(len(shape) != 3 or shape[0] != len(seeds) for shape in trained):
        raise ValueError(
            f"fit: {len(seeds)} seeds train as many masks together; masks.score makes them first"
        )
    passes = _Passes(model, Accelerator(), len(seeds), precision, batch_size)
    torch.manual_seed(seeds[0] + passes.accelerator.process_index)  # every process draws its own dropout
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
        batch = {name: tensor.to(passes.accelerator.device) for name, tensor in batch.items()}
        losses.append(passes.backward(loss, batch, [len(part["index"]) for part in parts]))
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
    passes.remark(batch_size)
    return torch.stack(losses).tolist() if losses else []


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context of a forward pass: matrix products in bf16, or nothing. Not accelerate's, which fixes one
    precision for the whole process."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def halved(rows: int, error: Exception, device: torch.device) -> int:
    """Half of so many rows, at least one, and the memory freed that the `error` says has run out on them.

    Raises the error where it says something else, and MemoryError where it was a single row.
    """
    if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):
        raise error
    if rows == 1:
        raise MemoryError(
            f"out of memory on {device} with a single example at a time; lower max_length, or take a smaller encoder "
            "or a device with more memory"
        ) from error
    traceback.clear_frames(error.__traceback__)  # they hold what was computed until the error is forgotten
    clear_device_cache(garbage_collection=True)
    return math.ceil(rows / 2)


def linear(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at `step`: up over the first `warmup` share of the steps, then down to 0."""
    rising = warmup * total
    return (step + 1) / (rising + 1) if step < rising else max(0.0, (total - step) / max(1.0, total - rising))


@dataclass
class _Passes:
    """Forward and backward passes of whole batches, shared by the processes, and in parts where memory is short.

    Not DistributedDataParallel: it knows no loss of a whole batch, and wants every weight to take part in every pass
    and each pass to be followed by its own backward pass.
    """

    model: transformers.PreTrainedModel
    accelerator: Accelerator
    masks: int
    precision: Precision
    at_once: int  # rows of each mask
    moved: list[Tensor] = field(init=False)  # what a forward pass changes in the model
    generators: list[torch.Generator] = field(init=False)

    def __post_init__(self) -> None:
        nn.Module.to(self.model, self.accelerator.device)
        broadcast([tensor.detach() for tensor in (*self.model.parameters(), *self.model.buffers())])
        state = self.model.state_dict(keep_vars=True).values()
        self.moved = [tensor for tensor in state if not isinstance(tensor, nn.Parameter)]
        drawing = [getattr(module, "generator", None) for module in self.model.modules()]
        self.generators = [one for one in drawing if isinstance(one, torch.Generator)]

    def backward(self, loss: Loss, batch: Batch, sizes: Sequence[int]) -> Tensor:
        """The loss of the whole batch, the same in every process; the parameters are left with its gradient."""
        random: Any = torch.cuda if self.accelerator.device.type == "cuda" else torch
        rows, draws, restore = len(batch["index"]) // self.masks, random.get_rng_state(), self._snapshot()
        while True:
            try:
                return self._attempt(loss, batch, sizes, restore)
            except (RuntimeError, MemoryError) as error:
                if self.accelerator.num_processes > 1:
                    raise  # the others wait for what this one will not give
                self.at_once = halved(min(self.at_once, rows), error, self.accelerator.device)
            self.model.zero_grad()
            random.set_rng_state(draws)
            restore()

    def remark(self, batch_size: int) -> None:
        """Warn where batches were computed in parts."""
        if self.at_once < batch_size:
            warnings.warn(
                f"batches of {batch_size} were computed as {math.ceil(batch_size / self.at_once)} x {self.at_once}: "
                f"out of memory on {self.accelerator.device}",
                SmallerBatches,
                stacklevel=3,
            )

    def _attempt(self, loss: Loss, batch: Batch, sizes: Sequence[int], restore: Callable[[], None]) -> Tensor:
        rows = len(batch["index"]) // self.masks
        share = math.ceil(rows / self.accelerator.num_processes)
        first = self.accelerator.process_index * share
        # An uneven batch is filled up with its first example, and the filling left out of the loss.
        own = torch.arange(first, first + share, device=self.accelerator.device)
        parts = [self._rows(batch, places) for places in torch.split(own.where(own < rows, 0), self.at_once)]

        def again(part: Batch) -> dict[str, Tensor]:
            restore()
            return self._forward(part)

        if len(parts) == 1:
            made = [self._forward(parts[0])]
        else:  # of each part the outputs are kept, and the rest computed again for its backward pass
            made = [checkpoint(again, part, use_reentrant=False) for part in parts]
        outputs = {name: self._joined([part[name] for part in made], rows) for name in made[0]}
        value = _loss(loss, outputs["logits"], {**batch, **outputs}, sizes)
        torch.autograd.backward(value)
        self._sum_over_processes()
        return value.detach()

    def _rows(self, batch: Batch, places: Tensor) -> Batch:
        """The inputs at these places among each mask's examples."""
        each = {name: torch.unflatten(batch[name], 0, (self.masks, -1)) for name in INPUTS if name in batch}
        return {name: rows[:, places].flatten(0, 1) for name, rows in each.items()}

    def _forward(self, inputs: Batch) -> dict[str, Tensor]:
        with autocast(self.accelerator.device, self.precision):
            made = self.model(**inputs)
        return {name: made[name].float() for name in OUTPUTS if name in made}

    def _joined(self, parts: Sequence[Tensor], rows: int) -> Tensor:
        """What the parts of all processes gave, as if it were of one pass; the gradient is this process's alone."""
        own = torch.cat([torch.unflatten(part, 0, (self.masks, -1)) for part in parts], dim=1).transpose(0, 1)
        if self.accelerator.num_processes > 1:
            every = list(self.accelerator.gather(own.detach().contiguous()).split(len(own)))
            every[self.accelerator.process_index] = own
            own = torch.cat(every)[:rows]
        return own.transpose(0, 1).flatten(0, 1)

    def _sum_over_processes(self) -> None:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        if self.accelerator.num_processes > 1 and gradients:
            total = self.accelerator.reduce(parameters_to_vector(gradients), reduction="sum")
            vector_to_parameters(total, gradients)
            broadcast(self.moved)

    def _snapshot(self) -> Callable[[], None]:
        """Brings back what passes change in the model from now on."""
        values, states = [one.clone() for one in self.moved], [one.get_state() for one in self.generators]

        def restore() -> None:
            for tensor, value in zip(self.moved, values, strict=True):
                tensor.copy_(value)
            for generator, state in zip(self.generators, states, strict=True):
                generator.set_state(state)

        return restore


def _stream(
    encoded: data.Encoded, batch_size: int, names: Sequence[str], seed: int
) -> Iterator[dict[str, Tensor]]:
    """Batches without end, every pass over the examples in another order."""
    order = torch.Generator().manual_seed(seed)
    while True:
        yield from data.batches(encoded, batch_size, generator=order, labels=names)


def _loss(loss: Loss, logits: Tensor, batch: Batch, sizes: Sequence[int]) -> Tensor:
    """The loss; of several masks' batches, one after the other, the sum of theirs, each without its filling."""
    parts = [{name: rows.chunk(len(sizes))[i] for name, rows in batch.items()} for i in range(len(sizes))]
    own = zip(logits.chunk(len(sizes)), parts, sizes, strict=True)
    return torch.stack(
        [
            loss(rows[:size], {name: column[:size] for name, column in part.items()})
            for rows, part, size in own
        ]
    ).sum()


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
