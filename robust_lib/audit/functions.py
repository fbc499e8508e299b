"""Models that are Python functions: found, asked, and what they give checked."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from robust_lib import attack
from robust_lib.attack.engine import SLACK
from robust_lib.audit import loading
from robust_lib.audit.problems import AuditError

F = Callable[[list[Any]], Any]
_modules: dict[Path, tuple[int, ModuleType]] = {}  # by file, and when it was changed: it may load a model


@dataclass(frozen=True)
class Function:
    """A user's function as an oracle. What it gives is checked row by row; NaN stays, for the page to tell."""

    f: F
    classes: tuple[str, ...]
    place: str

    def __call__(self, texts: Sequence[attack.Text]) -> attack.Rows:
        """One row of probabilities per text, in the order of `classes`."""
        answer = called(self.f, texts, self.place)
        if not hasattr(answer, "__len__") or len(answer) != len(texts):
            found = f"{len(answer)} rows" if hasattr(answer, "__len__") else f"a {type(answer).__name__}"
            raise AuditError(
                f"model {self.place}: it gave {found} for {len(texts)} texts; give one row for each"
            )
        return np.stack([self._row(given, index) for index, given in enumerate(answer)])

    def lengths(self, texts: Sequence[attack.Text]) -> Sequence[int]:
        """The words of each text."""
        return [sum(len(column.split()) for column in text) for text in texts]

    def _row(self, given: Any, index: int) -> attack.Rows:
        told = f"model {self.place}: text {index} of those it was asked: it gave {_short(given)}"
        scores = by_label(given)
        if scores is not None and scores.keys() != set(self.classes):
            raise AuditError(
                f"{told}; its classes are {', '.join(self.classes)}: give the probability of each"
            )
        try:
            row = np.asarray([scores[name] for name in self.classes] if scores else given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise AuditError(f"{told}, no row of probabilities ({error})") from None
        if row.shape != (len(self.classes),):
            raise AuditError(
                f"{told}; its classes are {', '.join(self.classes)}: set labels to the names of its outputs, in their "
                "order"
            )
        if (row < 0).any() or abs(row.sum() - 1) > SLACK:  # neither holds for NaN
            raise AuditError(
                f"{told}, no probabilities: they sum to {row.sum():.3g}, the least is {row.min():.3g}; apply a softmax"
            )
        return row


def called(f: F, texts: Sequence[attack.Text], place: str) -> Any:
    """What a function gives for texts, as strings, or pairs, as tuples. AuditError for whatever it raises."""
    try:
        answer = f([text[0] if len(text) == 1 else text for text in texts])
        return answer.detach().cpu().numpy() if isinstance(answer, torch.Tensor) else answer
    except Exception as error:
        raise AuditError(
            f"model {place}: it raised {type(error).__name__}: {error}; asked {len(texts)} "
            f"{'texts' if len(texts[0]) == 1 else 'pairs'}, the first of {len(' '.join(texts[0]).split())} words"
        ) from error


def by_label(given: Any) -> dict[str, float] | None:
    """Probabilities by label, of a dict or of what a transformers pipeline gives; None for a plain row."""
    if isinstance(given, Mapping):
        return {str(label): value for label, value in given.items()}
    if isinstance(given, Sequence) and given and isinstance(given[0], Mapping):
        return {str(one["label"]): one["score"] for one in given}
    return None


def classes(f: F, place: str) -> tuple[str, ...]:
    """The labels that a function answers with to a text, or to a pair, sorted; () where it gives plain rows."""
    try:
        answer = called(f, [("a text",)], place)
    except AuditError:
        answer = called(f, [("a text", "another")], place)
    first = answer[0] if isinstance(answer, Sequence) and answer else None
    return tuple(sorted(by_label(first) or ()))


def found(place: str) -> F:
    """The function at `file.py:name` or `package.module:name`."""
    where, _, name = place.rpartition(":")
    path = source(place)
    if where.endswith(".py"):
        module = _executed(path, path.stat().st_mtime_ns)
    else:
        with loading.named(place, "make it importable here, or give file.py:name"):
            module = importlib.import_module(where)
    f = getattr(module, name, None)
    if not callable(f):
        held = [
            known for known, value in vars(module).items() if callable(value) and not known.startswith("_")
        ]
        raise AuditError(f"model {place}: {where} has no function {name}; it has {', '.join(held) or 'none'}")
    return f  # type: ignore[no-any-return]


def source(place: str) -> Path:
    """The file that a function is written in, without importing it."""
    where = place.rpartition(":")[0]
    path = Path(where).expanduser().resolve()
    if not where.endswith(".py"):
        with loading.named(place, "give file.py:name or package.module:name"):
            spec = importlib.util.find_spec(where)
        path = Path(spec.origin) if spec and spec.origin else path
    if not path.is_file():
        raise AuditError(
            f"model {place}: there is no Python file {where}; give file.py:name or package.module:name"
        )
    return path


def _executed(path: Path, modified: int) -> ModuleType:
    """A file as a module. While it runs its folder can be imported from, as a script's can."""
    if path in _modules and _modules[path][0] == modified:
        return _modules[path][1]
    spec: Any = importlib.util.spec_from_file_location(f"audited_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        with loading.named(str(path), "mend the file"):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    _modules[path] = modified, module
    return module


def _short(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 80 else f"{text[:79]}…"
