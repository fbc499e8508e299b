"""Models of an audit: every kind says the same of the same weights, alone and among others; what is refused."""

import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from robust_lib import attack, data, masks, models, quantize, train
from robust_lib.audit import example
from robust_lib.audit.models import Model
from robust_lib.audit.problems import AuditError, Unmeasured

LENGTH = 48
SENTENCES = [
    "the film is good",
    "it is not",
    "a very long story , and the man who told it was not there when the woman saw the house",
    "good",
    "the small girl is happy and the boy is sad",
]
TEXTS = [(text,) for text in SENTENCES]
PAIRS_AS_TEXTS = [(f"{text} , {other}",) for text, other in itertools.pairwise(SENTENCES)]
PAIRS = [(text, other) for text, other in zip(SENTENCES, SENTENCES[::-1], strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro classifier with a head that says something, untrained, and what is made of it."""
    folder = tmp_path_factory.mktemp("models")
    encoder = models.Encoder("micro-tiny")
    model = encoder.classifier(("negative", "positive", "neither"), seed=0)
    torch.nn.init.normal_(model.classifier.weight, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(folder / "whole")
    encoder.tokenizer().save_pretrained(folder / "whole")
    found = {name: masks.magnitude(layer.weight, 0.5) for name, layer in masks.linears(model).items()}
    masks.save(folder / "mask.safetensors", found, model=model)
    masks.apply(model, found)
    masks.unwrap(model)
    model.save_pretrained(folder / "pruned")
    encoder.tokenizer().save_pretrained(folder / "pruned")
    return folder


@pytest.fixture(scope="module")
def graphs(folder: Path) -> Path:
    """The same model as ONNX files, fp32/model.onnx and int8/model.onnx."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "whole")
    for name in ("fp32", "int8"):
        shutil.copytree(folder / "whole", folder / name, ignore=shutil.ignore_patterns("*.safetensors"))
        quantize.export(model, folder / name / "model.onnx", int8=name == "int8")
    return folder


def plain(folder: Path, texts: list[tuple[str, ...]]) -> np.ndarray:
    """Probabilities straight from transformers, text by text without padding."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        rows = [
            model(**tokenizer(*text, truncation=True, max_length=LENGTH, return_tensors="pt")).logits[0]
            for text in texts
        ]
    return torch.stack(rows).double().softmax(dim=-1).numpy()


@pytest.mark.parametrize("texts", [TEXTS, PAIRS], ids=["texts", "pairs"])
def test_a_directory_says_what_transformers_says(folder, texts):
    opened = Model(str(folder / "whole")).open(max_length=LENGTH)
    assert opened.classes == ("negative", "positive", "neither")
    rows = opened(texts)
    assert rows.dtype == np.float64
    # fp32 sums in another order, over logits of some units
    np.testing.assert_allclose(rows, plain(folder / "whole", texts), atol=1e-5)
    np.testing.assert_allclose(opened.batch(texts), rows, atol=1e-5)
    assert opened([]).shape == (0, 3)


def test_a_mask_is_the_model_pruned_by_hand(folder):
    whole, mask = Model(str(folder / "whole")), str(folder / "mask.safetensors")
    masked = Model(str(folder / "whole"), mask=mask)
    under, pruned, dense = (
        one.open(max_length=LENGTH) for one in (masked, Model(str(folder / "pruned")), whole)
    )
    assert np.array_equal(under(TEXTS), pruned(TEXTS))
    assert not np.allclose(under(TEXTS), dense(TEXTS), atol=1e-3)
    assert under.parameters == pruned.parameters == dense.parameters
    assert under.nonzero == pruned.nonzero < dense.nonzero
    assert masked.bytes() == whole.bytes() + Path(mask).stat().st_size


def test_onnx_says_the_same_and_in_8_bits_nearly(graphs):
    expected = plain(graphs / "whole", TEXTS)
    exact, rounded = (
        Model(str(graphs / name / "model.onnx")).open(max_length=LENGTH) for name in ("fp32", "int8")
    )
    assert exact.classes == ("negative", "positive", "neither")
    np.testing.assert_allclose(exact(TEXTS), expected, atol=1e-5)
    assert 1e-5 < np.abs(rounded(TEXTS) - expected).max() < 0.25
    assert (rounded(TEXTS).argmax(axis=1) == expected.argmax(axis=1)).all()
    sizes = [Model(str(graphs / name / "model.onnx")).bytes() for name in ("fp32", "int8")]
    assert sizes == [(graphs / name / "model.onnx").stat().st_size for name in ("fp32", "int8")]
    assert sizes[1] < sizes[0] / 2


@pytest.mark.parametrize("name", ["whole", "fp32/model.onnx", "int8/model.onnx"])
def test_a_texts_numbers_do_not_depend_on_what_it_is_asked_with(graphs, name):
    """Those of 8 bits would by 1e-2, of whole fp32 batches the last digits do: MKL sums odd rows in another order."""
    opened, texts = Model(str(graphs / name)).open(max_length=LENGTH), [*TEXTS, *PAIRS_AS_TEXTS]
    together, tolerance = opened(texts), 1e-6 if name == "whole" else 0
    for found in (opened(texts[::-1])[::-1], np.concatenate([opened([text]) for text in texts])):
        np.testing.assert_allclose(found, together, atol=tolerance, rtol=0)
    assert np.array_equal(Model(str(graphs / name)).open(max_length=LENGTH)(texts), together)


def test_vectors_are_the_last_states_of_the_first_token(folder):
    opened = Model(str(folder / "whole")).open(max_length=LENGTH)
    body = transformers.AutoModel.from_pretrained(folder / "whole", dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "whole")
    with torch.inference_mode():
        expected = [
            body(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 0] for text in SENTENCES
        ]
    torch.testing.assert_close(opened.vectors(TEXTS), torch.stack(expected), atol=1e-5, rtol=0)
    assert list(opened.lengths(TEXTS)) == [len(tokenizer(text).input_ids) for text in SENTENCES]


def test_what_a_model_costs(folder):
    model = Model(str(folder / "whole"))
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "whole")
    opened = model.open(max_length=LENGTH)
    assert opened.parameters == loaded.num_parameters()
    assert model.bytes() == (folder / "whole" / "model.safetensors").stat().st_size


def test_an_onnx_file_without_hidden_states_has_no_vectors(graphs):
    opened = Model(str(graphs / "fp32" / "model.onnx")).open(max_length=LENGTH)
    with pytest.raises(Unmeasured, match="no hidden states among its outputs"):
        opened.vectors(TEXTS)
    assert opened.parameters is None


def exported(folder: Path, to: Path, **outputs: torch.nn.Module) -> Model:
    """The classifier as a person's own export: what `outputs` make of logits and last states."""

    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "whole")
            self.model.config.return_dict = True

        def forward(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
            out = self.model(input_ids, output_hidden_states=True)
            return tuple(made(out) for made in outputs.values())

    shutil.copytree(folder / "whole", to, ignore=shutil.ignore_patterns("*.safetensors"))
    axes = ({0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens")},)
    program = torch.onnx.export(
        Own().eval(), (torch.ones(2, 8, dtype=torch.int64),), dynamo=True, dynamic_shapes=axes, verbose=False,
        input_names=["input_ids"], output_names=list(outputs),
    )  # fmt: skip
    program.save(to / "own.onnx", external_data=True)
    return Model(str(to / "own.onnx"))


@pytest.mark.filterwarnings("ignore")  # of torch's exporter, about itself
def test_an_export_of_probabilities_and_states_in_two_files(graphs, tmp_path):
    model = exported(
        graphs,
        tmp_path / "own",
        chances=lambda out: out.logits.softmax(dim=-1),
        states=lambda out: out.hidden_states[-1],
    )
    opened, whole = model.open(max_length=LENGTH), Model(str(graphs / "whole")).open(max_length=LENGTH)
    # It has no input for the mask, so padding is read: compare where there is none.
    full = [("good " * 6,), ("good " * 13 + "sad",)]
    assert list(opened.lengths(full)) == [8, 16]
    np.testing.assert_allclose(opened(full), whole(full), atol=1e-5)
    torch.testing.assert_close(opened.vectors(full), whole.vectors(full), atol=1e-5, rtol=0)
    parts = [tmp_path / "own" / name for name in ("own.onnx", "own.onnx.data")]
    assert model.bytes() == sum(part.stat().st_size for part in parts)
    before = model.fingerprint()
    content = bytearray(parts[1].read_bytes())
    content[-1] ^= 1
    parts[1].write_bytes(content)
    assert model.fingerprint() != before
    parts[1].unlink()
    with pytest.raises(AuditError, match=r"its weights are in own.onnx.data, which is not beside it"):
        model.bytes()
    with pytest.raises(AuditError, match="give a whole ONNX file"):
        model.open(max_length=LENGTH)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"input_ids": ["n", "t"]}, {"a": ["n", 3], "b": ["n", 3]}, r"outputs are a .*, b .*; one \(texts, classes\)"),
        ({"input_ids": ["n", "t"]}, {"states": ["n", "t", 8]}, r"outputs are states .*; one \(texts, classes\)"),
        ({"input_ids": ["n", "t"], "position_ids": ["n", "t"]}, {"logits": ["n", 3]}, r"inputs are .*, position_ids"),
        ({"input_ids": ["n", 128]}, {"logits": ["n", 3]}, r"an axis of its inputs has the fixed size 128"),
        ({"input_ids": [4, "t"]}, {"logits": [4, 3]}, r"an axis of its inputs has the fixed size 4"),
    ],
)  # fmt: skip
def test_graphs_that_are_no_classifier_of_texts(folder, tmp_path, inputs, outputs, message):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    floats, integers = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Cast", ["input_ids"], [name], to=floats) for name in outputs],
        "strange",
        [onnx.helper.make_tensor_value_info(name, integers, shape) for name, shape in inputs.items()],
        [onnx.helper.make_tensor_value_info(name, floats, shape) for name, shape in outputs.items()],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "strange.onnx")
    with pytest.raises(AuditError, match=message):
        open_(tmp_path / "strange.onnx", tokenizer=str(folder / "whole"), labels=NAMES)


