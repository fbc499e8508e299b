"""Exact nearest neighbours: under cosine, what two models share of them, and the distance to the k-th.

A block of queries meets a block of points in one product, of which only the groups that hold the largest values are
looked into. Memory is that of the vectors, of k numbers per query and of a few times block x block. The result is the
same at every run and, but for the rounding of the products, for every block. Everything stays where the tensors are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int32, Int64
from torch import Tensor

Vectors = Float[Tensor, "points width"]
Neighbours = Int64[Tensor, "points k"]
BLOCK = 2048  # points and queries of one product
_NUMBER = 0xFFFFFFFF  # the half of a ranked value that names the point


def nearest(vectors: Vectors, k: int, *, block: int = BLOCK) -> Neighbours:
    """The k nearest points of every point under cosine, nearest first, the point itself left out.

    KNN(P) of paper 2 (section 4), in single precision. Of equal cosines, as rounded, the lower index comes first. A
    vector of zeros has cosine 0 with every other. ValueError unless 1 <= k < points, and for a value that is not
    finite.
    """
    unit = F.normalize(_checked(vectors, "vectors"), dim=1)
    _check_k(k, len(unit) - 1)
    return _largest(unit, unit, k, own=True, block=block)


def shared(first: Neighbours, second: Neighbours, ks: Sequence[int]) -> Int64[Tensor, "points {len(ks)}"]:
    """How many of a point's k nearest neighbours in one model are among its k nearest in another, for every k of `ks`.

    |KNN_i(P) intersected with KNN_j(P)| of paper 2 (section 4), in 0 to k: k for equal sets in whatever order. Both
    are of `nearest`, of the same points and of at least the largest k.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"neighbours.shared: {tuple(first.shape)} and {tuple(second.shape)} are not of the same points and k"
        )
    most = first.shape[1]
    for k in ks:
        _check_k(k, most)
    ids, order = torch.cat([first, second], dim=1).sort(dim=1)
    ranks = order % most
    # A neighbour of both stands twice, side by side; it counts from the k that both its ranks are below.
    later = torch.where(ids[:, 1:] == ids[:, :-1], torch.maximum(ranks[:, 1:], ranks[:, :-1]), most)
    return torch.stack([(later < k).sum(dim=1) for k in ks], dim=1)


def kth_distances(
    points: Vectors,
    ks: Sequence[int],
    *,
    queries: Float[Tensor, "queries width"] | None = None,
    normalised: bool = True,
    block: int = BLOCK,
) -> Float[Tensor, "queries {len(ks)}"]:
    """Squared Euclidean distance of every query to its k-th nearest point, for every k of `ks`.

    The score of deep nearest neighbours (Sun et al. 2022; paper 2, section 5) with the other sign. `normalised`
    vectors are x / |x|: the distance is 2 - 2 cosine, in 0 to 4. Without queries those are the points themselves, each
    of which leaves itself out. ValueError for a k that there are not as many points for, and for a value that is not
    finite.
    """
    own = queries is None
    points = _checked(points, "points")
    queries = points if queries is None else _checked(queries, "queries")
    if queries.shape[1] != points.shape[1]:
        raise ValueError(
            f"neighbours: queries are {queries.shape[1]} wide, the points they are searched in {points.shape[1]}"
        )
    for k in ks:
        _check_k(k, len(points) - own)
    if normalised:
        points, queries = F.normalize(points, dim=1), F.normalize(queries, dim=1)
    # About the points' mean, as a large common part would take the digits of -|x - y|^2 / 2, which is a product of two
    # columns more. The distances returned are those of the vectors found.
    mean = points.mean(dim=0)
    near, here = points - mean, queries - mean
    found = _largest(_lifted(here), _lifted(near, turned=True), max(ks), own=own, block=block)
    places = found[:, torch.tensor(ks, device=points.device) - 1]
    rows = zip(torch.split(here, block), torch.split(places, block), strict=True)
    return torch.cat([(near[place] - row[:, None]).square().sum(dim=2) for row, place in rows])


