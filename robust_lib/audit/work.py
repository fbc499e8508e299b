"""The units of an audit: what models say of a table's texts, how they represent them, what they cost, how they fall."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
from accelerate import Accelerator
from torch import Tensor

from robust_lib import attack, methods
from robust_lib.attack import lexica, similarity, tagging, textfooler
from robust_lib.audit import budget, checks, memory
from robust_lib.audit.findings import COMPRESSED, OOD, ORIGINAL, SECOND, TEST
from robust_lib.audit.models import Model, Opened
from robust_lib.audit.problems import AuditError, Problem, Unmeasured
from robust_lib.audit.tables import Table

TRAIN = "train"  # beside the test beds of `findings`
MODE = "authors"  # of TextFooler, as it was released
FEWEST = 20  # rows of a test bed
FLOOR = 1e-12  # of a probability, before its logarithm is taken
PACED, PACED_ATTACKS = 32, 4  # rows, and attacks, that are timed before the samples are chosen
NEIGHBOURS = 10  # of a text, as in paper 2, Table 2
KNOWN = 0.3  # share of a text's content words that have synonyms, below which an attack says nothing

Texts = Sequence[tuple[str, ...]]


def prepared(
    *,
    models: Mapping[str, Model],
    tables: Mapping[str, Table],
    words: lexica.Words | None,
    slices: Sequence[str],
    minutes: float,
    max_length: int,
) -> dict[str, Any]:
    """All that is known before anything is measured: columns and labels, problems, what cannot be measured, samples.

    `models` by role, `tables` by set. Keys: `tables` (the arguments of each table with nothing left to guess), `told`
    (by set, what was guessed), `rows`, `problems` and `unmeasured`, `paces` (seconds a row, all models together),
    `sizes` (of `budget.Sizes`). AuditError for what cannot be audited at all.
    """
    opened = {role: model.open(max_length=max_length) for role, model in models.items()}
    problems = []
    for role in opened.keys() - {ORIGINAL}:
        problems.append(checks.other_classes(opened[ORIGINAL].classes, opened[role].classes))
        problems.append(checks.other_tokenizers(models[ORIGINAL].reads(), models[role].reads()))
    problems.append(_other_devices(models))
    resolved: dict[str, Table] = {}
    told: dict[str, list[str]] = {}
    for name, table in tables.items():
        like = resolved[TEST].text if name != TEST else ()
        resolved[name], told[name] = table.resolved(opened[ORIGINAL].classes, text=table.text or like)
    frames = {name: table.frame() for name, table in resolved.items()}
    for name in frames.keys() & {TEST, OOD}:
        if len(frames[name]) < FEWEST:
            raise AuditError(
                f"{tables[name].name}: {len(frames[name])} rows that can be used; an audit needs {FEWEST}, and some "
                "hundreds to tell anything"
            )
    problems += [problem for table in resolved.values() for problem in table.problems()]
    checks.slices(
        frames[TEST], slices, text=resolved[TEST].text
    )  # an unknown column is told before anything is done
    reasons = dict(_reasons(opened, resolved, frames, words))
    paces = _paces(opened, resolved, frames, None if "attack" in reasons else words)
    if "neighbours" in reasons:
        paces.pop("vectors", None)
    rows = {name: len(frame) for name, frame in frames.items()}
    rows |= {"vectors": rows[TEST], "attack": rows[TEST]}
    return {
        "tables": {name: _arguments(table) for name, table in resolved.items()},
        "told": told,
        "rows": rows,
        "problems": [asdict(problem) for problem in problems if problem is not None],
        "unmeasured": list(map(list, reasons.items())),
        "paces": paces,
        "sizes": asdict(budget.sizes(minutes, rows, paces)),
    }


def _arguments(table: Table) -> dict[str, Any]:
    return {**asdict(table), "text": list(table.text), "values": list(map(list, table.values))}


def answered(*, model: Model, table: Table, max_length: int) -> pd.DataFrame:
    """What a model says of every row of a table: a predictions frame (see `metrics`), without any of its texts.

    A logit is the logarithm of the probability. Numbers that are not finite stay in.
    """
    opened, frame = model.open(max_length=max_length), table.frame()
    logits = np.log(np.maximum(opened(_texts(frame, table)), FLOOR))  # NaN stays NaN
    said = pd.DataFrame(logits, columns=[f"logit_{name}" for name in opened.classes], index=frame.index)
    return said.assign(gold=frame["label"]).reset_index(names="id")


def vectors(*, model: Model, table: Table, max_length: int) -> dict[str, Tensor]:
    """The [CLS] states of a table's texts: "vectors" (rows, width), as `methods.vectors` gives those of a split."""
    return {"vectors": model.open(max_length=max_length).vectors(_texts(table.frame(), table))}


