from functools import partial

import pytest
import torch
from torch import nn

from robust_lib import masks, prune


@pytest.mark.parametrize(
    ("progress", "sparsity"),
    [(0, 0.700), (0.25, 0.8156), (0.5, 0.875), (0.75, 0.8969), (1, 0.900), (-1, 0.7), (2, 0.9)],
)
def test_cubic_gives_the_published_values(progress, sparsity):
    assert prune.cubic(progress, initial=0.7, final=0.9) == pytest.approx(sparsity, abs=5e-5)


def test_stepwise_rises_in_equal_jumps_and_the_first_comes_before_training():
    schedule = partial(prune.stepwise, final=0.9, steps=9)
    assert [round(schedule(step / 9), 3) for step in range(9)] == [
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
    ]
    assert schedule(1.0) == pytest.approx(0.9)
    assert prune.stepwise(0.0, initial=0.2, final=0.4) == pytest.approx(0.4)


@pytest.mark.parametrize("total", [3, 10, 1000])
def test_iterative_magnitude_reaches_the_sparsity_exactly_in_every_matrix(total):
    torch.manual_seed(0)
    layers = {name: masks.MaskedLinear(nn.Linear(10, 10)) for name in "ab"}
    hook = prune.iterative_magnitude(layers, partial(prune.cubic, final=0.6))
    seen = []
    for step in range(total + 1):
        hook(step, total)
        seen.append(masks.sparsity(layer.mask for layer in layers.values()))
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert [masks.sparsity([layer.mask]) for layer in layers.values()] == [0.6, 0.6]


def test_a_weight_that_grows_comes_back():
    layer = masks.MaskedLinear(nn.Linear(2, 2, bias=False))
    layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    hook = prune.iterative_magnitude({"layer": layer}, lambda progress: 0.25 if progress < 0.5 else 0.5)
    hook(0, 2)
    assert layer.mask.tolist() == [[0, 1], [1, 1]]
    layer.weight.data[0, 0] = 5.0
    hook(1, 2)
    assert layer.mask.tolist() == [[1, 0], [0, 1]]


def test_sparsity_zero_removes_nothing():
    layer = masks.MaskedLinear(nn.Linear(5, 5))
    hook = prune.iterative_magnitude({"layer": layer}, partial(prune.stepwise, final=0.0))
    for step in range(4):
        hook(step, 3)
    assert masks.sparsity([layer.mask]) == 0
