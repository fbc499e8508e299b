"""The audit from its notebook: a model against itself, a relabelled copy, a function that fails, pairs of texts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robust_lib import data, params, train
from robust_lib.audit import example

ROOT = Path(__file__).parents[1]
QUICK = {
    "scale": "own",
    "minutes": 0.3,
    "speed_batches": [4],
    "speed_rounds": 2,
    "sentences": None,
    "ood": None,
}
QUICK |= {"train": None, "second": None, "slices": []}
FUNCTION = """
import numpy as np

def half_mute(texts):
    rows = np.array([[0.3, 0.7] if len(text) % 2 else [0.8, 0.2] for text in texts])
    rows[np.array(["not" in text for text in texts])] = np.nan
    return rows
"""


PAIR = {"original": "original", "compressed": "student"}


def told(folder: Path, name: str) -> dict[str, Any]:
    """What the page's JSON says."""
    return json.loads((folder / "07_audit" / name / "audit.json").read_text(encoding="utf-8"))


def kinds(found: dict[str, Any]) -> set[tuple[str, str]]:
    return {(problem["kind"], problem["where"]) for problem in found["problems"]}


def test_a_model_against_itself_is_loyal_and_every_test_is_silent(
    executed: Callable[..., Path], pair_of_models: Path
) -> None:
    own = str(pair_of_models / "original")
    places = {name: str(pair_of_models / f"{name}.csv") for name in ("test", "ood", "train")}
    given = QUICK | places | {"original": own, "compressed": own, "second": own, "slices": ["length > 8"]}
    found = told(executed("07_audit", **given, name="itself"), "itself")
    rows = pd.DataFrame(found["findings"])
    loyalty = rows[rows["measure"].isin(["label loyalty", "probability loyalty"])]
    assert len(loyalty) > 4
    assert np.allclose(loyalty["value"], 100)
    assert (rows[rows["topic"] == "flips"]["value"] == 0).all()
    tested = rows[rows["test"] != ""]
    assert len(tested) > 10
    assert (tested["p"] == 1).all()
    assert not rows["verdict"].str.startswith(("worse", "better")).where(rows["topic"] != "cost", False).any()
    assert {"accuracy", "loyalty", "flips", "calibration", "out of distribution", "difficulty", "neighbours", "attack",
            "cost"} <= set(rows["topic"])  # fmt: skip
    assert {row["measure"] for row in found["unmeasured"]} == set()


def test_a_relabelled_copy_is_found_with_the_permutation(
    executed: Callable[..., Path], pair_of_models: Path
) -> None:
    own = str(pair_of_models / "original")
    copy = {"place": own, "labels": ["positive", "negative"]}
    given = QUICK | {"original": own, "compressed": copy, "test": str(pair_of_models / "test.csv")}
    found = told(executed("07_audit", **given, name="relabelled", source=None), "relabelled")
    (swap,) = (one for one in found["problems"] if "swapped" in one["kind"])
    assert swap["where"] == "compressed"
    assert "labels: [negative, positive]" in swap["remedy"]
    assert {row["measure"] for row in found["unmeasured"]} >= {
        "attack",
        "second training",
        "out of distribution",
    }


