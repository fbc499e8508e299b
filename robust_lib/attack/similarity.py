"""How alike two texts are to a sentence encoder, and where the line between alike and not is drawn for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from numpy.typing import NDArray
from torch import Tensor

from robust_lib import models
from robust_lib.attack import lexica, victims
from robust_lib.attack.engine import Oracle, Rows, Text

KEPT = 250_000  # vectors remembered between victims; the oldest go first


@lru_cache(maxsize=4)
def sentences(
    encoder: models.Encoder,
    *,
    max_length: int = 128,
    rows: int | None = None,
    device: torch.device | None = None,
) -> Oracle:
    """Unit vectors of texts, (texts, width): the mean of the encoder's last hidden states over a text's tokens.

    The product of two is their cosine. This is how sentence-transformers reads most of its encoders (those that pool by
    the mean); a plain pretrained encoder serves too, with cosines near 1 throughout, so calibrate its threshold. A
    text's vector does not depend on its batch (`victims.Forward`, where `rows` is explained) nor on the victim: the
    same encoder is the same oracle, which remembers what it was asked.
    """
    with torch.random.fork_rng(devices=[]):  # a head is drawn, and not used
        model = cast(transformers.PreTrainedModel, encoder.classifier(["unused"], seed=0).base_model)
    tokenizer = encoder.tokenizer()
    longest = min(max_length, tokenizer.model_max_length)  # a micro encoder reads 64 tokens
    return _Remembered(victims.Forward(model, tokenizer, _mean, max_length=longest, rows=rows, device=device))


def _mean(output: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    real = inputs["attention_mask"][:, :, None]
    states: Tensor = output.last_hidden_state.float() * real
    return F.normalize(states.sum(dim=1) / real.sum(dim=1), dim=-1)


class _Remembered:
    """An oracle that is asked for each text once."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.known: dict[Text, NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[Text]) -> Rows:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known.update(zip(new, self.oracle(new).astype(np.float32), strict=True))
        rows = np.stack([self.known[text] for text in texts]).astype(np.float64)
        for text in list(islice(self.known, max(len(self.known) - KEPT, 0))):
            del self.known[text]
        return rows

    def lengths(self, texts: Sequence[Text]) -> Sequence[int]:
        """Tokens of each text; 1 for a text that costs nothing any more."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        lengths = dict(zip(new, self.oracle.lengths(new), strict=True)) if new else {}
        return [lengths.get(text, 1) for text in texts]


@dataclass(frozen=True)
class Calibration:
    """A least cosine for an encoder, and what it does to one-word substitutions in `texts` texts.

    accepted: the share of synonyms at or above the threshold. refused: the share of random words below it.
    """

    threshold: float
    accepted: float
    refused: float
    texts: int


def calibrated(
    oracle: Oracle, texts: Sequence[str], *, words: lexica.Words, seed: int, size: int = 15
) -> Calibration:
    """The cosine that best tells a synonym in a word's place from a random word there, by Youden's J.

    In each text one word is drawn that is no stop word and has synonyms; one of them takes its place, then a random
    word of the lexicon that is none of them. The threshold is the one of the observed cosines that maximises
    J = accepted + refused - 1, the lowest of equals; cosines are of `size` words around the place, as in the attack. An
    encoder that sees no difference has J = 0 and the rates 1 and 0; one that tells all apart has 1 and 1.
    texts: with their punctuation apart (`lexica.spaced`). ValueError where no text has such a word.
    """
    random, vocabulary = np.random.default_rng(seed), lexica.vocabulary(words.source)
    triples = [
        drawn for text in texts if (drawn := _substituted(text.split(), words, vocabulary, random, size))
    ]
    if not triples:
        raise ValueError(
            f"calibrated: none of {len(texts)} texts has a word with synonyms; give other texts or words"
        )
    original, synonym, other = (oracle([(text,) for text in column]) for column in zip(*triples, strict=True))
    near, far = ((original * rows).sum(axis=1) for rows in (synonym, other))
    thresholds = np.unique([near, far])
    accepted, refused = ((one[:, None] >= thresholds).mean(axis=0) for one in (near, far))
    best = int((accepted - refused).argmax())
    return Calibration(float(thresholds[best]), float(accepted[best]), float(1 - refused[best]), len(triples))


def _substituted(
    tokens: list[str], words: lexica.Words, vocabulary: list[str], random: np.random.Generator, size: int
) -> tuple[str, str, str] | None:
    """The surroundings of a drawn word as they are, with a synonym, with a random word; None if there is none."""
    places = [
        i for i, token in enumerate(tokens) if token not in words.stop_words and words.neighbours(token)
    ]
    if not places:
        return None
    place = int(random.choice(places))
    near = words.neighbours(tokens[place])
    other = tokens[place]
    while other in (tokens[place], *near):
        other = vocabulary[random.integers(len(vocabulary))]
    start, stop = max(place - size // 2, 0), place + size // 2 + 1
    before, after = tokens[start:place], tokens[place + 1 : stop]
    drawn = (tokens[place], near[random.integers(len(near))], other)
    first, second, third = (" ".join([*before, word, *after]) for word in drawn)
    return first, second, third
