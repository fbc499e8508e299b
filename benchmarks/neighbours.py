"""Exact neighbours at the size of SQuAD 2's development set, beside faiss and a blocked torch product; all overlaps of
six models, debiased CKA of a pair, and peak memory.

Searches are interleaved, so that what else the machine does falls on all alike. `neighbours.py memory POINTS` is one
search in a process of its own, which prints what it added to the memory that the vectors take.
"""

import importlib.util
import itertools
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from robust_lib import cka, neighbours

ROUNDS, POINTS, WIDTH, K = 5, 12_000, 768, 10
WIDTHS = (1024, 768, 768, 512, 256, 128)  # of paper 2's six models
KS = (1, 2, 5, 10)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def drawn(points: int, width: int) -> torch.Tensor:
    """Vectors that share a large part, as [CLS] vectors do."""
    generator = torch.Generator().manual_seed(width)
    return (torch.randn(points, width, generator=generator) + 3 * torch.randn(width, generator=generator)).to(
        DEVICE
    )


def blocked(vectors: torch.Tensor, k: int, block: int = 1024) -> torch.Tensor:
    """The plain way: a block of rows times all points, and the largest of every row."""
    unit, found = F.normalize(vectors, dim=1), []
    for start in range(0, len(unit), block):
        products = unit[start : start + block] @ unit.T
        products.diagonal(start).fill_(-torch.inf)
        found.append(products.topk(k).indices)
    return torch.cat(found)


def flat(vectors: torch.Tensor, k: int) -> np.ndarray:
    """faiss's exact index; a point finds itself too."""
    import faiss

    unit = F.normalize(vectors, dim=1).cpu().numpy()
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    return index.search(unit, k + 1)[1]


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def searches() -> None:
    vectors = drawn(POINTS, WIDTH)
    ways = {"ours": neighbours.nearest, "blocked torch": blocked}
    if DEVICE == "cpu" and importlib.util.find_spec("faiss"):
        ways["faiss"] = flat
    rows = [[seconds(lambda way=way: way(vectors, K)) for way in ways.values()] for _ in range(ROUNDS + 1)]
    times = np.array(rows[1:])
    threads = torch.get_num_threads()
    print(
        f"{POINTS:,} x {POINTS:,} x {WIDTH}, k {K}, {DEVICE}, {threads} threads: {np.median(times[:, 0]):.2f} s"
    )
    for place, name in list(enumerate(ways))[1:]:
        ratio = times[:, 0] / times[:, place]
        print(f"  of the time of {name:14} {np.median(ratio):.2f}x ({ratio.min():.2f}-{ratio.max():.2f})")


def overlaps() -> None:
    models = [drawn(POINTS, width) for width in WIDTHS]

    def all_pairs() -> None:
        near = [neighbours.nearest(vectors, max(KS)) for vectors in models]
        for first, second in itertools.combinations(near, 2):
            neighbours.shared(first, second, KS)

    print(f"neighbours and overlaps of six models, 15 pairs: {seconds(all_pairs):.1f} s")
    first, second = (vectors.cpu() for vectors in models[:2])
    taken = seconds(lambda: cka.similarity(first, second))
    print(f"debiased CKA of two models {WIDTHS[0]} and {WIDTHS[1]} wide: {taken:.1f} s")


def memory(points: int) -> None:
    """Prints the bytes that a search adds to those of its vectors at its peak."""
    vectors = drawn(points, WIDTH)
    neighbours.nearest(vectors[:100], K)  # what libraries take for themselves
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if DEVICE == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    neighbours.nearest(vectors, K)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print((torch.cuda.max_memory_allocated() if DEVICE == "cuda" else after) - before)


def memories() -> None:
    for points in (POINTS // 2, POINTS, 2 * POINTS):
        command = [sys.executable, __file__, "memory", str(points)]
        added = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"peak memory of a search in {points:6,} points: {added / 1e6:.0f} MB beside the vectors' "
            f"{points * WIDTH * 4 / 1e6:.0f}; all products would take {points**2 * 4 / 1e6:,.0f}"
        )


def main() -> None:
    memories()  # first: a child process counts its parent's peak as its own
    searches()
    overlaps()


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        memory(int(sys.argv[2]))
    else:
        main()
