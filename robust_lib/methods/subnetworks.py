"""Finding sparse and robust subnetworks: mask training, iterative magnitude pruning, their bias models (paper 4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
import transformers

from robust_lib import bias, data, masks, metrics, models, objectives, predict, prune, runs, train
from robust_lib.methods import training

POSITIVE = {"mnli": "entailment", "qqp": "duplicate"}  # the label that word overlap gives away


def bias_only(*, encoder: models.Encoder, split: data.Split, test: data.Split) -> pd.DataFrame:
    """What the task's bias model, trained on `split`, predicts on `test` (paper 4, section 4.1.3).

    Word overlap of the pair for inference and paraphrase, the claim's words for fact verification; word vectors are
    the encoder's own input embeddings. See `bias.overlap` and `bias.claim`.
    """
    if split.task in POSITIVE:
        return bias.overlap(
            split.frame(),
            test.frame(),
            text=split.text,
            positive=POSITIVE[split.task],
            vectors=encoder.vectors,
        )
    return bias.claim(split.frame(), test.frame(), vectors=encoder.vectors)


def mask_trained(
    *,
    encoder: models.Encoder,
    split: data.Split,
    development: data.Split,
    start: transformers.PreTrainedModel,
    recipe: train.Recipe,
    sparsity: float,
    interval: int,
    init: masks.Init = "hard",
    initial: float | None = None,
    select_from: float = 0.7,
    measure: metrics.Measure = "accuracy",
    merge: metrics.Merge = "argmax",
    seed: int = 0,
    objective: training.Objective = objectives.vanilla,
    given: Mapping[str, Any] | None = None,
    extra: training.Extra = (),
    learning_rate: float | None = None,
    watched: Sequence[data.Split] = (),
) -> dict[str, Any]:
    """A subnetwork of `start` found by training its masks alone (paper 4, section 3.2.2 and appendix A.1.2).

    Every matrix of encoder, pooler and classifier keeps exactly 1 - `sparsity` of its entries, held by re-thresholding
    every `interval` steps. With `initial` the sparsity rises from there to `sparsity` on a cubic schedule over all of
    the training (section 5.2). The masks returned are at `sparsity`, and of the re-thresholdings from the share
    `select_from` of the steps on the best on `development`: no OOD data is looked at. `extra` are further training
    splits and how often each counts, for cross entropy alone (section 4.5); a `learning_rate` replaces the recipe's.

    Returns `masks`; the share of their entries that differ from the magnitude mask of the beginning (`kept`); what they
    reach on `development` (`best`); and the `course`: at each look step, the sparsity that the masks had `drifted` to
    just before, the share `changed` since the beginning, `testbed` and `value` of the measure there (a share).
    `watched` are looked at all along.
    """
    if initial is not None and init == "hard":
        raise ValueError("mask_trained: hard scores are all equal; a rising sparsity needs init='soft'")
    recipe = recipe if learning_rate is None else replace(recipe, learning_rate=learning_rate)
    frozen = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    # Before the weights are rounded to the frozen precision: the scores begin as the magnitude mask of these.
    magnitudes = _magnitudes(start, sparsity, masks.PARTS)
    layers = masks.score(start, [sparsity if initial is None else initial], init=init, frozen=frozen)
    best, top, course = dict(magnitudes), -1.0, []

    def look(step: int, total: int) -> None:
        nonlocal best, top
        last = step == round(recipe.until * total)
        if (step % interval and not last) or (step == 0 and not watched):
            return
        drifted = masks.sparsity(masks.current(layers).values())
        # At step 0 the masks are as sparse as asked, and hard scores keep the threshold in their gap.
        if step or initial is not None:
            masks.rethreshold(layers, [sparsity])
        now, late = masks.current(layers), last or step >= select_from * total
        for bed in dict.fromkeys([*([development] if late else []), *watched]):
            value = _measured(start, encoder, bed, recipe, measure, merge)
            if late and bed == development and value > top:
                best, top = now, value
            course.append((step, drifted, masks.changed(now, magnitudes), bed.path, value))
        if initial is not None:
            masks.rethreshold(layers, [prune.cubic(step / total, initial=initial, final=sparsity)])

    training.fit(start, encoder, split, recipe, objective, given, seed, extra=extra, before_step=look)
    columns = ["step", "drifted", "changed", "testbed", "value"]
    return {
        "masks": best,
        "kept": masks.changed(best, magnitudes),
        "best": top,
        "course": pd.DataFrame(course, columns=columns),
    }


def chosen_rate(*, trials: Mapping[str, Mapping[str, Any]]) -> float:
    """The learning rate, of those that `mask_trained` was tried with, whose masks are best in distribution.

    `trials` by learning rate; the first of equals wins. No OOD set is looked at.
    """
    return float(max(trials, key=lambda rate: float(trials[rate]["best"])))


def imp_round(
    *,
    encoder: models.Encoder,
    split: data.Split,
    recipe: train.Recipe,
    start: transformers.PreTrainedModel,
    sparsity: float,
    seed: int = 0,
    objective: training.Objective = objectives.vanilla,
    given: Mapping[str, Any] | None = None,
) -> transformers.PreTrainedModel:
    """One round of iterative magnitude pruning: remove, then go on training (paper 4, section 3.2.1).

    The smallest weights of every matrix of encoder and pooler go, `sparsity` of them with what earlier rounds
    removed; then all that is left is trained, embeddings too, with the objective. Sparsity 0 is the dense control.
    """
    masks.apply(start, _magnitudes(start, sparsity, training.BODY))
    training.fit(start, encoder, split, recipe, objective, given, seed)
    masks.unwrap(start)
    return start


def imp_rewound(
    *,
    encoder: models.Encoder,
    split: data.Split,
    recipe: train.Recipe,
    before: Mapping[str, Any] | None,
    sparsity: float,
    head_seed: int,
    seed: int = 0,
    objective: training.Objective = objectives.vanilla,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One round of iterative magnitude pruning with rewinding: the lottery ticket's search (paper 4, section 3.2.1).

    The trained weights of the round `before` choose what is removed; then all weights but the classifier's return to
    their pretrained values, and are trained again under the masks. Returns the `masks` of this round and the
    `model` that the next one needs.
    """
    model = encoder.classifier(split.labels, seed=head_seed)
    trained = model if before is None else before["model"]
    chosen = _magnitudes(trained, sparsity, training.BODY)
    (head,) = masks.linears(model, ["classifier"])
    model.get_submodule(head).load_state_dict(trained.get_submodule(head).state_dict())
    masks.apply(model, chosen)
    training.fit(model, encoder, split, recipe, objective, given, seed)
    masks.unwrap(model)
    return {"masks": chosen, "model": model}


