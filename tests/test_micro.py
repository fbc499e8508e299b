"""The micro world as a data directory: the same bytes everywhere, the stated balance, cues of the stated strength."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robust_lib import metrics, micro
from robust_lib.micro import cues, frames, grammar, inference, words

DIGESTS = json.loads((Path(__file__).parent / "micro_digests.json").read_text())


def digest(rows: pd.DataFrame) -> str:
    return hashlib.sha256(rows.to_json(orient="records").encode()).hexdigest()


@pytest.mark.parametrize("path", frames.RECIPES)
def test_frames_are_the_same_bytes_on_every_machine(path: str) -> None:
    assert digest(micro.frame(path, 300, seed=0)) == DIGESTS[path]


@pytest.mark.parametrize(
    "path", ["mnli/train", "hans/validation", "fever/dev", "paws_wiki/test", "squad/train_v2"]
)
def test_a_larger_frame_only_adds_rows_and_a_seed_changes_them(path: str) -> None:
    small, large, other = micro.frame(path, 50), micro.frame(path, 120), micro.frame(path, 50, seed=1)
    pd.testing.assert_frame_equal(small, large.head(50))
    assert not small.equals(other)


@pytest.mark.parametrize("path", frames.RECIPES)
def test_default_sizes(path: str) -> None:
    assert len(micro.frame(path)) == frames.RECIPES[path].size


@pytest.mark.parametrize(
    ("path", "label", "share"),
    [
        ("mnli/train", "entailment", 1 / 3),
        ("mnli/validation_mismatched", "neutral", 1 / 3),
        ("fever/train", "REFUTES", 1 / 3),
        ("fever_symmetric/v1_full", "SUPPORTS", 1 / 2),
        ("qqp/train", "duplicate", 0.37),
        ("paws_qqp/dev_and_test", "duplicate", 0.28),
        ("paws_wiki/test", "duplicate", 0.44),
        ("sst2/train", "positive", 1 / 2),
        ("imdb/test", "positive", 1 / 2),
    ],
)
def test_class_balance(path: str, label: str, share: float) -> None:
    rows = micro.frame(path)
    allowed = 4 * np.sqrt(share * (1 - share) / len(rows))
    assert abs((rows["label"] == label).mean() - share) < allowed


def test_the_challenge_set_is_balanced_by_heuristic_and_label() -> None:
    rows = micro.frame("hans/validation")
    assert set(rows.groupby(["heuristic", "label"]).size()) == {400}
    assert set(rows["subcase"]) == set(inference.SUBCASES)
    assert rows.groupby("subcase").size().min() >= 60


def test_unanswerable_questions() -> None:
    empty = micro.frame("squad/train_v2")["answers"].map(lambda answers: not answers["text"])
    assert abs(empty.mean() - 0.33) < 0.03


def test_the_second_domain_uses_other_words() -> None:
    first, second = (set(" ".join(micro.frame(f"mnli/validation_{which}")["premise"]).replace(".", " ").split())
                     for which in ("matched", "mismatched"))  # fmt: skip
    nouns = set(words.CLASS_OF)
    assert 0.3 < len(second & nouns - first) / len(second & nouns) < 0.7


def test_hard_items_are_those_a_hypothesis_only_classifier_gets_wrong() -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    train, test = micro.frame("mnli/train", frames.HARD_TRAINING_SIZE), micro.frame("mnli/validation_matched")
    bag = CountVectorizer(ngram_range=(1, 2), binary=True)
    model = MultinomialNB().fit(bag.fit_transform(train["hypothesis"]), train["label"])
    wrong = model.predict(bag.transform(test["hypothesis"])) != test["label"]
    assert (test["hard"] == wrong).all()
    assert 0.2 < test["hard"].mean() < 0.6


@pytest.mark.parametrize(
    ("task", "path", "low", "high"),
    [
        ("mnli", "mnli/validation_matched", 0.70, 0.85),
        ("mnli", "hans/validation", 0.45, 0.55),
        ("fever", "fever/dev", 0.62, 0.80),
        ("fever", "fever_symmetric/v1_full", 0.30, 0.50),
        ("fever", "fever_symmetric/v1_generated", 0.20, 0.40),
        ("qqp", "qqp/validation", 0.68, 0.85),
        ("qqp", "paws_qqp/dev_and_test", 0.15, 0.50),
        ("qqp", "paws_wiki/test", 0.10, 0.50),
    ],
)
def test_cues_help_in_distribution_and_mislead_on_the_challenge(
    task: str, path: str, low: float, high: float
) -> None:
    found = cues.predicted(task=task, path=path, train_size=5000)
    assert low <= metrics.correct(found).mean() <= high


def test_a_bias_strength_is_the_share_it_says() -> None:
    for share in (0.9, 0.1):
        rows = micro.frame("mnli/train", 3000, overlap=share)
        entailed = rows[rows["label"] == "entailment"]
        pairs = zip(entailed["premise"], entailed["hypothesis"], strict=True)
        overlapping = np.mean([cues.inference(premise, hypothesis)[0] == 1 for premise, hypothesis in pairs])
        assert abs(overlapping - share) < 0.15, (share, overlapping)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "mnli/dev"}, "no split 'mnli/dev'"),
        ({"path": "mnli/train", "size": 0}, "size of mnli/train is 0"),
        ({"path": "mnli/train", "scrambled": 0.1}, "no bias 'scrambled'"),
        ({"path": "mnli/train", "overlap": 1.2}, "overlap of mnli/train is 1.2"),
    ],
)
def test_refusals(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        micro.frame(**arguments)  # type: ignore[arg-type]


def test_synonymy_is_symmetric_and_keeps_meaning() -> None:
    for word in words.lexicon():
        others = micro.synonyms(word)
        assert word not in others
        assert all(word in micro.synonyms(other) for other in others)
        assert len({words.POLARITY.get(each) for each in (word, *others)}) == 1
        assert len({words.SENSE.get(each) for each in (word, *others)}) == 1
    assert micro.synonyms("zebra") == []


def test_words_have_one_meaning() -> None:
    groups = [words.FUNCTION, words.PREPOSITIONS, words.NOUNS, *words.NOUNS.values(), *words.TRANSITIVE,
              *words.INTRANSITIVE, words.ADJECTIVES, words.NAMES, words.CITIES, *words.CITIES.values(),
              *words.RELATIONS, *words.POSITIVE, *words.NEGATIVE, words.LIKED, words.DISLIKED, *words.FILMS,
              *words.ASPECTS, *words.DEGREES, words.OPINION_FUNCTION]  # fmt: skip
    every = [word for group in groups for word in group]
    assert len(every) == len(set(every)) == len(words.lexicon())


def test_a_scene_denies_and_leaves_open() -> None:
    fact = grammar.Fact("called", "baker", "dog")
    scene = grammar.Scene("no baker called the dog", {fact: False})
    asked = inference.Hypothesis("the worker phoned the animal", grammar.Fact("phoned", "worker", "animal"))
    assert inference.label(scene, asked) == "contradiction"
    doubtful = grammar.Scene("perhaps the baker called the dog", {}, (fact,))
    assert inference.label(doubtful, asked) == "neutral"
    assert inference.label(doubtful, inference.hedge(fact)) == "entailment"
