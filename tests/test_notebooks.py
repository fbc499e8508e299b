"""The notebooks and their parameter files as they lie here, and run with thinned values."""

import ast
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pandas as pd
import pytest
import transformers
from jupytext.compare import compare_notebooks
from tokenizers import Tokenizer, processors

from robust_lib import models, params, published

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
YAMLS = sorted((ROOT / "params").glob("*/*.yaml"))
TAGS = {"parameters", "setup", "units", "run"}
LINES = 25

each_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
each_yaml = pytest.mark.parametrize("file", YAMLS, ids=lambda file: f"{file.parent.name}/{file.stem}")


def code(file: Path) -> list[Any]:
    return [cell for cell in jupytext.read(file).cells if cell.cell_type == "code"]


@each_notebook
def test_it_is_numbered_and_has_parameters_of_its_own(file: Path) -> None:
    assert re.fullmatch(r"\d\d_[a-z_]+", file.stem)
    assert file.stem in params.NOTEBOOKS


@each_notebook
def test_it_is_python_and_names_its_kernel(file: Path) -> None:
    ast.parse(file.read_text(encoding="utf-8"))
    metadata = jupytext.read(file).metadata
    assert metadata["kernelspec"]["name"] == "python3"
    assert metadata["jupytext"]["cell_metadata_filter"] == "tags,-all"


@each_notebook
def test_its_pair_holds_the_same_cells_and_no_outputs(file: Path) -> None:
    pair = nbformat.read(file.with_suffix(".ipynb"), as_version=4)
    compare_notebooks(pair, jupytext.read(file), fmt="py:percent")
    assert pair.metadata["kernelspec"]["name"] == "python3"
    cells = [cell for cell in pair.cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count is not None] == []


@each_notebook
def test_its_cells_are_tagged_in_order(file: Path) -> None:
    tags = [tag for cell in code(file) for tag in cell.metadata.get("tags", [])]
    assert set(tags) <= TAGS
    assert tags[:3] == ["parameters", "setup", "units"]
    assert (tags.count("parameters"), tags.count("setup")) == (1, 1)
    assert "run" in tags


@each_notebook
def test_its_code_is_short_and_without_magics(file: Path) -> None:
    for cell in code(file):
        lines = [
            line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")
        ]
        tags = cell.metadata.get("tags", [])
        assert len(lines) <= LINES or tags == ["parameters"], cell.source
        assert not re.search(r"^\s*[%!]", cell.source, re.MULTILINE), cell.source
        assert "get_ipython" not in cell.source


@each_notebook
def test_prose_stands_before_the_code(file: Path) -> None:
    cells = jupytext.read(file).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    headed = [cell for before, cell in itertools.pairwise(cells) if before.cell_type == "markdown"]
    assert len([cell for cell in headed if cell.cell_type == "code"]) >= len(code(file)) / 2


@each_notebook
def test_its_tagged_cell_holds_the_micro_scale(file: Path) -> None:
    checked = params.gather(file)
    assert (checked.scale, checked.source) == ("micro", "micro")


@each_yaml
def test_a_parameter_file_is_usable_and_of_its_scale(file: Path) -> None:
    assert params.gather(ROOT / "notebooks" / f"{file.stem}.py", file=file).scale == file.parent.name


@pytest.mark.parametrize(
    "file", [file for file in YAMLS if file.parent.name == "paper"], ids=lambda file: file.stem
)
def test_a_paper_file_names_every_parameter(file: Path) -> None:
    assert set(params.load(file)) == set(params.NOTEBOOKS[file.stem].model_fields)


