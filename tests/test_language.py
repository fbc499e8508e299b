"""The masked language model as an oracle, and the k best combinations of pieces."""

import itertools
import math

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from robust_lib import attack, data, methods, models, train
from robust_lib.attack import engine
from robust_lib.attack.language import LANGUAGE, PIECES, Language, k_best
from robust_lib.methods import attacking

BASE = models.Encoder("micro-tiny")
TOKENIZER = BASE.tokenizer()
TEXTS = [("the film was gorgeous .",), ("i disliked the cast of this comedy .",), ("a b",)]
CPU = torch.device("cpu")
SPLIT = data.Split("imdb", "imdb/train", "micro", size=128)


@pytest.fixture(scope="module")
def model():
    return BASE.masked_lm(seed=None).eval()


@pytest.fixture(scope="module")
def language(model):
    return Language(model, TOKENIZER, k=5, max_length=16, device=CPU)


# The oracle


def test_the_best_pieces_are_those_of_the_model_asked_by_itself(model, language):
    for text, row in zip(TEXTS, language.oracles[LANGUAGE](TEXTS), strict=True):
        inputs = TOKENIZER(*text, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**inputs).logits[0, 1:].double()
        expected = logits.topk(5)
        best = language.best(row)
        assert best.ids.tolist() == expected.indices.tolist()
        np.testing.assert_allclose(best.logits, expected.values, atol=1e-4)
        wanted = logits.log_softmax(dim=-1).topk(5).values
        np.testing.assert_allclose(best.log_probs, wanted, atol=1e-4)
        assert len(best.ids) == len(language.pieces(text[0])) + 1  # [SEP]


def test_a_text_is_cut_to_the_maximum_length_and_ends_with_sep(language):
    long = ("the film was gorgeous . " * 6,)
    best = language.best(language.oracles[LANGUAGE]([long])[0])
    assert len(best.ids) == 15
    assert len(language.pieces(long[0])) > 15


def test_what_it_says_of_a_text_does_not_depend_on_the_texts_beside_it(language):
    oracle = language.oracles[LANGUAGE]
    together = oracle(TEXTS)
    assert np.array_equal(together, np.concatenate([oracle([text]) for text in TEXTS[::-1]])[::-1])


def test_pseudo_perplexity_is_the_mean_loss_of_the_pieces_read_alone(model, language):
    pieces = [("good", "##s"), ("the", "film", "was"), ("film",)]
    known = [tuple(piece if piece in TOKENIZER.get_vocab() else "the" for piece in one) for one in pieces]
    found = language.oracles[PIECES](known)
    for one, row in zip(known, found, strict=True):
        ids = torch.tensor([TOKENIZER.convert_tokens_to_ids(list(one))])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0].double()
        assert row == pytest.approx(torch.nn.functional.cross_entropy(logits, ids[0]).item(), abs=1e-4)


def test_a_pass_has_fewer_rows_where_its_logits_would_be_many(model, language, monkeypatch):
    monkeypatch.setattr("robust_lib.attack.language.PASS", 3 * 16 * model.config.vocab_size)
    small = Language(model, TOKENIZER, k=5, max_length=16, device=CPU)
    assert small.oracles[LANGUAGE].rows == 3
    rows = small.oracles[LANGUAGE](TEXTS)
    np.testing.assert_allclose(rows, language.oracles[LANGUAGE](TEXTS), atol=1e-4)


def test_tokens_are_written_as_in_the_vocabulary(language):
    vocabulary = TOKENIZER.get_vocab()
    assert language.tokens([vocabulary["film"], vocabulary["[SEP]"]]) == ("film", "[SEP]")


def test_more_pieces_than_the_vocabulary_has_are_refused(model):
    with pytest.raises(ValueError, match=rf"k 10000; the model knows {model.config.vocab_size} pieces"):
        Language(model, TOKENIZER, k=10_000, max_length=16, device=CPU)


def test_a_tokenizer_without_continuations_is_refused(model):
    plain = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE())
    )
    with pytest.raises(ValueError, match="has no pieces that begin with ##"):
        Language(model, plain, k=5, max_length=16, device=CPU)


def test_the_engine_keeps_fewer_of_wide_rows(monkeypatch):
    """Of rows of 8 numbers no more than 4 are kept between rounds, so an older text is asked for again."""
    monkeypatch.setattr(engine, "KEPT_NUMBERS", 32)
    asked = []

    class Wide:
        def __call__(self, texts):
            asked.extend(texts)
            return np.zeros((len(texts), 8))

        def lengths(self, texts):
            return [1] * len(texts)

    def reading(first, second):
        for texts in (first, second):
            yield attack.Ask("wide", texts)
        return attack.Outcome("failed", ("",), 0, 0)

    texts = [(str(number),) for number in range(6)]
    attack.run({0: reading(texts, texts)}, {"wide": Wide()}, originals={0: ("",)})
    assert asked == [*texts, *texts[:2]]


# k best


def brute_force(table, k):
    def total(ranks):
        return sum(row[rank] for row, rank in zip(table, ranks, strict=True))

    every = itertools.product(*(range(len(row)) for row in table))
    return sorted(every, key=lambda ranks: (-total(ranks), ranks))[:k]


