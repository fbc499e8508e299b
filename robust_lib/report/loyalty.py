"""The cells of tables 1 to 3 of paper 3."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from robust_lib import compare
from robust_lib.compare import Interval

# Columns by test bed, by what a model weighs, and by measure.
ACCURACIES = {
    "mnli/validation_matched": "MNLI m",
    "mnli/validation_mismatched": "MNLI mm",
    "hans/validation": "MNLI HANS",
    "sst2/validation": "SST-2",
}
WEIGHTS = {"# Layer": "layers", "#Param": "parameters", "Size": "megabytes", "Work": "gflop"}
MEASURES = {
    "label_loyalty": "Loyalty Label",
    f"{compare.CHANCE}label_loyalty": "Loyalty Label, chance",
    "probability_loyalty": "Loyalty Probability",
    f"{compare.CHANCE}probability_loyalty": "Loyalty Probability, chance",
    "right": "Adversarial Attack Acc before",
    "after_attack": "Adversarial Attack Acc",
    "fooled": "Adversarial Attack fooled",
    "queries": "Adversarial Attack #Query",
    "calls": "Adversarial Attack calls",
}
COMPRESSION_UNITS = {  # of columns, for `paper_table`: the paper's and ours where they are not in percent
    "# Layer": "layer",
    "Speed-up": "times",
    "#Param": "million",
    "Size": "megabyte",
    "Work": "GFLOP",
    "MNLI HANS": "percent",
    "Loyalty Label": "loyalty",
    "Loyalty Probability": "loyalty",
    "Adversarial Attack Acc before": "percent",
    "Adversarial Attack fooled": "percent",
    "Adversarial Attack calls": "queries",
}
GROUPS = {  # of methods, as the figure has them from above
    "teacher": ("Teacher", "Teacher, another seed", "Teacher +Finetune"),
    "truncation": ("Truncate & Finetune",),
    "KD": ("Pure KD", "BERT-PKD", "DistilBERT", "TinyBERT"),
    "replacing": ("BERT-of-Theseus", "Theseus +KD", "Theseus +KD+PTQ"),
    "8-bit": ("Q8-PTQ", "Q8-PTQ, integer", "Q8-PTQ +Finetune", "Q8-PTQ +KD", "Q8-QAT"),
    "heads": ("Head Prune", "Head Prune +Finetune", "Head Prune +KD", "Head Prune +KD+PTQ"),
}
DRAWN = {  # the metrics of Figure 1 of paper 3, and their columns
    "accuracy": ("MNLI m", "SST-2"),
    "label_loyalty": ("Loyalty Label",),
    "probability_loyalty": ("Loyalty Probability",),
    "after_attack_accuracy": ("Adversarial Attack Acc",),
}


def compression_cells(
    arms: Mapping[compare.ArmKey, compare.Arm],
    weights: Mapping[tuple[str, str], Mapping[str, float]],
    task: str,
    rows: Mapping[str, str],
    *,
    teacher: str = "Teacher",
) -> dict[tuple[str, str], Interval]:
    """The cells of a table of paper 3 by row and column: `rows` maps the paper's name of a row to the method's.

    `arms` as of `compare.compressed`; `weights` by task and method what a model weighs: layers, parameters (millions),
    megabytes, gflop. Speed-up is that of the largest batch timed, others are columns of their own. The teacher is
    loyal to itself by definition.
    """
    batches = {int(measure.split()[1]) for _, _, measure in arms if measure.startswith("seconds")}
    titles = MEASURES | {f"accuracy {bed}": column for bed, column in ACCURACIES.items()}
    titles |= {f"seconds {batch}": f"Speed-up, batch {batch}" for batch in batches}
    titles |= {f"seconds {max(batches, default=0)}": "Speed-up"}  # the paper's column
    cells = {}
    for row, method in rows.items():
        for column, name in WEIGHTS.items():
            if (task, method) in weights:
                cells[row, column] = compare.counted(weights[task, method][name])
        for measure, column in titles.items():
            if (task, method, measure) in arms:
                found = compare.measured(arms, (task, method, measure))
                share = measure not in ("queries", "calls") and not measure.startswith("seconds")
                cells[row, column] = found.times(100) if share else found
        if method == teacher:
            cells |= {(row, f"Loyalty {kind}"): compare.counted(100.0) for kind in ("Label", "Probability")}
            cells[row, "Speed-up"] = compare.counted(1.0)
    return cells


def loyalty_frame(cells: Mapping[tuple[str, str], Interval], printed: pd.DataFrame) -> pd.DataFrame:
    """The frame of `loyalty_figure` from the cells of a task, rows under the methods' names; see `compression_cells`.

    `printed` is a table of `published`, or several under one another: of a cell that stands twice the first counts.
    """
    theirs = printed.drop_duplicates(["row", "column"]).set_index(["row", "column"])["printed"]
    methods = {method: group for group, several in GROUPS.items() for method in several}
    lines = []
    for method, (quantity, columns) in itertools.product(methods, DRAWN.items()):
        for column in columns:
            if (one := cells.get((method, column))) is None:
                continue
            chance = cells.get((method, f"{column}, chance"))
            line: dict[str, Any] = {"group": methods[method], "method": method, "quantity": quantity}
            line |= {"value": one.value, "low": one.low, "high": one.high}
            line |= {"chance": chance.value if chance else math.nan, "n": one.n, "seeds": one.seeds}
            lines.append(line | {"printed": theirs.get((method, column), math.nan)})
    return pd.DataFrame(lines)
