"""Debiased linear CKA of two representations of the same points, from sums that add over the points.

The similarity of two representations that needs no neighbours: Kornblith et al. (2019) with the unbiased estimate
HSIC_1 of Song et al. (2012), as Nguyen et al. (2021) take it. No Gram matrix of the points is made: a block of points
adds its sums to those of the others, in double precision. Rotating, shifting or scaling either representation changes
nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

Representation = Float[Tensor, "points width"]
Parts = Float64[Tensor, " 1+blocks"]
NOTHING = 1e-12  # share of HSIC below which what is left of it is rounding


class Sums(NamedTuple):
    """Sums over points of what HSIC_1 of x and y is made of; those of two sets of points add, term by term."""

    points: Tensor
    x: Tensor
    y: Tensor
    xy: Tensor  # x y^T
    xx: Tensor  # |x|^2
    yy: Tensor  # |y|^2
    xyy: Tensor  # x |y|^2
    xxy: Tensor  # |x|^2 y
    xxyy: Tensor  # |x|^2 |y|^2


def similarity(first: Representation, second: Representation, *, blocks: int = 20) -> float:
    """Debiased linear CKA of two representations of the same points, in [-1, 1].

    HSIC_1(X, Y) / sqrt(HSIC_1(X, X) HSIC_1(Y, Y)): 1 for the same up to rotation, shift and scale, about 0 for
    unrelated ones however wide they are, and 0 for one that is the same for all points, of which there is nothing to be
    similar to. `blocks` bound the memory and change nothing else. ValueError as `hsic`.
    """
    own = (hsic(rows, rows, blocks=blocks) for rows in (first, second))
    return float(_ratio(hsic(first, second, blocks=blocks), *own)[0])


def pseudo_values(between: Parts, first: Parts, second: Parts) -> Float64[Tensor, " blocks"]:
    """Delete-one-block jackknife pseudo-values of CKA, from `hsic` of a pair and of each of the two with itself.

    B CKA - (B - 1) CKA without the block, shifted by their bias, so that the mean over the B blocks is the CKA of all
    points: their spread over sqrt(B) is its standard error.
    """
    ratio = _ratio(between, first, second)
    values = -(len(ratio) - 2) * ratio[1:]
    return values - values.mean() + ratio[0]


def hsic(first: Representation, second: Representation, *, blocks: int) -> Parts:
    """HSIC_1 of all points, and of all but each block of successive points in turn.

    1 / (n (n - 3)) [tr(K L) + (1^T K 1) (1^T L 1) / ((n - 1) (n - 2)) - 2 / (n - 2) 1^T K L 1], where K and L are
    the Gram matrices with a diagonal of 0 (Song et al. 2012). Of one representation with itself at least
    0. ValueError for representations of other points, values that are not finite, fewer than 2 blocks, and fewer than 4
    points without the largest block.
    """
    _check(first, second, blocks)
    # Shifted by the first point: what is constant is 0 exactly, and a large common part takes no digits.
    parts = [
        _sums(x.double() - first[0].double(), y.double() - second[0].double())
        for x, y in zip(torch.tensor_split(first, blocks), torch.tensor_split(second, blocks), strict=True)
    ]
    whole = Sums(*(sum(terms[1:], start=terms[0]) for terms in zip(*parts, strict=True)))
    without = (Sums(*(a - b for a, b in zip(whole, part, strict=True))) for part in parts)
    return torch.stack([_hsic(sums) for sums in (whole, *without)]).cpu()


def _sums(x: Float64[Tensor, "points first"], y: Float64[Tensor, "points second"]) -> Sums:
    xx, yy = x.square().sum(dim=1), y.square().sum(dim=1)
    count = torch.tensor(len(x), dtype=torch.float64, device=x.device)
    return Sums(count, x.sum(dim=0), y.sum(dim=0), x.T @ y, xx.sum(), yy.sum(), yy @ x, xx @ y, xx @ yy)


def _hsic(s: Sums) -> Float64[Tensor, ""]:
    n = s.points
    trace = s.xy.square().sum() - s.xxyy
    totals = (s.x @ s.x - s.xx) * (s.y @ s.y - s.yy)
    rows = s.x @ s.xy @ s.y - s.x @ s.xyy - s.xxy @ s.y + s.xxyy  # of the rows' sums in K and in L
    return (trace + totals / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3))


def _ratio(between: Parts, first: Parts, second: Parts) -> Parts:
    """CKA of all points and without each block; 0 where a representation has nothing but rounding left."""
    norms = [torch.where(own > NOTHING * own[0], own, 0).sqrt() for own in (first, second)]
    scale = norms[0] * norms[1]
    return torch.where(scale > 0, between / scale.where(scale > 0, 1), 0).clamp(-1, 1)


def _check(first: Representation, second: Representation, blocks: int) -> None:
    if len(first) != len(second):
        raise ValueError(f"cka: {len(first)} and {len(second)} points: both represent the same ones")
    if not (first.isfinite().all() and second.isfinite().all()):
        raise ValueError("cka: a representation holds values that are not finite")
    if blocks < 2 or len(first) - -(-len(first) // blocks) < 4:
        raise ValueError(
            f"cka: {len(first)} points in {blocks} blocks: it takes 2 blocks, and 4 points without the largest"
        )
