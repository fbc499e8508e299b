import copy
import math
import sys

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


def simulated(name="bert", *, calibrated=True, **settings):
    model = made(name)
    quantize.simulate(model, **settings)
    if calibrated and settings.get("activations", "ema") == "ema":
        quantize.calibrate(model, [inputs()])
    return model


def reference_rounded(values, threshold):
    """One number after the other; ties to even, as everywhere in IEEE arithmetic."""
    step = threshold / 127
    return torch.tensor(
        [max(-127, min(127, round(one / step))) * step for one in values.double().flatten().tolist()],
        dtype=torch.float64,
    ).view_as(values)


def reference_linear(layer, values):
    """By a loop over products, in 64 bits; the thresholds are the tensors' own maxima."""
    x = reference_rounded(values, values.abs().max().item())
    w = reference_rounded(layer.weight.detach(), layer.weight.abs().max().item())
    rows = [
        [sum(a * b for a, b in zip(row, column, strict=True)) for column in w.tolist()] for row in x.tolist()
    ]
    step = values.abs().max().item() * layer.weight.abs().max().item() / 127**2
    bias = (layer.bias.detach().double() / step).round() * step
    made = torch.tensor(rows, dtype=torch.float64) + bias
    return made, reference_rounded(made, made.abs().max().item())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("activations", ["ema", "dynamic"])
@pytest.mark.parametrize("requantize", [False, True])
def test_a_simulated_layer_computes_what_the_formula_says(seed, activations, requantize):
    layer = simulated(activations=activations, requantize=requantize).bert.encoder.layer[0].output.dense
    torch.manual_seed(seed)
    layer.train()  # the first batch in training begins the average: its own maximum
    for place in layer.children():
        if activations == "ema":
            place.threshold.fill_(-1.0)
    values = 3 * torch.randn(5, 96)
    exact, rounded = reference_linear(layer, values)
    step = exact.abs().max() / 127
    error = (layer(values) - (rounded if requantize else exact)).abs()
    # fp32 scales differ in the last digit, so a number may fall to the other side of a tie.
    assert error.median() < 1e-5
    assert error.max() < (1.01 * step if requantize else 1e-3)


def test_embeddings_are_rounded_over_the_whole_matrix():
    model, plain = simulated(), made("bert")
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        weight = plain.bert.embeddings.get_submodule(name).weight
        ids = torch.arange(len(weight))
        found = model.bert.embeddings.get_submodule(name)(ids).double()
        torch.testing.assert_close(found, reference_rounded(weight.detach(), weight.abs().max().item()))


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_what_is_simulated_is_all_but_the_classifier_and_the_names_stay(name):
    model, plain = simulated(name), made(name)
    assert quantize.simulated(model)
    assert not quantize.simulated(plain)
    untouched = {key for key, module in model.named_modules() if type(module) is nn.Linear}
    assert untouched == set(masks.linears(plain, ["classifier"]))
    assert not any(type(module) is nn.Embedding for module in model.modules())
    assert dict(plain.named_parameters()).keys() == dict(model.named_parameters()).keys()
    assert all(
        torch.equal(parameter, plain.get_parameter(key)) for key, parameter in model.named_parameters()
    )
    added = model.state_dict().keys() - plain.state_dict().keys()
    linears = len(masks.linears(plain, ["encoder", "pooler"]))
    assert len(added) == 2 * linears
    assert all(key.endswith(("inputs.threshold", "outputs.threshold")) for key in added)


@pytest.mark.parametrize("settings", [{}, {"activations": "dynamic"}, {"requantize": False}], ids=str)
@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_simulated_predictions_stay_close(name, settings):
    check_close(simulated(name, **settings), made(name))


def test_gradients_are_straight_through_also_beyond_the_threshold():
    layer = simulated().bert.encoder.layer[0].intermediate.dense.eval()
    layer.inputs.threshold.fill_(0.5)
    layer.outputs.threshold.fill_(0.5)
    values = torch.randn(7, 64, requires_grad=True)
    weights = torch.randn(7, 96)
    (layer(values) * weights).sum().backward()
    x = reference_rounded(values.detach().clamp(-0.5, 0.5), 0.5)
    w = reference_rounded(layer.weight.detach(), layer.weight.abs().max().item())
    torch.testing.assert_close(values.grad, (weights.double() @ w).float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.weight.grad, (weights.double().T @ x).float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.bias.grad, weights.sum(0))
    assert (values.detach().abs() > 0.5).any()


