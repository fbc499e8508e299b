"""Attacks side by side end as they do alone, and what goes wrong with one stays with it."""

import copy
import itertools
import multiprocessing
import random
import re
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lib import attack, data, heads, models, predict, quantize
from robust_lib.attack import engine, victims

LABELS = ["entailment", "neutral", "contradiction"]
LEXICON = (
    "the",
    "doctor",
    "lawyer",
    "saw",
    "helped",
    "tired",
    "dogs",
    "near",
    "old",
    "trees",
    "because",
    "it",
    "was",
    "not",
)


def reference_run(make, oracles):
    """One attack by itself, its texts handed to the oracle one at a time, nothing remembered."""
    generator, rows, asked, calls = make(), None, Counter(), set()
    try:
        while True:
            ask = next(generator) if rows is None else generator.send(rows)
            rows = np.concatenate([oracles[ask.oracle]([text]) for text in ask.texts])
            asked[ask.oracle] += len(ask.texts)
            calls |= set(ask.texts) if ask.oracle == "victim" else set()
    except StopIteration as stop:
        return attack.Attacked(**vars(stop.value), calls=len(calls))


def sentence(chance):
    return " ".join(chance.choices(LEXICON, k=chance.randint(1, 9)))


def wandering(original, seed, rounds=5):
    """A toy attack that goes where the numbers send it, down to their last bit, over texts that it often repeats."""
    text, queries = original, 0
    for step in range(rounds):
        chance = random.Random(f"{seed}{text}{step}")
        drawn = [(original[0], sentence(chance)) for _ in range(chance.randint(1, 8))]
        rows = yield attack.Ask("victim", [text, *drawn, drawn[0]])
        near = yield attack.Ask("sentences", drawn)
        queries += len(rows)
        moved = rows[1:-1].max(axis=1) + near[:, 0]
        text = (original[0], f"{drawn[int(moved.argmin())][1]} {rows.sum(axis=0)[0].hex()[-3:]}")
        if queries > 40:
            return attack.Outcome("success", text, changed=step, queries=queries)
    return attack.Outcome("failed", text, changed=rounds, queries=queries)


def hashed(texts):
    """Probabilities of three classes that look random and are the text's own."""
    draws = np.array([np.random.default_rng(list("|".join(text).encode())).random(3) for text in texts])
    return draws / draws.sum(axis=1, keepdims=True)


class Recording:
    """An oracle that notes its batches; `fail` may raise or change what it gives."""

    def __init__(self, fail=lambda texts, rows: rows):
        self.fail, self.batches = fail, []

    def __call__(self, texts):
        self.batches.append(list(texts))
        return self.fail(texts, hashed(texts))

    def lengths(self, texts):
        return [sum(len(column.split()) for column in text) for text in texts]


def one_ask(texts):
    rows = yield attack.Ask("victim", texts)
    return attack.Outcome("failed", texts[-1], changed=0, queries=round(1000 * rows[0, 0]))


def run(attacks, oracle, **given_):
    originals = dict.fromkeys(attacks, ("original",))
    return attack.run(attacks, {"victim": oracle}, originals=originals, **given_)


def wanderers(count):
    chance = random.Random(0)
    return {key: (sentence(chance), sentence(chance)) for key in range(count)}


ORIGINALS = wanderers(40)
FEW = list(ORIGINALS)[:6]  # for victims that take their time
ORACLES = {"victim": victims.function(hashed), "sentences": victims.function(hashed)}
ALONE = {key: reference_run(lambda: wandering(text, 7), ORACLES) for key, text in ORIGINALS.items()}  # noqa: B023


@settings(deadline=None, max_examples=40)
@given(st.permutations(list(ORIGINALS)), st.integers(1, 50), st.integers(1, 300))
def test_attacks_side_by_side_end_as_each_does_alone_in_the_order_given(order, at_once, tokens):
    ended = []
    attacks = {key: wandering(ORIGINALS[key], 7) for key in order}
    found, answered = attack.run(
        attacks,
        ORACLES,
        originals=ORIGINALS,
        tokens=tokens,
        at_once=at_once,
        finished=lambda *end: ended.append(end),
    )
    assert list(found) == order
    assert found == ALONE == dict(ended)
    assert (
        answered["victim"]
        <= sum(one.calls for one in ALONE.values())
        < sum(one.queries for one in ALONE.values())
    )


