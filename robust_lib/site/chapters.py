"""A run's notebooks as pages: as they were executed, without what belongs to the machine, linked to files and code."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from robust_lib.site import sources

LINES = 8  # of code that stand open on a page; more are folded, so that tables and figures meet the eye
_FOLDERS = re.compile(r"(^|[\s\"'(=>\[]|\x1b\[[\d;]*m)/(?:[\w.@~+-]+/)+", re.MULTILINE)
_SCRIPT = re.compile(r"(<script\b.*?</script>)", re.S)
_REMOTE_PICTURE = re.compile(r"!\[([^\]]*)\]\(https?://[^)]*\)")
_NAME = re.compile(r"\b(\w+)\.(\w+)\b")


class SiteError(ValueError):
    """There is nothing to build a site of, a file is damaged, or the site would ask the network; says which file."""


@dataclass(frozen=True)
class Chapter:
    """A notebook of the site: its cells, its run.json ({} where there is none), the files it saved, and its state:

    "executed", "failed" or "not executed".
    """

    name: str
    notebook: NotebookNode
    run: dict[str, Any]
    files: Sequence[str]
    state: str

    @property
    def title(self) -> str:
        """Its first line."""
        return self._first.partition("\n")[0].lstrip("# ")

    @property
    def claim(self) -> str:
        """What it is about, in one sentence: what its first cell has in italics behind "in one sentence:"."""
        found = re.search(r"in one sentence: \*(.*?)\*", self._first, re.I | re.S)
        return " ".join(found[1].split()) if found else ""

    @property
    def paper(self) -> int | None:
        """Which paper it rebuilds."""
        found = re.search(r"^Paper (\d)", self._first, re.M)
        return int(found[1]) if found else None

    @property
    def pictures(self) -> list[str]:
        """The figures among its files."""
        return [file for file in self.files if file.endswith(".png")]

    @property
    def _first(self) -> str:
        return str(self.notebook.cells[0].source)


def chapters(run: Path, notebooks: Sequence[Path]) -> list[Chapter]:
    """A run's notebooks in order: those executed, and those of `notebooks` that were not, from their source."""
    executed = {path.stem: path for path in (run / "notebooks").glob("*.ipynb")}
    known = {path.stem: path for path in notebooks}
    return [_chapter(name, run, executed.get(name), known) for name in sorted({*executed, *known})]


def _chapter(name: str, run: Path, executed: Path | None, known: dict[str, Path]) -> Chapter:
    if executed is None:
        return Chapter(name, jupytext.read(known[name]), {}, [], "not executed")
    try:
        notebook = nbformat.read(executed, as_version=4)
    except nbformat.reader.NotJSONError as error:
        raise SiteError(f"{executed} is no notebook; delete it and run {name} again") from error
    failed = any(
        output.output_type == "error" for cell in notebook.cells for output in cell.get("outputs", [])
    )
    files = [
        file for file in _read(run / name / "manifest.json").get("files", {}) if (run / name / file).is_file()
    ]
    return Chapter(
        name, notebook, _read(run / name / "run.json"), sorted(files), "failed" if failed else "executed"
    )


def _read(file: Path) -> dict[str, Any]:
    """What a JSON file tells, if there is one."""
    try:
        told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:  # cut, or no UTF-8
        raise SiteError(f"{file} is no JSON ({error}); delete it and run {file.parent.name} again") from error
    if not isinstance(told, dict):
        raise SiteError(f"{file} holds no record of a run; delete it and run {file.parent.name} again")
    return told


def write(chapter: Chapter, folder: Path, run: Path, *, scale: str, code: sources.Code) -> None:
    """Write a chapter's page into the sources of a site, and copy the files it links to."""
    notebook = chapter.notebook
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    behind = _behind(notebook, code)
    for cell in notebook.cells:
        _clean(cell)
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(_told(chapter, scale)))
    notebook.cells += [nbformat.v4.new_markdown_cell(text) for text in (_files(chapter), behind) if text]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # else drawn at random
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / "notebooks" / f"{chapter.name}.ipynb")
    for file in chapter.files:
        target = folder / "extra" / "files" / chapter.name / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / chapter.name / file, target)