def test_embeddings_receive_the_gradient_of_their_rows():
    embedding, ids = simulated().bert.embeddings.word_embeddings, torch.tensor([5, 9, 5])
    embedding(ids).sum().backward()
    expected = torch.zeros(90, 64)
    expected[5], expected[9] = 2, 1
    torch.testing.assert_close(embedding.weight.grad, expected)


def test_thresholds_follow_training_as_a_moving_average_and_stand_still_otherwise():
    model = simulated(calibrated=False, decay=0.75)
    layer = model.bert.encoder.layer[1].intermediate.dense
    batches = [torch.randn(4, 64) * size for size in (1, 5, 2)]
    layer.train()
    expected = batches[0].abs().max()
    for batch in batches:
        layer(batch)
        expected = 0.75 * expected + 0.25 * batch.abs().max()
        assert layer.inputs.threshold.item() == pytest.approx(expected.item(), rel=1e-6)
    layer.eval()
    before = layer.outputs.threshold.clone()
    layer(100 * batches[0])
    assert layer.inputs.threshold.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(layer.outputs.threshold, before)


def test_training_under_rounding_lowers_the_loss_and_moves_weights_and_thresholds():
    model, labels = simulated().train(), torch.arange(16) % 3
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = model(**inputs(), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-3:]) < sum(losses[:3]) / 2
    still = [key for key, tensor in model.state_dict().items() if torch.equal(tensor, before[key])]
    assert still == []


