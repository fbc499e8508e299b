"""Bad data, each kind a real file: one DataError that names the file, the column, the value and the remedy."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robust_lib import data
from robust_lib.data import tasks

ROWS = 6
GOOD: dict[str, dict[str, list[Any]]] = {
    "mnli/train": {
        "premise": [f"premise {row}" for row in range(ROWS)],
        "hypothesis": [f"hypothesis {row}" for row in range(ROWS)],
        "label": ["entailment", "neutral", "contradiction"] * 2,
    },
    "hans/validation": {
        "premise": ["The dog saw it ."] * ROWS,
        "hypothesis": ["It saw the dog ."] * ROWS,
        "label": ["entailment", "non-entailment"] * 3,
        "heuristic": ["lexical_overlap", "subsequence", "constituent"] * 2,
        "subcase": ["ln_subject/object_swap"] * ROWS,
    },
    "squad/validation_v2": {
        "id": [str(row) for row in range(ROWS)],
        "title": ["title"] * ROWS,
        "context": ["a naïve answer here"] * ROWS,
        "question": ["what?"] * ROWS,
        "answers": [{"text": ["answer"], "answer_start": [8]}] * ROWS,
    },
    "fever/dev": {
        "claim": ["A claim ."] * ROWS,
        "evidence": ["Some evidence ."] * ROWS,
        "label": ["SUPPORTS", "REFUTES", "NOT ENOUGH INFO"] * 2,
    },
}


def table(path: str, **columns: list[Any] | pa.Array | None) -> pa.Table:
    """A good split with some columns replaced, or left out where None."""
    good: dict[str, Any] = GOOD[path] | columns
    return pa.table({name: values for name, values in good.items() if values is not None})


def written(file: Path, content: pa.Table) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, file)
    return file


def refusal(directory: Path, path: str) -> str:
    """The message of the DataError that reading the split ends in."""
    with pytest.raises(data.DataError) as error:
        data.Split(tasks.dataset(path).task, path, str(directory)).frame()
    message = str(error.value)
    assert "\n" not in message
    assert error.value.__cause__ is None, "the reader sees one error, not the stack of a library"
    assert error.value.__suppress_context__ or error.value.__context__ is None
    return message


def changed(row: int, value: object, column: str, path: str = "mnli/train") -> list[Any]:
    """A column of a good split with one value changed."""
    values: list[Any] = list(GOOD[path][column])
    values[row] = value
    return values


def test_the_good_files_are_good(tmp_path: Path) -> None:
    for path in GOOD:
        written(tmp_path / f"{path}.parquet", table(path))
        assert len(data.Split(tasks.dataset(path).task, path, str(tmp_path)).frame()) == ROWS


# Files that are no parquet files, or no longer


def truncated(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def without_its_end(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def with_a_broken_footer(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for place in range(len(content) - 40, len(content) - 8):
        content[place] ^= 0xFF
    file.write_bytes(content)


def with_zeroed_pages(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:4] + bytes(len(content) // 4) + content[4 + len(content) // 4 :])


DAMAGES: list[Callable[[Path], object]] = [
    truncated,
    without_its_end,
    with_a_broken_footer,
    with_zeroed_pages,
    lambda file: file.write_bytes(b""),
    lambda file: file.write_bytes(b"PAR1"),
    lambda file: file.write_text("premise,hypothesis,label\na,b,neutral\n"),
    lambda file: file.write_text("<html>404 Not Found</html>"),
    lambda file: file.write_bytes(gzip.compress(file.read_bytes())),
    lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    file = written(tmp_path / "mnli/train.parquet", table("mnli/train"))
    damage(file)
    message = refusal(tmp_path, "mnli/train")
    assert str(file) in message
    assert "not a readable parquet file" in message
    assert "fetch it again" in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "mnli/train.jsonl",
            '{"premise": "a", "hypothesis": "b", "label": "neutral"}\n{"premise": "a", "hypo',
        ),
        ("mnli/train.jsonl", "premise\thypothesis\tlabel\n"),
        ("mnli/train.jsonl", b'{"premise": "caf\xe9"}\n'),
        ("mnli/train.tsv", "premise\thypothesis\tlabel\na\tb\tneutral\na\tb\tc\tneutral\n"),
        ("mnli/train.tsv", ""),
    ],
)
def test_a_damaged_text_file_is_named_with_the_remedy(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    file = tmp_path / name
    file.parent.mkdir()
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refusal(tmp_path, "mnli/train")
    assert str(file) in message
    assert "not a readable" in message


# Good files with bad content: path, what is wrong, what the message must name

CONTENTS: list[tuple[str, str, pa.Table, list[str]]] = [
    ("no label", "mnli/train", table("mnli/train", label=None), ["'label'", "'premise', 'hypothesis'"]),
    ("no text", "mnli/train", table("mnli/train", hypothesis=None), ["no column 'hypothesis'"]),
    ("other names", "fever/dev", table("fever/dev", evidence=None, proof=["x"] * ROWS), ["'evidence'", "'proof'"]),
    ("no heuristic", "hans/validation", table("hans/validation", heuristic=None), ["no column 'heuristic'"]),
    ("no answers", "squad/validation_v2", table("squad/validation_v2", answers=None), ["no column 'answers'"]),
    (
        "a column twice", "mnli/train",
        pa.table([["a"], ["b"], ["c"], ["neutral"]], names=["premise", "premise", "hypothesis", "label"]),
        ["'premise' occurs twice"],
    ),
    ("no rows", "mnli/train", table("mnli/train").slice(0, 0), ["empty"]),
    (
        "None for a text", "mnli/train", table("mnli/train", premise=changed(2, None, "premise")),
        ["'premise'", "1 x missing text", "row 2", "remove"],
    ),
    (
        "NaN for every text", "mnli/train", table("mnli/train", hypothesis=[float("nan")] * ROWS),
        ["'hypothesis'", "6 x missing text", "row 0"],
    ),
    ("empty text", "mnli/train", table("mnli/train", premise=changed(4, "", "premise")), ["blank text", "row 4", "''"]),
    ("spaces for text", "mnli/train", table("mnli/train", premise=changed(1, " \t ", "premise")), ["blank", "row 1"]),
    (
        "a no-break space for text", "mnli/train", table("mnli/train", premise=changed(1, "\u00a0", "premise")),
        ["blank text", "row 1"],
    ),
    ("numbers for text", "mnli/train", table("mnli/train", premise=list(range(ROWS))), ["'premise'", "not text"]),
    ("bytes for text", "mnli/train", table("mnli/train", premise=[b"text"] * ROWS), ["'premise'", "not text"]),
    (
        "a bytes literal for text", "mnli/train", table("mnli/train", premise=changed(3, "b'What is it?'", "premise")),
        ["bytes literal", "row 3", "decode"],
    ),
    (
        "lists for text", "fever/dev", table("fever/dev", evidence=[[["Page", "0"]]] * ROWS),
        ["'evidence'", "not text", "strings"],
    ),
    (
        "unknown labels", "mnli/train",
        table("mnli/train", label=["entails", "neutral", "entails", "neutral", "no", "neutral"]),
        ["'entails' (2)", "'no' (1)", "'entailment', 'neutral', 'contradiction'", "rename"],
    ),
    (
        "capital labels", "fever/dev", table("fever/dev", label=["Supports", "REFUTES"] * 3),
        ["'Supports' (3)", "'SUPPORTS'"],
    ),
    ("no consensus", "mnli/train", table("mnli/train", label=changed(0, "-", "label")), ["'-' (1)"]),
    (
        "MNLI's labels on HANS", "hans/validation", table("hans/validation", label=["neutral"] * ROWS),
        ["'neutral' (6)", "'non-entailment'"],
    ),
    ("a null label", "mnli/train", table("mnli/train", label=changed(5, None, "label")), ["missing label", "row 5"]),
    (
        "integer labels without names", "mnli/train", table("mnli/train", label=[0, 1, 2] * 2),
        ["'label'", "integer labels", "without class names", "strings"],
    ),
    ("real labels", "mnli/train", table("mnli/train", label=[0.0, 1.0] * 3), ["'label'", "float64", "strings"]),
    ("true and false", "mnli/train", table("mnli/train", label=[True, False] * 3), ["'label'", "bool", "strings"]),
    (
        "an unknown heuristic", "hans/validation", table("hans/validation", heuristic=["overlap"] * ROWS),
        ["'heuristic'", "'overlap' (6)", "'lexical_overlap'"],
    ),
    (
        "a null heuristic", "hans/validation",
        table("hans/validation", heuristic=changed(1, None, "heuristic", "hans/validation")),
        ["missing heuristic", "row 1"],
    ),
    (
        "a null subcase", "hans/validation",
        table("hans/validation", subcase=changed(3, None, "subcase", "hans/validation")), ["missing subcase", "row 3"],
    ),
    ("a hard of 2", "mnli/train", table("mnli/train", hard=[0, 1, 2] * 2), ["'hard'", "2 x", "row 2", "1 for hard"]),
    ("a null hard", "mnli/train", table("mnli/train", hard=[0, 1, None] * 2), ["'hard'", "row 2"]),
    (
        "answers as strings", "squad/validation_v2", table("squad/validation_v2", answers=["answer"] * ROWS),
        ["'answers'", "row 0", "{'text': [...], 'answer_start': [...]}"],
    ),
    (
        "answers without starts", "squad/validation_v2",
        table("squad/validation_v2", answers=[{"text": ["answer"]}] * ROWS), ["'answers'", "row 0", "answer_start"],
    ),
    (
        "no answers at all", "squad/validation_v2", table("squad/validation_v2", answers=[None] * ROWS),
        ["'answers'", "row 0"],
    ),
    (
        "two texts and one start", "squad/validation_v2",
        table("squad/validation_v2", answers=[{"text": ["a", "answer"], "answer_start": [0]}] * ROWS),
        ["2 texts but 1 starts"],
    ),
    (
        "starts that count bytes", "squad/validation_v2",
        table("squad/validation_v2", answers=[{"text": ["answer"], "answer_start": [9]}] * ROWS),
        ["'answer' does not stand at character 9", "characters, not bytes"],
    ),
    *(
        (
            f"a start of {start}", "squad/validation_v2",
            table("squad/validation_v2", answers=[{"text": ["answer"], "answer_start": [start]}] * ROWS),
            ["'answers'", "row 0", "whole numbers"],
        )
        for start in (8.5, float("nan"), float("inf"))
    ),
    (
        "a start counted from the end", "squad/validation_v2",
        table("squad/validation_v2", answers=[{"text": ["answer"], "answer_start": [-11]}] * ROWS),
        ["character -11"],
    ),
    (
        "an id twice", "squad/validation_v2", table("squad/validation_v2", id=["0", "1", "2", "1", "4", "5"]),
        ["'id'", "repeated", "row 3", "'1'"],
    ),
    (
        "a null id", "squad/validation_v2",
        table("squad/validation_v2", id=changed(2, None, "id", "squad/validation_v2")), ["'id'", "row 2"],
    ),
    (
        "a blank question", "squad/validation_v2", table("squad/validation_v2", question=["?"] * 5 + [" "]),
        ["'question'", "blank text", "row 5"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "content", "fragments"), [c[1:] for c in CONTENTS], ids=[c[0] for c in CONTENTS]
)
def test_bad_content_is_named(tmp_path: Path, path: str, content: pa.Table, fragments: list[str]) -> None:
    file = written(tmp_path / f"{path}.parquet", content)
    message = refusal(tmp_path, path)
    assert message.startswith(str(file))
    assert [fragment for fragment in fragments if fragment not in message] == [], message


def test_text_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    content = b"caf\xe9"
    texts = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, len(content)], np.int32)), pa.py_buffer(content)]
    )
    written(
        tmp_path / "mnli/train.parquet",
        pa.table({"premise": texts, "hypothesis": ["b"], "label": ["neutral"]}),
    )
    assert "utf8" in refusal(tmp_path, "mnli/train").lower()


@pytest.mark.parametrize(
    ("names", "labels", "fragments"),
    [
        (["entailment", "neutral", "contradiction"], [0, -1, 2], ["-1", "row 1", "labels are public"]),
        (["entailment", "neutral"], [0, 1, 2], ["2", "row 2", "2 classes 'entailment', 'neutral'"]),
        (["yes", "maybe", "no"], [0, 1, 2], ["'yes' (1)", "'entailment'"]),
    ],
)
def test_integer_labels_whose_names_do_not_fit(
    tmp_path: Path, names: list[str], labels: list[int], fragments: list[str]
) -> None:
    features = datasets.Features({"label": datasets.ClassLabel(names=names)})
    content = pa.table({"premise": ["a"] * 3, "hypothesis": ["b"] * 3, "label": labels})
    written(tmp_path / "mnli/train.parquet", content.replace_schema_metadata(features.arrow_schema.metadata))
    message = refusal(tmp_path, "mnli/train")
    assert [fragment for fragment in fragments if fragment not in message] == [], message


# Directories


def test_a_missing_directory_is_not_taken_for_a_hub_repository(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere", "mnli/train")
    assert "nowhere: no such data directory" in message
    assert "python -m robust_lib.data export" in message


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "no such data directory" in refusal(tmp_path / "file", "mnli/train")


def test_a_missing_split_is_named_with_what_is_there_and_where_to_get_it(tmp_path: Path) -> None:
    assert "no files of the form" in refusal(tmp_path, "fever/train")
    written(tmp_path / "fever/dev.parquet", table("fever/dev"))
    message = refusal(tmp_path, "fever/train")
    assert "fever/dev.parquet" in message
    assert f"store it as {tmp_path}/fever/train.jsonl" in message
    assert "fever.train.jsonl" in message


def test_a_directory_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "mnli" / "train.parquet").mkdir(parents=True)
    assert "no such file" in refusal(tmp_path, "mnli/train")


def test_a_fingerprint_of_what_is_not_there_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(data.DataError, match="no such file"):
        data.Split("mnli", "mnli/train", str(tmp_path)).fingerprint()


def test_a_frame_is_judged_before_it_is_subsampled(tmp_path: Path) -> None:
    """A bad row counts even where the draw would have missed it."""
    frame = pd.DataFrame(GOOD["mnli/train"])
    frame.loc[5, "premise"] = " "
    (tmp_path / "mnli").mkdir()
    frame.to_parquet(tmp_path / "mnli/train.parquet")
    for seed in range(6):
        with pytest.raises(data.DataError, match="blank text"):
            data.Split("mnli", "mnli/train", str(tmp_path), size=1, seed=seed).frame()
