"""The methods of paper 4 on the micro world's sentences: trained masks, pruning with and without rewinding."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch

from robust_lib import data, losses, masks, methods, metrics, models, objectives, prune, runs, train
from robust_lib.methods import subnetworks

TINY = models.Encoder("micro-tiny")
RECIPE = train.Recipe(epochs=2, learning_rate=5e-3, batch_size=16, max_length=40)  # eight steps
NONE = replace(RECIPE, until=0.0)
SPLIT = data.Split("mnli", "mnli/train", "micro", size=64)
DEVELOPMENT = data.Split("mnli", "mnli/validation_matched", "micro", size=48)
HANS = data.Split("mnli", "hans/validation", "micro", size=48)
HANS_TRAIN = data.Split("mnli", "hans/train", "micro", size=32)
SEARCH = {
    "encoder": TINY, "split": SPLIT, "development": DEVELOPMENT, "recipe": RECIPE, "sparsity": 0.7, "interval": 2,
    "seed": 3,
}  # fmt: skip
ROUND = {"encoder": TINY, "split": SPLIT, "recipe": replace(RECIPE, learning_rate=1e-3), "seed": 3}


@pytest.fixture(scope="module")
def dense():
    return methods.finetuned(**ROUND)


@pytest.fixture(scope="module")
def found(dense):
    return searched(dense)


def searched(start, **other):
    return methods.mask_trained(start=copy.deepcopy(start), **SEARCH | other)


def weights(model, parts=masks.PARTS):
    return {name: layer.weight.detach().clone() for name, layer in masks.linears(model, parts).items()}


def magnitudes(model, sparsity, parts=masks.PARTS):
    return {name: masks.magnitude(weight, sparsity) for name, weight in weights(model, parts).items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def predicted(model, split=DEVELOPMENT, **other):
    return methods.predicted(model=copy.deepcopy(model), encoder=TINY, split=split, max_length=40, **other)


def biases(split=SPLIT):
    return {"bias": methods.bias_only(encoder=TINY, split=split, test=split)}


def executed(unit, results):
    """The unit's result and those it needs, each made once; a model is handed on as a copy, as from the store."""
    if unit not in results:
        results[unit] = unit.call(lambda needed: copy.deepcopy(executed(needed, results)))
    return results[unit]


# Mask training


def test_masks_are_all_that_is_trained(dense):
    start = copy.deepcopy(dense)
    found = methods.mask_trained(start=start, **SEARCH)
    assert set(found) == {"masks", "kept", "best", "course"}
    assert found["masks"].keys() == weights(dense).keys()
    assert {mask.dtype for mask in found["masks"].values()} == {torch.bool}
    assert same(weights(start), weights(dense))
    others = dict(start.named_parameters())
    scores = {name for name in others if name.endswith(".scores")}
    assert len(scores) == len(found["masks"])
    kept = dict(dense.named_parameters())
    assert all(torch.equal(others[name], kept[name]) for name in others.keys() - scores)
    assert not same(found["masks"], magnitudes(dense, 0.7))


@pytest.mark.parametrize(
    "kind", [{"init": "hard"}, {"init": "soft"}, {"init": "soft", "initial": 0.4}], ids=str
)
def test_every_matrix_is_exactly_as_sparse_as_asked(dense, kind):
    """Also where the sparsity rises: the released code keeps that mask at the sparsity of the beginning."""
    found = searched(dense, **kind)
    for name, mask in found["masks"].items():
        assert int((~mask).sum()) == round(0.7 * mask.numel()), name
    parts = {part: masks.linears(copy.deepcopy(dense), [part]).keys() for part in masks.PARTS}
    assert all(parts.values())
    assert set().union(*parts.values()) == found["masks"].keys()


def test_a_rising_sparsity_refuses_scores_that_are_all_equal(dense):
    with pytest.raises(ValueError, match="hard scores are all equal; a rising sparsity needs init='soft'"):
        searched(dense, init="hard", initial=0.4)


