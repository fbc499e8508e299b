"""The page of an audit: what changed, in one file that needs no network, and the same for programs.

    page.write(folder, page.Audit(name="sst2: int8", ...))        # audit.html, audit.json, findings.csv, ...

`audit.json` has these keys, in this order; what is unknown or unbounded is null:

    format      1
    name        of the audit
    summary     sentences, the overall one first
    problems    what may be wrong with the input: kind, where, told, remedy
    findings    the rows of the page's tables, every column of the findings frame
    unmeasured  measure, reason
    rules       what the verdicts rest on, a row for each measure
    budget      sentences: what was sampled, and what that resolves
    models      by role (original, compressed, second): place, kind, classes, ...
    sets        by name (test, ood, train): file, rows, columns, ...
    about       the run: versions, commit, device, date, parameters
    frames      by name: file (csv beside it), rows, columns

It holds no example's text; the frames hold what they are given.
"""

import base64
import hashlib
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from robust_lib import report
from robust_lib.audit import verdicts
from robust_lib.audit.problems import AuditError, Problem
from robust_lib.report import figures, files, live, outputs

TOPICS = (  # in the order of the page; others follow as they come, and the cost comes last
    "accuracy", "loyalty", "flips", "calibration", "out of distribution", "difficulty", "neighbours", "attack",
)  # fmt: skip
FORMS = {  # by unit; what has none is a fraction of 1
    "%": ".1f", "points": ".1f", "ms": ".3g", "MB": ".4g", "million": ".3g", "times": ".2f", "queries": ".1f",
    "count": ".0f", "p": ".2g",
}  # fmt: skip
LONGEST = 48  # signs of a name in a figure
WORDS = {  # of verdicts
    verdicts.WORSE: "worse", "slower": "worse", "larger": "worse",
    verdicts.BETTER: "better", "faster": "better", "smaller": "better",
}  # fmt: skip
SHADES = {"worse": "bad", "better": "good"}
INVISIBLE: dict[int, str | int] = {  # signs that hide, or turn the rest of a line round: shown by name
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"},
    **{code: f"[U+{code:04X}]" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))},
    **dict.fromkeys((*range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "\ufffd"),  # no text at all
}


@dataclass(frozen=True)
class Audit:
    """What an audit found, as its page shows it.

    `models` are described by role and `sets` by name, each a mapping of facts to show; `findings` has the columns that
    `findings.measured` gives; the first sentence of `summary` is the overall one. `unmeasured` are pairs (measure,
    reason), `budget` sentences. `figures` stand with the topic of findings they are named after. `frames` are written
    as csv beside the page. `about` is a run's record.
    """

    name: str
    about: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    sets: Mapping[str, Mapping[str, Any]]
    problems: Sequence[Problem]
    findings: pd.DataFrame
    summary: Sequence[str]
    unmeasured: Sequence[tuple[str, str]]
    rules: pd.DataFrame
    budget: Sequence[str]
    flips: report.Examples
    attacks: report.Examples
    figures: Mapping[str, Figure]
    frames: Mapping[str, pd.DataFrame]


