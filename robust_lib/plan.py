"""What a run would cost, from the notebooks' parameters alone: nothing is trained, read or downloaded."""

from __future__ import annotations

import contextlib
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext

from robust_lib import data, methods, models, params, runs, train
from robust_lib.data import sources

PLANNED_CELLS = {"parameters", "setup", "units", "run"}
# Sustained fp32 FLOP/s in batches of 16 to 32 short texts, for devices that nothing was measured on yet: orders
# of magnitude from public fine-tuning speeds of BERT-base, about half of the data sheets' peaks.
ASSUMED = {"cpu": 3e10, "T4 (16 GB)": 4e12, "A100 (40 GB)": 1e13}
# Small models keep a device far from its speed: measured units count from this share of the largest planned.
COMPARABLE = 0.01


@dataclass(frozen=True)
class Throughput:
    """FLOP per second of a device, and how it is known."""

    device: str
    rate: float
    known: str


def report(notebooks: Mapping[str, Sequence[runs.Unit]], store: runs.Store) -> str:
    """The plan as text: units per notebook, shared, already stored; what is left in device-hours and disk."""
    closures = {name: runs.closure(units) for name, units in notebooks.items()}
    owners = Counter(unit for units in closures.values() for unit in units)
    stored = _stored(owners, store)
    speeds = throughputs(owners, store)
    rows = [["", "units", "shared", "stored", *(f"h, {speed.device}" for speed in speeds), "disk"]]
    for name, units in [*closures.items(), ("all, each once", list(owners))]:
        left = [unit for unit in units if unit not in stored]
        work = sum(_work(unit) for unit in left)
        rows.append([
            name,
            str(len(units)),
            str(sum(owners[unit] > 1 for unit in units)),
            str(len(units) - len(left)),
            *(_hours(work / speed.rate / 3600) for speed in speeds),
            _bytes(sum(methods.size(unit) for unit in left if _is_method(unit))),
        ])  # fmt: skip
    notes = [f"{speed.device}: {speed.rate:.1e} FLOP/s, {speed.known}" for speed in speeds]
    if unknown := sum(not _is_method(unit) and unit.work is None for unit in owners):
        notes.append(f"{unknown} units of other modules than methods have no estimate and count as nothing")
    return "\n".join([*_aligned(rows), "", *notes])


def units(notebook: Path, values: Mapping[str, Any]) -> list[runs.Unit]:
    """The units a notebook would collect with these values over its tagged cell.

    Runs its parameters, setup, units and run cells in this process while nothing can be computed or written.
    Raises ParameterError naming notebook and cell when one of them cannot be run so.
    """
    namespace: dict[str, Any] = {"__name__": "__main__", "display": lambda *_: None}
    with runs.planning() as plan, contextlib.redirect_stdout(io.StringIO()):
        for cell in jupytext.read(notebook).cells:
            tags = PLANNED_CELLS.intersection(cell.metadata.get("tags", []))
            if tags:
                _run_cell(cell.source, f"{notebook.name}, cell `{', '.join(tags)}`", namespace)
            if "parameters" in tags:
                namespace.update(values)
    return plan.units


def _run_cell(source: str, where: str, namespace: dict[str, Any]) -> None:
    try:
        exec(compile(source, where, "exec", dont_inherit=True), namespace)  # noqa: S102  the notebook's own code
    except runs.Planned:
        pass
    except Exception as error:
        raise params.ParameterError(f"{where}: {type(error).__name__}: {error}") from error


def missing(units: Iterable[runs.Unit]) -> list[str]:
    """What the units need and is not there: data directories, their splits, encoders. Asks no hub."""
    problems: dict[str, None] = {}
    for value in (value for unit in runs.closure(units) for value in unit.arguments.values()):
        try:
            if isinstance(value, data.Split) and value.source not in ("micro", "hub"):
                sources.split_files(value.source, value.path)
            elif isinstance(value, models.Encoder):
                _ = value.location
        except data.DataError as error:
            problems[f"source: {error}"] = None
        except (ValueError, OSError) as error:
            problems[str(error)] = None
    return list(problems)


def throughputs(planned: Iterable[runs.Unit], store: runs.Store) -> list[Throughput]:
    """The speed of every device that is assumed or was measured on stored units of comparable size.

    A cpu is one core: units run on one thread each.
    """
    largest = max(map(_work, planned), default=0.0)
    speeds = {device: Throughput(device, rate, "assumed, not measured") for device, rate in ASSUMED.items()}
    done: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for meta in _metas(store):
        if (work := _recorded_work(meta)) >= max(1.0, COMPARABLE * largest):
            done[meta["device"]].append((work, meta["seconds"]))
    for device, pairs in done.items():
        rate = sum(work for work, _ in pairs) / sum(seconds for _, seconds in pairs)
        speeds[device] = Throughput(device, rate, f"measured on {len(pairs)} stored units of comparable size")
    return list(speeds.values())


def _is_method(unit: runs.Unit) -> bool:
    return unit.name.startswith(f"{methods.__name__}.")


def _work(unit: runs.Unit) -> float:
    """Floating-point operations of a unit, as it says itself or as `methods` estimates."""
    if unit.work is not None:
        return unit.work
    return methods.work(unit) if _is_method(unit) else 0.0


def _recorded_work(meta: Mapping[str, Any]) -> float:
    """Floating-point operations of a stored unit: as recorded, or estimated anew from its recorded arguments."""
    module, _, function = meta["function"].partition(":")
    if meta["work"] is not None or not module.startswith(f"{methods.__name__}."):
        return float(meta["work"] or 0)
    try:
        arguments = dict(meta["arguments"])
        arguments["split"] = data.Split(**arguments["split"])
        arguments["encoder"] = models.Encoder(**arguments["encoder"])
        if "recipe" in arguments:
            arguments["recipe"] = train.Recipe(**arguments["recipe"])
        if "extra" in arguments:
            arguments["extra"] = [(data.Split(**one), times) for one, times in arguments["extra"]]
        return methods.work(runs.Unit(getattr(methods, function), arguments))
    except (AttributeError, KeyError, TypeError, ValueError, OSError):
        return 0.0  # kept by another version of the methods


def _metas(store: runs.Store) -> Iterator[dict[str, Any]]:
    for key in store.keys():  # noqa: SIM118  a method of the store, not of a dict
        with contextlib.suppress(Exception):  # a damaged result is reported where it is used
            yield store.meta(key)


def _stored(units: Iterable[runs.Unit], store: runs.Store) -> set[runs.Unit]:
    """Which units the store holds. One whose data or encoder is not on this machine has no key to look up."""
    found = set()
    for unit in units:
        with contextlib.suppress(OSError, ValueError):
            if unit in store:
                found.add(unit)
    return found


def _hours(hours: float) -> str:
    return f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}"


def _bytes(size: float) -> str:
    power = min(4, int(math.log10(max(size, 1)) / 3))
    return f"{size / 1000**power:.3g} {('B', 'KB', 'MB', 'GB', 'TB')[power]}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as columns of equal width, the first to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
