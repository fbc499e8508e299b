"""Paired tests, corrections, rankings, power over items and rank correlations against peers and exact cases."""

import doctest
from itertools import combinations, product

import networkx
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats import multitest
from statsmodels.stats.power import TTestPower

from robust_lib import compare


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(20261122)


def arm(values: np.ndarray, testbed: str = "bed") -> compare.Arm:
    outcomes = {seed: pd.Series(row, dtype=float) for seed, row in enumerate(np.atleast_2d(values))}
    return compare.arm("task", testbed, outcomes)


def test_the_tour_of_the_package_runs_as_it_is_printed() -> None:
    found = doctest.testmod(compare)
    assert found.attempted > 10
    assert not found.failed


# -- correction ----------------------------------------------------------------------------------------------


def test_corrected_is_statsmodels_benjamini_hochberg_and_leaves_gaps(generator: np.random.Generator) -> None:
    p_values = generator.random(40) ** 3
    np.testing.assert_allclose(
        compare.corrected(p_values), multitest.multipletests(p_values, method="fdr_bh")[1]
    )
    holes = np.insert(p_values, [0, 7, 40], np.nan)
    with_holes = compare.corrected(pd.Series(holes))
    assert np.isnan(with_holes[[0, 8, 42]]).all()
    np.testing.assert_array_equal(with_holes[~np.isnan(holes)], compare.corrected(p_values))
    assert len(compare.corrected([])) == 0
    assert np.isnan(compare.corrected([np.nan])).all()
    for strange in (1.2, -0.1, np.inf):
        with pytest.raises(compare.CompareError, match=f"p is {strange:g}: give numbers from 0 to 1"):
            compare.corrected([0.1, strange])


# -- swapping ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [2, 4, 9, 13])
def test_swapping_few_items_is_scipys_exact_permutation_test(
    items: int, generator: np.random.Generator
) -> None:
    first, second = generator.normal(size=(2, items))
    peer = stats.permutation_test(
        (first, second), lambda x, y: x.mean() - y.mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert compare.swapped([arm(first)], [arm(second)]) == pytest.approx(peer.pvalue)


def test_swapping_takes_all_patterns_of_the_items_that_differ(generator: np.random.Generator) -> None:
    """Binary outcomes with 3 against 8 discordant items, and 100 that are the same: McNemar's exact test."""
    first, second = (pd.Series(ones + [1] * 100) for ones in ([1] * 3 + [0] * 8, [0] * 3 + [1] * 8))
    exact = compare.mcnemar(first, second).p_value
    ours = compare.swapped([arm(first.to_numpy())], [arm(second.to_numpy())])
    assert ours == pytest.approx(exact)
    assert compare.difference_test(arm(first.to_numpy()), arm(second.to_numpy())) == exact


def test_drawn_swaps_have_mcnemars_p_value_but_for_the_draw(generator: np.random.Generator) -> None:
    first, second = generator.random((2, 400)) < [[0.75], [0.7]]
    exact = compare.mcnemar(pd.Series(first), pd.Series(second)).p_value
    ours = compare.swapped([arm(first)], [arm(second)], generator=generator)
    assert ours == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9999))


