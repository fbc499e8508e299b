"""BERT-Attack: slow plain readings of the programs as oracles, cases by hand, the points of difference."""

import copy
import dataclasses
import hashlib
import itertools
import math
import re
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import torch

from robust_lib import data, methods, models, train
from robust_lib.attack import bertattack, language, lexica
from robust_lib.attack.bertattack import MODES

AUTHORS, TEXTATTACK, EXACT = MODES["authors"], MODES["textattack"], MODES["exact"]
PIECES = [
    f"{start}{end}"
    for start in ("", "##")
    for end in ("wa", "wb", "wc", "ve", "vo", "the", "to", "-", "n't", ".")
]
NUMBER = {piece: number for number, piece in enumerate(["[UNK]", "[SEP]", *PIECES])}


@dataclass(frozen=True)
class Toy:
    """Words of a test: stop words, and which words are alike."""

    stop_words: frozenset[str] = frozenset(["the"])
    nltk_stop_words: frozenset[str] = frozenset(["to"])
    sentences: object = None
    threshold: float | None = None

    def alike(self, word, other):
        return None if "v" in word + other else [0.3, 0.4, 0.5][sum(map(ord, word + other)) % 3]


@dataclass(frozen=True)
class Speech:
    """A language of a few pieces: a word is cut every two letters, and every place of a text has its own best."""

    k: int = 6
    max_length: int = 12
    asked: list = field(default_factory=list)

    def pieces(self, text):
        words = re.findall(r"\w+|[^\w\s]", text)
        cut = [re.findall(r"..?", word) for word in words]
        return [("##" if place else "") + piece for word in cut for place, piece in enumerate(word)]

    def tokens(self, ids):
        return tuple(list(NUMBER)[id_] for id_ in ids)

    def logits(self, text):
        """(pieces and [SEP], vocabulary), of few levels; each piece's own is high, as it is not masked."""
        pieces = [*self.pieces(text)[: self.max_length - 2], "[SEP]"]
        rows = [drawn((text, place), numbers=len(NUMBER), levels=40) for place in range(len(pieces))]
        for row, piece in zip(rows, pieces, strict=True):
            row[NUMBER.get(piece, 0)] += 20
            row += (
                np.arange(len(NUMBER)) / 1000
            )  # no ties: which of equals comes first is the model's own affair
        return np.array(rows) / 4

    def __call__(self, texts):
        self.asked.extend(texts)
        return np.array([[float(index)] for index in range(len(self.asked) - len(texts), len(self.asked))])

    def best(self, row):
        logits = self.logits(*self.asked[int(row[0])])
        ids = np.argsort(-logits, axis=1, kind="stable")[:, : self.k]
        values = np.take_along_axis(logits, ids, axis=1)
        return language.Best(ids, values, values - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def drawn(text, *, numbers, levels, bias=0):
    """Few numbers, so that there are ties, from a hash of the text."""
    digest = hashlib.sha256(repr(text).encode()).digest()
    row = np.array([1 + byte % levels for byte in digest[:numbers]], dtype=float)
    row[0] += bias
    return row


def victim(texts):
    rows = np.array([drawn(text, numbers=3, levels=8, bias=4) for text in texts])
    return rows / rows.sum(axis=1, keepdims=True)


def perplexity(texts):
    return np.array([[drawn(("alone", *text), numbers=1, levels=50)[0]] for text in texts])


def sentences(texts):
    rows = np.array([drawn(("sentence", *text), numbers=4, levels=9) - 3 for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def attacked(text, gold=0, *, mode, column=0, words=None, speech=None, k=6, most=None, victim=victim):
    """The attack by itself, and all texts that the victim was asked for."""
    speech = speech or Speech()
    oracles = {"victim": victim, "language": speech, "pieces": perplexity, "sentences": sentences}
    running = bertattack.bertattack(
        text, gold, column=column, words=words or Toy(), language=speech, mode=mode, k=k, most=most
    )
    rows, asked = None, []
    while True:
        try:
            ask = running.send(rows)
        except StopIteration as stop:
            return stop.value, asked
        if ask.oracle == "victim":
            asked += ask.texts
        rows = oracles[ask.oracle](ask.texts)


# --- the released program, in plain loops ---


def reference_authors(text, *, words, k, most=None, exact=False):
    speech = Speech()
    tokens = text.lower().split(" ")
    pieces, keys = [], []
    for word in tokens:
        keys.append((len(pieces), len(pieces) + len(speech.pieces(word))))
        pieces += speech.pieces(word)
    probabilities = victim([(text,)])[0]
    if probabilities.argmax() != 0:
        return "skipped", text, 0
    current = probabilities.max()
    logits = speech.logits(" ".join(tokens))
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    places = range(len(tokens) if exact else len(tokens) - 1)
    scores = []
    for i in places:
        left = victim([(" ".join([*tokens[:i], "[UNK]", *tokens[i + 1 :]]),)])[0]
        c = left.argmax()
        scores.append(probabilities[0] - left[0] + (left[c] - probabilities[c] if c != 0 else 0))
    queries, changes, tried, final = len(places) + 1, 0, 0, list(tokens)
    for i in sorted(places, key=lambda i: -scores[i]):
        if changes > int(0.4 * len(tokens)):
            return "failed", " ".join(final), queries
        if tokens[i] in words.stop_words:
            continue
        tried += 1
        if most is not None and tried > most:
            break
        start, stop = keys[i]
        if start > speech.max_length - 2 or (exact and stop > len(logits) - 1):
            continue
        best = ranked[start:stop]
        if len(best) == 1:
            candidates = list(speech.tokens(best[0]))
        elif exact:
            likely = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
            every = itertools.product(*(range(k) for _ in best))

            def total(ranks, best=best, likely=likely, start=start):
                return sum(likely[start + p][best[p][rank]] for p, rank in enumerate(ranks))

            every = sorted(every, key=lambda ranks: (-total(ranks), ranks))[:k]
            candidates = [speech.tokens([best[p][rank] for p, rank in enumerate(one)]) for one in every]
        else:
            some = list(itertools.product(*(row[:4] for row in best[:12].tolist())))[:24]
            ppl = [row[0] for row in perplexity([speech.tokens(one) for one in some])]
            candidates = [speech.tokens(some[n]) for n in sorted(range(len(some)), key=lambda n: ppl[n])]
        if len(best) > 1:
            candidates = [" ".join(one).replace(" ##", "").strip() for one in candidates]
        gap, candidate = 0.0, None
        trial = list(final) if exact else final  # as released, one list
        for substitute in candidates:
            alike = words.alike(tokens[i], substitute)
            if substitute == tokens[i] or "##" in substitute or substitute in words.stop_words:
                continue
            if alike is not None and alike < 0.4:
                continue
            trial[i] = substitute
            row = victim([(" ".join(trial),)])[0]
            queries += 1
            if row.argmax() != 0:
                return "success", " ".join(trial), queries
            if current - row[0] > gap:
                gap, candidate, lowest = current - row[0], substitute, row[0]
        if gap > 0:
            changes, current, final[i] = changes + 1, lowest, candidate
    return "failed", " ".join(final), queries


# --- TextAttack's recipe, on the string itself ---


def reference_textattack(text, *, words, k, most=None):
    speech = Speech()
    edges = [(m.start(), m.end()) for m in re.finditer(r"[\w`]+(?:['\-*@][\w`]+)*", text)]
    tokens = [text[a:b] for a, b in edges]

    def filled(new):
        parts, end = [], 0
        for (a, b), word in zip(edges, new, strict=True):
            parts += [text[end:a], word]
            end = b
        return "".join(parts) + text[end:]

    def one_word(token):
        return len(re.findall(r"[\w`]+(?:['\-*@][\w`]+)*", token)) == 1

    now = victim([(text,)])[0]
    if now.argmax() != 0:
        return "skipped", text, 0
    now, queries = 1 - now[0], 1
    open_ = [i for i, word in enumerate(tokens) if word not in words.nltk_stop_words]
    importance = {i: 1 - victim([(filled([*tokens[:i], "[UNK]", *tokens[i + 1 :]]),)])[0][0] for i in open_}
    queries += len(open_)
    current = list(tokens)
    for i in sorted(open_, key=lambda i: -importance[i])[:most]:
        if sum(map(str.__ne__, current, tokens)) + 1 > math.ceil(len(tokens) * 0.4):
            continue  # MaxWordsPerturbed
        logits = speech.logits(filled(current))
        masked = filled([*current[:i], "@@@@", *current[i + 1 :]])
        start = len(speech.pieces(masked[: masked.index("@@@@")]))
        if start >= len(logits) - 1:
            continue
        rows = np.argsort(-logits, axis=1, kind="stable")[start : start + len(speech.pieces(current[i])), :k]
        if len(rows) == 1:
            found = [token for token in speech.tokens(rows[0]) if one_word(token) and "##" not in token]
        else:
            joined = ("".join(speech.tokens(one)).replace("##", "") for one in itertools.product(*rows))
            found = list(itertools.islice((word for word in joined if one_word(word)), k))
        new = [[*current[:i], word, *current[i + 1 :]] for word in found if word != current[i]]
        if words.sentences:
            base = sentences([(text,)])[0]
            near = [float((sentences([(filled(one),)])[0] * base).sum()) for one in new]
            new = [one for one, value in zip(new, near, strict=True) if value >= 0.2]
        new.sort(key=filled)
        if not new:
            continue
        rows = victim([(filled(one),) for one in new])
        queries += len(new)
        order = sorted(range(len(new)), key=lambda n: rows[n][0])
        if 1 - rows[order[0]][0] > now:
            now, current = 1 - rows[order[0]][0], new[order[0]]
            if rows[order[0]].argmax() != 0:
                flipped = rows.argmax(axis=1) != 0
                leading = list(itertools.takewhile(flipped.__getitem__, order))
                base = sentences([(text,)])[0]
                similar = [float((sentences([(filled(new[n]),)])[0] * base).sum()) for n in leading]
                best = leading[int(np.argmax(similar))] if words.sentences else order[0]
                return "success", filled(new[best]), queries
    return "failed", filled(current), queries


REFERENCES = {
    "authors": reference_authors,
    "textattack": reference_textattack,
    "exact": lambda text, **other: reference_authors(text, **other, exact=True),
}


def sentence(random):
    known = ["wa", "wb", "ve", "vo", "the", "to", "wave", "votowa", "wb-ve", "Wa", "x", "wavewbvowc"]
    words = random.choice(known, size=random.integers(1, 9))
    return " ".join(word + str(random.choice(["", "", "", ".", " ,"])) for word in words)


@pytest.mark.parametrize("k", [2, 6])
@pytest.mark.parametrize("name", list(MODES))
def test_every_mode_is_its_plain_reading(name, k):
    statuses = []
    for seed in range(250):
        random = np.random.default_rng(seed)
        text = sentence(random)
        words = Toy(sentences="some" if seed % 2 else None)
        most = [None, 2][seed % 3 == 0]
        expected = REFERENCES[name](text, words=words, k=k, most=most)
        outcome, asked = attacked((text,), mode=MODES[name], words=words, k=k, most=most)
        assert (outcome.status, outcome.text[0], outcome.queries) == expected, seed
        if outcome.status == "failed" or name == "textattack":
            assert outcome.queries == (0 if outcome.status == "skipped" else len(asked))
        statuses.append(outcome.status)
    assert set(statuses) == {"success", "failed", "skipped"}


# --- the points of difference, by hand ---


@dataclass(frozen=True)
class Fixed(Speech):
    """Proposes the same for a word wherever it stands, the first the most likely; other words only themselves."""

    proposals: dict = field(default_factory=dict)
    k: int = 3
    written: list = field(default_factory=list)

    def pieces(self, text):
        return text.split()

    def tokens(self, ids):
        return tuple(self.written[id_] for id_ in ids)

    def best(self, row):
        words = [*self.asked[int(row[0])][0].split(), "[SEP]"]
        listed = [self.proposals.get(word, [word]) for word in words]
        filled = [[*one, *[one[-1]] * self.k][: self.k] for one in listed]
        self.written.extend(word for one in filled for word in one)
        ids = np.array([[self.written.index(word) for word in one] for one in filled])
        values = np.tile(np.arange(self.k, 0, -1.0), (len(ids), 1))
        return language.Best(ids, values, values - 10)


class Alike(Toy):
    def alike(self, word, other):
        return 1.0


def moody(scores, default=0.8):
    def probabilities(texts):
        values = [scores.get(text[-1], default) for text in texts]
        return np.array([(value, 1 - value) for value in values])

    return probabilities


def test_where_nothing_lowers_the_probability_the_last_candidate_stays_uncounted():
    speech = Fixed(proposals={"one": ["uno", "eins"], "two": ["due"]})
    scores = {"one two x": 0.7, "uno two x": 0.9, "eins two x": 0.8, "[UNK] two x": 0.6}
    held = attacked(("one two x",), mode=AUTHORS, words=Alike(), speech=speech, k=2, victim=moody(scores))[0]
    assert held.text == ("eins due x",)
    free = dataclasses.replace(AUTHORS, aliasing=False)
    outcome = attacked(("one two x",), mode=free, words=Alike(), speech=speech, k=2, victim=moody(scores))[0]
    assert outcome.text == ("one two x",)
    assert (held.changed, outcome.changed) == (2, 0)
    # x is last and never scored: 1 text, 2 words, 2 candidates for "one", 2 for "two" (its only one, twice).
    assert held.queries == outcome.queries == 1 + 2 + 2 + 2


def test_the_last_word_is_attacked_by_the_exact_mode_alone():
    speech = Fixed(proposals={"bad": ["good", "fine"]})
    scores = {"so bad": 0.9, "so good": 0.1, "so fine": 0.2}
    for mode, final in ((AUTHORS, "so bad"), (EXACT, "so good"), (TEXTATTACK, "so good")):
        outcome, _ = attacked(("so bad",), mode=mode, words=Alike(), speech=speech, k=2, victim=moody(scores))
        assert outcome.text == (final,)


def test_the_first_candidate_that_flips_ends_the_attack_or_the_one_of_lowest_probability():
    speech = Fixed(proposals={"bad": ["good", "fine"]})
    scores = {"bad so": 0.9, "good so": 0.4, "fine so": 0.2, "[UNK] so": 0.5}
    found = {
        name: attacked(("bad so",), mode=mode, words=Alike(), speech=speech, k=2, victim=moody(scores, 0.9))[
            0
        ]
        for name, mode in MODES.items()
    }
    assert {name: outcome.text[0] for name, outcome in found.items()} == {
        "authors": "good so", "exact": "good so", "textattack": "fine so",
    }  # fmt: skip
    # the text, the probed words (both, but the last for the authors), candidates up to the first that flips or all
    assert {name: outcome.queries for name, outcome in found.items()} == {
        "authors": 1 + 1 + 1, "exact": 1 + 2 + 1, "textattack": 1 + 2 + 2,
    }  # fmt: skip


def test_a_candidate_unlike_the_word_is_refused_where_both_are_known():
    speech = Fixed(proposals={"wb": ["wc", "ve"]}, k=2)
    assert Toy().alike("wb", "wc") < 0.4
    assert Toy().alike("wb", "ve") is None
    for cosine, tried in ((0.4, ["ve x"]), (None, ["wc x", "ve x"]), (0.3, ["wc x", "ve x"])):
        mode = dataclasses.replace(AUTHORS, cosine=cosine)
        _, asked = attacked(("wb x",), mode=mode, speech=speech, k=2, victim=moody({}))
        assert [text for (text,) in asked[2:]] == tried


def test_k_is_the_candidates_of_a_word_and_most_the_words_tried():
    speech = Fixed(proposals={"a": ["b", "c", "d"], "e": ["f", "g", "h"]})
    scores = {"[UNK] e x": 0.7, "a [UNK] x": 0.6}

    def tried(**numbers):
        _, asked = attacked(
            ("a e x",), mode=AUTHORS, words=Alike(), speech=speech, victim=moody(scores), **numbers
        )
        return [text for (text,) in asked[3:]]

    assert tried(k=1) == ["a f x", "b f x"]  # of equals the last tried stays in the text
    assert tried(k=3) == ["a f x", "a g x", "a h x", "b h x", "c h x", "d h x"]
    assert tried(k=3, most=1) == ["a f x", "a g x", "a h x"]


def test_a_least_logit_leaves_out_what_is_less_likely():
    speech = Fixed(proposals={"a": ["b", "c", "d"]})
    choosy = dataclasses.replace(AUTHORS, threshold=2.0)
    _, asked = attacked(("a x",), mode=choosy, words=Alike(), speech=speech, k=3, victim=moody({}))
    assert asked[2:] == [("b x",), ("c x",)]


@pytest.mark.parametrize(("name", "most"), [("authors", 5), ("textattack", 4), ("exact", 5)])
def test_no_more_than_forty_percent_of_the_words_are_changed(name, most):
    """10 words, of which each falls by its replacement: int(4.0) and one more, or ceil(4.0)."""
    names = "abcdefghij"
    speech = Fixed(proposals={name: [f"n{name}"] for name in names}, k=1, max_length=20)

    def falling(texts):
        values = [0.9 - 0.01 * sum(word[0] == "n" for word in text[0].split()) for text in texts]
        return np.array([(value, 1 - value) for value in values])

    outcome, _ = attacked(
        (" ".join(names),), mode=MODES[name], words=Alike(), speech=speech, k=1, victim=falling
    )
    assert outcome.changed == most


def test_the_text_is_read_once_or_at_every_step():
    for name, times in (("authors", 1), ("exact", 1), ("textattack", 3)):
        speech = Fixed(proposals={"a": ["b"], "c": ["d"]}, k=1)
        attacked(
            ("a c x",), mode=MODES[name], words=Alike(), speech=speech, k=1, victim=moody({"b c x": 0.7})
        )
        assert len(speech.asked) == times


def test_of_a_pair_one_column_is_attacked():
    speech = Fixed(proposals={"a": ["b"]}, k=1)
    for mode in MODES.values():
        outcome, asked = attacked(
            ("a q", "a x"), column=1, mode=mode, words=Alike(), speech=speech, k=1, victim=moody({"b x": 0.1})
        )
        assert outcome.text == ("a q", "b x")
        assert {first for first, _ in asked} == {"a q"}


def test_more_candidates_than_the_language_model_gives_are_refused():
    with pytest.raises(ValueError, match="bertattack: k 7; the language model gives 1 to 6 pieces"):
        attacked(("wa",), mode=AUTHORS, k=7)


def test_the_table_tells_the_modes_apart():
    table = bertattack.modes_table()
    assert list(table.columns) == list(MODES)
    assert len(table) == len(dataclasses.fields(bertattack.Mode)) + 1
    assert table.loc["stop words", "textattack"] == "NLTK's 179"
    assert not table.map(lambda said: "None" in said).any(axis=None)
    same = table[table["authors"] == table["exact"]].index
    assert len(table) - len(same) == 5  # last word, cut words, combinations, aliasing; and so the queries


# --- words that are alike ---


def test_alike_are_the_words_of_a_set():
    words = lexica.Words()
    word, near = next((word, words.neighbours(word)) for word in lexica.vocabulary("micro"))
    other = next(one for one in lexica.vocabulary("micro") if one not in (word, *near))
    assert [words.alike(word, one) for one in (word, *near, other)] == [1.0, *[1.0] * len(near), 0.0]
    assert words.alike(word, "zzz") is words.alike("zzz", word) is words.alike("zzz", "zzz") is None


def test_alike_by_the_scored_table_are_listed_neighbours_either_way(tmp_path):
    (tmp_path / "lexica").mkdir()
    vectors = tmp_path / "vectors.txt"
    angles = {"a": 0, "b": 20, "c": 45, "d": 180}
    lines = [f"{name} {math.cos(math.radians(x))} {math.sin(math.radians(x))}" for name, x in angles.items()]
    vectors.write_text("\n".join(lines) + "\n")
    lexica.build(vectors, tmp_path, most=1)  # a: b, b: a, c: b, d: c
    words = lexica.Words(str(tmp_path))
    assert words.alike("a", "b") == pytest.approx(math.cos(math.radians(20)))
    assert words.alike("b", "c") == words.alike("c", "b") == pytest.approx(math.cos(math.radians(25)))
    assert (words.alike("a", "c"), words.alike("a", "a"), words.alike("a", "z")) == (0.0, 1.0, None)


def test_the_stop_words_of_nltk():
    words = lexica.Words().nltk_stop_words
    assert len(words) == 179
    assert {"the", "don't", "won"} <= words
    assert "cannot" in lexica.Words().stop_words - words


# --- on models ---

TINY = models.Encoder("micro-tiny")
SPLIT = data.Split("imdb", "imdb/train", "micro", size=1000)
ATTACKED = data.Split("imdb", "imdb/test", "micro", size=12)
RECIPE = train.Recipe(epochs=3, learning_rate=1e-3, batch_size=16, max_length=64)


@pytest.fixture(scope="module")
def trained():
    return methods.finetuned(encoder=TINY, split=SPLIT, recipe=RECIPE, seed=0)


def bert_attacked(trained, **other):
    return methods.bert_attacked(
        **{
            "model": copy.deepcopy(trained), "encoder": TINY, "attacker": TINY.masked_lm(seed=None),
            "attacker_encoder": TINY, "split": ATTACKED, "words": lexica.Words(), "mode": "exact", "k": 8,
            "max_length": 64,
        } | other
    )  # fmt: skip


def test_the_frame_is_that_of_any_attack(trained):
    frame = bert_attacked(trained, filtered=False)
    plain = methods.attacked(
        model=copy.deepcopy(trained), encoder=TINY, split=ATTACKED, words=lexica.Words(), mode="authors",
        max_length=64,
    )  # fmt: skip
    assert list(frame.columns) == list(plain.columns)
    same = ["id", "gold", "words", "text"]
    pd.testing.assert_frame_equal(frame[same], plain[same])
    assert (frame["status"] == "skipped").equals(plain["status"] == "skipped")
    assert "success" in set(frame["status"])
    tokenizer = TINY.tokenizer()
    for row in frame[frame["status"] == "success"].itertuples():
        inputs = tokenizer(row.rewritten, return_tensors="pt", truncation=True)
        with torch.inference_mode():
            said = models.labels(trained)[trained(**inputs).logits.argmax()]
        assert said != row.gold


@pytest.mark.parametrize("name", list(MODES))
def test_batches_of_any_size_give_the_same_frame(trained, name):
    whole, small = (bert_attacked(trained, mode=name, k=4, tokens=tokens) for tokens in (8192, 50))
    pd.testing.assert_frame_equal(whole, small)


def test_with_the_filter_words_become_like_words_alone(trained):
    def unlike(frame):
        pairs = [
            pair
            for row in frame.itertuples()
            for pair in zip(row.text.split(), row.rewritten.split(), strict=True)
            if pair[0] != pair[1]
        ]
        assert pairs
        return [pair for pair in pairs if lexica.Words().alike(*pair) == 0]

    assert unlike(bert_attacked(trained, filtered=False))
    assert not unlike(bert_attacked(trained, filtered=True))
