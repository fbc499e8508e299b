"""The notebooks and their parameter files as they lie here, without running any."""

import ast
import itertools
import re
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from jupytext.compare import compare_notebooks

from robust_lib import params

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
