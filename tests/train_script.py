"""Trainings that one process or several do, for test_train_processes: `python tests/train_script.py FOLDER`.

Every process writes the losses and the weights that it ends with to FOLDER/<number of processes>-<its rank>.pt.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from accelerate import Accelerator

from robust_lib import data, masks, models, objectives, replace, train

LABELS = ("entailment", "neutral", "contradiction")
SHAPE = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 40}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SIZE = 57  # in batches of 8 the last is of one example: a process of two has none


def encoded():
    """Sequences whose class is their second token."""
    draw = np.random.default_rng(0)
    lengths, gold = draw.integers(4, 12, SIZE), draw.integers(0, 3, SIZE)
    tokens = [
        np.concatenate([[2, 10 + label], draw.integers(20, 40, length - 2)])
        for length, label in zip(lengths, gold, strict=True)
    ]
    return data.Encoded({"input_ids": np.concatenate(tokens).astype(np.int32)}, {"input_ids": 0},
                        np.concatenate([[0], np.cumsum(lengths)]), gold, LABELS)  # fmt: skip


def predicted():
    draw = np.random.default_rng(1).normal(size=(SIZE, 3))
    frame = pd.DataFrame(draw, columns=[f"logit_{label}" for label in LABELS])
    return frame.assign(id=range(SIZE), gold=LABELS[0])


def model(layers=2, **dropout):
    names = dict(enumerate(LABELS))
    config = transformers.BertConfig(
        **SHAPE, **dropout, num_hidden_layers=layers,
        id2label=names, label2id={label: i for i, label in names.items()},
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def fit(one, objective=objectives.vanilla, given=None, **settings):
    loss = objective(LABELS, pd.RangeIndex(SIZE), **(given or {}))
    with models.cls_states(one):
        return train.fit(
            one, encoded(), loss, **{"epochs": 1, "batch_size": 8, "learning_rate": 1e-3} | settings
        )


def trainings():
    """A name, the model and the losses of each."""
    one = model(**STILL)
    yield "vanilla", one, fit(one, epochs=2, warmup=0.25, weight_decay=0.01)
    one = model(**STILL)
    masks.wrap(one)
    yield "reweight", one, fit(one, objectives.reweight, {"bias": predicted()})
    one, known = model(**STILL), {"teacher": predicted(), "teacher_states": torch.ones(SIZE, 1, 32)}
    yield "pkd", one, fit(one, objectives.pkd, known)
    one = model(**STILL)
    masks.score(one, [0.5, 0.8], init="soft")
    yield "masks", one, fit(one, seed=[1, 2])
    one = model(4, **STILL)
    replace.theseus(one, 2, generator=torch.Generator().manual_seed(0))
    yield "theseus", one, fit(one, before_step=lambda step, total: replace.assign(one, 0.5))
    one = model()
    yield "dropout", one, fit(one)


def diverged():
    try:
        fit(model(), lambda names, ids: lambda logits, batch: logits.sum() * torch.nan)
    except train.DivergedError as error:
        return str(error)


def main(folder):
    accelerator = Accelerator()
    # As if a user had seeded nothing: all begin with the weights of the first process.
    torch.manual_seed(accelerator.process_index)
    kept = {}
    for name, one, losses in trainings():
        kept[name] = {"losses": torch.tensor(losses), **one.state_dict()}
    record = {"trainings": kept, "diverged": diverged()}
    torch.save(record, Path(folder) / f"{accelerator.num_processes}-{accelerator.process_index}.pt")


if __name__ == "__main__":
    main(sys.argv[1])
