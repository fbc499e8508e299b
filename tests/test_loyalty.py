"""Loyalty of two models' predictions: limiting cases, SciPy as the oracle, chance levels, arms, attacks."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from robust_lib import compare, metrics
from robust_lib.metrics import loyalty

MEASURES = ("label_loyalty", "probability_loyalty", "lost", "won", "swapped", "kl_forward", "kl_reverse")


def predictions(
    seed: int, items: int = 120, *, skill: float = 1.5, classes: tuple[str, ...] = metrics.NLI
) -> pd.DataFrame:
    """Made-up predictions of one fixed test set, the better the higher the skill."""
    gold = np.random.default_rng(99).choice(len(classes), items)
    logits = np.random.default_rng(seed).normal(size=(items, len(classes)))
    logits[np.arange(items), gold] += skill
    columns = {f"logit_{name}": logits[:, i] for i, name in enumerate(classes)}
    return pd.DataFrame({"id": [f"e{i}" for i in range(items)], "gold": np.array(classes)[gold], **columns})


def frame(rows: list[list[float]], gold: list[str], classes: tuple[str, ...] = metrics.NLI) -> pd.DataFrame:
    columns = {f"logit_{name}": column for name, column in zip(classes, np.array(rows).T, strict=True)}
    return pd.DataFrame({"id": range(len(rows)), "gold": gold, **columns})


def said(label: str, classes: tuple[str, ...] = metrics.NLI) -> list[float]:
    return [5.0 * (name == label) for name in classes]


@pytest.fixture
def student() -> pd.DataFrame:
    return predictions(1)


@pytest.fixture
def teacher() -> pd.DataFrame:
    return predictions(2, skill=2.5)


# -- metrics -------------------------------------------------------------------------------------------------


def test_a_model_is_loyal_to_itself(student: pd.DataFrame) -> None:
    assert (loyalty.label_loyalty(student, student) == 1).all()
    assert (loyalty.probability_loyalty(student, student) == 1).all()
    assert (loyalty.divergence(student, student) == 0).all(axis=None)
    assert (loyalty.flips(student, student) == 0).all(axis=None)


@pytest.mark.parametrize("base", [2.0, math.e])
def test_probability_loyalty_is_one_less_scipys_distance(
    base: float, student: pd.DataFrame, teacher: pd.DataFrame
) -> None:
    own, other = (softmax(one.filter(like="logit_").to_numpy(), axis=1) for one in (student, teacher))
    ours = loyalty.probability_loyalty(student, teacher, base=base)
    np.testing.assert_allclose(ours, 1 - jensenshannon(own, other, base=base, axis=1), atol=1e-12)
    np.testing.assert_allclose(ours, loyalty.probability_loyalty(teacher, student, base=base))
    assert list(ours.index) == list(student["id"])


def test_distributions_without_a_common_label_have_no_loyalty_in_base_two() -> None:
    one, two = frame([[1e4, 0, 0]], ["neutral"]), frame([[0, 1e4, 0]], ["neutral"])
    assert loyalty.probability_loyalty(one, two).item() == 0
    natural = loyalty.probability_loyalty(one, two, base=math.e).item()
    assert natural == pytest.approx(1 - math.sqrt(math.log(2)))
    assert natural == pytest.approx(0.167, abs=5e-4)


def test_nearly_equal_distributions_have_a_loyalty_where_scipy_may_have_none() -> None:
    one = predictions(0, 5000)
    logits = [name for name in one if name.startswith("logit_")]
    two = one.assign(**{name: one[name] + 1e-12 for name in logits})
    assert loyalty.probability_loyalty(one, two).between(1 - 1e-7, 1).all()


@pytest.mark.parametrize("base", [1.0, 0.5, float("nan")])
def test_a_base_that_is_none_is_an_error(base: float, student: pd.DataFrame) -> None:
    with pytest.raises(metrics.MetricError, match="a logarithm's base is above 1"):
        loyalty.probability_loyalty(student, student, base=base)


def test_divergences_are_scipys_in_bits_and_finite_for_sure_models(
    student: pd.DataFrame, teacher: pd.DataFrame
) -> None:
    own, other = (softmax(one.filter(like="logit_").to_numpy(), axis=1) for one in (student, teacher))
    ours = loyalty.divergence(student, teacher)
    np.testing.assert_allclose(ours["kl_forward"], stats.entropy(other, own, base=2, axis=1))
    np.testing.assert_allclose(ours["kl_reverse"], stats.entropy(own, other, base=2, axis=1))
    sure = loyalty.divergence(frame([[2000, 0, 0]], ["neutral"]), frame([[0, 2000, 0]], ["neutral"]))
    assert sure["kl_forward"].item() == pytest.approx(2000 / math.log(2))


def test_flips_are_named_by_what_they_change() -> None:
    gold = ["neutral"] * 5
    was = ["neutral", "neutral", "entailment", "entailment", "entailment"]
    now = ["neutral", "entailment", "neutral", "contradiction", "entailment"]
    found = loyalty.flips(frame([said(x) for x in now], gold), frame([said(x) for x in was], gold))
    assert found["lost"].tolist() == [0, 1, 0, 0, 0]
    assert found["won"].tolist() == [0, 0, 1, 0, 0]
    assert found["swapped"].tolist() == [0, 0, 0, 1, 0]


def test_flips_account_for_accuracy_and_for_label_loyalty(
    student: pd.DataFrame, teacher: pd.DataFrame
) -> None:
    found = loyalty.flips(student, teacher).mean()
    accuracy, teachers = metrics.correct(student).mean(), metrics.correct(teacher).mean()
    assert accuracy - teachers == pytest.approx(found["won"] - found["lost"])
    agreed = loyalty.label_loyalty(student, teacher).mean()
    assert agreed == pytest.approx(1 - found.sum())
    assert agreed >= accuracy + teachers - 1


def test_hans_is_compared_in_the_models_own_classes() -> None:
    gold = ["non-entailment", "non-entailment"]
    one = frame([said("neutral"), said("entailment")], gold)
    two = frame([said("contradiction"), said("entailment")], gold)
    assert loyalty.label_loyalty(one, two).tolist() == [0, 1]
    assert (loyalty.flips(one, two) == 0).all(axis=None)


def test_models_are_matched_by_id_and_by_label_name(student: pd.DataFrame, teacher: pd.DataFrame) -> None:
    reordered = teacher.sample(frac=1, random_state=0)
    reordered = reordered[["logit_contradiction", "gold", "logit_neutral", "id", "logit_entailment"]]
    for measure in (loyalty.label_loyalty, loyalty.probability_loyalty, loyalty.divergence, loyalty.flips):
        one, two = measure(student, teacher), measure(student, reordered)
        np.testing.assert_allclose(one, two)
        assert one.index.equals(two.index)


def test_loyalty_needs_no_gold_labels_but_flips_do(student: pd.DataFrame, teacher: pd.DataFrame) -> None:
    unlabelled = student.assign(gold=None)
    assert loyalty.label_loyalty(unlabelled, teacher).equals(loyalty.label_loyalty(student, teacher))
    with pytest.raises(metrics.MetricError, match=r"differ for id e0, .*another split"):
        loyalty.flips(unlabelled, teacher)
    with pytest.raises(metrics.MetricError, match="120 of 120 examples have no gold label"):
        loyalty.independent(unlabelled, 0)


def test_models_that_cannot_be_compared_are_named(student: pd.DataFrame, teacher: pd.DataFrame) -> None:
    with pytest.raises(
        metrics.MetricError, match=r"student has 120 .* teacher 118; not in both: id e0, id e1$"
    ):
        loyalty.label_loyalty(student, teacher.iloc[2:])
    with pytest.raises(metrics.MetricError, match=r"student has 119 .* teacher 120; not in both: id e0$"):
        loyalty.label_loyalty(student.iloc[1:], teacher)
    with pytest.raises(metrics.MetricError, match=r"teacher stand twice: id e3"):
        loyalty.label_loyalty(student, pd.concat([teacher, teacher.iloc[3:4]]))
    with pytest.raises(
        metrics.MetricError, match=r"entailment, neutral, contradiction, the teacher's a, b, c"
    ):
        loyalty.label_loyalty(student, predictions(2, classes=("a", "b", "c")))
    other = teacher.assign(gold=np.roll(teacher["gold"], 1))
    with pytest.raises(metrics.MetricError, match="another split"):
        loyalty.flips(student, other)


def test_an_independent_model_is_as_accurate_and_errs_alike(student: pd.DataFrame) -> None:
    shuffled = loyalty.independent(student, 0)
    assert (shuffled[["id", "gold"]] == student[["id", "gold"]]).all(axis=None)
    for one in (metrics.confidence, metrics.losses):
        np.testing.assert_allclose(np.sort(one(shuffled)), np.sort(one(student)))
    tables = [pd.crosstab(f["gold"].to_numpy(), metrics.predicted(f).to_numpy()) for f in (student, shuffled)]
    assert tables[0].equals(tables[1])
    assert not shuffled.equals(student)
    assert shuffled.equals(loyalty.independent(student, 0))
    assert not shuffled.equals(loyalty.independent(student, 1))


def test_within_further_columns_an_independent_model_is_as_accurate_on_each(student: pd.DataFrame) -> None:
    hard = pd.array([1, 0, None] * 40, dtype="Int64")
    shuffled = loyalty.independent(student.assign(hard=hard), 0, within=("gold", "hard"))
    for part in (0, 1):
        mine = (shuffled["hard"] == part).to_numpy(dtype=bool, na_value=False)
        assert metrics.correct(shuffled[mine]).sum() == metrics.correct(student[mine]).sum()
    unknown = shuffled["hard"].isna().to_numpy()
    assert shuffled[unknown].drop(columns="hard").equals(student[unknown])


# -- arms ----------------------------------------------------------------------------------------------------


@pytest.fixture
def models() -> tuple[dict[int, pd.DataFrame], dict[int, pd.DataFrame]]:
    students = {seed: predictions(seed) for seed in (0, 1, 2)}
    teachers = {seed: predictions(10 + seed, skill=2.5) for seed in (0, 1, 2, 3)}
    return students, teachers


def reference_outcomes(student: pd.DataFrame, teacher: pd.DataFrame, measure: str) -> "pd.Series":
    frames = [loyalty.divergence(student, teacher), loyalty.flips(student, teacher)]
    frames += [loyalty.label_loyalty(student, teacher), loyalty.probability_loyalty(student, teacher)]
    return pd.concat(frames, axis=1)[measure]


@pytest.mark.parametrize("measure", MEASURES)
def test_an_arm_holds_each_student_against_the_teacher_of_its_seed(models, measure) -> None:
    arm = compare.loyalty("mnli", "bed", *models, measure)
    assert arm.seeds == (0, 1, 2)
    for seed, values in zip(arm.seeds, arm.values[:, :, 0], strict=True):
        expected = reference_outcomes(models[0][seed], models[1][seed], measure)
        np.testing.assert_allclose(values, expected.loc[arm.ids])
    found = compare.mean(arm, bounds=(0, np.inf))
    assert found.value == pytest.approx(arm.values.mean())
    assert 0 <= found.low < found.value < found.high


def test_a_mean_keeps_to_its_bounds() -> None:
    generator = np.random.default_rng(0)
    arm = compare.arm("t", "bed", {s: pd.Series(generator.exponential(0.01, 8)) for s in (0, 1)})
    free, bound = compare.mean(arm), compare.mean(arm, bounds=(0, 1))
    assert free.low < 0 == bound.low
    assert (bound.value, bound.high) == (free.value, free.high)


def test_a_student_without_teacher_and_an_unknown_measure_are_named(models) -> None:
    students, teachers = models
    with pytest.raises(compare.CompareError, match=r"bed: no teacher of seed 2; there are \[0, 1\]"):
        compare.loyalty("mnli", "bed", students, {seed: teachers[seed] for seed in (0, 1)})
    with pytest.raises(compare.CompareError, match="measure is 'fidelity'; there are label_loyalty"):
        compare.loyalty("mnli", "bed", students, teachers, "fidelity")


def reference_chance(student: pd.DataFrame, teacher: pd.DataFrame) -> float:
    """Expected agreement of unrelated labels, from all pairs of examples of one gold label."""
    own, other = metrics.predicted(student), metrics.predicted(teacher)
    agreed = 0.0
    for ids in student.groupby("gold")["id"]:
        pairs = [own[a] == other[b] for a, b in product(ids[1], ids[1])]
        agreed += len(ids[1]) * np.mean(pairs)
    return agreed / len(student)


def test_chance_is_the_agreement_of_unrelated_labels(models) -> None:
    students, teachers = models
    arm = compare.chance("mnli", "bed", students, teachers, shuffles=200)
    for seed, found in zip(arm.seeds, arm.values.mean(axis=(1, 2)), strict=True):
        assert found == pytest.approx(reference_chance(students[seed], teachers[seed]), abs=0.01)
    above = compare.difference(compare.loyalty("mnli", "bed", students, teachers), arm)
    assert above.n == 120  # the same items, paired


def test_models_that_err_alike_are_more_loyal_than_chance_and_unrelated_ones_are_not(models) -> None:
    students, teachers = models
    close = {
        seed: frame.assign(logit_neutral=frame["logit_neutral"] + 0.3) for seed, frame in teachers.items()
    }
    for measure, higher in (("label_loyalty", True), ("probability_loyalty", True), ("kl_forward", False)):
        arms = (make("mnli", "bed", close, teachers, measure) for make in (compare.loyalty, compare.chance))
        gain = compare.difference(*arms)
        assert gain.low > 0 if higher else gain.high < 0
    unrelated = compare.difference(
        compare.loyalty("mnli", "bed", students, teachers), compare.chance("mnli", "bed", students, teachers)
    )
    assert unrelated.low < 0 < unrelated.high


@pytest.mark.parametrize("shuffles", [0, -1])
def test_chance_needs_a_shuffle(models, shuffles) -> None:
    with pytest.raises(compare.CompareError, match="at least 1"):
        compare.chance("mnli", "bed", *models, shuffles=shuffles)


def test_slices_are_the_measure_on_parts_with_their_own_chance(models) -> None:
    students, teachers = models
    hard = np.where(np.arange(120) % 4 == 0, 1.0, np.where(np.arange(120) % 4 == 1, 0.0, np.nan))
    students = {seed: frame.assign(hard=hard) for seed, frame in students.items()}
    lengths = pd.Series(np.repeat([5, 8, 9, 30], [40, 20, 20, 40]), index=students[0]["id"])
    found = compare.slices("mnli", "bed", students, teachers, lengths=lengths[::-1])
    parts = found.groupby("slice", sort=False)["part"].agg(list).to_dict()
    assert list(parts) == ["class", "difficulty", "length"]
    assert set(parts["class"]) == set(metrics.NLI)
    assert parts["length"] == ["5", "8 to 9", "30"]
    assert set(parts["difficulty"]) == {"easy", "hard"}
    arm = compare.loyalty("mnli", "bed", students, teachers)
    rows = found.set_index("part")
    assert rows.loc["hard", "value"] == pytest.approx(arm.values[:, ::4].mean())
    assert (rows.loc["hard", "n"], rows.loc["8 to 9", "n"], rows.loc["5", "seeds"]) == (30, 40, 3)
    assert rows.loc["8 to 9", "value"] == pytest.approx(arm.values[:, 40:80].mean())
    assert (found["low"] <= found["value"]).all()
    assert (found["value"] <= found["high"]).all()


def test_the_chance_of_a_part_knows_how_accurate_the_models_are_on_it() -> None:
    """Right on all easy and wrong on all hard examples: unrelated models of that kind still agree on the easy ones."""
    gold = ["neutral", "contradiction"] * 20
    hard = np.repeat([0, 1], 20)
    labels = [g if not h else "entailment" for g, h in zip(gold, hard, strict=True)]
    model = frame([said(label) for label in labels], gold).assign(hard=hard)
    found = compare.slices("mnli", "bed", {0: model}, {0: model}, "label_loyalty").set_index("part")
    assert found.loc[["easy", "hard"], "chance"].tolist() == [1, 1]
    assert found.loc["neutral", "chance"] < 0.7  # half right, half wrong


def test_heuristics_are_slices_and_lengths_must_be_complete(models) -> None:
    students, teachers = models
    named = {
        seed: frame.assign(heuristic=["overlap", "subsequence"] * 60) for seed, frame in students.items()
    }
    found = compare.slices("mnli", "bed", named, teachers, "probability_loyalty", shuffles=2)
    assert found["part"][found["slice"] == "heuristic"].tolist() == ["overlap", "subsequence"]
    with pytest.raises(compare.CompareError, match="bed: lengths lack id e119"):
        compare.slices(
            "mnli", "bed", students, teachers, lengths=pd.Series(3, index=students[0]["id"].iloc[:-1])
        )


def test_exit_agreement_is_spearmans_rho_of_confidence_beside_its_chance(models) -> None:
    students, teachers = models
    found = compare.exit_agreement("mnli", "bed", students, teachers)
    pairs = [(metrics.confidence(students[s]), metrics.confidence(teachers[s])) for s in students]
    assert found.value == pytest.approx(np.mean([stats.spearmanr(*pair).statistic for pair in pairs]))
    itself = compare.exit_agreement("mnli", "bed", students, students)
    assert (itself.value, itself.low, itself.high) == pytest.approx((1, 1, 1))
    assert abs(compare.exit_chance("bed", students, teachers, shuffles=50)) < 0.05


def test_a_label_of_which_all_are_sure_leaves_exit_agreement_to_chance() -> None:
    sure = frame([[9 + i / 100, 0, 0] for i in range(30)] + [[0, 1 + i / 100, 0] for i in range(30)],
                 ["entailment"] * 30 + ["neutral"] * 30)  # fmt: skip
    assert compare.exit_chance("bed", {0: sure}, {0: sure}) > 0.6


# -- attacks -------------------------------------------------------------------------------------------------


def attacked(rows: list[tuple[str, int, int]]) -> pd.DataFrame:
    columns = pd.DataFrame(rows, columns=["status", "queries", "calls"])
    return columns.assign(id=range(len(rows)), gold="neutral")


ATTACKED = attacked(
    [("success", 40, 30), ("failed", 100, 80), ("skipped", 0, 1), ("budget", 200, 150), ("error", 7, 7)]
)


def test_after_attack_accuracy_is_of_all_examples_and_queries_of_those_once_right() -> None:
    after = compare.accuracy(compare.survived("mnli", "attack", {0: ATTACKED}))
    assert (after.value, after.n) == (2 / 5, 5)
    queries, calls = (
        compare.mean_queries(compare.attack_cost("mnli", "attack", {0: ATTACKED}, cost))
        for cost in ("queries", "calls")
    )
    assert queries.value == pytest.approx((40 + 100 + 200) / 3)
    assert calls.value == pytest.approx((30 + 80 + 150) / 3)
    assert queries.low < queries.value < queries.high


def test_every_attack_is_counted() -> None:
    counts = compare.attack_counts({0: ATTACKED, 1: ATTACKED.iloc[:2]})
    assert counts.to_dict("records") == [
        {"seed": 0, "n": 5, "success": 1, "failed": 1, "budget": 1, "skipped": 1, "error": 1},
        {"seed": 1, "n": 2, "success": 1, "failed": 1, "budget": 0, "skipped": 0, "error": 0},
    ]


def test_no_survivor_has_exact_limits_and_no_correct_example_no_queries() -> None:
    none = compare.accuracy(compare.survived("mnli", "attack", {0: attacked([("success", 5, 5)] * 40)}))
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 40))
    skipped = compare.attack_cost("mnli", "attack", {0: attacked([("skipped", 0, 0)] * 40)})
    assert np.isnan(compare.mean_queries(skipped).value)


def test_an_unknown_status_is_named() -> None:
    with pytest.raises(compare.CompareError, match="seed 3 has the status 'won'; there are success"):
        compare.survived("mnli", "attack", {3: attacked([("won", 1, 1)])})


@pytest.mark.parametrize("column", ["id", "status", "calls"])
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(compare.CompareError, match=f"attacks of seed 3 lack the column '{column}'; found "):
        compare.attack_cost("mnli", "attack", {3: ATTACKED.drop(columns=column)}, "calls")


def test_methods_are_compared_on_the_same_texts() -> None:
    generator = np.random.default_rng(0)
    queries = generator.integers(20, 200, 300)
    first = attacked([("failed" if q > 100 else "success", q, q) for q in queries])
    second = first.assign(queries=first["queries"] + 3).iloc[::-1]
    arms = [compare.attack_cost("mnli", "attack", {0: one}) for one in (first, second)]
    more = compare.mean_queries_difference(arms[1], arms[0])
    assert (more.value, more.low, more.high) == pytest.approx((3, 3, 3))
    same = compare.difference(*(compare.survived("mnli", "attack", {0: one}) for one in (first, second)))
    unseen = 1 - 0.025 ** (1 / 300)  # a difference that none of 300 texts shows
    assert (same.value, same.low, same.high) == pytest.approx((0, -unseen, unseen))


def test_the_interval_of_mean_queries_is_that_of_a_bootstrapped_ratio() -> None:
    generator = np.random.default_rng(1)
    right, spent = generator.random(400) < 0.8, generator.integers(20, 200, 400)
    frame = attacked([("failed" if r else "skipped", q, q) for r, q in zip(right, spent, strict=True)])
    ours = compare.mean_queries(compare.attack_cost("mnli", "attack", {0: frame}))
    peer = stats.bootstrap(
        [(spent * right).astype(float), right.astype(float)], lambda q, c, axis: q.sum(axis) / c.sum(axis),
        paired=True, vectorized=True, method="percentile", n_resamples=4000, rng=generator,
    )  # fmt: skip
    assert ours.value == pytest.approx(spent[right].mean())
    np.testing.assert_allclose([ours.low, ours.high], list(peer.confidence_interval), atol=1.2)