def test_little_memory_changes_what_is_asked_again_and_nothing_else(monkeypatch):
    def count():
        attacks = {key: wandering(text, 7) for key, text in ORIGINALS.items()}
        found, answered = attack.run(attacks, ORACLES, originals=ORIGINALS, at_once=4)
        assert found == ALONE
        return answered["victim"]

    enough = count()
    monkeypatch.setattr(engine, "KEPT", 0)
    assert count() > enough


def half(part):
    torch.set_num_threads(1)
    attacks = {key: wandering(ORIGINALS[key], 7) for key in FEW[part::2]}
    return attack.run(attacks, micro_oracles(), originals=ORIGINALS)[0]


def micro(name="micro-base", **given_):
    """A victim whose head is drawn wide, so that words move its probabilities."""
    encoder = models.Encoder(name)
    model = encoder.classifier(LABELS, seed=0)
    torch.nn.init.normal_(model.classifier.weight, generator=torch.Generator().manual_seed(1))
    return victims.classifier(model, encoder.tokenizer(), max_length=48, **given_)


def micro_oracles():
    return {"victim": micro(), "sentences": micro("micro-tiny")}


@pytest.fixture(scope="module")
def real_alone():
    oracles = micro_oracles()
    return {
        key: reference_run(lambda: wandering(ORIGINALS[key], 7), oracles)  # noqa: B023
        for key in FEW
    }


def test_a_real_classifier_is_attacked_side_by_side_as_alone(real_alone):
    oracles = micro_oracles()
    for tokens, at_once, order in ((60, 6, 1), (1000, 2, -1), (100_000, 6, -1)):
        attacks = {key: wandering(ORIGINALS[key], 7) for key in FEW[::order]}
        found, _ = attack.run(attacks, oracles, originals=ORIGINALS, tokens=tokens, at_once=at_once)
        assert found == real_alone


def test_several_processes_find_what_one_does(real_alone):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(half, [0, 1])
    assert first | second == real_alone
    assert not first.keys() & second.keys()


def bits(victim, texts):
    """The rows of texts asked at once, asked one by one, and asked in another order in odd batches: one array."""
    rows = victim(texts)
    assert np.array_equal(rows, np.concatenate([victim([text]) for text in texts]))
    order = random.Random(1).sample(range(len(texts)), len(texts))
    for start in range(0, len(texts), 7):
        batch = order[start : start + 7]
        assert np.array_equal(rows[batch], victim([texts[index] for index in batch]))
    return rows


def drawn(count, columns=2, longest=9):
    chance = random.Random(2)
    return [
        tuple(" ".join(chance.choices(LEXICON, k=chance.randint(1, longest))) for _ in range(columns))
        for _ in range(count)
    ]


SMALL = {"vocab_size": 2000, "num_labels": 3, "initializer_range": 0.4}
ARCHITECTURES = {
    "bert": transformers.BertConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, **SMALL
    ),
    "roberta": transformers.RobertaConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        pad_token_id=0,
        **SMALL,
    ),
    "distilbert": transformers.DistilBertConfig(dim=24, n_layers=2, n_heads=4, hidden_dim=40, **SMALL),
}


@pytest.mark.parametrize("kind", [*ARCHITECTURES, "pruned", "int8"])
@pytest.mark.parametrize("words", [9, 40], ids=["short", "cut"])
def test_a_text_has_the_same_probabilities_whatever_is_asked_beside_it(kind, words):
    torch.manual_seed(0)
    config = copy.deepcopy(ARCHITECTURES.get(kind, ARCHITECTURES["bert"]))
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    if kind == "pruned":
        heads.remove(model, {0: [1], 1: [0, 2]})
    if kind == "int8":
        model = quantize.dynamic(model)
    tokenizer = models.Encoder("micro-base").tokenizer()
    if kind == "roberta":  # whose own tokenizer makes no token types
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    # 8-bit activations are rounded over the range of the whole batch, padding and all.
    rows, longest, padding = (
        (1, 40, {"pad_to_multiple_of": 8, "padding": True}) if kind == "int8" else (16, 44, {})
    )
    victim = victims.classifier(model, tokenizer, max_length=longest, rows=rows, device=torch.device("cpu"))
    texts = drawn(60, longest=words)
    found = bits(victim, texts)
    assert found.std(axis=0).min() > 1e-4
    alone = []
    for text in texts:
        inputs = tokenizer(*text, truncation=True, max_length=longest, return_tensors="pt", **padding)
        with torch.inference_mode():
            alone.append(F.softmax(model(**inputs).logits.double(), dim=-1)[0].numpy())
    assert np.allclose(found, alone, rtol=0, atol=1e-5)


