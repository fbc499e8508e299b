"""Tables that nobody shaped, as they are: separated text, JSON, parquet, or a split of a hub.

Nothing is repaired in silence: what had to be assumed (separator, quotes, encoding) is told, and a file that can be
read in no one way is an AuditError with the line at fault.
"""

import csv
import gzip
import hashlib
import io
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robust_lib.audit.problems import AuditError

SEPARATED = (".csv", ".tsv", ".txt", ".tab")
JSON = (".jsonl", ".ndjson", ".json")
FORMS = f"{', '.join((*SEPARATED, *JSON))} (each also .gz) or .parquet"
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_NONE = "\x1f"  # a separator that no text has: a file of one column
HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(/(?P<config>[\w.-]+))?/(?P<split>[\w.\[\]:%+-]+)")

_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# What pyarrow and `datasets` raise on damaged bytes and metadata.
_DAMAGED = pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError


@dataclass(frozen=True)
class Rows:
    """Every row of a file under its 0-based number, cells as they are written; what was assumed, as lines.

    `doubtful` says which of the assumptions may be wrong without anybody noticing: "" if none.
    """

    frame: pd.DataFrame
    told: tuple[str, ...]
    doubtful: str = ""


def read(place: str) -> Rows:
    """The rows of a file, or of `owner/name/split` or `owner/name/config/split` on the hub; AuditError otherwise."""
    path = Path(place).expanduser()
    if path.is_file():
        stat = path.stat()
        return _file(path, stat.st_mtime_ns, stat.st_size)
    if _form(path) in (*SEPARATED, *JSON, ".parquet") or path.exists() or not HUB_ID.fullmatch(place):
        raise AuditError(
            f"{place}: no such file: give a file {FORMS}, or a split on the hub as owner/name/split or "
            f"owner/name/config/split; relative names start at {Path.cwd().name}/"
        )
    return _hub(place)


def fingerprint(place: str) -> str:
    """SHA-256 of the file's form and bytes, or of the rows of a hub's split; never of the place."""
    path = Path(place).expanduser()
    if path.is_file():
        content = path.read_bytes()
        return hashlib.sha256(_form(path).encode() + b"\n" + content).hexdigest()
    rows = read(place).frame.to_json(orient="split", default_handler=str)
    return hashlib.sha256(rows.encode()).hexdigest()


def _form(path: Path) -> str:
    """The ending that says how the file is written: `.csv` of `reviews.CSV.gz`."""
    return Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()


@lru_cache(maxsize=4)
def _file(path: Path, mtime_ns: int, size: int) -> Rows:
    """The rows of a file, read once per version of it; copy before writing to them."""
    form = _form(path)
    if form == ".parquet":
        rows = _parquet(path)
    elif form in (*SEPARATED, *JSON):
        text, assumed, doubtful = _decoded(path)
        frame, told = _json(path, text) if form in JSON else _separated(path, text)
        rows = Rows(frame, (told + assumed,), doubtful)
    else:
        raise AuditError(f"{path}: a file ends in {FORMS}: save it as one of these (a spreadsheet as .csv)")
    twice = sorted(set(rows.frame.columns[rows.frame.columns.duplicated()]))
    if twice:
        raise AuditError(f"{path}: the column {twice[0]!r} occurs twice: keep one of each name")
    if rows.frame.empty:
        raise AuditError(f"{path}: no rows: the file is empty, or holds a header only")
    return rows


