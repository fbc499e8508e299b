"""Real faults, in processes of their own: kills, damaged and full disks, two processes on one store, interrupts."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from robust_lib import runs

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import runs_script as script  # noqa: E402
import runs_work as work  # noqa: E402
from runs_driver import Launch, alive, launching, record, until  # noqa: E402


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts `runs_script.py` with a case and so many workers."""
    with launching(tmp_path) as start:
        yield lambda case, *limit, workers=1, **more: start(case, *limit, ROBUST_WORKERS=str(workers), **more)


def result(process: subprocess.Popen[str]) -> list[object]:
    """The results a process printed at its end."""
    output, errors = process.communicate(timeout=14)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_kill_in_the_middle_of_a_unit_loses_that_unit_alone(
    launch: Launch, tmp_path: Path, workers: int
) -> None:
    """With workers, the parent is killed, and they end with it."""
    killed = launch("waiting-60", workers=workers)
    until(lambda: sum(work.executed(tmp_path).values()) == 3, "the third unit")
    until(lambda: len(runs.Store(tmp_path / "store").keys()) == 2, "two finished units")
    killed.send_signal(signal.SIGKILL)
    until(lambda: not any(map(alive, work.workers(tmp_path))), "the workers' end")
    units = script.cases(str(tmp_path), "waiting-60")
    store = runs.Store(tmp_path / "store")
    assert [unit in store for unit in units] == [True, True, False]
    assert [store.load(unit) for unit in units[:2]] == [1, 2]
    second = launch("waiting-60", workers=workers)
    until(lambda: work.executed(tmp_path)["slow"] == 2, "the third unit again")
    assert work.executed(tmp_path) == {"number-1": 1, "number-2": 1, "slow": 2}
    second.kill()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_unit_with_a_journal_goes_on_where_it_was(
    launch: Launch, tmp_path: Path, workers: int
) -> None:
    killed = launch("parts-0.05", workers=workers)
    until(lambda: work.executed(tmp_path)["part-5"] == 1, "the sixth part")
    killed.send_signal(signal.SIGKILL)
    until(lambda: not any(map(alive, work.workers(tmp_path))), "the workers' end")
    begun = len(work.executed(tmp_path))
    (journal,) = (tmp_path / "store" / "journals").iterdir()
    journal.write_text(journal.read_text() + '00000000 ["39", "damaged"]\n1234 ["38", ')
    # The part in flight is done anew; what the damaged lines say is not believed.
    assert result(launch("parts-0.05", workers=workers)) == [[part**2 for part in range(40)]]
    executed = work.executed(tmp_path)
    assert [executed[f"part-{part}"] for part in range(begun - 1)] == [1] * (begun - 1)
    assert sum(executed.values()) in (40, 41)
    assert list((tmp_path / "store" / "journals").iterdir()) == []


def test_a_kill_in_the_middle_of_a_write_leaves_nothing_that_is_used(launch: Launch, tmp_path: Path) -> None:
    """The process is stopped while its large frame is in `partial/`, and killed there."""
    store = runs.Store(tmp_path / "store")
    rows = 3_000_000
    for _ in range(5):
        writing = launch(f"frames-{rows}")
        until(
            lambda: any((store.path / "partial").glob("*/frame.parquet")) and len(store.keys()) == 2,
            "writing",
        )
        writing.send_signal(signal.SIGSTOP)
        if len(store.keys()) == 2:
            break
        rows += 1  # it was faster than we looked: once more
    writing.send_signal(signal.SIGKILL)
    writing.wait()
    units = script.cases(str(tmp_path), f"frames-{rows}")
    assert [unit in store for unit in units] == [True, True, False]
    assert os.listdir(store.path / "partial")[0].startswith(units[2].key)
    again = launch(f"frames-{rows}")
    until(lambda: units[2] in store, "the large frame in its place")
    again.send_signal(signal.SIGSTOP)
    assert store.verify() == []  # what can be seen is there completely, at any moment
    again.send_signal(signal.SIGCONT)
    assert result(again) == [10, 20, rows]
    assert os.listdir(store.path / "partial") == []
    assert not (store.path / "damaged").exists()
    assert work.executed(tmp_path) == {"frame-10-0": 1, "frame-20-0": 1, f"frame-{rows}-0": 2}
    assert len(store.load(units[2])) == rows
    assert store.verify() == []


def full(process: subprocess.Popen[str], store: Path, tmp_path: Path) -> None:
    """The one clear error of a full disk, nothing half-written, the two small units kept."""
    _, errors = process.communicate(timeout=14)
    assert process.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith(f"robust_lib.runs.store.StoreFull: {store}: cannot write (")
    assert re.search(
        r"\); \d+\.\d MB are free\. What was finished is kept: make room, or point ROBUST_STORE", last
    )
    kept = runs.Store(store)
    small = script.cases(str(tmp_path), "frames-1")[:2]
    assert kept.keys() == {unit.key for unit in small}
    assert [len(kept.load(unit)) for unit in small] == [10, 20]
    assert os.listdir(store / "partial") == []
    assert record(tmp_path)["status"] == "failed"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_clear_error(launch: Launch, tmp_path: Path, workers: int) -> None:
    """Here: a limit on the size of files, which needs no rights. Workers inherit it."""
    full(launch("frames-300000", "1000000", workers=workers), tmp_path / "store", tmp_path)
    assert result(launch("frames-300000")) == [10, 20, 300000]
    assert work.executed(tmp_path) == {"frame-10-0": 1, "frame-20-0": 1, "frame-300000-0": 2}


