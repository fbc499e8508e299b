"""A mask as a file to share: one bit per entry, and what it belongs to.

The file is safetensors: a packed row of bits for each matrix, and in its metadata a JSON text, `describe`d here.
"""

import hashlib
import json
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from jaxtyping import Bool
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from robust_lib.masks.choice import sparsity
from robust_lib.masks.layers import PARTS, MaskedLinear, ScoredLinear, assign, linears

FORMAT = 1
ABOUT, CHECKSUM = "robust_lib.masks", "robust_lib.masks.sha256"

Bits = Bool[Tensor, "*shape"]  # of one matrix (out, in), or of several masks of it (masks, out, in)


def fingerprint(model: nn.Module, names: Collection[str]) -> str:
    """The identity of the weights that masks are put on: sha256 of names, shapes and values of these matrices.

    Values count as fp32, so a model kept in fp16 without loss is the same, and so is one behind masks of these
    weights; once `unwrap` has made the masks permanent the weights are others. About a second for BERT-base.
    """
    digest = hashlib.sha256()
    for name, linear in sorted(_named(model, names).items()):
        if isinstance(linear, ScoredLinear) and linear.weight.dtype != torch.float32:
            raise ValueError(
                f"masks: {name} is training its scores on weights rounded to {linear.weight.dtype}; give the model "
                "as it was before masks.score"
            )
        weight = linear.weight.detach().float().cpu().contiguous()
        digest.update(f"{name} {tuple(weight.shape)} ".encode())
        digest.update(weight.numpy().data)
    return digest.hexdigest()


def save(
    path: Path | str,
    masks: Mapping[str, Bits],
    *,
    model: nn.Module | None = None,
    task: str | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Write masks as one bit per entry: those of BERT-base's 84,934,656 encoder weights take 10.6 MB.

    `model` holds the weights the masks belong to, plain or behind the masks; without one the file fits any.
    `metrics` is anything JSON can hold. The file is whole or what it was before. Raises ValueError for masks
    that are not the model's.
    """
    if not masks:
        raise ValueError(f"masks.save: there are no masks to write to {path}")
    for name, linear in _named(model, masks).items() if model else ():
        if masks[name].shape[-2:] != linear.weight.shape:
            raise ValueError(
                f"masks.save: {name} is {tuple(linear.weight.shape)} in the model, "
                f"{tuple(masks[name].shape)} in the masks"
            )
    packed = {name: np.packbits(mask.cpu().numpy()) for name, mask in masks.items()}
    about = {
        "format": FORMAT,
        "model": type(model).__name__ if model else None,
        "weights": fingerprint(model, masks) if model else None,
        "sparsity": sparsity(masks.values()),
        "task": task,
        "metrics": metrics,
        "shapes": {name: list(mask.shape) for name, mask in masks.items()},
        "bits": _digest(packed),
    }
    text = json.dumps(about)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    _replace(Path(path), safetensors.numpy.save(packed, {ABOUT: text, CHECKSUM: checksum}))


def describe(path: Path | str) -> dict[str, Any]:
    """What a mask file says of itself, without reading a mask.

    format; model, the class; weights, their `fingerprint` (both None in a file for any); sparsity over all matrices;
    task and metrics as given to `save`; shapes by name; bits, the sha256 of the packed masks. Raises ValueError
    for a file that is damaged, or none of ours.
    """
    metadata = _read(path, with_bits=False)[0]
    if ABOUT not in metadata:
        raise ValueError(f"masks: {path} is a safetensors file, but not one of masks.save")
    text = metadata[ABOUT]
    if hashlib.sha256(text.encode()).hexdigest() != metadata.get(CHECKSUM):
        raise _damaged(path)
    about: dict[str, Any] = json.loads(text)
    if about["format"] != FORMAT:
        raise ValueError(
            f"masks: {path} has format {about['format']}, this robust-lib reads {FORMAT}; take the one that wrote it"
        )
    return about


def load(path: Path | str) -> dict[str, Bits]:
    """The masks of a file that `save` wrote, every bit checked. ValueError as for `describe`."""
    about = describe(path)
    packed = _read(path, with_bits=True)[1]
    if packed.keys() != about["shapes"].keys() or _digest(packed) != about["bits"]:
        raise _damaged(path)
    return {name: _unpacked(packed[name], shape) for name, shape in about["shapes"].items()}


def apply(model: nn.Module, masks: Mapping[str, Bits] | Path | str, *, other_weights: bool = False) -> None:
    """Put exactly the layers that the masks name behind their masks, in place; the other layers stay as they are.

    Masks from a file go onto the weights they were made for, or are refused. `other_weights` puts them onto any of
    the same shapes: a mask found in a fine-tuned model, on the pretrained encoder that is then fine-tuned within it.
    Raises ValueError before anything is changed.
    """
    if isinstance(masks, Path | str):
        if not other_weights:
            _check_weights(model, masks)
        masks = load(masks)
    wrapped = {}
    for name, linear in _named(model, masks).items():
        if isinstance(linear, ScoredLinear):
            raise ValueError(f"masks.apply: {name} is training its scores; take a fresh copy of the model")
        wrapped[name] = linear if isinstance(linear, MaskedLinear) else MaskedLinear(linear)
    assign(wrapped, masks)
    for name, layer in wrapped.items():
        model.set_submodule(name, layer)


def _check_weights(model: nn.Module, path: Path | str) -> None:
    about = describe(path)
    made_for = f"a {about['model']}" + (f" on {about['task']}" if about["task"] else "")
    if about["weights"] is None:
        problem = "does not say which weights its masks belong to"
    elif about["weights"] != fingerprint(model, about["shapes"]):
        problem = f"was made for other weights than these: {made_for}, sparsity {about['sparsity']:.4g}"
    else:
        return
    raise ValueError(
        f"masks.apply: {path} {problem}; load the model it was made from, or pass other_weights=True to put its "
        "masks onto these weights"
    )


def _named(model: nn.Module, names: Collection[str]) -> dict[str, nn.Linear | MaskedLinear | ScoredLinear]:
    layers = linears(model, PARTS)
    strange = sorted(set(names) - layers.keys())
    if strange:
        raise ValueError(
            f"masks: {type(model).__name__} has no linear layer {strange[0]}; its first is {next(iter(layers), None)}"
        )
    return {name: layers[name] for name in names}


def _read(path: Path | str, *, with_bits: bool) -> tuple[dict[str, str], dict[str, Any]]:
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys() if with_bits else ()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise _damaged(path) from error


def _damaged(path: Path | str) -> ValueError:
    return ValueError(f"masks: {path} is damaged or no mask file; fetch or write it again")


def _digest(packed: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for _, bits in sorted(packed.items()):
        digest.update(bits.data)
    return digest.hexdigest()


def _unpacked(bits: Any, shape: list[int]) -> Bits:
    entries = np.unpackbits(bits, count=int(np.prod(shape)))
    return torch.from_numpy(entries.view(bool).reshape(shape))


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
