"""A mask file comes back bit for bit, onto the weights it belongs to, or not at all."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from robust_lib import masks

SHAPE = {"vocab_size": 90, "num_labels": 3, "initializer_range": 0.2}
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 44}
CONFIGURATIONS = {
    "bert": transformers.BertConfig(hidden_size=30, **SIZES, **SHAPE),
    "roberta": transformers.RobertaConfig(hidden_size=30, **SIZES, **SHAPE),
    "electra": transformers.ElectraConfig(hidden_size=30, embedding_size=16, **SIZES, **SHAPE),
    "distilbert": transformers.DistilBertConfig(dim=30, n_layers=2, n_heads=2, hidden_dim=44, **SHAPE),
    "deberta": transformers.DebertaV2Config(
        hidden_size=30,
        relative_attention=True,
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        **SIZES,
        **SHAPE,
    ),
}
IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 11, 12, 3, 4]])
FIRST = "bert.encoder.layer.0.attention.self.query"


def made(name: str = "bert", seed: int = 0) -> transformers.PreTrainedModel:
    torch.manual_seed(seed)
    model = transformers.AutoModelForSequenceClassification.from_config(CONFIGURATIONS[name])
    model.train(False)
    return model


def chosen(model: transformers.PreTrainedModel, sparsity: float = 0.7) -> dict[str, Any]:
    layers = masks.linears(model, ["encoder", "pooler"])
    return {name: masks.magnitude(layer.weight, sparsity) for name, layer in layers.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A mask file of the model that `made` gives."""
    path = tmp_path / "mask.safetensors"
    masks.save(path, chosen(made()), model=made(), task="mnli", metrics={"accuracy": 0.81})
    return path


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_masks_return_bit_for_bit_onto_their_model(name: str, tmp_path: Path) -> None:
    model, path = made(name), tmp_path / "mask.safetensors"
    saved = chosen(model)
    masks.save(path, saved, model=model)
    loaded = masks.load(path)
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[layer], saved[layer]) for layer in saved)
    fresh = made(name)
    masks.apply(fresh, path)
    masks.apply(model, saved)
    assert torch.equal(fresh(IDS).logits, model(IDS).logits)
    wrapped = {layer for layer, one in masks.linears(fresh, masks.PARTS).items() if hasattr(one, "mask")}
    assert wrapped == saved.keys()


def test_a_file_is_an_eighth_of_a_byte_for_each_entry_and_its_header(tmp_path: Path) -> None:
    path, ones = tmp_path / "mask.safetensors", torch.ones(512, 512, dtype=torch.bool)
    masks.save(path, {"a": ones, "b": ones})
    assert 2 * 512 * 512 / 8 < path.stat().st_size < 2 * 512 * 512 / 8 + 1000


def test_a_file_tells_what_it_is(file: Path) -> None:
    about = masks.describe(file)
    saved = chosen(made())
    assert about["model"] == "BertForSequenceClassification"
    assert about["weights"] == masks.fingerprint(made(), saved)
    assert about["sparsity"] == masks.sparsity(saved.values())
    assert (about["task"], about["metrics"]) == ("mnli", {"accuracy": 0.81})
    assert about["shapes"][FIRST] == [30, 30]


def test_several_masks_of_each_matrix_are_kept_together(tmp_path: Path) -> None:
    model, path = made(), tmp_path / "mask.safetensors"
    both = {name: torch.stack([mask, ~mask]) for name, mask in chosen(model).items()}
    masks.save(path, both, model=model)
    masks.apply(model, path)
    assert all(torch.equal(mask, both[name]) for name, mask in masks.load(path).items())
    assert len(model(IDS.repeat(2, 1)).logits) == 4


def test_the_fingerprint_is_that_of_the_weights() -> None:
    model = made()
    names = list(masks.linears(model))
    known = masks.fingerprint(model, names)
    assert masks.fingerprint(model, names[::-1]) == known
    assert masks.fingerprint(made(seed=1), names) != known
    assert masks.fingerprint(model, names[1:]) != known
    model.classifier.weight.data += 1  # not masked, so not theirs
    assert masks.fingerprint(model, names) == known
    masks.apply(model, chosen(model))
    assert masks.fingerprint(model, names) == known  # behind masks the weights are all there
    scored = made()
    masks.score(scored, [0.5])
    assert masks.fingerprint(scored, names) == known
    masks.unwrap(model)
    assert masks.fingerprint(model, names) != known
    changed = made()
    changed.get_submodule(names[3]).weight.data[0, 0] *= 1 + 2**-22
    assert masks.fingerprint(changed, names) != known


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_fingerprint_is_that_of_the_values_however_they_are_stored(dtype: torch.dtype) -> None:
    short = made().to(dtype)
    names = list(masks.linears(short))
    known = masks.fingerprint(short, names)
    assert masks.fingerprint(short.to(torch.float32), names) == known
    assert masks.fingerprint(made(), names) != known  # rounding was a loss


