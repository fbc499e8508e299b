import pytest
import torch

from robust_lib import losses, smoothing


def draw(*shape, seed=0):
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference_smoothed(probabilities, degree):
    rows = []
    for row, d in zip(probabilities.tolist(), degree.tolist(), strict=True):
        powers = [p**d for p in row]
        rows.append([power / sum(powers) for power in powers])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(("levels", "examples"), [(1, 4), (2, 3), (5, 7)])
def test_variance_is_the_mean_squared_deviation(levels, examples):
    values = draw(levels, examples)
    for i, ours in enumerate(smoothing.variance(values).tolist()):
        column = values[:, i].tolist()
        mean = sum(column) / levels
        assert ours == pytest.approx(sum((one - mean) ** 2 for one in column) / levels, abs=1e-12)


def test_difficulty_runs_from_alpha_to_one_in_the_order_of_the_variances():
    spread = torch.tensor([0.3, 0.1, 0.5, 0.2])
    torch.testing.assert_close(smoothing.difficulty(spread, 0.5), torch.tensor([0.75, 0.5, 1.0, 0.625]))


def test_alpha_one_finds_everything_hard():
    assert smoothing.difficulty(torch.tensor([0.3, 0.1]), 1.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(ValueError, match=rf"alpha is {alpha}; it must lie in \[0, 1\]"):
        smoothing.difficulty(torch.tensor([0.3, 0.1]), alpha)


def test_equal_variances_are_refused():
    with pytest.raises(ValueError, match=r"all 3 variances are 0.25; none is easier"):
        smoothing.difficulty(torch.full((3,), 0.25), 0.5)


@pytest.mark.parametrize(("batch", "classes"), [(1, 2), (4, 3), (7, 5)])
def test_smoothing_is_equation_2(batch, classes):
    logits, degree = draw(batch, classes), torch.linspace(0, 1, batch, dtype=torch.float64)
    ours = smoothing.smooth(logits, degree).softmax(-1)
    torch.testing.assert_close(ours, reference_smoothed(logits.softmax(-1), degree))


def test_a_degree_of_one_leaves_the_teacher_and_zero_makes_it_uniform():
    logits = draw(4, 3)
    assert torch.equal(smoothing.smooth(logits, torch.ones(4, dtype=torch.float64)), logits)
    flat = smoothing.smooth(logits, torch.zeros(4, dtype=torch.float64)).softmax(-1)
    torch.testing.assert_close(flat, torch.full((4, 3), 1 / 3, dtype=torch.float64))


def test_a_smaller_degree_has_more_entropy_and_keeps_the_order_of_the_classes():
    logits = draw(1, 4).expand(5, 4)
    smoothed = smoothing.smooth(logits, torch.linspace(0.2, 1, 5, dtype=torch.float64)).softmax(-1)
    entropy = -(smoothed * smoothed.log()).sum(-1)
    assert (entropy.diff() < 0).all()
    assert (smoothed.argsort(dim=-1) == logits.argsort(dim=-1)).all()


def test_rmc_with_equal_difficulties_is_smooth():
    student, teacher, labels = draw(6, 3, seed=1), draw(6, 3, seed=2), torch.arange(6) % 3
    each = smoothing.smooth(teacher, torch.full((6,), 0.9, dtype=torch.float64))
    whole = losses.distilled(student, labels, 0.9 * teacher, weight=0.9)
    torch.testing.assert_close(losses.distilled(student, labels, each, weight=0.9), whole)
