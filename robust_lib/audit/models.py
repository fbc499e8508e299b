"""The models of an audit: named by a `Model`, and `Opened`, an oracle from texts to probabilities.

What a model says of a text depends on that text alone, up to the last digits of fp32, so it may be asked in any order
and batches: see `victims.Forward`. Of a function that is the function's own affair.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
import numpy as np
import torch
import transformers
from torch import Tensor, nn

from robust_lib import attack, data, masks, models, passes
from robust_lib.attack import victims
from robust_lib.audit import functions, graphs, loading
from robust_lib.audit.problems import AuditError, Unmeasured

Kind = Literal["transformers", "onnx", "function"]
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # what transformers reads: the first that is there
PROBES = ("a", "it is good", "not at all, no", "a long film about nothing in particular")
LOADED = "give a transformers directory, or check the hub id and the network (HF_HUB_OFFLINE)"


@dataclass(frozen=True)
class Model:
    """A classifier by its place, which is one of

    - a transformers directory or hub id (at `revision`) with a trained classification head;
    - a `.onnx` file, fp32 or 8-bit, of logits or probabilities;
    - `file.py:name` or `package.module:name`, a function from a list of texts (of pairs: a list of tuples) to
      probabilities: rows (texts, classes), or for each text {label: probability} or what a transformers pipeline gives
      with `top_k=None`.

    `mask` is a file of `masks.save` made for the directory's weights. `tokenizer` is a directory or hub id, where it
    is not in the directory itself or beside the ONNX file. `labels` name the outputs in their order, whatever the model
    calls them.
    """

    place: str
    mask: str | None = None
    tokenizer: str | None = None
    labels: tuple[str, ...] | None = None
    revision: str = "main"

    @property
    def kind(self) -> Kind:
        """What the place says it is."""
        if self.place.endswith(".onnx"):
            return "onnx"
        _, colon, name = self.place.rpartition(":")
        return "function" if colon and name.isidentifier() else "transformers"

    def fingerprint(self) -> str:
        """SHA-256 of what the model is, never of where: its files, mask, tokenizer and labels.

        Of a function it is the file it is written in: what it imports or reads is not seen.
        """
        match self.kind:
            case "transformers":
                content = [_content(self.place, self.revision)]
            case "onnx":
                content = [*map(loading.sha256, graphs.files(self.place)), _content(_folder(self.place))]
            case "function":
                content = [self.place.rpartition(":")[2], loading.sha256(functions.source(self.place))]
        content += [loading.sha256(self.mask)] if self.mask else []
        content += [_content(self.tokenizer)] if self.tokenizer else []
        return hashlib.sha256(repr((self.kind, content, self.labels)).encode()).hexdigest()

    def classes(self) -> tuple[str, ...]:
        """The names of the outputs in their order; no weights are loaded, but a function without labels is asked.

        AuditError where nothing names them, and for a model of one output or of several labels at a time.
        """
        match self.kind:
            case "transformers":
                told = self._configured()
            case "onnx":
                told = graphs.classes(self.place)
            case "function":
                told = () if self.labels else functions.classes(functions.found(self.place), self.place)
        if self.labels and told and len(self.labels) != len(told):
            raise AuditError(
                f"model {self.place}: labels are {len(self.labels)}, {', '.join(self.labels)}; it has {len(told)} "
                f"outputs, {', '.join(told)}: name each once, in their order"
            )
        names = self.labels or told
        if len(names) < 2 or len(set(names)) < len(names):
            raise AuditError(
                f"model {self.place}: {f'its classes are {list(names)}' if names else 'nothing names its classes'}; "
                "set labels to two or more names in the order of its outputs: labels: [negative, positive]"
            )
        return names

    def reads(self) -> str | None:
        """The identity of the tokenizer, by what it makes of texts; None for a function."""
        if self.kind == "function":
            return None
        with loading.named(self.place, "save its tokenizer with AutoTokenizer"):
            return data.encoding.tokenizer_fingerprint(self._tokenizer())

    def bytes(self) -> int | None:
        """Bytes on disk of the weights, with a mask's; None for a function, and for a hub id not yet fetched."""
        match self.kind:
            case "transformers":
                files = self._weights()
            case "onnx":
                files = graphs.files(self.place)
            case "function":
                files = []
        mask = Path(self.mask).expanduser().stat().st_size if self.mask else 0
        return sum(file.stat().st_size for file in files) + mask if files else None

    def open(self, *, max_length: int) -> Opened:
        """The model ready to be asked. Texts are cut to `max_length` tokens; a function gets them whole.

        AuditError for what cannot be loaded, has no trained head, or cannot read as many tokens.
        """
        if self.mask is not None and self.kind != "transformers":
            raise AuditError(
                f"model {self.place}: mask {self.mask}: only a transformers directory can wear a mask"
            )
        match self.kind:
            case "transformers":
                return _classifier(self._loaded(), self._tokenizer(), self.classes(), max_length, self.place)
            case "onnx":
                return _graph(
                    graphs.Graph(self.place), self._tokenizer(), self.classes(), max_length, self.place
                )
            case "function":
                asked = functions.Function(functions.found(self.place), self.classes(), self.place)
                return Opened(asked.classes, asked, asked, "a function shows no hidden states")

    def _configured(self) -> tuple[str, ...]:
        """The class names of config.json: LABEL_0 and so on where whoever trained the model gave none."""
        with loading.named(self.place, LOADED):
            config = transformers.AutoConfig.from_pretrained(
                models.Encoder(self.place).location, revision=self.revision, trust_remote_code=False
            )
        kind = getattr(config, "problem_type", None)
        if config.num_labels == 1 or kind in ("regression", "multi_label_classification"):
            raise AuditError(
                f"model {self.place}: its config.json says {f'problem_type {kind}' if kind else 'one output'}; an "
                "audit is of models that choose one of several classes: wrap it in a function that gives the "
                "probability of each"
            )
        return tuple(str(name) for _, name in sorted(config.id2label.items()))

    def _loaded(self) -> transformers.PreTrainedModel:
        """The directory's classifier in fp32, within its mask where there is one."""
        with loading.named(self.place, LOADED):
            location = models.Encoder(self.place).location
            graph = next(Path(location).glob("*.onnx"), None)
            if graph and not self._weights():
                raise AuditError(
                    f"model {self.place}: the directory holds an ONNX file alone; give the file, {graph}"
                )
            model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
                location,
                revision=self.revision,
                dtype=torch.float32,
                output_loading_info=True,
                trust_remote_code=False,
            )
        if missing := sorted(report["missing_keys"]):
            raise AuditError(
                f"model {self.place}: it has no trained classification head: {missing[0]}, one of {len(missing)}, is "
                "not in the checkpoint and would be random; give the model that was fine-tuned for classification"
            )
        if self.mask is not None:
            with loading.named(
                f"{self.place}: mask {self.mask}", "give the model that the mask was made for"
            ):
                masks.apply(model, Path(self.mask).expanduser())
                masks.unwrap(model)
        return model  # type: ignore[no-any-return]

    def _tokenizer(self) -> transformers.PreTrainedTokenizerBase:
        place, revision = self.tokenizer or _folder(self.place), "main" if self.tokenizer else self.revision
        with loading.named(
            f"{self.place}: tokenizer {place}", "set tokenizer to a directory or hub id that has one"
        ):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                models.Encoder(place).location if self.kind == "transformers" else place,
                revision=revision,
                trust_remote_code=False,
            )
            if len(tokenizer) <= len(
                tokenizer.all_special_ids
            ):  # what transformers makes of a directory without one
                raise FileNotFoundError("it has no vocabulary")
        return tokenizer

    def _weights(self) -> list[Path]:
        """The files of a directory's weights, or of what the hub's cache has."""
        folder = Path(models.Encoder(self.place).location)
        if not folder.is_dir():
            cached = huggingface_hub.try_to_load_from_cache(
                str(folder), "config.json", revision=self.revision
            )
            folder = Path(cached).parent if isinstance(cached, str) else folder
        return next(filter(None, (sorted(folder.glob(pattern)) for pattern in WEIGHTS)), [])


