"""The cells of paper 2's tables: sizes of a family, agreement of its pairs, accuracy under attack."""

from collections.abc import Mapping

from robust_lib import compare, published
from robust_lib.compare import Interval

SPELLINGS = {  # the paper's models under Table 2's names, which are ours: their names in Table 1 and in Table 3
    "BERT-large": ("BERT-large", "bert large"),
    "BERT-base": ("BERT-base", "bert"),
    "Distil-BERT": ("Distil BERT", "distil bert"),
    "BERT-medium": ("BERT medium", "medium bert"),
    "BERT-mini": ("BERT mini", "mini bert"),
    "Tiny-BERT": ("Tiny BERT", "tiny bert"),
}
SIZES = {
    "Layers": "layers",
    "Parameters (Million)": "parameters",
    "Embedding Dimension": "width",
    "Size (MB)": "megabytes",
}
OF_SETS = {  # columns of Table 2 for a kind of set, behind the name it is printed under: their units
    "": "Jaccard",
    ", chance": "Jaccard",
    ", overlap coefficient": "agreement",
    ", kappa": "agreement",
}
OF_NEIGHBOURS = {
    " Mean": "Jaccard",
    " Mean, chance": "Jaccard",
    " Variance": "variance",
    ", overlap coefficient": "agreement",
    ", kappa": "agreement",
    ", CKA": "agreement",
}
PAIR_UNITS = {  # every column of Table 2, the paper's and ours, in their order
    f"{characteristic}{measure}": unit
    for characteristic, measures in {
        "Prediction Errors": OF_SETS,
        "Data Representation before fine tuning": OF_NEIGHBOURS,
        "Data Representation after fine tuning": OF_NEIGHBOURS,
        "Data Distribution": OF_SETS,
    }.items()
    for measure, unit in measures.items()
}
MINIATURE_UNITS = {  # of columns of all three tables, for `paper_table`
    "Layers": "layer",
    "Embedding Dimension": "width",
    "Size (MB)": "megabyte",
    "% change in accuracy": "relative change",
    **PAIR_UNITS,
}


def family_cells(weights: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], Interval]:
    """The cells of Table 1 by row and column: by model, `layers`, millions of `parameters`, `width`, `megabytes`.

    Models are named as in Table 2 ("Distil-BERT"); any other keeps its name and stands behind. Raises ValueError for
    a model that lacks one of the four.
    """
    cells = {}
    for name in _family(weights):
        for column, size in SIZES.items():
            if size not in weights[name]:
                raise ValueError(
                    f"the weights of {name!r} lack {size!r}; there are {', '.join(weights[name])}"
                )
            cells[_spelt(name, 1), column] = compare.counted(weights[name][size])
    return cells


def pair_cells(intervals: Mapping[tuple[str, str, str], Interval]) -> dict[tuple[str, str], Interval]:
    """The cells of Table 2 by row and column, from intervals by first model, second model and column.

    A column is one of PAIR_UNITS: a printed one ("Prediction Errors") or one of ours that begins with it
    ("Prediction Errors, chance"). A pair stands under its printed name in whichever order it is given, as "Tiny-BERT /
    BERT-mini"; a pair that the paper has not ("BERT-large / BERT-large, another seed") stands behind those, as given.

    Raises ValueError for an unknown column and for a cell that is given in both orders.
    """
    printed = list(dict.fromkeys(published.table(2, "Table 2")["row"]))
    found: dict[tuple[str, str], Interval] = {}
    for (first, second, column), one in intervals.items():
        if column not in PAIR_UNITS:
            raise ValueError(f"no column {column!r} in Table 2; there are {', '.join(PAIR_UNITS)}")
        key = (f"{first} / {second}", column)
        if f"{second} / {first}" in printed:
            key = (f"{second} / {first}", column)
        if key in found:
            raise ValueError(f"{key[0]}, {key[1]}: given twice, once for each order of the pair; give one")
        found[key] = one
    rows = [*printed, *(row for row, _ in found if row not in printed)]
    return {
        (row, column): found[row, column]
        for row in dict.fromkeys(rows)
        for column in PAIR_UNITS
        if (row, column) in found
    }


def attack_cells(
    before: Mapping[str, Interval],
    after: Mapping[str, Interval],
    absolute: Mapping[str, Interval],
    relative: Mapping[str, Interval],
) -> dict[tuple[str, str], Interval]:
    """The cells of Table 3 by row and column: accuracy before and after the attack, and what is lost of it, by model.

    All are fractions of 1, as the paper prints them; the relative change becomes percent, as there. A loss is
    positive: 0.94 before and 0.56 after is a change of 0.38 and of 40 %. Models as in `family_cells`.
    """
    columns = {
        "Original accuracy": before,
        "After attack accuracy": after,
        "Absolute change in accuracy": absolute,
        "% change in accuracy": {name: one.times(100) for name, one in relative.items()},
    }
    return {
        (_spelt(name, 3), column): mine[name]
        for name in _family([*before, *after, *absolute, *relative])
        for column, mine in columns.items()
        if name in mine
    }


def _family(names: Mapping[str, object] | list[str]) -> list[str]:
    """The paper's models in its order, then others in order of appearance."""
    return list(dict.fromkeys([*(name for name in SPELLINGS if name in names), *names]))


def _spelt(name: str, table: int) -> str:
    one, three = SPELLINGS.get(name, (name, name))
    return one if table == 1 else three
