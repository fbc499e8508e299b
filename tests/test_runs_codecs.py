"""Models without some heads, masks and dicts of parts come back from their files as they went in, or not at all."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from robust_lib import export, heads, masks, runs
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


def test_a_model_without_some_ffn_units_returns(tmp_path: Path) -> None:
    model = made("bert", {})
    model.bert.encoder.layer[0].intermediate.dense.weight.data[:7] = 0
    export.smaller(model, tmp_path / "exported")
    small, kept = export.load(tmp_path / "exported"), tmp_path / "kept"
    kept.mkdir()
    assert codecs.write(small, kept) == "model"
    back = codecs.read(kept, "model")
    assert len(back.bert.encoder.layer[0].intermediate.dense.weight) == 33
    assert torch.equal(back(IDS).logits, small(IDS).logits)


@pytest.mark.parametrize("behind", [masks.wrap, lambda model: masks.score(model, [0.5])])
def test_a_model_behind_masks_is_refused(behind: Any, tmp_path: Path) -> None:
    model = made("bert", {})
    behind(model)
    with pytest.raises(
        runs.ResultError, match=r"the result is a BertFor\w+ behind masks, which would be lost"
    ):
        codecs.write(model, tmp_path)


def test_masks_take_a_bit_for_each_entry(tmp_path: Path) -> None:
    chosen = {
        name: torch.rand(shape) < 0.3
        for name, shape in {"a": (300, 500), "b.c": (3, 7), "d": (5,), "e": (2, 3, 1)}.items()
    }
    assert codecs.write(chosen, tmp_path) == "masks"
    assert (tmp_path / "masks.safetensors").stat().st_size < 300 * 500 / 8 + 2000
    back = codecs.read(tmp_path, "masks")
    assert list(back) == list(chosen)
    assert all(torch.equal(back[name], chosen[name]) and back[name].dtype == torch.bool for name in chosen)


@pytest.mark.parametrize(
    "tensors",
    [{"a": torch.ones(2) > 0, "b": torch.ones(2)}, {"a": torch.ones(0) > 0}],
    ids=["mixed", "empty"],
)
def test_other_tensors_stay_tensors(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert codecs.write(tensors, tmp_path) == "tensors"
    assert all(
        torch.equal(tensor, tensors[name]) for name, tensor in codecs.read(tmp_path, "tensors").items()
    )


MASKS = {"layer": torch.eye(3) > 0}
COURSE = pd.DataFrame({"step": [0, 1], "loss": [0.7, 0.5]})


def test_parts_return_each_as_its_own_kind(tmp_path: Path) -> None:
    model = made("bert", {1: [0]})
    parts = {
        "masks": MASKS,
        "../odd / name": {"0.7": {"masks": MASKS, "course": COURSE}, "": {"w": torch.arange(3.0)}},
        "course": COURSE,
        "model": model,
        "accuracy": 0.5,
        "meta.json": {"steps": [1, 2]},
    }
    assert codecs.write(parts, tmp_path) == "parts"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0", "1", "2", "3", "4", "5", "parts.json"]
    back = codecs.read(tmp_path, "parts")
    assert list(back) == list(parts)
    assert torch.equal(back["masks"]["layer"], MASKS["layer"])
    inner = back["../odd / name"]
    assert torch.equal(inner["0.7"]["masks"]["layer"], MASKS["layer"])
    pd.testing.assert_frame_equal(inner["0.7"]["course"], COURSE)
    assert torch.equal(inner[""]["w"], torch.arange(3.0))
    pd.testing.assert_frame_equal(back["course"], COURSE)
    assert torch.equal(back["model"](IDS).logits, model(IDS).logits)
    assert (back["accuracy"], back["meta.json"]) == (0.5, {"steps": [1, 2]})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"course": COURSE, 1: COURSE}, "the result has the key 1; keys in a kept dict are strings"),
        (
            {"a": {"course": COURSE, 1: 2}},
            r"the result\['a'\] has the key 1; keys in a kept dict are strings",
        ),
        ({"course": COURSE, "w": torch.zeros(2)}, r"the result\['w'\] is a Tensor; a unit returns"),
        ({"course": COURSE, "more": {"a": [{1}]}}, r"the result\['more'\]\['a'\]\[0\] is a set"),
        ({"course": COURSE, "x": np.zeros(3)}, r"ndarray"),
        ({"courses": [COURSE]}, r"the result\['courses'\]\[0\] is a DataFrame"),
        ({"course": COURSE, "model": torch.nn.Linear(2, 2)}, r"the result\['model'\] is a Linear"),
    ],
)
def test_parts_that_cannot_be_kept_are_named(value: Any, message: str, tmp_path: Path) -> None:
    store = runs.Store(tmp_path / "store")
    with pytest.raises(runs.ResultError, match=message):
        store.save(runs.unit(work, name="x"), value, seconds=0.1)
    assert store.keys() == set()
    assert list((store.path / "partial").iterdir()) == []


def work(*, name: str) -> Any:
    """Never called: results are handed to the store."""
    raise AssertionError


@pytest.mark.parametrize("harm", ["cut", "flipped", "gone"])
@pytest.mark.parametrize("file", ["parts.json", "0/masks.safetensors", "1/frame.parquet"])
def test_damage_to_any_part_is_noticed(file: str, harm: str, tmp_path: Path) -> None:
    store, unit = runs.Store(tmp_path / "store"), runs.unit(work, name="x")
    store.save(unit, {"masks": MASKS, "course": COURSE}, seconds=0.1)
    assert store.load(unit).keys() == {"masks", "course"}
    (path,) = store.path.glob(f"*/{unit.key}/{file}")
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        path.write_bytes(
            content[:-3]
            if harm == "cut"
            else content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        )
    with pytest.raises(runs.Damaged, match=file):
        store.load(unit)
    assert unit not in store
