"""Faults by the hundred: bad parameter files, bad data files, damaged stores, kills, full disks, a failing hub.

The other tests of faults show each kind once and read the message; here many are drawn, always the same ones, and every
test prints how many it tried (`pytest -rP` shows that). The counts stand in the table of README.
"""

import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lib import data, params, runs
from robust_lib.data import export, tasks

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import runs_script as script  # noqa: E402
import runs_work as work  # noqa: E402

ALWAYS_THE_SAME: dict[str, Any] = {"derandomize": True, "deadline": None, "database": None}


def one_message(error: Exception, *said: str) -> str:
    """The message, after judging that a person can read it and that it names what is at fault."""
    message = str(error)
    assert [part for part in said if part not in message] == [], message
    assert len(message) < 5000
    assert message.encode()
    assert "validation error" not in message
    return message


# Parameter files

NOTEBOOKS = sorted(params.NOTEBOOKS)
NEVER = [  # values that no parameter of any notebook takes
    ".nan", "-.inf", "2020-01-01", "{zz: 1}", "[[[1]]]", "[{a: b}]", "[null]", "true", "''", "[.nan]", "[2020-01-01]",
    "{1: 2}", "[1, [2, [3, {x: y}]]]", "1.0e+999", "-0x" + "f" * 900,
]  # fmt: skip
NO_VALUE = [  # what no file of parameters holds, and no value of YAML at all
    "{? [a] : b}", "0x" + "f" * 3000, "1" * 5000, '"a\\ud800"', '"a\\0"', "1" + ":59" * 300 + ":59.5", "=", "&a [*a]",
    "!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!int x", "!!timestamp x", "!!bool x",
    "!!float ''", "!!binary '?'", "!own {a: 1}", "*nowhere", "[0", "{a: 1", "a: b", "'open", "@a", "%a", "\t- a",
]  # fmt: skip
SIZES = ["0", "-5", "1.5", "2e3", "9223372036854775808", "[1]", "'7'", "yes"]
IMPOSSIBLE = {  # whichever notebook has the parameter
    "scale": ["tiny", "null", "[micro]", "Micro"], "source": ["null", "3", "[micro]"],
    "seeds": ["[]", "[-1]", "[0, 0]", "[4294967296]", "[0.5]", "0", "[no]", "[1, 2, 1]", "['0']"],
    "tasks": ["[]", "[mnil]", "mnli", "[mnli, mnli]", "[3]", "null", "[cola]"],
    "train_size": SIZES, "test_size": SIZES, "epochs": [*SIZES, "null"], "batch_size": [*SIZES, "null"],
    "max_length": ["7", "0", "null", "128.0", "-128"], "precision": ["fp16", "null", "32", "[fp32]"],
    "learning_rate": ["0", "0.0", "1.0", "1", "-0.1", "2e-5", "null", "[0.1]", "1.0e+30"],
    "warmup": ["1.0", "-0.1", "null", "10%"], "weight_decay": ["1.0", "-0.01", "null", "true"],
    "encoder": ["null", "3", "[BERT-base]"], "encoders": ["[]", "null", "[a, a]", "micro-base"],
    "sparsities": ["[0.9, 0.1]", "[0.5, 0.5]", "[1.0]", "[0]", "0.5", "[]", "[0.2, 1.2]"],
    "train_paths": ["{mnil: mnli/train}", "{mnli: ../x}", "{mnli: mnli}", "{mnli: /etc/passwd}", "[]"],
    "merge": ["max", "null"], "schedule": ["linear"], "modes": ["[]", "[author]"], "ks": ["[5, 1]", "[0]", "[]"],
    "budget": ["0"], "alpha_grid": ["[]", "[1.5]", "[0.5, 0.1]"], "weight": ["-0.1", "1.1"], "figures": ["[1]", "[9]"],
    "temperature": ["0", "-1.0"], "speed_rounds": ["1"], "attacks": ["{}", "{x: {mode: exact}}"], "twins": ["[a]"],
}  # fmt: skip
INSIDE = [  # wrong within an override or a member, which is judged after the fields themselves
    ("04_srnets", "by_task: {mnli: {epochs: 0}}", "by_task['mnli']: epochs = 0"),
    ("04_srnets", "by_task: {mnli: {by_task: {}}}", "'by_task' differs by no task"),
    ("04_srnets", "by_task: {mnli: {starts: [0.5, 0.1]}}", "by_task['mnli']: starts"),
    ("05_loyalty", "by_method: {Pure KD: {epochs: x}}", "by_method['Pure KD']: epochs = 'x'"),
    ("05_loyalty", "by_method: {Q8-PTQ: {epochs: 2}}", "nothing is trained there"),
    ("05_loyalty", "by_method: {Pure KD: {learning_rate: 2e-5}}", "write 2.0e-5"),
    ("06_miniature", "by_task: {squad: {test_size: abc}}", "by_task['squad']: test_size = 'abc'"),
    ("06_miniature", "by_task: {squad: {max_length: null}}", "by_task['squad']: max_length = None"),
    ("06_miniature", "by_task: {squad: {train_size: [1]}}", "by_task['squad']: train_size = [1]"),
    ("06_miniature", "family: {a: micro-base, b: {layers: 1}}", "family['b']['encoder']: is missing"),
    ("06_miniature", "by_model: {nobody: {epochs: 1}}", "'nobody' is not of the family"),
    ("06_miniature", "k: 7", "k = 7 should be one of ks"),
]
BOMB = "a: &b0 [1]\n" + "".join(f"a{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]\n" for i in range(1, 9))
UNREADABLE: list[str | bytes | None] = [
    "seeds: [0", "seeds: {", "\tseeds: [0]", "seeds:\n\t- 0", 'source: "open', "source: 'open", "seeds: [0]]",
    "a: b: c", "%YAML 9.9\n---\nseeds: [0]", "seeds: [0]\n---\nseeds: [1]", "- seeds", "seeds", "", "# nothing", "---",
    "3", "null", "? [1]\n: 2", "1: 2", "null: 1", "2020-01-01: 1", "on: 1", "<<: 3", "<<: [a]", "@a: 1", "`a: 1",
    "a\0: 1", "[" * 300, "[" * 30_000, "{a: " * 2000, "a: " + "[" * 2000 + "]" * 2000, "a:\n" * 300 + "b", BOMB,
    "#" * 10**6, "seeds: [" + "0, " * 20_000 + "]", "x" * 50_000 + ": 1", "".join(f"x{i}: 1\n" for i in range(20_000)),
    b"\xff\xfe", bytes(range(256)), "seeds: [0]".encode("utf-16"), "source: café".encode("latin-1"), b"\x80\x04K\x01.",
    gzip.compress(b"seeds: [0]", mtime=0), b"PAR1" + bytes(20) + b"\xffPAR1", b"\x1b[2J: \xf0\x9f", None,
]  # fmt: skip

