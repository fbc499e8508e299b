"""NewsQA in each form it is to be had in, PolicyQA, and the splits made from SQuAD's, on real files of every kind."""

import gzip
import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robust_lib import data
from robust_lib.data import derived, sources

REAL = os.environ.get("ROBUST_DATA", "")
real = [
    pytest.mark.real,
    pytest.mark.skipif(not REAL, reason="ROBUST_DATA names no data directory"),
]
STORY = "./cnn/stories/42ae.story"
TEXT = "(CNN) -- The café in Löwen \nreopened in May.\n\nMay was sunny."  # places count characters, not bytes
STAND_IN, HELD_OUT = "squad/train_stand_in", "squad/validation_held_out"


def split(directory: Path | str, path: str = "newsqa/validation") -> data.Split:
    return data.Split("squad", path, str(directory))


def asked(question: str, **consensus: Any) -> dict[str, Any]:
    """A question as Maluuba's tool writes it."""
    crowd = [{"sourcerAnswers": [{"s": 0, "e": 5}]}, {"sourcerAnswers": [{"noAnswer": True}]}]
    return {"q": question, "consensus": consensus, "isAnswerAbsent": 0.5, "answers": crowd}


def official(directory: Path, questions: list[dict[str, Any]], **story: Any) -> Path:
    """A release of one story for development, and one for training."""
    file = directory / "newsqa" / "combined-newsqa-data-v1.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    stories = [
        {
            "storyId": "./cnn/stories/7.story",
            "text": TEXT,
            "type": "train",
            "questions": [asked("Who?", s=0, e=5)],
        },
        {"storyId": STORY, "text": TEXT, "type": "dev", "questions": questions} | story,
    ]
    file.write_text(json.dumps({"data": stories, "version": "1"}, ensure_ascii=False), encoding="utf-8")
    return file


def mrqa(
    directory: Path, header: dict[str, Any], *passages: dict[str, Any], name: str = "NewsQA.jsonl.gz"
) -> Path:
    file = directory / "newsqa" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(line, ensure_ascii=False) for line in ({"header": header}, *passages)]
    content = ("\n".join(lines) + "\n").encode()
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return file


def detected(qid: str, question: str, **spans: list[list[int]]) -> dict[str, Any]:
    """A question of MRQA's with the spans of each detected answer."""
    answers = [{"text": text, "char_spans": found, "token_spans": [[0, 0]]} for text, found in spans.items()]
    return {"qid": qid, "question": question, "detected_answers": answers, "answers": list(spans)}


DEV = {"dataset": "NewsQA", "split": "dev"}
PASSAGE = {
    "context": "May came. In May it\u2028rained.",
    "context_tokens": [["May", 0]],
    "qas": [
        detected("a1", "When?", may=[[0, 2], [13, 15]], May=[[13, 15]]),
        detected("a2", "What?", it=[[17, 18]]),
    ],
}


# The official form


def test_the_consensus_of_the_crowd_is_the_answer(tmp_path: Path) -> None:
    asked_for = [
        asked("Where is the café?", s=TEXT.index("Löwen"), e=TEXT.index("reopened")),
        asked("Who is asleep?", noAnswer=True),
        asked("What reopened in May?", s=9, e=17),
    ]
    official(tmp_path, asked_for)
    frame = split(tmp_path).frame()
    assert list(frame.columns) == ["id", "title", "context", "question", "answers"]
    assert frame["id"].tolist() == [f"{STORY}#0", f"{STORY}#1", f"{STORY}#2"]
    assert set(frame["title"]) == {STORY}
    assert set(frame["context"]) == {TEXT}
    assert frame["answers"].tolist() == [
        {"text": ["Löwen"], "answer_start": [TEXT.index("Löwen")]},  # the span ends after the white space
        {"text": [], "answer_start": []},
        {"text": ["The café"], "answer_start": [9]},
    ]


def test_each_split_has_the_stories_of_its_type(tmp_path: Path) -> None:
    official(tmp_path, [asked("What reopened?", s=9, e=17)])
    assert split(tmp_path, "newsqa/train").frame()["answers"][0] == {"text": ["(CNN)"], "answer_start": [0]}
    fingerprints = {split(tmp_path, f"newsqa/{name}").fingerprint() for name in ("train", "validation")}
    assert len(fingerprints) == 2
    with pytest.raises(data.DataError, match="the split is empty"):
        split(tmp_path, "newsqa/test").frame()


