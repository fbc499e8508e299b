"""Each named method of the papers as one short function, from a split, an encoder, a training recipe and a seed.

The functions are units (`runs.unit`): what they return is kept in the store. `start` is a model made by another
unit; None starts from the pretrained encoder under a new head. `objective` is what is minimised, one of
`objectives`, and `given` what it needs to know of the training examples.
"""

from robust_lib.methods.attacking import (
    attack_all,
    attacked,
    bert_attacked,
    calibrated,
    masked_lm,
    transferred,
)
from robust_lib.methods.compression import cls_states, pkd, q8_ptq, q8_trained, theseus
from robust_lib.methods.costs import (
    footprint,
    head_millions,
    megabytes,
    memory,
    millions,
    size,
    timed,
    weighed,
    work,
)
from robust_lib.methods.measuring import measured, predicted, q8_ptq_predicted
from robust_lib.methods.reading import answered, magnitude_pruned, reader
from robust_lib.methods.representation import alignment, distances, shared_neighbours, vectors
from robust_lib.methods.robustness import (
    chosen_alpha,
    easy_and_hard,
    head_importance,
    head_pruned,
    hypothesis_only,
    imp,
    loss_variance,
    pruning_chain,
)
from robust_lib.methods.subnetworks import (
    bias_only,
    chosen_rate,
    imp_chain,
    imp_rewound,
    imp_round,
    mask_trained,
    rewinding_chain,
)
from robust_lib.methods.training import finetuned

__all__ = [
    "alignment",
    "answered",
    "attack_all",
    "attacked",
    "bert_attacked",
    "bias_only",
    "calibrated",
    "chosen_alpha",
    "chosen_rate",
    "cls_states",
    "distances",
    "easy_and_hard",
    "finetuned",
    "footprint",
    "head_importance",
    "head_millions",
    "head_pruned",
    "hypothesis_only",
    "imp",
    "imp_chain",
    "imp_rewound",
    "imp_round",
    "loss_variance",
    "magnitude_pruned",
    "mask_trained",
    "masked_lm",
    "measured",
    "megabytes",
    "memory",
    "millions",
    "pkd",
    "predicted",
    "pruning_chain",
    "q8_ptq",
    "q8_ptq_predicted",
    "q8_trained",
    "reader",
    "rewinding_chain",
    "shared_neighbours",
    "size",
    "theseus",
    "timed",
    "transferred",
    "vectors",
    "weighed",
    "work",
]
