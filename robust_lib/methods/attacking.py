"""Attacks on what was trained, and what their texts do to other models (paper 3, section 3.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
import transformers

from robust_lib import attack, data, models, quantize, runs, train
from robust_lib.attack import lexica, similarity, textfooler, victims


def calibrated(*, split: data.Split, words: lexica.Words, seed: int = 0) -> dict[str, float]:
    """The least cosine of two similar texts for the encoder of `words`, and what it accepts and refuses on a split.

    Its keys are the fields of `similarity.Calibration`. The attacked text is the last of a pair.
    """
    if words.sentences is None:
        raise ValueError("calibrated: `words` has no sentence encoder to calibrate")
    texts = [lexica.spaced(text) for text in split.frame()[split.text[-1]]]
    found = similarity.calibrated(similarity.sentences(words.sentences), texts, words=words, seed=seed)
    return dataclasses.asdict(found)


def attacked(
    *,
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    split: data.Split,
    words: lexica.Words,
    mode: str,
    calibration: Mapping[str, float] | None = None,
    max_length: int,
    precision: train.Precision = "fp32",
    integer: bool = False,
    tokens: int = 8192,
    budget: int | None = None,
) -> pd.DataFrame:
    """TextFooler on every example of a split, one row for each, in the frame's order.

    Columns: id, gold, status (success, failed, skipped, budget, error), queries in the recipe's counting, calls (texts
    the victim really scored), changed and words (how many of the attacked text's), error, the text columns as they
    were attacked, and `rewritten`, the last version of the attacked one: the hypothesis of a pair. `calibration` as of
    `calibrated`. With `integer` the victim is the model after `quantize.dynamic`, whatever the `precision`. `tokens` is
    how many are asked of it at once, `budget` the most queries an example may take. Finished examples are kept at once
    (`runs.journal`).
    """
    if calibration is not None:
        words = dataclasses.replace(words, threshold=calibration["threshold"])
    oracles = {"victim": _victim(model, encoder, max_length, precision, integer)}
    if words.sentences is not None:
        oracles["sentences"] = similarity.sentences(words.sentences)
    frame, journal, column = split.frame(), runs.journal(), len(split.text) - 1
    originals = frame[list(split.text)].map(lexica.spaced)
    texts = dict(zip(frame.index.map(str), originals.itertuples(index=False, name=None), strict=True))
    golds = dict(zip(texts, frame["label"].map(models.labels(model).index), strict=True))
    waiting = {id_: text for id_, text in texts.items() if id_ not in journal.done}
    attacks = {
        id_: textfooler.textfooler(text, golds[id_], column=column, words=words, mode=textfooler.MODES[mode])
        for id_, text in waiting.items()
    }

    def keep(id_: str, one: attack.Attacked) -> None:
        if one.status != "error":  # the next try may do better
            journal.add(id_, dataclasses.asdict(one))

    found, _ = attack.run(attacks, oracles, originals=waiting, tokens=tokens, budget=budget, finished=keep)
    done = journal.done | {id_: dataclasses.asdict(one) for id_, one in found.items()}
    rows = pd.DataFrame([done[id_] for id_ in texts], index=frame.index)
    rows = rows.assign(
        **originals,
        rewritten=rows["text"].str[column],
        words=originals.iloc[:, column].str.count(" ") + 1,
        gold=frame["label"],
    )
    return rows.drop(columns="text").reset_index(names="id")


def _victim(
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    max_length: int,
    precision: train.Precision,
    integer: bool,
) -> attack.Oracle:
    """The model as a victim; in 8-bit integers on the CPU text by text, as torch takes one range for a batch."""
    tokenizer = encoder.tokenizer()
    if not integer:
        return victims.classifier(model, tokenizer, max_length=max_length, precision=precision)
    small, cpu = quantize.dynamic(model), torch.device("cpu")
    return victims.classifier(small, tokenizer, max_length=max_length, rows=1, device=cpu)


def transferred(
    *,
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    texts: Mapping[str, pd.DataFrame],
    columns: Sequence[str],
    max_length: int,
    precision: train.Precision = "fp32",
) -> pd.DataFrame:
    """What a model predicts for the adversarial texts that were found on others: a row for each source and text.

    `texts` are frames of `attacked` by source, `columns` their text columns in the encoder's order. Columns: source,
    id, gold, predicted.
    """
    found = pd.concat(
        [frame[frame["status"] == "success"].assign(source=source) for source, frame in texts.items()]
    )
    whole = list(found[[*columns[:-1], "rewritten"]].itertuples(index=False, name=None))
    victim = victims.classifier(model, encoder.tokenizer(), max_length=max_length, precision=precision)
    names = np.array(models.labels(model), dtype=object)
    predicted = names[victim(whole).argmax(axis=1)] if whole else []
    return found[["source", "id", "gold"]].assign(predicted=predicted).reset_index(drop=True)