# Values over the tagged cells that make a notebook run in seconds here; `make reproduce` runs them as they are.
THINNED: dict[str, dict[str, Any]] = {
    "00_micro_world": {
        "encoders": ["micro-tiny"], "tasks": ["mnli"], "train_size": 64, "test_size": 60, "epochs": 1,
    },
    "01_robustness_study": {
        "tasks": ["mnli"], "train_size": 64, "test_size": 60, "sparsities": [0.4], "epochs": 1, "head_sample": 32,
    },
    "02_attribution": {
        "train_size": 64, "test_size": 60, "sparsities": [0.4, 0.7], "epochs": 1,
        "sample_sizes": [32], "top_layers": [1],
    },
    "03_rmc": {
        "tasks": ["mnli"], "train_size": 64, "test_size": 60, "sparsities": [0.4, 0.7], "epochs": 1,
        "alpha_grid": [0.2, 0.8],
    },
    "04_srnets": {
        "encoder": "micro-tiny", "train_size": 64, "test_size": 60, "epochs": 1, "more_losses": ["confreg"],
        "sparsities": [0.7], "mask_epochs": 1, "mask_rates": [5e-5, 1e-3], "interval": 2,
        "imp_sparsities": [0.6, 0.7], "imp_epochs": 5, "ood_size": 32, "ood_epochs": 1, "starts": [0.0, 0.5],
        "lengths": [1, 2],
    },
    "05_loyalty": {
        "rows": {
            "mnli": ["Truncate & Finetune", "Pure KD", "Q8-PTQ", "DistilBERT", "TinyBERT", "BERT-PKD"],
            "sst2": ["Q8-PTQ, integer"],
        },
        "train_size": 64, "test_size": 60, "epochs": 1, "head_sample": 32, "calibration_size": 32,
        "attack_size": 8, "sentences": "micro-tiny", "speed_rounds": 2,
    },
    "06_miniature": {
        "family": {"BERT-base": "micro-base", "BERT-mini": "micro-mini", "Tiny-BERT": "micro-tiny"},
        "repeated": ["BERT-base", "Tiny-BERT"], "train_size": 96, "test_size": 60, "epochs": 1, "index_size": 60,
        "challenge_size": 40, "ks": [1, 10], "by_task": {"imdb": {"max_length": 64}}, "attack_size": 6,
    },
    "08_matrix": {
        "tasks": ["mnli", "squad"], "attacked_tasks": ["mnli"], "train_size": 64, "test_size": 60, "epochs": 1,
        "more_epochs": 1, "small_encoders": {"MiniLM": "micro-minilm", "BERT-tiny": "micro-tiny"},
        "rows": {
            "control": {"Teacher, another seed": None}, "pruning": {"IMP 40 %": 1, "RMC 40 %": 1},
            "masks": {"Mask 70 %": 4}, "8 bits": {"Q8-PTQ": 3, "Q8-PTQ, integer": 3},
            "small encoders": {"MiniLM": 1, "BERT-tiny": 2},
        },
        "head_sample": 32, "calibration_size": 32, "attack_size": 8, "sentences": None, "index_size": 60,
        "speed_rounds": 2,
    },
    "07_audit": {"minutes": 0.2, "examples": 2, "speed_rounds": 2},
}  # fmt: skip


@each_notebook
def test_it_runs_and_its_source_stays_as_it_is(file: Path, executed: Callable[..., Path]) -> None:
    before = [file.read_bytes(), file.with_suffix(".ipynb").read_bytes()]
    folder = executed(file.stem, **THINNED.get(file.stem, {}))
    assert json.loads((folder / file.stem / "run.json").read_text())["status"] == "finished"
    assert [file.read_bytes(), file.with_suffix(".ipynb").read_bytes()] == before


