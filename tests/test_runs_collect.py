"""Collecting units: each once, in the shape asked for, with one line of progress and a record of the run."""

import importlib
import io
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from robust_lib import runs
from robust_lib.runs import progress, schedule
from robust_lib.runs.store import Pace

HERE = Path(__file__).parent


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("runs_work")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUST_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBUST_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("ROBUST_WORKERS", "1")


@pytest.fixture
def run() -> runs.Run:
    return runs.start("01_test", {"scale": "micro", "seeds": [0, 1]})


def record(run: runs.Run) -> dict[str, Any]:
    return json.loads((run.directory / "run.json").read_text())


class TestResults:
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_each_unit_runs_once_and_comes_in_its_place(
        self, run: runs.Run, work: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
    ) -> None:
        monkeypatch.setenv("ROBUST_WORKERS", workers)
        folder = str(tmp_path)
        numbers = [runs.unit(work.number, folder=folder, value=value) for value in (1, 2, 3)]
        twin = runs.unit(work.number, folder=folder, value=1.0)
        total = runs.unit(work.total, folder=folder, parts=[*numbers, 10])
        named = runs.unit(work.named_total, folder=folder, parts={"a": numbers[:2], "b": [total]})
        frame = runs.unit(work.frame, folder=folder, rows=5)
        length = runs.unit(work.length, folder=folder, table=frame)
        results = run.collect({"first": [numbers[0], twin], "deep": {2: total, "n": named}, "length": length})
        assert results == {"first": [1, 1], "deep": {2: 16, "n": {"a": 3, "b": 16}}, "length": 5}
        assert set(work.executed(tmp_path).values()) == {1}
        assert len(work.executed(tmp_path)) == 7
        assert run.collect(total) == 16
        assert run.collect((total, total)) == [16, 16]
        assert run.collect([]) == []
        assert set(work.executed(tmp_path).values()) == {1}
        assert len(work.workers(tmp_path)) <= int(workers)

    def test_a_worker_has_one_torch_thread(
        self, run: runs.Run, work: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ROBUST_WORKERS", "2")
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert run.collect(
            [runs.unit(work.torch_threads, folder=str(tmp_path), name=name) for name in "ab"]
        ) == [1, 1]

    def test_a_finished_unit_needs_nothing_of_what_it_was_made_from(
        self, run: runs.Run, work: ModuleType, tmp_path: Path
    ) -> None:
        base = runs.unit(work.number, folder=str(tmp_path), value=1)
        total = runs.unit(work.total, folder=str(tmp_path), parts=[base])
        run.collect(total)
        (run.store.path / base.key[:2] / base.key).rename(tmp_path / "gone")
        assert run.collect(total) == 1
        assert work.executed(tmp_path)["number-1"] == 1

    def test_something_else_than_units_is_refused(self, run: runs.Run) -> None:
        with pytest.raises(TypeError, match="this holds a int"):
            run.collect([1])

    def test_workers_must_be_a_number(
        self, run: runs.Run, work: ModuleType, tmp_path: Path, monkeypatch: Any
    ) -> None:
        monkeypatch.setenv("ROBUST_WORKERS", "two")
        with pytest.raises(ValueError, match="ROBUST_WORKERS is 'two'"):
            run.collect(runs.unit(work.number, folder=str(tmp_path), value=1))


class TestFailures:
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_of_some_units_leave_the_others_done(
        self, run: runs.Run, work: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
    ) -> None:
        monkeypatch.setenv("ROBUST_WORKERS", workers)
        folder = str(tmp_path)
        bad = [runs.unit(work.fails, folder=folder, value=value) for value in (1, 2)]
        needs_bad = runs.unit(work.total, folder=folder, parts=[bad[0]], name="never")
        needs_that = runs.unit(work.total, folder=folder, parts=[needs_bad], name="never either")
        good = [runs.unit(work.number, folder=folder, value=value) for value in range(4)]
        with pytest.raises(runs.UnitsFailed) as error:
            run.collect([needs_that, bad[0], good[0], bad[1], *good[1:]])
        message = str(error.value)
        assert message.startswith("2 units failed, 2 that need them were not started; 4 others are kept")
        assert f"fails({folder}, value=1) [{bad[0].key[:8]}]: ValueError: cannot do 1" in message
        assert "cannot do 2" in message
        assert isinstance(error.value.__cause__, ValueError)
        assert all(unit in run.store for unit in good)
        assert not any(name.startswith("never") for name in work.executed(tmp_path))
        assert record(run)["status"] == "failed"
        assert record(run)["units"] == {"computed": 4, "reused": 0, "failed": 2, "skipped": 2}
        assert run.collect(good) == [0, 1, 2, 3]
        assert record(run)["status"] == "finished"

    def test_that_cannot_be_sent_between_processes_still_arrive(
        self, run: runs.Run, work: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ROBUST_WORKERS", "2")
        stubborn = runs.unit(work.fails_stubbornly, folder=str(tmp_path))
        other = runs.unit(work.number, folder=str(tmp_path), value=1)
        with pytest.raises(runs.UnitsFailed, match="StubbornError: no way") as error:
            run.collect([stubborn, other])
        assert "in fails_stubbornly" in "".join(error.value.__cause__.__notes__)  # type: ignore[union-attr]
        assert other in run.store

    def test_in_a_worker_that_cannot_import_the_function(
        self, run: runs.Run, work: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ROBUST_WORKERS", "2")
        (tmp_path / "here_only.py").write_text("def one(): return 1\ndef two(): return 2\n")
        os.utime(tmp_path / "here_only.py", (0, 0))
        monkeypatch.syspath_prepend(str(tmp_path))
        module = importlib.import_module("here_only")
        sys.path.remove(str(tmp_path))
        with pytest.raises(runs.UnitsFailed, match="No module named 'here_only'"):
            run.collect([runs.unit(module.one), runs.unit(module.two)])


class TestDamage:
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_is_redone_and_said(
        self, run: runs.Run, work: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
    ) -> None:
        monkeypatch.setenv("ROBUST_WORKERS", workers)
        frames = [runs.unit(work.frame, folder=str(tmp_path), rows=rows) for rows in (3, 4)]
        run.collect(frames)
        file = run.store.path / frames[0].key[:2] / frames[0].key / "frame.parquet"
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.warns(runs.DamagedWarning, match=re.escape(str(file))):
            tables = run.collect(frames)
        assert [len(table) for table in tables] == [3, 4]
        assert work.executed(tmp_path) == {"frame-3-0": 2, "frame-4-0": 1}
        assert len(list((run.store.path / "damaged").iterdir())) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run.collect(frames)

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_of_a_dependency_is_noticed_where_it_is_used(
        self, run: runs.Run, work: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
    ) -> None:
        monkeypatch.setenv("ROBUST_WORKERS", workers)
        frames = [runs.unit(work.frame, folder=str(tmp_path), rows=rows) for rows in (3, 4)]
        run.collect(frames)
        file = run.store.path / frames[0].key[:2] / frames[0].key / "frame.parquet"
        file.unlink()
        lengths = [runs.unit(work.length, folder=str(tmp_path), table=frame) for frame in frames]
        with pytest.warns(runs.DamagedWarning, match=f"{re.escape(str(file))} is missing; set aside as"):
            assert run.collect(lengths) == [3, 4]
        assert work.executed(tmp_path) == {"frame-3-0": 2, "frame-4-0": 1, "length": 2}


class TestEditedSource:
    def test_is_refused_by_the_process_that_runs_the_old_one(
        self, run: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "edited_module.py"
        file.write_text("def one():\n    return 1\n")
        monkeypatch.setattr("robust_lib.runs.source._STARTED", file.stat().st_mtime_ns + 1)
        monkeypatch.syspath_prepend(str(tmp_path))
        module = importlib.import_module("edited_module")
        assert run.collect(runs.unit(module.one)) == 1
        file.write_text("def one():\n    return 1  # the same\n")
        assert run.collect(runs.unit(module.one)) == 1
        file.write_text("def one():\n    return 22\n")
        with pytest.raises(
            runs.SourceChanged, match=r"edited_module\.py was edited after this process read it"
        ):
            run.collect(runs.unit(module.one))

    def test_before_its_first_use_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "edited_early.py"
        file.write_text("def one():\n    return 1\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        module = importlib.import_module("edited_early")
        file.write_text("def one():\n    return 22\n")
        with pytest.raises(
            runs.SourceChanged, match=r"edited_early\.py was edited after this process started"
        ):
            _ = runs.unit(module.one).key


class TestRecord:
    def test_tells_what_a_run_was_made_with(
        self, run: runs.Run, work: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert run.directory == tmp_path / "runs" / "micro" / "01_test"
        begun = record(run)
        assert (begun["notebook"], begun["status"], begun["seeds"]) == ("01_test", "started", [0, 1])
        assert begun["parameters"] == {"scale": "micro", "seeds": [0, 1]}
        assert begun["versions"].keys() >= {"python", "torch", "transformers"}
        assert (begun["finished"], begun["device"]) == (None, "cpu")
        units = [runs.unit(work.number, folder=str(tmp_path), value=value) for value in (1, 2)]
        run.collect(units[:1])
        run.collect(units)
        ended = record(run)
        assert ended["status"] == "finished"
        assert ended["units"] == {"computed": 2, "reused": 1, "failed": 0, "skipped": 0}
        assert ended["finished"] >= ended["started"] == begun["started"]
        assert [file.name for file in run.directory.iterdir()] == ["run.json"]

    def test_names_no_user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/somebody")
        run = runs.start(
            "01_test", {"scale": "colab", "source": "/home/somebody/data", "list": ["/home/somebodyelse"]}
        )
        assert record(run)["parameters"]["source"] == "~/data"
        assert record(run)["parameters"]["list"] == ["/home/somebodyelse"]
        assert run.directory.parent.name == "colab"

    def test_has_the_commit_and_whether_files_differ(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ROBUST_HOME", str(tmp_path))
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        assert runs.commit() is None
        for command in (
            "init -q",
            "config user.email a@b",
            "config user.name a",
            "add file",
            "commit -qm first",
        ):
            (tmp_path / "file").write_text("1")
            subprocess.run(["git", "-C", str(tmp_path), *command.split()], check=True)
        clean = runs.commit()
        assert clean is not None
        assert re.fullmatch("[0-9a-f]{40}", clean["commit"])
        assert not clean["dirty"]
        (tmp_path / "file").write_text("2")
        assert runs.commit() == {**clean, "dirty": True}

    def test_home_is_the_nearest_folder_with_parameters_and_notebooks(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("ROBUST_HOME", raising=False)
        (tmp_path / "params").mkdir()
        (tmp_path / "notebooks" / "deep").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "notebooks" / "deep")
        assert runs.home() == tmp_path
        monkeypatch.chdir("/")
        assert runs.home() == Path("/")
        monkeypatch.setenv("ROBUST_HOME", "/elsewhere")
        assert runs.home() == Path("/elsewhere")


class TestPlanning:
    def test_touches_no_disk_and_gives_the_units(self, work: ModuleType, tmp_path: Path) -> None:
        units = {"a": runs.unit(work.number, folder=str(tmp_path), value=1)}
        with runs.planning() as plan:
            run = runs.start("01_test", {"scale": "micro"})
            with pytest.raises(runs.Planned) as planned:
                run.collect(units)
        assert planned.value.units == plan.units == [units["a"]]
        assert list(tmp_path.iterdir()) == []
        assert runs.start("01_test", {"scale": "micro"}).collect(units) == {"a": 1}


def line_in(
    stream: io.StringIO, *, tty: bool, monkeypatch: pytest.MonkeyPatch
) -> tuple[progress.Line, list[float]]:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    stream.isatty = lambda: tty  # type: ignore[method-assign]
    return progress.Line(stream), clock


class TestProgress:
    def test_in_a_log_is_a_plain_line_now_and_then(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = io.StringIO()
        line, clock = line_in(stream, tty=False, monkeypatch=monkeypatch)
        for second in range(3600):
            clock[0] = second
            if line.due:
                line.show(f"at {second}")
        line.show("end", last=True)
        lines = stream.getvalue().splitlines()
        assert lines[:3] == ["at 0", "at 15", "at 30"]
        assert 30 < len(lines) < 60
        assert lines[-1] == "end"
        assert stream.getvalue().isprintable() or set(re.findall(r"[^\x20-\x7e]", stream.getvalue())) == {
            "\n"
        }

    def test_on_a_terminal_stays_in_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = io.StringIO()
        line, _ = line_in(stream, tty=True, monkeypatch=monkeypatch)
        monkeypatch.setenv("COLUMNS", "20")
        for text in ("a long line that does not fit", "short"):
            line.show(text)
        line.show("end", last=True)
        assert stream.getvalue() == "\ra long line that do\rshort              \rend  \n"

    def test_estimate_weighs_units_by_their_function(self, work: ModuleType) -> None:
        def number(value: int) -> runs.Unit:
            return runs.unit(work.number, folder="x", value=value)

        slow = runs.unit(work.frame, folder="x", rows=1)
        history = {number(0).name: Pace(units=2, seconds=20.0, bytes=0, work=None)}
        estimate = progress.Estimate(history)
        assert estimate.seconds(number(1)) == 10
        assert estimate.left([(number(1), 4.0), (number(2), 0.0)], workers=1) == 16
        assert estimate.left([(slow, 0.0)], workers=1) is None
        estimate.add(number(1), 2.0)
        assert estimate.seconds(number(2)) == 2  # this run, on this machine, counts more than history
        assert estimate.seconds(slow) == 2
        estimate.add(slow, 60.0)
        assert estimate.left([(slow, 0.0), (slow, 30.0), (number(3), 0.0)], workers=2) == 60

    def test_estimate_weighs_units_by_their_work(self, work: ModuleType) -> None:
        unit = runs.unit(work.number, folder="x", value=1)
        estimate = progress.Estimate({unit.name: Pace(units=1, seconds=10.0, bytes=0, work=100.0)})
        assert estimate.seconds(unit.sized(50.0)) == 5
        estimate.add(unit.sized(10.0), 2.0)
        assert estimate.seconds(unit.sized(50.0)) == 10

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3 * 3600 + 61, "3:01:01"), (200_000, "2 d 7 h")],
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert progress.duration(seconds) == text

    def test_line_has_counts_time_and_what_runs(self) -> None:
        counts = schedule.Counts(computed=3, reused=8, failed=1)
        assert schedule.summary(counts, 28, 65.0, 130.0, "imp(mnli/train)") == (
            "11/40 units (8 kept from before), 1 failed · 1:05, about 2:10 left · imp(mnli/train)"
        )
        assert schedule.summary(schedule.Counts(computed=2), 0, 5.0) == "2/2 units · 0:05"

    def test_of_a_run_ends_with_all_done(
        self, run: runs.Run, work: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run.collect([runs.unit(work.number, folder=str(tmp_path), value=value) for value in range(3)])
        first, last = capsys.readouterr().out.splitlines()
        assert first == f"0/3 units · 0:00 · number({tmp_path}, value=0)"
        assert re.fullmatch(r"3/3 units · 0:0\d", last)
