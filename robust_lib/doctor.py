"""What this machine can run: packages, device, data, encoders, lexica, store, disk; with a remedy for each gap.

Packages come first and are looked at without importing them, so that a broken environment is told of as well.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import os
import platform
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from robust_lib import params

if TYPE_CHECKING:
    from robust_lib import commands, data, models, runs

PROJECT = "robust-lib"
SCALES = ("micro", "colab", "paper")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE = 5.0  # seconds for the hub to answer
_DAY = 24  # hours: what takes longer is worth a remark
_WHOLE = 0.98  # of the rows published: publishers' versions differ by a few blank rows


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, what was found, and what to do about it.

    `stops`: it keeps the scale from running. A finding with a remedy that stops nothing is a note.
    """

    name: str
    found: str
    remedy: str = ""
    stops: bool = False

    def __str__(self) -> str:
        mark = "GAP " if self.stops else "note" if self.remedy else "ok  "
        return f"{mark} {self.name:<9} {self.found}" + (f"\n     -> {self.remedy}" if self.remedy else "")


def packages(extras: Iterable[str] = ()) -> Iterator[Finding]:
    """Python and the installed packages against the project's ranges, its pins, and those of the named `extras`.

    ParameterError for an extra that the project has not.
    """
    try:
        project = importlib.metadata.metadata(PROJECT)
    except importlib.metadata.PackageNotFoundError:
        remedy = "pip install -e '.[pinned]' in the project's folder, or pip install its wheel"
        yield Finding(
            "packages", f"{PROJECT} itself is not installed, so its ranges are not known", remedy, True
        )
        return
    known = project.get_all("Provides-Extra") or []
    if unknown := [extra for extra in extras if extra not in known]:
        raise params.ParameterError(f"no extra {unknown[0]!r}; {params.nearest(unknown[0], known)}")
    required = [Requirement(text) for text in importlib.metadata.requires(PROJECT) or []]
    python = Requirement(f"python{project['Requires-Python']}")
    yield from _compared("python", [python], "install a Python in that range")
    pins = list(_of_extra(required, "pinned"))
    yield from _compared("packages", [one for one in required if one.marker is None], _install(pins))
    if wrong := [text for one in pins if (text := _mismatch(one))]:
        remedy = "the tables were made with the pins; `make` keeps an environment that has them"
        yield Finding("pins", f"{len(wrong)} of {len(pins)} differ: {', '.join(wrong)}", remedy)
    else:
        yield Finding("pins", f"all {len(pins)} as pinned")
    for extra in extras:
        asked = list(_of_extra(required, extra))
        yield from _compared(extra, asked, _install(asked, extra))
        if extra == "browser":
            yield _browser()


def _of_extra(required: Iterable[Requirement], extra: str) -> Iterator[Requirement]:
    return (one for one in required if one.marker is not None and one.marker.evaluate({"extra": extra}))


def _install(pins: Iterable[Requirement], extra: str = "pinned") -> str:
    """The command that brings the pins, in a checkout or out of one: torch first and by its version, as make does."""
    named = [f"{one.name}{one.specifier}" for one in pins]
    first = [one for one in named if one.startswith("torch==")]
    rest = " ".join(one for one in named if one not in first)
    if (Path(__file__).parents[1] / "pyproject.toml").is_file():
        rest = f"-e '.[{extra}]'"
    return " && ".join(f"pip install {what}" for what in (*first, rest))


def _compared(name: str, required: Sequence[Requirement], remedy: str) -> Iterator[Finding]:
    """One finding on whether every requirement is met; one that is not stops."""
    if wrong := [text for one in required if (text := _mismatch(one))]:
        yield Finding(name, "; ".join(wrong), remedy, stops=True)
    elif len(required) == 1:
        yield Finding(name, f"{_version(required[0].name)}, asked {required[0].specifier}")
    else:
        yield Finding(name, f"{len(required)} installed, each in its range")


