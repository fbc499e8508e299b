"""Pruning by magnitude and by heads, and the steps of RMC (paper 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import pandas as pd
import torch
import transformers
from accelerate import Accelerator

from robust_lib import bias, data, heads, masks, metrics, models, objectives, prune, runs, smoothing, train
from robust_lib.methods import training


def imp(
    *,
    encoder: models.Encoder,
    split: data.Split,
    recipe: train.Recipe,
    start: transformers.PreTrainedModel | None,
    sparsity: float,
    schedule: Literal["cubic", "stepwise"],
    seed: int = 0,
    top: int | None = None,
    objective: training.Objective = objectives.vanilla,
    given: Mapping[str, Any] | None = None,
) -> transformers.PreTrainedModel:
    """Iterative magnitude pruning during fine-tuning to `sparsity` of every encoder matrix; embeddings frozen.

    Paper 1, section 3.1 and appendix A. `cubic` raises the sparsity smoothly from the end of the warm-up to two
    warm-ups before the end, as the reference code of Sanh et al. (2020); `stepwise` prunes at once, then trains, so a
    chain of units (each the `start` of the next) is one iterative run that leaves every sparsity on its way.
    Sparsity 0 is the dense control: as many steps, the same frozen embeddings, nothing removed. No epochs, stepwise:
    one-shot pruning. `top` prunes and trains the last so many layers alone, and the head.
    """
    model = encoder.classifier(split.labels, seed=seed) if start is None else start
    models.freeze_embeddings(model)
    if top is not None:
        models.freeze_lower_layers(model, top)
    wrapped = {name: layer for name, layer in masks.wrap(model).items() if layer.weight.requires_grad}
    initial = masks.sparsity(layer.weight for layer in wrapped.values())
    hook = prune.iterative_magnitude(wrapped, _schedule(schedule, initial, sparsity, recipe.warmup))
    training.fit(model, encoder, split, recipe, objective, given, seed, before_step=hook)
    masks.unwrap(model)
    return model


def head_importance(
    *,
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    split: data.Split,
    max_length: int,
    variant: heads.Variant = "per_sample",
    batch_size: int = 32,
) -> pd.DataFrame:
    """Importance of every attention head on a split, one row per head: layer, head, importance (see `heads`)."""
    encoded = data.tokenised(split, encoder.tokenizer(), max_length)
    batches = data.batches(encoded, batch_size, labels=models.labels(model))
    torch.nn.Module.to(model, Accelerator().device)
    found = heads.importance(model, batches, variant=variant)
    rows = [(layer, head, float(value)) for layer, row in enumerate(found) for head, value in enumerate(row)]
    return pd.DataFrame(rows, columns=["layer", "head", "importance"])


def head_pruned(
    *,
    encoder: models.Encoder,
    split: data.Split,
    recipe: train.Recipe,
    start: transformers.PreTrainedModel,
    importance: pd.DataFrame,
    share: float,
    seed: int = 0,
    objective: training.Objective = objectives.vanilla,
    given: Mapping[str, Any] | None = None,
) -> transformers.PreTrainedModel:
    """Structured pruning: the least important `share` of the attention heads removed, the rest trained on.

    Paper 1, section 3.1 and appendix A (28 of 144 heads). Paper 3 removes 45 % and trains no more (no epochs here),
    or with either loss. `importance` as of `head_importance`.
    """
    table = importance.pivot(index="layer", columns="head", values="importance").to_numpy()
    heads.remove(start, heads.lowest(torch.tensor(table), round(share * table.size)))
    training.fit(start, encoder, split, recipe, objective, given, seed)
    return start


def hypothesis_only(*, split: data.Split, test: data.Split, text: str = "hypothesis") -> pd.DataFrame:
    """What a linear model of one text of the pair, trained on `split`, predicts on `test`: its errors are hard.

    Paper 1, section 4 and appendix F, after Gururangan et al. (2018). See `bias.hypothesis_only`.
    """
    return bias.hypothesis_only(split.frame(), test.frame(), text=text)


def loss_variance(*, predictions: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Stage one of RMC (paper 1, section 5.1): per example the losses of the pruned models and their variance.

    `predictions` on one split, one frame for each sparsity. Columns: id, gold, loss_1, loss_2..., variance.
    """
    losses = pd.concat(
        [metrics.losses(frame) for frame in predictions], axis=1, keys=range(1, len(predictions) + 1)
    )
    spread = smoothing.variance(torch.tensor(losses.to_numpy().T.copy()))
    table = losses.add_prefix("loss_").assign(variance=spread.numpy()).reset_index()
    table.insert(1, "gold", predictions[0]["gold"].to_numpy())
    return table


def easy_and_hard(
    *, candidates: Mapping[str, pd.DataFrame], variances: pd.DataFrame, easy_share: float
) -> pd.DataFrame:
    """What a student trained with each alpha gets right on the shortcut and on the hard part of the development set.

    `candidates` are its predictions by alpha, `variances` the loss variances there: the `easy_share` of lowest
    variance is the shortcut part (paper 1, section 6.1). Columns: alpha, accuracy, easy, hard (shares), and gap,
    (easy - hard) / easy in analogy to section 3.4.
    """
    easy = variances.set_index("id")["variance"].rank(method="first", pct=True) <= easy_share
    rows = []
    for alpha, frame in candidates.items():
        right = metrics.correct(frame)
        parts = right.mean(), right[easy].mean(), right[~easy].mean()
        rows.append((float(alpha), *parts, 1 - parts[2] / parts[1]))
    return pd.DataFrame(rows, columns=["alpha", "accuracy", "easy", "hard", "gap"])


def chosen_alpha(*, gaps: pd.DataFrame, tolerance: float = 0.01) -> float:
    """alpha by the in-distribution rule of paper 1, section 6.1: the one with the smallest gap of `easy_and_hard`.

    Only alphas within `tolerance` of the best accuracy compete, so that no gap is closed by losing the easy part;
    the first of equals wins. No OOD set is looked at.
    """
    accurate = gaps[gaps["accuracy"] >= gaps["accuracy"].max() - tolerance]
    return float(accurate.loc[accurate["gap"].idxmin(), "alpha"])


def pruning_chain(
    *,
    start: runs.Unit | None,
    sparsities: Sequence[float],
    schedule: Literal["cubic", "stepwise"],
    seed: int,
    removed: bool = True,
    **fixed: Any,
) -> dict[float, runs.Unit]:
    """The unit of `imp` for every sparsity; `fixed` are its other arguments.

    `stepwise`: each goes on from the one before, the first from `start`, and sees the examples in another order.
    `cubic`: each starts from the pretrained encoder. `removed` False: the dense control of each, as many steps and
    nothing removed.
    """
    chain: dict[float, runs.Unit] = {}
    model = start
    for level, sparsity in enumerate(sparsities, start=1):
        model = runs.unit(
            imp,
            start=model if schedule == "stepwise" else None,
            sparsity=sparsity if removed else 0.0,
            schedule=schedule,
            seed=seed + 1000 * level if schedule == "stepwise" else seed,
            **fixed,
        )
        chain[sparsity] = model
    return chain


def _schedule(name: str, initial: float, final: float, warmup: float) -> prune.Schedule:
    """Sparsity over the share of training done."""
    if name == "stepwise":
        return partial(prune.stepwise, initial=initial, final=final)
    ramp = 1 - 3 * warmup
    if ramp <= 0:
        raise ValueError(f"imp: warm-up is {warmup}; a cubic schedule needs less than a third of the steps")
    return lambda progress: prune.cubic((progress - warmup) / ramp, initial=initial, final=final)
