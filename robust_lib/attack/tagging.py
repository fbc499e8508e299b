"""Universal parts of speech: NLTK's perceptron tagger on files the user has, or the micro world's own lexicon."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from pathlib import Path

from robust_lib.micro import words as world

_ENGLISH = "taggers/averaged_perceptron_tagger_eng/averaged_perceptron_tagger_eng"
WEIGHTS, TAGDICT, CLASSES = (f"{_ENGLISH}.{part}.json" for part in ("weights", "tagdict", "classes"))
UNIVERSAL = "taggers/universal_tagset/en-ptb.map"
FILES = (WEIGHTS, TAGDICT, CLASSES, UNIVERSAL)
REMEDY = (
    "python -m nltk.downloader -d DIR/lexica/nltk_data averaged_perceptron_tagger_eng universal_tagset "
    "fetches it into a data directory DIR; or let NLTK_DATA name a folder that has it"
)


class ResourceError(ValueError):
    """A lexical resource that is missing or damaged; the message names the file and the remedy."""


def found(source: str, file: str) -> Path | None:
    """Where a file of the tagger lies: in `<source>/lexica/nltk_data`, else in the first folder of NLTK_DATA."""
    folders = [Path(source) / "lexica" / "nltk_data"] if source else []
    folders += [Path(folder) for folder in os.environ.get("NLTK_DATA", "").split(os.pathsep) if folder]
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def files(source: str) -> list[Path]:
    """The tagger's four files. ResourceError for a missing one."""
    return [_needed(source, file) for file in FILES]


@lru_cache(maxsize=2**18)
def tags(tokens: tuple[str, ...], *, source: str) -> tuple[str, ...]:
    """A universal tag (NOUN, VERB, ADJ, ...) for each token, as `nltk.pos_tag(tokens, tagset="universal")`.

    source: a data directory with `lexica/nltk_data`. Remembered, so every victim of a process shares them.
    """
    penn, universal = _tagger(tuple(files(source)))
    return tuple(universal.get(tag, "X") for tag in penn(tokens))


def _needed(source: str, file: str) -> Path:
    path = found(source, file)
    if path is None:
        raise ResourceError(f"{source}/lexica/nltk_data/{file}: no such file, nor in NLTK_DATA: {REMEDY}")
    return path


@lru_cache(maxsize=4)
def _tagger(places: tuple[Path, ...]) -> tuple[Callable[[tuple[str, ...]], list[str]], dict[str, str]]:
    """Tokens to Penn tags, and Penn tags to universal ones. NLTK's pickled taggers are never read."""
    from nltk.tag.perceptron import PerceptronTagger  # here, for the two seconds that importing NLTK takes

    parameters = [_json(place) for place in places[:3]]
    tagger = PerceptronTagger.decode_json_obj(parameters)
    lines = places[3].read_text(encoding="utf-8").splitlines()
    universal = dict(line.split("\t") for line in lines if line.strip())
    return lambda tokens: [tag for _, tag in tagger.tag(tokens)], universal


def _json(file: Path) -> object:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResourceError(f"{file}: not readable as JSON ({error}); delete it and fetch it again") from None


# In the micro world a word has one meaning, and so one part of speech wherever it stands.
_NOUNS = (*world.CLASS_OF, *world.NOUNS, *world.NAMES, *world.COUNTRY_OF, *world.CITIES)
_VERBS = (*world.TRANSITIVE, *world.INTRANSITIVE, world.LIKED, world.DISLIKED, *world.RELATIONS)
_FUNCTION = {
    "DET": "the a an no this",
    "VERB": "was is come knew realized thought hoped remembered forgot",
    "ADP": "by in of because after if unless although with",
    "PRT": "to",
    "PRON": "who what which it that i",
    "ADV": "where when why how never not perhaps maybe certainly clearly overall",
    "ADJ": "true",
    "NOUN": "reason time place city person",
    "CONJ": "and or but",
}
MICRO: dict[str, str] = {
    **{word: tag for tag, listed in _FUNCTION.items() for word in listed.split()},
    **dict.fromkeys((*_NOUNS, *chain(*world.FILMS, *world.ASPECTS)), "NOUN"),
    **dict.fromkeys(chain(*_VERBS), "VERB"),
    **dict.fromkeys((*world.ADJECTIVES, *chain(*world.POSITIVE, *world.NEGATIVE)), "ADJ"),
    **dict.fromkeys(world.PREPOSITIONS, "ADP"),
    **dict.fromkeys(chain(*world.DEGREES), "ADV"),
}


def micro_tags(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """The micro world's tag of each token: `.` for one without a letter or digit, X for a word it does not know."""
    return tuple(MICRO.get(token.lower(), "X" if any(map(str.isalnum, token)) else ".") for token in tokens)
