"""Tokenising once, and batches: every example once, padded to the batch, of about one length, the same for a seed."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from robust_lib import data

SPECIAL = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
VOCABULARY = SPECIAL | {f"w{index}": index + 4 for index in range(100)}


def tokenizer(types: bool = True, vocabulary: dict[str, int] = VOCABULARY) -> PreTrainedTokenizerFast:
    """Words to numbers with BERT's markers; with or without token types, as BERT and RoBERTa have them."""
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if types else ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=64, model_input_names=inputs,
    )  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data directory with 1,000 pairs of 2 to 42 words, whose first word tells the row."""
    draws = np.random.default_rng(0)
    lengths = draws.integers(1, 22, (1000, 2))
    texts = [
        [" ".join(f"w{n}" for n in draws.integers(0, 100, length)) for length in pair] for pair in lengths
    ]
    frame = pd.DataFrame(texts, columns=["premise", "hypothesis"])
    frame["label"] = draws.choice(["entailment", "neutral", "contradiction"], 1000)
    directory = tmp_path_factory.mktemp("data")
    (directory / "mnli").mkdir()
    frame.to_parquet(directory / "mnli" / "train.parquet")
    return str(directory)


@pytest.fixture(scope="module")
def encoded(source: str) -> data.Encoded:
    return data.tokenised(data.Split("mnli", "mnli/train", source), tokenizer(), 64)


def shuffled(
    encoded: data.Encoded, seed: int = 0, size: int = 32, **settings: Any
) -> list[dict[str, torch.Tensor]]:
    return list(data.batches(encoded, size, generator=torch.Generator().manual_seed(seed), **settings))


def padding(batches: list[dict[str, torch.Tensor]]) -> float:
    """The share of padding among all tokens."""
    return 1 - sum(int(b["attention_mask"].sum()) for b in batches) / sum(
        b["attention_mask"].numel() for b in batches
    )


# Tokenising


@pytest.mark.parametrize("types", [True, False])
def test_batches_hold_what_the_tokenizer_says(source: str, types: bool) -> None:
    split = data.Split("mnli", "mnli/train", source, size=100, seed=1)
    frame, whole = split.frame(), tokenizer(types)
    seen = 0
    for batch in shuffled(data.tokenised(split, whole, 16), size=7):
        rows = frame.iloc[batch["index"].numpy()]
        expected = whole(
            rows["premise"].tolist(), rows["hypothesis"].tolist(), truncation=True, max_length=16,
            padding="longest", return_tensors="pt",
        )  # fmt: skip
        for name in whole.model_input_names:
            assert torch.equal(batch[name], expected[name])
        assert set(batch) == {*whole.model_input_names, "labels", "index"}
        assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
        assert [split.labels[gold] for gold in batch["labels"]] == rows["label"].tolist()
        seen += len(rows)
    assert seen == 100


def test_a_split_is_tokenised_once_for_a_tokenizer_and_a_length(source: str, tmp_path: Path) -> None:
    first = data.tokenised(data.Split("mnli", "mnli/train", source, size=50), tokenizer(), 32)
    tokenizer().save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    again(["w1 w2"], truncation=True, max_length=3, padding="max_length")  # leaves its state behind
    assert data.tokenised(data.Split("mnli", "mnli/train", source, size=50), again, 32) is first
    other = {f"v{word}": number for word, number in VOCABULARY.items() if word not in SPECIAL}
    for split, words, length in (
        (data.Split("mnli", "mnli/train", source, size=51), tokenizer(), 32),
        (data.Split("mnli", "mnli/train", source, size=50, seed=1), tokenizer(), 32),
        (data.Split("mnli", "mnli/train", source, size=50), tokenizer(vocabulary=SPECIAL | other), 32),
        (data.Split("mnli", "mnli/train", source, size=50), tokenizer(types=False), 32),
        (data.Split("mnli", "mnli/train", source, size=50), tokenizer(), 31),
    ):
        assert data.tokenised(split, words, length) is not first


def test_memory_for_tokenised_splits_is_bounded(source: str) -> None:
    first = data.tokenised(data.Split("mnli", "mnli/train", source, size=10), tokenizer(), 32)
    for seed in range(1, 40):
        data.tokenised(data.Split("mnli", "mnli/train", source, size=10, seed=seed), tokenizer(), 32)
    assert data.tokenised(data.Split("mnli", "mnli/train", source, size=10), tokenizer(), 32) is not first


@pytest.mark.parametrize(
    ("length", "fragment"), [(65, "max_length 65"), (0, "max_length 0"), (-1, "1 to 64")]
)
def test_a_length_the_encoder_has_no_positions_for(source: str, length: int, fragment: str) -> None:
    with pytest.raises(data.DataError, match=fragment):
        data.tokenised(data.Split("mnli", "mnli/train", source), tokenizer(), length)


def test_questions_with_spans_are_not_read_as_one_text() -> None:
    with pytest.raises(data.DataError, match="span questions"):
        data.tokenised(data.Split("squad", "squad/train_v2", "micro", size=3), tokenizer(), 32)


# Batches


@pytest.mark.parametrize("bucketed", [True, False])
@pytest.mark.parametrize("size", [1, 7, 32, 1000, 5000])
def test_every_example_comes_once_in_a_pass(encoded: data.Encoded, bucketed: bool, size: int) -> None:
    for batches in (
        shuffled(encoded, size=size, length_bucketed=bucketed),
        list(data.batches(encoded, size, length_bucketed=bucketed)),
    ):
        rows = torch.cat([batch["index"] for batch in batches]).tolist()
        assert sorted(rows) == list(range(1000))
        assert len(batches) == -(-1000 // size)
        assert Counter(len(batch["index"]) for batch in batches)[min(size, 1000)] >= 1000 // size


def test_a_batch_is_as_wide_as_its_longest_example(encoded: data.Encoded) -> None:
    for batch in [*shuffled(encoded), *data.batches(encoded, 32)]:
        lengths = batch["attention_mask"].sum(1)
        assert batch["input_ids"].shape[1] == lengths.max()
        assert torch.equal(lengths, torch.from_numpy(encoded.lengths[batch["index"].numpy()]))
        assert (batch["input_ids"][batch["attention_mask"] == 0] == 0).all()
        assert (batch["attention_mask"].diff(dim=1) <= 0).all(), "padding is on the right"


def test_bucketed_batches_hold_examples_of_about_one_length(encoded: data.Encoded) -> None:
    spread = [np.ptp(encoded.lengths[batch["index"].numpy()]) for batch in shuffled(encoded)]
    plain = [
        np.ptp(encoded.lengths[batch["index"].numpy()]) for batch in shuffled(encoded, length_bucketed=False)
    ]
    assert np.mean(spread) < 0.15 * np.mean(plain)
    assert padding(shuffled(encoded)) < 0.05
    assert padding(shuffled(encoded, length_bucketed=False)) > 0.25
    assert padding(list(data.batches(encoded, 32))) < 0.03


def test_a_seed_fixes_the_order_and_passes_differ(encoded: data.Encoded) -> None:
    def order(batches: Iterator[dict[str, torch.Tensor]]) -> list[int]:
        return torch.cat([batch["index"] for batch in batches]).tolist()

    one, same, other = (torch.Generator().manual_seed(seed) for seed in (5, 5, 6))
    first = order(data.batches(encoded, 16, generator=one))
    assert first == order(data.batches(encoded, 16, generator=same))
    assert first != order(data.batches(encoded, 16, generator=other))
    second = order(data.batches(encoded, 16, generator=one))
    assert second != first
    assert second == order(data.batches(encoded, 16, generator=same))


def test_bucketed_passes_mix_examples_anew(encoded: data.Encoded) -> None:
    """Batches of a pass are not those of the pass before in another order, nor do they come sorted by length."""
    generator = torch.Generator().manual_seed(0)
    first, second = (list(data.batches(encoded, 8, generator=generator)) for _ in range(2))
    sets = [{frozenset(batch["index"].tolist()) for batch in batches} for batches in (first, second)]
    assert len(sets[0] & sets[1]) <= 2
    widths = [batch["input_ids"].shape[1] for batch in first]
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.3


def test_without_a_generator_the_longest_come_first(encoded: data.Encoded) -> None:
    widths = [batch["input_ids"].shape[1] for batch in data.batches(encoded, 32)]
    assert widths == sorted(widths, reverse=True)
    plain = torch.cat([batch["index"] for batch in data.batches(encoded, 32, length_bucketed=False)])
    assert plain.tolist() == list(range(1000))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=200), st.integers(1, 40), st.integers(0, 3))
def test_batches_of_any_lengths(lengths: list[int], size: int, seed: int) -> None:
    """Tokens come back whole, whatever the lengths."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.arange(1, starts[-1] + 1, dtype=np.int32)
    some = data.Encoded(
        {"input_ids": flat}, {"input_ids": 0}, starts, np.zeros(len(lengths), np.int64), ("a",)
    )
    back = {
        int(row): ids[ids != 0].tolist()
        for batch in shuffled(some, seed, size)
        for row, ids in zip(batch["index"], batch["input_ids"], strict=True)
    }
    assert back == {row: flat[starts[row] : starts[row + 1]].tolist() for row in range(len(lengths))}


