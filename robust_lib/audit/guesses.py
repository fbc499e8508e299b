"""Which columns of a table are texts and label, and which class each label value means, where nobody said so.

A guess is made only where one reading stands out, and each comes with a line that says why.
"""

import difflib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robust_lib import metrics
from robust_lib.audit.problems import AuditError

PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("claim", "evidence"),
    ("text_a", "text_b"),
    ("text1", "text2"),
)
TEXTS = ("sentence", "text", "review", "content", "comment", "tweet", "message", "review_text", "review_body")
LABELS = ("label", "labels", "gold", "gold_label")  # what else is called so is a mistake to be named
MAYBE_LABELS = ("label_text", "target", "class", "category", "sentiment", "y")  # these may be anything else
NOT_ENTAILED = ("nonentailment", "notentailment", "notentailed")  # of HANS
SYNONYMS = (
    ("positive", "pos"),
    ("negative", "neg"),
    ("neutral", "neu"),
    ("entailment", "entailed", "entails"),
    ("contradiction", "contradictory", "contradicts"),
    NOT_ENTAILED,
    ("supports", "supported", "support"),
    ("refutes", "refuted", "refute"),
    ("notenoughinfo", "notenoughinformation", "nei"),
    ("duplicate", "isduplicate", "paraphrase"),
    ("notduplicate", "nonduplicate", "notparaphrase"),
    ("true", "yes"),
    ("false", "no"),
)
NO_LABEL = ("", "-", "?", "nan", "none", "null", "na", "n/a")  # SNLI writes "-" where annotators disagree
WORDS = 3  # mean words of a column from which on it may be the texts: fewer are names and labels
DISTINCT = 0.5  # share of distinct values from which on it may be: fewer are categories
HEADER_WORDS = 8  # a longer column name is a text, in a file without a header


@dataclass(frozen=True)
class Meanings:
    """The class of each label value; `order` where integers were read by the model's own order, which is a guess."""

    classes: Mapping[str, str]
    unknown: tuple[str, ...]
    order: bool = False


def text_columns(frame: pd.DataFrame, where: str, like: Sequence[str] = ()) -> tuple[tuple[str, ...], str]:
    """The text columns in an encoder's order, and why these; as many as `like` has, and those if they are there."""
    _headed(frame, where)
    texts = {_plain(name): name for name in columns(frame) if _is_text(frame[name])}
    if like and all(name in texts.values() for name in like):
        return tuple(like), "as in the test set"
    pairs = [tuple(texts[name] for name in pair) for pair in PAIRS if set(pair) <= set(texts)]
    singles = [(texts[name],) for name in TEXTS if name in texts]
    found, why = pairs or singles, "by the usual names" if pairs else "by its usual name"
    if like:
        found = pairs if len(like) == 2 else singles
    if not found and len(like) != 2:
        long = [(name,) for name in texts.values() if _is_prose(frame[name])]
        found, why = long, "the only column of long and mostly distinct texts"
    if len(found) != 1:
        choice = "several columns may be the texts" if found else "no column is known for the texts"
        wanted = (
            "one column" if len(like) == 1 else "two columns" if like else "one column, or two for a pair"
        )
        raise AuditError(
            f"{where}: {choice}: name {wanted} as `text`, of {quoted(frame.columns)}"
            + (f"; candidates: {'; '.join(' + '.join(names) for names in found)}" if found else "")
        )
    return found[0], why


def label_column(
    frame: pd.DataFrame, where: str, classes: Sequence[str], given: Mapping[str, str]
) -> tuple[str | None, str]:
    """The column that holds the labels, or None, and why; AuditError where it cannot be told."""
    names = {_plain(name): name for name in columns(frame)}
    known = [names[name] for name in (*LABELS, *MAYBE_LABELS) if name in names]
    read = {name: meanings(words(frame[name]), classes, given) for name in names.values()}
    whole = {name: found for name, found in read.items() if found.classes and not found.unknown}
    for name in known:
        if name not in whole and _plain(name) in LABELS:
            raise AuditError(unmapped(where, name, frame[name], read[name], classes))
    sure = [name for name in known if name in whole and not whole[name].order]
    candidates = sure or [name for name in known if name in whole]
    if candidates:
        return _agreed(frame, where, candidates, whole), "by its usual name"
    others = [name for name, found in whole.items() if not found.order]
    if len(others) > 1:
        raise AuditError(f"{where}: {quoted(others)} may all be the label: name one as `label`")
    if others:
        return others[0], "the only column whose values are the model's classes"
    if known:
        raise AuditError(unmapped(where, known[0], frame[known[0]], read[known[0]], classes))
    return None, ""


def _agreed(frame: pd.DataFrame, where: str, candidates: Sequence[str], read: Mapping[str, Meanings]) -> str:
    """The first of several label columns, if all of them say the same of every row."""
    first, *others = (words(frame[name]).map(read[name].classes).fillna("") for name in candidates)
    for name, other in zip(candidates[1:], others, strict=True):
        if not first.equals(other):
            raise AuditError(
                f"{where}: {candidates[0]!r} and {name!r} may both be the label and differ in "
                f"{int((first != other).sum())} rows: name one as `label`"
            )
    return candidates[0]


