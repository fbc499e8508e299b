"""The objectives bind a loss to frames of other models' predictions, by the examples' ids."""

import numpy as np
import pandas as pd
import pytest
import torch

from robust_lib import losses, objectives

NAMES = ["entailment", "neutral", "contradiction"]
IDS = pd.Index([40, 7, 12, 3, 25])


def predictions(seed=0, ids=IDS, gold=None):
    logits = np.random.default_rng(seed).normal(size=(len(ids), 3))
    frame = pd.DataFrame(logits, columns=[f"logit_{name}" for name in NAMES])
    return frame.assign(id=ids, gold=gold or ["entailment"] * len(ids))


def batch(*rows):
    """A batch of the training examples in these rows, and a student's logits on it."""
    index = torch.tensor(rows)
    logits = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(1))
    return logits, {"labels": index % 3, "index": index, "cls_states": STATES[index]}


TEACHER = predictions()
VARIANCES = pd.DataFrame({"id": IDS, "variance": [0.0, 0.1, 0.2, 0.3, 0.4]})
BIAS = predictions(seed=2)
STATES = torch.randn(5, 4, 8, generator=torch.Generator().manual_seed(3))  # of all five examples, four layers
TEACHER_STATES = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(4))
GIVEN = {
    objectives.vanilla: {},
    objectives.distil: {"teacher": TEACHER},
    objectives.smooth: {"teacher": TEACHER, "degree": 0.9},
    objectives.rmc: {"teacher": TEACHER, "variances": VARIANCES, "alpha": 0.5},
    objectives.kd: {"teacher": TEACHER},
    objectives.pkd: {"teacher": TEACHER, "teacher_states": TEACHER_STATES},
    objectives.focal: {"gamma": 2.0},
    objectives.jtt: {"first": TEACHER, "up_weight": 2.0},
    objectives.poe: {"bias": BIAS},
    objectives.reweight: {"bias": BIAS},
    objectives.confidence_regularised: {"bias": BIAS, "teacher": TEACHER},
}


def value(objective, logits, rows, **given):
    return objective(NAMES, IDS, **given)(logits, rows).item()


def test_vanilla_is_cross_entropy():
    logits, rows = batch(0, 2, 4)
    assert value(objectives.vanilla, logits, rows) == losses.ce(logits, rows["labels"]).item()


def test_distil_takes_the_teacher_of_the_batch_rows():
    logits, rows = batch(3, 0)
    teacher = torch.tensor(TEACHER.iloc[[3, 0], :3].to_numpy(), dtype=torch.float32)
    expected = losses.distilled(logits, rows["labels"], teacher, weight=0.9).item()
    assert value(objectives.distil, logits, rows, teacher=TEACHER) == pytest.approx(expected, abs=1e-6)


def test_frames_are_matched_by_id_and_classes_by_name():
    logits, rows = batch(1, 4, 2)
    shuffled = TEACHER.iloc[[2, 4, 0, 3, 1]][["gold", "id", *[f"logit_{name}" for name in reversed(NAMES)]]]
    straight = value(objectives.distil, logits, rows, teacher=TEACHER)
    assert value(objectives.distil, logits, rows, teacher=shuffled) == straight


def test_smooth_at_one_and_rmc_at_alpha_one_are_distil():
    logits, rows = batch(0, 1, 2, 3, 4)
    plain = value(objectives.distil, logits, rows, teacher=TEACHER)
    assert value(objectives.smooth, logits, rows, teacher=TEACHER, degree=1.0) == plain
    given = {"teacher": TEACHER, "variances": VARIANCES, "alpha": 1.0}
    assert value(objectives.rmc, logits, rows, **given) == pytest.approx(plain, abs=1e-6)


def test_rmc_smooths_the_easiest_example_to_alpha_and_the_hardest_not_at_all():
    for row, degree in ((0, 0.2), (4, 1.0), (2, 0.6)):
        logits, rows = batch(row)
        teacher = degree * torch.tensor(TEACHER.iloc[[row], :3].to_numpy(), dtype=torch.float32)
        expected = losses.distilled(logits, rows["labels"], teacher, weight=0.9).item()
        given = {"teacher": TEACHER, "variances": VARIANCES, "alpha": 0.2}
        assert value(objectives.rmc, logits, rows, **given) == pytest.approx(expected, abs=1e-6)


