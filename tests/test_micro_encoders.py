"""The shipped encoders: they load offline, read any lower-case word, and are small."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, BertForPreTraining

from robust_lib import micro
from robust_lib.micro import corpus, distillation, family, frames, pretraining, tokenizer
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
    assert sum(sizes.values()) < 14.2e6


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


TEXTS = (
    ["the baker slept.", "the old baker who called the judge never thanked the dog."],
    ["no dog slept."] * 2,
)
Reading = tuple[tuple[Tensor, ...], list[Tensor]]  # hidden states, and attention scores of every layer


def transferred(student: BertForPreTraining, teacher: BertForPreTraining, inputs: dict[str, Tensor]) -> float:
    with torch.inference_mode():
        own, theirs = (
            model.bert(**inputs, output_hidden_states=True).hidden_states for model in (student, teacher)
        )
        return distillation.transfer(student, teacher, own, theirs, inputs["attention_mask"].bool()).item()


def read_eagerly(
    model: BertForPreTraining, inputs: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> Reading:
    """With the scores that transformers' eager attention hands to its softmax, masked and all."""
    scores, softmax = [], F.softmax

    def noting(given: Tensor, *arguments: object, **named: object) -> Tensor:
        scores.append(given)
        return softmax(given, *arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, torch.inference_mode():
        patch.setattr(F, "softmax", noting)
        model.set_attn_implementation("eager")
        return model.bert(**inputs, output_hidden_states=True).hidden_states, scores


def reference_transfer(own: Reading, theirs: Reading, lengths: list[int]) -> float:
    """As TinyBERT's released code, scores of -100 and less set to 0, but for rows of padding, which are left out."""
    every, total = len(theirs[1]) // len(own[1]), 0.0
    for layer, states in enumerate(own[0]):
        gaps = [
            (states - theirs[0][layer * every])[text, :length] ** 2 for text, length in enumerate(lengths)
        ]
        total += sum(gap.sum().item() for gap in gaps) / sum(gap.numel() for gap in gaps)
    heads = own[1][0].shape[1]
    for layer, learnt in enumerate(own[1]):
        taught = theirs[1][(layer + 1) * every - 1]
        gap = torch.where(learnt <= -100, 0.0, learnt) - torch.where(taught <= -100, 0.0, taught)
        rows = [gap[text, :, :length] ** 2 for text, length in enumerate(lengths)]
        total += sum(row.sum().item() for row in rows) / sum(heads * length**2 for length in lengths)
    return total


def test_tinybert_transfers_the_scores_of_eager_attention_and_the_states(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student, teacher = (pretraining.fresh(family.Encoder(layers, 32, 2), layers) for layers in (2, 4))
    inputs = dict(tokenizer.build()(*TEXTS, padding=True, return_tensors="pt"))
    lengths = inputs["attention_mask"].sum(1).tolist()
    assert lengths[0] < lengths[1]  # so that there is padding to leave out
    loss = transferred(student, teacher, inputs)
    own, theirs = (read_eagerly(model, inputs, monkeypatch) for model in (student, teacher))
    assert loss == pytest.approx(reference_transfer(own, theirs, lengths), rel=1e-5)


def test_tinybert_has_nothing_to_learn_from_itself_nor_from_padding() -> None:
    student, teacher = (pretraining.fresh(family.Encoder(2, 32, 2), seed) for seed in (0, 1))
    words = tokenizer.build()
    inputs = dict(words(*TEXTS, padding=True, return_tensors="pt"))
    assert transferred(teacher, teacher, inputs) == 0
    padded = dict(words(*TEXTS, padding="max_length", max_length=family.POSITIONS, return_tensors="pt"))
    assert transferred(student, teacher, padded) == pytest.approx(
        transferred(student, teacher, inputs), rel=1e-5
    )


def test_the_shipped_tinybert_does_as_its_teacher_does() -> None:
    student, other, teacher = (
        BertForPreTraining.from_pretrained(micro.directory(name), dtype=torch.float32)
        for name in ("micro-tinybert", "micro-minilm", "micro-base")
    )
    inputs = dict(tokenizer.build()(*TEXTS, padding=True, return_tensors="pt"))
    assert transferred(student, teacher, inputs) < 0.5 * transferred(other, teacher, inputs)
