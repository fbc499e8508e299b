"""Attacks on trained models and what units of them cost, on the micro world's sentences."""

import copy
import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from robust_lib import data, methods, models, quantize, runs, train
from robust_lib.attack import lexica, similarity, textfooler
from robust_lib.runs import journals

TINY = models.Encoder("micro-tiny")
SPLIT = data.Split("mnli", "mnli/train", "micro", size=1000)
ATTACKED = data.Split("mnli", "mnli/validation_matched", "micro", size=48, seed=7)
RECIPE = train.Recipe(epochs=2, learning_rate=1e-3, batch_size=16, max_length=40)
WORDS = lexica.Words()
CHECKED = lexica.Words("micro", TINY)
READ = {"encoder": TINY, "max_length": 40}
PLACES = {"split": ATTACKED, "words": WORDS, "mode": "authors", **READ}
COLUMNS = {
    "id", "gold", "status", "changed", "queries", "calls", "error", "words", "premise", "hypothesis", "rewritten",
}  # fmt: skip


@pytest.fixture(scope="module")
def victim():
    return methods.finetuned(encoder=TINY, split=SPLIT, recipe=RECIPE, seed=3)


@pytest.fixture(scope="module")
def frame(victim):
    return attacked(victim)


@pytest.fixture
def places(tmp_path, monkeypatch):
    for name, value in {"RUNS": tmp_path / "runs", "STORE": tmp_path / "store", "WORKERS": "1"}.items():
        monkeypatch.setenv(f"ROBUST_{name}", str(value))
    return tmp_path


def attacked(victim, **other):
    return methods.attacked(model=copy.deepcopy(victim), **PLACES | other)


def answer(victim, premise, hypothesis):
    """What the victim says of one text, asked by itself."""
    text = TINY.tokenizer()(premise, hypothesis, return_tensors="pt")
    with torch.inference_mode():
        return models.labels(victim)[victim(**text).logits.argmax()]


def synonyms(hypothesis):
    """Every open place and the words that may stand there."""
    found = {place: WORDS.neighbours(word) for place, word in enumerate(hypothesis.split())}
    open_ = [place for place, word in enumerate(hypothesis.split()) if word not in WORDS.stop_words]
    return {place: found[place] for place in open_ if found[place]}


# The attack


def test_a_row_for_each_example_in_the_splits_order(victim, frame):
    assert set(frame.columns) == COLUMNS
    texts = ATTACKED.frame()
    assert frame["id"].tolist() == texts.index.tolist()
    assert frame["gold"].tolist() == texts["label"].tolist()
    for column in ("premise", "hypothesis"):
        assert frame[column].tolist() == [lexica.spaced(text) for text in texts[column]]
    assert frame["words"].tolist() == [len(text.split()) for text in frame["hypothesis"]]
    assert set(frame["status"]) == {"success", "failed", "skipped"}
    assert (frame["error"] == "").all()


def test_the_status_is_what_the_victim_says_before_and_after(victim, frame):
    for row in frame.itertuples():
        before, after = (
            answer(victim, row.premise, text) == row.gold for text in (row.hypothesis, row.rewritten)
        )
        assert (row.status == "skipped") == (not before)
        assert (row.status == "success") == (before and not after)
        assert row.changed == sum(map(str.__ne__, row.hypothesis.split(), row.rewritten.split()))
    skipped = frame[frame["status"] == "skipped"]
    assert (skipped["queries"] == 0).all()
    assert (skipped["calls"] == 1).all()


def test_queries_are_the_text_each_word_and_each_candidate(frame):
    """All candidates where the attack fails, those up to its success otherwise."""
    asked = frame[frame["status"] != "skipped"]
    for row in asked.itertuples():
        candidates = [len(words) for words in synonyms(row.hypothesis).values()]
        every = 1 + len(row.hypothesis.split()) + sum(candidates)
        assert row.queries == every or (row.status == "success" and row.queries < every)
        if len(candidates) == 1:
            assert row.queries == every
        assert row.calls <= row.queries
    assert asked["hypothesis"].map(lambda text: len(synonyms(text))).nunique() > 1


