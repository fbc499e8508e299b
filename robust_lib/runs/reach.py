"""What a function's result can depend on in our own code: its source and every definition it reaches, hashed.

Read from the syntax trees on disk, never by running anything. From the function the reach follows names and
`module.name` chains through bodies, decorators, bases, defaults and annotations (an annotated class counts
with all its methods), module constants and what changes them. Docstrings, comments and layout do not count;
of other packages only the names taken from them do. A module used as a plain value (`getattr(losses, name)`)
is reached as a whole.
"""

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
# This package decides when a function runs, never what it returns.
MACHINERY = __name__.rpartition(".")[0]
WHOLE = "*"
_STARTED = time.time_ns()
_INSTALLED = tuple(
    os.path.realpath(sysconfig.get_path(name)) + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)

Names = tuple[str, ...]
Scope = dict[str, "Imported | None"]


class SourceChanged(RuntimeError):
    """Source that no longer is what this process runs; results kept under its hash would be wrong."""


@dataclass(frozen=True)
class Imported:
    """What an import binds: a module, or a name in one."""

    module: str
    name: str = ""


@dataclass(frozen=True)
class Definition:
    """A top-level name of a module, or WHOLE for all of it."""

    module: str
    name: str


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


def code_digest(module: str, name: str) -> str:
    """sha256 over the definition `name` of `module` and all it reaches in our own code."""
    return _closure_digest(Definition(module, name.partition(".")[0]))


def check_unchanged() -> None:
    """Raise SourceChanged when a file was edited since its code was hashed: this process may run other."""
    for module in list(_modules.values()):
        if module is None or _modified(module.path) == module.modified:
            continue
        current = _read_module(module.name, module.path, module.package)
        if current.digest != module.digest:
            raise SourceChanged(
                f"{module.path} was edited after this process read it, so new results could come from old "
                "code; restart the kernel (or the process) and run again"
            )
        module.modified = current.modified


