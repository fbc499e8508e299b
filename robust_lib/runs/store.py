"""Finished units on disk: one directory per key, written aside and renamed into place, checked on loading."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from robust_lib.runs import codecs, journals, units
from robust_lib.runs.units import Unit

LAG = 30.0  # seconds until one machine sees for sure what another has written into a shared folder
_META = "meta.json"
_FULL = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "os error 28",
    "os error 27",
    "os error 122",
)


_NO_FILE = IsADirectoryError, NotADirectoryError  # something else stands where a file was written


class StoreFull(OSError):
    """The disk under the store is full. What was finished is kept; the message has path and free space."""


class DamagedWarning(UserWarning):
    """A kept file was not what had been written; it was set aside and is computed again."""


class Damaged(Exception):
    """A kept result that failed its checksum and was set aside; the message names the file."""


class Missing(KeyError):
    """A unit that is not in the store."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Pace:
    """What finished units of one function took, in all."""

    units: int
    seconds: float
    bytes: int
    work: float | None  # None when any of them had none

    @property
    def mean(self) -> float:
        """Seconds per unit."""
        return self.seconds / self.units


class Store:
    """Results by the content key of their unit, shared by any number of processes.

    `<key>/meta.json` holds what was called, how long it took, with which versions, and the sha256 of every
    file beside it. A result is there completely or not at all: written in `partial/`, flushed, then renamed.
    `patience` are the seconds to wait for a result that is asked for and not seen: what another machine has written
    may take so long to be seen here.
    """

    def __init__(self, path: str | os.PathLike[str], *, patience: float = 0.0) -> None:
        self.path = Path(path)
        self.patience = patience
        self._held: set[str] = set()

    def __contains__(self, unit: Unit) -> bool:
        return self.holds(unit.key)

    def holds(self, key: str) -> bool:
        """Whether a finished result is there; its files are checked when they are loaded."""
        return os.path.exists(self._place(key))

    def keys(self) -> set[str]:
        """The keys of all finished units."""
        found: set[str] = set()
        for group in _listed(self.path):
            if len(group) == 2:
                found.update(_listed(self.path / group))
        return found

    def load(self, unit: Unit) -> Any:
        """The unit's result, every byte checked. Raises Missing, or Damaged after setting it aside."""
        if not self._appears(unit.key):
            raise Missing(f"{unit.label} is not in the store {self.path}; collect it")
        return self.read(unit.key)

    def _appears(self, key: str) -> bool:
        """Whether a result is there, or comes to be seen within the store's patience."""
        until = time.monotonic() + self.patience
        while not self.holds(key):
            if time.monotonic() >= until:
                return False
            _listed(self._place(key).parent)  # asks the file server again
            time.sleep(0.2)
        return True

    def read(self, key: str) -> Any:
        """The result under a key; see `load`."""
        directory = self._place(key)
        try:
            meta = self._checked_meta(key)
            _check_files(directory, meta)
            return codecs.read(directory, meta["kind"])
        except _Faulty as fault:
            raise self._set_aside(key, str(fault)) from None
        except FileNotFoundError as error:  # set aside by another process between check and read
            raise Damaged(f"{error.filename or directory} disappeared") from None

    def meta(self, key: str) -> dict[str, Any]:
        """What is known of a finished unit: function, arguments, seconds, files, versions, device..."""
        try:
            return self._checked_meta(key)
        except _Faulty as fault:
            raise Damaged(str(fault)) from None

    def _checked_meta(self, key: str) -> dict[str, Any]:
        file = self._place(key) / _META
        try:
            meta: dict[str, Any] = json.loads(file.read_bytes())
            known = meta.pop("checksum")
        except FileNotFoundError:
            raise _Faulty(f"{file} is missing") from None
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError, *_NO_FILE):
            raise _Faulty(f"{file} cannot be read") from None
        if known != _text_digest(_as_json(meta)) or meta["key"] != key:
            raise _Faulty(f"{file} does not have the content it was written with")
        return meta

    def remarks(self, unit: Unit) -> list[str]:
        """What a reader must know of a unit's result, and of all it was made from. Raises Damaged."""
        remarks: list[str] = self.meta(unit.key).get("remarks", [])
        return remarks

    def verify(self) -> list[str]:
        """Check every file of every result; what is damaged is set aside. One message for each."""
        messages = []
        for key in sorted(self.keys()):
            try:
                _check_files(self._place(key), self._checked_meta(key))
            except _Faulty as fault:
                messages.append(str(self._set_aside(key, str(fault))))
        return messages

    def save(
        self, unit: Unit, value: Any, *, seconds: float, device: str = "cpu", remarks: Sequence[str] = ()
    ) -> None:
        """Keep a result. Either all of it is there afterwards, or nothing and one clear error.

        `remarks` are what a reader of the result must know. Raises StoreFull, or codecs.ResultError for a result of
        no kind that can be kept.
        """
        alone = nullcontext() if unit.key in self._held else self.locked(unit.key)
        with alone, self._translated():
            partial = self.path / "partial" / f"{unit.key}-{uuid.uuid4().hex[:8]}"
            partial.mkdir(parents=True)
            try:
                meta = _description(unit, seconds, device) | {"remarks": list(remarks)}
                meta["kind"] = codecs.write(value, partial)
                _seal(partial, meta)
                self._publish(unit.key, partial)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        self._note(unit, seconds, sum(file["bytes"] for file in meta["files"].values()))

    @contextmanager
    def locked(self, key: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold a unit's lock, so that no other process computes it; without `wait`, False when one does."""
        with self._translated():
            (self.path / "locks").mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / "locks" / key, timeout=-1 if wait else 0)
        try:
            with self._translated():
                lock.acquire(poll_interval=0.05)
        except filelock.Timeout:
            yield False
            return
        try:
            self._held.add(key)
            self._clear_partial(key)
            yield True
        finally:
            self._held.discard(key)
            lock.release()

    def busy(self, key: str) -> bool:
        """Whether another process computes a unit now."""
        with self.locked(key, wait=False) as alone:
            return not alone

    @contextmanager
    def journaled(self, key: str) -> Iterator[None]:
        """Where the unit's function may keep what it has finished (`runs.journal`), until its result is kept."""
        with self._translated(), journals.opened(self.path / "journals" / f"{key}.jsonl"):
            yield

    def sweep(self) -> None:
        """Remove what killed processes left half-written; who still writes holds the lock, and keeps it."""
        for name in _listed(self.path / "partial"):
            with self.locked(name.partition("-")[0], wait=False):
                pass  # taking the lock clears the key's leftovers

    def paces(self) -> dict[str, Pace]:
        """Time and size of the finished units by function, from all runs on this store."""
        paces: dict[str, Pace] = {}
        with suppress(FileNotFoundError, *_NO_FILE):
            text = (self.path / "history.jsonl").read_text(encoding="utf-8", errors="replace")
            for line in text.splitlines():
                with suppress(ValueError, KeyError, TypeError):  # a line cut short by a kill or a full disk
                    note = json.loads(line)
                    paces[note["function"]] = _added(paces.get(note["function"]), note)
        return paces

    def _place(self, key: str) -> Path:
        return self.path / key[:2] / key

    def _publish(self, key: str, partial: Path) -> None:
        # The renaming itself is not flushed: a power cut may take back the last units, never half of one.
        place = self._place(key)
        place.parent.mkdir(exist_ok=True)
        if place.exists():  # written meanwhile by a caller that took no lock: equal, so theirs may stay
            shutil.rmtree(partial)
            return
        os.replace(partial, place)

    def _set_aside(self, key: str, reason: str) -> Damaged:
        """Move a damaged result to `damaged/`, under its lock, unless another process has redone it."""
        place, aside = self._place(key), self.path / "damaged" / f"{key}-{uuid.uuid4().hex[:8]}"
        with self.locked(key, wait=False) as alone:
            if alone and place.exists():
                try:
                    _check_files(place, self._checked_meta(key))
                except _Faulty:
                    aside.parent.mkdir(exist_ok=True)
                    os.replace(place, aside)
                    return Damaged(f"{reason}; set aside as {aside}")
        return Damaged(reason)

    def _clear_partial(self, key: str) -> None:
        for name in _listed(self.path / "partial"):
            if name.startswith(key):
                shutil.rmtree(self.path / "partial" / name, ignore_errors=True)

    def _note(self, unit: Unit, seconds: float, size: int) -> None:
        """One line of history. It only serves estimates, so a full disk may lose it."""
        line = json.dumps({"function": unit.name, "seconds": seconds, "bytes": size, "work": unit.work})
        with suppress(OSError), (self.path / "history.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Every library says `disk full` in its own type: here it is one."""
        try:
            yield
        except Exception as error:
            reason = next((text for text in _FULL if text in str(error)), None)
            if reason is None:
                raise
            raise StoreFull(f"{self.path}: cannot write ({_plain_reason(error)}); {self._free()}") from error

    def _free(self) -> str:
        existing = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
        return (
            f"{free / 1e6:.1f} MB are free. What was finished is kept: make room, or point ROBUST_STORE to a "
            "larger disk, and run again"
        )


class _Faulty(Exception):
    """What a check found wrong with a result's files."""


def _check_files(directory: Path, meta: dict[str, Any]) -> None:
    for name, known in meta["files"].items():
        file = directory / name
        try:
            size = file.stat().st_size
            digest = _file_digest(file) if size == known["bytes"] else None
        except FileNotFoundError:
            raise _Faulty(f"{file} is missing") from None
        except _NO_FILE:
            raise _Faulty(f"{file} cannot be read") from None
        if digest is None:
            raise _Faulty(f"{file} has {size} bytes where {known['bytes']} were written")
        if digest != known["sha256"]:
            raise _Faulty(f"{file} does not have the content it was written with")


def _seal(directory: Path, meta: dict[str, Any]) -> None:
    """Add size and sha256 of a directory's files to its meta, write that too, and force everything to disk."""
    meta["files"] = {}
    for file in sorted(path for path in directory.rglob("*") if path.is_file()):
        _flush(file)
        name = file.relative_to(directory).as_posix()
        meta["files"][name] = {"bytes": file.stat().st_size, "sha256": _file_digest(file)}
    meta["checksum"] = _text_digest(_as_json(meta))
    (directory / _META).write_text(json.dumps(meta, indent=1), encoding="utf-8")
    _flush(directory / _META)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _as_json(meta: dict[str, Any]) -> str:
    return json.dumps(meta, sort_keys=True)


def _listed(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _description(unit: Unit, seconds: float, device: str) -> dict[str, Any]:
    return {
        "key": unit.key,
        "function": unit.name,
        "label": unit.label,
        "arguments": {name: units.describe(value) for name, value in unit.arguments.items()},
        "code": unit.code,
        "work": unit.work,
        "seconds": round(seconds, 4),
        "device": device,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions("torch", "transformers"),
    }


@functools.cache
def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of installed packages; those not installed are left out."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _added(pace: Pace | None, note: dict[str, Any]) -> Pace:
    if pace is None:
        return Pace(1, note["seconds"], note["bytes"], note["work"])
    work = None if pace.work is None or note["work"] is None else pace.work + note["work"]
    return Pace(pace.units + 1, pace.seconds + note["seconds"], pace.bytes + note["bytes"], work)


def _plain_reason(error: BaseException) -> str:
    return str(error).splitlines()[0]
