"""Linear layers seen through 0/1 masks: which there are, fixed masks, and masks trained by their scores."""

from collections.abc import Collection, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

Part = Literal["encoder", "pooler", "classifier"]
Scores = Float[Tensor, "masks out in"]
ENCODER: tuple[Part, ...] = ("encoder",)
PARTS: tuple[Part, ...] = (
    "encoder",
    "pooler",
    "classifier",
)  # what the reference code of paper 4 trains masks of


class MaskedLinear(nn.Module):
    """A linear layer y = x (m * W)^T + b. A mask of ones is the plain layer.

    Weights outside the mask neither act nor receive a gradient. They stay stored (an optimiser's momentum and
    decay may still move them), so a later mask can bring them back: this is how the reference magnitude
    pruning works (Sanh et al. 2020).

    `mask` is (out, in), or (masks, out, in): several masks on one copy of the weights. Then the batch holds
    their examples one mask after the other, equally many for each, and so does what comes out.
    """

    mask: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("mask", torch.ones_like(linear.weight, dtype=torch.bool), persistent=False)

    def forward(self, inputs: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        weight = self.weight * self.mask
        if weight.ndim == 2:
            return F.linear(inputs, weight, self.bias)
        return _each(inputs, weight.transpose(1, 2), self.bias)


class ScoredLinear(nn.Module):
    """A linear layer y = x (m * W)^T + b whose mask is trained: W and b are frozen, m = [scores > threshold].

    Backward, the comparison counts as the identity (straight-through): dL/dscores = dL/dm = dL/d(mW) * W, for
    removed weights too, which is how they come back   [SRNets, equation 1, where it is >=; the code has >].
    `scores` are (masks, out, in), `threshold` (masks, 1, 1): several masks are trained together on one
    copy of the weights, with a batch as `MaskedLinear` takes it. `frozen` is the precision the weights are kept in.
    """

    weight: Tensor
    bias: Tensor | None
    threshold: Tensor

    def __init__(
        self, linear: nn.Linear, scores: Scores, threshold: Float[Tensor, "masks 1 1"], frozen: torch.dtype
    ) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.detach().to(frozen), persistent=False)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach(), persistent=False)
        self.register_buffer("threshold", threshold, persistent=False)
        self.scores = nn.Parameter(scores)

    def forward(self, inputs: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        made: Tensor = _Straight.apply(inputs, self.weight, self.scores, self.threshold)  # type: ignore[no-untyped-call]
        return made if self.bias is None else made + self.bias.to(made)


class _Straight(torch.autograd.Function):
    """x ([scores > threshold] * W)^T. Masks and masked weights are made again for the backward pass, not kept."""

    @staticmethod
    def forward(ctx, inputs, weight, scores, threshold):  # type: ignore[no-untyped-def]
        kind = inputs.device.type
        # Under autocast as a linear layer is; the mask is chosen in the scores' own precision.
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
        inputs = inputs.to(dtype)
        ctx.save_for_backward(inputs, weight, scores, threshold)
        return _each(inputs, (weight.to(dtype) * (scores > threshold)).transpose(1, 2))

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        inputs, weight, scores, threshold = ctx.saved_tensors
        back = None
        if ctx.needs_input_grad[0]:
            back = _each(gradient, weight.to(gradient.dtype) * (scores > threshold))
        shape = (len(scores), -1)
        of_mask = torch.bmm(
            gradient.reshape(*shape, gradient.shape[-1]).transpose(1, 2),
            inputs.reshape(*shape, inputs.shape[-1]),
        )
        return back, None, of_mask.float().mul_(weight), None


def _each(inputs: Tensor, weights: Float[Tensor, "masks in out"], bias: Tensor | None = None) -> Tensor:
    """Each mask's share of the batch through its own weights."""
    if len(inputs) % len(weights):  # also what no batch has, as DeBERTa's positions
        raise ValueError(f"masks: a batch of {len(inputs)} cannot be shared equally by {len(weights)} masks")
    rows = inputs.reshape(len(weights), -1, inputs.shape[-1])
    made = torch.bmm(rows, weights) if bias is None else torch.baddbmm(bias, rows, weights)
    return made.reshape(*inputs.shape[:-1], weights.shape[-1])


def linears(
    model: nn.Module, parts: Collection[Part] = ENCODER
) -> dict[str, nn.Linear | MaskedLinear | ScoredLinear]:
    """The linear layers of some parts of a classifier by their names, in the model's order.

    encoder: inside the stack of layers, Q, K, V, attention output and both FFN matrices of each for BERT; classifier:
    the last one, onto the labels; pooler: between the two, as BERT's pooler, or the first of two in a head
    (RoBERTa, DistilBERT, ELECTRA). Embeddings are outside.
    """
    found: dict[str, nn.Linear | MaskedLinear | ScoredLinear] = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | MaskedLinear | ScoredLinear) and "embeddings" not in name
    }
    part: dict[str, Part] = {
        name: "encoder" if any(piece.isdigit() for piece in name.split(".")) else "pooler" for name in found
    }
    outside = [name for name in found if part[name] == "pooler"]
    if outside:
        part[outside[-1]] = "classifier"
    return {name: module for name, module in found.items() if part[name] in parts}


def wrap(model: nn.Module, parts: Collection[Part] = ENCODER) -> dict[str, MaskedLinear]:
    """Put every linear layer of these parts behind a mask of ones, in place; wrapping twice changes nothing."""
    layers = linears(model, parts)
    if not layers:
        raise ValueError(f"masks.wrap: {type(model).__name__} has no linear layers inside a layer stack")
    masked = {}
    for name, linear in layers.items():
        if isinstance(linear, ScoredLinear):
            raise ValueError(f"masks.wrap: {name} is training its scores; wrap a fresh copy of the model")
        masked[name] = linear if isinstance(linear, MaskedLinear) else MaskedLinear(linear)
        model.set_submodule(name, masked[name])
    return masked


def unwrap(model: nn.Module) -> None:
    """Make the masks permanent, in place: plain linear layers again, zeros where the mask was 0."""
    for name, masked in linears(model, PARTS).items():
        if isinstance(masked, MaskedLinear):
            if masked.mask.ndim == 3:
                raise ValueError(f"masks.unwrap: {name} has {len(masked.mask)} masks; a model takes one")
            linear = nn.Linear(1, 1, bias=masked.bias is not None, device="meta")
            linear.out_features, linear.in_features = masked.weight.shape
            linear.weight, linear.bias = masked.weight, masked.bias
            with torch.no_grad():
                linear.weight.mul_(masked.mask)
            model.set_submodule(name, linear)


def assign(layers: Mapping[str, MaskedLinear], masks: Mapping[str, Bool[Tensor, "*masks out in"]]) -> None:
    """Set the masks of wrapped layers by name; names and shapes must be the model's own."""
    if layers.keys() != masks.keys():
        differ = sorted(layers.keys() ^ masks.keys())
        raise ValueError(
            f"masks.assign: the masks and the model differ in {len(differ)} layers, first {differ[0]}"
        )
    for name, mask in masks.items():
        if mask.shape[-2:] != layers[name].weight.shape:
            raise ValueError(
                f"masks.assign: {name} is {tuple(layers[name].weight.shape)} in the model, "
                f"{tuple(mask.shape)} in the masks"
            )
    for name, mask in masks.items():
        layers[name].mask = mask.to(layers[name].weight.device)
