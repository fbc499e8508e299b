"""Plans: nothing is run, read or asked for, and what is counted is right."""

import importlib
import os
import socket
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from robust_lib import __main__ as program
from robust_lib import commands, data, methods, models, params, plan, runs
from robust_lib.attack import lexica

ROOT = Path(__file__).parents[1]
CELLS = """\
# %% tags=["parameters"]
size = 100

# %% tags=["setup"]
from robust_lib import data, methods, models, runs, train
run = runs.start("01_robustness_study", {})

# %% tags=["units"]
split = data.Split("mnli", "mnli/train", "hub", size)
encoder = models.Encoder("BERT-base")
recipe = train.Recipe(epochs=2, learning_rate=1e-3, batch_size=32, max_length=64)
fixed = dict(encoder=encoder, recipe=recipe)
teachers = [runs.unit(methods.finetuned, split=split, seed=seed, **fixed) for seed in range(2)]

# %% tags=["run"]
teachers = run.collect(teachers)

# %%
raise SystemExit("only the cells of a plan are run")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROBUST_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBUST_STORE", str(tmp_path / "store"))
    return tmp_path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a plan asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def written(folder: Path, cells: str = CELLS) -> Path:
    file = folder / "01_robustness_study.py"
    file.write_text(cells)
    return file


def store(folder: Path) -> runs.Store:
    return runs.Store(folder / "store")


def table(text: str) -> dict[str, list[str]]:
    """The rows of a plan by their first word."""
    return {
        line.split()[0]: line.split()
        for line in text.splitlines()
        if line.startswith(("0", "all", "a ", "b "))
    }


def test_units_are_those_the_notebook_would_collect_with_the_values_given(folder: Path) -> None:
    units = plan.units(written(folder), {"size": 7})
    assert [unit.arguments["seed"] for unit in units] == [0, 1]
    assert {unit.arguments["split"].size for unit in units} == {7}
    assert [path.name for path in folder.iterdir()] == ["01_robustness_study.py"]


def test_a_cell_that_cannot_be_planned_is_named(folder: Path) -> None:
    with pytest.raises(params.ParameterError, match=r"cell `units`: DataError: .*size 0"):
        plan.units(written(folder), {"size": 0})


def test_shared_and_stored_units_are_counted_once(folder: Path) -> None:
    kept, shared, own = (runs.unit(textwrap.dedent, text=text).sized(3.6e13) for text in "ksx")
    store(folder).save(kept, "k", seconds=2.0)
    rows = table(plan.report({"a": [kept, shared], "b": [shared, own]}, store(folder)))
    assert rows["a"][:4] == ["a", "2", "1", "1"]
    assert rows["b"][:4] == ["b", "2", "1", "0"]
    assert rows["all,"][:6] == ["all,", "each", "once", "3", "1", "1"]


def test_hours_come_from_what_was_measured_and_else_from_what_is_assumed(folder: Path) -> None:
    big, small, left = (
        runs.unit(textwrap.dedent, text=text).sized(work)
        for text, work in zip("bsl", (8e12, 1e9, 3.6e15), strict=True)
    )
    store(folder).save(big, "b", seconds=2.0, device="GPU")
    store(folder).save(small, "s", seconds=9.0, device="GPU")
    speeds = {speed.device: speed for speed in plan.throughputs([big], store(folder))}
    assert speeds["GPU"].rate == 4e12
    assert speeds["GPU"].known == "measured on 1 stored unit of comparable size"
    assert {name for name, speed in speeds.items() if "assumed" in speed.known} == set(plan.ASSUMED)
    assert "GPU" not in {speed.device for speed in plan.throughputs([left], store(folder))}


def dug(depth: int, work: float, below: runs.Unit | None = None, gpus: float = 1.0) -> runs.Unit:
    """A unit of so much work, told apart by `depth`, that may need another."""
    return runs.unit(params.nearest, name=[depth, below], valid=["a"]).sized(work).placed(gpus)


def test_a_chain_takes_its_length_however_many_gpus_there_are() -> None:
    chain = [dug(0, 3e12)]
    for depth in (1, 2):
        chain.append(dug(depth, 3e12, chain[-1]))
    others = [dug(10 + number, 1e12) for number in range(9)]
    units = runs.closure([*chain, *others])
    assert plan.longest_chain(units) == (9e12, 3, 3e12)
    assert [plan.timetable(units, gpus).span for gpus in (1, 2, 10)] == [18e12, 9e12, 9e12]


@pytest.mark.parametrize("gpus", [1, 2, 3])
def test_a_timetable_is_within_the_bounds_of_list_scheduling(gpus: int) -> None:
    units: list[runs.Unit] = []
    for number in range(40):
        below = units[number // 2] if number % 3 == 0 and units else None
        units.append(dug(number, (number * 7 % 11 + 1) * 1e12, below))
    units = runs.closure(units)
    span, (chain, _, longest) = plan.timetable(units, gpus).span, plan.longest_chain(units)
    assert max(plan.work(units) / gpus, chain) <= span <= plan.work(units) / gpus + chain  # Graham 1966
    assert longest == 11e12


def test_units_that_share_a_gpu_share_its_speed_and_its_memory() -> None:
    halves = [dug(number, 1e12, gpus=0.5) for number in range(4)]
    table = plan.timetable(halves, 1)
    assert (table.span, table.units) == (4e12, 2)
    assert plan.timetable(halves, 4).span == 2e12


def test_the_request_names_hours_memory_disk_and_what_more_gpus_wait_for(folder: Path) -> None:
    units = runs.closure(plan.units(written(folder), {"size": 300_000}))
    text = plan.report({"01": units}, store(folder), [1, 2, 8])
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line[:2] in ("1 ", "2 ", "8 ")}
    assert rows["1"][1:3] == rows["2"][1:3] == rows["8"][1:3], "the two share one GPU at no loss"
    assert [rows[count][3] for count in "128"] == ["56%", "28%", "7%"]
    assert f"about {methods.memory(units[0]) / 1e9:.3g} GB for the largest unit" in text
    assert "1 unit, each waiting for the one before and taken at its share of a GPU" in text
    assert "cannot reach" not in text, "one GPU can"
    assert plan.request([dug(0, 0.0)], plan.throughputs([], store(folder)), [1]) == []


def test_too_few_gpus_for_the_longest_chain_are_told_as_a_bound_and_no_more(folder: Path) -> None:
    units = [dug(number, 2e12) for number in range(3)] + [long := dug(9, 3e12), dug(10, 1e12, long)]
    text = "\n".join(plan.request(units, plan.throughputs([], store(folder)), [1]))
    assert "to end so soon takes at least 3 GPUs" in text
    spans = [plan.timetable(units, gpus).span for gpus in (1, 2, 3, 4)]
    assert spans[1] > (chain := plan.longest_chain(units)[0])
    assert min(spans) == chain


def test_a_source_edited_while_it_is_planned_is_one_clear_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "edited_meanwhile.py").write_text("def made():\n    return 1\n")
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module("edited_meanwhile")
    unit = runs.unit(module.made)
    os.utime(folder / "edited_meanwhile.py", ns=(later := time.time_ns(), later))
    with pytest.raises(params.ParameterError, match=r"edited_meanwhile\.py was edited after this process"):
        plan.report({"a": [unit]}, store(folder))


def test_a_stored_methods_work_is_estimated_from_its_record(folder: Path) -> None:
    (unit, _) = plan.units(written(folder), {})
    micro = runs.unit(
        methods.finetuned, **unit.arguments | {"split": data.Split("mnli", "mnli/train", "micro", 100)}
    )
    meta = {"work": None, "function": micro.name, "arguments": {}, "device": "cpu", "seconds": 1.0}
    assert plan._recorded_work(meta) == 0
    meta["arguments"] = runs.units.describe(dict(unit.arguments))
    assert plan._recorded_work(meta) == methods.work(unit) > 0


def test_what_is_not_there_is_said(folder: Path) -> None:
    def prediction(source: str, encoder: str) -> runs.Unit:
        split = data.Split("mnli", "mnli/train", source)
        return runs.unit(
            methods.predicted, model=None, encoder=models.Encoder(encoder), split=split, max_length=8
        )

    (folder / "data").mkdir()
    there = prediction("hub", "google/bert_uncased_L-2_H-128_A-2")
    assert plan.missing([there]) == []
    problems = plan.missing(
        [there, prediction(str(folder / "none"), "./none"), prediction(str(folder / "data"), "./none")]
    )
    assert [
        part
        for part in ("no such data directory", "mnli/train.parquet: no such file", "no directory none")
        if sum(part in problem for problem in problems) != 1
    ] == []
    assert len(problems) == 3
    words = lexica.Words(str(folder / "data"), models.Encoder("./none"))
    attack = runs.unit(methods.calibrated, split=data.Split("mnli", "mnli/train", "micro"), words=words)
    problems = plan.missing([attack])
    assert [problem.startswith(f"words: {folder / 'data'}: ") for problem in problems] == [True] * 3
    assert f"`python -m robust_lib.attack build VECTORS {folder / 'data'}` makes" in problems[0]


@pytest.mark.parametrize("scale", ["micro", "colab", "paper"])
def test_the_plan_of_each_scale_needs_no_data_weights_or_network(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_network: None,
    capsys: pytest.CaptureFixture[str],
    scale: str,
) -> None:
    monkeypatch.setenv("ROBUST_HOME", str(ROOT))
    assert program.main(["plan", "--scale", scale]) == 0
    rows = table(capsys.readouterr().out)
    studies = [path.stem for path in commands.choose([], scale) if path.stem != "00_micro_world"]
    assert ("07_audit" in studies) == (scale == "micro")
    assert [name for name in studies if int(rows[name][1]) == 0] == []
    assert int(rows["all,"][3]) > 0
    assert not list(folder.iterdir())
