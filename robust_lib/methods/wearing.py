"""A subnetwork as a model like any other, for what takes models alone: attacks, vectors, timings."""

from __future__ import annotations

import transformers

from robust_lib import masks
from robust_lib.methods.training import Subnetwork


def worn(*, start: transformers.PreTrainedModel, subnetwork: Subnetwork) -> transformers.PreTrainedModel:
    """The model with zeros outside all of the subnetwork's masks, the classifier's too; nothing is trained.

    `start` is what the masks were found in. It predicts as `predicted` does under the same masks.
    """
    masks.apply(start, subnetwork["masks"])
    masks.unwrap(start)
    return start
