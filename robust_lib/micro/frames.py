"""The data directory made of functions: the same paths and columns as real data."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import pandas as pd

from robust_lib.micro import inference, paraphrase, reading, sentiment, verification
from robust_lib.micro.draws import Draws
from robust_lib.micro.grammar import FIRST, KIND_WEIGHTS, SECOND, SHIFTED_WEIGHTS

Rows = Iterator[dict[str, Any]]
HARD_TRAINING_SIZE = 6000  # pairs the hypothesis-only classifier is trained on


class Recipe(NamedTuple):
    """How many rows a split has by default, what makes them, and the names of its bias strengths."""

    size: int
    make: Callable[..., Rows]
    biases: tuple[str, ...] = ()


def _mnli(draws: Draws, **bias: float) -> Rows:
    return inference.training_rows(draws, FIRST, KIND_WEIGHTS, inference.Biases(**bias))


def _mnli_mismatched(draws: Draws, **bias: float) -> Rows:
    return inference.training_rows(draws, SECOND, SHIFTED_WEIGHTS, inference.Biases(**bias))


def _hans(draws: Draws) -> Rows:
    return inference.challenge_rows(draws, FIRST)


def _fever(draws: Draws, **cue: float) -> Rows:
    return verification.rows(draws, FIRST, verification.Cues(**cue))


def _symmetric(draws: Draws, **cue: float) -> Rows:
    return verification.symmetric_rows(draws, FIRST, verification.Cues(**cue), originals=True)


def _generated(draws: Draws, **cue: float) -> Rows:
    return verification.symmetric_rows(draws, FIRST, verification.Cues(**cue), originals=False)


def _qqp(draws: Draws, scrambled: float = paraphrase.SCRAMBLED) -> Rows:
    share = paraphrase.DUPLICATES["qqp"]
    return paraphrase.rows(lambda: paraphrase.training_pair(draws, FIRST, scrambled, share))


def _paws_qqp(draws: Draws) -> Rows:
    share = paraphrase.DUPLICATES["paws_qqp"]
    return paraphrase.rows(lambda: paraphrase.scrambled_pair(draws, FIRST, ("why", "when", "true"), share))


def _paws_wiki(draws: Draws) -> Rows:
    share = paraphrase.DUPLICATES["paws_wiki"]
    return paraphrase.rows(lambda: paraphrase.scrambled_pair(draws, SECOND, ("told",), share))


def _sst2(draws: Draws) -> Rows:
    return sentiment.rows(draws, reviews=False)


def _imdb(draws: Draws) -> Rows:
    return sentiment.rows(draws, reviews=True)


def _squad(draws: Draws) -> Rows:
    return reading.rows(draws, FIRST, reading.SQUAD)


def _newsqa(draws: Draws) -> Rows:
    return reading.rows(draws, SECOND, reading.NEWS)


CUES = verification.Cues._fields
# Sizes follow the originals where they are small, else keep a fine-tuning near 20 s on one core.
RECIPES: dict[str, Recipe] = {
    "mnli/train": Recipe(8000, _mnli, inference.Biases._fields),
    "mnli/validation_matched": Recipe(2000, _mnli, inference.Biases._fields),
    "mnli/validation_mismatched": Recipe(2000, _mnli_mismatched, inference.Biases._fields),
    "hans/train": Recipe(2400, _hans),
    "hans/validation": Recipe(2400, _hans),
    "fever/train": Recipe(6000, _fever, CUES),
    "fever/dev": Recipe(2000, _fever, CUES),
    "fever_symmetric/v1_generated": Recipe(717, _generated, CUES),
    "fever_symmetric/v1_full": Recipe(956, _symmetric, CUES),
    "fever_symmetric/v2_dev": Recipe(708, _symmetric, CUES),
    "fever_symmetric/v2_test": Recipe(712, _symmetric, CUES),
    "qqp/train": Recipe(6000, _qqp, ("scrambled",)),
    "qqp/validation": Recipe(2000, _qqp, ("scrambled",)),
    "paws_qqp/train": Recipe(2000, _paws_qqp),
    "paws_qqp/dev_and_test": Recipe(677, _paws_qqp),
    "paws_wiki/train": Recipe(2000, _paws_wiki),
    "paws_wiki/test": Recipe(2000, _paws_wiki),
    "sst2/train": Recipe(4000, _sst2),
    "sst2/validation": Recipe(872, _sst2),
    "imdb/train": Recipe(3000, _imdb),
    "imdb/validation": Recipe(1000, _imdb),
    "imdb/test": Recipe(1000, _imdb),
    "squad/train_v2": Recipe(6000, _squad),
    "squad/validation_v2": Recipe(1500, _squad),
    "newsqa/validation": Recipe(1000, _newsqa),
}


def frame(path: str, size: int | None = None, seed: int = 0, **bias: float) -> pd.DataFrame:
    """A split of the micro world in canonical columns, the same bytes on every machine.

    path: one of `RECIPES`; its rows are a stream named by (path, seed), of which `size` are taken (default: the
        split's), so a larger size only adds rows.
    bias: strengths of the task's cues, shares in [0, 1]: inference `overlap`, `counter`, `negation`; fact
        verification `negated`, `known`, `asked`; paraphrase `scrambled`. The defaults are frozen.
    Raises ValueError for an unknown path or bias, or a size below 1.
    """
    recipe = _recipe(path, size, bias)
    made = islice(recipe.make(Draws(path, seed), **bias), recipe.size if size is None else size)
    rows = pd.DataFrame(list(made))
    if path.startswith("mnli/validation"):
        rows["hard"] = _hard(rows, tuple(sorted(bias.items())))
    if path.startswith(("mnli/", "hans/")):
        rows["pair_id"] = [f"{path}-{number}" for number in range(len(rows))]
    if "id" in rows:
        rows["id"] = [f"{path}-{number}" for number in range(len(rows))]
    return rows


def _recipe(path: str, size: int | None, bias: dict[str, float]) -> Recipe:
    if path not in RECIPES:
        raise ValueError(f"the micro world has no split {path!r}; it has {', '.join(RECIPES)}")
    if size is not None and size < 1:
        raise ValueError(f"size of {path} is {size}; it must be at least 1")
    recipe = RECIPES[path]
    for name, value in bias.items():
        if name not in recipe.biases:
            raise ValueError(f"{path} has no bias {name!r}; it has {', '.join(recipe.biases) or 'none'}")
        if not 0 <= value <= 1:
            raise ValueError(f"bias {name} of {path} is {value}; it is a share in [0, 1]")
    return recipe


def _hard(rows: pd.DataFrame, bias: tuple[tuple[str, float], ...]) -> pd.Series:
    """1 where a classifier that sees only hypotheses errs (Gururangan et al. 2018)."""
    vectorizer, classifier = _hypothesis_only(bias)
    guessed = classifier.predict(vectorizer.transform(rows["hypothesis"]))
    return pd.Series(guessed != rows["label"].to_numpy(), index=rows.index).astype("int64")


@cache
def _hypothesis_only(bias: tuple[tuple[str, float], ...]) -> tuple[Any, Any]:
    """A bag of n-grams and a linear classifier in closed form: no optimiser's rounding decides an item."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    train = frame("mnli/train", HARD_TRAINING_SIZE, seed=0, **dict(bias))
    vectorizer = CountVectorizer(ngram_range=(1, 2), binary=True)
    return vectorizer, MultinomialNB().fit(vectorizer.fit_transform(train["hypothesis"]), train["label"])
