"""What a run would cost, from the notebooks' parameters alone: nothing is trained, read or downloaded."""

from __future__ import annotations

import contextlib
import functools
import heapq
import io
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext

from robust_lib import data, methods, models, params, runs, train
from robust_lib.attack import doctor as attack_doctor
from robust_lib.attack import lexica
from robust_lib.data import sources
from robust_lib.runs import cluster, engine
from robust_lib.runs.units import leaves

PLANNED_CELLS = {"parameters", "setup", "units", "run"}
# Sustained fp32 FLOP/s in batches of 16 to 32 short texts, for devices that nothing was measured on yet: orders
# of magnitude from public fine-tuning speeds of BERT-base, about half of the data sheets' peaks; of a core, what
# small encoders reach on a server.
ASSUMED = {"cpu": 1e11, "T4 (16 GB)": 4e12, "A100 (40 GB)": 1e13}
# Small models keep a device far from its speed: measured units count from this share of the largest planned.
COMPARABLE = 0.01
_DIR = re.compile(r"\bDIR\b")  # a data directory, in remedies that name none


@dataclass(frozen=True)
class Throughput:
    """FLOP per second of a device, and how it is known."""

    device: str
    rate: float
    known: str


@dataclass(frozen=True)
class Timetable:
    """How units would lie on GPUs: `span` in floating-point operations of one GPU from first start to last end;
    the most units and the most bytes (`methods.memory`) on one GPU at a time."""

    span: float
    units: int
    memory: float


def report(
    notebooks: Mapping[str, Sequence[runs.Unit]], store: runs.Store, gpus: Sequence[int] = (1, 8, 64)
) -> str:
    """The plan as text: units per notebook, shared, already stored; what is left in device-hours and disk.

    Then what to ask a scheduler for: hours on so many `gpus`, memory, disk, and what more GPUs would wait for.
    """
    closures = {name: runs.closure(units) for name, units in notebooks.items()}
    owners = Counter(unit for units in closures.values() for unit in units)
    stored = _stored(owners, store)
    speeds = throughputs(owners, store)
    rows = [["", "units", "shared", "stored", *(f"h, {speed.device}" for speed in speeds), "disk"]]
    for name, units in [*closures.items(), ("all, each once", list(owners))]:
        left = [unit for unit in units if unit not in stored]
        operations = work(left)
        rows.append([
            name,
            str(len(units)),
            str(sum(owners[unit] > 1 for unit in units)),
            str(len(units) - len(left)),
            *(_hours(operations / speed.rate / 3600) for speed in speeds),
            _bytes(disk(left)),
        ])  # fmt: skip
    notes = [f"{speed.device}: {speed.rate:.1e} FLOP/s, {speed.known}" for speed in speeds]
    if unknown := sum(not is_method(unit) and unit.work is None for unit in owners):
        notes.append(f"units of other modules than methods have no estimate and count as nothing: {unknown}")
    asked = request([unit for unit in owners if unit not in stored], speeds, gpus)
    return "\n".join([*_aligned(rows), "", *notes, *asked])


def request(units: Sequence[runs.Unit], speeds: Iterable[Throughput], gpus: Sequence[int]) -> list[str]:
    """Lines on what to ask a scheduler for; none where no unit computes.

    `units` are what is left, dependencies first, all at once on one engine.
    """
    speeds = [speed for speed in speeds if speed.device != "cpu"]
    chain, links, longest = longest_chain(units)
    if not chain or not speeds:
        return []
    tables = {count: timetable(units, count) for count in gpus}
    largest = max((methods.memory(unit) for unit in units if is_method(unit)), default=0.0)
    together = max(table.memory for table in tables.values())
    most, fewest = max(table.units for table in tables.values()), math.ceil(work(units) / chain)
    return [
        "",
        "what to ask the scheduler for, all notebooks at once (rates of units and bytes: the fastest GPU's)",
        "",
        *_by_gpus(units, tables, speeds),
        "",
        f"longest chain: {_on_each(chain, speeds)}: {counted(links, 'unit')}, each waiting for the one before and "
        "taken at its share of a GPU, though it runs faster where it has the card to itself"
        + (f"; to end so soon takes at least {fewest} GPUs" if fewest > 1 else ""),
        f"time limit of a job: more than the longest unit ({_on_each(longest, speeds)}); "
        "a job that is cut off goes on from the units kept",
        f"memory of a GPU: about {_bytes(largest)} for the largest unit, {_bytes(together)} for all that share one; "
        "on a smaller one batches are halved",
        f"beside a GPU: a core and about 4 GB for each unit on it, {most} at most; the store, in a folder that every "
        f"node sees: {_bytes(disk(units))}",
    ]


