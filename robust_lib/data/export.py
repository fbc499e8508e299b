"""A data directory filled from the hub, with a manifest, for machines without internet."""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robust_lib.data import hub, sources
from robust_lib.data.places import ELSEWHERE, HUB, remedy
from robust_lib.data.tasks import TASKS, DataError, dataset, task

MANIFEST = "manifest.json"


def export(
    directory: str, tasks: Iterable[str] | None = None, say: Callable[[str], object] = print
) -> dict[str, dict[str, Any]]:
    """Fill `directory` with the hub's splits of `tasks` (or of all) in canonical form; return the manifest.

    A split that the manifest lists from the same commit, and whose file is undamaged, is not fetched again.
    Every file is complete or absent at any moment. Splits that no hub repository has are named, with where to
    get them; those that could not be fetched are named in one DataError, after all others have been.
    """
    names = list(TASKS if tasks is None else tasks)
    for name in names:
        task(name)
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    manifest, failures = _manifest(root), []
    for path in (path for path in HUB if dataset(path).task in names):
        try:
            if not _complete(root, path, manifest):
                manifest[path] = _exported(root, path)
                _write(root / MANIFEST, partial(_dump, manifest))
            say(f"{path}: {manifest[path]['rows']} rows")
        except DataError as error:
            failures.append(str(error))
    for path in (path for path in ELSEWHERE if path not in HUB and dataset(path).task in names):
        if sources.found(root, path) is None:
            say(f"{path}: not on the hub: {remedy(path, directory)}")
    if failures:
        raise DataError("\n".join([f"{len(failures)} splits were not exported:", *failures]))
    return manifest


def _complete(root: Path, path: str, manifest: Mapping[str, Mapping[str, Any]]) -> bool:
    entry = manifest.get(path)
    return entry is not None and entry["commit"] == hub.commit(path) and not _damage(root, path, entry)


def _dump(manifest: Mapping[str, Any], file: Path) -> None:
    file.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def verify(directory: str) -> list[str]:
    """What is wrong with the files that the manifest lists, one line each: missing, or changed since."""
    root = Path(directory)
    if not (root / MANIFEST).is_file():
        raise DataError(f"{root / MANIFEST}: no such file: export fills {root} and writes it")
    return [damage for path, entry in _manifest(root).items() if (damage := _damage(root, path, entry))]


def _exported(root: Path, path: str) -> dict[str, Any]:
    """Write one split; return its entry in the manifest."""
    frame, where = hub.frame(path), hub.place(path)
    file = root / f"{path}.parquet"
    file.parent.mkdir(exist_ok=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    _write(file, lambda temporary: pq.write_table(table, temporary))
    return {
        "rows": len(frame),
        "sha256": _sha256(file),
        "repository": where.repository,
        "commit": hub.commit(path),
        "file": where.file,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _write(file: Path, fill: Callable[[Path], object]) -> None:
    """Write beside the file, flush to the disk, rename: a kill or a full disk leaves the old file or none."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        fill(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _manifest(root: Path) -> dict[str, dict[str, Any]]:
    file = root / MANIFEST
    if not file.is_file():
        return {}
    try:
        entries: dict[str, dict[str, Any]] = json.loads(file.read_text())
        _ = [(entry["rows"], entry["sha256"], entry["commit"]) for entry in entries.values()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{file}: not a manifest ({error}): delete it and export again") from error
    return entries


def _damage(root: Path, path: str, entry: Mapping[str, Any]) -> str | None:
    file = root / f"{path}.parquet"
    if not file.is_file():
        return f"{file}: missing: export again"
    if _sha256(file) != entry["sha256"]:
        return f"{file}: changed since it was exported (its SHA-256 is not the manifest's): export again"
    return None


def _sha256(file: Path) -> str:
    stat = file.stat()
    return sources.sha256(file, stat.st_mtime_ns, stat.st_size)
