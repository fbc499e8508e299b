"""Where units run: in this process or on worker processes; `together` in all of accelerate; on Ray (`cluster`).

An engine runs a unit whose dependencies are finished in the store, keeps the result there, and its future
gives a `Receipt`, never the result itself. So an engine on other machines only needs the same store.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal, Protocol

from robust_lib.runs import progress, reach, source
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
    dependency is missing or damaged (`messages` say which file). failed: the function raised `error`, on the
    `node` and `host` of a cluster.
    """

    outcome: Outcome
    seconds: float = 0.0
    error: BaseException | None = None
    messages: tuple[str, ...] = ()
    node: str = ""
    host: str = ""


class Engine(Protocol):
    """Runs units whose dependencies are in the store."""

    @property
    def slots(self) -> int:
        """Units it runs at once."""
        ...

    @property
    def attempts(self) -> int:
        """How often a unit that fails is tried."""
        ...

    def room(self, running: int) -> bool:
        """Whether it takes another unit while so many run."""
        ...

    def submit(self, unit: Unit, avoid: Collection[str] = ()) -> Future[Receipt]:
        """Start the unit, not on a node to `avoid` while there is another.

        The future fails with WorkerDied when the unit's process died, perhaps through another unit's fault.
        """
        ...


class WorkerDied(RuntimeError):
    """The process that ran a unit ended without an answer."""


class EngineError(RuntimeError):
    """An engine that cannot be used; the message says what is missing and what to do."""

    def _render_traceback_(self) -> list[str]:
        return progress.short(self)


def perform(store: Store, unit: Unit, *, begin: Callable[[], object] = lambda: None) -> Receipt:
    """Run one unit and keep its result; `begin` is called when its function is about to be.

    KeyboardInterrupt passes through, every other end is a receipt.
    """
    try:
        with store.locked(unit.key, wait=False) as alone:
            if not alone:
                return Receipt("busy")
            return Receipt("found") if unit in store else _compute(store, unit, begin)
    except (Damaged, Missing) as fault:
        return Receipt("unfit", messages=(str(fault),) if isinstance(fault, Damaged) else ())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Receipt("failed", error=error)


def _compute(store: Store, unit: Unit, begin: Callable[[], object]) -> Receipt:
    results = {needed: store.load(needed) for needed in unit.dependencies}
    inherited = [remark for needed in unit.dependencies for remark in store.remarks(needed)]
    begin()
    started = time.perf_counter()
    with store.journaled(unit.key):
        with _remarks() as own:
            value = unit.call(results.__getitem__)
        seconds = time.perf_counter() - started
        remarks = dict.fromkeys([*inherited, *(f"{unit.label}: {remark}" for remark in own)])
        store.save(unit, value, seconds=seconds, device=device(), remarks=list(remarks))
    return Receipt("computed", seconds)


@contextmanager
def _remarks() -> Iterator[list[str]]:
    """What our own functions warn of is kept with their result; every other warning goes its way, each once."""
    remarks: list[str] = []
    seen: dict[tuple[str, type[Warning], str, int], None] = {}

    def note(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: Any, **more: Any
    ) -> None:
        seen[str(message), category, filename, lineno] = None

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = note
            yield remarks
    finally:
        for text, category, filename, lineno in seen:
            if category.__module__.startswith("robust_lib."):
                remarks.append(text)
            else:
                warnings.warn_explicit(text, category, filename, lineno)


def device() -> str:
    """The accelerator units run on, by its model name, else `cpu`. Says cpu where torch was never needed."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "cpu"


def described() -> str:
    """This process's accelerator with its memory, or its cores."""
    import torch

    if torch.cuda.is_available():
        return f"{device()}, {torch.cuda.get_device_properties(0).total_memory / 2**30:.1f} GiB"
    return f"cpu, {os.cpu_count()} cores"


class InProcess:
    """Runs each unit at once, in this process."""

    slots = attempts = 1

    def __init__(self, store: Store) -> None:
        self._store = store

    def room(self, running: int) -> bool:
        """Nothing runs between two calls."""
        return True

    def submit(self, unit: Unit, avoid: Collection[str] = ()) -> Future[Receipt]:
        """A future that is already done."""
        future: Future[Receipt] = Future()
        future.set_result(perform(self._store, unit))
        return future


