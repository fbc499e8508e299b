"""What is still to do: missing units after their dependencies, each once, whatever happens to some."""

from __future__ import annotations

import heapq
import time
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

from robust_lib.runs import progress, together
from robust_lib.runs.engine import Engine, InProcess, Receipt, WorkerDied, opened
from robust_lib.runs.store import DamagedWarning, Store, StoreFull
from robust_lib.runs.units import Unit

_POLL = 0.2  # seconds between looks at a unit that another process is computing
_ATTEMPTS = 2  # of a unit whose worker died or whose dependencies are damaged


class UnitsFailed(RuntimeError):
    """Units that raised or died; everything that does not depend on them was finished and kept.

    `failures` are the units with their errors; IPython shows the message alone.
    """

    def __init__(self, message: str, failures: Sequence[tuple[Unit, BaseException]]) -> None:
        super().__init__(message)
        self.failures = list(failures)

    def _render_traceback_(self) -> list[str]:
        return progress.short(self)


@dataclass
class _Node:
    unit: Unit
    order: int
    needs: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    chain: int = 0  # units of the longest chain that begins here
    attempts: int = 0
    failed_on: set[str] = field(default_factory=set)


@dataclass
class Counts:
    """Units of a run by what became of them."""

    computed: int = 0
    reused: int = 0
    failed: int = 0
    skipped: int = 0