def write(folder: Path, audit: Audit) -> list[Path]:
    """Write audit.html, audit.json, findings.csv and NAME.csv for each frame; the paths, the page first.

    Each file replaces its old one at once, the page as the last. Raises AuditError for the name of a frame that is no
    file name, and for a figure of a topic that has no findings.
    """
    frames = {"findings": audit.findings, **audit.frames}
    for name in frames:
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise AuditError(f"frame {name!r}: use lower-case letters, digits and _, as in predictions_test")
    places = ["differences", "slices", *audit.findings["topic"]]
    for name in audit.figures:
        if name not in places:
            raise AuditError(
                f"figure {name!r}: it stands with no findings; use {', '.join(dict.fromkeys(places))}"
            )
    tables = {f"{name}.csv": _csv(frame) for name, frame in frames.items()}
    told = json.dumps(_told(audit, frames), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    contents = {"audit.json": _bytes(told), **tables}
    contents["audit.html"] = _html(audit, {name: len(content) for name, content in contents.items()})
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        files.write(folder / name, content)
    return [folder / name for name in reversed(contents)]


def _bytes(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def _csv(frame: pd.DataFrame) -> bytes:
    return _bytes(frame.to_csv(index=frame.index.names != [None]))


def _told(audit: Audit, frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """What `audit.json` holds."""
    written = {
        name: {"file": f"{name}.csv", "rows": len(frame), "columns": list(frame.columns)}
        for name, frame in frames.items()
    }
    told = {
        "format": 1,
        "name": audit.name,
        "summary": audit.summary,
        "problems": list(map(asdict, audit.problems)),
        "findings": audit.findings.to_dict("records"),
        "unmeasured": [{"measure": measure, "reason": reason} for measure, reason in audit.unmeasured],
        "rules": audit.rules.to_dict("records"),
        "budget": audit.budget,
        "models": audit.models,
        "sets": audit.sets,
        "about": outputs.placed(audit.about),
        "frames": written,
    }
    plain: dict[str, Any] = _plain(told)
    return plain


def _plain(value: Any) -> Any:
    """As JSON knows it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_plain, value))
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, str | bool | int | float) else str(value)


# -- figures --------------------------------------------------------------------------------------------------


def figure(findings: pd.DataFrame) -> Figure | None:
    """Every change on one axis, in units of the change that matters; None where there is none.

    An agreement (loyalty) stands by how far it is from that of the original trained again, if that is known. Cost has
    no common axis with the rest and is left to its table.
    """
    whole = findings[(findings["part"] == "") & (findings["topic"] != "cost")]
    rows = pd.DataFrame([_change(row) for _, mine in _topics(whole) for row in mine.to_dict("records")])
    known = rows.dropna(subset="value") if len(rows) else rows
    return report.changes_figure(known) if len(known) else None


def slices_figure(findings: pd.DataFrame) -> Figure | None:
    """The changes on each slice, a panel for each measure; None without slices."""
    parts = findings[(findings["part"] != "") & findings["value"].notna()]
    whole = findings[findings["part"] == ""].set_index(["measure", "set"])["value"]
    rows = [
        {
            "group": row["part"].partition(":")[0],
            "name": _name(row["part"]),
            "measure": row["measure"],
            "unit": _unit(row),
            **{key: row[key] for key in ("value", "low", "high")},
            "whole": whole.get((row["measure"], row["set"]), math.nan),
            "side": _side(row),
            "told": _number(row["value"], _unit(row), pd.notna(row["original"])),
        }
        for row in parts.to_dict("records")
    ]
    return report.slices_figure(pd.DataFrame(rows)) if rows else None


def _change(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of `changes_figure`: worse is left of 0; all NaN where nothing says what is worse, or than what."""
    rule = verdicts.rule(row["measure"])
    unchanged = row["control"] if rule.agreement else rule.neutral
    scale = {verdicts.BETTER: 1, verdicts.WORSE: -1}.get(rule.rises, math.nan) / verdicts.matters(row)
    value, *limits, band_low, band_high = (
        (row[name] - unchanged) * scale for name in ("value", "low", "high", "control_low", "control_high")
    )
    told = _number(row["value"], _unit(row), pd.notna(row["original"]))
    name = _name(" · ".join(filter(None, [row["measure"], row["set"]])))
    words = {"group": row["topic"], "name": name, "told": told, "side": _side(row)}
    band = {"band_low": band_low, "band_high": band_high}
    return words | {"value": value, "low": min(limits), "high": max(limits)} | band


def _name(text: str) -> str:
    """One line of a figure; of a long name both ends, by which slices differ."""
    line, half = " ".join(text.translate(INVISIBLE).split()), LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]}…{line[1 - half :]}"


def _side(row: Mapping[Any, Any]) -> str:
    """Of figures.SIDES, by the verdict; a pair that is less alike than it might be counts by what its measure says."""
    verdict, rule = row["verdict"], verdicts.rule(row["measure"])
    if verdict in (verdicts.BEYOND, verdicts.BY_CHANCE):
        verdict = rule.falls if rule.agreement > 0 else rule.rises
    return "unknown" if verdict == verdicts.UNTOLD else WORDS.get(verdict, "none")


def _unit(row: Mapping[Any, Any]) -> str:
    """Of its value: shares in percent differ by points."""
    return "points" if row["unit"] == "%" and pd.notna(row["original"]) else row["unit"]


# -- HTML -----------------------------------------------------------------------------------------------------

Cell = tuple[str, str, str]  # what is shown, what stands smaller below it, the class of its shade


def _html(audit: Audit, written: Mapping[str, int]) -> bytes:
    script = live.live("").removeprefix("<script>").removesuffix("</script>")
    whole = audit.findings[audit.findings["part"] == ""]
    parts = audit.findings[audit.findings["part"] != ""]
    own = {"differences": figure(audit.findings), "slices": slices_figure(audit.findings)}
    drawn = {name: one for name, one in (own | dict(audit.figures)).items() if one is not None}
    page = _template().render(
        audit=audit,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        script=script,
        style=_beside("page.css"),
        topics={topic: _table(rows) for topic, rows in _topics(whole)},
        slices=_table(parts) if len(parts) else None,
        figures={name: _drawn(one) for name, one in drawn.items()},
        flips=_examples(audit.flips),
        attacks=_examples(audit.attacks),
        models=_facts(audit.models),
        sets=_facts(audit.sets),
        rules=_frame(audit.rules),
        about=[(str(name), _text(one)) for name, one in outputs.placed(audit.about).items()],
        written=written,
    )
    return page.translate(INVISIBLE).encode()


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_beside("page.html"))


