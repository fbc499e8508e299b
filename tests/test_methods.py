"""The named methods on the micro world's sentences, with a random two-layer encoder."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from robust_lib import data, heads, losses, masks, methods, models, objectives, runs, train

RECIPE = train.Recipe(epochs=1, learning_rate=1e-3, batch_size=16, max_length=40)
TWICE = replace(RECIPE, epochs=2)
SPLIT = data.Split("mnli", "mnli/train", "micro", size=64)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("encoder")
    tokenizer = models.Encoder("micro-base").tokenizer()
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.BertModel(transformers.BertConfig(**shape, vocab_size=len(tokenizer))).save_pretrained(
        directory
    )
    tokenizer.save_pretrained(directory)
    return models.Encoder(str(directory))


@pytest.fixture(scope="module")
def dense(encoder):
    return methods.finetuned(encoder=encoder, split=SPLIT, recipe=RECIPE, seed=3)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_seed_gives_the_same_model_again(encoder, dense):
    assert same(dense, methods.finetuned(encoder=encoder, split=SPLIT, recipe=RECIPE, seed=3))


@pytest.mark.parametrize("schedule", ["cubic", "stepwise"])
def test_imp_reaches_its_sparsity_in_every_matrix_and_leaves_a_plain_model(encoder, schedule):
    model = methods.imp(
        encoder=encoder,
        split=SPLIT,
        start=None,
        sparsity=0.6,
        schedule=schedule,
        recipe=replace(TWICE, warmup=0.1),
        seed=3,
    )
    linears = masks.linears(model)
    assert {type(linear) for linear in linears.values()} == {torch.nn.Linear}
    for name, linear in linears.items():
        assert masks.sparsity([linear.weight]) == pytest.approx(
            0.6, abs=0.5 / linear.weight.numel() + 1e-9
        ), name
    fresh = encoder.classifier(SPLIT.labels, seed=3)
    assert torch.equal(
        model.bert.embeddings.word_embeddings.weight, fresh.bert.embeddings.word_embeddings.weight
    )
    assert not torch.equal(model.bert.pooler.dense.weight, fresh.bert.pooler.dense.weight)


def test_the_dense_control_is_as_many_steps_with_frozen_embeddings_and_nothing_removed(encoder):
    settings = {"encoder": encoder, "split": SPLIT, "schedule": "stepwise", "recipe": TWICE, "seed": 3}
    control = methods.imp(start=None, sparsity=0.0, **settings)
    by_hand = encoder.classifier(SPLIT.labels, seed=3)
    models.freeze_embeddings(by_hand)
    encoded = data.tokenised(SPLIT, encoder.tokenizer(), 40)
    history = train.fit(
        by_hand, encoded, lambda logits, batch: losses.ce(logits, batch["labels"]),
        epochs=2, batch_size=16, learning_rate=1e-3, seed=3,
    )  # fmt: skip
    assert same(control, by_hand)
    assert len(history) == 2 * 64 / 16


def test_a_cubic_schedule_refuses_a_warm_up_that_leaves_it_no_room(encoder):
    settings = {"encoder": encoder, "split": SPLIT, "recipe": replace(RECIPE, warmup=0.4)}
    with pytest.raises(ValueError, match=r"warm-up is 0\.4; a cubic schedule needs less than a third"):
        methods.imp(start=None, sparsity=0.5, schedule="cubic", **settings)


def test_a_chain_keeps_what_was_removed(encoder):
    settings = {"encoder": encoder, "split": SPLIT, "schedule": "stepwise", "recipe": RECIPE, "seed": 3}
    half = methods.imp(start=None, sparsity=0.5, **settings)
    gone = {name: linear.weight == 0 for name, linear in masks.linears(half).items()}
    most = methods.imp(start=half, sparsity=0.7, **settings)
    assert all(not linear.weight[gone[name]].any() for name, linear in masks.linears(most).items())


def test_predictions_carry_gold_logits_and_what_is_known_of_the_example(encoder, dense):
    split = data.Split("mnli", "hans/validation", "micro", size=60)
    frame = methods.predicted(model=dense, encoder=encoder, split=split, max_length=40)
    assert list(frame.columns[:5]) == [
        "id",
        "gold",
        "logit_entailment",
        "logit_neutral",
        "logit_contradiction",
    ]
    assert set(frame["gold"]) == {"entailment", "non-entailment"}
    assert frame["heuristic"].tolist() == split.frame()["heuristic"].tolist()
    assert frame.filter(like="logit_").notna().all(axis=None)


def test_work_counts_training_three_times_a_forward_pass(encoder):
    unit = runs.unit(methods.finetuned, encoder=encoder, split=SPLIT, recipe=TWICE)
    forward = runs.unit(methods.predicted, model=unit, encoder=encoder, split=SPLIT, max_length=40)
    assert methods.work(unit) == 2 * 3 * methods.work(forward) == 2 * 3 * 2 * 64 * 40 * 2 * 12 * 32**2
    whole = data.Split("mnli", "mnli/train", "hub")
    large = runs.unit(methods.finetuned, encoder=models.Encoder("BERT-base"), split=whole, recipe=RECIPE)
    assert methods.work(large) == 6 * 392_702 * 40 * 84_934_656


def test_no_epochs_is_one_shot_pruning_of_the_start(encoder, dense):
    before = {name: linear.weight.clone() for name, linear in masks.linears(dense).items()}
    pruned = methods.imp(
        encoder=encoder, split=SPLIT, recipe=replace(RECIPE, epochs=0), start=copy.deepcopy(dense),
        sparsity=0.5, schedule="stepwise",
    )  # fmt: skip
    for name, linear in masks.linears(pruned).items():
        assert torch.equal(linear.weight, before[name] * masks.magnitude(before[name], 0.5)), name


def test_pruning_the_top_leaves_the_lower_layers_and_embeddings_as_they_are(encoder, dense):
    fixed = {"encoder": encoder, "split": SPLIT, "recipe": RECIPE, "sparsity": 0.5, "schedule": "stepwise"}
    pruned = methods.imp(start=copy.deepcopy(dense), top=1, **fixed)
    assert same(pruned.bert.encoder.layer[0], dense.bert.encoder.layer[0])
    assert same(pruned.bert.embeddings, dense.bert.embeddings)
    assert not same(pruned.classifier, dense.classifier)
    top = pruned.bert.encoder.layer[1].output.dense.weight
    assert masks.sparsity([top]) == pytest.approx(0.5, abs=1 / top.numel())


def test_a_chain_starts_each_level_from_the_one_before_and_its_control_removes_nothing(encoder):
    start = runs.unit(methods.finetuned, encoder=encoder, split=SPLIT, recipe=RECIPE)
    fixed = {"start": start, "sparsities": [0.2, 0.6], "seed": 5, "encoder": encoder, "split": SPLIT}
    chain = methods.pruning_chain(schedule="stepwise", recipe=RECIPE, **fixed)
    assert [unit.arguments["sparsity"] for unit in chain.values()] == [0.2, 0.6]
    assert (chain[0.2].arguments["start"], chain[0.6].arguments["start"]) == (start, chain[0.2])
    assert [unit.arguments["seed"] for unit in chain.values()] == [1005, 2005]
    control = methods.pruning_chain(schedule="stepwise", removed=False, recipe=RECIPE, **fixed)
    assert [unit.arguments["sparsity"] for unit in control.values()] == [0.0, 0.0]
    assert [unit.arguments["seed"] for unit in control.values()] == [1005, 2005]
    separate = methods.pruning_chain(schedule="cubic", recipe=RECIPE, **fixed)
    assert [(unit.arguments["start"], unit.arguments["seed"]) for unit in separate.values()] == [
        (None, 5)
    ] * 2


def test_head_pruning_removes_the_least_important_heads_truly(encoder, dense):
    where = {"encoder": encoder, "split": SPLIT, "max_length": 40}
    table = methods.head_importance(model=copy.deepcopy(dense), **where)
    assert table.shape == (2 * 2, 3)
    whole = sum(weight.numel() for weight in dense.parameters())
    pruned = methods.head_pruned(
        encoder=encoder, split=SPLIT, recipe=RECIPE, start=copy.deepcopy(dense), importance=table, share=0.25
    )
    layer, head = table.loc[table["importance"].idxmin(), ["layer", "head"]].astype(int)
    assert heads.left(pruned)[layer] == [1 - head]
    # A head of 16 out of a width of 32: rows of Q, K and V with their biases, columns of the output.
    assert whole - sum(weight.numel() for weight in pruned.parameters()) == 3 * (16 * 32 + 16) + 32 * 16


def test_8_bit_predictions_are_those_of_the_quantised_model(encoder, dense):
    where = {"model": dense, "encoder": encoder, "split": SPLIT, "max_length": 40}
    whole, small = methods.predicted(**where), methods.q8_ptq_predicted(**where)
    assert list(small.columns) == list(whole.columns)
    off = (small.filter(like="logit_") - whole.filter(like="logit_")).abs()
    assert 0 < off.to_numpy().max() < 0.1 * whole.filter(like="logit_").to_numpy().std() + 0.05
    assert {type(linear) for linear in masks.linears(dense).values()} == {torch.nn.Linear}


def predictions(*losses):
    """A frame of predictions with these losses of the gold label `a` in nats."""
    return pd.DataFrame({
        "id": range(len(losses)), "gold": "a", "logit_a": np.log(np.exp(-np.array(losses))),
        "logit_b": np.log1p(-np.exp(-np.array(losses))),
    })  # fmt: skip


def test_loss_variance_is_per_example_over_the_models():
    table = methods.loss_variance(
        predictions=[predictions(0.1, 0.5), predictions(0.3, 0.5), predictions(0.8, 0.5)]
    )
    assert list(table.columns) == ["id", "gold", "loss_1", "loss_2", "loss_3", "variance"]
    np.testing.assert_allclose(table["variance"], [np.var([0.1, 0.3, 0.8]), 0.0], atol=1e-12)
    np.testing.assert_allclose(table.loc[0, ["loss_1", "loss_2", "loss_3"]].astype(float), [0.1, 0.3, 0.8])


def answers(*right):
    return predictions(*(0.1 if one else 2.0 for one in right))


def test_alpha_is_the_one_of_the_smallest_relative_gap_among_the_accurate():
    variances = pd.DataFrame({"id": range(8), "variance": np.arange(8.0)})
    candidates = {
        "0.2": answers(1, 1, 1, 1, 1, 1, 0, 0),  # easy 4 of 4, hard 2 of 4
        "0.5": answers(1, 1, 1, 0, 1, 1, 1, 0),  # 3 and 3: no gap, as accurate
        "0.8": answers(1, 0, 0, 0, 1, 1, 1, 1),  # 1 and 4: the gap is closed by losing the easy ones
    }

    def chosen(easy_share=0.5, **candidates):
        table = methods.easy_and_hard(candidates=candidates, variances=variances, easy_share=easy_share)
        return methods.chosen_alpha(gaps=table)

    table = methods.easy_and_hard(candidates=candidates, variances=variances, easy_share=0.5)
    assert table["easy"].tolist() == [1.0, 0.75, 0.25]
    assert table["hard"].tolist() == [0.5, 0.75, 1.0]
    assert table["gap"].tolist() == [0.5, 0.0, -3.0]
    assert chosen(**candidates) == 0.5
    assert chosen(0.25, **candidates) == 0.2  # of equals, the first
    assert chosen(**{name: candidates[name] for name in ("0.2", "0.8")}) == 0.2


def test_a_student_is_trained_with_the_objective_and_the_frames_given(encoder, dense):
    seen = methods.predicted(model=copy.deepcopy(dense), encoder=encoder, split=SPLIT, max_length=40)
    fixed = {"encoder": encoder, "split": SPLIT, "recipe": RECIPE, "seed": 3}
    plain = methods.finetuned(**fixed)
    student = methods.finetuned(objective=objectives.distil, given={"teacher": seen, "weight": 0.9}, **fixed)
    labels_only = methods.finetuned(
        objective=objectives.distil, given={"teacher": seen, "weight": 0.0}, **fixed
    )
    assert same(labels_only, plain)
    assert not same(student, plain)


def test_predictions_of_every_model_on_every_bed_are_keyed_for_comparison(encoder):
    model = runs.unit(methods.finetuned, encoder=encoder, split=SPLIT, recipe=RECIPE)
    beds = {"mnli": ["mnli/validation_matched", "hans/validation"]}
    units = methods.measured({("mnli", "dense", 0.0, 7): model}, beds, source="micro", size=50, max_length=40)
    assert list(units) == [("mnli", bed, "dense", 0.0, 7) for bed in beds["mnli"]]
    assert [unit.arguments["split"] for unit in units.values()] == [
        data.Split("mnli", bed, "micro", 50) for bed in beds["mnli"]
    ]
    assert {unit.function for unit in units.values()} == {methods.predicted}


def test_sizes_are_those_of_the_classifier(encoder, dense):
    whole, matrices = methods.millions(encoder, SPLIT.labels)
    assert whole == sum(weight.numel() for weight in dense.parameters()) / 1e6
    assert matrices == 2 * (4 * 32 * 32 + 2 * 32 * 64) / 1e6
    assert methods.head_millions(encoder, SPLIT.labels) == pytest.approx((3 * (16 * 32 + 16) + 32 * 16) / 1e6)
    fp32, small = methods.megabytes(encoder, SPLIT.labels)
    assert fp32 == pytest.approx(4 * whole)
    assert small < fp32 - 2.5 * matrices