def test_probabilities_are_those_of_predict():
    encoder, split = models.Encoder("micro-base"), data.Split("mnli", "mnli/train", "micro", size=64)
    model = encoder.classifier(LABELS, seed=0)
    encoded = data.tokenised(split, encoder.tokenizer(), 48)
    texts = list(split.frame()[list(split.text)].itertuples(index=False, name=None))
    victim = victims.classifier(model, encoder.tokenizer(), max_length=48)
    expected = predict.logits(model, encoded).double().softmax(dim=-1).numpy()
    assert victim.lengths(texts) == encoded.lengths.tolist()
    assert np.allclose(victim(texts), expected, rtol=0, atol=1e-6)


def test_bf16_is_the_texts_own_too():
    rows = bits(micro(precision="bf16"), drawn(30))
    assert not np.array_equal(rows, micro()(drawn(30)))
    assert np.allclose(rows, micro()(drawn(30)), atol=0.1)


def test_a_text_is_tokenised_once():
    class Counting:
        def __init__(self, tokenizer):
            self.tokenizer, self.seen = tokenizer, Counter()

        def __call__(self, *columns, **given_):
            self.seen.update(zip(*columns, strict=True))
            return self.tokenizer(*columns, **given_)

        def __getattr__(self, name):
            return getattr(self.tokenizer, name)

    encoder = models.Encoder("micro-tiny")
    counting, texts = Counting(encoder.tokenizer()), drawn(50)
    victim = victims.classifier(encoder.classifier(LABELS, seed=0), counting, max_length=48)
    run({key: one_ask(texts[key : key + 5]) for key in range(45)}, victim, tokens=100, at_once=10)
    assert counting.seen == dict.fromkeys(texts[:49], 1)


@pytest.mark.parametrize(("given_", "named"), [({"max_length": 65}, "65"), ({"max_length": 0}, "0")])
def test_lengths_the_encoder_cannot_read_are_named(given_, named):
    encoder = models.Encoder("micro-tiny")
    with pytest.raises(ValueError, match=f"max_length {named}.*1 to 64"):
        victims.classifier(encoder.classifier(LABELS, seed=0), encoder.tokenizer(), **given_)


def test_a_text_asked_by_many_or_again_is_answered_once():
    def again():
        for _ in range(3):
            yield attack.Ask("victim", [("a", "b"), ("a", "b"), ("c", "d")])
        return attack.Outcome("failed", ("a", "b"), changed=0, queries=9)

    oracle = Recording()
    found, answered = run({key: again() for key in range(10)}, oracle, at_once=3)
    assert [sorted(batch) for batch in oracle.batches] == [[("a", "b"), ("c", "d")]]
    assert answered == {"victim": 2}
    assert {one.calls for one in found.values()} == {2}


def test_batches_are_of_like_length_and_within_the_tokens():
    oracle = Recording()
    texts = [
        (("w " * length).strip() + f" {length}.{copy}",) for length in (1, 3, 30, 2, 9) for copy in range(8)
    ]
    run({key: one_ask([text]) for key, text in enumerate(texts)}, oracle, tokens=20)
    costs = [(len(batch), max(oracle.lengths(batch)), min(oracle.lengths(batch))) for batch in oracle.batches]
    assert all(rows == 1 or rows * longest <= 20 for rows, longest, _ in costs)
    assert [longest for _, longest, _ in costs] == sorted((longest for _, longest, _ in costs), reverse=True)
    assert all(longest <= shortest for (*_, shortest), (_, longest, _) in itertools.pairwise(costs))
    assert sum(rows for rows, *_ in costs) == len(texts)


def test_attacks_are_made_when_their_turn_comes_and_looked_up_once():
    made, alive, most = [], set(), []

    class Lazy(dict):
        def __getitem__(self, key):
            made.append(key)
            alive.add(key)
            most.append(len(alive))
            return wandering(ORIGINALS[key], 7)

    lazy = Lazy.fromkeys(ORIGINALS)
    ended = lambda key, _: alive.discard(key)  # noqa: E731
    found, _ = attack.run(lazy, ORACLES, originals=ORIGINALS, at_once=6, finished=ended)
    assert found == ALONE
    assert made == list(ORIGINALS)
    assert max(most) == 6