@functools.cache
def _closure_digest(root: Definition) -> str:
    reached: dict[Definition, str] = {}
    waiting = [root]
    while waiting:
        definition = waiting.pop()
        if definition not in reached:
            reached[definition], found = _read_definition(definition)
            waiting.extend(found)
    lines = sorted(f"{item.module}:{item.name}={digest}" for item, digest in reached.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@functools.cache
def _read_definition(definition: Definition) -> tuple[str, frozenset[Definition]]:
    """A definition's own hash, and the definitions it names."""
    module = _module(definition.module)
    if module is None:
        return "", frozenset()
    if definition.name == WHOLE:
        everything = [statement for group in module.bindings.values() for statement in group]
        statements = list(dict.fromkeys([*everything, *module.effects]))
        named: set[Names] = {
            (name,) for name, targets in module.imports.items() if not all(map(_is_module, targets))
        }
    else:
        statements = [*module.bindings.get(definition.name, []), *module.effects]
        named = set()
    visitor = _References(module)
    for statement in statements:
        visitor.visit(statement)
    found: set[Definition] = set()
    others: set[str] = set()
    for names in named | visitor.named:
        _resolve(module, names, found, others)
    for target, rest in visitor.imported:
        _follow(target, rest, found, others)
    text = "\n".join([*map(_dump, statements), *sorted(others)])
    return hashlib.sha256(text.encode()).hexdigest(), frozenset(found - {definition})


def _resolve(module: Module, names: Names, found: set[Definition], others: set[str]) -> bool:
    """Add what a chain of names means at the top level of a module; False when it means nothing there."""
    name, rest = names[0], names[1:]
    known = name in module.bindings or name in module.imports
    if name in module.bindings:
        found.add(Definition(module.name, name))
    for target in module.imports.get(name, []):
        _follow(target, rest, found, others, origin=module.name)
    if not known:
        for star in module.stars:
            source = _module(star) if _ours(star) else None
            known = known or (source is not None and _resolve(source, names, found, others))
    return known


def _follow(
    target: Imported, rest: Names, found: set[Definition], others: set[str], origin: str = ""
) -> None:
    """Add what an imported thing, and the attributes taken of it, mean in its own module."""
    names = (target.name, *rest) if target.name else rest
    if not _ours(target.module) or (target.module + ".").startswith(MACHINERY + "."):
        others.add(".".join((target.module, *names)))
        return
    module = _module(target.module)
    # A package that imports its own submodule by name would otherwise point at itself.
    itself = target.module == origin and bool(target.name)
    if names and module is not None and not itself and _resolve(module, names, found, others):
        return
    if names and _module(f"{target.module}.{names[0]}") is not None:
        _follow(Imported(f"{target.module}.{names[0]}"), names[1:], found, others)
    elif not (names and names[0].startswith("__")):
        found.add(Definition(target.module, WHOLE))


def _is_module(target: Imported) -> bool:
    if not target.name or not _ours(target.module):
        return True
    module = _module(target.module)
    inside = module is not None and (target.name in module.bindings or target.name in module.imports)
    return not inside and _module(f"{target.module}.{target.name}") is not None


class _References(ast.NodeVisitor):
    """Collects the chains of names a piece of code takes from outside itself."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.named: set[Names] = set()
        self.imported: set[tuple[Imported, Names]] = set()
        self.scopes: list[Scope] = []

    def visit_Name(self, node: ast.Name) -> None:
        self._use((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = _chain(node)
        if chain:
            self._use(chain)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, *getattr(node, "type_params", [])):
            self.visit(part)
        self._visit_arguments(node.args)
        self._visit_annotation(node.returns)
        self._visit_inside(_locals(node.args, node.body, self.module.package), node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_arguments(node.args)
        self._visit_inside(_locals(node.args, [], self.module.package), [node.body])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        self._visit_annotation(node.annotation)
        if node.value is not None:
            self.visit(node.value)

    def _visit_comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
    ) -> None:
        targets = [name for part in node.generators for name in _stored(part.target)]
        self.visit(node.generators[0].iter)  # evaluated outside
        elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        conditions = [test for part in node.generators for test in part.ifs]
        later = [part.iter for part in node.generators[1:]]
        self._visit_inside(dict.fromkeys(targets), [*later, *conditions, *elements])

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _visit_comprehension

    def _visit_arguments(self, arguments: ast.arguments) -> None:
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.visit(default)
        for argument in _parameters(arguments):
            self._visit_annotation(argument.annotation)

    def _visit_annotation(self, annotation: ast.expr | None) -> None:
        if annotation is None:
            return
        self.visit(annotation)
        for node in ast.walk(annotation):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                try:
                    self.visit(ast.parse(node.value.strip(), mode="eval").body)
                except SyntaxError:
                    continue  # a shape, not a class

    def _visit_inside(self, scope: Scope, nodes: Iterable[ast.AST]) -> None:
        self.scopes.append(scope)
        for node in nodes:
            self.visit(node)
        self.scopes.pop()

    def _use(self, names: Names) -> None:
        for scope in reversed(self.scopes):
            if names[0] in scope:
                target = scope[names[0]]
                if target is not None:
                    self.imported.add((target, names[1:]))
                return
        self.named.add(names)


def _chain(node: ast.Attribute) -> Names:
    """`a.b.c` as its names; empty when it does not begin with a name."""
    names = [node.attr]
    value: ast.expr = node.value
    while isinstance(value, ast.Attribute):
        names.append(value.attr)
        value = value.value
    return (value.id, *reversed(names)) if isinstance(value, ast.Name) else ()


def _parameters(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None)


def _locals(arguments: ast.arguments, body: list[ast.stmt], package: str) -> Scope:
    """The names a function binds itself; an import inside it keeps what it stands for."""
    scope: Scope = {argument.arg: None for argument in _parameters(arguments)}
    elsewhere: set[str] = set()
    for node in _own_nodes(body):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            scope.update((name, target) for name, target in _imports(node, package) if name != WHOLE)
        elif isinstance(node, ast.Global):
            elsewhere.update(node.names)
        else:
            scope.update(dict.fromkeys(_bound(node)))
    return {name: target for name, target in scope.items() if name not in elsewhere}


def _own_nodes(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of a function's body without those of scopes inside it."""
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    comprehensions = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
    for node in body:
        yield node
        if not isinstance(node, inner + comprehensions):
            yield from _own_nodes(ast.iter_child_nodes(node))


def _bound(node: ast.AST) -> Names:
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


def _stored(target: ast.expr) -> list[str]:
    return [
        node.id for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]


def _imports(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Imported]]:
    """The names an import binds, WHOLE for a star."""
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


_modules: dict[str, Module | None] = {}


def _module(name: str) -> Module | None:
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
    digest = hashlib.sha256(_dump(tree).encode()).hexdigest()
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
    for node in _own_nodes([statement]):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports = True
            for bound, target in _imports(node, module.package):
                if bound == WHOLE:
                    module.stars.append(target.module)
                else:
                    module.imports.setdefault(bound, []).append(target)
        else:
            names.update(_bound(node))
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


def _dump(node: object) -> str:
    """A tree as text without positions, and without the empty fields that differ between Python versions."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({','.join(f'{name}={_dump(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(_dump, node))}]"
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
    return not places or any(os.path.realpath(place).startswith(_INSTALLED) for place in places)


def _ours(module: str) -> bool:
    root = module.partition(".")[0]
    return root == LIBRARY or not _is_installed(root)