def test_one_example_by_hand(victim, frame):
    """Where one word has synonyms, they are all tried, in their order, and the first that fools is taken."""
    by_hand = frame[frame["hypothesis"].map(lambda text: len(synonyms(text)) == 1)]
    assert {"success", "failed"} <= set(by_hand["status"])
    for row in by_hand[by_hand["status"] != "skipped"].itertuples():
        ((place, words),) = synonyms(row.hypothesis).items()
        tokens = row.hypothesis.split()
        tried = [" ".join([*tokens[:place], word, *tokens[place + 1 :]]) for word in words]
        fooling = [text for text in tried if answer(victim, row.premise, text) != row.gold]
        assert (row.status == "success") == bool(fooling)
        assert row.rewritten in (fooling[:1] or [row.hypothesis, *tried])


def test_of_a_pair_the_hypothesis_is_attacked_and_of_a_sentence_the_sentence(frame):
    rewritten = frame[frame["changed"] > 0]
    assert len(rewritten)
    for row in rewritten.itertuples():
        open_ = synonyms(row.hypothesis)
        pairs = enumerate(zip(row.hypothesis.split(), row.rewritten.split(), strict=True))
        assert all(new in open_[place] for place, (old, new) in pairs if new != old)
    split = data.Split("sst2", "sst2/train", "micro", size=64)
    model = methods.finetuned(encoder=TINY, split=split, recipe=RECIPE, seed=3)
    texts = data.Split("sst2", "sst2/validation", "micro", size=12)
    found = attacked(model, split=texts)
    assert set(found.columns) == COLUMNS - {"premise", "hypothesis"} | {"sentence"}
    assert found["sentence"].tolist() == [lexica.spaced(text) for text in texts.frame()["sentence"]]


@pytest.mark.parametrize("words", [WORDS, CHECKED], ids=["unchecked", "checked"])
def test_batches_of_any_size_give_the_same_frame(victim, words):
    whole, small = (attacked(victim, words=words, mode="paper", tokens=tokens) for tokens in (8192, 50))
    pd.testing.assert_frame_equal(whole, small)


@pytest.mark.parametrize("mode", textfooler.MODES)
def test_every_reading_of_textfooler_skips_the_same_examples(victim, frame, mode):
    found = attacked(victim, mode=mode)
    pd.testing.assert_series_equal(found["status"] == "skipped", frame["status"] == "skipped")
    if mode != "authors":
        assert (found["queries"] != frame["queries"]).any() or mode == "paper"


def test_a_calibrated_threshold_takes_the_place_of_the_modes_own(victim):
    checked = {"words": CHECKED, "mode": "paper"}
    free, own = (attacked(victim, **checked, calibration=one) for one in ({"threshold": -1.0}, None))
    strict = attacked(victim, **checked, calibration={"threshold": 1.0, "accepted": 0.0, "refused": 1.0})
    assert (free["changed"] > 0).any()
    assert (strict["changed"] == 0).all()  # no synonym leaves a text just as it was
    words = strict["hypothesis"].str.split().str.len()
    asked = strict["status"] != "skipped"
    assert (strict["queries"][asked] == 1 + words[asked]).all()  # checked before the query
    pd.testing.assert_frame_equal(own, attacked(victim, **checked, calibration={"threshold": 0.5}))


def test_a_budget_ends_the_attacks_that_would_exceed_it(victim, frame):
    found = attacked(victim, budget=5)
    spent = frame["queries"] > 5
    assert spent.any()
    assert (found["status"][spent] == "budget").all()
    assert (found["queries"] <= 5).all()
    assert (found["rewritten"][spent] == found["hypothesis"][spent]).all()
    pd.testing.assert_frame_equal(found[~spent], frame[~spent])


def test_an_8_bit_victim_is_attacked_as_it_predicts(victim):
    small = methods.q8_ptq(encoder=TINY, split=SPLIT, start=copy.deepcopy(victim), max_length=40)
    found = attacked(small)
    pd.testing.assert_frame_equal(found, attacked(small, tokens=100))
    right = [answer(small, row.premise, row.hypothesis) == row.gold for row in found.itertuples()]
    assert (found["status"] != "skipped").tolist() == right


