"""From intervals to what a reader sees: verdicts and the scorecard, tables in the papers' layout, figures, files.

    found = compare.profiles(predictions, testbeds)
    printed = published.table(1, "Table 1")
    table = report.robustness_table(found, report.pruning_rows(sparsities), printed=printed, scale="micro")
    figure = report.id_ood_figure(compare.points(found))
    report.save(run.directory, {"table_1": table, "id_ood": figure}, about=run.record)

`scorecard` documents the file that other programs read.
"""

from robust_lib.report.checks import Checks
from robust_lib.report.examples import Example, Examples, attack_diffs, flips, neighbour_changes
from robust_lib.report.figures import (
    SERIES,
    Line,
    agreement_figure,
    changes_figure,
    confidence_figure,
    curves_figure,
    difficulty_figure,
    easy_hard_figure,
    id_ood_figure,
    lengths_figure,
    loyalty_figure,
    matrix_figure,
    mitigation_figure,
    neighbour_figure,
    pairs_figure,
    pareto_figure,
    resolution_figure,
    robustness_under_attack_figure,
    slices_figure,
    sparsity_figure,
    stage_one_figure,
    subnetwork_figure,
    transfer_figure,
)
from robust_lib.report.layout import Claims, Disagreements, Table, disagreements, extremes
from robust_lib.report.loyalty import (
    COMPRESSION_UNITS,
    compression_cells,
    loyalty_frame,
)
from robust_lib.report.miniature import (
    MINIATURE_UNITS,
    PAIR_UNITS,
    SPELLINGS,
    attack_cells,
    family_cells,
    pair_cells,
)
from robust_lib.report.outputs import save
from robust_lib.report.robustness import Row, pruning_rows, robustness_table
from robust_lib.report.scorecard import (
    CELL_VERDICTS,
    CLAIM_VERDICTS,
    KEYS,
    MARKS,
    OURS,
    Record,
    Scale,
    ScorecardError,
    claim,
    claim_verdict,
    record,
    score,
    scored,
    summary,
    verdict,
)
from robust_lib.report.sheets import Sheet, sheet, wide
from robust_lib.report.subnetworks import SubnetworkTable, subnetwork_table
from robust_lib.report.tables import paper_table

__all__ = [
    "CELL_VERDICTS",
    "CLAIM_VERDICTS",
    "COMPRESSION_UNITS",
    "KEYS",
    "MARKS",
    "MINIATURE_UNITS",
    "OURS",
    "PAIR_UNITS",
    "SERIES",
    "SPELLINGS",
    "Checks",
    "Claims",
    "Disagreements",
    "Example",
    "Examples",
    "Line",
    "Record",
    "Row",
    "Scale",
    "ScorecardError",
    "Sheet",
    "SubnetworkTable",
    "Table",
    "agreement_figure",
    "attack_cells",
    "attack_diffs",
    "changes_figure",
    "claim",
    "claim_verdict",
    "compression_cells",
    "confidence_figure",
    "curves_figure",
    "difficulty_figure",
    "disagreements",
    "easy_hard_figure",
    "extremes",
    "family_cells",
    "flips",
    "id_ood_figure",
    "lengths_figure",
    "loyalty_figure",
    "loyalty_frame",
    "matrix_figure",
    "mitigation_figure",
    "neighbour_changes",
    "neighbour_figure",
    "pair_cells",
    "pairs_figure",
    "paper_table",
    "pareto_figure",
    "pruning_rows",
    "record",
    "resolution_figure",
    "robustness_table",
    "robustness_under_attack_figure",
    "save",
    "score",
    "scored",
    "sheet",
    "slices_figure",
    "sparsity_figure",
    "stage_one_figure",
    "subnetwork_figure",
    "subnetwork_table",
    "summary",
    "transfer_figure",
    "verdict",
    "wide",
]
