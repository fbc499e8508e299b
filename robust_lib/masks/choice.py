"""What a mask keeps of one matrix: the largest of some values, at an exact sparsity."""

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Weight = Float[Tensor, "out in"]
Mask = Bool[Tensor, "out in"]


def largest(values: Weight, sparsity: float) -> Mask:
    """Keep the largest values of one matrix; exactly round(sparsity * size) entries are removed.

    `sparsity` is the share removed, in [0, 1]; 0 keeps all, 1 none. Ties at the threshold are removed in
    storage order, so the count is exact and the same everywhere.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"masks: sparsity is {sparsity}; it must lie in [0, 1]")
    removed = round(sparsity * values.numel())
    mask = torch.ones(values.numel(), dtype=torch.bool, device=values.device)
    if removed:
        flat = values.detach().flatten()
        threshold = flat.kthvalue(removed).values
        mask = flat > threshold
        ties = (flat == threshold).nonzero().flatten()
        mask[ties[removed - int((flat < threshold).sum()) :]] = True
    return mask.view_as(values)


def magnitude(weight: Weight, sparsity: float) -> Mask:
    """Keep the largest |w|, as `largest` does."""
    return largest(weight.detach().abs(), sparsity)


def sparsity(tensors: Iterable[Tensor]) -> float:
    """Share of zeros over all entries of all tensors (masks or pruned weights), in [0, 1]."""
    zeros, entries = 0, 0
    for tensor in tensors:
        zeros += tensor.numel() - int(torch.count_nonzero(tensor))
        entries += tensor.numel()
    return zeros / entries
