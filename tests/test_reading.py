"""Span questions in windows, the readers trained on them, their masks: words as tokens, so that all can be counted."""

import os
from collections.abc import Callable
from dataclasses import replace as but
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers import models as pieces
from transformers import PreTrainedTokenizerFast

from robust_lib import data, masks, methods, metrics, models, predict, train

WORDS = [f"w{number}" for number in range(60)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = {word: number for number, word in enumerate([*SPECIAL, *WORDS, "w", "##1", "##2", "##x"])}
ENCODER = models.Encoder("micro-base")
RECIPE = train.Recipe(epochs=3, learning_rate=1e-3, batch_size=16, max_length=40, warmup=0.1)
TRAIN = data.Split("squad", "squad/train_v2", "micro", size=64, seed=5)


def bert_like(vocabulary: dict[str, int] = VOCABULARY) -> PreTrainedTokenizerFast:
    words = Tokenizer(pieces.WordPiece(vocabulary, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=64, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def t5_like() -> PreTrainedTokenizerFast:
    """No [CLS]; a word within a text begins with its space."""
    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -9.0)] + [(f"▁{w}", -1.0) for w in WORDS]
    words = Tokenizer(pieces.Unigram(scores, unk_id=2))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


Written = Callable[..., data.Split]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A split of (question, context, answers) as a data directory holds it."""

    def write(*rows: tuple[str, str, list[str]]) -> data.Split:
        frame = pd.DataFrame(rows, columns=["question", "context", "answers"])
        frame["answers"] = [
            {"text": texts, "answer_start": [context.index(text) for text in texts]}
            for _, context, texts in rows
        ]
        frame["id"], frame["title"] = [f"q{number}" for number in range(len(rows))], "title"
        (tmp_path / "squad").mkdir(exist_ok=True)
        frame.to_parquet(tmp_path / "squad" / "train_v2.parquet")
        return data.Split("squad", "squad/train_v2", str(tmp_path))

    return write


def text(*numbers: int) -> str:
    return " ".join(f"w{number}" for number in numbers)


def window(windows: data.Windows, number: int, words: transformers.PreTrainedTokenizerBase) -> list[str]:
    starts = windows.encoded.starts
    return words.convert_ids_to_tokens(
        windows.encoded.tokens["input_ids"][starts[number] : starts[number + 1]].tolist()
    )


# Windows


def test_windows_share_the_stride_and_cover_the_context(written: Written) -> None:
    split = written((text(1, 2), text(*range(10, 30)), [text(17, 18)]), (text(3), text(40, 41), []))
    words = bert_like()
    found = data.windows(split, words, 15, stride=4)
    # Of 15 tokens 3 are special and 2 the question: windows of 10 words, each 6 further than the one before.
    expected = [range(10, 20), range(16, 26), range(22, 30)]
    for number, own in enumerate(expected):
        assert window(found, number, words) == [
            "[CLS]", "w1", "w2", "[SEP]", *(f"w{n}" for n in own), "[SEP]",
        ]  # fmt: skip
    assert window(found, 3, words) == ["[CLS]", "w3", "[SEP]", "w40", "w41", "[SEP]"]
    assert found.question.tolist() == [0, 0, 0, 1]
    assert found.null.tolist() == [0, 0, 0, 0]
    # The answer stands whole in the first two windows; the third begins behind it; the other question has none.
    assert found.encoded.gold.tolist() == [[11, 12], [5, 6], [0, 0], [0, 0]]
    assert (len(found), found.encoded.labels) == (4, ())


def test_offsets_are_the_contexts_characters_and_nothing_elses(written: Written) -> None:
    context = text(*range(10, 30))
    found = data.windows(written((text(1, 2), context, [])), bert_like(), 15, stride=4)
    for number in range(len(found)):
        starts = found.encoded.starts
        own = found.offsets[starts[number] : starts[number + 1]]
        inside = (own >= 0).all(axis=1)
        assert inside.tolist() == [False] * 4 + [True] * (len(own) - 5) + [False]
        said = [context[begin:end] for begin, end in own[inside]]
        assert said == context.split()[6 * number : 6 * number + len(said)]
        assert (own[~inside] == -1).all()


def test_an_answer_cut_by_a_window_is_none_of_it(written: Written) -> None:
    found = data.windows(
        written((text(1, 2), text(*range(10, 30)), [text(15, 16)])), bert_like(), 15, stride=4
    )
    assert found.encoded.gold.tolist() == [[9, 10], [0, 0], [0, 0]]


def test_an_answer_inside_words_takes_the_pieces_that_hold_it(written: Written) -> None:
    # wx12 is w ##x ##1 ##2, and 1 of it the third piece; a letter no word has is [UNK], whole.
    split = written(
        (text(1), "w3 wx12 w4", ["1"]), (text(1), "w3 éé w4", ["é w4"]), (text(1), "W3 w4", ["W3"])
    )
    words = bert_like()
    found = data.windows(split, words, 16, stride=2)
    assert window(found, 0, words)[3:-1] == ["w3", "w", "##x", "##1", "##2", "w4"]
    assert found.encoded.gold.tolist() == [[6, 6], [4, 5], [3, 3]]


def test_the_first_listed_answer_counts(written: Written) -> None:
    found = data.windows(written((text(1), text(2, 3, 4), [text(4), text(2)])), bert_like(), 16, stride=2)
    assert found.encoded.gold.tolist() == [[5, 5]]


def test_a_long_question_keeps_its_first_tokens(written: Written) -> None:
    split = written((text(*range(30)), text(*range(30, 50)), [text(33)]))
    words = bert_like()
    found = data.windows(split, words, 19, stride=4)
    # 16 tokens for words, 4 shared: six for the question, and windows of ten that go on by six.
    assert window(found, 0, words) == [
        "[CLS]", *(f"w{n}" for n in range(6)), "[SEP]", *(f"w{n}" for n in range(30, 40)), "[SEP]",
    ]  # fmt: skip
    assert window(found, 1, words)[8:10] == ["w36", "w37"]
    cut = data.windows(written(("w1 wx12", text(9), [])), words, 9, stride=0)
    assert window(cut, 0, words) == ["[CLS]", "w1", "w", "##x", "[SEP]", "w9", "[SEP]"]


def test_without_a_cls_token_the_last_one_is_the_null_position(written: Written) -> None:
    context = text(*range(10, 22))
    split = written((text(1, 2), context, [text(11)]), (text(3), text(4), []))
    words = t5_like()
    found = data.windows(split, words, 13, stride=3)
    lengths = found.encoded.lengths
    assert found.null.tolist() == (lengths - 1).tolist()
    assert window(found, 0, words)[found.null[0]] == "</s>"
    assert found.encoded.gold[0].tolist() == [4, 4]
    assert (found.encoded.gold[1:] == found.null[1:, None]).all()
    assert set(found.encoded.tokens) == {"input_ids"}


def test_windows_are_made_once_and_memory_is_bounded(written: Written) -> None:
    split = written((text(1), text(2, 3), []))
    first = data.windows(split, bert_like(), 20, stride=2)
    assert data.windows(split, bert_like(), 20, stride=2) is first
    for length, stride in ((20, 3), (21, 2), (22, 2), (23, 2)):
        assert data.windows(split, bert_like(), length, stride=stride) is not first
    assert data.windows(split, bert_like(), 20, stride=2) is not first


@pytest.mark.parametrize(
    ("length", "stride", "message"),
    [
        (65, 4, "max_length 65: the tokenizer's encoder reads 1 to 64"),
        (20, 16, "stride 16: windows of 20 tokens, 17 without the special ones, may share from 0 to 15"),
        (20, -1, "stride -1"),
        (4, 0, "stride 0"),
    ],
)
def test_windows_without_room_are_refused(written: Written, length: int, stride: int, message: str) -> None:
    with pytest.raises(data.DataError, match=message):
        data.windows(written((text(1), text(2), [])), bert_like(), length, stride=stride)


def test_the_largest_overlap_still_reads_all_of_the_context(written: Written) -> None:
    split = written((text(*range(9)), text(*range(10, 30)), []))
    found = data.windows(split, bert_like(), 20, stride=15)
    assert set(found.offsets[:, 0].tolist()) == {-1, *range(0, 80, 4)}


def test_labelled_splits_have_no_windows() -> None:
    with pytest.raises(data.DataError, match=r"mnli/train: no span questions; .* data\.tokenised"):
        data.windows(data.Split("mnli", "mnli/train", "micro", 4), bert_like(), 20, stride=2)


def test_batches_carry_two_positions_whatever_the_models_classes(written: Written) -> None:
    rows = [(text(1), text(*range(2, length)), [text(3)]) for length in (6, 9, 12)]
    encoded = data.windows(written(*rows), bert_like(), 30, stride=2).encoded
    for labels in (None, ("start", "end")):
        (batch,) = data.batches(encoded, 8, labels=labels)
        assert batch["index"].tolist() == [2, 1, 0]  # the longest first
        assert torch.equal(batch["labels"], torch.tensor([[4, 4]] * 3))
    joined = data.joined(encoded, list(data.batches(encoded, 2)))
    assert joined["labels"].shape == (4, 2)
    assert joined["input_ids"].shape == joined["attention_mask"].shape


REAL = os.environ.get("ROBUST_DATA", ""), os.environ.get("ROBUST_ENCODER", "")


@pytest.mark.real
@pytest.mark.skipif("" in REAL, reason="ROBUST_DATA and ROBUST_ENCODER name no data and no encoder")
def test_every_real_answer_stands_whole_in_a_window() -> None:
    split = data.Split("squad", "squad/validation_v2", REAL[0], size=1500)
    frame, found = split.frame(), data.windows(split, models.Encoder(REAL[1]).tokenizer(), 128, stride=64)
    assert len(found) > 2 * len(frame)
    held = set()
    for number in np.flatnonzero(found.encoded.gold[:, 0] != found.null):
        first, last = found.encoded.starts[number] + found.encoded.gold[number]
        row, answers = found.question[number], frame["answers"].iloc[found.question[number]]
        begin, end = answers["answer_start"][0], answers["answer_start"][0] + len(answers["text"][0])
        assert 0 <= found.offsets[first, 0] <= begin < found.offsets[first, 1]
        assert found.offsets[last, 0] < end <= found.offsets[last, 1]
        held.add(row)
    assert held == {row for row, answers in enumerate(frame["answers"]) if answers["text"]}


# Readers


def t5_directory(path: Path) -> models.Encoder:
    shape = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 3, "num_heads": 4, "vocab_size": 64}
    transformers.T5ForConditionalGeneration(transformers.T5Config(**shape)).save_pretrained(path)
    t5_like().save_pretrained(path)
    return models.Encoder(str(path), layers=2)


def test_a_reader_is_the_encoder_under_a_drawn_head() -> None:
    first, again, other = (ENCODER.reader(seed=seed) for seed in (0, 0, 1))
    assert models.labels(first) == ["start", "end"]
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    # The head of transformers' own readers, on the same encoder.
    asked = transformers.AutoModelForQuestionAnswering.from_pretrained(ENCODER.location, dtype=torch.float32)
    asked.qa_outputs.load_state_dict(first.classifier.state_dict())
    ids = torch.tensor([[2, 7, 8, 3, 9, 10, 3]])
    out = asked.eval()(ids)
    logits = first.eval()(ids).logits
    torch.testing.assert_close(logits, torch.stack([out.start_logits, out.end_logits], dim=-1))


def test_a_truncated_t5_reads_with_its_encoder_alone(tmp_path: Path, written: Written) -> None:
    encoder = t5_directory(tmp_path / "t5")
    model = encoder.reader(seed=0)
    assert len(models.layer_stack(model)[1]) == 2
    assert not any("decoder" in name for name, _ in model.named_parameters())
    split = written(*((text(n), text(*range(n, n + 20)), [text(n + 4)]) for n in range(8)))
    recipe = train.Recipe(epochs=1, learning_rate=1e-3, batch_size=4, max_length=16)
    pruned = methods.magnitude_pruned(encoder=encoder, sparsity=0.5)
    trained = methods.reader(encoder=encoder, split=split, recipe=recipe, stride=4, subnetwork=pruned)
    found = methods.answered(model=trained, encoder=encoder, split=split, max_length=16, stride=4)
    assert found["id"].tolist() == [f"q{n}" for n in range(8)]
    for answer, context in zip(found["text"], split.frame()["context"], strict=True):
        assert answer
        assert f" {answer} " in f" {context} "  # whole words, without the space they begin with


def test_no_epochs_leave_the_pretrained_encoder() -> None:
    model = methods.reader(encoder=ENCODER, split=TRAIN, recipe=but(RECIPE, epochs=0), stride=8, seed=2)
    fresh = ENCODER.reader(seed=2).state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in model.state_dict().items())


def test_a_reader_learns_its_training_questions() -> None:
    encoder = models.Encoder("micro-large")
    recipe = but(RECIPE, epochs=24)
    trained = methods.reader(encoder=encoder, split=TRAIN, recipe=recipe, stride=8)
    found = methods.answered(model=trained, encoder=encoder, split=TRAIN, max_length=40, stride=8)
    answerable = np.array([len(gold) > 0 for gold in found["answers"]])
    exact = metrics.exact_match(found).to_numpy()
    assert exact[answerable].mean() > 0.8
    assert exact[~answerable].mean() > 0.8


def test_what_a_split_in_windows_answers_does_not_depend_on_the_batch() -> None:
    model = ENCODER.reader(seed=0)
    split = but(TRAIN, size=24)
    windows = data.windows(split, ENCODER.tokenizer(), 26, stride=6)
    assert len(windows) > 24
    found = [predict.spans(model, windows, split, batch_size=size) for size in (64, 5)]
    pd.testing.assert_frame_equal(*found, atol=1e-4)


# Masks


@pytest.mark.parametrize("name", ["micro-base", "bert", "roberta", "distilbert"])
def test_masks_of_the_pretrained_matrices_fit_readers_and_classifiers(name: str, tmp_path: Path) -> None:
    encoder = models.Encoder(name) if name == "micro-base" else toy(name, tmp_path)
    chosen = methods.magnitude_pruned(encoder=encoder, sparsity=0.4)["masks"]
    reader, classifier = encoder.reader(seed=1), encoder.classifier(("no", "yes"), seed=1)
    for model in (reader, classifier):
        layers = masks.linears(model)
        assert chosen.keys() == layers.keys()
        for layer, mask in chosen.items():
            size = mask.numel()
            kept = layers[layer].weight.abs().flatten()[mask.flatten()]
            gone = layers[layer].weight.abs().flatten()[~mask.flatten()]
            assert len(gone) == round(0.4 * size)
            assert gone.max() <= kept.min()


def toy(name: str, path: Path) -> models.Encoder:
    shape: dict[str, Any] = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 90,
    }  # fmt: skip
    if name == "distilbert":
        shape = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": 90}
    torch.manual_seed(0)
    transformers.AutoModel.from_config(transformers.AutoConfig.for_model(name, **shape)).save_pretrained(path)
    return models.Encoder(str(path))


def test_masks_hold_while_a_reader_is_trained() -> None:
    pruned = methods.magnitude_pruned(encoder=ENCODER, sparsity=0.5)
    model = methods.reader(
        encoder=ENCODER, split=TRAIN, recipe=but(RECIPE, epochs=1), stride=8, subnetwork=pruned
    )
    start = ENCODER.reader(seed=0)
    for name, layer in masks.linears(model).items():
        mask, before = pruned["masks"][name], masks.linears(start)[name].weight
        assert not layer.weight[~mask].any()
        assert not torch.equal(layer.weight[mask], before[mask])