def raising(error):
    def fail(texts, rows):
        if ("bad",) in texts:
            raise error
        return rows

    return fail


def spoiling(value):
    return lambda texts, rows: np.where([[text == ("bad",)] for text in texts], value, rows)


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (raising(RuntimeError("it is down")), "RuntimeError: it is down"),
        (raising(torch.OutOfMemoryError("too much")), "OutOfMemoryError: too much"),
        (spoiling(np.nan), "not finite"),
        (spoiling(np.inf), "not finite"),
        (lambda texts, rows: rows[: len(rows) - (("bad",) in texts)], r"shape \(0, 3\) where \(1, 3\)"),
        (
            lambda texts, rows: [[0.5, 0.5]] if texts == [("bad",)] else raising(OSError)(texts, rows),
            r"shape \(1, 2\)",
        ),
        (lambda texts, rows: rows[0] if ("bad",) in texts else rows, r"shape \(3,\)"),
    ],
)
def test_a_text_on_which_the_victim_fails_ends_those_that_asked_for_it_and_no_others(fail, message):
    def late():
        yield attack.Ask("victim", [("early",), ("early",)])
        yield attack.Ask("victim", [("fine",), ("bad",)])

    texts = {key: [(f"text {key}",), ("bad",)] if key % 10 == 3 else [(f"text {key}",)] for key in range(40)}
    attacks = {key: one_ask(text) for key, text in texts.items()} | {"late": late()}
    found, _ = run(attacks, Recording(fail))
    expected, _ = run({key: one_ask(text) for key, text in texts.items()}, Recording())
    failed = {key for key, one in found.items() if one.status == "error"}
    assert failed == {3, 13, 23, 33, "late"}
    assert {key: found[key] for key in texts.keys() - failed} == {
        key: expected[key] for key in texts.keys() - failed
    }
    assert found["late"] == attack.Attacked("error", ("original",), 0, 2, 1, found["late"].error)
    for key in failed:
        assert found[key].error.startswith("oracle 'victim' failed on ('bad',): ")
        assert re.search(message, found[key].error)


def test_a_fault_that_passes_costs_nothing():
    calls = iter(range(100))
    oracle = Recording(lambda texts, rows: rows * np.nan if next(calls) < 3 else rows)
    attacks = {key: [(f"text {key}",)] for key in range(40)}
    found, answered = run({key: one_ask(texts) for key, texts in attacks.items()}, oracle)
    assert found == run({key: one_ask(texts) for key, texts in attacks.items()}, Recording())[0]
    assert answered == {"victim": 40}


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_out_of_memory_halves_the_tokens_for_good(error):
    def fail(texts, rows):
        if len(texts) > 5:
            raise error
        return rows

    def twice(key):
        yield attack.Ask("victim", [(f"text {key}",)])
        rows = yield attack.Ask("victim", [(f"{key} text",)])
        return attack.Outcome("failed", ("text",), changed=0, queries=round(1000 * rows[0, 0]))

    oracle = Recording(fail)
    found, answered = run({key: twice(key) for key in range(40)}, oracle)
    assert found == run({key: twice(key) for key in range(40)}, Recording())[0]
    sizes = [len(batch) for batch in oracle.batches]
    assert [size for size in sizes if size > 5] == [40, 20, 10]
    assert sizes == sorted(sizes, reverse=True)
    assert answered == {"victim": 80}


@pytest.mark.parametrize("wrong", ["raises", "too few"])
def test_a_text_that_cannot_be_measured_ends_its_own_attacks(wrong):
    class Unmeasured(Recording):
        def lengths(self, texts):
            if ("bad",) not in texts:
                return super().lengths(texts)
            if wrong == "raises":
                raise KeyError("letter")
            return super().lengths(texts)[1:]

    found, answered = run(
        {key: one_ask([("bad",) if key == 5 else (f"{key}",)]) for key in range(20)}, Unmeasured()
    )
    assert [key for key, one in found.items() if one.status == "error"] == [5]
    assert answered == {"victim": 19}


def test_an_oracle_that_is_not_the_victim_fails_by_its_own_name():
    oracles = ORACLES | {"sentences": Recording(lambda texts, rows: rows[0, 0])}
    found, answered = attack.run(
        {"one": wandering(ORIGINALS[0], 7)}, oracles, originals={"one": ORIGINALS[0]}
    )
    assert (found["one"].status, found["one"].text) == ("error", ORIGINALS[0])
    assert "oracle 'sentences' failed on" in found["one"].error
    assert answered["sentences"] == 0


