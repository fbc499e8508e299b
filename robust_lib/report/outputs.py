"""What a notebook leaves behind: tables, figures, their manifest, its part of the scorecard."""

import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from robust_lib.report import figures, files, latex
from robust_lib.report.layout import Claims, Table, pipes, remarked
from robust_lib.report.scorecard import KEYS, score
from robust_lib.report.subnetworks import SubnetworkTable

Output = Table | SubnetworkTable | Claims | Figure | pd.DataFrame
ABOUT = ("notebook", "parameters", "seeds", "versions", "git", "device", "started")


def save(directory: Path, outputs: Mapping[str, Output], *, about: Mapping[str, Any]) -> list[Path]:
    """Write outputs by name and return the files; each replaces its old one at once.

    A table or frame becomes NAME.csv, NAME.md and NAME.tex, claims too, a figure NAME.png and NAME.svg. The remarks of
    the run so far (`about["remarks"]`) stand below each in Markdown and LaTeX, and in a table that is shown after this.
    `manifest.json` beside them holds sha256 and size of every file and, from `about` (a run's record),
    notebook, parameters, scale, seeds, versions, commit and device; a second call of the same run adds to
    it, another run starts it anew. Printed cells and claims go into `scorecard.json` of the folder above,
    which is the scale's.
    """
    directory.mkdir(parents=True, exist_ok=True)
    remarks: Sequence[str] = tuple(about.get("remarks") or ())
    contents: dict[str, bytes] = {}
    for name, one in outputs.items():
        if isinstance(one, Table | SubnetworkTable | Claims):
            one.remarks = remarks
        contents |= _contents(name, one, remarks)
    records = [entry for one in outputs.values() if isinstance(one, Table | Claims) for entry in one.scored]
    if records:
        score(directory.parent / "scorecard.json", records)
    for file, content in contents.items():
        files.write(directory / file, content)
    _manifest(directory / "manifest.json", contents, about)
    return [directory / file for file in contents]


def _contents(name: str, output: Output, remarks: Sequence[str]) -> dict[str, bytes]:
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"output name {name!r}: use lower-case letters, digits and _, as in table_1")
    if isinstance(output, Figure):
        return {f"{name}.{kind}": _drawn(output, kind) for kind in ("png", "svg")}
    if isinstance(output, pd.DataFrame):
        notes = remarked(remarks)
        head, body = [str(c) for c in output.columns], output.map(str).to_numpy().tolist()
        frame, text = output, "\n\n".join([pipes(head, body), *notes])
        cells = [list(map(latex.escape, row)) for row in body]
        block = pd.DataFrame(cells, columns=list(map(latex.escape, head)))
        written = latex.table(name.removeprefix("table_").replace("_", " "), [block], notes)
    elif isinstance(output, SubnetworkTable):
        frame, text, written = output.cells, repr(output), output.to_latex()
    else:
        frame = pd.DataFrame(list(output.records), columns=list(KEYS))
        text, written = repr(output), output.to_latex()
    texts = {"csv": frame.to_csv(index=False), "md": f"{text}\n", "tex": written}
    return {f"{name}.{kind}": one.encode() for kind, one in texts.items()}


def _drawn(figure: Figure, kind: str) -> bytes:
    """The same figure gives the same bytes: no date, no random ids."""
    stream = BytesIO()
    with plt.rc_context(figures.STYLE):
        figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return stream.getvalue()


def placed(value: Any) -> Any:
    """A folder by its name alone: where it lay says nothing to others, and something of the user."""
    if isinstance(value, Mapping):
        return {name: placed(one) for name, one in value.items()}
    if isinstance(value, list):
        return [placed(one) for one in value]
    is_folder = isinstance(value, str) and value.startswith(("/", "~", "."))
    return Path(value).expanduser().name if is_folder else value


def _manifest(path: Path, contents: Mapping[str, bytes], about: Mapping[str, Any]) -> None:
    made_with = {name: version(name) for name in ("matplotlib", "numpy", "pandas", "scipy", "seaborn")}
    head = {"scale": about.get("parameters", {}).get("scale"), **{key: about.get(key) for key in ABOUT}}
    head["parameters"] = placed(about.get("parameters") or {})
    head["versions"] = {"python": platform.python_version(), **made_with, **(about.get("versions") or {})}
    listed = {
        file: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for file, c in contents.items()
    }
    head = json.loads(json.dumps(head))
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if {key: old.get(key) for key in head} == head:
        listed = {**old["files"], **listed}
    files.write(
        path, json.dumps({**head, "files": dict(sorted(listed.items()))}, indent=1, ensure_ascii=False) + "\n"
    )
