"""Parameters: what is refused, and that the refusal says enough to repair it."""

import ast
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lib import params

STUDY = "01_robustness_study"
GOOD: dict[str, Any] = {
    "engine": "processes",
    "scale": "colab",
    "source": "hub",
    "seeds": [0, 1],
    "encoder": "google/bert_uncased_L-2_H-128_A-2",
    "tasks": ["mnli", "qqp"],
    "train_paths": {"mnli": "mnli/train_subset"},
    "train_size": 2000,
    "test_size": None,
    "sparsities": [0.2, 0.4],
    "schedule": "cubic",
    "epochs": 3,
    "pruning_epochs": 2,
    "small_encoders": {"MiniLM": "MiniLM"},
    "truncated_layers": 6,
    "head_share": 0.2,
    "more_heads": 0.4,
    "head_versions": [1, 2],
    "head_sample": 100,
    "head_epochs": 1,
    "learning_rate": 2e-5,
    "batch_size": 32,
    "max_length": 128,
    "warmup": 0.1,
    "weight_decay": 0.01,
    "merge": "argmax",
    "precision": "fp32",
}


def refusal(**changes: Any) -> str:
    with pytest.raises(params.ParameterError) as caught:
        params.check(STUDY, GOOD | changes, file="params/colab/x.yaml")
    return str(caught.value)


def test_good_parameters_pass_and_whole_numbers_become_real() -> None:
    checked = params.check(STUDY, GOOD | {"weight_decay": 0, "warmup": 0})
    assert (checked.weight_decay, type(checked.weight_decay)) == (0.0, float)
    assert checked.model_dump() == GOOD | {"weight_decay": 0.0, "warmup": 0.0}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("sparsities", [0.2, 1.2], ["sparsities[1] = 1.2", "less than 1", "above 0 and below 1"]),
        ("sparsities", [0.0], ["sparsities[0] = 0.0", "greater than 0"]),
        ("sparsities", [math.nan], ["sparsities[0] = nan", "finite"]),
        ("sparsities", [0.4, 0.2], ["sparsities = [0.4, 0.2]", "ascend: [0.2, 0.4]"]),
        ("sparsities", [], ["sparsities = []", "at least 1 item"]),
        ("sparsities", 0.4, ["sparsities = 0.4", "list"]),
        ("seeds", [0, 0], ["seeds = [0, 0]", "named twice"]),
        ("seeds", [-1], ["seeds[0] = -1", "whole number from 0"]),
        ("seeds", [True], ["seeds[0] = True", "integer"]),
        ("seeds", "[0, 1]", ["seeds = '[0, 1]'", "-y 'seeds: [0, 1]'"]),
        ("tasks", ["mnil"], ["tasks[0] = 'mnil'", "mnli, fever, qqp", "did you mean mnli?"]),
        ("tasks", ["mnli", "mnli"], ["'mnli' is named twice"]),
        ("train_paths", {"mnil": "mnli/train"}, ["train_paths['mnil']", "did you mean mnli?"]),
        ("train_paths", {"mnli": "../mnli"}, ["train_paths['mnli'] = '../mnli'", "dataset/split"]),
        ("train_size", 0, ["train_size = 0", "null for all"]),
        ("train_size", 2000.0, ["train_size = 2000.0", "integer"]),
        ("train_size", True, ["train_size = True", "integer"]),
        ("learning_rate", "2e-5", ["learning_rate = '2e-5'", "write 2.0e-5"]),
        ("learning_rate", False, ["learning_rate = False", "number"]),
        ("warmup", 1.0, ["warmup = 1.0", "below 1/3"]),
        ("schedule", "linear", ["schedule = 'linear'", "cubic or stepwise"]),
        ("scale", "papers", ["scale = 'papers'", "did you mean paper?"]),
        ("source", "", ["source = ''", "data directory"]),
        ("trainsize", 5, ["trainsize = 5", "no such parameter", "did you mean train_size?"]),
        (3, 5, ["3: no such parameter", "allowed: batch_size"]),
    ],
)  # fmt: skip
def test_refusal_names_file_field_value_and_what_is_allowed(field: Any, value: Any, said: list[str]) -> None:
    message = refusal(**{field: value}) if isinstance(field, str) else _refused(GOOD | {field: value})
    assert [part for part in ["params/colab/x.yaml", *said] if part not in message] == []


