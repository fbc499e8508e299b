"""A notebook's run: where its outputs go, what it was made with, and the results of its units."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import robust_lib
from robust_lib.runs import engine, progress, reach, schedule, together
from robust_lib.runs import store as stores
from robust_lib.runs.store import Store
from robust_lib.runs.units import Unit, closure

_RELOADS = 3  # times a result may turn out damaged on loading before the disk is to blame


class Planned(Exception):
    """Raised by `collect` while planning: the units are known, nothing was run."""

    def __init__(self, units: Sequence[Unit]) -> None:
        super().__init__(f"{len(units)} units planned, none run")
        self.units = list(units)


@dataclass
class Plan:
    """The units that notebooks asked for while planning."""

    units: list[Unit] = field(default_factory=list)


_plan: ContextVar[Plan | None] = ContextVar("plan", default=None)


@contextmanager
def planning() -> Iterator[Plan]:
    """Where `start` touches no disk, and `collect` notes its units in the plan and raises Planned."""
    plan = Plan()
    token = _plan.set(plan)
    try:
        yield plan
    finally:
        _plan.reset(token)


def home() -> Path:
    """The project's root: ROBUST_HOME, else the nearest folder up with params/ and notebooks/, else here."""
    if given := os.environ.get("ROBUST_HOME"):
        return Path(given).expanduser()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return here


@dataclass
class Run:
    """One run of a notebook. `directory` takes its outputs, `store` has its units; made by `start`."""

    notebook: str
    directory: Path
    store: Store
    record: dict[str, Any]
    engine: str = "processes"

    def __repr__(self) -> str:
        made_with = [f"robust_lib {robust_lib.__version__}"]
        if torch := self.record.get("versions", {}).get("torch"):
            made_with.append(f"torch {torch}")
        if git := self.record.get("git"):
            made_with.append(f"commit {git['commit'][:7]}")
        return " · ".join([engine.described(), *made_with, f"store {self.store.path}"])

    def collect(self, units: Any) -> Any:
        """The units' results, in the shape given: a unit, or lists and dicts of units.

        What is missing is computed first, with all it depends on, each unit once, on the run's engine: in this
        process or on worker processes (ROBUST_WORKERS), or on Ray. Results of dependencies travel through the store
        and are not loaded here. What units remarked (say, a batch halved for memory) is added to the record's
        `remarks`. Raises UnitsFailed when units failed and the rest is done, StoreFull, or KeyboardInterrupt; in
        each case what was finished is kept, and collecting again goes on from there.
        """
        wanted = list(dict.fromkeys(_flat(units)))
        plan = _plan.get()
        if plan is not None:
            plan.units.extend(wanted)
            raise Planned(wanted)
        with self._told(wanted) as (line, counts):
            results = self._completed(wanted, line, counts)
            remarks = dict.fromkeys(remark for unit in wanted for remark in self.store.remarks(unit))
            new = [remark for remark in remarks if remark not in self.record["remarks"]]
            self.record["remarks"] += new
        for remark in new:
            print(remark)
        return _shaped(units, results.__getitem__)

    def complete(self, units: Sequence[Unit]) -> None:
        """Compute what is missing as `collect` does, and load no result. Raises what it raises."""
        with self._told(list(units)) as (line, counts):
            schedule.Schedule(self.store, units, line, counts, self.engine).complete()

    @contextmanager
    def _told(self, wanted: list[Unit]) -> Iterator[tuple[progress.Line, schedule.Counts]]:
        """The progress line and the record of what is done within, and of how it ends."""
        reach.check_unchanged({name for unit in closure(wanted) for name in unit.codes})
        line, counts = progress.Line(silent=together.following()), schedule.Counts()
        try:
            yield line, counts
        except BaseException as error:
            self._stopped(error, wanted, line, counts)
            raise
        self.record["failures"] = []
        self._write("finished", counts)
        line.show(schedule.summary(counts, 0, line.elapsed), last=True)

    def _stopped(
        self, error: BaseException, wanted: list[Unit], line: progress.Line, counts: schedule.Counts
    ) -> None:
        """Record and say how far the units came."""
        interrupted = isinstance(error, KeyboardInterrupt)
        status = "interrupted" if interrupted else "failed"
        failures = error.failures if isinstance(error, schedule.UnitsFailed) else []
        self.record["failures"] = [
            {"unit": unit.label, "key": unit.key, "error": str(reason)} for unit, reason in failures
        ]
        self._write(status, counts)
        kept = sum(unit in self.store for unit in wanted)
        told = f"{status}: {kept} of {len(wanted)} units are kept, run again to go on"
        line.show(told, last=True)
        if interrupted:  # IPython then shows this line, not where each thread was
            error._render_traceback_ = lambda: progress.short(KeyboardInterrupt(told))  # type: ignore[attr-defined]

    def _completed(self, wanted: list[Unit], line: progress.Line, counts: schedule.Counts) -> dict[Unit, Any]:
        """Complete and load the units; one whose files turn out damaged is completed anew."""
        results: dict[Unit, Any] = {}
        for _ in range(_RELOADS):
            missing = [unit for unit in wanted if unit not in results]
            work = schedule.Schedule(self.store, missing, line, counts, self.engine)
            work.complete()
            damage = self._load(missing, results)
            if not damage:
                return results
            schedule.warn_of(damage)
            counts.reused = max(0, counts.reused - len(damage))
        raise OSError(
            f"{self.store.path} gives back damaged files again and again ({damage[0]}); check the disk"
        )

    def _load(self, units: list[Unit], results: dict[Unit, Any]) -> list[str]:
        damage = []
        for unit in units:
            try:
                results[unit] = self.store.load(unit)
            except (stores.Damaged, stores.Missing) as fault:
                damage.append(str(fault))
        return damage

    def _write(self, status: str, counts: schedule.Counts | None = None) -> None:
        """Renew run.json, in the main process. A full disk must not hide the error that is on its way."""
        self.record["status"] = status
        if counts is not None:
            self.record.update(finished=_now(), device=engine.device())
            for name, number in vars(counts).items():
                self.record["units"][name] = self.record["units"].get(name, 0) + number
        if together.following():
            return
        with suppress(OSError) if status in ("failed", "interrupted") else nullcontext():
            _replace_text(self.directory / "run.json", json.dumps(self.record, indent=1, ensure_ascii=False))


