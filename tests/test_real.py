"""Notebook 01 on real MNLI and HANS with a real pretrained encoder, small: ROBUST_DATA and ROBUST_ENCODER name them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

HERE = os.environ.get("ROBUST_DATA"), os.environ.get("ROBUST_ENCODER")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(None in HERE, reason="ROBUST_DATA and ROBUST_ENCODER name no data and no encoder"),
]


def test_the_first_study_runs_on_real_input(executed: Callable[..., Path]) -> None:
    folder = executed(
        "01_robustness_study",
        scale="colab",
        source=HERE[0],
        encoder=HERE[1],
        tasks=["mnli"],
        train_paths={"mnli": "mnli/train_subset"},
        train_size=128,
        test_size=60,
        sparsities=[0.4],
        epochs=1,
        learning_rate=5e-5,
        max_length=64,
        seeds=[0],
    )
    table = pd.read_csv(folder / "01_robustness_study" / "table_1.csv")
    measured = table[table["row"] == "40%"].set_index("column")
    for column in ("MNLI DEV", "MNLI DEV hard", "MNLI HANS"):
        assert 0 <= measured.loc[column, "low"] < measured.loc[column, "high"] <= 100
        assert measured.loc[column, "seeds"] == 1
    assert measured.loc["MNLI HANS", "n"] == 60
    verdicts = {entry["verdict"] for entry in json.loads((folder / "scorecard.json").read_text())}
    assert "reproduced" not in verdicts
    record = json.loads((folder / "01_robustness_study" / "run.json").read_text())
    assert record["units"]["computed"] == 3 + 3 * 2