CAN_DO_WITHOUT = {("07_audit", "source", "null")}

Bad = tuple[str, str | bytes | None, str]  # notebook, content (None: a directory), what the message must name


def line_of(notebook: str, values: Callable[[str], list[str]], said: str = "") -> st.SearchStrategy[Bad]:
    """A file of one parameter whose value is none of its own; its message must name it, or say what is given."""
    names = [name for name in sorted(params.NOTEBOOKS[notebook].model_fields) if values(name)]
    return st.sampled_from(names).flatmap(
        lambda name: st.sampled_from(values(name)).map(
            lambda value: (notebook, f"{name}: {value}", said or name)
        )
    )


@st.composite
def misspelt(draw: st.DrawFn, notebook: str) -> Bad:
    """A name that differs from a parameter's by a letter, or is none at all."""
    names = sorted(params.NOTEBOOKS[notebook].model_fields)
    name = draw(st.sampled_from(names))
    place = draw(st.integers(0, len(name) - 1))
    made = draw(
        st.sampled_from([
            name[:place] + name[place + 1 :], name[:place] + "x" + name[place:], name.upper(), f"{name} ", f"-{name}",
            f"zz{name}", "é" + name,
        ])
        | st.from_regex(r"zz[a-z]{1,12}", fullmatch=True)
    )  # fmt: skip
    made = made if made.strip() not in (*names, "") else "zz"
    return notebook, f"{made}: 1", made.strip()


@st.composite
def twice(draw: st.DrawFn, notebook: str) -> Bad:
    name = draw(st.sampled_from(sorted(params.NOTEBOOKS[notebook].model_fields)))
    between = draw(st.sampled_from(["\n", "\n\n# and again\n", "\nzz: 1\n"]))
    return (
        notebook,
        f"{name}: 1{between}{draw(st.sampled_from([name, repr(name)]))}: 2",
        f"{name} is given twice",
    )


bad_files: st.SearchStrategy[Bad] = st.sampled_from(NOTEBOOKS).flatmap(
    lambda notebook: st.one_of(
        line_of(notebook, lambda name: NEVER),
        line_of(notebook, lambda name: NO_VALUE, "not valid YAML"),
        line_of(
            notebook,
            lambda name: [
                one for one in IMPOSSIBLE.get(name, []) if (notebook, name, one) not in CAN_DO_WITHOUT
            ],
        ),
        misspelt(notebook),
        twice(notebook),
        st.sampled_from(INSIDE),
        st.sampled_from(UNREADABLE).map(lambda content: (notebook, content, "")),
    )
)