FUNCTIONS = """
import numpy as np
import torch
import transformers
from beside import FOLDER

model = transformers.AutoModelForSequenceClassification.from_pretrained(FOLDER)
tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)


def rows(texts):
    columns = [texts] if isinstance(texts[0], str) else [list(column) for column in zip(*texts)]
    inputs = tokenizer(*columns, padding=True, truncation=True, max_length=48, return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs).logits.softmax(dim=-1)


def piped(texts):
    return pipe(texts)


def named(texts):
    return [dict(zip(["negative", "positive", "neither"], row.tolist())) for row in rows(texts)]


def named_pairs(texts):
    return named([(a, b) for a, b in texts])


def nan(texts):
    return [[float("nan")] * 3 if text == "good" else [0.5, 0.5, 0.0] for text in texts]


def short(texts):
    return rows(texts[1:])


def two(texts):
    return [[0.5, 0.5] for _ in texts]


def logits(texts):
    return [[2.0, -1.0, 0.5] for _ in texts]


def negative(texts):
    return [[1.5, -0.5, 0.0] for _ in texts]


def words(texts):
    return [["good", "bad", "neither"] for _ in texts]


def nothing(texts):
    return None


def some(texts):
    return [{"negative": 0.5, "positive": 0.5} for _ in texts]


def fails(texts):
    raise RuntimeError("the server is down")
"""


