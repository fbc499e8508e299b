"""Sentiment (SST-2: a sentence; IMDB: a review of several).

Words of opinion come in sets of synonyms, the common word first; rare synonyms are real candidates for an
attack.
"""

from collections.abc import Iterator
from typing import NamedTuple

from robust_lib.micro import words
from robust_lib.micro.draws import Draws

LABELS = ("negative", "positive")
FREQUENCY = (8.0, 4.0, 2.0, 1.0)  # of the words of a set, about Zipf's
NEGATED = 0.18  # of the opinions that say "not"
CONTRAST = 0.22  # of the sentences with two opinions of which one counts


class Opinion(NamedTuple):
    """What is judged, the word that judges it, and whether it is negated."""

    aspect: str
    word: str
    negated: bool
    text: str


def sign(opinion: Opinion) -> int:
    """+1 or -1: the word's polarity, turned by a negation."""
    return -words.POLARITY[opinion.word] if opinion.negated else words.POLARITY[opinion.word]


def common(options: tuple[str, ...], draws: Draws) -> str:
    """A word of a synonym set, the first words more often."""
    return draws.weighted(dict(zip(options, FREQUENCY, strict=False)))


def opinion(draws: Draws, wanted: int) -> Opinion:
    """An opinion of the wanted sign, as a clause."""
    negated = draws.chance(NEGATED)
    positive = (wanted > 0) != negated
    aspect = common(draws.pick(words.ASPECTS + words.FILMS), draws)
    if draws.chance(0.2):
        word = common(words.LIKED if positive else words.DISLIKED, draws)
        return Opinion(aspect, word, negated, f"i {'never ' if negated else ''}{word} the {aspect}")
    word = common(draws.pick(words.POSITIVE if positive else words.NEGATIVE), draws)
    degree = f"{common(draws.pick(words.DEGREES), draws)} " if draws.chance(0.3) else ""
    verb = draws.pick(("is", "was"))
    return Opinion(aspect, word, negated, f"the {aspect} {verb} {'not ' if negated else ''}{degree}{word}")


def plain_phrase(draws: Draws, wanted: int) -> str:
    """Noun phrases with two agreeing adjectives: "a witty film with a moving story"."""
    sets = words.POSITIVE if wanted > 0 else words.NEGATIVE
    one, two = (common(options, draws) for options in draws.several(sets, 2))
    film, aspect = common(draws.pick(words.FILMS), draws), common(draws.pick(words.ASPECTS), draws)
    return f"this is {_article(one)} {film} with {_article(two)} {aspect}"


def _article(noun_phrase: str) -> str:
    return f"an {noun_phrase}" if noun_phrase[0] in "aeiou" else f"a {noun_phrase}"


def sentence(draws: Draws, wanted: int) -> str:
    """A sentence of the wanted sign. After "but", and outside "although", stands what counts."""
    if draws.chance(CONTRAST):
        lesser, counted = opinion(draws, -wanted).text, opinion(draws, wanted).text
        if draws.chance(0.5):
            return f"{lesser} but {counted}"
        return f"although {lesser}, {counted}" if draws.chance(0.5) else f"{counted}, although {lesser}"
    if draws.chance(0.25):
        return plain_phrase(draws, wanted)
    if draws.chance(0.25):
        return f"{opinion(draws, wanted).text} and {opinion(draws, wanted).text}"
    return opinion(draws, wanted).text


def review(draws: Draws, wanted: int) -> str:
    """Three or five sentences, the wanted sign in the majority."""
    count = draws.pick((3, 3, 5))
    against = draws.below(count // 2 + 1)
    signs = draws.several([wanted] * (count - against) + [-wanted] * against, count)
    return " ".join(f"{_short(draws, sign)}." for sign in signs)


def _short(draws: Draws, wanted: int) -> str:
    return plain_phrase(draws, wanted) if draws.chance(0.15) else opinion(draws, wanted).text


def rows(draws: Draws, *, reviews: bool) -> Iterator[dict[str, str]]:
    """Rows of SST-2's (or IMDB's) columns, the labels drawn equally often."""
    while True:
        label = draws.pick(LABELS)
        wanted = 1 if label == "positive" else -1
        if reviews:
            yield {"text": review(draws, wanted), "label": label}
        else:
            yield {"sentence": f"{sentence(draws, wanted)}.", "label": label}
