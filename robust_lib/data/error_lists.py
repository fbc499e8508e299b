"""The published error lists of paper 2: which questions of SQuAD 2 each of its six models gets wrong."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from robust_lib.data import sources
from robust_lib.data.tasks import DataError

QUESTIONS = "squad/validation_v2"  # paper 2's "test partition": the official test set is hidden
FOLDER = "published/miniature_error_ids"
FILES: Mapping[str, str] = MappingProxyType(
    {
        "BERT-large": "bert_large",
        "BERT-base": "bert_base",
        "Distil-BERT": "distil_bert",
        "BERT-medium": "bert_medium",
        "BERT-mini": "bert_mini",
        "Tiny-BERT": "tiny_bert",
    }
)  # Table 2's names
_ORIGIN = "github.com/rohitrai11/Compressed-Models-are-NOT-Miniature-Versions-of-Large-Models"


def error_lists(directory: str) -> pd.DataFrame:
    """Whether each model of paper 2 answers each question of SQuAD 2's development set wrongly.

    From `<directory>/published/miniature_error_ids/<model>.json`, lists of question ids, and `<directory>/squad/
    validation_v2`: bool, question ids x models under the names of Table 2, in the order of the questions. DataError
    for a list that is missing, unreadable or of another form, and for ids that stand twice or are no question's.
    """
    questions = sources.directory_frame(directory, QUESTIONS)["id"]
    folder = Path(directory) / FOLDER
    wrong = {
        model: questions.isin(_listed(folder / f"{name}.json", set(questions)))
        for model, name in FILES.items()
    }
    return pd.DataFrame(wrong).set_index(pd.Index(questions))


def _listed(file: Path, questions: set[str]) -> list[str]:
    """The ids of one list."""
    remedy = f"the lists are published at {_ORIGIN}; BERT-mini's stands in commit dfce8b6 alone"
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{file}: no such error list: {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: not a readable JSON file ({error}): {remedy}") from None
    if not isinstance(listed, list) or not listed or not all(isinstance(one, str) for one in listed):
        raise DataError(f"{file}: an error list is a JSON list of question ids, as strings: {remedy}")
    twice = [one for one, count in Counter(listed).items() if count > 1]
    unknown = [one for one in listed if one not in questions]
    for odd, what in ((twice, "ids stand twice"), (unknown, f"ids are of no question of {QUESTIONS}")):
        if odd:
            raise DataError(f"{file}: {len(odd)} {what}, first {odd[0]!r}: {remedy}")
    return listed