@pytest.mark.parametrize("levels", [None, 3, 6])
def test_the_k_best_are_those_of_an_enumeration(levels):
    """With few levels there are many ties."""
    random = np.random.default_rng(levels)
    for places, choices, k in [(3, 12, 12), (3, 12, 100), (4, 5, 48), (1, 12, 12), (2, 3, 20), (5, 1, 3)] * 4:
        drawn = (
            random.integers(0, levels, (places, choices)) if levels else random.normal(size=(places, choices))
        )
        table = -np.sort(-np.log(1 / (1 + np.exp(-drawn.astype(float)))), axis=1)
        assert k_best(table, k) == brute_force(table.tolist(), k)
    assert len(k_best(table, 3)) == 1


def test_the_best_is_the_best_of_each_and_more_than_all_there_are_cannot_be_had():
    table = np.log([[0.6, 0.4], [0.9, 0.1]])
    assert k_best(table, 1) == [(0, 0)]
    assert k_best(table, 9) == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert k_best(table, 0) == []


def test_unsorted_rows_are_refused():
    with pytest.raises(ValueError, match="k_best: each row of log probabilities is sorted"):
        k_best(np.array([[0.1, 0.2]]), 2)


def test_as_many_as_48_of_48_to_the_fourth_are_found_without_an_enumeration():
    """An enumeration would look at five million combinations; here sums are counted instead of seconds."""
    table = -np.sort(np.random.default_rng(0).exponential(size=(4, 48)), axis=1)
    found = k_best(table, 48)
    totals = [sum(table[place, rank] for place, rank in enumerate(ranks)) for ranks in found]
    grid = table[0][:, None, None, None] + table[1][:, None, None] + table[2][:, None] + table[3]
    np.testing.assert_allclose(totals, -np.sort(-grid, axis=None)[:48])


# A masked language model for the purpose


def recipe(**other):
    return train.Recipe(**{"epochs": 3, "learning_rate": 1e-3, "batch_size": 16, "max_length": 32} | other)


def test_with_no_epochs_the_pretrained_head_stays_as_it_is(model):
    found = methods.masked_lm(encoder=BASE, split=SPLIT, recipe=recipe(epochs=0))
    assert all(
        torch.equal(one, other) for one, other in zip(found.parameters(), model.parameters(), strict=True)
    )


@pytest.fixture
def headless(tmp_path):
    BASE.classifier(["a", "b"], seed=0).base_model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    return models.Encoder(str(tmp_path))


def test_a_checkpoint_without_a_head_needs_training(headless):
    with pytest.raises(models.EncoderError, match=r"has no masked-language-model head \(cls.*is missing\)"):
        methods.masked_lm(encoder=headless, split=SPLIT, recipe=recipe(epochs=0))


def guessed(model, copies, targets):
    """Mean loss of the masked pieces."""
    losses = []
    with torch.inference_mode():
        for start, stop in itertools.pairwise(copies.starts):
            ids = torch.from_numpy(copies.tokens["input_ids"][start:stop].astype(np.int64))[None]
            logits = model(input_ids=ids).logits[0]
            losses.append(torch.nn.functional.cross_entropy(logits, targets[start:stop], ignore_index=-100))
    return float(torch.stack(losses).mean())


def test_a_new_head_learns_to_guess_what_was_masked(headless):
    found = methods.masked_lm(encoder=headless, split=SPLIT, recipe=recipe(epochs=20), seed=1)
    held_out = data.tokenised(data.Split("imdb", "imdb/test", "micro", size=64), TOKENIZER, 32)
    copies, targets = attacking._masked(held_out, TOKENIZER, seed=5)
    by_chance = math.log(found.config.vocab_size)
    new = guessed(headless.masked_lm(seed=1).eval(), copies, targets)
    assert new > by_chance - 1
    assert guessed(found, copies, targets) < by_chance - 2
    again = methods.masked_lm(encoder=headless, split=SPLIT, recipe=recipe(epochs=1), seed=1)
    twice = methods.masked_lm(encoder=headless, split=SPLIT, recipe=recipe(epochs=1), seed=1)
    assert all(
        torch.equal(one, other) for one, other in zip(again.parameters(), twice.parameters(), strict=True)
    )


def test_fifteen_percent_of_the_pieces_are_masked_and_no_special_one():
    encoded = data.tokenised(SPLIT, TOKENIZER, 32)
    copies, targets = attacking._masked(encoded, TOKENIZER, seed=0)
    before, after = encoded.tokens["input_ids"], copies.tokens["input_ids"]
    chosen = targets.numpy() >= 0
    assert np.array_equal(before[chosen], targets.numpy()[chosen])
    assert np.array_equal(before[~chosen], after[~chosen])
    assert not np.isin(before[chosen], TOKENIZER.all_special_ids).any()
    for start, stop in itertools.pairwise(encoded.starts):
        open_ = (~np.isin(before[start:stop], TOKENIZER.all_special_ids)).sum()
        assert chosen[start:stop].sum() == max(1, np.rint(0.15 * open_))
    masked = (after[chosen] == TOKENIZER.mask_token_id).mean()
    kept = (after[chosen] == before[chosen]).mean()
    assert 0.72 < masked < 0.88
    assert 0.05 < kept < 0.16