class Schedule:
    """Completes units on a store, and adds to `counts` what was computed and what was there."""

    def __init__(
        self,
        store: Store,
        units: Iterable[Unit],
        line: progress.Line,
        counts: Counts,
        name: str = "processes",
    ) -> None:
        self.counts = counts
        self._store = store
        self._line = line
        self._name = name
        self._engine: Engine = InProcess(store)
        self._todo: dict[str, _Node] = {}
        self._ready: list[tuple[int, int, str]] = []
        self._running: dict[Future[Receipt], tuple[str, float]] = {}
        self._elsewhere: dict[str, float] = {}
        self._suspects: list[str] = []
        self._failures: list[tuple[Unit, BaseException]] = []
        self._label = ""
        self._wanted = list(units)
        for unit in self._wanted:
            if not self._enter(unit):
                self.counts.reused += 1
        self._estimate = progress.Estimate(store.paces() if self._todo else {})

    def complete(self) -> None:
        """Run everything missing. Raises UnitsFailed at the end, StoreFull and KeyboardInterrupt at once."""
        if together.following():
            if failure := together.follow(self._store, self._wanted):
                raise UnitsFailed(failure, [])
            return
        if self._todo:
            self._rank()
            with opened(self._store, self._name, len(self._todo)) as self._engine:
                while self._todo:
                    self._submit()
                    self._receive()
        if together.several():
            together.end(self._told_failures())
        if self._failures:
            raise UnitsFailed(self._told_failures(), self._failures) from self._failures[0][1]

    def _rank(self) -> None:
        """What has the longest chain of units after it comes first: on many workers the longest chain is the last."""
        for node in reversed(list(self._todo.values())):  # users stand behind what they need
            node.chain = 1 + max((self._todo[user].chain for user in node.users), default=0)
        self._ready = [(-self._todo[key].chain, order, key) for _, order, key in self._ready]
        heapq.heapify(self._ready)

    def _enter(self, unit: Unit) -> bool:
        """Plan a missing unit after its missing dependencies; False for a unit that is there."""
        waiting = [unit]
        while waiting:
            current = waiting[-1]
            if current.key in self._todo or current in self._store:
                waiting.pop()
                continue
            open_needs = [needed for needed in current.dependencies if needed not in self._store]
            unplanned = [needed for needed in open_needs if needed.key not in self._todo]
            if unplanned:
                waiting.extend(reversed(unplanned))
                continue
            self._plan(current, {needed.key for needed in open_needs})
            waiting.pop()
        return unit.key in self._todo

    def _plan(self, unit: Unit, needs: set[str]) -> None:
        self._todo[unit.key] = _Node(unit, len(self._todo), needs)
        for key in needs:
            self._todo[key].users.add(unit.key)
        if not needs:
            self._queue(unit.key)

    def _queue(self, key: str) -> None:
        node = self._todo[key]
        heapq.heappush(self._ready, (-node.chain, node.order, key))

    def _submit(self) -> None:
        """Fill the workers. A unit whose worker died goes again alone: a second death tells who it was."""
        self._recall()
        if self._suspects:
            if not self._running:
                self._start(self._suspects.pop(0))
            return
        while self._ready and self._engine.room(len(self._running)):
            self._start(heapq.heappop(self._ready)[-1])

    def _start(self, key: str) -> None:
        node = self._todo[key]
        node.attempts += 1
        self._label = node.unit.label
        self._show()
        started = time.monotonic()
        self._running[self._engine.submit(node.unit, node.failed_on)] = key, started

    def _recall(self) -> None:
        """Try again what another process was computing, when it has ended."""
        now = time.monotonic()
        for key in [key for key, since in self._elsewhere.items() if now - since >= _POLL]:
            if self._store.busy(key):
                self._elsewhere[key] = now
            else:
                del self._elsewhere[key]
                self._queue(key)

    def _receive(self) -> None:
        if not self._running:
            time.sleep(_POLL)  # everything left is being computed elsewhere
            self._show()
            return
        done, _ = wait(self._running, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            self._settle(self._running.pop(future)[0], future)
        self._show()

    def _settle(self, key: str, future: Future[Receipt]) -> None:
        node = self._todo[key]
        try:
            receipt = future.result()
        except WorkerDied as death:
            self._retry(node, death)
            return
        if isinstance(receipt.error, StoreFull):
            raise receipt.error
        if receipt.error is not None:
            self._failed(node, receipt, receipt.error)
        elif receipt.outcome == "busy":
            node.attempts -= 1
            self._label = f"{node.unit.label} runs in another process"
            self._elsewhere[key] = time.monotonic()
        elif receipt.outcome == "unfit":
            self._renew(node, receipt.messages)
        else:
            self._finish(node, receipt)

    def _finish(self, node: _Node, receipt: Receipt) -> None:
        if receipt.outcome == "computed":
            self.counts.computed += 1
            self._estimate.add(node.unit, receipt.seconds)
        else:
            self.counts.reused += 1
        key = node.unit.key
        for user in self._todo.pop(key).users & self._todo.keys():
            self._todo[user].needs.discard(key)
            if not self._todo[user].needs:
                self._queue(user)

    def _renew(self, node: _Node, messages: tuple[str, ...]) -> None:
        """A dependency turned out damaged or gone: compute it again first."""
        warn_of(messages)
        if node.attempts > _ATTEMPTS:
            self._fail(node, RuntimeError(f"what it needs is damaged again and again: {'; '.join(messages)}"))
            return
        del self._todo[node.unit.key]
        if self._enter(node.unit):
            entered = self._todo[node.unit.key]
            entered.users, entered.attempts, entered.failed_on = node.users, node.attempts, node.failed_on
            self._rank()
        else:  # finished by another process meanwhile
            self._todo[node.unit.key] = node
            self._finish(node, Receipt("found"))

    def _retry(self, node: _Node, death: WorkerDied) -> None:
        if node.attempts < _ATTEMPTS:
            self._suspects.append(node.unit.key)
            return
        self._fail(
            node, WorkerDied(f"{death}, {node.attempts} times; the second time it was the only one running")
        )

    def _failed(self, node: _Node, receipt: Receipt, error: BaseException) -> None:
        """On a cluster the node may be at fault: try again, elsewhere if there is another."""
        if node.attempts < self._engine.attempts:
            node.failed_on |= {receipt.node} - {""}
            self._queue(node.unit.key)
            return
        if receipt.host:
            error = _on(receipt.host, node.attempts, error)
        self._fail(node, error)

    def _fail(self, node: _Node, error: BaseException) -> None:
        self.counts.failed += 1
        self._failures.append((node.unit, error))
        waiting = list(self._todo.pop(node.unit.key).users)
        while waiting:
            user = self._todo.pop(waiting.pop(), None)
            if user is not None:
                self.counts.skipped += 1
                waiting.extend(user.users)

    def _told_failures(self) -> str:
        """The message of UnitsFailed; "" when none did."""
        if not self._failures:
            return ""
        lines = [
            f"{unit.label} [{unit.key[:8]}]: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
            for unit, error in self._failures
        ]
        counts = self.counts
        head = f"{counts.failed} unit{'s' * (counts.failed > 1)} failed"
        if counts.skipped:
            head += f", {counts.skipped} that need them were not started"
        head = f"{head}; {counts.computed + counts.reused} others are kept:"
        return "\n  ".join([head, *lines])

    def _show(self) -> None:
        if not self._line.due:
            return
        now = time.monotonic()
        spent = {key: now - started for key, started in self._running.values()}
        todo = ((node.unit, spent.get(key, 0.0)) for key, node in self._todo.items())
        left = self._estimate.left(todo, self._engine.slots)
        self._line.show(summary(self.counts, len(self._todo), self._line.elapsed, left, self._label))


def summary(counts: Counts, todo: int, elapsed: float, left: float | None = None, label: str = "") -> str:
    """`12/40 units (8 kept from before) · 1:05, about 2:10 left · imp(mnli/train, sparsity=0.4)`."""
    done = counts.computed + counts.reused
    parts = [f"{done}/{done + todo + counts.failed + counts.skipped} units"]
    if counts.reused:
        parts[0] += f" ({counts.reused} kept from before)"
    if counts.failed:
        parts[0] += f", {counts.failed} failed"
    parts.append(progress.duration(elapsed))
    if todo and left is not None:
        parts[-1] += f", about {progress.duration(left)} left"
    return " · ".join([*parts, *([label] if todo and label else [])])


def warn_of(messages: Sequence[str]) -> None:
    """Say which files were damaged, each once."""
    for message in messages:
        warnings.warn(message, DamagedWarning, stacklevel=2)


class FailedRepeatedly(RuntimeError):
    """A unit that failed as often as its engine tries; its cause is the last error."""


def _on(host: str, attempts: int, error: BaseException) -> FailedRepeatedly:
    first = str(error).partition("\n")[0]
    repeated = FailedRepeatedly(f"{attempts} times, at last on {host}: {type(error).__name__}: {first}")
    repeated.__cause__ = error
    return repeated
