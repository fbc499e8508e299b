import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lib import losses

GRID = [(1, 2), (4, 3), (7, 5)]


def draw(batch, classes, seed=0, scale=3.0):
    return scale * torch.randn(
        batch, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def reference_ce(logits, labels):
    rows = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        rows.append(math.log(sum(math.exp(z) for z in row)) - row[label])
    return sum(rows) / len(rows)


def reference_kd(logits, teacher_logits, temperature):
    def softmax(row):
        powers = [math.exp(z / temperature) for z in row]
        return [power / sum(powers) for power in powers]

    total = 0.0
    for student, teacher in zip(logits.tolist(), teacher_logits.tolist(), strict=True):
        p, q = softmax(teacher), softmax(student)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(logits) * temperature**2


@pytest.mark.parametrize(("batch", "classes"), GRID)
def test_ce_equals_reference(batch, classes):
    logits, labels = draw(batch, classes), torch.arange(batch) % classes
    assert losses.ce(logits, labels).item() == pytest.approx(reference_ce(logits, labels), abs=1e-9)


def test_ce_of_uniform_logits_is_log_classes():
    assert losses.ce(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])).item() == pytest.approx(math.log(3))


@pytest.mark.parametrize(("batch", "classes"), GRID)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
def test_kd_equals_reference(batch, classes, temperature):
    student, teacher = draw(batch, classes, 1), draw(batch, classes, 2)
    ours = losses.kd(student, teacher, temperature=temperature).item()
    assert ours == pytest.approx(reference_kd(student, teacher, temperature), abs=1e-9)


@given(st.floats(0.1, 20), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_kd_is_zero_only_for_equal_distributions(temperature, seed):
    logits = draw(3, 4, seed)
    assert losses.kd(logits, logits + 5.0, temperature=temperature).item() == pytest.approx(0, abs=1e-9)
    assert losses.kd(logits, logits.flip(-1), temperature=temperature).item() > 0


def test_kd_at_high_temperature_is_the_distance_of_centred_logits():
    student, teacher = draw(5, 3, 1, 1.0), draw(5, 3, 2, 1.0)
    centre = [logits - logits.mean(-1, keepdim=True) for logits in (student, teacher)]
    distance = (centre[0] - centre[1]).square().sum(-1).mean() / (2 * 3)
    assert losses.kd(student, teacher, temperature=1e4).item() == pytest.approx(distance.item(), rel=1e-3)


def test_kd_refuses_a_temperature_of_zero():
    with pytest.raises(ValueError, match=r"temperature is 0.0; it must be positive"):
        losses.kd(torch.zeros(1, 2), torch.zeros(1, 2), temperature=0.0)
