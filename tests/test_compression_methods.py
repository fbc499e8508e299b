"""The compression methods of paper 3 on the micro world's sentences, each beside the limiting case that is known."""

import copy
from dataclasses import replace as but

import numpy as np
import pandas as pd
import pytest
import torch

from robust_lib import data, heads, losses, masks, methods, models, objectives, quantize, replace, runs, train
from robust_lib.quantize import simulation

TEACHER, HALF = models.Encoder("micro-base"), models.Encoder("micro-base", 2)
RECIPE = train.Recipe(epochs=2, learning_rate=1e-3, batch_size=16, max_length=40, warmup=0.1)  # eight steps
NONE = but(RECIPE, epochs=0)
SPLIT = data.Split("mnli", "mnli/train", "micro", size=64, seed=5)  # drawn: not in the order of the set
DEVELOPMENT = data.Split("mnli", "mnli/validation_matched", "micro", size=48)
STUDENT = {"encoder": HALF, "split": SPLIT, "recipe": RECIPE, "seed": 3}
RANGES = {"encoder": TEACHER, "split": SPLIT, "max_length": 40}
QUANTISED = {"encoder": TEACHER, "split": SPLIT, "recipe": RECIPE, "decay": 0.9, "seed": 3}


@pytest.fixture(scope="module")
def teacher():
    return methods.finetuned(encoder=TEACHER, split=SPLIT, recipe=but(RECIPE, epochs=4), seed=3)


@pytest.fixture(scope="module")
def seen(teacher):
    return predicted(teacher, SPLIT)


@pytest.fixture(scope="module")
def states(teacher):
    return states_of(teacher, [1])


@pytest.fixture(scope="module")
def eight_bit(teacher):
    return methods.q8_ptq(start=copy.deepcopy(teacher), **RANGES)


@pytest.fixture(scope="module")
def ranked(teacher):
    table = methods.head_importance(model=copy.deepcopy(teacher), **RANGES)
    return {"encoder": TEACHER, "split": SPLIT, "importance": table, "share": 0.5, "seed": 3}