def test_a_gap_is_swapped_on_both_test_beds_and_a_calibration_error_item_by_item(
    generator: np.random.Generator,
) -> None:
    """All patterns by hand: three items in distribution and two out of it, then four items in two bins."""
    inside, outside = generator.random((2, 3)), generator.random((2, 2))

    def gap(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        return inside - outside

    found = []
    for swap in product([False, True], repeat=5):
        one = np.where(swap[:3], inside[::-1], inside).mean(axis=1)
        two = np.where(swap[3:], outside[::-1], outside).mean(axis=1)
        found.append((one[0] - two[0]) - (one[1] - two[1]))
    expected = np.mean(np.abs(found) >= abs(found[0]) - 1e-12)
    models = [[arm(inside[i], "id"), arm(outside[i], "ood")] for i in (0, 1)]
    assert compare.swapped(models[0], models[1], gap) == pytest.approx(expected)

    bins = generator.normal(size=(2, 4, 2))
    errors = []
    for swap in product([False, True], repeat=4):
        chosen = np.where(np.array(swap)[:, None], bins[::-1], bins)
        errors.append(np.subtract(*abs(chosen.mean(axis=1)).sum(axis=1)))
    expected = np.mean(np.abs(errors) >= abs(errors[0]) - 1e-12)
    calibrated = [compare.Arm("task", "bed", (0,), pd.RangeIndex(4), one[None]) for one in bins]
    ours = compare.swapped([calibrated[0]], [calibrated[1]], lambda gaps: abs(gaps).sum(axis=0))
    assert ours == pytest.approx(expected)


def test_equal_models_are_never_told_apart(generator: np.random.Generator) -> None:
    model, again = (arm(values) for values in [generator.normal(size=(3, 50))] * 2)
    assert compare.swapped([model], [again]) == 1
    assert compare.difference_test(model, again) == 1
    assert compare.swapped([model], [again], lambda mean: mean * np.nan) == 1
    with pytest.raises(compare.CompareError, match="same test beds in one order, not bed against ood"):
        compare.swapped([model], [arm(np.ones(50), "ood")])
    with pytest.raises(compare.CompareError, match="not in both: id 49"):
        compare.difference_test(model, arm(np.ones(49)))


# -- the test of a difference --------------------------------------------------------------------------------


def test_with_one_seed_the_difference_is_tested_by_the_paired_t_test(generator: np.random.Generator) -> None:
    first, second = generator.normal([[0.0], [0.3]], size=(2, 60))
    assert compare.difference_test(arm(first), arm(second)) == pytest.approx(
        stats.ttest_rel(first, second).pvalue
    )


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_items_that_all_agree_leave_the_paired_t_test_over_seeds(
    seeds: int, generator: np.random.Generator
) -> None:
    by_seed = generator.normal([[0.0], [0.8]], size=(2, seeds))
    ours = compare.difference_test(*(arm(np.repeat(one[:, None], 30, axis=1)) for one in by_seed))
    exact = stats.ttest_rel(*by_seed).pvalue
    assert ours == pytest.approx(exact, abs=4 * np.sqrt(exact / compare.significance.DRAWS))


def test_a_difference_is_significant_where_its_interval_excludes_zero(generator: np.random.Generator) -> None:
    agreed = []
    for shift in np.linspace(0, 0.08, 40):
        first, second = generator.random((2, 3, 800)) < np.array([0.7, 0.7 + shift])[:, None, None]
        found = compare.difference(arm(first), arm(second))
        significant = compare.difference_test(arm(first), arm(second)) < 0.05
        agreed.append(significant == (found.low > 0 or found.high < 0))
    assert np.mean(agreed) >= 0.95


# -- rankings ------------------------------------------------------------------------------------------------


def test_letters_of_piephos_display() -> None:
    models = list("ABCD")
    assert compare.letters(models, []) == ["a"] * 4
    assert compare.letters(models, combinations(models, 2)) == list("abcd")
    assert compare.letters(models, [("A", "C"), ("A", "D"), ("B", "D")]) == ["a", "ab", "bc", "c"]
    # Not an interval: the second, of few items, is told from none.
    assert compare.letters(models, [("A", "C"), ("A", "D"), ("C", "D")]) == ["a", "abc", "b", "c"]
    with pytest.raises(compare.CompareError, match="53 groups; there are 52 letters"):
        compare.letters([str(i) for i in range(53)], combinations(map(str, range(53)), 2))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9])
def test_letters_are_the_largest_sets_not_told_apart(share: float, generator: np.random.Generator) -> None:
    models = [f"model {i}" for i in range(9)]
    for _ in range(20):
        pairs = list(combinations(models, 2))
        apart = {pair for pair in pairs if generator.random() < share}
        graph = networkx.Graph(pair for pair in pairs if pair not in apart)
        graph.add_nodes_from(models)
        ours = compare.letters(models, apart)
        letters = sorted(set("".join(ours)))
        groups = [
            {model for model, own in zip(models, ours, strict=True) if letter in own} for letter in letters
        ]
        cliques = [set(clique) for clique in networkx.find_cliques(graph)]
        assert sorted(map(sorted, groups)) == sorted(map(sorted, cliques))


