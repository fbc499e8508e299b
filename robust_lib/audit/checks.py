"""What is wrong with models, sets and slices before any number of a page is believed: found, named, never averaged.

Each check returns a Problem, or None where there is nothing to say; AuditError where no audit is possible. Frames are
predictions frames as in `metrics`; rows that hold a NaN are for `not_finite` alone, the others pass over them.
"""

import ast
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import linear_sum_assignment
from statsmodels.stats.inter_rater import cohens_kappa

from robust_lib import metrics
from robust_lib.audit.problems import AuditError, Problem

# Labels are swapped where answers agree less than by chance, by so many standard errors of Cohen's kappa ...
BELOW = 3.0
# ... and under a permutation more: by as many as independent answers show once in 10,000 audits, all pairs together ...
ALARM = 1e-4
AGREED = 0.2  # ... and by so much, with kappa 0 at chance and 1 for equal answers
GOLD = "gold: "  # how the slices of the gold classes are called
SMALL = 30  # rows of a slice, below which an accuracy of 80 % is known to 15 points only
MANY = 10  # values of a column of numbers, above which it is cut into thirds
MOST = 20  # values of a column of names, above which it makes no slices


def swapped(original: pd.DataFrame, compressed: pd.DataFrame, *, where: str = "compressed") -> Problem | None:
    """Labels of the compressed (or second) model, called `where`, that stand in another order than the original's.

    The permutation of the most agreements is looked at cycle by cycle, each within the classes that it moves. It counts
    where agreement is below chance, that of independent answers with these marginals, and as permuted above it (see
    `BELOW`, `ALARM`, `AGREED`). A poor or constant model agrees by chance, not less.
    """
    other = _finite(compressed).set_index("id")
    own = _finite(original).set_index("id")
    ids = own.index.intersection(other.index)
    said, answered = (_said(frame.loc[ids]) for frame in (own, other))
    classes = _classes(compressed)
    meant = _swaps(said, answered, classes)
    if not meant:
        return None
    model, blamed, fix = where, classes, meant
    if _swaps(own["gold"].to_numpy(dtype=object), _said(own), classes) and not _swaps(
        other["gold"].to_numpy(dtype=object), _said(other), classes
    ):  # the gold labels say which of the two it is
        model, blamed, fix = "original", _classes(original), {b: a for a, b in meant.items()}
    return _swap(model, "the two models agree", said, answered, meant, blamed, fix)


def mislabelled(predictions: pd.DataFrame, where: str) -> Problem | None:
    """Labels of one model that stand in another order than the gold labels say; by the rule of `swapped`.

    Not for test sets that are made to mislead (HANS, PAWS): a model may be wrong on them more often than by chance.
    """
    frame, classes = _finite(predictions), _classes(predictions)
    gold, said = frame["gold"].to_numpy(dtype=object), _said(frame)
    meant = _swaps(gold, said, classes)
    return _swap(where, "the model is right", gold, said, meant, classes, meant) if meant else None


def _swap(
    where: str,
    what: str,
    first: NDArray[np.object_],
    second: NDArray[np.object_],
    meant: Mapping[str, str],
    classes: Sequence[str],
    fix: Mapping[str, str],
) -> Problem:
    both = np.isin(first, list(meant)) & np.isin(second, list(meant))
    first, second = first[both], second[both]
    mapped = np.array([meant[name] for name in second], dtype=object)
    chance = sum(np.mean(first == name) * np.mean(second == name) for name in meant)
    pairs = ", ".join(f"{name}: {other}" for name, other in fix.items())
    told = (
        f"{what} on {np.mean(first == second):.1%} of the {len(first)} rows within {', '.join(sorted(meant))}, where "
        f"chance is {chance:.1%}; with {{{pairs}}} it would be {np.mean(first == mapped):.1%}"
    )
    order = ", ".join(fix.get(name, name) for name in classes)
    remedy = f"name the outputs of the {where} model in their true order: `labels: [{order}]`"
    return Problem("swapped labels", where, told, remedy)


