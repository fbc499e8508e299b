"""The samples that an audit's minutes allow."""

import pandas as pd
import pytest

from robust_lib.audit import budget

ROWS = {"test": 20_000, "ood": 5_000, "vectors": 20_000, "attack": 20_000}
PACES = {"test": 0.02, "ood": 0.02, "vectors": 0.02, "attack": 1.5}


def test_all_rows_are_taken_where_there_is_time_and_attacks_and_vectors_have_an_end() -> None:
    found = budget.sizes(10_000, ROWS, PACES)
    assert (found.test, found.ood) == (20_000, 5_000)
    assert (found.vectors, found.attack) == (budget.MOST["vectors"], budget.MOST["attack"])


@pytest.mark.parametrize("minutes", [2, 5, 10, 30, 60, 240])
def test_what_is_planned_fits_into_the_minutes(minutes: float) -> None:
    found = budget.sizes(minutes, ROWS, PACES)
    planned = 0.02 * (found.test + found.ood + found.vectors) + 1.5 * found.attack
    assert found.seconds == pytest.approx(planned)
    assert planned <= 60 * minutes
    assert all(size in ROWS.values() or size in (1000, 5000) or str(size).strip("0") in "125" for size in
               (found.test, found.ood, found.vectors, found.attack))  # fmt: skip


def test_what_one_thing_leaves_the_next_takes() -> None:
    alone = budget.sizes(10, {**ROWS, "test": 200, "ood": 200}, PACES)
    both = budget.sizes(10, ROWS, PACES)
    assert alone.attack > both.attack


def test_a_budget_that_is_too_small_is_overrun_and_says_so_by_its_seconds() -> None:
    found = budget.sizes(0.01, ROWS, PACES)
    assert (found.test, found.ood, found.vectors, found.attack) == (100, 100, 100, 20)
    assert found.seconds > 0.6


def test_what_has_no_pace_or_no_rows_is_left_out() -> None:
    found = budget.sizes(10, {"test": 50, "vectors": 50, "attack": 50}, {"test": 0.02, "vectors": 0.02})
    assert (found.test, found.ood, found.vectors, found.attack) == (50, 0, 50, 0)


def test_what_a_sample_resolves_is_told_where_it_is_known() -> None:
    found = pd.DataFrame(
        [("accuracy", "test", "", 2.5), ("accuracy", "test", "a: 1", 9.0), ("accuracy after attack", "test", "", 4.0)],
        columns=["measure", "set", "part", "resolves"],
    )  # fmt: skip
    lines = budget.told(budget.Sizes(500, 200, 0, 100, 61.0), 2, ROWS, found)
    assert lines[0].startswith("test: 500 of 20,000 rows: a change of accuracy of 2.5 points")
    assert lines[1] == "ood: 200 of 5,000 rows"
    assert "accuracy after attack of 4.0 points" in lines[2]
    assert "0:01:01 were planned" in lines[-1]
