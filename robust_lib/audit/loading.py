"""Others' files and packages: whatever goes wrong with them becomes one AuditError that names the model."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers

from robust_lib.audit.problems import AuditError
from robust_lib.data import sources


@contextmanager
def named(where: str, remedy: str) -> Iterator[None]:
    """Turn any error within into an AuditError, `model <where>: <its first line>; <remedy>`, and print no report."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    try:
        yield
    except AuditError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise AuditError(f"model {where}: {reason}; {remedy}") from error
    finally:
        transformers.logging.set_verbosity(verbosity)


def sha256(file: Path | str) -> str:
    """Hash of a file's bytes, computed once for as long as its time and size stay. AuditError without the file."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise AuditError(f"model: there is no file {path}")
    stat = path.stat()
    return sources.sha256(path, stat.st_mtime_ns, stat.st_size)


def package(name: str, place: str) -> Any:
    """A module that reading ONNX files takes. AuditError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise AuditError(
            f"model {place}: ONNX files need {name}, which is not installed: pip install 'robust-lib[onnx]'"
        ) from None
