"""The store: what comes back is what went in, and what is damaged is never used."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from robust_lib import runs
from robust_lib.runs.store import _file_digest


def made(*, name: str) -> Any:
    """Never called here: results are handed to the store."""
    raise AssertionError


@pytest.fixture
def store(tmp_path: Path) -> runs.Store:
    return runs.Store(tmp_path / "store")


def kept(store: runs.Store, value: Any, name: str = "x") -> Any:
    unit = runs.unit(made, name=name)
    store.save(unit, value, seconds=1.5)
    return store.load(unit)


def place(store: runs.Store, name: str = "x") -> Path:
    key = runs.unit(made, name=name).key
    return store.path / key[:2] / key


class TestResults:
    @pytest.mark.parametrize(
        "value",
        [None, 1, 0.1, "naïve ✓", [1, [2.5]], {"a": {"b": [True, None]}}, [], {}, float("inf"), 2**70],
    )
    def test_json(self, store: runs.Store, value: Any) -> None:
        back = kept(store, value)
        assert back == value
        assert type(back) is type(value)

    def test_numpy_numbers_and_tuples_become_plain(self, store: runs.Store) -> None:
        assert kept(store, {"f1": np.float32(0.5), "n": np.int64(3), "pair": (1, 2)}) == {
            "f1": 0.5,
            "n": 3,
            "pair": [1, 2],
        }

    def test_frame(self, store: runs.Store) -> None:
        frame = pd.DataFrame(
            {
                "id": [3, 1],
                "gold": ["entailment", None],
                "logit_a": np.array([0.1, np.nan], dtype=np.float32),
                "hard": [True, False],
                "answers": [["a", "b"], []],
                "kind": pd.Categorical(["x", "y"]),
            },
            index=["first", "second"],
        )
        back = kept(store, frame)
        pd.testing.assert_frame_equal(back.drop(columns="answers"), frame.drop(columns="answers"))
        assert [list(item) for item in back["answers"]] == frame["answers"].tolist()

    def test_frame_without_rows_or_with_numbered_columns(self, store: runs.Store) -> None:
        pd.testing.assert_frame_equal(
            kept(store, pd.DataFrame({0: ["a"], 1: [0.5]}), "a"), pd.DataFrame({0: ["a"], 1: [0.5]})
        )
        assert kept(store, pd.DataFrame({"a": []}), "b").shape == (0, 1)

    def test_tensors_also_when_they_share_memory(self, store: runs.Store) -> None:
        weight = torch.arange(6.0).reshape(2, 3)
        tensors = {
            "w": weight,
            "same": weight,
            "t": weight.T,
            "mask": weight > 2,
            "half": weight.to(torch.bfloat16),
        }
        back = kept(store, tensors)
        assert all(
            torch.equal(back[name], tensors[name]) and back[name].dtype == tensors[name].dtype
            for name in tensors
        )

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_model(self, store: runs.Store, dtype: torch.dtype) -> None:
        config = transformers.BertConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            num_labels=3, id2label={0: "entailment", 1: "neutral", 2: "contradiction"},
        )  # fmt: skip
        model = transformers.BertForSequenceClassification(config).to(dtype).train()
        back = kept(store, model)
        assert type(back) is type(model)
        assert not back.training
        assert back.config.id2label == config.id2label
        weights = back.state_dict()
        assert weights.keys() == model.state_dict().keys()
        assert all(
            torch.equal(weights[name], tensor) and weights[name].dtype == dtype
            for name, tensor in model.state_dict().items()
        )

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ({1: "a"}, r"the result has the key 1; keys in a kept dict are strings"),
            ({"a": [{"b": {1}}]}, r"the result\['a'\]\[0\]\['b'\] is a set"),
            (np.zeros(3), "ndarray"),
            (torch.nn.Linear(2, 2), "the result is a Linear"),
            ({"w": torch.zeros(1), "n": 3}, r"the result\['w'\] is a Tensor"),
        ],
    )
    def test_a_result_of_another_kind_is_refused_and_leaves_nothing(
        self, store: runs.Store, value: Any, message: str
    ) -> None:
        with pytest.raises(runs.ResultError, match=message):
            kept(store, value)
        assert store.keys() == set()
        assert os.listdir(store.path / "partial") == []

    def test_a_model_that_no_longer_fits_its_config_is_refused(self, store: runs.Store) -> None:
        config = transformers.BertConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
        )
        model = transformers.BertForSequenceClassification(config)
        model.bert.encoder.layer = model.bert.encoder.layer[:1]
        with pytest.raises(
            runs.ResultError, match=r"does not fit its own config.json \(first: bert.encoder.layer.1"
        ):
            kept(store, model)

    def test_meta_tells_what_was_called(self, store: runs.Store) -> None:
        kept(store, {"a": 1})
        meta = json.loads((place(store) / "meta.json").read_text())
        assert meta["function"].endswith(":made")
        assert meta["arguments"] == {"name": "x"}
        assert meta["seconds"] == 1.5
        assert meta["files"]["value.json"] == {
            "bytes": 8,
            "sha256": _file_digest(place(store) / "value.json"),
        }
        assert set(meta["versions"]) == {"python", "torch", "transformers"}
        assert meta["work"] is None
        assert not (os.uname().nodename in json.dumps(meta) and len(os.uname().nodename) > 3)

    def test_no_pickle(self, store: runs.Store) -> None:
        kept(store, {"w": torch.zeros(2)}, "tensors")
        kept(store, pd.DataFrame({"a": [object.__name__]}), "frame")
        suffixes = {
            file.suffix for file in store.path.rglob("*") if file.is_file() and file.parent.name != "locks"
        }
        assert suffixes == {".json", ".jsonl", ".parquet", ".safetensors"}


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


class TestDamage:
    @pytest.mark.parametrize("harm", [truncated, flipped, emptied, Path.unlink])
    @pytest.mark.parametrize("name", ["frame.parquet", "meta.json"])
    def test_is_noticed_named_and_set_aside(
        self, store: runs.Store, harm: Callable[[Path], None], name: str
    ) -> None:
        kept(store, pd.DataFrame({"value": np.arange(100.0)}))
        unit = runs.unit(made, name="x")
        file = place(store) / name
        harm(file)
        with pytest.raises(runs.Damaged, match=name) as error:
            store.load(unit)
        assert str(file) in str(error.value)
        assert unit not in store
        (aside,) = (store.path / "damaged").iterdir()
        assert str(aside) in str(error.value)
        with pytest.raises(runs.Missing, match=r"made\(x\) is not in the store"):
            store.load(unit)

    def test_every_bit_of_a_small_result_counts(self, store: runs.Store) -> None:
        kept(store, {"value": 12345})
        unit = runs.unit(made, name="x")
        for file in (place(store) / "value.json", place(store) / "meta.json"):
            content = file.read_bytes()
            for position in range(0, len(content), max(1, len(content) // 50)):
                file.write_bytes(
                    content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :]
                )
                with pytest.raises(runs.Damaged):
                    store.load(unit)
                (aside,) = (store.path / "damaged").iterdir()
                os.replace(aside, place(store))
            file.write_bytes(content)
        assert store.load(unit) == {"value": 12345}

    def test_a_result_under_another_key_is_not_used(self, store: runs.Store) -> None:
        kept(store, 1, "x")
        kept(store, 2, "y")
        os.replace(place(store, "x"), store.path / "elsewhere")
        place(store, "x").parent.mkdir(exist_ok=True)
        os.replace(place(store, "y"), place(store, "x"))
        with pytest.raises(runs.Damaged, match="does not have the content"):
            store.load(runs.unit(made, name="x"))

    def test_verify_finds_all_damage(self, store: runs.Store) -> None:
        for name in "abc":
            kept(store, [1, 2, 3], name)
        flipped(place(store, "a") / "value.json")
        truncated(place(store, "c") / "value.json")
        messages = store.verify()
        assert len(messages) == 2
        assert all(any(str(place(store, name)) in message for message in messages) for name in "ac")
        assert store.keys() == {runs.unit(made, name="b").key}
        assert store.verify() == []

    def test_what_another_process_has_redone_meanwhile_stays(
        self, store: runs.Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The damaged content was read, then replaced by a good one, and only then is it to be set aside."""
        kept(store, [1, 2, 3])
        file = place(store) / "value.json"
        good = file.read_bytes()
        flipped(file)
        set_aside = store._set_aside

        def redone(key: str, reason: str) -> runs.Damaged:
            file.write_bytes(good)
            return set_aside(key, reason)

        monkeypatch.setattr(store, "_set_aside", redone)
        with pytest.raises(runs.Damaged):
            store.load(runs.unit(made, name="x"))
        assert store.load(runs.unit(made, name="x")) == [1, 2, 3]


