"""Forward and backward passes: their precision, parts of a batch where memory is short, shares of it by process."""

from __future__ import annotations

import math
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import broadcast
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Batch = Mapping[str, Tensor]
Precision = Literal["fp32", "bf16"]
Loss = Callable[[Tensor, Batch], Tensor]  # of the logits and the batch that they are of
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ("logits", "cls_states")  # what a loss may be of; the second within `models.cls_states` alone


class SmallerBatches(UserWarning):
    """Memory ran out in training and batches were computed in parts; the message says in how many, and where."""


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


@dataclass
class Passes:
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
        if self.accelerator.num_processes > 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad = self.accelerator.reduce(parameter.grad, reduction="sum")
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
