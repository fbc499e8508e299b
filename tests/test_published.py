"""The papers' printed numbers: each derived one follows from its inputs, or is listed as not doing so.

A derived number follows if the range that its inputs allow, given their rounding, meets the range that its
own rounding allows. Numbers printed with "around", "roughly" or "nearly" are left out.
"""

import itertools
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from robust_lib import published

DATA = os.environ.get("ROBUST_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="needs the real data of ROBUST_DATA")


class Range(NamedTuple):
    low: float
    high: float

    def meets(self, other: "Range") -> bool:
        return self.low <= other.high + 1e-9 and other.low <= self.high + 1e-9


class Check(NamedTuple):
    """One printed cell and the range its inputs allow."""

    kind: str
    paper: int
    item: str
    row: str
    column: str
    allowed: Range


ITEMS = published.items()
NUMBERS = pd.concat([published.table(*key) for key in zip(ITEMS["paper"], ITEMS["item"], strict=True)])
CELLS = NUMBERS.set_index(["paper", "item", "row", "column"]).sort_index()


def value(paper: int, item: str, row: str, column: str) -> float:
    return float(CELLS.loc[(paper, item, row, column), "printed"])


def rounded(paper: int, item: str, row: str, column: str) -> Range:
    """Where the number behind the print lies."""
    cell = CELLS.loc[(paper, item, row, column)]
    return Range(cell["printed"] - cell["rounding"], cell["printed"] + cell["rounding"])


def image(function: Callable[..., float], *inputs: Range) -> Range:
    """Range of a function that is monotone in each input."""
    corners = [function(*corner) for corner in itertools.product(*inputs)]
    return Range(min(corners), max(corners))


def rows(paper: int, item: str) -> list[str]:
    return list(published.table(paper, item)["row"].unique())


# --- paper 1 ---


def mnli_bias(dev: float, hans: float, base_dev: float, base_hans: float) -> float:
    return (1 - hans / dev) / (1 - base_hans / base_dev)


def fever_bias(dev: float, s1: float, s2: float, base_dev: float, b1: float, b2: float) -> float:
    return mnli_bias(dev, (s1 + s2) / 2, base_dev, (b1 + b2) / 2)


def qqp_bias(dev: float, wiki: float, qqp: float, base_dev: float, b1: float, b2: float) -> float:
    return mnli_bias(dev, (8000 * wiki + 677 * qqp) / 8677, base_dev, (8000 * b1 + 677 * b2) / 8677)


BIASES = {
    "MNLI": (mnli_bias, ["DEV", "HANS"]),
    "FEVER": (fever_bias, ["DEV", "Sym1", "Sym2"]),
    "QQP": (qqp_bias, ["DEV", "paws_wiki", "paws_qqp"]),
}


def relative_biases() -> Iterator[Check]:
    for item in ("Table 1", "Table 2", "Table 3", "Table 4", "Table 5"):
        tasks = ["MNLI"] if item == "Table 3" else list(BIASES)
        for row, task in itertools.product(rows(1, item)[1:], tasks):
            function, columns = BIASES[task]
            inputs = [rounded(1, item, r, f"{task} {c}") for r in (row, "BERT-base") for c in columns]
            yield Check("derived", 1, item, row, f"{task} F_bias", image(function, *inputs))


def average_biases() -> Iterator[Check]:
    for item in ("Table 1", "Table 2", "Table 4", "Table 5"):
        for row in rows(1, item)[1:]:
            tasks = [rounded(1, item, row, f"{task} F_bias") for task in BIASES]
            yield Check("derived", 1, item, row, "Average F_bias", image(lambda *f: sum(f) / 3, *tasks))


def pruned_sizes() -> Iterator[Check]:
    for item in ("Table 1", "Table 4"):
        dense = rounded(1, item, "BERT-base", "#Param")
        for row in rows(1, item)[1:]:
            kept = 1 - int(row.partition("%")[0]) / 100
            yield Check("derived", 1, item, row, "#Param", image(lambda n, kept=kept: n * kept, dense))
    heads = value(1, "Table 3", "BERT-base", "Attention heads")
    heads -= value(1, "Section 3.1", "structured pruning", "attention heads pruned")
    for row in rows(1, "Table 3")[1:]:
        yield Check("derived", 1, "Table 3", row, "Attention heads", Range(heads, heads))


def small_sizes() -> Iterator[Check]:
    stated = value(1, "Section 3.1", "compressed models", "parameters")
    for item in ("Table 2", "Table 5"):
        for row in rows(1, item)[1:]:
            yield Check("repeated", 1, item, row, "#Param", Range(stated, stated))


def easy_and_hard() -> Iterator[Check]:
    n_easy = value(1, "Appendix F", "MNLI easy subset", "samples")
    n_hard = value(1, "Appendix F", "MNLI hard subset", "samples")
    n = value(1, "Appendix B", "MNLI", "development samples")
    both = Range(n_easy + n_hard, n_easy + n_hard)
    yield Check("count", 1, "Appendix B", "MNLI", "development samples", both)
    for row in rows(1, "Table 6"):
        easy, hard = (rounded(1, "Table 6", row, f"MNLI {c}") for c in ("Easy (E)", "Hard (H)"))
        yield Check("derived", 1, "Table 6", row, "MNLI Gap (E-H)", image(lambda e, h: e - h, easy, hard))
        unassigned = Range(0, 100)  # accuracy on the samples in neither subset
        dev = image(
            lambda e, h, u: (n_easy * e + n_hard * h + (n - n_easy - n_hard) * u) / n, easy, hard, unassigned
        )
        yield Check("derived", 1, "Table 6", row, "MNLI DEV", dev)


def differences_in_the_text() -> Iterator[Check]:
    def drop(item: str, row: str, column: str) -> Range:
        inputs = rounded(1, item, "BERT-base", column), rounded(1, item, row, column)
        return image(lambda base, own: base - own, *inputs)

    def cut(item: str, row: str, vanilla: str, column: str) -> Range:
        inputs = rounded(1, item, row, column), rounded(1, item, vanilla, column)
        return image(lambda own, other: 100 * (1 - own / other), *inputs)

    pruning = "iterative magnitude pruning"
    for column in ("HANS", "DEV"):
        allowed = drop("Table 1", "70%", f"MNLI {column}")
        yield Check("derived", 1, "Section 3.5", pruning, f"MNLI {column} degradation", allowed)
        allowed = drop("Table 2", "DistilBERT", f"MNLI {column}")
        yield Check("derived", 1, "Section 3.5", "DistilBERT", f"MNLI {column} drop", allowed)
    for item, model in (("Table 4", "40%"), ("Table 5", "MiniLM")):
        allowed = cut(item, f"{model} – RMC", f"{model} – Vanilla", "Average F_bias")
        column = "reduction of Average F_bias over Vanilla"
        yield Check("derived", 1, "Section 6.3", f"{model} – RMC", column, allowed)
        allowed = cut("Table 6", f"{model}–RMC", f"{model}–Vanilla", "MNLI Gap (E-H)")
        column = "reduction of MNLI Gap (E-H) over Vanilla"
        yield Check("derived", 1, "Section 6.4", f"{model}–RMC", column, allowed)


# --- paper 2 ---

REVIEWS = 999  # the only number up to 1,000 of which all six original accuracies are multiples; tested below


def attack_changes() -> Iterator[Check]:
    for row in rows(2, "Table 3"):
        original, after = (rounded(2, "Table 3", row, f"{c} accuracy") for c in ("Original", "After attack"))
        change = image(lambda o, a: o - a, original, after)
        yield Check("derived", 2, "Table 3", row, "Absolute change in accuracy", change)
        absolute = rounded(2, "Table 3", row, "Absolute change in accuracy")
        relative = image(lambda c, o: 100 * c / o, absolute, original)
        yield Check("derived", 2, "Table 3", row, "% change in accuracy", relative)
    relative = rounded(2, "Table 3", "bert large", "% change in accuracy")
    yield Check("derived", 2, "Section 6", "BERT-large", "degradation", relative)


def attack_counts() -> Iterator[Check]:
    yield Check("count", 2, "Section 2", "IMDb", "test samples used", Range(REVIEWS, REVIEWS))
    for row, column in itertools.product(rows(2, "Table 3"), ("Original accuracy", "After attack accuracy")):
        nearest = round(value(2, "Table 3", row, column) * REVIEWS) / REVIEWS
        yield Check("count", 2, "Table 3", row, column, Range(nearest, nearest))


# --- the same number printed twice ---


def repetitions() -> Iterator[Check]:
    pairs = [(1, "Table 1", "BERT-base", f"Table {n}", "BERT-base") for n in (2, 3, 4, 5)]
    pairs += [(1, "Table 1", "40%", "Table 4", "40% – Vanilla")]
    pairs += [(1, "Table 2", "MiniLM", "Table 5", "MiniLM – Vanilla")]
    for model, method in itertools.product(("40%", "MiniLM"), ("Vanilla", "RMC")):
        item = "Table 4" if model == "40%" else "Table 5"
        pairs.append((1, item, f"{model} – {method}", "Table 6", f"{model}–{method}"))
    pairs += [(1, "Table 6", "40%–Vanilla", "Figure 1", "sparsity 0.4")]
    alike = ("Teacher", "Head Prune", "Q8-QAT", "Q8-PTQ", "BERT-PKD")
    pairs += [(3, "Table 1", row, "Table 2", row) for row in alike]
    pairs += [(3, "Table 1", "BERT-of-Theseus", "Table 2", "Theseus")]
    for paper, item, row, later, later_row in pairs:
        first = published.table(paper, item).query("row == @row")
        again = published.table(paper, later).query("row == @later_row")
        shared = first[first["column"].isin(again["column"])]
        assert len(shared) > 0, (paper, item, row, later)
        for column, printed in zip(shared["column"], shared["printed"], strict=True):
            yield Check("repeated", paper, later, later_row, column, Range(printed, printed))


SAME = [  # (paper, where first, where again)
    (1, ("Section 6.1", "all experiments", "λ"), ("Appendix C", "Distil and Smooth", "λ")),
    (1, ("Figure 1", "pruned models", "sparsity levels"), ("Section 5.1", "variance of the losses", "n")),
    (
        1,
        ("Section 4.1", "variance over pruned models", "sparsity levels"),
        ("Section 5.1", "variance of the losses", "sparsity levels"),
    ),
    (1, ("Figure 1", "pruned models", "lowest sparsity"), ("Figure 2", "first stage", "lowest sparsity")),
    (1, ("Figure 1", "pruned models", "highest sparsity"), ("Figure 2", "first stage", "highest sparsity")),
    (3, ("Section 4.2", "Teacher", "learning rate"), ("Appendix A", "Teacher", "Learning rate")),
    (3, ("Section 4.2", "Teacher", "batch size"), ("Appendix A", "Teacher", "Batch size")),
    (3, ("Section 4.2", "Teacher", "warm-up steps"), ("Appendix A", "Teacher", "Warm-up steps")),
    (3, ("Section 5", "KD", "temperature"), ("Appendix A", "Head Prune + KD", "Temperature")),
    (3, ("Section 5", "KD", "temperature"), ("Appendix A", "Q8 + KD", "Temperature")),
    (3, ("Section 5", "KD", "temperature"), ("Appendix A", "BERT-of-Theseus + KD", "Temperature")),
]


def repeated_settings() -> Iterator[Check]:
    for paper, first, again in SAME:
        printed = value(paper, *first)
        yield Check("repeated", paper, *again, Range(printed, printed))


CHECKS = [
    *relative_biases(),
    *average_biases(),
    *pruned_sizes(),
    *small_sizes(),
    *easy_and_hard(),
    *differences_in_the_text(),
    *attack_changes(),
    *attack_counts(),
    *repetitions(),
    *repeated_settings(),
]


def agrees(check: Check) -> bool:
    cell = check.paper, check.item, check.row, check.column
    if check.kind == "repeated":
        return value(*cell) == check.allowed.low
    return rounded(*cell).meets(check.allowed)


# --- tests ---


def test_exactly_the_listed_cells_disagree_with_the_rest_of_their_paper() -> None:
    found = {(c.kind, c.paper, c.item, c.row, c.column): c.allowed for c in CHECKS if not agrees(c)}
    listed = published.disagreements()
    keys = list(listed[["kind", "paper", "item", "row", "column"]].itertuples(index=False, name=None))
    assert sorted(keys) == sorted(found)
    for key, entry in zip(keys, listed.itertuples(), strict=True):
        assert (entry.low, entry.high) == pytest.approx(found[key], abs=6e-5), key
        assert entry.printed_text == CELLS.loc[key[1:], "printed_text"]
        assert entry.reason


def test_every_derived_cell_of_a_table_is_recomputed() -> None:
    derived = NUMBERS["metric"].isin(["relative_bias", "easy_hard_gap", "absolute_change", "relative_change"])
    cells = NUMBERS[derived & NUMBERS["item"].str.startswith("Table")][["paper", "item", "row", "column"]]
    recomputed = {check[1:5] for check in CHECKS if check.kind == "derived"}
    assert set(cells.itertuples(index=False, name=None)) <= recomputed
    assert len(cells) == 3 * 4 * 4 + 3 + 2 * 6 * 4 - 4 * 4 + 4 + 2 * 6


def test_the_ranges_are_narrow_enough_to_notice_a_wrong_digit() -> None:
    """An error in the second digit after the point of an F_bias, or in the first of a gap, would be found."""
    for check in relative_biases():
        assert check.allowed.high - check.allowed.low < 0.03, check
        off = Range(check.allowed.high + 0.01, check.allowed.high + 0.011)
        assert not check.allowed.meets(off)
    for check in easy_and_hard():
        assert check.allowed.high - check.allowed.low < 0.4, check


def test_original_accuracies_are_counts_of_999_reviews() -> None:
    printed = published.table(2, "Table 3").query("column == 'Original accuracy'")["printed"]
    possible = [n for n in range(1, 1001) if all(abs(round(p * n) / n - p) <= 5e-7 for p in printed)]
    assert possible == [REVIEWS]
    assert [round(p * REVIEWS) for p in printed] == [943, 912, 921, 906, 888, 850]


@pytest.mark.parametrize(
    ("item", "row", "column", "text", "printed", "rounding", "spread"),
    [
        ((1, "Table 1"), "BERT-base", "#Param", "109M", 109, 0.5, math.nan),
        ((1, "Table 1"), "BERT-base", "FEVER Sym1", "58.9", 58.9, 0.05, math.nan),
        ((1, "Section 3.2"), "HANS", "samples", "30,000", 30000, 0, math.nan),
        ((1, "Section 3.3"), "all experiments", "runs averaged", "three", 3, 0, math.nan),
        ((1, "Section 3.3"), "all models", "learning rate", "2e-5", 2e-5, 0, math.nan),
        ((2, "Table 3"), "mini bert", "% change in accuracy", "72.325", 72.325, 0.0005, math.nan),
        ((3, "Table 1"), "Q8-PTQ", "Adversarial Attack Acc", "40.2(±0.1)", 40.2, 0.05, 0.1),
        ((3, "Table 1"), "Teacher", "Speed-up", "1.0×", 1, 0.05, math.nan),
        ((3, "Section 4.2"), "Teacher", "learning rate", "3×10^-5", 3e-5, 0, math.nan),
        ((3, "Section 4.3"), "pretraining KD against downstream KD", "p", "p > 0.1", 0.1, 0.05, math.nan),
        ((4, "Figure 6"), "bert-pt subnet + ft", "HANS accuracy", "nearly 90%", 90, 0.5, math.nan),
    ],
)
def test_a_printed_text_becomes_value_rounding_and_spread(
    item: tuple[int, str], row: str, column: str, text: str, printed: float, rounding: float, spread: float
) -> None:
    cell = CELLS.loc[(*item, row, column)]
    assert cell["printed_text"] == text
    expected = pytest.approx([printed, rounding, spread], nan_ok=True)
    assert cell[["printed", "rounding", "spread"]].tolist() == expected


def test_each_cell_is_printed_once_and_described() -> None:
    assert not NUMBERS.duplicated(["paper", "item", "row", "column"]).any()
    assert (NUMBERS["unit"] != "").all()
    in_tables = NUMBERS[NUMBERS["item"].str.startswith("Table")]
    assert (in_tables["metric"] != "").all()
    accuracy = in_tables["metric"].isin(["accuracy", "accuracy_easy", "accuracy_hard"])
    assert (in_tables["testbed"][accuracy] != "").all()


def test_every_data_file_and_description_is_used() -> None:
    folder = Path(published.__file__).parent
    for paper in published.PAPERS:
        known = published.items().query("paper == @paper")["item"]
        files = {path.name for path in folder.glob(f"paper{paper}_*.csv")} - {f"paper{paper}_text.csv"}
        assert files <= {f"paper{paper}_{item.lower().replace(' ', '_')}.csv" for item in known}
        text = pd.read_csv(folder / f"paper{paper}_text.csv")
        assert set(text["item"]) <= set(known)
        described = {column for item in known for column in published.protocol(paper, item)["columns"]}
        listed = (folder / f"paper{paper}.yaml").read_text(encoding="utf-8").partition("\ncolumns:")[2]
        assert listed.partition("\nitems:")[0].count("{unit:") == len(described)


def test_an_item_that_only_draws_is_empty_but_has_a_protocol() -> None:
    frame = published.table(1, "Figure 3")
    assert frame.empty
    assert list(frame.columns) == list(published.table(1, "Table 1").columns)
    assert published.protocol(1, "Figure 3")["runs"] == 3


def test_an_items_protocol_overrides_its_papers() -> None:
    assert published.protocol(3, "Table 2")["spread"] == "not printed"
    assert published.protocol(3, "Table 1")["spread"].startswith("the printed ±")
    assert published.protocol(1, "Table 1")["columns"]["MNLI HANS"] == {
        "unit": "percent",
        "metric": "accuracy",
        "testbed": "hans/validation",
    }


def test_changing_an_answer_changes_no_later_answer() -> None:
    published.protocol(1, "Table 1")["columns"]["MNLI HANS"]["unit"] = "furlong"
    frame = published.table(1, "Table 1")
    frame["printed"] = 0.0
    assert published.protocol(1, "Table 1")["columns"]["MNLI HANS"]["unit"] == "percent"
    assert published.table(1, "Table 1")["printed"][2] == 59.8


@pytest.mark.parametrize("paper", published.PAPERS)
def test_claims_are_named_by_section_and_rest_on_known_items(paper: int) -> None:
    claims = published.claims(paper)
    assert claims["id"].is_unique
    assert (claims["item"] == "claim " + claims["id"].str.partition(":")[2]).all()
    assert (claims["claim"].str.len() > 20).all()
    known = set(published.items().query("paper == @paper")["item"])
    assert {item for about in claims["about"] for item in about.split(", ")} <= known
    described = (Path(published.__file__).parent / f"paper{paper}.yaml").read_text(encoding="utf-8")
    assert described.partition("\nclaims:")[2].count("\n    claim: ") == len(claims)  # no id is used twice


@pytest.mark.parametrize(("paper", "item"), [(1, "Table 7"), (5, "Table 1"), (1, "table 1")])
def test_an_unknown_item_is_named_with_the_known_ones(paper: int, item: str) -> None:
    with pytest.raises(published.UnknownItem, match=r"Table 6|no paper 5"):
        published.table(paper, item)


def test_unpublished_seed_noise_is_nan() -> None:
    unknown = published.seed_noise("qqp", "paws_wiki/test")
    assert math.isnan(unknown.sd)
    assert math.isnan(unknown.mean)
    assert unknown.runs is None
    fever = published.seed_noise("fever", "fever_symmetric/v1_generated")
    assert (fever.mean, fever.sd) == (0.5746, 0.016)


@pytest.mark.real
@needs_data
def test_seed_noise_equals_the_hundred_published_runs() -> None:
    folder = Path(str(DATA))
    runs = pd.read_csv(folder / "published" / "berts_of_a_feather_accuracies_by_run.csv")
    runs = runs[runs["Run"].str.startswith("Run ", na=False)]
    columns = {"mnli/validation_matched": "MNLI dev acc.", "hans/validation": "Overall accuracy"}
    for testbed, column in columns.items():
        noise = published.seed_noise("mnli", testbed)
        assert noise.runs == len(runs) == 100
        assert noise.mean == round(runs[column].mean(), 4)
        assert noise.sd == round(runs[column].std(), 4)
    matched = pd.read_parquet(folder / "mnli" / "validation_matched.parquet")  # "MNLI dev" is this one
    n_correct = matched["berts_of_a_feather_n_correct"].mean()
    assert round(n_correct / 100, 4) == published.seed_noise("mnli", "mnli/validation_matched").mean


@pytest.mark.real
@needs_data
def test_published_error_lists_give_the_printed_jaccards() -> None:
    folder = Path(str(DATA)) / "published" / "miniature_error_ids"
    names = {"BERT-large": "bert_large", "BERT-base": "bert_base", "Distil-BERT": "distil_bert"}
    names |= {"BERT-medium": "bert_medium", "BERT-mini": "bert_mini", "Tiny-BERT": "tiny_bert"}
    wrong = {model: set(json.loads((folder / f"{name}.json").read_text())) for model, name in names.items()}
    printed = published.table(2, "Table 2").query("column == 'Prediction Errors'")
    assert len(printed) == 15
    for row, jaccard in zip(printed["row"], printed["printed"], strict=True):
        one, other = (wrong[model] for model in row.split(" / "))
        assert round(len(one & other) / len(one | other), 3) == jaccard, row


def test_differences_are_printed_ones_where_a_seed_noise_is_known() -> None:
    found = published.differences(1, "Table 4", "40% – Vanilla").set_index(["row", "column"])
    assert found.loc[("40% – RMC", "MNLI HANS"), "difference"] == pytest.approx(3.9)
    assert found.loc[("40% – RMC", "MNLI HANS"), "seed_sd"] == pytest.approx(2.36)
    assert set(found.index.get_level_values("column")) == {"MNLI DEV", "MNLI HANS", "FEVER DEV", "FEVER Sym1"}
    assert "40% – Vanilla" not in found.index.get_level_values("row")
