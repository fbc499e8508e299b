import copy
import math

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robust_lib import masks

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 90,
    "num_labels": 3,
    "initializer_range": 0.2,  # logits that a wrong mask would move
}
CONFIGURATIONS = {
    "bert": transformers.BertConfig(**SMALL),
    "minilm": transformers.BertConfig(
        **SMALL | {"hidden_size": 24, "intermediate_size": 96, "num_hidden_layers": 3}
    ),
    "roberta": transformers.RobertaConfig(**SMALL),
    "electra": transformers.ElectraConfig(**SMALL, embedding_size=16),
    "distilbert": transformers.DistilBertConfig(
        dim=32, n_layers=2, n_heads=2, hidden_dim=48, vocab_size=90, num_labels=3, initializer_range=0.2
    ),
    "deberta": transformers.DebertaV2Config(  # as DeBERTa-v3
        **SMALL,
        relative_attention=True,
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        type_vocab_size=0,
    ),
}
POOLERS = {
    "bert": "bert.pooler.dense",
    "minilm": "bert.pooler.dense",
    "roberta": "classifier.dense",
    "electra": "classifier.dense",
    "distilbert": "pre_classifier",
    "deberta": "pooler.dense",
}
CLASSIFIERS = {"roberta": "classifier.out_proj", "electra": "classifier.out_proj"}
IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 11, 12, 3, 4]])


def made(name):
    torch.manual_seed(0)
    return transformers.AutoModelForSequenceClassification.from_config(
        copy.deepcopy(CONFIGURATIONS[name])
    ).eval()


def shape(config):
    return config.hidden_size, getattr(config, "intermediate_size", None) or config.hidden_dim


@pytest.fixture(params=sorted(CONFIGURATIONS))
def name(request):
    return request.param


@pytest.fixture
def model(name):
    return made(name)


def reference_magnitude(weight, sparsity):
    order = sorted(range(weight.numel()), key=lambda i: (abs(weight.flatten()[i].item()), i))
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[order[: round(sparsity * weight.numel())]] = False
    return mask.view_as(weight)


@given(st.integers(1, 6), st.integers(1, 6), st.floats(0, 1), st.integers(0, 9), st.booleans())
@settings(max_examples=200, deadline=None)
def test_magnitude_equals_reference_and_is_exact(rows, columns, sparsity, seed, ties):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    weight = weight.round() if ties else weight
    mask = masks.magnitude(weight, sparsity)
    assert torch.equal(mask, reference_magnitude(weight, sparsity))
    assert int((~mask).sum()) == round(sparsity * weight.numel())


@pytest.mark.parametrize("sparsity", [-0.1, 1.2])
def test_magnitude_refuses_an_impossible_sparsity(sparsity):
    with pytest.raises(ValueError, match=rf"sparsity is {sparsity}; it must lie in \[0, 1\]"):
        masks.magnitude(torch.ones(2, 2), sparsity)


def test_a_mask_of_ones_changes_nothing(model):
    before = model(IDS).logits
    masks.wrap(model)
    assert torch.equal(model(IDS).logits, before)


def test_the_parts_of_a_classifier(name, model):
    inside = masks.linears(model)
    layers, width, inner = len(inside) // 6, *shape(model.config)
    assert layers == model.config.num_hidden_layers
    assert sum(layer.weight.numel() for layer in inside.values()) == layers * (
        4 * width**2 + 2 * width * inner
    )
    assert list(masks.linears(model, ["pooler"])) == [POOLERS[name]]
    assert list(masks.linears(model, ["classifier"])) == [CLASSIFIERS.get(name, "classifier")]
    everything = masks.linears(model, masks.PARTS)
    assert everything.keys() == {*inside, POOLERS[name], CLASSIFIERS.get(name, "classifier")}
    assert not any("embed" in layer for layer in everything)
    assert (
        masks.wrap(model, masks.PARTS).keys() == everything.keys() == masks.linears(model, masks.PARTS).keys()
    )


