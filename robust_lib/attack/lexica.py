"""What an attack knows of words, whichever model is attacked: synonyms, parts of speech, words to leave alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from robust_lib import models
from robust_lib.attack import tagging
from robust_lib.attack.tagging import ResourceError
from robust_lib.data import sources
from robust_lib.micro import words as world
from robust_lib.runs import progress

MICRO = "micro"
TABLE = "lexica/counterfitted_top50.parquet"
LIST = "lexica/counterfitted_neighbors.json"
STOP_WORDS = Path(__file__).parent / "stop_words.txt"
NLTK_STOP_WORDS = Path(__file__).parent / "nltk_stop_words.txt"
MOST = 50  # synonyms of a word, in the paper and in both programs
REMEDY = (
    "`python -m robust_lib.attack build VECTORS DIR` makes the table from counter-fitted-vectors.txt of "
    f"github.com/nmrksic/counter-fitting; DIR/{LIST}, word to list of words, nearest first, serves as well"
)


@dataclass(frozen=True)
class Words:
    """The resources of an attack that no victim changes; an argument of a unit of work.

    source: "micro", or a data directory with `lexica/`. sentences: the encoder whose vectors say how alike two texts
    are; None leaves that check out. threshold: the least cosine of two similar texts, for an encoder other than the
    published one (`similarity.calibrated` finds it); None keeps the mode's own. The object holds names only: tables
    are read when first needed, once per process.
    """

    source: str = MICRO
    sentences: models.Encoder | None = None
    threshold: float | None = None

    def neighbours(self, word: str, *, most: int = MOST, cosine: float = 0.0) -> tuple[str, ...]:
        """The word's synonyms, nearest first: at most `most`, of cosine `cosine` or more where cosines are known.

        () for a word that the source has not. Only the scored table knows cosines: to the micro world's sets and to
        the list of a data directory (up to 8 words, no scores) the minimum cannot be applied.
        """
        known = _micro(word) if self.source == MICRO else _of_file(word, neighbours_file(self.source))
        return tuple(other for other, score in known[:most] if score >= cosine)

    def alike(self, word: str, other: str) -> float | None:
        """The cosine of two words in [0, 1], the same either way; None where the source does not know both.

        Of the scored table: the cosine where one is among the other's listed neighbours, else 0, as all that is known
        of it is that it is lower. Without scores, 1 for the micro world's synonyms and the words of a list, else 0. A
        word and itself: 1.
        """
        rows = _cosines(word, self.source), _cosines(other, self.source)
        listed = [row[near] for row, near in zip(rows, (other, word), strict=True) if row and near in row]
        if listed:
            return listed[0]
        return None if None in rows else float(word == other)

    def tags(self, tokens: tuple[str, ...]) -> tuple[str, ...]:
        """The universal part of speech of each token: NLTK's tagger, or the micro world's lexicon."""
        return (
            tagging.micro_tags(tokens) if self.source == MICRO else tagging.tags(tokens, source=self.source)
        )

    @property
    def stop_words(self) -> frozenset[str]:
        """The authors' 266 words that are never replaced: in lower case, and compared as written."""
        return stop_words(STOP_WORDS)

    @property
    def nltk_stop_words(self) -> frozenset[str]:
        """NLTK's 179 words, which TextAttack's recipes leave alone unless they have a list of their own."""
        return stop_words(NLTK_STOP_WORDS)

    def fingerprint(self) -> str:
        """SHA-256 over the content of all that is used: word sets or files, stop words, encoder, threshold."""
        if self.source == MICRO:
            parts = [repr(world.SYNONYM_SETS), repr(tagging.MICRO)]
        else:
            parts = [sha256(file) for file in (neighbours_file(self.source), *tagging.files(self.source))]
        parts += [sha256(STOP_WORDS), sha256(NLTK_STOP_WORDS)]
        parts += [self.sentences.fingerprint() if self.sentences else "unchecked"]
        return hashlib.sha256("\n".join([*parts, repr(self.threshold)]).encode()).hexdigest()