# Other ways through the reporting cells: two seeds, other tasks, separate fine-tunings, rows and figures left out.
VARIANTS: dict[str, dict[str, Any]] = {
    "01_robustness_study": {
        "tasks": ["fever"], "small_encoders": {}, "truncated_layers": None, "schedule": "cubic",
    },
    "02_attribution": {"top_layers": [], "schedule": "cubic"},
    "03_rmc": {"tasks": ["qqp"], "alpha": {"qqp": 0.5}, "schedule": "cubic"},
    "04_srnets": {
        "tasks": ["qqp", "fever"], "figures": [5], "more_losses": [], "sparsities": [0.5], "init": "hard",
        "mask_learning_rate": 5e-5, "by_task": {"fever": {"mask_learning_rate": None}},
        "more_encoders": ["micro-half"],
    },
    "05_loyalty": {
        "tasks": ["mnli"],
        "rows": {
            "mnli": [
                "BERT-of-Theseus", "Head Prune +KD", "Head Prune +KD+PTQ", "Q8-PTQ +Finetune", "Q8-PTQ +KD",
                "Theseus +KD", "Theseus +KD+PTQ", "Teacher +Finetune",
            ],
        },
        "distilbert": None, "tinybert": None, "modes": ["textattack"], "sentences": None, "attack_size": 6,
        "speed_batches": [4], "theseus_slope": 0.5, "by_method": {"Q8-PTQ +KD": {"epochs": 2}},
    },
    "06_miniature": {
        "family": {
            "whole": "micro-base", "two layers": {"encoder": "micro-base", "layers": 2},
            "pruned": {"encoder": "micro-base", "sparsity": 0.4},
        },
        "repeated": ["whole"], "twins": [], "points": ["question"], "summary": "mean", "ood_by": "train",
        "attacks": {"exact": {"mode": "exact", "k": 6, "filtered": False}}, "attacker_epochs": 1, "attacker_size": 32,
        "by_model": {"pruned": {"learning_rate": 1e-3}},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_it_runs_in_another_way_and_with_two_seeds(name: str, executed: Callable[..., Path]) -> None:
    folder = executed(name, **THINNED[name] | VARIANTS[name] | {"seeds": [0, 1]})
    records = json.loads((folder / "scorecard.json").read_text())
    claims = [entry for entry in records if entry["item"].startswith("claim ")]
    assert {entry["seeds"] for entry in claims} == {2}


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with a random T5 that reads the micro world's words; no token begins its texts."""
    place = tmp_path_factory.mktemp("t5")
    known = models.Encoder("micro-tiny").tokenizer()
    words = Tokenizer.from_str(known.backend_tokenizer.to_str())
    end = known.sep_token, known.sep_token_id
    words.post_processor = processors.TemplateProcessing(f"$A {end[0]}", f"$A {end[0]} $B {end[0]}", [end])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=known.pad_token, unk_token=known.unk_token, eos_token=end[0],
        model_max_length=64, model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(place)  # fmt: skip
    shape = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 3, "num_heads": 4, "vocab_size": len(known)}
    transformers.T5ForConditionalGeneration(transformers.T5Config(**shape)).save_pretrained(place)
    return str(place)


def test_a_family_of_t5_encoders_is_compared(executed: Callable[..., Path], t5: str) -> None:
    family = {"T5": t5, "half of it": {"encoder": t5, "layers": 2}}
    given = THINNED["06_miniature"] | {"family": family, "repeated": ["T5"], "twins": [], "tasks": ["squad"]}
    folder = executed("06_miniature", **given | {"summary": "mean"}) / "06_miniature"
    sizes = pd.read_csv(folder / "table_1.csv").set_index(["row", "column"])["ours"]
    assert (sizes["T5", "Layers"], sizes["half of it", "Layers"], sizes["T5", "Embedding Dimension"]) == (
        3,
        2,
        16,
    )
    rows = pd.read_csv(folder / "table_2.csv").dropna(subset="ours")["row"].unique()
    assert list(rows) == ["T5 / half of it", "T5 / T5, another seed"]


@pytest.mark.parametrize("paper", published.PAPERS)
def test_every_claim_is_asked_in_a_notebook(paper: int) -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in NOTEBOOKS)
    asked = published.claims(paper)["item"].str.removeprefix("claim ")
    assert [name for name in asked if f'"{name}' not in sources] == []


def test_papermill_by_hand_runs_the_first_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUST_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBUST_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("ROBUST_WORKERS", "1")
    name = "01_robustness_study"
    small = "{tasks: [mnli], sparsities: [0.4], seeds: [0], epochs: 1, test_size: 60, max_length: 40, "
    small += "small_encoders: {}, head_sample: 32}"
    command = f"-m papermill notebooks/{name}.ipynb {tmp_path}/out.ipynb -f params/colab/{name}.yaml -p train_size 64"
    command += " -p source micro -p encoder micro-base -p precision fp32"
    done = subprocess.run(
        [sys.executable, *command.split(), "-y", small], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "runs/colab" / name / "run.json").read_text())
    assert (record["status"], record["parameters"]["train_size"]) == ("finished", 64)
