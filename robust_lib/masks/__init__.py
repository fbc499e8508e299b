"""Masks of linear layers: fixed, trained, many on one backbone, packed into files.

Any transformers encoder works: its linear layers are replaced in place, its code is not.
"""

from robust_lib.masks.artefact import apply, describe, fingerprint, load, save
from robust_lib.masks.choice import Mask, largest, magnitude, sparsity
from robust_lib.masks.layers import PARTS, MaskedLinear, Part, ScoredLinear, assign, linears, unwrap, wrap
from robust_lib.masks.scores import (
    GAP,
    THRESHOLD,
    Init,
    changed,
    current,
    rethreshold,
    score,
    travel,
    wandering,
)

__all__ = [
    "GAP",
    "PARTS",
    "THRESHOLD",
    "Init",
    "Mask",
    "MaskedLinear",
    "Part",
    "ScoredLinear",
    "apply",
    "assign",
    "changed",
    "current",
    "describe",
    "fingerprint",
    "largest",
    "linears",
    "load",
    "magnitude",
    "rethreshold",
    "save",
    "score",
    "sparsity",
    "travel",
    "unwrap",
    "wandering",
    "wrap",
]
