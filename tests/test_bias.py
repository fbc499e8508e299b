"""Bias-only models: form, what they can and cannot read, a slow reference, and the real and micro hard subsets."""

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from robust_lib import bias, compare, data, metrics, models

NLI = metrics.NLI
REAL = os.environ.get("ROBUST_DATA", "")
MNLI = [Path(REAL) / "mnli" / f"{name}.parquet" for name in ("train_subset", "validation_matched")]
HANS = Path(REAL) / "hans" / "validation.parquet"
MICRO = models.Encoder("micro-base").vectors


def rows(texts: list[str], labels: list[str], column: str = "hypothesis") -> pd.DataFrame:
    return pd.DataFrame({"premise": "any", column: texts, "label": labels})


CUES = rows(
    ["the cat sleeps", "a dog never sleeps", "the dog sleeps outside", "a cat never eats"] * 10,
    ["entailment", "contradiction", "neutral", "contradiction"] * 10,
)


def test_predictions_have_a_models_form() -> None:
    test = CUES.iloc[:4].set_axis([7, 3, 40, 12])
    predictions = bias.hypothesis_only(CUES, test)
    assert set(predictions.columns) == {"id", "gold", *(f"logit_{label}" for label in NLI)}
    assert predictions["id"].tolist() == [7, 3, 40, 12]
    assert predictions["gold"].tolist() == test["label"].tolist()
    logits = predictions.filter(like="logit_")
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1)
    assert metrics.correct(predictions).tolist() == [1, 1, 1, 1]


def ngrams(text: str) -> Iterator[str]:
    words = text.lower().split()
    yield from words
    yield from (f"{one} {two}" for one, two in pairwise(words))


