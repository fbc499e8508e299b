import copy
import dataclasses
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from torch.optim.optimizer import register_optimizer_step_pre_hook

from robust_lib import data, losses, masks, models, objectives, passes, predict, quantize, replace, train

LABELS = ("entailment", "neutral", "contradiction")
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 40,
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    names = dict(enumerate(LABELS))
    config = transformers.BertConfig(
        **SMALL, id2label=names, label2id={label: i for i, label in names.items()}
    )
    return transformers.BertForSequenceClassification(config)


@pytest.fixture
def encoded():
    """Sixty sequences whose class is their second token."""
    draw = np.random.default_rng(0)
    lengths, gold = draw.integers(4, 12, 60), draw.integers(0, 3, 60)
    tokens = [
        np.concatenate([[2, 10 + label], draw.integers(20, 40, length - 2)])
        for length, label in zip(lengths, gold, strict=True)
    ]
    return data.Encoded({"input_ids": np.concatenate(tokens).astype(np.int32)}, {"input_ids": 0},
                        np.concatenate([[0], np.cumsum(lengths)]), gold, LABELS)  # fmt: skip


def ce(logits, batch):
    return losses.ce(logits, batch["labels"])


SETTINGS = {"batch_size": 8, "learning_rate": 3e-3}


def test_training_learns_and_the_same_seed_gives_the_same_weights(model, encoded):
    twin, other = copy.deepcopy(model), copy.deepcopy(model)
    history = train.fit(model, encoded, ce, epochs=20, seed=1, **SETTINGS)
    train.fit(twin, encoded, ce, epochs=20, seed=1, **SETTINGS)
    train.fit(other, encoded, ce, epochs=8, seed=2, **SETTINGS)
    assert len(history) == 20 * 8
    assert history[-1] < 0.2 < history[0]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert not torch.equal(model.classifier.weight, other.classifier.weight)


def test_predictions_come_back_in_the_order_of_the_examples(model, encoded):
    train.fit(model, encoded, ce, epochs=8, **SETTINGS)
    rows = predict.logits(model, encoded, batch_size=7)
    assert (rows.argmax(-1).numpy() == encoded.gold).mean() > 0.95
    one_by_one = predict.logits(model, encoded, batch_size=1)
    torch.testing.assert_close(rows, one_by_one, atol=1e-5, rtol=1e-4)


def test_labels_are_matched_by_name_not_by_position(model, encoded):
    swapped = copy.deepcopy(model)
    swapped.config.id2label = {0: "contradiction", 1: "entailment", 2: "neutral"}
    train.fit(swapped, encoded, ce, epochs=8, **SETTINGS)
    named = [swapped.config.id2label[index] for index in predict.logits(swapped, encoded).argmax(-1).tolist()]
    assert np.mean(np.array(named) == np.array(LABELS)[encoded.gold]) > 0.95


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_examples(model, encoded):
    def broken(logits, batch):
        return ce(logits, batch) * (float("nan") if 7 in batch["index"] else 1.0)

    order = torch.Generator().manual_seed(0)
    batches = list(data.batches(encoded, 8, generator=order))
    step = next(step for step, batch in enumerate(batches) if 7 in batch["index"])
    with pytest.raises(train.DivergedError) as caught:
        train.fit(model, encoded, broken, epochs=1, **SETTINGS)
    assert f"the loss is nan at step {step} of 8" in str(caught.value)
    assert str(batches[step]["index"].tolist()) in str(caught.value)


def test_frozen_parameters_and_masked_weights_stay(model, encoded):
    before = model.bert.embeddings.word_embeddings.weight.detach().clone()
    model.bert.embeddings.requires_grad_(False)
    layers = masks.wrap(model)
    keep = {name: masks.magnitude(layer.weight, 0.5) for name, layer in layers.items()}
    masks.assign(layers, keep)
    hidden = {name: layer.weight.detach()[~keep[name]].clone() for name, layer in layers.items()}
    train.fit(model, encoded, ce, epochs=2, **SETTINGS)
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, before)
    # Masked from the start, they have neither gradient nor momentum: without decay they are what they were.
    assert all(torch.equal(layer.weight[~keep[name]], hidden[name]) for name, layer in layers.items())
    assert not any(torch.equal(layer.weight[keep[name]], before) for name, layer in layers.items())