def put(file: Path, content: str | bytes | None) -> Path:
    """The file with that content; a directory in its place for None."""
    shutil.rmtree(file, ignore_errors=True)
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def gathered(notebook: str, file: Path) -> Any:
    return params.gather(HERE.parent / "notebooks" / f"{notebook}.py", file=file)


def test_every_bad_parameter_file_is_one_error_that_names_file_and_field(tmp_path: Path) -> None:
    tried: set[Bad] = set()

    @settings(max_examples=900, **ALWAYS_THE_SAME)
    @given(bad=bad_files)
    def refused(bad: Bad) -> None:
        notebook, content, said = bad
        file = put(tmp_path / "parameters.yaml", content)
        with pytest.raises(params.ParameterError) as caught:
            gathered(notebook, file)
        assert type(caught.value) is params.ParameterError
        assert one_message(caught.value, said).startswith(f"{file}: ")
        tried.add(bad)

    refused()
    assert len(tried) >= 500
    print(f"bad parameter files: {len(tried)} different, each one ParameterError")


GOOD_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "seeds": st.lists(st.integers(0, 900), min_size=1, max_size=6, unique=True),
    "source": st.text("abcß中./ -_:#'\"", min_size=1, max_size=12),
    "train_size": st.integers(20_000, 10**9),
    "test_size": st.none() | st.integers(20_000, 10**9),
    "epochs": st.integers(1, 10**4),
    "learning_rate": st.floats(1e-12, 1, exclude_max=True),
    "batch_size": st.integers(1, 10**6),
    "max_length": st.integers(200, 10**5),
    "warmup": st.floats(0, 0.33),
    "weight_decay": st.floats(0, 1, exclude_max=True),
    "precision": st.sampled_from(["fp32", "bf16"]),
}


def test_every_good_parameter_file_is_read_as_written(tmp_path: Path) -> None:
    tried: set[str] = set()
    studies = sorted(
        file.stem for file in (params.project() / "params" / "paper").glob("*.yaml")
    )  # these share the values
    plain = {notebook: gathered(notebook, put(tmp_path / "plain.yaml", "epochs: 1")) for notebook in studies}

    @settings(max_examples=300, **ALWAYS_THE_SAME)
    @given(
        notebook=st.sampled_from(studies),
        given_values=st.fixed_dictionaries({}, optional=GOOD_VALUES).filter(bool),
        flow=st.booleans(),
        end=st.sampled_from(["\n", "\r\n"]),
    )
    def accepted(notebook: str, given_values: dict[str, Any], flow: bool, end: str) -> None:
        text = "# by hand\n" + yaml.safe_dump(given_values, default_flow_style=flow, allow_unicode=True)
        file = put(tmp_path / "parameters.yaml", text.replace("\n", end))
        checked = gathered(notebook, file).model_dump()
        assert checked == plain[notebook].model_dump() | {"epochs": checked["epochs"]} | given_values
        tried.add(notebook + text)

    accepted()
    assert len(tried) >= 200
    print(f"good parameter files: {len(tried)} different, each read as written")


# Data files

CLASSES = {"mnli/train": tasks.NLI, "sst2/validation": tasks.SENTIMENT, "qqp/validation": tasks.PARAPHRASE}
ROWS: dict[str, dict[str, Any]] = {  # a row of each data set that the package reads
    "mnli/train": {"premise": "a man sleeps", "hypothesis": "he rests", "label": "neutral"},
    "hans/validation": {
        "premise": "the dog saw it", "hypothesis": "it saw the dog", "label": "entailment",
        "heuristic": "constituent", "subcase": "ce_adverb",
    },
    "fever/dev": {"claim": "a claim", "evidence": "some evidence", "label": "REFUTES"},
    "fever_symmetric/v2_test": {"claim": "a claim", "evidence": "some evidence", "label": "SUPPORTS"},
    "qqp/validation": {"sentence1": "how so?", "sentence2": "why so?", "label": "duplicate"},
    "paws_qqp/dev_and_test": {"sentence1": "how so?", "sentence2": "so how?", "label": "0"},
    "sst2/validation": {"sentence": "a fine film", "label": "positive"},
    "imdb/test": {"text": "a fine film", "label": "neg"},
    "attack_sets/imdb": {"text": "a fine film", "label": "positive"},
    "squad/validation_v2": {
        "id": "q", "title": "t", "context": "a naïve answer here", "question": "what?",
        "answers": {"text": ["answer"], "answer_start": [8]},
    },
}  # fmt: skip
ROWS["policyqa/test"] = ROWS["squad/validation_v2"]
SPANS = ("squad/validation_v2", "policyqa/test")
COUNT = 6
NAMES = {"parquet": ".parquet", "jsonl": ".jsonl", "tsv": ".tsv"}