def test_the_mask_is_the_best_on_development_from_its_time_on(dense, monkeypatch):
    own = [0.99, 0.98, 0.5, 0.8, 0.8]  # at steps 0, 2 and, from half of the steps on, 4, 6, 8
    scripts = {DEVELOPMENT: iter(own), HANS: iter([0.9, 0.9, 0.9, 0.9, 0.95])}
    looked = []

    def scripted(model, encoder, bed, *_):
        if bed == DEVELOPMENT:
            looked.append(masks.current(masks.linears(model, masks.PARTS)))
        return next(scripts[bed])

    monkeypatch.setattr(subnetworks, "_measured", scripted)
    found = searched(dense, select_from=0.5, watched=[DEVELOPMENT, HANS])
    course = found["course"][found["course"]["testbed"] == DEVELOPMENT.path]
    assert course["step"].tolist() == [0, 2, 4, 6, 8]
    assert course["value"].tolist() == own
    assert not same(looked[3], looked[4])
    assert same(found["masks"], looked[3])  # of equals, the first
    assert found["kept"] == course["changed"].iloc[3] != course["changed"].iloc[4]


@pytest.mark.parametrize("kind", [{}, {"init": "soft", "initial": 0.4}], ids=str)
def test_the_value_of_the_best_is_what_is_predicted_with_its_masks(dense, kind):
    found = searched(dense, select_from=0.0, **kind)
    assert list(found["course"].columns) == ["step", "drifted", "changed", "testbed", "value"]
    assert found["course"]["step"].tolist() == [2, 4, 6, 8]
    assert set(found["course"]["testbed"]) == {DEVELOPMENT.path}
    right = metrics.correct(predicted(dense, subnetwork=found)).mean()
    assert found["course"]["value"].max() == pytest.approx(right)
    last = found["course"].iloc[-1]
    assert 0 < last["changed"] < 0.6


@pytest.mark.parametrize("merge", ["argmax", "sum"])
def test_a_watched_bed_is_measured_as_it_is_reported(dense, merge):
    found = searched(dense, select_from=1.0, watched=[HANS], merge=merge)
    at_end = found["course"].set_index("testbed").loc[HANS.path, "value"].iloc[-1]
    assert at_end == metrics.correct(predicted(dense, HANS, subnetwork=found), merge).mean()


def test_changed_is_the_share_since_the_magnitude_mask(dense):
    found = searched(dense, select_from=1.0)
    (changed,) = found["course"]["changed"]
    assert changed == masks.changed(found["masks"], magnitudes(dense, 0.7)) > 0


@pytest.mark.parametrize("kind", [{}, {"init": "soft"}, {"init": "soft", "initial": 0.4}], ids=str)
def test_test_beds_are_watched_all_along_and_watching_changes_nothing(dense, kind):
    plain = searched(dense, **kind)
    found = searched(dense, watched=[HANS, DEVELOPMENT], **kind)
    course = found["course"].set_index("testbed")
    assert (
        course.loc[HANS.path, "step"].tolist()
        == course.loc[DEVELOPMENT.path, "step"].tolist()
        == [0, 2, 4, 6, 8]
    )
    assert course["changed"].iloc[0] == 0
    assert same(found["masks"], plain["masks"])
    late = found["course"][
        (found["course"]["testbed"] == DEVELOPMENT.path) & (found["course"]["step"] >= 0.7 * 8)
    ]
    pd.testing.assert_frame_equal(late.reset_index(drop=True), plain["course"])


def sparsity_in_training(start, **other):
    """The sparsity of the masks at every step, as the loss meets them."""
    model, met = copy.deepcopy(start), []

    def objective(names, ids):
        def loss(logits, batch):
            met.append(masks.sparsity(masks.current(masks.linears(model, masks.PARTS)).values()))
            return losses.ce(logits, batch["labels"])

        return loss

    methods.mask_trained(start=model, objective=objective, **SEARCH | other)
    return met


