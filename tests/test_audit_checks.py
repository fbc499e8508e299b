"""Every check fires on what it is for, names it, and is silent otherwise."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from robust_lib.audit import checks
from robust_lib.audit.problems import AuditError

Names = NDArray[np.object_]


def predictions(said: Names, gold: Names, classes: list[str]) -> pd.DataFrame:
    """A frame of a model that says `said`, its outputs in the order of `classes`."""
    logits = {f"logit_{name}": np.where(said == name, 1.0, 0.0) for name in classes}
    return pd.DataFrame({"id": np.arange(len(gold)), "gold": gold, **logits})


def drawn(rng: np.random.Generator, classes: list[str], count: int) -> Names:
    return rng.choice(np.array(classes, dtype=object), count)


def answers(rng: np.random.Generator, gold: Names, classes: list[str], known: float) -> Names:
    """Answers of a model that knows a share of the labels and guesses the others."""
    return np.where(rng.random(len(gold)) < known, gold, drawn(rng, classes, len(gold)))


def renamed(said: Names, names: dict[str, str]) -> Names:
    return np.array([names.get(name, name) for name in said], dtype=object)


SWAPS = [
    {"c0": "c1", "c1": "c0"},
    {"c0": "c1", "c1": "c2", "c2": "c0"},
    {"c0": "c2", "c2": "c0", "c1": "c3", "c3": "c1"},
]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("size", "swap"), [(2, SWAPS[0]), (3, SWAPS[0]), (3, SWAPS[1]), (6, SWAPS[1]), (6, SWAPS[2])]
)
def test_swapped_labels_are_found_with_the_order_that_fixes_them(
    size: int, swap: dict[str, str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    classes = [f"c{number}" for number in range(size)]
    gold = drawn(rng, classes, 600)
    original, compressed = (answers(rng, gold, classes, known) for known in (0.9, 0.7))
    outputs = classes[::-1]  # another order of the columns is no swap
    wrong = predictions(renamed(compressed, swap), gold, outputs)
    right = predictions(original, gold, classes)
    truth = {called: name for name, called in swap.items()}
    line = f"`labels: [{', '.join(truth.get(name, name) for name in outputs)}]`"
    for problem in (checks.swapped(right, wrong), checks.mislabelled(wrong, "compressed")):
        assert problem is not None
        assert problem.where == "compressed"
        assert line in problem.remedy
        for called, name in truth.items():
            assert f"{called}: {name}" in problem.told
    other_way = checks.swapped(wrong, right)  # the gold labels say that it is the original
    assert other_way is not None
    assert other_way.where == "original"
    assert line in other_way.remedy
    assert checks.mislabelled(right, "original") is None
    assert checks.swapped(right, predictions(compressed, gold, outputs)) is None


def test_a_relabelled_copy_without_gold_labels() -> None:
    rng = np.random.default_rng(0)
    said = drawn(rng, ["no", "yes"], 200)
    gold = np.full(200, None, dtype=object)
    own = predictions(said, gold, ["no", "yes"])
    copy = own.rename(columns={"logit_no": "logit_yes", "logit_yes": "logit_no"})
    problem = checks.swapped(own, copy)
    assert problem is not None
    assert "agree on 0.0% of the 200 rows within no, yes" in problem.told
    assert "{no: yes, yes: no}" in problem.told or "{yes: no, no: yes}" in problem.told
    assert problem.told.endswith("it would be 100.0%")
    assert checks.swapped(own, own) is None
    assert checks.mislabelled(own, "original") is None


def test_poor_but_honest_models_are_not_called_swapped() -> None:
    """No false alarm in 3,000 draws: at a rate of one in a thousand that happens once in 20 times."""
    rng, alarms = np.random.default_rng(0), 0
    for number in range(3000):
        size, count = (2, 3, 12)[number % 3], (40, 200, 1000)[number % 9 // 3]
        classes = [f"c{code}" for code in range(size)]
        shares = rng.dirichlet(np.full(size, 2.0))
        gold = rng.choice(np.array(classes, dtype=object), count, p=shares)
        most = np.full(count, classes[int(shares.argmax())], dtype=object)
        poor = [
            drawn(rng, classes, count),
            most,
            np.where(rng.random(count) < 0.05, drawn(rng, classes, count), most),
            answers(rng, gold, classes, 0.1),  # 40 % accurate with three classes
        ][number % 4]
        original = answers(rng, gold, classes, 0.9)
        alarms += bool(checks._swaps(original, poor, classes) or checks._swaps(gold, poor, classes))
    assert alarms == 0


def test_outputs_that_are_not_finite() -> None:
    frame = predictions(
        np.array(["a", "b", "a"], dtype=object), np.array(["a", "b", "b"], dtype=object), ["a", "b"]
    )
    assert checks.not_finite(frame, "compressed") is None
    frame.loc[1, "logit_a"] = np.nan
    frame.loc[2, "logit_b"] = -np.inf
    problem = checks.not_finite(frame, "compressed")
    assert problem is not None
    assert problem.told == "2 of 3 rows have an output that is no finite number: id 1, id 2"
    assert checks.swapped(frame, frame) is None


def test_classes_and_tokenizers_of_two_models() -> None:
    assert checks.other_classes(["a", "b"], ["a", "b"]) is None
    problem = checks.other_classes(["a", "b"], ["b", "a"])
    assert problem is not None
    assert problem.kind == "classes in another order"
    with pytest.raises(
        AuditError, match=r"2 classes \(a, b\), .* 2 \(LABEL_0, LABEL_1\): .* `labels: \[a, b\]`"
    ):
        checks.other_classes(["a", "b"], ["LABEL_0", "LABEL_1"])
    with pytest.raises(
        AuditError, match=r"has 2 classes \(a, b\), the other model 3 \(a, b, c\): .* same task"
    ):
        checks.other_classes(["a", "b"], ["a", "b", "c"])
    assert checks.other_tokenizers("x", "x") is checks.other_tokenizers("x", None) is None
    assert checks.other_tokenizers("x", "y") is not None


def test_leaked_rows_are_counted_exactly_and_but_for_spelling() -> None:
    train = pd.Series([("A good film!", "yes"), ("👍", "x"), ("bad", "no")])
    test = pd.Series(
        [("A good film!", "yes"), ("a  GOOD film", "Yes."), ("👎", "x"), ("bad", "yes"), ("new", "no")],
        index=[3, 5, 8, 9, 11],
    )
    ids, problem = checks.leaked(test, train)
    assert list(ids) == [3, 5]
    assert problem is not None
    assert problem.kind == "leaked rows"
    assert problem.told.startswith("2 of 5 rows stand in the train set, too, 1 of them letter by letter")
    assert problem.told.endswith("id 3, id 5")
    none, silent = checks.leaked(test.iloc[2:], train)
    assert len(none) == 0
    assert silent is None
    _, shared = checks.leaked(test, train, where="ood", of="test")
    assert shared is not None
    assert (shared.kind, shared.where) == ("shared rows", "ood")


def test_points_are_the_texts_of_each_row() -> None:
    frame = pd.DataFrame({"a": ["x", "y"], "b": ["p", "q"]}, index=[4, 7])
    assert checks.points(frame, ("b", "a")).to_dict() == {4: ("p", "x"), 7: ("q", "y")}


def test_constant_answers_and_classes_without_rows() -> None:
    gold = np.array(["a", "b", "b"], dtype=object)
    always = predictions(np.array(["b", "b", "b"], dtype=object), gold, ["a", "b", "c"])
    constant, absent = checks.constant(always, "compressed"), checks.absent(always, "test")
    assert constant is not None
    assert "all 3 rows are 'b'" in constant.told
    assert absent is not None
    assert "gold label c" in absent.told
    fine = predictions(gold, gold, ["a", "b"])
    assert checks.constant(fine, "compressed") is checks.absent(fine, "test") is None
    hans = predictions(
        gold, np.array(["entailment", "non-entailment"] * 2)[:3], ["contradiction", "entailment", "neutral"]
    )
    assert checks.absent(hans, "test") is None


@pytest.fixture
def frame() -> pd.DataFrame:
    """120 rows: texts of 1 to 40 words, two labels, and columns of every kind."""
    rows = np.arange(120)
    return pd.DataFrame(
        {
            "text": [" ".join(["w"] * (row % 40 + 1)) for row in rows],
            "label": np.where(rows % 2, "x", "y"),
            "length": rows,
            "stars": rows % 5 + 1.0,
            "my tag": np.where(rows < 60, "a", "b"),
            "flag": rows % 3 == 0,
            "year": np.where(rows < 90, rows, np.nan),
            "user": [f"u{row}" for row in rows],
        },
        index=pd.Index(rows * 2, name="id"),
    )


def counts(frame: pd.DataFrame, *wanted: str) -> dict[str, int]:
    """Rows of each part that was asked for, beyond the parts that are always there."""
    found = checks.slices(frame, wanted, text=["text"])
    always = checks.slices(frame, [], text=["text"])
    assert all(part.index.equals(frame.index) and part.dtype == bool for part in found.values())
    return {name: int(part.sum()) for name, part in found.items() if name not in always}


def test_gold_classes_and_thirds_by_length_are_always_there(frame: pd.DataFrame) -> None:
    found = checks.slices(frame, [], text=["text"])
    assert {name: int(part.sum()) for name, part in found.items()} == {
        "gold: x": 60,
        "gold: y": 60,
        "length in words: 1 to 14": 42,
        "length in words: 15 to 27": 39,
        "length in words: 28 to 40": 39,
    }
    even = frame.assign(text="one two")
    assert [name for name in checks.slices(even, [], text=["text", "text"]) if "words" in name] == [
        "length in words: 4 to 4"
    ]
    assert not [name for name in checks.slices(frame.assign(label=None), [], text=["text"]) if "gold" in name]


def test_slices_of_columns(frame: pd.DataFrame) -> None:
    assert counts(frame, "my tag") == {"my tag: a": 60, "my tag: b": 60}
    assert counts(frame, "flag") == {"flag: False": 80, "flag: True": 40}
    assert counts(frame, "stars") == {f"stars: {number}": 24 for number in range(1, 6)}
    assert counts(frame, "length") == {"length: 0 to 39": 40, "length: 40 to 79": 40, "length: 80 to 119": 40}
    assert counts(frame, "year") == {
        "year: 0 to 29": 30,
        "year: 30 to 59": 30,
        "year: 60 to 89": 30,
        "year: none": 30,
    }
    with pytest.raises(AuditError, match=r"slice 'user': the column has 120 values, .* `user == 'u0'`"):
        counts(frame, "user")


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("length > 100", 19),
        ("10 <= length < 20", 10),
        ("`my tag` == 'a' and not flag", 40),
        ("(length < 10) | (`my tag` == 'b')", 70),
        ("length < 10 | length >= 110", 20),
        ("user in ['u1', 'u5', 'nobody']", 2),
        ("stars not in [1, 2]", 72),
        ("length % 2 == 0", 60),
        ("length > stars * 20", 59),
        ("text.str.contains('w w w')", 114),
        ("user.str.endswith('9') & user.str.len() == 2", 1),
        ("`my tag`.str.startswith('b')", 60),
        ("year >= 0", 90),
        ("flag", 40),
    ],
)
def test_slices_of_queries(frame: pd.DataFrame, query: str, rows: int) -> None:
    if query in frame:
        query = f"not not {query}"
    assert counts(frame, query) == {f"{query}: yes": rows, f"{query}: no": 120 - rows}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("lenght > 3", "no column 'lenght'; there are text, label, length"),
        ("lenght", "no column 'lenght'"),
        ("", "neither a column nor a query"),
        ("length >", "neither a column nor a query"),
        ("length = 3", "neither a column nor a query"),
        ("@frame.length > 3", "neither a column nor a query"),
        ("length > 'a'", "cannot be asked"),
        ("text.str.contains('(')", "cannot be asked"),
        ("length + 1", "no yes or no for each row"),
        ("1 > 0", "no yes or no for each row"),
        ("text.to_csv('stolen.csv')", "is not allowed: a query compares columns"),
        ("text.str.replace('w', 'v') == 'v'", "is not allowed"),
        ("text.str.contains.__self__ == 1", "is not allowed"),
        ("length.__class__ == 1", "is not allowed"),
        ("length.values[0] > 1", "is not allowed"),
        ("__import__('os').system('true')", "is not allowed|no column '__import__'"),
        ("(lambda: length > 1)()", "is not allowed"),
        ("[row for row in length] == 1", "is not allowed|no column 'row'"),
        ("length ** 9 > 1", "'Pow' is not allowed"),
        ("(found := length) > 1", "is not allowed|no column 'found'"),
        ("f'{length}' == 'a'", "is not allowed"),
    ],
)
def test_slices_that_are_refused(frame: pd.DataFrame, query: str, message: str) -> None:
    with pytest.raises(AuditError, match=message) as error:
        counts(frame, query)
    assert str(error.value).startswith(f"slice {query!r}: ")


def test_slices_of_one_class_and_small_ones(frame: pd.DataFrame) -> None:
    parts: dict[str, Any] = checks.slices(frame, ["label == 'x' and length < 50", "stars"], text=["text"])
    problem = checks.one_class(frame["label"], parts)
    assert problem is not None
    assert problem.told == "every row has the same gold label in label == 'x' and length < 50: yes"
    few = checks.small(parts)
    assert few is not None
    assert "stars: 1 (24)" in few.told
    assert "gold" not in few.told
    whole = checks.slices(frame, [], text=["text"])
    assert checks.one_class(frame["label"], whole) is checks.small(whole) is None
