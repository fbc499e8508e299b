"""Where a split's rows come from: the micro world or a data directory. The hub has a module of its own."""

import csv
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robust_lib.data import derived, newsqa
from robust_lib.data.canonical import canonical
from robust_lib.data.places import MADE, remedy
from robust_lib.data.tasks import DataError, dataset

# What the readers raise on damaged bytes; the last four come from damaged metadata and JSON nested too deep.
_UNREADABLE = pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError
FORMS = (".parquet", ".jsonl", ".tsv")  # ours first; FEVER, HANS and PAWS-QQP are published in the others


@lru_cache(maxsize=32)
def micro_frame(path: str, size: int | None, seed: int) -> pd.DataFrame:
    """`size` examples of the embedded micro world, drawn by `seed`; copy before writing to it."""
    from robust_lib import micro  # here, so that real data does without the world's grammar

    return canonical(micro.frame(path, size=size, seed=seed), dataset(path), f"micro world, {path}")


@lru_cache(maxsize=256)
def micro_fingerprint(path: str, size: int | None, seed: int) -> str:
    """SHA-256 of the examples themselves: it changes when, and only when, the world writes other examples."""
    return hashlib.sha256(micro_frame(path, size, seed).to_json(orient="split").encode()).hexdigest()


def directory_frame(directory: str, path: str) -> pd.DataFrame:
    """The whole split in canonical form, of its file or, where no publisher has it, made from those of others.

    The file is `<directory>/<dataset>/<split>.parquet`, or .jsonl or .tsv, or in one of NewsQA's own forms.
    """
    parts = [_file_frame(file, part) for part, file in split_files(directory, path).items()]
    if path not in MADE:
        return parts[0]
    try:
        return derived.RULES[path](*parts)
    except DataError as error:
        raise DataError(f"{path}, made from {' and '.join(MADE[path])} of {directory}: {error}") from None


def _file_frame(file: Path, path: str) -> pd.DataFrame:
    if file.name not in newsqa.FILES:
        raw, class_names = read(file)
        return canonical(raw, dataset(path), str(file), class_names)
    stat = file.stat()
    return canonical(newsqa.read(file, path, stat.st_mtime_ns, stat.st_size), dataset(path), str(file))


def read(file: Path) -> tuple[pd.DataFrame, Sequence[str] | None]:
    """The rows of a file as they are, and the names of its integer labels where it brings them."""
    try:
        if file.suffix == ".jsonl":
            lines = file.read_text(encoding="utf-8").split("\n")  # not at U+2028 within a text
            return pd.DataFrame([_object(line, number) for number, line in enumerate(lines, 1) if line]), None
        if file.suffix == ".tsv":
            # Without header: with one, pandas takes the first field of longer rows for an index, and shifts the others.
            table = pd.read_csv(
                file, sep="\t", header=None, dtype="str", keep_default_na=False, quoting=csv.QUOTE_NONE
            )
            return table[1:].set_axis(table.iloc[0].tolist(), axis=1).reset_index(drop=True), None
        with pq.ParquetFile(file) as parquet:
            table = parquet.read()
        table.validate(full=True)  # pandas would take text that is no Unicode
        return table.to_pandas(ignore_metadata=True), _class_names(table.schema)
    except _UNREADABLE as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise DataError(
            f"{file}: not a readable {file.suffix[1:]} file ({reason}): it is damaged, cut short or of "
            "another format; delete it and fetch it again"
        ) from None


def _object(line: str, number: int) -> dict[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is no JSON object")
    return row


def _class_names(schema: pa.Schema) -> Sequence[str] | None:
    """The label's ClassLabel names, which `datasets` keeps in a parquet file's metadata."""
    if "label" not in schema.names or not pa.types.is_integer(schema.field("label").type):
        return None
    import datasets  # here, for half a second that string labels need not wait

    names: Sequence[str] | None = getattr(datasets.Features.from_arrow_schema(schema)["label"], "names", None)
    return names


def split_files(directory: str, path: str) -> dict[str, Path]:
    """The files of a split, by the split each holds: its own, or of those that it is made from.

    DataError saying what is missing, what is there instead and where to get it.
    """
    if path not in MADE:
        return {path: _split_file(directory, path)}
    try:
        return {part: _split_file(directory, part) for part in MADE[path]}
    except DataError as error:
        raise DataError(f"{path} is made from {' and '.join(MADE[path])}: {error}") from None


def _split_file(directory: str, path: str) -> Path:
    root = Path(directory)
    if not root.is_dir():
        raise DataError(
            f"{root}: no such data directory: `python -m robust_lib.data export {root}` makes one"
        )
    file = found(root, path)
    if file is not None:
        return file
    there = sorted(str(file.relative_to(root)) for file in root.glob("*/*") if file.suffix in FORMS)
    raise DataError(
        f"{root / path}.parquet: no such file, nor .jsonl or .tsv; the data directory {root} has "
        f"{', '.join(there) or 'no files of the form <dataset>/<split>.parquet'}: {remedy(path, directory)}"
    )


def found(root: Path, path: str) -> Path | None:
    """The file of a split in the first form that the data directory has it in, if there is one."""
    files = [root / f"{path}{form}" for form in FORMS]
    if path in newsqa.PARTS:
        files += [root / "newsqa" / name for name in newsqa.FILES]
    return next((file for file in files if file.is_file()), None)


def directory_fingerprint(directory: str, path: str) -> str:
    """SHA-256 of the split's file, read once per process and version of the file; of several and the rule if made."""
    files = split_files(directory, path).values()
    stats = [file.stat() for file in files]
    contents = [sha256(file, stat.st_mtime_ns, stat.st_size) for file, stat in zip(files, stats, strict=True)]
    if path not in MADE:
        return contents[0]
    return hashlib.sha256(repr((derived.VERSION, contents)).encode()).hexdigest()


@lru_cache(maxsize=256)
def sha256(file: Path, mtime_ns: int, size: int) -> str:
    """SHA-256 of a file's bytes; time and size are there to tell versions of it apart."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