def _swaps(first: NDArray[np.object_], second: NDArray[np.object_], classes: Sequence[str]) -> dict[str, str]:
    """What each misnamed class of the second means in the first: cycles of the best permutation below chance."""
    codes = {name: number for number, name in enumerate(classes)}
    table = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for (one, other), count in Counter(zip(first, second, strict=True)).items():
        if one in codes and other in codes:
            table[codes[one], codes[other]] = count
    rows, columns = linear_sum_assignment(table, maximize=True)
    best = dict(zip(columns.tolist(), rows.tolist(), strict=True))
    enough = stats.norm.isf(ALARM / math.comb(len(classes), 2))
    meant: dict[str, str] = {}
    while best:
        cycle = [next(iter(best))]
        while (following := best.pop(cycle[-1])) != cycle[0]:
            cycle.append(following)
        moved = [*cycle[1:], cycle[0]]
        if len(cycle) > 1 and _is_swapped(table[np.ix_(cycle, cycle)], table[np.ix_(moved, cycle)], enough):
            meant |= {classes[a]: classes[b] for a, b in zip(cycle, moved, strict=True)}
    return meant


def _is_swapped(table: NDArray[np.int64], permuted: NDArray[np.int64], enough: float) -> bool:
    """Whether two models' answers agree less than by chance on the diagonal of the first, and more on the second's."""
    if table.sum() < SMALL or min(table.any(axis=0).sum(), table.any(axis=1).sum()) < 2:
        return False  # too few for a normal approximation; or one always says the same, and chance is all there is
    with np.errstate(invalid="ignore"):  # a variance that is not asked for may round below 0
        as_named, as_meant = cohens_kappa(table), cohens_kappa(permuted)
    return bool(
        as_named.kappa <= -BELOW * as_named.std_kappa0
        and as_meant.kappa >= max(AGREED, enough * as_meant.std_kappa0)
    )


def not_finite(predictions: pd.DataFrame, where: str) -> Problem | None:
    """Rows whose outputs are NaN or infinite: what is compared goes without them."""
    bad = predictions.loc[~_is_finite(predictions), "id"]
    if bad.empty:
        return None
    told = f"{len(bad)} of {len(predictions)} rows have an output that is no finite number: {_ids(bad)}"
    return Problem(
        "outputs not finite", where, told, "look at these texts alone; half precision may overflow"
    )


def other_classes(original: Sequence[str], other: Sequence[str]) -> Problem | None:
    """Other classes are an AuditError; the same in another order are told, for classes are matched by name."""
    if set(original) != set(other):
        remedy = "they must be models of the same task"
        if len(original) == len(other):
            remedy = (
                f"if they mean the same, name the outputs in their order: `labels: [{', '.join(original)}]`"
            )
        raise AuditError(
            f"the original has {len(original)} classes ({', '.join(original)}), the other model {len(other)} "
            f"({', '.join(other)}): {remedy}"
        )
    if list(original) == list(other):
        return None
    told = f"the original has its outputs in the order {', '.join(original)}; the other {', '.join(other)}"
    return Problem("classes in another order", "models", told, "nothing: classes are matched by name")


def other_tokenizers(original: str | None, other: str | None) -> Problem | None:
    """Two models that read other tokens; None for a model that does not tell."""
    if original is None or other is None or original == other:
        return None
    told = "the two models cut texts into other tokens: the same limit of tokens keeps more of a text in one of them"
    return Problem("other tokenizers", "models", told, "nothing: models are compared by text, not by token")


def leaked(
    test: "pd.Series[Any]", train: "pd.Series[Any]", *, where: str = "test", of: str = "train"
) -> tuple["pd.Index[Any]", Problem | None]:
    """Rows of one set that stand in another, too: their ids, and the Problem.

    Both hold tuples of texts by id (see `points`). Texts are the same but for case, punctuation and spaces.
    """
    exact = test.isin(set(train))
    same = test.map(_normalised).isin(set(train.map(_normalised)))
    ids = test.index[same]
    if ids.empty:
        return ids, None
    others = ", the others but for case, punctuation and spaces" if exact.sum() < len(ids) else ""
    told = (
        f"{len(ids)} of {len(test)} rows stand in the {of} set, too, {int(exact.sum())} of them letter by letter"
        f"{others}: {_ids(ids.to_series())}"
    )
    remedy = (
        "read the accuracy without these rows; models that learned them by heart look better than they are"
    )
    return ids, Problem("leaked rows" if of == "train" else "shared rows", where, told, remedy)


