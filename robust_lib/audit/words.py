"""The summary on top of the audit's page: a few sentences that follow from the verdicts by fixed templates.

    for line in words.summary(found, problems, unmeasured): print(line)

No sentence says more than its verdict does (`verdicts`), and none says that a model may be shipped: that is for whoever
knows what it is for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robust_lib.audit import verdicts
from robust_lib.audit.problems import Problem

Row = Mapping[Any, Any]

TOLD = {  # of measures whose names say little
    "label loyalty": "the share of answers that are the original's (label loyalty)",
    "probability loyalty": "the likeness of probabilities to the original's (probability loyalty)",
    "lost": "the share of examples whose right answer became wrong",
    "won": "the share of examples whose wrong answer became right",
    "swapped": "the share of examples whose wrong answer became another wrong one",
    "gap": "accuracy less that on the test set",
    "F_bias": "the relative loss of accuracy over the original's (F_bias)",
    "easy less hard": "accuracy on what the original is surest of less that on what it is least sure of",
}
THIRDS = ("hardest third", "easiest third")
SETS = {"test": " on the test set", "ood": " on the OOD set", "": ""}
FORMS = {
    "": ".2f",
    "nats": ".3f",
    "ms": ".3g",
    "MB": ".4g",
    "million": ".4g",
    "times": ".2f",
}  # by unit, else .1f
MORE = (verdicts.BEYOND, verdicts.BY_CHANCE)  # change than a second training makes, of a pair
PAIR = {
    verdicts.BEYOND: "more change than a second training makes",
    verdicts.ALIKE: "no more change than a second training makes",
    verdicts.BY_CHANCE: "no more alike than by chance",
}
PLAIN = (verdicts.NO_CHANGE, verdicts.ALIKE, "")
TOLD_ALREADY = ("accuracy", "loyalty", "flips")  # topics
MOST, NAMED = 10, 4  # sentences; measures named in one of them
UNKNOWN = 3  # severity from which on nothing is known to have changed


def summary(
    findings: pd.DataFrame, problems: Sequence[Problem] = (), unmeasured: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """At most ten sentences on findings (`findings.measured`): all in one, what is wrong with the input, accuracy and
    loyalty, what else changed, slices, what cannot be told, cost, and what was not measured.

    `unmeasured` are pairs (measure, reason). A sentence about something that is not there is left out.
    """
    rows = findings.to_dict("records")
    cost = [row for row in rows if row["topic"] == "cost"]
    whole = [row for row in rows if row["topic"] != "cost" and not row["part"]]
    slices = [row for row in rows if row["part"]]
    first = [_overall(whole, slices), _problems(problems), _accuracy(whole), _loyalty(whole)]
    last = [_slices(slices), _untold(whole), _cost(cost), _unmeasured(unmeasured)]
    first, last = (list(filter(None, lines)) for lines in (first, last))
    return [*first, *_changes(whole, MOST - len(first) - len(last)), *last]


# -- sentences ----------------------------------------------------------------------------------------------------


def _overall(whole: Sequence[Row], parts: Sequence[Row]) -> str:
    """What got worse; else what changed more than a second training; else that nothing did; and what is not known."""
    judged = [row for row in whole if row["verdict"]]
    worse, more, chance = (
        [row for row in judged if row["verdict"].startswith(kind)]
        for kind in (verdicts.WORSE, verdicts.BEYOND, verdicts.BY_CHANCE)
    )
    worse = [row for row in worse if _severity(row) == 0]
    untold = [row for row in judged if row["verdict"] == verdicts.UNTOLD]
    told = []
    if worse:
        told.append(f"{len(worse)} of {len(judged)} measures got worse: {_names(worse)}")
    if more:
        told.append(f"in {len(more)} the models differ more than two trainings of one: {_names(more)}")
    if chance:
        told.append(f"in {len(chance)} they are no more alike than by chance: {_names(chance)}")
    if not worse and any(row["verdict"] == verdicts.WORSE for row in parts):
        told.append("accuracy got worse on a slice")
    if not told:
        changed = [row for row in judged if _severity(row) == 1]
        told.append(f"None of {len(judged)} measures got worse")
        told += [f"{len(changed)} changed otherwise: {_names(changed)}"] if changed else []
    if untold:
        told.append(f"whether {len(untold)} changed cannot be told from so few examples")
    return f"{_capital('; '.join(told))}."


def _problems(problems: Sequence[Problem]) -> str:
    if not problems:
        return ""
    kinds = ", ".join(dict.fromkeys(problem.kind for problem in problems))
    return f"The input has problems that these numbers may rest on: {kinds}."


def _accuracy(whole: Sequence[Row]) -> str:
    """On the set where it changed most."""
    rows = [row for row in whole if row["measure"] == "accuracy"]
    return _sentence(min(rows, key=_severity)) if rows else ""


def _loyalty(whole: Sequence[Row]) -> str:
    """What became of the test set's answers."""
    rows = {row["measure"]: row for row in whole if row["set"] == "test"}
    if "label loyalty" not in rows:
        return ""
    told = _sentence(rows["label loyalty"])
    if "lost" not in rows:
        return told
    lost, won = (_number(rows[flip], "value") for flip in ("lost", "won"))
    return f"{told} {lost} were right and are wrong now, {won} were wrong and are right now."