def reference_hypothesis_only(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Softmax regression with a column for each n-gram, its penalised likelihood minimised without a gradient.

    Probabilities of the labels in alphabetical order.
    """
    names = sorted({gram for text in [*train["hypothesis"], *test["hypothesis"]] for gram in ngrams(text)})
    labels = sorted(set(train["label"]))

    def features(texts: "pd.Series[str]") -> np.ndarray:
        counts = np.array([[list(ngrams(text)).count(name) for name in names] for text in texts], dtype=float)
        return counts / np.sqrt((counts**2).sum(axis=1, keepdims=True))

    def log_probabilities(flat: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        weights, intercepts = np.split(flat.reshape(len(names) + 1, len(labels)), [len(names)])
        scores = inputs @ weights + intercepts
        return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)

    inputs, gold = features(train["hypothesis"]), [labels.index(label) for label in train["label"]]

    def objective(flat: np.ndarray) -> float:
        penalty = (flat[: len(names) * len(labels)] ** 2).sum() / 2
        return penalty / bias.C - log_probabilities(flat, inputs)[range(len(gold)), gold].sum()

    best = optimize.minimize(objective, np.zeros((len(names) + 1) * len(labels)), method="L-BFGS-B")
    return np.exp(log_probabilities(best.x, features(test["hypothesis"])))


def test_it_is_softmax_regression_on_words_and_pairs_of_words() -> None:
    test = rows(["the dog never eats", "a cat sleeps sleeps", "birds sleep"], ["neutral"] * 3)
    ours = bias.hypothesis_only(CUES, test)
    columns = [f"logit_{label}" for label in sorted(NLI)]
    np.testing.assert_allclose(np.exp(ours[columns]), reference_hypothesis_only(CUES, test), atol=2e-3)


def test_order_tells_through_bigrams_case_and_other_columns_tell_nothing() -> None:
    train = rows(["red cat", "cat red"] * 20, ["entailment", "neutral"] * 20)
    predictions = bias.hypothesis_only(train, train.iloc[:2])
    assert metrics.correct(predictions).tolist() == [1, 1]
    shouted = train.assign(hypothesis=train["hypothesis"].str.upper(), premise="other")
    pd.testing.assert_frame_equal(bias.hypothesis_only(train, shouted.iloc[:2]), predictions)


def test_a_contracted_negation_is_a_word() -> None:
    train = rows(["she isn't here", "she is here"] * 20, ["contradiction", "entailment"] * 20)
    asked = rows(["isn't", "is n t"], ["contradiction", "entailment"])
    assert metrics.correct(bias.hypothesis_only(train, asked)).tolist() == [1, 1]


def test_text_that_says_nothing_leaves_the_most_frequent_label() -> None:
    train = rows(["the same"] * 10, ["neutral"] * 5 + ["entailment"] * 3 + ["contradiction"] * 2)
    predictions = bias.hypothesis_only(train, train)
    assert set(metrics.predicted(predictions)) == {"neutral"}
    assert np.exp(predictions.loc[0, "logit_entailment"]) == pytest.approx(0.3, abs=0.01)


def test_the_order_of_training_rows_changes_nothing() -> None:
    shuffled = CUES.sample(frac=1, random_state=0)
    one, two = (bias.hypothesis_only(train, CUES).filter(like="logit_") for train in (CUES, shuffled))
    np.testing.assert_allclose(one, two, atol=1e-3)


def test_claims_are_read_from_their_own_column() -> None:
    claims = rows(["he never sang", "he sang"] * 10, ["REFUTES", "SUPPORTS"] * 10, column="claim")
    assert metrics.correct(bias.hypothesis_only(claims, claims, text="claim")).mean() == 1
    with pytest.raises(ValueError, match="train has no column hypothesis; it has premise, claim, label"):
        bias.hypothesis_only(claims, claims)


def directions(words: Sequence[str]) -> np.ndarray:
    """Unit vectors in the plane, by the number after a word's first letter in degrees; none for other words."""
    angles = [np.deg2rad(float(word[1:])) if word[1:].isdigit() else np.nan for word in words]
    return np.nan_to_num(np.array([[np.cos(a), np.sin(a)] for a in angles]).reshape(-1, 2)).astype(np.float32)


def reference_overlap(premise: str, hypothesis: str) -> list[float]:
    """The seven features one by one, with loops over words of letters and digits between single spaces."""
    p, h = premise.lower().split(), hypothesis.lower().split()
    run = any(p[start : start + len(h)] == h for start in range(len(p) - len(h) + 1))
    inside = [word for word in h if word in p]
    largest = []
    for word in h:
        cosines = [
            float(np.dot(directions([word])[0], directions([other])[0]))
            for other in p
            if directions([other]).any()
        ]
        if directions([word]).any() and cosines:
            largest.append(max(cosines))
    largest.sort()
    return [
        float(run),
        float(len(inside) == len(h)),
        len(inside) / len(h),
        np.log(len(p) - len(h)) if len(p) > len(h) else 0.0,
        sum(largest) / len(h),
        largest[0] if largest else 0.0,
        largest[1] if len(largest) > 1 else 0.0,
    ]


WORDS = ["a0", "b20", "C45", "d45", "e110", "f200", "none", "Other"]


@given(*[st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)] * 2)
@settings(max_examples=200, deadline=None)
def test_overlap_features_equal_the_reference(premise: str, hypothesis: str) -> None:
    ours = bias.overlap_features([premise], [hypothesis], vectors=directions)
    np.testing.assert_allclose(ours, [reference_overlap(premise, hypothesis)], atol=1e-6)


def test_overlap_features_of_known_pairs() -> None:
    pairs = {
        ("a0 b90 a0 c180 ?", "B90, a0!"): [1, 1, 1, np.log(2), 1, 1, 1],
        ("a0 b90 c180", "c180 a0"): [0, 1, 1, 0, 1, 1, 1],
        ("a0", "a0 x60 unread"): [0, 0, 1 / 3, 0, 1.5 / 3, 0.5, 1],
        ("a0 b0 c0", "x60"): [0, 0, 0, np.log(2), 0.5, 0.5, 0],
        ("unread", "a0"): [0, 0, 0, 0, 0, 0, 0],
        ("the a0s", "a0"): [0, 0, 0, 0, 0, 0, 0],  # a part of a word is no word
    }
    found = bias.overlap_features(*zip(*pairs, strict=True), vectors=directions)
    np.testing.assert_allclose(found, list(pairs.values()), atol=1e-6)


