"""Verdicts, the scorecard, the table and figures of the robustness study, and the files a notebook leaves."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns

from robust_lib import compare, metrics, published, report

TESTBEDS = {
    "mnli": ["mnli/validation_matched", "hans/validation"],
    "fever": ["fever/dev", "fever_symmetric/v1_generated", "fever_symmetric/v2_test"],
    "qqp": ["qqp/validation", "paws_wiki/test", "paws_qqp/dev_and_test"],
}
CLASSES = {
    "mnli": metrics.NLI,
    "fever": ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO"),
    "qqp": ("not_duplicate", "duplicate"),
}
ARMS = [("dense", 0.0), ("pruned", 0.2), ("control", 0.2), ("pruned", 0.7), ("control", 0.7)]


def synthetic(
    tasks: tuple[str, ...] = ("mnli", "fever", "qqp"), items: int = 60, seeds: tuple[int, ...] = (0, 1)
) -> dict[compare.PredictionKey, pd.DataFrame]:
    """Made-up predictions: right nine times in ten in distribution, less often the sparser and out of it."""
    generator = np.random.default_rng(7)
    frames: dict[compare.PredictionKey, pd.DataFrame] = {}
    for task in tasks:
        for testbed in TESTBEDS[task]:
            inside, classes = testbed == TESTBEDS[task][0], CLASSES[task]
            gold = np.array(classes if inside else classes[:2])[
                np.arange(items) % (len(classes) if inside else 2)
            ]
            golden = np.where(gold == classes[1], "non-entailment", gold) if "hans" in testbed else gold
            for method, sparsity in ARMS:
                for seed in seeds:
                    drop = 0.3 * sparsity if method == "pruned" else 0.0
                    right = generator.random(items) < (0.9 if inside else 0.6) - drop
                    frame = pd.DataFrame({"id": range(items), "gold": golden})
                    for i, name in enumerate(classes):
                        other = (
                            np.roll(classes[:2], 1)[np.arange(items) % 2] if not inside else classes[i - 1]
                        )
                        said = np.where(
                            right,
                            gold,
                            np.where(inside, np.roll(classes, 1)[np.arange(items) % len(classes)], other),
                        )
                        frame[f"logit_{name}"] = (said == name).astype(float)
                    if testbed == "mnli/validation_matched":
                        frame["hard"] = pd.array([1, 0, None] * (items // 3), dtype="Int64")
                    frames[task, testbed, method, sparsity, seed] = frame
    return frames


@pytest.fixture(scope="module")
def profiles() -> dict[compare.ProfileKey, compare.Profile]:
    return compare.profiles(synthetic(), TESTBEDS)


@pytest.fixture(scope="module")
def table(profiles: Mapping[compare.ProfileKey, compare.Profile]) -> report.Table:
    return report.robustness_table(
        profiles,
        report.pruning_rows([0.7, 0.2]),
        printed=published.table(1, "Table 1"),
        scale="micro",
        exact={"#Param": {("dense", 0.0): 1.02, ("pruned", 0.2): 0.9}},
    )


def interval(
    value: float, low: float, high: float, seeds: int = 3, seed_sd: float = math.nan
) -> compare.Interval:
    return compare.Interval(value, low, high, 1000, seeds, 0.95, seed_sd)


# -- verdicts --------------------------------------------------------------------------------------------------


def test_a_printed_number_is_judged_in_the_papers_setting_alone_and_never_at_micro() -> None:
    ours = interval(59.8, 58, 61)
    assert report.verdict(59.8, ours, 2.4, "micro", same_setting=True) == "not comparable at this scale"
    assert report.verdict(59.8, ours, 2.4, "colab") == "not comparable at this scale"
    assert report.verdict(59.8, ours, 2.4, "colab", same_setting=True) == "reproduced"
    assert report.verdict(59.8, ours, 2.4, "paper", same_setting=True) == "reproduced"
    assert report.verdict(59.8, ours, 2.4, "paper") == "not comparable at this scale"
    assert report.verdict(99.8, ours, 2.4, "paper", same_setting=True) == "differs"


def test_the_interval_is_widened_as_the_formula_says() -> None:
    ours = interval(60.0, 57.0, 64.0)
    for runs, seeds in ((1, 3), (3, 3), (3, 1)):
        w = 1.959964 * 2.0 * math.sqrt(1 / runs + (seeds == 1))
        low, high = 60 - math.hypot(3, w) - 0.05, 60 + math.hypot(4, w) + 0.05
        for printed, expected in ((low + 0.01, "reproduced"), (low - 0.01, "differs")):
            given = interval(60.0, 57.0, 64.0, seeds)
            assert (
                report.verdict(printed, given, 2.0, "paper", same_setting=True, runs=runs, rounding=0.05)
                == expected
            )
        assert (
            report.verdict(
                high + 0.01,
                interval(60, 57, 64, seeds),
                2.0,
                "paper",
                same_setting=True,
                runs=runs,
                rounding=0.05,
            )
            == "differs"
        )
    assert report.verdict(57.0, ours, 0.0, "paper", same_setting=True) == "reproduced"
    assert report.verdict(56.99, ours, 0.0, "paper", same_setting=True) == "differs"


def test_a_counted_number_is_judged_by_its_rounding_alone() -> None:
    for printed, expected in ((66.0, "reproduced"), (65.8, "differs")):
        counted = compare.Interval(66.36, 66.36, 66.36, n=0, seeds=0, level=1.0, seed_sd=0.0)
        assert report.verdict(printed, counted, 0.0, "paper", rounding=0.5, same_setting=True) == expected


def test_unknown_seed_noise_confirms_but_does_not_refute() -> None:
    ours = interval(60.0, 57.0, 64.0)
    assert report.verdict(58.0, ours, math.nan, "paper", same_setting=True) == "reproduced"
    assert report.verdict(50.0, ours, math.nan, "paper", same_setting=True) == "not comparable at this scale"
    assert (
        report.verdict(1.1, interval(math.nan, -math.inf, math.inf), 0.1, "paper", same_setting=True)
        == "not comparable at this scale"
    )


@pytest.mark.parametrize(
    ("low", "high", "above", "below"),
    [
        (1.01, 1.2, "holds", "does not hold"),
        (0.8, 0.99, "does not hold", "holds"),
        (0.8, 1.2, "cannot be told", "cannot be told"),
        (1.0, 1.0, "does not hold", "does not hold"),
        (-math.inf, math.inf, "cannot be told", "cannot be told"),
    ],
)
def test_a_claim_is_told_by_where_its_interval_lies(low: float, high: float, above: str, below: str) -> None:
    ours = interval(1.0, low, high)
    assert report.claim_verdict(ours, above=1) == above
    assert report.claim_verdict(ours, below=1) == below


def test_a_claim_is_not_told_by_one_training() -> None:
    assert report.claim_verdict(interval(1.1, 1.05, 1.2, 1), above=1) == "cannot be told"
    assert report.claim_verdict(interval(1.1, 1.05, 1.2, 2), above=1) == "holds"


def test_a_claim_needs_one_boundary_and_a_defined_quantity() -> None:
    assert report.claim_verdict(interval(math.nan, 2, 3), above=1) == "cannot be told"
    for boundaries in ({}, {"above": 1.0, "below": 2.0}):
        with pytest.raises(ValueError, match="one boundary"):
            report.claim_verdict(interval(1, 0, 2), **boundaries)


# -- scorecard -------------------------------------------------------------------------------------------------


def entry(item: str, row: str = "40%", *, paper: int = 1, **changed: Any) -> report.Record:
    made = report.record(paper, item, row, "MNLI HANS", 54.7, interval(55, 53, 57), "paper", "reproduced")
    if item.startswith("claim"):
        made["verdict"] = "holds"
    return made | changed


def test_a_record_has_the_documented_keys_and_null_for_what_is_not_a_number() -> None:
    made = report.record(
        1, "Table 1", "20%", "MNLI F_bias", 1.182, interval(1.1, -math.inf, 1.4), "paper", "reproduced"
    )
    assert tuple(made) == report.KEYS
    assert " ".join(made) == "paper item row column printed ours low high n seeds scale verdict"
    assert (made["ours"], made["low"], made["high"]) == (1.1, None, 1.4)
    undefined = report.record(1, "Table 1", "20%", "x", 1.182, interval(math.nan, 0, 1), "paper", "differs")
    assert undefined["ours"] is undefined["low"] is undefined["high"] is None


def test_notebooks_merge_into_one_scorecard_in_the_papers_order(tmp_path: Path) -> None:
    path = tmp_path / "micro" / "scorecard.json"
    report.score(
        path, [entry("claim 3.5-a"), entry("Table 10"), entry("Table 2", "b"), entry("Table 2", "a")]
    )
    report.score(path, [entry("Figure 1"), entry("Table 1", paper=3), entry("Table 2", "c")])
    told = [(one["paper"], one["item"], one["row"]) for one in json.loads(path.read_text())]
    assert told == [
        (1, "Table 2", "c"),  # an item's records are replaced together
        (1, "Table 10", "40%"),
        (1, "Figure 1", "40%"),
        (1, "claim 3.5-a", "40%"),
        (3, "Table 1", "40%"),
    ]
    before = path.read_bytes()
    report.score(path, report.scored(path))
    assert path.read_bytes() == before


def test_scoring_at_the_same_time_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "scorecard.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: report.score(path, [entry(f"Table {i}")]), range(1, 25)))
    assert [one["item"] for one in report.scored(path)] == [f"Table {i}" for i in range(1, 25)]
    assert [file.name for file in tmp_path.iterdir() if not file.name.endswith(".lock")] == ["scorecard.json"]


@pytest.mark.parametrize(
    "changed",
    [
        {"paper": 5},
        {"verdict": "holds"},
        {"verdict": None},
        {"scale": "large"},
        {"ours": math.nan},
        {"low": "0.1"},
        {"printed": None},
        {"seeds": 0},
        {"n": 2.5},
        {"row": 40},
    ],
    ids=str,
)
def test_a_record_that_breaks_the_schema_is_named_and_nothing_is_written(
    changed: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "scorecard.json"
    report.score(path, [entry("Table 1")])
    before = path.read_bytes()
    key, value = next(iter(changed.items()))
    with pytest.raises(report.ScorecardError, match=f"cannot be {key} {value!r}"):
        report.score(path, [entry("Table 2"), entry("Table 3", **changed)])
    assert path.read_bytes() == before


def test_missing_and_further_keys_are_refused(tmp_path: Path) -> None:
    for wrong in (entry("Table 1") | {"note": ""}, {"paper": 1}, "Table 1"):
        with pytest.raises(report.ScorecardError, match="needs the keys paper, item"):
            report.score(tmp_path / "scorecard.json", [wrong])  # type: ignore[list-item]


@pytest.mark.parametrize("text", ["[{", '{"paper": 1}'])
def test_a_damaged_scorecard_is_named_with_the_remedy(text: str, tmp_path: Path) -> None:
    path = tmp_path / "scorecard.json"
    path.write_text(text)
    with pytest.raises(report.ScorecardError, match=r"scorecard.json .*delete it"):
        report.score(path, [entry("Table 1")])
    assert path.read_text() == text


def test_the_summary_counts_cells_and_claims_by_verdict(tmp_path: Path) -> None:
    path = tmp_path / "scorecard.json"
    cells = [entry("Table 1", str(i)) for i in range(3)] + [entry("Table 1", "z", verdict="differs")]
    claims = [entry("claim 1-a", verdict="cannot be told"), entry("claim 1-b")]
    report.score(path, cells + claims + [entry("Table 1", paper=2)])
    lines = report.summary(path).splitlines()
    assert lines[0] == "scorecard (paper)"
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "paper 1 4 cells 3 reproduced, 1 differs",
        "paper 1 2 claims 1 holds, 1 cannot be told",
        "paper 2 1 cells 1 reproduced",
        "all 5 cells 4 reproduced, 1 differs",
        "all 2 claims 1 holds, 1 cannot be told",
    ]


# -- profiles --------------------------------------------------------------------------------------------------


def test_profiles_hold_accuracies_slices_and_chance(
    profiles: Mapping[compare.ProfileKey, compare.Profile],
) -> None:
    frames = synthetic()
    mnli = profiles["mnli", "pruned", 0.7]
    by_hand = [
        metrics.correct(frames["mnli", "hans/validation", "pruned", 0.7, seed]).mean() for seed in (0, 1)
    ]
    np.testing.assert_allclose(mnli.ood[0].values.mean(axis=(1, 2)), by_hand)
    assert {name: len(arm.ids) for name, arm in mnli.slices.items()} == {"hard": 20, "easy": 20}
    assert mnli.chance == 0.5
    assert [profiles[task, "dense", 0.0].pool for task in TESTBEDS] == ["examples", "sets", "examples"]


def test_a_hole_in_the_predictions_is_named() -> None:
    frames = synthetic(("mnli",))
    del frames["mnli", "hans/validation", "pruned", 0.2, 1]
    with pytest.raises(
        compare.CompareError, match=r"mnli, pruned, sparsity 0.2: .* hans/validation has seeds \[0\]"
    ):
        compare.profiles(frames, TESTBEDS)


def test_the_tidy_frame_has_one_row_for_each_seed_and_test_bed(
    profiles: Mapping[compare.ProfileKey, compare.Profile],
) -> None:
    tidy = compare.tidy(profiles, model="micro-base")
    assert list(tidy.columns) == ["task", "testbed", "model", "method", "sparsity", "seed", "metric", "value"]
    assert len(tidy) == len(ARMS) * 2 * (8 + 2)  # methods, seeds, test beds and slices
    one = tidy[(tidy["testbed"] == "fever/dev") & (tidy["method"] == "dense") & (tidy["seed"] == 1)]
    assert one["value"].item() == profiles["fever", "dense", 0.0].id.values[1].mean()


# -- table -----------------------------------------------------------------------------------------------------


def cell(table: report.Table, row: str, column: str) -> report.Record:
    return next(one for one in table.records if (one["row"], one["column"]) == (row, column))


def test_rows_and_columns_stand_as_in_the_paper_with_the_control_below(table: report.Table) -> None:
    rows = list(dict.fromkeys(one["row"] for one in table.records))
    assert rows == ["BERT-base", "20%", "20% dense control", "70%", "70% dense control"]
    ours = [
        "MNLI DEV hard",
        "MNLI DEV easy",
        *(f"{t} F_bias vs control" for t in ("MNLI", "FEVER", "QQP", "Average")),
    ]
    theirs = pd.read_csv(Path(published.__file__).parent / "paper1_table_1.csv", nrows=0).columns[1:]
    assert [column for column in table.units if column not in ours] == list(theirs)
    assert set(table.units) == {*theirs, *ours}


def test_cells_are_the_kernels_numbers_in_the_papers_unit(
    table: report.Table, profiles: Mapping[compare.ProfileKey, compare.Profile]
) -> None:
    pruned, control, dense = (
        profiles["qqp", m, s] for m, s in (("pruned", 0.7), ("control", 0.7), ("dense", 0.0))
    )
    wiki = compare.accuracy(pruned.ood[0], generator=np.random.default_rng(0))
    found = cell(table, "70%", "QQP paws_wiki")
    assert [found[k] for k in ("ours", "low", "high")] == pytest.approx(
        [100 * wiki.value, 100 * wiki.low, 100 * wiki.high]
    )
    assert (found["printed"], found["n"], found["seeds"], found["scale"]) == (45.4, 60, 2, "micro")
    for column, reference in (("QQP F_bias", dense), ("QQP F_bias vs control", control)):
        bias = compare.f_bias([(pruned, reference)], generator=np.random.default_rng(0))
        found = cell(table, "70%", column)
        limits = [limit if np.isfinite(limit) else None for limit in (bias.low, bias.high)]
        assert [found[k] for k in ("ours", "low", "high")] == [bias.value, *limits]
    assert cell(table, "70%", "QQP F_bias")["printed"] == 1.065
    assert cell(table, "70%", "Average F_bias")["ours"] == pytest.approx(
        np.mean([cell(table, "70%", f"{task} F_bias")["ours"] for task in ("MNLI", "FEVER", "QQP")])
    )


def test_only_printed_cells_are_scored_and_micro_compares_none(table: report.Table) -> None:
    scored = {(one["row"], one["column"]) for one in table.scored}
    printed = published.table(1, "Table 1")
    wanted = printed[
        printed["row"].isin(["BERT-base", "20%", "70%"])
        & ~((printed["row"] == "70%") & (printed["column"] == "#Param"))
    ]
    assert scored == set(zip(wanted["row"], wanted["column"], strict=True))
    assert {one["verdict"] for one in table.scored} == {"not comparable at this scale"}
    assert {one["verdict"] for one in table.records if one["printed"] is None} == {None}


def test_a_row_more_changes_no_other(
    table: report.Table, profiles: Mapping[compare.ProfileKey, compare.Profile]
) -> None:
    fewer = report.robustness_table(
        profiles, report.pruning_rows([0.7]), printed=published.table(1, "Table 1"), scale="micro"
    )
    both = [one for one in fewer.records if one in table.records]
    assert len(both) == len(fewer.records)


def test_an_average_over_other_tasks_is_not_the_papers(
    profiles: Mapping[compare.ProfileKey, compare.Profile],
) -> None:
    two = {key: one for key, one in profiles.items() if key[0] != "fever"}
    found = report.robustness_table(
        two, report.pruning_rows([0.2]), printed=published.table(1, "Table 1"), scale="paper"
    )
    assert cell(found, "20%", "Average F_bias")["printed"] is None
    assert cell(found, "20%", "MNLI F_bias")["printed"] == 1.182
    one = {key: one for key, one in profiles.items() if key[0] == "mnli"}
    alone = report.robustness_table(
        one, report.pruning_rows([0.2]), printed=published.table(1, "Table 1"), scale="paper"
    )
    assert not any(column.startswith("Average") for column in alone.units)


def test_another_test_bed_is_a_column_of_its_own_without_a_printed_value() -> None:
    frames = synthetic(("fever",))
    renamed = {
        (task, testbed.replace("v1_generated", "v1_full"), *rest): frame
        for (task, testbed, *rest), frame in frames.items()
    }
    beds = {"fever": [bed.replace("v1_generated", "v1_full") for bed in TESTBEDS["fever"]]}
    found = report.robustness_table(
        compare.profiles(renamed, beds),  # type: ignore[arg-type]
        report.pruning_rows([0.2]),
        printed=published.table(1, "Table 1"),
        scale="paper",
    )
    assert cell(found, "20%", "FEVER fever_symmetric/v1_full")["printed"] is None
    assert "FEVER Sym1" not in found.units


def laid_out(item: str) -> pd.DataFrame:
    """A table of paper 1 as printed."""
    name = f"paper1_{item.lower().replace(' ', '_')}.csv"
    return pd.read_csv(Path(published.__file__).parent / name, dtype=str)


def drawn_up(
    profiles: Mapping[compare.ProfileKey, compare.Profile], item: str, **options: Any
) -> tuple[report.Table, list[report.Row]]:
    """The table with a model of ours for every printed row; the methods are called m0, m1, ..."""
    theirs = laid_out(item)
    rows = [
        report.Row(name, "dense", 0.0) if name == "BERT-base" else report.Row(name, f"m{i}", 0.4)
        for i, name in enumerate(theirs["row"])
    ]
    tasks = [task for task in TESTBEDS if any(column.startswith(task.upper()) for column in theirs)]
    shown = [report.Row("the reference", "dense", 0.0), *rows]
    given = {
        (task, row.method, row.sparsity): profiles[task, *ARMS[i % len(ARMS)]]
        for task in tasks
        for i, row in enumerate(shown)
        if (row.name, i) != ("BERT-base", 1)
    }
    counts = {
        column: {(row.method, row.sparsity): 100.0 for row in rows}
        for column in ("#Param", "Attention heads")
        if column in theirs
    }
    options = {"exact": counts, "scale": "micro"} | options
    return report.robustness_table(given, rows, printed=published.table(1, item), **options), rows


@pytest.mark.parametrize("item", [f"Table {i}" for i in range(1, 7)])
def test_every_table_has_the_papers_rows_and_columns_in_its_order_and_all_its_cells(
    item: str, profiles: Mapping[compare.ProfileKey, compare.Profile]
) -> None:
    table, rows = drawn_up(profiles, item)
    theirs = laid_out(item)
    ours = {"MNLI DEV hard", "MNLI DEV easy"} - set(theirs)
    assert [column for column in table.units if column not in ours] == list(theirs.columns[1:])
    assert list(dict.fromkeys(one["row"] for one in table.records)) == [row.name for row in rows]
    printed = published.table(1, item)
    assert {(one["row"], one["column"]): one["printed"] for one in table.scored} == {
        (one["row"], one["column"]): one["printed"] for one in printed.to_dict("records")
    }
    units = dict(zip(printed["column"], printed["unit"], strict=True))
    assert {column: table.units[column] for column in units} == units


def test_a_row_whose_control_is_the_reference_has_no_second_f_bias(
    profiles: Mapping[compare.ProfileKey, compare.Profile],
) -> None:
    for control in (None, ("dense", 0.0)):
        rows = [report.Row("BERT-base", "dense", 0.0), report.Row("20%", "pruned", 0.2, control)]
        found = report.robustness_table(profiles, rows, printed=published.table(1, "Table 1"), scale="micro")
        assert not any(column.endswith("vs control") for column in found.units)
        assert "Average F_bias" in found.units


def test_the_gap_is_easy_less_hard_in_percentage_points(
    profiles: Mapping[compare.ProfileKey, compare.Profile],
) -> None:
    table, _ = drawn_up(profiles, "Table 6")
    for row in laid_out("Table 6")["row"]:
        easy, hard, gap = (cell(table, row, f"MNLI {name}") for name in ("Easy (E)", "Hard (H)", "Gap (E-H)"))
        assert gap["ours"] == pytest.approx(easy["ours"] - hard["ours"])
        assert gap["low"] < gap["ours"] < gap["high"]
    arms = [profiles["mnli", *ARMS[2]].slices[name] for name in ("easy", "hard")]
    by_hand = compare.interval(lambda e, h: e - h, arms, generator=np.random.default_rng(0)).times(100)
    found = cell(table, "MiniLM–RMC", "MNLI Gap (E-H)")
    assert [found[k] for k in ("ours", "low", "high")] == [by_hand.value, by_hand.low, by_hand.high]


def test_metrics_choose_the_columns(profiles: Mapping[compare.ProfileKey, compare.Profile]) -> None:
    def columns(item: str, *metrics: str) -> list[str]:
        return list(drawn_up(profiles, item, metrics=metrics, exact={})[0].units)

    assert columns("Table 3", "accuracy", "relative_bias") == ["MNLI DEV", "MNLI HANS", "MNLI F_bias"]
    assert columns("Table 3", "easy_hard_gap", "accuracy") == [
        "MNLI DEV", "MNLI DEV gap (easy - hard)", "MNLI HANS"
    ]  # fmt: skip
    assert columns("Table 6", "relative_bias", "accuracy") == ["MNLI DEV", "MNLI HANS", "MNLI F_bias"]
    assert columns("Table 6", "accuracy_hard", "easy_hard_gap") == ["MNLI Hard (H)", "MNLI Gap (E-H)"]


def test_without_annotation_there_are_no_hard_and_easy_columns(
    profiles: Mapping[compare.ProfileKey, compare.Profile],
) -> None:
    bare = {key: replace(one, slices={}) for key, one in profiles.items()}
    for item, missing in (
        ("Table 3", set()),
        ("Table 6", {"MNLI Hard (H)", "MNLI Easy (E)", "MNLI Gap (E-H)"}),
    ):
        assert list(drawn_up(bare, item)[0].units) == [
            column for column in laid_out(item).columns[1:] if column not in missing
        ]


def test_what_is_counted_stands_first_in_its_own_unit(
    profiles: Mapping[compare.ProfileKey, compare.Profile],
) -> None:
    sizes = {"Size on disk": {("m1", 0.4): 109.4867}, "#Param": {("m1", 0.4): 66.0}}
    table, _ = drawn_up(profiles, "Table 2", exact=sizes, scale="paper", same_setting=True)
    assert list(table.units.items())[:2] == [("#Param", "million"), ("Size on disk", "megabyte")]
    size, count = (cell(table, "DistilBERT", column) for column in ("Size on disk", "#Param"))
    assert (size["ours"], size["printed"], size["verdict"]) == (109.4867, None, None)
    assert (count["ours"], count["printed"], count["verdict"]) == (66.0, 66.0, "reproduced")
    assert "109.5" in repr(table)
    assert "#Param in millions, size on disk in megabytes, accuracies in percent, F_bias a ratio." in repr(
        table
    )


def test_unknown_columns_and_unmeasured_rows_are_named(
    profiles: Mapping[compare.ProfileKey, compare.Profile],
) -> None:
    with pytest.raises(ValueError, match=r"unknown metric 'f_bias'; there are accuracy, .*relative_bias"):
        drawn_up(profiles, "Table 6", metrics=["f_bias"])
    with pytest.raises(ValueError, match=r"unknown exact column 'Heads'; there are #Param, Attention heads"):
        drawn_up(profiles, "Table 6", exact={"Heads": {}})
    with pytest.raises(
        ValueError, match=r"no row is measured: the rows are \[\('prune', 0.4\)\], .*'pruned', 0.7"
    ):
        report.robustness_table(
            profiles, [report.Row("a", "prune", 0.4)], printed=published.table(1, "Table 1"), scale="micro"
        )


@pytest.mark.parametrize("item", [f"Table {i}" for i in range(1, 7)])
def test_a_printed_number_that_the_paper_contradicts_bears_a_dagger(
    item: str, profiles: Mapping[compare.ProfileKey, compare.Profile]
) -> None:
    table, _ = drawn_up(profiles, item)
    odd = published.disagreements().query("paper == 1 and item == @item")
    for shown in (repr(table), table._repr_html_()):
        assert shown.count("†") == (len(odd) + 1 if len(odd) else 0)  # the cells, and once to explain it
    for one in odd.to_dict("records"):
        printed = cell(table, one["row"], one["column"])["printed"]
        assert f"({printed:g}† ~)" in repr(table) or f"({printed:.1f}† ~)" in repr(table)
        assert (
            f"paper {printed:g}† ~" in table._repr_html_() or f"paper {printed:.1f}† ~" in table._repr_html_()
        )
        assert f"{one['row']}, {one['column']}: {one['low']:.4g}" in repr(table)


def test_disagreements_stand_with_what_follows_and_why() -> None:
    found = report.disagreements(1, "Table 2")
    for shown in (repr(found), found._repr_html_()):
        for text in (
            "DistilBERT",
            "1.289",
            "1.296 to 1.312",
            "follows from the paper",
            "would have to be larger",
        ):
            assert text in shown
        assert "Average" not in shown
    assert "| 109 " in repr(report.disagreements(1, "Table 5"))
    assert len(repr(report.disagreements(1, "Table 3")).splitlines()) == 2
    assert "MNLI" not in report.disagreements(1, "Table 3")._repr_html_()


def test_the_text_lines_up_and_the_html_holds_the_same_cells(table: report.Table) -> None:
    text, page = repr(table), table._repr_html_()
    rows = [line for line in text.splitlines() if line.startswith("| 70% dense")]
    assert len(rows) == 4  # three tasks and the average; no parameters of its own
    assert max(map(len, text.splitlines())) < 200
    for block in text.split("\n\n")[1:-2]:
        assert len({len(line) for line in block.splitlines()}) == 1
    for shown in (text, page):
        assert f"{cell(table, '70%', 'MNLI HANS')['ours']:.1f}" in shown
        assert "not comparable at this scale" in shown
    assert "(52.2 ~)" in text
    assert "paper 52.2 ~" in page
    assert page == table._repr_html_()


def test_undefined_and_unbounded_are_said_in_words() -> None:
    records = (
        report.record(
            1,
            "Table 1",
            "20%",
            "MNLI F_bias",
            1.182,
            interval(math.nan, 0, 1),
            "micro",
            report.CELL_VERDICTS[2],
        ),
        report.record(
            1,
            "Table 1",
            "40%",
            "MNLI F_bias",
            1.204,
            interval(1.1, -math.inf, math.inf),
            "micro",
            report.CELL_VERDICTS[2],
        ),
    )
    text = repr(report.Table("t", records, {"MNLI F_bias": "ratio"}))
    assert "undefined  (1.182 ~)" in text
    assert "1.10 [?, ?]  (1.204 ~)" in text


def test_claims_stand_with_the_papers_sentence_once(tmp_path: Path) -> None:
    claims = report.Claims(
        tuple(
            report.claim(
                1,
                "claim 3.5-f",
                row,
                "F_bias",
                interval(value, value - 0.1, value + 0.1),
                scale="micro",
                above=1,
            )
            for row, value in (("MNLI, 20%", 1.05), ("MNLI, 70%", 1.3))
        )
    )
    sentence = "F_bias exceeds 1 at every level of sparsity."
    for shown in (repr(claims), claims._repr_html_()):
        assert shown.count(sentence) == 1
        assert "? cannot be told" in shown
        assert "✓ holds" in shown
    report.score(tmp_path / "scorecard.json", claims.scored)
    assert [one["verdict"] for one in report.scored(tmp_path / "scorecard.json")] == [
        "cannot be told",
        "holds",
    ]


# -- figures ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def points(profiles: Mapping[compare.ProfileKey, compare.Profile]) -> pd.DataFrame:
    return compare.points(profiles)


def test_points_are_shares_within_their_limits(points: pd.DataFrame) -> None:
    assert len(points) == 3 * len(ARMS)
    for where in ("id", "ood"):
        assert (points[f"{where}_low"] <= points[where]).all()
        assert (points[where] <= points[f"{where}_high"]).all()
        assert points[[where, f"{where}_low", f"{where}_high"]].to_numpy().max() <= 1


@pytest.mark.parametrize("draw", [report.id_ood_figure, report.sparsity_figure])
def test_a_figure_has_a_panel_for_each_task_with_units_chance_and_data(
    draw: Any, points: pd.DataFrame
) -> None:
    figure = draw(points)
    assert [axis.get_title("left") for axis in figure.axes] == ["MNLI", "FEVER", "QQP"]
    for axis, task in zip(figure.axes, TESTBEDS, strict=True):
        assert "%" in axis.get_xlabel()
        assert " chance" in [text.get_text() for text in axis.texts]
        drawn = np.concatenate([line.get_ydata() for line in axis.lines])
        expected = 100 * points[points["task"] == task]["ood"].to_numpy()
        assert np.isin(expected.round(6), drawn.round(6)).all()
    assert "%" in figure.axes[0].get_ylabel()
    assert [text.get_text() for text in figure.legends[0].texts][:2] == ["dense", "pruned"]
    colours = {
        tuple(line.get_color()) for line in figure.axes[0].lines if not isinstance(line.get_color(), str)
    }
    assert colours == set(sns.color_palette("colorblind")[:2])
    assert plt.get_fignums() == []


# -- files -----------------------------------------------------------------------------------------------------

ABOUT = {
    "notebook": "01",
    "parameters": {"scale": "micro", "seeds": [0, 1]},
    "device": "cpu",
    "versions": {"torch": "2"},
}


def test_saving_leaves_files_a_manifest_and_the_score(
    tmp_path: Path, table: report.Table, points: pd.DataFrame
) -> None:
    directory = tmp_path / "micro" / "01_robustness_study"
    files = report.save(directory, {"table_1": table, "id_ood": report.id_ood_figure(points)}, about=ABOUT)
    assert [file.name for file in files] == [
        "table_1.csv", "table_1.md", "table_1.tex", "id_ood.png", "id_ood.svg",
    ]  # fmt: skip
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["files"] == {
        file.name: {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "bytes": file.stat().st_size}
        for file in sorted(files)
    }
    assert (manifest["scale"], manifest["device"], manifest["notebook"]) == ("micro", "cpu", "01")
    assert manifest["parameters"] == ABOUT["parameters"]
    assert {"python", "numpy", "matplotlib", "torch"} <= set(manifest["versions"])
    assert report.scored(directory.parent / "scorecard.json") == table.scored
    back = pd.read_csv(directory / "table_1.csv")
    assert list(back.columns) == list(report.KEYS)
    assert len(back) == len(table.records)
    assert (directory / "table_1.md").read_text() == f"{table!r}\n"


def test_the_same_figure_is_the_same_bytes(tmp_path: Path, points: pd.DataFrame) -> None:
    first, second = (
        report.save(tmp_path / name, {"f": report.sparsity_figure(points)}, about=ABOUT)
        for name in ("a", "b")
    )
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_a_run_adds_to_its_manifest_and_another_starts_anew(tmp_path: Path) -> None:
    frame = pd.DataFrame({"task": ["mnli"], "value": [0.5]})
    report.save(tmp_path / "a", {"one": frame}, about=ABOUT)
    report.save(tmp_path / "a", {"two": frame}, about=ABOUT)
    listed = json.loads((tmp_path / "a" / "manifest.json").read_text())["files"]
    assert sorted(listed) == [f"{name}.{kind}" for name in ("one", "two") for kind in ("csv", "md", "tex")]
    report.save(tmp_path / "a", {"two": frame}, about=ABOUT | {"device": "cuda"})
    listed = json.loads((tmp_path / "a" / "manifest.json").read_text())["files"]
    assert sorted(listed) == ["two.csv", "two.md", "two.tex"]
    assert not (tmp_path / "scorecard.json").exists()


def test_an_output_needs_a_plain_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'Table 1': use lower-case"):
        report.save(tmp_path / "a", {"Table 1": pd.DataFrame()}, about=ABOUT)


def test_a_manifest_names_folders_without_where_they_lay(tmp_path: Path) -> None:
    places = {"scale": "colab", "source": str(tmp_path / "data"), "encoder": "~/minilm", "train_size": 64}
    places |= {"family": {"small": {"encoder": str(tmp_path / "tiny")}}, "more_encoders": ["~/other"]}
    report.save(tmp_path / "a", {"table_1": pd.DataFrame({"x": [1]})}, about=ABOUT | {"parameters": places})
    kept = json.loads((tmp_path / "a" / "manifest.json").read_text())["parameters"]
    plain = {"scale": "colab", "source": "data", "encoder": "minilm", "train_size": 64}
    assert kept == plain | {"family": {"small": {"encoder": "tiny"}}, "more_encoders": ["other"]}
    assert str(tmp_path) not in (tmp_path / "a" / "manifest.json").read_text()


def test_extremes_are_the_ends_of_the_ranking_with_their_texts() -> None:
    variances = pd.DataFrame({"id": [7, 3, 9, 1], "gold": list("abcd"), "variance": [0.5, 1e-9, 2.0, 0.1]})
    examples = pd.DataFrame({"claim": ["seven", "three", "nine", "one"]}, index=[7, 3, 9, 1])
    ends = report.extremes(variances, examples, count=1).reset_index()
    assert ends.to_dict("records") == [
        {"end": "easiest", "id": 3, "claim": "three", "gold": "b", "variance": "1e-09"},
        {"end": "hardest", "id": 9, "claim": "nine", "gold": "c", "variance": "2"},
    ]


# -- checks ---------------------------------------------------------------------------------------------------


@pytest.fixture
def checks(profiles: Mapping[compare.ProfileKey, compare.Profile]) -> report.Checks:
    # So few items cannot be told from an even guess; these are not to be.
    known = {key: replace(profile, chance=0.1) for key, profile in profiles.items()}
    return report.Checks(1, known, "micro", {"dense": "BERT-base", "control": "dense control"})


DENSE, PRUNED = ("mnli", "dense", 0.0), ("mnli", "pruned", 0.7)


def test_each_check_holds_its_own_difference_against_the_boundary(
    checks: report.Checks, profiles: Mapping[compare.ProfileKey, compare.Profile]
) -> None:
    model, other = profiles[PRUNED], profiles[DENSE]
    checks.dev("3.5-a", PRUNED, DENSE, above=-1)
    checks.ood("3.5-c", PRUNED, DENSE, below=0)
    checks.lost("3.5-h", PRUNED, DENSE, below=0)
    checks.part("6.4-a", "hard", PRUNED, DENSE, above=0)
    checks.f_bias("3.5-f", PRUNED, DENSE, above=1, printed=1.249)
    checks.less_biased("6.3-d", DENSE, PRUNED, DENSE, above=0, printed=10)

    def rate(one: compare.Arm) -> float:
        return 100 * float(one.values.mean())

    dev, ood = rate(model.id) - rate(other.id), rate(model.ood[0]) - rate(other.ood[0])
    bias = compare.f_bias([(model, other)]).value
    assert (
        compare.ood_accuracy(other).low < other.chance
    )  # of two seeds, and whatever rests on its OOD accuracy says so
    weak = ", a reference not above chance OOD"
    expected = {
        "claim 3.5-a": ("DEV, points above BERT-base (claimed > -1)", dev),
        "claim 3.5-c": (f"OOD, points above BERT-base{weak} (claimed < 0)", ood),
        "claim 3.5-h": (f"OOD less DEV, points above BERT-base{weak} (claimed < 0)", ood - dev),
        "claim 6.4-a": (
            "hard, points above BERT-base (claimed > 0)",
            rate(model.slices["hard"]) - rate(other.slices["hard"]),
        ),
        "claim 3.5-f": (f"F_bias against BERT-base{weak} (claimed > 1)", bias),
        "claim 6.3-d": (f"percent lower F_bias than pruned 70%{weak} (claimed > 0)", 100 * (1 - 1 / bias)),
    }
    found = {entry["item"]: (entry["column"], entry["ours"]) for entry in checks.records}
    assert found.keys() == expected.keys()
    for item, (quantity, value) in expected.items():
        assert found[item] == (quantity, pytest.approx(value)), item
    assert {entry["row"] for entry in checks.records} == {"MNLI pruned 70%", "MNLI BERT-base"}
    assert [entry["printed"] for entry in checks.records if entry["printed"]] == [1.249, 10]


def test_several_models_are_averaged_and_claims_come_in_order(checks: report.Checks) -> None:
    tasks = ("mnli", "fever", "qqp")
    for task in tasks:
        checks.ood("6.3-c", (task, "pruned", 0.2), (task, "dense", 0.0), above=0)
    checks.ood("6.3-a", [(t, "pruned", 0.2) for t in tasks], [(t, "dense", 0.0) for t in tasks], above=0)
    *each, mean = checks.records
    assert mean["ours"] == pytest.approx(np.mean([entry["ours"] for entry in each]))
    assert (mean["row"], mean["column"]) == (
        "average of 3: pruned 20%",
        "OOD, points above BERT-base (claimed > 0)",
    )
    assert [entry["item"] for entry in checks.claims.records] == ["claim 6.3-a"] + ["claim 6.3-c"] * 3


def test_checks_against_our_controls_stand_apart_and_are_counted_apart(
    checks: report.Checks, tmp_path: Path
) -> None:
    checks.ours = {"control"}
    checks.dev("3.5-a", ("mnli", "pruned", 0.2), DENSE, above=-1)
    checks.dev("3.5-a", ("mnli", "pruned", 0.2), ("mnli", "control", 0.2), above=-1)
    assert [entry["item"] for entry in checks.records] == ["claim 3.5-a", f"claim 3.5-a{report.OURS}"]
    counts = checks.survival.set_index("claim").loc["3.5-a"]
    assert counts.filter(like="the paper: ").sum() == counts.filter(like="our controls: ").sum() == 1
    report.score(tmp_path / "scorecard.json", checks.records)
    assert re.findall(r"1 (claims.*?)  ", report.summary(tmp_path / "scorecard.json")) == [
        "claims", "claims, our controls",
    ]  # fmt: skip


def test_a_loss_against_a_model_at_chance_cannot_be_told(
    profiles: Mapping[compare.ProfileKey, compare.Profile],
) -> None:
    hans = profiles[DENSE].ood[0]
    guessed = replace(
        hans, values=np.broadcast_to(np.arange(len(hans.ids)) % 2, hans.values.shape[:2])[..., None]
    )
    dense = replace(profiles[DENSE], ood=(guessed,))
    checks = report.Checks(1, {**profiles, DENSE: dense}, "micro", {"dense": "BERT-base"})
    assert checks.at_chance(DENSE)
    checks.f_bias("3.5-f", PRUNED, DENSE, above=1)
    checks.lost("3.5-h", PRUNED, DENSE, below=0)
    checks.ood("3.5-c", PRUNED, DENSE, below=0)
    assert {entry["verdict"] for entry in checks.records} == {"cannot be told"}
    assert all(", a reference not above chance OOD" in entry["column"] for entry in checks.records)
    checks.ood("6.3-c", PRUNED, DENSE, above=0)  # a gain over chance can be told
    assert "chance" not in checks.records[-1]["column"]


def test_a_check_wants_exactly_one_boundary(checks: report.Checks) -> None:
    with pytest.raises(ValueError, match="one boundary"):
        checks.dev("3.5-a", PRUNED, DENSE)
