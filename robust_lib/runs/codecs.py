"""How results become files and come back: parquet, safetensors, models, JSON, never pickle."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULTS = "a DataFrame, a transformers model, a dict of tensors, or numbers, strings, lists and dicts of them"


class ResultError(ValueError):
    """A result that cannot be kept, or that does not come back as what it was."""


def write(value: Any, directory: Path) -> str:
    """Write a result into an empty directory; the name of its kind, which `read` needs.

    Models and tensors lose their device and keep their dtype. Raises ResultError naming what cannot be kept.
    """
    if _is_frame(value):
        _write_frame(value, directory)
        return "frame"
    if hasattr(value, "save_pretrained"):
        _write_model(value, directory)
        return "model"
    if _is_tensors(value):
        _write_tensors(value, directory)
        return "tensors"
    _check_json(value, "the result")
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
    return json.loads((directory / "value.json").read_text(encoding="utf-8"))


def _is_frame(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _is_tensors(value: Any) -> bool:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, dict) or not value:
        return False
    return all(isinstance(name, str) and isinstance(item, torch.Tensor) for name, item in value.items())


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


def _write_model(model: Any, directory: Path) -> None:
    import transformers

    name = type(model).__name__
    if getattr(transformers, name, None) is None or not hasattr(model, "config"):
        raise ResultError(
            f"the result is a {name}, which transformers cannot load back; return its tensors as a dict"
        )
    with _without_bars():
        model.save_pretrained(directory)


def _read_model(directory: Path) -> Any:
    import transformers

    written = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    (name,) = written["architectures"]
    kind = getattr(transformers, name)
    with _without_bars():
        model, loaded = _without_heads(kind, written.get("pruned_heads", {})).from_pretrained(
            directory,
            dtype="auto",
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told in `loaded`, and refused below
        )
    model.__class__ = kind
    strange = [key for part in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in loaded[part]]
    if strange:
        raise ResultError(
            f"{directory} does not fit its own config.json (first: {strange[0]}); a unit's model must have "
            "the modules that its class builds from its config"
        )
    return model


def _without_heads(kind: Any, removed: dict[str, list[int]]) -> Any:
    """The class, building its models without these attention heads, as transformers 4 did and 5 does not."""
    if not removed:
        return kind

    class Smaller(kind):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            from robust_lib import heads

            config.pruned_heads = {}
            super().__init__(config)
            heads.remove(self, {int(layer): numbers for layer, numbers in removed.items()})

    return Smaller


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