def teacher_logits(*rows):
    return torch.tensor(TEACHER.iloc[list(rows), :3].to_numpy(), dtype=torch.float32)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("reduction", ["batchmean", "mean"])
@pytest.mark.parametrize("squared", [True, False])
def test_kd_mixes_labels_and_the_softened_teacher(alpha, reduction, squared):
    logits, rows = batch(3, 0)
    given = {"temperature": 5.0, "reduction": reduction, "times_squared_temperature": squared}
    soft = losses.kd(logits, teacher_logits(3, 0), **given)
    expected = (1 - alpha) * losses.ce(logits, rows["labels"]) + alpha * soft
    found = value(objectives.kd, logits, rows, teacher=TEACHER, alpha=alpha, **given)
    assert found == pytest.approx(expected.item(), rel=1e-6)


def test_kd_at_temperature_one_is_distil():
    logits, rows = batch(1, 4, 2)
    plain = value(objectives.distil, logits, rows, teacher=TEACHER, weight=0.4)
    assert value(objectives.kd, logits, rows, teacher=TEACHER, temperature=1.0, alpha=0.4) == pytest.approx(
        plain
    )


def test_pkd_adds_the_distance_of_the_students_first_layers_to_the_teachers_rows():
    logits, rows = batch(4, 1)
    given = {"teacher": TEACHER, "temperature": 10.0, "alpha": 0.7, "reduction": "mean"}
    plain = value(objectives.kd, logits, rows, **given)
    patience = losses.pkd(STATES[[4, 1], :3], TEACHER_STATES[[4, 1]]).item()
    given = {"teacher": TEACHER, "teacher_states": TEACHER_STATES}
    assert value(objectives.pkd, logits, rows, **given) == pytest.approx(plain + 500 * patience, rel=1e-6)
    assert value(objectives.pkd, logits, rows, **given, beta=0.0) == pytest.approx(plain, rel=1e-6)


def test_the_patience_of_pkd_pulls_the_first_layers_to_the_teacher():
    objective = objectives.pkd(NAMES, IDS, teacher=TEACHER, teacher_states=TEACHER_STATES)
    logits, rows = batch(0, 1, 2, 3, 4)
    states = STATES.clone().requires_grad_()
    first = objective(logits, rows | {"cls_states": states})
    first.backward()
    assert [bool(states.grad[:, layer].any()) for layer in range(4)] == [True, True, True, False]
    plain = value(objectives.kd, logits, rows, teacher=TEACHER, alpha=0.7, reduction="mean")
    assert objective(logits, rows | {"cls_states": TEACHER_STATES}).item() == pytest.approx(plain, rel=1e-6)
    assert first.item() > plain + 1


def test_pkd_and_kd_refuse_what_does_not_fit():
    given = {"teacher": TEACHER, "teacher_states": TEACHER_STATES[:4]}
    with pytest.raises(objectives.ObjectiveError, match=r"states are \(4, 3, 8\); .* with all 5 examples"):
        objectives.pkd(NAMES, IDS, **given)
    loss = objectives.pkd(NAMES, IDS, **given | {"teacher_states": TEACHER_STATES})
    logits, rows = batch(0, 1, 2, 3, 4)
    with pytest.raises(
        objectives.ObjectiveError, match=r"student's states are \(2, 8\), those of .* \(3, 8\)"
    ):
        loss(logits, rows | {"cls_states": STATES[:, :2]})
    with pytest.raises(objectives.ObjectiveError, match=r"train within models\.cls_states"):
        loss(logits, {"labels": rows["labels"], "index": rows["index"]})
    with pytest.raises(ValueError, match=r"alpha is 1.2; it must lie in \[0, 1\]"):
        objectives.kd(NAMES, IDS, teacher=TEACHER, alpha=1.2)