class Pool:
    """Runs units on worker processes of one torch thread each.

    Workers start fresh (spawn: CUDA and threads do not survive a fork), leave Ctrl-C to the parent, and end
    with it however it ends. After a worker died the next submit starts new ones.
    """

    attempts = 1  # of a unit that raised: it would again

    def __init__(self, store: Store, workers: int) -> None:
        self._store = store
        self.slots = workers
        self._executor: ProcessPoolExecutor | None = None
        self._leash: Connection | None = None

    def room(self, running: int) -> bool:
        """As long as a worker is free."""
        return running < self.slots

    def submit(self, unit: Unit, avoid: Collection[str] = ()) -> Future[Receipt]:
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
            return executor.submit(answer, *call)

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            worker_end, self._leash = multiprocessing.get_context("spawn").Pipe(duplex=False)
            self._executor = ProcessPoolExecutor(
                self.slots, multiprocessing.get_context("spawn"), _prepare_worker, (worker_end,)
            )
        return self._executor


@contextmanager
def opened(store: Store, name: str, units: int) -> Iterator[Engine]:
    """The engine of that name for so many units: "processes", "ray", or the address of a Ray cluster.

    "processes" are as many as `default_workers` says, one being this process, or those that accelerate started.
    What still runs at the end is stopped.
    """
    from robust_lib.runs import cluster, together  # here: they stand on this module

    workers = min(default_workers(), units)
    if name == "processes" and workers == 1 and not together.several():
        yield InProcess(store)
        return
    engine: Pool | together.Together | cluster.Ray
    if name != "processes":
        engine = cluster.Ray(store, name)
    else:
        engine = together.Together(store) if together.several() else Pool(store, workers)
    try:
        yield engine
    finally:
        engine.stop()
        with suppress(OSError):
            store.sweep()  # what a stopped worker left half-written


def default_workers() -> int:
    """ROBUST_WORKERS, else 1 with CUDA (units would share its memory), else one per CPU core."""
    given = os.environ.get("ROBUST_WORKERS", "")
    if given:
        if not given.isdecimal() or int(given) < 1:
            raise ValueError(f"ROBUST_WORKERS is {given!r}; give the number of worker processes, from 1")
        return int(given)
    import torch

    return 1 if torch.cuda.is_available() else os.cpu_count() or 1


def _pass_on(done: Future[bytes], future: Future[Receipt]) -> None:
    if done.cancelled() or isinstance(done.exception(), BrokenProcessPool):
        future.set_exception(WorkerDied(_DEATH))
    elif (error := done.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(received(done.result()))


def received(sent: bytes) -> Receipt:
    """A worker's receipt; one that cannot be read here, as its error is of a class unknown here, has failed."""
    try:
        receipt: Receipt = pickle.loads(sent)  # noqa: S301 - from our own worker
    except Exception as error:
        return Receipt("failed", error=error)
    return receipt


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
    quieten()


def quieten() -> None:
    """A worker's environment: one thread, and no bars, which would break the parent's line."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")


def _follow_parent(leash: Connection) -> None:
    """The other end closes when the parent wants its workers gone, and when it is killed."""
    try:
        leash.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def answer(
    path: str, pickled: bytes, code: list[str], node: str = "", host: str = "", *, patience: float = 0.0
) -> bytes:
    """In a worker: perform the unit, after making sure that it means the same code as in the parent.

    The receipt, with node and host, as bytes.
    """
    try:
        unit = pickle.loads(pickled)  # noqa: S301 - from our own parent
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        if reach.digests(unit.codes) != code:
            raise source.SourceChanged(
                f"{unit.label}: its source was edited since this process started; restart the kernel"
                + (f", or bring the code on {host} up to date" if host else "")
            )
        receipt = perform(Store(path, patience=patience), unit)
    except Exception as error:
        receipt = Receipt("failed", error=error)
    return portable(dataclasses.replace(receipt, node=node, host=host))


def portable(receipt: Receipt) -> bytes:
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
    return pickle.dumps(dataclasses.replace(receipt, error=same))
