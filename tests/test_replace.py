"""Module replacing stands between two models that are known: the predecessor and its first layers."""

import copy
import math

import pytest
import torch
import transformers
from torch import nn

from robust_lib import data, heads, models, replace, train
from robust_lib.runs import codecs

SHAPE = {"vocab_size": 90, "num_labels": 3, "initializer_range": 0.3}
SIZES = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 20}
CONFIGURATIONS = {
    "bert": transformers.BertConfig(num_hidden_layers=6, **SIZES, **SHAPE),
    "roberta": transformers.RobertaConfig(num_hidden_layers=6, **SIZES, **SHAPE),
    "distilbert": transformers.DistilBertConfig(dim=24, n_layers=6, n_heads=4, hidden_dim=20, **SHAPE),
}
NAMES = sorted(CONFIGURATIONS)
INPUTS = {
    "input_ids": torch.tensor([[2, 7, 8, 9, 3], [2, 11, 12, 3, 1]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]),
}
LABELS = torch.tensor([0, 2])


def made(name="bert"):
    torch.manual_seed(0)
    return transformers.AutoModelForSequenceClassification.from_config(
        copy.deepcopy(CONFIGURATIONS[name])
    ).eval()


def replaced(name="bert", successors=3, seed=0):
    model = made(name)
    replace.theseus(model, successors, generator=torch.Generator().manual_seed(seed))
    return model


def logits(model):
    """With the same dropout, where the model is training."""
    torch.manual_seed(1)
    return model(**INPUTS).logits


def modules(model):
    return models.layer_stack(model)[1]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_at_rate_one_it_is_the_first_layers(name, training):
    model = replaced(name).train(training)
    truncated = models.truncate(made(name), 3).train(training)
    assert torch.equal(logits(model), logits(truncated))


@pytest.mark.parametrize("name", NAMES)
def test_at_rate_zero_training_sees_the_predecessor_and_inference_the_successor(name):
    model = replaced(name)
    replace.assign(model, 0.0)
    assert torch.equal(logits(model), logits(models.truncate(made(name), 3)))
    assert torch.equal(logits(model.train()), logits(made(name).train()))


def test_a_successor_stands_for_its_own_share_of_the_layers():
    """Only the middle of three is drawn: layers 0 and 1, the second successor (a copy of layer 1), 4 and 5."""
    model = replaced().train()
    for place, module in enumerate(modules(model)):
        module.rate = float(place == 1)
    by_hand = made().train()
    by_hand.bert.encoder.layer = nn.ModuleList(
        [by_hand.bert.encoder.layer[place] for place in (0, 1, 1, 4, 5)]
    )
    assert torch.equal(logits(model), logits(by_hand))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_every_module_is_drawn_alone_once_per_pass_at_its_rate(rate):
    model, passes = replaced().train(), 400
    replace.assign(model, rate)
    drawn = [[] for _ in modules(model)]
    for place, module in enumerate(modules(model)):
        module.successor.register_forward_hook(lambda *_, place=place: drawn[place].append(len(done)))
    done = []
    with torch.no_grad():
        for _ in range(passes):
            done.append(model(**INPUTS))
    assert all(len(set(one)) == len(one) for one in drawn)
    for one in drawn:  # four standard errors
        assert abs(len(one) - rate * passes) < 4 * math.sqrt(passes * rate * (1 - rate))
    both = len(set(drawn[0]) & set(drawn[1]))
    assert abs(both - rate**2 * passes) < 4 * math.sqrt(passes * rate**2 * (1 - rate**2))


def test_the_generator_alone_decides_the_draws():
    def losses(seed, torch_seed):
        torch.manual_seed(torch_seed)
        model = replaced(seed=seed).train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        replace.assign(model, 0.5)
        return [model(**INPUTS).logits.sum().item() for _ in range(20)]

    assert losses(3, 0) == losses(3, 1)
    assert losses(3, 0) != losses(4, 0)


