"""The compression methods of paper 3. Its rows, and the functions that make them:

Teacher, DistilBERT, TinyBERT    `training.finetuned` from a pretrained encoder
Truncate & Finetune, Pure KD     `training.finetuned` from the teacher, with an encoder of fewer layers; Pure KD with
                                 `objectives.kd`
BERT-PKD, BERT-of-Theseus        `pkd`, `theseus`
Q8-PTQ, +PTQ                     `q8_ptq`
Q8-QAT, Q8-PTQ +Finetune, +KD    `q8_trained`
Head Prune, +Finetune, +KD       `robustness.head_pruned`, with no epochs, some, and `objectives.kd`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from torch import Tensor

from robust_lib import data, models, objectives, predict, quantize, replace, train
from robust_lib.methods import training


def cls_states(
    *,
    model: transformers.PreTrainedModel,
    encoder: models.Encoder,
    split: data.Split,
    layers: Sequence[int],
    max_length: int,
    batch_size: int = 128,
) -> dict[str, Tensor]:
    """The [CLS] states of a teacher after some of its layers (from 0), on every example of a split.

    "states", (examples, layers, width), in half precision as the reference code of BERT-PKD keeps them.
    """
    encoded = data.tokenised(split, encoder.tokenizer(), max_length)
    return {"states": predict.cls_states(model, encoded, layers, batch_size=batch_size)}


def pkd(
    *,
    encoder: models.Encoder,
    split: data.Split,
    recipe: train.Recipe,
    start: transformers.PreTrainedModel,
    states: Mapping[str, Tensor],
    given: Mapping[str, Any],
    seed: int = 0,
) -> transformers.PreTrainedModel:
    """BERT-PKD: the teacher's first layers learn its predictions and, patiently, its intermediate [CLS] states.

    Sun et al. (2019); paper 3, appendix A. `start` is the teacher, `encoder` of as many layers as the student;
    `states` as of `cls_states`, at `replace.skip` of the teacher's layers; `given` the other arguments of
    `objectives.pkd`.
    """
    student = training.started(encoder, split, start, seed)
    known = {**given, "teacher_states": states["states"]}
    with models.cls_states(student):
        training.fit(student, encoder, split, recipe, objectives.pkd, known, seed)
    return student


def theseus(
    *,
    encoder: models.Encoder,
    split: data.Split,
    recipe: train.Recipe,
    start: transformers.PreTrainedModel,
    slope: float,
    base: float,
    seed: int = 0,
    objective: training.Objective = objectives.vanilla,
    given: Mapping[str, Any] | None = None,
) -> transformers.PreTrainedModel:
    """BERT-of-Theseus: the modules of `start`, the teacher, are progressively replaced by single layers.

    Xu et al. (2020); `encoder` of as many layers as the successor. Before step t a module is replaced with
    probability min(1, slope t + base), `k` and `b` of paper 3, appendix A.
    """
    if encoder.layers is None:
        raise ValueError(
            f"theseus: {encoder.name} has no `layers`: it says how many layers the successor has"
        )
    replace.theseus(start, encoder.layers, generator=torch.Generator().manual_seed(seed))

    def raise_rate(step: int, total: int) -> None:
        if (last := replace.linear(total, slope=slope, base=base)) < 1:
            raise ValueError(
                f"theseus: after all {total} steps a layer stands for its module with probability {last:.2g}, not 1; "
                f"raise the slope (now {slope}), the base (now {base}) or the epochs"
            )
        replace.assign(start, replace.linear(step, slope=slope, base=base))

    training.fit(start, encoder, split, recipe, objective, given, seed, before_step=raise_rate)
    replace.finish(start)
    return start


def q8_ptq(
    *,
    encoder: models.Encoder,
    split: data.Split,
    start: transformers.PreTrainedModel,
    max_length: int,
    decay: float = 0.9999,
    batch_size: int = 32,
) -> transformers.PreTrainedModel:
    """Post-training quantisation to symmetric 8 bits, simulated: no weight is trained (paper 3; Zafrir et al. 2019).

    The ranges of the activations are the largest that the examples of `split` bring (see `quantize.calibrate`); `decay`
    is how they move where the model is trained on.
    """
    quantize.simulate(start, decay=decay)
    encoded = data.tokenised(split, encoder.tokenizer(), max_length)
    torch.nn.Module.to(start, Accelerator().device)
    quantize.calibrate(start, data.batches(encoded, batch_size))
    return start.cpu()


def q8_trained(
    *,
    encoder: models.Encoder,
    split: data.Split,
    recipe: train.Recipe,
    start: transformers.PreTrainedModel | None,
    decay: float,
    seed: int = 0,
    objective: training.Objective = objectives.vanilla,
    given: Mapping[str, Any] | None = None,
) -> transformers.PreTrainedModel:
    """Training under simulated 8 bits, straight-through: Q8-QAT from the pretrained encoder (no `start`), and what
    paper 3 makes of a quantised model (`q8_ptq`) by fine-tuning or distilling it again.

    `decay` is that of the moving activation ranges; a quantised `start` goes on from its ranges with its own.
    """
    model = training.started(encoder, split, start, seed)
    if not quantize.simulated(model):
        quantize.simulate(model, decay=decay)
    training.fit(model, encoder, split, recipe, objective, given, seed)
    return model
