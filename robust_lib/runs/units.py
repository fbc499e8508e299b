"""A unit of work: one call of an importable function, known by its content."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from robust_lib.runs import reach

# Part of every key: raise it when the meaning of keys or of stored files changes.
FORMAT = 1
_LABEL_WIDTH = 160


class UnitError(ValueError):
    """A call that cannot be a unit; the message names function, argument and remedy."""


@dataclass(frozen=True, eq=False, repr=False)
class Unit:
    """A call worth keeping: a function and every one of its arguments.

    Two units are equal when function and arguments are, which needs no key and reads no data. `work` is an
    optional measure of size (say examples x epochs x tokens), `gpus` the optional share of a GPU that it needs; they
    are no part of the key, and only serve estimates of time and the placing on a cluster. Made by `unit`.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    work: float | None = None
    gpus: float | None = None

    @functools.cached_property
    def name(self) -> str:
        """`module:function`."""
        return _importable_name(self.function)

    @functools.cached_property
    def key(self) -> str:
        """sha256 hex over the code the function reaches, its arguments, and the keys of units among them."""
        content = [
            FORMAT,
            self.name,
            self.code,
            [[name, _content(value)] for name, value in self.arguments.items()],
        ]
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()

    @property
    def code(self) -> str:
        """sha256 hex over the source of the function and of all it reaches in our own code."""
        return reach.code_digest(*self.name.split(":"))

    @property
    def codes(self) -> list[str]:
        """What the source is hashed of: the function, and functions and classes among the arguments."""
        return [self.name, *(_importable_name(leaf) for leaf in leaves(self.arguments) if _is_code(leaf))]

    @functools.cached_property
    def label(self) -> str:
        """The call in one short line, for people."""
        parameters = _signature(self.function).parameters
        given = {name: value for name, value in self.arguments.items() if value != parameters[name].default}
        text = f"{self.function.__name__}({', '.join(_shown(name, value) for name, value in given.items())})"
        return text if len(text) <= _LABEL_WIDTH else text[: _LABEL_WIDTH - 2] + "…)"

    @functools.cached_property
    def dependencies(self) -> tuple[Unit, ...]:
        """The distinct units among the arguments, in order."""
        return tuple(dict.fromkeys(leaf for leaf in leaves(self.arguments) if isinstance(leaf, Unit)))

    def sized(self, work: float) -> Unit:
        """The same unit with a measure of its size, for estimates of time."""
        return dataclasses.replace(self, work=work)

    def placed(self, gpus: float) -> Unit:
        """The same unit with the share of a GPU it needs on a cluster: above 0, whole from 1 on."""
        if not gpus > 0 or (gpus > 1 and gpus != round(gpus)):
            raise UnitError(
                f"{self.label}: gpus = {gpus}; give a share above 0 and up to 1, or a whole number"
            )
        return dataclasses.replace(self, gpus=gpus)

    def call(self, result_of: Callable[[Unit], Any]) -> Any:
        """Call the function, with `result_of(unit)` in the place of every unit among the arguments."""
        return self.function(**{name: _filled(value, result_of) for name, value in self.arguments.items()})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Unit):
            return NotImplemented
        return self is other or (hash(self) == hash(other) and self._identity == other._identity)

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self._identity)

    @functools.cached_property
    def _identity(self) -> Any:
        """What is equal for equal units. Raises UnitError for an argument that no unit can have."""
        given = self.arguments.items()
        return (
            self.name,
            *((name, _identity(value, f"{self.name}: argument {name}")) for name, value in given),
        )

    def __repr__(self) -> str:
        return f"<unit {self.label}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # The key travels along: a worker needs it, and may not be able to recompute it cheaply.
        rest = self.work, self.gpus, self.__dict__.get("key")
        return _restored, (self.function, dict(self.arguments), *rest)


def unit(function: Callable[..., Any], /, **arguments: Any) -> Unit:
    """The call `function(**arguments)` as a unit of work; nothing is run.

    function: of an importable module; defaults count as arguments. arguments: numbers, strings, booleans,
    None; lists, tuples and dicts of them; units, whose results the function then receives; frozen
    dataclasses; objects with `fingerprint() -> str`; functions and classes of importable modules. 1 and 1.0
    are the same value. Raises UnitError naming the argument otherwise.
    """
    name = _importable_name(function)
    try:
        bound = _signature(function).bind(**arguments)
    except TypeError as error:
        raise UnitError(f"{name}: {error}") from None
    bound.apply_defaults()
    made = Unit(function, {key: _copied(value) for key, value in bound.arguments.items()})
    hash(made)  # looks at every argument now, where the caller can see which one is wrong
    return made


def closure(units: Iterable[Unit]) -> list[Unit]:
    """The units and all they depend on, each once, dependencies first."""
    ordered: dict[Unit, None] = {}
    waiting = [(unit, False) for unit in reversed(list(units))]
    while waiting:
        current, expanded = waiting.pop()
        if expanded:
            ordered[current] = None
        elif current not in ordered:
            waiting.append((current, True))
            waiting.extend((needed, False) for needed in reversed(current.dependencies))
    return list(ordered)


