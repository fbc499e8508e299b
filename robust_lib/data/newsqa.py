"""NewsQA in the two forms a user can get it in; its licence lets nobody pass it on.

The official one is `combined-newsqa-data-v1.json`, which the tool of github.com/Maluuba/newsqa makes from the questions
and CNN's stories. The other is that of the MRQA 2019 shared task: cut to 800 tokens, answerable questions alone.
"""

import gzip
import json
import warnings
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from robust_lib.data.tasks import DataError

OFFICIAL, MRQA = "combined-newsqa-data-v1.json", ("NewsQA.jsonl.gz", "NewsQA.jsonl")
FILES = (OFFICIAL, *MRQA)
PARTS = {
    "newsqa/train": "train",
    "newsqa/validation": "dev",
    "newsqa/test": "test",
}  # as both forms name them
COLUMNS = ("id", "title", "context", "question", "answers")

# What damaged bytes and JSON of another form, or nested too deep, end in.
_UNREADABLE = OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError
Row = tuple[str, str, str, str, dict[str, list[Any]]]


@lru_cache(maxsize=2)
def read(file: Path, path: str, mtime_ns: int, size: int) -> pd.DataFrame:
    """The rows of the split `path` in a file of either form, in SQuAD's columns, answers as the form defines them.

    Official: the crowd's consensus is the answer, none where it is that there is none; the story's id is the title.
    Questions that the crowd found bad, or that are blank or have a blank answer, are left out; a warning counts them.
    MRQA: every place of every detected answer is an answer; contexts have no titles and are numbered.
    Kept in memory, for the release takes seconds; time and size of the file are there to tell its versions apart.
    DataError for a file that is damaged or of no such form, and for MRQA's file of another split.
    """
    rows = _official if file.name == OFFICIAL else _mrqa
    try:
        return pd.DataFrame(list(rows(file, PARTS[path])), columns=list(COLUMNS))
    except DataError:
        raise
    except _UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        raise DataError(
            f"{file}: not of the form of NewsQA's {file.name} ({reason}): it is damaged, cut short or of another "
            "form; delete it and fetch or make it again"
        ) from None


def _official(file: Path, part: str) -> Iterator[Row]:
    left_out = 0
    for story in json.loads(file.read_text(encoding="utf-8"))["data"]:
        if story["type"] != part:
            continue
        for number, question in enumerate(story["questions"]):
            answers = _consensus(story["text"], question["consensus"])
            if question["consensus"].get("badQuestion") or not all([question["q"].strip(), *answers["text"]]):
                left_out += 1
                continue
            yield f"{story['storyId']}#{number}", story["storyId"], story["text"], question["q"], answers
    if left_out:
        warnings.warn(f"{file}: {left_out} bad or blank questions of type {part} are left out", stacklevel=2)


def _consensus(text: str, consensus: dict[str, Any]) -> dict[str, list[Any]]:
    """The answer without the white space that the end of a span may include, as NewsQA's README says."""
    if consensus.get("noAnswer") or consensus.get("badQuestion"):
        return {"text": [], "answer_start": []}
    span = text[consensus["s"] : consensus["e"]]
    return {"text": [span.strip()], "answer_start": [consensus["s"] + len(span) - len(span.lstrip())]}


def _mrqa(file: Path, part: str) -> Iterator[Row]:
    first, *lines = _lines(file)
    header = json.loads(first)["header"]
    holds = header.get("split", header.get("mrqa_split"))  # the older release's name of the field
    if holds != part:
        raise DataError(
            f"{file}: MRQA's file of the split {holds!r}, where {part!r} is asked for: fetch {part}/NewsQA.jsonl.gz "
            "(MRQA has train and dev)"
        )
    for number, line in enumerate(lines, start=1):
        passage = json.loads(line)
        for question in passage["qas"]:
            answers = _detected(passage["context"], question["detected_answers"])
            yield question["qid"], str(number), passage["context"], question["question"], answers


def _lines(file: Path) -> list[str]:
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return [line for line in content.decode("utf-8").split("\n") if line]


def _detected(context: str, detected: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The context at each span, whose last character is included.

    Not the text beside the spans: that may differ from it in case, articles and punctuation.
    """
    spans = [span for answer in detected for span in answer["char_spans"]]
    return {
        "text": [context[start : last + 1] for start, last in spans],
        "answer_start": [start for start, _ in spans],
    }
