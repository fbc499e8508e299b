"""One line that says how far a run is, in Jupyter, on a terminal and in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from robust_lib.runs.store import Pace
from robust_lib.runs.units import Unit

_LIVE_INTERVAL = 0.5  # seconds between updates in place
_LOG_INTERVAL = 15.0  # seconds between the first lines of a log; they grow rarer as the run grows older


class Estimate:
    """Seconds that units still need: the mean of their function in this run, else in the store's history."""

    def __init__(self, history: Mapping[str, Pace]) -> None:
        self._history = history
        self._seconds: dict[str, float] = defaultdict(float)
        self._units: dict[str, int] = defaultdict(int)
        self._work: dict[str, float] = defaultdict(float)

    def add(self, unit: Unit, seconds: float) -> None:
        """Learn from a finished unit."""
        self._seconds[unit.name] += seconds
        self._units[unit.name] += 1
        self._work[unit.name] += unit.work or 0.0

    def seconds(self, unit: Unit) -> float | None:
        """What one unit takes, by its work where it has one; None while nothing like it was ever run."""
        name, pace = unit.name, self._history.get(unit.name)
        if self._units[name]:
            if unit.work and self._work[name]:
                return self._seconds[name] * unit.work / self._work[name]
            return self._seconds[name] / self._units[name]
        if pace is not None:
            return pace.seconds * unit.work / pace.work if unit.work and pace.work else pace.mean
        done = sum(self._units.values())
        return sum(self._seconds.values()) / done if done else None

    def left(self, units: Iterable[tuple[Unit, float]], workers: int) -> float | None:
        """Seconds until the units are done, of each of which some are spent; None when it cannot be told."""
        needed = []
        for unit, spent in units:
            seconds = self.seconds(unit)
            if seconds is None:
                return None
            needed.append(max(seconds - spent, 0.0))
        return max(sum(needed) / workers, max(needed, default=0.0))


class Line:
    """The progress line: in place through Jupyter's display or a carriage return, plain lines in a log."""

    def __init__(self, stream: TextIO | None = None, *, silent: bool = False) -> None:
        self._silent = silent
        self._stream = stream or sys.stdout
        self._started = time.monotonic()
        self._shown = float("-inf")
        self._display = _notebook_display() if stream is None else None
        self._live = self._display is not None or self._stream.isatty()
        self._width = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the line was made."""
        return time.monotonic() - self._started

    @property
    def due(self) -> bool:
        """Whether it is time for another line: often in place, ever more rarely in a log."""
        interval = _LIVE_INTERVAL if self._live else max(_LOG_INTERVAL, 0.1 * self.elapsed)
        return time.monotonic() - self._shown >= interval

    def show(self, text: str, *, last: bool = False) -> None:
        """Show the text in the place of the one before; the last one stays."""
        self._shown = time.monotonic()
        if self._silent:
            return
        if self._display is not None:
            self._display(text)
            return
        if self._live:
            fitted = text[: shutil.get_terminal_size().columns - 1]
            self._stream.write("\r" + fitted.ljust(self._width) + ("\n" if last else ""))
            self._width = len(fitted)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def short(error: BaseException) -> list[str]:
    """An error as IPython shows it in the place of a traceback: its kind and its message."""
    kind, message = type(error).__name__, str(error)
    return [f"\x1b[31m{kind}\x1b[39m: {message}" if message else kind]


def duration(seconds: float) -> str:
    """`0:07`, `12:30`, `3:05:00`, `2 d 4 h`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _notebook_display() -> Callable[[str], None] | None:
    """Shows a text in one place of the cell's output, when this is a notebook's kernel."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import DisplayHandle

    handle: Any = DisplayHandle()  # type: ignore[no-untyped-call]
    begun = False

    def display(text: str) -> None:
        nonlocal begun
        (handle.update if begun else handle.display)({"text/plain": text}, raw=True)
        begun = True

    return display