def test_the_optimiser_is_given_the_scheduled_rate_and_clipped_gradients(model, encoded):
    rates, norms = [], []

    def note(optimizer, *_):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        rates.append(optimizer.param_groups[0]["lr"])
        norms.append(torch.stack([p.grad.norm() for p in parameters]).norm().item())

    def steep(logits, batch):
        return 1000 * ce(logits, batch)

    hook = register_optimizer_step_pre_hook(note)
    try:
        train.fit(model, encoded, steep, epochs=2, warmup=0.25, clip=0.5, **SETTINGS)
    finally:
        hook.remove()
    assert rates == pytest.approx(
        [SETTINGS["learning_rate"] * train.linear(step, 16, 0.25) for step in range(16)]
    )
    assert norms == pytest.approx([0.5] * 16, rel=1e-3)


def test_precision_can_change_within_one_process(model, encoded):
    twin = copy.deepcopy(model)
    train.fit(model, encoded, ce, epochs=2, precision="fp32", **SETTINGS)
    train.fit(twin, encoded, ce, epochs=2, precision="bf16", **SETTINGS)
    assert {parameter.dtype for parameter in twin.parameters()} == {torch.float32}
    exact = predict.logits(twin, encoded, precision="fp32")
    rounded = predict.logits(twin, encoded, precision="bf16")
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, atol=0.1, rtol=0.1)


def test_vectors_do_not_decay_and_matrices_do(model, encoded):
    def nothing(logits, batch):
        return logits.sum() * 0

    twin = copy.deepcopy(model)
    train.fit(model, encoded, nothing, epochs=1, weight_decay=0.5, **SETTINGS)
    for (name, trained), start in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(trained, start) == (trained.ndim == 1), name


@pytest.mark.parametrize(("step", "share"), [(0, 1 / 11), (9, 10 / 11), (10, 1.0), (55, 0.5), (100, 0.0)])
def test_linear_schedule(step, share):
    assert train.linear(step, 100, 0.1) == pytest.approx(share)


def test_the_schedule_without_warmup_starts_at_the_peak():
    assert train.linear(0, 10, 0.0) == 1.0


def test_before_step_sees_every_step_and_the_end(model, encoded):
    seen = []
    train.fit(
        model, encoded, ce, epochs=2, before_step=lambda step, total: seen.append((step, total)), **SETTINGS
    )
    assert seen == [(step, 16) for step in range(17)]


def test_looking_at_a_model_in_training_leaves_it_as_it_was(model, encoded):
    fixed = copy.deepcopy(model).eval()
    state = copy.deepcopy(model.state_dict())
    looked = predict.logits(model.train(), encoded)
    assert model.training
    assert all(part.training for part in model.modules())
    assert torch.equal(looked, predict.logits(fixed, encoded))  # without dropout
    assert not fixed.training
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert not any(parameter.is_inference() for parameter in model.parameters())


# A part of the schedule


def test_until_stops_half_way_through_the_schedule(model, encoded):
    """What it leaves is the checkpoint of the whole training at that step, not a shorter training."""
    whole, short, checkpoint, rates = copy.deepcopy(model), copy.deepcopy(model), {}, []

    def keep(step, total):
        if step == 8:
            checkpoint.update(copy.deepcopy(whole.state_dict()))

    settings = {"epochs": 2, "warmup": 0.25, "seed": 1, **SETTINGS}
    history = train.fit(whole, encoded, ce, before_step=keep, **settings)
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    seen = []
    try:
        half = train.fit(short, encoded, ce, until=0.5, before_step=lambda *at: seen.append(at), **settings)
    finally:
        hook.remove()
    assert half == history[:8]
    assert seen == [(step, 16) for step in range(9)]
    assert rates == pytest.approx(
        [SETTINGS["learning_rate"] * train.linear(step, 16, 0.25) for step in range(8)]
    )
    assert all(torch.equal(checkpoint[name], value) for name, value in short.state_dict().items())
    assert not torch.equal(whole.classifier.weight, short.classifier.weight)