def test_the_integer_victim_is_the_model_in_8_bit_integers_text_by_text(victim):
    """Else it would take one range for a batch."""
    found = attacked(victim, integer=True)
    pd.testing.assert_frame_equal(found, attacked(victim, integer=True, tokens=100))
    small = quantize.dynamic(victim)
    right = [answer(small, row.premise, row.hypothesis) == row.gold for row in found.itertuples()]
    assert (found["status"] != "skipped").tolist() == right
    fooled = found[found["status"] == "success"]
    assert len(fooled)
    assert all(answer(small, row.premise, row.rewritten) != row.gold for row in fooled.itertuples())


def test_a_victim_that_fails_on_an_example_ends_that_one_alone(victim, frame, monkeypatch):
    row = frame[frame["status"] != "skipped"].iloc[0]
    word = TINY.tokenizer()(row["premise"], row["hypothesis"])["input_ids"]
    forward = transformers.BertForSequenceClassification.forward

    def failing(self, *arguments, **inputs):
        if word in [ids[: len(word)] for ids in inputs["input_ids"].tolist()]:
            raise ArithmeticError("overflow")
        return forward(self, *arguments, **inputs)

    monkeypatch.setattr(transformers.BertForSequenceClassification, "forward", failing)
    found = attacked(victim)
    ended = found["status"] == "error"
    same = (frame["premise"] == row["premise"]) & (frame["hypothesis"] == row["hypothesis"])
    pd.testing.assert_series_equal(ended, same, check_names=False)
    assert found["error"][ended].str.contains("ArithmeticError: overflow").all()
    pd.testing.assert_frame_equal(found[~ended], frame[~ended])


def test_an_example_that_ended_in_an_error_is_not_kept_for_the_next_try(victim, tmp_path, monkeypatch):
    journal = tmp_path / "journal.jsonl"

    def failing(self, *arguments, **inputs):
        raise ArithmeticError("overflow")

    monkeypatch.setattr(transformers.BertForSequenceClassification, "forward", failing)
    with journals.opened(journal):
        ended = attacked(victim)
        kept = list(runs.journal().done)
    assert set(ended["status"]) == {"error"}
    assert kept == []


def interrupted(monkeypatch, after: int) -> Callable[[], list[tuple[int, ...]]]:
    """Has the victim interrupt its process in the pass after so many; gives what it has read, row by row."""
    forward, read = transformers.BertForSequenceClassification.forward, []

    def interrupting(self, *arguments, **inputs):
        if len(read) == after:
            raise KeyboardInterrupt
        read.append(inputs["input_ids"])
        return forward(self, *arguments, **inputs)

    monkeypatch.setattr(transformers.BertForSequenceClassification, "forward", interrupting)
    return lambda: [tuple(row) for batch in read for row in batch.tolist()]


def premises(rows):
    """The first texts of rows of token ids."""
    separator = TINY.tokenizer().sep_token_id
    return {row[1 : row.index(separator)] for row in rows}


def test_an_interrupted_attack_goes_on_where_it_was(places, monkeypatch, frame):
    whole = runs.unit(methods.finetuned, encoder=TINY, split=SPLIT, recipe=RECIPE, seed=3)
    unit = runs.unit(methods.attacked, model=whole, **PLACES)
    run = runs.start("05_test", {"scale": "micro"})
    run.collect(whole)
    with monkeypatch.context() as patched:
        first = interrupted(patched, after=12)
        with pytest.raises(KeyboardInterrupt):
            run.collect(unit)
    (file,) = (places / "store" / "journals").iterdir()
    assert file.stem == unit.key
    kept = runs.Journal(file).done
    assert 0 < len(kept) < len(frame)
    with monkeypatch.context() as patched:
        second = interrupted(patched, after=10_000)
        found = run.collect(unit)
    assert found.astype({"rewritten": object}).equals(frame.astype({"rewritten": object}))
    left = frame[~frame["id"].astype(str).isin(kept)]
    tokenizer = TINY.tokenizer()
    expected = {
        tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in set(left["premise"])
    }
    assert premises(second()) == expected < premises(first())
    assert list((places / "store" / "journals").iterdir()) == []