@dataclass(frozen=True)
class Opened:
    """A model ready to be asked: an oracle of `attack.run` whose rows are probabilities, in the order of `classes`.

    `batch` asks texts as one batch, padded to the longest, as a server would: its numbers may differ in the last
    digits, and in 8 bits by more. `states` gives [CLS] vectors, or is the reason why there are none. `parameters` are
    the weights of a transformers model, `nonzero` those that pruning or a mask has left.
    """

    classes: tuple[str, ...]
    probabilities: attack.Oracle
    batch: Callable[[Sequence[attack.Text]], attack.Rows]
    states: attack.Oracle | str
    parameters: int | None = None
    nonzero: int | None = None

    def __call__(self, texts: Sequence[attack.Text]) -> attack.Rows:
        """Probabilities (texts, classes) in fp64; NaN in the row of a text for which the model gives no numbers."""
        return self.probabilities(texts) if texts else np.empty((0, len(self.classes)))

    def lengths(self, texts: Sequence[attack.Text]) -> Sequence[int]:
        """Tokens of each text once cut; of a function's texts, words."""
        return self.probabilities.lengths(texts)

    def vectors(self, texts: Sequence[attack.Text]) -> Tensor:
        """The [CLS] state of the last layer for each text, (texts, width) in fp32. Unmeasured where there is none."""
        if isinstance(self.states, str):
            raise Unmeasured(self.states)
        return torch.from_numpy(self.states(texts)).float()


