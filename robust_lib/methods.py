"""Each named method of the papers as one short function, from a split, an encoder, hyper-parameters and a seed.

The functions are units (`runs.unit`): what they return is kept in the store. `start` is a model made by another
unit; None starts from the pretrained encoder under a new head.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import pandas as pd
import transformers

from robust_lib import data, losses, masks, models, predict, prune, runs, train


def finetuned(
    *,
    encoder: models.Encoder,
    split: data.Split,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    max_length: int,
    warmup: float = 0.0,
    weight_decay: float = 0.0,
    precision: train.Precision = "fp32",
    seed: int = 0,
) -> transformers.PreTrainedModel:
    """The encoder fine-tuned with cross entropy: the papers' uncompressed model (BERT-base, teacher)."""
    model = encoder.classifier(split.labels, seed=seed)
    train.fit(
        model,
        data.tokenised(split, encoder.tokenizer(), max_length),
        lambda logits, batch: losses.ce(logits, batch["labels"]),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        precision=precision,
        seed=seed,
    )
    return model


def imp(
    *,
    encoder: models.Encoder,
    split: data.Split,
    start: transformers.PreTrainedModel | None,
    sparsity: float,
    schedule: Literal["cubic", "stepwise"],
    epochs: int,
    learning_rate: float,
    batch_size: int,
    max_length: int,
    warmup: float = 0.0,
    weight_decay: float = 0.0,
    precision: train.Precision = "fp32",
    seed: int = 0,
) -> transformers.PreTrainedModel:
    """Iterative magnitude pruning during fine-tuning to `sparsity` of every encoder matrix; embeddings frozen.

    Paper 1, section 3.1 and appendix A. `cubic` raises the sparsity smoothly from the end of the warm-up to two
    warm-ups before the end, as the reference code of Sanh et al. (2020); `stepwise` prunes at once, then trains, so a
    chain of units (each the `start` of the next) is one iterative run that leaves every sparsity on its way.
    Sparsity 0 is the dense control: as many steps, the same frozen embeddings, nothing removed.
    """
    model = encoder.classifier(split.labels, seed=seed) if start is None else start
    models.freeze_embeddings(model)
    layers = masks.wrap(model)
    initial = masks.sparsity(layer.weight for layer in layers.values())
    train.fit(
        model,
        data.tokenised(split, encoder.tokenizer(), max_length),
        lambda logits, batch: losses.ce(logits, batch["labels"]),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        precision=precision,
        seed=seed,
        before_step=prune.iterative_magnitude(layers, _schedule(schedule, initial, sparsity, warmup)),
    )
    masks.unwrap(model)
    return model


def predicted(
    *,
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    split: data.Split,
    max_length: int,
    batch_size: int = 128,
    precision: train.Precision = "fp32",
) -> pd.DataFrame:
    """The model's logits on every example of a split, beside the gold labels (see `predict.frame`)."""
    encoded = data.tokenised(split, encoder.tokenizer(), max_length)
    return predict.frame(
        model, split, predict.logits(model, encoded, batch_size=batch_size, precision=precision)
    )


def _schedule(name: str, initial: float, final: float, warmup: float) -> prune.Schedule:
    """Sparsity over the share of training done."""
    if name == "stepwise":
        return partial(prune.stepwise, initial=initial, final=final)
    ramp = 1 - 3 * warmup
    if ramp <= 0:
        raise ValueError(f"imp: warm-up is {warmup}; a cubic schedule needs less than a third of the steps")
    return lambda progress: prune.cubic((progress - warmup) / ramp, initial=initial, final=final)


# Examples of the whole splits, as paper 1 counts them (appendix B); for estimates alone.
ROWS = {
    "mnli/train": 392_702,
    "fever/train": 242_911,
    "qqp/train": 363_846,
    "hans/validation": 30_000,
    "fever/dev": 16_664,
    "qqp/validation": 40_430,
    "paws_wiki/test": 8_000,
    "paws_qqp/dev_and_test": 677,
}
ROWS_ELSEWHERE, TOKENS = 9_815, 40  # of MNLI-matched; tokens of an example, MNLI's mean being 38


def work(unit: runs.Unit) -> float:
    """Estimated floating-point operations of a unit of this module: 2 per weight and token forward, 6 trained."""
    arguments = unit.arguments
    split: data.Split = arguments["split"]
    examples = split.size or ROWS.get(split.path, ROWS_ELSEWHERE)
    passes = 6 * arguments["epochs"] if "epochs" in arguments else 2
    tokens = min(TOKENS, arguments["max_length"])
    return float(passes * examples * tokens * arguments["encoder"].weights())


def size(unit: runs.Unit) -> int:
    """Estimated bytes that a unit leaves in the store: a model in fp32 with 30 % embeddings on top, or a frame."""
    arguments = unit.arguments
    split: data.Split = arguments["split"]
    if "epochs" in arguments:
        return round(4 * 1.3 * int(arguments["encoder"].weights()))
    return 30 * int(split.size or ROWS.get(split.path, ROWS_ELSEWHERE))
