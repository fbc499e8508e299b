"""The resources of an attack: neighbours, parts of speech, similarity, their doctor."""

import json
import os
import pickle
from itertools import pairwise
from pathlib import Path

import nltk
import numpy as np
import pandas as pd
import pytest
import torch
from nltk.tag.perceptron import PerceptronTagger

from robust_lib import models, runs
from robust_lib.attack import __main__ as command_line
from robust_lib.attack import doctor, lexica, similarity, tagging
from robust_lib.attack.lexica import Words
from robust_lib.attack.tagging import ResourceError
from robust_lib.micro import words as world

real = pytest.mark.skipif("ROBUST_DATA" not in os.environ, reason="ROBUST_DATA names no data")
SENTENCES = [
    [("the", "DT"), ("dog", "NN"), ("barks", "VBZ"), (".", ".")],
    [("a", "DT"), ("quick", "JJ"), ("bark", "NN"), ("ended", "VBD"), ("it", "PRP"), (".", ".")],
    [("dogs", "NNS"), ("bark", "VBP"), ("quickly", "RB"), ("``", "``"), ("x", "XX")],
]
MAP = "NN\tNOUN\nNNS\tNOUN\nDT\tDET\nVBZ\tVERB\nVBD\tVERB\nVBP\tVERB\nJJ\tADJ\nPRP\tPRON\nRB\tADV\n.\t.\n``\t.\n"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a list of neighbours and a small tagger trained here."""
    monkeypatch.delenv("NLTK_DATA", raising=False)
    (tmp_path / "lexica").mkdir()
    (tmp_path / lexica.LIST).write_text(json.dumps({"dog": ["hound", "puppy"], "fast": ["quick"]}))
    tagger = PerceptronTagger(load=False)
    tagger.train(SENTENCES * 5)
    folder = tmp_path / "lexica" / "nltk_data"
    for name, part in zip(tagging.FILES, tagger.encode_json_obj(), strict=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(part))
    (folder / tagging.UNIVERSAL).parent.mkdir(parents=True)
    (folder / tagging.UNIVERSAL).write_text(MAP)
    return tmp_path


def write_vectors(file: Path, vectors: np.ndarray, *, names: list[str] | None = None) -> Path:
    names = names or [f"word{row}" for row in range(len(vectors))]
    lines = [f"{name} {' '.join(f'{x:.6f}' for x in row)}" for name, row in zip(names, vectors, strict=True)]
    file.write_text("\n".join(lines) + "\n")
    return file


# --- neighbours ---


def test_micro_neighbours_are_the_rest_of_the_set_in_its_order():
    words = Words()
    assert words.neighbours("fine") == ("good", "decent", "solid")
    assert words.neighbours("good", most=2, cosine=0.9) == ("fine", "decent")
    assert words.neighbours("dog") == ()
    for one in world.SYNONYM_SETS:
        for word in one:
            assert set(words.neighbours(word)) == set(one) - {word} == set(world.synonyms(word))


def test_micro_synonyms_share_a_part_of_speech_and_every_word_has_one():
    for one in world.SYNONYM_SETS:
        assert len(set(tagging.micro_tags(one))) == 1
    assert "X" not in tagging.micro_tags(tuple(world.lexicon()))
    assert tagging.micro_tags(("the", "Dog", "chased", "zzz", ".", "''")) == (
        "DET",
        "NOUN",
        "VERB",
        "X",
        ".",
        ".",
    )


def test_the_list_has_no_cosines(directory: Path):
    words = Words(str(directory))
    assert words.neighbours("dog", cosine=0.99) == ("hound", "puppy")
    assert words.neighbours("dog", most=1) == ("hound",)
    assert words.neighbours("Dog") == ()


def test_the_table_comes_before_the_list_and_has_cosines(directory: Path):
    vectors = np.array([[1, 0], [0.9, 0.1], [0.5, 0.5], [-1, 0]])
    file = write_vectors(directory / "v.txt", vectors, names=["dog", "hound", "wolf", "cat"])
    assert lexica.build(file, directory, most=3) == directory / lexica.TABLE
    words = Words(str(directory))
    assert words.neighbours("dog") == ("hound", "wolf")  # the minimum is 0 where none is given
    assert words.neighbours("dog", cosine=-1) == ("hound", "wolf", "cat")
    assert words.neighbours("dog", cosine=np.sqrt(0.5) + 1e-3) == ("hound",)
    assert words.neighbours("fast") == ()


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_table_is_what_all_comparisons_give(tmp_path: Path, block: int):
    vectors = np.random.default_rng(0).normal(size=(40, 6))
    lexica.build(write_vectors(tmp_path / "v.txt", vectors), tmp_path, most=5, block=block)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    words = Words(str(tmp_path))
    for row in range(len(vectors)):
        near = sorted((k for k in range(len(vectors)) if k != row), key=lambda k: -unit[row] @ unit[k])[:5]
        assert words.neighbours(f"word{row}", cosine=-1) == tuple(f"word{k}" for k in near)
        least = unit[row] @ unit[near[2]]
        assert len(words.neighbours(f"word{row}", cosine=least - 1e-5)) == 3


def test_equal_cosines_keep_the_order_of_the_file(tmp_path: Path):
    vectors = np.array([[1.0, 0], [0, 1], [0, 2], [0, 3], [1, 1]])
    lexica.build(write_vectors(tmp_path / "v.txt", vectors), tmp_path, most=4)
    words = Words(str(tmp_path))
    assert words.neighbours("word2") == (
        "word1",
        "word3",
        "word4",
        "word0",
    )  # not itself, though others are at 1 too
    assert words.neighbours("word1", most=1) == ("word2",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no lines"),
        ("a 1 2\nb 1 x\n", "line 2: not a word and numbers"),
        ("a 1 2\nb 1\n", "line 2: 'b' stands there with 1 numbers.*2 numbers"),
        ("a 1 2\na 2 1\n", "line 2: 'a'"),
        ("a 1 2\nb 0 0\n", "not all zero"),
        ("a\n", "line 1: 'a' stands there with 0 numbers"),
        ("a 1 2\nb 2 1\n", "2 words, too few for 50 neighbours"),
    ],
)
def test_vectors_of_another_form_are_named(tmp_path: Path, text: str, message: str):
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(ResourceError, match=f"v.txt.*{message}"):
        lexica.build(tmp_path / "v.txt", tmp_path)
    assert not (tmp_path / lexica.TABLE).exists()


def test_missing_and_damaged_neighbours_are_named(tmp_path: Path):
    words = Words(str(tmp_path))
    with pytest.raises(
        ResourceError, match=r"counterfitted_top50.parquet: no such file, nor .*json.* build VECTORS"
    ):
        words.neighbours("dog")
    (tmp_path / "lexica").mkdir()
    (tmp_path / lexica.LIST).write_text('{"dog": ')
    with pytest.raises(ResourceError, match=r"neighbors.json: not readable as JSON"):
        words.neighbours("dog")
    (tmp_path / lexica.LIST).write_text('{"dog": "hound"}')
    with pytest.raises(ResourceError, match="not an object of word to list of words"):
        words.neighbours("dog")
    (tmp_path / lexica.TABLE).write_bytes(b"PAR1 but not really")
    with pytest.raises(ResourceError, match=r"top50.parquet: not a table of neighbours"):
        words.neighbours("dog")


def test_stop_words():
    assert len(Words().stop_words) == 266
    assert {"the", "won't", "yourselves", "empty"} <= Words().stop_words
    assert not {"The", "film", "", "#"} & Words().stop_words


# --- as an argument of a unit ---


def reads(words: Words) -> int:
    return len(words.source)


def test_words_are_an_argument_of_a_unit_by_their_content(directory: Path):
    words = Words(str(directory))
    assert pickle.loads(pickle.dumps(words)) == words
    assert hash(words) == hash(Words(str(directory)))
    assert runs.Unit(reads, {"words": words}) == runs.Unit(reads, {"words": Words(str(directory))})
    different = [
        Words(),
        words,
        Words(str(directory), threshold=0.9),
        Words(str(directory), sentences=models.Encoder("micro-tiny")),
    ]
    prints = [one.fingerprint() for one in different]
    (directory / lexica.LIST).write_text(json.dumps({"dog": ["hound"]}))
    prints.append(words.fingerprint())
    tags = directory / "lexica" / "nltk_data" / tagging.UNIVERSAL
    tags.write_text(MAP.replace("ADV", "ADJ"))
    prints.append(words.fingerprint())
    assert len(set(prints)) == 6
    assert words.neighbours("dog") == ("hound",)  # the file's new version


# --- spacing ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the dog barked.", "the dog barked ."),
        ("I can't see it, can you?", "I ca n't see it , can you ?"),
        ("She's won 1,634.50 (or 5%) at 9:00 p.m. in U.S. courts!",
         "She 's won 1,634.50 ( or 5 % ) at 9:00 p.m. in U.S. courts !"),
        ("well-known o'clock R&D and/or", "well-known o'clock R&D and/or"),
        ('"Mr. Reed\'s," he said...', '" Mr. Reed \'s , " he said ...'),
        ("away--or not; I cannot say: $98", "away -- or not ; I can not say : $ 98"),
        ("princes' fortunes in the '90s", "princes ' fortunes in the '90s"),
        ("WASN'T", "WAS N'T"),
        ("", ""),
        ("  two   spaces ", "two spaces"),
        ("they 're here , at St. Paul 's ( -LRB- 3 -RRB- ) .", "they 're here , at St. Paul 's ( -LRB- 3 -RRB- ) ."),
    ],
)  # fmt: skip
def test_spaced(text: str, expected: str):
    assert lexica.spaced(text) == expected
    assert lexica.spaced(expected) == expected


@real
@pytest.mark.real
def test_spaced_leaves_the_published_sets_and_makes_nearly_them_of_raw_texts():
    data = Path(os.environ["ROBUST_DATA"])
    published = pd.concat(
        pd.read_parquet(data / f"attack_sets/{name}.parquet")[column]
        for name in ("mnli_matched", "mnli_mismatched")
        for column in ("premise", "hypothesis")
    )
    assert (published.map(lexica.spaced) != published.str.split().str.join(" ")).sum() <= 5
    signs = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "``": '"', "''": '"', "`": "'"}
    plain = published.str.split().map(lambda words: " ".join(signs.get(word, word) for word in words))
    raw = pd.read_parquet(data / "mnli/validation_matched.parquet")["hypothesis"].map(lexica.spaced)
    by_letters = dict(zip(raw.str.replace(" ", ""), raw, strict=True))
    pairs = [(text, by_letters[key]) for text in plain if (key := text.replace(" ", "")) in by_letters]
    assert len(pairs) > 800
    assert sum(one == other for one, other in pairs) > 0.97 * len(pairs)


# --- parts of speech ---


def test_tags_are_nltks(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nltk.data, "path", [str(directory / "lexica" / "nltk_data")])
    words = Words(str(directory))
    for sentence in (*SENTENCES, [("unseen", ""), ("dog", ""), ("1999", ""), ("x-ray", "")]):
        tokens = tuple(word for word, _ in sentence)
        mapping = dict(line.split("\t") for line in MAP.splitlines())
        expected = [mapping.get(tag, "X") for _, tag in PerceptronTagger().tag(list(tokens))]
        assert list(words.tags(tokens)) == expected
    assert words.tags(()) == ()


@real
@pytest.mark.real
def test_tags_are_pos_tags_on_real_text(monkeypatch: pytest.MonkeyPatch):
    data = Path(os.environ["ROBUST_DATA"])
    monkeypatch.setattr(nltk.data, "path", [str(data / "lexica" / "nltk_data")])
    words = Words(str(data))
    for text in pd.read_parquet(data / "attack_sets/mnli_matched.parquet")["hypothesis"].head(100):
        tokens = tuple(text.split())
        assert list(words.tags(tokens)) == [tag for _, tag in nltk.pos_tag(tokens, tagset="universal")]


def test_a_missing_tagger_is_named_with_the_remedy(directory: Path, monkeypatch: pytest.MonkeyPatch):
    place = directory / "lexica" / "nltk_data" / tagging.WEIGHTS
    elsewhere = directory / "elsewhere"
    (elsewhere / tagging.WEIGHTS).parent.mkdir(parents=True)
    place.rename(elsewhere / tagging.WEIGHTS)
    words = Words(str(directory))
    with pytest.raises(ResourceError, match=r"weights.json: no such file, nor in NLTK_DATA.*nltk.downloader"):
        words.tags(("no", "tagger"))
    with pytest.raises(ResourceError, match=r"weights.json"):
        words.fingerprint()
    monkeypatch.setenv("NLTK_DATA", f"/nowhere{os.pathsep}{elsewhere}")
    assert words.tags(("the", "dog")) == ("DET", "NOUN")
    (elsewhere / tagging.WEIGHTS).write_text("{")
    tagging._tagger.cache_clear()
    with pytest.raises(ResourceError, match=r"elsewhere.*weights.json: not readable as JSON"):
        words.tags(("damaged", "tagger"))


# --- similarity ---

TEXTS = [("the dog chased the cat .",), ("a film",), ("the dog followed the cat .",), ("",)]


def test_vectors_are_the_mean_of_the_last_states():
    encoder = models.Encoder("micro-tiny")
    before = torch.random.get_rng_state()
    oracle = similarity.sentences(encoder)
    assert torch.equal(before, torch.random.get_rng_state())
    rows = oracle(TEXTS)
    model, tokenizer = encoder.classifier(["unused"], seed=1).base_model.eval(), encoder.tokenizer()
    for text, row in zip(TEXTS, rows, strict=True):
        with torch.inference_mode():
            mean = model(**tokenizer(text[0], return_tensors="pt")).last_hidden_state[0].mean(dim=0)
        assert row == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_text_has_one_vector_whoever_asks_and_it_is_made_once(monkeypatch: pytest.MonkeyPatch):
    similarity.sentences.cache_clear()
    oracle = similarity.sentences(models.Encoder("micro-tiny"))
    first = oracle(TEXTS)
    assert similarity.sentences(models.Encoder("micro-tiny")) is oracle
    monkeypatch.setattr(oracle.oracle, "_forward", lambda *_: pytest.fail("asked again"))
    assert np.array_equal(oracle([TEXTS[2], TEXTS[0], TEXTS[2]]), first[[2, 0, 2]])
    assert list(oracle.lengths(TEXTS)) == [1, 1, 1, 1]
    monkeypatch.undo()
    assert list(oracle.lengths([TEXTS[1], ("a dog",)])) == [1, 4]
    similarity.sentences.cache_clear()
    alone = similarity.sentences(models.Encoder("micro-tiny"))
    assert np.array_equal(np.concatenate([alone([text]) for text in TEXTS]), first)


def test_only_so_many_vectors_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(similarity, "KEPT", 2)
    similarity.sentences.cache_clear()
    oracle = similarity.sentences(models.Encoder("micro-tiny"))
    assert len(oracle(TEXTS)) == 4
    assert list(oracle.known) == TEXTS[2:]
    similarity.sentences.cache_clear()


OPINIONS = ["the film was good .", "i loved the dull story .", "the cast is superb", "no synonym here"]


class Seeing:
    """Unit vectors that know how alike two texts of one place are: `closeness(word)` for each word of its own."""

    def __init__(self, closeness):
        self.closeness = closeness

    def __call__(self, texts):
        angles = [min(self.closeness(word) for word in text[0].split()) for text in texts]
        return np.array([(c, np.sqrt(1 - c * c)) for c in angles])


def test_calibration_of_an_encoder_that_tells_all_apart_and_of_one_that_tells_nothing():
    seeing = Seeing(lambda word: 1.0 if word in ("this", "is", "good", *Words().neighbours("good")) else 0.5)
    found = similarity.calibrated(seeing, ["this is good"] * 27, words=Words(), seed=0)
    assert (found.accepted, found.refused, found.texts) == (1.0, 1.0, 27)
    assert found.threshold == pytest.approx(1.0)
    blind = similarity.calibrated(Seeing(lambda _: 1.0), OPINIONS, words=Words(), seed=0)
    assert blind == similarity.Calibration(1.0, accepted=1.0, refused=0.0, texts=3)


def test_calibration_is_the_best_of_all_thresholds():
    rows = {}

    def noisy(texts):
        made = np.random.default_rng(1)
        for text in texts:
            rows.setdefault(text, made.normal(size=3) + np.array([2, 0, 0]))
        vectors = np.array([rows[text] for text in texts])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    answered = []

    def heard(texts):
        answered.append(noisy(texts))
        return answered[-1]

    found = similarity.calibrated(heard, OPINIONS * 10, words=Words(), seed=3)
    original, synonym, other = answered
    near, far = (original * synonym).sum(axis=1), (original * other).sum(axis=1)
    best = max((near >= t).mean() + (far < t).mean() for t in (*near, *far))
    assert found.accepted + found.refused == pytest.approx(best)
    assert found.accepted == (near >= found.threshold).mean()
    assert found.refused == pytest.approx((far < found.threshold).mean())
    answered.clear()
    assert similarity.calibrated(heard, OPINIONS * 10, words=Words(), seed=3) == found
    with pytest.raises(ValueError, match="none of 1 texts has a word with synonyms"):
        similarity.calibrated(noisy, ["no synonym here"], words=Words(), seed=0)


def test_substitutions_are_one_word_in_a_window():
    heard = []
    oracle = Seeing(lambda _: 1.0)

    def listening(texts):
        heard.append([text[0].split() for text in texts])
        return oracle(texts)

    long = " ".join(["x"] * 20 + ["good"] + ["y"] * 20)
    similarity.calibrated(listening, [long, "good"], words=Words(), seed=0)
    (original, short), (synonym, _), (other, _) = heard
    assert original == ["x"] * 7 + ["good"] + ["y"] * 7
    assert short == ["good"]
    assert synonym[7] in Words().neighbours("good")
    assert other[7] not in ("good", *Words().neighbours("good"))
    assert all(one[:7] + one[8:] == original[:7] + original[8:] for one in (synonym, other))


# --- doctor and command line ---


def test_the_doctor_finds_the_micro_world_complete(capsys: pytest.CaptureFixture[str]):
    assert command_line.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "stop words: 266 words" in out
    assert "MISSING" not in out
    assert out.count("sha256") == 3


def test_the_doctor_lists_a_data_directory_and_what_is_missing(
    directory: Path, capsys: pytest.CaptureFixture[str]
):
    assert command_line.main(["doctor", "--source", str(directory)]) == 0
    out = capsys.readouterr().out
    assert "synonyms with cosines: not there, not needed" in out
    assert "synonyms without cosines: 2 words" in out
    assert lexica.sha256(directory / lexica.LIST)[:12] in out
    (directory / lexica.LIST).unlink()
    (directory / "lexica" / "nltk_data" / tagging.UNIVERSAL).unlink()
    assert command_line.main(["doctor", "--source", str(directory)]) == 1
    lines = capsys.readouterr().out.splitlines()
    missing = [(name, remedy) for name, remedy in pairwise(lines) if name.endswith("MISSING")]
    assert [name for name, _ in missing] == [
        "synonyms with cosines: MISSING",
        "synonyms without cosines: MISSING",
        "parts of speech, en-ptb.map: MISSING",
    ]
    assert "build VECTORS DIR" in missing[0][1]
    assert "nltk.downloader" in missing[2][1]
    (directory / lexica.LIST).write_text("{")
    assert any("not readable as JSON" in str(one) for one in doctor.resources(str(directory)))
    assert command_line.main(["doctor", "--source", str(directory)]) == 1


def test_build_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = write_vectors(tmp_path / "v.txt", np.random.default_rng(0).normal(size=(60, 4)))
    assert command_line.main(["build", str(file), str(tmp_path)]) == 0
    assert str(tmp_path / lexica.TABLE) in capsys.readouterr().out
    assert len(Words(str(tmp_path)).neighbours("word0", cosine=-1)) == 50
    assert command_line.main(["build", str(tmp_path / "none.txt"), str(tmp_path)]) == 1
    assert "none.txt" in capsys.readouterr().err
