"""BERT-Attack against TextAttack's on the same victim, masked language model and texts, and the k best by a heap.

Needs `make peers`, ROBUST_DATA and ROBUST_ENCODER (a data directory and a BERT-like encoder). In every round ours
attacks new reviews of IMDB, their first words, all at once, and some of them again by themselves; TextAttack attacks
the latter at its own K, as it is (it pads to 512 tokens) and padded to the length ours cuts at. One thread each, in
turn; times are the process's on the CPU. Both ask the victim for the same texts (tests/test_peers.py), so time per
query is compared, with the language model's passes and all else around it.
"""

import heapq
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robust_lib import attack
from robust_lib.attack import greedy, language

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import peers

ROUNDS, REVIEWS, EVERY, WORDS, LENGTH, K = 3, 32, 8, 60, 128, 8
WIDE, PIECES = 48, 4  # of a word that is as hard as the authors' K allows
REPEATS = 20
DATA, ENCODER = os.environ.get("ROBUST_DATA", ""), os.environ.get("ROBUST_ENCODER", "")
Cases = tuple[Sequence[attack.Text], Sequence[int]]


class Watched:
    """An oracle, the seconds it took and how many texts it was asked."""

    def __init__(self, oracle: attack.Oracle) -> None:
        self.oracle, self.lengths = oracle, oracle.lengths
        self.seconds, self.texts = 0.0, 0

    def __call__(self, texts: Sequence[attack.Text]) -> attack.Rows:
        start = time.process_time()
        rows = self.oracle(texts)
        self.seconds += time.process_time() - start
        self.texts += len(texts)
        return rows


def ours(victim: attack.Oracle, speech: language.Language, cases: Cases) -> tuple[float, int]:
    """Seconds and queries."""
    start = time.process_time()
    ended = peers.our_bertattack(victim, speech, *cases)
    seconds = time.process_time() - start
    return seconds, sum(one.queries or 1 for one in ended)  # TextAttack counts the texts that it skips


def theirs(critic: Path, speaker: Path, cases: Cases, max_length: int | None) -> tuple[float, int]:
    options: dict[str, Any] = {"source": DATA, "max_length": max_length, "k": None}
    result = peers.their_bertattack(critic, speaker, *cases, **options)
    return result["seconds"], sum(one["queries"] for one in result["outcomes"])


def against_textattack(critic: Path, speaker: Path) -> None:
    victim, speech = Watched(peers.oracle(critic, LENGTH)), peers.language(speaker, LENGTH, k=K)
    reader = Watched(speech.oracles[language.LANGUAGE])
    speech.oracles = {**speech.oracles, language.LANGUAGE: reader}
    texts, gold = peers.reviews(critic, DATA, words=WORDS, texts=ROUNDS * REVIEWS)
    rounds, whole, queries, shares = [], 0.0, 0, []
    for start in range(0, ROUNDS * REVIEWS, REVIEWS):
        place = slice(start, start + REVIEWS)
        every, some = (texts[place], gold[place]), (texts[place][::EVERY], gold[place][::EVERY])
        victim.seconds = reader.seconds = 0.0
        times = [ours(victim, speech, every)]
        shares.append([victim.seconds / times[0][0], reader.seconds / times[0][0]])
        times.append(ours(victim, speech, some))
        times += [theirs(critic, speaker, some, length) for length in (None, LENGTH)]
        assert times[1][1] == times[2][1] == times[3][1], "not the same queries"
        rounds.append([seconds / asked for seconds, asked in times])
        whole, queries = whole + times[0][0], queries + times[0][1]
    count, per_query = ROUNDS * REVIEWS, np.array(rounds)
    in_victim, in_reader = np.median(shares, axis=0)
    print(
        f"{REVIEWS} reviews of {WORDS} words at once, K = {K}, cpu, one thread: {count / whole:.2f} a second, "
        f"{queries / count:.0f} queries each; victim {in_victim:.0%}, language model {in_reader:.0%} of the time"
    )
    for column, who in ((2, "TextAttack"), (3, f"TextAttack, padded to {LENGTH}")):
        for against, how in ((0, "at once"), (1, f"the same {len(some[0])} alone")):
            ratio = per_query[:, column] / per_query[:, against]
            a_second = count / (np.median(per_query[:, column]) * queries)
            print(
                f"{who:26} {a_second:.3f} a second, ours {how:16} {np.median(ratio):.1f}x as fast "
                f"({ratio.min():.1f}-{ratio.max():.1f})"
            )