def test_questions_that_are_bad_or_blank_are_left_out_and_counted(tmp_path: Path) -> None:
    asked_for = [
        asked("Asdf?", badQuestion=True),
        asked("What reopened?", s=9, e=17),
        asked(" ", s=9, e=17),
        asked("What is between?", s=TEXT.index("\n\n"), e=TEXT.index("\n\n") + 2),
    ]
    official(tmp_path, asked_for)
    with pytest.warns(
        UserWarning, match=r"combined-newsqa-data-v1\.json: 3 bad or blank questions of type dev"
    ):
        frame = split(tmp_path).frame()
    assert frame["id"].tolist() == [f"{STORY}#1"]  # numbered as in the release


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        ('{"data": [', "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"version": "1"}', "KeyError: 'data'"),
        ('{"data": [{"storyId": "s", "text": "t", "questions": []}]}', "KeyError: 'type'"),
        (
            '{"data": [{"storyId": "s", "text": "t", "type": "dev", "questions": [{"q": "?"}]}]}',
            "'consensus'",
        ),
        (
            '{"data": [{"storyId": "s", "text": "t", "type": "dev", "questions": [{"q": "?", "consensus": {}}]}]}',
            "KeyError: 's'",
        ),
    ],
)
def test_a_file_that_is_no_release_is_named(tmp_path: Path, content: str, fragment: str) -> None:
    file = official(tmp_path, [])
    file.write_text(content)
    with pytest.raises(data.DataError) as refusal:
        split(tmp_path).frame()
    assert str(refusal.value).startswith(f"{file}: not of the form of NewsQA's combined-newsqa-data-v1.json")
    assert fragment in str(refusal.value)


def test_a_frame_is_ones_own_and_follows_the_file(tmp_path: Path) -> None:
    official(tmp_path, [asked("What reopened?", s=9, e=17)])
    frame = split(tmp_path).frame()
    frame["answers"][0]["text"].append("spoiled")
    frame.loc[0, "question"] = "spoiled"
    assert split(tmp_path).frame()["answers"][0]["text"] == ["The café"]
    assert split(tmp_path).frame()["question"].tolist() == ["What reopened?"]
    official(tmp_path, [asked("What is it that reopened?", s=9, e=17)])
    assert split(tmp_path).frame()["question"].tolist() == ["What is it that reopened?"]


# MRQA's form


@pytest.mark.parametrize("name", ["NewsQA.jsonl.gz", "NewsQA.jsonl"])
@pytest.mark.parametrize("header", [DEV, {"dataset": "NewsQA", "mrqa_split": "dev"}])
def test_mrqas_spans_include_their_last_character(tmp_path: Path, name: str, header: dict[str, Any]) -> None:
    mrqa(tmp_path, header, PASSAGE, PASSAGE | {"qas": [detected("a3", "Who?", came=[[4, 7]])]}, name=name)
    frame = split(tmp_path).frame()
    assert frame["id"].tolist() == ["a1", "a2", "a3"]
    assert frame["title"].tolist() == ["1", "1", "2"]
    assert frame["answers"].tolist() == [
        {"text": ["May", "May", "May"], "answer_start": [0, 13, 13]},
        {"text": ["it"], "answer_start": [17]},
        {"text": ["came"], "answer_start": [4]},
    ]


def test_mrqas_file_of_another_split_is_refused(tmp_path: Path) -> None:
    file = mrqa(tmp_path, {"dataset": "NewsQA", "split": "train"}, PASSAGE)
    with pytest.raises(
        data.DataError, match="split 'train', where 'dev' is asked for: fetch dev/NewsQA"
    ) as refusal:
        split(tmp_path).frame()
    assert str(refusal.value).startswith(str(file))
    assert len(split(tmp_path, "newsqa/train").frame()) == 2


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "ValueError"),
        (b"no gzip", "BadGzipFile"),
        (gzip.compress(b'{"header": {"split": "dev"}}\n', mtime=0)[:-9], "EOFError"),
        (gzip.compress(b'{"context": "May", "qas": []}\n', mtime=0), "KeyError: 'header'"),
        (gzip.compress(b'{"header": {"split": "dev"}}\n{"context": "May"}\n', mtime=0), "KeyError: 'qas'"),
        (gzip.compress(b'{"header": {"split": "dev"}}\n"caf\xe9"\n', mtime=0), "UnicodeDecodeError"),
    ],
)
def test_a_file_that_is_not_mrqas_is_named(tmp_path: Path, content: bytes, fragment: str) -> None:
    file = mrqa(tmp_path, DEV, PASSAGE)
    file.write_bytes(content)
    with pytest.raises(data.DataError) as refusal:
        split(tmp_path).frame()
    assert str(refusal.value).startswith(f"{file}: not of the form of NewsQA's NewsQA.jsonl.gz ({fragment}")