def test_focal_is_the_focal_loss():
    logits, rows = batch(0, 1)
    expected = losses.focal(logits, rows["labels"], gamma=2.0).item()
    assert value(objectives.focal, logits, rows, gamma=2.0) == expected


def first_model(right):
    """A first model that says entailment everywhere, right where the gold label is."""
    frame = pd.DataFrame(np.tile([5.0, 0.0, 0.0], (5, 1)), columns=[f"logit_{name}" for name in NAMES])
    return frame.assign(id=IDS, gold=["entailment" if one else "neutral" for one in right])


def test_jtt_weighs_errors_twice_with_mean_one_over_the_training_set():
    first = first_model([True, True, True, False, False])
    mean = (3 * 1 + 2 * 2) / 5
    for row, weight in ((0, 1 / mean), (3, 2 / mean)):
        logits, rows = batch(row)
        expected = weight * losses.ce(logits, rows["labels"]).item()
        assert value(objectives.jtt, logits, rows, first=first, up_weight=2.0) == pytest.approx(
            expected, rel=1e-6
        )


def test_jtt_without_errors_is_cross_entropy():
    logits, rows = batch(0, 1, 2)
    plain = losses.ce(logits, rows["labels"]).item()
    assert value(objectives.jtt, logits, rows, first=first_model([True] * 5), up_weight=2.0) == pytest.approx(
        plain
    )


def bias_model(*log_probs):
    """A bias model with these log-probabilities for all five examples, or with one row for each."""
    rows = np.tile(log_probs, (5, 1)) if np.ndim(log_probs) == 1 else np.array(log_probs)
    return pd.DataFrame(rows, columns=[f"logit_{name}" for name in NAMES]).assign(id=IDS, gold="entailment")


UNIFORM = bias_model(0.0, 0.0, 0.0)


def reference_beta(bias, rows):
    """The bias model's probability of each example's gold label, one example after the other."""
    betas = []
    for index, label in zip(rows["index"].tolist(), rows["labels"].tolist(), strict=True):
        odds = [np.exp(bias.loc[index, f"logit_{name}"]) for name in NAMES]
        betas.append(odds[label] / sum(odds))
    return betas


def test_poe_adds_the_bias_models_log_probabilities_of_the_batch_rows():
    logits, rows = batch(3, 0, 4)
    bias = torch.tensor(BIAS.iloc[[3, 0, 4], :3].to_numpy(), dtype=torch.float32).log_softmax(-1)
    expected = losses.poe(logits, bias, rows["labels"]).item()
    assert value(objectives.poe, logits, rows, bias=BIAS) == pytest.approx(expected, abs=1e-6)


def test_reweight_is_the_mean_of_the_losses_weighted_by_what_the_bias_model_leaves():
    logits, rows = batch(1, 3, 4)
    weights = [1 - beta for beta in reference_beta(BIAS, rows)]
    each = [losses.ce(logits[i : i + 1], rows["labels"][i : i + 1]).item() for i in range(3)]
    expected = sum(w * one for w, one in zip(weights, each, strict=True)) / sum(weights)
    assert value(objectives.reweight, logits, rows, bias=BIAS) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("objective", [objectives.poe, objectives.reweight])
def test_a_uniform_bias_model_leaves_cross_entropy(objective):
    logits, rows = batch(0, 1, 2, 4)
    plain = losses.ce(logits, rows["labels"]).item()
    assert value(objective, logits, rows, bias=UNIFORM) == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("objective", [objectives.poe, objectives.reweight])
