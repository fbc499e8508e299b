"""Encoders by the papers' names, a local directory or a hub id; truncation, heads, sizes."""

from __future__ import annotations

import difflib
import functools
import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import huggingface_hub
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn

from robust_lib import micro

transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # of loading, which takes milliseconds: it fills logs

# The papers' names: hub id, layers, width. Google's miniatures are those whose sizes paper 2's Table 1 prints.
HUB = {
    "BERT-base": ("google-bert/bert-base-uncased", 12, 768),
    "BERT-large": ("google-bert/bert-large-uncased", 24, 1024),
    "BERT-medium": ("google/bert_uncased_L-8_H-512_A-8", 8, 512),
    "BERT-small": ("google/bert_uncased_L-4_H-512_A-8", 4, 512),
    "BERT-mini": ("google/bert_uncased_L-4_H-256_A-4", 4, 256),
    "BERT-tiny": ("google/bert_uncased_L-2_H-128_A-2", 2, 128),
    "Pretrained-l6": ("google/bert_uncased_L-6_H-768_A-12", 6, 768),
    "DistilBERT": ("distilbert/distilbert-base-uncased", 6, 768),
    # 66M parameters as in paper 1; a checkpoint of version 2 of the method
    "MiniLM": ("nreimers/MiniLMv2-L6-H768-distilled-from-BERT-Base", 6, 768),
    "TinyBERT": ("huawei-noah/TinyBERT_General_6L_768D", 6, 768),
    "RoBERTa-base": ("FacebookAI/roberta-base", 12, 768),
}


CONTENT = {".json", ".safetensors", ".bin", ".txt", ".model"}  # files of an encoder that say what it is


class EncoderError(ValueError):
    """An encoder that cannot be had; the message names it and says what would help."""


