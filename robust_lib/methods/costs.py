"""What models weigh, and what units would cost."""

from __future__ import annotations

from collections.abc import Sequence

from robust_lib import data, heads, masks, models, quantize, runs, train
from robust_lib.methods.robustness import head_importance
from robust_lib.methods.subnetworks import mask_trained


def millions(encoder: models.Encoder, labels: Sequence[str]) -> tuple[float, float]:
    """Millions of parameters of the encoder's classifier, and of those in the matrices that pruning removes from."""
    model = encoder.classifier(labels, seed=0)
    matrices = sum(linear.weight.numel() for linear in masks.linears(model).values())
    return sum(models.parameter_counts(model).values()) / 1e6, matrices / 1e6


def head_millions(encoder: models.Encoder, labels: Sequence[str]) -> float:
    """Millions of parameters that go with one attention head."""
    model = encoder.classifier(labels, seed=0)
    whole = model.num_parameters()
    heads.remove(model, {0: [0]})
    return (whole - model.num_parameters()) / 1e6


def megabytes(encoder: models.Encoder, labels: Sequence[str]) -> tuple[float, float]:
    """Size of the encoder's classifier in megabytes, in fp32 and after 8-bit quantisation."""
    model = encoder.classifier(labels, seed=0)
    return quantize.size(model) / 1e6, quantize.size(quantize.dynamic(model)) / 1e6


# Examples of the whole splits, as paper 1 counts them (appendix B); for estimates alone.
ROWS = {
    "mnli/train": 392_702,
    "fever/train": 242_911,
    "qqp/train": 363_846,
    "hans/train": 30_000,
    "hans/validation": 30_000,
    "fever/dev": 16_664,
    "qqp/validation": 40_430,
    "paws_wiki/train": 49_401,
    "paws_wiki/test": 8_000,
    "paws_qqp/train": 11_988,
    "paws_qqp/dev_and_test": 677,
}
ROWS_ELSEWHERE, TOKENS = 9_815, 40  # of MNLI-matched; tokens of an example, MNLI's mean being 38


def work(unit: runs.Unit) -> float:
    """Estimated floating-point operations of a unit of this module: 2 per weight and token forward, 6 trained.

    What mask training looks at on the way is left out.
    """
    arguments = unit.arguments
    recipe: train.Recipe | None = arguments.get("recipe")
    if "encoder" not in arguments or not (recipe or "max_length" in arguments):
        return 0.0  # on saved predictions, weights or the texts' words alone
    examples = _rows(arguments["split"]) + sum(
        times * _rows(one) for one, times in arguments.get("extra", ())
    )
    passes = 6 * recipe.epochs * recipe.until if recipe else 6 if unit.function is head_importance else 2
    tokens = min(TOKENS, recipe.max_length if recipe else arguments["max_length"])
    return float(passes * examples * tokens * arguments["encoder"].weights())


def size(unit: runs.Unit) -> int:
    """Estimated bytes that a unit leaves in the store: a model in fp32 with 30 % embeddings on top, a mask, a frame."""
    arguments = unit.arguments
    if unit.function is mask_trained:
        return int(arguments["encoder"].weights()) // 8
    if "recipe" in arguments:
        return round(4 * 1.3 * int(arguments["encoder"].weights()))
    split: data.Split | None = arguments.get("test", arguments.get("split"))
    return 30 * _rows(split) if split else 0


def _rows(split: data.Split) -> int:
    return int(split.size or ROWS.get(split.path, ROWS_ELSEWHERE))