def _classifier(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    classes: tuple[str, ...],
    max_length: int,
    place: str,
) -> Opened:
    _check_length(model, tokenizer, max_length, place)
    body: Any = model.base_model
    body = body.get_encoder() if body.config.is_encoder_decoder else body
    asked = victims.Forward(model, tokenizer, _softmax, max_length=max_length)
    states: attack.Oracle | str = "the tokenizer has no [CLS] token"
    if tokenizer.cls_token_id is not None:
        states = victims.Forward(body, tokenizer, _first, max_length=max_length)
    weights = list(model.parameters())
    counts = sum(weight.numel() for weight in weights), sum(int(weight.count_nonzero()) for weight in weights)
    return Opened(classes, asked, functools.partial(_batch, asked), states, *counts)


def _graph(
    graph: graphs.Graph,
    tokenizer: transformers.PreTrainedTokenizerBase,
    classes: tuple[str, ...],
    max_length: int,
    place: str,
) -> Opened:
    """Asked text by text: 8-bit models take one activation range for a batch, and some files allow no other.

    A text is padded to the next multiple of 8 tokens, as in all victims, and the padding counts to its range.
    """
    _check_length(graph, tokenizer, max_length, place)
    one_by_one = functools.partial(
        victims.Forward,
        graph,  # type: ignore[arg-type]
        tokenizer,
        max_length=max_length,
        rows=1,
        device=torch.device("cpu"),
    )
    rows = one_by_one(_as_given)([(text,) for text in PROBES])
    if rows.shape[1] != len(classes):
        raise AuditError(
            f"model {place}: its classes are {', '.join(classes)}, and it gives {rows.shape[1]} numbers for a text: "
            "set labels to the names of its outputs in their order"
        )
    given = (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3)
    asked = one_by_one(_as_given if given else _softmax)
    states = (
        one_by_one(_first) if graph.has_states else "the ONNX file has no hidden states among its outputs"
    )
    return Opened(classes, asked, functools.partial(_batch, asked), states)


def _softmax(output: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    return output.logits.cpu().double().softmax(dim=-1)  # type: ignore[no-any-return]


def _as_given(output: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    return output.logits.double()  # type: ignore[no-any-return]


def _first(output: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    return output.last_hidden_state[:, 0].float()  # type: ignore[no-any-return]


def _batch(asked: victims.Forward, texts: Sequence[attack.Text]) -> attack.Rows:
    """Probabilities of one batch, padded to its longest text."""
    columns = [list(column) for column in zip(*texts, strict=True)]
    made = asked.tokenizer(
        *columns, truncation=True, max_length=asked.max_length, padding=True, return_tensors="pt"
    )
    inputs = {name: made[name].to(asked.device) for name in passes.INPUTS if name in made}
    with torch.inference_mode():
        return asked.reading(asked.model(**inputs), inputs).numpy()


def _check_length(
    model: nn.Module, tokenizer: transformers.PreTrainedTokenizerBase, max_length: int, place: str
) -> None:
    """Let the model read a text of `max_length` tokens, rather than fail on one in the midst of the audit."""
    if tokenizer.pad_token_id is None:
        raise AuditError(
            f"model {place}: its tokenizer has no padding token; set pad_token there and pad_token_id in config.json"
        )
    if not 0 < max_length <= tokenizer.model_max_length:
        raise AuditError(
            f"model {place}: max_length {max_length}: it reads 1 to {tokenizer.model_max_length} tokens"
        )
    with loading.named(f"{place}: max_length {max_length}", "set max_length to what the model can read"):
        text = tokenizer("a " * max_length, truncation=True, max_length=max_length, return_tensors="pt")
        with torch.inference_mode():
            model(**{name: text[name] for name in passes.INPUTS if name in text})


def _folder(place: str) -> str:
    """Where a tokenizer lies: beside an ONNX file, or in the place itself."""
    return str(Path(place).expanduser().parent) if place.endswith(".onnx") else place


def _content(place: str, revision: str = "main") -> str:
    """The hashes of a directory's files that say what it is, or the hub's commit."""
    folder = Path(place).expanduser()
    if folder.is_dir():
        files = sorted(file for file in folder.iterdir() if file.suffix in models.CONTENT)
        return " ".join(map(loading.sha256, files))
    with loading.named(place, LOADED):
        return models.Encoder(place, revision=revision).fingerprint()
