"""Attacks on what was trained (papers 2 and 3), and what their texts do to other models (paper 3, section 3.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import transformers

from robust_lib import attack, data, models, passes, quantize, runs, train
from robust_lib.attack import bertattack, language, lexica, similarity, textfooler, victims
from robust_lib.methods import training


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
    precision: passes.Precision = "fp32",
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
    reading, column = textfooler.MODES[mode], len(split.text) - 1
    return attack_all(
        lambda text, gold: textfooler.textfooler(text, gold, column=column, words=words, mode=reading),
        oracles, split.frame(), split.text, models.labels(model), tokens=tokens, budget=budget,
    )  # fmt: skip


def bert_attacked(
    *,
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    attacker: transformers.PreTrainedModel,
    attacker_encoder: models.Encoder,
    split: data.Split,
    words: lexica.Words,
    mode: str,
    k: int,
    most: int | None = None,
    filtered: bool = True,
    max_length: int,
    precision: passes.Precision = "fp32",
    tokens: int = 8192,
    budget: int | None = None,
) -> pd.DataFrame:
    """BERT-Attack on every example of a split, one row for each; the columns are those of `attacked`.

    `attacker` is a masked language model, as of `masked_lm`, and `attacker_encoder` the encoder it was made of. `k` and
    `most` are the two readings of paper 2's K, see `bertattack.bertattack`. Without `filtered`, candidates need not be
    like the word by the cosines of `words`; released, the filter is for sentiment alone. `max_length` holds for both
    models, `precision` and `tokens` too. KeyError for an unknown mode.
    """
    reading, column = bertattack.MODES[mode], len(split.text) - 1
    if not filtered:
        reading = dataclasses.replace(reading, cosine=None)
    reader = language.Language(
        attacker, attacker_encoder.tokenizer(), k=k, max_length=max_length, precision=precision
    )
    oracles = {"victim": _victim(model, encoder, max_length, precision, integer=False), **reader.oracles}
    if words.sentences is not None and reading.similarity is not None:
        oracles["sentences"] = similarity.sentences(words.sentences)
    return attack_all(
        lambda text, gold: bertattack.bertattack(
            text, gold, column=column, words=words, language=reader, mode=reading, k=k, most=most
        ),
        oracles, split.frame(), split.text, models.labels(model), tokens=tokens, budget=budget,
    )  # fmt: skip


def attack_all(
    attacking: Callable[[attack.Text, int], attack.Attack],
    oracles: Mapping[str, attack.Oracle],
    frame: pd.DataFrame,
    columns: Sequence[str],
    labels: Sequence[str],
    *,
    tokens: int = 8192,
    budget: int | None = None,
) -> pd.DataFrame:
    """The frame of `attacked` for any attack on the last of some text columns, within a unit (`runs.journal`).

    `frame` has these columns and `label`, one of `labels`, which are the victim's classes in the order of its rows.
    """
    journal, column = runs.journal(), len(columns) - 1
    originals = frame[list(columns)].map(lexica.spaced)
    texts = dict(zip(frame.index.map(str), originals.itertuples(index=False, name=None), strict=True))
    golds = dict(zip(texts, frame["label"].map(list(labels).index), strict=True))
    waiting = {id_: text for id_, text in texts.items() if id_ not in journal.done}
    attacks = {id_: attacking(text, golds[id_]) for id_, text in waiting.items()}

    def keep(id_: str, one: attack.Attacked) -> None:
        if one.status != "error":  # the next try may do better
            journal.add(id_, dataclasses.asdict(one))

    found, _ = attack.run(attacks, oracles, originals=waiting, tokens=tokens, budget=budget, finished=keep)
    done = journal.done | {id_: dataclasses.asdict(one) for id_, one in found.items()}
    rows = pd.DataFrame([done[id_] for id_ in texts], index=frame.index)
    rewritten = rows.pop("text").str[column]  # a column of the frame may have that name
    rows = rows.assign(
        **originals,
        rewritten=rewritten,
        words=originals.iloc[:, column].str.count(" ") + 1,
        gold=frame["label"],
    )
    return rows.reset_index(names="id")


def _victim(
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    max_length: int,
    precision: passes.Precision,
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
    precision: passes.Precision = "fp32",
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


MASKED = 0.15  # of a text's pieces, as BERT was pretrained; of them 80 % [MASK], 10 % another piece, 10 % as they are
IGNORED = -100  # target of the pieces that are not to be guessed


def masked_lm(
    *, encoder: models.Encoder, split: data.Split, recipe: train.Recipe, seed: int = 0
) -> transformers.PreTrainedModel:
    """The encoder as a masked language model, trained on the split's texts by guessing 15 % of their pieces.

    A checkpoint without a masked-language-model head gets a new one. With 0 epochs nothing is trained, and a checkpoint
    without a head is an EncoderError. At least one piece of each text is masked, in every epoch others; the schedule is
    that of all epochs. A batch takes `batch_size` x `max_length` x vocabulary logits, some times over.
    """
    model = encoder.masked_lm(seed=seed if recipe.epochs else None)
    if not recipe.epochs:
        return model
    tokenizer = encoder.tokenizer()
    encoded = data.tokenised(split, tokenizer, recipe.max_length)
    names = models.labels(model)  # the loop wants a gold label: any
    copies = dataclasses.replace(encoded, gold=np.zeros_like(encoded.gold), labels=tuple(names))
    copies = data.concatenated([copies] * recipe.epochs, renames={})
    copies, targets = _masked(copies, tokenizer, seed)
    starts = torch.from_numpy(copies.starts)

    def guessed(logits: torch.Tensor, batch: passes.Batch) -> torch.Tensor:
        mask = batch["attention_mask"].bool().cpu()
        places = starts[batch["index"].cpu(), None] + torch.arange(mask.shape[1])
        wanted = targets[places.where(mask, 0)].where(mask, IGNORED).to(logits.device)
        return F.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=IGNORED)

    training.follow(model, copies, guessed, dataclasses.replace(recipe, epochs=1), seed)
    return model


def _masked(
    encoded: data.Encoded, tokenizer: transformers.PreTrainedTokenizerBase, seed: int
) -> tuple[data.Encoded, torch.Tensor]:
    """The texts with pieces masked, and for every piece which was there, if it is to be guessed."""
    random, ids = np.random.default_rng(seed), encoded.tokens["input_ids"]
    drawn = random.random(len(ids))
    drawn[np.isin(ids, tokenizer.all_special_ids)] = 2  # never drawn first
    text = np.repeat(np.arange(len(encoded)), encoded.lengths)
    order = np.lexsort((drawn, text))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(ids)) - encoded.starts[text[order]]
    open_ = np.bincount(text[drawn < 2], minlength=len(encoded))
    guessed = rank < np.maximum(1, np.rint(MASKED * open_)).astype(int)[text]
    guessed &= drawn < 2
    how = random.random(len(ids))
    other = random.integers(len(tokenizer), size=len(ids))
    seen = np.where(how < 0.8, tokenizer.mask_token_id, np.where(how < 0.9, other, ids))
    tokens = encoded.tokens | {"input_ids": np.where(guessed, seen, ids).astype(ids.dtype)}
    targets = torch.from_numpy(np.where(guessed, ids, IGNORED).astype(np.int64))
    return dataclasses.replace(encoded, tokens=tokens), targets
