"""Where a split's rows come from: the micro world or a data directory. The hub has a module of its own."""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robust_lib.data.canonical import canonical
from robust_lib.data.tasks import DataError, dataset


def micro_frame(path: str, size: int | None, seed: int) -> pd.DataFrame:
    """`size` examples of the embedded micro world, drawn by `seed`, in canonical form."""
    from robust_lib import micro  # here, so that real data does without the world's grammar

    return canonical(micro.frame(path, size=size, seed=seed), dataset(path), f"micro world, {path}")


@lru_cache(maxsize=64)
def micro_fingerprint(path: str, size: int | None, seed: int) -> str:
    """SHA-256 of the examples themselves: it changes when, and only when, the world writes other examples."""
    return hashlib.sha256(micro_frame(path, size, seed).to_json(orient="split").encode()).hexdigest()


def directory_frame(directory: str, path: str) -> pd.DataFrame:
    """The whole split `<directory>/<dataset>/<split>.parquet` in canonical form."""
    file = split_file(directory, path)
    try:
        table = pq.read_table(file)
        raw = table.to_pandas()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file}: not a readable parquet file ({_first_line(error)}): it is damaged, cut short or of "
            "another format; copy or export it again"
        ) from error
    return canonical(raw, dataset(path), str(file), _class_names(table.schema))


def split_file(directory: str, path: str) -> Path:
    """The parquet file of a split; DataError saying what is missing and what is there instead."""
    root = Path(directory)
    if not root.is_dir():
        raise DataError(
            f"{root}: no such data directory: `python -m robust_lib.data export {root}` makes one"
        )
    file = root / f"{path}.parquet"
    if not file.is_file():
        there = sorted(str(p.relative_to(root).with_suffix("")) for p in root.glob("*/*.parquet"))
        raise DataError(
            f"{file}: no such file: the data directory {root} holds no split {path!r}, only "
            f"{', '.join(there) or 'nothing of the form <dataset>/<split>.parquet'}"
        )
    return file


def directory_fingerprint(directory: str, path: str) -> str:
    """SHA-256 of the split's file, read once per process and version of the file."""
    file = split_file(directory, path)
    stat = file.stat()
    return _file_sha256(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _file_sha256(file: Path, mtime_ns: int, size: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _class_names(schema: pa.Schema) -> Sequence[str] | None:
    """The names of integer labels, which `datasets` writes into a parquet file's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names: Sequence[str] = features["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return names


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