def test_a_ranking_orders_models_and_groups_what_cannot_be_told_apart(
    generator: np.random.Generator,
) -> None:
    easy = generator.random(2000)
    rates = {"poor": 0.5, "good": 0.8, "best": 0.9, "as good": 0.801}
    arms = {model: arm(easy < rate) for model, rate in rates.items()}
    found = compare.ranking(arms)
    assert list(found["model"]) == ["best", "as good", "good", "poor"]
    assert list(found["groups"]) == ["a", "b", "b", "c"]
    best = compare.accuracy(arms["best"])
    assert found[["value", "low", "high", "n", "seeds"]].iloc[0].tolist() == [
        best.value,
        best.low,
        best.high,
        2000,
        1,
    ]
    assert list(compare.ranking(arms, ascending=True)["model"]) == ["poor", "good", "as good", "best"]
    assert compare.ranking({"alone": arms["best"]})["groups"].tolist() == ["a"]


@pytest.mark.parametrize("different", [0, 1, 3])
def test_a_ranking_corrects_its_pairs_by_holm(different: int, generator: np.random.Generator) -> None:
    arms = {f"model {i}": arm(generator.random(400) < 0.7 + 0.04 * (i < different)) for i in range(6)}
    p_values = [compare.difference_test(arms[one], arms[two]) for one, two in combinations(arms, 2)]
    told = multitest.multipletests(p_values, 0.5, "holm")[0]
    apart = [pair for pair, differs in zip(combinations(arms, 2), told, strict=True) if differs]
    found = compare.ranking(arms, level=0.5)
    assert list(found["groups"]) == compare.letters(list(found["model"]), apart)


# -- power over items ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("difference", "n", "discordant"), [(0.03, 500, 0.1), (0.1, 60, 0.2), (0.0, 300, 0.1)]
)
def test_share_power_is_the_share_of_simulated_mcnemar_tests_that_see_it(
    difference: float, n: int, discordant: float, generator: np.random.Generator
) -> None:
    shares = [(discordant + difference) / 2, (discordant - difference) / 2, 1 - discordant]
    only = generator.multinomial(n, shares, size=40_000)[:, :2]
    counts, times = np.unique(np.sort(only, axis=1), axis=0, return_counts=True)
    seen = [
        fewer + more > 0 and stats.binomtest(int(fewer), int(fewer + more)).pvalue <= 0.05
        for fewer, more in counts
    ]
    simulated = np.average(seen, weights=times)
    assert compare.share_power(difference, n, discordant) == pytest.approx(
        simulated, abs=0.0075
    )  # three standard errors


def test_detectable_and_needed_are_inverse_and_near_connors_formula() -> None:
    """Connor 1987: n = (z_a sqrt(d) + z_b sqrt(d - difference^2))^2 / difference^2, which the exact test exceeds."""
    for discordant, difference in ((0.1, 0.02), (0.2, 0.05), (0.06, 0.01)):
        needed = compare.items_needed(difference, discordant)
        alpha, beta = stats.norm.ppf([0.975, 0.8])
        connor = (alpha * discordant**0.5 + beta * (discordant - difference**2) ** 0.5) ** 2 / difference**2
        assert connor < needed < 1.15 * connor
        assert compare.share_power(difference, needed, discordant) >= 0.8
        assert compare.detectable_share(needed, discordant) == pytest.approx(difference, rel=0.01)


def test_items_show_no_less_than_one_model_alone_being_right() -> None:
    """Without other discordant items six of one kind are significant: of 100 items, that is a share of 0.079."""
    found = compare.detectable_share(100, 0)
    assert stats.binom.sf(5, 100, found) == pytest.approx(0.8, abs=1e-5)
    assert np.isnan(compare.detectable_share(5, 0.5))
    assert compare.share_power(0, 100, 0) == 0
    with pytest.raises(
        compare.CompareError, match=r"a difference of 0 with 0\.1 discordant needs 1000000 items"
    ):
        compare.items_needed(0, 0.1)
    with pytest.raises(compare.CompareError, match=r"discordant 10, .* a share discordant"):
        compare.detectable_share(100, 10)


