"""Tasks, their test beds, and the data sets behind them, with the conventions of the papers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


class DataError(ValueError):
    """Data that cannot be used as it is: the message names the file, the column, the value and the remedy."""


@dataclass(frozen=True)
class TestBed:
    """A split that a model is measured on; `metrics` are those the papers print for it."""

    __test__ = False  # its name makes pytest look for tests in it

    path: str
    metrics: tuple[str, ...] = ("accuracy",)


@dataclass(frozen=True)
class Task:
    """What is learned from `train` and where it is measured.

    The first in-distribution test bed is the papers' "DEV". How several beds out of distribution make one
    number is `metrics.POOL`. `ood_training` are the splits, and how often each, that paper 4 adds to the training
    set for its upper bound (section 4.5).
    """

    text: tuple[str, ...]
    labels: tuple[str, ...]
    train: str
    in_distribution: tuple[TestBed, ...]
    out_of_distribution: tuple[TestBed, ...] = ()
    ood_training: tuple[tuple[str, int], ...] = ()

    @property
    def testbeds(self) -> tuple[TestBed, ...]:
        """In-distribution beds, then the others."""
        return self.in_distribution + self.out_of_distribution


@dataclass(frozen=True)
class Dataset:
    """The canonical form of one data set, the same for every split and source.

    `text` are the columns an encoder reads, in its order; `required` stand beside them and the label;
    `carried` are kept where they exist. `renames` and `label_names` turn published names into canonical ones.
    """

    task: str
    text: tuple[str, ...]
    labels: tuple[str, ...]
    carried: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    label_names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns every split of it has, in order."""
        return (*self.text, "label", *self.required) if self.labels else self.required


NLI = ("entailment", "neutral", "contradiction")
HEURISTICS = ("lexical_overlap", "subsequence", "constituent")
VERDICTS = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
PARAPHRASE = ("not_duplicate", "duplicate")
SENTIMENT = ("negative", "positive")

_PARAPHRASE_METRICS = ("accuracy", "f1")  # paper 1 prints accuracy, paper 4 the F1 of `duplicate`
_SPAN_METRICS = ("exact_match", "f1")

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "mnli": Task(
            text=("premise", "hypothesis"),
            labels=NLI,
            train="mnli/train",
            in_distribution=(
                TestBed("mnli/validation_matched"),
                TestBed("mnli/validation_mismatched"),
            ),
            out_of_distribution=(TestBed("hans/validation"),),
            ood_training=(("hans/train", 1),),
        ),
        "fever": Task(
            text=("claim", "evidence"),
            labels=VERDICTS,
            train="fever/train",
            in_distribution=(TestBed("fever/dev"),),
            # Sym1 is v0.1 "generated" (717) and Sym2 the test part of v0.2 (712); paper 1 says 712 for both.
            out_of_distribution=(TestBed("fever_symmetric/v1_generated"), TestBed("fever_symmetric/v2_test")),
            ood_training=(("fever_symmetric/v2_dev", 10),),
        ),
        "qqp": Task(
            text=("sentence1", "sentence2"),
            labels=PARAPHRASE,
            train="qqp/train",
            in_distribution=(TestBed("qqp/validation", _PARAPHRASE_METRICS),),
            out_of_distribution=(
                TestBed("paws_wiki/test", _PARAPHRASE_METRICS),
                TestBed("paws_qqp/dev_and_test", _PARAPHRASE_METRICS),
            ),
            ood_training=(("paws_qqp/train", 1), ("paws_wiki/train", 1)),
        ),
        "sst2": Task(("sentence",), SENTIMENT, "sst2/train", (TestBed("sst2/validation"),)),
        "imdb": Task(("text",), SENTIMENT, "imdb/train", (TestBed("imdb/test"),)),
        "squad": Task(
            text=("question", "context"),
            labels=(),
            train="squad/train_v2",
            in_distribution=(TestBed("squad/validation_v2", _SPAN_METRICS),),
            out_of_distribution=(TestBed("newsqa/validation", _SPAN_METRICS),),
        ),
    }
)

_PAIR_ID = {"pairID": "pair_id"}
_MNLI = Dataset(
    "mnli",
    ("premise", "hypothesis"),
    NLI,
    carried=("pair_id", "hard"),
    renames=_PAIR_ID | {"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"},
)
_PARAPHRASES = Dataset(
    "qqp",
    ("sentence1", "sentence2"),
    PARAPHRASE,
    carried=("id",),
    renames={"question1": "sentence1", "question2": "sentence2", "is_duplicate": "label", "idx": "id"},
    label_names={"0": "not_duplicate", "1": "duplicate"},  # PAWS names its two classes by these digits
)
_FEVER = Dataset(
    "fever",
    ("claim", "evidence"),
    VERDICTS,
    carried=("id",),
    renames={"evidence_sentence": "evidence", "gold_label": "label"},
)
_SPANS = Dataset(
    "squad", ("question", "context"), (), required=("id", "title", "context", "question", "answers")
)
_IMDB = Dataset(
    "imdb", ("text",), SENTIMENT, carried=("id",), label_names={"neg": "negative", "pos": "positive"}
)

# By the first part of a path, or the whole: the attack papers' samples are one folder of several data sets.
DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "mnli": _MNLI,
        "hans": Dataset(
            "mnli",
            ("premise", "hypothesis"),
            ("entailment", "non-entailment"),
            carried=("pair_id", "subcase"),
            required=("heuristic",),
            renames=_MNLI.renames,
            label_names={"non_entailment": "non-entailment"},
        ),
        "fever": _FEVER,
        "fever_symmetric": _FEVER,
        "qqp": _PARAPHRASES,
        "paws_qqp": _PARAPHRASES,
        "paws_wiki": _PARAPHRASES,
        "sst2": Dataset("sst2", ("sentence",), SENTIMENT, carried=("id",), renames={"idx": "id"}),
        "imdb": _IMDB,
        "squad": _SPANS,
        "newsqa": _SPANS,
        "policyqa": _SPANS,
        "attack_sets/mnli_matched": _MNLI,
        "attack_sets/mnli_mismatched": _MNLI,
        "attack_sets/imdb": _IMDB,
    }
)


def task(name: str) -> Task:
    """The task of that name; DataError with the known names otherwise."""
    if name not in TASKS:
        raise DataError(f"unknown task {name!r}: the tasks are {', '.join(TASKS)}")
    return TASKS[name]


def dataset(path: str) -> Dataset:
    """The data set that `path` (`<dataset>/<split>`) is a split of; DataError where there is none."""
    name, _, split = path.partition("/")
    if not split or "/" in split or split.startswith(".") or "\\" in path:
        raise DataError(f"{path!r} is not the path of a split: it is written <dataset>/<split>")
    found = DATASETS.get(path, DATASETS.get(name))
    if found is None:
        raise DataError(f"{path!r}: unknown data set {name!r}: the data sets are {', '.join(DATASETS)}")
    return found


def beds(names: Iterable[str]) -> dict[str, list[str]]:
    """The paths each task is measured on in paper 1: its development set, then its OOD sets."""
    return {
        name: [task(name).in_distribution[0].path, *(bed.path for bed in task(name).out_of_distribution)]
        for name in names
    }