def _by_gpus(
    units: Sequence[runs.Unit], tables: Mapping[int, Timetable], speeds: Sequence[Throughput]
) -> list[str]:
    """Hours by number of GPUs, how busy they are, and what then reaches the head node and the store."""
    fastest, computing = max(speed.rate for speed in speeds), sum(_work(unit) > 0 for unit in units)
    rows = [
        ["GPUs", *(f"h, {speed.device}" for speed in speeds), "busy", "units a minute", "written a second"]
    ]
    for count, table in tables.items():
        seconds = table.span / fastest
        rows.append([
            str(count),
            *(_hours(table.span / speed.rate / 3600) for speed in speeds),
            f"{work(units) / count / table.span:.0%}",
            f"{60 * computing / seconds:.2g}",
            _bytes(disk(units) / seconds),
        ])  # fmt: skip
    return _aligned(rows)


def work(units: Iterable[runs.Unit]) -> float:
    """Floating-point operations of units."""
    return sum(map(_work, units))


def disk(units: Iterable[runs.Unit]) -> float:
    """Bytes that units leave in the store."""
    return sum(methods.size(unit) for unit in units if is_method(unit))


def timetable(units: Sequence[runs.Unit], gpus: int) -> Timetable:
    """The units in the engine's order on GPUs that they share, each at its share of a GPU's speed.

    First comes what has the longest chain of units after it. A unit starts when what it needs is done and the GPU with
    the most room has its share free; those behind it wait.
    """
    needs, users = _graph(units)
    chains: dict[runs.Unit, int] = {}
    for unit in reversed(units):
        chains[unit] = 1 + max((chains[user] for user in users[unit]), default=0)
    units = sorted(units, key=lambda unit: -chains[unit])
    order = {unit: place for place, unit in enumerate(units)}
    cards = [_Card() for _ in range(gpus)]
    ready = [place for unit, place in order.items() if not needs[unit]]
    running: list[tuple[float, int, int]] = []  # end, place, card
    now, most, memory = 0.0, 0, 0.0
    while ready or running:
        card = max(range(gpus), key=lambda number: cards[number].room)
        if ready and cards[card].room >= _percent(units[ready[0]]):
            place = heapq.heappop(ready)
            cards[card].take(units[place])
            most, memory = max(most, cards[card].units), max(memory, cards[card].memory)
            heapq.heappush(running, (now + _alone(units[place]), place, card))
            continue
        now, place, card = heapq.heappop(running)
        cards[card].take(units[place], -1)
        for user in users[units[place]]:
            needs[user].discard(units[place])
            if not needs[user]:
                heapq.heappush(ready, order[user])
    return Timetable(now, most, memory)


def longest_chain(units: Sequence[runs.Unit]) -> tuple[float, int, float]:
    """The longest run of units each of which needs the one before, and the longest unit.

    In floating-point operations of one GPU, with the number of units of the chain that compute. `units` come
    dependencies first.
    """
    needs, _ = _graph(units)
    chains: dict[runs.Unit, tuple[float, int]] = {}
    for unit in units:
        length, links = max((chains[one] for one in needs[unit]), default=(0.0, 0))
        alone = _alone(unit)
        chains[unit] = length + alone, links + (alone > 0)
    return *max(chains.values(), default=(0.0, 0)), max(map(_alone, units), default=0.0)


@dataclass
class _Card:
    """A GPU of a timetable: percent of it that are free, units on it, bytes they hold."""

    room: int = 100
    units: int = 0
    memory: float = 0.0

    def take(self, unit: runs.Unit, times: int = 1) -> None:
        """Put a unit on it, or take it off again (-1). One without work is over at once and does not count."""
        self.room -= times * _percent(unit)
        if _work(unit):
            self.units += times
            self.memory += times * (methods.memory(unit) if is_method(unit) else 0)


def _graph(
    units: Sequence[runs.Unit],
) -> tuple[dict[runs.Unit, set[runs.Unit]], dict[runs.Unit, list[runs.Unit]]]:
    """What each unit needs of the others, and who needs it."""
    known = set(units)
    needs = {unit: known.intersection(unit.dependencies) for unit in units}
    users: dict[runs.Unit, list[runs.Unit]] = defaultdict(list)
    for unit, needed in needs.items():
        for one in needed:
            users[one].append(unit)
    return needs, users


def _percent(unit: runs.Unit) -> int:
    """Of a GPU, as the Ray engine asks for it."""
    return min(100, max(1, round(100 * cluster.gpu_share(unit))))


def _alone(unit: runs.Unit) -> float:
    """What a whole GPU would compute while the unit runs on its share."""
    return 100 * _work(unit) / _percent(unit)


