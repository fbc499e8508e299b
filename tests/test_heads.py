import copy

import pytest
import torch
import torch.nn.functional as F
import transformers

from robust_lib import heads, masks

# Wide initial weights, so that a head that goes is felt in the logits.
SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "vocab_size": 90,
    "num_labels": 3,
    "initializer_range": 0.4,
}
CONFIGURATIONS = {
    "bert": transformers.BertConfig(**SMALL),
    "roberta": transformers.RobertaConfig(**SMALL),
    "minilm": transformers.BertConfig(**SMALL | {"num_attention_heads": 12}),  # more, smaller heads
    "distilbert": transformers.DistilBertConfig(
        dim=24, n_layers=2, n_heads=4, hidden_dim=40, vocab_size=90, num_labels=3, initializer_range=0.4
    ),
}
GONE = {0: [1], 1: [2, 3]}


def made(name, attention="sdpa", seed=0):
    torch.manual_seed(seed)
    return transformers.AutoModelForSequenceClassification.from_config(
        copy.deepcopy(CONFIGURATIONS[name]), attn_implementation=attention
    ).eval()


@pytest.fixture(params=sorted(CONFIGURATIONS))
def model(request):
    return made(request.param)


def batch_of(model, lengths=(7, 4, 5), seed=0):
    """Examples of random tokens, padded, in the form of `data.batches`."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, 90, mask.shape, generator=generator)
    return {
        "input_ids": torch.where(mask.bool(), ids, model.config.pad_token_id),
        "attention_mask": mask,
        "labels": torch.randint(3, (len(lengths),), generator=generator),
        "index": torch.arange(len(lengths)),
    }


def logits(model, batch):
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def split(batch, size):
    starts = range(0, len(batch["labels"]), size)
    return [{name: tensor[start : start + size] for name, tensor in batch.items()} for start in starts]


def gates_of(model, gone=()):
    gates = torch.ones(len(heads.count(model)), model.config.num_attention_heads)
    for layer, numbers in dict(gone).items():
        gates[layer, numbers] = 0
    return gates


def reference_without(model, gone):
    """The same model with zeros where a head's context meets the output projection."""
    zeroed, size = copy.deepcopy(model), 24 // model.config.num_attention_heads
    for layer, numbers in gone.items():
        for name, linear in zeroed.named_modules():
            if f"layer.{layer}.attention.out" in name and isinstance(linear, torch.nn.Linear):
                for head in numbers:
                    linear.weight.data[:, head * size : (head + 1) * size] = 0
    return zeroed


def reference_importance(model, batch, variant, size, step=1e-4):
    """Central differences of the loss in one gate at a time; examples alone and without padding."""
    model = copy.deepcopy(model).double().eval()
    slopes = []
    for example, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        inputs = {"input_ids": batch["input_ids"][example : example + 1, :length]}
        slopes.append(torch.zeros(2, model.config.num_attention_heads, dtype=torch.double))
        for layer, head in torch.cartesian_prod(*map(torch.arange, slopes[-1].shape)).tolist():
            losses = []
            for value in (1 - step, 1 + step):
                gates = gates_of(model).double()
                gates[layer, head] = value
                with torch.no_grad(), heads.gated(model, gates):
                    losses.append(F.cross_entropy(model(**inputs).logits, batch["labels"][example, None]))
            slopes[-1][layer, head] = (losses[1] - losses[0]) / (2 * step)
    if variant == "per_sample":
        return torch.stack(slopes).abs().mean(0)
    groups = [torch.stack(slopes[start : start + size]).mean(0) for start in range(0, len(slopes), size)]
    return torch.stack(groups).abs().mean(0)


def reference_lowest(importance, count):
    rows, chosen = importance.tolist(), {}
    left = [[head for head, value in enumerate(row) if value < float("inf")] for row in rows]
    for _ in range(count):
        _, layer, head = min(
            (rows[layer][head], layer, head)
            for layer, numbers in enumerate(left)
            for head in numbers
            if len(numbers) > 1
        )
        left[layer].remove(head)
        chosen.setdefault(layer, []).append(head)
    return {layer: sorted(chosen[layer]) for layer in sorted(chosen)}


