"""The canonical form: usual column names, string labels, no blank text. All else is a DataError."""

import operator
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robust_lib.data.tasks import HEURISTICS, DataError, Dataset


def canonical(
    raw: pd.DataFrame, dataset: Dataset, where: str, class_names: Sequence[str] | None = None
) -> pd.DataFrame:
    """`raw` with the columns of `dataset` in a fixed order, labels as strings, rows counted from 0.

    `where` (a file, a repository) opens every error. Integer labels are decoded by `class_names`, never by
    an order assumed here: published files of one data set differ in it.
    """
    frame = _named(raw, dataset, where)
    if frame.empty:
        raise DataError(f"{where}: the split is empty: it has columns but no rows: fetch it again")
    for column in dataset.text:
        frame[column] = _text(frame[column], where)
    if dataset.labels:
        frame["label"] = _labels(frame["label"], dataset, where, class_names)
    for column, check in _CHECKS.items():
        if column in frame:
            frame[column] = check(frame[column], where)
    if "answers" in frame:
        frame["answers"] = pd.Series(_answers(frame, where), index=frame.index, dtype=object)
        frame["id"] = _ids(frame["id"], where)
        frame["title"] = frame["title"].astype("object").fillna("").astype("str")
    return frame.reset_index(drop=True)


def _named(raw: pd.DataFrame, dataset: Dataset, where: str) -> pd.DataFrame:
    """`raw` under canonical column names, without the columns that nothing here reads."""
    frame = raw.rename(
        columns={
            old: new for old, new in dataset.renames.items() if old in raw.columns and new not in raw.columns
        }
    )
    twice = sorted({str(c) for c in frame.columns[frame.columns.duplicated()]})
    if twice:
        raise DataError(f"{where}: the column {_quoted(twice)} occurs twice: keep one of each name")
    missing = [column for column in dataset.columns if column not in frame]
    if missing:
        raise DataError(
            f"{where}: no column {_quoted(missing)} (it has {_quoted(frame.columns)}): "
            f"a split of this data set needs {_quoted(dataset.columns)}"
        )
    return frame[[*dataset.columns, *(column for column in dataset.carried if column in frame)]].copy()


def _text(values: pd.Series, where: str) -> pd.Series:
    """`values` as strings, none of them missing or blank."""
    values = _strings(values, where)
    _refuse(values, values.str.strip() == "", where, "blank text", "remove these rows or restore their text")
    literal = values.str.fullmatch(r"""b'.*'|b".*\"""")  # as PAWS-QQP's own script writes under Python 3
    _refuse(values, literal, where, "text that is a bytes literal", "decode the text before writing it")
    return values


def _strings(values: pd.Series, where: str) -> pd.Series:
    _refuse(values, values.isna(), where, "missing text", "remove these rows or restore their text")
    if pd.api.types.infer_dtype(values, skipna=False) not in ("string", "empty"):
        wrong = ~values.map(lambda value: isinstance(value, str)).astype(bool)
        _refuse(values, wrong, where, "value that is not text", "store this column as strings")
    return values.astype("str")


def _labels(values: pd.Series, dataset: Dataset, where: str, class_names: Sequence[str] | None) -> pd.Series:
    """`values` as canonical label strings."""
    _refuse(values, values.isna(), where, "missing label", "remove these rows or label them")
    if not pd.api.types.is_string_dtype(values):
        values = _decoded(values, where, class_names)
    values = values.astype("str").replace(dict(dataset.label_names))
    _known(values, dataset.labels, where)
    return values


def _decoded(values: pd.Series, where: str, class_names: Sequence[str] | None) -> pd.Series:
    """Integer labels as the names that came with them."""
    if not pd.api.types.is_integer_dtype(values) or pd.api.types.is_bool_dtype(values):
        raise DataError(
            f"{where}, column 'label': the labels are of type {values.dtype}, as in {_shown(values.iloc[0])}: "
            "store them as strings"
        )
    if class_names is None:
        raise DataError(
            f"{where}, column 'label': integer labels ({_counted(values)}) without class names: store the "
            "labels as strings, for the same integers mean different classes in different published files"
        )
    _refuse(
        values,
        ~values.between(0, len(class_names) - 1),
        where,
        f"label outside the {len(class_names)} classes {_quoted(class_names)}",
        "use a split whose labels are public",
    )
    return values.map(dict(enumerate(class_names)))


