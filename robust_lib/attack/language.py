"""The masked language model of BERT-Attack: an oracle of what it expects at every place of a text.

Nothing is masked: the model reads a whole text and says at each piece which pieces might stand there.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from numpy.typing import NDArray
from torch import Tensor

from robust_lib import passes
from robust_lib.attack import victims
from robust_lib.attack.engine import Oracle, Text
from robust_lib.attack.greedy import Floats

LANGUAGE, PIECES = "language", "pieces"  # names of the two oracles
PASS = 2**27  # logits of one forward pass (512 MiB)


@dataclass(frozen=True)
class Best:
    """The k best pieces at every place of a text, best first: one row for each piece read, then that of [SEP].

    ids and logits are (places, k), log_probs the logits less the logarithm of the sum of all exponentials.
    """

    ids: NDArray[np.int64]
    logits: Floats
    log_probs: Floats

    def at(self, places: slice, k: int) -> Best:
        """The k best at some of the places."""
        return Best(self.ids[places, :k], self.logits[places, :k], self.log_probs[places, :k])


class Language:
    """A masked language model with the vocabulary of its tokenizer, a WordPiece one.

    `oracles` are what `engine.run` needs beside the victim. "language" gives for each text a row of numbers that
    `best` reads, of `max_length - 1` places and `k` pieces each: ids, logits, and the logarithm of the normaliser.
    "pieces" is asked for texts that are tuples of pieces, and gives the logarithm of their pseudo-perplexity: the mean
    negative log probability of each, the model reading them alone, unmasked and without [CLS] and [SEP], as the
    authors' program ranks combinations. `rows` as in `victims.Forward`; by default as many as keep a pass within `PASS`
    logits. The model moves to `device`.
    """

    def __init__(
        self,
        model: transformers.PreTrainedModel,
        tokenizer: transformers.PreTrainedTokenizerBase,
        *,
        k: int,
        max_length: int,
        rows: int | None = None,
        precision: passes.Precision = "fp32",
        device: torch.device | None = None,
    ) -> None:
        self.vocabulary = int(model.config.vocab_size)
        if not 1 <= k <= self.vocabulary:
            raise ValueError(f"language: k {k}; the model knows {self.vocabulary} pieces")
        if json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"] != "WordPiece":
            raise ValueError(
                f"language: {type(tokenizer).__name__} has no pieces that begin with ##, by which BERT-Attack joins "
                "words; give an attacker of BERT's kind"
            )
        written = tokenizer.convert_ids_to_tokens(list(range(self.vocabulary)))
        self.written = [
            piece or "[UNK]" for piece in written
        ]  # a model may have more rows than there are pieces
        self.k, self.places, self.tokenizer = k, max_length - 1, tokenizer
        made: dict[str, Any] = {
            "max_length": max_length,
            "rows": rows,
            "precision": precision,
            "device": device,
        }
        whole = victims.Forward(model, tokenizer, self._best, **made)
        alone = _Alone(model, tokenizer, _perplexity, **made)
        if rows is None:
            whole.rows = max(1, min(whole.rows, PASS // (max_length * self.vocabulary)))
        self.oracles: Mapping[str, Oracle] = {LANGUAGE: whole, PIECES: alone}

    def pieces(self, text: str) -> list[str]:
        """The pieces of a word or a text as they are written."""
        return list(self.tokenizer.tokenize(text))

    def tokens(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The pieces of these ids as they are written, with ##."""
        return tuple(self.written[id_] for id_ in ids)

    def best(self, row: Floats) -> Best:
        """What a row of the oracle "language" says."""
        table = row.reshape(self.places, 2 * self.k + 1)
        table = table[table[:, 0] >= 0]
        logits = table[:, self.k : -1]
        return Best(table[:, : self.k].astype(np.int64), logits, logits - table[:, -1:])

    def _best(self, output: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """A row for each text; -1 at the places beyond its end."""
        logits = output.logits[:, 1:].float()  # not of [CLS]
        found = logits.topk(self.k)
        table = torch.cat([found.indices, found.values, logits.logsumexp(dim=-1, keepdim=True)], dim=-1)
        table = table.masked_fill(inputs["attention_mask"][:, 1:, None] == 0, -1)
        return F.pad(table, (0, 0, 0, self.places - table.shape[1]), value=-1).flatten(1)


class _Alone(victims.Forward):
    """Reads pieces by themselves."""

    def tokenised(self, texts: Sequence[Text]) -> list[victims.Tokens]:
        ids = self.tokenizer.get_vocab()
        return [{"input_ids": [ids[piece] for piece in pieces[: self.max_length]]} for pieces in texts]


def _perplexity(output: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    lost = F.cross_entropy(output.logits.float().transpose(1, 2), inputs["input_ids"], reduction="none")
    real = inputs["attention_mask"]
    return (lost * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)


def k_best(log_probs: Floats, k: int) -> list[tuple[int, ...]]:
    """The k combinations of one piece at each place with the largest sums of log probabilities, the largest first.

    log_probs: (places, choices), each row descending. A combination is the rank chosen at each place; equal sums are
    ordered by their ranks, so the first is all zeros. All choices ** places of them where k is more; [] for k 0.
    Each is exactly once pushed on a heap, after the one before it in its last place that is not the best, which is
    never smaller: k pops and at most k x places pushes, where an enumeration would look at choices ** places.
    """
    log_probs = np.asarray(log_probs, dtype=np.float64)
    if (np.diff(log_probs, axis=1) > 0).any():
        raise ValueError("k_best: each row of log probabilities is sorted, the largest first")
    table = log_probs.tolist()

    def entry(ranks: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        return -sum(row[rank] for row, rank in zip(table, ranks, strict=True)), ranks

    heap, found = [entry((0,) * len(table))], list[tuple[int, ...]]()
    while heap and len(found) < k:
        _, ranks = heapq.heappop(heap)
        found.append(ranks)
        last = max((place for place, rank in enumerate(ranks) if rank), default=0)
        for place in range(last, len(table)):
            if ranks[place] + 1 < log_probs.shape[1]:
                heapq.heappush(heap, entry((*ranks[:place], ranks[place] + 1, *ranks[place + 1 :])))
    return found