# Batches as one


ODD = {"input_ids": 9, "token_type_ids": 4}  # padding that is neither 0 nor alike


def numbered(lengths: list[int], labels: tuple[str, ...] = ("a", "b"), first: int = 10) -> data.Encoded:
    """Examples of these lengths, whose tokens are numbered from `first` on; every second is of the second label."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.arange(first, first + starts[-1], dtype=np.int32)
    gold = np.arange(len(lengths)) % len(labels)
    return data.Encoded({"input_ids": flat, "token_type_ids": flat % 2}, ODD, starts, gold, labels)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 29), min_size=1, max_size=6), min_size=1, max_size=4))
def test_joined_batches_are_padded_and_filled_to_the_largest(chosen: list[list[int]]) -> None:
    some = numbered(list(range(1, 31)))
    lengths = [[int(some.lengths[row]) for row in rows] for rows in chosen]
    every = {int(one["index"]): one for one in data.batches(some, 1)}
    parts = [data.joined(some, [every[row] for row in rows]) for rows in chosen]  # of single examples
    whole = data.joined(some, parts)
    rows, width = max(map(len, chosen)), max(map(max, lengths))
    assert {name: tuple(tensor.shape) for name, tensor in whole.items()} == {
        "input_ids": (len(chosen) * rows, width), "token_type_ids": (len(chosen) * rows, width),
        "attention_mask": (len(chosen) * rows, width), "labels": (len(chosen) * rows,),
        "index": (len(chosen) * rows,),
    }  # fmt: skip
    filled = [[*own, *[own[0]] * (rows - len(own))] for own in chosen]
    assert whole["index"].tolist() == [row for own in filled for row in own]
    for place, row in enumerate(whole["index"].tolist()):
        assert whole["labels"][place] == some.gold[row]
        for name, padding in {**ODD, "attention_mask": 0}.items():
            own = every[row][name][0].tolist()
            assert whole[name][place].tolist() == own + [padding] * (width - len(own)), name


def test_a_batch_joined_alone_is_itself(encoded: data.Encoded) -> None:
    batch = shuffled(encoded)[0]
    again = data.joined(encoded, [batch])
    assert again.keys() == batch.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in batch.items())


# Splits as one


def test_concatenated_splits_are_end_to_end_with_labels_by_name() -> None:
    first = numbered([3, 1], ("a", "b"))
    second = numbered([2, 4, 1], ("foreign", "a"), first=50)
    whole = data.concatenated([first, second, first], renames={"foreign": "b"})
    assert (len(whole), whole.labels, whole.padding) == (7, ("a", "b"), ODD)
    assert [whole.labels[gold] for gold in whole.gold] == ["a", "b", "b", "a", "b", "a", "b"]
    tokens = [row["input_ids"][0].tolist() for row in data.batches(whole, 1, length_bucketed=False)]
    expected = [[10, 11, 12], [13]]
    assert tokens == [*expected, [50, 51], [52, 53, 54, 55], [56], *expected]
    for row, batch in enumerate(data.batches(whole, 1, length_bucketed=False)):
        assert batch["index"].tolist() == [row]
        assert torch.equal(batch["token_type_ids"], batch["input_ids"] % 2)


def test_a_split_concatenated_alone_is_itself(encoded: data.Encoded) -> None:
    whole = data.concatenated([encoded], renames={})
    assert whole.labels == encoded.labels
    assert np.array_equal(whole.gold, encoded.gold)
    assert np.array_equal(whole.starts, encoded.starts)
    assert all(np.array_equal(whole.tokens[name], flat) for name, flat in encoded.tokens.items())


def test_hans_joins_mnli_under_the_name_its_second_label_is_given() -> None:
    mnli, hans = data.Split("mnli", "mnli/train", "micro", 30), data.Split("mnli", "hans/train", "micro", 20)
    parts = [data.tokenised(split, tokenizer(), 32) for split in (mnli, hans)]
    whole = data.concatenated(parts, renames={"non-entailment": "contradiction"})
    expected = [*mnli.frame()["label"], *hans.frame()["label"].replace("non-entailment", "contradiction")]
    assert [whole.labels[gold] for gold in whole.gold] == expected
    with pytest.raises(
        data.DataError,
        match="label non-entailment is none of entailment, neutral, contradiction: say what it counts as",
    ):
        data.concatenated(parts, renames={})


# Labels


@pytest.mark.parametrize(
    "order", [("contradiction", "entailment", "neutral"), ("contradiction", "neutral", "entailment")]
)
def test_labels_are_positions_among_the_models_classes(
    source: str, encoded: data.Encoded, order: tuple[str, ...]
) -> None:
    frame = data.Split("mnli", "mnli/train", source).frame()
    for batch in data.batches(encoded, 100, labels=order):
        gold = frame["label"].iloc[batch["index"].numpy()].tolist()
        assert [order[label] for label in batch["labels"]] == gold


def test_a_gold_label_that_the_model_does_not_have(encoded: data.Encoded) -> None:
    with pytest.raises(
        data.DataError, match="gold label neutral is none of the model's classes: entailment, contra"
    ):
        next(data.batches(encoded, 8, labels=("entailment", "contradiction")))


def test_a_model_may_have_classes_that_a_split_never_asks_for(tmp_path: Path) -> None:
    """Symmetric sets hold no NOT ENOUGH INFO, though FEVER's models have it."""
    (tmp_path / "fever_symmetric").mkdir()
    pd.DataFrame({"claim": ["w1"], "evidence": ["w2"], "label": ["REFUTES"]}).to_parquet(
        tmp_path / "fever_symmetric" / "v2_test.parquet"
    )
    split = data.Split("fever", "fever_symmetric/v2_test", str(tmp_path))
    only = next(data.batches(data.tokenised(split, tokenizer(), 8), 4, labels=("NOT ENOUGH INFO", "REFUTES")))
    assert only["labels"].tolist() == [1]


@pytest.mark.parametrize("size", [0, -3])
def test_an_impossible_batch_size(encoded: data.Encoded, size: int) -> None:
    with pytest.raises(data.DataError, match="batch_size"):
        next(data.batches(encoded, size))