def test_a_function_and_what_it_cannot_answer_are_named(
    executed: Callable[..., Path], pair_of_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    private = "nobody is to read this note"
    function = {"place": f"{tmp_path}/mine.py:half_mute", "labels": ["negative", "positive"]}
    table = pd.read_csv(pair_of_models / "test.csv").assign(note=private)
    table.to_csv(tmp_path / "notes.csv", index=False)
    mute = int(table["sentence"].str.contains("not").sum())
    assert mute
    given = QUICK | {"original": str(pair_of_models / "original"), "compressed": function}
    given |= {"test": {"place": str(tmp_path / "notes.csv"), "text": ["sentence"]}, "examples": 0}
    folder = executed("07_audit", **given, name="function")
    found = told(folder, "function")
    assert ("outputs not finite", "compressed, test") in kinds(found)
    accuracy = next(row for row in found["findings"] if row["measure"] == "accuracy" and not row["part"])
    assert accuracy["n"] == len(table) - mute
    assert "neighbours" in {row["measure"] for row in found["unmeasured"]}
    # No text of the table stands in anything that was written.
    written = "".join(
        file.read_bytes().decode(errors="replace") for file in (folder / "07_audit" / "function").iterdir()
    )
    texts = [private, *table["sentence"]]
    assert not [text for text in texts if len(text) > 12 and text in written]


def test_a_table_without_labels_gets_what_needs_none(
    executed: Callable[..., Path], pair_of_models: Path, tmp_path: Path
) -> None:
    pd.read_csv(pair_of_models / "test.csv")[["sentence"]].to_csv(tmp_path / "texts.csv", index=False)
    given = QUICK | {name: str(pair_of_models / part) for name, part in PAIR.items()}
    found = told(executed("07_audit", **given, test=str(tmp_path / "texts.csv"), name="texts"), "texts")
    assert {row["topic"] for row in found["findings"]} == {"loyalty", "neighbours", "cost"}
    assert {row["measure"] for row in found["unmeasured"]} >= {"accuracy", "flips", "calibration", "attack"}


def test_pairs_are_audited_out_of_distribution_too(executed: Callable[..., Path], tmp_path: Path) -> None:
    recipe = train.Recipe(epochs=1, learning_rate=1e-3, batch_size=16, max_length=40)
    sizes = dict(train_size=200, test_size=80, recipe=recipe)
    made = example.build(
        tmp_path / "pairs", encoder="micro-tiny", task="mnli", ood="hans/validation", **sizes
    )
    given = QUICK | {name: str(made / f"{name}.csv") for name in ("test", "ood")}
    given |= {"original": str(made / "original"), "compressed": str(made / "student")}
    found = told(executed("07_audit", **given, name="pairs"), "pairs")
    rows = {(row["measure"], row["set"]) for row in found["findings"]}
    assert {("accuracy", "test"), ("accuracy", "ood"), ("label loyalty", "ood")} <= rows
    assert found["sets"]["test"]["text"] == ", ".join(data.TASKS["mnli"].text)


def test_the_example_file_names_an_audit_that_can_be_made() -> None:
    notebook = ROOT / "notebooks" / "07_audit.py"
    checked = params.gather(notebook, file=ROOT / "params" / "my_audit.yaml")
    assert (checked.scale, checked.minutes) == ("own", 3.0)
    assert set(params.load(ROOT / "params" / "my_audit.yaml")) >= {
        "original",
        "compressed",
        "second",
        "test",
        "ood",
    }


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"compressed": "nowhere/model"}, ["nowhere/model", "transformers directory"]),
        ({"test": "nowhere.csv"}, ["nowhere.csv"]),
        ({"slices": ["colour"]}, ["colour", "length"]),
        ({"test": {"place": "few.csv", "text": ["sentence"]}}, ["few.csv", "8 rows"]),
    ],
)
def test_what_is_not_there_is_one_error_that_names_it(
    executed: Callable[..., Path],
    pair_of_models: Path,
    tmp_path: Path,
    given: dict[str, Any],
    names: list[str],
) -> None:
    own = str(pair_of_models / "original")
    known = QUICK | {"original": own, "compressed": own, "test": str(pair_of_models / "test.csv")}
    pd.read_csv(pair_of_models / "test.csv").head(8).to_csv(tmp_path / "few.csv", index=False)
    if isinstance(given.get("test"), dict):
        given = {"test": given["test"] | {"place": str(tmp_path / "few.csv")}}
    with pytest.raises(AssertionError) as failed:  # of the fixture: the notebook failed
        executed("07_audit", **known | given | {"name": "wrong", "source": None})
    message = str(failed.value)
    assert [name for name in names if name not in message] == []