def same(first, second):
    """Whether two state dicts hold the same numbers under the same names, to the last bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def equal(first, second):
    return same(first.state_dict(), second.state_dict())


def predicted(model, split=DEVELOPMENT):
    return methods.predicted(model=copy.deepcopy(model), encoder=TEACHER, split=split, max_length=40)


def states_of(model, layers, **other):
    return methods.cls_states(
        model=copy.deepcopy(model), encoder=TEACHER, split=SPLIT, layers=layers, max_length=40, **other
    )


def linears(model):
    return {name: layer.weight.detach().clone() for name, layer in masks.linears(model).items()}


def thresholds(model):
    return {name: buffer for name, buffer in model.named_buffers() if name.endswith("threshold")}


def truncated(teacher):
    return methods.finetuned(start=copy.deepcopy(teacher), **STUDENT)


# Layers


def test_cls_states_are_the_hidden_states_at_the_first_token_in_the_examples_order(teacher):
    found = states_of(teacher, [1, 3], batch_size=7)
    assert found.keys() == {"states"}
    assert found["states"].shape == (64, 2, 128)
    assert found["states"].dtype == torch.float16
    tokenizer, frame = TEACHER.tokenizer(), SPLIT.frame()
    for row in (0, 1, 30, 63):
        text = tokenizer(frame["premise"].iloc[row], frame["hypothesis"].iloc[row], return_tensors="pt")
        with torch.inference_mode():
            every = copy.deepcopy(teacher)(**text, output_hidden_states=True).hidden_states
        expected = torch.stack([every[layer + 1][0, 0] for layer in (1, 3)])  # the first are the embeddings
        torch.testing.assert_close(found["states"][row].float(), expected, atol=2e-3, rtol=2e-3)
    assert not torch.equal(found["states"][0], found["states"][1])


def test_a_deeper_start_is_cut_to_the_encoders_layers(teacher):
    cut = methods.finetuned(start=copy.deepcopy(teacher), **STUDENT | {"recipe": NONE})
    assert equal(cut, models.truncate(copy.deepcopy(teacher), 2))
    student = truncated(teacher)
    assert len(models.layer_stack(student)[1]) == student.config.num_hidden_layers == 2
    assert student.state_dict().keys() == cut.state_dict().keys()
    assert not equal(student, cut)


def test_pure_kd_knows_no_labels(teacher, seen):
    """With all labels of its batches wrong, the student is the same; one trained on them is not."""
    given = {"teacher": seen, "temperature": 10.0}

    def mislabelled(names, ids, **given):
        loss = objectives.kd(names, ids, **given)
        return lambda logits, batch: loss(logits, {**batch, "labels": (batch["labels"] + 1) % 3})

    def student(objective, alpha):
        start = copy.deepcopy(teacher)
        return methods.finetuned(start=start, objective=objective, given=given | {"alpha": alpha}, **STUDENT)

    assert equal(student(objectives.kd, 1.0), student(mislabelled, 1.0))
    assert not equal(student(objectives.kd, 0.5), student(mislabelled, 0.5))
    assert not equal(student(objectives.kd, 1.0), truncated(teacher))


# BERT-PKD


def patient(teacher, states, seen, **given):
    given = {"teacher": seen, "temperature": 10.0, **given}
    return methods.pkd(start=copy.deepcopy(teacher), states=states, given=given, **STUDENT)


def test_patience_of_no_weight_is_truncate_and_finetune(teacher, states, seen):
    student = patient(teacher, states, seen, alpha=0.0, beta=0.0)
    assert len(models.layer_stack(student)[1]) == 2
    assert equal(student, truncated(teacher))
    assert not equal(student, patient(teacher, states, seen, alpha=0.0, beta=500.0))


def test_patience_without_states_is_kd(teacher, states, seen):
    student = patient(teacher, states, seen, alpha=0.7, beta=0.0, reduction="mean")
    given = {"teacher": seen, "temperature": 10.0, "alpha": 0.7, "reduction": "mean"}
    distilled = methods.finetuned(
        start=copy.deepcopy(teacher), objective=objectives.kd, given=given, **STUDENT
    )
    assert equal(student, distilled)


def test_a_patient_student_comes_nearer_to_the_teachers_states(teacher, states, seen):
    def distance(model):
        own = states_of(model, [0])["states"].float()
        return losses.pkd(own, states["states"].float()).item()

    before = distance(models.truncate(copy.deepcopy(teacher), 2))
    careless = distance(patient(teacher, states, seen, beta=0.0))
    assert distance(patient(teacher, states, seen, beta=500.0)) < 0.6 * min(before, careless)


def test_nothing_goes_on_recording_a_trained_students_states(teacher, states, seen):
    student = patient(teacher, states, seen)
    assert [layer for layer in models.layer_stack(student)[1] if layer._forward_hooks] == []
    assert student.config.num_hidden_layers == 2


# BERT-of-Theseus


def theseus(teacher, **other):
    return methods.theseus(start=copy.deepcopy(teacher), **STUDENT | {"slope": 0.1, "base": 0.4} | other)


def test_only_the_successors_layers_train(teacher):
    model = theseus(teacher)
    stack, layers = models.layer_stack(model)
    assert len(layers) == model.config.num_hidden_layers == 2
    cut = models.truncate(copy.deepcopy(teacher), 2).state_dict()
    trained = model.state_dict()
    assert trained.keys() == cut.keys()
    for name, tensor in trained.items():
        assert torch.equal(tensor, cut[name]) != name.startswith(stack), name
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(isinstance(module, replace.Replaceable) for module in model.modules())


def test_with_every_module_replaced_it_is_training_the_first_layers_alone(teacher):
    by_hand = models.truncate(copy.deepcopy(teacher), 2).requires_grad_(False)
    models.layer_stack(by_hand)[1].requires_grad_(True)
    train.fit(
        by_hand, data.tokenised(SPLIT, TEACHER.tokenizer(), 40),
        lambda logits, batch: losses.ce(logits, batch["labels"]),
        epochs=2, batch_size=16, learning_rate=1e-3, warmup=0.1, seed=3,
    )  # fmt: skip
    assert equal(theseus(teacher, slope=0.0, base=1.0), by_hand)
    assert not equal(theseus(teacher), by_hand)


def test_a_seed_draws_the_same_replacements_again(teacher):
    assert equal(theseus(teacher), theseus(teacher))


def test_the_replacing_rate_rises_before_every_step(teacher):
    start, met = copy.deepcopy(teacher), []

    def objective(names, ids):
        def loss(logits, batch):
            met.append({one.rate for one in start.modules() if isinstance(one, replace.Replaceable)})
            return losses.ce(logits, batch["labels"])

        return loss

    methods.theseus(start=start, objective=objective, slope=0.125, base=0.25, **STUDENT)
    assert met == [{rate} for rate in (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.0)]


def test_theseus_with_kd_learns_from_the_teachers_predictions(teacher, seen):
    def distilled(alpha):
        given = {"teacher": seen, "temperature": 10.0, "alpha": alpha}
        return theseus(teacher, objective=objectives.kd, given=given)

    assert equal(distilled(0.0), theseus(teacher))
    assert not equal(distilled(1.0), theseus(teacher))


def test_successors_that_are_not_trained_together_in_the_end_are_refused(teacher):
    with pytest.raises(
        ValueError, match=r"after all 8 steps .* with probability 0\.9, not 1; raise the slope"
    ):
        theseus(teacher, slope=0.05, base=0.5)


def test_theseus_asks_how_many_layers_its_successor_has(teacher):
    with pytest.raises(ValueError, match="theseus: micro-base has no `layers`: it says how many layers the"):
        theseus(teacher, encoder=TEACHER)


# 8 bits


def test_quantising_after_training_changes_no_weight_and_sets_every_range(teacher, eight_bit):
    ranges, weights = thresholds(eight_bit), eight_bit.state_dict()
    assert len(ranges) == 2 * (
        4 * 6 + 1
    )  # what goes into and comes out of six matrices a layer, and the pooler
    assert all(value > 0 for value in ranges.values())
    assert same({name: value for name, value in weights.items() if name not in ranges}, teacher.state_dict())
    assert eight_bit.config.quantized == {"activations": "ema", "decay": 0.9999, "requantize": True}
    assert not eight_bit.training


def test_its_ranges_are_the_largest_that_the_split_brings(teacher, eight_bit):
    found = thresholds(eight_bit)
    pooled = found["bert.pooler.dense.inputs.threshold"].item()
    last = states_of(teacher, [3])["states"].float()
    assert pooled == pytest.approx(last.abs().max().item(), rel=0.05)  # but for the rounding on the way there
    other = methods.q8_ptq(start=copy.deepcopy(teacher), batch_size=5, **RANGES)
    for name, value in thresholds(other).items():
        torch.testing.assert_close(value, found[name], rtol=0.05, atol=0.0)


def test_a_quantised_model_predicts_nearly_what_the_teacher_does(teacher, eight_bit):
    """The rounding's noise is as in tests/test_quantize.py: 5 % of the logits' size at ten layers in a row; here 25."""
    whole, small = (predicted(one).filter(like="logit_").to_numpy() for one in (teacher, eight_bit))
    error = np.sqrt(np.square(small - whole).mean() / np.square(whole).mean())
    assert 0 < error < 3 * 0.05 * np.sqrt(25 / 10)
    assert (small.argmax(axis=1) == whole.argmax(axis=1)).mean() > 0.9


def test_training_a_quantised_model_goes_on_from_its_ranges(teacher, eight_bit):
    still = methods.q8_trained(start=copy.deepcopy(eight_bit), **QUANTISED | {"recipe": NONE})
    assert equal(still, eight_bit)
    assert still.config.quantized["decay"] == 0.9999
    trained = methods.q8_trained(start=copy.deepcopy(eight_bit), **QUANTISED)
    assert trained.config.quantized == eight_bit.config.quantized
    for name, value in thresholds(trained).items():
        before = thresholds(eight_bit)[name]
        assert 0 < abs(value - before) < 0.05 * before, name  # eight steps at a decay of 0.9999
    moved = linears(trained)
    assert not any(torch.equal(moved[name], weight) for name, weight in linears(teacher).items())


def test_quantisation_aware_training_begins_with_the_pretrained_encoder(teacher):
    still = methods.q8_trained(start=None, **QUANTISED | {"recipe": NONE})
    fresh, none_seen = TEACHER.classifier(SPLIT.labels, seed=3), thresholds(still)
    assert {value.item() for value in none_seen.values()} == {simulation.UNSEEN}
    assert same(
        {name: value for name, value in still.state_dict().items() if name not in none_seen},
        fresh.state_dict(),
    )
    aware = methods.q8_trained(start=None, **QUANTISED)
    assert aware.config.quantized["decay"] == 0.9
    assert all(value > 0 for value in thresholds(aware).values())
    plain = methods.finetuned(encoder=TEACHER, split=SPLIT, recipe=RECIPE, seed=3)
    far = [(linears(aware)[name] - weight).abs().max() for name, weight in linears(plain).items()]
    assert 0 < max(far) < 0.1  # as fine-tuning, but for the rounding under which it trained


def test_the_objective_reaches_a_quantised_model(eight_bit, seen):
    def distilled(alpha):
        given = {"teacher": seen, "temperature": 10.0, "alpha": alpha}
        start = copy.deepcopy(eight_bit)
        return methods.q8_trained(start=start, objective=objectives.kd, given=given, **QUANTISED)

    plain = methods.q8_trained(start=copy.deepcopy(eight_bit), **QUANTISED)
    assert equal(distilled(0.0), plain)
    assert not equal(distilled(1.0), plain)


# Heads


def test_heads_are_removed_and_nothing_is_trained_in_no_epochs(teacher, ranked):
    pruned = methods.head_pruned(start=copy.deepcopy(teacher), recipe=NONE, **ranked)
    assert sum(heads.count(pruned)) == round(0.5 * sum(heads.count(teacher)))
    by_hand, table = copy.deepcopy(teacher), ranked["importance"]
    least = heads.lowest(torch.tensor(table["importance"].to_numpy().reshape(4, -1)), len(table) // 2)
    heads.remove(by_hand, least)
    assert equal(pruned, by_hand)


def test_what_is_left_of_the_heads_is_trained_with_either_loss(teacher, ranked, seen):
    def distilled(alpha):
        given = {"teacher": seen, "temperature": 10.0, "alpha": alpha}
        return methods.head_pruned(
            start=copy.deepcopy(teacher), recipe=RECIPE, objective=objectives.kd, given=given, **ranked
        )

    plain = methods.head_pruned(start=copy.deepcopy(teacher), recipe=RECIPE, **ranked)
    assert heads.left(plain) == heads.left(distilled(1.0))
    assert equal(distilled(0.0), plain)
    assert not equal(distilled(1.0), plain)


# As units


def test_units_hand_on_through_the_store_what_the_functions_return(
    tmp_path, monkeypatch, teacher, seen, states, eight_bit, ranked
):
    for name, value in {"RUNS": tmp_path / "runs", "STORE": tmp_path / "store", "WORKERS": "1"}.items():
        monkeypatch.setenv(f"ROBUST_{name}", str(value))
    fixed = {"encoder": TEACHER, "split": SPLIT, "seed": 3}
    whole = runs.unit(methods.finetuned, recipe=but(RECIPE, epochs=4), **fixed)
    read = {"encoder": TEACHER, "split": SPLIT, "max_length": 40}
    known = {"teacher": runs.unit(methods.predicted, model=whole, **read), "temperature": 10.0}
    kept = runs.unit(methods.cls_states, model=whole, layers=[1], **read)
    small = runs.unit(methods.q8_ptq, start=whole, **RANGES)
    importance = runs.unit(methods.head_importance, model=whole, **RANGES)
    fewer = runs.unit(methods.head_pruned, start=whole, recipe=NONE, **ranked | {"importance": importance})
    units = {
        "teacher": whole, "seen": known["teacher"], "states": kept, "small": small,
        "pkd": runs.unit(methods.pkd, start=whole, states=kept, given=known, **STUDENT),
        "theseus": runs.unit(methods.theseus, start=whole, slope=0.1, base=0.4, **STUDENT),
        "q8": runs.unit(methods.q8_trained, start=small, **QUANTISED),
        "small heads": runs.unit(methods.q8_ptq, start=fewer, **RANGES),
    }  # fmt: skip
    found = runs.start("05_test", {"scale": "micro"}).collect(units)
    assert equal(found["teacher"], teacher)
    pd.testing.assert_frame_equal(found["seen"], seen, check_dtype=False)
    assert same(found["states"], states)
    assert equal(found["small"], eight_bit)
    pd.testing.assert_frame_equal(predicted(found["small"]), predicted(eight_bit))
    assert equal(found["pkd"], patient(teacher, states, seen))
    assert equal(found["theseus"], theseus(teacher))
    assert equal(found["q8"], methods.q8_trained(start=copy.deepcopy(eight_bit), **QUANTISED))
    assert quantize.simulated(found["small heads"])
    fewer_heads = methods.head_pruned(start=copy.deepcopy(teacher), recipe=NONE, **ranked)
    assert equal(found["small heads"], methods.q8_ptq(start=fewer_heads, **RANGES))
