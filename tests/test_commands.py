"""The command line on a small project of its own: real papermill, real kernels, small notebooks."""

import json
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml

from robust_lib import __main__ as program
from robust_lib import params

STUDY = "01_robustness_study"
WORLD = "00_micro_world"
HEADER = """\
# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A small notebook

"""
STUDY_CELLS = """\
# %% tags=["parameters"]
scale = "micro"
source = "micro"
seeds = [0]
engine = "processes"
encoder = "micro-base"
tasks = ["mnli"]
train_paths = {}
train_size = 100  # examples
test_size = None
sparsities = [0.2, 0.4]
schedule = "cubic"
epochs = 1
pruning_epochs = 1
small_encoders = {}
truncated_layers = None
head_share = 0.2
more_heads = 0.4
head_versions = [1]
head_sample = 10
head_epochs = 1
learning_rate = 1e-3
batch_size = 32
max_length = 64
warmup = 0
weight_decay = 0.0
merge = "argmax"
precision = "fp32"

# %% tags=["setup"]
import os
from pathlib import Path

from robust_lib import params

p = params.check("01_robustness_study", globals())

# %%
print("done 1 of 1")
tables = Path(os.environ["ROBUST_RUNS"], p.scale, "tables")
tables.mkdir(parents=True, exist_ok=True)
tables.joinpath("table_1.md").write_text(f"| pairs | seeds |\\n| {p.train_size} | {p.seeds} |")
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one notebook, its pair and its values of the colab scale."""
    for folder in ("notebooks", "params/colab"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("HOME", "RUNS", "STORE"):
        monkeypatch.setenv(f"ROBUST_{name}", str(tmp_path / {"HOME": ""}.get(name, name.lower())))
    write(tmp_path, STUDY, STUDY_CELLS)
    write_yaml(tmp_path, STUDY, train_size=500)
    return tmp_path


def write(home: Path, name: str, cells: str) -> None:
    file = home / "notebooks" / f"{name}.py"
    file.write_text(HEADER + cells)
    jupytext.write(jupytext.read(file), file.with_suffix(".ipynb"))


def write_yaml(home: Path, name: str, **values: object) -> Path:
    file = home / "params" / "colab" / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"scale": "colab"} | values))
    return file


def everything(home: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in (home / "notebooks").iterdir()}