def attacked(
    *,
    model: Model,
    table: Table,
    words: lexica.Words,
    calibration: Mapping[str, float] | None = None,
    max_length: int,
) -> pd.DataFrame:
    """TextFooler, as its authors released it, on every row of a table: the columns of `methods.attacked`."""
    if calibration is not None:
        words = replace(words, threshold=calibration["threshold"])
    opened, column = model.open(max_length=max_length), len(table.text) - 1
    mode = textfooler.MODES[MODE]
    return methods.attack_all(
        lambda text, gold: textfooler.textfooler(text, gold, column=column, words=words, mode=mode),
        _oracles(opened, words),
        table.frame(),
        table.text,
        opened.classes,
    )


def transferred(
    *, model: Model, texts: Mapping[str, pd.DataFrame], columns: Sequence[str], max_length: int
) -> pd.DataFrame:
    """What a model says of adversarial texts found on others, by their role: columns source, id, gold, predicted."""
    fooling = [frame[frame["status"] == "success"].assign(source=role) for role, frame in texts.items()]
    found = pd.concat(fooling)
    opened = model.open(max_length=max_length)
    whole = list(found[[*columns[:-1], "rewritten"]].itertuples(index=False, name=None))
    names = np.array(opened.classes, dtype=object)
    said = names[opened(whole).argmax(axis=1)] if whole else []
    return found[["source", "id", "gold"]].assign(predicted=said).reset_index(drop=True)


def timed(
    *, models: Mapping[str, Model], table: Table, max_length: int, batch_sizes: Sequence[int], rounds: int
) -> pd.DataFrame:
    """Seconds for the same texts in batches, the models in turn in every round, who first by turns.

    Columns role, batch_size, round, texts, seconds: from text to probabilities, with the tokenizer. A first round,
    which warms up, is not in the table.
    """
    opened = {role: model.open(max_length=max_length) for role, model in models.items()}
    texts = _texts(table.frame(), table)
    rows = []
    for turn, size in itertools.product(range(rounds + 1), batch_sizes):
        order = list(opened) if turn % 2 else list(opened)[::-1]
        for role in order:
            started = time.perf_counter()
            for start in range(0, len(texts), size):
                opened[role].batch(texts[start : start + size])
            seconds = time.perf_counter() - started
            rows += [(role, size, turn, len(texts), seconds)] if turn else []
    return pd.DataFrame(rows, columns=["role", "batch_size", "round", "texts", "seconds"])


def weighed(*, model: Model, table: Table, max_length: int) -> dict[str, float | None]:
    """What a model takes: `megabytes` on disk, millions of `parameters` and of `nonzero` ones, megabytes of `memory`.

    The memory is what a process of its own needed at most beyond what it held before it opened the model, for the
    table's texts in one batch. None for what this kind of model does not tell.
    """
    opened, weight = model.open(max_length=max_length), model.bytes()
    given = {"model": asdict(model), "texts": _texts(table.frame(), table), "max_length": max_length}
    command = [sys.executable, "-c", f"from {memory.main.__module__} import main; main()"]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)  # noqa: S603
    used = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    return {
        "megabytes": None if weight is None else weight / 1e6,
        "parameters": None if opened.parameters is None else opened.parameters / 1e6,
        "nonzero": None if opened.nonzero is None else opened.nonzero / 1e6,
        "memory": None if used is None else used / 1e6,
    }


def unweighed(weights: Mapping[str, Mapping[str, float | None]]) -> dict[str, str]:
    """What `weighed` could not tell of the original or the compressed model, and why."""
    reasons = {
        "megabytes": ("size on disk", "it has no file of weights"),
        "parameters": ("parameters", "only a transformers model tells its own"),
        "memory": ("memory", "the system does not say, or the process that measured it ended"),
    }
    return {
        name: f"{role}: {reason}"
        for key, (name, reason) in reasons.items()
        for role in (COMPRESSED, ORIGINAL)
        if weights[role][key] is None
    }


def _other_devices(models: Mapping[str, Model]) -> Problem | None:
    """A model that runs on the CPU beside one on another device, which its times do not tell."""
    device, kinds = Accelerator().device.type, {model.kind for model in models.values()}
    if device == "cpu" or len(kinds) == 1:
        return None
    told = f"transformers models run on {device}, ONNX files on the CPU, functions where they say"
    return Problem("other devices", "models", told, "read times and memory as those of these devices")


