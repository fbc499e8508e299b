"""The package's sources as pages, and where in them each name that a notebook may write is defined.

Read with `ast` and never imported: a page shows what stands in the file, on any machine.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Definition:
    """Where a name is defined: page, anchor in it, and the first line of its docstring."""

    page: str
    anchor: str
    about: str


@dataclass(frozen=True)
class Code:
    """`texts` are pages in Markdown by document name, `names` where "methods.finetuned" is defined."""

    texts: dict[str, str]
    names: dict[str, Definition]


def pages(package: Path) -> Code:
    """A page for each module of a package and one that lists them."""
    files = {_name(package, file): file for file in sorted(package.rglob("*.py"))}
    trees = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in files.items()}
    texts = {
        _page(name): _module(name, files[name], tree, list(files)) for name, tree in trees.items() if name
    }
    texts["code/index"] = _index(trees)
    return Code(texts, _names(trees))


def _name(package: Path, file: Path) -> str:
    """Within the package: methods.training, methods for its __init__, and nothing for the package's own."""
    parts = file.relative_to(package).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _page(name: str) -> str:
    return f"code/{name}"


def _index(trees: dict[str, ast.Module]) -> str:
    intro = (
        "The package's sources. `methods` is where to look first: each named method of the papers is one short "
        "function there, made of the others. In the code here and in the notebooks, names of the package are links to "
        "where they are defined."
    )
    listed = "\n".join(
        f"{'  ' * name.count('.')}- [{_escaped(name)}]({name}.md): {_first_sentence(tree)}"
        for name, tree in trees.items()
        if name
    )
    return f"# Code\n\n{intro}\n\n{listed}\n"


def _module(name: str, file: Path, tree: ast.Module, names: list[str]) -> str:
    """Its source, cut where a public definition begins and headed by its name.

    It stands in no table of contents (`orphan`): a hundred and more of them would fill every page's sidebar.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    public = _public(tree)
    starts = [_start(node, lines) for node in public]
    ends = [*starts, len(lines)]
    above = [
        f"[Code](index.md) · [{_escaped(one)}]({one}.md)"
        for one in names
        if one and name.startswith(f"{one}.")
    ]
    parts = ["---\norphan: true\n---", f"# {_escaped(name)}", *(above[:1] or ["[Code](index.md)"])]
    inside = [one for one in names if one.startswith(f"{name}.")]
    parts += ["Parts: " + ", ".join(f"[{_escaped(one)}]({one}.md)" for one in inside)] if inside else []
    parts += _fenced(lines[: ends[0]])
    for node, begin, end in zip(public, starts, ends[1:], strict=True):
        parts += [
            f'<span id="def-{node.name}"></span>',
            f"## {_escaped(node.name)}",
            *_fenced(lines[begin:end]),
        ]
    return "\n\n".join(parts) + "\n"


def _escaped(name: str) -> str:
    """As Markdown: __main__ is no emphasis."""
    return name.replace("_", r"\_")


def _public(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """Its definitions that other modules may use."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def _start(node: ast.FunctionDef | ast.ClassDef, lines: list[str]) -> int:
    """The line, counted from 0, where a definition begins with its decorators and the comments above it."""
    start = min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1
    while start and lines[start - 1].startswith("#"):
        start -= 1
    return start


def _fenced(lines: list[str]) -> Iterator[str]:
    text = "\n".join(lines).strip("\n")
    if text:
        yield f"~~~~~~~~python\n{text}\n~~~~~~~~"


def _names(trees: dict[str, ast.Module]) -> dict[str, Definition]:
    """By the name of a module and a name in it, where no two modules of that name define it."""
    found: dict[str, set[Definition]] = {}
    for name, tree in trees.items():
        for one, definition in _defined(name, tree, trees):
            found.setdefault(f"{name.rpartition('.')[2]}.{one}", set()).add(definition)
    return {name: next(iter(places)) for name, places in sorted(found.items()) if len(places) == 1}


def _defined(name: str, tree: ast.Module, trees: dict[str, ast.Module]) -> Iterator[tuple[str, Definition]]:
    """The public names of a module: its own, and in an __init__ those of its parts."""
    for node in _public(tree):
        yield node.name, Definition(_page(name), f"def-{node.name}", _first_sentence(node))
    for line in tree.body:
        if isinstance(line, ast.ImportFrom) and str(line.module).startswith(f"robust_lib.{name}."):
            part = str(line.module).removeprefix("robust_lib.")
            own = dict(_defined(part, trees[part], trees))
            yield from ((alias.name, own[alias.name]) for alias in line.names if alias.name in own)


def _first_sentence(node: ast.Module | ast.FunctionDef | ast.ClassDef) -> str:
    """What a docstring begins with, on one line."""
    text = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
    return text.partition(". ")[0]