def _clean(cell: NotebookNode) -> None:
    """Take from a cell the folders and times of the machine it ran on, and the pictures that lie elsewhere."""
    tags = cell.metadata.get("tags", [])
    folded = "parameters" not in tags and cell.source.count("\n") >= LINES
    cell.metadata = NotebookNode(
        tags=[*tags, *(["hide-input"] if folded and cell.cell_type == "code" else [])]
    )
    if cell.cell_type == "markdown":
        cell.source = _REMOTE_PICTURE.sub(r"\1", cell.source)
    elif "injected-parameters" in tags:
        cell.source = anonymous(cell.source)
    for output in cell.get("outputs", []):
        for part, keys in (
            (output, ("text", "evalue")),
            (output.get("data", {}), ("text/plain", "text/html")),
        ):
            part.update({key: anonymous(part[key]) for key in keys if key in part})
        if "traceback" in output:
            output.traceback = [anonymous(line) for line in output.traceback]


def anonymous(text: str) -> str:
    """Folders from the root on, where they stand as words, shortened to their last name: …/hans.parquet.

    Scripts stay as they are: what looks like a folder there is an expression.
    """
    parts = _SCRIPT.split(text)
    return "".join(part if i % 2 else _FOLDERS.sub(r"\1…/", part) for i, part in enumerate(parts))


def _told(chapter: Chapter, scale: str) -> str:
    """How it was run, in one line."""
    if chapter.state == "not executed":
        remedy = f"`make notebook NB={chapter.name} SCALE={scale}`"
        return f"```{{note}}\nThis run has not executed it ({remedy}); what follows has no outputs.\n```"
    run, commit = chapter.run, (chapter.run.get("git") or {}).get("commit")
    parts = [
        f"scale {scale}",
        f"seeds {str(run['seeds']).strip('[]')}" if run.get("seeds") is not None else "",
        str(run.get("device", "")),
        f"robust_lib {run['robust_lib']}" if "robust_lib" in run else "",
        f"torch {run['versions'].get('torch')}" if "versions" in run else "",
        f"commit {commit[:7]}" if commit else "",
    ]
    told = f"<p class='run'>{html.escape(' · '.join(filter(None, parts)))}</p>"
    failed = "```{warning}\nIt failed: the error stands in the cell where it stopped.\n```"
    return f"{failed}\n\n{told}" if chapter.state == "failed" else told


def _files(chapter: Chapter) -> str:
    """What it saved, an output on a line."""
    kinds: dict[str, list[str]] = {}
    for file in chapter.files:
        link = f"<a href='../files/{chapter.name}/{file}'>{Path(file).suffix[1:]}</a>"
        kinds.setdefault(Path(file).stem, []).append(link)
    listed = "\n".join(f"<li><code>{stem}</code> {' · '.join(links)}</li>" for stem, links in kinds.items())
    return f"## Tables and figures as files\n\n<ul class='files'>\n{listed}\n</ul>" if listed else ""


def _behind(notebook: NotebookNode, code: sources.Code) -> str:
    """The package's functions and classes that its cells name, each with what it is."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    named = sorted({f"{one}.{other}" for one, other in _NAME.findall(text)} & set(code.names))
    listed = "\n".join(_item(name, code.names[name]) for name in named)
    return f"## Code behind this page\n\n<ul class='behind'>\n{listed}\n</ul>" if listed else ""


def _item(name: str, found: sources.Definition) -> str:
    link = f"<a href='../{found.page}.html#{found.anchor}'><code>{name}</code></a>"
    return f"<li>{link} {html.escape(found.about)}</li>"