def start(notebook: str, parameters: Any, *, seeds: Sequence[int] | None = None) -> Run:
    """Begin a run of a notebook and write its run.json.

    parameters: the checked parameters (a pydantic model or a mapping); their `scale` names the folder, their
    `engine` where units run, their `seeds` are recorded unless given. Results go to
    `<runs>/<scale>/<notebook>`, where `<runs>` is ROBUST_RUNS, else `runs` at home; units to ROBUST_STORE, else
    `runs/store` at home. No user or machine name is written.
    """
    values = parameters.model_dump(mode="json") if hasattr(parameters, "model_dump") else dict(parameters)
    outputs = Path(os.environ.get("ROBUST_RUNS") or home() / "runs").expanduser()
    store = Store(Path(os.environ.get("ROBUST_STORE") or home() / "runs" / "store").expanduser())
    directory = outputs / str(values.get("scale", "micro")) / notebook
    run = Run(notebook, directory, store, {}, values.get("engine", "processes"))
    if run.engine != "processes":
        store.patience = stores.LAG
    if _plan.get() is None:
        run.record.update(_record(notebook, values, seeds))
        run.directory.mkdir(parents=True, exist_ok=True)
        store.path.mkdir(parents=True, exist_ok=True)
        store.sweep()
        run._write("started")
    return run


def _record(notebook: str, values: dict[str, Any], seeds: Sequence[int] | None) -> dict[str, Any]:
    packages = ("torch", "transformers", "datasets", "accelerate", "pandas", "numpy", "scipy", "scikit-learn")
    return {
        "notebook": notebook,
        "status": "started",
        "parameters": _without_home(values),
        "seeds": list(seeds) if seeds is not None else values.get("seeds", values.get("seed")),
        "robust_lib": robust_lib.__version__,
        "versions": stores.versions(*packages),
        "git": commit(),
        "device": engine.device(),
        "started": _now(),
        "finished": None,
        "units": {},
        "remarks": [],
        "failures": [],
    }


def commit() -> dict[str, Any] | None:
    """The project's git commit and whether files differ from it; None outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(home()), *arguments]  # arguments are our own words
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _without_home(value: Any) -> Any:
    """A path under the user's folder would carry the user's name."""
    if isinstance(value, str):
        folder = str(Path.home())
        return "~" + value[len(folder) :] if value == folder or value.startswith(folder + os.sep) else value
    if isinstance(value, Mapping):
        return {str(name): _without_home(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_home(item) for item in value]
    return value


def _replace_text(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}-{uuid.uuid4().hex[:8]}")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, file)
    except OSError as error:  # a full disk says neither which nor what to do
        why = f"{file}: cannot be written ({error.strerror}): make room, or point ROBUST_RUNS elsewhere"
        raise OSError(error.errno, why) from None
    finally:
        partial.unlink(missing_ok=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _flat(units: Any) -> Iterator[Unit]:
    if isinstance(units, Unit):
        yield units
    elif isinstance(units, Mapping) or (isinstance(units, Iterable) and not isinstance(units, (str, bytes))):
        for item in units.values() if isinstance(units, Mapping) else units:
            yield from _flat(item)
    else:
        raise TypeError(
            f"collect takes units, and lists and dicts of them; this holds a {type(units).__name__}"
        )


def _shaped(units: Any, result_of: Callable[[Unit], Any]) -> Any:
    if isinstance(units, Unit):
        return result_of(units)
    if isinstance(units, Mapping):
        return {name: _shaped(item, result_of) for name, item in units.items()}
    return [_shaped(item, result_of) for item in units]