@lru_cache(maxsize=2)
def stop_words(file: Path) -> frozenset[str]:
    """The words of a file, one a line."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def neighbours_file(source: str) -> Path:
    """The neighbours of a data directory: the scored table, else the list. ResourceError if neither."""
    for name in (TABLE, LIST):
        if (Path(source) / name).is_file():
            return Path(source) / name
    raise ResourceError(f"{Path(source) / TABLE}: no such file, nor {LIST} there: {REMEDY}")


def vocabulary(source: str) -> list[str]:
    """Every word that has synonyms, in the source's order."""
    return list(_SETS) if source == MICRO else words_of(neighbours_file(source))


def words_of(file: Path) -> list[str]:
    """The words that a table or list of neighbours has."""
    return list(_neighbours(file, sha256(file))[0])


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, read once per process and version of the file."""
    stat = file.stat()
    return sources.sha256(file, stat.st_mtime_ns, stat.st_size)


def _cosines(word: str, source: str) -> dict[str, float] | None:
    """The listed neighbours of a word and their cosines; None for a word that the source has not."""
    if source == MICRO:
        return dict(_micro(word)) if word in _SETS else None
    file = neighbours_file(source)
    return _row(word, file, sha256(file))


@lru_cache(maxsize=65_536)
def _row(word: str, file: Path, content: str) -> dict[str, float] | None:
    places, scored = _neighbours(file, content)
    return dict(scored(places[word])) if word in places else None


Scored = tuple[
    tuple[str, float], ...
]  # synonyms and their cosines, nearest first; 1 for a cosine that is not known
_SETS = {
    word: [one for one in world.SYNONYM_SETS if word in one] for one in world.SYNONYM_SETS for word in one
}


def _micro(word: str) -> Scored:
    return tuple((other, 1.0) for one in _SETS.get(word, ()) for other in one if other != word)


def _of_file(word: str, file: Path) -> Scored:
    places, scored = _neighbours(file, sha256(file))
    return scored(places[word]) if word in places else ()


@lru_cache(maxsize=4)
def _neighbours(file: Path, content: str) -> tuple[dict[str, int], Callable[[int], Scored]]:
    """Where each word's row is, and what a row holds."""
    return _table(file) if file.suffix == ".parquet" else _list(file)


def _table(file: Path) -> tuple[dict[str, int], Callable[[int], Scored]]:
    try:
        table = pq.read_table(file, columns=["word", "neighbours", "cosines"])
        words = table["word"].to_pylist()
        near, cosines = (
            np.asarray(table[name].combine_chunks().flatten()).reshape(len(words), -1)
            for name in ("neighbours", "cosines")
        )
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ResourceError(f"{file}: not a table of neighbours ({error}): delete it; {REMEDY}") from None

    def scored(row: int) -> Scored:
        return tuple(
            (words[other], float(score)) for other, score in zip(near[row], cosines[row], strict=True)
        )

    return {word: row for row, word in enumerate(words)}, scored


def _list(file: Path) -> tuple[dict[str, int], Callable[[int], Scored]]:
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResourceError(f"{file}: not readable as JSON ({error}): fetch it again") from None
    if not isinstance(listed, dict) or not all(
        isinstance(near, list) and all(isinstance(other, str) for other in near) for near in listed.values()
    ):
        raise ResourceError(f"{file}: not an object of word to list of words")
    rows = list(listed.values())
    return {word: row for row, word in enumerate(listed)}, lambda row: tuple(
        (other, 1.0) for other in rows[row]
    )


