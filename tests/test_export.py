"""What is exported gives the logits of the model it was made of, with zeros in place or without what is empty."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from robust_lib import export, heads, masks, models, quantize
from robust_lib.runs import codecs

SHAPE = {"vocab_size": 90, "num_labels": 3, "initializer_range": 0.2}
SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 20}
CONFIGURATIONS = {
    "bert": transformers.BertConfig(**SIZES, **SHAPE),
    "roberta": transformers.RobertaConfig(**SIZES, **SHAPE),
    "electra": transformers.ElectraConfig(embedding_size=16, **SIZES, **SHAPE),
    "distilbert": transformers.DistilBertConfig(dim=24, n_layers=3, n_heads=4, hidden_dim=20, **SHAPE),
    "deberta": transformers.DebertaV2Config(
        relative_attention=True, share_att_key=True, pos_att_type=["p2c", "c2p"], **SIZES, **SHAPE
    ),
}
WITH_HEADS = sorted(CONFIGURATIONS.keys() - {"deberta"})
IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 11, 12, 3, 1]])
PADDED = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
SIZE = 24 // 4


def made(name: str) -> transformers.PreTrainedModel:
    """With biases that are no zeros, as trained ones are not."""
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(copy.deepcopy(CONFIGURATIONS[name]))
    for parameter, tensor in model.named_parameters():
        if parameter.endswith("bias"):
            tensor.data.normal_(std=0.5)
    model.train(False)
    return model


def logits(model: transformers.PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=PADDED).logits


def emptied(
    name: str, heads_of: dict[int, dict[str, list[int]]], units: dict[int, dict[str, list[int]]]
) -> Any:
    """A model behind masks without V's rows or the output's columns of some heads, and so the FFN's two matrices."""
    model = made(name)
    chosen = {}
    for layer, gone in heads_of.items():
        *_, value, output = heads.projections(model)[layer]
        chosen[value], chosen[output] = (torch.ones(24, 24, dtype=torch.bool) for _ in range(2))
        for head in gone.get("value", []):
            chosen[value][head * SIZE : (head + 1) * SIZE] = False
        for head in gone.get("output", []):
            chosen[output][:, head * SIZE : (head + 1) * SIZE] = False
    for layer, gone in units.items():
        into, out = list(masks.linears(model))[6 * layer + 4 : 6 * layer + 6]  # after Q, K, V and the output
        chosen[into], chosen[out] = torch.ones(20, 24, dtype=torch.bool), torch.ones(24, 20, dtype=torch.bool)
        chosen[into][gone.get("into", [])] = False
        chosen[out][:, gone.get("out", [])] = False
    masks.apply(model, chosen)
    return model


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_zeros_load_as_a_plain_checkpoint(name: str, tmp_path: Path) -> None:
    model = made(name)
    layers = masks.wrap(model, masks.PARTS)
    masks.assign(layers, {layer: masks.magnitude(one.weight, 0.6) for layer, one in layers.items()})
    export.zeros(model, tmp_path)
    back = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(back), logits(model))
    assert masks.sparsity(one.weight for one in masks.linears(back).values()) == pytest.approx(0.6, abs=0.01)
    assert all(isinstance(one, masks.MaskedLinear) for one in masks.linears(model, masks.PARTS).values())
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}
    assert type(export.load(tmp_path)) is type(model)


HEADS = {0: {"value": [1], "output": [3]}, 2: {"value": [0, 2], "output": [2]}}
UNITS = {0: {"into": [0, 5, 7], "out": [5, 19]}, 1: {"into": [3]}}


@pytest.mark.parametrize(
    ("heads_of", "units"), [(HEADS, UNITS), (HEADS, {}), ({}, UNITS)], ids=["both", "heads", "units"]
)
@pytest.mark.parametrize("name", WITH_HEADS)
def test_what_is_empty_goes_and_the_logits_stay(name: str, heads_of: Any, units: Any, tmp_path: Path) -> None:
    model = emptied(name, heads_of, units)
    before = logits(model)
    done = export.smaller(model, tmp_path)
    back = export.load(tmp_path)
    assert type(back) is type(model)
    assert not back.training
    torch.testing.assert_close(logits(back), before, rtol=1e-4, atol=1e-5)
    assert torch.equal(logits(model), before)
    assert heads.count(back) == ([2, 4, 2] if heads_of else [4, 4, 4])
    gone = 4 * (4 * SIZE * 24 + 3 * SIZE) * bool(heads_of) + (4 + 1) * (2 * 24 + 1) * bool(units)
    total = sum(parameter.numel() for parameter in made(name).parameters())
    assert done == export.Smaller((total, total - gone), (4 * total, 4 * (total - gone)), plain=False)
    assert sum(parameter.numel() for parameter in back.parameters()) == total - gone
    assert (tmp_path / "model.safetensors").stat().st_size < done.bytes[1] + 20_000


@pytest.mark.parametrize("name", WITH_HEADS)
def test_layers_of_one_size_need_no_loader_of_ours(name: str, tmp_path: Path) -> None:
    model = emptied(name, {}, {0: {"into": [0, 1]}, 1: {"out": [4, 7]}, 2: {"into": [3], "out": [8]}})
    assert export.smaller(model, tmp_path).plain
    back = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(back), logits(model), rtol=1e-4, atol=1e-5)
    assert {18} == {getattr(back.config, "intermediate_size", None) or back.config.hidden_dim}