def test_masking_equals_zeros_in_place_and_unwrapping_keeps_them(model):
    zeroed = copy.deepcopy(model)
    for linear in masks.linears(zeroed).values():
        linear.weight.data.mul_(masks.magnitude(linear.weight, 0.5))
    layers = masks.wrap(model)
    masks.assign(layers, {name: masks.magnitude(layer.weight, 0.5) for name, layer in layers.items()})
    expected = zeroed(IDS).logits
    torch.testing.assert_close(model(IDS).logits, expected)
    masks.unwrap(model)
    assert {type(linear) for linear in masks.linears(model).values()} == {nn.Linear}
    torch.testing.assert_close(model(IDS).logits, expected)
    assert model.state_dict().keys() == zeroed.state_dict().keys()
    assert masks.sparsity(linear.weight for linear in masks.linears(model).values()) == 0.5


def test_masked_weights_receive_no_gradient():
    linear = nn.Linear(4, 3)
    masked = masks.MaskedLinear(linear)
    keep = masks.magnitude(linear.weight, 0.5)
    masks.assign({"layer": masked}, {"layer": keep})
    masked(torch.randn(5, 4)).square().sum().backward()
    assert torch.equal(linear.weight.grad != 0, keep)


def test_masks_of_another_model_are_refused():
    layers = {"query": masks.MaskedLinear(nn.Linear(4, 3))}
    with pytest.raises(ValueError, match="differ in 2 layers, first key"):
        masks.assign(layers, {"key": torch.ones(3, 4, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"query is \(3, 4\) in the model, \(4, 3\) in the masks"):
        masks.assign(layers, {"query": torch.ones(4, 3, dtype=torch.bool)})


def test_a_model_without_layers_is_refused():
    with pytest.raises(ValueError, match="no linear layers inside a layer stack"):
        masks.wrap(nn.ModuleDict({"head": nn.Linear(2, 2)}))


# Several fixed masks


def test_several_masks_on_one_copy_equal_one_by_one(name):
    model, one = made(name), made(name)
    layers = masks.wrap(model, masks.PARTS)
    sets = [magnitudes(layers, sparsity) for sparsity in (0.2, 0.5, 0.9)]
    masks.assign(layers, {layer: torch.stack([chosen[layer] for chosen in sets]) for layer in layers})
    if name == "deberta":  # its positions pass through the same matrices, without a batch
        with pytest.raises(ValueError, match="a batch of 1 cannot be shared equally by 3 masks"):
            model(IDS.repeat(3, 1))
        return
    logits = model(IDS.repeat(3, 1)).logits
    for chosen, together in zip(sets, logits.chunk(3), strict=True):
        masks.assign(masks.wrap(one, masks.PARTS), chosen)
        torch.testing.assert_close(together, one(IDS).logits)


def test_several_masks_need_a_batch_they_share_and_cannot_become_one_model():
    model = made("bert")
    layers = masks.wrap(model)
    masks.assign(
        layers, {name: torch.ones(3, *layer.weight.shape, dtype=torch.bool) for name, layer in layers.items()}
    )
    with pytest.raises(ValueError, match="a batch of 2 cannot be shared equally by 3 masks"):
        model(IDS)
    with pytest.raises(ValueError, match=r"query has 3 masks; a model takes one"):
        masks.unwrap(model)


# Masks trained by their scores


def magnitudes(layers, sparsity):
    return {name: masks.magnitude(layer.weight, sparsity) for name, layer in layers.items()}


def reference_logits(model, ids, chosen):
    """The model's logits as a function of explicit masks, which autograd can follow."""
    weights = {f"{name}.weight": model.get_submodule(name).weight for name in chosen}
    masked = {f"{name}.weight": weights[f"{name}.weight"].detach() * mask for name, mask in chosen.items()}
    return torch.func.functional_call(model, masked, (ids,)).logits


def reference_gradient(model, ids, labels, chosen):
    """Straight-through: dL/dscores is dL/dm, m a real tensor that happens to hold zeros and ones."""
    masks_ = {name: mask.float().requires_grad_() for name, mask in chosen.items()}
    loss = F.cross_entropy(reference_logits(model, ids, masks_).float(), labels)
    return dict(zip(masks_, torch.autograd.grad(loss, list(masks_.values())), strict=True))


LABELS = torch.tensor([1, 2])


@pytest.mark.parametrize("init", ["hard", "soft"])
def test_scores_begin_as_magnitude_masks(model, init):
    weights = {name: layer.weight.detach() for name, layer in masks.linears(model, masks.PARTS).items()}
    scored = masks.score(model, [0.0, 0.5, 0.7, 1.0], init=init)
    assert scored.keys() == weights.keys()
    for place, sparsity in enumerate([0.0, 0.5, 0.7, 1.0]):
        for name, mask in masks.current(scored, place).items():
            assert torch.equal(mask, masks.magnitude(weights[name], sparsity))
    if init == "hard":
        for layer in scored.values():
            on = layer.scores > masks.THRESHOLD
            assert torch.equal(layer.scores, on * torch.tensor(masks.GAP))


def test_only_scores_are_trained(model):
    scored = masks.score(model, [0.5])
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {f"{name}.scores" for name in scored}


def test_scored_and_masked_and_zeroed_models_agree(name):
    model, other = made(name), made(name)
    scored = masks.score(model, [0.6], parts=["encoder", "pooler"])
    chosen = masks.current(scored)
    masks.apply(other, chosen)
    torch.testing.assert_close(model(IDS).logits, other(IDS).logits)
    torch.testing.assert_close(model(IDS).logits, reference_logits(made(name), IDS, chosen))


@pytest.mark.parametrize("setting", ["fp32", "frozen", "autocast", "both"])
def test_the_gradient_is_straight_through(name, setting):
    model, reference = made(name), made(name)
    frozen = torch.bfloat16 if setting in ("frozen", "both") else torch.float32
    scored = masks.score(model, [0.5], frozen=frozen)
    if frozen is torch.bfloat16:
        for layer in masks.linears(reference, masks.PARTS).values():
            layer.weight.data = layer.weight.data.to(frozen).float()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=setting in ("autocast", "both"))
    with autocast:
        logits = model(IDS).logits
    F.cross_entropy(logits.float(), LABELS).backward()
    with autocast:
        expected = reference_gradient(reference, IDS, LABELS, masks.current(scored))
    assert any((expected[name][~mask] != 0).any() for name, mask in masks.current(scored).items())
    for layer, gradient in expected.items():
        found = scored[layer].scores.grad
        assert found.dtype == torch.float32
        if setting in ("fp32", "frozen"):
            torch.testing.assert_close(found[0], gradient, rtol=1e-4, atol=1e-6)
        else:  # bf16 has 8 bits, and the two round in other places
            assert (found[0] - gradient).norm() <= 0.1 * gradient.norm() + 1e-6, layer


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS.keys() - {"deberta"}))  # which takes one at a time
def test_several_scores_on_one_copy_equal_one_by_one(name):
    sparsities = [0.3, 0.6, 0.9]
    together = made(name)
    scored = masks.score(together, sparsities)
    together(IDS.repeat(3, 1)).logits.square().sum().backward()
    for place, sparsity in enumerate(sparsities):
        alone = made(name)
        single = masks.score(alone, [sparsity])
        alone(IDS).logits.square().sum().backward()
        torch.testing.assert_close(together(IDS.repeat(3, 1)).logits.chunk(3)[place], alone(IDS).logits)
        for layer, one in single.items():
            torch.testing.assert_close(
                scored[layer].scores.grad[place], one.scores.grad[0], rtol=1e-4, atol=1e-5
            )


