"""Attention heads: how many, behind gates, how much the loss feels each, and a model truly without some.

Works on transformers' BERT, RoBERTa, MiniLM (a BERT) and DistilBERT, whichever attention implementation they run.
A head keeps the number it had before any was removed, here and in `config.pruned_heads`, so numbers of one round of
pruning hold in the next.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
import transformers
from jaxtyping import Float
from torch import Tensor, nn

from robust_lib import passes

Importance = Float[Tensor, "layers heads"]
Variant = Literal["per_sample", "batch_gradient"]
PROJECTIONS = (
    ("self.query", "self.key", "self.value", "output.dense"),  # BERT, RoBERTa
    ("q_lin", "k_lin", "v_lin", "out_lin"),  # DistilBERT
)


def count(model: transformers.PreTrainedModel) -> list[int]:
    """Heads left in each layer."""
    return [len(numbers) for numbers in left(model)]


def left(model: transformers.PreTrainedModel) -> list[list[int]]:
    """The numbers of the heads left in each layer, in the order of their rows."""
    removed = getattr(model.config, "pruned_heads", {})
    return [
        [head for head in range(model.config.num_attention_heads) if head not in removed.get(str(layer), [])]
        for layer in range(len(projections(model)))
    ]


def projections(model: nn.Module) -> list[list[str]]:
    """Names of the Q, K, V and output projection of every layer. ValueError where attention is another."""
    found = [
        [name.removesuffix(parts[0]) + part for part in parts]
        for name, _ in model.named_modules()
        for parts in PROJECTIONS
        if name.endswith(f".{parts[0]}")
    ]
    if not found:
        raise ValueError(
            f"heads: {type(model).__name__} has no attention like that of BERT, RoBERTa or DistilBERT"
        )
    return found


@contextmanager
def gated(model: transformers.PreTrainedModel, gates: Float[Tensor, "*batch layers heads"]) -> Iterator[None]:
    """Multiply what each head hands to the attention output projection by its gate, inside the `with` block.

    The gates are the xi of paper 1 (appendix A), one for each head the encoder began with, or one for each example
    and head; they may require a gradient. Ones change nothing, a zero takes the head out. A removed head's gate
    does nothing.
    """
    if gates.shape[-2:] != _shape(model):
        raise ValueError(
            f"heads.gated: the gates are {tuple(gates.shape[-2:])}, the model's layers and heads {_shape(model)}"
        )
    numbers = left(model)
    hooks = [
        model.get_submodule(output).register_forward_pre_hook(_gate(gates[..., layer, numbers[layer]]))
        for layer, (*_, output) in enumerate(projections(model))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def importance(
    model: transformers.PreTrainedModel,
    batches: Iterable[passes.Batch],
    *,
    variant: Variant = "per_sample",
) -> Importance:
    """Expected sensitivity of the cross entropy L to each head's gate xi, at gates of one and without dropout.

    per_sample: E_x |dL(x) / d xi|                                              [paper 1, appendix A]
    batch_gradient: the mean over batches of |d mean L / d xi|, as transformers' run_bertology computes it

    In the second, examples of a batch that pull a gate both ways cancel; with one example to a batch the two are
    equal. A removed head has infinite importance, so that it is never chosen again. The model stays as it is; the
    batches (of `data.batches`) go where it is.
    """
    weight, parts = next(model.parameters()), 0
    total = torch.zeros(_shape(model), device=weight.device)
    with _evaluating(model):
        for batch in batches:
            gradients = _gradients(model, {name: tensor.to(weight.device) for name, tensor in batch.items()})
            if variant == "batch_gradient":
                gradients = gradients.mean(dim=0, keepdim=True)
            total += gradients.abs().sum(dim=0)
            parts += len(gradients)
    if not parts:
        raise ValueError("heads.importance: there are no batches to take an expectation over")
    for layer, numbers in enumerate(left(model)):
        total[layer, [head for head in range(total.shape[1]) if head not in numbers]] = torch.inf
    return total.cpu() / parts


def lowest(importance: Importance, count: int) -> dict[int, list[int]]:
    """The `count` least important heads of all layers together, by layer; ties go to the first layer and head.

    A layer keeps its most important head (paper 1 does not say whether a whole layer may go): the next in line is
    taken instead. Heads of infinite importance are gone already.
    """
    if importance.isnan().any():
        raise ValueError("heads.lowest: an importance is NaN")
    available = importance.isfinite().sum(dim=1).tolist()
    most = sum(available) - len(available)
    if not 0 <= count <= most:
        raise ValueError(
            f"heads.lowest: {count} heads asked of {sum(available)}; as every layer keeps one, at most {most} can go"
        )
    chosen: dict[int, list[int]] = {}
    for position in importance.flatten().argsort(stable=True).tolist():
        layer, head = divmod(position, importance.shape[1])
        if count > 0 and available[layer] > 1:
            chosen.setdefault(layer, []).append(head)
            available[layer] -= 1
            count -= 1
    return {layer: sorted(chosen[layer]) for layer in sorted(chosen)}


def remove(model: transformers.PreTrainedModel, heads: Mapping[int, Sequence[int]]) -> None:
    """Take heads out in place: their rows of Q, K and V and their columns of the output projection are gone.

    The logits are those of gates of zero. `config.pruned_heads` records all that are gone, layer to numbers, as
    transformers 4 did. The parameters are new: make the optimiser afterwards.
    """
    layers, numbers = projections(model), left(model)
    gone = {layer: sorted(set(removed)) for layer, removed in heads.items() if removed}
    for layer, removed in gone.items():
        _check(model, layer, removed)
    for layer, removed in gone.items():
        kept = [row for row, head in enumerate(numbers[layer]) if head not in removed]
        _keep(model, layers[layer], torch.tensor(kept))
    if gone:
        recorded = {int(layer): h for layer, h in getattr(model.config, "pruned_heads", {}).items()}
        model.config.pruned_heads = {
            str(layer): sorted([*recorded.get(layer, []), *gone.get(layer, [])])
            for layer in sorted({*recorded, *gone})
        }


def _shape(model: transformers.PreTrainedModel) -> tuple[int, int]:
    """Layers, and heads that each began with."""
    return len(projections(model)), model.config.num_attention_heads


def _gate(gates: Float[Tensor, "*batch heads"]) -> Callable[[nn.Module, tuple[Tensor]], Tensor]:
    """A forward pre-hook of an output projection, which takes (batch, tokens, heads x size)."""

    def hook(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        (context,) = inputs
        by_head = context.view(*context.shape[:-1], gates.shape[-1], -1)
        return (by_head * gates[..., None, :, None]).view_as(context)

    return hook


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _gradients(
    model: transformers.PreTrainedModel, batch: passes.Batch
) -> Float[Tensor, "batch layers heads"]:
    """dL(x) / d xi of every example from one backward pass: each has gates of its own, and meets no other."""
    labels = batch["labels"]
    gates = torch.ones(len(labels), *_shape(model), device=labels.device, requires_grad=True)
    with torch.enable_grad(), gated(model, gates):
        logits = model(**{name: batch[name] for name in passes.INPUTS if name in batch}).logits
        (gradients,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), gates)
    return gradients


def _check(model: transformers.PreTrainedModel, layer: int, removed: Sequence[int]) -> None:
    numbers, layers = left(model), projections(model)
    if not 0 <= layer < len(layers):
        raise ValueError(f"heads.remove: layer {layer} asked of {len(layers)}, counted from 0")
    absent = [head for head in removed if head not in numbers[layer]]
    if absent:
        raise ValueError(f"heads.remove: layer {layer} has no head {absent[0]}; left are {numbers[layer]}")
    if len(removed) == len(numbers[layer]):
        raise ValueError(f"heads.remove: these are all heads of layer {layer}; one must stay")
    for name in layers[layer]:
        _linear(model, name)


def _linear(model: nn.Module, name: str) -> nn.Linear:
    module = model.get_submodule(name)
    if type(module) is not nn.Linear:
        raise ValueError(
            f"heads.remove: {name} is a {type(module).__name__}, no plain linear layer; masks.unwrap makes it one"
        )
    return module


def _keep(model: transformers.PreTrainedModel, names: Sequence[str], kept: Tensor) -> None:
    """Cut the four projections of a layer to the heads at these places."""
    *inputs, output = (_linear(model, name) for name in names)
    size = model.config.hidden_size // model.config.num_attention_heads
    rows = (kept[:, None] * size + torch.arange(size)).flatten()
    for projection in inputs:
        projection.weight = _cut(projection.weight, rows, dim=0)
        projection.bias = _cut(projection.bias, rows, dim=0)
        projection.out_features = len(rows)
    output.weight = _cut(output.weight, rows, dim=1)
    output.in_features = len(rows)
    # Forward reads the number of heads off the weights; these are for whoever asks the module.
    attention = model.get_submodule(names[0].rpartition(".")[0])
    told = {"num_attention_heads": len(kept), "n_heads": len(kept), "all_head_size": len(rows)}
    for name in told.keys() & vars(attention).keys():
        setattr(attention, name, told[name])


def _cut(parameter: Tensor, kept: Tensor, *, dim: int) -> nn.Parameter:
    values = parameter.detach().index_select(dim, kept.to(parameter.device))
    return nn.Parameter(values, requires_grad=parameter.requires_grad)
