"""How results become files and come back: parquet, safetensors, models, packed masks, JSON, never pickle.

A dict of such results is kept part by part, each in a folder of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULTS = "a DataFrame, a transformers model, a dict of tensors, numbers and strings in lists and dicts, dicts of these"


class ResultError(ValueError):
    """A result that cannot be kept, or that does not come back as what it was."""


def write(value: Any, directory: Path, *, where: str = "the result") -> str:
    """Write a result into an empty directory; the name of its kind, which `read` needs.

    Models and tensors lose their device and keep their dtype; a dict of masks (bool tensors) takes one bit for each
    entry. Raises ResultError naming what cannot be kept, by `where` it is.
    """
    if _is_frame(value):
        _write_frame(value, directory)
        return "frame"
    if _is_model(value):
        _write_model(value, directory, where)
        return "model"
    if _is_masks(value):
        _write_masks(value, directory)
        return "masks"
    if _is_tensors(value):
        _write_tensors(value, directory)
        return "tensors"
    if _has_parts(value):
        _write_parts(value, directory, where)
        return "parts"
    _check_json(value, where)
    text = json.dumps(value, default=_plain, ensure_ascii=False)
    (directory / "value.json").write_text(text, encoding="utf-8")
    return "json"


def read(directory: Path, kind: str) -> Any:
    """The result in a directory that `write` filled. Models come in eval mode, on the CPU."""
    if kind == "frame":
        from pyarrow import parquet

        return parquet.ParquetFile(directory / "frame.parquet").read(use_threads=False).to_pandas()
    if kind == "model":
        return _read_model(directory)
    if kind == "tensors":
        from safetensors.torch import load_file

        return load_file(directory / "tensors.safetensors")
    if kind == "masks":
        from robust_lib import masks

        return masks.load(directory / "masks.safetensors")
    if kind == "parts":
        kinds = json.loads((directory / "parts.json").read_text(encoding="utf-8"))
        return {name: read(directory / str(place), kind) for place, (name, kind) in enumerate(kinds.items())}
    return json.loads((directory / "value.json").read_text(encoding="utf-8"))


def _is_frame(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _is_model(value: Any) -> bool:
    return hasattr(value, "save_pretrained")


def _is_masks(value: Any) -> bool:
    return _is_tensors(value) and all(
        item.dtype == sys.modules["torch"].bool and item.numel() for item in value.values()
    )


def _is_tensors(value: Any) -> bool:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, dict) or not value:
        return False
    return all(isinstance(name, str) and isinstance(item, torch.Tensor) for name, item in value.items())


def _has_parts(value: Any) -> bool:
    """A dict with something in it that JSON cannot hold and a folder can."""
    return isinstance(value, dict) and any(
        _is_frame(item) or _is_model(item) or _is_tensors(item) or _has_parts(item) for item in value.values()
    )


def _write_parts(parts: dict[str, Any], directory: Path, where: str) -> None:
    """A folder for each part, named by its place, because a name may be anything; parts.json tells their kinds."""
    kinds = {}
    for place, (name, part) in enumerate(parts.items()):
        if not isinstance(name, str):
            raise ResultError(f"{where} has the key {name!r}; keys in a kept dict are strings")
        (directory / str(place)).mkdir()
        kinds[name] = write(part, directory / str(place), where=f"{where}[{name!r}]")
    (directory / "parts.json").write_text(json.dumps(kinds, ensure_ascii=False), encoding="utf-8")


def _write_masks(packed: dict[str, Any], directory: Path) -> None:
    from robust_lib import masks

    masks.save(directory / "masks.safetensors", packed)


def _write_frame(frame: Any, directory: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    # Dictionaries pay for strings; for logits they take most of the time and give nothing.
    repeated = [str(name) for name, kind in frame.dtypes.items() if kind.kind not in "fiu"]
    buffer = pyarrow.BufferOutputStream()  # its own file output waits for a thread
    parquet.write_table(pyarrow.Table.from_pandas(frame, nthreads=1), buffer, use_dictionary=repeated)
    (directory / "frame.parquet").write_bytes(buffer.getvalue())


def _write_tensors(tensors: dict[str, Any], directory: Path) -> None:
    from safetensors.torch import save_file

    # Clones, because safetensors refuses tensors that share memory (tied weights, views).
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, directory / "tensors.safetensors")


def _write_model(model: Any, directory: Path, where: str) -> None:
    import transformers

    from robust_lib import masks

    name = type(model).__name__
    if getattr(transformers, name, None) is None or not hasattr(model, "config"):
        raise ResultError(
            f"{where} is a {name}, which transformers cannot load back; return its tensors as a dict"
        )
    if any(isinstance(module, masks.MaskedLinear | masks.ScoredLinear) for module in model.modules()):
        raise ResultError(
            f"{where} is a {name} behind masks, which would be lost; call masks.unwrap, or keep them"
        )
    with _without_bars():
        model.save_pretrained(directory)


def _read_model(directory: Path) -> Any:
    from robust_lib import export

    try:
        with _without_bars():
            return export.load(directory)
    except export.CheckpointError as error:
        raise ResultError(
            f"{error}; a unit's model must have the modules that its class builds from its config"
        ) from error


@contextmanager
def _without_bars() -> Iterator[None]:
    """transformers draws a bar per load, through the one progress line of a run."""
    from transformers import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _plain(value: Any) -> Any:
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    raise ResultError(f"the result holds a {type(value).__name__}; a unit returns {RESULTS}")


def _check_json(value: Any, where: str) -> None:
    """Refuse what would come back as something else: JSON turns the key 1 into the string "1"."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ResultError(f"{where} has the key {key!r}; keys in a kept dict are strings")
            _check_json(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_json(item, f"{where}[{index}]")
    elif not (
        value is None or isinstance(value, (str, bool, int, float)) or type(value).__module__ == "numpy"
    ):
        raise ResultError(f"{where} is a {type(value).__name__}; a unit returns {RESULTS}")