def points(frame: pd.DataFrame, text: Sequence[str]) -> "pd.Series[Any]":
    """The texts of each row as one tuple, by the frame's index."""
    return pd.Series(
        list(frame[list(text)].itertuples(index=False, name=None)), index=frame.index, dtype=object
    )


def _normalised(texts: tuple[str, ...]) -> tuple[str, ...]:
    plain = (re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()) for text in texts)
    # A text of signs only is no other text of signs only.
    return tuple(" ".join(words) or text for words, text in zip(plain, texts, strict=True))


def constant(predictions: pd.DataFrame, where: str) -> Problem | None:
    """A model that gives every text the same label."""
    said = set(_said(_finite(predictions)))
    if len(said) != 1:
        return None
    told = f"all {len(predictions)} rows are {said.pop()!r}: its accuracy is that class's share"
    return Problem(
        "constant answers", where, told, "check that its weights were loaded and its labels are right"
    )


def absent(predictions: pd.DataFrame, where: str) -> Problem | None:
    """Classes of the model that no gold label of the set has."""
    gold = set(predictions["gold"])
    missing = [name for name in _classes(predictions) if name not in gold]
    if not missing or metrics.HANS[1] in gold:
        return None
    told = f"no row has the gold label {', '.join(missing)}: what models do on it is not seen"
    return Problem(
        "classes without rows", where, told, "add rows of it, or read the numbers as those of the others"
    )


def one_class(gold: "pd.Series[Any]", parts: Mapping[str, "pd.Series[bool]"]) -> Problem | None:
    """Slices, other than the gold classes themselves, all of whose rows have one gold label; `gold` and parts by id."""
    found = [
        name for name, inside in parts.items() if not name.startswith(GOLD) and gold[inside].nunique() == 1
    ]
    if not found:
        return None
    told = f"every row has the same gold label in {', '.join(found)}"
    remedy = "read accuracy there as that on one class: it has no chance level, and answering it always reaches 100 %"
    return Problem("one-class slices", "slices", told, remedy)


def small(parts: Mapping[str, "pd.Series[bool]"]) -> Problem | None:
    """Slices of less than `SMALL` rows."""
    found = [f"{name} ({inside.sum()})" for name, inside in parts.items() if inside.sum() < SMALL]
    if not found:
        return None
    told = f"less than {SMALL} rows in {', '.join(found)}"
    return Problem(
        "small slices",
        "slices",
        told,
        "read their intervals, not their numbers, or add rows; those of less than 20 rows are left out",
    )


def slices(
    frame: pd.DataFrame, wanted: Sequence[str], *, text: Sequence[str]
) -> dict[str, "pd.Series[bool]"]:
    """Which rows of a table's frame are in each part, by the part's name, "slice: value".

    Always the gold classes ("gold: ...") and thirds by length ("length in words: ..."). `wanted` are columns, which
    make a part of every value (numbers of more than `MANY` values: thirds), and queries in pandas' syntax, which make
    the two parts "...: yes" and "...: no". A query compares columns with values and columns (==, <, in, and, or, not,
    + - * / %) and may ask column.str.contains, .startswith, .endswith and .len; names with spaces stand in backticks.
    AuditError for an unknown column and for a query of anything else, which is not run.
    """
    length = frame[list(text)].map(lambda cell: len(cell.split())).sum(axis=1)
    found = _values("gold", frame["label"]) | _thirds("length in words", length)
    for one in wanted:
        if one in frame:
            found |= _column(one, frame[one])
        else:
            inside = _asked(frame, one)
            found |= {f"{one}: yes": inside, f"{one}: no": ~inside}
    return found


def _column(name: str, values: "pd.Series[Any]") -> dict[str, "pd.Series[bool]"]:
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > MANY:
        return _thirds(name, values)
    if values.nunique() > MOST:
        raise AuditError(
            f"slice {name!r}: the column has {values.nunique()} values, a slice at most {MOST}: write a query, such as "
            f"`{name} == {str(values.dropna().iloc[0])[:30]!r}`"
        )
    return _values(name, values)


def _values(name: str, values: "pd.Series[Any]") -> dict[str, "pd.Series[bool]"]:
    """A part of every value, and one of the rows without, where there are any."""
    known, missing = sorted(values.dropna().unique()), values.isna()
    found = {
        f"{name}: {value:g}" if isinstance(value, float) else f"{name}: {value}": values == value
        for value in known
    }
    return found | ({f"{name}: none": missing} if known and missing.any() else {})


