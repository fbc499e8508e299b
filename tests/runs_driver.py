"""Processes that collect units, for the tests of faults: started, waited for, looked at, killed at the end."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent
Launch = Callable[..., subprocess.Popen[str]]


@contextmanager
def launching(folder: Path) -> Iterator[Launch]:
    """`start(case, *limit, store=..., NAME=...)` starts `runs_script.py`; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(
        case: str, *limit: str, store: Path = folder / "store", **environment: str
    ) -> subprocess.Popen[str]:
        given = {
            **os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]), "ROBUST_STORE": str(store),
            "ROBUST_RUNS": str(folder / "runs"), **environment,
        }  # fmt: skip
        command = [sys.executable, str(HERE / "runs_script.py"), str(folder), case, *limit]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=given, start_new_session=True, **pipes))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.communicate()


def until(happened: Callable[[], bool], what: str, seconds: float = 12.0) -> None:
    """Wait for something another process does."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.002)


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def record(folder: Path) -> dict[str, object]:
    return json.loads((folder / "runs" / "micro" / "test" / "run.json").read_text())
