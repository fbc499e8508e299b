"""Shapes in the kernels' signatures are checked while testing; one thread, no hub unless a test brings its own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

KERNELS = ["losses", "masks", "smoothing", "heads", "quantize"]
install_import_hook([f"robust_lib.{name}" for name in KERNELS], "beartype.beartype")

ROOT = Path(__file__).parents[1]


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Executes a notebook of this checkout in a kernel, with values over its tagged cell; gives the runs folder.

    `executed("01_robustness_study", tasks=["mnli"], train_size=64)`. Outputs and store are the test's own.
    """
    from robust_lib import execution, params

    monkeypatch.setenv("ROBUST_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBUST_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("ROBUST_WORKERS", "1")

    def execute(name: str, /, **given: Any) -> Path:
        notebook, folder = ROOT / "notebooks" / f"{name}.py", tmp_path / "runs"
        scale = params.gather(notebook, given=given).scale
        output = folder / scale / "notebooks" / f"{name}.ipynb"
        failure = execution.execute(notebook, given, output, tables=folder / scale)
        assert not failure, failure
        return folder / scale

    return execute


@pytest.fixture(scope="session")
def pair_of_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, its compressed versions and data to audit them with (see `audit.example.build`)."""
    from robust_lib import train
    from robust_lib.audit import example

    recipe = train.Recipe(epochs=2, learning_rate=1e-3, batch_size=16, max_length=40, warmup=0.1)
    folder = tmp_path_factory.mktemp("pair") / "models"
    return example.build(folder, encoder="micro-tiny", train_size=400, test_size=120, recipe=recipe)
