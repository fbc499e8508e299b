"""Attacks on what was trained, and what their texts do to other models (paper 3, section 3.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import transformers

from robust_lib import attack, data, models, runs, train
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
    tokens: int = 8192,
    budget: int | None = None,
) -> pd.DataFrame:
    """TextFooler on every example of a split, one row for each, in the frame's order.

    Columns: id, gold, status (success, failed, skipped, budget, error), queries in the recipe's counting, calls (texts
    the victim really scored), changed and words (how many of the attacked text's), error, the text columns as they
    were attacked, and `rewritten`, the last version of the attacked one: the hypothesis of a pair. `tokens` is the size
    of a batch, `budget` the most queries an example may take. Finished examples are kept at once (`runs.journal`).
    """
    if calibration is not None:
        words = dataclasses.replace(words, threshold=calibration["threshold"])
    names, column = models.labels(model), len(split.text) - 1
    frame, journal = split.frame(), runs.journal()
    texts = {
        str(id_): tuple(map(lexica.spaced, row))
        for id_, row in frame[list(split.text)].agg(tuple, axis=1).items()
    }
    golds = dict(zip(texts, frame["label"].map(names.index), strict=True))
    waiting = {id_: text for id_, text in texts.items() if id_ not in journal.done}
    oracles = {
        "victim": victims.classifier(model, encoder.tokenizer(), max_length=max_length, precision=precision)
    }
    if words.sentences is not None:
        oracles["sentences"] = similarity.sentences(words.sentences)
    attack.run(
        {
            id_: textfooler.textfooler(
                text, golds[id_], column=column, words=words, mode=textfooler.MODES[mode]
            )
            for id_, text in waiting.items()
        },
        oracles,
        originals=waiting,
        tokens=tokens,
        budget=budget,
        finished=lambda id_, one: journal.add(id_, dataclasses.asdict(one)),
    )
    rows = pd.DataFrame([journal.done[id_] for id_ in texts])
    originals = pd.DataFrame(list(texts.values()), columns=list(split.text))
    rewritten = rows.pop("text").str[column]
    head = pd.DataFrame({"id": frame.index, "gold": frame["label"].to_numpy()})
    length = originals[split.text[column]].str.count(" ").add(1).rename("words")
    return pd.concat([head, rows, length, originals, rewritten.rename("rewritten")], axis=1)


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