def trained(model, scored, sparsities, *, steps=5):
    """A few steps of AdamW, re-thresholded at each; the losses of the masks add up, so each trains as if alone."""
    optimizer = torch.optim.AdamW([layer.scores for layer in scored.values()], lr=5e-3, weight_decay=0.0)
    for _ in range(steps):
        logits = model(IDS.repeat(len(sparsities), 1)).logits
        sum(F.cross_entropy(one, LABELS) for one in logits.chunk(len(sparsities))).backward()
        optimizer.step()
        optimizer.zero_grad()
        masks.rethreshold(scored, sparsities)


def test_masks_trained_together_are_those_trained_alone():
    sparsities = [0.4, 0.8]
    together = made("bert")
    scored = masks.score(together, sparsities)
    start = masks.current(scored, 0)
    trained(together, scored, sparsities)
    assert masks.changed(masks.current(scored, 0), start) > 0.01
    for place, sparsity in enumerate(sparsities):
        alone = made("bert")
        single = masks.score(alone, [sparsity])
        trained(alone, single, [sparsity])
        # Not all: Adam makes a full step of a gradient that is nothing but rounding.
        assert masks.changed(masks.current(scored, place), masks.current(single)) < 0.005


@pytest.mark.parametrize("parts", [["encoder"], ["pooler", "classifier"]])
def test_scores_only_where_asked(parts):
    model = made("bert")
    assert masks.score(model, [0.5], parts=parts).keys() == masks.linears(made("bert"), parts).keys()


