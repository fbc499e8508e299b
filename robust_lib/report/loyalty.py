"""Tables 1 to 3 of paper 3, their cells, and attacked texts as diffs."""

import html
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
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
GONE = "background: rgba(213, 94, 0, .28); text-decoration: line-through;"
NEW = "background: rgba(2, 158, 115, .32); font-weight: 600; text-decoration: none;"


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


@dataclass(frozen=True, repr=False)
class AttackDiffs:
    """Attacked texts beside what they were: words that went struck out, new ones highlighted.

    HTML in JupyterLab, on a light or a dark page; as text [-gone-] and {+new+}, as wdiff writes them.
    """

    attacks: tuple[Mapping[str, Any], ...]

    def __repr__(self) -> str:
        return "\n\n".join(f"{_told(one)}\n{_marked(one, '[-{}-]', '{{+{}+}}', str)}" for one in self.attacks)

    def _repr_html_(self) -> str:
        gone, new = f"<del style='{GONE}'>{{}}</del>", f"<ins style='{NEW}'>{{}}</ins>"
        blocks = []
        for one in self.attacks:
            lines = _marked(one, gone, new, html.escape).replace("\n", "<br>")
            head = f"<small style='opacity: .75'>{html.escape(_told(one))}</small>"
            blocks.append(f"<div style='margin: .7em 0; line-height: 1.5'>{head}<br>{lines}</div>")
        return f"<div style='max-width: 60em; white-space: normal'>{''.join(blocks)}</div>"


def attack_diffs(attacks: pd.DataFrame) -> AttackDiffs:
    """Attacks as diffs in the order of the rows.

    Columns: id, original, attacked (texts), before, after (label names the victim gives), queries; and where there are:
    victim, and `context`, the text that was not attacked (the premise). Raises ValueError for a missing column.
    """
    missing = [
        name for name in ("id", "original", "attacked", "before", "after", "queries") if name not in attacks
    ]
    if missing:
        raise ValueError(
            f"attacks lack the column {missing[0]!r}; there are {', '.join(map(str, attacks.columns))}"
        )
    return AttackDiffs(
        tuple({str(key): one for key, one in row.items()} for row in attacks.to_dict("records"))
    )


def _told(attack: Mapping[str, Any]) -> str:
    """id 7 · Q8-PTQ · entailment → neutral · 43 queries"""
    parts = [f"id {attack['id']}", str(attack["victim"])] if "victim" in attack else [f"id {attack['id']}"]
    same = attack["before"] == attack["after"]
    labels = f"{attack['before']}, unchanged" if same else f"{attack['before']} → {attack['after']}"
    count = attack["queries"]
    return " · ".join([*parts, labels, f"{count:g} {'query' if count == 1 else 'queries'}"])


def _marked(attack: Mapping[str, Any], gone: str, new: str, escape: Any) -> str:
    """The texts with changed words in the two forms, each of the texts' own words escaped."""
    words = [
        form.format(escape(text))
        for form, text in _changes(
            str(attack["original"]).split(), str(attack["attacked"]).split(), gone, new
        )
    ]
    context = [escape(str(attack["context"]))] if "context" in attack else []
    return "\n".join([*context, " ".join(words)])


def _changes(before: Sequence[str], after: Sequence[str], gone: str, new: str) -> Iterator[tuple[str, str]]:
    """Runs of words, each with the form it is shown in."""
    if len(before) == len(after):  # words were replaced, and none came or went
        for old, word in zip(before, after, strict=True):
            yield from [("{}", old)] if old == word else [(gone, old), (new, word)]
        return
    matcher = SequenceMatcher(a=before, b=after, autojunk=False)
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind == "equal":
            yield "{}", " ".join(before[start:end])
        elif kind == "replace" and end - start == other_end - other_start:
            for old, word in zip(before[start:end], after[other_start:other_end], strict=True):
                yield gone, old
                yield new, word
        else:
            runs = ((gone, before[start:end]), (new, after[other_start:other_end]))
            yield from ((form, " ".join(run)) for form, run in runs if run)
