import copy

import numpy as np
import pytest
import torch
import transformers

from robust_lib import models

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 90,
}
IDS = torch.tensor([[2, 7, 8, 9, 3]])
LABELS = ("entailment", "neutral", "contradiction")


@pytest.fixture
def directory(tmp_path):
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(**SMALL)).save_pretrained(tmp_path)
    return tmp_path


def test_a_directory_becomes_a_classifier_with_its_labels_by_name(directory):
    model = models.Encoder(str(directory)).classifier(LABELS, seed=0)
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id == {label: index for index, label in enumerate(LABELS)}


def test_the_seed_draws_the_head_and_nothing_else(directory):
    first, again, other = (models.Encoder(str(directory)).classifier(LABELS, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert torch.equal(
        first.bert.encoder.layer[0].output.dense.weight, other.bert.encoder.layer[0].output.dense.weight
    )


def test_truncation_keeps_the_first_layers(directory):
    whole = models.Encoder(str(directory)).classifier(LABELS, seed=0)
    half = models.Encoder(str(directory), layers=2).classifier(LABELS, seed=0)
    states = whole(IDS, output_hidden_states=True).hidden_states
    torch.testing.assert_close(half(IDS, output_hidden_states=True).hidden_states, states[:3])
    assert half.config.num_hidden_layers == 2
    with pytest.raises(models.EncoderError, match="9 layers asked of 4"):
        models.truncate(whole, 9)


def test_a_words_vector_is_the_mean_of_its_pieces_input_embeddings():
    encoder = models.Encoder("micro-base")
    tokenizer, model = encoder.tokenizer(), encoder.classifier(LABELS, seed=0)
    found = encoder.vectors(["doctor", "isn't"])
    for word, vector in zip(["doctor", "isn't"], found, strict=True):
        pieces = [model.bert.embeddings.word_embeddings.weight[i] for i in tokenizer(word)["input_ids"][1:-1]]
        mean = (sum(pieces) / len(pieces)).detach().numpy()
        np.testing.assert_allclose(vector, mean / np.sqrt((mean**2).sum()), atol=1e-6)
    assert len(pieces) > 1
    assert found.dtype == np.float32


def test_what_the_encoder_cannot_read_has_no_vector():
    encoder = models.Encoder("micro-base")
    unread, part, empty = encoder.vectors(["日本", "x'日", ""])
    assert not unread.any()
    assert not empty.any()
    read = encoder.vectors(["x'"])[0]
    np.testing.assert_allclose(part, read, atol=1e-6)
    assert (read**2).sum() == pytest.approx(1)
    assert encoder.vectors([]).shape == (0, len(read))


def test_roberta_reads_a_word_as_within_a_sentence(tmp_path):
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "Ġ": 5, "Ġa": 6, "<mask>": 7}
    tokenizer = transformers.RobertaTokenizer(vocab=vocabulary, merges=[("Ġ", "a")])
    tokenizer.save_pretrained(tmp_path)
    model = transformers.RobertaModel(transformers.RobertaConfig(**SMALL | {"vocab_size": 8}))
    model.save_pretrained(tmp_path)
    expected = model.embeddings.word_embeddings.weight[6].detach()
    found = models.Encoder(str(tmp_path)).vectors(["a"])[0]
    np.testing.assert_allclose(found, expected / expected.norm(), atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_parameter_counts_add_up(family):
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64} if family == "distilbert" else SMALL
    model = transformers.AutoModelForSequenceClassification.from_config(
        transformers.AutoConfig.for_model(family, **sizes)
    )
    counts = models.parameter_counts(model)
    assert sum(counts.values()) == model.num_parameters()
    per_layer = 4 * (32 * 32 + 32) + (32 * 64 + 64) + (64 * 32 + 32) + 4 * 32
    assert counts["encoder"] == per_layer * (2 if family == "distilbert" else 4)
    assert counts["embeddings"] == sum(p.numel() for p in model.base_model.embeddings.parameters())


def test_frozen_embeddings_leave_the_rest_trainable(directory):
    model = models.Encoder(str(directory)).classifier(LABELS, seed=0)
    models.freeze_embeddings(model)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith("bert.embeddings")}


def test_the_fingerprint_follows_the_weights_the_layers_and_not_the_place(directory, tmp_path):
    encoder = models.Encoder(str(directory))
    before = encoder.fingerprint()
    assert models.Encoder(str(directory), layers=2).fingerprint() != before
    elsewhere = tmp_path / "elsewhere"
    model = transformers.BertModel.from_pretrained(directory)
    model.save_pretrained(elsewhere)
    assert models.Encoder(str(elsewhere)).fingerprint() == before
    changed = copy.deepcopy(model)
    changed.pooler.dense.bias.data[0] += 1
    changed.save_pretrained(elsewhere)
    assert models.Encoder(str(elsewhere)).fingerprint() != before


@pytest.mark.parametrize("name", ["pytorch_model.bin", "spm.model", "vocab.txt"])
def test_the_fingerprint_follows_every_file_that_makes_the_encoder(directory, name):
    before = models.Encoder(str(directory)).fingerprint()
    (directory / name).write_bytes(b"other")
    assert models.Encoder(str(directory)).fingerprint() != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("BERT-bas", r"'BERT-bas' is no known name, directory or hub id; did you mean 'BERT-base'\?"),
        ("/nowhere/at/all", "there is no directory /nowhere/at/all"),
        ("someone/not-in-the-cache", "someone/not-in-the-cache cannot be loaded"),
    ],
)
def test_an_encoder_that_cannot_be_had_is_named(name, message):
    with pytest.raises(models.EncoderError, match=message):
        models.Encoder(name).classifier(LABELS, seed=0)


def test_a_directory_that_is_no_model_is_named(tmp_path):
    with pytest.raises(models.EncoderError, match=r"holds no config\.json"):
        models.Encoder(str(tmp_path)).fingerprint()


def test_cut_weights_are_named(directory):
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(models.EncoderError, match=f"{directory} cannot be loaded"):
        models.Encoder(str(directory)).classifier(LABELS, seed=0)
    with pytest.raises(models.EncoderError, match=f"{directory} cannot be loaded"):
        models.Encoder(str(directory)).vectors(["cat"])


@pytest.mark.parametrize(
    "made",
    [
        lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL)),
        lambda: transformers.DistilBertForSequenceClassification(
            transformers.DistilBertConfig(dim=32, n_layers=4, n_heads=2, hidden_dim=64, vocab_size=90)
        ),
    ],
    ids=["bert", "distilbert"],
)
def test_the_output_has_the_cls_states_of_its_pass_with_their_gradient(made):
    model = made().eval()
    model(IDS, output_hidden_states=True)  # transformers leaves hooks of its own
    _, stack = models.layer_stack(model)
    hooks = [len(part._forward_hooks) for part in (model, *stack)]
    with models.cls_states(model):
        for ids in (torch.tensor([[2, 11, 3], [2, 9, 3]]), IDS):
            out = model(ids, output_hidden_states=True)
            assert torch.equal(out.cls_states, torch.stack([h[:, 0] for h in out.hidden_states[1:]], dim=1))
        out.cls_states[:, 1].sum().backward()
    assert all(parameter.grad is not None for parameter in stack[:2].parameters())
    assert not any(parameter.grad.any() for parameter in stack[2:].parameters())
    assert [len(part._forward_hooks) for part in (model, *stack)] == hooks
    assert "cls_states" not in model(IDS)