def rows(path: str) -> list[dict[str, Any]]:
    own = {"id": "q"} if path in SPANS else {}
    return [ROWS[path] | {name: f"{value}{number}" for name, value in own.items()} for number in range(COUNT)]


def written(form: str, content: list[dict[str, Any]]) -> bytes:
    """A file of those rows."""
    if form == "parquet":
        names = list(dict.fromkeys(name for row in content for name in row))
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.table({name: [row.get(name) for row in content] for name in names}), buffer)
        return buffer.getvalue().to_pybytes()
    if form == "jsonl":
        return "\n".join(json.dumps(row) for row in content).encode()
    lines = [list(content[0]), *(list(row.values()) for row in content)]
    return "".join("\t".join(map(str, line)) + "\n" for line in lines).encode()


def frame(directory: Path, path: str) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # NewsQA counts the questions it leaves out
        return data.Split(tasks.dataset(path).task, path, str(directory)).frame()


def with_value(content: list[dict[str, Any]], column: str, value: Any, row: int) -> list[dict[str, Any]]:
    return [old | {column: value} if number == row else old for number, old in enumerate(content)]


@st.composite
def bad_content(draw: st.DrawFn) -> tuple[str, str, str | bytes | None]:
    """Path, file name, and a content that no split can have."""
    path = draw(st.sampled_from(sorted(ROWS)))
    form = draw(st.sampled_from(["parquet", "jsonl"] if path in SPANS else sorted(NAMES)))
    good, file = rows(path), path + NAMES[form]
    column = draw(st.sampled_from([name for name in good[0] if name not in ("title", "subcase")]))
    row = draw(st.integers(0, COUNT - 1))
    whole = written(form, good)
    kind = draw(st.sampled_from(["bytes", "column", "value", "form"]))
    if kind == "column":
        lost = [{name: value for name, value in old.items() if name != column} for old in good]
        renamed = [{("zz" if name == column else name): value for name, value in old.items()} for old in good]
        return path, file, written(form, draw(st.sampled_from([lost, renamed])))
    if kind == "value":
        values = ["", " \t" if form != "tsv" else " ", "\u00a0"] if column != "id" else []
        if column in ("label", "heuristic"):
            values += ["maybe", "NEUTRAL", "-", "2", "entailment "]
        if form != "tsv":
            values += [None]
        if form == "jsonl":
            values += [3, 1.5, True, [], ["a"], {}, {"a": 1}, float("nan"), 10**30]
            values += ["\ud800"] if column != "answers" else []
        if column == "answers":
            values = [
                None, {"text": ["answer"], "answer_start": [9]}, {"text": ["Answer"], "answer_start": [8]},
                {"text": [""], "answer_start": [8]}, {"text": ["answer"], "answer_start": [-11]},
                {"text": ["answer"], "answer_start": [2**40]}, {"text": ["answer"], "answer_start": []},
            ]  # fmt: skip
            values += [3, "answer", [], {"text": "answer", "answer_start": [8]}] if form == "jsonl" else []
        if path in SPANS and column == "id":
            values += [good[row - 1]["id"]]
        return path, file, written(form, with_value(good, column, draw(st.sampled_from(values)), row))
    if kind == "form" and form == "jsonl":
        line = draw(
            st.sampled_from(["3", "null", "[1, 2]", '"x"', "{", "[" * 5000, '{"a": 1}', "{}", "nan", "'"])
        )
        lines = whole.decode().split("\n")
        return path, file, "\n".join([*lines[:row], line, *lines[row:]])
    if kind == "form" and form == "tsv":
        lines = whole.decode().split("\n")
        more = draw(st.sampled_from([[*lines[:1], *(f"{line}\tx" for line in lines[1:-1])],
                                     [*lines[:-1], lines[1] + "\t" + lines[1]],
                                     ["\t".join([lines[0], column]), *(f"{line}\tx" for line in lines[1:-1])],
                                     [lines[0].replace("\t", ","), *lines[1:]], lines[:1]]))  # fmt: skip
        return path, file, "\n".join(more)
    cut = draw(st.integers(1, len(whole) - 2))
    others = [
        b"",
        b"PAR1",
        b"PK\x03\x04" + bytes(30),
        gzip.compress(whole, mtime=0),
        b"<html>404</html>",
        None,
    ]
    if form == "parquet":
        others += [whole[:cut], whole[:-1], whole[: len(whole) - 9] + bytes(5) + whole[-4:], whole[cut:]]
    else:
        others += [whole[:cut] + b"\xff" + whole[cut:], b"\xff\xfe" + whole]
    return path, file, draw(st.sampled_from(others))


