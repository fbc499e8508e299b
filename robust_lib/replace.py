"""Layers that stand for others: progressive module replacing (BERT-of-Theseus), and the layers a student copies."""

import copy
from collections.abc import Sequence

import torch
import transformers
from torch import Tensor, nn

from robust_lib import models


class Replaceable(nn.Module):
    """A successor layer and the predecessor's layers that it stands for.

    In training one draw per forward pass, shared by the batch, decides which of them compute: the successor with
    probability `rate`. Otherwise it is the successor.
    """

    def __init__(
        self, successor: nn.Module, predecessors: Sequence[nn.Module], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.successor, self.predecessors = successor, nn.ModuleList(predecessors)
        self.generator, self.rate = generator, 1.0

    def forward(self, hidden: Tensor, *args: object, **kwargs: object) -> Tensor:
        if not self.training or torch.rand((), generator=self.generator) < self.rate:
            made: Tensor = self.successor(hidden, *args, **kwargs)
            return made
        for layer in self.predecessors:
            hidden = layer(hidden, *args, **kwargs)
        if torch.is_grad_enabled() and not hidden.requires_grad:
            hidden.requires_grad_()  # a pass that no successor took part in still has a backward pass, to nothing
        return hidden


def theseus(
    model: transformers.PreTrainedModel, successor_layers: int, *, generator: torch.Generator
) -> None:
    """Begin module replacing in place: copies of the first layers learn to stand for the layers of the whole model.

    Of L layers, successor i of k begins as a copy of layer i and stands for the L / k layers from i L / k on
    [BERT-of-Theseus, Xu et al. 2020, section 3.1; copies as in its code]. Only the successors train; embeddings,
    predecessor, pooler and classifier are frozen. The rate of replacing begins at 1 (see `assign`), at which the model
    is the truncated one; at 0 it is the predecessor. In eval mode it is the successor. `generator` (CPU) draws.
    """
    name, stack = models.layer_stack(model)
    if successor_layers < 1 or len(stack) % successor_layers:
        raise ValueError(
            f"replace.theseus: {successor_layers} successors cannot stand for equal shares of {len(stack)} layers"
        )
    each = len(stack) // successor_layers
    model.requires_grad_(False)
    modules = []
    for place in range(successor_layers):
        successor = copy.deepcopy(stack[place]).requires_grad_()
        modules.append(Replaceable(successor, list(stack[place * each : (place + 1) * each]), generator))
    model.set_submodule(name, nn.ModuleList(modules).train(model.training))


def linear(step: int, *, slope: float, base: float) -> float:
    """The rate of replacing after so many steps: p = min(1, slope * step + base).

    [BERT-of-Theseus, section 3.2: k and b.] Paper 3's k 2e-5 and b 0.5 reach 1 at step 25,000.
    """
    return min(1.0, slope * step + base)


def assign(model: nn.Module, rate: float) -> None:
    """Set the probability, in [0, 1], that a successor takes part in a forward pass: before every step of training."""
    if not 0 <= rate <= 1:
        raise ValueError(f"replace.assign: rate is {rate}; it must lie in [0, 1]")
    for module in _replaceable(model):
        module.rate = rate


def finish(model: transformers.PreTrainedModel) -> None:
    """Leave a plain model of the successors, in place, with everything trainable."""
    successors = [module.successor for module in _replaceable(model)]
    name, _ = models.layer_stack(model)
    model.set_submodule(name, nn.ModuleList(successors))
    models.truncate(model, len(successors))  # tells the config
    model.requires_grad_(True)


def skip(teacher_layers: int, student_layers: int) -> list[int]:
    """The teacher's layers, from 0, whose states the student's first layers learn: every k-th, without the last.

    k = teacher_layers / student_layers; 12 to 6 gives 1, 3, 5, 7, 9 for the student's first five, 24 to 6 gives 3, 7,
    11, 15, 19 [BERT-PKD, section 3.2, PKD-Skip; its code].
    """
    if student_layers < 2 or teacher_layers % student_layers:
        raise ValueError(
            f"replace.skip: {student_layers} layers of a student are no equal shares of a teacher's {teacher_layers}, "
            "or a single one"
        )
    each = teacher_layers // student_layers
    return list(range(each - 1, teacher_layers - 1, each))


def _replaceable(model: nn.Module) -> list[Replaceable]:
    modules = [module for module in model.modules() if isinstance(module, Replaceable)]
    if not modules:
        raise ValueError(
            f"replace: {type(model).__name__} has no modules to replace; call replace.theseus first"
        )
    return modules
