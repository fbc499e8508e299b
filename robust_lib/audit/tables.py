"""A table of texts and labels from wherever it is, with everything that had to be guessed said."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from robust_lib import metrics
from robust_lib.audit import files, guesses
from robust_lib.audit.problems import AuditError, Problem
from robust_lib.data import split

FORM = "1"  # of frames and of the draw: a change of either makes new fingerprints
SHOWN = 3  # rows that a problem names


@dataclass(frozen=True)
class Table:
    """Texts, and mostly labels, in a file or on the hub.

    `place` is a csv, tsv, JSON (lines or one array) or parquet file, the first three also as .gz, or
    `owner/name/split` or `owner/name/config/split` on the hub. `text` are one or two columns, in the order that the
    model reads them; `label` the column of gold labels; `values` pairs of what stands there and the class it means.
    What is left empty is guessed by `resolved`. At most `size` rows are drawn by `seed`, in proportion to label.
    """

    place: str
    text: tuple[str, ...] = ()
    label: str | None = None
    values: tuple[tuple[str, str], ...] = ()
    size: int | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """The file's name without its folders, or the hub id."""
        path = Path(self.place).expanduser()
        return path.name if path.is_file() else self.place

    def resolved(self, classes: Sequence[str], *, text: Sequence[str] = ()) -> tuple["Table", list[str]]:
        """This table with nothing left to guess, and a line for all that was assumed of it.

        `classes` are the model's, in its order. `text` are the columns of another set of the same audit: taken here,
        too, where they are there, otherwise as many are guessed. A table without labels keeps the label None.
        AuditError where a guess would be one of several, naming the parameter to set.
        """
        rows, name = files.read(self.place), self.name
        lines = [
            f"{name}: {len(rows.frame)} rows of {len(rows.frame.columns)} columns, {'; '.join(rows.told)}"
        ]
        for column in self.text:
            guesses.column(rows.frame, name, column, "text")
        columns, why = (self.text, "") if self.text else guesses.text_columns(rows.frame, name, text)
        if why:
            lines.append(f"{name}: text is {guesses.quoted(columns)}, guessed {why}")
        if len(columns) > 2 or (text and len(columns) != len(text)):
            raise AuditError(
                f"{name}: `text` is {guesses.quoted(columns)}: one column, or two for a pair, as many in every set"
            )
        label, values, told = self._labelled(rows.frame.drop(columns=list(columns)), classes)
        return replace(self, text=tuple(columns), label=label, values=values), [*lines, *told]

    def _labelled(
        self, frame: pd.DataFrame, classes: Sequence[str]
    ) -> tuple[str | None, tuple[tuple[str, str], ...], list[str]]:
        """The label column, what each of its values means, and lines about what of that was guessed."""
        name, given, lines = self.name, dict(self.values), []
        strange = sorted({meant for meant in given.values() if meant not in (*classes, *metrics.HANS[1])})
        if strange:
            raise AuditError(
                f"{name}: `values` means {guesses.quoted(strange)}; the model's classes are {guesses.quoted(classes)}"
            )
        label = self.label
        if label is None:
            label, why = guesses.label_column(frame, name, classes, given)
            if label is None:
                return (
                    None,
                    (),
                    [f"{name}: no column holds labels, so nothing that needs them is measured on it"],
                )
            lines.append(f"{name}: label is {label!r}, guessed {why}")
        values = frame[guesses.column(frame, name, label, "label")]
        found = guesses.meanings(guesses.words(values), classes, given)
        if found.unknown or not found.classes:
            raise AuditError(guesses.unmapped(name, label, values, found, classes))
        new = {
            value: meant for value, meant in found.classes.items() if meant not in (value, given.get(value))
        }
        if new:
            how = (
                "guessed by the order of the model's classes; `values` settles it"
                if found.order
                else "guessed by name"
            )
            lines.append(
                f"{name}: {', '.join(f'{value!r} is {meant}' for value, meant in new.items())}, {how}"
            )
        return label, tuple(sorted(found.classes.items())), lines

    def frame(self) -> pd.DataFrame:
        """The rows that can be used, by their 0-based number in the file as index `id`.

        The text columns (str), `label` (class name; None throughout where the table has none), and all other columns,
        numbers as numbers. Those that are called like a prediction's own (id, gold, label, logit_...) have " (file)"
        after their name. Rows that are empty, or lack a text or the label, are left out: `problems` counts them.
        """
        whole, why = self._whole()
        used = whole[why == ""]
        if used.empty:
            needed = guesses.quoted([*self.text, *filter(None, [self.label])])
            raise AuditError(f"{self.name}: none of its {len(whole)} rows has a value in each of {needed}")
        if self.size is None or self.size >= len(used):
            return used
        drawn = split.subsample(used[["label"]].fillna("").astype("str"), self.size, self.seed, "audit")
        return used.loc[drawn.index]

    def problems(self) -> list[Problem]:
        """What is odd in the whole table, before rows are drawn: an encoding that had to be assumed; rows left out
        ("empty rows", "empty texts", "rows without label"); "repeated texts" and "contradictory labels", all kept.
        """
        whole, why = self._whole()
        used = whole[why == ""]
        repeated = used[used.duplicated(list(self.text), keep=False)]
        labels = repeated.groupby(list(self.text), sort=False)["label"].transform("nunique")
        counts = {
            kind: why.index[why == kind] for kind in ("empty rows", "empty texts", "rows without label")
        }
        counts["repeated texts"] = repeated.index[repeated.duplicated(list(self.text)) & (labels <= 1)]
        counts["contradictory labels"] = repeated.index[labels > 1]
        doubtful = files.read(self.place).doubtful
        encoding = [Problem("encoding", self.name, doubtful, _REMEDIES["encoding"])] if doubtful else []
        return encoding + [
            Problem(
                kind,
                self.name,
                f"{len(rows)} of {len(whole)} rows {_TOLD[kind]}: {_rows(rows)}",
                _REMEDIES[kind],
            )
            for kind, rows in counts.items()
            if len(rows)
        ]

    def fingerprint(self) -> str:
        """SHA-256 of all that `frame` depends on: the content, never its place, and this table's other fields."""
        fields = self.text, self.label, self.values, self.size, self.seed
        return hashlib.sha256(repr((FORM, files.fingerprint(self.place), fields)).encode()).hexdigest()

    def _whole(self) -> tuple[pd.DataFrame, "pd.Series[str]"]:
        """Every row as `frame` has it, and the reason to leave it out, or ""."""
        if not self.text:
            raise AuditError(f"{self.name}: no text columns are named: `resolved` guesses them")
        raw, texts = files.read(self.place).frame, list(self.text)
        for name in (*texts, *filter(None, [self.label])):
            guesses.column(raw, self.name, name, "label" if name == self.label else "text")
        missing = raw.isna() | raw.map(lambda cell: isinstance(cell, str) and not cell.strip())
        wrong = ~missing[texts] & ~raw[texts].map(lambda cell: isinstance(cell, str))
        if wrong.any(axis=None):
            row = wrong.any(axis=1).idxmax()
            raise AuditError(
                f"{self.name}, row {row}: no text in {guesses.quoted(texts)}: name other columns as `text`"
            )
        label = pd.Series(None, index=raw.index, dtype=object)
        why = missing[texts].any(axis=1).map({True: "empty texts", False: ""})
        if self.label is not None:
            label = guesses.words(raw[self.label]).map(dict(self.values)).reindex(raw.index)
            why = why.mask(label.isna() & (why == ""), "rows without label")
        others = (
            raw.mask(missing)
            .drop(columns=[*texts, *filter(None, [self.label])])
            .apply(_plain)
            .rename(columns=_free)
        )
        whole = (
            pd.concat([raw[texts].astype("str"), others], axis=1).assign(label=label).rename_axis(index="id")
        )
        return whole, why.mask(missing.all(axis=1), "empty rows")