def _thirds(name: str, values: "pd.Series[Any]") -> dict[str, "pd.Series[bool]"]:
    """Three parts as equal as ties allow, fewer where most rows have one value; and one of the rows without a value."""
    cut = pd.cut(values, [-np.inf, *sorted(set(values.quantile([1 / 3, 2 / 3]))), np.inf])
    parts = {part: cut == part for part in cut.cat.categories}
    found = {
        f"{name}: {values[inside].min():g} to {values[inside].max():g}": inside
        for inside in parts.values()
        if inside.any()
    }
    return found | ({f"{name}: none": values.isna()} if values.isna().any() else {})


def _asked(frame: pd.DataFrame, query: str) -> "pd.Series[bool]":
    """The rows that a query is true of."""
    quoted = {
        name: f"column_in_backticks_{number}" for number, name in enumerate(frame) if f"`{name}`" in query
    }
    plain = query.strip()
    for name, stand_in in quoted.items():
        plain = plain.replace(f"`{name}`", stand_in)
    named = frame.rename(columns=quoted)
    try:
        tree = ast.parse(plain, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise AuditError(
            f"slice {query!r}: neither a column nor a query; the columns are {', '.join(map(str, frame))}"
        ) from None
    _allow(tree.body, query, set(named), list(frame))
    try:
        inside = named.eval(plain, engine="python")
    except Exception as error:  # of pandas and what it calls: a text compared with a number, a bad pattern
        raise AuditError(f"slice {query!r}: cannot be asked ({str(error)[:200]})") from None
    if not isinstance(inside, pd.Series) or not pd.api.types.is_bool_dtype(inside):
        raise AuditError(f"slice {query!r}: is no yes or no for each row: compare it with something")
    return inside.fillna(False).astype(bool)


def _allow(tree: ast.expr, query: str, known: set[Any], columns: Sequence[Any]) -> None:
    """AuditError for all but comparisons of columns and values, and `_TESTS`: pandas would run any method."""
    tests = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_test(node)]
    fine = {id(part) for node in tests for part in (node, node.func, getattr(node.func, "value", None))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in known:
            raise AuditError(
                f"slice {query!r}: no column {node.id!r}; there are {', '.join(map(str, columns))}"
            )
        if id(node) not in fine and not isinstance(node, _GRAMMAR):
            part = ast.unparse(node)[:60] or type(node).__name__
            raise AuditError(
                f"slice {query!r}: {part!r} is not allowed: a query compares columns with ==, <, in, "
                f"and, or, not, and may ask column.str.{', .'.join(_TESTS)}"
            )


def _is_test(node: ast.Call) -> bool:
    """Whether a call is column.str.<one of the tests>(...)."""
    match node.func:
        case ast.Attribute(ast.Attribute(ast.Name(), "str"), name):
            return name in _TESTS
    return False


_TESTS = ("contains", "startswith", "endswith", "len")
_GRAMMAR = (
    *(ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare, ast.boolop, ast.unaryop, ast.cmpop, ast.expr_context),
    *(ast.BitAnd, ast.BitOr, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod),
    *(ast.Name, ast.Constant, ast.List, ast.Tuple, ast.keyword),
)


def _finite(predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions[_is_finite(predictions)]


def _is_finite(predictions: pd.DataFrame) -> "pd.Series[bool]":
    logits = predictions[[f"logit_{name}" for name in _classes(predictions)]]
    return pd.Series(np.isfinite(logits.to_numpy(dtype=np.float64)).all(axis=1), index=predictions.index)


def _classes(predictions: pd.DataFrame) -> list[str]:
    names = map(str, predictions.columns)
    return [name.removeprefix("logit_") for name in names if name.startswith("logit_")]


def _said(predictions: pd.DataFrame) -> NDArray[np.object_]:
    """The class each row is given, by name."""
    classes = _classes(predictions)
    logits = predictions[[f"logit_{name}" for name in classes]].to_numpy(dtype=np.float64)
    return np.asarray(np.array(classes, dtype=object)[logits.argmax(axis=1)])


def _ids(ids: "pd.Series[Any]", most: int = 5) -> str:
    shown = ", ".join(f"id {value}" for value in ids.iloc[:most])
    return shown if len(ids) <= most else f"{shown} and {len(ids) - most} more"
