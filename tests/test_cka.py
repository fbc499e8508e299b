"""Debiased CKA from sums, beside the same from the Gram matrices of all points."""

import numpy as np
import pytest
import torch

from robust_lib import cka


def draw(points, width, seed=0):
    return torch.randn(points, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def alike(points=90):
    """Two representations that share something."""
    first = draw(points, 6)
    return first, torch.cat([first[:, :3] * 2, draw(points, 5, seed=1)], dim=1) + 4


def reference_hsic(x, y):
    """The estimate of Song et al. (2012) as printed, from Gram matrices without their diagonals."""
    n, (k, l) = len(x), [(rows @ rows.T).fill_diagonal_(0) for rows in (x, y)]  # noqa: E741
    ones = torch.ones(n, dtype=torch.float64)
    inner = (k @ l).trace() + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return (inner - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3))


def reference_cka(x, y):
    return float(reference_hsic(x, y) / (reference_hsic(x, x) * reference_hsic(y, y)).sqrt())


@pytest.mark.parametrize(("points", "blocks"), [(8, 2), (41, 3), (90, 20)])
def test_hsic_is_that_of_the_gram_matrices_with_and_without_each_block(points, blocks):
    first, second = alike(points)
    found = cka.hsic(first, second, blocks=blocks)
    torch.testing.assert_close(found[0], reference_hsic(first, second))
    for block, left in enumerate(np.array_split(np.arange(points), blocks)):
        others = np.setdiff1d(np.arange(points), left)
        torch.testing.assert_close(found[block + 1], reference_hsic(first[others], second[others]))


@pytest.mark.parametrize("blocks", [2, 7, 30])
def test_cka_is_that_of_the_gram_matrices_whatever_the_blocks(blocks):
    first, second = alike()
    value = cka.similarity(first, second, blocks=blocks)
    assert value == pytest.approx(reference_cka(first, second), abs=1e-12)
    assert 0.1 < value < 0.9
    assert cka.similarity(second, first, blocks=blocks) == pytest.approx(value, abs=1e-12)


def test_rotation_shift_and_scale_change_nothing():
    first, second = alike()
    rotation = torch.linalg.qr(draw(6, 6, seed=2)).Q
    value = cka.similarity(first, second)
    assert cka.similarity(first @ rotation, second) == pytest.approx(value, abs=1e-12)
    assert cka.similarity(100 * first - 7, 0.01 * second) == pytest.approx(value, abs=1e-12)
    assert cka.similarity(first + 1e5, second) == pytest.approx(value, abs=1e-8)
    assert cka.similarity(first, first @ rotation * 3 + 1) == pytest.approx(1, abs=1e-12)


def test_unrelated_representations_are_not_alike_however_wide():
    """Plain CKA of noise nears 1 as the width passes the number of points; the debiased is about 0."""
    values = [
        cka.similarity(draw(60, 300, seed=seed), draw(60, 300, seed=seed + 50), blocks=4)
        for seed in range(20)
    ]
    assert abs(np.mean(values)) < 0.01
    assert max(np.abs(values)) < 0.1


@pytest.mark.parametrize("constant", [torch.full((30, 4), 0.1), torch.zeros(30, 4), draw(1, 4).repeat(30, 1)])
def test_a_constant_representation_is_like_nothing(constant):
    other = draw(30, 5)
    assert cka.similarity(constant, other) == cka.similarity(other, constant) == 0
    assert cka.similarity(constant, constant) == 0


def test_what_is_left_without_a_block_may_be_constant():
    first, second = draw(30, 4), draw(30, 5, seed=1)
    first[3:] = first[-1]  # all that varies is in the first of ten blocks
    parts = [cka.hsic(x, y, blocks=10) for x, y in ((first, second), (first, first), (second, second))]
    values = cka.pseudo_values(*parts)
    assert values.isfinite().all()
    value = cka.similarity(first, second)
    ratio = [parts[0][b] / (parts[1][b] * parts[2][b]).sqrt() if b != 1 else 0 for b in range(11)]
    expected = -9 * torch.tensor(ratio[1:], dtype=torch.float64)
    torch.testing.assert_close(values, expected - expected.mean() + value)


def test_pseudo_values_are_those_of_a_jackknife_about_the_whole():
    first, second = alike()
    parts = [cka.hsic(x, y, blocks=9) for x, y in ((first, second), (first, first), (second, second))]
    values = cka.pseudo_values(*parts)
    whole = reference_cka(first, second)
    without = []
    for left in np.array_split(np.arange(90), 9):
        others = np.setdiff1d(np.arange(90), left)
        without.append(reference_cka(first[others], second[others]))
    assert float(values.mean()) == pytest.approx(whole, abs=1e-12)
    error = np.sqrt(8 / 9 * np.sum((np.array(without) - np.mean(without)) ** 2))
    assert float(values.std() / 3) == pytest.approx(error, rel=1e-9)


def test_single_precision_is_summed_in_double():
    first, second = (rows.float() for rows in alike())
    assert cka.similarity(first, second) == pytest.approx(
        reference_cka(first.double(), second.double()), abs=1e-12
    )


def test_what_has_no_cka_is_refused():
    first, second = alike(10)
    with pytest.raises(ValueError, match="10 and 9 points: both represent the same ones"):
        cka.hsic(first, second[1:], blocks=2)
    with pytest.raises(ValueError, match="10 points in 1 blocks: it takes 2"):
        cka.hsic(first, second, blocks=1)
    with pytest.raises(ValueError, match="7 points in 2 blocks: it takes 2 blocks, and 4 points"):
        cka.hsic(first[:7], second[:7], blocks=2)
    first[2, 1] = torch.inf
    with pytest.raises(ValueError, match="a representation holds values that are not finite"):
        cka.similarity(first, second, blocks=2)
