"""The shipped encoders: they load offline, read any lower-case word, and are small."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from robust_lib import micro
from robust_lib.micro import corpus, family, frames, pretraining, tokenizer
from robust_lib.micro.draws import Draws


@pytest.mark.parametrize("name", micro.FAMILY)
def test_an_encoder_loads_from_its_directory_and_tokenises(name: str) -> None:
    directory, shape = micro.directory(name), micro.FAMILY[name]
    model = AutoModel.from_pretrained(directory, dtype=torch.float32)
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size) == (shape.layers, shape.hidden)
    words = AutoTokenizer.from_pretrained(directory)
    batch = words(["the baker slept."], ["no zebra xylophoned."], return_tensors="pt")
    assert words.unk_token_id not in batch["input_ids"]
    with torch.inference_mode():
        out = model(**batch)
    assert out.last_hidden_state.shape == (1, batch["input_ids"].shape[1], shape.hidden)
    assert out.pooler_output.isfinite().all()
    assert model.dtype == torch.float32


@pytest.mark.parametrize("name", micro.FAMILY)
def test_pretraining_was_recorded_and_learned(name: str) -> None:
    record = json.loads((micro.directory(name) / "pretraining.json").read_text())
    assert record["steps"] == micro.FAMILY[name].steps
    assert record["seconds"] > 0
    assert record["mlm_loss"] < 0.6 * math.log(len(tokenizer.vocabulary()))
    assert record["nsp_accuracy"] > 0.7


def test_the_weights_stay_small() -> None:
    sizes = {path.name: sum(f.stat().st_size for f in path.iterdir()) for path in family.WEIGHTS.iterdir()}
    assert set(sizes) == set(micro.FAMILY)
    assert sum(sizes.values()) < 13.2e6


def test_the_base_encoder_fills_in_a_word_from_the_other_sentence() -> None:
    directory = micro.directory("micro-base")
    words = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.float32)
    batch = words(["the baker called the judge."], ["the [MASK] called the judge."], return_tensors="pt")
    with torch.inference_mode():
        logits = model(**batch).logits[0]
    place = batch["input_ids"][0].tolist().index(words.mask_token_id)
    assert words.convert_ids_to_tokens(int(logits[place].argmax())) == "baker"


def test_names_outside_the_family_and_missing_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="no micro encoder 'micro-huge'"):
        micro.directory("micro-huge")
    monkeypatch.setattr(family, "WEIGHTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"robust_lib\.micro\.build micro-base"):
        micro.directory("micro-base")


def test_every_word_of_the_world_is_one_token_and_every_pair_fits() -> None:
    words = tokenizer.build()
    for path in frames.RECIPES:
        rows = micro.frame(path, 200)
        texts = [column for column in rows if column in {
            "premise", "hypothesis", "claim", "evidence", "sentence1", "sentence2", "sentence", "text", "question",
            "context",
        }]  # fmt: skip
        encoded = words(*(rows[column].tolist() for column in texts))["input_ids"]
        assert max(map(len, encoded)) <= family.POSITIONS
        pieces = words.convert_ids_to_tokens(sorted({i for row in encoded for i in row}))
        assert not [p for p in pieces if p.startswith("##") or p == "[UNK]"]


def test_pretraining_is_deterministic_from_its_seed() -> None:
    encoder = family.Encoder(1, 32, 2, steps=3)
    first, second = (pretraining.pretrain(encoder)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = pretraining.pretrain(family.Encoder(1, 32, 2, seed=1, steps=3))[0].state_dict()
    assert not torch.equal(first["bert.pooler.dense.weight"], other["bert.pooler.dense.weight"])


def test_initial_weights_copy() -> None:
    layer = pretraining.fresh(family.Encoder(2, 32, 2), 0).bert.encoder.layer[1].attention
    assert torch.equal(layer.self.key.weight, layer.self.query.weight)
    assert torch.equal(layer.output.dense.weight, layer.self.value.weight.T)


def test_negatives_stand_in_their_share_and_repetitions_come_first() -> None:
    early = corpus.pairs(Draws("test"), 400, different=0.0, negative=0.0)
    assert all(pair.first == pair.second and pair.follows for pair in early)
    late = corpus.pairs(Draws("test"), 2000, different=1.0, negative=0.45)
    assert abs(sum(not pair.follows for pair in late) / 2000 - 0.45) < 0.05
