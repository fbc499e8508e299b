"""Where units run: in this process, or on worker processes. An engine is `submit(unit) -> Future`, no more.

An engine runs a unit whose dependencies are finished in the store, keeps the result there, and its future
gives a `Receipt`, never the result itself. So an engine on other machines only needs the same store.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal, Protocol

from robust_lib.runs import reach, source
from robust_lib.runs.store import Damaged, Missing, Store
from robust_lib.runs.units import Unit

_DEATH = (
    "its worker process died (killed from outside, or out of memory; in a script, collect under "
    "`if __name__ == '__main__'`)"
)
Outcome = Literal["computed", "found", "busy", "unfit", "failed"]


@dataclass(frozen=True)
class Receipt:
    """What became of a submitted unit.

    computed: run and kept. found: another process had kept it. busy: another process is at it. unfit: a
    dependency is missing or damaged (`messages` say which file). failed: the function raised `error`.
    """

    outcome: Outcome
    seconds: float = 0.0
    error: BaseException | None = None
    messages: tuple[str, ...] = ()


class Engine(Protocol):
    """Runs units whose dependencies are in the store."""

    def submit(self, unit: Unit) -> Future[Receipt]:
        """Start the unit; the future fails with WorkerDied when its process does."""
        ...


class WorkerDied(RuntimeError):
    """The process that ran a unit ended without an answer."""


def perform(store: Store, unit: Unit) -> Receipt:
    """Run one unit and keep its result. KeyboardInterrupt passes through, every other end is a receipt."""
    try:
        with store.locked(unit.key, wait=False) as alone:
            if not alone:
                return Receipt("busy")
            if unit in store:
                return Receipt("found")
            return _compute(store, unit)
    except (Damaged, Missing) as fault:
        return Receipt("unfit", messages=(str(fault),) if isinstance(fault, Damaged) else ())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Receipt("failed", error=error)


def _compute(store: Store, unit: Unit) -> Receipt:
    results = {needed: store.load(needed) for needed in unit.dependencies}
    started = time.perf_counter()
    with store.journaled(unit.key):
        value = unit.call(results.__getitem__)
        seconds = time.perf_counter() - started
        store.save(unit, value, seconds=seconds, device=device())
    return Receipt("computed", seconds)


def device() -> str:
    """The accelerator units run on, by its model name, else `cpu`. Says cpu where torch was never needed."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "cpu"


class InProcess:
    """Runs each unit at once, in this process."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, unit: Unit) -> Future[Receipt]:
        """A future that is already done."""
        future: Future[Receipt] = Future()
        future.set_result(perform(self._store, unit))
        return future


class Pool:
    """Runs units on worker processes of one torch thread each.

    Workers start fresh (spawn: CUDA and threads do not survive a fork), leave Ctrl-C to the parent, and end
    with it however it ends. After a worker died the next submit starts new ones.
    """

    def __init__(self, store: Store, workers: int) -> None:
        self._store = store
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None
        self._leash: Connection | None = None

    def submit(self, unit: Unit) -> Future[Receipt]:
        """Hand the unit to the next free worker."""
        # Pickled here, so that what cannot be unpickled there fails this unit instead of killing the worker.
        call = (str(self._store.path), pickle.dumps(unit), reach.digests(unit.codes))
        try:
            answer = self._enqueued(call)
        except BrokenProcessPool:
            self.stop()
            answer = self._enqueued(call)
        future: Future[Receipt] = Future()
        answer.add_done_callback(lambda done: _pass_on(done, future))
        return future

    def stop(self) -> None:
        """End the workers at once, in the middle of what they do."""
        if self._executor is None or self._leash is None:
            return
        self._leash.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = self._leash = None

    def _enqueued(self, call: tuple[str, bytes, list[str]]) -> Future[bytes]:
        executor = self._started()
        with _interrupts_later():
            return executor.submit(_work, *call)

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            worker_end, self._leash = multiprocessing.get_context("spawn").Pipe(duplex=False)
            self._executor = ProcessPoolExecutor(
                self._workers, multiprocessing.get_context("spawn"), _prepare_worker, (worker_end,)
            )
        return self._executor


@contextmanager
def opened(store: Store, workers: int) -> Iterator[Engine]:
    """The engine for so many workers; one is this process. Its workers are gone at the end."""
    if workers == 1:
        yield InProcess(store)
        return
    pool = Pool(store, workers)
    try:
        yield pool
    finally:
        pool.stop()
        with suppress(OSError):
            store.sweep()  # what a stopped worker left half-written


def _pass_on(done: Future[bytes], future: Future[Receipt]) -> None:
    if done.cancelled() or isinstance(done.exception(), BrokenProcessPool):
        future.set_exception(WorkerDied(_DEATH))
    elif (error := done.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(pickle.loads(done.result()))  # noqa: S301 - from our own worker


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Hold Ctrl-C back while workers are started, who inherit that until they can ignore it themselves."""
    held = threading.current_thread() is threading.main_thread() and hasattr(signal, "pthread_sigmask")
    if held:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if held:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare_worker(leash: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, args=(leash,), daemon=True).start()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # bars would break the parent's line


def _follow_parent(leash: Connection) -> None:
    """The other end closes when the parent wants its workers gone, and when it is killed."""
    try:
        leash.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _work(path: str, pickled: bytes, code: list[str]) -> bytes:
    """In a worker: perform the unit, after making sure that it means the same code as in the parent."""
    try:
        unit = pickle.loads(pickled)  # noqa: S301 - from our own parent
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        if reach.digests(unit.codes) != code:
            raise source.SourceChanged(
                f"{unit.label}: its source was edited since this process started; restart the kernel"
            )
        receipt = perform(Store(path), unit)
    except Exception as error:
        receipt = Receipt("failed", error=error)
    return _portable(receipt)


def _portable(receipt: Receipt) -> bytes:
    """The receipt as bytes; an error that does not survive the way becomes its text."""
    error = receipt.error
    if error is None:
        return pickle.dumps(receipt)
    trace = "".join(traceback.format_exception(error)).rstrip()
    try:
        same = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:
        same = RuntimeError(f"{type(error).__name__}: {error}")
    same.add_note(f"in a worker process:\n{trace}")
    return pickle.dumps(Receipt(receipt.outcome, receipt.seconds, same))
