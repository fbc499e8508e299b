"""Data points, the vectors of any model for them, and what the methods make of vectors."""

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers import models as pieces

from robust_lib import cka, data, methods, models, neighbours, predict, runs, train

ENCODER = models.Encoder("micro-mini")
SPLIT = data.Split("mnli", "mnli/validation_matched", "micro", size=40)
SQUAD = data.Split("squad", "squad/validation_v2", "micro", size=40)
READ = {"encoder": ENCODER, "split": SQUAD, "max_length": 48}


def draw(points, width, seed=0):
    return {"vectors": torch.randn(points, width, generator=torch.Generator().manual_seed(seed))}


@pytest.fixture(scope="module")
def reader():
    return ENCODER.reader(seed=0).eval()


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A directory with a small T5 and its tokenizer, whose texts begin with no token of their own."""
    words = pieces.WordLevel(
        {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i + 3 for i in range(40)}, "<unk>"
    )
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    place = tmp_path_factory.mktemp("t5")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(place)  # fmt: skip
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=43, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    transformers.T5Model(config).save_pretrained(place)
    return models.Encoder(str(place))


# Points


def test_points_of_one_column_are_its_distinct_texts_where_each_first_stands():
    many = data.Split("squad", "squad/validation_v2", "micro", size=400)
    frame, points = many.frame(), data.points(many, "question")
    assert 1 < len(points) < len(frame)  # some questions stand twice
    assert list(points) == list(dict.fromkeys(frame["question"]))
    for row, text in points.items():
        assert row == frame.index[frame["question"] == text][0]


def test_pairs_are_all_text_columns_in_the_encoders_order():
    frame, pairs = SQUAD.frame(), data.points(SQUAD, "pair")
    assert list(pairs) == list(zip(frame["question"], frame["context"], strict=True))
    assert pairs.index.equals(frame.index)
    assert data.points(SPLIT, "pair").iloc[0] == tuple(SPLIT.frame()[["premise", "hypothesis"]].iloc[0])


def test_points_of_a_column_that_is_not_there_are_refused():
    with pytest.raises(
        data.DataError, match=r"validation_matched: points read 'context'; it has premise, hypo"
    ):
        data.points(SPLIT, "context")


def test_points_are_encoded_as_the_split_is():
    whole = data.tokenised(SPLIT, ENCODER.tokenizer(), 24)
    ours = data.encoded_points(data.points(SPLIT, "pair"), ENCODER.tokenizer(), 24)
    assert ours.tokens.keys() == whole.tokens.keys()
    assert all((ours.tokens[name] == whole.tokens[name]).all() for name in whole.tokens)
    questions = data.encoded_points(data.points(SQUAD, "question"), ENCODER.tokenizer(), 8)
    assert questions.lengths.max() == 8


# Vectors


def by_hand(model, points, length, read):
    """Last hidden states one text at a time: no padding, no batch."""
    tokenizer, rows = ENCODER.tokenizer(), []
    for point in points:
        texts = point if isinstance(point, tuple) else (point,)
        inputs = tokenizer(*texts, truncation=True, max_length=length, return_tensors="pt")
        with torch.inference_mode():
            rows.append(read(model(**inputs, output_hidden_states=True).hidden_states[-1][0]))
    return torch.stack(rows)


@pytest.mark.parametrize("read", ["pair", "question", "context"])
def test_vectors_are_the_last_states_below_the_head(reader, read):
    points = data.points(SQUAD, read)
    first = methods.vectors(model=reader, read=read, **READ)["vectors"]
    assert first.dtype == torch.float32
    torch.testing.assert_close(
        first, by_hand(reader, points, 48, lambda states: states[0]), atol=1e-5, rtol=0
    )
    mean = methods.vectors(model=reader, read=read, summary="mean", **READ)["vectors"]
    expected = by_hand(reader, points, 48, lambda states: states.mean(dim=0))
    torch.testing.assert_close(mean, expected, atol=1e-5, rtol=0)


def test_a_reader_and_a_classifier_of_one_encoder_represent_alike(reader):
    classifier = ENCODER.classifier(["a", "b"], seed=5)
    one, other = (methods.vectors(model=model, read="question", **READ) for model in (reader, classifier))
    assert torch.equal(one["vectors"], other["vectors"])


def test_the_model_is_left_as_it_was(reader):
    reader.train()
    methods.vectors(model=reader, read="question", **READ)
    assert all(module.training for module in reader.modules())
    reader.eval()


@pytest.mark.parametrize("kind", ["reader", "classifier"])
def test_of_t5_the_encoder_is_read(t5, kind, tmp_path):
    texts = pd.Series(["w1 w2 w3", "w4 w5 w6 w7 w8", "w9"])
    model = t5.reader(seed=0) if kind == "reader" else t5.classifier(["a", "b"], seed=0)
    encoded = data.encoded_points(texts, t5.tokenizer(), 16)
    found = predict.vectors(model.eval(), encoded, summary="mean")
    alone = transformers.T5EncoderModel.from_pretrained(t5.location).eval()
    with torch.inference_mode():
        states = [alone(**t5.tokenizer()(text, return_tensors="pt")).last_hidden_state[0] for text in texts]
    torch.testing.assert_close(found, torch.stack([one.mean(dim=0) for one in states]), atol=1e-5, rtol=0)


def test_without_a_cls_token_the_mean_is_asked_for(t5):
    with pytest.raises(ValueError, match=r'tokenizer of .*t5.* has no \[CLS\] token; take summary "mean"'):
        methods.vectors(model=t5.reader(seed=0), **READ | {"encoder": t5}, read="question")


# What is made of them


def test_shared_neighbours_are_a_row_for_every_point_pair_and_k():
    sets = {"a": draw(30, 8), "b": draw(30, 5, seed=1), "c": draw(30, 6, seed=2)}
    pairs, ks = [["a", "b"], ["c", "a"]], [2, 7]
    found = methods.shared_neighbours(vectors=sets, pairs=pairs, ks=ks)
    assert list(found) == ["point", "first", "second", "k", "shared"]
    assert len(found) == 30 * 2 * 2
    near = {name: neighbours.nearest(rows["vectors"], 7) for name, rows in sets.items()}
    table = found.set_index(["first", "second", "k", "point"])["shared"].sort_index()
    for first, second in pairs:
        for k in ks:
            expected = [
                len({*one[:k].tolist()} & {*other[:k].tolist()})
                for one, other in zip(near[first], near[second], strict=True)
            ]
            assert table.loc[first, second, k].tolist() == expected


def test_the_mean_of_the_alignment_is_the_cka_of_all_points():
    sets = {"a": draw(63, 8), "b": draw(63, 5, seed=1)}
    sets["b"]["vectors"][:, :3] += 2 * sets["a"]["vectors"][:, :3]
    found = methods.alignment(vectors=sets, pairs=[["a", "b"], ["a", "a"]], blocks=10)
    assert list(found) == ["first", "second", "block", "value"]
    means = found.groupby(["first", "second"])["value"].mean()
    value = cka.similarity(sets["a"]["vectors"], sets["b"]["vectors"])
    assert means["a", "b"] == pytest.approx(value, abs=1e-12)
    assert means["a", "a"] == pytest.approx(1, abs=1e-12)
    assert found["block"].tolist() == [*range(10)] * 2
    assert found[found["second"] == "b"]["value"].std() > 0


def test_distances_put_the_training_points_on_top():
    points, sets = draw(40, 6), {"held out": draw(9, 6, seed=1), "test": draw(7, 6, seed=2)}
    found = methods.distances(train=points, sets=sets, ks=[1, 5], normalised=False)
    assert list(found) == ["set", "point", "k", "distance"]
    assert list(dict.fromkeys(found["set"])) == ["train", "held out", "test"]
    table = found.set_index(["set", "k", "point"])["distance"].sort_index()
    every = torch.cdist(sets["test"]["vectors"], points["vectors"]).square().sort(dim=1).values
    np.testing.assert_allclose(table.loc["test", 5], every[:, 4], rtol=1e-4)
    own = torch.cdist(points["vectors"], points["vectors"]).square().fill_diagonal_(torch.inf)
    np.testing.assert_allclose(table.loc["train", 1], own.min(dim=1).values, rtol=1e-4)
    unit = methods.distances(train=points, sets=sets, ks=[1])
    assert unit["distance"].between(0, 4).all()


def test_sets_that_cannot_be_compared_are_named():
    sets = {"a": draw(30, 8), "b": draw(29, 5)}
    with pytest.raises(ValueError, match=r"do not have the same points \(a 30, b 29\); take one split"):
        methods.shared_neighbours(vectors=sets, pairs=[["a", "b"]], ks=[1])
    with pytest.raises(ValueError, match="'c' has no vectors; there are those of a, b"):
        methods.alignment(vectors=sets, pairs=[["a", "c"]])
    with pytest.raises(ValueError, match="a set is named 'train', as the training points themselves are"):
        methods.distances(train=sets["a"], sets={"train": sets["b"]}, ks=[1])


def test_units_hand_vectors_on_through_the_store(tmp_path, monkeypatch):
    for name, value in {"RUNS": tmp_path / "runs", "STORE": tmp_path / "store", "WORKERS": "1"}.items():
        monkeypatch.setenv(f"ROBUST_{name}", str(value))
    read = {"encoder": ENCODER, "split": SPLIT, "max_length": 24, "read": "pair"}
    recipe = train.Recipe(epochs=0, learning_rate=1e-3, batch_size=16, max_length=24)
    heads = {"one": 0, "two": 1}  # of one encoder, untrained
    made = {
        name: runs.unit(
            methods.vectors,
            model=runs.unit(methods.finetuned, encoder=ENCODER, split=SPLIT, recipe=recipe, seed=seed),
            **read,
        )
        for name, seed in heads.items()
    }
    units = {
        "shared": runs.unit(methods.shared_neighbours, vectors=made, pairs=[["one", "two"]], ks=[1, 5]),
        "cka": runs.unit(methods.alignment, vectors=made, pairs=[["one", "two"]], blocks=4),
        "far": runs.unit(methods.distances, train=made["one"], sets={"test": made["two"]}, ks=[2]),
    }
    found = runs.start("06_test", {"scale": "micro"}).collect(units)
    assert (found["shared"]["shared"] == found["shared"]["k"]).all()
    assert found["cka"]["value"].to_numpy() == pytest.approx(1)
    assert len(found["far"]) == 80