def _reasons(
    opened: Mapping[str, Opened],
    tables: Mapping[str, Table],
    frames: Mapping[str, pd.DataFrame],
    words: lexica.Words | None,
) -> Iterable[tuple[str, str]]:
    """What cannot be measured of these models and tables, and why."""
    if frames[TEST]["label"].isna().any():
        told = "the test set has no labels"
        yield from dict.fromkeys(("accuracy", "flips", "calibration", "difficulty", "attack"), told).items()
    if OOD not in frames:
        yield "out of distribution", "no OOD set was given (`ood`)"
    elif frames[OOD]["label"].isna().any():
        yield "out of distribution", "the OOD set has no labels"
    hidden = next(filter(None, (_hidden(role, one, frames, tables) for role, one in opened.items())), "")
    if hidden:
        yield "neighbours", hidden
    if TRAIN not in frames:
        yield "leaked rows", "no training set was given (`train`)"
    if TRAIN not in frames or OOD not in frames:
        yield "OOD detection", "it takes a training set and an OOD set (`train`, `ood`)"
    elif hidden or len(frames[TRAIN]) <= NEIGHBOURS:
        yield "OOD detection", hidden or f"the training set has no more than {NEIGHBOURS} rows"
    if SECOND not in opened:
        yield "second training", "no second training of the original was given (`second`)"
    if words is None:
        yield "attack", "no lexicon was given (`source`)"
    if words is None or frames[TEST]["label"].isna().any():
        return
    try:
        known = share_known(frames[TEST][tables[TEST].text[-1]].head(500), words)
    except tagging.ResourceError as error:
        yield "attack", str(error)
        return
    if known < KNOWN:
        yield (
            "attack",
            f"the lexicon of {words.source} has synonyms for {known:.0%} of the words, below {KNOWN:.0%}",
        )


def _hidden(
    role: str, opened: Opened, frames: Mapping[str, pd.DataFrame], tables: Mapping[str, Table]
) -> str:
    """Why a model shows no hidden states, or ""."""
    try:
        opened.vectors(_texts(frames[TEST].head(2), tables[TEST]))
    except Unmeasured as reason:
        return f"{role}: {reason}"
    return ""


def share_known(texts: Iterable[str], words: lexica.Words) -> float:
    """The share of the words of some texts, stop words apart, that have synonyms."""
    found = [word for text in texts for word in re.findall(r"[a-z]+", text.lower())]
    content = [word for word in found if word not in words.stop_words]
    return float(np.mean([bool(words.neighbours(word)) for word in content])) if content else 0.0


def _paces(
    opened: Mapping[str, Opened],
    tables: Mapping[str, Table],
    frames: Mapping[str, pd.DataFrame],
    words: lexica.Words | None,
) -> dict[str, float]:
    """Seconds a row of each set, of vectors and of attacks, all models together."""
    paces = {}
    for name in (TEST, OOD):
        if name in frames:
            texts = _texts(frames[name].head(PACED), tables[name])
            paces[name] = _seconds(lambda texts=texts: [one(texts) for one in opened.values()]) / len(texts)
    paces["vectors"] = paces[TEST]
    if words is not None:
        few = frames[TEST].head(PACED_ATTACKS)
        paces["attack"] = sum(
            _attack_seconds(one, few, tables[TEST], words) for one in opened.values()
        ) / len(few)
    return paces


def _attack_seconds(opened: Opened, frame: pd.DataFrame, table: Table, words: lexica.Words) -> float:
    """How long it takes to attack some rows."""
    column, mode = len(table.text) - 1, textfooler.MODES[MODE]
    texts = [tuple(map(lexica.spaced, row)) for row in _texts(frame, table)]
    attacks = {
        place: textfooler.textfooler(text, opened.classes.index(label), column=column, words=words, mode=mode)
        for place, (text, label) in enumerate(zip(texts, frame["label"], strict=True))
    }
    oracles = _oracles(opened, words)
    return _seconds(lambda: attack.run(attacks, oracles, originals=dict(enumerate(texts))))


def _oracles(opened: Opened, words: lexica.Words) -> dict[str, attack.Oracle]:
    found: dict[str, attack.Oracle] = {"victim": opened}
    if words.sentences is not None:
        found["sentences"] = similarity.sentences(words.sentences)
    return found


def _seconds(what: Any) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def _texts(frame: pd.DataFrame, table: Table) -> list[tuple[str, ...]]:
    return list(frame[list(table.text)].itertuples(index=False, name=None))