def test_until_nothing_trains_nothing_and_until_the_end_is_the_whole(model, encoded):
    before, seen = copy.deepcopy(model), []
    settings = {"epochs": 2, "before_step": lambda *at: seen.append(at), **SETTINGS}
    assert train.fit(model, encoded, ce, until=0.0, **settings) == []
    assert seen == [(0, 16)]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))
    assert not model.training
    assert len(train.fit(model, encoded, ce, until=1.0, **settings)) == 16


# Masks trained together


@pytest.fixture
def still():
    """Without dropout: masks trained together draw theirs together."""
    torch.manual_seed(0)
    names = dict(enumerate(LABELS))
    config = transformers.BertConfig(
        **SMALL, **STILL, id2label=names, label2id={label: i for i, label in names.items()}
    )
    return transformers.BertForSequenceClassification(config)


def scored(model, encoded, sparsities, seed, loss=ce, **settings):
    """The trained scores by name and the losses, masks re-thresholded every third step."""
    layers = masks.score(model, sparsities, init="soft")

    def again(step, total):
        if step % 3 == 0:
            masks.rethreshold(layers, sparsities)

    losses = train.fit(model, encoded, loss, seed=seed, before_step=again, **SETTINGS | settings)
    return {name: layer.scores.detach() for name, layer in layers.items()}, losses


@pytest.mark.parametrize("clip", [1e6, 0.005])
def test_masks_trained_together_are_those_trained_one_by_one(still, encoded, clip):
    """Sixty examples in batches of eight: a batch of four comes at another step for every seed."""
    seeds, sparsities, settings = [1, 2, 3], [0.5, 0.5, 0.8], {"epochs": 2, "clip": clip}
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    read = [[b["input_ids"].shape for b in data.batches(encoded, 8, generator=order)] for order in orders]
    assert len({tuple(rows for rows, _ in one) for one in read}) > 1
    assert len({tuple(width for _, width in one) for one in read}) == 3
    together, total = scored(copy.deepcopy(still), encoded, sparsities, seeds, **settings)
    apart = [
        scored(copy.deepcopy(still), encoded, [sparsity], seed, **settings)
        for seed, sparsity in zip(seeds, sparsities, strict=True)
    ]
    assert total == pytest.approx(
        [sum(step) for step in zip(*(own for _, own in apart), strict=True)], rel=1e-4
    )
    for name, scores in together.items():
        for mine, (alone, _) in zip(scores, apart, strict=True):
            torch.testing.assert_close(mine, alone[name][0], rtol=1e-3, atol=1e-4, msg=name)
        assert (scores[0] - scores[1]).abs().max() > 0.003


def test_the_gradients_of_each_mask_are_clipped_by_themselves(still, encoded):
    norms = []

    def note(optimizer, *_):
        gradients = [p.grad.flatten(1) for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.cat(gradients, dim=1).norm(dim=1).tolist())

    hook = register_optimizer_step_pre_hook(note)
    try:
        for clip in (1e6, 0.005):
            # At a rate of next to nothing the second training meets the gradients of the first.
            scored(
                copy.deepcopy(still), encoded, [0.5, 0.5], [1, 2], epochs=1, clip=clip, learning_rate=1e-12
            )
    finally:
        hook.remove()
    whole, clipped = np.array(norms).reshape(2, 8, 2)
    assert 0.2 < (whole > 0.005).mean() < 0.8
    np.testing.assert_allclose(clipped, whole.clip(max=0.005), rtol=1e-3)


def test_several_seeds_need_as_many_masks(model, encoded):
    with pytest.raises(ValueError, match=r"2 seeds train as many masks together; masks\.score"):
        train.fit(model, encoded, ce, epochs=1, seed=[0, 1], **SETTINGS)


# Where memory runs out


