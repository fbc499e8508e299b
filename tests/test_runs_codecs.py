"""Models without some heads come back from their files as they went in, or not at all."""

import copy
import json
from pathlib import Path

import pytest
import torch
import transformers

from robust_lib import heads, runs
from robust_lib.runs import codecs

SHAPE = {"vocab_size": 90, "num_labels": 3, "initializer_range": 0.4}
CONFIGURATIONS = {
    "bert": transformers.BertConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, **SHAPE
    ),
    "distilbert": transformers.DistilBertConfig(dim=24, n_layers=2, n_heads=4, hidden_dim=40, **SHAPE),
}
IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 11, 12, 3, 4]])


def made(name: str, gone: dict[int, list[int]]) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(
        copy.deepcopy(CONFIGURATIONS[name])
    ).eval()
    heads.remove(model, gone)
    return model


@pytest.mark.parametrize("gone", [{}, {1: [0, 2]}, {0: [3], 1: [0, 1, 2]}])
@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_a_model_returns_without_its_heads(name: str, gone: dict[int, list[int]], tmp_path: Path) -> None:
    model = made(name, gone)
    assert codecs.write(model, tmp_path) == "model"
    state = torch.get_rng_state()
    back = codecs.read(tmp_path, "model")
    assert torch.equal(torch.get_rng_state(), state)  # reading draws nothing
    assert type(back) is type(model)
    assert not back.training
    assert heads.left(back) == heads.left(model)
    assert torch.equal(back(IDS).logits, model(IDS).logits)


def test_heads_removed_after_reading_compose(tmp_path: Path) -> None:
    model, tmp_twice = made("bert", {0: [1]}), tmp_path / "twice"
    tmp_twice.mkdir()
    codecs.write(model, tmp_path)
    back = codecs.read(tmp_path, "model")
    heads.remove(back, {0: [3], 1: [0]})
    codecs.write(back, tmp_twice)
    again = codecs.read(tmp_twice, "model")
    assert again.config.pruned_heads == {"0": [1, 3], "1": [0]}
    assert torch.equal(again(IDS).logits, back(IDS).logits)


@pytest.mark.parametrize("recorded", [{}, {"1": [0]}, {"0": [3], "1": [0, 2]}])
def test_weights_that_do_not_fit_the_recorded_heads_are_refused(
    recorded: dict[str, list[int]], tmp_path: Path
) -> None:
    codecs.write(made("bert", {1: [0, 2]}), tmp_path)
    _record(tmp_path, recorded)
    with pytest.raises(runs.ResultError, match=r"does not fit its own config.json \(first: .*attention"):
        codecs.read(tmp_path, "model")


@pytest.mark.parametrize(
    ("recorded", "message"), [({"7": [0]}, "layer 7 asked of 2"), ({"0": [9]}, "layer 0 has no head 9")]
)
def test_heads_that_never_were_are_refused(
    recorded: dict[str, list[int]], message: str, tmp_path: Path
) -> None:
    codecs.write(made("bert", {}), tmp_path)
    _record(tmp_path, recorded)
    with pytest.raises(ValueError, match=message):
        codecs.read(tmp_path, "model")


def _record(directory: Path, heads: dict[str, list[int]]) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "pruned_heads": heads}))
