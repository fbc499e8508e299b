"""What is said of a number of the audit's page: by fixed rules, with a threshold behind every word.

Every measure has its line in `RULES`, which the page shows. A change has a test:

    worse, better, ...    the corrected p is below LEVEL and the interval leaves out "no change"; and where a second
                          training was given, the change is larger than the interval of its own reaches to either side
    ..., within a second training    it is not
    ..., within trainings of others  there is no second training, and other models' two trainings differ as much
    ..., less than matters           the whole interval is smaller than what matters
    no change seen        neither, and the items would have shown a change that matters, with 80 % power
    cannot be told        neither, and they would not

Cost has no test: its interval decides, and a change below what matters is none. A number of the pair, as its loyalty,
is held against that of the second training (or of other models), where a test can be made by it:

    beyond a second training    the models differ more: the corrected p is below LEVEL; without a test, the interval has
                                nothing in common with the control's
    within a second training    they do not
    as by chance                they are no more alike than models as accurate that know nothing of each other

A second training is one draw: where the items are so many that only the luck of training is left, the next harmless
one is the worst of the three one time in three. More trainings would say more.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from robust_lib import compare

LEVEL = 0.05  # of corrected p-values
SECOND = "second training"  # where a control is from
WORSE, BETTER = "worse", "better"
WITHIN, SMALL = f", within a {SECOND}", ", less than matters"
WITHIN_OTHERS = ", within trainings of others"
NO_CHANGE, UNTOLD = "no change seen", "cannot be told"
BEYOND, ALIKE, BY_CHANCE = f"beyond a {SECOND}", f"within a {SECOND}", "as by chance"


class Rule(NamedTuple):
    """How a measure is judged: the words for a change down and up, and from which size on it matters.

    `matters` is in the measure's unit or, if `relative`, in percent of the original. `neutral` is the number of two
    equal models. `agreement` is of a pair's own number: 1 if a high one means alike, -1 if a low one does.
    """

    falls: str
    rises: str
    matters: float
    neutral: float = 0.0
    relative: bool = False
    agreement: int = 0


RULES: dict[str, Rule] = {
    "accuracy": Rule(WORSE, BETTER, 2),
    "loss": Rule(BETTER, WORSE, 0.05),
    "label loyalty": Rule(WORSE, BETTER, 2, agreement=1),
    "probability loyalty": Rule(WORSE, BETTER, 2, agreement=1),
    "lost": Rule(BETTER, WORSE, 2, agreement=-1),
    "won": Rule(WORSE, BETTER, 2, agreement=-1),
    "swapped": Rule(BETTER, WORSE, 2, agreement=-1),
    "calibration error": Rule(BETTER, WORSE, 2),
    "overconfidence": Rule("less confident", "more confident", 2),
    "gap": Rule(WORSE, BETTER, 2),
    "F_bias": Rule(BETTER, WORSE, 0.1, neutral=1),
    "points detected": Rule(WORSE, BETTER, 5),
    "points detected by both": Rule(WORSE, BETTER, 5, agreement=1),
    "easy less hard": Rule(BETTER, WORSE, 5),
    "neighbours kept": Rule(WORSE, BETTER, 5, agreement=1),
    "accuracy after attack": Rule(WORSE, BETTER, 5),
    "share fooled": Rule(BETTER, WORSE, 5),
    "queries": Rule(WORSE, BETTER, 10, relative=True),
    "transfer": Rule("less shared", "more shared", 5),
    "time per text": Rule("faster", "slower", 5, relative=True),
    "speed-up": Rule("slower", "faster", 0.05, neutral=1),
    "size on disk": Rule("smaller", "larger", 5, relative=True),
    "parameters": Rule("smaller", "larger", 5, relative=True),
    "parameters that are not 0": Rule("smaller", "larger", 5, relative=True),
    "memory": Rule("smaller", "larger", 5, relative=True),
}


def rule(measure: str) -> Rule:
    """The rule of a measure, also of one that is named with its part: "accuracy, hardest third"."""
    return RULES[measure.split(", ")[0]]


def table() -> pd.DataFrame:
    """The rules as the page shows them."""
    rows = [
        (
            name,
            one.falls,
            one.rises,
            f"{one.matters:g}{' % of the original' if one.relative else ''}",
            one.neutral,
        )
        for name, one in RULES.items()
    ]
    return pd.DataFrame(rows, columns=["measure", "a fall is", "a rise is", "matters from", "no change is"])


def controls() -> pd.DataFrame:
    """What two trainings of one model differ by, as known from other models, in the units of the findings.

    Columns measure, set, task, value, low, high, chance, n, seeds, from ("micro world", "published: ..."). Of a change
    the limits are those of the difference of two trainings, of a pair those of its number, beside its chance level.
    """
    return pd.read_csv(Path(__file__).with_name("controls.csv"))


def judged(found: pd.DataFrame) -> pd.DataFrame:
    """Findings with corrected p-values, with controls of other models where there is none, and with verdicts."""
    known = controls()
    rows = found.assign(p_corrected=compare.corrected(found["p"]))
    rows = pd.DataFrame(
        [row | _control(row, known) for row in rows.to_dict("records")], columns=found.columns
    )
    return rows.assign(verdict=[verdict(row) for row in rows.to_dict("records")])


def verdict(row: Mapping[Any, Any]) -> str:
    """The verdict of one finding, as the module describes it; empty where there is nothing to hold a pair against."""
    one = rule(row["measure"])
    if row["topic"] == "cost":
        return _of_cost(row, one)
    return _of_change(row, one) if row["test"] and not one.agreement else _of_pair(row, one)


def allowed(row: Mapping[Any, Any]) -> float:
    """By how much two trainings may differ in a measure of change, NaN where that is not known."""
    limits = np.array([row["control_low"], row["control_high"]])
    return float(np.abs(limits - rule(row["measure"]).neutral).max())


def matters(row: Mapping[Any, Any]) -> float:
    """The size from which on a finding's change matters, in its unit."""
    one = rule(row["measure"])
    return one.matters * (row["original"] / 100 if one.relative else 1)


