"""The published error lists of paper 2: made-up directories, and the real ones against the printed Jaccards."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robust_lib import compare, data, published

MODELS = ["BERT-large", "BERT-base", "Distil-BERT", "BERT-medium", "BERT-mini", "Tiny-BERT"]
FILES = ["bert_large", "bert_base", "distil_bert", "bert_medium", "bert_mini", "tiny_bert"]
REAL = os.environ.get("ROBUST_DATA", "")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Four questions q3 to q0; model i gets the last i of them wrong, but at least one."""
    ids = [f"q{i}" for i in (3, 2, 1, 0)]
    same = {"title": "a title", "context": "a context", "question": "what?"}
    questions = [{"id": one, **same, "answers": {"text": [], "answer_start": []}} for one in ids]
    (tmp_path / "squad").mkdir()
    pd.DataFrame(questions).to_parquet(tmp_path / "squad" / "validation_v2.parquet")
    folder = tmp_path / "published" / "miniature_error_ids"
    folder.mkdir(parents=True)
    for i, name in enumerate(FILES):
        listed = [f"q{row}" for row in range(min(max(i, 1), 4))]
        (folder / f"{name}.json").write_text(json.dumps(listed), encoding="utf-8")
    return tmp_path


def test_error_lists_hold_every_question_and_model(directory: Path) -> None:
    found = data.error_lists(str(directory))
    assert list(found.columns) == MODELS
    assert list(found.index) == ["q3", "q2", "q1", "q0"]
    assert set(found.dtypes) == {np.dtype(bool)}
    assert found.sum().tolist() == [1, 1, 2, 3, 4, 4]
    assert found["Distil-BERT"].tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "tiny_bert.json: no such error list: the lists are published at github.com"),
        ('["q0", ', "tiny_bert.json: not a readable JSON file"),
        ('{"q0": true}', "tiny_bert.json: an error list is a JSON list of question ids, as strings"),
        ("[]", "tiny_bert.json: an error list is a JSON list"),
        ('["q0", 1]', "tiny_bert.json: an error list is a JSON list"),
        ('["q0", "q1", "q0"]', "tiny_bert.json: 1 ids stand twice, first 'q0'"),
        ('["q0", "q7", "q8"]', "json: 2 ids are of no question of squad/validation_v2, first 'q7'"),
    ],
)
def test_an_odd_list_is_named(directory: Path, content: str | None, message: str) -> None:
    file = directory / "published" / "miniature_error_ids" / "tiny_bert.json"
    file.unlink() if content is None else file.write_text(content, encoding="utf-8")
    with pytest.raises(data.DataError, match=message):
        data.error_lists(str(directory))


def test_lists_without_their_questions_say_where_these_are(directory: Path) -> None:
    (directory / "squad" / "validation_v2.parquet").unlink()
    with pytest.raises(data.DataError, match=r"validation_v2.*no such file"):
        data.error_lists(str(directory))


@pytest.fixture(scope="module")
def wrong() -> pd.DataFrame:
    if not (Path(REAL) / "published" / "miniature_error_ids").is_dir() or not REAL:
        pytest.skip("ROBUST_DATA has no published error lists")
    return data.error_lists(REAL)


PRINTED = published.table(2, "Table 2").query("column == 'Prediction Errors'").set_index("row")["printed"]


@pytest.mark.real
@pytest.mark.parametrize("pair", PRINTED.index)
def test_the_published_lists_give_the_printed_jaccard(wrong: pd.DataFrame, pair: str) -> None:
    first, second = pair.split(" / ")
    arm = compare.paired("squad", "squad/validation_v2", {0: wrong[first]}, {0: wrong[second]})
    found = compare.pair_agreement(arm, "jaccard")
    assert round(found.value, 3) == PRINTED[pair]
    assert found.n == 11_873


@pytest.mark.real
def test_the_published_lists_have_the_sizes_of_the_repository(wrong: pd.DataFrame) -> None:
    assert len(PRINTED) == 15
    assert wrong.sum().tolist() == [2701, 3236, 4294, 4026, 5423, 6206]
    assert wrong.all(axis=1).sum() == 851
    assert wrong.any(axis=1).sum() == 9182
