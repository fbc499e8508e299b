"""TextFooler against TextAttack's on the same victim, candidates and constraints, and the cost of a second victim.

Needs `make peers`, ROBUST_DATA and ROBUST_ENCODER (a data directory and a BERT-like encoder). In every round ours
attacks a few hundred new pairs of the published MNLI set and TextAttack every eighth of them, one after the other as it
does, on one thread each and in turn. Both ask the victim for the same texts (tests/test_peers.py), so what is compared
is the time per query, with all that is done around it: times are the process's on the CPU, so that other load does not
count, and TextAttack's, in a process of its own, are those of its attack loop. Its own wrapper pads to the encoder's
512 tokens; it is timed so and, to see what the engine brings beyond shorter texts, with the length ours cuts at.
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from robust_lib import attack

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import peers

ROUNDS, PAIRS, EVERY, LENGTH = 3, 256, 8, 128
DATA, ENCODER = os.environ.get("ROBUST_DATA", ""), os.environ.get("ROBUST_ENCODER", "")


class Watched:
    """A victim, the seconds it took and the texts it was asked."""

    def __init__(self, victim: attack.Oracle) -> None:
        self.victim, self.lengths = victim, victim.lengths
        self.seconds = 0.0
        self.texts: list[attack.Text] = []

    def __call__(self, texts: Sequence[attack.Text]) -> attack.Rows:
        start = time.process_time()
        rows = self.victim(texts)
        self.seconds += time.process_time() - start
        self.texts += texts
        return rows


def ours(victim: attack.Oracle, texts: Sequence[attack.Text], gold: Sequence[int]) -> tuple[float, int]:
    """Seconds and queries."""
    start = time.process_time()
    ended = peers.ours(victim, texts, gold, source=DATA)
    seconds = time.process_time() - start
    return seconds, sum(one.queries or 1 for one in ended)  # TextAttack counts the texts that it skips


def theirs(
    folder: Path, texts: Sequence[attack.Text], gold: Sequence[int], max_length: int | None
) -> tuple[float, int]:
    result = peers.theirs(folder, texts, gold, source=DATA, max_length=max_length)
    return result["seconds"], sum(one["queries"] for one in result["outcomes"])


def against_textattack(folder: Path) -> None:
    victim, (texts, gold) = peers.oracle(folder, LENGTH), peers.examples(folder, DATA)
    ours(victim, texts[-8:], gold[-8:])  # reads the lexica, as TextAttack does before its loop
    rounds, queries = [], 0
    for start in range(0, ROUNDS * PAIRS, PAIRS):
        pairs, right = texts[start : start + PAIRS], gold[start : start + PAIRS]
        times = [ours(victim, pairs, right)]
        times += [theirs(folder, pairs[::EVERY], right[::EVERY], length) for length in (None, LENGTH)]
        rounds.append([seconds / asked for seconds, asked in times])
        queries += times[0][1]
    per_query = np.array(rounds)
    per_pair = np.median(per_query, axis=0) * queries / (ROUNDS * PAIRS)
    print(f"{PAIRS} pairs at once, cpu, one thread: {1 / per_pair[0]:.1f} pairs a second")
    for place, name in enumerate(("TextAttack", f"TextAttack, padded to {LENGTH}"), start=1):
        ratio = per_query[:, place] / per_query[:, 0]
        print(
            f"{name:26} {1 / per_pair[place]:.2f} a second, ours {np.median(ratio):.1f}x as fast "
            f"({ratio.min():.1f}-{ratio.max():.1f})"
        )


def second_victim(folders: Sequence[Path]) -> None:
    for name, folder in zip(("first victim", "second, of half the layers"), folders, strict=True):
        victim, (texts, gold) = Watched(peers.oracle(folder, LENGTH)), peers.examples(folder, DATA)
        seconds, _ = ours(victim, texts[-PAIRS:], gold[-PAIRS:])
        start = time.process_time()
        victim.victim(victim.texts)
        at_once = time.process_time() - start
        print(
            f"{name:26} {seconds:.2f} s, {seconds / victim.seconds:.2f} of its forward passes; its "
            f"{len(victim.texts)} texts in one call: {at_once:.2f} s"
        )


def main() -> None:
    if not (peers.PYTHON.exists() and DATA and ENCODER):
        print("needs `make peers`, ROBUST_DATA and ROBUST_ENCODER")
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder, half = Path(name) / "first", Path(name) / "second"
        peers.victim(folder, source=DATA, encoder=ENCODER)
        peers.victim(half, source=DATA, encoder=ENCODER, layers=3)
        against_textattack(folder)
        second_victim([folder, half])


if __name__ == "__main__":
    main()
