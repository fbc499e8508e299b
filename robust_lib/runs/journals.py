"""What a running unit has finished so far: kept beside the store, so that an interrupted one resumes where it was."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any


class Journal:
    """Finished parts of one unit by name, as JSON. A part is kept once `add` returns, however the process ends."""

    def __init__(self, file: Path | None = None) -> None:
        self.done: dict[str, Any] = {} if file is None else _read(file)
        self._file = file
        self._stream: IO[str] | None = None

    def add(self, name: str, part: Any) -> None:
        """Keep a part: numbers, strings, lists and dicts of them."""
        self.done[name] = part
        if self._file is None:
            return
        if self._stream is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._file.open("a", encoding="ascii")
            self._stream.write("\n")  # ends a line that a kill cut short
        text = json.dumps([name, part], ensure_ascii=True)
        self._stream.write(f"{zlib.crc32(text.encode()):08x} {text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file; what it holds stays."""
        if self._stream is not None:
            self._stream.close()


_running: ContextVar[Journal | None] = ContextVar("journal", default=None)


def journal() -> Journal:
    """The journal of the unit that is running; outside a run one that is kept nowhere.

    A unit asks it for the parts that are `done`, computes the others and adds each. Its result must not depend on
    which were done before.
    """
    return _running.get() or Journal()


@contextmanager
def opened(file: Path) -> Iterator[None]:
    """Where `journal` reads and adds to `file`, which is gone afterwards unless an error or the end came first."""
    own = Journal(file)
    token = _running.set(own)
    try:
        yield
    finally:
        _running.reset(token)
        own.close()
    file.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any]:
    """The parts of whole lines; one cut short or damaged is as if it had not been."""
    done = {}
    if file.exists():
        for line in file.read_text(encoding="ascii", errors="replace").splitlines():
            crc, _, text = line.partition(" ")
            if crc == f"{zlib.crc32(text.encode()):08x}":
                name, part = json.loads(text)
                done[name] = part
    return done