def _known(values: pd.Series, known: Sequence[str], where: str) -> pd.Series:
    unknown = values[~values.isin(list(known))]
    if len(unknown):
        raise DataError(
            f"{where}, column {values.name!r}: unknown values {_counted(unknown)}: "
            f"known are {_quoted(known)}; rename them, or check that this is the right file"
        )
    return values


def _heuristics(values: pd.Series, where: str) -> pd.Series:
    _refuse(values, values.isna(), where, "missing heuristic", "restore the column")
    return _known(values.astype("str"), HEURISTICS, where)


def _subcases(values: pd.Series, where: str) -> pd.Series:
    _refuse(values, values.isna(), where, "missing subcase", "restore the column or leave it out")
    return values.astype("str")


def _hard(values: pd.Series, where: str) -> pd.Series:
    """Whether a hypothesis-only classifier errs on the example: 1 hard, 0 easy."""
    _refuse(values, ~values.isin([0, 1]), where, "value other than 0 and 1", "write 1 for hard, 0 for easy")
    return values.astype("int64")


_CHECKS = {"heuristic": _heuristics, "subcase": _subcases, "hard": _hard}


def _answers(frame: pd.DataFrame, where: str) -> list[dict[str, list[Any]]]:
    """Answers as {text: [...], answer_start: [...]}, every text standing in the context where they say.

    Empty lists are an unanswerable question.
    """
    spans = []
    for row, (answers, context) in enumerate(zip(frame["answers"], frame["context"], strict=True)):
        try:
            texts = list(answers["text"])
            starts = [_whole(start) for start in answers["answer_start"]]
            if isinstance(answers["text"], str) or not all(isinstance(text, str) for text in texts):
                raise TypeError
        except (TypeError, KeyError, ValueError, OverflowError):
            raise DataError(
                f"{where}, column 'answers', row {row}: {_shown(answers)} is not of the form "
                "{'text': [...], 'answer_start': [...]}, the starts whole numbers"
            ) from None
        if len(texts) != len(starts):
            raise DataError(
                f"{where}, column 'answers', row {row}: {len(texts)} texts but {len(starts)} starts: "
                "every answer needs both"
            )
        for text, start in zip(texts, starts, strict=True):
            if not text or start < 0 or context[start : start + len(text)] != text:
                raise DataError(
                    f"{where}, column 'answers', row {row}: {_shown(text)} does not stand at character {start} of "
                    "the context: recompute the starts (they count characters, not bytes)"
                )
        spans.append({"text": texts, "answer_start": starts})
    return spans


def _whole(number: Any) -> int:
    """The number as an integer, which parquet files that pandas wrote often hold as a float."""
    whole = int(number) if isinstance(number, float | np.floating) else operator.index(number)
    if whole != number:
        raise ValueError
    return whole


def _ids(ids: pd.Series, where: str) -> pd.Series:
    """`ids` as strings, which may be written as integers, each once."""
    if pd.api.types.is_integer_dtype(ids) and ids.notna().all():
        ids = ids.astype("str")
    ids = _strings(ids, where)
    _refuse(ids, ids.duplicated(), where, "repeated id", "give every question its own")
    return ids


def _refuse(values: pd.Series, bad: pd.Series, where: str, what: str, remedy: str) -> None:
    """DataError naming the column, the count, the first row and its value, if any value is bad."""
    if bad.any():
        first = int(bad.to_numpy().argmax())
        raise DataError(
            f"{where}, column {values.name!r}: {int(bad.sum())} x {what}, first in row {first} "
            f"({_shown(values.iloc[first])}): {remedy}"
        )


def _counted(values: pd.Series, most: int = 5) -> str:
    counts: Mapping[Any, int] = values.value_counts().to_dict()
    shown = [f"{_shown(value)} ({count})" for value, count in list(counts.items())[:most]]
    more = [f"and {len(counts) - most} more"] if len(counts) > most else []
    return ", ".join(shown + more)


def _quoted(names: Iterable[object], most: int = 20) -> str:
    shown = [_shown(str(name)) for name in names]
    more = [f"and {len(shown) - most} more"] if len(shown) > most else []
    return ", ".join(shown[:most] + more)


def _shown(value: object) -> str:
    """The value as it is written, long ones cut: a cell may hold a whole article."""
    shortened = reprlib.Repr()
    shortened.maxstring = shortened.maxother = 80
    return shortened.repr(value)
