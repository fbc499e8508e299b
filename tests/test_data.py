"""Tasks, splits, subsamples, label names and published file forms, on real files of every kind."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_lib import data
from robust_lib.data import places, split, tasks

CLASSES = ("entailment", "neutral", "contradiction")


def store(directory: Path, path: str, frame: pd.DataFrame) -> str:
    """Write a split of a data directory; return the directory."""
    file = directory / f"{path}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(file, index=False)
    return str(directory)


def pairs(count: int, labels: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    rows = range(count)
    return pd.DataFrame(
        {
            "premise": [f"the premise number {row}" for row in rows],
            "hypothesis": [f"hypothesis {row}" for row in rows],
            "label": [labels[row % len(labels)] for row in rows],
        }
    )


# Tasks


@pytest.mark.parametrize("name", data.TASKS)
def test_every_split_of_a_task_is_a_split_of_its_data_sets(name: str) -> None:
    task = data.TASKS[name]
    assert tasks.dataset(task.train).labels == task.labels
    assert tasks.dataset(task.train).text == task.text
    for path in (task.train, *(bed.path for bed in task.testbeds)):
        assert data.Split(name, path, "micro").text == task.text
    assert len({bed.path for bed in task.testbeds}) == len(task.testbeds)


def test_the_papers_conventions() -> None:
    assert data.TASKS["mnli"].in_distribution[0].path == "mnli/validation_matched"
    assert data.Split("mnli", "hans/validation", "micro").labels == ("entailment", "non-entailment")
    assert set(data.TASKS["qqp"].testbeds[0].metrics) == {"accuracy", "f1"}
    assert data.TASKS["qqp"].labels.index("duplicate") == 1


def test_where_splits_are_to_be_had_covers_every_task() -> None:
    for name, task in data.TASKS.items():
        for path in (task.train, *(bed.path for bed in task.testbeds)):
            assert path in places.HUB or path in places.ELSEWHERE, (name, path)


def test_tasks_and_frames_do_without_torch() -> None:
    code = "import sys, robust_lib.data; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_attack_papers_samples_are_splits_of_three_data_sets() -> None:
    assert data.Split("mnli", "attack_sets/mnli_matched", "nowhere").labels == data.TASKS["mnli"].labels
    assert data.Split("imdb", "attack_sets/imdb", "nowhere").text == ("text",)


# Splits that cannot be


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (("mnl", "mnli/train", "micro"), ["'mnl'", "mnli", "squad"]),
        (("mnli", "qqp/train", "micro"), ["'qqp/train'", "'qqp'", "'mnli'"]),
        (("mnli", "paws_wiki/test", "hub"), ["'paws_wiki/test'", "'qqp'"]),
        (("mnli", "snli/train", "micro"), ["'snli'", "mnli", "hans"]),
        (("mnli", "attack_sets/imdb", "hub"), ["'attack_sets/imdb'", "'imdb'", "'mnli'"]),
        (("mnli", "mnli", "micro"), ["'mnli'", "<dataset>/<split>"]),
        (("mnli", "mnli/../qqp/train", "micro"), ["<dataset>/<split>"]),
        (("mnli", "mnli/train", ""), ["source ''", "'micro'", "'hub'"]),
        (("mnli", "mnli/train", "micro", 0), ["size 0", "above 0"]),
        (("mnli", "mnli/train", "micro", 2.5), ["size 2.5"]),
        (("mnli", "mnli/train", "micro", True), ["size True"]),
    ],
)
def test_an_impossible_split_is_refused_before_anything_is_read(
    arguments: tuple[object, ...], fragments: list[str]
) -> None:
    with pytest.raises(data.DataError) as refusal:
        data.Split(*arguments)  # type: ignore[arg-type]
    assert all(fragment in str(refusal.value) for fragment in fragments), refusal.value


# The micro world


@pytest.mark.parametrize(
    ("name", "path"), [(name, bed.path) for name, task in data.TASKS.items() for bed in task.testbeds]
)
def test_the_micro_world_has_every_test_bed_in_canonical_form(name: str, path: str) -> None:
    bed = data.Split(name, path, "micro", size=60, seed=3)
    frame = bed.frame()
    assert len(frame) == 60
    assert list(frame.columns[: len(tasks.dataset(path).columns)]) == list(tasks.dataset(path).columns)
    pd.testing.assert_frame_equal(frame, bed.frame())
    assert bed.fingerprint() == data.Split(name, path, "micro", size=60, seed=3).fingerprint()
    assert bed.fingerprint() != data.Split(name, path, "micro", size=60, seed=4).fingerprint()
    assert bed.fingerprint() != data.Split(name, path, "micro", size=61, seed=3).fingerprint()


def test_writing_into_a_micro_frame_leaves_the_next_one_alone() -> None:
    bed = data.Split("sst2", "sst2/validation", "micro", size=5)
    before = bed.frame().to_dict()
    spoiled = bed.frame()
    spoiled["label"] = "spoiled"
    spoiled.loc[0, "sentence"] = "spoiled"
    assert bed.frame().to_dict() == before


# A data directory


def test_a_fingerprint_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    here, there = (store(tmp_path / name, "mnli/train", pairs(9)) for name in ("here", "there"))
    whole = data.Split("mnli", "mnli/train", here)
    assert whole.fingerprint() == data.Split("mnli", "mnli/train", there, seed=7).fingerprint()
    assert whole.fingerprint() != data.Split("mnli", "mnli/train", here, size=6).fingerprint()
    some = [data.Split("mnli", "mnli/train", here, size=6, seed=seed).fingerprint() for seed in (0, 1)]
    assert some[0] != some[1]
    before = whole.fingerprint()
    store(tmp_path / "here", "mnli/train", pairs(9).assign(hypothesis="another"))
    assert whole.fingerprint() != before


def test_the_whole_frame_is_whole_and_keeps_what_is_canonical(tmp_path: Path) -> None:
    raw = pairs(6).assign(hard=[0, 1] * 3, pair_id=list("abcdef"), genre="fiction")
    frame = data.Split(
        "mnli", "mnli/validation_matched", store(tmp_path, "mnli/validation_matched", raw)
    ).frame()
    assert list(frame.columns) == ["premise", "hypothesis", "label", "pair_id", "hard"]
    assert frame["hard"].tolist() == raw["hard"].tolist()
    assert frame.index.tolist() == list(range(6))


def test_integer_labels_go_by_the_names_they_bring_in_whatever_order(tmp_path: Path) -> None:
    """Published files number the same classes differently; the strings must come out the same."""
    expected = pairs(12)["label"].tolist()
    for order in (CLASSES, CLASSES[::-1], ("neutral", "contradiction", "entailment")):
        named = datasets.Dataset.from_pandas(pairs(12), preserve_index=False)
        named = named.cast_column("label", datasets.ClassLabel(names=list(order)))
        file = tmp_path / order[0] / order[1] / "mnli" / "train.parquet"
        file.parent.mkdir(parents=True)
        named.to_parquet(file)
        assert pd.read_parquet(file)["label"].dtype == "int64"
        assert data.Split("mnli", "mnli/train", str(file.parent.parent)).frame()["label"].tolist() == expected


@pytest.mark.parametrize(
    ("name", "path", "columns", "published", "expected"),
    [
        (
            "qqp",
            "qqp/train",
            ("question1", "question2"),
            ["not_duplicate", "duplicate"],
            data.TASKS["qqp"].labels,
        ),
        ("qqp", "paws_wiki/test", ("sentence1", "sentence2"), ["0", "1"], data.TASKS["qqp"].labels),
        ("imdb", "imdb/test", ("text",), ["neg", "pos"], data.TASKS["imdb"].labels),
        ("sst2", "sst2/train", ("sentence",), ["negative", "positive"], data.TASKS["sst2"].labels),
        ("mnli", "hans/validation", ("premise", "hypothesis"), ["entailment", "non-entailment"], None),
    ],
)
def test_published_columns_and_class_names_become_canonical(
    tmp_path: Path,
    name: str,
    path: str,
    columns: tuple[str, ...],
    published: list[str],
    expected: tuple[str, ...] | None,
) -> None:
    rows = {column: ["one text", "another text"] for column in columns} | {"label": [0, 1]}
    if path == "hans/validation":
        rows |= {"heuristic": ["constituent"] * 2, "template": ["temp1"] * 2}
    named = datasets.Dataset.from_dict(rows).cast_column("label", datasets.ClassLabel(names=published))
    file = tmp_path / f"{path}.parquet"
    file.parent.mkdir()
    named.to_parquet(file)
    frame = data.Split(name, path, str(tmp_path)).frame()
    assert list(frame.columns) == list(tasks.dataset(path).columns)
    assert frame["label"].tolist() == list(expected or published)


def test_hans_as_its_authors_publish_it(tmp_path: Path) -> None:
    header = [
        "gold_label",
        "sentence1_binary_parse",
        "sentence2_binary_parse",
        "sentence1_parse",
        "sentence2_parse",
    ]
    header += ["sentence1", "sentence2", "pairID", "heuristic", "subcase", "template"]
    row = [
        "non-entailment",
        "( a )",
        "( b )",
        "(ROOT a)",
        "(ROOT b)",
        '"Presidents" ran .',
        "n/a",
        "ex0",
    ]
    row += ["lexical_overlap", "ln_subject/object_swap", "temp1"]
    file = tmp_path / "hans" / "validation.tsv"
    file.parent.mkdir()
    file.write_text("\t".join(header) + "\n" + "\t".join(row) + "\n")
    frame = data.Split("mnli", "hans/validation", str(tmp_path)).frame()
    assert frame.to_dict("records") == [
        {
            "premise": '"Presidents" ran .',
            "hypothesis": "n/a",
            "label": "non-entailment",
            "heuristic": "lexical_overlap",
            "pair_id": "ex0",
            "subcase": "ln_subject/object_swap",
        }
    ]


def test_fever_symmetric_as_its_authors_publish_it(tmp_path: Path) -> None:
    folder = tmp_path / "fever_symmetric"
    folder.mkdir()
    first = '{"id": 1118970000002, "label": "SUPPORTS", "claim": "A claim .", "evidence_sentence": "Evidence ."}\n'
    second = (
        '{"id": "7208", "claim": "A claim .", "evidence": "Evidence .", "sentence1": "Evidence .", '
        '"sentence2": "A claim .", "gold_label": "REFUTES", "label": "REFUTES", "evid": [["Evidence .", 1.0]]}\n'
    )
    (folder / "v1_generated.jsonl").write_text(first)
    (folder / "v2_test.jsonl").write_text(second)
    for name, label in (("v1_generated", "SUPPORTS"), ("v2_test", "REFUTES")):
        frame = data.Split("fever", f"fever_symmetric/{name}", str(tmp_path)).frame()
        assert frame[["claim", "evidence", "label"]].values.tolist() == [["A claim .", "Evidence .", label]]


def test_answers_come_as_lists_and_none_is_unanswerable(tmp_path: Path) -> None:
    raw = pd.DataFrame(
        {
            "id": ["a", "b"],
            "title": ["t", "t"],
            "context": ["naïve café here"] * 2,
            "question": ["where?", "who?"],
            "answers": [
                {"text": ["café", "here"], "answer_start": [6, 11]},
                {"text": [], "answer_start": []},
            ],
        }
    )
    frame = data.Split("squad", "squad/validation_v2", store(tmp_path, "squad/validation_v2", raw)).frame()
    assert frame["answers"].tolist() == raw["answers"].tolist()
    assert data.Split("squad", "squad/validation_v2", str(tmp_path)).labels == ()


@pytest.mark.parametrize("titles", [[None, None], [None, "t"], [7, None]], ids=str)
def test_questions_without_titles_with_integer_ids_and_whole_floats_for_starts(
    tmp_path: Path, titles: list[Any]
) -> None:
    """As pandas writes them: a column of floats where some row has none."""
    raw = pd.DataFrame(
        {
            "id": [12, 7],
            "title": titles,
            "context": ["naïve café here"] * 2,
            "question": ["where?", "who?"],
            "answers": [
                {"text": ["café", "here"], "answer_start": [6.0, 11.0]},
                {"text": [], "answer_start": []},
            ],
        }
    )
    frame = data.Split("squad", "squad/validation_v2", store(tmp_path, "squad/validation_v2", raw)).frame()
    assert frame["id"].tolist() == ["12", "7"]
    assert [bool(title) for title in frame["title"]] == [title is not None for title in titles]
    starts = [start for answers in frame["answers"] for start in answers["answer_start"]]
    assert starts == [6, 11]
    assert all(isinstance(start, int) for start in starts)


# Subsamples


def reference_subsample(whole: pd.DataFrame, size: int, seed: int, path: str) -> list[int]:
    """The same draw, slowly: give each row a random number, and take each stratum's smallest by largest remainders."""
    import hashlib

    stream = np.random.PCG64(int(hashlib.sha256(f"{path} {seed}".encode()).hexdigest(), 16))
    number = [int(stream.random_raw()) for _ in range(len(whole))]
    columns = [c for c in ("label", "heuristic", "subcase") if c in whole]
    strata: dict[str, list[int]] = {}
    for row in range(len(whole)):
        strata.setdefault("\t".join(whole[c].iloc[row] for c in columns), []).append(row)
    quota = {name: size * len(rows) // len(whole) for name, rows in strata.items()}
    remainder = {name: size * len(rows) % len(whole) for name, rows in strata.items()}
    for name in sorted(strata, key=lambda name: (-remainder[name], name))[: size - sum(quota.values())]:
        quota[name] += 1
    return sorted(
        row for name, rows in strata.items() for row in sorted(rows, key=number.__getitem__)[: quota[name]]
    )


def challenge() -> pd.DataFrame:
    """300 unbalanced rows in the form of HANS."""
    rows = np.random.default_rng(0)
    heuristics = rows.choice(tasks.HEURISTICS, 300, p=[0.6, 0.3, 0.1])
    return pairs(300, ("entailment", "non-entailment", "entailment")).assign(
        heuristic=heuristics, subcase=[f"{h}_{row % 4}" for row, h in enumerate(heuristics)]
    )


@pytest.mark.parametrize(("size", "seed"), [(1, 0), (7, 0), (60, 0), (60, 1), (299, 5), (300, 2)])
def test_a_subsample_is_the_reference_draw(size: int, seed: int) -> None:
    whole = challenge()
    drawn = split.subsample(whole, size, seed, "hans/validation")
    assert drawn.index.tolist() == reference_subsample(whole, size, seed, "hans/validation")
    pd.testing.assert_frame_equal(drawn, whole.loc[drawn.index])


def test_a_draw_is_the_same_on_every_machine() -> None:
    """These rows were drawn once; a change of them is a change of every subsampled result."""
    assert split.subsample(pairs(30), 8, 0, "mnli/train").index.tolist() == GOLDEN
    assert split.subsample(pairs(30), 8, 1, "mnli/train").index.tolist() != GOLDEN
    assert split.subsample(pairs(30), 8, 0, "mnli/dev").index.tolist() != GOLDEN


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.floats(0, 1))
def test_every_stratum_gets_its_share_to_within_one(counts: list[int], share: float) -> None:
    size = max(1, round(share * sum(counts)))
    quotas = split._quotas(np.array(counts), size)
    assert quotas.sum() == size
    assert all(
        abs(quota - size * count / sum(counts)) < 1 for quota, count in zip(quotas, counts, strict=True)
    )
    assert (quotas <= counts).all()


