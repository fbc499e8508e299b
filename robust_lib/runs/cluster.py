"""Units on Ray: on this machine, on a host of several GPUs, on a cluster whose nodes see the same folders.

Ray places the units and assigns GPUs; what they need, what was finished and what failed stay with `schedule` and
the store. A worker that dies, or a unit that fails, costs that unit alone, which is tried again.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import sys
import uuid
from collections.abc import Collection
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from robust_lib.runs import reach, units
from robust_lib.runs.engine import Receipt, WorkerDied, answer, portable, quieten
from robust_lib.runs.store import Store
from robust_lib.runs.units import Unit

# BERT-large fills a GPU of 16 GB when it is fine-tuned in batches of 32 x 128 tokens: others take their share.
WHOLE_GPU = 12 * 24 * 1024**2
TOKENS = 32 * 128
LEAST_SHARE = 0.1  # every process has a CUDA context of its own
_RECEIPTS = 10**8  # bytes of Ray's object store, which here holds nothing but receipts


class EngineError(RuntimeError):
    """An engine that cannot be used; the message says what is missing and what to do."""


class Ray:
    """Runs units as Ray tasks of one CPU, and of a share of a GPU where the cluster has any.

    `address`: "ray" for the cluster that RAY_ADDRESS names or that runs on this machine, else one of this process;
    or `host:port` of a cluster. A process connects once. Raises EngineError when it cannot.
    """

    attempts = 3
    at_hand = float("inf")  # Ray queues, and a cluster that grows must see what waits

    def __init__(self, store: Store, address: str) -> None:
        _connect(address)
        import ray

        resources = ray.cluster_resources()
        self._gpus = resources.get("GPU", 0.0)
        self.slots = max(1, int(self._gpus or resources.get("CPU", 1)))
        # max_retries: deaths are counted here, so that what is retried is also said
        self._task = ray.remote(max_retries=0)(_perform)
        self._path = store.path.resolve()
        self._sign = f"ray-{uuid.uuid4().hex[:12]}"
        (self._path / "locks").mkdir(parents=True, exist_ok=True)
        (self._path / "locks" / self._sign).touch()
        self._running: dict[Future[Receipt], Any] = {}

    def submit(self, unit: Unit, avoid: Collection[str] = ()) -> Future[Receipt]:
        """Hand the unit to the cluster."""
        call = (sys.path, str(self._path), self._sign, pickle.dumps(unit), reach.digests(unit.codes))
        task = self._task.options(
            name=unit.name,
            num_cpus=1,
            num_gpus=gpu_share(unit) if self._gpus else 0,
            scheduling_strategy=_elsewhere(avoid),
        ).remote(*call)
        future: Future[Receipt] = Future()
        self._running[future] = task
        task.future().add_done_callback(lambda done: self._pass_on(done, future))
        return future

    def stop(self) -> None:
        """End what still runs, in the middle of what it does; the connection stays for the next collect."""
        import ray

        for task in list(self._running.values()):
            ray.cancel(task, force=True)
        (self._path / "locks" / self._sign).unlink(missing_ok=True)

    def _pass_on(self, done: Future[bytes], future: Future[Receipt]) -> None:
        self._running.pop(future, None)
        error = done.exception()
        if error is None:
            future.set_result(pickle.loads(done.result()))  # noqa: S301 - from our own worker
        else:  # of Ray itself: the worker or its node is gone
            reason = str(error).partition("\n")[0]
            death = WorkerDied(f"its worker died ({type(error).__name__}: {reason})")
            future.set_result(Receipt("failed", error=death, host="the cluster"))


def gpu_share(unit: Unit) -> float:
    """The share of a GPU of 16 GB that a unit takes, above 0 and at most 1: as it says itself (`Unit.gpus`), else in
    proportion to the matrices of its largest encoder, and to the tokens of its batches where they are more than usual.

    An encoder is any argument with `weights()`, the number of weights in its matrices; `batch_size` and `max_length`
    are those of any argument that has both. A unit without an encoder takes the least share. Where memory runs short
    all the same, training halves its batches.
    """
    if unit.gpus is not None:
        return unit.gpus
    values = list(units.leaves(unit.arguments))
    weights = max((value.weights() for value in values if hasattr(value, "weights")), default=0)
    batches = [value.batch_size * value.max_length for value in values if hasattr(value, "batch_size")]
    share: float = weights / WHOLE_GPU * max([TOKENS, *batches]) / TOKENS
    return min(1.0, max(LEAST_SHARE, round(share, 2)))


def _connect(address: str) -> None:
    """Connect this process to Ray, once: to what runs, or to a cluster of its own, which ends with it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault(
        "RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed"
    )  # `schedule` says it, shorter
    try:
        import ray
    except ImportError:
        raise EngineError(f"engine = {address!r} needs Ray: pip install 'robust-lib[ray]'") from None
    if ray.is_initialized():
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet = {"log_to_driver": False, "configure_logging": False}  # one progress line says what happens
    try:
        ray.init(address="auto" if address == "ray" else address, **quiet)
    except ConnectionError as error:
        if address != "ray":
            remedy = "start it (`ray start --head`), or give the host:port of one that runs"
            raise EngineError(f"engine: no Ray cluster answers at {address!r}; {remedy}") from error
        ray.init(address="local", include_dashboard=False, object_store_memory=_RECEIPTS, **quiet)


def _elsewhere(avoid: Collection[str]) -> Any:
    """A strategy that takes a node to avoid only when there is no other."""
    from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

    if not avoid:
        return "DEFAULT"
    return NodeLabelSchedulingStrategy(hard={}, soft={"ray.io/node-id": NotIn(*avoid)})


def _perform(search: list[str], path: str, sign: str, pickled: bytes, code: list[str]) -> bytes:
    """On a node of the cluster: perform the unit on the store that all nodes see."""
    import ray

    quieten()
    sys.path += [folder for folder in search if folder not in sys.path]  # where the sender's own modules lie
    node, host = ray.get_runtime_context().get_node_id(), socket.gethostname()
    if not (Path(path) / "locks" / sign).exists():
        error = EngineError(
            f"this node does not see the store {path}; mount the same folder at the same place on every node, or point "
            "ROBUST_STORE to one that is"
        )
        return portable(Receipt("failed", error=error, node=node, host=host))
    return answer(path, pickled, code, node, host)