def words_of(speech: language.Language, texts: Sequence[attack.Text]) -> Iterator[language.Best]:
    """What the model says of each word of `PIECES` pieces."""
    for text in texts:
        best = speech.best(speech.oracles[language.LANGUAGE]([text])[0])
        sizes = [len(speech.pieces(word)) for word in text[0].split()]
        for size, stop in zip(sizes, itertools.accumulate(sizes), strict=True):
            if size == PIECES and stop < len(best.ids):
                yield best.at(slice(stop - size, stop), speech.k)


def enumerated(table: greedy.Floats, k: int) -> list[tuple[int, ...]]:
    """All combinations, one after the other."""
    ranks = itertools.product(range(table.shape[1]), repeat=len(table))

    def total(one: tuple[int, ...]) -> float:
        return -sum(row[rank] for row, rank in zip(rows, one, strict=True))

    rows = table.tolist()
    return heapq.nsmallest(k, ranks, key=lambda one: (total(one), one))


def grid(table: greedy.Floats, k: int) -> list[tuple[int, ...]]:
    """All combinations at once, in one array of their sums."""
    sums = table[0]
    for row in table[1:]:
        sums = np.add.outer(sums, row)
    flat = np.argpartition(-sums, k, axis=None)[:k]
    best = flat[np.argsort(-sums.ravel()[flat], kind="stable")]
    return list(zip(*(place.tolist() for place in np.unravel_index(best, sums.shape)), strict=True))


def milliseconds(
    way: Callable[[greedy.Floats, int], list[tuple[int, ...]]], tables: Sequence[greedy.Floats], k: int
) -> tuple[float, float]:
    """The median and the most for a word."""
    times = []
    for table in tables:
        start = time.process_time()
        way(table, k)
        times.append(1000 * (time.process_time() - start))
    return float(np.median(times)), max(times)


def k_best(critic: Path, speaker: Path) -> None:
    speech = peers.language(speaker, LENGTH, k=WIDE)
    texts, _ = peers.reviews(critic, DATA, words=WORDS, texts=ROUNDS * REVIEWS)
    whole = [best.log_probs for best in itertools.islice(words_of(speech, texts), REPEATS)]
    for places, choices, way in ((PIECES, WIDE, grid), (3, 12, enumerated)):
        tables = [table[:places, :choices] for table in whole]
        heap, slowest = milliseconds(language.k_best, tables, choices)
        taken, _ = milliseconds(way, tables, choices)
        for table in tables:
            found, other = (np.array(one(table, choices)) for one in (language.k_best, way))
            totals = [table[range(places), ranks].sum(axis=1) for ranks in (found, other)]
            np.testing.assert_allclose(*totals)
        print(
            f"{len(tables)} words of {places} pieces, K = {choices}: {heap:.2f} ms a word (at most {slowest:.2f}); "
            f"{way.__name__}: {taken:.1f} ms, {taken / heap:.0f}x as long"
        )


def main() -> None:
    if not (peers.PYTHON.exists() and DATA and ENCODER):
        print("needs `make peers`, ROBUST_DATA and ROBUST_ENCODER")
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        critic, speaker = Path(name) / "critic", Path(name) / "speaker"
        peers.victim(critic, source=DATA, encoder=ENCODER, task="imdb")
        peers.masked_lm(speaker, encoder=ENCODER)
        k_best(critic, speaker)
        against_textattack(critic, speaker)


if __name__ == "__main__":
    main()
