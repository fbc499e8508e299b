"""Where a split's rows come from: the micro world or a data directory. The hub has a module of its own."""

import csv
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robust_lib.data.canonical import canonical
from robust_lib.data.places import remedy
from robust_lib.data.tasks import DataError, dataset

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
    """The whole split `<directory>/<dataset>/<split>.parquet` (or .jsonl, .tsv) in canonical form."""
    file = split_file(directory, path)
    raw, class_names = read(file)
    return canonical(raw, dataset(path), str(file), class_names)


def read(file: Path) -> tuple[pd.DataFrame, Sequence[str] | None]:
    """The rows of a file as they are, and the names of its integer labels where it brings them."""
    try:
        if file.suffix == ".jsonl":
            lines = file.read_text(encoding="utf-8").split("\n")  # not at U+2028 within a text
            return pd.DataFrame([json.loads(line) for line in lines if line]), None
        if file.suffix == ".tsv":
            return pd.read_csv(
                file, sep="\t", dtype="str", keep_default_na=False, quoting=csv.QUOTE_NONE
            ), None
        with pq.ParquetFile(file) as parquet:
            table = parquet.read()
        table.validate(full=True)  # pandas would take text that is no Unicode
        return table.to_pandas(), _class_names(table.schema)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise DataError(
            f"{file}: not a readable {file.suffix[1:]} file ({reason}): it is damaged, cut short or of "
            "another format; delete it and fetch it again"
        ) from None


def _class_names(schema: pa.Schema) -> Sequence[str] | None:
    """The label's ClassLabel names, which `datasets` keeps in a parquet file's metadata."""
    if "label" not in schema.names or not pa.types.is_integer(schema.field("label").type):
        return None
    import datasets  # here, for half a second that string labels need not wait

    names: Sequence[str] | None = getattr(datasets.Features.from_arrow_schema(schema)["label"], "names", None)
    return names


def split_file(directory: str, path: str) -> Path:
    """The file of a split; DataError saying what is missing, what is there instead and where to get it."""
    root = Path(directory)
    if not root.is_dir():
        raise DataError(
            f"{root}: no such data directory: `python -m robust_lib.data export {root}` makes one"
        )
    for form in FORMS:
        file = root / f"{path}{form}"
        if file.is_file():
            return file
    there = sorted(str(file.relative_to(root)) for file in root.glob("*/*") if file.suffix in FORMS)
    raise DataError(
        f"{root / path}.parquet: no such file, nor .jsonl or .tsv; the data directory {root} has "
        f"{', '.join(there) or 'no files of the form <dataset>/<split>.parquet'}: {remedy(path, directory)}"
    )


def directory_fingerprint(directory: str, path: str) -> str:
    """SHA-256 of the split's file, read once per process and version of the file."""
    file = split_file(directory, path)
    stat = file.stat()
    return sha256(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def sha256(file: Path, mtime_ns: int, size: int) -> str:
    """SHA-256 of a file's bytes; time and size are there to tell versions of it apart."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
