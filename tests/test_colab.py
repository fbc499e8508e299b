"""Opened from a badge: only a notebook, a torch that must stay, a T4. The notebook's first cell installs the rest."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import venv
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from robust_lib import commands, data, methods, models, params, plan, runs
from robust_lib.attack import language, lexica
from robust_lib.data import places
from robust_lib.runs import engine
from robust_lib.runs.units import leaves

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
T4 = 16e9  # bytes
LACKING = [
    "robust-lib",
    "evaluate",
    "jaxtyping",
    "jupytext",
    "papermill",
]  # what pip fetches for the notebook


def install_cell(file: Path) -> str:
    """The source of a notebook's first code cell."""
    cells = nbformat.read(file, as_version=4).cells
    return str(next(cell.source for cell in cells if cell.cell_type == "code"))


def environment(folder: Path, linked: Iterable[Path]) -> Path:
    """The interpreter of a fresh environment in which those entries of our site-packages are installed too."""
    venv.create(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    for entry in linked:
        (site / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


def clean(**more: object) -> dict[str, str]:
    """Our environment's variables without our own settings and paths."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ROBUST_", "PYTHON"))}
    return kept | {name: str(value) for name, value in more.items()}


def pip_and(*names: str) -> list[Path]:
    site = Path(sysconfig.get_path("purelib"))
    return [entry for entry in site.iterdir() if entry.name.partition("-")[0] in ("pip", *names)]


def stub(folder: Path, name: str, version: str, *requires: str) -> Path:
    """A wheel of one empty module."""
    file, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    content = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*content, f"{info}/RECORD"))
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in content.items():
            archive.writestr(path, text)
    return file


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., str]:
    """Runs a notebook's first cell where torch and stale 2.11 are, for a package that requires what is given.

    Gives its errors and, after them, what is installed then.
    """
    python = environment(tmp_path / "env", pip_and())
    for version in ("2.11.0", "2.99.0"):
        stub(tmp_path, "torch", version)
        stub(tmp_path, "stale", version)
    offline = clean(PIP_NO_INDEX=1, PIP_FIND_LINKS=tmp_path, PIP_DISABLE_PIP_VERSION_CHECK=1)

    def install(*requires: str, before: str = "") -> str:
        package = stub(tmp_path, "robust_lib", "1.0.0", *requires)
        first = [python, "-m", "pip", "install", "--quiet", "torch==2.11.0", "stale==2.11.0"]
        subprocess.run(first, env=offline, check=True)
        code = f"{before}\n{install_cell(NOTEBOOKS[0])}"
        done = subprocess.run(
            [python, "-c", code], env=offline | {"ROBUST_PACKAGE": str(package)}, cwd=tmp_path, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        listed = subprocess.run(
            [python, "-m", "pip", "freeze"], env=offline, capture_output=True, text=True, check=True
        )
        return done.stderr + listed.stdout

    return install


def test_every_notebook_begins_with_the_same_installation() -> None:
    assert len({install_cell(file) for file in NOTEBOOKS}) == 1
    assert "pip" in install_cell(NOTEBOOKS[0])


def test_the_torch_that_is_there_stays_and_what_contradicts_it_is_not_installed(
    bare: Callable[..., str],
) -> None:
    said = bare("torch>=2.11", "stale>=2.11")
    assert "torch==2.11.0" in said
    assert "robust_lib" in said
    assert "Error" not in said


def test_a_torch_that_is_too_old_is_named_and_kept(bare: Callable[..., str]) -> None:
    said = bare("torch>=2.12")
    assert "Cannot install robust-lib==1.0.0 and torch==2.11.0" in said
    assert said.splitlines()[-1] == "torch==2.11.0"


def test_a_restart_is_asked_for_when_a_loaded_package_was_replaced(bare: Callable[..., str]) -> None:
    assert "restart the runtime, run all again: stale had been loaded" in bare(
        "stale>=2.12", before="import stale"
    )


def test_no_restart_is_asked_for_when_it_had_not_been_loaded(bare: Callable[..., str]) -> None:
    said = bare("stale>=2.12")
    assert "stale==2.99.0" in said
    assert "Error" not in said


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as a wheel, built where its copy lies."""
    folder = tmp_path_factory.mktemp("wheel")
    copied = folder / "checkout"
    for name in ("robust_lib", "notebooks", "params"):
        shutil.copytree(ROOT / name, copied / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copied)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(copied)], check=True)
    return next(folder.glob("robust_lib-*.whl"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An interpreter that has what Colab has: all that is installed here but the package and what LACKING names.

    And its environment variables: pip may change none of what is linked from here, except torch. Where pip reaches no
    package index the package alone is lacking.
    """
    folder = tmp_path_factory.mktemp("stack")
    probe = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--retries",
        "0",
        "--dest",
        str(folder),
    ]
    offline = bool(subprocess.run([*probe, LACKING[1]], capture_output=True, check=False).returncode)
    site = Path(sysconfig.get_path("purelib"))
    installed = {one.name: one for one in importlib.metadata.distributions(path=[str(site)])}
    lacking = [installed.pop(name) for name in LACKING[: 1 if offline else None]]
    left_out = {file.parts[0] for one in lacking for file in one.files or ()}
    python = environment(folder / "env", (entry for entry in site.iterdir() if entry.name not in left_out))
    pins = {one.name: one.version for one in [*installed.values(), *lacking[1:]] if one.name != "torch"}
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
    home = folder / "home"  # no kernel of the user's
    index = {"PIP_NO_INDEX": 1} if offline else {}
    return python, clean(PIP_CONSTRAINT=constraints, PIP_NO_COMPILE=1, HOME=home, ROBUST_WORKERS=1, **index)


# Values that a reader would set in the tagged cell, so small that the notebook runs in seconds.
SMALL = {"encoders": ["micro-tiny"], "tasks": ["mnli"], "train_size": 64, "test_size": 60, "epochs": 1}


def torch_files() -> dict[str, int]:
    place = Path(sysconfig.get_path("purelib"))
    return {str(file): file.stat().st_mtime_ns for file in place.glob("torch*/*") if file.is_file()}


def test_a_notebook_alone_in_a_folder_installs_the_wheel_and_runs_to_its_end(
    tmp_path: Path, wheel: Path, stack: tuple[Path, dict[str, str]]
) -> None:
    python, variables = stack
    file = tmp_path / "00_micro_world.ipynb"
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    tagged = next(cell for cell in notebook.cells if cell.metadata.get("tags") == ["parameters"])
    tagged.source += "".join(f"\n{name} = {value!r}" for name, value in SMALL.items())
    nbformat.write(notebook, file)
    before = torch_files()
    subprocess.run(
        [python, "-m", "nbconvert", "--execute", "--inplace", "--to", "notebook", file],
        cwd=tmp_path, env=variables | {"ROBUST_PACKAGE": str(wheel)}, check=True,
    )  # fmt: skip
    assert torch_files() == before
    executed = nbformat.read(file, as_version=4)
    shown = "".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for cell in executed.cells
        for output in cell.get("outputs", [])
    )
    assert f"torch {importlib.metadata.version('torch')}" in shown  # what the run says it is on
    assert "of them kept; the rest takes " in shown
    record = json.loads((tmp_path / "runs/micro/00_micro_world/run.json").read_text())
    assert (record["status"], record["parameters"]["train_size"]) == ("finished", 64)
    _by_command_line(tmp_path / "elsewhere", python, variables, tmp_path / "runs" / "store")


def _by_command_line(folder: Path, python: Path, variables: dict[str, str], store: Path) -> None:
    """What was installed finds its notebooks and the values of their scales without a checkout."""
    folder.mkdir()
    values = [part for name, value in SMALL.items() for part in ("-p", name, repr(value))]
    for arguments in (["notebook", "00", *values], ["plan", "--scale", "colab", "--notebooks", "01"]):
        command, here = [python, "-m", "robust_lib", *arguments], variables | {"ROBUST_STORE": str(store)}
        subprocess.run(command, cwd=folder, env=here, check=True)
    record = json.loads((folder / "runs/micro/00_micro_world/run.json").read_text())
    assert record["units"]["computed"] == 0


STUDY = "01_robustness_study"
TAGGED = params.defaults(ROOT / "notebooks" / f"{STUDY}.py")
COLAB = params.load(ROOT / "params" / "colab" / f"{STUDY}.yaml")


def written(cell: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {value!r}" for name, value in cell.items())


def checked(*cells: dict[str, Any] | str, first: str = "") -> Any:
    """The parameters after cells of plain assignments or of other code; `first` begins the last of them."""
    sources = [cell if isinstance(cell, str) else written(cell) for cell in cells]
    sources[-1] = first + sources[-1]
    assigned = {name: value for cell in cells if isinstance(cell, dict) for name, value in cell.items()}
    return params.check(
        STUDY, {"__builtins__": {}, "In": ["", "import sys", *sources, "check(...)"], **assigned}
    )


def as_checked(values: dict[str, Any]) -> Any:
    return params.check(STUDY, values)


def test_a_scale_set_by_hand_takes_its_own_values_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(TAGGED | {"scale": "colab"}) == as_checked(TAGGED | COLAB)
    assert capsys.readouterr().out == f"scale colab: the values of params/colab/{STUDY}.yaml\n"


def test_what_is_edited_beside_the_scale_stays_as_edited(capsys: pytest.CaptureFixture[str]) -> None:
    edited = {"source": "data", "train_size": 2000}
    assert checked(TAGGED | edited | {"scale": "colab"}) == as_checked(TAGGED | COLAB | edited)
    assert capsys.readouterr().out.endswith(".yaml, but source = 'data', train_size = 2000\n")


def test_what_a_cell_of_its_own_names_stays_even_where_it_is_the_default() -> None:
    named = {"scale": "colab", "train_size": TAGGED["train_size"]}
    assert checked(TAGGED, named) == as_checked(TAGGED | COLAB | named)


OTHER_CODE = [
    "check(...)",
    "get_ipython().system('ls')",
    "drive.mount('/content/drive')\nrows = []",
    "x = 3",
    "",
]


@pytest.mark.parametrize("between", OTHER_CODE[:3])
def test_whatever_ran_since_the_cell_of_values_its_scale_takes_its_own(between: str) -> None:
    by_hand, expected = TAGGED | {"scale": "colab"}, as_checked(TAGGED | COLAB)
    assert checked(by_hand, between) == expected
    assert checked(by_hand, *OTHER_CODE, between) == expected
    named = {"train_size": TAGGED["train_size"]}
    assert checked(by_hand, between, named, between) == as_checked(TAGGED | COLAB | named)
    assert checked(TAGGED, between, {"scale": "colab"}, between) == expected


def test_whatever_ran_since_papermill_set_the_scale_the_values_are_taken_as_they_stand() -> None:
    given = {"scale": "colab", "train_size": 200}
    cells = ["", written(TAGGED), f"# Parameters\n{written(given)}\n", *OTHER_CODE[:3], "check(...)"]
    values = TAGGED | given
    assert params.check(STUDY, {"__builtins__": {}, "In": cells, **values}) == as_checked(values)


def test_a_scale_whose_cell_holds_more_than_values_is_refused_with_the_remedy() -> None:
    computed = written(TAGGED | {"scale": "colab"}).replace("seeds = [0]", "seeds = list(range(3))")
    assert "range" in computed
    for sources in (
        [computed],
        [computed, *OTHER_CODE],
        [written(TAGGED), "check(...)", computed],
        OTHER_CODE,
    ):
        values = TAGGED | {"scale": "colab", "seeds": [0, 1, 2]}
        namespace = {"__builtins__": {}, "In": ["", *sources, "check(...)"], **values}
        with pytest.raises(params.ParameterError, match="run the cell of values again, with plain values"):
            params.check(STUDY, namespace)
        assert params.check(STUDY, namespace | {"scale": "micro"}).scale == "micro"


def test_what_papermill_sets_is_taken_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"scale": "colab", "train_size": 200}
    assert checked(TAGGED, given, first="# Parameters\n") == as_checked(TAGGED | given)
    assert checked(TAGGED) == as_checked(TAGGED)
    assert capsys.readouterr().out == ""


def test_papermill_over_a_scale_set_by_hand_has_the_last_word() -> None:
    by_hand, given = TAGGED | {"scale": "colab"}, {"epochs": TAGGED["epochs"]}
    assert checked(by_hand, given, first="# Parameters\n") == as_checked(TAGGED | COLAB | given)


def test_a_scale_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(params.ParameterError, match=r"scale = 'collab'.*did you mean colab\?"):
        checked(TAGGED | {"scale": "collab"})
    world = params.defaults(ROOT / "notebooks" / "00_micro_world.py") | {"scale": "colab"}
    cells = ["", "\n".join(f"{name} = {value!r}" for name, value in world.items()), "check(...)"]
    with pytest.raises(params.ParameterError, match="the only scale of this notebook"):
        params.check("00_micro_world", {"__builtins__": {}, "In": cells, **world})


def test_a_scale_named_on_the_command_line_takes_its_own_values() -> None:
    notebook = ROOT / "notebooks" / f"{STUDY}.py"
    (job,) = commands.prepare([notebook], scale=None, given={"scale": "colab", "train_size": 2000})
    assert (job.scale, job.values["encoder"], job.values["train_size"]) == ("colab", "BERT-small", 2000)


@pytest.fixture
def store(tmp_path: Path) -> runs.Store:
    return runs.Store(tmp_path / "store")


def sized(text: str, work: float) -> runs.Unit:
    return runs.unit(textwrap.dedent, text=text).sized(work)


def test_a_forecast_counts_and_says_how_long_by_an_assumed_speed(
    store: runs.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "device", lambda: "cpu")
    monkeypatch.setenv("ROBUST_WORKERS", "2")
    minute = 60 * plan.ASSUMED["cpu"]
    units = {
        "one": [sized("a", 10 * minute)],
        "two": sized("b", 10 * minute),
        "again": sized("a", 10 * minute),
    }
    said = "2 units in all, 0 of them kept; the rest takes about 10 min on cpu x 2 (assumed, not measured)"
    assert plan.forecast(units, store) == said


@pytest.mark.parametrize(
    ("device", "like"), [("Tesla T4", "T4"), ("NVIDIA A100-SXM4-40GB", "A100"), ("NVIDIA L4", "T4")]
)
def test_a_gpu_that_nothing_was_measured_on_is_taken_for_one_that_is_assumed(
    store: runs.Store, monkeypatch: pytest.MonkeyPatch, device: str, like: str
) -> None:
    monkeypatch.setattr(engine, "device", lambda: device)
    monkeypatch.setenv("ROBUST_WORKERS", "1")
    known = next(name for name in plan.ASSUMED if name.startswith(like))
    said = plan.forecast(sized("a", 7200 * plan.ASSUMED[known]), store)
    assert f"about 2 h on {device} x 1 (as a {known}, assumed, not measured)" in said


def test_a_forecast_goes_by_what_was_measured_here_and_is_silent_when_all_is_kept(
    store: runs.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "device", lambda: "GPU")
    monkeypatch.setenv("ROBUST_WORKERS", "1")
    kept, left = sized("k", 8e12), sized("l", 4e13)
    store.save(kept, "k", seconds=2.0, device="GPU")
    said = (
        "2 units in all, 1 of them kept; the rest takes about 10 s on GPU x 1 (measured on 1 stored unit of"
    )
    assert plan.forecast([kept, left], store).startswith(said)
    assert plan.forecast(kept, store) == "1 unit in all, 1 of them kept"


def test_a_forecast_of_an_encoder_that_is_not_there_leaves_the_error_to_the_run(store: runs.Store) -> None:
    split = data.Split("mnli", "mnli/train", "micro", 8)
    lost = runs.unit(
        methods.predicted, model=None, encoder=models.Encoder("./none"), split=split, max_length=8
    )
    assert (
        plan.forecast([lost], store)
        == "1 unit in all, 0 of them kept; how long the rest takes cannot be told"
    )


def test_a_forecast_names_the_commands_that_bring_a_lexicon_and_so_does_the_first_cell(
    store: runs.Store, tmp_path: Path
) -> None:
    split = data.Split("mnli", "mnli/train", "micro", 8)
    attack = runs.unit(methods.calibrated, split=split, words=lexica.Words(str(tmp_path)))
    with pytest.raises(params.ParameterError) as caught:
        plan.forecast([attack], store)
    told = (ROOT / "notebooks" / "05_loyalty.py").read_text()
    for vectors, place, text in (
        ("VECTORS", tmp_path, str(caught.value)),
        ("counter-fitted-vectors.txt", "data", told),
    ):
        assert f"python -m robust_lib.attack build {vectors} {place}" in text
        assert f"python -m nltk.downloader -d {place}/lexica/nltk_data averaged_perceptron_tagger_eng" in text


@pytest.mark.parametrize(
    "file", sorted((ROOT / "params" / "colab").glob("*.yaml")), ids=lambda file: file.stem
)
def test_colab_scale_reads_only_what_the_hub_has_but_for_the_lexicon_of_05(file: Path) -> None:
    units = runs.closure(plan.units(ROOT / "notebooks" / f"{file.stem}.py", params.load(file)))
    named = {leaf for unit in units for leaf in leaves(unit.arguments)}
    splits = {leaf for leaf in named if isinstance(leaf, data.Split)}
    assert splits
    assert {split.source for split in splits} == {"hub"}
    assert [split.path for split in splits if split.path not in places.HUB] == []
    lexicons = {leaf.source for leaf in named if isinstance(leaf, lexica.Words)}
    assert lexicons == {"05_loyalty": {"data"}, "06_miniature": {"micro"}}.get(file.stem, set())
    if file.stem == "06_miniature":  # the micro world has no synonyms of real words
        assert not any(
            reading.filtered
            for reading in params.gather(ROOT / "notebooks" / f"{file.stem}.py", file=file).attacks.values()
        )


VOCABULARY, POSITIONS = 31_000, 512  # at most, of an encoder here
READ = 128  # texts that are read at a time, as `predict` and `victims` do on a GPU


def at_most(unit: runs.Unit, longest: int) -> float:
    """Bytes on the GPU that a unit does not exceed in fp32; not measured on one.

    A parameter is 4 bytes, and 20 where its encoder is trained: with gradient and AdamW's two moments, beside a
    frozen twin. Of every token a layer makes 17 vectors (Korthikanti et al. 2022, section 4: 34 bytes a unit of width
    in 16 bits) and three rows of attention for each head of 64: in training all layers keep them, in reading two at a
    time. A masked-language model's logits come on top, twice.
    """
    recipe = unit.arguments.get("recipe")
    trained = recipe is not None and recipe.epochs > 0
    total = 8.0 * language.PASS * (unit.function is methods.bert_attacked)
    for leaf in leaves(unit.arguments):
        encoder = leaf.sentences if isinstance(leaf, lexica.Words) else leaf
        if isinstance(encoder, models.Encoder):
            layers, width = encoder.shape()
            made = 4 * longest * (17 * width + 3 * longest * width / 64)
            total += (20 if trained else 4) * (encoder.weights() + (VOCABULARY + POSITIONS) * width)
            total += READ * 2 * made + (recipe.batch_size * layers * made if trained else 0)
    return total


@pytest.mark.parametrize(
    "file", sorted((ROOT / "params" / "colab").glob("*.yaml")), ids=lambda file: file.stem
)
def test_colab_scale_fits_a_t4(file: Path) -> None:
    notebook = ROOT / "notebooks" / f"{file.stem}.py"
    longest = params.gather(notebook, file=file).max_length
    units = runs.closure(plan.units(notebook, params.load(file)))
    needed = max(at_most(unit, longest) for unit in units)
    assert max(map(methods.memory, units)) < needed < T4