def test_scores_of_what_has_masks_or_no_layers_are_refused():
    model = made("bert")
    masks.wrap(model)
    with pytest.raises(ValueError, match=r"query is a MaskedLinear, no plain linear layer"):
        masks.score(model, [0.5])
    scored = made("bert")
    masks.score(scored, [0.5])
    with pytest.raises(ValueError, match=r"query is training its scores; wrap a fresh copy"):
        masks.wrap(scored)
    with pytest.raises(ValueError, match=r"masks.score: Linear has no linear layers"):
        masks.score(nn.Linear(2, 2), [0.5], parts=[])


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.lists(st.floats(0, 1), min_size=1, max_size=3),
    st.sampled_from("dtz0"),
)
@settings(max_examples=200, deadline=None)
def test_rethresholding_is_exact(rows, columns, sparsities, kind):
    """Also with ties, zeros, and nothing but equal scores; no score moves by more than one float."""
    scores = torch.randn(len(sparsities), rows, columns, generator=torch.Generator().manual_seed(rows))
    scores = {"d": scores, "t": scores.round(), "z": scores.relu(), "0": torch.zeros_like(scores)}[kind]
    linear = nn.Linear(columns, rows)
    layer = masks.ScoredLinear(linear, scores.clone(), torch.zeros(len(sparsities), 1, 1), torch.float32)
    masks.rethreshold({"layer": layer}, sparsities)
    for place, sparsity in enumerate(sparsities):
        mask = masks.current({"layer": layer}, place)["layer"]
        assert torch.equal(mask, masks.largest(scores[place], sparsity))
        assert int((~mask).sum()) == round(sparsity * mask.numel())
    up = scores.nextafter(torch.tensor(math.inf))
    assert ((layer.scores == scores) | (layer.scores == up)).all()


def test_changed_is_the_share_of_other_entries():
    ones = {"a": torch.ones(2, 2, dtype=torch.bool), "b": torch.ones(1, 4, dtype=torch.bool)}
    assert masks.changed(ones, ones) == 0
    assert masks.changed(ones, {name: ~mask for name, mask in ones.items()}) == 1
    assert masks.changed(ones, {**ones, "a": torch.eye(2) > 0}) == 2 / 8


# How far a learning rate carries


def rates(peak, epochs, per_epoch, warmup):
    """Linear warm-up in steps, then down to zero, as the paper's recipes have it."""
    total = epochs * per_epoch
    return [
        peak * min(step / warmup if warmup else 1, (total - step) / (total - warmup)) for step in range(total)
    ]


@pytest.mark.parametrize(
    ("recipe", "step"),
    [
        ((5e-5, 5, 12272, 3600), 1200),  # MNLI
        ((2e-5, 7, 11371, 3400), 1850),  # QQP
        ((2e-5, 7, 7591, 0), 500),  # FEVER
    ],
)
def test_the_papers_recipes_can_change_a_mask_from_this_step_on(recipe, step):
    learning_rates = rates(*recipe)
    assert (
        masks.travel(learning_rates[: round(step * 0.98)])
        < 0.5
        <= masks.travel(learning_rates[: round(step * 1.02)])
    )
    assert masks.travel(learning_rates) == pytest.approx(sum(learning_rates) / 0.02)


def test_travel_and_wandering_of_constant_rates():
    assert masks.travel([0.01, 0.01]) == pytest.approx(1.0)
    assert masks.wandering([0.01] * 4) == pytest.approx(1.0)  # sqrt(steps) times rate / gap
    assert masks.wandering([0.006, 0.008]) == pytest.approx(0.5)
    assert masks.travel([]) == masks.wandering([]) == 0


@pytest.mark.parametrize("factor", [0.9, 1.6])
def test_below_half_a_gap_no_training_changes_a_hard_mask(factor):
    """Adam's first step is the learning rate with the gradient's sign: both sides of half the gap."""
    model = made("bert")
    scored = masks.score(model, [0.5])
    start, rate = masks.current(scored), factor * masks.GAP / 2
    optimizer = torch.optim.AdamW([layer.scores for layer in scored.values()], lr=rate, weight_decay=0.0)
    F.cross_entropy(model(IDS).logits, LABELS).backward()
    optimizer.step()
    masks.rethreshold(scored, [0.5])
    assert (masks.travel([rate]) < 0.5) == (masks.changed(masks.current(scored), start) == 0)