def forecast(units: Any, store: runs.Store) -> str:
    """One line about a run: how many units it needs, how many are kept, and about how long the rest takes here.

    units: what `run.collect` will be given. The time is by the speed of this device's stored units of comparable size,
    or by an assumed speed, which is then said; that units wait for each other is not in it. ParameterError where an
    attack's lexicon is not there: it comes from no hub, and the error names the commands that bring it.
    """
    needed = runs.closure(leaf for leaf in leaves(units) if isinstance(leaf, runs.Unit))
    kept = _stored(needed, store)
    left = [unit for unit in needed if unit not in kept]
    told = f"{counted(len(needed), 'unit')} in all, {len(kept)} of them kept"
    if not left:
        return told
    words = dict.fromkeys(
        value for unit in left for value in leaves(unit.arguments) if isinstance(value, lexica.Words)
    )
    if lacking := [": ".join(one) for value in words for one in words_missing(value)]:
        raise params.ParameterError("words: " + "\n".join(lacking))
    try:
        speed = speed_here(left, store)
        work = sum(map(_work, left))
    except (OSError, ValueError):  # an encoder that is not there: for the run to say
        return f"{told}; how long the rest takes cannot be told"
    at_once = min(runs.default_workers(), len(left))
    time = _duration(work / speed.rate / at_once)
    return f"{told}; the rest takes {time} on {speed.device} x {at_once} ({speed.known})"


def speed_here(planned: Iterable[runs.Unit], store: runs.Store) -> Throughput:
    """This device's speed; a GPU of no known speed is taken for the assumed one whose name its own holds, else a T4."""
    here = engine.device()
    known = {speed.device: speed for speed in throughputs(planned, store)}
    if here in known:
        return known[here]
    like = next((name for name in ASSUMED if name.split()[0] in here), "T4 (16 GB)")
    return Throughput(here, ASSUMED[like], f"as a {like}, assumed, not measured")


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
    """What the units need and is not there: data directories, their splits, encoders, lexica. Asks no hub."""
    problems: dict[str, None] = {}
    for value in (value for unit in runs.closure(units) for value in leaves(unit.arguments)):
        try:
            if isinstance(value, data.Split) and value.source not in ("micro", "hub"):
                sources.split_files(value.source, value.path)
            elif isinstance(value, models.Encoder):
                _ = value.location
            elif isinstance(value, lexica.Words):
                problems |= dict.fromkeys(f"words: {': '.join(lacking)}" for lacking in words_missing(value))
        except data.DataError as error:
            problems[f"source: {error}"] = None
        except (ValueError, OSError) as error:
            problems[str(error)] = None
    return list(problems)


def words_missing(words: lexica.Words) -> list[tuple[str, str]]:
    """What an attack wants of lexical resources and is not there, in groups, each with what to do about it."""
    by_remedy: dict[str, list[str]] = defaultdict(list)
    for resource in attack_doctor.resources(words.source, words.sentences.name if words.sentences else None):
        if resource.missing:
            by_remedy[_DIR.sub(lambda _: words.source, resource.remedy)].append(resource.name)
    return [(f"{words.source}: {', '.join(names)} missing", remedy) for remedy, names in by_remedy.items()]


def counted(number: int, thing: str) -> str:
    """`1 unit`, `2 units`."""
    return f"{number} {thing}{'s' if number != 1 else ''}"


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
        speeds[device] = Throughput(
            device, rate, f"measured on {counted(len(pairs), 'stored unit')} of comparable size"
        )
    return list(speeds.values())


def is_method(unit: runs.Unit) -> bool:
    """Whether `methods` knows what the unit costs."""
    return unit.name.startswith(f"{methods.__name__}.")


def _work(unit: runs.Unit) -> float:
    """Floating-point operations of a unit, as it says itself or as `methods` estimates."""
    if unit.work is not None:
        return unit.work
    return _estimated(unit) if is_method(unit) else 0.0


@functools.lru_cache(maxsize=8192)
def _estimated(unit: runs.Unit) -> float:
    """`methods.work`, which reads the encoder's configuration, once for each unit."""
    return methods.work(unit)


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
    """Which units the store holds. One whose data or encoder is not on this machine has no key to look up.

    ParameterError where source was edited meanwhile: no key can be told then.
    """
    found = set()
    for unit in units:
        try:
            if unit in store:
                found.add(unit)
        except (OSError, ValueError):
            continue
        except runs.SourceChanged as error:
            raise params.ParameterError(str(error)) from None
    return found


def _hours(hours: float) -> str:
    return f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}"


def _on_each(operations: float, speeds: Iterable[Throughput]) -> str:
    return ", ".join(f"{_hours(operations / speed.rate / 3600)} h on {speed.device}" for speed in speeds)


def _duration(seconds: float) -> str:
    """About so long, in two digits: seconds below two minutes, minutes below two hours, else hours."""
    if seconds < 1:
        return "less than a second"
    if seconds < 7200:
        return f"about {_hours(seconds)} s" if seconds < 120 else f"about {seconds / 60:.0f} min"
    return f"about {_hours(seconds / 3600)} h"


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