def test_a_subsample_of_a_directory_is_stratified(tmp_path: Path) -> None:
    source = store(tmp_path, "hans/validation", challenge())
    some = data.Split("mnli", "hans/validation", source, size=100).frame()
    for column in ("label", "heuristic", "subcase"):
        whole = challenge()[column].value_counts(normalize=True)
        drawn = some[column].value_counts(normalize=True).reindex(whole.index).fillna(0)
        assert (drawn - whole).abs().max() < 0.04


def test_answerable_and_unanswerable_questions_are_strata(tmp_path: Path) -> None:
    answers = [
        {"text": ["a"], "answer_start": [0]},
        {"text": [], "answer_start": []},
        {"text": [], "answer_start": []},
    ]
    raw = pd.DataFrame(
        {
            "id": [str(row) for row in range(90)],
            "title": "t",
            "context": "a b",
            "question": "what?",
            "answers": answers * 30,
        }
    )
    some = data.Split("squad", "squad/train_v2", store(tmp_path, "squad/train_v2", raw), size=30).frame()
    assert Counter(bool(a["text"]) for a in some["answers"]) == {True: 10, False: 20}


def test_more_than_there_is_cannot_be_drawn(tmp_path: Path) -> None:
    source = store(tmp_path, "mnli/train", pairs(9))
    with pytest.raises(data.DataError, match=r"mnli/train: size 10: there are only 9 examples"):
        data.Split("mnli", "mnli/train", source, size=10).frame()


GOLDEN = [1, 6, 7, 8, 9, 20, 27, 29]


def test_training_splits_are_drawn_by_seed_from_the_tasks_own_set_or_the_one_given() -> None:
    splits = data.training(
        ["mnli", "qqp"], [0, 7], source="micro", size=5, paths={"mnli": "mnli/train_subset"}
    )
    assert list(splits) == [("mnli", 0), ("mnli", 7), ("qqp", 0), ("qqp", 7)]
    assert splits["mnli", 7] == data.Split("mnli", "mnli/train_subset", "micro", 5, 7)
    assert splits["qqp", 0] == data.Split("qqp", "qqp/train", "micro", 5, 0)


def test_beds_are_the_development_set_and_the_ood_sets() -> None:
    assert data.beds(["mnli", "fever"]) == {
        "mnli": ["mnli/validation_matched", "hans/validation"],
        "fever": ["fever/dev", "fever_symmetric/v1_generated", "fever_symmetric/v2_test"],
    }