def test_a_span_outside_the_context_is_refused(tmp_path: Path) -> None:
    mrqa(tmp_path, DEV, PASSAGE | {"qas": [detected("a1", "When?", may=[[90, 93]])]})
    with pytest.raises(data.DataError, match=r"'answers', row 0: '' does not stand at character 90"):
        split(tmp_path).frame()


# Which form is taken


def test_the_canonical_file_comes_first_then_the_official_release(tmp_path: Path) -> None:
    mrqa(tmp_path, DEV, PASSAGE)
    assert len(split(tmp_path).frame()) == 2
    official(tmp_path, [asked("What reopened?", s=9, e=17)])
    frame = split(tmp_path).frame()
    assert frame["id"].tolist() == [f"{STORY}#0"]
    frame.assign(id="ours").to_parquet(tmp_path / "newsqa" / "validation.parquet")
    assert split(tmp_path).frame()["id"].tolist() == ["ours"]


@pytest.mark.parametrize(
    ("path", "fragments"),
    [
        (
            "newsqa/validation",
            ["licence", "github.com/Maluuba/newsqa", "dev/NewsQA.jsonl.gz", "MRQA-Shared-Task-2019"],
        ),
        ("newsqa/train", ["github.com/Maluuba/newsqa", "train/NewsQA.jsonl.gz"]),
        ("newsqa/test", ["github.com/Maluuba/newsqa", "newsqa/combined-newsqa-data-v1.json and give"]),
        ("policyqa/test", ["github.com/wasiahmad/PolicyQA", "policyqa/test.parquet"]),
    ],
)
def test_a_challenge_set_that_is_not_there_says_how_to_get_it(
    tmp_path: Path, path: str, fragments: list[str]
) -> None:
    with pytest.raises(data.DataError, match="no such file") as refusal:
        split(tmp_path, path).frame()
    assert [fragment for fragment in [*fragments, str(tmp_path)] if fragment not in str(refusal.value)] == []


# Splits made from SQuAD's


def questions(titles: list[str], each: int, *, answerable: int) -> pd.DataFrame:
    """`each` questions on every article, the first `answerable` of which have an answer."""
    one: dict[str, list[Any]] = {"text": ["a"], "answer_start": [0]}
    none: dict[str, list[Any]] = {"text": [], "answer_start": []}
    rows = [
        (f"{title}_{n}", title, f"a text on {title}", f"what {n}?", one if n < answerable else none)
        for title in titles
        for n in range(each)
    ]
    return pd.DataFrame(rows, columns=["id", "title", "context", "question", "answers"])


OLD, NEW = [f"old {n}" for n in range(12)], [f"new {n}" for n in range(7)]


def squad(directory: Path, train: pd.DataFrame | None = None) -> Path:
    """SQuAD 1.1's training set with an article of the development set among its own, and that development set."""
    (directory / "squad").mkdir(parents=True, exist_ok=True)
    train = questions([*OLD, NEW[0]], 4, answerable=4) if train is None else train
    train.assign(id="t " + train["id"]).to_parquet(directory / "squad" / "train_v1.parquet")
    questions(NEW, 6, answerable=2).to_parquet(directory / "squad" / "validation_v2.parquet")
    return directory