def test_what_was_finished_before_is_believed_and_not_asked_again(places, monkeypatch, frame):
    """A journal with every example: the model is not asked at all."""
    whole = runs.unit(methods.finetuned, encoder=TINY, split=SPLIT, recipe=RECIPE, seed=3)
    unit = runs.unit(methods.attacked, model=whole, **PLACES)
    run = runs.start("05_test", {"scale": "micro"})
    run.collect(whole)
    journal = runs.Journal(places / "store" / "journals" / f"{unit.key}.jsonl")
    for row in frame.to_dict("records"):
        text = (row["premise"], row["rewritten"])
        outcome = {name: row[name] for name in ("status", "changed", "queries", "calls", "error")}
        journal.add(str(row["id"]), json.loads(json.dumps({"text": text, **outcome})))
    journal.close()
    with monkeypatch.context() as patched:
        read = interrupted(patched, after=0)
        found = run.collect(unit)
    assert read() == []
    for column in COLUMNS:
        assert found[column].tolist() == frame[column].tolist(), column


# The threshold


def test_the_threshold_is_calibrated_on_the_attacked_text_as_it_is_spaced():
    split = data.Split("mnli", "mnli/train", "micro", size=60)
    found = methods.calibrated(split=split, words=CHECKED, seed=4)
    texts = [lexica.spaced(text) for text in split.frame()["hypothesis"]]
    by_hand = similarity.calibrated(similarity.sentences(TINY), texts, words=CHECKED, seed=4)
    assert found == vars(by_hand)
    assert found.keys() == {"threshold", "accepted", "refused", "texts"}
    assert -1 <= found["threshold"] <= 1
    assert found["accepted"] + found["refused"] >= 1
    assert json.loads(json.dumps(found)) == found


def test_nothing_is_calibrated_without_an_encoder():
    with pytest.raises(ValueError, match="calibrated: `words` has no sentence encoder to calibrate"):
        methods.calibrated(split=ATTACKED, words=WORDS)


# Transfer


def transferred(model, texts):
    columns = ["premise", "hypothesis"]
    return methods.transferred(model=copy.deepcopy(model), texts=texts, columns=columns, **READ)


def test_every_text_fools_the_model_it_was_found_on(victim, frame):
    found = transferred(victim, {"own": frame, "again": frame})
    fooled = frame[frame["status"] == "success"]
    assert found["source"].tolist() == ["own"] * len(fooled) + ["again"] * len(fooled)
    assert found["id"].tolist() == fooled["id"].tolist() * 2
    assert found["gold"].tolist() == fooled["gold"].tolist() * 2
    assert (found["predicted"] != found["gold"]).all()


def test_transfer_is_what_another_model_says_of_the_rewritten_text(frame):
    other = methods.finetuned(encoder=TINY, split=SPLIT, recipe=RECIPE, seed=4)
    found = transferred(other, {"victim": frame})
    fooled = frame[frame["status"] == "success"]
    expected = [answer(other, row.premise, row.rewritten) for row in fooled.itertuples()]
    assert found["predicted"].tolist() == expected
    assert found.index.tolist() == list(range(len(fooled)))


def test_where_no_attack_succeeded_the_frame_is_empty(victim, frame):
    found = transferred(victim, {"victim": frame[frame["status"] != "success"]})
    assert list(found.columns) == ["source", "id", "gold", "predicted"]
    assert found.empty


# What models weigh


def weight(model, encoder=TINY, **other):
    return methods.footprint(
        **{"model": model, "encoder": encoder, "split": ATTACKED, "max_length": 40} | other
    )


def test_a_footprint_counts_layers_parameters_and_bytes(victim):
    found = weight(victim)
    assert found.keys() == {"layers", "parameters", "megabytes", "gflop"}
    assert found["layers"] == 2
    assert found["parameters"] == pytest.approx(victim.num_parameters() / 1e6)
    assert found["megabytes"] == pytest.approx(4 * found["parameters"])