class TestGates:
    def test_of_one_change_nothing(self, model):
        batch = batch_of(model)
        before = logits(model, batch)
        with heads.gated(model, gates_of(model)):
            assert torch.equal(logits(model, batch), before)

    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    @pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
    def test_of_zero_take_heads_out_inside_the_block_alone(self, name, attention):
        model = made(name, attention)
        batch = batch_of(model)
        before, expected = logits(model, batch), logits(reference_without(model, GONE), batch)
        with heads.gated(model, gates_of(model, GONE)):
            torch.testing.assert_close(logits(model, batch), expected)
        assert torch.equal(logits(model, batch), before)
        assert (expected - before).abs().max() > 0.05

    def test_of_each_example_act_on_it_alone(self, model):
        batch = batch_of(model)
        gates = torch.rand(3, *gates_of(model).shape, generator=torch.Generator().manual_seed(1))
        with heads.gated(model, gates):
            together = logits(model, batch)
        for example, one in enumerate(split(batch, 1)):
            with heads.gated(model, gates[example]):
                torch.testing.assert_close(logits(model, one), together[example : example + 1])

    def test_are_lifted_after_an_error(self, model):
        batch = batch_of(model)
        before = logits(model, batch)
        with pytest.raises(ZeroDivisionError), heads.gated(model, gates_of(model, GONE)):
            raise ZeroDivisionError
        assert torch.equal(logits(model, batch), before)

    def test_act_on_layers_behind_masks_too(self, model):
        batch, expected = batch_of(model), logits(reference_without(model, GONE), batch_of(model))
        masks.wrap(model)
        with heads.gated(model, gates_of(model, GONE)):
            torch.testing.assert_close(logits(model, batch), expected)

    def test_of_another_shape_are_refused(self):
        model = made("bert")
        message = r"the gates are \(2, 5\), the model's layers and heads \(2, 4\)"
        with pytest.raises(ValueError, match=message), heads.gated(model, torch.ones(2, 5)):
            pass


class TestImportance:
    @pytest.mark.parametrize("size", [1, 2, 3])
    @pytest.mark.parametrize("variant", ["per_sample", "batch_gradient"])
    @pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
    def test_equals_reference(self, name, variant, size):
        model = made(name)
        batch = batch_of(model)
        found = heads.importance(model, split(batch, size), variant=variant)
        expected = reference_importance(model, batch, variant, size)
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5)

    def test_per_sample_knows_no_batches_and_is_at_least_the_batch_gradient(self, model):
        batch = batch_of(model)
        alone, whole = (heads.importance(model, split(batch, size)) for size in (1, 3))
        torch.testing.assert_close(whole, alone)
        torch.testing.assert_close(heads.importance(model, split(batch, 1), variant="batch_gradient"), alone)
        cancelled = heads.importance(model, [batch], variant="batch_gradient")
        assert (cancelled <= whole + 1e-6).all()
        assert (cancelled < 0.9 * whole).any()

    def test_leaves_the_model_as_it_was_and_ignores_dropout(self, model):
        batch = batch_of(model)
        expected = heads.importance(model, [batch])
        assert not model.training
        model.train()
        torch.testing.assert_close(heads.importance(model, [batch]), expected)
        assert model.training
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_of_a_removed_head_is_infinite_and_of_the_others_that_of_closed_gates(self, model):
        batch = batch_of(model)
        gates = gates_of(model, GONE).requires_grad_()
        with heads.gated(model, gates):
            F.cross_entropy(logits(model, batch), batch["labels"]).backward()
        heads.remove(model, GONE)
        found = heads.importance(model, [batch], variant="batch_gradient")
        assert torch.equal(found.isinf(), gates == 0)
        torch.testing.assert_close(found[gates > 0], gates.grad[gates > 0].abs(), rtol=1e-4, atol=1e-6)

    def test_of_no_examples_is_refused(self):
        with pytest.raises(ValueError, match="there are no batches"):
            heads.importance(made("bert"), [])


class TestLowest:
    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("count", [0, 1, 5, 9])
    def test_equals_reference(self, seed, count):
        importance = torch.rand(3, 4, generator=torch.Generator().manual_seed(seed))
        importance = (4 * importance).round() if seed % 2 else importance  # ties
        assert heads.lowest(importance, count) == reference_lowest(importance, count)

    def test_a_layer_keeps_its_most_important_head(self):
        importance = torch.tensor([[0.1, 0.3, 0.2], [5.0, 4.0, 6.0]])
        assert heads.lowest(importance, 3) == {0: [0, 2], 1: [1]}

    def test_heads_that_are_gone_are_not_chosen_again(self):
        importance = torch.tensor([[torch.inf, 0.3, 0.2], [5.0, 4.0, 6.0]])
        assert heads.lowest(importance, 3) == {0: [2], 1: [0, 1]}
        with pytest.raises(
            ValueError, match="4 heads asked of 5; as every layer keeps one, at most 3 can go"
        ):
            heads.lowest(importance, 4)

    @pytest.mark.parametrize("count", [-1, 5])
    def test_an_impossible_count_is_refused(self, count):
        with pytest.raises(ValueError, match=rf"{count} heads asked of 6; .* at most 4 can go"):
            heads.lowest(torch.rand(2, 3), count)

    def test_nan_is_refused(self):
        with pytest.raises(ValueError, match="an importance is NaN"):
            heads.lowest(torch.tensor([[1.0, torch.nan]]), 1)

    def test_paper_1_prunes_28_heads_of_bert_base_to_116(self):
        chosen = heads.lowest(torch.rand(12, 12, generator=torch.Generator().manual_seed(0)), 28)
        assert 144 - sum(map(len, chosen.values())) == 116