def imp_chain(
    *, start: runs.Unit, sparsities: Sequence[float], seed: int, removed: bool = True, **fixed: Any
) -> dict[float, runs.Unit]:
    """The unit of `imp_round` for every sparsity, each going on from the one before, the first from `start`.

    `removed` False: the dense control of each, as many steps and nothing removed. `fixed` are its other arguments.
    """
    chain: dict[float, runs.Unit] = {}
    model = start
    for level, sparsity in enumerate(sparsities, start=1):
        model = runs.unit(
            imp_round, start=model, sparsity=sparsity if removed else 0.0, seed=seed + 1000 * level, **fixed
        )
        chain[sparsity] = model
    return chain


def rewinding_chain(*, sparsities: Sequence[float], seed: int, **fixed: Any) -> dict[float, runs.Unit]:
    """The unit of `imp_rewound` for every sparsity, each choosing by the one before, the first by the pretrained."""
    chain: dict[float, runs.Unit] = {}
    before = None
    for level, sparsity in enumerate(sparsities, start=1):
        before = runs.unit(
            imp_rewound, before=before, sparsity=sparsity, head_seed=seed, seed=seed + 1000 * level, **fixed
        )
        chain[sparsity] = before
    return chain


def _magnitudes(
    model: transformers.PreTrainedModel, sparsity: float, parts: Collection[masks.Part]
) -> dict[str, masks.Mask]:
    """The magnitude mask of every matrix of these parts."""
    return {
        name: masks.magnitude(layer.weight, sparsity) for name, layer in masks.linears(model, parts).items()
    }


def _measured(
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    bed: data.Split,
    recipe: train.Recipe,
    measure: metrics.Measure,
    merge: metrics.Merge,
) -> float:
    """The measure of a model in training on a test bed, a share."""
    encoded = data.tokenised(bed, encoder.tokenizer(), recipe.max_length)
    rows = predict.logits(model, encoded, precision=recipe.precision)
    return float(metrics.outcomes(predict.frame(model, bed, rows), measure, merge).mean())
