import math
import warnings

import pytest
import torch
import torch.nn.functional as F
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


@pytest.mark.parametrize(("batch", "classes"), GRID)
def test_kd_in_the_conventions_of_the_codebases(batch, classes):
    student, teacher = draw(batch, classes, 1), draw(batch, classes, 2)
    plain = reference_kd(student, teacher, 10.0)

    def ours(**conventions):
        return losses.kd(student, teacher, temperature=10.0, **conventions).item()

    assert ours() == pytest.approx(plain, abs=1e-9)
    assert ours(reduction="mean") == pytest.approx(plain / classes, abs=1e-9)
    assert ours(times_squared_temperature=False) == pytest.approx(plain / 100, abs=1e-9)
    # As BERT-PKD's code has it.
    p, q = (F.softmax(teacher / 10, dim=-1), F.log_softmax(student / 10, dim=-1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises batchmean
        theirs = torch.nn.KLDivLoss(reduction="mean")(q, p) * 10 * 10
    assert ours(reduction="mean") == pytest.approx(theirs.item(), abs=1e-9)


def states(batch, layers, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, layers, width, generator=generator, dtype=torch.float64)


def reference_pkd(student, teacher, normalized):
    squares = []
    for own, other in zip(student.flatten(0, 1).tolist(), teacher.flatten(0, 1).tolist(), strict=True):
        sizes = [math.sqrt(sum(x * x for x in h)) if normalized else 1 for h in (own, other)]
        squares += [(x / sizes[0] - y / sizes[1]) ** 2 for x, y in zip(own, other, strict=True)]
    return sum(squares) / len(squares)


@pytest.mark.parametrize("shape", [(1, 1, 2), (4, 5, 8), (3, 2, 1)])
@pytest.mark.parametrize("normalized", [True, False])
def test_pkd_equals_reference(shape, normalized):
    student, teacher = states(*shape, 1), states(*shape, 2)
    ours = losses.pkd(student, teacher, normalized=normalized).item()
    assert ours == pytest.approx(reference_pkd(student, teacher, normalized), abs=1e-12)


def test_pkd_is_of_directions_between_zero_and_four_over_the_width():
    one = states(4, 5, 8, 1)
    assert losses.pkd(one, 7 * one).item() == pytest.approx(0, abs=1e-12)
    assert losses.pkd(one, -one).item() == pytest.approx(4 / 8)
    assert losses.pkd(one, 7 * one, normalized=False).item() > 1


def test_kd_refuses_a_temperature_of_zero():
    with pytest.raises(ValueError, match=r"temperature is 0.0; it must be positive"):
        losses.kd(torch.zeros(1, 2), torch.zeros(1, 2), temperature=0.0)


@pytest.mark.parametrize(("batch", "classes"), GRID)
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, 1.0])
def test_distilled_mixes_labels_and_teacher(batch, classes, weight):
    student, teacher, labels = draw(batch, classes, 1), draw(batch, classes, 2), torch.arange(batch) % classes
    expected = (1 - weight) * reference_ce(student, labels) + weight * reference_kd(student, teacher, 1.0)
    assert losses.distilled(student, labels, teacher, weight=weight).item() == pytest.approx(
        expected, abs=1e-9
    )


def test_distilled_refuses_a_weight_outside_its_range():
    with pytest.raises(ValueError, match=r"weight is 1.5; it must lie in \[0, 1\]"):
        losses.distilled(torch.zeros(1, 2), torch.tensor([0]), torch.zeros(1, 2), weight=1.5)


@pytest.mark.parametrize(("batch", "classes"), GRID)
def test_reweighted_equals_reference_and_is_cross_entropy_at_one(batch, classes):
    logits, labels = draw(batch, classes), torch.arange(batch) % classes
    weights = torch.linspace(0.5, 2, batch, dtype=torch.float64)
    each = [reference_ce(logits[i : i + 1], labels[i : i + 1]) for i in range(batch)]
    expected = sum(w * one for w, one in zip(weights.tolist(), each, strict=True)) / batch
    assert losses.reweighted(logits, labels, weights).item() == pytest.approx(expected, abs=1e-9)
    plain = losses.reweighted(logits, labels, torch.ones(batch, dtype=torch.float64))
    assert plain.item() == pytest.approx(reference_ce(logits, labels), abs=1e-9)


