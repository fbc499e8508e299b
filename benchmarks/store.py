"""What the store costs: units of a second against bare calls, and a scan of 10,000 finished units.

`python benchmarks/store.py`. Bare calls and units alternate, so that a busy machine slows both alike; `outside`
is the share of a collect that is not the function itself, measured within the same call.
"""

import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from robust_lib import runs

ROUNDS = 7
SCANNED = 10_000
BLOCK = bytes(2**20)


def work(blocks: int) -> None:
    """Single-threaded computing, as long on every call."""
    for _ in range(blocks):
        hashlib.sha256(BLOCK).digest()


def predictions(*, blocks: int, examples: int, seed: int) -> pd.DataFrame:
    """Predictions of three classes after about a second of work."""
    work(blocks)
    logits = np.random.default_rng(seed).normal(size=(examples, 3))
    return pd.DataFrame(
        {"id": range(examples), "gold": "neutral", **{f"logit_{i}": logits[:, i] for i in range(3)}}
    )


def weights(*, blocks: int, examples: int, seed: int) -> dict[str, torch.Tensor]:
    """So many weights after about a second of work."""
    work(blocks)
    return {"weight": torch.randn(examples, generator=torch.Generator().manual_seed(seed))}


def number(*, index: int) -> int:
    """The cheapest unit there is."""
    return index


def seconds_of(act: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def overhead(function: Callable[..., object], examples: int, blocks: int, run: runs.Run) -> str:
    """A row: median seconds of the bare call and of the same call as a unit, and the unit's share outside it."""
    bare, kept, outside = [], [], []
    for seed in range(ROUNDS):
        unit = runs.unit(function, blocks=blocks, examples=examples, seed=seed)
        bare.append(seconds_of(lambda seed=seed: function(blocks=blocks, examples=examples, seed=seed)))
        kept.append(seconds_of(lambda unit=unit: run.collect([unit])))
        inside = run.store.meta(unit.key)["seconds"]
        outside.append((kept[-1] - inside) / inside)
    ratio = statistics.median(kept) / statistics.median(bare)
    return (
        f"{function.__name__:12} {examples:>9,}  bare {statistics.median(bare):.3f} s  unit "
        f"{statistics.median(kept):.3f} s  ratio {ratio:.4f}  outside {100 * statistics.median(outside):.2f} %"
    )


def fill(store: runs.Store) -> None:
    """10,000 finished units, written by the store itself, only without waiting for the disk each time."""
    fsync, os.fsync = os.fsync, lambda descriptor: None
    try:
        for index in range(SCANNED):
            store.save(runs.unit(number, index=index), index, seconds=1.0)
    finally:
        os.fsync = fsync


def scan(run: runs.Run) -> dict[str, float]:
    """Seconds to list the store, to find units in it afresh, and to collect them, every result checked and read."""

    def units() -> list[runs.Unit]:
        return [runs.unit(number, index=index) for index in range(SCANNED)]

    return {
        "list all keys": seconds_of(run.store.keys),
        "build 10,000 units, hash keys, look up": seconds_of(lambda: [unit in run.store for unit in units()]),
        "collect them, every checksum tested": seconds_of(lambda: run.collect(units())),
    }


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(ROBUST_RUNS=f"{folder}/runs", ROBUST_STORE=f"{folder}/store", ROBUST_WORKERS="1")
        run = runs.start("benchmark", {"scale": "micro"})
        blocks = round(1.05 * 50 / min(seconds_of(lambda: work(50)) for _ in range(5)))
        rows = []
        with redirect_stdout(Path(folder, "progress").open("w")):
            # 1.5 million weights are no result of one second: fine-tuning the micro base encoder takes twenty.
            for function, examples, seconds in (
                (predictions, 2_000, 1),
                (predictions, 10_000, 1),
                (weights, 1_500_000, 4),
            ):
                run.collect(
                    [runs.unit(function, blocks=1, examples=examples, seed=ROUNDS)]
                )  # imports count nowhere
                rows.append(overhead(function, examples, seconds * blocks, run))
            fill(run.store)
            rows += [f"{name:42} {seconds:.3f} s" for name, seconds in scan(run).items()]
        print("\n".join(rows))


if __name__ == "__main__":
    # A unit's function has to be importable, and this file runs as a script.
    sys.path.insert(0, str(Path(__file__).parent))
    import store

    store.main()