def test_operations_are_two_for_each_weight_and_token_and_attention(victim):
    """Of a text of mean length; attention compares each token with each, and weighs as many values."""
    lengths = [
        len(TINY.tokenizer()(premise, hypothesis)["input_ids"])
        for premise, hypothesis in ATTACKED.frame()[["premise", "hypothesis"]].itertuples(index=False)
    ]
    tokens, width, wide = round(np.mean(lengths)), 64, victim.config.intermediate_size
    layer = 2 * tokens * (4 * width**2 + 2 * width * wide) + 2 * 2 * tokens**2 * width
    head = 2 * width**2 + 2 * width * 3
    assert weight(victim)["gflop"] == pytest.approx((2 * layer + head) / 1e9)
    cut = models.truncate(copy.deepcopy(victim), 1)
    assert weight(cut)["gflop"] == pytest.approx((layer + head) / 1e9)
    assert weight(cut)["layers"] == 1
    assert weight(victim, max_length=8)["gflop"] < weight(victim)["gflop"] / 2


def test_a_quantised_model_has_as_many_parameters_in_fewer_bytes(victim):
    small = copy.deepcopy(victim)
    quantize.simulate(small)
    fp32, own = weight(victim), weight(small)
    assert quantize.simulated(small)
    assert {**own, "megabytes": 0} == {**fp32, "megabytes": 0}
    linears = sum(one.weight.numel() for one in victim.modules() if isinstance(one, torch.nn.Linear))
    assert own["megabytes"] == pytest.approx(fp32["megabytes"] - 3 * linears / 1e6)


def test_teacher_and_model_are_timed_in_turn(victim):
    small, cut = copy.deepcopy(victim), models.truncate(copy.deepcopy(victim), 1)
    quantize.simulate(small)
    before = copy.deepcopy(victim.state_dict())
    found = methods.timed(
        compressed={"small": small, "cut": cut}, teacher=victim, max_length=40, batch_sizes=[1, 8], rounds=3,
        encoders={"Teacher": TINY, "small": TINY, "cut": models.Encoder("micro-tiny", 1)},
        split=data.Split("mnli", "mnli/validation_matched", "micro", size=10),
    )  # fmt: skip
    assert list(found.columns) == [
        "method", "device", "threads", "batch_size", "round", "teacher", "seconds",
    ]  # fmt: skip
    on = {"cpu": ("small", "cut")}  # all of them, and on a GPU those that are not quantised
    if torch.cuda.is_available():
        on[torch.cuda.get_device_name()] = ("cut",)
    keys = ["device", "round", "batch_size", "method"]
    assert list(found[keys].itertuples(index=False, name=None)) == [
        (device, turn, size, name)
        for device, names in on.items()
        for turn in (1, 2, 3)
        for size in (1, 8)
        for name in names
    ]
    assert (found[["teacher", "seconds"]] > 0).all(axis=None)
    assert (found["threads"] == torch.get_num_threads()).all()
    assert quantize.simulated(small)
    after = victim.state_dict()
    assert all(torch.equal(after[name].cpu(), tensor) for name, tensor in before.items())


# What units would cost


def test_an_attack_costs_a_forward_pass_for_each_query_of_each_text(victim):
    read = {"model": None, "split": ATTACKED, **READ}
    once = methods.work(runs.unit(methods.predicted, **read))
    attack = runs.unit(methods.attacked, words=WORDS, mode="authors", **read)
    assert methods.work(attack) == 90 * once == 90 * 2 * 48 * 40 * TINY.weights()
    assert methods.work(runs.unit(methods.calibrated, split=ATTACKED, words=CHECKED)) == 0
    assert (
        methods.work(runs.unit(methods.q8_ptq, encoder=TINY, split=ATTACKED, start=None, max_length=40))
        == once
    )


def test_states_take_two_bytes_for_each_number():
    layers = {"model": None, "layers": [1, 3, 5], "split": SPLIT, **READ}
    assert methods.size(runs.unit(methods.cls_states, **layers)) == 2 * 1000 * 3 * 64
