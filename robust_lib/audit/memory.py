"""The memory that a model takes, in bytes, measured in a process of its own, whose `main` this is.

It reads JSON from stdin (the fields of a `Model`, texts, max_length), writes bytes, or null where nothing tells them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from robust_lib.audit.models import Model


def taken(model: Model, texts: list[tuple[str, ...]], max_length: int) -> int | None:
    """How far the process's memory rose at most from here on: opening the model, then one batch of texts."""
    before = _highest(anew=True)
    model.open(max_length=max_length).batch(texts)
    after = _highest()
    return None if before is None or after is None else after - before


def _highest(*, anew: bool = False) -> int | None:
    """The most memory this process has held so far, or from now on, in bytes; None where the system does not say."""
    status = Path("/proc/self/status")
    try:
        if anew:
            Path("/proc/self/clear_refs").write_text("5")  # Linux then counts the highest anew
        lines = status.read_text().splitlines()
    except OSError:  # macOS, Windows, a container that forbids it
        return None
    (highest,) = (line for line in lines if line.startswith("VmHWM:"))
    return 1024 * int(highest.split()[1])


def main() -> None:
    """Answer what stdin asks."""
    given: dict[str, Any] = json.load(sys.stdin)
    fields = given["model"]
    fields["labels"] = None if fields["labels"] is None else tuple(fields["labels"])
    texts = [tuple(text) for text in given["texts"]]
    print(json.dumps(taken(Model(**fields), texts, given["max_length"])))