def meanings(values: "pd.Series[Any]", classes: Sequence[str], given: Mapping[str, str]) -> Meanings:
    """What the label values (`words` of a column) mean: by `given`, by name, by number, at last by order.

    By order are read only integers of which all from 0 to the number of classes less one occur, where no class has a
    number in its name. NLI models with HANS's two labels keep them: `metrics.predicted` knows how to read both.
    """
    distinct = sorted(set(values) - ({"-1"} if "0" in set(values) else set()))  # -1 beside 0 is no label
    names = {name: _by_name(name, classes) for name in distinct} | {
        name: given[name] for name in distinct if name in given
    }
    found = {name: meant for name, meant in names.items() if meant is not None}
    unknown = tuple(name for name in distinct if name not in found)
    numbered = any(re.search(r"\d", name) for name in classes)
    if distinct == sorted(map(str, range(len(classes)))) and unknown == tuple(distinct) and not numbered:
        return Meanings({str(number): name for number, name in enumerate(classes)}, (), order=True)
    return Meanings(found, unknown)


def _by_name(value: str, classes: Sequence[str]) -> str | None:
    """The one class that a value is the name, a synonym or the number of."""
    if value in classes:
        return value
    plain = _letters(value)
    for group in ((plain,), *(group for group in SYNONYMS if plain in group)):
        same = [name for name in classes if _letters(name) in group]
        if plain and len(same) == 1:
            return same[0]
    numbers = [re.findall(r"\d+", name) for name in classes]
    if value.isdecimal() and all(len(number) == 1 for number in numbers):  # LABEL_1, "4 stars"
        same = [name for name, number in zip(classes, numbers, strict=True) if int(number[0]) == int(value)]
        return same[0] if len(same) == 1 else None
    two_way = plain in NOT_ENTAILED and set(classes) == set(metrics.NLI)
    return metrics.HANS[1] if two_way else None


def words(values: "pd.Series[Any]") -> "pd.Series[str]":
    """Label values as they would be written, "1.0" as 1; rows without a label left out."""
    written = values[values.notna()].astype("str").str.strip()
    written = written.str.replace(r"^([+-]?\d+)\.0+$", r"\1", regex=True)
    return written[~written.str.lower().isin(NO_LABEL)]


def unmapped(where: str, name: str, values: "pd.Series[Any]", found: Meanings, classes: Sequence[str]) -> str:
    """What an AuditError says of a label column whose values do not all mean a class."""
    counts = words(values).value_counts()
    seen = ", ".join(f"{str(value)[:40]!r} ({count})" for value, count in counts.head(8).items())
    more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
    if counts.empty:
        return f"{where}, column {name!r}: it is empty; name the column of the labels as `label`"
    wrong = ", ".join(repr(value[:40]) for value in found.unknown[:5])
    each = ", ".join(f"{str(value)[:40]}: ..." for value in counts.index[:8])
    given = f"{{place: {where}, values: {{{each}}}}}"
    return (
        f"{where}, column {name!r}: its values are {seen}{more}; the model's classes are {quoted(classes)}; "
        f"{wrong or 'they'} cannot be read as a class: say what each value means, {given}, or name another column as "
        "`label`"
    )


def columns(frame: pd.DataFrame) -> list[str]:
    """The names of a frame's columns."""
    return [str(name) for name in frame.columns]


def column(frame: pd.DataFrame, where: str, name: str, field: str) -> str:
    """`name`, which somebody gave as `field`, if there is such a column."""
    if name not in frame:
        near = difflib.get_close_matches(name, columns(frame), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AuditError(f"{where}: `{field}` names {name!r}; the columns are {quoted(frame.columns)}{hint}")
    return name


def quoted(names: Iterable[object], most: int = 12) -> str:
    """Names in quotes, the first `most` of them."""
    shown = [repr(str(name)[:60]) for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def _headed(frame: pd.DataFrame, where: str) -> None:
    """AuditError if the first line looks like data: a number, a text, or a value that occurs below it."""
    known = {*TEXTS, *itertools.chain(*PAIRS), *LABELS, *MAYBE_LABELS}
    if known & set(map(_plain, columns(frame))):
        return
    for name in columns(frame):
        numeric = re.fullmatch(r"[+-]?\d+([.,]\d+)?", name)
        if numeric or len(name.split()) > HEADER_WORDS or frame[name].eq(name).any():
            raise AuditError(
                f"{where}: its first line looks like data, not like column names ({name[:60]!r}): "
                "add a line of column names above it"
            )


def _is_text(values: "pd.Series[Any]") -> bool:
    """Whether a column holds strings only, not all of them numbers or empty."""
    there = values[values.notna()]
    if not there.map(lambda value: isinstance(value, str)).all():
        return False
    return bool(pd.to_numeric(there[there.str.strip() != ""], errors="coerce").isna().any())


def _is_prose(values: "pd.Series[Any]") -> bool:
    there = values[values.notna()]
    lengths = there.map(lambda text: len(text.split()))
    return bool(lengths.mean() >= WORDS and there.nunique() >= DISTINCT * len(there))


def _plain(name: str) -> str:
    """A column's name in lower case, with _ for spaces and hyphens."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def _letters(name: str) -> str:
    """A label without case, spaces, _ and -."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name).casefold())
