"""Where the published splits are to be had: pinned files of hub repositories, or what a user must fetch.

Repositories, commits, file names and label names were looked up in stored copies of hub pages and of public
code that pins the same commits (2026-11-21), except where a comment says that they were not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Place:
    """One parquet file of a hub repository at a commit or branch.

    `blank` is the number of rows with a blank text that the published file is known to have: left out.
    """

    repository: str
    revision: str
    file: str
    blank: int = 0


def _glue(file: str, blank: int = 0) -> Place:
    return Place(
        "nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c", f"{file}-00000-of-00001.parquet", blank
    )


def _mnli(split: str) -> Place:
    commit = "da70db2af9d09693783c3320c4249840212ee221"
    return Place("nyu-mll/multi_nli", commit, f"data/{split}-00000-of-00001.parquet")


def _hans(split: str) -> Place:
    # The repository itself holds a loading script, which `datasets` no longer runs; to this branch the hub's
    # converter writes parquet. That it did so for this repository was not verified. tasksource/hans is
    # parquet, but without heuristics and with the evaluation set cut in two.
    return Place("jhu-cogsci/hans", "refs/convert/parquet", f"plain_text/{split}/0000.parquet")


def _imdb(split: str) -> Place:
    commit = "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"
    return Place("stanfordnlp/imdb", commit, f"plain_text/{split}-00000-of-00001.parquet")


def _paws(split: str) -> Place:
    commit = "161ece9501cf0a11f3e48bd356eaa82de46d6a09"
    return Place("google-research-datasets/paws", commit, f"labeled_final/{split}-00000-of-00001.parquet")


def _squad(split: str) -> Place:
    commit = "3ffb306f725f7d2ce8394bc1873b24868140c412"
    return Place("rajpurkar/squad_v2", commit, f"squad_v2/{split}-00000-of-00001.parquet")


HUB: Mapping[str, Place] = MappingProxyType(
    {
        "mnli/train": _mnli("train"),
        "mnli/validation_matched": _mnli("validation_matched"),
        "mnli/validation_mismatched": _mnli("validation_mismatched"),
        "hans/train": _hans("train"),
        "hans/validation": _hans("validation"),
        # Two questions of the training set are empty (huggingface/datasets issue 277).
        "qqp/train": _glue("qqp/train", blank=2),
        "qqp/validation": _glue("qqp/validation"),
        "paws_wiki/train": _paws("train"),
        "paws_wiki/validation": _paws("validation"),
        "paws_wiki/test": _paws("test"),
        "sst2/train": _glue("sst2/train"),
        "sst2/validation": _glue("sst2/validation"),
        # All 25,000 training reviews: the split into 20,000 and a validation set of 5,000 is not on the hub.
        "imdb/train": _imdb("train"),
        "imdb/test": _imdb("test"),
        "squad/train_v2": _squad("train"),
        "squad/validation_v2": _squad("validation"),
    }
)

_SYMMETRIC = "github.com/TalSchuster/FeverSymmetric"
_PROCESSED = f"as processed by Schuster et al. (linked from {_SYMMETRIC})"
_HEURISTICS = "from github.com/tommccoy1/hans"
_PAWS_QQP = "made from the original QQP by qqp_generate_data.py of github.com/google-research-datasets/paws"
_NEWSQA = (
    "NewsQA, which its licence lets nobody pass on: combined-newsqa-data-v1.json as the tool of "
    "github.com/Maluuba/newsqa makes it"
)
_MRQA = "/NewsQA.jsonl.gz of github.com/mrqa/MRQA-Shared-Task-2019"
_OR_MRQA = "combined-newsqa-data-v1.json or NewsQA.jsonl.gz"

# No hub repository of these in the papers' form was found. Other FEVERs with claim and evidence exist
# (nli_fever, VitaminC's): they are differently processed, and must not be mixed with this one.
ELSEWHERE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "hans/train": (f"heuristics_train_set.txt {_HEURISTICS}", "train.tsv"),
        "hans/validation": (f"heuristics_evaluation_set.txt {_HEURISTICS}", "validation.tsv"),
        "fever/train": (f"fever.train.jsonl {_PROCESSED}", "train.jsonl"),
        "fever/dev": (f"fever.dev.jsonl {_PROCESSED}", "dev.jsonl"),
        "fever_symmetric/v1_generated": (
            f"{_SYMMETRIC}: symmetric_v0.1/fever_symmetric_generated.jsonl",
            "v1_generated.jsonl",
        ),
        "fever_symmetric/v1_full": (
            f"{_SYMMETRIC}: symmetric_v0.1/fever_symmetric_full.jsonl",
            "v1_full.jsonl",
        ),
        "fever_symmetric/v2_dev": (
            f"{_SYMMETRIC}: symmetric_v0.2/fever_symmetric_dev.jsonl",
            "v2_dev.jsonl",
        ),
        "fever_symmetric/v2_test": (
            f"{_SYMMETRIC}: symmetric_v0.2/fever_symmetric_test.jsonl",
            "v2_test.jsonl",
        ),
        "paws_qqp/train": (f"train.tsv {_PAWS_QQP}", "train.tsv"),
        "paws_qqp/dev_and_test": (f"dev_and_test.tsv {_PAWS_QQP}", "dev_and_test.tsv"),
        "newsqa/train": (f"{_NEWSQA}, or, answerable questions alone, train{_MRQA}", _OR_MRQA),
        "newsqa/validation": (f"{_NEWSQA}, or, answerable questions alone, dev{_MRQA}", _OR_MRQA),
        "newsqa/test": (_NEWSQA, "combined-newsqa-data-v1.json"),
        "policyqa/test": ("test.json of github.com/wasiahmad/PolicyQA in SQuAD's columns", "test.parquet"),
    }
)

# Each by the splits of a data directory that it is made of, as `derived` says.
MADE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "squad/train_stand_in": ("squad/train_v1", "squad/validation_v2"),
        "squad/validation_held_out": ("squad/validation_v2",),
    }
)


def remedy(path: str, directory: str = "DIR") -> str:
    """What to do for a split that is not where it was looked for: one phrase to end an error with."""
    if path in MADE:
        return (
            f"it is made from {' and '.join(MADE[path])} of a data directory: give {directory} as the source"
        )
    if path in ELSEWHERE:
        what, file = ELSEWHERE[path]
        folder = path.partition("/")[0]
        return f"fetch {what}, store it as {directory}/{folder}/{file} and give {directory} as the source"
    if path in HUB:
        return f"`python -m robust_lib.data export {directory}` fetches it from the hub"
    return f"store a file with this data set's columns as {directory}/{path}.parquet"
