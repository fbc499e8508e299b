"""Exact neighbours beside a search by definition in double precision, scikit-learn's and faiss's."""

import numpy as np
import pytest
import torch
from scipy.spatial import distance
from sklearn.neighbors import NearestNeighbors

from robust_lib import neighbours


def draw(points, width, seed=0, shift=0.0):
    return torch.randn(points, width, generator=torch.Generator().manual_seed(seed)) + shift


def signs(points, width=16, seed=0):
    """Vectors of 1 and -1: their cosines are multiples of 1 / 16, computed without rounding, and often equal."""
    return draw(points, width, seed).sign()


def reference_nearest(vectors, k):
    """All cosines of a point, sorted by the definition: the larger first, then the lower index."""
    unit = vectors.double().numpy()
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    rows = []
    for point in range(len(unit)):
        others = [other for other in range(len(unit)) if other != point]
        rows.append(sorted(others, key=lambda other: (-float(unit[point] @ unit[other]), other))[:k])
    return torch.tensor(rows)


def reference_shared(first, second, ks):
    return torch.tensor(
        [[len({*a[:k]} & {*b[:k]}) for k in ks] for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    )


# Blocks that divide the points and that do not, of one point, and groups that leave some over.
@pytest.mark.parametrize(("points", "k"), [(2, 1), (7, 6), (60, 1), (61, 5), (97, 96), (130, 40)])
@pytest.mark.parametrize("block", [1, 10, 48, 2048])
def test_neighbours_are_those_of_the_definition(points, k, block):
    vectors = draw(points, 9)
    assert torch.equal(neighbours.nearest(vectors, k, block=block), reference_nearest(vectors, k))


@pytest.mark.parametrize("k", [1, 5, 30, 69])
@pytest.mark.parametrize("block", [1, 16, 33, 2048])
def test_of_equal_cosines_the_lower_index_comes_first(k, block):
    vectors = signs(70)
    vectors[[5, 20, 69]] = vectors[40].clone()
    assert torch.equal(neighbours.nearest(vectors, k, block=block), reference_nearest(vectors, k))


def test_all_points_the_same_are_neighbours_in_order():
    found = neighbours.nearest(torch.ones(9, 4), 8, block=4)
    assert found.tolist() == [[other for other in range(9) if other != point] for point in range(9)]


def test_the_same_as_scikit_learn_at_any_scale_of_the_vectors():
    vectors = draw(500, 24, shift=0.5)
    oracle = NearestNeighbors(n_neighbors=13, metric="cosine", algorithm="brute").fit(
        vectors.double().numpy()
    )
    expected = oracle.kneighbors(return_distance=False)
    assert (neighbours.nearest(vectors, 13).numpy() == expected).all()
    scaled = vectors * torch.linspace(0.01, 50, 500)[:, None]
    assert (neighbours.nearest(scaled, 13, block=100).numpy() == expected).all()


def test_a_vector_of_zeros_has_cosine_zero():
    vectors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]])
    assert neighbours.nearest(vectors, 3).tolist() == [[1, 2, 3], [2, 0, 3], [1, 0, 3], [0, 2, 1]]


@pytest.mark.parametrize("normalised", [True, False])
def test_distances_are_those_of_faiss_and_scipy(normalised):
    faiss = pytest.importorskip("faiss")
    points, queries, ks = draw(400, 20, shift=0.3), draw(90, 20, seed=1), [1, 3, 50, 400]
    found = neighbours.kth_distances(points, ks, queries=queries, normalised=normalised, block=64)
    # As the released code of deep nearest neighbours normalises, and by its index.
    base, asked = (
        rows.numpy() / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-10) if normalised else rows.numpy()
        for rows in (points, queries)
    )
    index = faiss.IndexFlatL2(20)
    index.add(base)
    columns = np.array(ks) - 1
    np.testing.assert_allclose(found, index.search(asked, 400)[0][:, columns], rtol=1e-4, atol=1e-5)
    every = np.sort(distance.cdist(asked.astype(float), base.astype(float), "sqeuclidean"), axis=1)
    np.testing.assert_allclose(found, every[:, columns], rtol=1e-5, atol=1e-7)


def test_normalised_distances_are_two_minus_two_cosines():
    vectors = draw(50, 8)
    near = neighbours.nearest(vectors, 4)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    cosines = torch.stack([(unit * unit[near[:, place]]).sum(dim=1) for place in range(4)], dim=1)
    torch.testing.assert_close(neighbours.kth_distances(vectors, [1, 2, 3, 4]), 2 - 2 * cosines)


def test_a_training_point_leaves_itself_out_but_not_its_double():
    points = draw(30, 6)
    points[7] = points[3]
    among, of_all = (
        neighbours.kth_distances(points, [1, 2], queries=queries, block=8) for queries in (None, points)
    )
    assert among[3, 0] == among[7, 0] == 0
    assert (among[[0, 1, 2]] > 0).all()
    assert (of_all[:, 0] == 0).all()
    torch.testing.assert_close(of_all[:, 1], among[:, 0])


def test_a_large_common_part_takes_no_digits_of_a_distance():
    points = (draw(80, 6) * 64).round() / 64  # so that adding 1,000 is exact
    plain, moved = (neighbours.kth_distances(x, [1, 5], normalised=False) for x in (points, points + 1000))
    torch.testing.assert_close(moved, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("ks", [[1], [6], [1, 2, 4, 6], [6, 3]])
def test_shared_is_the_size_of_the_intersection(ks):
    first, second = neighbours.nearest(draw(40, 5), 6), neighbours.nearest(draw(40, 5, seed=1), 6)
    assert torch.equal(neighbours.shared(first, second, ks), reference_shared(first, second, ks))


def test_all_neighbours_are_shared_with_oneself_and_with_another_order_of_them():
    near = neighbours.nearest(draw(40, 5), 6)
    assert torch.equal(neighbours.shared(near, near, [1, 4, 6]), torch.tensor([[1, 4, 6]] * 40))
    turned = neighbours.shared(near, near.flip(1), [1, 3, 6])
    assert torch.equal(turned, torch.tensor([[0, 0, 6]] * 40))


def test_what_cannot_be_searched_is_refused():
    vectors = draw(10, 4)
    for k in (0, 10):
        with pytest.raises(ValueError, match=rf"k is {k}; there are 1 to 9 neighbours to ask for"):
            neighbours.nearest(vectors, k)
    with pytest.raises(ValueError, match="k is 11; there are 1 to 10"):
        neighbours.kth_distances(vectors, [1, 11], queries=vectors)
    with pytest.raises(ValueError, match="queries are 3 wide, the points they are searched in 4"):
        neighbours.kth_distances(vectors, [1], queries=vectors[:, :3])
    vectors[[6, 8], 1] = torch.nan
    with pytest.raises(ValueError, match="2 of the vectors are not finite, the first is row 6"):
        neighbours.nearest(vectors, 2)
    near = neighbours.nearest(draw(10, 4), 3)
    with pytest.raises(ValueError, match=r"\(10, 3\) and \(9, 3\) are not of the same points and k"):
        neighbours.shared(near, near[1:], [1])
    with pytest.raises(ValueError, match="k is 4; there are 1 to 3"):
        neighbours.shared(near, near, [4])