def _beside(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _topics(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows by topic, in the page's order."""
    there = list(dict.fromkeys(rows["topic"]))
    known = [*TOPICS, *(topic for topic in there if topic not in (*TOPICS, "cost")), "cost"]
    yield from ((topic, rows[rows["topic"] == topic]) for topic in known if topic in there)


def _table(rows: pd.DataFrame) -> tuple[list[str], list[list[Cell]]]:
    """Head and cells of findings; a column that is empty throughout is left out."""
    pair, sources = rows["original"].isna(), set(rows["control_from"].dropna()) - {""}
    names = {
        "value": "of the pair" if pair.all() else "difference or of the pair" if pair.any() else "difference",
        "control": sources.pop() if len(sources) == 1 else "control",
    }
    body = [_cells(row, tell_source=names["control"] == "control") for row in rows.to_dict("records")]
    there = [key for key in body[0] if any(cells[key][0] for cells in body)]
    return [names.get(key, key) for key in there], [[cells[key] for key in there] for cells in body]


def _cells(row: Mapping[Any, Any], *, tell_source: bool) -> dict[str, Cell]:
    unit, apart, signed = row["unit"], _unit(row), pd.notna(row["original"])
    control, limits, _ = _value(row, "control", apart)
    source = row["control_from"] if tell_source and control else ""
    count, resolves = _number(row["n"], "count"), _number(row["resolves"], apart)
    return {
        "slice": (row["part"], "", ""),
        "measure": (row["measure"], row["set"], ""),
        "original": _value(row, "original", unit),
        "compressed": _value(row, "compressed", unit),
        "value": (_number(row["value"], apart, signed), _limits(row["low"], row["high"], apart, signed), ""),
        "n": (count, f"resolves {resolves}" if resolves else "", ""),
        "p, corrected": (_probability(row["p_corrected"]), row["test"], ""),
        "control": (control, " · ".join(filter(None, [limits, source])), ""),
        "chance": (_number(row["chance"], unit), "", ""),
        "verdict": (row["verdict"], "", SHADES.get(_side(row), "")),
    }


def _value(row: Mapping[Any, Any], name: str, unit: str) -> Cell:
    return _number(row[name], unit), _limits(row[f"{name}_low"], row[f"{name}_high"], unit), ""


def _limits(low: float, high: float, unit: str, signed: bool = False) -> str:
    if low == high or (math.isnan(low) and math.isnan(high)):  # counted, or not known
        return ""
    return " to ".join(_digits(limit, unit, signed) or "?" for limit in (low, high))


def _number(value: float, unit: str, signed: bool = False) -> str:
    """84.2 %, −1.3 points, 0.031, 2,000 (a count); nothing where it is unknown."""
    name = "" if unit == "count" else unit
    return f"{_digits(value, unit, signed)} {name}".strip() if pd.notna(value) else ""


def _digits(value: float, unit: str, signed: bool) -> str:
    if not math.isfinite(value):
        return "" if math.isnan(value) else "unbounded"
    return f"{value:{'+' if signed else ''},{FORMS.get(unit, '.3f')}}".replace("-", "−")


def _probability(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else _digits(p, "p", False)


def _drawn(figure: Figure) -> str:
    """The address of a picture: the names inside a drawing cannot meet those of the page.

    Its words are drawn by the browser, which knows the letters of more languages than the figure's font.
    """
    stream = BytesIO()
    with plt.rc_context(figures.STYLE | {"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _examples(examples: report.Examples) -> str:
    """They escape their texts themselves; the page brings their script."""
    page = examples._repr_html_()
    return page.partition("<script>")[0] if examples.examples else ""


def _frame(frame: pd.DataFrame) -> tuple[list[str], list[list[Cell]]]:
    """A frame as it is."""
    body = [[(_text(one), "", "") for one in row] for row in frame.astype(object).to_numpy().tolist()]
    return list(map(str, frame.columns)), body


def _facts(known: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[Cell]]]:
    """A column for each model or set, a row for each fact."""
    facts = dict.fromkeys(fact for one in known.values() for fact in one)
    body = [[(fact, "", ""), *((_text(one.get(fact)), "", "") for one in known.values())] for fact in facts]
    return ["", *known], body


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_text(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return " · ".join(map(_text, value))
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