def test_texts_without_words_have_no_features_but_their_length() -> None:
    found = bias.overlap_features(["a0 b0 c0", "", "..."], ["", "a0", "?"], vectors=directions)
    np.testing.assert_allclose(found, [[0, 0, 0, np.log(3), 0, 0, 0], [0] * 7, [0] * 7], atol=1e-6)
    assert bias.overlap_features([], [], vectors=directions).shape == (0, 7)


def test_each_word_is_looked_up_once() -> None:
    asked: list[str] = []

    def recorded(words: Sequence[str]) -> np.ndarray:
        asked.extend(words)
        return directions(words)

    bias.overlap_features(["a0 b90", "a0"], ["b90", "A0 c1"], vectors=recorded)
    assert sorted(asked) == ["a0", "b90", "c1"]


def pairs(seed: int, labels: Sequence[str] = NLI, size: int = 300) -> pd.DataFrame:
    """Random pairs in which overlap makes the first label likelier; ids far from row numbers."""
    rng = np.random.default_rng(seed)
    texts = [[" ".join(rng.choice(WORDS, size)) for size in rng.integers(1, 7, 2)] for _ in range(size)]
    frame = pd.DataFrame(texts, columns=["premise", "hypothesis"], index=range(7000, 7000 + size))
    share = [reference_overlap(*row)[2] for row in texts]
    chosen = [labels[0] if rng.random() < p else str(rng.choice(labels[1:])) for p in share]
    return frame.assign(label=chosen)


def overlap(train: pd.DataFrame, test: pd.DataFrame, positive: str = "entailment") -> pd.DataFrame:
    return bias.overlap(train, test, text=("premise", "hypothesis"), positive=positive, vectors=directions)


