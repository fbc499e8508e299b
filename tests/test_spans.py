"""Spans: their loss, the best one over all windows, and exact match and F1 by SQuAD 2's official definition."""

import math
import re
from types import SimpleNamespace

import evaluate
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lib import data, losses, metrics, models, objectives, predict, train
from robust_lib.metrics.squad_v2.squad_v2 import SquadV2

# The loss


def draw(batch, tokens, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, tokens, 2, generator=generator, dtype=torch.float64)


def reference_spans(logits, positions, mask):
    total = 0.0
    for rows, ends, real in zip(logits.tolist(), positions.tolist(), mask.tolist(), strict=True):
        for end in (0, 1):
            scores = [row[end] for row, there in zip(rows, real, strict=True) if there]
            total += (math.log(sum(math.exp(z) for z in scores)) - rows[ends[end]][end]) / 2
    return total / len(logits)


@pytest.mark.parametrize("lengths", [(5, 5), (7, 3, 1), (4,)])
def test_the_loss_equals_reference(lengths):
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    positions = torch.tensor([[0, length - 1] for length in lengths])
    logits = draw(*mask.shape)
    expected = reference_spans(logits, positions, mask)
    assert losses.spans(logits, positions, mask).item() == pytest.approx(expected, abs=1e-9)


def test_the_loss_of_uniform_logits_is_log_tokens_of_what_is_not_padding():
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    logits = torch.zeros(1, 5, 2)
    assert losses.spans(logits, torch.tensor([[0, 2]]), mask).item() == pytest.approx(math.log(3))
    logits[0, 1, 0] = logits[0, 2, 1] = 100
    assert losses.spans(logits, torch.tensor([[1, 2]]), mask).item() == pytest.approx(0, abs=1e-6)


def test_padding_takes_no_gradient_and_gives_none():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    logits = draw(2, 3).requires_grad_()
    losses.spans(logits, torch.tensor([[0, 1], [2, 2]]), mask).backward()
    assert not logits.grad[0, 2].any()
    assert logits.grad.isfinite().all()
    torch.testing.assert_close(logits.grad.sum(1), torch.zeros(2, 2, dtype=torch.float64), atol=1e-12, rtol=0)


def test_the_objective_is_the_loss_of_the_batchs_positions():
    logits, mask = draw(2, 4), torch.ones(2, 4, dtype=torch.int64)
    batch = {"labels": torch.tensor([[1, 2], [0, 0]]), "attention_mask": mask, "index": torch.arange(2)}
    found = objectives.spans(["start", "end"], pd.RangeIndex(1))(logits, batch)
    assert found == losses.spans(logits, batch["labels"], mask)


# The best span over all windows

ENCODER = models.Encoder("micro-base")
SPLIT = data.Split("squad", "squad/validation_v2", "micro", size=30)


@pytest.fixture(scope="module")
def windows():
    """Short windows, so that most questions have several."""
    return data.windows(SPLIT, ENCODER.tokenizer(), 24, stride=5)


class Fixed(torch.nn.Module):
    """A model of given logits for each window, known by its tokens."""

    def __init__(self, rows, windows):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(id2label={0: "start", 1: "end"})
        starts, ids = windows.encoded.starts, windows.encoded.tokens["input_ids"]
        self.rows = {tuple(ids[starts[n] : starts[n + 1]].tolist()): row for n, row in enumerate(rows)}

    def forward(self, input_ids, attention_mask, token_type_ids):
        out = torch.full((*input_ids.shape, 2), 99.0)  # padding that would win if it were looked at
        for number, (ids, mask) in enumerate(zip(input_ids, attention_mask.bool(), strict=True)):
            row = self.rows[tuple(ids[mask].tolist())]
            out[number, : len(row)] = torch.tensor(row)
        return SimpleNamespace(logits=out)


def rows_of(windows, seed=0, scale=5.0):
    """Random logits for each window, in whole numbers and quarters: some are equal."""
    generator = np.random.default_rng(seed)
    return [
        np.round(scale * generator.normal(size=(length, 2)) * 4) / 4 for length in windows.encoded.lengths
    ]


def reference_answer(contexts, windows, rows, question, longest, best):
    """As run_qa does it: all pairs of the best starts and ends, listed, of all windows of a question."""
    found, null = [], math.inf
    for number in np.flatnonzero(windows.question == question):
        offsets = windows.offsets[windows.encoded.starts[number] :][: len(rows[number])].tolist()
        starts, ends = (
            sorted(range(len(offsets)), key=lambda token, end=end: -rows[number][token][end])[:best]
            for end in (0, 1)
        )
        nowhere = windows.null[number]
        null = min(null, rows[number][nowhere].sum())
        for first in starts:
            for last in ends:
                if offsets[first][0] < 0 or offsets[last][0] < 0 or last < first or last - first >= longest:
                    continue
                span = contexts[question][offsets[first][0] : offsets[last][1]]
                if span:
                    found.append((rows[number][first][0] + rows[number][last][1], span))
    score, span = max(found, key=lambda one: one[0], default=(-math.inf, ""))
    return span, score, null


