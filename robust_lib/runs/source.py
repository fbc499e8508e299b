"""Our source files as syntax trees: what each top-level name of a module is bound by, and what it imports."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import os
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

LIBRARY = __name__.partition(".")[0]
STAR = "*"
_STARTED = time.time_ns()
_INSTALLED = tuple(
    os.path.realpath(sysconfig.get_path(name)) + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_FOLDERS = {"site-packages", "dist-packages"}  # also a user's own, and links to elsewhere

Names = tuple[str, ...]


class SourceChanged(RuntimeError):
    """Source that no longer is what this process runs; results kept under its hash would be wrong."""


@dataclass(frozen=True)
class Imported:
    """What an import binds: a module, or a name in one."""

    module: str
    name: str = ""


@dataclass
class Module:
    """The top level of one source file: which statements bind or change each name."""

    name: str
    path: Path
    package: str
    digest: str
    modified: int
    bindings: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, list[Imported]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    effects: list[ast.stmt] = field(default_factory=list)


def check_module(name: str) -> None:
    """Raise SourceChanged when a module was edited since it was read: this process may run the older code."""
    module = _modules.get(name)
    if module is None or _modified(module.path) == module.modified:
        return
    current = _read_module(module.name, module.path, module.package)
    if current.digest != module.digest:
        raise SourceChanged(
            f"{module.path} was edited after this process read it, so new results could come from old "
            "code; restart the kernel (or the process) and run again"
        )
    module.modified = current.modified


_modules: dict[str, Module | None] = {}


def module_named(name: str) -> Module | None:
    """The module's top level, or None where there is no such source file."""
    if name not in _modules:
        _modules[name] = _load_module(name)
    return _modules[name]


def _load_module(name: str) -> Module | None:
    try:
        spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    module = _read_module(name, Path(spec.origin), spec.parent or "")
    if name in sys.modules and _STARTED < module.modified <= time.time_ns():
        raise SourceChanged(
            f"{module.path} was edited after this process started, which may run older code than the file "
            "shows; restart the kernel (or the process) and run again"
        )
    return module


def _read_module(name: str, path: Path, package: str) -> Module:
    modified = _modified(path)
    tree = _without_docstrings(ast.parse(path.read_bytes(), filename=str(path)))
    digest = hashlib.sha256(dump(tree).encode()).hexdigest()
    module = Module(name, path, package, digest, modified)
    for statement in tree.body:
        _index(module, statement)
    return module


def _index(module: Module, statement: ast.stmt) -> None:
    """Enter one top-level statement under every name it binds or changes."""
    if isinstance(statement, ast.If) and _asks_for_main(statement.test):
        return
    names: set[str] = set()
    imports = False
    for node in own_nodes([statement]):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports = True
            for bound, target in imports_of(node, module.package):
                if bound == STAR:
                    module.stars.append(target.module)
                else:
                    module.imports.setdefault(bound, []).append(target)
        else:
            names.update(bound_names(node))
            names.update(_changed(node))
    for name in names:
        module.bindings.setdefault(name, []).append(statement)
    if not names and not imports:
        module.effects.append(statement)


def _changed(node: ast.AST) -> Names:
    """The name behind a module-level `TABLE[key] = ...`, `table.field = ...` or `TABLE.update(...)`."""
    target: ast.AST | None = None
    if isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, (ast.Store, ast.Del)):
        target = node.value
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        target = node.value.func
    while isinstance(target, (ast.Subscript, ast.Attribute)):
        target = target.value
    return (target.id,) if isinstance(target, ast.Name) else ()


def _asks_for_main(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            node.body = [statement for statement in node.body if not _is_string(statement)]
    return tree


def _is_string(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def dump(node: object) -> str:
    """A tree as text without positions, and without the empty fields that differ between Python versions."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({','.join(f'{name}={dump(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(dump, node))}]"
    return repr(node)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return -1


@functools.cache
def _is_installed(root: str) -> bool:
    """Whether a top-level package is the interpreter's or installed rather than ours."""
    try:
        spec = sys.modules[root].__spec__ if root in sys.modules else importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return True
    if spec is None:
        return True
    places = (
        [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or [])
    )
    return not places or any(
        os.path.realpath(place).startswith(_INSTALLED) or _FOLDERS.intersection(Path(place).parts)
        for place in places
    )


def is_ours(module: str) -> bool:
    """Whether a module is of this library, or of no installed package."""
    root = module.partition(".")[0]
    return root == LIBRARY or not _is_installed(root)


def imports_of(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Imported]]:
    """The names an import binds, STAR for a star."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            bound = alias.asname or alias.name.partition(".")[0]
            yield bound, Imported(alias.name if alias.asname else bound)
        return
    module = node.module or ""
    if node.level:
        parents = package.split(".")[: len(package.split(".")) - node.level + 1]
        module = ".".join([*parents, *([module] if module else [])])
    for alias in node.names:
        yield alias.asname or alias.name, Imported(module, "" if alias.name == "*" else alias.name)


def own_nodes(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of a function's body without those of scopes inside it."""
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    comprehensions = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
    for node in body:
        yield node
        if not isinstance(node, inner + comprehensions):
            yield from own_nodes(ast.iter_child_nodes(node))


def bound_names(node: ast.AST) -> Names:
    """The names one node binds by itself."""
    if isinstance(node, ast.Name):
        return (node.id,) if isinstance(node.ctx, ast.Store) else ()
    if isinstance(
        node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs)
    ):
        return (node.name,) if node.name else ()
    if isinstance(node, ast.MatchStar):
        return (node.name,) if node.name else ()
    if isinstance(node, ast.MatchMapping):
        return (node.rest,) if node.rest else ()
    return ()
