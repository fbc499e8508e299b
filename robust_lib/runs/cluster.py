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
import time
import uuid
from collections.abc import Collection
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from robust_lib.runs import reach, units
from robust_lib.runs.engine import EngineError, Receipt, WorkerDied, answer, portable, quieten, received
from robust_lib.runs.store import LAG, Store
from robust_lib.runs.units import Unit

# BERT-large fills a GPU of 16 GB when it is fine-tuned in batches of 32 x 128 tokens: others take their share.
WHOLE_GPU = 12 * 24 * 1024**2
TOKENS = 32 * 128
LEAST_SHARE = 0.1  # every process has a CUDA context of its own
_LOOK = 5.0  # seconds between looks at the cluster's resources
_RECEIPTS = 10**8  # bytes of Ray's object store, which here holds nothing but receipts


class Ray:
    """Runs units as Ray tasks of one CPU, and of a share of a GPU where the cluster has any.

    `address`: "ray" for the cluster that RAY_ADDRESS names or that runs on this machine, else one of this process;
    or `host:port` of a cluster. A process connects once. Raises EngineError when it cannot.
    """

    attempts = 3

    def __init__(self, store: Store, address: str) -> None:
        _connect(address)
        import ray

        self._task = ray.remote(max_retries=0)(_perform)  # `schedule` tries again, and says so
        # A process keeps what it took of a GPU's memory as long as it lives: there it ends with its unit.
        self._once = ray.remote(max_retries=0, max_calls=1)(_perform)
        self._path = store.path.absolute()
        self._sign = f"ray-{uuid.uuid4().hex[:12]}"
        (self._path / "locks").mkdir(parents=True, exist_ok=True)
        (self._path / "locks" / self._sign).touch()
        self._running: dict[Future[Receipt], tuple[Any, float]] = {}  # the task, and what it takes
        self._looked = float("-inf")
        self._look()

    @property
    def slots(self) -> int:
        """CPUs, or GPUs where there are any, of the cluster as it is now."""
        self._look()
        return max(1, int(self._gpus or self._cpus))

    def room(self, running: int) -> bool:
        """Until a quarter more is asked for than there is: so no worker waits, a cluster that can grow sees what does,
        and what comes later with a long chain after it does not stand behind all the rest."""
        self._look()
        taken = sum(share for _, share in list(self._running.values()))
        return bool(taken < 1.25 * (self._gpus or self._cpus))

    def submit(self, unit: Unit, avoid: Collection[str] = ()) -> Future[Receipt]:
        """Hand the unit to the cluster."""
        call = (sys.path, str(self._path), self._sign, pickle.dumps(unit), reach.digests(unit.codes))
        share = gpu_share(unit) if self._gpus else 0.0
        options = {"name": unit.name, "num_cpus": 1, "num_gpus": share, **self._elsewhere(avoid)}
        sent = (self._once if share else self._task).options(**options).remote(*call)
        future: Future[Receipt] = Future()
        self._running[future] = sent, share or 1.0
        sent.future().add_done_callback(lambda done: self._pass_on(done, future))
        return future

    def stop(self) -> None:
        """End what still runs, in the middle of what it does; the connection stays for the next collect."""
        import ray

        for task, _ in list(self._running.values()):
            ray.cancel(task, force=True)
        (self._path / "locks" / self._sign).unlink(missing_ok=True)

    def _look(self) -> None:
        """Ask what the cluster has, every few seconds: nodes come and go."""
        import ray

        if time.monotonic() - self._looked > _LOOK:
            resources = ray.cluster_resources()
            self._gpus, self._cpus = resources.get("GPU", 0.0), resources.get("CPU", 0.0)
            self._looked = time.monotonic()

    def _elsewhere(self, avoid: Collection[str]) -> dict[str, Any]:
        """The option that keeps a unit off the nodes where it failed, as long as there is another that could run it."""
        if not avoid:
            return {}
        import ray
        from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

        needed = "GPU" if self._gpus else "CPU"
        others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in avoid]
        if not any(node["Resources"].get(needed) for node in others):
            return {}
        return {"scheduling_strategy": NodeLabelSchedulingStrategy(hard={"ray.io/node-id": NotIn(*avoid)})}

    def _pass_on(self, done: Future[bytes], future: Future[Receipt]) -> None:
        import ray

        self._running.pop(future, None)
        error = done.exception()
        if error is None:
            future.set_result(received(done.result()))
        elif isinstance(error, ray.exceptions.RayTaskError):  # before the unit: no package there, say
            reason = str(error).strip().rpartition("\n")[2]
            future.set_result(Receipt("failed", error=EngineError(reason), host="the cluster"))
        else:
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
    # `schedule` says it, shorter
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
    try:
        import ray
    except ImportError:
        remedy = "pip install -e '.[ray]' in the project's folder"
        raise EngineError(f"engine = {address!r} needs Ray: {remedy}") from None
    if ray.is_initialized():
        connected = ray.get_runtime_context().gcs_address
        if address not in ("ray", connected):
            raise EngineError(
                f"engine: this process is connected to Ray at {connected}, not {address}; restart it"
            )
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet = {"log_to_driver": False, "configure_logging": False}  # one progress line says what happens
    given = os.environ.get("RAY_ADDRESS", "auto") if address == "ray" else address
    try:
        if given != "auto":
            host, _, port = given.rpartition("/")[2].rpartition(":")
            socket.create_connection((host, int(port)), timeout=30).close()  # Ray itself tries for minutes
        ray.init(address=given, **quiet)
    except (OSError, ValueError) as error:
        if given != "auto":
            remedy = "start it (`ray start --head`), or give the host:port of one that runs"
            raise EngineError(f"engine: no Ray cluster answers at {given!r}; {remedy}") from error
        ray.init(address="local", include_dashboard=False, object_store_memory=_RECEIPTS, **quiet)


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
    return answer(path, pickled, code, node, host, patience=LAG)
