"""Splits from a hub, through the real clients: a loopback hub that is also slow, busy, cut short, gated or gone.

The clients read their settings when they are imported, so each test asks in a process of its own.
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest

from robust_lib import data
from robust_lib.data import places
from robust_lib.data.export import verify
from tests import hub

ASK = """
import json, sys
from robust_lib import data
task, path, size = json.loads(sys.argv[1])
try:
    split = data.Split(task, path, "hub", size)
    print(json.dumps([split.fingerprint(), split.frame().to_dict("split")]))
except data.DataError as error:
    sys.exit(f"DataError: {error}")
"""


def parquet(columns: dict[str, list[Any]], names: list[str] | None = None) -> bytes:
    """A file as `datasets` publishes it: integer labels, with their names in its metadata."""
    published = datasets.Dataset.from_dict(columns)
    if names:
        published = published.cast_column("label", datasets.ClassLabel(names=names))
    file = io.BytesIO()
    published.to_parquet(file)
    return file.getvalue()


def answers(count: int) -> list[dict[str, list[Any]]]:
    return [
        {"text": ["a"] if row % 2 else [], "answer_start": [0] if row % 2 else []} for row in range(count)
    ]


def repositories() -> dict[str, dict[str, bytes]]:
    """A small file for every place the package knows, in the columns of the published one."""
    nli = {"premise": ["A man sleeps ."] * 30, "hypothesis": [f"He rests {row} ." for row in range(30)]}
    texts = [f"text {row}" for row in range(20)]
    questions = {
        "question1": texts,
        "question2": [*texts[:4], "", *texts[5:9], "", *texts[10:]],
        "idx": list(range(20)),
    }
    spans = {
        "id": texts,
        "title": ["t"] * 20,
        "context": ["a b"] * 20,
        "question": texts,
        "answers": answers(20),
    }
    contents = {
        "mnli": parquet(nli | {"label": [0, 1, 2] * 10, "pairID": [f"{row}e" for row in range(30)]},
                        ["entailment", "neutral", "contradiction"]),
        "hans": parquet(nli | {"label": [0, 1] * 15, "heuristic": ["constituent"] * 30, "subcase": ["ce_adverb"] * 30},
                        ["entailment", "non-entailment"]),
        "qqp/train": parquet(questions | {"label": [0, 1] * 10}, ["not_duplicate", "duplicate"]),
        "qqp/validation": parquet({"question1": texts, "question2": texts, "label": [0, 1] * 10},
                                  ["not_duplicate", "duplicate"]),
        "paws_wiki": parquet({"id": list(range(20)), "sentence1": texts, "sentence2": texts, "label": [0, 1] * 10},
                             ["0", "1"]),
        "sst2": parquet({"sentence": texts, "label": [0, 1] * 10, "idx": list(range(20))}, ["negative", "positive"]),
        "imdb": parquet({"text": texts, "label": [0, 1] * 10}, ["neg", "pos"]),
        "squad": parquet(spans),
    }  # fmt: skip
    held: dict[str, dict[str, bytes]] = {}
    for path, place in places.HUB.items():
        content = contents.get(path) or contents[path.split("/")[0]]
        held.setdefault(place.repository, {})[place.file] = content
    return held


@pytest.fixture
def server() -> Iterator[hub.Hub]:
    with hub.serving(repositories()) as running:
        yield running


@pytest.fixture
def environment(server: hub.Hub, tmp_path: Path) -> dict[str, str]:
    """The settings of a machine whose only hub is ours, with an empty cache."""
    settings = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    return os.environ | settings | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def asked(
    environment: dict[str, str], task: str, path: str, size: int | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ASK, json.dumps([task, path, size])],
        env=environment,
        capture_output=True,
        text=True,
    )


def frame(done: subprocess.CompletedProcess[str]) -> pd.DataFrame:
    assert done.returncode == 0, done.stderr
    return pd.DataFrame(**json.loads(done.stdout)[1])


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a DataError."""
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("DataError")]
    assert "try again, or" in line
    return line


