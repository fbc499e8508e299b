"""One notebook executed through papermill, its progress and its tables on the terminal as they come."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jupytext
import papermill
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from robust_lib.runs import progress

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FAULTY_LINE = re.compile(r"^-+> *\d+ (.*)$", re.MULTILINE)


def execute(notebook: Path, values: Mapping[str, Any], output: Path, *, tables: Path) -> str:
    """Execute a py:percent notebook with `values` over its tagged cell; what failed and where, or "".

    The executed notebook goes to `output`, never back into its source. Every `table_*.md` that its cells
    write under `tables` is printed.
    """
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's kernel before the user's own
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            jupytext.read(notebook),
            str(output),
            parameters=dict(values),
            engine_name=_Engine.name,
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            startup_timeout=300,
            extra_arguments=[
                "--IPKernelApp.log_level=50"
            ],  # or it warns of its local port, and of Ctrl-C at length
            tables=tables,
        )
    except PapermillExecutionError as error:
        return _failure(notebook.stem, error, output)
    except (
        RuntimeError,
        OSError,
    ) as error:  # the kernel did not start, died, or the output cannot be written
        return f"{notebook.stem} failed: {type(error).__name__}: {error}\n  executed so far: {output}"
    return ""


def _failure(name: str, error: PapermillExecutionError, output: Path) -> str:
    """Which cell, which line, what, and where to look."""
    lines = _FAULTY_LINE.findall(_COLOUR.sub("", "\n".join(error.traceback)))
    return (
        f"{name} failed in cell In [{error.exec_count}]: {error.ename}: {error.evalue}\n"
        f"  line: {lines[0].strip() if lines else error.source.strip().splitlines()[-1]}\n"
        f"  executed notebook: {output}"
    )


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    """papermill's client, which keeps to itself what is displayed in place: that is our progress line."""

    def __init__(self, nb_man: Any, *, tables: Path, **options: Any) -> None:
        super().__init__(nb_man, on_cell_executed=self._after_cell, **options)
        self._tables = tables
        self._seen = self._written()
        self._line: progress.Line | None = None
        self._latest = self._shown = ""

    def process_message(self, msg: dict[str, Any], *rest: Any) -> Any:
        content = msg["content"]
        if msg["msg_type"] in ("display_data", "update_display_data") and set(content["data"]) == {
            "text/plain"
        }:
            self._latest = content["data"]["text/plain"]
            self._line = self._line or progress.Line(sys.stdout)
            if self._line.due:
                self._shown = self._latest
                self._line.show(self._latest)
        return super().process_message(msg, *rest)

    def _after_cell(self, **_: Any) -> None:
        if self._line is not None:
            if self._latest != self._shown or sys.stdout.isatty():  # a log needs no line twice
                self._line.show(self._latest, last=True)
            self._line = None
        for path, modified in self._written().items():
            if self._seen.get(path) != modified:
                self._seen[path] = modified
                print(f"\n{path.read_text(encoding='utf-8').strip()}\n", flush=True)

    def _written(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in sorted(self._tables.rglob("table_*.md"))}


class _Engine(Engine):  # type: ignore[misc]
    """How papermill reaches the client."""

    name = "robust_lib"

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> None:
        """Execute the notebook that `nb_man` manages."""
        del options["input_path"], options["start_timeout"]  # papermill's own, no options of the client
        _Client(nb_man, kernel_name=kernel_name, **options).execute()


papermill_engines.register(_Engine.name, _Engine)