@pytest.mark.parametrize("name", NAMES)
def test_only_successors_have_a_gradient(name):
    model = replaced(name).train()
    replace.assign(model, 0.5)
    names = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert names == {key for key, _ in model.named_parameters() if ".successor." in key}
    for _ in range(8):
        model(**INPUTS, labels=LABELS).loss.backward()
    found = {key for key, parameter in model.named_parameters() if parameter.grad is not None}
    assert found == names


def test_a_pass_without_a_successor_has_a_backward_pass_that_changes_nothing():
    model = replaced().train()
    replace.assign(model, 0.0)
    model(**INPUTS, labels=LABELS).loss.backward()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_training_moves_the_successors_alone_and_ends_as_a_plain_model(tmp_path):
    encoder = models.Encoder("micro-base")
    model = encoder.classifier(("entailment", "neutral", "contradiction"), seed=0)
    before, layers = copy.deepcopy(model), len(modules(model))
    replace.theseus(model, layers // 2, generator=torch.Generator().manual_seed(0))
    rates = []

    def before_step(step, total):
        rates.append(replace.linear(step, slope=0.25, base=0.5))
        replace.assign(model, rates[-1])

    train.fit(
        model,
        _encoded(encoder),
        lambda rows, batch: nn.functional.cross_entropy(rows, batch["labels"]),
        epochs=2,
        batch_size=4,
        learning_rate=1e-3,
        before_step=before_step,
    )
    assert rates == [0.5, 0.75, 1.0, 1.0, 1.0]
    trained = logits(model)
    replace.finish(model)
    assert torch.equal(logits(model), trained)
    assert model.config.num_hidden_layers == len(modules(model)) == layers // 2
    assert all(parameter.requires_grad for parameter in model.parameters())
    stack = models.layer_stack(model)[0]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before.get_parameter(name)) != name.startswith(stack), name
    assert codecs.write(model, tmp_path) == "model"
    assert torch.equal(logits(codecs.read(tmp_path, "model")), trained)


def _encoded(encoder):
    split = data.Split("mnli", "mnli/train", "micro", 8)
    return data.tokenised(split, encoder.tokenizer(), 32)


def test_a_model_without_some_heads_keeps_those_of_its_successors(tmp_path):
    model = made()
    heads.remove(model, {1: [0, 3], 4: [2]})
    replace.theseus(model, 2, generator=torch.Generator())
    replace.finish(model)
    assert heads.count(model) == [4, 2]
    codecs.write(model, tmp_path)
    assert torch.equal(logits(codecs.read(tmp_path, "model")), logits(model))


@pytest.mark.parametrize(("step", "rate"), [(0, 0.5), (12_500, 0.75), (25_000, 1.0), (10**6, 1.0)])
def test_the_rate_rises_linearly_to_one(step, rate):
    assert replace.linear(step, slope=2e-5, base=0.5) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("teacher", "student", "layers"),
    [(12, 6, [1, 3, 5, 7, 9]), (24, 6, [3, 7, 11, 15, 19]), (12, 3, [3, 7]), (4, 2, [1]), (3, 3, [0, 1])],
)
def test_skip_takes_every_kth_layer_but_the_last(teacher, student, layers):
    assert replace.skip(teacher, student) == layers


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replaced(successors=4), "4 successors cannot stand for equal shares of 6 layers"),
        (lambda: replaced(successors=0), "0 successors cannot stand"),
        (lambda: replace.assign(replaced(), 1.5), r"rate is 1.5; it must lie in \[0, 1\]"),
        (lambda: replace.assign(made(), 0.5), "BertForSequenceClassification has no modules to replace"),
        (lambda: replace.finish(made()), "call replace.theseus first"),
        (lambda: replace.skip(12, 5), "5 layers of a student are no equal shares of a teacher's 12"),
        (lambda: replace.skip(12, 1), "or a single one"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
