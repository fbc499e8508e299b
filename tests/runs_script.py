"""`python runs_script.py FOLDER CASE`: a process for the fault tests, which collects units of `runs_work`."""

import json
import os
import resource
import sys

import runs_work as work  # isort: skip
from robust_lib import runs


def cases(folder: str, case: str) -> list[runs.Unit]:
    def number(value: int, seconds: float = 0.0) -> runs.Unit:
        return runs.unit(work.number, folder=folder, value=value, seconds=seconds)

    kind, _, rest = case.partition("-")
    if kind == "waiting":  # two quick units, then one that is interrupted
        return [number(1), number(2), runs.unit(work.waits, folder=folder, name="slow", seconds=float(rest))]
    if kind == "after":
        return [runs.unit(work.waits, folder=folder, name="slow", seconds=float(rest)), number(5)]
    if kind == "shared":
        return [number(value, seconds=0.1) for value in range(int(rest))]
    if kind == "frames":  # two small frames, and a large one that waits for them, with any number of workers
        small = [runs.unit(work.frame, folder=folder, rows=rows) for rows in (10, 20)]
        return [*small, runs.unit(work.frame, folder=folder, rows=int(rest), after=small)]
    if kind == "trained":
        broken = [runs.unit(work.fails, folder=folder, value=3)] if rest == "broken" else []
        parts = runs.unit(work.total, folder=folder, parts=[number(1), number(2)])
        return [number(1), runs.unit(work.fitted, folder=folder), parts, *broken]
    if kind == "alone":
        return [number(1), runs.unit(work.alone, folder=folder, error=rest), number(2)]
    if kind == "parts":
        return [runs.unit(work.counts_on, folder=folder, upto=40, seconds=float(rest))]
    if kind == "grid":  # units of all kinds that depend on one another, about a second of them for each ten
        numbers = [number(value, seconds=0.05) for value in range(int(rest))]
        frames = [
            runs.unit(work.frame, folder=folder, rows=50 * (seed + 1), seed=seed) for seed in range(int(rest))
        ]
        lengths = [runs.unit(work.length, folder=folder, table=table) for table in frames[:1]]
        counted = runs.unit(work.counts_on, folder=folder, upto=int(rest), seconds=0.05)
        return [*numbers, *frames, *lengths, counted, runs.unit(work.total, folder=folder, parts=numbers)]
    raise SystemExit(f"no case {case}")


def main() -> None:
    folder, case, *limit = sys.argv[1:]
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit[0]), int(limit[0])))
    run = runs.start("test", {"scale": "micro", "engine": os.environ.get("ENGINE", "processes")})
    results = run.collect(cases(folder, case))
    told = json.dumps([result if not hasattr(result, "columns") else len(result) for result in results])
    sys.stdout.write(f"{told}\n")  # at once: another process may write too


if __name__ == "__main__":
    main()