def reference_poe(logits, bias_log_probs, labels):
    total = 0.0
    for row, bias, label in zip(logits.tolist(), bias_log_probs.tolist(), labels.tolist(), strict=True):
        products = [math.exp(z) * math.exp(b) for z, b in zip(row, bias, strict=True)]
        total -= math.log(products[label] / sum(products))
    return total / len(logits)


@pytest.mark.parametrize(("batch", "classes"), GRID)
def test_poe_is_the_cross_entropy_of_the_product(batch, classes):
    logits, bias, labels = draw(batch, classes, 1), draw(batch, classes, 2), torch.arange(batch) % classes
    ours = losses.poe(logits, bias.log_softmax(-1), labels).item()
    assert ours == pytest.approx(reference_poe(logits, bias.log_softmax(-1), labels), abs=1e-9)


@pytest.mark.parametrize(("batch", "classes"), GRID)
def test_poe_with_a_uniform_bias_model_is_cross_entropy(batch, classes):
    logits, labels = draw(batch, classes), torch.arange(batch) % classes
    uniform = torch.full_like(logits, -math.log(classes))
    assert losses.poe(logits, uniform, labels).item() == pytest.approx(reference_ce(logits, labels), abs=1e-9)


def test_poe_learns_little_of_what_the_bias_model_explains_and_more_where_it_is_wrong():
    """The gradient is that of the product's probabilities: p - y."""
    sure = torch.tensor([[0.0, -20.0, -20.0]]).log_softmax(-1)
    push = {}
    for gold in (0, 1):
        logits = torch.zeros(1, 3, requires_grad=True)
        losses.poe(logits, sure, torch.tensor([gold])).backward()
        push[gold] = logits.grad.abs().max().item()
    assert push[0] < 1e-8
    assert push[1] == pytest.approx(1)


def test_poe_stays_finite_where_both_are_certain_of_the_wrong_label():
    logits = torch.tensor([[80.0, -80.0]], requires_grad=True)
    loss = losses.poe(logits, torch.tensor([[0.0, -200.0]]), torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(360)
    assert logits.grad.tolist() == [[1.0, -1.0]]


def reference_focal(logits, labels, gamma):
    p = [math.exp(-reference_ce(logits[i : i + 1], labels[i : i + 1])) for i in range(len(logits))]
    mean = sum((1 - one) ** gamma for one in p) / len(p)
    return sum(-((1 - one) ** gamma) / mean * math.log(one) for one in p) / len(p)


@pytest.mark.parametrize(("batch", "classes"), GRID)
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
def test_focal_equals_the_formula_of_appendix_c(batch, classes, gamma):
    logits, labels = draw(batch, classes), torch.arange(batch) % classes
    ours = losses.focal(logits, labels, gamma=gamma).item()
    assert ours == pytest.approx(reference_focal(logits, labels, gamma), rel=1e-6)


def test_focal_at_gamma_zero_is_cross_entropy_and_so_is_its_gradient():
    logits, labels = draw(5, 3).requires_grad_(), torch.tensor([0, 1, 2, 0, 1])
    (focal,) = torch.autograd.grad(losses.focal(logits, labels, gamma=0.0), logits)
    (plain,) = torch.autograd.grad(losses.ce(logits, labels), logits)
    torch.testing.assert_close(focal, plain)


def test_focal_pushes_no_example_away_from_its_label():
    logits = torch.cat([torch.tensor([[3.0, 0.0]]).repeat(24, 1), torch.tensor([[-1.0, 0.0]]).repeat(8, 1)])
    logits.requires_grad_()
    losses.focal(logits, torch.zeros(32, dtype=torch.int64), gamma=2.0).backward()
    assert (logits.grad[:, 0] < 0).all()
    hard_push, easy_push = logits.grad[-1, 0].abs(), logits.grad[0, 0].abs()
    assert hard_push > 10 * easy_push


def test_focal_of_certain_labels_stays_finite():
    logits = torch.tensor([[80.0, 0.0], [80.0, 0.0]], requires_grad=True)
    loss = losses.focal(logits, torch.tensor([0, 0]), gamma=2.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_focal_refuses_a_negative_gamma():
    with pytest.raises(ValueError, match=r"gamma is -1.0; it must be at least 0"):
        losses.focal(torch.zeros(1, 2), torch.tensor([0]), gamma=-1.0)