@pytest.fixture(scope="module")
def written(folder: Path) -> Path:
    """A user's file of functions, and another that it imports from."""
    file = folder / "mine.py"
    file.write_text(FUNCTIONS)
    (folder / "beside.py").write_text(f"FOLDER = {str(folder / 'whole')!r}\n")
    return file


NAMES = ("negative", "positive", "neither")


@pytest.mark.parametrize("name", ["rows", "piped", "named"])
def test_a_function_around_the_directory_says_the_same(folder, written, name):
    model = Model(f"{written}:{name}", labels=NAMES)
    opened = model.open(max_length=LENGTH)
    np.testing.assert_allclose(opened(TEXTS), plain(folder / "whole", TEXTS), atol=1e-5)
    assert list(opened.lengths([("a b c",), ("a b", "c d")])) == [3, 4]
    assert (model.kind, model.reads(), model.bytes(), opened.parameters) == ("function", None, None, None)
    with pytest.raises(Unmeasured, match="a function shows no hidden states"):
        opened.vectors(TEXTS)
    if name != "rows":
        # without labels the classes are what it calls them, in the order of the alphabet
        alone = Model(f"{written}:{name}").open(max_length=LENGTH)
        assert alone.classes == ("negative", "neither", "positive")
        assert np.array_equal(alone(TEXTS)[:, [0, 2, 1]], opened(TEXTS))


