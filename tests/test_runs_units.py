"""Units: what they accept, when two are the same, and what their keys cost."""

import dataclasses
import json
import math
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from robust_lib import losses, runs

HERE = Path(__file__).parent


@pytest.fixture(autouse=True, scope="module")
def work() -> Iterator[Any]:
    """`runs_work` under a name that workers can import too."""
    sys.path.insert(0, str(HERE))
    import runs_work

    yield runs_work
    sys.path.remove(str(HERE))


@dataclasses.dataclass(frozen=True)
class Recipe:
    epochs: int
    rates: tuple[float, ...] = (0.1,)
    extra: Any = None


@dataclasses.dataclass
class Loose:
    epochs: int = 1


class Point(NamedTuple):
    x: int


@dataclasses.dataclass(frozen=True)
class Table:
    """Known by what it holds; counts how often that is read."""

    path: str
    reads: list[int] = dataclasses.field(default_factory=list, compare=False)

    def fingerprint(self) -> str:
        self.reads.append(1)
        return f"content of {self.path}"


def study(*, data: Any = None, rate: float = 0.5, steps: Any = (), loss: Any = None) -> float:
    return rate


def scaled(value: float, /, by: float) -> float:
    return value * by


def gathered(*values: float) -> float:
    return sum(values)


class TestEquality:
    def test_defaults_count_as_given(self) -> None:
        assert runs.unit(study) == runs.unit(study, rate=0.5)
        assert runs.unit(study).key == runs.unit(study, rate=0.5).key

    @pytest.mark.parametrize(
        ("one", "same"),
        [
            (1, 1.0),
            (0.0, -0.0),
            (0.1, np.float64(0.1)),
            (3, np.int64(3)),
            ([1, 2], (1, 2.0)),
            (True, np.bool_(True)),
            ({"a": [1]}, {"a": (1.0,)}),
            (Recipe(1), Recipe(1, (0.1,))),
        ],
    )
    def test_one_value_in_two_forms_is_one_unit(self, one: object, same: object) -> None:
        first, second = runs.unit(study, steps=one), runs.unit(study, steps=same)
        assert first == second
        assert hash(first) == hash(second)
        assert first.key == second.key

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (1, True),
            (0, None),
            (0.1, 0.1 + 1e-17 + 2e-17),
            ("1", 1),
            ([1], [[1]]),
            ([], {}),
            (Recipe(1), Recipe(2)),
            (losses.ce, losses.kd),
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}),  # a function may go through a dict in order
            (2**53, 2**53 + 1),
        ],
    )
    def test_different_values_are_different_units(self, one: object, other: object) -> None:
        if one == 0.1:
            other = math.nextafter(0.1, 1)
        first, second = runs.unit(study, steps=one), runs.unit(study, steps=other)
        assert first != second
        assert first.key != second.key

    def test_comparing_and_hashing_reads_no_data(self) -> None:
        first, second = Table("a"), Table("a")
        assert (
            runs.unit(study, data=first) == runs.unit(study, data=second) != runs.unit(study, data=Table("b"))
        )
        assert len({runs.unit(study, data=first), runs.unit(study, data=second)}) == 1
        assert not first.reads
        assert not second.reads

    def test_key_has_the_fingerprint_and_not_the_path(self) -> None:
        @dataclasses.dataclass(frozen=True)
        class Moved(Table): ...

        unit = runs.unit(study, data=Table("a"))
        assert unit.key == runs.unit(study, data=Table("a")).key != runs.unit(study, data=Table("b")).key
        with pytest.raises(runs.UnitError, match="Moved is a lambda or local"):
            runs.unit(study, data=Moved("a"))

    def test_units_inside_arguments_count_by_their_key(self) -> None:
        small, large = runs.unit(study, rate=0.1), runs.unit(study, rate=0.2)
        outer = [runs.unit(study, steps={"models": [inner]}) for inner in (small, small, large)]
        assert outer[0] == outer[1] != outer[2]
        assert outer[0].key == outer[1].key != outer[2].key
        assert outer[0].dependencies == (small,)

    def test_later_changes_to_the_callers_list_do_not_reach_the_unit(self) -> None:
        steps = [1, 2]
        unit = runs.unit(study, steps=steps)
        steps.append(3)
        assert unit == runs.unit(study, steps=[1, 2])
        assert unit.arguments["steps"] == [1, 2]

    def test_pickled_units_are_the_same(self) -> None:
        unit = runs.unit(study, steps=[runs.unit(study, rate=0.2)], data=Recipe(3))
        copy = pickle.loads(pickle.dumps(unit))
        assert copy == unit
        assert copy.key == unit.key

    def test_work_is_no_part_of_the_key(self) -> None:
        unit = runs.unit(study)
        assert unit.sized(3e9) == unit
        assert unit.sized(3e9).key == unit.key
        assert unit.sized(3e9).work == 3e9