def test_calibration_takes_the_largest_of_all_batches_and_changes_no_weight():
    model = simulated(calibrated=False).train()
    layer, first = model.bert.encoder.layer[0].attention.self.query, {"input_ids": inputs()["input_ids"][:3]}
    weights = copy.deepcopy(dict(model.named_parameters()))
    seen = []
    layer.register_forward_hook(lambda _, given, made: seen.append(given[0].abs().max()))
    quantize.calibrate(model, [first, inputs()])
    assert len(seen) == 2
    assert layer.inputs.threshold == max(seen)
    assert model.training
    assert all(torch.equal(parameter, weights[name]) for name, parameter in model.named_parameters())
    quantize.calibrate(model, [first])
    assert layer.inputs.threshold == seen[-1]  # the earlier ones are forgotten
    assert len({place.calibrating for place in model.modules() if hasattr(place, "calibrating")}) == 1


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_a_text_has_its_own_score_whatever_stands_beside_it(name):
    """Batches of at least 16 rows of one length: below, fp32 kernels of the classifier change (and only these)."""
    model = simulated(name)
    ids = torch.randint(5, 90, (40, 9), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        together = model(input_ids=ids).logits
        for start, rows in ((0, 16), (5, 17), (23, 17)):
            assert torch.equal(
                model(input_ids=ids[start : start + rows]).logits, together[start : start + rows]
            )
        assert torch.equal(model(input_ids=ids.flip(0)).logits.flip(0), together)
    shared = simulated(name, activations="dynamic")
    with torch.inference_mode():
        assert not torch.equal(shared(input_ids=ids[:16]).logits, shared(input_ids=ids).logits[:16])


def test_sums_of_products_are_whole_numbers_and_exact():
    layer = simulated(requantize=False).bert.encoder.layer[0].output.dense
    values = torch.randn(6, 96)
    with torch.inference_mode():
        step = layer.inputs.threshold.double() * layer.weight.abs().max().double() / 127**2
        steps = layer(values).double() / step
    assert (steps - steps.round()).abs().max() < 1e-2
    assert steps.abs().max() > 1e3


def test_unwrapped_is_plain_with_the_rounded_weights():
    model = simulated()
    before = copy.deepcopy(model.state_dict())
    plain = quantize.unwrapped(model)
    assert not quantize.simulated(plain)
    assert quantize.simulated(model)
    assert not hasattr(plain.config, "quantized")
    assert plain.state_dict().keys() == made("bert").state_dict().keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert torch.equal(plain.classifier.weight, model.classifier.weight)
    weight = model.bert.encoder.layer[0].output.dense.weight.detach()
    expected = reference_rounded(weight, weight.abs().max().item()).float()
    torch.testing.assert_close(plain.bert.encoder.layer[0].output.dense.weight, nn.Parameter(expected))
    assert plain.bert.encoder.layer[0].output.dense.weight.unique().numel() <= 255
    check_close(quantize.dynamic(plain), made("bert"))
    quantize.simulate(plain, activations="dynamic")  # rounding what is rounded changes nothing
    with torch.inference_mode():
        again = quantize.unwrapped(plain)
    torch.testing.assert_close(again.state_dict(), quantize.unwrapped(model).state_dict())


def test_without_heads_and_with_zeros():
    model = made("bert")
    heads.remove(model, {0: [1], 1: [0, 3]})
    plain = copy.deepcopy(model)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight.zero_()
        plain.bert.encoder.layer[0].output.dense.weight.zero_()
    quantize.simulate(model)
    quantize.calibrate(model, [inputs()])
    check_close(model, plain)


def test_under_bf16_it_stays_close():
    model, plain = simulated(), made("bert")
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(**inputs()).logits.float()
    with torch.inference_mode():
        expected = plain(**inputs()).logits
    error = (found - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert error < 2 * TOLERANCE


def test_size_counts_a_byte_for_each_weight_that_is_simulated():
    model = simulated()
    plain = made("bert")
    weights = sum(
        module.weight.numel()
        for name, module in plain.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding) and name != "classifier"
    )
    assert quantize.size(model) == 4 * plain.num_parameters() - 3 * weights


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulated(decay=1.0), r"decay is 1.0; it must lie in \[0, 1\)"),
        (
            lambda: quantize.simulate(simulated()),
            "query is a SimulatedLinear, no plain linear layer; .*quantize.unwrapped",
        ),
        (lambda: simulated(calibrated=False)(**inputs()), "seen no activations .* call quantize.calibrate"),
        (
            lambda: quantize.calibrate(made("bert"), [inputs()]),
            "has no thresholds to set; call quantize.simulate",
        ),
        (
            lambda: quantize.calibrate(simulated(activations="dynamic"), [inputs()]),
            "has no thresholds to set",
        ),
        (lambda: quantize.calibrate(simulated(), []), "there are no batches to take thresholds from"),
        (lambda: quantize.dynamic(simulated()), r"simulates 8 bits; give it quantize.unwrapped\(model\)"),
        (lambda: quantize.onnx(simulated()), r"quantize.onnx: the model simulates 8 bits"),
    ],
)
def test_what_cannot_be_simulated_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_masks_are_refused_by_the_simulation():
    model = made("bert")
    masks.wrap(model)
    with pytest.raises(ValueError, match=r"query is a MaskedLinear, no plain linear layer; masks.unwrap"):
        quantize.simulate(model)


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_onnx_runtime_stays_close_at_any_size_and_length(name):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = made(name).train()
    logits = quantize.onnx(model)
    assert model.training
    model.eval()
    for rows, length in ((16, 9), (1, 9), (3, 1), (5, 30)):
        ids = torch.randint(5, 90, (rows, length), generator=torch.Generator().manual_seed(0))
        mask = torch.ones_like(ids)
        mask[::2, 6:] = 0
        batch = {"input_ids": ids, "attention_mask": mask}
        with torch.inference_mode():
            expected = model(**batch).logits
        found = logits(batch)
        assert found.shape == expected.shape
        error = (found - expected).square().mean().sqrt() / expected.square().mean().sqrt()
        assert 0 < error < TOLERANCE


def test_onnx_runtime_takes_a_batch_without_a_mask_and_a_model_without_heads():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = simulated()
    small = quantize.unwrapped(model)
    heads.remove(small, {0: [1]})
    logits, ids = quantize.onnx(small), inputs()["input_ids"]
    assert torch.equal(
        logits({"input_ids": ids}), logits({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    )


def test_a_missing_onnx_runtime_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"onnxruntime is not installed; pip install 'robust-lib\[onnx\]'"
    ):
        quantize.onnx(made("bert"))