class Memory:
    """Gives a model memory for `most` examples at a time, in its second layer, backward there, or its embeddings."""

    def __init__(self, model, most, *, place="layer", error=MemoryError):
        self.most, self.error, self.fitted = most, error, set()
        embeddings = model.get_input_embeddings()
        layer = embeddings if place == "embeddings" else models.layer_stack(model)[1][1]

        def hook(_, inputs, made):
            if place == "backward":
                made.register_hook(self.ask)
            else:
                self.ask(made)

        layer.register_forward_hook(hook)

    def ask(self, states):
        if len(states) > self.most:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.fitted.add(len(states))


def predicted(seed):
    frame = pd.DataFrame(
        np.random.default_rng(seed).normal(size=(60, 3)), columns=[f"logit_{label}" for label in LABELS]
    )
    return frame.assign(id=range(60), gold=LABELS[0])


OBJECTIVES = {
    objectives.vanilla: {},
    objectives.kd: {"teacher": predicted(0), "alpha": 0.5},
    objectives.focal: {"gamma": 2.0},
    objectives.poe: {"bias": predicted(1)},
    objectives.reweight: {"bias": predicted(1)},
    objectives.jtt: {"first": predicted(2), "up_weight": 2.0},
    objectives.confidence_regularised: {"bias": predicted(1), "teacher": predicted(0)},
    objectives.pkd: {"teacher": predicted(0), "teacher_states": torch.ones(60, 1, 32)},
}


def gradients(model, encoded, loss, **given):
    """Those of every step, unclipped, at a rate at which no weight moves; and the losses."""
    steps = []

    def note(optimizer, *_):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        steps.append(torch.cat([(p * 0 if p.grad is None else p.grad).flatten() for p in parameters]))

    hook = register_optimizer_step_pre_hook(note)
    try:
        with models.cls_states(model):
            history = train.fit(
                model, encoded, loss, epochs=1, clip=1e9, **SETTINGS | {"learning_rate": 1e-30} | given
            )
    finally:
        hook.remove()
    return torch.stack(steps), history


def compare(model, encoded, loss, most, **given):
    """Batches in parts have the gradients and the losses of whole ones; the sizes of the parts."""
    scarce = copy.deepcopy(model)
    memory = Memory(scarce, most)
    whole, history = gradients(model, encoded, loss, **given)
    with pytest.warns(passes.SmallerBatches):
        parts, seen = gradients(scarce, encoded, loss, **given)
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)
    assert seen == pytest.approx(history, abs=1e-6)
    return memory.fitted


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.__name__)
def test_the_gradient_in_parts_is_that_of_the_whole_batch(still, encoded, objective):
    """Of losses too that weigh an example by its batch, which no mean over parts gives."""
    loss = objective(LABELS, pd.RangeIndex(60), **OBJECTIVES[objective])
    assert compare(still, encoded, loss, most=3) == {2}


def test_the_gradient_of_spans_in_parts(encoded):
    torch.manual_seed(0)
    model = transformers.BertForTokenClassification(transformers.BertConfig(**SMALL, **STILL, num_labels=2))
    ends = np.stack([np.zeros(60, np.int64), encoded.lengths - 1], axis=1)
    windows = dataclasses.replace(encoded, gold=ends, labels=())
    assert compare(model, windows, objectives.spans((), None), most=5) == {4}


def test_the_gradients_of_masks_trained_together_in_parts(still, encoded):
    masks.score(still, [0.5, 0.8], init="soft")
    assert compare(still, encoded, ce, most=4, seed=[1, 2]) == {4}  # two of each mask


def test_layers_that_are_drawn_are_drawn_once_for_all_parts(encoded):
    torch.manual_seed(0)
    config = transformers.BertConfig(**SMALL | {"num_hidden_layers": 4}, **STILL, num_labels=3)
    model = transformers.BertForSequenceClassification(config)
    model.config.id2label = dict(enumerate(LABELS))
    replace.theseus(model, 2, generator=torch.Generator().manual_seed(2))
    replace.assign(model, 0.5)
    assert compare(model, encoded, ce, most=7) == {4}


