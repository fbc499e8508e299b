"""Models ranked on one test bed, with letters that say which cannot be told apart."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from string import ascii_letters

import numpy as np
import pandas as pd

from robust_lib.compare.accuracies import accuracy
from robust_lib.compare.intervals import Arm, CompareError, Draws
from robust_lib.compare.significance import difference_test


def ranking(
    arms: Mapping[str, Arm], *, ascending: bool = False, generator: Draws = 0, level: float = 0.95
) -> pd.DataFrame:
    """Models by their mean with significance groups, the best first; the lowest is best where `ascending`.

    Columns: model, value, low, high, n, seeds, groups (letters). All pairs are tested by `difference_test`, with
    Holm's correction: with probability `level` no two models that are equal are said to differ. Models that share a
    letter cannot be told apart, which is not to say that they are equal. Raises CompareError for arms of several test
    beds or items, and for accuracy against F1.
    """
    rows = []
    for model, arm in arms.items():
        one = accuracy(arm, generator=generator, level=level)
        rows.append((model, one.value, one.low, one.high, one.n, one.seeds))
    frame = pd.DataFrame(rows, columns=["model", "value", "low", "high", "n", "seeds"])
    frame = frame.sort_values("value", ascending=ascending, kind="stable", ignore_index=True)
    pairs = list(combinations(frame["model"], 2))
    p_values = [difference_test(arms[one], arms[two]) for one, two in pairs]
    return frame.assign(groups=letters(list(frame["model"]), _apart(pairs, p_values, level)))


def letters(models: list[str], apart: Iterable[tuple[str, str]]) -> list[str]:
    """Compact letter display: the letters of each model, such that just the pairs `apart` share none.

    By inserting and absorbing (Piepho 2004): each letter is a largest set of models of which no two are apart, and
    letters follow the order of the models. Raises CompareError where the 52 letters do not suffice.
    """
    groups = [frozenset(models)]
    for pair in apart:
        split = [group - {one} if group.issuperset(pair) else group for group in groups for one in pair]
        distinct = list(dict.fromkeys(split))
        groups = [group for group in distinct if not any(group < other for other in distinct)]
    place = {model: i for i, model in enumerate(models)}
    groups.sort(key=lambda group: sorted(map(place.__getitem__, group)))
    if len(groups) > len(ascii_letters):
        raise CompareError(
            f"{len(models)} models fall into {len(groups)} groups; there are {len(ascii_letters)} letters"
        )
    return [
        "".join(x for x, group in zip(ascii_letters, groups, strict=False) if model in group)
        for model in models
    ]


def _apart(
    pairs: Sequence[tuple[str, str]], p_values: Sequence[float], level: float
) -> list[tuple[str, str]]:
    """The pairs that differ: from the smallest p up to the first above (1 - level) / tests left (Holm 1979)."""
    order = np.argsort(p_values)
    passed = np.take(p_values, order) * np.arange(len(pairs), 0, -1) <= 1 - level
    return [pairs[i] for i in order[: len(pairs) if passed.all() else passed.argmin()]]
