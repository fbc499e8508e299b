"""Figures in one look, each from a tidy frame alone.

    figure = report.sparsity_figure(compare.points(found))

`look` holds the style, the colours and what the figures share.
"""

from robust_lib.report.figures.audit import changes_figure, slices_figure
from robust_lib.report.figures.difficulty import (
    agreement_figure,
    confidence_figure,
    difficulty_figure,
    stage_one_figure,
)
from robust_lib.report.figures.look import SERIES, STYLE, Line
from robust_lib.report.figures.loyalty import loyalty_figure, transfer_figure
from robust_lib.report.figures.matrix import matrix_figure, pareto_figure
from robust_lib.report.figures.miniature import (
    neighbour_figure,
    pairs_figure,
    robustness_under_attack_figure,
)
from robust_lib.report.figures.resolution import resolution_figure
from robust_lib.report.figures.sparsity import (
    easy_hard_figure,
    id_ood_figure,
    mitigation_figure,
    sparsity_figure,
)
from robust_lib.report.figures.subnetworks import curves_figure, lengths_figure, subnetwork_figure

__all__ = [
    "SERIES",
    "STYLE",
    "Line",
    "agreement_figure",
    "changes_figure",
    "confidence_figure",
    "curves_figure",
    "difficulty_figure",
    "easy_hard_figure",
    "id_ood_figure",
    "lengths_figure",
    "loyalty_figure",
    "matrix_figure",
    "mitigation_figure",
    "neighbour_figure",
    "pairs_figure",
    "pareto_figure",
    "resolution_figure",
    "robustness_under_attack_figure",
    "slices_figure",
    "sparsity_figure",
    "stage_one_figure",
    "subnetwork_figure",
    "transfer_figure",
]
