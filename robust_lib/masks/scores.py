"""Training masks: scores and how they begin, exact sparsity by re-thresholding, how far a learning rate carries."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from robust_lib.masks.choice import Mask, largest, magnitude
from robust_lib.masks.layers import PARTS, Part, ScoredLinear, linears

Init = Literal["hard", "soft"]

THRESHOLD = 0.01  # phi of the reference code
GAP = 0.02  # between kept and removed entries at hard initialisation: its alpha = 2 times phi, and 0


def score(
    model: nn.Module,
    sparsities: Sequence[float],
    *,
    init: Init = "hard",
    parts: Collection[Part] = PARTS,
    frozen: torch.dtype = torch.float32,
) -> dict[str, ScoredLinear]:
    """Freeze the whole model and give its matrices scores, in place: these alone have a gradient then.

    Every mask begins as the magnitude mask of its sparsity, one mask for each of `sparsities`. hard: scores of
    GAP where it keeps, 0 where it removes, THRESHOLD between them. soft: the scores are |W| itself, which the
    gradual increase of sparsity starts from   [SRNets, sections 3.2.2 and 5.2; values from the reference code]
    `frozen` is the precision in which the weights are kept meanwhile.
    """
    layers = linears(model, parts)
    if not layers:
        raise ValueError(f"masks.score: {type(model).__name__} has no linear layers inside a layer stack")
    model.requires_grad_(False)
    scored = {}
    for name, linear in layers.items():
        if not isinstance(linear, nn.Linear):
            raise ValueError(f"masks.score: {name} is a {type(linear).__name__}, no plain linear layer")
        weight = linear.weight.detach().float()
        scores = [magnitude(weight, one) * GAP if init == "hard" else weight.abs() for one in sparsities]
        threshold = torch.full((len(sparsities), 1, 1), THRESHOLD, device=weight.device)
        scored[name] = ScoredLinear(linear, torch.stack(scores), threshold, frozen)
        model.set_submodule(name, scored[name])
    if init == "soft":
        rethreshold(scored, sparsities)
    return scored


@torch.no_grad()
def rethreshold(layers: Mapping[str, ScoredLinear], sparsities: Sequence[float]) -> None:
    """Set every matrix's thresholds so that its masks have these sparsities exactly, as `largest` removes them.

    Kept scores that equal the largest removed one move up by one float: > must tell them apart.
    """
    for layer in layers.values():
        for scores, threshold, sparsity in zip(layer.scores, layer.threshold, sparsities, strict=True):
            kept = largest(scores, sparsity)
            threshold.fill_(scores[~kept].max() if not kept.all() else -math.inf)
            scores.copy_(
                torch.where(kept & (scores <= threshold), threshold.nextafter(threshold + 1), scores)
            )


def current(layers: Mapping[str, ScoredLinear], index: int = 0) -> dict[str, Mask]:
    """The masks as the scores have them now, of those trained together the one at `index`, on the CPU."""
    return {name: (layer.scores[index] > layer.threshold[index]).cpu() for name, layer in layers.items()}


def changed(masks: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    """Share of entries in which two sets of masks differ, in [0, 1]."""
    differ = sum(int((mask != others[name]).sum()) for name, mask in masks.items())
    return differ / sum(mask.numel() for mask in masks.values())


def travel(learning_rates: Iterable[float]) -> float:
    """How far a score can go in a training, in gaps between kept and removed entries: sum of the rates / GAP.

    Adam moves an entry by at most about the learning rate per step. Two entries change places when each has gone half
    the gap, so below 1/2 the mask stays the magnitude mask it began as, whatever the loss.
    """
    return sum(learning_rates) / GAP


def wandering(learning_rates: Iterable[float]) -> float:
    """How far a score goes by chance alone, in gaps: sqrt(sum of squared rates) / GAP.

    A random walk of Adam's steps: from about 1/2 on, noise exchanges entries whatever their gradients say.
    """
    return math.sqrt(sum(rate**2 for rate in learning_rates)) / GAP