def test_an_interrupt_passes_through_and_what_ended_is_told():
    def fail(texts, rows):
        if ("late",) in texts:
            raise KeyboardInterrupt
        return rows

    told = []
    attacks = {key: one_ask([("late",) if key == 7 else (f"{key}",)]) for key in range(10)}
    with pytest.raises(KeyboardInterrupt):
        run(attacks, Recording(fail), at_once=2, finished=lambda key, _: told.append(key))
    assert told == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "row", [[0.6, 0.6, -0.2], [0.6, 0.6, 0.6], [0.1, 0.1, 0.1]], ids=["negative", "more", "less"]
)
def test_numbers_of_a_victim_that_are_no_probabilities_are_refused(row):
    def fail(texts, rows):
        return [row if text == ("bad",) else [0.33, 0.33, 0.33] for text in texts]

    with pytest.raises(attack.NoProbabilities, match=r"'victim' gave .* for \('bad',\)"):
        run({key: one_ask([("bad",) if key == 3 else (f"{key}",)]) for key in range(5)}, Recording(fail))


def test_numbers_of_other_oracles_may_be_any():
    oracles = {"victim": Recording(), "sentences": Recording(lambda texts, rows: rows - 5)}
    found, _ = attack.run({0: wandering(ORIGINALS[0], 7)}, oracles, originals=ORIGINALS)
    assert found[0] == reference_run(lambda: wandering(ORIGINALS[0], 7), oracles)


@pytest.mark.parametrize("budget", [0, 1, 20, 31, 32, 1000])
def test_an_attack_ends_before_it_asks_beyond_its_budget(budget):
    closed, asked = [], []

    def counted():
        try:
            for step in range(8):
                yield attack.Ask("victim", [("same",)] * 2 + [(f"{step}",), ("other",)])
                yield attack.Ask("sentences", [("same",)] * 100)
                asked.append(step)
        finally:
            closed.append(True)
        return attack.Outcome("success", ("last",), changed=3, queries=8)

    originals = {"one": ("original",)}
    found, _ = attack.run({"one": counted()}, ORACLES, originals=originals, budget=budget)
    steps = min(8, budget // 4)
    calls = 2 + steps if steps else 0
    spent = attack.Attacked("budget", ("original",), changed=0, queries=4 * steps, calls=calls)
    assert found["one"] == (spent if steps < 8 else attack.Attacked("success", ("last",), 3, 8, 10))
    assert (len(asked), closed) == (steps, [True])


def test_an_attack_may_end_without_asking_and_ask_for_nothing():
    def skipped():
        return attack.Outcome("skipped", ("as it was",), changed=0, queries=0)
        yield

    def nothing():
        rows = yield attack.Ask("victim", [])
        return attack.Outcome("failed", ("text",), changed=0, queries=len(rows))

    found, answered = run({"a": skipped(), "b": nothing()}, Recording())
    assert [one.status for one in found.values()] == ["skipped", "failed"]
    assert answered["victim"] == 0
    assert run({}, Recording())[0] == {}


def broken():
    rows = yield attack.Ask("victim", [("text",)])
    return rows[0, 3]


def unfinished():
    yield attack.Ask("victim", [("text",)])


def lettered():
    yield attack.Ask("victim", ["text"])


def lost():
    yield attack.Ask("nobody", [("text",)])


def test_a_bug_of_an_attack_is_raised_with_its_key():
    with pytest.raises(IndexError) as caught:
        run({"fine": one_ask([("text",)]), "mnli-17": broken()}, Recording())
    assert caught.value.__notes__ == ["in the attack of example 'mnli-17'"]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (unfinished, TypeError, "example 'mnli-17' returned None, not an Outcome"),
        (lettered, TypeError, "example 'mnli-17' yielded .*tuples of strings"),
        (lost, ValueError, "example 'mnli-17' asks 'nobody'; the oracles are victim"),
    ],
)
def test_what_is_no_attack_is_named(wrong, error, message):
    with pytest.raises(error, match=message):
        run({"mnli-17": wrong()}, Recording())


@pytest.mark.parametrize("given_", [{"tokens": 0}, {"at_once": 0}])
def test_sizes_are_above_zero(given_):
    with pytest.raises(ValueError, match="above 0"):
        run({}, Recording(), **given_)