@dataclass(frozen=True)
class Encoder:
    """A pretrained encoder: a micro name, one of the papers' names, a transformers directory or a hub id.

    `layers` keeps only the first so many layers (the papers' truncation); None keeps all.
    """

    name: str
    layers: int | None = None
    revision: str = "main"

    @property
    def location(self) -> str:
        """The directory or hub id behind the name."""
        if self.name in micro.FAMILY:
            return str(micro.directory(self.name))
        if self.name in HUB:
            return HUB[self.name][0]
        if self.name.startswith(("/", "./", "../", "~")) or Path(self.name).exists():
            return str(_checked_directory(Path(self.name).expanduser()))
        if "/" not in self.name:
            near = difflib.get_close_matches(self.name, [*micro.FAMILY, *HUB], n=1)
            raise EncoderError(
                f"encoder: {self.name!r} is no known name, directory or hub id"
                + (
                    f"; did you mean {near[0]!r}?"
                    if near
                    else f"; known are {', '.join([*micro.FAMILY, *HUB])}"
                )
            )
        return self.name

    def shape(self) -> tuple[int, int]:
        """Layers and width, without loading or fetching anything.

        An encoder known by its hub id alone is taken for BERT-base.
        """
        known = {location: (layers, width) for location, layers, width in HUB.values()}
        layers, width = known.get(self.location, known[HUB["BERT-base"][0]])
        if Path(self.location).is_dir():
            config = transformers.AutoConfig.from_pretrained(self.location)
            layers, width = config.num_hidden_layers, config.hidden_size
        return self.layers or layers, width

    def weights(self) -> int:
        """Weights of the encoder's matrices, 12 x layers x width^2; see `shape`."""
        layers, width = self.shape()
        return 12 * layers * width**2

    def fingerprint(self) -> str:
        """What the units' keys know of the encoder: a hash of its files, or the hub's commit."""
        location = self.location
        if Path(location).is_dir():
            files = sorted(file for file in Path(location).iterdir() if file.suffix in CONTENT)
            identity = "".join(_sha256(file, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
        else:
            identity = _hub_commit(location, self.revision)
        return hashlib.sha256(f"{identity}{self.layers}".encode()).hexdigest()

    def tokenizer(self) -> transformers.PreTrainedTokenizerBase:
        """The encoder's own tokenizer."""
        with _named(self.location):
            return transformers.AutoTokenizer.from_pretrained(self.location, revision=self.revision)

    def classifier(self, labels: Sequence[str], *, seed: int) -> transformers.PreTrainedModel:
        """The encoder under a new classification head drawn from `seed`; classes in the order of `labels`."""
        torch.manual_seed(seed)
        names = dict(enumerate(labels))
        with _named(self.location):
            model = transformers.AutoModelForSequenceClassification.from_pretrained(
                self.location,
                revision=self.revision,
                dtype=torch.float32,
                num_labels=len(labels),
                id2label=names,
                label2id={label: index for index, label in names.items()},
            )
        return model if self.layers is None else truncate(model, self.layers)

    def reader(self, *, seed: int) -> transformers.PreTrainedModel:
        """The encoder under a new head that reads spans, drawn from `seed`: logits (batch, tokens, 2), start and end.

        A linear layer from each token's state to two numbers, as transformers' heads for question answering are; of T5
        the encoder alone is read.
        """
        torch.manual_seed(seed)
        with _named(self.location):
            model = transformers.AutoModelForTokenClassification.from_pretrained(
                self.location,
                revision=self.revision,
                dtype=torch.float32,
                num_labels=2,
                id2label={0: "start", 1: "end"},
                label2id={"start": 0, "end": 1},
            )
        return model if self.layers is None else truncate(model, self.layers)

    def masked_lm(self, *, seed: int | None) -> transformers.PreTrainedModel:
        """The encoder under its masked-language-model head, drawn from `seed` where the checkpoint has none.

        EncoderError for a checkpoint without one where the seed is None.
        """
        torch.manual_seed(seed or 0)
        with _named(self.location):
            model, report = transformers.AutoModelForMaskedLM.from_pretrained(
                self.location, revision=self.revision, dtype=torch.float32, output_loading_info=True
            )
        if seed is None and report["missing_keys"]:
            raise EncoderError(
                f"encoder: {self.name} has no masked-language-model head ({min(report['missing_keys'])} is missing); "
                "train one on some texts, or give a checkpoint that has it"
            )
        return model if self.layers is None else truncate(model, self.layers)

    def vectors(self, words: Sequence[str]) -> NDArray[np.float32]:
        """A unit vector (words, width) for each word: the mean of the encoder's input embeddings of its pieces.

        They stand in for the fastText vectors (crawl-300d-2M) of the published bias models, a deviation: a word of
        several pieces is known by its spelling alone. Pieces the encoder has not ([UNK]) are left out, lest two
        words it cannot read be the same word; a word without any other piece has the zero vector.
        """
        tokenizer = self.tokenizer()
        with _named(self.location):
            model = transformers.AutoModel.from_pretrained(
                self.location, revision=self.revision, dtype=torch.float32
            )
        # To RoBERTa's tokenizer a word within a sentence begins with its space; BERT's drops it.
        read = [tokenizer.encode(f" {word}", add_special_tokens=False) for word in words]
        pieces = [[piece for piece in word if piece != tokenizer.unk_token_id] for word in read]
        starts = [0, *accumulate(map(len, pieces))][:-1]
        means = F.embedding_bag(
            torch.tensor([piece for word in pieces for piece in word], dtype=torch.int64),
            model.get_input_embeddings().weight.detach(),
            torch.tensor(starts, dtype=torch.int64),
            mode="mean",
        )
        vectors: NDArray[np.float32] = F.normalize(means, dim=-1).numpy()
        return vectors


def labels(model: transformers.PreTrainedModel) -> list[str]:
    """The names of a classifier's classes, in the order of its logits."""
    return [label for _, label in sorted((model.config.id2label or {}).items())]


def layer_stack(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Name and module of the encoder's list of layers (`bert.encoder.layer`, `distilbert.transformer.layer`...)."""
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module):
            return name, module
    raise EncoderError(f"{type(model).__name__} has no list of layers")


def truncate(model: transformers.PreTrainedModel, layers: int) -> transformers.PreTrainedModel:
    """Keep the first `layers` layers, in place (Truncated-l6 of paper 1, Truncate & Finetune of paper 3)."""
    name, stack = layer_stack(model)
    if not 1 <= layers <= len(stack):
        raise EncoderError(f"truncate: {layers} layers asked of {len(stack)}")
    model.set_submodule(name, stack[:layers])
    model.config.num_hidden_layers = layers
    if hasattr(model.config, "pruned_heads"):
        pruned = model.config.pruned_heads.items()
        model.config.pruned_heads = {layer: gone for layer, gone in pruned if int(layer) < layers}
    return model


@contextmanager
def cls_states(model: nn.Module) -> Iterator[None]:
    """In the `with` block the model's output also has `cls_states`, the [CLS] states of all layers, first to last.

    They are (batch, layers, width), the layers' outputs at the first token, with their gradient.
    """
    states: dict[nn.Module, torch.Tensor] = {}

    def record(layer: nn.Module, inputs: object, made: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        states[layer] = (made if isinstance(made, torch.Tensor) else made[0])[:, 0]

    def give(_: nn.Module, inputs: object, made: dict[str, torch.Tensor] | None) -> None:
        if made is not None:
            made["cls_states"] = torch.stack(list(states.values()), dim=1)
        states.clear()

    _, stack = layer_stack(model)
    hooks = [layer.register_forward_hook(record) for layer in stack]
    # Of a pass that is broken off nothing may be kept: its graph would hold the memory that ran out.
    hooks.append(model.register_forward_hook(give, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def parameter_counts(model: transformers.PreTrainedModel) -> dict[str, int]:
    """Parameters in the embeddings, the encoder's layers and the head (pooler and classifier)."""
    counts = {"embeddings": 0, "encoder": 0, "head": 0}
    stack, _ = layer_stack(model)
    for name, parameter in model.named_parameters():
        part = "encoder" if name.startswith(stack) else "embeddings" if "embeddings" in name else "head"
        counts[part] += parameter.numel()
    return counts


def freeze_embeddings(model: transformers.PreTrainedModel) -> None:
    """Take the embeddings out of training, as paper 1 does while pruning (appendix A)."""
    for name, parameter in model.named_parameters():
        if "embeddings" in name:
            parameter.requires_grad_(False)


def freeze_lower_layers(model: transformers.PreTrainedModel, top: int) -> None:
    """Take all layers but the last `top` out of training."""
    _, stack = layer_stack(model)
    if not 1 <= top <= len(stack):
        raise EncoderError(f"freeze_lower_layers: {top} layers asked to train of {len(stack)}")
    for layer in stack[: len(stack) - top]:
        layer.requires_grad_(False)


def _checked_directory(path: Path) -> Path:
    if not path.is_dir():
        raise EncoderError(f"encoder: there is no directory {path}")
    if not (path / "config.json").is_file():
        raise EncoderError(f"encoder: {path} holds no config.json, so it is no transformers directory")
    return path


@functools.lru_cache(maxsize=1024)
def _sha256(file: Path, modified: int, size: int) -> str:
    """Hash of a file, computed once for as long as its time and size stay."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@functools.lru_cache(maxsize=256)
def _hub_commit(name: str, revision: str) -> str:
    """The commit of a hub repository: from the cache when it is there, so that offline work keeps its keys."""
    cached = huggingface_hub.try_to_load_from_cache(name, "config.json", revision=revision)
    if isinstance(cached, str):
        return Path(cached).parent.name
    with _named(name):
        commit = huggingface_hub.HfApi().model_info(name, revision=revision).sha
    return str(commit)


@contextmanager
def _named(location: str) -> Iterator[None]:
    """Turn a failed load into one error that names the encoder, without the report on new head weights."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    try:
        yield
    except (OSError, ValueError, SafetensorError, huggingface_hub.errors.HfHubHTTPError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EncoderError(
            f"encoder: {location} cannot be loaded ({reason}); give a transformers directory, or check the hub id "
            "and the network (HF_HUB_OFFLINE)"
        ) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