def test_an_example_the_bias_model_is_certain_of_teaches_nothing(objective):
    explained, open_ = [60.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    bias = bias_model(explained, *[open_] * 4)
    logits, rows = batch(0, 1)  # gold: entailment, neutral
    logits.requires_grad_()
    objective(NAMES, IDS, bias=bias)(logits, rows).backward()
    known, unknown = logits.grad.abs().sum(dim=-1).tolist()
    assert known < 1e-5 < 0.1 < unknown


def test_reweight_of_a_batch_without_anything_left_to_learn_stays_finite():
    logits, rows = batch(0, 3)  # both entailment
    plain = losses.ce(logits, rows["labels"]).item()
    bias = bias_model(60.0, 0.0, 0.0)
    assert value(objectives.reweight, logits, rows, bias=bias) == pytest.approx(plain, abs=1e-6)


def gradient(objective, logits, rows, **given):
    leaf = logits.clone().requires_grad_()
    objective(NAMES, IDS, **given)(leaf, rows).backward()
    return leaf.grad


def test_confidence_regularisation_has_the_gradient_of_the_papers_cross_entropy():
    logits, rows = batch(2, 0, 3)
    probabilities = torch.tensor(TEACHER.iloc[[2, 0, 3], :3].to_numpy()).softmax(-1)
    target = probabilities ** (1 - torch.tensor(reference_beta(BIAS, rows)))[:, None]
    target /= target.sum(dim=-1, keepdim=True)
    leaf = logits.double().requires_grad_()
    (-(target * leaf.log_softmax(-1)).sum(dim=-1).mean()).backward()
    ours = gradient(objectives.confidence_regularised, logits, rows, bias=BIAS, teacher=TEACHER)
    torch.testing.assert_close(ours, leaf.grad.float())


def test_confidence_regularisation_without_bias_is_distillation_and_with_nothing_else_is_uniform():
    logits, rows = batch(1, 4)  # both neutral
    given = {"teacher": TEACHER, "bias": bias_model(0.0, -60.0, 0.0)}
    plain = value(objectives.distil, logits, rows, teacher=TEACHER, weight=1.0)
    assert value(objectives.confidence_regularised, logits, rows, **given) == pytest.approx(plain, abs=1e-6)
    given["bias"] = bias_model(0.0, 60.0, 0.0)
    uniform = losses.kd(logits, torch.zeros(2, 3)).item()
    assert value(objectives.confidence_regularised, logits, rows, **given) == pytest.approx(uniform, abs=1e-6)


def test_a_bias_model_is_matched_by_id_and_by_name_and_need_not_be_normalised():
    logits, rows = batch(1, 4, 2)
    columns = [f"logit_{name}" for name in reversed(NAMES)]
    other = BIAS.iloc[[2, 4, 0, 3, 1]][["id", *columns]]
    other[columns] += 3.0
    for objective in (objectives.poe, objectives.reweight):
        straight = value(objective, logits, rows, bias=BIAS)
        assert value(objective, logits, rows, bias=other) == pytest.approx(straight, abs=1e-5)


@pytest.mark.parametrize("objective", GIVEN, ids=lambda objective: objective.__name__)
def test_every_objective_gives_the_student_a_gradient(objective):
    logits, rows = batch(0, 1, 2, 3, 4)
    logits.requires_grad_()
    objective(NAMES, IDS, **GIVEN[objective])(logits, rows).backward()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        (objectives.distil, "teacher"),
        (objectives.jtt, "first"),
        (objectives.poe, "bias"),
        (objectives.confidence_regularised, "teacher"),
    ],
)
def test_examples_without_predictions_are_named(objective, name):
    given = GIVEN[objective] | {name: predictions(ids=pd.Index([40, 7, 12, 3, 26]))}
    with pytest.raises(objectives.ObjectiveError, match=r"1 of 5 training examples are unknown, first id 25"):
        objective(NAMES, IDS, **given)


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(
        objectives.ObjectiveError, match=r"predicts no logit_duplicate; .*not_duplicate, duplicate"
    ):
        objectives.distil(
            ["not_duplicate", "duplicate"], IDS, teacher=TEACHER.assign(logit_not_duplicate=0.0)
        )


def test_a_bias_model_of_other_classes_is_refused_as_such():
    with pytest.raises(objectives.ObjectiveError, match="the bias model predicts no logit_neutral; it needs"):
        objectives.poe(NAMES, IDS, bias=BIAS.drop(columns="logit_neutral"))