def describe(value: Any) -> Any:
    """An argument as JSON that people can read (in a result's meta.json)."""
    if isinstance(value, Unit):
        return {"unit": value.label, "key": value.key}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, dict):
        return {str(name): describe(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return _importable_name(value) if _is_code(value) else type(value).__name__


def _shown(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Unit):
        return f"{name}={value.label}"
    if value is None or isinstance(value, (bool, int, float)):
        return f"{name}={value}"
    if isinstance(value, (list, tuple, dict)):
        return f"{name}={len(value)} values" if _holds_units(value) else f"{name}={value}"
    named = (getattr(value, attribute, None) for attribute in ("label", "name", "path", "__name__"))
    return next((text for text in named if isinstance(text, str)), type(value).__name__)


def _restored(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    work: float | None,
    gpus: float | None,
    key: str | None,
) -> Unit:
    made = Unit(function, arguments, work, gpus)
    if key is not None:
        made.__dict__["key"] = key
    return made


@functools.lru_cache(maxsize=4096)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(function)
    allowed = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for parameter in signature.parameters.values():
        if parameter.kind not in allowed:
            raise UnitError(
                f"{_importable_name(function)}: parameter {parameter} cannot be passed by name; a unit's "
                "function names each of its parameters"
            )
    return signature


def _checked_name(function: Any) -> str:
    """`module:qualname` of a function or class that a fresh process can import."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if module is None or name is None:
        raise UnitError(f"{function!r} is no plain function; write one in a module and pass that")
    remedy = "move it to a .py module that can be imported, so that a worker process finds the same code"
    if module == "__main__":
        raise UnitError(f"{name} is defined in a notebook or script (__main__); {remedy}")
    if "<" in name:
        raise UnitError(f"{module}.{name} is a lambda or local function; {remedy}")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise UnitError(f"{module}.{name} cannot be imported ({error}); {remedy}") from None
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not function and not _same_source(found, function):
        raise UnitError(f"{module}.{name} is not what its module holds under that name; {remedy}")
    return f"{module}:{name}"


_importable_name: Callable[[Any], str] = functools.lru_cache(maxsize=4096)(_checked_name)


def _same_source(one: Any, other: Any) -> bool:
    """A function and its later reload are the same definition."""
    return (
        getattr(one, "__qualname__", None) == getattr(other, "__qualname__", "")
        and one.__module__ == other.__module__
    )


def _is_code(value: Any) -> bool:
    return isinstance(value, type) or inspect.isroutine(value)


def _number(value: float) -> float:
    """One form for equal numbers: whole floats as ints, -0.0 as 0."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _copied(value: Any) -> Any:
    """Containers anew, so that the caller's later changes do not reach the unit; numpy's numbers plain."""
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if type(value) is tuple:
        return tuple(_copied(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return (
        value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value
    )


def _filled(value: Any, result_of: Callable[[Unit], Any]) -> Any:
    if isinstance(value, Unit):
        return result_of(value)
    if isinstance(value, list):
        return [_filled(item, result_of) for item in value]
    if isinstance(value, tuple):
        return tuple(_filled(item, result_of) for item in value)
    if isinstance(value, dict):
        return {key: _filled(item, result_of) for key, item in value.items()}
    return value


def leaves(value: Any) -> Iterator[Any]:
    """What stands in lists and dicts, at any depth."""
    if isinstance(value, (list, tuple, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(item)
    else:
        yield value


def _holds_units(value: Any) -> bool:
    return any(isinstance(leaf, Unit) for leaf in leaves(value))


def _identity(value: Any, where: str) -> Any:
    """A hashable form, equal for equal arguments. Checks every value; hashes no code and reads no data."""
    if value is None or isinstance(value, Unit):
        return value
    if isinstance(value, (bool, str)):
        return ("bool" if isinstance(value, bool) else "str", value)
    if isinstance(value, (int, float)):
        if isinstance(value, float) and math.isnan(value):
            raise UnitError(f"{where} is NaN, which equals nothing; pass None for a value that is not there")
        return ("number", _number(value))
    if type(value) in (list, tuple):  # a named tuple would lose its names on the way
        return ("list", *(_identity(item, f"{where}[{index}]") for index, item in enumerate(value)))
    if isinstance(value, dict):
        pairs = ((_identity(k, f"{where}: key"), _identity(v, f"{where}[{k!r}]")) for k, v in value.items())
        return ("dict", *pairs)
    if _is_code(value):
        return ("code", _importable_name(value))
    return _object_identity(value, where)


def _object_identity(value: Any, where: str) -> Any:
    name = type(value).__name__
    marked = callable(getattr(value, "fingerprint", None))
    if not marked and not hasattr(type(value), "__dataclass_params__"):
        raise UnitError(
            f"{where} is a {name}; a unit takes numbers, strings, booleans, None, lists and dicts of them, "
            "units, frozen dataclasses, objects with fingerprint(), and functions of importable modules"
        )
    kind = _importable_name(type(value))
    if marked:
        # Frozen dataclasses are compared without reading what the fingerprint reads.
        return ("object", kind, value if _is_frozen(value) and _is_hashable(value) else value.fingerprint())
    if not _is_frozen(value):
        raise UnitError(
            f"{where} is a {name}, a dataclass that can change; declare it @dataclass(frozen=True)"
        )
    fields = [(part.name, getattr(value, part.name)) for part in dataclasses.fields(value)]
    if _holds_units([item for _, item in fields]):
        raise UnitError(
            f"{where} is a {name} that holds a unit; pass units as arguments, in lists or in dicts"
        )
    return ("object", kind, *((part, _identity(item, f"{where}.{part}")) for part, item in fields))


def _is_frozen(value: object) -> bool:
    parameters = getattr(type(value), "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _content(value: Any) -> Any:
    """What the key holds of an argument, as JSON."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Unit):
        return {"unit": value.key}
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return [_content(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[_content(key), _content(item)] for key, item in value.items()]}
    if _is_code(value):
        name = _importable_name(value)
        return {"code": [name, reach.code_digest(*name.split(":"))]}
    name = _importable_name(type(value))
    if callable(getattr(value, "fingerprint", None)):
        return {"object": [name, value.fingerprint()]}
    fields = [[part.name, _content(getattr(value, part.name))] for part in dataclasses.fields(value)]
    return {"object": [name, reach.code_digest(*name.split(":")), fields]}