def test_reproduce_executes_beside_the_sources_and_shows_progress_table_and_time(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = everything(home)
    assert program.main(["reproduce", "--seeds", "2"]) == 0
    shown = capfd.readouterr().out
    assert f"[1/1] {STUDY}, scale micro" in shown
    assert "done 1 of 1" in shown
    assert "| 100 | [0, 1] |" in shown
    assert f"{STUDY}: done in" in shown
    assert everything(home) == before
    executed = nbformat.read(home / "runs/micro/notebooks" / f"{STUDY}.ipynb", as_version=4)
    assert [
        cell.source for cell in executed.cells if "injected-parameters" in cell.metadata.get("tags", [])
    ] == ["# Parameters\nseeds = [0, 1]\n"]


def test_the_yaml_goes_over_the_tagged_cell_and_the_command_line_over_the_yaml(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-p", "seeds", "[3]", "-p", "tasks", "[mnli, qqp]"]
    assert program.main(["notebook", "01", "--scale", "colab", *arguments]) == 0
    assert "| 500 | [3] |" in capfd.readouterr().out
    assert (home / "runs/colab/notebooks" / f"{STUDY}.ipynb").exists()


def test_every_bad_parameter_of_every_notebook_is_named_before_a_kernel_starts(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(home, WORLD, STUDY_CELLS)
    for name in (WORLD, STUDY):
        write_yaml(home, name, sparsitys=[0.4])
    assert program.main(["reproduce", "--scale", "colab"]) == 2
    said = capfd.readouterr().err
    assert f"colab/{WORLD}.yaml" in said
    assert f"colab/{STUDY}.yaml: sparsitys = [0.4]: no such parameter; did you mean sparsities?" in said
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["notebook", "01_robustness_studdy"], "did you mean 01_robustness_study?"),
        (["notebook", "01", "--scale", "paper"], "01_robustness_study has no scale paper"),
        (["notebook", "01", "--scale", "micro", "-p", "scale", "paper"], "--scale micro was asked"),
        (["notebook", "01", "-p", "learning_rate", "fast"], "learning_rate = 'fast'"),
        (["notebook", "01", "-f", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_run_is_said(
    home: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert program.main(arguments) == 2
    assert said in capfd.readouterr().err
    assert not (home / "runs").exists()


def test_a_directory_without_notebooks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROBUST_HOME", str(tmp_path))
    assert program.main(["reproduce"]) == 2
    assert f"{tmp_path / 'notebooks'}: no notebooks here" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 / 0", ["failed in cell In [2]: ZeroDivisionError: division by zero", "line: 1 / 0"]),
        ("os._exit(3)", ["failed: DeadKernelError"]),
    ],
)
def test_a_failing_notebook_is_reported_and_stops_no_other(
    home: Path, capfd: pytest.CaptureFixture[str], line: str, said: list[str]
) -> None:
    values = params.defaults(Path(__file__).parents[1] / "notebooks" / f"{WORLD}.py")
    tagged = '# %% tags=["parameters"]\n' + "".join(f"{name} = {value!r}\n" for name, value in values.items())
    write(home, WORLD, f"{tagged}# %%\nimport os\n{line}\n")
    assert program.main(["reproduce"]) == 1
    shown = capfd.readouterr()
    assert [part for part in said if part not in shown.err] == []
    assert str(home / "runs/micro/notebooks" / f"{WORLD}.ipynb") in shown.err
    assert f"{STUDY}: done in" in shown.out


def test_data_and_encoders_that_are_not_there_are_named_before_a_kernel_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("RUNS", "STORE"):
        monkeypatch.setenv(f"ROBUST_{name}", str(tmp_path / name.lower()))
    nowhere = str(tmp_path / "nowhere")
    arguments = ["-p", "source", nowhere, "-p", "encoder", "micro-bass"]
    assert program.main(["notebook", STUDY, *arguments]) == 2
    said = capfd.readouterr().err
    assert f"{STUDY}.py with the command line: source: {nowhere}: no such data directory" in said
    assert "did you mean 'micro-base'?" in said
    assert not list(tmp_path.iterdir())


IN_PLACE = """\
# %%
import time
from IPython.display import DisplayHandle

handle = DisplayHandle()
handle.display({"text/plain": "0 of 2 units"}, raw=True)
handle.update({"text/plain": "1 of 2 units"}, raw=True)
handle.update({"text/plain": "2 of 2 units"}, raw=True)
"""


def test_the_line_that_a_notebook_renews_in_place_is_seen_at_the_terminal(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(home, STUDY, STUDY_CELLS + "\n" + IN_PLACE)
    assert program.main(["notebook", "01"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if "of 2 units" in line] == ["0 of 2 units", "2 of 2 units"]


def by_hand(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """papermill itself, on the paired notebook."""
    nb, yaml_file = home / "notebooks" / f"{STUDY}.ipynb", home / "params/colab" / f"{STUDY}.yaml"
    command = [sys.executable, "-m", "papermill", str(nb), str(home / "out.ipynb"), "-f", str(yaml_file)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def test_papermill_by_hand_runs_the_paired_notebook(home: Path) -> None:
    done = by_hand(home, "-p", "train_size", "2000")
    assert done.returncode == 0, done.stderr
    assert "| 2000 | [0] |" in (home / "runs/colab/tables/table_1.md").read_text()


def test_papermill_by_hand_is_checked_as_well(home: Path) -> None:
    done = by_hand(home, "-p", "trainsize", "2000", "-p", "warmup", "1.5")
    assert done.returncode == 1
    assert "trainsize = 2000: no such parameter; did you mean train_size?" in done.stderr
    assert "warmup = 1.5: should be less than 0.333" in done.stderr


def test_the_scorecard_is_summed_up_or_said_to_be_missing(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["scorecard"]) == 1
    assert str(home / "runs/micro/scorecard.json") in capfd.readouterr().out


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5),
        ("[0, 1]", [0, 1]),
        ("None", None),
        ("null", None),
        ("[mnli, qqp]", ["mnli", "qqp"]),
        ("../data", "../data"),
        ("{mnli: mnli/train_subset}", {"mnli": "mnli/train_subset"}),
        ("google/bert_uncased_L-2_H-128_A-2", "google/bert_uncased_L-2_H-128_A-2"),
        ("[oops", "[oops"),
    ],
)
def test_values_are_read_as_typed(text: str, value: object) -> None:
    assert json.dumps(program.value(text)) == json.dumps(value)


def test_accepted_results_are_copied_whole_and_replace_the_old(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["accept"]) == 1
    assert "nothing to accept" in capsys.readouterr().out
    made = home / "runs" / "micro" / STUDY
    made.mkdir(parents=True)
    listed = ("table_1.csv", "table_1.md", "figure.png", "figure.svg")
    for name in (*listed, "of_an_older_run.csv", "run.json"):
        (made / name).write_text(name)
    (made / "manifest.json").write_text(json.dumps({"files": dict.fromkeys(listed)}))
    (made.parent / "scorecard.json").write_text("[]")
    for folder in (STUDY, "of_another_notebook"):
        stale = home / "figures" / "micro" / folder / f"{folder}.png"
        stale.parent.mkdir(parents=True)
        stale.write_text("old")
    assert program.main(["accept"]) == 0
    accepted = sorted(path.name for path in (home / "figures" / "micro").rglob("*.*"))
    own = ["figure.png", "manifest.json", "scorecard.json", "table_1.csv", "table_1.md"]
    assert accepted == sorted([*own, "of_another_notebook.png"])