class TestLeftovers:
    def test_are_swept_unless_their_unit_is_being_written(self, store: runs.Store) -> None:
        dead, alive = ("1" * 64, "2" * 64)
        for key in (dead, alive):
            (store.path / "partial" / f"{key}-abc").mkdir(parents=True)
        with store.locked(alive) as mine:
            (store.path / "partial" / f"{alive}-abc").mkdir(exist_ok=True)
            assert mine
            store.sweep()
            assert os.listdir(store.path / "partial") == [f"{alive}-abc"]
        store.sweep()
        assert os.listdir(store.path / "partial") == []

    def test_a_lock_is_refused_without_waiting(self, store: runs.Store) -> None:
        with store.locked("1" * 64) as first, store.locked("1" * 64, wait=False) as second:
            assert first
            assert not second
        with store.locked("1" * 64, wait=False) as third:
            assert third


class TestHistory:
    def test_adds_up_by_function(self, store: runs.Store) -> None:
        for name, work in (("a", None), ("b", 4.0)):
            store.save(
                runs.unit(made, name=name).sized(work) if work else runs.unit(made, name=name), 1, seconds=2.0
            )
        history = store.path / "history.jsonl"
        history.write_text(history.read_text() + '{"function": "cut sho')
        (pace,) = store.paces().values()
        assert (pace.units, pace.mean, pace.work) == (2, 2.0, None)

    def test_of_a_new_store_is_empty(self, store: runs.Store) -> None:
        assert store.paces() == {}
        assert store.keys() == set()
        assert runs.unit(made, name="x") not in store


def test_ten_thousand_units_are_found_in_under_two_seconds(store: runs.Store) -> None:
    for index in range(10_000):
        os.makedirs(place(store, str(index)))
    started = time.process_time()
    assert len(store.keys()) == 10_000
    assert all(runs.unit(made, name=str(index)) in store for index in range(10_000))
    assert time.process_time() - started < 2
