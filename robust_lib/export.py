"""A compressed model as a checkpoint for others: with zeros in place, or really smaller where a mask emptied it."""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from robust_lib import heads, masks, quantize

FFN = (
    (
        "intermediate.dense",
        "intermediate.intermediate_act_fn",
        "output.dense",
    ),  # BERT, RoBERTa, ELECTRA, DeBERTa
    ("ffn.lin1", "ffn.activation", "ffn.lin2"),  # DistilBERT
)
UNITS = "ffn_units"  # in config.json: units of each layer's FFN, where they are not equally many


class CheckpointError(ValueError):
    """A checkpoint whose weights do not fit its config."""


@dataclass(frozen=True)
class Smaller:
    """What `smaller` has done: (before, after), and whether transformers alone can load it."""

    parameters: tuple[int, int]
    bytes: tuple[int, int]
    plain: bool


def zeros(model: transformers.PreTrainedModel, directory: Path | str) -> None:
    """Write a plain transformers checkpoint with zeros where the masks are 0; the model stays behind its masks.

    Any architecture; `AutoModelForSequenceClassification.from_pretrained` loads it, to the same logits. It is no
    smaller and no faster than the dense one.
    """
    _unmasked(model).save_pretrained(directory)


def smaller(model: transformers.PreTrainedModel, directory: Path | str) -> Smaller:
    """Write a checkpoint without the attention heads and FFN units that masks, or zeros, have emptied.

    A head is empty where its rows of V or its columns of the attention output are zero, an FFN unit where its row of
    the first matrix or its column of the second is. What an empty one hands on is a constant (from its bias): it
    goes into the next bias, so the logits stay equal but for rounding. A layer keeps one head and one unit.

    BERT, RoBERTa, DistilBERT and what is built like them; ValueError for others. Where no head is gone and every
    layer has equally many units left (`plain`), transformers loads the checkpoint; `load` loads all.
    """
    small = _unmasked(model)
    _drop_heads(small)
    sizes = _drop_units(small)
    if len(set(sizes)) == 1:
        setattr(small.config, _width(small.config), sizes[0])
        vars(small.config).pop(UNITS, None)
    else:
        setattr(small.config, UNITS, sizes)
    small.save_pretrained(directory)
    plain = len(set(sizes)) == 1 and not any(getattr(small.config, "pruned_heads", {}).values())
    both = [list(one.parameters()) for one in (model, small)]
    before, after = (sum(tensor.numel() for tensor in tensors) for tensors in both)
    bytes_before, bytes_after = (sum(tensor.nbytes for tensor in tensors) for tensors in both)
    return Smaller((before, after), (bytes_before, bytes_after), plain)


def load(directory: Path | str) -> Any:
    """The model of a directory that `smaller`, `zeros` or `save_pretrained` wrote, in eval mode, on the CPU.

    As transformers' `from_pretrained` of the class it was, and also where attention heads or FFN units are gone or
    8 bits are simulated, which transformers 5 cannot. Raises CheckpointError where the weights do not fit the config.
    """
    written = json.loads((Path(directory) / "config.json").read_text(encoding="utf-8"))
    (name,) = written["architectures"]
    kind = getattr(transformers, name)
    built = _built(kind, written.get("pruned_heads", {}), written.get(UNITS, []), written.get("quantized"))
    model, loaded = built.from_pretrained(
        directory,
        dtype="auto",
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # told in `loaded`, and refused below
    )
    model.__class__ = kind
    strange = [key for part in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in loaded[part]]
    if strange:
        raise CheckpointError(f"{directory} does not fit its own config.json (first: {strange[0]})")
    return model


def _built(
    kind: Any, removed: dict[str, list[int]], sizes: Sequence[int], quantized: dict[str, Any] | None
) -> Any:
    """The class, building its models without these attention heads, as transformers 4 did and 5 does not, with FFNs
    of these sizes, and simulating 8 bits."""
    if not removed and not sizes and not quantized:
        return kind

    class Built(kind):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            config.pruned_heads = {}
            super().__init__(config)
            heads.remove(self, {int(layer): numbers for layer, numbers in removed.items()})
            for (into, _, out), size in zip(
                _ffns(self), sizes, strict=False
            ):  # what is left out will not fit
                _keep(into, out, torch.arange(size))
            if quantized:
                quantize.simulate(self, **quantized)

    return Built


def _unmasked(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    for name, module in model.named_modules():
        if isinstance(module, masks.ScoredLinear):
            raise ValueError(
                f"export: {name} is training its scores; put masks.current of them onto a fresh copy with masks.apply"
            )
    if quantize.simulated(model):
        raise ValueError(
            "export: the model simulates 8 bits, which no checkpoint for others can; export quantize.unwrapped(model)"
        )
    plain: transformers.PreTrainedModel = copy.deepcopy(model)
    plain.train(False)
    masks.unwrap(plain)
    return plain


@torch.no_grad()
def _drop_heads(model: transformers.PreTrainedModel) -> None:
    gone = {}
    for layer, names in enumerate(heads.projections(model)):
        value, output = _modules(model, names[-2:])
        numbers = heads.left(model)[layer]
        empty = (value.weight.view(len(numbers), -1) == 0).all(dim=1)
        empty |= (output.weight.view(len(output.weight), len(numbers), -1) == 0).all(dim=2).all(dim=0)
        empty = _but_one(empty)
        # Attention weights add up to one: without V's weights a head hands on V's bias.
        _fold(output, empty.repeat_interleave(len(value.weight) // len(numbers)), value.bias)
        gone[layer] = [head for head, is_empty in zip(numbers, empty.tolist(), strict=True) if is_empty]
    heads.remove(model, gone)


@torch.no_grad()
def _drop_units(model: transformers.PreTrainedModel) -> list[int]:
    """How many units each layer has left."""
    sizes = []
    for into, activation, out in _ffns(model):
        empty = _but_one((into.weight == 0).all(dim=1) | (out.weight == 0).all(dim=0))
        _fold(out, empty, activation(into.bias))
        _keep(into, out, (~empty).nonzero().flatten())
        sizes.append(len(into.weight))
    return sizes


def _but_one(empty: Tensor) -> Tensor:
    """A layer keeps its first, when all are empty."""
    if empty.all():
        empty[0] = False
    return empty


def _fold(linear: Any, gone: Tensor, constants: Tensor) -> None:
    """Into the bias, what these inputs bring to a linear layer when they are constants."""
    linear.bias += linear.weight[:, gone] @ constants[gone]


def _keep(into: Any, out: Any, units: Tensor) -> None:
    """Cut the two layers of an FFN to these units, in place."""
    units = units.to(into.weight.device)
    into.weight = nn.Parameter(into.weight.detach().index_select(0, units))
    into.bias = nn.Parameter(into.bias.detach().index_select(0, units))
    out.weight = nn.Parameter(out.weight.detach().index_select(1, units))
    into.out_features = out.in_features = len(units)


def _ffns(model: nn.Module) -> list[list[Any]]:
    """First matrix, activation and second matrix of every layer's FFN."""
    return [
        _modules(model, [name.removesuffix(parts[0]) + part for part in parts])
        for name, _ in model.named_modules()
        for parts in FFN
        if name.endswith(f".{parts[0]}")
    ]


def _modules(model: nn.Module, names: Sequence[str]) -> list[Any]:
    return [model.get_submodule(name) for name in names]


def _width(config: Any) -> str:
    """The config's name for how many units an FFN has."""
    return "intermediate_size" if hasattr(config, "intermediate_size") else "hidden_dim"
