"""What a unit's key knows of code: edits on disk of a package, and which functions they reach."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import robust_lib

HERE = Path(__file__).parent

TOY = {
    "__init__.py": "from toy.sums import add\n",
    "constants.py": '"""Numbers."""\nSCALE = 2.0\nUNUSED = 1\n',
    "sums.py": '''
import math
from typing import TYPE_CHECKING
from toy import constants
from toy.shapes import Circle as Round
if TYPE_CHECKING:
    from toy.shapes import Square

TABLE = {"half": 0.5}
TABLE["third"] = 1 / 3

def add(a, b):
    """Sum."""
    return _rounded(a + b)  # rounded

def _rounded(value):
    return round(value, 6)

def scaled(a, factor=constants.SCALE):
    return math.floor(a * factor)

def shared(kind):
    return TABLE[kind]

def area(shape: "Square"):
    return shape.area()

def roundness():
    return Round(1).area()

def shadowed(add, constants):
    return [TABLE for TABLE in (add, constants)]

def local(values):
    for add in values:
        scaled = add
    return scaled

def lazily(a):
    from toy import shapes
    return shapes.twice(a)

def outer(values):
    add = [_rounded(add) for add in values]
    def inner():
        return TABLE
    return inner(), add

if __name__ == "__main__":
    print("main")
''',
    "shapes.py": """
import functools
from . import constants

def traced(function):
    return functools.wraps(function)(lambda *given: function(*given))

class Shape:
    sides = 0

    def describe(self):
        return "shape"

class Square(Shape):
    sides = 4

    def area(self):
        return 1.0

class Circle(Shape):
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return 3.0 * self.radius

@traced
def twice(a):
    return 2 * a

def thrice(a):
    return 3 * a
""",
    "whole.py": """
import toy
from toy import shapes, sums

def by_name(name):
    return getattr(shapes, name)

def exported(a):
    return toy.add(a, a)

def passed_on(values):
    return list(map(sums.scaled, values))
""",
}
ALL = [
    *(
        f"toy.sums:{name}"
        for name in ["add", "scaled", "shared", "area", "roundness", "shadowed", "local", "lazily", "outer"]
    ),
    *(f"toy.whole:{name}" for name in ["by_name", "exported", "passed_on"]),
]
EDITS = {
    "helper": ("sums.py", "round(value, 6)", "round(value, 5)", "add outer exported"),
    "constant of another module, as default": ("constants.py", "2.0", "3.0", "scaled passed_on"),
    "unused constant": ("constants.py", "UNUSED = 1", "UNUSED = 2", ""),
    "table's first lines": ("sums.py", "0.5", "0.6", "shared outer"),
    "table's later lines": ("sums.py", "1 / 3", "1 / 4", "shared outer"),
    "method of an annotated class": ("shapes.py", "return 1.0", "return 2.0", "area by_name"),
    "method of a used class": ("shapes.py", "3.0 *", "3.1 *", "roundness by_name"),
    "base class": ("shapes.py", '"shape"', '"form"', "area roundness by_name"),
    "decorator": ("shapes.py", "lambda *given", "lambda *args, given=()", "lazily by_name"),
    "function imported inside a function": ("shapes.py", "return 2 * a", "return a + a", "lazily by_name"),
    "another function of that module": ("shapes.py", "return 3 * a", "return a * 3", "by_name"),
    "what a name of another package means": (
        "sums.py",
        "import math",
        "import cmath as math",
        "scaled passed_on",
    ),
    "docstring": ("sums.py", '"""Sum."""', '"""The sum of both."""', ""),
    "comment": ("sums.py", "# rounded", "# to six digits", ""),
    "layout": ("sums.py", "_rounded(a + b)", "_rounded(\n        a + b\n    )", ""),
    "what runs as a script": ("sums.py", 'print("main")', 'print("script")', ""),
    "new effect of loading": ("constants.py", "UNUSED = 1", "UNUSED = 1\n[].sort()", "scaled passed_on"),
}


def digests(
    folder: Path, names: list[str], edits: list[list[str]], loaded: str | None = None
) -> list[dict[str, str]]:
    """Digests by name, before and after each edit."""
    request = json.dumps({"names": names, "edits": edits, "loaded": loaded})
    path = os.pathsep.join([str(folder), str(Path(robust_lib.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, str(HERE / "runs_reach.py"), str(folder)],
        input=request, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy").mkdir()
    for name, text in TOY.items():
        (folder / "toy" / name).write_text(text)
    return digests(folder, ALL, [[f"toy/{file}", old, new] for file, old, new, _ in EDITS.values()])


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_what_reaches_it_and_nothing_else(toy: list[dict[str, str]], edit: str) -> None:
    before, after = toy[0], toy[1 + list(EDITS).index(edit)]
    changed = {name.partition(":")[2] for name in ALL if before[name] != after[name]}
    assert changed == set(EDITS[edit][3].split())


def test_editing_a_loss_of_the_library_reruns_what_uses_it(tmp_path: Path) -> None:
    """On a copy of the real package: the methods train with `losses.ce`; `predicted` and `losses.kd` do not."""
    shutil.copytree(
        Path(robust_lib.__file__).parent,
        tmp_path / "robust_lib",
        ignore=shutil.ignore_patterns("__pycache__", "weights"),
    )
    names = [
        "robust_lib.methods.training:finetuned",
        "robust_lib.methods.measuring:predicted",
        "robust_lib.losses:kd",
        "robust_lib.masks.choice:magnitude",
        "robust_lib.micro.cues:predicted",
    ]
    losses = (tmp_path / "robust_lib" / "losses.py").read_text()
    line = next(line for line in losses.splitlines() if "return F.cross_entropy(" in line)
    edits = [
        ["robust_lib/losses.py", line, line.replace("return ", "return 1.0 * ")],
        ["robust_lib/losses.py", line, f"{line}  # plain"],
        ["robust_lib/micro/inference.py", "OVERLAP_SHARE = 0.80", "OVERLAP_SHARE = 0.70"],
    ]
    before, edited, commented, other_world = digests(tmp_path, names, edits, loaded="robust_lib.data")
    assert {name for name in names if edited[name] != before[name]} == {
        "robust_lib.methods.training:finetuned"
    }
    assert commented == before
    # Other examples are another fingerprint of the split; code that only reads them is the same code.
    assert {name for name in names if other_world[name] != before[name]} == {
        "robust_lib.micro.cues:predicted"
    }