def reference_logistic(inputs: np.ndarray, positive: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Log odds of logistic regression with balanced classes, its penalised likelihood minimised directly.

    The penalty takes in the intercept, as liblinear's does.
    """
    weights = np.where(positive, 1 / positive.mean(), 1 / (1 - positive.mean())) / 2
    inputs, asked = (np.column_stack([rows, np.ones(len(rows))]) for rows in (inputs, asked))

    def objective(coefficients: np.ndarray) -> float:
        signed = np.where(positive, 1, -1) * (inputs @ coefficients)
        return (coefficients**2).sum() / 2 + 100 * (weights * np.logaddexp(0, -signed)).sum()

    best = optimize.minimize(objective, np.zeros(inputs.shape[1]), method="L-BFGS-B", options={"ftol": 1e-14})
    return asked @ best.x


def test_overlap_is_balanced_logistic_regression_on_the_seven_features() -> None:
    train, test = pairs(0), pairs(1, size=40)
    features = [
        np.array([reference_overlap(*row) for row in frame[["premise", "hypothesis"]].to_numpy()])
        for frame in (train, test)
    ]
    odds = reference_logistic(features[0], (train["label"] == "entailment").to_numpy(), features[1])
    ours = overlap(train, test)
    assert ours["id"].tolist() == test.index.tolist()
    assert ours["gold"].tolist() == test["label"].tolist()
    np.testing.assert_allclose(np.exp(ours["logit_entailment"]), 1 / (1 + np.exp(-odds)), atol=2e-3)


@pytest.mark.parametrize("labels", [NLI, ("duplicate", "not_duplicate")])
def test_the_other_labels_share_the_rest_equally(labels: tuple[str, ...]) -> None:
    predictions = overlap(pairs(0, labels), pairs(1, labels), labels[0])
    probabilities = np.exp(predictions[[f"logit_{label}" for label in labels]])
    rest = (1 - probabilities[f"logit_{labels[0]}"]) / (len(labels) - 1)
    for label in labels[1:]:
        np.testing.assert_allclose(probabilities[f"logit_{label}"], rest, atol=1e-9)


def test_overlap_reads_neither_the_labels_of_the_test_nor_what_word_it_is() -> None:
    train, test = pairs(0), pairs(1)
    straight = overlap(train, test).drop(columns="gold")
    blind = test.assign(label="non-entailment")
    pd.testing.assert_frame_equal(overlap(train, blind).drop(columns="gold"), straight)
    renamed = {column: test[column].str.replace("a0", "z0") for column in ("premise", "hypothesis")}
    pd.testing.assert_frame_equal(overlap(train, test.assign(**renamed)).drop(columns="gold"), straight)


def test_equal_pairs_leave_the_positive_label_at_a_half() -> None:
    train = pd.DataFrame(
        {"premise": "a0 b90", "hypothesis": "a0", "label": ["neutral"] * 9 + ["entailment"] * 3}
    )
    np.testing.assert_allclose(np.exp(overlap(train, train)["logit_entailment"]), 0.5, atol=1e-3)


def test_overlap_that_tells_all_stays_finite() -> None:
    far = " ".join(["f200"] * 1000)
    train = pd.DataFrame({"premise": ["a0", "b90"] * 50, "hypothesis": "a0", "label": [*NLI[:2]] * 50})
    test = pd.DataFrame({"premise": [far, "a0"], "hypothesis": "b20", "label": NLI[0]})
    assert np.isfinite(overlap(train, test).filter(like="logit_")).all(axis=None)


def test_overlap_names_what_is_missing() -> None:
    train = pairs(0)
    with pytest.raises(ValueError, match="overlap: test has no column premise; it has hypothesis, label"):
        overlap(train, train.drop(columns="premise"))
    with pytest.raises(
        ValueError, match="overlap: no label of train is 'duplicate'; they are contradiction, "
    ):
        overlap(train, train, "duplicate")


def test_claim_is_softmax_regression_on_the_largest_values_over_the_words() -> None:
    """Where every claim's words stretch to one direction each, pooling is known: the larger cosine and sine."""
    claims = ["a0 b90", "A0", "b90 unread", "...", "a0 c180", "d30 e60"]
    pooled = [[1, 1], [1, 0], [0, 1], [0, 0], [1, 0], [np.cos(np.pi / 6), np.sin(np.pi / 3)]]
    labels = ["SUPPORTS", "REFUTES", "NOT ENOUGH INFO", "SUPPORTS", "REFUTES", "REFUTES"]
    frame = pd.DataFrame({"claim": claims * 5, "label": labels * 5})
    oracle = LogisticRegression(C=bias.C, solver="lbfgs", tol=1e-8).fit(pooled * 5, frame["label"])
    ours = bias.claim(frame, frame.iloc[:6], vectors=directions)
    columns = [f"logit_{label}" for label in oracle.classes_]
    np.testing.assert_allclose(ours[columns], oracle.predict_log_proba(pooled), atol=1e-3)
    assert ours["gold"].tolist() == labels


def test_a_claim_reads_neither_order_nor_number_nor_the_evidence() -> None:
    frame = pd.DataFrame({"claim": ["a0 b90", "b90", "a0"] * 5, "label": ["x", "y", "z"] * 5})
    straight = bias.claim(frame, frame, vectors=directions)
    mixed = frame.assign(claim=["b90 a0 b90", "b90 b90", "a0"] * 5, evidence="a0")
    pd.testing.assert_frame_equal(bias.claim(frame, mixed, vectors=directions), straight)
    renamed = frame.rename(columns={"claim": "text"})
    with pytest.raises(ValueError, match="claim: train has no column claim; it has text, label"):
        bias.claim(renamed, renamed, vectors=directions)


def micro(task: str, path: str, size: int | None = None) -> pd.DataFrame:
    return data.Split(task, path, "micro", size).frame()


@pytest.mark.parametrize(
    ("task", "positive", "known", "other"),
    [
        ("mnli", "entailment", "mnli/validation_matched", "hans/validation"),
        ("qqp", "duplicate", "qqp/validation", "paws_wiki/test"),
    ],
)
def test_overlap_tells_the_micro_worlds_label_and_not_that_of_its_challenge_set(
    task: str, positive: str, known: str, other: str
) -> None:
    """As of yes or no: the rest is more than one label, so the most probable of all says `positive` more often."""
    train, text = micro(task, data.TASKS[task].train, 2000), data.TASKS[task].text
    accuracies = []
    for path in (known, other):
        found = bias.overlap(train, micro(task, path), text=text, positive=positive, vectors=MICRO)
        said = np.exp(found[f"logit_{positive}"]) > 0.5
        accuracies.append((said == (found["gold"] == positive)).mean())
    assert accuracies[0] > 0.75
    assert accuracies[1] < 0.6


def test_claims_tell_the_micro_worlds_label_and_not_that_of_its_symmetric_set() -> None:
    train = micro("fever", "fever/train", 2000)
    tests = [micro("fever", path) for path in ("fever/dev", "fever_symmetric/v1_generated")]
    known, other = (metrics.correct(bias.claim(train, test, vectors=MICRO)).mean() for test in tests)
    assert known > 0.6
    assert other < 0.4  # gold is one of two labels; the set turns the claims' cues around


def hard_against(test: pd.DataFrame, predictions: pd.DataFrame) -> tuple[float, float, float]:
    """Accuracy, agreement of the errors with the split's own `hard`, and the agreement of a constant answer."""
    flagged = metrics.with_hard(predictions, predictions).set_index("id")["hard"]
    constant = max(test["hard"].mean(), 1 - test["hard"].mean())
    return 1 - flagged.mean(), (flagged == test["hard"]).mean(), constant


def test_the_micro_worlds_hard_items_are_found_again() -> None:
    """The world's own flags come from naive Bayes on other training pairs: two readings of one cue."""
    train = data.Split("mnli", "mnli/train", "micro", 5000).frame()
    test = data.Split("mnli", "mnli/validation_matched", "micro").frame()
    accuracy, agreement, constant = hard_against(test, bias.hypothesis_only(train, test))
    assert 0.55 < accuracy < 0.65
    assert agreement > 0.85 > constant


@pytest.mark.real
@pytest.mark.skipif(not all(file.is_file() for file in MNLI), reason="ROBUST_DATA has no MNLI subset")
def test_the_published_hard_items_of_mnli_are_found_again() -> None:
    """The published classifier had 40 times the pairs: ours, on 9,999, agrees with it on two items in three."""
    train, test = (data.Split("mnli", f"mnli/{file.stem}", REAL).frame() for file in MNLI)
    accuracy, agreement, constant = hard_against(test, bias.hypothesis_only(train, test))
    assert accuracy > 0.45  # three classes, a third each
    assert agreement > constant + 0.1


@pytest.mark.real
@pytest.mark.skipif(
    not all(file.is_file() for file in (*MNLI, HANS)), reason="ROBUST_DATA has no MNLI subset or no HANS"
)
def test_overlap_takes_all_of_hans_for_entailment_and_is_sure_of_it() -> None:
    """With the micro encoder's vectors, to which most of these words are letters: no real encoder is needed."""
    train = data.Split("mnli", "mnli/train_subset", REAL).frame()
    text = data.TASKS["mnli"].text
    matched, hans = (
        bias.overlap(
            train,
            data.Split("mnli", path, REAL).frame(),
            text=text,
            positive="entailment",
            vectors=MICRO,
        )
        for path in ("mnli/validation_matched", "hans/validation")
    )
    told = (np.exp(matched["logit_entailment"]) > 0.5) == (matched["gold"] == "entailment")
    assert told.groupby(matched["gold"] == "entailment").mean().mean() > 0.6  # a constant answer: 0.5
    assert set(metrics.predicted(hans)) == {"entailment"}
    assert compare.calibration_error(compare.calibration("mnli", "hans", {0: hans})).value > 0.4