class TestRefusals:
    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            ({1, 2}, "argument steps is a set"),
            ([0, {"a": np.zeros(2)}], r"argument steps\[1\]\['a'\] is a ndarray"),
            (math.nan, "argument steps is NaN"),
            (Loose(), "dataclass that can change"),
            (Recipe(1, extra=Path("x")), r"argument steps\.extra is a PosixPath"),
            (Recipe(1, extra=[runs.unit(study)]), "holds a unit"),
            (pd.DataFrame(), "argument steps is a DataFrame"),
            (Point(1), "argument steps is a Point"),
            (lambda: 1, "lambda or local function"),
            (b"x", "is a bytes"),
        ],
    )
    def test_an_argument_that_cannot_be_hashed_is_named(self, steps: object, message: str) -> None:
        with pytest.raises(runs.UnitError, match=message) as error:
            runs.unit(study, steps=steps)
        assert "study" in str(error.value) or "lambda" in str(error.value)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [({"rat": 1}, "study: got an unexpected keyword argument 'rat'")],
    )
    def test_arguments_the_function_does_not_have(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(runs.UnitError, match=message):
            runs.unit(study, **arguments)

    @pytest.mark.parametrize("function", [scaled, gathered])
    def test_parameters_without_a_name(self, function: Callable[..., float]) -> None:
        with pytest.raises(runs.UnitError, match="cannot be passed by name"):
            runs.unit(function, by=1.0)

    def test_functions_no_worker_could_import(self) -> None:
        with pytest.raises(runs.UnitError, match=r"lambda.*move it to a \.py module"):
            runs.unit(lambda: 1)
        code = "def f(): ...\nfrom robust_lib import runs\nruns.unit(f)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "f is defined in a notebook or script (__main__); move it to a .py module" in done.stderr


class TestLabel:
    def test_says_what_is_not_the_default(self) -> None:
        inner = runs.unit(study, rate=0.25, data="mnli/train")
        assert inner.label == "study(mnli/train, rate=0.25)"
        assert runs.unit(study, data=inner, loss=losses.ce).label == f"study(data={inner.label}, ce)"

    def test_is_short(self) -> None:
        assert len(runs.unit(study, steps=list(range(1000))).label) <= 160


def test_closure_lists_dependencies_first_and_once() -> None:
    base = runs.unit(study, rate=0.1)
    left, right = (runs.unit(study, rate=rate, data=base) for rate in (0.2, 0.3))
    top = runs.unit(study, steps=[left, right])
    assert runs.closure([top, left]) == [base, left, right, top]


def test_a_chain_of_a_hundred_units_is_no_problem() -> None:
    unit = runs.unit(study)
    for _ in range(100):
        unit = runs.unit(study, data=unit)
    assert len(runs.closure([unit])) == 101
    assert pickle.loads(pickle.dumps(unit)).key == unit.key


def test_keys_are_the_same_in_every_process() -> None:
    code = (
        "import json, runs_work as work\nfrom robust_lib import runs\n"
        "print(json.dumps([runs.unit(work.total, folder='x', parts=[0.1, 2], name=name).key for name in 'ab']))"
    )
    keys = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        keys.append(json.loads(done.stdout))
    assert keys[0] == keys[1]
    assert keys[0][0] != keys[0][1]


def test_ten_thousand_keys_cost_little() -> None:
    shared = runs.unit(study, data=Recipe(1))
    started = time.process_time()
    keys = {
        runs.unit(study, data=shared, rate=index / 7, steps=[index, "mnli/train"]).key
        for index in range(10_000)
    }
    assert len(keys) == 10_000
    assert time.process_time() - started < 2