def reference_stand_in(train: pd.DataFrame, validation: pd.DataFrame) -> tuple[set[str], set[str]]:
    """The ids of the stand-in for training and of what is held out, question by question."""

    def digest(text: str) -> int:
        return int(hashlib.sha256(text.encode()).hexdigest(), 16)

    titles = sorted(set(validation["title"]), key=digest)
    half = titles[: len(titles) // 2]
    unanswerable = {
        row["id"]
        for row in validation.to_dict("records")
        if row["title"] in half and not row["answers"]["text"]
    }
    others = [row["id"] for row in train.to_dict("records") if row["title"] not in titles]
    drawn = sorted(others, key=digest)[: 2 * len(unanswerable)]
    held_out = {row["id"] for row in validation.to_dict("records") if row["title"] not in half}
    return unanswerable | set(drawn), held_out


def test_the_stand_in_follows_the_rule(tmp_path: Path) -> None:
    squad(tmp_path)
    train, held_out = (split(tmp_path, path).frame() for path in (STAND_IN, HELD_OUT))
    published = [split(tmp_path, path).frame() for path in ("squad/train_v1", "squad/validation_v2")]
    assert (set(train["id"]), set(held_out["id"])) == reference_stand_in(*published)
    assert not set(train["title"]) & set(held_out["title"])
    assert Counter(bool(answers["text"]) for answers in train["answers"]) == {True: 24, False: 12}
    assert len(held_out) == 4 * 6  # of seven articles three are learnt from
    assert train.index.tolist() == list(range(36))
    assert held_out.index.tolist() == list(range(24))


def test_the_order_of_the_files_rows_does_not_matter(tmp_path: Path) -> None:
    frame = split(squad(tmp_path), STAND_IN).frame()
    turned = questions([NEW[0], *OLD[::-1]], 4, answerable=4)
    assert set(split(squad(tmp_path, turned), STAND_IN).frame()["id"]) == set(frame["id"])


def test_too_few_questions_to_train_on_are_refused(tmp_path: Path) -> None:
    squad(tmp_path, questions(OLD[:5], 4, answerable=4))
    with pytest.raises(
        data.DataError, match=r"made from squad/train_v1 and squad/validation_v2 of .*: 20 ans.* 24 are"
    ):
        split(tmp_path, STAND_IN).frame()


def test_a_made_fingerprint_follows_the_files_and_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squad(tmp_path)
    before = {path: split(tmp_path, path).fingerprint() for path in (STAND_IN, HELD_OUT)}
    squad(tmp_path / "elsewhere")
    assert {path: split(tmp_path / "elsewhere", path).fingerprint() for path in before} == before
    squad(tmp_path, questions([*OLD, NEW[1]], 4, answerable=4))
    assert split(tmp_path, STAND_IN).fingerprint() != before[STAND_IN]
    assert split(tmp_path, HELD_OUT).fingerprint() == before[HELD_OUT]
    monkeypatch.setattr(derived, "VERSION", "another")
    assert split(tmp_path, HELD_OUT).fingerprint() != before[HELD_OUT]


def test_what_a_made_split_lacks_is_named(tmp_path: Path) -> None:
    squad(tmp_path)
    (tmp_path / "squad" / "train_v1.parquet").unlink()
    with pytest.raises(
        data.DataError, match=r"made from squad/train_v1 .*train_v1\.parquet: no such file"
    ) as refusal:
        split(tmp_path, STAND_IN).frame()
    with pytest.raises(data.DataError) as before_reading:  # as a plan asks, without reading the others
        sources.split_files(str(tmp_path), STAND_IN)
    assert str(before_reading.value) == str(refusal.value)
    assert len(split(tmp_path, HELD_OUT).frame()) == 24
    with pytest.raises(data.DataError, match=r"no hub repository is known .* give DIR as the source"):
        split("hub", STAND_IN).frame()


# Real files


class TestReal:
    """What the publishers' files hold."""

    pytestmark = real

    def test_policyqa_is_a_test_bed_of_the_squad_task(self) -> None:
        frame = split(REAL, "policyqa/test").frame()
        assert len(frame) == 4152
        assert all(answers["text"] for answers in frame["answers"])

    def test_squads_stand_in_is_a_third_unanswerable_and_shares_no_article(self) -> None:
        train, held_out = (split(REAL, path).frame() for path in (STAND_IN, HELD_OUT))
        assert Counter(bool(answers["text"]) for answers in train["answers"]) == {True: 5620, False: 2810}
        assert Counter(bool(answers["text"]) for answers in held_out["answers"]) == {True: 3324, False: 3135}
        assert not set(train["title"]) & set(held_out["title"])
        assert held_out["title"].nunique() == 18
        some = data.Split("squad", STAND_IN, REAL, size=300, seed=1).frame()
        assert sum(not answers["text"] for answers in some["answers"]) == 100