REMEDIES = (
    "fetch", "remove these rows", "restore", "store this column", "store them as", "store a file", "store it as",
    "needs '", "rename them", "keep one", "give every question", "recompute", "every answer needs",
    "of the form {'text'", "is made from", "label them",
)  # fmt: skip


def test_every_bad_data_file_is_one_error_that_names_file_and_remedy(tmp_path: Path) -> None:
    tried: set[tuple[str, str, str | bytes | None]] = set()

    @settings(max_examples=900, **ALWAYS_THE_SAME)
    @given(bad=bad_content())
    def refused(bad: tuple[str, str, str | bytes | None]) -> None:
        path, name, content = bad
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        file = put(tmp_path / "data" / name, content)
        with pytest.raises(data.DataError) as caught:
            frame(tmp_path / "data", path)
        message = one_message(caught.value, str(file.with_suffix("")))
        assert "\n" not in message
        assert any(remedy in message for remedy in REMEDIES), message
        tried.add(bad)

    refused()
    kinds = Counter(path.partition("/")[0] for path, _, _ in tried)
    assert len(tried) >= 200
    assert len(kinds) == len({path.partition("/")[0] for path in ROWS})
    print(f"bad data files: {len(tried)} different, each one DataError; of {dict(kinds)}")


def harmless(path: str) -> Iterator[tuple[str, bytes]]:
    """Files that look odd and hold the right rows."""
    good = rows(path)
    reordered = [dict(reversed(row.items())) | {"unread": number} for number, row in enumerate(good)]
    table = pa.Table.from_pandas(pd.DataFrame(good, index=range(9, 9 + COUNT)))
    for options in (
        {"compression": "gzip"},
        {"row_group_size": 1},
        {"use_dictionary": False},
        {"version": "1.0"},
    ):
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, **options)
        yield ".parquet", buffer.getvalue().to_pybytes()
    for form in ("parquet", "jsonl"):
        yield NAMES[form], written(form, reordered)
    lines = written("jsonl", good)
    yield from ((".jsonl", changed) for changed in (lines + b"\n\n", lines.replace(b"\n", b"\r\n") + b"\r\n"))
    if path in CLASSES:
        features = datasets.Features({"label": datasets.ClassLabel(names=list(CLASSES[path]))})
        coded = pa.table({name: [row[name] for row in good] for name in good[0] if name != "label"})
        coded = coded.append_column("label", pa.array([CLASSES[path].index(row["label"]) for row in good]))
        buffer = pa.BufferOutputStream()
        pq.write_table(coded.replace_schema_metadata(features.arrow_schema.metadata), buffer)
        yield ".parquet", buffer.getvalue().to_pybytes()
    if path not in SPANS:
        lines = written("tsv", reordered)
        yield from ((".tsv", changed) for changed in (b"\xef\xbb\xbf" + lines, lines.replace(b"\n", b"\r\n")))


