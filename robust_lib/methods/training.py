"""Fine-tuning, which every method of the papers begins with, and the loop's arguments as methods have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import transformers

from robust_lib import data, masks, models, objectives, passes, train

Objective = Callable[..., passes.Loss]
Subnetwork = Mapping[
    str, Any
]  # what `mask_trained` and `imp_rewound` return: masks by the layers' names under "masks"
Extra = Sequence[tuple[data.Split, int]]  # training splits beside the first, and how often each counts
FOREIGN = {"non-entailment": "contradiction"}  # HANS's label counts so in training, as in paper 4's code
BODY: tuple[masks.Part, ...] = (
    "encoder",
    "pooler",
)  # what paper 4 prunes by magnitude: all but the classifier


def finetuned(
    *,
    encoder: models.Encoder,
    split: data.Split,
    recipe: train.Recipe,
    seed: int = 0,
    start: transformers.PreTrainedModel | None = None,
    objective: Objective = objectives.vanilla,
    given: Mapping[str, Any] | None = None,
    subnetwork: Subnetwork | None = None,
    extra: Extra = (),
) -> transformers.PreTrainedModel:
    """The encoder fine-tuned: with cross entropy the papers' uncompressed model (BERT-base, teacher), and what is
    made of DistilBERT, MiniLM and truncated encoders (paper 1, Table 2).

    With a `start` deeper than the encoder, its first layers alone: Truncate & Finetune of paper 3, and with
    `objectives.kd` its Pure KD.
    With a `subnetwork`, its masks of encoder and pooler hold during training, and the model has zeros outside them: a
    subnetwork fine-tuned in isolation, under a whole new classifier (paper 4, section 4.3). `extra` as in `fit`.
    """
    model = started(encoder, split, start, seed)
    hold(model, subnetwork)
    fit(model, encoder, split, recipe, objective, given, seed, extra=extra)
    masks.unwrap(model)
    return model


def started(
    encoder: models.Encoder, split: data.Split, start: transformers.PreTrainedModel | None, seed: int
) -> transformers.PreTrainedModel:
    """What training begins from: the encoder under a new head, or as many layers of `start` as it has."""
    if start is None:
        return encoder.classifier(split.labels, seed=seed)
    return start if encoder.layers is None else models.truncate(start, encoder.layers)


def fit(
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    split: data.Split,
    recipe: train.Recipe,
    objective: Objective,
    given: Mapping[str, Any] | None,
    seed: int,
    *,
    extra: Extra = (),
    before_step: Callable[[int, int], None] = lambda step, total: None,
) -> None:
    """Train in place as the recipe says, on the split and `extra` ones.

    ValueError for an objective that is `given` something with `extra` splits: it knows nothing of their examples.
    """
    if extra and given:
        raise ValueError("methods: `given` describes the examples of `split`, not those of `extra`")
    splits = [split, *(one for one, times in extra for _ in range(times))]
    parts = [data.tokenised(one, encoder.tokenizer(), recipe.max_length) for one in splits]
    encoded = parts[0] if len(parts) == 1 else data.concatenated(parts, renames=FOREIGN)
    loss = objective(models.labels(model), split.frame().index, **(given or {}))
    follow(model, encoded, loss, recipe, seed, before_step=before_step)


def hold(model: transformers.PreTrainedModel, subnetwork: Subnetwork | None) -> None:
    """Put the subnetwork's masks, where there is one, on the model's matrices of encoder and pooler."""
    if subnetwork is not None:
        body = masks.linears(model, BODY)
        masks.apply(model, {name: mask for name, mask in subnetwork["masks"].items() if name in body})


def follow(
    model: transformers.PreTrainedModel,
    encoded: data.Encoded,
    loss: passes.Loss,
    recipe: train.Recipe,
    seed: int,
    *,
    before_step: Callable[[int, int], None] = lambda step, total: None,
) -> None:
    """Train in place as the recipe says, on examples that are encoded already, windows as well as pairs."""
    train.fit(
        model,
        encoded,
        loss,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup=recipe.warmup,
        weight_decay=recipe.weight_decay,
        precision=recipe.precision,
        until=recipe.until,
        seed=seed,
        before_step=before_step,
    )