def _version(name: str) -> str | None:
    if name == "python":
        return platform.python_version()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _mismatch(required: Requirement) -> str:
    version = _version(required.name)
    if version is None:
        return f"{required.name} is missing ({required.specifier})"
    fits = required.specifier.contains(version, prereleases=True)
    return "" if fits else f"{required.name} {version} is not {required.specifier}"


def _browser() -> Finding:
    found = os.environ.get("ROBUST_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found and os.access(found, os.X_OK):
        return Finding("chromium", found)
    return Finding(
        "chromium",
        found or "none on PATH",
        "apt-get install chromium, or name it in ROBUST_CHROMIUM",
        stops=True,
    )


def device() -> Iterator[Finding]:
    """The GPUs with their memory, else the CPU; and this machine's memory."""
    import torch

    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        yield Finding("GPU", f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")
    if not torch.cuda.is_available():
        yield Finding("GPU", "none: units run on the CPU, one on each core")
    cores, there = os.cpu_count(), _machine_memory() / 1e9
    yield Finding("machine", f"{cores} cores, {there:.1f} GB of memory, torch {torch.__version__}")


def _machine_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def splits(wanted: Iterable[data.Split]) -> Iterator[Finding]:
    """What there is of the splits that units read, one finding for each source and for each remedy."""
    by_source: dict[str, dict[str, int]] = defaultdict(dict)
    for split in wanted:
        sizes = by_source[split.source]
        sizes[split.path] = max(sizes.get(split.path, 0), split.size or 0)
    for source, sizes in by_source.items():
        if source == "micro":
            yield Finding("data", f"{len(sizes)} splits of the embedded world")
        elif source == "hub":
            yield from _of_hub(sizes)
        else:
            yield from _of_directory(source, sizes)


def _of_directory(directory: str, sizes: Mapping[str, int]) -> Iterator[Finding]:
    if not Path(directory).is_dir():
        remedy = f"`python -m robust_lib.data export {directory}` makes one, where there is a network"
        yield Finding(
            "data", f"{directory}: no such data directory ({len(sizes)} splits wanted)", remedy, stops=True
        )
        return
    damaged = _damaged(directory)
    gaps: dict[str, list[str]] = defaultdict(list)
    whole: list[str] = []
    partial: list[str] = []
    for path, size in sizes.items():
        state, remedy = _split(directory, path, size, damaged)
        if remedy:
            gaps[remedy].append(state)
        else:
            (partial if "published" in state else whole).append(state)
    yield Finding("data", f"{directory}: {len(whole) + len(partial)} of {len(sizes)} splits there")
    if partial:
        yield Finding("data", "fewer rows than published: " + ", ".join(partial), "fine where that is meant")
    for remedy, states in gaps.items():
        yield Finding("data", ", ".join(states), remedy, stops=True)


def _split(directory: str, path: str, size: int, damaged: Mapping[str, str]) -> tuple[str, str]:
    """The state of a split in a data directory, and the remedy where it cannot be read."""
    from robust_lib.data import DataError, places, sources
    from robust_lib.methods import costs

    try:
        files = sources.split_files(directory, path)
    except DataError:
        return f"{path} is missing", places.remedy(path, directory)
    counts: list[int | None] = []
    for file in files.values():
        try:
            counts.append(_rows(file))
        except (OSError, ValueError) as error:
            again = f"delete {file}; then {places.remedy(path, directory)}"
            return f"{path} is damaged ({str(error).splitlines()[0][:80]})", again
    if known := [damaged[str(file)] for file in files.values() if str(file) in damaged]:
        return f"{path} is damaged", known[0]
    if len(counts) > 1 or counts[0] is None:
        return path, ""  # rows of text files and of splits made of several are not counted
    if counts[0] < size:
        return f"{path} has {counts[0]:,} rows of {size:,} asked", "lower the size, or give the whole split"
    published = costs.ROWS.get(path, 0)
    if counts[0] < _WHOLE * published:
        return f"{path} {counts[0]:,} of {published:,} published", ""
    return path, ""


def _rows(file: Path) -> int | None:
    """The rows a parquet file's footer tells of; a cut file has none and raises."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(file).num_rows) if file.suffix == ".parquet" else None


def _damaged(directory: str) -> dict[str, str]:
    """File: what to do, for the files that changed since they were exported."""
    from robust_lib.data import DataError, export

    try:
        messages = export.verify(directory)
    except DataError:
        return {}  # filled by hand: there is nothing to hold it against
    return {file: remedy for file, _, remedy in (message.partition(": ") for message in messages)}


def _of_hub(sizes: Iterable[str]) -> Iterator[Finding]:
    from huggingface_hub import try_to_load_from_cache

    from robust_lib.data import places

    paths, cached = list(sizes), []
    for path in paths:
        place = places.HUB.get(path)
        if place is None:
            yield Finding("data", f"{path} is not on the hub", places.remedy(path), stops=True)
        elif isinstance(
            try_to_load_from_cache(
                place.repository, place.file, revision=place.revision, repo_type="dataset"
            ),
            str,
        ):
            cached.append(path)
    left = [path for path in paths if path in places.HUB and path not in cached]
    yield _fetched("data", f"hub: {len(cached)} of {len(paths)} splits fetched", left)


def encoders(wanted: Iterable[models.Encoder]) -> Iterator[Finding]:
    """Which encoders are in the package, in directories, in the hub's cache, and which are still to be fetched."""
    from huggingface_hub import try_to_load_from_cache

    from robust_lib.models import EncoderError

    there, left = [], []
    for encoder in {one.name: one for one in wanted}.values():
        try:
            location = encoder.location
        except EncoderError as error:
            yield Finding(
                "encoders", str(error).removeprefix("encoder: "), "give another with --encoder", stops=True
            )
            continue
        files = ("model.safetensors", "pytorch_model.bin")
        if Path(location).is_dir():
            if any((Path(location) / file).is_file() for file in (*files, "model.safetensors.index.json")):
                there.append(encoder.name)
            else:
                remedy = f"copy {files[0]} from where its config.json came from into {location}"
                yield Finding("encoders", f"{location} holds no {files[0]}", remedy, stops=True)
        elif any(isinstance(try_to_load_from_cache(location, file), str) for file in files):
            there.append(encoder.name)
        else:
            left.append(encoder.name)
    yield _fetched("encoders", f"{len(there)} there: {', '.join(there) or 'none'}", left)


def _fetched(name: str, found: str, left: Sequence[str]) -> Finding:
    """Whether what is left to fetch from the hub can be fetched."""
    if not left:
        return Finding(name, found)
    found += f"; to be fetched: {', '.join(left)}"
    reason = _no_hub()
    if reason:
        option = "--source" if name == "data" else "--encoder"
        remedy = f"run it once where there is a network; or name a directory that has them with {option}"
        return Finding(name, f"{found}, but {reason}", remedy, stops=True)
    return Finding(name, found)


@functools.cache
def _no_hub() -> str:
    """Why the hub cannot be asked; "" if it answers. Asked once: one that is out of reach takes its time."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception as error:  # its kinds of network error come from a library that changes its name
        return f"{constants.ENDPOINT} does not answer ({type(error).__name__})"
    return ""


def lexica(wanted: Iterable[Any]) -> Iterator[Finding]:
    """The lexical resources of the attacks that units make, as `attack.doctor` lists them."""
    from robust_lib import plan
    from robust_lib.attack import doctor

    for words in wanted:
        listed = doctor.resources(words.source, words.sentences and words.sentences.name)
        have = ", ".join(
            dict.fromkeys(resource.name.partition(",")[0] for resource in listed if resource.file)
        )
        yield Finding("lexica", f"{words.source}: {have}")
        for found, remedy in plan.words_missing(words):
            yield Finding("lexica", found, remedy, stops=True)


def store(kept: runs.Store, *, verify: bool) -> Iterator[Finding]:
    """Units, size and damage of the store. Without `verify`, the records alone are checked; it sets damage aside."""
    size, keys = _bytes_in(kept.path), kept.keys()
    damaged = kept.verify() if verify else [key for key in keys if _faulty(kept, key)]
    what = "every file checked" if verify else "records checked; --verify reads every file"
    yield Finding("store", f"{kept.path}: {len(keys):,} units, {size / 1e9:.3g} GB ({what})")
    if damaged:
        remedy = "nothing is lost: they are computed again when they are needed"
        yield Finding("store", f"{len(damaged)} damaged unit{'s' if len(damaged) > 1 else ''}", remedy)


def _faulty(kept: runs.Store, key: str) -> bool:
    from robust_lib import runs

    try:
        kept.meta(key)
    except runs.Damaged:
        return True
    return False


def disk(needs: Mapping[str, float], scale: str, folder: Path) -> Finding:
    """What each scale leaves in the store, against what is free; what the store holds already counts as free."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free, held = shutil.disk_usage(there).free, _bytes_in(folder)
    found = ", ".join(f"{name} {size / 1e9:,.3g} GB" for name, size in needs.items())
    found = f"needed for {found}; {free / 1e9:,.3g} GB free"
    if needs[scale] <= free + held:
        return Finding("disk", found)
    return Finding("disk", found, "make room, or point ROBUST_STORE to a larger disk", stops=True)


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def hours(units: Sequence[runs.Unit], kept: runs.Store) -> Finding:
    """About how long the units take in as many workers as there would be here, all of them from the start.

    It stops nothing: the speed may be assumed.
    """
    from robust_lib import plan, runs

    speed, number = plan.speed_here(units, kept), runs.default_workers()
    taken = plan.work(units) / speed.rate / number / 3600
    told = f"{taken:,.1f} h" if taken < 48 else f"{taken / 24:,.0f} days"
    found = f"about {told} on {number} x {speed.device}, {speed.rate:.1e} FLOP/s each, {speed.known}"
    if taken < _DAY:
        return Finding("time", found)
    return Finding("time", found, "`make plan` says the hours on more GPUs; or a smaller scale")


def memory(units: Iterable[runs.Unit]) -> Finding:
    """What the unit that takes the most memory needs, against a GPU's, or a worker's part of this machine's."""
    import torch

    from robust_lib import methods, plan, runs

    needed = max((methods.memory(unit) for unit in units if plan.is_method(unit)), default=0.0)
    if torch.cuda.is_available():
        there, whose = torch.cuda.get_device_properties(0).total_memory, "on a GPU"
        remedy = "batches that do not fit are halved, which takes longer"
    else:
        there, whose = _machine_memory() // runs.default_workers(), "for each worker process"
        remedy = "fewer worker processes, as ROBUST_WORKERS=1; or a smaller batch_size or max_length"
    found = f"about {needed / 1e9:.2g} GB for the largest unit, {there / 1e9:.3g} GB {whose}"
    return Finding("memory", found, remedy if needed > there else "")


def findings(
    *, scale: str, names: Sequence[str], given: Mapping[str, Any], extras: Sequence[str], verify: bool
) -> Iterator[Finding]:
    """Everything there is to say on a scale, as it is found; `given` are a source and an encoder over its values.

    ParameterError for notebooks or extras that there are none of.
    """
    for finding in packages(extras):
        yield finding
        if finding.stops and finding.name == "packages":
            yield Finding("the rest", "is looked at when the packages are there", "see above", stops=True)
            return
    try:
        from robust_lib import commands, plan, runs
    except Exception as error:  # a package that is there but broken raises anything
        required = map(Requirement, importlib.metadata.requires(PROJECT) or [])
        remedy = _install(_of_extra(required, "pinned"))
        yield Finding("packages", f"cannot be imported: {type(error).__name__}: {error}", remedy, stops=True)
        return
    yield from device()
    units, values = [], []
    for path in commands.choose(names, scale):
        try:
            job = _job(path, scale, given)
            units += runs.closure(plan.units(path, job.values))
            values.append(job.values)
        except params.ParameterError as error:
            yield Finding("values", str(error), f"correct them; {path.stem} is left out below", stops=True)
    said = set()
    for finding in _material(units, values, scale):
        if finding not in said:  # two splits may want the same
            yield finding
        said.add(finding)
    with runs.planning():
        kept = runs.start("any", {"scale": scale}).store
    units = list(dict.fromkeys(units))
    yield from store(kept, verify=verify)
    needs = {one: plan.disk(units if one == scale else _units(one, names)) for one in SCALES}
    yield disk(needs, scale, kept.path)
    yield memory(units)
    yield hours(units, kept)


def _job(path: Path, scale: str, given: Mapping[str, Any]) -> commands.Job:
    """A notebook with the values of a scale, over them those `given` that it has.

    A data directory is also where words and published errors are looked for, if the scale names a directory for them.
    """
    from robust_lib import commands

    (job,) = commands.prepare([path], scale=scale)
    own = {name: value for name, value in given.items() if name in params.NOTEBOOKS[path.stem].model_fields}
    if own.get("source") not in (None, "micro", "hub"):
        own |= {
            name: own["source"] for name in ("words", "errors") if job.values.get(name) not in (None, "micro")
        }
    return commands.prepare([path], scale=scale, given=own)[0] if own else job


def _units(scale: str, names: Sequence[str]) -> set[runs.Unit]:
    """The units of a scale's notebooks, by its own values; none of one whose values are wrong: another's matter."""
    from robust_lib import commands, plan, runs

    with contextlib.redirect_stdout(io.StringIO()):  # nor is it told here which notebooks the scale has not
        paths = commands.choose(names, scale)
    units: set[runs.Unit] = set()
    for path in paths:
        with contextlib.suppress(params.ParameterError):
            units.update(runs.closure(plan.units(path, _job(path, scale, {}).values)))
    return units


def _material(
    units: Iterable[runs.Unit], values: Iterable[Mapping[str, Any]], scale: str
) -> Iterator[Finding]:
    """The data, encoders and lexica that units name, and the published errors that values do."""
    from robust_lib import data, models
    from robust_lib.attack import lexica as words
    from robust_lib.runs.units import leaves

    kinds = (data.Split, models.Encoder, words.Words)
    named = dict.fromkeys(
        leaf for unit in units for leaf in leaves(unit.arguments) if isinstance(leaf, kinds)
    )
    yield from splits(one for one in named if isinstance(one, data.Split))
    yield from encoders(one for one in named if isinstance(one, models.Encoder))
    yield from lexica(one for one in named if isinstance(one, words.Words))
    for directory in {str(own["errors"]) for own in values if own.get("errors")}:
        try:
            yield Finding(
                "errors", f"{directory}: {len(data.error_lists(directory)):,} questions, published lists"
            )
        except data.DataError as error:
            remedy = f"store them there, or leave that section out: errors: null in params/{scale}/06_miniature.yaml"
            yield Finding("errors", str(error).splitlines()[0], remedy, stops=True)


def examine(*, scale: str, **asked: Any) -> int:
    """Print the findings on a scale as they come (see `findings`). Exit status: 1 if something stops it, else 0."""
    stops = 0
    for finding in findings(scale=scale, **asked):
        print(finding, flush=True)
        stops += finding.stops
    gaps = f"{stops} gap{'s' if stops > 1 else ''}"
    print(f"scale {scale} {f'cannot run here: {gaps}' if stops else 'can run here'}")
    return min(stops, 1)
