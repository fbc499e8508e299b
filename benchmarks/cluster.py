"""What Ray gives and costs: two workers against one, the store's share, the time to schedule trivial units.

`python benchmarks/cluster.py`. Three drivers, of a Ray of one CPU, of a Ray of two and of worker processes, take
turns, so that a busy machine slows all alike. Needs two cores that are free.
"""

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from robust_lib import runs

ROUNDS = 5
UNITS = 8  # per round, of about a second each
TRIVIAL = 1_000
BLOCK = bytes(2**20)


def computes(*, blocks: int, index: int) -> int:
    """Single-threaded computing, as long on every call."""
    for _ in range(blocks):
        hashlib.sha256(BLOCK).digest()
    return index


def number(*, index: int) -> int:
    """The cheapest unit there is."""
    return index


def seconds_of(run: runs.Run, units: list[runs.Unit]) -> float:
    """Wall time of a collect."""
    started = time.perf_counter()
    run.collect(units)
    return time.perf_counter() - started


def drive(engine: str, cpus: int) -> None:
    """A driver: for every line `blocks round` of its input a round of units; prints seconds, and those inside units."""
    started = time.perf_counter()
    if engine == "ray":
        import ray

        ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False)
    run = runs.start("benchmark", {"scale": "micro", "engine": engine})
    seconds_of(
        run, [runs.unit(number, index=-index - 1) for index in range(4 * cpus)]
    )  # imports count nowhere
    print("result", time.perf_counter() - started, 0, flush=True)
    for line in sys.stdin:
        blocks, number_of_round = map(int, line.split())
        if blocks:
            first = UNITS * number_of_round
            units = [runs.unit(computes, blocks=blocks, index=first + index) for index in range(UNITS)]
        else:
            first = TRIVIAL * number_of_round
            units = [runs.unit(number, index=first + index) for index in range(TRIVIAL)]
        wall = seconds_of(run, units)
        inside = sum(run.store.meta(unit.key)["seconds"] for unit in units)
        print("result", wall, inside, flush=True)


class Driver:
    """One of the three, as a process."""

    def __init__(self, folder: str, engine: str, cpus: int) -> None:
        place = Path(folder) / f"{engine}{cpus}"
        environment = os.environ | {
            "ROBUST_RUNS": f"{place}/runs",
            "ROBUST_STORE": f"{place}/store",
            "ROBUST_WORKERS": str(cpus),
        }
        command = [sys.executable, __file__, engine, str(cpus)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def answer(self) -> tuple[float, float]:
        """Seconds of the last round, and those inside units."""
        for line in self.process.stdout:
            if line.startswith("result"):
                _, wall, inside = line.split()
                return float(wall), float(inside)
        raise SystemExit("a driver ended")

    def round(self, blocks: int, number: int) -> tuple[float, float]:
        """Do a round and wait for it."""
        self.process.stdin.write(f"{blocks} {number}\n")
        self.process.stdin.flush()
        return self.answer()


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    """Print the table."""
    started = time.perf_counter()
    computes(blocks=100, index=0)
    blocks = round(100 / (time.perf_counter() - started))
    with tempfile.TemporaryDirectory() as folder:
        names = {
            "Ray, one worker": ("ray", 1),
            "Ray, two workers": ("ray", 2),
            "two processes": ("processes", 2),
        }
        drivers = {}
        for name, (engine, cpus) in names.items():
            drivers[name] = Driver(folder, engine, cpus)
            print(f"{name:18} ready after {drivers[name].answer()[0]:.1f} s, workers' imports included")
        rounds = [{name: driver.round(blocks, n) for name, driver in drivers.items()} for n in range(ROUNDS)]
        trivial = [{name: driver.round(0, n)[0] for name, driver in drivers.items()} for n in range(3)]
        one = [turn["Ray, one worker"][0] for turn in rounds]
        for name, (_, cpus) in names.items():
            walls = [turn[name][0] for turn in rounds]
            speed = [first / wall for first, wall in zip(one, walls, strict=True)]
            outside = [100 * (cpus * turn[name][0] - turn[name][1]) / turn[name][1] for turn in rounds]
            quick = [turn[name] for turn in trivial]
            print(
                f"{name:18} {UNITS} units of a second: {spread(walls)} s, {spread(speed)} times as fast as "
                f"one; outside units {spread(outside)} %; {TRIVIAL:,} trivial units {spread(quick)} s"
            )
        for driver in drivers.values():
            driver.process.stdin.close()
            driver.process.wait()


if __name__ == "__main__":
    # A unit's function has to be importable, and this file runs as a script.
    sys.path.insert(0, str(Path(__file__).parent))
    import cluster

    cluster.drive(sys.argv[1], int(sys.argv[2])) if len(sys.argv) == 3 else cluster.main()
