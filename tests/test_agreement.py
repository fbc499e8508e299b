"""Agreement of two models: sets, neighbours, alignment, points out of distribution."""

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score, jaccard_score

from robust_lib import compare

OF_SETS = (
    "jaccard",
    "overlap coefficient",
    "kappa",
    "Loevinger's H",
    "chance",
    "bound",
    "left out",
    "size",
    "other size",
)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(20261207)


def by_seed(rows: np.ndarray) -> "dict[int, pd.Series]":
    return {seed: pd.Series(row) for seed, row in enumerate(np.atleast_2d(rows))}


def sets(first: np.ndarray, second: np.ndarray, testbed: str = "bed") -> compare.Arm:
    return compare.paired("squad", testbed, by_seed(first), by_seed(second))


def holding(n: int, *items: range) -> np.ndarray:
    """One set of items for each seed, as membership of n items."""
    return np.array([np.isin(np.arange(n), list(held)) for held in items])


def wrong(generator: np.random.Generator, seeds: int = 1, items: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Errors of a large and a small model: the same items are hard for both."""
    hardness = generator.normal(size=items)
    large, small = (hardness + generator.normal(size=(seeds, items)) > least for least in (1.0, 0.3))
    return large, small


def test_loevingers_h_is_1_for_nested_sets_of_any_sizes_and_jaccard_is_not() -> None:
    arm = sets(holding(200, range(20)), holding(200, range(100)))
    assert compare.pair_agreement(arm, "Loevinger's H").value == pytest.approx(1)
    assert compare.pair_agreement(arm, "jaccard").value == pytest.approx(0.2)
    assert compare.pair_agreement(arm, "kappa").value < 0.25


# -- two sets ------------------------------------------------------------------------------------------------


def reference_agreement(one: set[int], two: set[int], n: int) -> dict[str, float]:
    p, q, agreed = len(one) / n, len(two) / n, 1 - len(one ^ two) / n
    expected = p * q + (1 - p) * (1 - q)
    return {
        "jaccard": len(one & two) / len(one | two),
        "overlap coefficient": len(one & two) / min(len(one), len(two)),
        "kappa": (agreed - expected) / (1 - expected),
        "Loevinger's H": 1 - (min(len(one), len(two)) - len(one & two)) / (min(p, q) * n * (1 - max(p, q))),
        "chance": p * q / (p + q - p * q),
        "bound": min(len(one), len(two)) / max(len(one), len(two)),
        "left out": len(one - two) / len(one),
        "size": p,
        "other size": q,
    }


@pytest.mark.parametrize("measure", OF_SETS)
def test_agreement_of_two_sets_is_that_of_pythons_sets(measure: str, generator: np.random.Generator) -> None:
    large, small = wrong(generator)
    expected = reference_agreement(set(np.flatnonzero(large)), set(np.flatnonzero(small)), 300)
    found = compare.pair_agreement(sets(large, small), measure)
    assert found.value == pytest.approx(expected[measure])
    assert -0.1 < found.low < found.value < found.high < 1
    assert (found.n, found.seeds) == (300, 1)


def test_jaccard_and_kappa_are_scikit_learns(generator: np.random.Generator) -> None:
    large, small = wrong(generator)
    arm = sets(large, small)
    assert compare.pair_agreement(arm, "jaccard").value == pytest.approx(jaccard_score(large[0], small[0]))
    assert compare.pair_agreement(arm, "kappa").value == pytest.approx(cohen_kappa_score(large[0], small[0]))


def test_the_interval_of_a_jaccard_is_scipys_bootstrap(generator: np.random.Generator) -> None:
    large, small = wrong(generator)
    ours = compare.pair_agreement(sets(large, small), "jaccard", generator=generator)
    peer = stats.bootstrap(
        (large[0], small[0]),
        jaccard_score,
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=generator,
    ).confidence_interval
    np.testing.assert_allclose([ours.low, ours.high], list(peer), atol=0.02)


def test_chance_is_the_jaccard_of_shuffled_errors(generator: np.random.Generator) -> None:
    large, small = wrong(generator, items=4000)
    level = compare.pair_agreement(sets(large, small), "chance").value
    shuffled = [jaccard_score(generator.permutation(large[0]), small[0]) for _ in range(30)]
    assert np.mean(shuffled) == pytest.approx(level, abs=0.004)
    unrelated = sets(np.stack([generator.permutation(large[0])]), small)
    assert abs(compare.pair_agreement(unrelated, "kappa").value) < 0.05


def test_bound_is_the_jaccard_of_nested_sets_and_no_jaccard_is_above_it(
    generator: np.random.Generator,
) -> None:
    nested = sets(holding(50, range(10)), holding(50, range(30)))
    bound, reached = (compare.pair_agreement(nested, measure).value for measure in ("bound", "jaccard"))
    assert bound == pytest.approx(reached)
    arm = sets(*wrong(generator))
    assert compare.pair_agreement(arm, "jaccard").value < compare.pair_agreement(arm, "bound").value


def binomial(right: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    exact = stats.binomtest(right, trials).proportion_ci(level)
    return exact.low, exact.high


def limits(found: compare.Interval) -> tuple[float, float]:
    return found.low, found.high


def test_equal_sets_agree_wholly_within_exact_limits() -> None:
    arm = sets(holding(50, range(20)), holding(50, range(20)))
    for measure, trials in (("jaccard", 20), ("overlap coefficient", 20), ("bound", 20), ("kappa", 12)):
        found = compare.pair_agreement(arm, measure)
        assert found.value == pytest.approx(1)
        assert limits(found) == pytest.approx(binomial(trials, trials))
    found = compare.pair_agreement(arm, "left out", level=0.9)
    assert (found.value, *limits(found)) == pytest.approx((0, *binomial(0, 20, 0.9)))


def test_disjoint_sets_and_subsets_have_exact_limits_too() -> None:
    disjoint = compare.pair_agreement(sets(holding(90, range(30)), holding(90, range(30, 70))), "jaccard")
    assert (disjoint.value, *limits(disjoint)) == pytest.approx((0, *binomial(0, 70)))
    subset = sets(holding(90, range(30), range(30), range(30)), holding(90, *[range(40)] * 3))
    left_out = compare.pair_agreement(subset, "left out")
    assert (left_out.value, *limits(left_out), left_out.seeds) == pytest.approx((0, *binomial(0, 30), 3))
    back = compare.pair_agreement(sets(holding(90, range(40)), holding(90, range(30))), "left out")
    assert back.low < back.value == 0.25 < back.high


def test_sets_without_items_have_no_agreement_but_sizes() -> None:
    empty = sets(holding(50, range(0)), holding(50, range(0)))
    for measure in ("jaccard", "overlap coefficient", "kappa", "chance", "bound", "left out"):
        found = compare.pair_agreement(empty, measure)
        assert np.isnan(found.value)
        assert limits(found) == (-np.inf, np.inf)
    size = compare.pair_agreement(empty, "size")
    assert (size.value, *limits(size)) == pytest.approx((0, *binomial(0, 50)))
    undefined = compare.mean_pair_agreement([empty], "jaccard", [empty])
    assert (np.isnan(undefined.value), *limits(undefined)) == (True, -np.inf, np.inf)
    one_sided = sets(holding(50, range(0)), holding(50, range(20)))
    assert np.isnan(compare.pair_agreement(one_sided, "left out").value)
    assert limits(compare.pair_agreement(one_sided, "jaccard")) == pytest.approx(binomial(0, 20))
    kappa = compare.pair_agreement(one_sided, "kappa")
    assert (kappa.value, kappa.low) == (0, -kappa.high)
    full = sets(holding(50, range(50)), holding(50, range(50)))
    assert np.isnan(compare.pair_agreement(full, "kappa").value)
    assert compare.pair_agreement(full, "jaccard").low == pytest.approx(binomial(50, 50)[0])


def test_rarely_undefined_is_bounded_and_often_undefined_is_the_whole_range() -> None:
    two = compare.pair_agreement(sets(holding(400, range(2)), holding(400, range(1, 3))), "jaccard")
    assert (two.value, *limits(two)) == (pytest.approx(1 / 3), 0, 1)


def test_several_seeds_are_taken_together_and_widen_the_interval(generator: np.random.Generator) -> None:
    large, small = wrong(generator, seeds=3)
    arm = sets(large, small)
    found = compare.pair_agreement(arm, "jaccard")
    assert found.value == pytest.approx((large & small).sum() / (large | small).sum())
    each = [jaccard_score(one, two) for one, two in zip(large, small, strict=True)]
    assert found.seed_sd == pytest.approx(np.std(each, ddof=1))
    same = compare.pair_agreement(sets(large[[0, 0, 0]], small[[0, 0, 0]]), "jaccard")
    one = compare.pair_agreement(sets(large[0], small[0]), "jaccard")
    assert limits(same) == pytest.approx(limits(one), abs=0.01)


def test_models_meet_by_seed_and_item() -> None:
    first = {seed: pd.Series([True, seed == 1, False], index=["a", "b", "c"]) for seed in (1, 2)}
    second = {seed: first[seed].loc[["c", "a", "b"]] for seed in (2, 1)}
    assert compare.pair_agreement(compare.paired("t", "bed", first, second), "jaccard").value == 1


def test_a_pair_that_cannot_be_made_is_named() -> None:
    one, two = by_seed(holding(4, range(2), range(3))), by_seed(holding(4, range(2)))
    with pytest.raises(compare.CompareError, match=r"bed: the first has seeds \[0, 1\], the second \[0\]"):
        compare.paired("t", "bed", one, two)
    with pytest.raises(compare.CompareError, match=r"bed: the first of seed 0 has 4 .* 3; not in both: id 3"):
        compare.paired("t", "bed", two, {0: two[0].iloc[:3]})
    with pytest.raises(compare.CompareError, match="bed: seed 0 has membership other than True and False"):
        compare.paired("t", "bed", two, {0: two[0] * 2})
    with pytest.raises(
        compare.CompareError, match="measure is 'dice'; of two sets there are jaccard, overlap"
    ):
        compare.pair_agreement(compare.paired("t", "bed", two, two), "dice")


# -- differences ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["jaccard", "kappa", "left out"])
def test_a_pair_differs_from_itself_by_nothing(measure: str, generator: np.random.Generator) -> None:
    arm = sets(*wrong(generator, seeds=3))
    itself = compare.mean_pair_agreement([arm], measure, [arm])
    assert (itself.value, *limits(itself)) == (0, 0, 0)


@pytest.mark.parametrize("measure", ["jaccard", "kappa", "left out"])
def test_pairs_that_nearly_agree_differ_by_little_where_paired(
    measure: str, generator: np.random.Generator
) -> None:
    large, small = wrong(generator)
    nearly = small ^ (generator.random(small.shape) < 0.02)
    arm, other, elsewhere = sets(large, small), sets(large, nearly), sets(large, nearly, "another bed")
    found = compare.mean_pair_agreement([arm], measure, [other])
    values = [compare.pair_agreement(one, measure).value for one in (arm, other)]
    assert found.value == pytest.approx(values[0] - values[1])
    back = compare.mean_pair_agreement([other], measure, [arm])
    assert limits(found) == pytest.approx((-back.high, -back.low), abs=0.01)
    unpaired = compare.mean_pair_agreement([arm], measure, [elsewhere])
    assert found.high - found.low < 0.6 * (unpaired.high - unpaired.low)


@pytest.mark.parametrize("measure", ["jaccard", "kappa", "left out"])
def test_pairing_narrows_intervals_over_three_seeds_too(measure: str, generator: np.random.Generator) -> None:
    """Of three trainings the width is half chance, so the median of twenty draws is asked."""
    ratios = []
    for _ in range(20):
        large, small = wrong(generator, seeds=3)
        nearly = small ^ (generator.random(small.shape) < 0.02)
        arm, other, elsewhere = sets(large, small), sets(large, nearly), sets(large, nearly, "another bed")
        paired, apart = (compare.mean_pair_agreement([arm], measure, [one]) for one in (other, elsewhere))
        ratios.append((paired.high - paired.low) / (apart.high - apart.low))
    assert np.median(ratios) < 0.6


def test_a_difference_without_spread_gets_the_limits_of_the_smaller_sets() -> None:
    equal = sets(holding(90, range(30)), holding(90, range(30)))
    disjoint = sets(holding(90, range(30)), holding(90, range(30, 70)))
    found = compare.mean_pair_agreement([equal], "jaccard", [disjoint])
    assert (found.value, *limits(found)) == pytest.approx((1, 1 - binomial(0, 30)[1], 1))


# -- neighbours ----------------------------------------------------------------------------------------------


def neighbours(generator: np.random.Generator, points: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of the other points is one of the k nearest, under two models (points, points - 1)."""
    common = generator.normal(size=(points, points - 1))
    near = (common + generator.normal(size=common.shape) for _ in range(2))
    ranks = [one.argsort(axis=1).argsort(axis=1) < k for one in near]
    return ranks[0], ranks[1]


@pytest.mark.parametrize("k", [1, 5, 15])
def test_agreement_of_neighbours_is_the_mean_of_each_points(k: int, generator: np.random.Generator) -> None:
    one, two = neighbours(generator, 30, k)
    arm = compare.neighbourhood("t", "bed", {0: pd.Series((one & two).sum(axis=1))}, k=k, n=30)
    each = [jaccard_score(*pair) for pair in zip(one, two, strict=True)]
    expected = {
        "jaccard": np.mean(each),
        "variance": np.var(each),
        "overlap coefficient": (one & two).sum() / (30 * k),
        "kappa": np.mean([cohen_kappa_score(*pair) for pair in zip(one, two, strict=True)]),
    }
    for measure, value in expected.items():
        found = compare.pair_agreement(arm, measure)
        assert found.value == pytest.approx(value)
        assert found.low < found.value < found.high
    assert (found.n, found.seeds) == (30, 1)


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_chance_is_the_mean_over_all_sets_of_neighbours(k: int) -> None:
    possible = [set(chosen) for chosen in combinations(range(6), k)]
    expected = np.mean([len(a & b) / len(a | b) for a, b in product(possible, possible)])
    shared = {0: pd.Series([k] * 7)}
    arm = compare.neighbourhood("t", "bed", shared, k=k, n=7)
    found = compare.pair_agreement(arm, "chance")
    assert (found.value, *limits(found)) == pytest.approx((expected, expected, expected))
    kappa = compare.pair_agreement(arm, "kappa").value
    assert np.isnan(kappa) if k == 6 else kappa == pytest.approx(1)


def test_equal_neighbours_agree_wholly_without_variance() -> None:
    arm = compare.neighbourhood("t", "bed", by_seed(np.full((3, 20), 4)), k=4, n=20)
    for measure, value in (("jaccard", 1), ("variance", 0), ("overlap coefficient", 1), ("kappa", 1)):
        found = compare.pair_agreement(arm, measure)
        assert (found.value, *limits(found)) == pytest.approx((value, value, value))
    blind = compare.mean_pair_agreement([arm], "chance", [arm])
    assert blind.value == 0


def test_neighbours_that_cannot_be_shared_are_named() -> None:
    shared = {0: pd.Series([0, 3, 1], index=["a", "b", "c"])}
    with pytest.raises(compare.CompareError, match="bed: k is 3 and n is 3: each of n points has n - 1"):
        compare.neighbourhood("t", "bed", shared, k=3, n=3)
    with pytest.raises(compare.CompareError, match=r"point b shares 3 .* 2 out of 9 share 0 to 2"):
        compare.neighbourhood("t", "bed", shared, k=2, n=10)
    with pytest.raises(compare.CompareError, match=r"point a shares 0 .* 3 out of 4 share 2 to 3"):
        compare.neighbourhood("t", "bed", shared, k=3, n=5)
    arm = compare.neighbourhood("t", "bed", shared, k=3, n=10)
    with pytest.raises(
        compare.CompareError, match="'bound'; of neighbours there are jaccard, variance, overlap"
    ):
        compare.pair_agreement(arm, "bound")


# -- alignment and runs --------------------------------------------------------------------------------------


def test_an_alignment_is_the_mean_of_its_pseudo_values_with_students_interval(
    generator: np.random.Generator,
) -> None:
    pseudo = generator.normal(0.4, 0.1, 20)
    found = compare.pair_agreement(compare.aligned("t", "bed", {0: pd.Series(pseudo)}), "cka")
    student = stats.t.interval(0.95, 19, pseudo.mean(), stats.sem(pseudo))
    assert found.value == pytest.approx(pseudo.mean())
    np.testing.assert_allclose(limits(found), student, atol=0.01)
    same = compare.pair_agreement(compare.aligned("t", "bed", {0: pd.Series([1.0] * 20)}), "cka")
    assert (same.value, *limits(same)) == (1, 1, 1)


def test_a_mean_over_pairs_is_the_mean_of_theirs_less_that_of_the_others(
    generator: np.random.Generator,
) -> None:
    arms = [sets(*wrong(generator)) for _ in range(4)]
    values = [compare.pair_agreement(arm, "jaccard").value for arm in arms]
    mean = compare.mean_pair_agreement(arms[:3], "jaccard")
    assert mean.value == pytest.approx(np.mean(values[:3]))
    one = compare.pair_agreement(arms[0], "jaccard")
    assert mean.high - mean.low < one.high - one.low
    apart = compare.mean_pair_agreement(arms[:3], "jaccard", arms[3:])
    assert apart.value == pytest.approx(np.mean(values[:3]) - values[3])
    nothing = compare.mean_pair_agreement(arms[:2], "jaccard", arms[:2])
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def distances(**by_set: np.ndarray) -> pd.DataFrame:
    """At k 1 the given distances, at k 5 ten more."""
    parts = [
        pd.DataFrame({"set": name, "point": range(len(found)), "k": k, "distance": found + more})
        for name, found in by_set.items()
        for k, more in ((1, 0), (5, 10))
    ]
    return pd.concat(parts)


@pytest.mark.parametrize("n", [1, 7, 10, 30, 50, 100, 333])
def test_points_are_flagged_as_the_released_code_does(n: int, generator: np.random.Generator) -> None:
    inside, train, outside = generator.random(n), 2 * generator.random(40), 1.5 * generator.random(60)
    frame = distances(heldout=inside, train=train, test=outside)
    for of, found in (("test", outside), ("heldout", inside)):
        scores, known = -found, np.sort(-inside)
        threshold = known[round(0.05 * n)]
        expected = ~(scores > threshold)
        np.testing.assert_array_equal(compare.flagged(frame, k=1, of=of), expected)
        np.testing.assert_array_equal(compare.flagged(frame, k=5, of=of), expected)
    by_train = compare.flagged(frame, k=1, share=0.9, by="train")
    np.testing.assert_array_equal(by_train, outside >= np.sort(train)[-5])
    assert compare.flagged(frame, k=1, of="heldout").sum() == round(0.05 * n) + 1


def test_flagged_points_make_a_pair_of_sets(generator: np.random.Generator) -> None:
    one, two = (
        {
            seed: compare.flagged(
                distances(heldout=generator.random(40), test=2 * generator.random(50)), k=5, share=0.9
            )
            for seed in (0, 1)
        }
        for _ in range(2)
    )
    assert one[0].dtype == bool
    assert one[0].index.name == "point"
    found = compare.pair_agreement(compare.paired("squad", "newsqa", one, two), "jaccard")
    assert 0 < found.value < 1


def test_a_share_between_all_and_none_and_equal_distances() -> None:
    frame = distances(heldout=np.arange(3.0), test=np.array([-1.0, 0.0, 5.0]))
    assert compare.flagged(frame, k=1, share=0.01).tolist() == [False, True, True]
    assert compare.flagged(frame, k=1, share=0.99).tolist() == [False, False, True]
    assert compare.flagged(distances(heldout=np.zeros(9), test=np.zeros(4)), k=1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.0}, "share is 1.0: the share .* above 0, below 1"),
        ({"by": "dev"}, "no distances of the set 'dev'; there are heldout, test"),
        ({"k": 2}, r"heldout: no distances at k 2; there are \[1, 5\]"),
    ],
)
def test_distances_that_are_not_there_are_named(settings, message: str) -> None:
    frame = distances(heldout=np.arange(9.0), test=np.arange(3.0))
    with pytest.raises(compare.CompareError, match=message):
        compare.flagged(frame, **{"k": 1} | settings)


def test_odd_distances_are_named() -> None:
    frame = distances(heldout=np.arange(9.0), test=np.array([1.0, np.nan]))
    with pytest.raises(compare.CompareError, match="test: point 1 stands twice or has no finite distance"):
        compare.flagged(frame, k=1)
    with pytest.raises(compare.CompareError, match="heldout: point 0 stands twice or has no finite"):
        compare.flagged(pd.concat([frame, frame]), k=1)
    with pytest.raises(compare.CompareError, match="the distances lack the column 'k'; found set, point"):
        compare.flagged(frame.drop(columns="k"), k=1)
