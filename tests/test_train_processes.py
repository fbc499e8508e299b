"""One model trained by two processes (gloo, on the CPU) is the model that one process trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("train_script.py")
# `accelerate launch --cpu` starts one process unless there is MPI: this is its way for several GPUs, kept on the CPU.
LAUNCH = [
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", str(SCRIPT)),
]
NOTEBOOK = """
import socket
import sys
from accelerate import notebook_launcher
sys.path.insert(0, sys.argv[1])
import train_script
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
notebook_launcher(train_script.main, (sys.argv[2],), num_processes=2, use_port=str(port))
"""


def run(folder, *command):
    done = subprocess.run(
        [sys.executable, *command, str(folder)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(file, weights_only=True) for file in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    (one,) = run(tmp_path_factory.mktemp("alone"), str(SCRIPT))
    return one


@pytest.mark.parametrize(
    "command", [["-m", *LAUNCH], ["-c", NOTEBOOK, str(SCRIPT.parent)]], ids=["launch", "notebook"]
)
def test_two_processes_train_the_model_that_one_does(tmp_path, alone, command):
    """Without dropout the same losses and weights up to the order of sums; both processes end alike, with it too."""
    first, second = run(tmp_path, *command)
    assert "the loss is nan at step 0 of 8" in alone["diverged"]
    assert first["diverged"] == second["diverged"] == alone["diverged"]
    for name, training in alone["trainings"].items():
        one, other = first["trainings"][name], second["trainings"][name]
        assert all(torch.equal(value, other[key]) for key, value in one.items()), name
        apart = max((value - one[key]).abs().max().item() for key, value in training.items())
        assert apart > 1e-4 if name == "dropout" else apart < 1e-5, (name, apart)
