"""From an audit's parameters to its models and tables, and from their answers to what may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robust_lib import params, runs
from robust_lib.audit import checks, example
from robust_lib.audit.findings import COMPRESSED, OOD, ORIGINAL, SECOND, TEST
from robust_lib.audit.models import Model
from robust_lib.audit.problems import AuditError, Problem
from robust_lib.audit.tables import Table
from robust_lib.audit.work import FEWEST, TRAIN

Answers = Mapping[str, Mapping[str, pd.DataFrame]]  # predictions by set and role


def example_of(p: params.Audit) -> list[runs.Unit]:
    """The unit that makes the embedded example, where the parameters name a part of it; else none."""
    named = [p.original, p.compressed, p.second, p.test, p.ood, p.train]
    return (
        [runs.unit(example.made)]
        if any(one and one.place.startswith(example.PREFIX) for one in named)
        else []
    )


def models_of(p: params.Audit, made: Sequence[str] = ()) -> dict[str, Model]:
    """The models that the parameters name, by role; `made` is what `example_of` gave."""
    named = {ORIGINAL: p.original, COMPRESSED: p.compressed, SECOND: p.second}
    return {
        role: Model(
            _place(one.place, made),
            one.mask and _place(one.mask, made),
            one.tokenizer and _place(one.tokenizer, made),
            tuple(one.labels) if one.labels else None,
            one.revision,
        )
        for role, one in named.items()
        if one is not None
    }


def tables_of(p: params.Audit, made: Sequence[str] = ()) -> dict[str, Table]:
    """The tables that the parameters name, by set; `made` is what `example_of` gave."""
    named = {TEST: p.test, OOD: p.ood, TRAIN: p.train}
    return {
        name: Table(_place(one.place, made), tuple(one.text), one.label, tuple(sorted(one.values.items())))
        for name, one in named.items()
        if one is not None
    }


def _place(name: str, made: Sequence[str]) -> str:
    """Where something is: of the example in its folder."""
    return f"{made[0]}/{name.removeprefix(example.PREFIX)}" if _of_example(name) else name


def _of_example(name: str) -> bool:
    """Whether a name is of the embedded example; a folder of that name comes first."""
    return name.startswith(example.PREFIX) and not Path(name).exists()


def sampled(prepared: Mapping[str, Any], seed: int, *, most: int | None = None) -> dict[str, Table]:
    """The tables of `work.prepared` with nothing left to guess, cut to its samples, and each to `most` rows.

    Of the training set, which is no test bed, as many rows as have vectors, unless `most` says otherwise.
    """
    sizes = {**prepared["sizes"], TRAIN: prepared["sizes"]["vectors"]}
    tables = {}
    for name, fields in prepared["tables"].items():
        size = max(1, min(prepared["rows"][name], sizes[name], most or sizes[name]))
        columns, values = tuple(fields["text"]), tuple((value, meant) for value, meant in fields["values"])
        tables[name] = replace(Table(**fields | {"text": columns, "values": values}), size=size, seed=seed)
    return tables


def sound(answers: Answers) -> tuple[dict[str, dict[str, pd.DataFrame]], list[Problem]]:
    """The answers without rows on which some model's output is no finite number, and what is odd in them.

    The problems: swapped labels, outputs that are not finite, a model that always says the same, classes without rows.
    """
    kept: dict[str, dict[str, pd.DataFrame]] = {}
    problems: list[Problem | None] = []
    for name, frames in answers.items():
        finite = np.logical_and.reduce(
            [np.isfinite(frame.filter(regex=r"^logit_")).all(axis=1) for frame in frames.values()]
        )
        if not finite.any():
            mute = ", ".join(role for role, frame in frames.items() if checks.not_finite(frame, role))
            raise AuditError(f"{name}: no row on which all models give finite numbers; look at {mute}")
        kept[name] = {role: frame[finite] for role, frame in frames.items()}
        problems += [checks.not_finite(frame, f"{role}, {name}") for role, frame in frames.items()]
        problems += [checks.constant(frame, f"{role}, {name}") for role, frame in kept[name].items()]
        if _labelled(kept[name]):
            problems.append(checks.absent(kept[name][ORIGINAL], name))
    models = kept[TEST]
    own = (
        {role: checks.mislabelled(frame, role) for role, frame in models.items()} if _labelled(models) else {}
    )
    problems += own.values()
    for role in (
        role for role in models if role != ORIGINAL and own.get(role) is None
    ):  # else it is told already
        problems.append(checks.swapped(models[ORIGINAL], models[role], where=role))
    return kept, [problem for problem in problems if problem is not None]


def _labelled(frames: Mapping[str, pd.DataFrame]) -> bool:
    return bool(frames[ORIGINAL]["gold"].notna().all())


def parts(
    tables: Mapping[str, Table], wanted: Sequence[str], ids: pd.Index[Any]
) -> tuple[dict[str, pd.Series[bool]], list[Problem]]:
    """The slices of the test set, over the rows `ids` alone, and what is odd in them; see `checks.slices`.

    With a training set, the rows of the test set that stand in it are a slice, too. Slices of less than `work.FEWEST`
    rows are named among the problems, and left out.
    """
    frame, text = tables[TEST].frame().loc[ids], tables[TEST].text
    problems: list[Problem | None] = []
    found = checks.slices(frame, wanted, text=text)
    for other, slice_ in ((TRAIN, "leaked"), (OOD, None)):
        if other in tables:
            # The whole of the other set, whatever was drawn of it.
            whole = replace(tables[other], size=None)
            there = checks.points(whole.frame(), whole.text)
            leaks, problem = checks.leaked(checks.points(frame, text), there, where=TEST, of=other)
            problems.append(problem)
            if slice_ and 0 < len(leaks) < len(frame):
                inside = pd.Series(frame.index.isin(leaks), index=frame.index)
                found |= {f"{slice_}: yes": inside, f"{slice_}: no": ~inside}
    if frame["label"].notna().all():
        problems.append(checks.one_class(frame["label"], found))
    problems.append(checks.small(found))
    found = {name: inside for name, inside in found.items() if inside.sum() >= FEWEST}
    return found, [problem for problem in problems if problem is not None]


def fooled(
    attacked: Mapping[str, pd.DataFrame],
    transferred: Mapping[str, pd.DataFrame],
    text: Sequence[str],
    *,
    most: int,
) -> pd.DataFrame:
    """The first texts that fooled the original and the compressed model, for `report.attack_diffs`.

    `attacked` as of `work.attacked` by role; `transferred` as of `work.transferred` by the role they were tried on: it
    knows what a model says of its own texts. At most `most` texts for each model.
    """
    shown = []
    for role in (role for role in (ORIGINAL, COMPRESSED) if role in attacked):
        tried = transferred[role]
        said = tried[tried["source"] == role].set_index("id")["predicted"]
        found = attacked[role].query("status == 'success'").head(most)
        changed = {"original": found[text[-1]], "attacked": found["rewritten"], "before": found["gold"]}
        changed |= {"after": found["id"].map(said), "queries": found["queries"], "id": found["id"]}
        changed |= {"context": found[text[0]]} if len(text) > 1 else {}
        shown.append(pd.DataFrame(changed).assign(victim=role))
    return (
        pd.concat(shown)
        if shown
        else pd.DataFrame(columns=["id", "original", "attacked", "before", "after", "queries"])
    )


def described(
    models: Mapping[str, Model], weights: Mapping[str, Mapping[str, float | None]]
) -> dict[str, dict[str, Any]]:
    """The models as the page shows them, by role: the ends of their paths, never where they lay."""
    return {
        role: {
            "place": "/".join(Path(model.place).parts[-2:]),
            "kind": model.kind,
            "mask": Path(model.mask).name if model.mask else "none",
            "classes": ", ".join(model.classes()),
            **{name: value for name, value in weights[role].items() if value is not None},
        }
        for role, model in models.items()
    }


def read(prepared: Mapping[str, Any], tables: Mapping[str, Table]) -> dict[str, dict[str, Any]]:
    """The tables as the page shows them, by set."""
    return {
        name: {
            "file": table.name,
            "rows": prepared["rows"][name],
            **({"used": table.size} if name != TRAIN or prepared["sizes"]["vectors"] else {}),
            "text": ", ".join(table.text),
            "label": table.label or "none",
            "values": ", ".join(f"{value} is {meant}" for value, meant in table.values if value != meant),
            "told": " ".join(prepared["told"][name]),
        }
        for name, table in tables.items()
    }