def _decoded(path: Path) -> tuple[str, str, str]:
    """The file's text, its encoding for a line, and the doubt where that is a guess."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise AuditError(f"{path}: cannot be unpacked ({error}): it is damaged or cut short") from None
    marked = [name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)]
    if not marked and b"\0" in content[:1000]:  # UTF-16 without a mark: Latin letters have a zero beside them
        marked = ["utf-16-be" if content[0] == 0 else "utf-16-le"]
    try:
        text = content.decode(*marked or ["utf-8"])
    except UnicodeDecodeError as error:
        if marked:
            raise AuditError(
                f"{path}: not the {marked[0]} that it begins as (byte {error.start}): save it as UTF-8"
            ) from None
        doubt = f"byte {error.start} is no UTF-8; read as Latin-1 (Windows-1252), in which every byte means something"
        return content.decode("cp1252" if _is_windows(content) else "latin-1"), ", Latin-1", doubt
    return text, f", {marked[0]}" if marked else "", ""


def _is_windows(content: bytes) -> bool:
    """Whether all bytes have a meaning in Windows-1252, Latin-1 with quotes and dashes where controls would be."""
    return not set(content) & set(b"\x81\x8d\x8f\x90\x9d")


def _json(path: Path, text: str) -> tuple[pd.DataFrame, str]:
    """JSON lines, or one array of objects."""
    if text.lstrip().startswith("["):
        records, kind = _parsed(path, text, 1), "JSON array"
    else:
        lines = text.removesuffix("\n").split("\n")  # not at U+2028 within a text
        records = [
            _parsed(path, line, number) if line.strip() else {} for number, line in enumerate(lines, 1)
        ]
        kind = "JSON lines"
    wrong = [number for number, record in enumerate(records) if not isinstance(record, dict)]
    if wrong:
        raise AuditError(f"{path}: record {wrong[0]} is no object {{column: value}}: write one per row")
    return pd.DataFrame(records, dtype=object), kind


def _parsed(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AuditError(
            f"{path}: line {line} is no JSON ({str(error)[:100]}): one object per line, or one array of objects"
        ) from None


def _parquet(path: Path) -> Rows:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)  # pandas would take text that is no Unicode
        features: Mapping[str, Any] = {}
        if b"huggingface" in (table.schema.metadata or {}):
            import datasets  # here, for half a second that other files need not wait

            features = datasets.Features.from_arrow_schema(table.schema)
        return _with_names(table.to_pandas(ignore_metadata=True), features, "parquet")
    except _DAMAGED as error:
        raise AuditError(
            f"{path}: not a readable parquet file ({str(error).splitlines()[0][:200]}): it is damaged or cut short"
        ) from None


@lru_cache(maxsize=4)
def _hub(place: str) -> Rows:
    """A split through `datasets`, which runs no code of the repository."""
    import datasets

    found = HUB_ID.fullmatch(place)
    assert found is not None  # `read` asked
    repository, config, split = found["repository"], found["config"], found["split"]
    try:
        loaded = datasets.load_dataset(repository, config, split=split)
    except Exception as error:  # its kinds of network error come from libraries that change their names
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise AuditError(
            f"{place}: the hub's {repository}, split {split!r}, cannot be had ({reason}): check the name, the network "
            "and HF_HUB_OFFLINE, or give a file"
        ) from None
    return _with_names(loaded.to_pandas(), loaded.features, f"the hub's {repository}")


def _with_names(frame: pd.DataFrame, features: Mapping[str, Any], kind: str) -> Rows:
    """`frame` with integer labels as the names that came with them; -1 stands for none there."""
    frame = frame.set_axis(frame.columns.astype("str"), axis=1).astype(object)
    named = {column: names for column in features if (names := getattr(features[column], "names", None))}
    for column, names in named.items():
        frame[column] = frame[column].map(dict(enumerate(names)))
    told = [
        f"label names of {column!r} as they came with the data: {', '.join(names)}"
        for column, names in named.items()
    ]
    return Rows(frame, (kind, *told))


def _separated(path: Path, text: str) -> tuple[pd.DataFrame, str]:
    """Separated text, in the one reading that gives every row as many fields as the header."""
    text = re.sub(r"\A[\r\n]*(sep=.[\r\n]+)?", "", text)  # a first line that Excel writes for itself
    readings: dict[tuple[str, int], list[list[str]]] = {}
    faults = []
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    separators = [separator for separator in SEPARATORS if separator in first] or [_NONE]
    for separator, quoting in itertools.product(separators, (csv.QUOTE_MINIMAL, csv.QUOTE_NONE)):
        records, fault = _records(text, separator, quoting)
        if fault is None:
            readings[separator, quoting] = records
        else:
            faults.append((*fault, _named(separator)))
    if not readings:
        line, what, name = max(faults)  # of the reading that got furthest
        raise AuditError(
            f"{path}, line {line}: {what}, read as {name}: put quotes around texts that hold the separator, a "
            "quote (doubled) or a line break, or write JSON lines"
        )
    if len({separator for separator, _ in readings}) > 1:
        ways = " and as ".join(sorted({_named(separator) for separator, _ in readings}))
        raise AuditError(f"{path}: every row can be read as {ways}: write JSON lines, or quote the texts")
    separator = next(iter(readings))[0]
    quoted, plain = (readings.get((separator, how)) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE))
    # Where both hold and quotes swallow line breaks, they are part of the texts: each line is a whole row without them.
    literal = quoted is None or (plain is not None and separator != _NONE and len(plain) > len(quoted))
    table = (plain if literal else quoted) or [[]]
    names = [field.strip() or f"unnamed {number}" for number, field in enumerate(table[0], 1)]
    frame = pd.DataFrame([row or [""] * len(names) for row in table[1:]], columns=names, dtype=object)
    trailing = [name for name in names if name.startswith("unnamed ") and not frame[name].any()]
    frame = frame.drop(columns=trailing)
    quotes = ", quotes read as part of the texts" if literal and '"' in text else ""
    return frame, f"{_named(separator)}{quotes}"


def _named(separator: str) -> str:
    return f"{SEPARATORS[separator]} separated" if separator in SEPARATORS else "one column"


def _records(text: str, separator: str, quoting: Any) -> tuple[list[list[str]], tuple[int, str] | None]:
    """All records, or the line, and what is wrong there, of the first that is not as long as the header."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting, strict=True)
    records: list[list[str]] = []
    try:
        for record in reader:
            if records and record and len(record) != len(records[0]):
                counts = f"{len(record)} fields where the header has {len(records[0])}"
                return [], (reader.line_num, counts)
            records.append(record)
    except csv.Error as error:
        return [], (reader.line_num, str(error))
    return records, None
