"""The named methods on the micro world's sentences, with a random two-layer encoder."""

import pytest
import torch
import transformers

from robust_lib import data, losses, masks, methods, models, runs, train

RECIPE = {"learning_rate": 1e-3, "batch_size": 16, "max_length": 40, "seed": 3}
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
    return methods.finetuned(encoder=encoder, split=SPLIT, epochs=1, **RECIPE)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_seed_gives_the_same_model_again(encoder, dense):
    assert same(dense, methods.finetuned(encoder=encoder, split=SPLIT, epochs=1, **RECIPE))


@pytest.mark.parametrize("schedule", ["cubic", "stepwise"])
def test_imp_reaches_its_sparsity_in_every_matrix_and_leaves_a_plain_model(encoder, schedule):
    model = methods.imp(
        encoder=encoder,
        split=SPLIT,
        start=None,
        sparsity=0.6,
        schedule=schedule,
        epochs=2,
        warmup=0.1,
        **RECIPE,
    )
    linears = masks.encoder_linears(model)
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
    settings = {"encoder": encoder, "split": SPLIT, "schedule": "stepwise", "epochs": 2, **RECIPE}
    control = methods.imp(start=None, sparsity=0.0, **settings)
    by_hand = encoder.classifier(SPLIT.labels, seed=3)
    models.freeze_embeddings(by_hand)
    encoded = data.tokenised(SPLIT, encoder.tokenizer(), RECIPE["max_length"])
    history = train.fit(
        by_hand, encoded, lambda logits, batch: losses.ce(logits, batch["labels"]),
        epochs=2, batch_size=RECIPE["batch_size"], learning_rate=RECIPE["learning_rate"], seed=3,
    )  # fmt: skip
    assert same(control, by_hand)
    assert len(history) == 2 * 64 / 16


def test_a_cubic_schedule_refuses_a_warm_up_that_leaves_it_no_room(encoder):
    settings = {"encoder": encoder, "split": SPLIT, "epochs": 1, **RECIPE}
    with pytest.raises(ValueError, match=r"warm-up is 0\.4; a cubic schedule needs less than a third"):
        methods.imp(start=None, sparsity=0.5, schedule="cubic", warmup=0.4, **settings)


def test_a_chain_keeps_what_was_removed(encoder):
    settings = {"encoder": encoder, "split": SPLIT, "schedule": "stepwise", "epochs": 1, **RECIPE}
    half = methods.imp(start=None, sparsity=0.5, **settings)
    gone = {name: linear.weight == 0 for name, linear in masks.encoder_linears(half).items()}
    most = methods.imp(start=half, sparsity=0.7, **settings)
    assert all(not linear.weight[gone[name]].any() for name, linear in masks.encoder_linears(most).items())


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
    unit = runs.unit(methods.finetuned, encoder=encoder, split=SPLIT, epochs=2, **RECIPE)
    forward = runs.unit(methods.predicted, model=unit, encoder=encoder, split=SPLIT, max_length=40)
    assert methods.work(unit) == 2 * 3 * methods.work(forward) == 2 * 3 * 2 * 64 * 40 * 2 * 12 * 32**2
    whole = data.Split("mnli", "mnli/train", "hub")
    large = runs.unit(methods.finetuned, encoder=models.Encoder("BERT-base"), split=whole, epochs=1, **RECIPE)
    assert methods.work(large) == 6 * 392_702 * 40 * 84_934_656