def test_a_full_file_system_is_one_clear_error(launch: Launch, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        full(launch("frames-300000", store=disk), disk, tmp_path)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_two_processes_on_one_store_compute_each_unit_once(
    launch: Launch, tmp_path: Path, workers: int
) -> None:
    processes = [launch("shared-16", workers=workers) for _ in range(2)]
    assert [result(process) for process in processes] == [list(range(16))] * 2
    assert work.executed(tmp_path) == {f"number-{value}": 1 for value in range(16)}


def test_two_processes_share_the_work(launch: Launch, tmp_path: Path) -> None:
    """One that finds a unit taken goes on with the next instead of waiting."""
    slow = launch("waiting-3")
    until(lambda: work.executed(tmp_path)["slow"] == 1, "the slow unit")
    other = launch("after-3")
    until(lambda: work.executed(tmp_path)["number-5"] == 1, "a later unit in the other process")
    assert slow.poll() is None
    assert result(other) == ["slow", 5]
    assert result(slow) == [1, 2, "slow"]
    assert work.executed(tmp_path)["slow"] == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_keeps_what_is_finished(launch: Launch, tmp_path: Path, workers: int) -> None:
    """Ctrl-C reaches the whole process group, as from a terminal."""
    process = launch("waiting-60", workers=workers)
    until(lambda: work.executed(tmp_path)["slow"] == 1, "the slow unit")
    until(lambda: len(runs.Store(tmp_path / "store").keys()) == 2, "two finished units")
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT
    assert output.splitlines()[-1] == "interrupted: 2 of 3 units are kept, run again to go on"
    assert errors.strip().splitlines()[-1] == "KeyboardInterrupt"
    assert not any(map(alive, work.workers(tmp_path)))
    assert record(tmp_path)["status"] == "interrupted"
    assert os.listdir(tmp_path / "store" / "partial") == []
    finished = runs.Store(tmp_path / "store").keys()
    assert [unit.key in finished for unit in script.cases(str(tmp_path), "waiting-60")] == [True, True, False]


def test_an_interrupt_while_workers_start_is_one_traceback(launch: Launch) -> None:
    process = launch("waiting-60", workers=2)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("0/3 units")
    time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1, errors


class TestKilledWorkers:
    @pytest.fixture(autouse=True)
    def places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ROBUST_RUNS", str(tmp_path / "runs"))
        monkeypatch.setenv("ROBUST_STORE", str(tmp_path / "store"))
        monkeypatch.setenv("ROBUST_WORKERS", "2")

    def test_a_unit_whose_worker_is_killed_once_is_tried_again(self, tmp_path: Path) -> None:
        run = runs.start("test", {})
        once = runs.unit(work.dies, folder=str(tmp_path), times=1)
        assert run.collect([once, runs.unit(work.number, folder=str(tmp_path), value=1)]) == ["survived", 1]
        assert work.executed(tmp_path)["dies-1"] == 2

    def test_a_unit_that_kills_its_worker_fails_and_the_others_finish(self, tmp_path: Path) -> None:
        run = runs.start("test", {})
        deadly = runs.unit(work.dies, folder=str(tmp_path), times=9)
        others = [
            runs.unit(work.number, folder=str(tmp_path), value=value, seconds=0.3) for value in range(4)
        ]
        with pytest.raises(runs.UnitsFailed, match="1 unit failed; 4 others are kept") as error:
            run.collect([others[0], deadly, *others[1:]])
        assert isinstance(error.value.__cause__, runs.WorkerDied)
        assert work.executed(tmp_path)["dies-9"] == 2
        assert run.collect(others) == [0, 1, 2, 3]


def test_an_interrupted_kernel_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real Jupyter kernel: one line updated in place, an interrupt, and the same cell again."""
    from jupyter_client.manager import start_new_kernel

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]))
    monkeypatch.setenv("ROBUST_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("ROBUST_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBUST_WORKERS", "2")
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        shown: list[dict[str, object]] = []

        def execute(code: str, interrupt_when: Callable[[], bool] = lambda: False) -> str:
            """The error's name, or ok."""
            asked = client.execute(code)
            while True:
                with suppress(Exception):  # nothing said yet
                    message = client.get_iopub_msg(timeout=0.1)
                    if message["parent_header"].get("msg_id") == asked:
                        shown.append({"type": message["msg_type"], **message["content"]})
                        if (
                            message["msg_type"] == "status"
                            and message["content"]["execution_state"] == "idle"
                        ):
                            return str(client.get_shell_msg(timeout=10)["content"].get("ename", "ok"))
                if interrupt_when():
                    interrupt_when = lambda: False  # noqa: E731
                    manager.interrupt_kernel()

        def time_to_interrupt() -> bool:
            return work.executed(tmp_path)["slow"] == 1 and len(runs.Store(tmp_path / "store").keys()) == 2

        assert execute("import runs_script as script\nfrom robust_lib import runs") == "ok"
        assert (
            execute(f"units = script.cases({str(tmp_path)!r}, 'waiting-60'); run = runs.start('test', {{}})")
            == "ok"
        )
        assert execute("run.collect(units)", time_to_interrupt) == "KeyboardInterrupt"
        kinds = [item["type"] for item in shown]
        assert kinds.count("display_data") == 1
        assert "update_display_data" in kinds
        last = [item for item in shown if item["type"] == "update_display_data"][-1]
        assert re.search("interrupted: 2 of 3 units are kept, run again to go on", str(last["data"]))
        assert execute("assert run.collect(units[:2]) == [1, 2]") == "ok"
        assert work.executed(tmp_path) == {"number-1": 1, "number-2": 1, "slow": 1}
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
