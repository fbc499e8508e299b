"""Where units run: in this process, on worker processes, in all processes of accelerate, or on Ray (`cluster`).

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
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Literal, Protocol

from robust_lib.runs import reach, source
from robust_lib.runs.store import Damaged, Missing, Store
from robust_lib.runs.units import Unit

if TYPE_CHECKING:
    from robust_lib.runs import cluster

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
    def at_hand(self) -> float:
        """Units it takes at once, those that wait for a slot among them."""
        ...

    @property
    def attempts(self) -> int:
        """How often a unit that fails is tried."""
        ...

    def submit(self, unit: Unit, avoid: Collection[str] = ()) -> Future[Receipt]:
        """Start the unit, if possible not on a node to `avoid`.

        The future fails with WorkerDied when the unit's process died, perhaps through another unit's fault.
        """
        ...


class WorkerDied(RuntimeError):
    """The process that ran a unit ended without an answer."""


def perform(store: Store, unit: Unit) -> Receipt:
    """Run one unit and keep its result. KeyboardInterrupt passes through, every other end is a receipt."""
    try:
        with store.locked(unit.key, wait=False) as alone:
            if not alone:
                return Receipt("busy")
            return Receipt("found") if unit in store else _compute(store, unit)
    except (Damaged, Missing) as fault:
        return Receipt("unfit", messages=(str(fault),) if isinstance(fault, Damaged) else ())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Receipt("failed", error=error)


def _compute(store: Store, unit: Unit, *, keep: bool = True) -> Receipt:
    results = {needed: store.load(needed) for needed in unit.dependencies}
    inherited = [remark for needed in unit.dependencies for remark in store.remarks(needed)]
    started = time.perf_counter()
    with store.journaled(unit.key):
        with _remarks() as own:
            value = unit.call(results.__getitem__)
        seconds = time.perf_counter() - started
        remarks = dict.fromkeys([*inherited, *(f"{unit.label}: {remark}" for remark in own)])
        if keep:
            store.save(unit, value, seconds=seconds, device=device(), remarks=list(remarks))
    return Receipt("computed", seconds)


@contextmanager
def _remarks() -> Iterator[list[str]]:
    """What our own functions warn of is kept with their result; every other warning goes its way."""
    remarks: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield remarks
    for warning in caught:
        if warning.category.__module__.startswith("robust_lib."):
            remarks.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


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

    slots = at_hand = attempts = 1

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, unit: Unit, avoid: Collection[str] = ()) -> Future[Receipt]:
        """A future that is already done."""
        future: Future[Receipt] = Future()
        future.set_result(perform(self._store, unit))
        return future


class Together:
    """Runs each unit in all processes that `accelerate launch` or `notebook_launcher` started.

    They all make the same calls: what trains a model does it together (`train.fit`), everything else each repeats.
    The main process alone looks into the store and keeps results; the others follow.
    """

    slots = at_hand = attempts = 1

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, unit: Unit, avoid: Collection[str] = ()) -> Future[Receipt]:
        """A future that is already done, in every process alike."""
        import accelerate
        from accelerate.utils import broadcast_object_list

        main = accelerate.Accelerator().is_main_process
        receipt = Receipt("found")
        with self._store.locked(unit.key) if main else nullcontext():
            (found,) = broadcast_object_list([unit in self._store])
            if not found:
                try:
                    receipt = _compute(self._store, unit, keep=main)
                except Exception as error:
                    receipt = Receipt("failed", error=error)
            (sent,) = broadcast_object_list([portable(receipt)])
        future: Future[Receipt] = Future()
        future.set_result(pickle.loads(sent))  # noqa: S301 - from our own main process
        return future


def meet() -> None:
    """Wait for the other processes of `accelerate launch`, where there are any: until then the store stays as it is."""
    if together():
        import accelerate

        accelerate.Accelerator().wait_for_everyone()


def together() -> bool:
    """Whether this is one of several processes that accelerate started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


class Pool:
    """Runs units on worker processes of one torch thread each.

    Workers start fresh (spawn: CUDA and threads do not survive a fork), leave Ctrl-C to the parent, and end
    with it however it ends. After a worker died the next submit starts new ones.
    """

    attempts = 1  # of a unit that raised: it would again

    def __init__(self, store: Store, workers: int) -> None:
        self._store = store
        self.slots = self.at_hand = workers
        self._executor: ProcessPoolExecutor | None = None
        self._leash: Connection | None = None

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
    if name == "processes" and together():
        yield Together(store)
        return
    workers = min(default_workers(), units)
    if name == "processes" and workers == 1:
        yield InProcess(store)
        return
    engine: Pool | cluster.Ray
    if name == "processes":
        engine = Pool(store, workers)
    else:
        from robust_lib.runs import cluster  # here: Ray is no requirement of the other engines

        engine = cluster.Ray(store, name)
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


def answer(path: str, pickled: bytes, code: list[str], node: str = "", host: str = "") -> bytes:
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
        receipt = perform(Store(path), unit)
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