def _changes(whole: Sequence[Row], most: int) -> list[str]:
    """Of each further topic the row that changed most, where something did."""
    heads: dict[str, Row] = {}
    for row in sorted(whole, key=_severity):
        if row["topic"] not in TOLD_ALREADY and _severity(row) < UNKNOWN:
            heads.setdefault(row["topic"], row)
    return [_sentence(row) for row in heads.values()][:most]


def _slices(parts: Sequence[Row]) -> str:
    rows = [row for row in parts if row["measure"] == "accuracy"]
    worse = [row for row in rows if row["verdict"] == verdicts.WORSE]
    if not rows:
        return ""
    if not worse:
        untold = sum(row["verdict"] == verdicts.UNTOLD for row in rows)
        few = f"; of {untold} it cannot be told, they have too few examples" if untold else ""
        return f"On none of {len(rows)} slices did accuracy get worse{few}."
    most = min(worse, key=lambda row: row["value"])
    return (
        f"Accuracy got worse on {len(worse)} of {len(rows)} slices, most on {most['part']} "
        f"({_change(most)}, {most['n']:,.0f} examples)."
    )


def _untold(whole: Sequence[Row]) -> str:
    rows = [row for row in whole if row["verdict"] == verdicts.UNTOLD]
    if not rows:
        return ""
    return f"Too few examples to tell whether these changed by as much as matters: {_names(rows)}."


def _cost(rows: Sequence[Row]) -> str:
    told = [
        f"{row['measure']} {_number(row, 'compressed')} instead of {_number(row, 'original')} ({row['verdict']})"
        for row in rows
        if not np.isnan(row["original"])
    ]
    return f"Cost: {'; '.join(told)}." if told else ""


def _unmeasured(unmeasured: Sequence[tuple[str, str]]) -> str:
    if not unmeasured:
        return ""
    told = "; ".join(f"{measure} ({reason})" for measure, reason in unmeasured)
    return f"Not measured: {told}."


# -- one row ------------------------------------------------------------------------------------------------------


def _sentence(row: Row) -> str:
    """What the row's verdict says, with its numbers."""
    name, verdict = _name(row), row["verdict"]
    if verdicts.rule(row["measure"]).agreement or not row["test"]:
        told = f"{_capital(name)} is {_number(row, 'value')} ({_range(row)}{_beside(row)})"
        if not verdict:
            return f"{told}."
        bar = PAIR[verdict]
        if row["control_from"] != verdicts.SECOND:
            bar = bar.replace("a second training makes", "two trainings of other models make")
        return f"{told}: {bar}."
    if verdict == verdicts.NO_CHANGE:
        return f"No change of {name} was seen: {_change(row)}, {row['n']:,.0f} examples{_hidden(row)}."
    if verdict == verdicts.UNTOLD:
        return (
            f"Whether {name} changed cannot be told: {_change(row)}; {row['n']:,.0f} examples show a change of "
            f"{_number(row, 'resolves', change=True)}, and {_mattering(row)} matter."
        )
    word = verdict.partition(", ")[0]
    if verdict.endswith(verdicts.WITHIN):
        word += ", though no more than a second training may make it"
    less = f", by less than the {_mattering(row)} that matter" if verdict.endswith(verdicts.SMALL) else ""
    return f"{_capital(name)} is {word}{less}: {_change(row)}{_allowed(row)}."