class TestRemoval:
    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    @pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
    def test_equals_gates_of_zero(self, name, attention):
        model = made(name, attention)
        batch = batch_of(model)
        with heads.gated(model, gates_of(model, GONE)):
            expected = logits(model, batch)
        heads.remove(model, GONE)
        torch.testing.assert_close(logits(model, batch), expected)

    def test_takes_exactly_their_weights_and_is_recorded(self, model):
        total, size = model.num_parameters(), 24 // model.config.num_attention_heads
        count = model.config.num_attention_heads
        heads.remove(model, GONE)
        per_head = 4 * size * 24 + 3 * size  # rows of Q, K, V with their biases, columns of the output
        assert total - model.num_parameters() == 3 * per_head
        assert heads.count(model) == [count - 1, count - 2]
        assert heads.left(model)[1] == [0, 1, *range(4, count)]
        assert model.config.pruned_heads == {"0": [1], "1": [2, 3]}
        linears = masks.linears(model).values()
        assert all(
            tuple(linear.weight.shape) == (linear.out_features, linear.in_features) for linear in linears
        )

    def test_tells_the_modules_how_many_heads_they_have(self):
        bert, distilbert = made("bert"), made("distilbert")
        heads.remove(bert, GONE)
        heads.remove(distilbert, GONE)
        attention = bert.bert.encoder.layer[1].attention.self
        assert (attention.num_attention_heads, attention.all_head_size) == (2, 12)
        assert distilbert.distilbert.transformer.layer[1].attention.n_heads == 2

    def test_of_none_changes_nothing(self, model):
        before = copy.deepcopy(model)
        heads.remove(model, {})
        heads.remove(model, {0: []})
        assert not hasattr(model.config, "pruned_heads")
        batch = batch_of(model)
        assert torch.equal(logits(model, batch), logits(before, batch))

    def test_in_two_rounds_is_removal_at_once(self, model):
        """A head keeps its number: 3 is the fourth of the original heads also after 1 is gone."""
        at_once, batch = copy.deepcopy(model), batch_of(model)
        heads.remove(at_once, {0: [1, 3], 1: [0]})
        heads.remove(model, {0: [1]})
        heads.remove(model, {1: [0], 0: [3]})
        assert model.config.pruned_heads == at_once.config.pruned_heads == {"0": [1, 3], "1": [0]}
        assert torch.equal(logits(model, batch), logits(at_once, batch))

    def test_leaves_a_model_that_trains(self, model):
        heads.remove(model, GONE)
        batch = batch_of(model)
        model.train()
        torch.manual_seed(0)
        F.cross_entropy(logits(model, batch), batch["labels"]).backward()
        for name, linear in masks.linears(model).items():
            assert linear.weight.grad.shape == linear.weight.shape, name
            assert linear.weight.grad.abs().sum() > 0, name

    def test_keeps_what_is_frozen_and_the_precision(self):
        model = made("bert").to(torch.bfloat16).requires_grad_(False)
        heads.remove(model, GONE)
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}

    @pytest.mark.parametrize(
        ("gone", "message"),
        [
            ({2: [0]}, "layer 2 asked of 2, counted from 0"),
            ({0: [0], 1: [4]}, r"layer 1 has no head 4; left are \[0, 1, 3\]"),
            ({0: [0], 1: [2]}, r"layer 1 has no head 2; left are \[0, 1, 3\]"),
            ({1: [0, 3, 1]}, "these are all heads of layer 1; one must stay"),
        ],
    )
    def test_that_cannot_be_is_refused_and_nothing_done(self, gone, message):
        model = made("bert")
        heads.remove(model, {1: [2]})
        with pytest.raises(ValueError, match=message):
            heads.remove(model, gone)
        assert heads.count(model) == [4, 3]
        assert model.config.pruned_heads == {"1": [2]}

    def test_behind_masks_is_refused(self):
        model = made("bert")
        masks.wrap(model)
        with pytest.raises(
            ValueError, match=r"layer\.0\..*query is a MaskedLinear.*masks.unwrap makes it one"
        ):
            heads.remove(model, GONE)


def test_another_architecture_is_refused():
    config = transformers.DebertaV2Config(**SMALL)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(
        ValueError, match="DebertaV2ForSequenceClassification has no attention like that of BERT"
    ):
        heads.count(model)