def test_two_parameters_that_do_not_fit_each_other_are_both_named() -> None:
    assert refusal(more_heads=0.1) == (
        "params/colab/x.yaml: more_heads = 0.1 should be above head_share = 0.2, the share it is compared with"
    )
    levels = "sparsities = [0.4]: a variance needs two levels"
    sizes = "sample_sizes = [12000, 40000, 120000] should not exceed train_size = 9000"
    for name, changed, said in (
        (
            "03_rmc",
            {"sparsity": 0.5},
            "sparsity = 0.5 should be one of sparsities = [0.2, 0.4, 0.6, 0.7, 0.85]",
        ),
        ("03_rmc", {"sparsities": [0.4]}, levels),
        ("02_attribution", {"sparsities": [0.4]}, levels),
        ("02_attribution", {"train_size": 9000}, sizes),
        ("02_attribution", {"tasks": ["qqp"]}, "tasks = ['qqp']: section 4 of the paper is about mnli alone"),
    ):
        paper = params.load(Path(__file__).parents[1] / "params" / "paper" / f"{name}.yaml")
        with pytest.raises(params.ParameterError) as caught:
            params.check(name, paper | changed)
        assert str(caught.value).startswith(f"{name}: {said}")


SUBNETWORKS = "04_srnets"


def paper_4(**changes: Any) -> dict[str, Any]:
    return params.load(Path(__file__).parents[1] / "params" / "paper" / f"{SUBNETWORKS}.yaml") | changes


