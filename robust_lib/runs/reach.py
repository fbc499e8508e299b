"""What a function's result can depend on in our own code: its source and every definition it reaches, hashed.

Read from the syntax trees on disk, never by running anything. From the function the reach follows names and
`module.name` chains through bodies, decorators, bases, defaults and annotations (an annotated class counts
with all its methods), module constants and what changes them. Docstrings, comments and layout do not count;
of other packages only the names taken from them do. A module used as a plain value (`getattr(losses, name)`)
is reached as a whole. Files that code reads are not seen: hand them in as an argument with a `fingerprint()`.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from robust_lib.runs.source import (
    Imported,
    Module,
    Names,
    bound_names,
    check_module,
    dump,
    imports_of,
    is_ours,
    module_named,
    own_nodes,
)

# This package decides when a function runs, never what it returns.
MACHINERY = __name__.rpartition(".")[0]
# What the micro world hands to others, examples and weights, enters keys by its content: the `fingerprint()` of
# splits and encoders. Its code counts for its own functions alone.
CONTENT = f"{__name__.partition('.')[0]}.micro"
WHOLE = "*"

Scope = dict[str, "Imported | None"]


@dataclass(frozen=True)
class Definition:
    """A top-level name of a module, or WHOLE for all of it."""

    module: str
    name: str


def code_digest(module: str, name: str) -> str:
    """sha256 over the definition `name` of `module` and all it reaches in our own code."""
    return _closure(Definition(module, name.partition(".")[0]))[0]


def digests(names: Iterable[str]) -> list[str]:
    """The `code_digest` of each `module:name`."""
    return [code_digest(*name.split(":")) for name in names]


def check_unchanged(names: Iterable[str]) -> None:
    """Raise SourceChanged when a file that one of these (`module:name`) reaches was edited since it was hashed."""
    roots = {
        Definition(module, name.partition(".")[0])
        for module, _, name in (name.partition(":") for name in names)
    }
    for module in set().union(*(_closure(root)[1] for root in roots)):
        check_module(module)


@functools.cache
def _closure(root: Definition) -> tuple[str, frozenset[str]]:
    reached: dict[Definition, str] = {}
    waiting = [root]
    while waiting:
        definition = waiting.pop()
        if definition not in reached:
            reached[definition], found = _read_definition(definition)
            inside = _is_content(definition)
            waiting.extend(item for item in found if inside or not _is_content(item))
    lines = sorted(f"{item.module}:{item.name}={digest}" for item, digest in reached.items())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return digest, frozenset(item.module for item in reached)


def _is_content(definition: Definition) -> bool:
    return (definition.module + ".").startswith(CONTENT + ".")


@functools.cache
def _read_definition(definition: Definition) -> tuple[str, frozenset[Definition]]:
    """A definition's own hash, and the definitions it names."""
    module = module_named(definition.module)
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
    text = "\n".join([*map(dump, statements), *sorted(others)])
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
            source = module_named(star) if is_ours(star) else None
            known = known or (source is not None and _resolve(source, names, found, others))
    return known


def _follow(
    target: Imported, rest: Names, found: set[Definition], others: set[str], origin: str = ""
) -> None:
    """Add what an imported thing, and the attributes taken of it, mean in its own module."""
    names = (target.name, *rest) if target.name else rest
    if not is_ours(target.module) or (target.module + ".").startswith(MACHINERY + "."):
        others.add(".".join((target.module, *names)))
        return
    module = module_named(target.module)
    # A package that imports its own submodule by name would otherwise point at itself.
    itself = target.module == origin and bool(target.name)
    if names and module is not None and not itself and _resolve(module, names, found, others):
        return
    if names and module_named(f"{target.module}.{names[0]}") is not None:
        _follow(Imported(f"{target.module}.{names[0]}"), names[1:], found, others)
    elif not (names and names[0].startswith("__")):
        found.add(Definition(target.module, WHOLE))


def _is_module(target: Imported) -> bool:
    if not target.name or not is_ours(target.module):
        return True
    module = module_named(target.module)
    inside = module is not None and (target.name in module.bindings or target.name in module.imports)
    return not inside and module_named(f"{target.module}.{target.name}") is not None


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
    for node in own_nodes(body):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            scope.update((name, target) for name, target in imports_of(node, package) if name != WHOLE)
        elif isinstance(node, ast.Global):
            elsewhere.update(node.names)
        else:
            scope.update(dict.fromkeys(bound_names(node)))
    return {name: target for name, target in scope.items() if name not in elsewhere}


def _stored(target: ast.expr) -> list[str]:
    return [
        node.id for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