def export(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "robust_lib.data", "export", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_split_comes_from_its_pinned_commit_and_only_once(
    server: hub.Hub, environment: dict[str, str]
) -> None:
    first = asked(environment, "mnli", "mnli/validation_matched", 6)
    found = frame(first)
    assert list(found.columns) == ["premise", "hypothesis", "label", "pair_id"]
    assert sorted(found["label"]) == sorted(["entailment", "neutral", "contradiction"] * 2)
    assert len(server.requests) == 3
    assert all("da70db2af9d09693783c3320c4249840212ee221" in request for request in server.requests)
    assert not any("train" in request for request in server.requests), "other splits stay where they are"
    server.requests.clear()
    assert (
        asked(environment | {"HF_HUB_OFFLINE": "1"}, "mnli", "mnli/validation_matched", 6).stdout
        == first.stdout
    )
    assert asked(environment, "mnli", "mnli/validation_matched", 6).stdout == first.stdout
    assert not server.requests


def test_a_branch_is_known_by_the_commit_it_was_at(server: hub.Hub, environment: dict[str, str]) -> None:
    found = frame(asked(environment, "mnli", "hans/validation"))
    assert list(found.columns) == ["premise", "hypothesis", "label", "heuristic", "subcase"]
    cached = Path(environment["HF_HOME"]).rglob("0000.parquet")
    assert [hub.COMMIT in file.parts for file in cached] == [True]


def test_the_two_empty_questions_of_qqp_are_left_out(environment: dict[str, str]) -> None:
    found = frame(asked(environment, "qqp", "qqp/train"))
    assert len(found) == 18
    assert found["id"].tolist() == [row for row in range(20) if row not in (4, 9)]


def test_another_number_of_empty_questions_is_refused(server: hub.Hub, environment: dict[str, str]) -> None:
    texts = ["a question", "", "", ""]
    rows = {"question1": ["a question"] * 4, "question2": texts, "label": [0, 1, 0, 1]}
    place = places.HUB["qqp/train"]
    server.repositories = {place.repository: {place.file: parquet(rows, ["not_duplicate", "duplicate"])}}
    done = asked(environment, "qqp", "qqp/train")
    assert done.returncode == 1
    assert "'sentence2': 3 x blank text" in done.stderr


def test_offline_and_not_in_the_cache(server: hub.Hub, environment: dict[str, str]) -> None:
    message = refused(asked(environment | {"HF_HUB_OFFLINE": "1"}, "sst2", "sst2/validation"))
    assert "sst2/validation: cannot get sst2/validation-00000-of-00001.parquet of nyu-mll/glue" in message
    assert "HF_HUB_OFFLINE is set" in message
    assert not server.requests


def test_a_busy_hub_is_asked_again(server: hub.Hub, environment: dict[str, str]) -> None:
    server.failures = 2
    assert len(frame(asked(environment, "imdb", "imdb/test"))) == 20
    server.failures, server.failing = 1, "resolve"
    assert len(frame(asked(environment, "imdb", "imdb/train"))) == 20


def test_a_hub_that_stays_busy_is_given_up_soon(server: hub.Hub, environment: dict[str, str]) -> None:
    server.failures = 10**6
    start = time.monotonic()
    message = refused(asked(environment, "imdb", "imdb/test"))
    assert time.monotonic() - start < 15
    assert "503" in message
    assert "stanfordnlp/imdb" in message
    assert sum(server.requests.values()) == 4


def test_a_hub_that_is_down_does_not_matter_once_the_file_is_here(
    server: hub.Hub, environment: dict[str, str]
) -> None:
    first = asked(environment, "sst2", "sst2/train")
    server.failures = 10**6
    start = time.monotonic()
    assert asked(environment, "sst2", "sst2/train").stdout == first.stdout
    assert time.monotonic() - start < 10


def test_a_slow_hub_is_waited_for(server: hub.Hub, environment: dict[str, str]) -> None:
    server.delay = 0.7
    assert len(frame(asked(environment, "sst2", "sst2/validation"))) == 20


def test_a_hub_slower_than_the_clients_patience(server: hub.Hub, environment: dict[str, str]) -> None:
    server.delay = 3
    message = refused(asked(environment | {"HF_HUB_ETAG_TIMEOUT": "1"}, "sst2", "sst2/validation"))
    assert "timed out" in message


def test_a_hub_that_is_not_there(environment: dict[str, str]) -> None:
    start = time.monotonic()
    message = refused(asked(environment | {"HF_ENDPOINT": "http://127.0.0.1:9"}, "sst2", "sst2/validation"))
    assert time.monotonic() - start < 10
    assert "http://127.0.0.1:9" in message


def test_a_body_cut_short_is_fetched_again(server: hub.Hub, environment: dict[str, str]) -> None:
    server.cuts = 1
    assert len(frame(asked(environment, "squad", "squad/validation_v2"))) == 20


@pytest.mark.parametrize("honest", [True, False])
def test_a_body_that_is_always_cut_short_is_never_used(
    server: hub.Hub, environment: dict[str, str], honest: bool
) -> None:
    server.cuts, server.honest = 10**6, honest
    refused(asked(environment, "squad", "squad/validation_v2"))
    server.cuts = 0
    assert len(frame(asked(environment, "squad", "squad/validation_v2"))) == 20


def test_a_damaged_file_of_the_right_length_is_named(server: hub.Hub, environment: dict[str, str]) -> None:
    place = places.HUB["squad/validation_v2"]
    content = repositories()[place.repository][place.file]
    server.repositories = {place.repository: {place.file: content[:100] + bytes(len(content) - 100)}}
    done = asked(environment, "squad", "squad/validation_v2")
    assert done.returncode == 1
    assert environment["HF_HOME"] in done.stderr, "the file to delete"
    assert "delete it" in done.stderr


def test_a_gated_repository(server: hub.Hub, environment: dict[str, str]) -> None:
    server.gated = True
    assert "gated" in refused(asked(environment, "imdb", "imdb/test"))


def test_a_repository_or_file_that_is_gone(server: hub.Hub, environment: dict[str, str]) -> None:
    server.repositories = {"jhu-cogsci/hans": {}}
    assert "no such repository" in refused(asked(environment, "imdb", "imdb/test"))
    message = refused(asked(environment, "mnli", "hans/validation"))
    assert "no such file" in message
    assert "heuristics_evaluation_set.txt" in message
    assert "hans/validation.tsv" in message


@pytest.mark.parametrize(
    ("task", "path", "fragment"),
    [
        ("fever", "fever/train", "fever.train.jsonl"),
        ("fever", "fever_symmetric/v2_test", "DIR/fever_symmetric/v2_test.jsonl"),
        ("qqp", "paws_qqp/dev_and_test", "dev_and_test.tsv"),
        ("imdb", "imdb/validation", "DIR/imdb/validation.parquet"),
    ],
)
def test_a_split_no_repository_has_says_which_file_goes_where(task: str, path: str, fragment: str) -> None:
    for read in (data.Split(task, path, "hub").frame, data.Split(task, path, "hub").fingerprint):
        with pytest.raises(data.DataError, match="no hub repository is known") as refusal:
            read()
        assert fragment in str(refusal.value)


# Export


def test_an_exported_directory_gives_the_frames_of_the_hub(
    server: hub.Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    directory = tmp_path / "data"
    done = export(environment, str(directory))
    assert done.returncode == 0, done.stderr
    assert "fever/train: not on the hub" in done.stdout
    manifest = json.loads((directory / "manifest.json").read_text())
    assert set(manifest) == set(places.HUB)
    assert manifest["qqp/train"]["rows"] == 18
    for path in (
        "mnli/train",
        "hans/validation",
        "qqp/train",
        "paws_wiki/test",
        "imdb/test",
        "squad/train_v2",
    ):
        task = data.tasks.dataset(path).task
        here = data.Split(task, path, str(directory)).frame()
        pd.testing.assert_frame_equal(here, frame(asked(environment, task, path)), check_dtype=False)
        assert manifest[path]["rows"] == len(here)
        assert len(manifest[path]["commit"]) == 40
        assert manifest[path]["repository"] == places.HUB[path].repository


def test_an_export_resumes_redoes_what_is_damaged_and_verifies(
    server: hub.Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    directory = tmp_path / "data"
    assert export(environment, str(directory), "--tasks", "sst2", "imdb").returncode == 0
    files = sorted(directory.rglob("*.parquet"))
    assert [str(file.relative_to(directory)) for file in files] == [
        "imdb/test.parquet", "imdb/train.parquet", "sst2/train.parquet", "sst2/validation.parquet",
    ]  # fmt: skip
    assert verify(str(directory)) == []
    times = [file.stat().st_mtime_ns for file in files]
    server.requests.clear()
    assert export(environment, str(directory), "--tasks", "sst2", "imdb").returncode == 0
    assert not server.requests
    assert [file.stat().st_mtime_ns for file in files] == times

    files[0].write_bytes(files[0].read_bytes()[:-9])
    damaged = files[0].stat().st_ino
    files[2].unlink()
    done = export(environment, str(directory), "--verify")
    assert done.returncode == 1
    assert f"{files[0]}: changed since it was exported" in done.stderr
    assert f"{files[2]}: missing" in done.stderr
    assert export(environment, str(directory), "--tasks", "sst2", "imdb").returncode == 0
    assert verify(str(directory)) == []
    assert [file.stat().st_mtime_ns for file in (files[1], files[3])] == [times[1], times[3]]
    assert files[0].stat().st_ino != damaged, "a new file took the old one's place; none was written into"


def test_a_killed_export_leaves_whole_files_and_goes_on(
    server: hub.Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    directory = tmp_path / "data"
    server.delay = 0.15
    command = [sys.executable, "-m", "robust_lib.data", "export", str(directory)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        while len(list(directory.rglob("*.parquet"))) < 2:
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    done = list(directory.rglob("*.parquet"))
    assert 2 <= len(done) < len(places.HUB)
    for file in done:
        path = str(file.relative_to(directory).with_suffix(""))
        assert len(data.Split(data.tasks.dataset(path).task, path, str(directory)).frame())
    server.delay = 0
    assert export(environment, str(directory)).returncode == 0
    assert verify(str(directory)) == []


def test_an_export_that_runs_out_of_room_leaves_no_half_files(
    environment: dict[str, str], tmp_path: Path
) -> None:
    assert export(environment, str(tmp_path / "first"), "--tasks", "sst2").returncode == 0
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900)); "
    code = f"{small}from robust_lib.data.__main__ import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, "export", str(tmp_path / "second"), "--tasks", "sst2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert [file.name for file in (tmp_path / "second").rglob("*")] == ["sst2"]


def test_an_export_that_misses_a_repository_fetches_the_rest_and_fails(
    server: hub.Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    server.repositories = {name: files for name, files in repositories().items() if name != "jhu-cogsci/hans"}
    done = export(environment, str(tmp_path / "data"), "--tasks", "mnli")
    assert done.returncode == 1
    assert "2 splits were not exported" in done.stderr
    assert "heuristics_train_set.txt" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "data").rglob("*.parquet"))) == 3


@pytest.mark.parametrize("content", ["", "[]", '{"sst2/train": {}}', '{"sst2/train": 3}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(data.DataError, match=r"manifest.json: not a manifest"):
        verify(str(tmp_path))


def test_a_directory_without_manifest_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(data.DataError, match=r"manifest.json: no such file"):
        verify(str(tmp_path))
