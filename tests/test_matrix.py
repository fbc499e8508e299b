"""The matrix: its measures against those of `compare` alone, its control, its fronts; the notebook on more tasks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from robust_lib import commands, compare, data, masks, methods, models, params, report
from robust_lib.methods import wearing

CONTROL = "Teacher, another seed"
BEDS = {"sst2": ["sst2/validation", "imdb/test"]}
ITEMS, SEEDS, K = 300, (0, 1, 2), 5
NOISES = {
    "Teacher": 0.0,
    "Judge": 0.9,
    CONTROL: 0.5,
    "same": 0.5,
    "weak": 3.0,
}  # of the logits, beside the teacher's


def predictions() -> dict[Any, pd.DataFrame]:
    """Models that are a shared signal and a noise of their own; "same" repeats the control."""
    random, found = np.random.default_rng(0), {}
    for bed, strength in zip(BEDS["sst2"], (1.2, 0.5), strict=True):
        gold = random.choice(["negative", "positive"], ITEMS)
        for seed in SEEDS:
            signal = random.normal(0, 1, ITEMS) + np.where(gold == "positive", strength, -strength)
            for method, size in NOISES.items():
                own = signal + size * random.normal(0, 1, ITEMS)
                frame = pd.DataFrame(
                    {"id": range(ITEMS), "gold": gold, "logit_negative": -own, "logit_positive": own}
                )
                found["sst2", bed, method, 0.0, seed] = frame
            found["sst2", bed, "same", 0.0, seed] = found["sst2", bed, CONTROL, 0.0, seed]
    return found


def evidence(made: dict[Any, pd.DataFrame], *seeds: int) -> dict[Any, Any]:
    chosen = {key: frame for key, frame in made.items() if key[-1] in (seeds or SEEDS)}
    return compare.evidence(chosen, BEDS, answers={}, attacked={}, shared={}, distances={}, k=K)


@pytest.fixture(scope="module")
def made() -> dict[Any, pd.DataFrame]:
    return predictions()


@pytest.fixture(scope="module")
def table(made: dict[Any, pd.DataFrame]) -> pd.DataFrame:
    return compare.matrix(evidence(made), control=CONTROL)


def cell(table: pd.DataFrame, method: str, measure: str) -> "pd.Series[Any]":
    return table.set_index(["method", "measure"]).loc[(method, measure)]


def test_a_cell_is_what_compare_gives_alone(made: dict[Any, pd.DataFrame], table: pd.DataFrame) -> None:
    bed = BEDS["sst2"][0]
    weak, teacher, control = (
        {seed: made["sst2", bed, method, 0.0, seed] for seed in SEEDS}
        for method in ("weak", "Teacher", CONTROL)
    )
    own, other = (compare.loyalty("sst2", bed, one, teacher) for one in (weak, control))
    found, apart = compare.accuracy(own), compare.difference(own, other)
    row = cell(table, "weak", "label loyalty")
    assert tuple(row[["value", "low", "high", "n", "seeds"]]) == (
        found.value,
        found.low,
        found.high,
        ITEMS,
        3,
    )
    assert tuple(row[["difference", "difference_low", "difference_high"]]) == (
        apart.value,
        apart.low,
        apart.high,
    )
    assert row["control"] == compare.accuracy(other).value


def test_a_copy_of_the_control_differs_by_nothing_and_a_weak_model_is_worse(table: pd.DataFrame) -> None:
    same = table[table["method"] == "same"]
    assert set(same["measure"]) >= {
        "accuracy",
        "OOD accuracy",
        "easy-hard gap",
        "label loyalty",
        "errors kept",
    }
    assert (same["difference"] == 0).all()
    assert set(same["verdict"]) == {"not told apart"}
    for measure in ("accuracy", "OOD accuracy", "label loyalty", "probability loyalty", "errors kept"):
        assert cell(table, "weak", measure)["verdict"] == "worse"


def test_the_judge_halves_the_items_and_is_no_row(made: dict[Any, pd.DataFrame], table: pd.DataFrame) -> None:
    assert "Judge" not in set(table["method"])
    easy, hard = (
        evidence(made)["sst2", "Teacher", "easy-hard gap"].slices[part] for part in ("easy", "hard")
    )
    assert (len(easy.ids), len(hard.ids)) == (ITEMS // 2, ITEMS // 2)
    assert cell(table, "Teacher", "easy-hard gap")["value"] == easy.values.mean() - hard.values.mean() > 0


def test_a_task_without_the_control_is_refused(made: dict[Any, pd.DataFrame]) -> None:
    known = {key: frame for key, frame in made.items() if key[2] != CONTROL}
    with pytest.raises(compare.CompareError, match="sst2: there is no method 'Teacher, another seed'"):
        compare.matrix(evidence(known), control=CONTROL)


def test_controls_hold_the_next_pair(made: dict[Any, pd.DataFrame], table: pd.DataFrame) -> None:
    values = compare.by_seed({seed: evidence(made, seed) for seed in SEEDS})
    found = compare.controls(values, table, control=CONTROL).set_index("measure")
    pairs = values.xs("sst2").unstack("method")
    gaps = pairs["accuracy"][CONTROL] - pairs["accuracy"]["Teacher"]
    assert found.loc["accuracy", "value"] == pytest.approx(np.sqrt((gaps**2).mean()))
    assert found.loc["accuracy", "high"] == pytest.approx(3.1824 * found.loc["accuracy", "value"], rel=1e-4)
    loyal = pairs["label loyalty"][CONTROL]
    half = 4.3027 * loyal.std() * np.sqrt(4 / 3)  # Student's t of two degrees of freedom
    assert found.loc["label loyalty", "value"] == pytest.approx(
        cell(table, CONTROL, "label loyalty")["value"]
    )
    assert found.loc["label loyalty", "low"] == pytest.approx(loyal.mean() - half, rel=1e-4)
    alone = compare.controls(values[values.index.get_level_values("seed") == 0], table, control=CONTROL)
    assert not np.isfinite(alone.set_index("measure").loc["label loyalty", ["low", "high"]]).any()


def test_standardised_means_hold_the_tasks_limits() -> None:
    rows = [
        ("one", "a", "accuracy", -0.02, -0.03, -0.01), ("one", "b", "accuracy", 0.02, 0.01, 0.03),
        ("two", "a", "accuracy", -0.04, -0.07, 0.01), ("two", "b", "accuracy", 0.04, 0.01, 0.07),
        ("one", "a", "F_bias", 0.1, 0.05, 0.2), ("one", "b", "F_bias", -0.1, -0.2, -0.05),
    ]  # fmt: skip
    columns = ["task", "method", "measure", "difference", "difference_low", "difference_high"]
    table = pd.DataFrame(rows, columns=columns).assign(verdict="better")
    found = compare.standardised(table, control=CONTROL).set_index(["method", "measure"])
    half = 1 / np.sqrt(2)  # two methods as far apart lie so many standard deviations off their mean
    assert found.loc[("b", "accuracy"), "value"] == pytest.approx(half)
    reach = half * np.hypot(0.01 / 0.02, 0.03 / 0.04) / 2
    assert found.loc[("b", "accuracy"), "high"] == pytest.approx(half + reach)
    assert found.loc[("a", "accuracy"), "tasks"] == 2
    assert found.loc[("a", "F_bias"), "value"] == pytest.approx(-half)  # less bias is better
    assert found.loc[("a", "F_bias"), "low"] == pytest.approx(-half * 2)
    assert found["told"].all()
    wide = table.assign(difference_low=-1.0, difference_high=1.0)
    assert not compare.standardised(wide, control=CONTROL)["told"].any()
    single = table.assign(verdict="one seed")
    assert not compare.standardised(single, control=CONTROL)["told"].any()


def test_a_front_holds_what_nothing_dominates() -> None:
    cost = pd.Series({"cheap": 1.0, "good": 3.0, "dear": 4.0, "poor": 3.0, "twin": 1.0, "unknown": np.nan})
    value = pd.Series({"cheap": 0.5, "good": 0.9, "dear": 0.9, "poor": 0.7, "twin": 0.5, "unknown": 1.0})
    front = compare.pareto(cost, value)
    assert set(front.index[front]) == {"cheap", "good", "twin"}
    assert "unknown" not in front


def test_the_figures_draw_every_method(table: pd.DataFrame) -> None:
    scaled = compare.standardised(table, control=CONTROL)
    heat = report.matrix_figure(scaled.assign(family="small"), ["other", "small"])
    shown = {label.get_text() for axis in heat.axes for label in axis.get_yticklabels()}
    assert shown >= {"same", "weak"}
    points = table[(table["measure"] == "accuracy") & (table["method"] != CONTROL)]
    points = points.assign(family="small", better=1, cost=[4.0, 2.0, 1.0], front=[True, True, False])
    figure = report.pareto_figure(points, "megabytes", ["other", "small"])
    assert isinstance(figure, Figure)
    named = {text.get_text() for axis in figure.axes for text in axis.texts}
    assert named == set(points.loc[points["front"], "method"])


def test_a_worn_subnetwork_predicts_as_under_its_masks() -> None:
    encoder, split = models.Encoder("micro-tiny"), data.Split("sst2", "sst2/validation", "micro", 40)
    first, second, plain = (encoder.classifier(split.labels, seed=0) for _ in range(3))
    layers = masks.linears(first, masks.PARTS)
    subnetwork = {"masks": {name: masks.magnitude(layer.weight, 0.7) for name, layer in layers.items()}}
    seen = dict(encoder=encoder, split=split, max_length=32)
    logits = ["logit_negative", "logit_positive"]
    own = methods.predicted(model=wearing.worn(start=first, subnetwork=subnetwork), **seen)[logits].to_numpy()
    masked = methods.predicted(model=second, subnetwork=subnetwork, **seen)[logits].to_numpy()
    assert np.array_equal(own, masked)
    assert not np.allclose(own, methods.predicted(model=plain, **seen)[logits].to_numpy())


def test_it_is_reproduced_only_by_name() -> None:
    assert "08_matrix" not in {path.stem for path in commands.choose([], "micro")}
    assert [path.stem for path in commands.choose(["08"], "micro")] == ["08_matrix"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rows": {"control": {"Teacher, another seed": None}}}, "fewer than four methods"),
        ({"tasks": ["squad"]}, "squad has readers of a few methods alone"),
        ({"seeds": [0, 1000]}, "seeds: 1000 is that of another training of seed 0"),
        ({"small_encoders": {}}, "'DistilBERT' has no encoder in small_encoders"),
        ({"index_size": 5000}, "index_size should not exceed train_size"),
    ],
)
def test_values_that_do_not_fit_are_refused(given: dict[str, Any], told: str) -> None:
    notebook = Path(__file__).parents[1] / "notebooks" / "08_matrix.py"
    with pytest.raises(params.ParameterError, match=told):
        params.gather(notebook, given=given)


def test_it_runs_with_two_seeds_on_other_tasks(executed: Callable[..., Path]) -> None:
    rows = {
        "control": {CONTROL: None, "Teacher +Finetune": 3},
        "pruning": {"One-shot 50 %": 4},
        "heads": {"Head Prune": 3},
        "half the layers": {"Truncate & Finetune": 3},
        "small encoders": {"BERT-tiny": 2},
    }
    folder = executed(
        "08_matrix", tasks=["sst2", "qqp"], attacked_tasks=["sst2"], rows=rows, seeds=[0, 1], train_size=64,
        test_size=60, epochs=1, more_epochs=1, small_encoders={"BERT-tiny": "micro-tiny"}, head_sample=32,
        calibration_size=32, attack_size=8, sentences=None, index_size=60, speed_rounds=2,
    )  # fmt: skip
    table = pd.read_csv(folder / "08_matrix" / "matrix.csv")
    assert set(table["task"]) == {"sst2", "qqp"}
    assert set(table.loc[~table["measure"].isin(compare.COSTS), "seeds"]) == {2}
    assert set(table.loc[table["measure"] == "attack success", "task"]) == {"sst2"}
    loyal = table[(table["measure"] == "label loyalty") & (table["method"] == CONTROL)]
    assert list(loyal["difference"]) == [0, 0]