def _of_change(row: Mapping[Any, Any], one: Rule) -> str:
    value, low, high = (row[name] - one.neutral for name in ("value", "low", "high"))
    least = matters(row)
    if row["p_corrected"] < LEVEL and (low > 0 or high < 0):
        word = one.falls if value < 0 else one.rises
        if max(-low, high) < least:
            return word + SMALL
        within = WITHIN if row["control_from"] == SECOND else WITHIN_OTHERS
        return word + within if abs(value) <= allowed(row) else word
    return NO_CHANGE if row["resolves"] <= least else UNTOLD


def _of_cost(row: Mapping[Any, Any], one: Rule) -> str:
    value, low, high = (row[name] - one.neutral for name in ("value", "low", "high"))
    least = matters(row)
    if abs(value) >= least and (low > 0 or high < 0):
        return one.falls if value < 0 else one.rises
    return NO_CHANGE if max(-low, high) < least else UNTOLD


def _of_pair(row: Mapping[Any, Any], one: Rule) -> str:
    if not one.agreement:
        return ""
    by_chance = one.agreement > 0 and row["chance"] < 100  # two that are always right agree by chance, too
    if np.isnan(row["control"]):
        return BY_CHANCE if by_chance and row["high"] <= row["chance"] else ""
    differs = row["high"] < row["control_low"] or row["low"] > row["control_high"]
    if row["test"]:
        differs = row["p_corrected"] < LEVEL
    if not differs or one.agreement * (row["value"] - row["control"]) > 0:
        return ALIKE
    return BY_CHANCE if by_chance and row["low"] <= row["chance"] else BEYOND


def _control(row: Mapping[Any, Any], known: pd.DataFrame) -> dict[str, Any]:
    """Of a number of a whole set that has no control, the one of other models that allows for most change."""
    mine = known[(known["measure"] == row["measure"]) & (known["set"] == row["set"])]
    if row["part"] or pd.notna(row["control"]) or mine.empty:
        return {}
    agreement, limits = rule(row["measure"]).agreement, mine[["value", "low", "high"]]
    if agreement:
        limits = _carried(limits, mine["chance"], row["chance"], alike=100 if agreement > 0 else 0)
    room = -limits["low"] if agreement > 0 else limits["high"]
    widest = room.idxmax()
    told = {"control_from": f"{mine.loc[widest, 'from']}: {mine.loc[widest, 'task']}"}
    return dict(zip(("control", "control_low", "control_high"), limits.loc[widest], strict=True)) | told


def _carried(limits: pd.DataFrame, chance: "pd.Series[float]", here: float, *, alike: float) -> pd.DataFrame:
    """Numbers of a pair, carried to models of another accuracy: as far on the way from chance to alike.

    Two trainings of an accurate model say the same more often, and so do two models that know nothing of each other.
    """
    return alike + limits.sub(alike).div(chance - alike, axis=0) * (here - alike)