def test_a_detectable_mean_is_that_of_the_paired_t_test() -> None:
    for n in (2, 20, 5000):
        effect = compare.detectable_mean(1.7, n) / 1.7
        assert TTestPower().power(effect, n, 0.05) == pytest.approx(0.8)
    with pytest.raises(compare.CompareError, match="the t test needs two items and sd > 0"):
        compare.detectable_mean(0.0, 10)


# -- rank correlations over methods --------------------------------------------------------------------------


def methods(generator: np.random.Generator, count: int, tasks: int = 1, seeds: int = 1) -> pd.DataFrame:
    """Two measures that hang together through a third alone."""
    index = pd.MultiIndex.from_product(
        [[f"task {i}" for i in range(tasks)], [f"method {i}" for i in range(count)], range(seeds)],
        names=["task", "method", "seed"],
    )
    accuracy = generator.normal(size=len(index))
    noise = generator.normal(size=(2, len(index)))
    return pd.DataFrame(
        {"accuracy": accuracy, "loyalty": accuracy + noise[0], "neighbours": accuracy + noise[1]}, index=index
    )


def test_rank_correlations_are_spearmans_within_tasks(generator: np.random.Generator) -> None:
    values = methods(generator, 12, tasks=3, seeds=2).round(1)  # with ties
    found = compare.rank_correlations(values).set_index(["first", "second"])
    means = values.groupby(level=["task", "method"]).mean()
    for first, second in (("accuracy", "loyalty"), ("loyalty", "neighbours")):
        each = [
            stats.spearmanr(rows[first], rows[second]).statistic for _, rows in means.groupby(level="task")
        ]
        row = found.loc[first, second]
        assert row["value"] == pytest.approx(np.mean(each))
        assert row["low"] < row["value"] < row["high"]
        assert (row["n"], row["tasks"], row["seeds"]) == (12, 3, 2)


def test_partial_rank_correlation_is_that_of_what_is_left_of_the_ranks(
    generator: np.random.Generator,
) -> None:
    values = methods(generator, 30)
    ranks = values.rank()
    left = [stats.linregress(ranks["accuracy"], ranks[name]) for name in ("loyalty", "neighbours")]
    residuals = [
        ranks[name] - line.slope * ranks["accuracy"]
        for name, line in zip(("loyalty", "neighbours"), left, strict=True)
    ]
    (row,) = compare.rank_correlations(values, given="accuracy").to_dict("records")
    assert (row["first"], row["second"], row["given"]) == ("loyalty", "neighbours", "accuracy")
    assert row["value"] == pytest.approx(stats.pearsonr(*residuals).statistic)


def test_methods_and_tasks_that_cannot_be_ranked_are_left_out(generator: np.random.Generator) -> None:
    values = methods(generator, 8, tasks=3, seeds=3)
    values.loc["task 0", "loyalty"] = 0.5
    values.loc[("task 1", "method 3"), "loyalty"] = np.nan
    values.loc[("task 1", "method 4", 0), "loyalty"] = np.nan
    values.loc[pd.IndexSlice["task 2", "method 0":"method 4"], "loyalty"] = np.nan
    (row,) = compare.rank_correlations(values, pairs=[("accuracy", "loyalty")]).to_dict("records")
    assert (row["n"], row["tasks"], row["seeds"]) == (7, 1, 2)
    known = values.loc["task 1"].groupby(level="method").mean().dropna()
    assert row["value"] == pytest.approx(stats.spearmanr(known["accuracy"], known["loyalty"]).statistic)
    (none,) = compare.rank_correlations(values.assign(size=1.0), pairs=[("accuracy", "size")]).to_dict(
        "records"
    )
    assert np.isnan([none["value"], none["low"], none["high"]]).all()
    assert (none["n"], none["tasks"], none["seeds"]) == (0, 0, 0)
    with pytest.raises(compare.CompareError, match="no measure 'speed'; there are accuracy, loyalty"):
        compare.rank_correlations(values, pairs=[("accuracy", "speed")])
    with pytest.raises(compare.CompareError, match="indexed by task, method, seed; found"):
        compare.rank_correlations(values.reset_index())