def _name(row: Row) -> str:
    measure, comma, third = row["measure"].partition(", ")
    part = f" in the {third} by the original's confidence" if third in THIRDS else f"{comma}{third}"
    return f"{TOLD.get(measure, measure)}{part}{SETS[row['set']]}"


def _change(row: Row) -> str:
    """91.7 % with the original, 87.5 % with the compressed model, -4.2 points (95 % interval -5.7 to -2.9)."""
    both = ", ".join(f"{_number(row, role)} with the {role}" for role in ("original", "compressed"))
    value = f"{_number(row, 'value', change=True)} ({_range(row)})"
    return f"{both} model, {value}" if not np.isnan(row["original"]) else value


def _hidden(row: Row) -> str:
    """How much worse it may be all the same."""
    worst = -row["low"] if verdicts.rule(row["measure"]).falls == verdicts.WORSE else row["high"]
    return f"; up to {_form(worst, row['unit'], change=True)} to the worse may be hidden" if worst > 0 else ""


def _allowed(row: Row) -> str:
    """What two trainings differ by, and who says so."""
    if np.isnan(row["control"]):
        return "; what a second training changes is not known"
    if row["control_from"] == verdicts.SECOND:
        return f"; the second training changed it by {_number(row, 'control', change=True)} ({_range(row, 'control')})"
    most = _form(verdicts.allowed(row), row["unit"], change=True)
    return f"; two trainings of other models differ by up to {most} ({row['control_from']})"


def _mattering(row: Row) -> str:
    return _form(verdicts.matters(row), row["unit"], change=True)


def _beside(row: Row) -> str:
    """The chance level and the control of a pair's number."""
    chance = f"; {_number(row, 'chance')} by chance" if not np.isnan(row["chance"]) else ""
    if np.isnan(row["control"]):
        return chance
    own = row["control_from"] == verdicts.SECOND
    told = "a second training" if own else f"two trainings of other models, {row['control_from']}"
    return f"{chance}; {_number(row, 'control')} of {told}"


def _severity(row: Row) -> int:
    """0 of what got worse or is less alike, 1 of other changes, 2 of those that may mean nothing, 3 of the unknown."""
    verdict = row["verdict"]
    if verdict in (verdicts.WORSE, verdicts.WORSE + verdicts.WITHIN_OTHERS, *MORE):
        return 0
    if verdict in PLAIN:
        return 4
    if verdict == verdicts.UNTOLD:
        return UNKNOWN
    return 2 if verdict.endswith((verdicts.WITHIN, verdicts.SMALL)) else 1


def _names(rows: Sequence[Row]) -> str:
    """Measures in a list, the first few by name."""
    names = [row["measure"] + (" (OOD)" if row["set"] == "ood" else "") for row in rows]
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return ", ".join([*names[:NAMED], *more])


def _number(row: Row, name: str, *, change: bool = False) -> str:
    return _form(row[name], row["unit"], change=change)


def _range(row: Row, of: str = "") -> str:
    low, high = (_number(row, f"{of}_{name}" if of else name).split(" ")[0] for name in ("low", "high"))
    return f"95 % interval {low} to {high}"


def _form(value: float, unit: str, *, change: bool = False) -> str:
    """84.2 %, -1.3 points, 0.031 nats."""
    if np.isinf(value):
        return "unbounded"
    named = "points" if unit == "%" and change else unit
    return f"{value:{FORMS.get(unit, '.1f')}} {named}".strip().replace("-", "−")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
