"""What attacks have in common that replace one word after another: a text as words, and how one is chosen."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robust_lib.attack.engine import Rows, Text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Sentence = tuple[str, ...]  # the words of a text
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Page:
    """A text as words and what stands between them; `own` are the places of the attacked column's words."""

    words: Sentence
    gaps: tuple[str, ...]  # one more than words: before the first, between each two, after the last
    own: range
    text: Text
    column: int
    whole: bool  # words and gaps are those of all columns, joined by line breaks; else of the attacked one

    def written(self, words: Sentence, gaps: Sequence[str]) -> str:
        return "".join(gap + word for gap, word in zip(gaps, words, strict=False)) + gaps[-1]

    def write(self, words: Sentence, gaps: Sequence[str] | None = None) -> Text:
        """The columns with these words in the places of the page's."""
        line = self.written(words, gaps or self.gaps)
        if self.whole:
            before = sum(len(part) + 1 for part in self.text[: self.column])
            after = sum(len(part) + 1 for part in self.text[self.column + 1 :])
            line = line[before : len(line) - after]
        return (*self.text[: self.column], line, *self.text[self.column + 1 :])

    def without(self, index: int) -> Text:
        """The columns without a word and the space before it, after it where the word is the first."""
        gaps, last = list(self.gaps), index == len(self.words) - 1 and not self.gaps[-1]
        if index == 0:
            gaps[1] = gaps[1].removeprefix(" ")
        elif not (self.whole and last):  # TextAttack keeps the space before a last word
            gaps[index] = gaps[index].removesuffix(" ")
        return self.write(put("", self.words, index), gaps)

    def within(self, words: Sentence, places: slice) -> str:
        """The part of the text that these places hold."""
        span = slice(*places.indices(len(words)))
        return self.written(words[span], ("", *self.gaps[span.start + 1 : span.stop], ""))


def put(word: str, sentence: Sentence, index: int) -> Sentence:
    """The sentence with a word in the place of another."""
    return (*sentence[:index], word, *sentence[index + 1 :])


def read(text: Text, column: int, *, whole: bool) -> Page:
    """The text cut at the spaces of its attacked column, or `whole` into the words TextAttack finds in all columns."""
    if not whole:
        words = tuple(text[column].split())
        gaps = ("", *[" "] * (len(words) - 1), "")
        return Page(words, gaps, range(len(words)), text, column, whole=False)
    line, gaps_found, end = "\n".join(text), [], 0
    words = tuple(textattack_words(line))
    for word in words:
        start = line.index(word, end)
        gaps_found.append(line[end:start])
        end = start + len(word)
    counts = [len(textattack_words(part)) for part in text]
    own = range(sum(counts[:column]), sum(counts[: column + 1]))
    return Page(words, (*gaps_found, line[end:]), own, text, column, whole=True)


# Letters, digits and the signs that TextAttack takes for letters; those of _EDGES neither begin nor end a word.
_LETTERS = re.compile(r"[\w˗`×'\-_*@]+")
_EDGES = "'-_*@"


def textattack_words(text: str) -> list[str]:
    """The words of a text as TextAttack 0.3.11 has them: "don't" and "x-ray" are one, punctuation is none."""
    pieces = (piece for part in text.split() for piece in _LETTERS.findall(part.strip(_EDGES)))
    return [word for piece in pieces if (word := piece.strip(_EDGES))]


def importance(rows: Rows, original: Floats, gold: int, *, gained: bool) -> Floats:
    """How much each word matters: the gold probability lost without it, and what a new label has `gained` by that.

    rows: the victim's probabilities (words, classes) of the text without each word; original: those of the text. The
    loss alone is given as 1 less what is left, as TextAttack has it and rounds it: in [0, 1]; with the gain the scores
    are between -1 and 2.
    """
    left: Floats = rows[:, gold]
    if not gained:
        return 1 - left
    labels = rows.argmax(axis=1)
    more: Floats = np.where(labels != gold, rows.max(axis=1) - original[labels], 0.0)
    scores: Floats = original[gold] - left + more
    return scores


def lowest(rows: Rows, gold: int, near: Floats, best: float) -> tuple[int | None, bool]:
    """TextAttack's choice: the candidate of lowest gold probability, if below `best`, and whether it ends the attack.

    If it changes the label, the most similar is taken of those before the first that does not, from the lowest on.
    """
    scores = 1 - rows[:, gold]  # as TextAttack has it, and rounds it
    flipped = rows.argmax(axis=1) != gold
    order = np.argsort(-scores, kind="stable")
    if not scores[order[0]] > 1 - best:
        return None, False
    leading = order[: len(order) if flipped[order].all() else int((~flipped[order]).argmax())]
    return (int(leading[near[leading].argmax()]), True) if len(leading) else (int(order[0]), False)


def points(modes: Mapping[str, DataclassInstance], parts: Mapping[str, str]) -> dict[str, list[str]]:
    """Each field of the modes by its point, and what each mode says to it; `parts` spell a value out."""

    def said(value: object) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        return parts.get(str(value), str(value))

    first = next(iter(modes.values()))
    return {
        field.metadata["point"]: [said(getattr(mode, field.name)) for mode in modes.values()]
        for field in dataclasses.fields(first)
    }
