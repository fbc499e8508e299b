import copy

import pytest
import torch
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
}
CONFIGURATIONS = {
    "bert": transformers.BertConfig(**SMALL),
    "roberta": transformers.RobertaConfig(**SMALL),
    "electra": transformers.ElectraConfig(**SMALL, embedding_size=32),
    "distilbert": transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=48, vocab_size=90),
    "deberta": transformers.DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"]),
}
IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 11, 12, 3, 4]])


@pytest.fixture(params=sorted(CONFIGURATIONS))
def model(request):
    torch.manual_seed(0)
    return transformers.AutoModelForSequenceClassification.from_config(CONFIGURATIONS[request.param]).eval()


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


def test_wrapping_covers_the_layer_stack_alone(model):
    layers = masks.wrap(model)
    inside = sum(layer.weight.numel() for layer in layers.values())
    projections = 6 if model.config.model_type == "deberta-v2" else 4  # DeBERTa also projects positions
    per_layer = projections * 32 * 32 + 2 * 32 * 48
    assert inside == 2 * per_layer
    assert not any("embed" in name or "classifier" in name or "pooler" in name for name in layers)


def test_masking_equals_zeros_in_place_and_unwrapping_keeps_them(model):
    zeroed = copy.deepcopy(model)
    for linear in masks.encoder_linears(zeroed).values():
        linear.weight.data.mul_(masks.magnitude(linear.weight, 0.5))
    layers = masks.wrap(model)
    masks.apply(layers, {name: masks.magnitude(layer.weight, 0.5) for name, layer in layers.items()})
    expected = zeroed(IDS).logits
    torch.testing.assert_close(model(IDS).logits, expected)
    masks.unwrap(model)
    assert {type(linear) for linear in masks.encoder_linears(model).values()} == {nn.Linear}
    torch.testing.assert_close(model(IDS).logits, expected)
    assert model.state_dict().keys() == zeroed.state_dict().keys()
    assert masks.sparsity(linear.weight for linear in masks.encoder_linears(model).values()) == 0.5


def test_masked_weights_receive_no_gradient():
    linear = nn.Linear(4, 3)
    masked = masks.MaskedLinear(linear)
    keep = masks.magnitude(linear.weight, 0.5)
    masks.apply({"layer": masked}, {"layer": keep})
    masked(torch.randn(5, 4)).square().sum().backward()
    assert torch.equal(linear.weight.grad != 0, keep)


def test_packed_masks_return_bit_for_bit_in_an_eighth_of_a_byte(model, tmp_path):
    layers = masks.wrap(model)
    saved = {name: masks.magnitude(layer.weight, 0.7) for name, layer in layers.items()}
    masks.save(tmp_path / "mask.safetensors", saved)
    loaded = masks.load(tmp_path / "mask.safetensors")
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
    entries = sum(mask.numel() for mask in saved.values())
    assert (tmp_path / "mask.safetensors").stat().st_size < entries / 8 + sum(
        2 * len(name) + 120 for name in saved
    )


def test_masks_of_another_model_are_refused():
    layers = {"query": masks.MaskedLinear(nn.Linear(4, 3))}
    with pytest.raises(ValueError, match="differ in 2 layers, first key"):
        masks.apply(layers, {"key": torch.ones(3, 4, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"query is \(3, 4\) in the model, \(4, 3\) in the masks"):
        masks.apply(layers, {"query": torch.ones(4, 3, dtype=torch.bool)})


def test_a_model_without_layers_is_refused():
    with pytest.raises(ValueError, match="no linear layers inside a layer stack"):
        masks.wrap(nn.ModuleDict({"head": nn.Linear(2, 2)}))