@pytest.mark.parametrize(("longest", "best"), [(30, 20), (2, 20), (30, 3), (1, 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_best_span_equals_reference(windows, longest, best, seed):
    rows, contexts = rows_of(windows, seed), SPLIT.frame()["context"].tolist()
    assert len(windows) > 1.5 * len(contexts)
    found = predict.spans(Fixed(rows, windows), windows, SPLIT, batch_size=7, longest=longest, best=best)
    for question, answer in found.iterrows():
        expected = reference_answer(contexts, windows, rows, question, longest, best)
        assert (answer["text"], answer["score"], answer["null"]) == expected


def test_the_frame_has_the_questions_in_order_with_their_gold_answers(windows):
    found, frame = predict.spans(Fixed(rows_of(windows), windows), windows, SPLIT), SPLIT.frame()
    assert found.columns.tolist() == ["id", "answers", "text", "score", "null"]
    assert found["id"].tolist() == frame["id"].tolist()
    assert found["answers"].tolist() == [answers["text"] for answers in frame["answers"]]


def test_gold_positions_are_read_back_as_the_gold_answers(windows):
    """What data.windows marks is what predict.spans reads: certain of it, the reader makes no error."""
    rows = []
    for length, gold in zip(windows.encoded.lengths, windows.encoded.gold, strict=True):
        row = np.full((length, 2), -10.0)
        row[gold[0], 0] = row[gold[1], 1] = 10
        rows.append(row)
    found = predict.spans(Fixed(rows, windows), windows, SPLIT)
    held = {
        question
        for question, gold, null in zip(windows.question, windows.encoded.gold, windows.null, strict=True)
        if gold[0] != null
    }
    lost = [n for n, gold in enumerate(found["answers"]) if len(gold) and n not in held]
    assert len(lost) <= 2  # an answer longer than the overlap may be cut by every window
    assert metrics.exact_match(found).drop(found["id"][lost]).all()


def test_without_any_span_there_is_no_answer(windows):
    rows = [np.zeros((length, 2)) for length in windows.encoded.lengths]
    for row in rows:
        row[0] = 5.0  # [CLS] is the best start and the best end, and with best 1 the only ones
    found = predict.spans(Fixed(rows, windows), windows, SPLIT, best=1)
    assert (found["text"] == "").all()
    assert (found["score"] == -np.inf).all()
    unanswerable = [len(gold) == 0 for gold in found["answers"]]
    assert metrics.exact_match(found, np.inf).tolist() == unanswerable


def test_a_classifier_reads_no_spans(windows):
    with pytest.raises(ValueError, match=r"BertForSequenceClassification is no reader.*Encoder\.reader"):
        predict.spans(ENCODER.classifier(("no", "yes"), seed=0), windows, SPLIT)


def test_training_lowers_the_loss_of_spans(windows):
    model = ENCODER.reader(seed=0)
    objective = objectives.spans(models.labels(model), SPLIT.frame().index)
    course = train.fit(
        model, windows.encoded, objective, epochs=8, batch_size=len(windows), learning_rate=1e-3
    )
    assert course[-1] < course[0] / 2


# Exact match and F1


def answers(*rows):
    """Rows of (gold answers, text, null - score)."""
    columns = zip(*rows, strict=True)
    frame = pd.DataFrame(dict(zip(["answers", "text", "null"], columns, strict=True)))
    return frame.assign(id=[f"q{number}" for number in range(len(rows))], score=0.0)


def reference_normalized(text):
    text = "".join(letter for letter in text.lower() if not re.match(r"""[!-/:-@\[-`{-~]""", letter))
    return " ".join(word for word in re.sub(r"\b(a|an|the)\b", " ", text).split())


def reference_scores(golds, text):
    """Exact match and F1 of one text, as precision and recall, by the best gold answer."""
    exact, f1 = 0.0, 0.0
    for gold in [gold for gold in golds if reference_normalized(gold)] or [""]:
        want, got = reference_normalized(gold).split(), reference_normalized(text).split()
        exact = max(exact, float(want == got))
        if not want or not got:
            f1 = max(f1, float(want == got))
            continue
        left, common = list(want), 0
        for word in got:
            if word in left:
                left.remove(word)
                common += 1
        if common:
            precision, recall = common / len(got), common / len(want)
            f1 = max(f1, 2 * precision * recall / (precision + recall))
    return exact, f1


@pytest.mark.parametrize(
    ("gold", "text", "exact", "f1"),
    [
        (
            ["this is a good span", "something irrelevant"],
            "this is the best span",
            0,
            0.75,
        ),  # AllenNLP's test
        (["1976"], "1976", 1, 1),  # the card of the metric squad_v2
        (["Denver Broncos"], "the denver broncos!", 1, 1),
        (["U.S."], "us", 1, 1),
        (["a theatre"], "the  Theatre", 1, 1),  # articles are words, not letters
        (["king-size"], "king size", 0, 0),  # a hyphen goes without a space
        (["one", "two three"], "three two", 0, 1),
        (["to be to be"], "to be", 0, 2 / 3),
        ([], "", 1, 1),
        ([], "something", 0, 0),
        ([], "the", 1, 1),  # nothing is left of it
        (["something"], "", 0, 0),
        (["the"], "", 1, 1),  # a gold answer of which nothing is left is none
        (["the", "king"], "", 0, 0),
    ],
)
def test_scores_of_hand_made_and_published_cases(gold, text, exact, f1):
    frame = answers((gold, text, -1.0))
    assert metrics.exact_match(frame).tolist() == [exact]
    assert metrics.span_f1(frame).tolist() == pytest.approx([f1])
    assert reference_scores(gold, text) == pytest.approx((exact, f1))


TEXTS = st.lists(
    st.sampled_from(["the", "a", "An", "king", "King's", "of", "U.S.", "--", "été", "x"]), max_size=5
).map(" ".join)
ROWS = st.lists(
    st.tuples(st.lists(TEXTS.filter(bool), max_size=3), TEXTS, st.integers(-3, 3).map(float)),
    min_size=1, max_size=12,
)  # fmt: skip


@given(ROWS, st.sampled_from([-math.inf, -1.0, 0.0, 1.5, math.inf]))
@settings(max_examples=200, deadline=None)
def test_scores_equal_reference_at_every_threshold(rows, threshold):
    frame = answers(*rows)
    given_text = ["" if null > threshold else text for _, text, null in rows]
    expected = [reference_scores(row[0], text) for row, text in zip(rows, given_text, strict=True)]
    exact, f1 = metrics.exact_match(frame, threshold), metrics.span_f1(frame, threshold)
    assert exact.tolist() == [one for one, _ in expected]
    assert f1.tolist() == pytest.approx([one for _, one in expected])
    assert (f1 >= exact).all()
    assert exact.index.tolist() == frame["id"].tolist()


@given(ROWS)
@settings(max_examples=200, deadline=None)
def test_no_threshold_matches_more_than_the_best(rows):
    frame = answers(*rows)
    best = metrics.best_threshold(frame)
    candidates = [-math.inf, *sorted(frame["null"])]
    matches = {one: metrics.exact_match(frame, one).sum() for one in candidates}
    assert matches[best] == max(matches.values())
    assert best == min(one for one in candidates if matches[one] == matches[best])


def test_the_best_threshold_is_that_of_the_official_script():
    rows = [(["x"], "x", 0.1), ([], "y", 0.2), (["x"], "x", 0.3), (["x"], "x", 0.4), ([], "y", 0.5)]
    # From one match, all unanswered: 2, then 1, 2 and 3 at 0.4, and 2.
    assert metrics.best_threshold(answers(*rows)) == 0.4
    assert metrics.best_threshold(answers(([], "y", -4.0))) == -math.inf


def test_lists_that_came_back_from_parquet_are_answers_too(tmp_path):
    frame = answers((["x", "y"], "y", -1.0), ([], "y", 1.0), (["x"], "x", 1.0))
    frame.to_parquet(tmp_path / "answers.parquet")
    back = pd.read_parquet(tmp_path / "answers.parquet")
    assert metrics.exact_match(back).tolist() == [1, 1, 0]
    assert metrics.best_threshold(back) == metrics.best_threshold(frame)


def test_frames_that_cannot_be_judged_are_refused():
    with pytest.raises(metrics.MetricError, match="need a column score, null; found"):
        metrics.exact_match(answers(([], "", 0.0)).drop(columns=["score", "null"]))
    with pytest.raises(metrics.MetricError, match="not a number for 1 questions: id q1"):
        metrics.span_f1(answers(([], "", 0.0), ([], "", math.nan)))


def test_the_module_equals_the_functions(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a metric reached for the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    rows = [(["a king", "king"], "The king", 0.2), ([], "x", 0.75), (["x y"], "x", 0.5), (["x"], "x", 0.9)]
    frame = answers(*rows)
    said = [
        {"id": one.id, "prediction_text": one.text, "no_answer_probability": one.null}
        for one in frame.itertuples()
    ]
    gold = [
        {"id": one.id, "answers": {"text": one.answers, "answer_start": [0] * len(one.answers)}}
        for one in frame.itertuples()
    ]
    module = evaluate.load(str(metrics.directory("squad_v2")), cache_dir=str(tmp_path))
    found = module.compute(predictions=said[::-1], references=gold, no_answer_threshold=0.6)
    assert found == {
        "exact_match": metrics.exact_match(frame, 0.6).mean(),
        "f1": pytest.approx(metrics.span_f1(frame, 0.6).mean()),
    }
    with pytest.raises(metrics.MetricError, match=r"2 questions are in one .* alone, first id q0"):
        SquadV2(cache_dir=str(tmp_path)).compute(predictions=[said[0]], references=[{**gold[0], "id": "q9"}])


def test_an_answer_is_given_unless_the_null_score_is_above_by_more_than_the_threshold() -> None:
    frame = pd.DataFrame({"id": ["a", "b", "c"], "null": [1.0, 2.0, 5.0], "score": [2.0, 1.0, 1.0]})
    assert metrics.answer_given(frame).to_dict() == {"a": True, "b": False, "c": False}
    assert metrics.answer_given(frame, 1.0).to_dict() == {"a": True, "b": True, "c": False}
