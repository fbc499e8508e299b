"""Units for the tests of `runs`: each leaves a line in a folder when it is executed, so that runs can be counted."""

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from robust_lib import runs


def note(folder: str, name: str) -> None:
    with Path(folder, "executed").open("a") as stream:
        stream.write(f"{name} {os.getpid()}\n")


def executed(folder: Path) -> Counter[str]:
    """How often each named unit ran."""
    return Counter(line.split()[0] for line in _lines(folder))


def workers(folder: Path) -> set[int]:
    """The processes that ran any."""
    return {int(line.split()[1]) for line in _lines(folder)}


def _lines(folder: Path) -> list[str]:
    file = folder / "executed"
    return file.read_text().splitlines() if file.exists() else []


def number(*, folder: str, value: float, seconds: float = 0.0) -> float:
    note(folder, f"number-{value}")
    time.sleep(seconds)
    return value


def node(*, value: int, seconds: float = 0.0) -> str:
    """The Ray node that ran it."""
    import ray

    time.sleep(seconds)
    return ray.get_runtime_context().get_node_id()


def needs(*, folder: str, path: str, name: str) -> str:
    """Fails where a folder is not there, and takes its time where it is."""
    note(folder, name)
    if not (Path(path) / "split").exists():
        raise FileNotFoundError(f"source: no data directory {path}")
    time.sleep(1.0)
    return name


def fitted(*, folder: str) -> list[float]:
    """The losses of a small training."""
    import torch
    import train_script

    note(folder, "fitted")
    torch.manual_seed(0)
    return train_script.fit(train_script.model(**train_script.STILL))


def alone(*, folder: str, error: str) -> int:
    """Raises in the second of two processes alone, while the first waits for it."""
    import accelerate

    note(folder, "alone")
    accelerator = accelerate.Accelerator()
    if accelerator.process_index == 1:
        raise {"MemoryError": MemoryError, "OSError": OSError}[error]("only here")
    accelerator.wait_for_everyone()
    return 1


def encodes(*, encoder: object, other: object) -> None:
    """A unit with two encoders."""


def shares(*, folder: str, value: int, others: int, seconds: float) -> list[bool | str]:
    """Whether so many run at the same time, itself among them, and the GPUs it was given."""
    running = Path(folder, "running")
    running.mkdir(exist_ok=True)
    (running / str(value)).touch()
    until = time.monotonic() + seconds
    while (met := len(os.listdir(running)) >= others) is False and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)  # for the others to see it too
    (running / str(value)).unlink()
    return [met, os.environ.get("CUDA_VISIBLE_DEVICES", "")]


def total(*, folder: str, parts: list[float], name: str = "total") -> float:
    note(folder, name)
    return sum(parts)


def named_total(*, folder: str, parts: dict[str, list[float]]) -> dict[str, float]:
    note(folder, "named_total")
    return {name: sum(values) for name, values in parts.items()}


def frame(*, folder: str, rows: int, seed: int = 0, after: Sequence[pd.DataFrame] = ()) -> pd.DataFrame:
    note(folder, f"frame-{rows}-{seed}")
    return pd.DataFrame({"id": range(rows), "value": np.random.default_rng(seed).normal(size=rows)})


def length(*, folder: str, table: pd.DataFrame) -> int:
    note(folder, "length")
    return len(table)


def fails(*, folder: str, value: int) -> float:
    note(folder, f"fails-{value}")
    raise ValueError(f"cannot do {value}")


class StubbornError(Exception):
    """Cannot be unpickled: it takes two arguments and hands on one."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def fails_stubbornly(*, folder: str) -> float:
    note(folder, "fails_stubbornly")
    raise StubbornError("no ", "way")


def dies(*, folder: str, times: int) -> str:
    """Killed from outside in its first so many attempts."""
    note(folder, f"dies-{times}")
    if executed(Path(folder))[f"dies-{times}"] <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def torch_threads(*, folder: str, name: str) -> int:
    note(folder, name)
    import torch

    return torch.get_num_threads()


def waits(*, folder: str, name: str, seconds: float) -> str:
    note(folder, name)
    time.sleep(seconds)
    return name


def counts_on(*, folder: str, upto: int, seconds: float) -> list[int]:
    """Finishes its parts one by one and notes each."""
    journal = runs.journal()
    for part in range(upto):
        if str(part) not in journal.done:
            note(folder, f"part-{part}")
            time.sleep(seconds)
            journal.add(str(part), part**2)
    return [journal.done[str(part)] for part in range(upto)]