def build(vectors: Path, directory: Path, *, most: int = MOST, block: int = 1024) -> Path:
    """Write the table of the nearest `most` neighbours of every word by cosine, exactly; returns the file.

    vectors: text, a line for each word: the word and its numbers, parted by spaces (65,713 words of 300 numbers as
    published). The word itself is left out; equal cosines keep the order of the file. `block` words at a time are
    compared with all, which takes 4 x block x words bytes.
    """
    words, unit = _read_vectors(vectors)
    if len(words) <= most:
        raise ResourceError(f"{vectors}: {len(words)} words, too few for {most} neighbours each")
    line, near, cosines = progress.Line(), [], []
    for start in range(0, len(words), block):
        products = unit[start : start + block] @ unit.T
        products[torch.arange(len(products)), torch.arange(start, start + len(products))] = -torch.inf
        found = products.topk(most)
        order = torch.from_numpy(np.lexsort((found.indices.numpy(), -found.values.numpy())))
        near.append(found.indices.gather(1, order).int())
        cosines.append(found.values.gather(1, order))
        if line.due:
            line.show(f"neighbours of {start + len(products):,} of {len(words):,} words")
    line.show(f"neighbours of {len(words):,} words", last=True)
    columns = {
        "word": pa.array(words),
        "neighbours": pa.FixedSizeListArray.from_arrays(torch.cat(near).flatten().numpy(), most),
        "cosines": pa.FixedSizeListArray.from_arrays(torch.cat(cosines).flatten().numpy(), most),
    }
    out = directory / TABLE
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    pq.write_table(pa.table(columns), partial, compression="zstd")
    partial.replace(out)
    return out


def _read_vectors(file: Path) -> tuple[list[str], torch.Tensor]:
    """Words and their unit vectors (words, numbers)."""
    rows: dict[str, NDArray[np.float32]] = {}
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            word, _, numbers = line.strip().partition(" ")
            try:
                rows[word] = np.array(numbers.split(), dtype=np.float32)
            except ValueError:
                raise ResourceError(f"{file}, line {number}: not a word and numbers: {line[:60]!r}") from None
            width = len(next(iter(rows.values())))
            if len(rows) < number or not width or len(rows[word]) != width or not rows[word].any():
                raise ResourceError(
                    f"{file}, line {number}: {word!r} stands there with {len(rows[word])} numbers; each line needs "
                    f"a word of its own and {width or 'some'} numbers, not all zero"
                )
    if not rows:
        raise ResourceError(f"{file}: no lines")
    return list(rows), torch.nn.functional.normalize(torch.from_numpy(np.stack(list(rows.values()))), dim=1)


# Where a contraction is cut, as the Penn treebank does it, and then what stays in one piece: abbreviations, numbers
# and words with signs inside, runs of one sign.
_CUT = re.compile(r"(?i)(?<=\w)(n't|'(?:s|m|re|ve|ll|d))(?!\w)|(?<=\bcan)(not)\b")
_TITLES = "Mr Mrs Ms Dr St Prof Rep Sen Gov Gen Lt Col Capt Sgt Jr Sr Inc Corp Co Ltd vs Fed"
_PIECE = re.compile(
    rf"""
    -[LR][RS]B-  |  n't(?!\w)  |  '(?:s|m|re|ve|ll|d|\d0s)(?!\w)
    |  (?<!\w)(?:[a-z]\.){{2,}}
    |  (?<!\w)(?:[a-z]|{"|".join(_TITLES.split())})\.(?=\s+\S)
    |  (?:\.\d+|\w+) (?: (?: [-/&.'] | (?<=\d)[,:](?=\d) ) \w+ )*
    |  ([^\w\s])\1*
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SPACED = re.compile(r"\s[.,!?](?:\s|$)")


def spaced(text: str) -> str:
    """The text with spaces around its punctuation, as the authors' attack sets are published; idempotent.

    "I can't see it." becomes "I ca n't see it ."; numbers, abbreviations and words with hyphens stay whole, and so does
    a text in which a full stop, comma, question or exclamation mark stands apart already. Brackets and quotation marks
    keep their form, where the published sets have -LRB- and ``.
    """
    if _SPACED.search(text):
        return " ".join(text.split())
    return " ".join(piece.group() for piece in _PIECE.finditer(_CUT.sub(r" \1\2", text)))
