import copy
import math

import pytest
import torch
import transformers
from torch import nn
from torch.ao.nn.quantized import dynamic as integer

from robust_lib import heads, masks, quantize

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 90,
    "num_labels": 3,
    "initializer_range": 0.2,
}
CONFIGURATIONS = {
    "bert": transformers.BertConfig(**SMALL),
    "roberta": transformers.RobertaConfig(**SMALL),
    "distilbert": transformers.DistilBertConfig(
        dim=64, n_layers=2, n_heads=4, hidden_dim=96, vocab_size=90, num_labels=3, initializer_range=0.2
    ),
}
# Rounding to 127 levels over a range of six standard deviations adds noise of 6 / 127 / sqrt(12) = 1.4 % to what goes
# into a linear layer, and to 255 levels over seven 0.8 % to its weights. Ten layers lie in a row (four in each of two
# blocks, pooler, classifier): sqrt(10) * 1.6 % = 5 % of the logits' size. Three times that is allowed.
TOLERANCE = 3 * math.sqrt(10) * math.hypot(6 / 127, 7 / 255) / math.sqrt(12)


def made(name, attention="sdpa"):
    torch.manual_seed(0)
    return transformers.AutoModelForSequenceClassification.from_config(
        copy.deepcopy(CONFIGURATIONS[name]), attn_implementation=attention
    ).eval()


def inputs():
    ids = torch.randint(5, 90, (16, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[::2, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def check_close(small, model):
    with torch.inference_mode():
        expected, found = model(**inputs()).logits, small(**inputs()).logits
    error = (found - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert 0 < error < TOLERANCE


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_predictions_stay_close(name, attention):
    model = made(name, attention)
    check_close(quantize.dynamic(model), model)


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_all_linears_and_nothing_else_become_integers(name):
    model = made(name)
    small = quantize.dynamic(model)
    replaced = {name for name, module in small.named_modules() if isinstance(module, integer.Linear)}
    assert replaced == {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for name in replaced:
        weight, original = small.get_submodule(name).weight(), model.get_submodule(name).weight
        scale = original.abs().max() / 127.5
        assert weight.dtype == torch.qint8
        assert weight.q_zero_point() == 0
        expected = (original / scale).round().clamp(-128, 127)
        assert (weight.int_repr() - expected).abs().max() <= 1  # ties of rounding
        assert ((weight.int_repr() != expected).double().mean()) < 0.01
    rest = dict(small.named_parameters())
    assert rest
    assert all(torch.equal(parameter, model.get_parameter(name)) for name, parameter in rest.items())
    assert all("embeddings" in name or "norm" in name.lower() for name in rest)


def test_the_original_is_untouched_and_the_copy_is_for_inference():
    model = made("bert").train()
    before = copy.deepcopy(model.state_dict())
    small = quantize.dynamic(model)
    assert model.training
    assert not small.training
    assert not any(
        isinstance(module, integer.Linear) or hasattr(module, "qconfig") for module in model.modules()
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("rows", "width", "outputs"), [(1, 1, 1), (5, 16, 3), (40, 300, 70)])
@pytest.mark.parametrize("seed", range(3))
def test_one_layer_computes_in_integers_within_its_rounding(rows, width, outputs, seed):
    """Each weight is off by half a step; each input by half a step, and half a step of the rounded zero point."""
    torch.manual_seed(seed)
    linear, values = nn.Linear(width, outputs), torch.randn(rows, width)
    with torch.inference_mode():
        error = quantize.dynamic(nn.Sequential(linear))(values) - linear(values)
    weight_step = linear.weight.abs().max() / 127.5
    input_step = (values.max().clamp(min=0) - values.min().clamp(max=0)) / 127
    bound = (
        values.abs().sum(1, keepdim=True) * weight_step / 2
        + linear.weight.abs().sum(1) * input_step
        + width * weight_step * input_step / 2
    )
    assert (error.abs() <= bound + 1e-5).all()
    assert width == 1 or error.abs().max() > 0


def test_products_are_whole_multiples_of_the_two_steps():
    torch.manual_seed(0)
    linear, values = nn.Linear(32, 24, bias=False), torch.randn(6, 32)
    small = quantize.dynamic(nn.Sequential(linear))
    with torch.inference_mode():
        products = small(values).double()
    weight_step = small[0].weight().q_scale()

    def off(levels):
        steps = products / (weight_step * (values.max() - values.min()).double() / levels)
        return (steps - steps.round()).abs().max()

    assert min(off(127), off(255)) < 0.01  # 7 bits on x86, 8 elsewhere


def test_after_masks_and_without_heads():
    model = made("bert")
    layers = masks.wrap(model)
    masks.assign(layers, {name: masks.magnitude(layer.weight, 0.5) for name, layer in layers.items()})
    with pytest.raises(ValueError, match=r"still wears masks; call masks.unwrap first"):
        quantize.dynamic(model)
    masks.unwrap(model)
    heads.remove(model, {0: [1], 1: [0, 3]})
    small = quantize.dynamic(model)
    check_close(small, model)
    zero = masks.linears(model)["bert.encoder.layer.0.attention.self.query"].weight == 0
    query = small.bert.encoder.layer[0].attention.self.query
    assert not query.weight().int_repr()[zero].any()


def test_size_counts_a_byte_for_each_weight_of_a_linear():
    model = made("bert")
    linears = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    assert quantize.size(model) == 4 * model.num_parameters()
    assert quantize.size(quantize.dynamic(model)) == 4 * model.num_parameters() - 3 * linears


def test_a_platform_without_integer_kernels_is_named(monkeypatch):
    monkeypatch.setattr(type(torch.backends.quantized), "engine", "none")
    with pytest.raises(
        RuntimeError, match=r"no 8-bit engine switched on; set torch.backends.quantized.engine"
    ):
        quantize.dynamic(made("bert"))