@pytest.mark.parametrize("name", WITH_HEADS)
def test_where_nothing_is_empty_nothing_goes(name: str, tmp_path: Path) -> None:
    model = made(name)
    done = export.smaller(model, tmp_path)
    assert done.plain
    assert done.parameters[0] == done.parameters[1]
    back = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(back), logits(model))


@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_a_layer_without_anything_keeps_a_head_and_a_unit(name: str, tmp_path: Path) -> None:
    model = emptied(
        name,
        {0: {"value": [0, 1, 2, 3]}, 1: {"output": [0, 1, 2, 3]}},
        {0: {"into": list(range(20))}, 1: {"out": list(range(20))}},
    )
    export.smaller(model, tmp_path)
    back = export.load(tmp_path)
    assert heads.count(back) == [1, 1, 4]
    torch.testing.assert_close(logits(back), logits(model), rtol=1e-4, atol=1e-5)


def test_exporting_what_was_exported_composes(tmp_path: Path) -> None:
    export.smaller(emptied("bert", HEADS, UNITS), tmp_path / "once")
    once = export.load(tmp_path / "once")
    *_, output = heads.projections(once)[0]
    empty = torch.ones(24, 12, dtype=torch.bool)
    empty[:, :SIZE] = False  # the first of the heads left, number 0
    masks.apply(once, {output: empty})
    done = export.smaller(once, tmp_path / "twice")
    twice = export.load(tmp_path / "twice")
    assert twice.config.pruned_heads["0"] == [0, 1, 3]
    assert done.parameters[1] < done.parameters[0]
    torch.testing.assert_close(logits(twice), logits(once), rtol=1e-4, atol=1e-5)


def test_attention_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"DebertaV2\w+ has no attention like that of BERT, RoBERTa or DistilBERT"
    ):
        export.smaller(made("deberta"), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_scores_in_training_are_refused(tmp_path: Path) -> None:
    model = made("bert")
    masks.score(model, [0.5])
    with pytest.raises(ValueError, match=r"query is training its scores; put masks.current"):
        export.zeros(model, tmp_path / "none")


@pytest.mark.parametrize(
    "recorded", [{"ffn_units": [16, 19]}, {"ffn_units": [16, 18, 20]}, {"pruned_heads": {"0": [1]}}]
)
def test_weights_that_do_not_fit_the_config_are_refused(recorded: dict[str, Any], tmp_path: Path) -> None:
    export.smaller(emptied("bert", {}, {0: {"into": [1]}, 1: {"into": [1, 2]}}), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["ffn_units"] == [19, 18, 20]
    (tmp_path / "config.json").write_text(json.dumps({**config, **recorded}))
    with pytest.raises(
        export.CheckpointError, match=r"does not fit its own config.json \(first: .*bert.encoder"
    ):
        export.load(tmp_path)


def simulated(name: str, **settings: Any) -> transformers.PreTrainedModel:
    """Truncated and without some heads, as a compressed model may be before it is rounded to 8 bits."""
    model = made(name)
    heads.remove(model, {0: [1], 1: [0, 3], 2: [2]})
    models.truncate(model, 2)
    quantize.simulate(model, **settings)
    if settings.get("activations") != "dynamic":
        quantize.calibrate(model, [{"input_ids": IDS, "attention_mask": PADDED}])
    return model


@pytest.mark.parametrize(
    "settings", [{}, {"activations": "dynamic"}, {"requantize": False, "decay": 0.9}], ids=str
)
@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta"])
def test_a_simulated_model_returns_bit_for_bit(name: str, settings: Any, tmp_path: Path) -> None:
    model = simulated(name, **settings)
    assert codecs.write(model, tmp_path) == "model"
    back = codecs.read(tmp_path, "model")
    assert type(back) is type(model)
    assert quantize.simulated(back)
    assert heads.count(back) == [3, 2]
    assert back.config.quantized == model.config.quantized
    assert torch.equal(logits(back), logits(model))
    assert back.state_dict().keys() == model.state_dict().keys()
    # As the original it goes on training, its thresholds with it.
    for one in (model, back):
        torch.manual_seed(0)
        one.train()(input_ids=IDS, labels=torch.tensor([0, 1])).loss.backward()
    assert all(torch.equal(tensor, back.state_dict()[key]) for key, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, back.get_parameter(key).grad) for key, p in model.named_parameters())


def test_a_threshold_that_is_missing_is_named(tmp_path: Path) -> None:
    simulated("bert", requantize=False).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantized"]["requantize"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(export.CheckpointError, match=r"its own config.json \(first: .*outputs.threshold\)"):
        export.load(tmp_path)


def test_simulated_bits_are_no_checkpoint_for_others(tmp_path: Path) -> None:
    model = simulated("bert")
    for write in (export.zeros, export.smaller):
        with pytest.raises(ValueError, match=r"simulates 8 bits, .*; export quantize.unwrapped\(model\)"):
            write(model, tmp_path / "none")
    plain = quantize.unwrapped(model)
    export.zeros(plain, tmp_path)
    assert torch.equal(logits(export.load(tmp_path)), logits(plain))