def test_sparsity_rises_on_the_cubic_schedule(dense):
    """At a rate of next to nothing, lest the masks drift between re-thresholdings."""
    expected = [prune.cubic(step // 2 * 2 / 8, initial=0.4, final=0.7) for step in range(8)]
    still = {"init": "soft", "learning_rate": 1e-12}
    assert sparsity_in_training(dense, initial=0.4, **still) == pytest.approx(expected, abs=1e-3)
    assert sparsity_in_training(dense, **still) == pytest.approx([0.7] * 8, abs=1e-3)
    from_dense = sparsity_in_training(dense, initial=0.0, **still)
    assert from_dense == pytest.approx(
        [prune.cubic(step // 2 * 2 / 8, final=0.7) for step in range(8)], abs=1e-3
    )


def test_how_far_the_sparsity_drifts_between_rethresholdings_is_told(dense):
    """Hard scores move through the gap, whose entries then all count until the next re-thresholding."""
    exact = searched(dense, init="soft", learning_rate=1e-12)["course"]["drifted"]
    assert exact.tolist() == pytest.approx([0.7] * len(exact), abs=1e-3)
    drifted = searched(dense, init="hard", select_from=0.0)["course"]["drifted"]
    assert (drifted - 0.7).abs().max() > 0.01


def test_extra_splits_join_the_training_and_nothing_may_be_known_of_the_first_alone(dense):
    seen = []

    def objective(names, ids):
        def loss(logits, batch):
            seen.extend(names[label] for label in batch["labels"])
            return losses.ce(logits, batch["labels"])

        return loss

    once = replace(RECIPE, epochs=1)
    found = searched(dense, recipe=once, extra=[(HANS_TRAIN, 2)], objective=objective, interval=3)
    assert found["course"]["step"].tolist() == [6, 8]  # of (64 + 2 * 32) / 16
    expected = SPLIT.frame()["label"].value_counts()
    foreign = HANS_TRAIN.frame()["label"].replace("non-entailment", "contradiction").value_counts()
    pd.testing.assert_series_equal(
        pd.Series(seen).value_counts().sort_index(), expected.add(2 * foreign, fill_value=0).astype(int),
        check_names=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match="`given` describes the examples of `split`, not those of `extra`"):
        searched(dense, extra=[(HANS_TRAIN, 1)], objective=objectives.poe, given=biases())


def test_its_own_learning_rate_replaces_the_recipes(dense, found):
    other = searched(dense, recipe=replace(RECIPE, learning_rate=1e-4), learning_rate=5e-3)
    assert same(other["masks"], found["masks"])
    pd.testing.assert_frame_equal(other["course"], found["course"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_published_rate_changes_nothing_in_a_short_run(dense, precision):
    short = {"recipe": replace(RECIPE, precision=precision), "select_from": 0.0, "watched": [DEVELOPMENT]}
    published = searched(dense, learning_rate=5e-5, **short)
    assert published["course"]["changed"].tolist() == [0.0] * 5
    assert same(published["masks"], magnitudes(dense, 0.7))
    larger = searched(dense, learning_rate=5e-3, **short)
    assert larger["course"]["changed"].iloc[0] == 0.0
    assert larger["course"]["changed"].iloc[-1] > 0.01


def test_no_training_leaves_the_magnitude_masks(dense):
    found = searched(dense, recipe=NONE)
    assert same(found["masks"], magnitudes(dense, 0.7))
    assert found["course"].empty


def test_paraphrase_is_measured_by_the_f1_of_duplicates():
    split = data.Split("qqp", "qqp/train", "micro", size=64)
    development = data.Split("qqp", "qqp/validation", "micro", size=60)
    dense = methods.finetuned(encoder=TINY, split=split, recipe=replace(RECIPE, learning_rate=1e-3))
    found = searched(dense, split=split, development=development, sparsity=0.3, measure="f1", select_from=1.0)
    frame = predicted(dense, development, subnetwork=found)
    logits = frame.filter(like="logit_")
    answers = logits.idxmax(axis=1).str.removeprefix("logit_")
    expected = sklearn.metrics.f1_score(frame["gold"], answers, pos_label="duplicate")
    assert found["course"]["value"].tolist() == [pytest.approx(expected)]
    assert expected != pytest.approx(metrics.correct(frame).mean())


def test_the_rate_whose_masks_are_best_in_distribution_is_chosen():
    trials = {"5e-05": {"best": 0.7}, "0.0003": {"best": 0.8}, "0.001": {"best": 0.8}}
    assert methods.chosen_rate(trials=trials) == 0.0003
    assert methods.chosen_rate(trials=dict(reversed(trials.items()))) == 0.001  # of equals, the first


# Iterative magnitude pruning


def test_a_round_removes_from_encoder_and_pooler_and_trains_all_that_is_left(dense):
    model = methods.imp_round(start=copy.deepcopy(dense), sparsity=0.6, **ROUND)
    assert {type(layer) for layer in masks.linears(model, masks.PARTS).values()} == {torch.nn.Linear}
    chosen = magnitudes(dense, 0.6, ["encoder", "pooler"])
    for name, weight in weights(model, ["encoder", "pooler"]).items():
        assert int((weight == 0).sum()) == round(0.6 * weight.numel()), name
        assert torch.equal(weight != 0, chosen[name]), name
        assert not torch.equal(weight[chosen[name]], weights(dense)[name][chosen[name]]), name
    assert all(weight.all() for weight in weights(model, ["classifier"]).values())
    before, after = (one.bert.embeddings.word_embeddings.weight for one in (dense, model))
    assert not torch.equal(before, after)


def test_the_dense_control_is_training_on(dense):
    control = methods.imp_round(start=copy.deepcopy(dense), sparsity=0.0, **ROUND)
    longer = methods.finetuned(start=copy.deepcopy(dense), **ROUND)
    assert same(control.state_dict(), longer.state_dict())
    assert not same(control.state_dict(), dense.state_dict())


def test_a_chain_goes_on_from_round_to_round_and_keeps_what_was_removed(dense):
    start = runs.unit(methods.finetuned, **ROUND)
    fixed = {"start": start, "sparsities": [0.2, 0.5, 0.8], **ROUND | {"seed": 3}}
    chain = methods.imp_chain(**fixed)
    assert [unit.arguments["start"] for unit in chain.values()] == [start, chain[0.2], chain[0.5]]
    assert [unit.arguments["seed"] for unit in chain.values()] == [1003, 2003, 3003]
    results = {start: dense}
    removed = {}
    for sparsity, unit in chain.items():
        body = weights(executed(unit, results), ["encoder", "pooler"])
        assert masks.sparsity(body.values()) == pytest.approx(sparsity, abs=1e-3)
        assert all(not body[name][gone].any() for name, gone in removed.items())
        removed = {name: weight == 0 for name, weight in body.items()}
    control = methods.imp_chain(removed=False, **fixed)
    assert [unit.arguments["sparsity"] for unit in control.values()] == [0.0, 0.0, 0.0]
    assert control[0.5].arguments["start"] is control[0.2]


@pytest.mark.parametrize("method", ["mask_trained", "imp_round", "imp_rewound"])
def test_the_objective_reaches_the_loss(dense, method):
    """The released code loads the bias model for IMP and never passes it: its `imp (poe)` is `imp (std)`."""
    search = {
        "mask_trained": lambda **loss: searched(dense, **loss)["masks"],
        "imp_round": lambda **loss: weights(
            methods.imp_round(start=copy.deepcopy(dense), sparsity=0.5, **ROUND, **loss)
        ),
        "imp_rewound": lambda **loss: weights(
            methods.imp_rewound(before=None, sparsity=0.5, head_seed=3, **ROUND, **loss)["model"]
        ),
    }[method]
    plain = search()
    assert same(search(objective=objectives.vanilla, given={}), plain)
    debiased = search(objective=objectives.poe, given=biases())
    assert not any(torch.equal(debiased[name], plain[name]) for name in plain)


# Rewinding, and fine-tuning in isolation


def test_rewinding_chooses_by_the_trained_weights_and_returns_to_the_pretrained(dense):
    fresh = TINY.classifier(SPLIT.labels, seed=9)
    assert not same(magnitudes(dense, 0.5, ["encoder"]), magnitudes(fresh, 0.5, ["encoder"]))
    ticket = methods.imp_rewound(
        before={"model": copy.deepcopy(dense)}, sparsity=0.5, head_seed=9, **ROUND | {"recipe": NONE}
    )
    assert same(ticket["masks"], magnitudes(dense, 0.5, ["encoder", "pooler"]))
    state, pretrained = ticket["model"].state_dict(), fresh.state_dict()
    for name, mask in ticket["masks"].items():
        pretrained[f"{name}.weight"] *= mask
    head = {name: value for name, value in dense.state_dict().items() if name.startswith("classifier")}
    assert len(head) == 2
    assert same(state, pretrained | head)


def test_the_first_rewinding_chooses_by_the_pretrained_weights_and_trains_under_the_masks():
    ticket = methods.imp_rewound(before=None, sparsity=0.5, head_seed=9, **ROUND)
    fresh = TINY.classifier(SPLIT.labels, seed=9)
    assert same(ticket["masks"], magnitudes(fresh, 0.5, ["encoder", "pooler"]))
    trained, start = weights(ticket["model"]), weights(fresh)
    for name, mask in ticket["masks"].items():
        assert torch.equal(trained[name] != 0, mask), name
        assert not torch.equal(trained[name][mask], start[name][mask]), name
    assert trained["classifier"].all()
    assert not torch.equal(trained["classifier"], start["classifier"])


def test_a_rewinding_chain_chooses_each_round_by_the_one_before():
    chain = methods.rewinding_chain(sparsities=[0.3, 0.6], **ROUND | {"seed": 3})
    assert [unit.arguments["before"] for unit in chain.values()] == [None, chain[0.3]]
    assert [unit.arguments["seed"] for unit in chain.values()] == [1003, 2003]
    assert [unit.arguments["head_seed"] for unit in chain.values()] == [3, 3]
    results = {}
    first, second = (executed(unit, results) for unit in chain.values())
    assert same(second["masks"], magnitudes(first["model"], 0.6, ["encoder", "pooler"]))
    for name, mask in second["masks"].items():
        assert not mask[~first["masks"][name]].any(), name


def test_a_subnetwork_is_fine_tuned_in_isolation_under_a_whole_new_classifier(found):
    decaying = replace(ROUND["recipe"], weight_decay=0.1)
    model = methods.finetuned(subnetwork=found, **ROUND | {"recipe": decaying})
    fresh = weights(TINY.classifier(SPLIT.labels, seed=3))
    body, trained = masks.linears(model, ["encoder", "pooler"]).keys(), weights(model)
    for name in body:
        mask = found["masks"][name]
        assert torch.equal(trained[name] != 0, mask), name
        assert not torch.equal(trained[name][mask], fresh[name][mask]), name
    (head,) = trained.keys() - body
    assert not found["masks"][head].all()
    assert trained[head].all()
    assert {type(layer) for layer in masks.linears(model, masks.PARTS).values()} == {torch.nn.Linear}


def test_before_any_training_it_is_the_pretrained_weights_under_the_masks(found):
    model = methods.finetuned(subnetwork=found, **ROUND | {"recipe": NONE})
    expected = TINY.classifier(SPLIT.labels, seed=3).state_dict()
    for name in masks.linears(model, ["encoder", "pooler"]):
        expected[f"{name}.weight"] *= found["masks"][name]
    assert same(model.state_dict(), expected)


# Predictions and bias models


def test_predictions_of_a_subnetwork_are_those_of_the_model_with_zeros(dense, found):
    zeroed = copy.deepcopy(dense)
    with torch.no_grad():
        for name, layer in masks.linears(zeroed, masks.PARTS).items():
            layer.weight *= found["masks"][name]
    under_masks, whole = predicted(dense, HANS, subnetwork=found), predicted(dense, HANS)
    pd.testing.assert_frame_equal(under_masks, predicted(zeroed, HANS))
    assert not np.allclose(under_masks.filter(like="logit_"), whole.filter(like="logit_"))


def test_trained_masks_are_measured_in_the_model_they_were_found_in():
    start = runs.unit(methods.finetuned, **ROUND)
    mask = runs.unit(methods.mask_trained, start=start, **SEARCH)
    trained = {("mnli", "full", 0.0, 3): start, ("mnli", "mask", 0.7, 3): mask}
    units = methods.measured(trained, {"mnli": [HANS.path]}, source="micro", size=48, max_length=40)
    arguments = {method: unit.arguments for (_, _, method, _, _), unit in units.items()}
    assert (arguments["full"]["model"], arguments["full"]["subnetwork"]) == (start, None)
    assert (arguments["mask"]["model"], arguments["mask"]["subnetwork"]) == (start, mask)
    assert {of["split"] for of in arguments.values()} == {HANS}


@pytest.mark.parametrize(
    ("task", "path", "positive"),
    [("mnli", "mnli/train", "entailment"), ("qqp", "qqp/train", "duplicate"), ("fever", "fever/train", None)],
)
def test_the_bias_model_of_a_task_knows_what_gives_its_labels_away(task, path, positive):
    split, test = (data.Split(task, path, "micro", 300, seed) for seed in (0, 1))
    frame = methods.bias_only(encoder=TINY, split=split, test=test)
    assert frame["id"].tolist() == test.frame().index.tolist()
    logits = frame[[f"logit_{label}" for label in split.labels]]
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, rtol=1e-6)
    others = logits.drop(columns=f"logit_{positive}") if positive else logits
    # Word overlap tells one label from the rest, and nothing among those; the claim's words tell all apart.
    assert np.allclose(others.max(axis=1), others.min(axis=1)) == (positive is not None)
    gold = frame["gold"] == positive if positive else frame["gold"]
    chosen = (
        frame[f"logit_{positive}"] > np.log(0.5) if positive else logits.idxmax(axis=1).str[len("logit_") :]
    )
    assert (chosen == gold).mean() > gold.value_counts(normalize=True).max() + 0.05
