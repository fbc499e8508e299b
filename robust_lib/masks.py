"""Linear layers seen through a 0/1 mask: wrapping, magnitude masks of exact sparsity, bit-packed masks.

Any transformers encoder works: the linear layers inside its layer stack are replaced in place, its code is not.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn

Weight = Float[Tensor, "out in"]
Mask = Bool[Tensor, "out in"]


class MaskedLinear(nn.Module):
    """A linear layer y = x (m * W)^T + b. A mask of ones is the plain layer.

    Weights outside the mask neither act nor receive a gradient. They stay stored (an optimiser's momentum and
    decay may still move them), so a later mask can bring them back: this is how the reference magnitude
    pruning works (Sanh et al. 2020).
    """

    mask: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("mask", torch.ones_like(linear.weight), persistent=False)

    def forward(self, inputs: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        return F.linear(inputs, self.weight * self.mask, self.bias)


def encoder_linears(model: nn.Module) -> dict[str, nn.Linear | MaskedLinear]:
    """The linear layers of the encoder's layer stack by their names: Q, K, V, attention output and both FFN
    matrices of every layer for BERT. Embeddings, pooler and classifier are outside."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | MaskedLinear) and any(part.isdigit() for part in name.split("."))
    }


def wrap(model: nn.Module) -> dict[str, MaskedLinear]:
    """Put every encoder linear behind a mask of ones, in place; wrapping twice changes nothing."""
    linears = encoder_linears(model)
    if not linears:
        raise ValueError(f"masks.wrap: {type(model).__name__} has no linear layers inside a layer stack")
    masked = {}
    for name, linear in linears.items():
        masked[name] = linear if isinstance(linear, MaskedLinear) else MaskedLinear(linear)
        model.set_submodule(name, masked[name])
    return masked


def unwrap(model: nn.Module) -> None:
    """Make the masks permanent, in place: plain linear layers again, zeros where the mask was 0."""
    for name, masked in encoder_linears(model).items():
        if isinstance(masked, MaskedLinear):
            linear = nn.Linear(1, 1, bias=masked.bias is not None, device="meta")
            linear.out_features, linear.in_features = masked.weight.shape
            linear.weight, linear.bias = masked.weight, masked.bias
            with torch.no_grad():
                linear.weight.mul_(masked.mask)
            model.set_submodule(name, linear)


def magnitude(weight: Weight, sparsity: float) -> Mask:
    """Keep the largest |w| of one matrix; exactly round(sparsity * size) entries are removed.

    `sparsity` is the share removed, in [0, 1]; 0 keeps all, 1 none. Ties at the threshold are removed in
    storage order, so the count is exact and the same everywhere.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"masks.magnitude: sparsity is {sparsity}; it must lie in [0, 1]")
    removed = round(sparsity * weight.numel())
    mask = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    if removed:
        size = weight.detach().abs().flatten()
        threshold = size.kthvalue(removed).values
        mask = size > threshold
        ties = (size == threshold).nonzero().flatten()
        mask[ties[removed - int((size < threshold).sum()) :]] = True
    return mask.view_as(weight)


def apply(masked: Mapping[str, MaskedLinear], masks: Mapping[str, Mask]) -> None:
    """Set the masks of wrapped layers by name; names and shapes must be the model's own."""
    if masked.keys() != masks.keys():
        differ = sorted(masked.keys() ^ masks.keys())
        raise ValueError(
            f"masks.apply: the masks and the model differ in {len(differ)} layers, first {differ[0]}"
        )
    for name, mask in masks.items():
        if mask.shape != masked[name].weight.shape:
            raise ValueError(
                f"masks.apply: {name} is {tuple(masked[name].weight.shape)} in the model, "
                f"{tuple(mask.shape)} in the masks"
            )
        masked[name].mask.copy_(mask)


def sparsity(tensors: Iterable[Tensor]) -> float:
    """Share of zeros over all entries of all tensors (masks or pruned weights), in [0, 1]."""
    zeros, entries = 0, 0
    for tensor in tensors:
        zeros += tensor.numel() - int(torch.count_nonzero(tensor))
        entries += tensor.numel()
    return zeros / entries


def save(path: Path | str, masks: Mapping[str, Mask]) -> None:
    """Write masks as one bit per entry (safetensors): BERT-base's 84,934,656 encoder weights take 10.6 MB."""
    packed = {name: np.packbits(mask.cpu().numpy()) for name, mask in masks.items()}
    shapes = {name: "x".join(map(str, mask.shape)) for name, mask in masks.items()}
    save_file(packed, str(path), metadata=shapes)


def load(path: Path | str) -> dict[str, Mask]:
    """Read masks written by `save`."""
    with safe_open(str(path), framework="numpy") as file:
        shapes = file.metadata() or {}
        masks = {}
        for name in file.keys():  # noqa: SIM118 (the file object is no mapping)
            shape = tuple(map(int, shapes[name].split("x")))
            bits = np.unpackbits(file.get_tensor(name), count=int(np.prod(shape)))
            masks[name] = torch.from_numpy(bits.view(bool).reshape(shape))
    return masks