@pytest.mark.parametrize("name", ["rows", "named_pairs"])
def test_a_function_of_pairs(folder, written, name):
    opened = Model(f"{written}:{name}", labels=NAMES).open(max_length=LENGTH)
    np.testing.assert_allclose(opened(PAIRS), plain(folder / "whole", PAIRS), atol=1e-5)
    if name == "named_pairs":
        assert set(Model(f"{written}:{name}").classes()) == set(NAMES)


def test_nan_stays_for_the_page_to_tell(written):
    rows = Model(f"{written}:nan", labels=NAMES).open(max_length=LENGTH)(TEXTS)
    assert np.isnan(rows).any(axis=1).tolist() == [text == "good" for text in SENTENCES]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("short", r"mine.py:short: it gave 4 rows for 5 texts"),
        ("two", r"text 0 .* it gave \[0.5, 0.5\]; its classes are negative, positive, neither: set labels"),
        ("logits", r"no probabilities: they sum to 1.5, the least is -1; apply a softmax"),
        ("negative", r"no probabilities: they sum to 1, the least is -0.5"),
        ("words", r"\['good', 'bad', 'neither'\], no row of probabilities"),
        ("nothing", r"it gave a NoneType for 5 texts"),
        ("some", r"its classes are negative, positive, neither: give the probability of each"),
        ("fails", r"it raised RuntimeError: the server is down; asked 5 texts, the first of 4 words"),
    ],
)
def test_what_a_function_may_not_give(written, name, message):
    opened = Model(f"{written}:{name}", labels=NAMES).open(max_length=LENGTH)
    with pytest.raises(AuditError, match=message):
        opened(TEXTS)


def test_attacks_ask_any_model(folder, written):
    def one(text: attack.Text) -> attack.Attack:
        rows = yield attack.Ask("victim", [text])
        return attack.Outcome("success", text, int(rows[0].argmax()), 1)

    for model in (Model(str(folder / "whole")), Model(f"{written}:rows", labels=NAMES)):
        texts = dict(enumerate(TEXTS))
        attacks = {key: one(text) for key, text in texts.items()}
        oracles = {"victim": model.open(max_length=LENGTH)}
        found, asked = attack.run(attacks, oracles, originals=texts)
        assert [found[key].changed for key in texts] == plain(folder / "whole", TEXTS).argmax(axis=1).tolist()
        assert asked["victim"] == len(texts)