def test_every_harmless_data_file_is_read_right(tmp_path: Path) -> None:
    tried = 0
    for path in ROWS:
        put(tmp_path / "plain" / f"{path}.jsonl", written("jsonl", rows(path)))
        plain = frame(tmp_path / "plain", path)
        assert plain[list(tasks.dataset(path).text)].to_dict("records")[0].items() <= ROWS[path].items()
        for suffix, content in harmless(path):
            shutil.rmtree(tmp_path / "data", ignore_errors=True)
            put(tmp_path / "data" / f"{path}{suffix}", content)
            read = frame(tmp_path / "data", path)[list(plain)]
            assert read.astype(str).equals(plain.astype(str)), (path, suffix)
            tried += 1
    assert tried >= 100
    print(f"harmless data files: {tried}, each read right")


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The bytes after an accident: bits flipped, cut short, zeroed, something between them."""
    changed, place = bytearray(content), draw.randrange(len(content))
    kind = draw.choice(["flip", "flip", "flips", "cut", "zeros", "insert"])
    if kind == "flip":
        changed[place] ^= 1 << draw.randrange(8)
    elif kind == "flips":
        for _ in range(8):
            changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del changed[place:]
    elif kind == "zeros":
        changed[place : place + 20] = bytes(len(changed[place : place + 20]))
    else:
        changed[place:place] = draw.randbytes(4)
    return bytes(changed)


def releases() -> dict[str, tuple[str, bytes]]:
    """File name to split and content: the canonical forms, and NewsQA's own."""
    passages = [
        {"context": f"an answer here {number}", "qas": [
            {"qid": str(number), "question": "what?", "detected_answers": [{"char_spans": [[3, 8]]}]}]}
        for number in range(COUNT)
    ]  # fmt: skip
    mrqa = "\n".join(map(json.dumps, [{"header": {"dataset": "NewsQA", "split": "dev"}}, *passages])).encode()
    story = {
        "type": "dev",
        "storyId": "s",
        "text": "an answer",
        "questions": [{"q": "w?", "consensus": {"s": 3, "e": 9}}],
    }
    return {
        "mnli/train.parquet": ("mnli/train", written("parquet", rows("mnli/train"))),
        "squad/validation_v2.parquet": (
            "squad/validation_v2",
            written("parquet", rows("squad/validation_v2")),
        ),
        "fever/dev.jsonl": ("fever/dev", written("jsonl", rows("fever/dev"))),
        "paws_qqp/dev_and_test.tsv": ("paws_qqp/dev_and_test", written("tsv", rows("paws_qqp/dev_and_test"))),
        "newsqa/NewsQA.jsonl.gz": ("newsqa/validation", gzip.compress(mrqa, mtime=0)),
        "newsqa/NewsQA.jsonl": ("newsqa/validation", mrqa),
        "newsqa/combined-newsqa-data-v1.json": ("newsqa/validation", json.dumps({"data": [story]}).encode()),
    }


def test_random_damage_to_data_files_is_refused_or_read_as_another_file(tmp_path: Path) -> None:
    """Bits of a text may become another text, which no reader can see: the fingerprint, part of every key, does."""
    draw, outcomes = random.Random(7), Counter[str]()
    for name, (path, content) in releases().items():
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        file = put(tmp_path / "data" / name, content)
        split = data.Split(tasks.dataset(path).task, path, str(tmp_path / "data"))
        whole, known = frame(tmp_path / "data", path), split.fingerprint()
        for attempt in range(60):
            put(file, changed := damaged(content, draw))
            os.utime(
                file, ns=(attempt, attempt)
            )  # two versions within one tick of the clock would look alike
            assert (split.fingerprint() == known) == (changed == content)
            try:
                same = frame(tmp_path / "data", path).equals(whole)
            except data.DataError as refusal:
                error = refusal
                outcomes["refused"] += 1
            else:
                outcomes["read as before" if same else "read as another file"] += 1
                continue
            assert "\n" not in one_message(error, str(file))
    assert outcomes.total() == 60 * len(releases())
    assert outcomes["refused"] > 300
    print(f"damaged data files: {outcomes.total()}: {dict(outcomes)}")


def test_damage_to_an_exported_file_is_found_by_its_checksum(tmp_path: Path) -> None:
    draw, content = random.Random(8), written("parquet", rows("sst2/validation"))
    file = put(tmp_path / "sst2/validation.parquet", content)
    entry = {"rows": COUNT, "sha256": export._sha256(file), "commit": "0" * 40}
    put(tmp_path / "manifest.json", json.dumps({"sst2/validation": entry}))
    assert export.verify(str(tmp_path)) == []
    for attempt in range(60):
        put(file, changed := damaged(content, draw))
        os.utime(file, ns=(attempt, attempt))
        (damage,) = export.verify(str(tmp_path)) if changed != content else [str(file)]
        assert str(file) in damage
    print("damaged exported files: 60, each found by the manifest")


# The store


def made(*, kind: str, seed: int) -> Any:
    """A result of each kind that is kept."""
    draw = np.random.default_rng(seed)
    tensors = {"w": torch.from_numpy(draw.normal(size=(8, 4)))}
    table = pd.DataFrame({"id": range(40), "value": draw.normal(size=40), "text": ["naïve"] * 40})
    kept = {
        "json": {"f1": float(draw.normal()), "names": ["a", "ß"], "none": None},
        "frame": table,
        "tensors": tensors,
        "masks": {"w": tensors["w"] > 0},
        "parts": {"table": table, "inner": {"weights": tensors}, "n": seed},
    }
    return kept[kind]


