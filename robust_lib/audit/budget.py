"""How much of an audit fits into so many minutes: the paces that were measured, the samples they allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

# Of the time, for what every model says of the test set, of the OOD set, and for its vectors; attacks take the rest.
SHARES = {"test": 0.35, "ood": 0.15, "vectors": 0.15}
LEAST = {"test": 100, "ood": 100, "vectors": 100, "attack": 20}  # below this nothing is resolved
MOST = {"vectors": 5000, "attack": 1000}  # beyond it other things limit what is known
TIMED = 0.05  # of the time, for speed and memory


@dataclass(frozen=True)
class Sizes:
    """Rows taken of the test set and of the OOD set, rows with vectors, rows attacked; 0 of what is not there.

    `seconds` is what they should take in one process.
    """

    test: int
    ood: int
    vectors: int
    attack: int
    seconds: float


def sizes(minutes: float, rows: Mapping[str, int], paces: Mapping[str, float]) -> Sizes:
    """The samples that fit into `minutes`, by the seconds that a row takes of all models together.

    `rows` and `paces` by what is done: test, ood, vectors, attack; what lacks a pace is not done. Each takes its share,
    all its rows if that is less, and hands on what it leaves, attacks last. A sample is a round number (1, 2, 5, 10,
    ...), at least LEAST of it: a small budget is overrun, never a number without meaning.
    """
    left = 60 * minutes * (1 - TIMED)
    weights = SHARES | {"attack": 1 - TIMED - sum(SHARES.values())}
    chosen: dict[str, int] = {}
    names = [name for name in weights if paces.get(name, 0) > 0 and rows.get(name, 0) > 0]
    for place, name in enumerate(names):
        share = weights[name] / sum(weights[other] for other in names[place:])
        most = min(rows[name], MOST.get(name, rows[name]))
        fits = max(1, int(left * share / paces[name]))
        chosen[name] = most if fits >= most else min(most, max(LEAST[name], _round(fits)))
        left -= chosen[name] * paces[name]
    spent = sum(count * paces[name] for name, count in chosen.items())
    return Sizes(**{name: chosen.get(name, 0) for name in weights}, seconds=spent)


def _round(count: int) -> int:
    """The largest of 1, 2, 5, 10, 20, 50, ... that is not above a count."""
    power: int = 10 ** (len(str(count)) - 1)
    return max(factor * power for factor in (1, 2, 5) if factor * power <= count)


RESOLVED = {  # what is said of a sample: the measure whose smallest visible change stands for it
    "test": ("accuracy", "test"),
    "ood": ("accuracy", "ood"),
    "attack": ("accuracy after attack", "test"),
}


def told(taken: Sizes, minutes: float, rows: Mapping[str, int], findings: pd.DataFrame) -> list[str]:
    """What was sampled of how much, and the smallest change each sample shows with 80 % power, a line each."""
    found = findings[findings["part"] == ""].set_index(["measure", "set"])["resolves"]
    lines = []
    for name, (measure, of) in RESOLVED.items():
        if count := getattr(taken, name):
            known, seen = found.get((measure, of), np.nan), ""
            if pd.notna(known):
                seen = f": a change of {measure} of {known:.1f} points is seen in four cases of five, before correction"
            lines.append(f"{name}: {count:,} of {rows[name]:,} rows{seen}")
    if taken.vectors:
        lines.append(f"vectors: {taken.vectors:,} of {rows['vectors']:,} rows")
    spent = timedelta(seconds=round(taken.seconds))
    over = "; the least that says anything takes longer" if taken.seconds > 60 * minutes else ""
    return [
        *lines,
        f"{minutes:g} minutes were given, {spent} were planned on one core, without speed and memory{over}",
    ]
