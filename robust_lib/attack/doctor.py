"""Which lexical resources of an attack are there, where, and what to do about those that are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from robust_lib import models
from robust_lib.attack import lexica, tagging
from robust_lib.micro import words


@dataclass(frozen=True)
class Resource:
    """One resource: the file it was found in (None: missing), how much it holds, and what would bring it."""

    name: str
    file: Path | None
    holds: str
    needed: bool = True
    remedy: str = ""

    @property
    def missing(self) -> bool:
        """Whether an attack cannot do without it and it is not there."""
        return self.needed and self.file is None

    def __str__(self) -> str:
        if self.file is None:
            state = "MISSING" if self.needed else "not there, not needed"
            return f"{self.name}: {state}\n    {self.remedy}"
        return f"{self.name}: {self.holds}\n    {self.file}  sha256 {lexica.sha256(self.file)[:12]}"


def resources(source: str, sentences: str | None = None) -> list[Resource]:
    """The resources for a source, "micro" or a data directory, and for an encoder of sentence similarity."""
    stop = Resource("stop words", lexica.STOP_WORDS, f"{len(lexica.stop_words(lexica.STOP_WORDS))} words")
    return [stop, *(_micro() if source == lexica.MICRO else _of_directory(source)), _encoder(sentences)]


def _encoder(name: str | None) -> Resource:
    what = "sentence similarity"
    if name is None:
        remedy = (
            "name any encoder with --sentences: a directory, a hub id, micro-base; else the check is left out"
        )
        return Resource(what, None, "", needed=False, remedy=remedy)
    try:
        place = Path(models.Encoder(name).location)
    except models.EncoderError as error:
        return Resource(what, None, "", remedy=str(error))
    weights = place / "model.safetensors"
    if not weights.is_file():
        return Resource(
            what, None, "", needed=False, remedy=f"{name} will be fetched from the hub when first used"
        )
    return Resource(what, weights, f"{weights.stat().st_size:,} bytes")


def _micro() -> Iterator[Resource]:
    world = Path(str(words.__file__))
    yield Resource("synonyms", world, f"{len(lexica.vocabulary(lexica.MICRO))} words of the micro world")
    yield Resource("parts of speech", world, f"{len(tagging.MICRO)} words of the micro world")


def _of_directory(source: str) -> Iterator[Resource]:
    table, listed = (Path(source) / name for name in (lexica.TABLE, lexica.LIST))
    yield _neighbours("synonyms with cosines", table, needed=not listed.is_file())
    yield _neighbours("synonyms without cosines", listed, needed=not table.is_file())
    for name in tagging.FILES:
        file = tagging.found(source, name)
        holds = f"{file.stat().st_size:,} bytes" if file else ""
        yield Resource(f"parts of speech, {Path(name).name}", file, holds, remedy=tagging.REMEDY)


def _neighbours(name: str, file: Path, *, needed: bool) -> Resource:
    if not file.is_file():
        return Resource(name, None, "", needed, lexica.REMEDY)
    try:
        return Resource(name, file, f"{len(lexica.words_of(file)):,} words", needed)
    except tagging.ResourceError as error:
        return Resource(name, None, "", needed=True, remedy=str(error))