def doubled(*, table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(value=2 * table["value"])


def as_text(value: Any) -> str:
    """A result with every digit."""
    if isinstance(value, pd.DataFrame):
        return str(value.to_json(orient="split", double_precision=15))
    if isinstance(value, torch.Tensor):
        return repr(value.tolist())
    if isinstance(value, dict):
        return repr({name: as_text(part) for name, part in value.items()})
    return repr(value)


def ruined(file: Path, draw: random.Random) -> None:
    """One file of a store after an accident."""
    kind = draw.choice(["damage", "damage", "damage", "empty", "gone", "directory", "longer", "another's"])
    content = file.read_bytes()
    if kind == "gone":
        file.unlink()
    elif kind == "directory":
        file.unlink()
        file.mkdir()
    elif kind == "another's":
        others = sorted(file.parents[2].glob(f"??/*/{file.name}"))
        file.write_bytes(draw.choice(others or [file]).read_bytes())
    elif kind == "damage" and content:
        file.write_bytes(damaged(content, draw))
    else:
        file.write_bytes(content + b"\n" if kind == "longer" else b"")


def test_a_damaged_store_never_gives_a_wrong_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUST_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("ROBUST_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBUST_WORKERS", "1")
    plain = [
        runs.unit(made, kind=kind, seed=0) for kind in ("json", "frame", "tensors", "masks", "parts")
    ] + [runs.unit(made, kind="frame", seed=seed) for seed in (1, 2)]
    units = [*plain, runs.unit(doubled, table=plain[1])]
    run = runs.start("test", {"scale": "micro"})
    right = [as_text(result) for result in run.collect(units)]
    draw, outcomes = random.Random(9), Counter[str]()
    for _ in range(150):
        files = [
            path for path in sorted((tmp_path / "store").rglob("*"))
            if path.is_file() and not {"damaged", "locks"} & set(path.relative_to(tmp_path / "store").parts)
        ]  # fmt: skip
        ruined(draw.choice(files), draw)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert [as_text(result) for result in run.collect(units)] == right
            run.store.paces()
        assert [warning.category for warning in said if warning.category is not runs.DamagedWarning] == []
        outcomes["set aside and computed again" if said else "intact, or not needed"] += 1
        assert run.store.verify() == []
    assert outcomes["set aside and computed again"] >= 100
    print(f"damaged files of a store: {outcomes.total()}: {dict(outcomes)}; no wrong value")


# Processes: kills, company, full disks


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `runs_script.py` on the grid in a folder of its own; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: str, size: int, *limit: str, workers: int = 1) -> subprocess.Popen[str]:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]), "ROBUST_WORKERS": str(workers),
            "ROBUST_STORE": str(place / "store"), "ROBUST_RUNS": str(place / "runs"),
        }  # fmt: skip
        command = [sys.executable, str(HERE / "runs_script.py"), str(place), f"grid-{size}", *limit]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment, start_new_session=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def results(folder: Path, size: int) -> list[str]:
    """What the store has of the grid, every digit of it, and nothing damaged."""
    store = runs.Store(folder / "store")
    assert store.verify() == []
    return [as_text(store.load(unit)) for unit in script.cases(str(folder), f"grid-{size}")]


def undisturbed(folder: Path, size: int) -> list[str]:
    """The same, computed here without a store."""
    numbers = [float(value) for value in range(size)]
    frames = [work.frame(folder=str(folder), rows=50 * (seed + 1), seed=seed) for seed in range(size)]
    found = [*range(size), *frames, len(frames[0]), [part**2 for part in range(size)], int(sum(numbers))]
    return [as_text(one) for one in found]


