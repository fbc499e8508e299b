"""Units in two processes of `accelerate launch` (gloo, on the CPU): they train one model, and one of them keeps it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robust_lib import runs

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import runs_work as work  # noqa: E402

# `accelerate launch --cpu` starts one process unless there is MPI: this is its way for several GPUs, kept on the CPU.
LAUNCH = [
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
]


def collected(folder: Path, case: str, *launch: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]), "ACCELERATE_USE_CPU": "true",
        "ROBUST_RUNS": str(folder / "runs"), "ROBUST_STORE": str(folder / "store"), "ROBUST_WORKERS": "1",
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    command = [sys.executable, *launch, str(HERE / "runs_script.py"), str(folder), case]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)


def results(process: subprocess.CompletedProcess[str]) -> list[list[object]]:
    """What each process printed at its end."""
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in process.stdout.splitlines() if line.startswith("[")]


def test_two_processes_train_together_and_one_keeps_the_results(tmp_path: Path) -> None:
    first, second = results(collected(tmp_path / "two", "trained", *LAUNCH))
    (alone,) = results(collected(tmp_path / "one", "trained"))
    assert first == second
    assert first[0] == alone[0] == 1
    assert first[1] == pytest.approx(alone[1], abs=1e-5)
    assert first[2] == alone[2] == 3
    assert work.executed(tmp_path / "two") == {"number-1": 2, "number-2": 2, "fitted": 2, "total": 2}
    assert len(work.workers(tmp_path / "two")) == 2
    assert len(runs.Store(tmp_path / "two" / "store").keys()) == 4
    (again,) = results(collected(tmp_path / "two", "trained"))
    assert again == first
    assert work.executed(tmp_path / "two")["fitted"] == 2


def test_what_fails_in_both_is_said_by_both_and_the_rest_is_kept(tmp_path: Path) -> None:
    process = collected(tmp_path / "two", "trained-broken", *LAUNCH)
    assert process.returncode != 0
    assert process.stderr.count("1 unit failed; 4 others are kept") == 2
    assert len(runs.Store(tmp_path / "two" / "store").keys()) == 4


@pytest.mark.parametrize("error", ["MemoryError", "OSError"])
def test_what_one_process_meets_alone_ends_them_all(tmp_path: Path, error: str) -> None:
    """The other waits for it: without an end it would for ever."""
    process = collected(tmp_path / "two", f"alone-{error}", *LAUNCH)
    assert process.returncode != 0
    assert f"{error}: only here" in process.stderr
    assert len(runs.Store(tmp_path / "two" / "store").keys()) == 1