_TOLD = {
    "empty rows": "hold nothing in any column, and are left out",
    "empty texts": "hold no text, or only spaces, and are left out",
    "rows without label": "hold a text and no label, and are left out",
    "repeated texts": "repeat the text of an earlier row with the same label, and are kept",
    "contradictory labels": "share their text with a row of another label, and are kept",
}
_REMEDIES = {
    "encoding": "look at words with accents; if they are wrong, save the file as UTF-8",
    "empty rows": "nothing, unless the file should have more rows",
    "empty texts": "restore these texts, or remove the rows",
    "rows without label": "label these rows, or remove them",
    "repeated texts": "remove them: intervals take every row for a new one, and are too narrow with repetitions",
    "contradictory labels": "decide on one label for each: no model can be right on both",
}


def _rows(rows: "pd.Index[Any]") -> str:
    """The numbers of the first rows."""
    return f"row{'s' * (len(rows) > 1)} {', '.join(map(str, rows[:SHOWN]))}{', ...' * (len(rows) > SHOWN)}"


def _plain(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column of one type, so that it can be compared and saved: numbers and truth values, or else strings."""
    there = values.dropna()
    if len(there) == len(values) and there.map(lambda value: isinstance(value, bool)).all():
        return values.astype(bool)
    texts = there.astype("str")
    numbers = pd.to_numeric(texts, errors="coerce")
    if numbers.notna().all():
        return numbers.reindex(values.index)
    return texts.reindex(values.index)


def _free(name: str) -> str:
    """A column's name where it is none that predictions frames have themselves."""
    return f"{name} (file)" if name in ("id", "gold", "label") or name.startswith("logit_") else name