def finished(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def test_kills_at_random_moments_lose_only_what_was_in_flight(
    launch: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    draw, kills, size, repeated = random.Random(10), 0, 60, 0
    (tmp_path / "plain").mkdir()
    right = undisturbed(tmp_path / "plain", size)
    for grid in ("first", "second", "third", "fourth"):
        workers, allowed = 1 + (grid == "second"), 0
        for _ in range(6):
            before = work.executed(tmp_path / grid).total()
            process = launch(grid, size, workers=workers)
            due = draw.random() < 0.2  # while it still starts, else after its first unit
            while not due and process.poll() is None:
                due = work.executed(tmp_path / grid).total() > before
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            if process.returncode == 0:  # it was faster
                break
            assert process.returncode == -signal.SIGKILL
            kills, allowed = kills + 1, allowed + workers
        finished(launch(grid, size, workers=workers))
        assert results(tmp_path / grid, size) == right
        executed = work.executed(tmp_path / grid)
        assert len(executed) == 3 * size + 2  # numbers, frames, parts, the length and the total
        assert sum(executed.values()) - len(executed) <= allowed
        assert os.listdir(tmp_path / grid / "store" / "partial") == []
        repeated += sum(executed.values()) - len(executed)
    assert kills >= 4  # the first of each grid: its units sleep for seconds on any machine
    print(
        f"kills at random moments: {kills}, with {repeated} units or parts computed again; results as without kills"
    )


def test_three_processes_on_one_store_compute_each_unit_once_though_one_is_killed(
    launch: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    size = 20
    processes = [launch("shared", size) for _ in range(3)]
    while work.executed(tmp_path / "shared").total() < size:
        assert [process.poll() for process in processes] == [None] * 3
        time.sleep(0.01)
    processes[0].send_signal(signal.SIGKILL)
    processes.append(launch("shared", size))
    for process in processes[1:]:
        finished(process)
    executed = work.executed(tmp_path / "shared")
    assert sum(executed.values()) - len(executed) <= 1
    (tmp_path / "plain").mkdir()
    assert results(tmp_path / "shared", size) == undisturbed(tmp_path / "plain", size)
    print(f"processes on one store: 4, one of them killed; {len(executed)} units and parts, each once")


def test_disks_that_are_full_at_any_size_lose_nothing_that_was_finished(
    launch: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    draw, size, outcomes = random.Random(11), 8, Counter[str]()
    (tmp_path / "plain").mkdir()
    right = undisturbed(tmp_path / "plain", size)
    for attempt in range(8):
        folder = f"full-{attempt}"
        process = launch(folder, size, str(int(10 ** draw.uniform(2.0, 4.2))), workers=1 + attempt % 2)
        _, errors = process.communicate(timeout=60)
        outcomes["full" if process.returncode else "large enough"] += 1
        if process.returncode:
            # The store's own error, or that of run.json where not even that can be written.
            last = errors.strip().splitlines()[-1]
            assert re.match(
                r"robust_lib\.runs\.store\.StoreFull: .*cannot write|.*run\.json: cannot be written", last
            )
            assert "make room" in last
        assert runs.Store(tmp_path / folder / "store").verify() == []
        finished(launch(folder, size))
        assert results(tmp_path / folder, size) == right
    assert outcomes["full"] >= 5
    print(f"full disks: {outcomes.total()}: {dict(outcomes)}; all went on where they were")


# The hub

HUB = """
import json, os, random, shutil, sys
from pathlib import Path
from collections import Counter
sys.path[:0] = sys.argv[1:3]
from tests import hub
with hub.serving({}) as server:
    os.environ["HF_ENDPOINT"] = server.url  # before anything imports the client
    from robust_lib import data
    from robust_lib.data import places
    from tests.test_data_hub import repositories
    server.repositories = repositories()
    draw, outcomes, cache = random.Random(12), Counter(), Path(os.environ["HF_HOME"])
    def read(path):
        return data.Split(data.tasks.dataset(path).task, path, "hub").frame()
    whole = {path: read(path) for path in places.HUB}
    kept = dict(server.repositories)
    for fault in ["busy", "cut", "lying", "flipped", "slow", "gone", "gated", "page", "flipped and cut"] * 4:
        shutil.rmtree(cache)
        path = draw.choice(sorted(places.HUB))
        if fault == "busy": server.failures, server.failing = draw.choice([1, 1, 2]), draw.choice(["", "resolve"])
        if "cut" in fault: server.cuts = 1  # the client tries again for five seconds; always cut is in test_data_hub
        if fault == "lying": server.cuts, server.honest = draw.choice([1, 10]), False
        if "flipped" in fault: server.flips = draw.choice([1, 10])
        if fault == "slow": server.delay = draw.uniform(0.05, 0.3)
        if fault == "gone": server.repositories = {name: {} for name in kept} if draw.random() < 0.5 else {}
        if fault == "gated": server.gated = True
        if fault == "page":
            server.repositories = {name: dict.fromkeys(files, b"<html>Sign in</html>") for name, files in kept.items()}
        try:
            assert read(path).equals(whole[path]), (fault, path)
            outcomes["read as published"] += 1
        except data.DataError as error:
            assert chr(10) not in str(error) and len(str(error)) < 1000, error
            outcomes["refused"] += 1
            said = str(error)
            if "delete it" in said:
                Path(said.partition(": ")[0]).unlink()
        server.failures = server.cuts = server.flips = 0
        server.delay, server.failing, server.honest, server.gated, server.repositories = 0.0, "", True, False, kept
        assert read(path).equals(whole[path]), ("afterwards", fault, path)
print(json.dumps(outcomes))
"""


def test_a_failing_hub_gives_the_published_rows_or_one_error_and_recovers(tmp_path: Path) -> None:
    """The client reads its settings when it is imported: one process of its own, with its own hub."""
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", HUB, str(HERE.parent), str(HERE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcomes = Counter(json.loads(done.stdout.splitlines()[-1]))
    assert outcomes.total() == 36
    assert min(outcomes.values()) > 5
    print(f"failures of a hub: {outcomes.total()}: {dict(outcomes)}; each recovered afterwards")