def _largest(
    queries: Float[Tensor, "queries width"], points: Vectors, k: int, *, own: bool, block: int
) -> Int64[Tensor, "queries k"]:
    """The k points of largest product with each query, largest first and of equals the lower index.

    `own`: query and point of one number are the same, so that products are symmetric: each is computed once, and no
    point is among its own.
    """
    best = torch.full((len(queries), k), torch.iinfo(torch.int64).min, device=points.device)
    parts = [_laid(part, k) for part in torch.split(torch.arange(len(points), device=points.device), block)]
    rows = parts if own else torch.split(torch.arange(len(queries), device=points.device), block)
    for place, numbers in enumerate(parts):
        columns = points[numbers].T
        for asked in rows[place:] if own else rows:
            products = queries[asked] @ columns
            if own and asked is numbers:
                products.fill_diagonal_(-torch.inf)
            elif own:
                best[numbers] = _better(best[numbers], products.T.contiguous(), asked)
            best[asked] = _better(best[asked], products, numbers)
    return _NUMBER - (best.sort(dim=1, descending=True).values & _NUMBER)


def _lifted(vectors: Vectors, *, turned: bool = False) -> Float[Tensor, "points width+2"]:
    """x, -|x|^2 / 2, 1: its product with the same of y, the last two `turned` round, is -|x - y|^2 / 2."""
    norms = -vectors.square().sum(dim=1, keepdim=True) / 2
    ends = [torch.ones_like(norms), norms] if turned else [norms, torch.ones_like(norms)]
    return torch.cat([vectors, *ends], dim=1)


def _laid(numbers: Int64[Tensor, " points"], k: int) -> Int64[Tensor, " points"]:
    """Successive points in the order of a product's columns: the n-th of every group together, then the ungrouped.

    So the maxima of all groups are maxima of whole rows, which are fast, while a group's points are successive, so that
    of equal groups the one of lower number holds the lower points.
    """
    size, groups = _grouping(len(numbers), k)
    grouped = numbers[: size * groups].view(groups, size)
    return torch.cat([grouped.T.flatten(), numbers[size * groups :]])


def _grouping(count: int, k: int) -> tuple[int, int]:
    """Size and number of groups: about as many as there are points in the k that are looked into."""
    size = math.isqrt(max(1, count // k))
    return size, count // size


def _better(
    best: Int64[Tensor, "rows k"], products: Float[Tensor, "rows columns"], numbers: Int64[Tensor, " columns"]
) -> Int64[Tensor, "rows k"]:
    """The k best, in any order, of those so far and of a block of products, whose columns are these points, laid out.

    They lie in the k groups of the largest maxima, of equals in those of the lowest number.
    """
    k = best.shape[1]
    size, groups = _grouping(len(numbers), k)
    grouped = products[:, : size * groups].view(-1, size, groups)
    maxima = _ranked(grouped.amax(dim=1), torch.arange(groups, device=best.device))
    chosen = _NUMBER - (maxima.topk(min(k, groups), dim=1, sorted=False).values & _NUMBER)
    inside = grouped.gather(2, chosen[:, None].expand(-1, size, -1))
    names = numbers[: size * groups].view(size, groups).T[chosen].transpose(1, 2)
    candidates = [
        best,
        _ranked(inside, names).flatten(1),
        _ranked(products[:, size * groups :], numbers[size * groups :]),
    ]
    return torch.cat(candidates, dim=1).topk(k, dim=1, sorted=False).values


def _ranked(values: Float[Tensor, "*shape"], numbers: Int64[Tensor, "*_"]) -> Int64[Tensor, "*shape"]:
    """One integer that orders by value, then by the lower number (below 2^32)."""
    bits: Int32[Tensor, "*shape"] = (values + 0.0).view(torch.int32)  # -0.0 + 0.0 is 0.0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # negative floats are ordered the other way round
    return (ordered.long() << 32) | (_NUMBER - numbers)


def _checked(vectors: Vectors, name: str) -> Vectors:
    """In single precision; ValueError for a value that is not finite."""
    bad = (~vectors.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        raise ValueError(
            f"neighbours: {len(bad)} of the {name} are not finite, the first is row {int(bad[0])}"
        )
    return vectors.float()


def _check_k(k: int, most: int) -> None:
    if not 1 <= k <= most:
        raise ValueError(f"neighbours: k is {k}; there are 1 to {most} neighbours to ask for")