def test_masks_go_onto_other_weights_only_when_asked(file: Path) -> None:
    other = made(seed=1)
    with pytest.raises(
        ValueError, match=r"was made for other weights than these: a BertForSeq.* on mnli, sparsity 0.7"
    ):
        masks.apply(other, file)
    assert not any(isinstance(module, masks.MaskedLinear) for module in other.modules())
    masks.apply(other, file, other_weights=True)
    reference = made(seed=1)
    masks.apply(reference, chosen(made()))
    assert torch.equal(other(IDS).logits, reference(IDS).logits)


def test_a_file_without_a_model_asks_for_the_same(tmp_path: Path) -> None:
    masks.save(tmp_path / "mask", chosen(made()))
    with pytest.raises(
        ValueError, match=r"does not say which weights its masks belong to; .* other_weights=True"
    ):
        masks.apply(made(), tmp_path / "mask")
    masks.apply(made(), str(tmp_path / "mask"), other_weights=True)


def test_what_does_not_fit_the_model_is_refused_before_anything_changes(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"DistilBert.* has no linear layer bert.*; its first is distilbert"):
        masks.apply(made("distilbert"), file, other_weights=True)
    with pytest.raises(ValueError, match="has no linear layer key; its first is bert"):
        masks.save(tmp_path / "no", {"key": torch.ones(3, 3, dtype=torch.bool)}, model=made())
    with pytest.raises(ValueError, match=r"query is \(30, 30\) in the model, \(3, 3\) in the masks"):
        masks.save(tmp_path / "no", {FIRST: torch.ones(3, 3, dtype=torch.bool)}, model=made())
    model, wrong = made(), chosen(made())
    wrong[list(wrong)[-1]] = torch.ones(3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"\(30, 30\) in the model, \(3, 3\) in the masks"):
        masks.apply(model, wrong)
    assert not any(isinstance(module, masks.MaskedLinear) for module in model.modules())
    masks.score(model, [0.5])
    with pytest.raises(ValueError, match="query is training its scores; take a fresh copy"):
        masks.apply(model, chosen(made()))
    with pytest.raises(ValueError, match="there are no masks to write"):
        masks.save(tmp_path / "no", {})
    assert not (tmp_path / "no").exists()


def test_new_masks_replace_the_old_ones(file: Path) -> None:
    model = made()
    masks.apply(model, {FIRST: torch.zeros(30, 30, dtype=torch.bool)})
    masks.apply(model, file)
    assert torch.equal(model.get_submodule(FIRST).mask.bool(), chosen(made())[FIRST])


def test_every_bit_of_a_file_counts(file: Path) -> None:
    content, original = file.read_bytes(), masks.load(file)
    for position in [*range(0, 200), *range(200, len(content), len(content) // 150), len(content) - 1]:
        file.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        with pytest.raises(ValueError, match=rf"masks: {file} is"):
            masks.load(file)
    file.write_bytes(content)
    assert all(torch.equal(mask, original[name]) for name, mask in masks.load(file).items())


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_cut_file_is_named(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    for read in (masks.load, masks.describe):
        with pytest.raises(ValueError, match=f"masks: {file} is damaged or no mask file"):
            read(file)


def test_foreign_files_are_named(tmp_path: Path) -> None:
    foreign = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(2)}, foreign)
    with pytest.raises(ValueError, match=f"{foreign} is a safetensors file, but not one of masks.save"):
        masks.describe(foreign)
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        masks.load(tmp_path / "nowhere")


def test_a_later_format_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robust_lib.masks.artefact.FORMAT", 2)
    masks.save(file.with_name("later"), chosen(made()))
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"later has format 2, this robust-lib reads 1"):
        masks.load(file.with_name("later"))


def test_a_write_that_fails_leaves_what_was_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = file.read_bytes()

    def full(path: Path, written: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(written[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        masks.save(file, chosen(made(), 0.5), model=made())
    assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


def test_a_file_may_be_renamed_and_its_metadata_read_without_us(file: Path, tmp_path: Path) -> None:
    """Plain safetensors with JSON inside: whoever has no robust-lib can still read what a mask is of."""
    shutil.copy(file, tmp_path / "copy")
    content = (tmp_path / "copy").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["robust_lib.masks"])["task"] == "mnli"
    assert masks.load(tmp_path / "copy").keys() == chosen(made()).keys()
