"""Units in all processes that `accelerate launch` or `notebook_launcher` started.

They all collect the same units. The main process alone looks into the store, says which unit comes next and keeps its
result; the others compute along: what trains a model they train together (`train.fit`), all else each repeats.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from robust_lib.runs.engine import Receipt, perform
from robust_lib.runs.store import Store
from robust_lib.runs.units import Unit, closure

# What a unit raises in every process alike is the unit's failure. All else may have met one process alone, while the
# others wait for it: it ends that process, and with it the launcher ends the others.
ALIKE = (ArithmeticError, LookupError, TypeError, ValueError)


def several() -> bool:
    """Whether this is one of several processes that accelerate started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def following() -> bool:
    """Whether this is one of them, and not the main one."""
    return several() and os.environ.get("RANK", "0") != "0"


class Together:
    """The main process's engine: runs each unit at once, here and in the processes that `follow`."""

    slots = attempts = 1

    def __init__(self, store: Store) -> None:
        self._store = store

    def room(self, running: int) -> bool:
        """Nothing runs between two calls."""
        return True

    def submit(self, unit: Unit, avoid: Collection[str] = ()) -> Future[Receipt]:
        """A future that is already done. Raises what this process may have met alone."""
        receipt = perform(self._store, unit, begin=lambda: _share(unit.key))
        if receipt.error is not None and not isinstance(receipt.error, ALIKE):
            raise receipt.error
        future: Future[Receipt] = Future()
        future.set_result(receipt)
        return future

    def stop(self) -> None:
        """Nothing runs between two calls."""


def end(failure: str) -> None:
    """In the main process: tell those that follow that no more units come, and what failed."""
    _share({"failure": failure})


def follow(store: Store, units: Iterable[Unit]) -> str:
    """In every other process: compute along until the main process ends; what failed there, or ""."""
    known = {unit.key: unit for unit in closure(units)}
    while isinstance(said := _share(None), str):
        unit = known[said]
        results = {needed: store.load(needed) for needed in unit.dependencies}
        with suppress(*ALIKE):  # the main process meets it too, and says so
            unit.call(results.__getitem__)
    return str(said["failure"])


def _share(value: Any) -> Any:
    """What the main process says, in all processes."""
    import accelerate
    from accelerate.utils import broadcast_object_list

    accelerate.Accelerator()  # joins the others, the first time
    return broadcast_object_list([value])[0]