def test_moving_ranges_follow_the_first_part_once(still, encoded):
    quantize.simulate(still, decay=0.5)
    quantize.calibrate(still, data.batches(encoded, 60))
    one = copy.deepcopy(still).train()
    Memory(still, 4)
    with pytest.warns(passes.SmallerBatches):
        train.fit(still, encoded, ce, epochs=1, until=1 / 8, seed=1, **SETTINGS)
    first = next(data.batches(encoded, 8, generator=torch.Generator().manual_seed(1)))
    one(**{name: first[name][:4] for name in ("input_ids", "attention_mask")})
    ranges = {name: value for name, value in still.state_dict().items() if name.endswith("threshold")}
    assert len(ranges) > 10
    assert all(torch.equal(value, one.state_dict()[name]) for name, value in ranges.items())


@pytest.mark.parametrize("place", ["layer", "backward"])
def test_a_step_is_begun_again_from_its_start(model, encoded, place):
    """With dropout: wherever memory runs out, no draws are missing afterwards."""
    other = copy.deepcopy(model)
    Memory(model, 4, place=place, error=torch.OutOfMemoryError)
    Memory(other, 4, place="embeddings")
    history = []
    for one in (model, other):
        with pytest.warns(passes.SmallerBatches, match="batches of 8 were computed as 2 x 4") as remarks:
            history.append(train.fit(one, encoded, ce, epochs=1, **SETTINGS))
        assert len(remarks) == 1
    assert history[0] == history[1]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_nothing_of_a_broken_pass_is_left_when_it_is_begun_again(model, encoded):
    """Of its graph, which holds the memory that ran out; with [CLS] states, which are kept during a pass."""
    graph, left = weakref.WeakSet(), []

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor.detach()  # an output would hold its own graph
            graph.add(self)

    model.get_input_embeddings().register_forward_pre_hook(lambda *_: left.append(len(graph)))
    models.layer_stack(model)[1][1].register_forward_hook(lambda *_: left.append(len(graph)))
    Memory(model, 4)
    saved = torch.autograd.graph.saved_tensors_hooks(Saved, lambda one: one.tensor)
    with models.cls_states(model), saved, pytest.warns(passes.SmallerBatches):
        train.fit(model, encoded, ce, epochs=1, until=1 / 8, seed=1, **SETTINGS)
    begun, broken, again, *_ = left
    assert (begun, again) == (0, 0)
    assert broken > 20


def test_memory_that_runs_out_later_changes_no_step_before(model, encoded):
    whole = train.fit(copy.deepcopy(model), encoded, ce, epochs=1, **SETTINGS)
    memory = Memory(model, 8)

    def shrink(step, total):
        if step == 3:
            memory.most, memory.fitted = 2, set()

    with pytest.warns(passes.SmallerBatches, match="batches of 8 were computed as 4 x 2"):
        parts = train.fit(model, encoded, ce, epochs=1, before_step=shrink, **SETTINGS)
    assert parts[:3] == whole[:3]
    assert parts[3:] != whole[3:]
    assert memory.fitted == {2}


def test_an_example_that_never_fits_is_named_and_other_errors_pass(model, encoded):
    def broken(logits, batch):
        raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        train.fit(model, encoded, broken, epochs=1, **SETTINGS)
    Memory(model, 0)
    message = "out of memory on cpu with a single example at a time; lower max_length"
    with pytest.raises(MemoryError, match=message):
        train.fit(model, encoded, ce, epochs=1, **SETTINGS)
    with pytest.raises(MemoryError, match=message):
        predict.logits(model, encoded)


def test_predictions_in_parts_are_those_of_whole_batches(model, encoded):
    whole, states = predict.logits(model, encoded), predict.cls_states(model, encoded, [0, 1])
    memory = Memory(model, 3, error=torch.OutOfMemoryError)
    torch.testing.assert_close(predict.logits(model, encoded, batch_size=20), whole, rtol=0, atol=1e-6)
    assert memory.fitted == {3, 2}  # 20, 10, 5, 3
    torch.testing.assert_close(predict.cls_states(model, encoded, [0, 1]), states, rtol=0, atol=2e-3)