def changed(config: Path, **values: object) -> None:
    """Values in a JSON file, replaced; None takes one out."""
    found = json.loads(config.read_text()) | values
    config.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the directory that a test may spoil."""
    return shutil.copytree(folder / "whole", tmp_path / "copy")


def open_(place: object, **fields: object) -> None:
    Model(str(place), **fields).open(max_length=LENGTH)


def test_a_pretrained_encoder_has_no_head(tmp_path):
    encoder = models.Encoder("micro-tiny")
    with pytest.raises(AuditError, match=r"no trained classification head: classifier.bias, one of 2"):
        open_(encoder.location)


def test_models_that_choose_no_class_are_refused(copy):
    changed(copy / "config.json", problem_type="multi_label_classification")
    with pytest.raises(AuditError, match=r"problem_type multi_label_classification; an audit is of models"):
        open_(copy)
    changed(copy / "config.json", problem_type=None, id2label={"0": "score"}, label2id={"score": 0})
    with pytest.raises(AuditError, match=r"config\.json says one output"):
        Model(str(copy)).classes()


def test_labels_name_the_outputs(copy):
    names = ("bad", "good", "none")
    assert Model(str(copy), labels=names).open(max_length=LENGTH).classes == names
    with pytest.raises(
        AuditError, match=r"labels are 2, bad, good; it has 3 outputs, negative, positive, neither"
    ):
        open_(copy, labels=("bad", "good"))
    with pytest.raises(
        AuditError, match=r"its classes are \['bad', 'bad', 'good'\]; set labels to two or more"
    ):
        open_(copy, labels=("bad", "bad", "good"))


def test_directories_that_cannot_be_loaded(copy, tmp_path):
    with pytest.raises(AuditError, match=r"there is no directory .*/nowhere; give"):
        open_(tmp_path / "nowhere")
    with pytest.raises(
        AuditError, match=r"someone/model: .*; give a transformers directory, or check the hub id"
    ):
        open_("someone/model")
    (copy / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(AuditError, match=r"copy: .*header.*; give a transformers directory"):
        open_(copy)
    (copy / "model.safetensors").rename(copy / "model.onnx")
    with pytest.raises(AuditError, match=r"holds an ONNX file alone; give the file, .*/model.onnx"):
        open_(copy)


def test_no_code_of_a_checkpoint_is_run(copy):
    (copy / "own.py").write_text("raise SystemExit('run')\n")
    changed(copy / "config.json", auto_map={"AutoConfig": "own.Own"}, model_type="unknown")
    with pytest.raises(AuditError, match=r"copy: The repository .* contains custom code"):
        open_(copy)


def test_a_directory_without_a_tokenizer_takes_another(copy, folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    with pytest.raises(AuditError, match="set tokenizer to a directory or hub id that has one"):
        open_(copy)
    other = Model(str(copy), tokenizer=str(folder / "whole"))
    whole = Model(str(folder / "whole"))
    assert other.reads() == whole.reads()
    assert np.array_equal(other.open(max_length=LENGTH)(TEXTS), whole.open(max_length=LENGTH)(TEXTS))


def test_texts_longer_than_the_encoder_reads(copy):
    with pytest.raises(AuditError, match="max_length 65: it reads 1 to 64 tokens"):
        Model(str(copy)).open(max_length=65)
    changed(copy / "tokenizer_config.json", model_max_length=512)  # as many checkpoints, beyond its positions
    assert Model(str(copy)).open(max_length=64).lengths([("good " * 99,)]) == [64]
    with pytest.raises(AuditError, match=r"max_length 65: .*; set max_length to what the model can read"):
        Model(str(copy)).open(max_length=65)


def test_masks_of_others_are_refused(folder, graphs, tmp_path):
    mask = str(folder / "mask.safetensors")
    with pytest.raises(AuditError, match="was made for other weights than these"):
        open_(folder / "pruned", mask=mask)
    with pytest.raises(AuditError, match="only a transformers directory can wear a mask"):
        open_(graphs / "fp32" / "model.onnx", mask=mask)
    with pytest.raises(AuditError, match=r"nomask\.safetensors"):
        open_(folder / "whole", mask=str(tmp_path / "nomask.safetensors"))


def test_onnx_files_that_are_refused(graphs, tmp_path, monkeypatch):
    own = shutil.copytree(graphs / "fp32", tmp_path / "own")
    with pytest.raises(AuditError, match="there is no such file"):
        Model(str(own / "other.onnx")).fingerprint()
    changed(own / "config.json", id2label=None)
    with pytest.raises(AuditError, match="gives 3 numbers for a text: set labels"):
        open_(own / "model.onnx", labels=("bad", "good"))
    with pytest.raises(AuditError, match="nothing names its classes; set labels"):
        Model(str(own / "model.onnx")).classes()
    (own / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(AuditError, match="give a whole ONNX file"):
        open_(own / "model.onnx", labels=NAMES)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        AuditError, match=r"onnxruntime, which is not installed: pip install 'robust-lib\[onnx\]'"
    ):
        open_(graphs / "fp32" / "model.onnx")


def test_functions_that_are_not_there(written, tmp_path):
    with pytest.raises(AuditError, match="has no function row; it has "):
        open_(f"{written}:row", labels=NAMES)
    with pytest.raises(AuditError, match="there is no Python file"):
        open_(f"{tmp_path}/no.py:f", labels=NAMES)
    with pytest.raises(AuditError, match=r"no_such_module; give file\.py:name or package"):
        open_("no_such_module:f", labels=NAMES)
    with pytest.raises(AuditError, match="nothing names its classes"):
        Model(f"{written}:rows").classes()
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_that_name\n")
    with pytest.raises(AuditError, match="No module named 'nothing_of_that_name'; mend the file"):
        open_(f"{broken}:f", labels=NAMES)
    assert Model("statistics:mean").kind == "function"
    assert len(Model("statistics:mean").fingerprint()) == 64


def test_fingerprints_change_with_content_and_not_with_place(folder, graphs, written, copy):
    whole = Model(str(folder / "whole"))
    assert Model(str(copy)).fingerprint() == whole.fingerprint()
    changed(copy / "config.json", id2label={"0": "a", "1": "b", "2": "c"})
    mine = folder / "renamed.py"
    shutil.copy(written, mine)
    assert Model(f"{mine}:rows").fingerprint() == Model(f"{written}:rows").fingerprint()
    mine.write_text(FUNCTIONS + "\n# changed\n")
    different = [
        whole,
        Model(str(copy)),
        Model(str(folder / "pruned")),
        Model(str(folder / "whole"), mask=str(folder / "mask.safetensors")),
        Model(str(folder / "whole"), labels=("a", "b", "c")),
        Model(str(folder / "whole"), tokenizer=models.Encoder("micro-tiny").location),
        Model(str(graphs / "fp32" / "model.onnx")),
        Model(str(graphs / "int8" / "model.onnx")),
        Model(f"{written}:rows"),
        Model(f"{written}:piped"),
        Model(f"{mine}:rows"),
    ]
    found = [model.fingerprint() for model in different]
    assert len(set(found)) == len(found)


def test_the_example_is_made_once_and_can_be_audited(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ROBUST_STORE", str(tmp_path))
    made = []

    def small(folder: Path) -> Path:
        made.append(folder)
        recipe = train.Recipe(epochs=1, learning_rate=4e-4, batch_size=32, max_length=LENGTH)
        return build(folder, encoder="micro-tiny", train_size=64, test_size=40, recipe=recipe)

    build = example.build
    monkeypatch.setattr(example, "build", small)
    places = {
        name: example.place(f"example/{name}")
        for name in ("original", "second", "student", "pruned", "test.csv")
    }
    assert len(made) == 1
    assert capsys.readouterr().err.count("making the example") == 1
    assert [path.name for path in tmp_path.glob("audit_example-*")] == [Path(places["original"]).parent.name]
    table = pd.read_csv(places["test.csv"])
    assert table.columns.tolist() == ["sentence", "label", "length"]
    assert table["length"].tolist() == [len(text.split()) for text in table["sentence"]]
    ood = pd.read_csv(example.place("example/ood.csv"))
    assert ood.columns.tolist() == table.columns.tolist()
    texts = [(text,) for text in table["sentence"]]
    opened = {
        name: Model(place).open(max_length=LENGTH) for name, place in places.items() if name != "test.csv"
    }
    rows = {name: one(texts) for name, one in opened.items()}
    assert all(one.shape == (40, 2) for one in rows.values())
    assert not np.array_equal(rows["original"], rows["second"])
    assert opened["student"].parameters < opened["original"].parameters
    pruned = transformers.AutoModelForSequenceClassification.from_pretrained(places["pruned"])
    assert masks.sparsity(layer.weight for layer in masks.linears(pruned).values()) == pytest.approx(
        0.5, abs=1e-4
    )
    mask = example.place("example/mask.safetensors")
    masked = Model(places["original"], mask=mask).open(max_length=LENGTH)
    assert opened["original"].nonzero - masked.nonzero == pytest.approx(
        0.5 * sum(layer.weight.numel() for layer in masks.linears(pruned).values()), rel=1e-3
    )


@pytest.mark.real
@pytest.mark.skipif(
    not (os.environ.get("ROBUST_DATA") and os.environ.get("ROBUST_ENCODER")), reason="needs real data"
)
def test_an_example_of_real_data(tmp_path):
    example.build(
        tmp_path,
        source=os.environ["ROBUST_DATA"],
        encoder=os.environ["ROBUST_ENCODER"],
        train_size=64,
        test_size=20,
        recipe=train.Recipe(epochs=1, learning_rate=1e-4, batch_size=32, max_length=LENGTH),
    )
    table = pd.read_csv(tmp_path / "test.csv")
    names = data.TASKS["sst2"].labels
    assert set(table["label"]) <= set(names)
    texts = [(text,) for text in table["sentence"]]
    whole = Model(str(tmp_path / "original")).open(max_length=LENGTH)
    np.testing.assert_allclose(whole(texts), plain(tmp_path / "original", texts), atol=1e-5)
    pytest.importorskip("onnxruntime")
    small = Model(str(tmp_path / "int8" / "model.onnx"))
    assert small.classes() == whole.classes == names
    assert np.abs(small.open(max_length=LENGTH)(texts) - whole(texts)).max() < 0.1
    assert small.bytes() < 0.6 * Model(str(tmp_path / "original")).bytes()