def test_a_task_has_its_own_values_and_else_those_of_all() -> None:
    own = {"mnli": {"epochs": 5, "mask_learning_rate": None}, "fever": {"warmup": 0, "lengths": [4]}}
    checked = params.check(
        SUBNETWORKS, paper_4(by_task=own, epochs=3, lengths=[1, 2], mask_learning_rate=2e-5)
    )
    mnli, fever, qqp = (checked.of(task) for task in ("mnli", "fever", "qqp"))
    assert [one.epochs for one in (mnli, fever, qqp)] == [5, 3, 3]
    assert [one.mask_learning_rate for one in (mnli, fever, qqp)] == [None, 2e-5, 2e-5]
    assert [one.lengths for one in (mnli, fever, qqp)] == [[1, 2], [4], [1, 2]]
    assert (fever.warmup, type(fever.warmup)) == (0.0, float)
    assert mnli.recipe["epochs"] == 5
    changed = {name for name, value in mnli.model_dump().items() if value != checked.model_dump()[name]}
    assert changed == {"epochs", "mask_learning_rate", "by_task"}


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"mnli": {"epochs": 0}}, ["by_task['mnli']: epochs = 0", "greater than or equal to 1", "whole number from 1"]),
        (
            {"mnli": {"learning_rate": "2e-5"}},
            ["by_task['mnli']: learning_rate = '2e-5'", "write 2.0e-5", "above 0 and below 1"],
        ),
        (
            {"qqp": {"loss_epochs": {"pow": 2}}},
            ["by_task['qqp']: loss_epochs['pow']", "did you mean poe?", "poe, reweight, confreg"],
        ),
        ({"fever": {"lengths": [], "warmup": 1.0}}, ["by_task['fever']: 2 parameters", "lengths = []", "warmup = 1.0"]),
        ({"mnli": {"epoch": 2}}, ["by_task['mnli']: 'epoch' differs by no task", "did you mean epochs?"]),
        ({"mnli": {"sparsities": [0.5]}}, ["by_task['mnli']: 'sparsities' differs by no task"]),
        ({"mnil": {"epochs": 2}}, ["by_task['mnil']", "did you mean mnli?"]),
        ({"mnli": 3}, ["by_task['mnli'] = 3", "task: {parameter: value}"]),
    ],
)  # fmt: skip
def test_a_refused_value_of_a_task_is_named_with_its_task(own: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(params.ParameterError) as caught:
        params.check(SUBNETWORKS, paper_4(by_task=own), file="x.yaml")
    message = str(caught.value)
    assert message.startswith("x.yaml: by_task")
    assert [part for part in said if part not in message] == []
    assert "validation error" not in message


@pytest.mark.parametrize("initial", [0.9, 0.95])
def test_sparsity_rises_from_below(initial: float) -> None:
    with pytest.raises(
        params.ParameterError, match=f"initial_sparsity = {initial} should be below high_sparsity = 0.9"
    ):
        params.check(SUBNETWORKS, paper_4(initial_sparsity=initial, high_sparsity=0.9))


def test_a_task_may_differ_in_parameters_that_there_are() -> None:
    assert set(params.OF_A_TASK) <= set(params.Subnetworks.model_fields)


LOYALTY = "05_loyalty"


def paper_3(**changes: Any) -> dict[str, Any]:
    return params.load(Path(__file__).parents[1] / "params" / "paper" / f"{LOYALTY}.yaml") | changes


def test_a_method_has_its_own_values_and_else_those_of_all() -> None:
    own = {"Pure KD": {"epochs": 5, "warmup": 0}, "BERT-PKD": {"learning_rate": 1e-5}}
    checked = params.check(LOYALTY, paper_3(by_method=own, epochs=3, warmup=0.1, learning_rate=3e-5))
    pure, patient, other = (checked.of(method) for method in ("Pure KD", "BERT-PKD", "Teacher"))
    assert [one.epochs for one in (pure, patient, other)] == [5, 3, 3]
    assert [one.learning_rate for one in (pure, patient, other)] == [3e-5, 1e-5, 3e-5]
    assert (pure.warmup, type(pure.warmup)) == (0.0, float)
    assert pure.recipe == checked.recipe | {"epochs": 5, "warmup": 0.0}
    changed = {name for name, value in pure.model_dump().items() if value != checked.model_dump()[name]}
    assert changed == {"epochs", "warmup", "by_method"}
    assert other.model_dump() == checked.model_dump() | {"by_method": {}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": {"mnli": ["Pure DK"]}}, ["rows['mnli'][0] = 'Pure DK'", "did you mean Pure KD?"]),
        ({"rows": {"mnli": ["Teacher"]}}, ["rows['mnli'][0] = 'Teacher'", "rows beside the teacher"]),
        ({"rows": {"mnli": ["Pure KD", "Pure KD"]}}, ["rows['mnli']", "'Pure KD' is named twice"]),
        ({"rows": {"qqp": ["Pure KD"]}}, ["rows['qqp']", "task: rows"]),
        ({"tasks": ["fever"]}, ["tasks[0] = 'fever'", "mnli, sst2 or both"]),
        ({"by_method": {"Q8 PTQ": {"epochs": 2}}}, ["by_method['Q8 PTQ']", "did you mean Q8-PTQ?"]),
        (
            {"by_method": {"Pure KD": {"temperature": 5.0}}},
            ["by_method['Pure KD']: 'temperature' differs by no method", "allowed: batch_size, epochs"],
        ),
        (
            {"by_method": {"Pure KD": {"epoch": 2}}},
            ["by_method['Pure KD']: 'epoch' differs by no method", "did you mean epochs?"],
        ),
        (
            {"by_method": {"Pure KD": {"epochs": 0}}},
            ["by_method['Pure KD']: epochs = 0", "greater than or equal to 1", "whole number from 1"],
        ),
        (
            {"by_method": {"Pure KD": {"epochs": 0, "learning_rate": "3e-5"}}},
            ["by_method['Pure KD']: 2 parameters", "epochs = 0", "write 2.0e-5"],
        ),
        ({"by_method": {"Pure KD": 3}}, ["by_method['Pure KD'] = 3", "method: {parameter: value}"]),
        ({"by_method": {"Q8-PTQ": {"epochs": 2}}}, ["by_method['Q8-PTQ']: nothing is trained there"]),
        (
            {"rows": {"mnli": ["DistilBERT"]}, "distilbert": None},
            ["rows: DistilBERT needs an encoder; distilbert is null"],
        ),
        (
            {"rows": {"sst2": ["TinyBERT"]}, "tinybert": None},
            ["rows: TinyBERT needs an encoder; tinybert is null"],
        ),
        ({"head_share": 1.0}, ["head_share = 1.0", "less than 1", "above 0 and below 1"]),
        ({"head_share": 0.0}, ["head_share = 0.0", "greater than 0"]),
        ({"student_layers": 0}, ["student_layers = 0", "from 2"]),
        ({"temperature": 0.0}, ["temperature = 0.0", "above 0"]),
        ({"theseus_base": 1.5}, ["theseus_base = 1.5", "from 0 to 1"]),
        ({"q8_decay": 1.0}, ["q8_decay = 1.0", "below 1"]),
        ({"modes": []}, ["modes = []", "at least 1 item"]),
        ({"modes": ["author"]}, ["modes[0] = 'author'", "did you mean authors?"]),
        ({"attack_size": 0}, ["attack_size = 0", "null for all"]),
        ({"budget": 0}, ["budget = 0", "null for no limit"]),
        ({"speed_batches": [1, 1]}, ["speed_batches = [1, 1]", "named twice"]),
        ({"speed_rounds": 1}, ["speed_rounds = 1", "from 2"]),
    ],
)  # fmt: skip
def test_a_refused_value_of_a_compression_study_is_named(changes: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(params.ParameterError) as caught:
        params.check(LOYALTY, paper_3(**changes), file="x.yaml")
    message = str(caught.value)
    assert [part for part in ["x.yaml: ", *said] if part not in message] == []
    assert "validation error" not in message


def test_an_encoder_is_needed_for_its_own_row_alone() -> None:
    changes = {"rows": {"mnli": ["Pure KD"], "sst2": []}, "distilbert": None, "tinybert": None}
    assert params.check(LOYALTY, paper_3(**changes)).rows == changes["rows"]


def test_every_method_that_trains_may_have_values_of_its_own_in_parameters_that_there_are() -> None:
    assert set(params.OF_A_METHOD) <= set(params.Loyalty.model_fields)
    own = {method: {"epochs": 2} for method in params.METHODS if method not in params.UNTRAINED}
    checked = params.check(LOYALTY, paper_3(by_method=own, epochs=3))
    assert {checked.of(method).epochs for method in own} == {2}
    assert set(params.UNTRAINED) < set(params.METHODS)


MINIATURE = "06_miniature"


def paper_2(**changes: Any) -> dict[str, Any]:
    return params.load(Path(__file__).parents[1] / "params" / "paper" / f"{MINIATURE}.yaml") | changes


def test_a_member_of_a_family_is_an_encoder_or_a_part_of_one() -> None:
    half = {"encoder": "BERT-base", "layers": 6, "sparsity": 0.4}
    checked = params.check(MINIATURE, paper_2(family={"whole": "BERT-base", "half": half}, repeated=["half"]))
    assert checked.original == "whole"
    whole, part = checked.family.values()
    assert (whole.encoder, whole.layers, whole.sparsity) == ("BERT-base", None, 0.0)
    assert part.model_dump() == half


def test_a_task_and_a_model_have_their_own_values_the_models_last() -> None:
    own = {"by_task": {"imdb": {"epochs": 4, "batch_size": 8}}, "by_model": {"Tiny-BERT": {"epochs": 5}}}
    checked = params.check(MINIATURE, paper_2(**own))
    tiny, large = (checked.of("imdb", name) for name in ("Tiny-BERT", "BERT-large"))
    assert (tiny.epochs, tiny.batch_size, large.epochs) == (5, 8, 4)
    assert (checked.of("squad", "BERT-large").epochs, checked.of("squad").recipe) == (2, checked.recipe)
    named = params.check(MINIATURE, paper_2(**own, family=paper_2()["family"] | {"imdb": "BERT-small"}))
    assert (named.of("imdb").epochs, named.of("imdb", "imdb").batch_size) == (4, 8)
    assert set(params.OF_A_TRAINING) | set(params.OF_A_MODEL) <= set(params.Miniature.model_fields)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": {"a": "BERT-base"}}, ["family = ", "at least 2 items", "the original first"]),
        (
            {"family": {"a": "BERT-base", "b": {"encodr": "x"}}},
            ["family['b']['encoder']: is missing", "family['b']['encodr'] = 'x'", "{encoder, layers, sparsity}"],
        ),
        (
            {"family": {"a": "BERT-base", "b": {"encoder": "x", "sparsity": 1.0}}, "repeated": []},
            ["family['b']['sparsity'] = 1.0", "less than 1"],
        ),
        ({"repeated": ["BERT-larg"]}, ["repeated: 'BERT-larg' is not of the family", "did you mean BERT-large?"]),
        ({"by_model": {"tiny": {}}}, ["by_model: 'tiny' is not of the family"]),
        ({"by_model": {"Tiny-BERT": {"stride": 3}}}, ["by_model['Tiny-BERT']: 'stride' differs by no model"]),
        ({"by_model": {"Tiny-BERT": {"epochs": 0}}}, ["by_model['Tiny-BERT']: epochs = 0", "whole number from 1"]),
        ({"index_size": 9, "ks": [1, 10]}, ["index_size = 9 should be above the largest of ks = [1, 10]"]),
        ({"test_size": 200}, ["test_size = 200 should be above the largest of ks"]),
        ({"train_size": 1000}, ["index_size = None should not exceed train_size = 1000"]),
        ({"stride": 384}, ["stride = 384 should be below max_length = 384"]),
        ({"twins": ["BERT-base", "BERT-large"]}, ["twins: 'BERT-base' is a name of the family too"]),
        ({"seeds": [0, 1000]}, ["seeds: 1000 is that of the second training of seed 0"]),
        ({"by_task": {"imdb": {"k": 3}}}, ["by_task['imdb']: 'k' differs by no task", "allowed: batch_size"]),
        ({"by_task": {"imdb": {"epochs": -1}}}, ["by_task['imdb']: epochs = -1"]),
        ({"twins": ["BERT-base"]}, ["twins = ['BERT-base']: two encoders, or none"]),
        ({"k": 7}, ["k = 7 should be one of ks"]),
        ({"ks": [10, 5]}, ["ks = [10, 5]", "should ascend"]),
        ({"points": ["answer"]}, ["points[0] = 'answer'", "pair, context, question"]),
        ({"attacks": {}}, ["attacks = {}", "a reading of BERT-Attack"]),
        (
            {"attacks": {"x": {"mode": "author", "k": 3}}},
            ["attacks['x']['mode'] = 'author'", "did you mean authors?"],
        ),
        ({"attacks": {"x": {"mode": "exact"}}}, ["attacks['x']['k']: is missing"]),
        ({"ood_by": "test"}, ["ood_by = 'test'", "heldout (development) or train"]),
        ({"attacker_epochs": -1}, ["attacker_epochs = -1", "0 takes the head as it is"]),
        ({"challenge": "newsqa"}, ["challenge = 'newsqa'", "newsqa/validation"]),
    ],
)  # fmt: skip
def test_a_refused_value_of_a_family_study_is_named(changes: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(params.ParameterError) as caught:
        params.check(MINIATURE, paper_2(**changes), file="x.yaml")
    message = str(caught.value)
    assert [part for part in ["x.yaml: ", *said] if part not in message] == []
    assert "validation error" not in message


def test_a_study_is_as_published_with_a_family_written_in_either_way() -> None:
    checked = params.check(MINIATURE, paper_2(seeds=[5], source="elsewhere", errors=None))
    assert params.as_published(MINIATURE, checked)
    spelt = paper_2()["family"] | {"Tiny-BERT": {"encoder": "BERT-tiny", "layers": None}}
    assert params.as_published(MINIATURE, params.check(MINIATURE, paper_2(family=spelt)))
    assert not params.as_published(MINIATURE, params.check(MINIATURE, paper_2(k=5)))


def _refused(parameters: dict[Any, Any]) -> str:
    with pytest.raises(params.ParameterError) as caught:
        params.check(STUDY, parameters, file="params/colab/x.yaml")
    return str(caught.value)


def test_all_problems_come_in_one_error() -> None:
    message = refusal(epochs=0, tasks=[], trainsize=1, merge="add")
    assert "4 parameters cannot be used" in message
    assert all(field in message for field in ("epochs", "tasks", "trainsize", "merge"))


def test_a_missing_parameter_is_named() -> None:
    message = _refused({name: value for name, value in GOOD.items() if name != "merge"})
    assert "merge: is missing; allowed: " in message


def test_an_unknown_notebook_is_named_with_its_neighbour() -> None:
    with pytest.raises(params.ParameterError, match="did you mean 01_robustness_study"):
        params.check("01_robustnes_study", GOOD)


def test_every_field_says_what_is_allowed() -> None:
    for model in params.NOTEBOOKS.values():
        assert [name for name, field in model.model_fields.items() if not field.description] == []


def notebook(*cells: str, **namespace: Any) -> dict[str, Any]:
    """A running notebook's globals after those cells; the last is the one that runs."""
    return GOOD | {"__builtins__": {}, "In": ["", *cells], "Out": {}, "json": ast, "_": 3} | namespace


def test_a_notebooks_globals_are_read_for_its_parameters_alone() -> None:
    assert params.check(STUDY, notebook("scale = 'colab'", "import json", frame=[1])).model_dump() == GOOD


def test_a_misspelt_name_that_papermill_put_into_the_notebook_is_found() -> None:
    cells = ("scale = 'colab'", "# Parameters\nsparsitys = [0.4]\n", "from robust_lib import params")
    with pytest.raises(params.ParameterError, match="did you mean sparsities"):
        params.check(STUDY, notebook(*cells, sparsitys=[0.4]))


def test_a_misspelt_name_repaired_in_the_open_notebook_is_forgotten() -> None:
    cells = ("scale = 'colab'", "sparsitys = [0.4]", "check(...)", "sparsities = [0.4]", "check(...)")
    assert params.check(STUDY, notebook(*cells, sparsitys=[0.4])).model_dump() == GOOD


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "x.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_yaml_is_read_as_written(tmp_path: Path) -> None:
    assert params.load(written(tmp_path, yaml.safe_dump(GOOD))) == GOOD


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds: [0]\nscale: colab\nseeds: [1]\n", "seeds is given twice, in lines 1 and 3"),
        ("{scale: colab, scale: paper}", "scale is given twice"),
        ("train_paths: {mnli: a/b,\n  mnli: a/c}", "mnli is given twice, in lines 1 and 2"),
        ("seeds:\n\t- 0\n", "line 2"),
        ("seeds: [0", "not valid YAML"),
        ("- seeds\n", "expected lines of `name: value`"),
        ("", "expected lines of `name: value`"),
        ("seeds", "expected lines of `name: value`"),
        ("seeds: &a [*a]", "that aliases repeat"),
        ("? [1]\n: 2", "unhashable key"),
        ("seeds: 2020-13-45", "month must be in 1..12"),
        ("seeds: !!python/object/apply:os.system ['true']", "a tag, !, in line 1"),
        (b"seeds: \xff", "cannot be read"),
        ('source: "data\\x07"', "control characters, 'data\\x07', in line 1"),
        ('source: "data\\n"', "control characters"),
        ("source: |\n  data\tset\n", "control characters"),
    ],
)  # fmt: skip
def test_a_damaged_yaml_is_one_clear_error(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(params.ParameterError) as caught:
        params.load(written(tmp_path, text))
    assert said in str(caught.value)
    assert "x.yaml" in str(caught.value)


@pytest.mark.parametrize("path", ["Données", "a\u00a0b", "資料\u3000", "zero\u200bwidth"])
def test_a_path_may_have_any_character_that_is_no_control(tmp_path: Path, path: str) -> None:
    assert params.load(written(tmp_path, f'source: "{path}"')) == {"source": path}


def test_a_value_may_be_a_block_of_lines(tmp_path: Path) -> None:
    text = "source: >-\n  a path\n  with spaces\nencoder: |-\n  BERT-base\nsentences: |\n  a\n  b\n"
    values = {"source": "a path with spaces", "encoder": "BERT-base", "sentences": "a\nb\n"}
    assert params.load(written(tmp_path, text)) == values


def test_a_missing_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(params.ParameterError, match=r"none\.yaml.*No such file"):
        params.load(tmp_path / "none.yaml")


def test_defaults_are_read_and_never_run(tmp_path: Path) -> None:
    file = tmp_path / "n.py"
    cell = '# %% tags=["parameters"]\nseeds = [0]  # one\nrate: float = -1e-3\nsize = None\n\n'
    cell += "# %%\nraise SystemExit\n"
    file.write_text("# %% [markdown]\n# # Title\n\n" + cell)
    assert params.defaults(file) == {"seeds": [0], "rate": -1e-3, "size": None}
    file.write_text(cell.replace("[0]", "list(range(3))"))
    with pytest.raises(params.ParameterError, match="may only hold `name = literal`"):
        params.defaults(file)
    file.write_text(cell + cell)
    with pytest.raises(params.ParameterError, match="2 cells tagged"):
        params.defaults(file)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=2),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted(GOOD)) | st.text(max_size=12)


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_mapping_is_either_in_range_or_refused_by_name(changes: dict[str, Any]) -> None:
    refused = ""
    try:
        checked = params.check(STUDY, GOOD | changes, file="f.yaml")
    except params.ParameterError as error:
        refused = str(error)
    if refused:
        assert refused.startswith("f.yaml: ")
        assert any(str(name) in refused for name in changes)
    else:
        assert set(changes) <= set(GOOD)
        assert all(0 < sparsity < 1 for sparsity in checked.sparsities)
        assert checked.sparsities == sorted(set(checked.sparsities))
        assert checked.seeds
        assert all(type(seed) is int and seed >= 0 for seed in checked.seeds)
        assert set(checked.tasks) <= {"mnli", "fever", "qqp"}


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(st.sampled_from("seeds: [0]\n\t-{}&*!|>'\"#ab?1.e"), max_size=40) | st.binary(max_size=30)
)
def test_any_file_is_either_a_mapping_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    file = written(tmp_path_factory.getbasetemp(), text)
    try:
        outcome: Any = params.load(file)
    except params.ParameterError as error:
        outcome = str(error)
    assert isinstance(outcome, dict) or outcome.startswith(f"{file}: ")


def test_only_the_papers_own_values_are_as_published() -> None:
    paper = params.load(Path(__file__).parents[1] / "params" / "paper" / "01_robustness_study.yaml")
    name = "01_robustness_study"
    assert params.as_published(name, params.check(name, paper))
    free = paper | {"seeds": [7], "source": "somewhere", "precision": "bf16"}
    assert params.as_published(name, params.check(name, free))
    for changed in ({"encoder": "BERT-tiny"}, {"train_size": 500}, {"epochs": 1}, {"scale": "colab"}):
        assert not params.as_published(name, params.check(name, paper | changed))


def test_where_the_words_lie_is_free_and_which_reading_attacks_is_not() -> None:
    assert params.as_published(LOYALTY, params.check(LOYALTY, paper_3(words="elsewhere", source="here")))
    for changed in ({"modes": ["textattack"]}, {"sentences": None}, {"attack_size": 500}):
        assert not params.as_published(LOYALTY, params.check(LOYALTY, paper_3(**changed)))
