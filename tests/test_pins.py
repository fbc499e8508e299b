"""One set of pins, in three places that must agree."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = "pinned,test,onnx,browser,ray,site"
PINS = dict(pin.split("==") for pin in PROJECT["optional-dependencies"]["pinned"])


def test_every_dependency_has_a_range_and_a_pin_inside_it():
    for requirement in PROJECT["dependencies"]:
        name, lowest = re.match(r"([\w-]+)>=([\d.]+)", requirement).groups()
        numbers = [[int(part) for part in version.split(".")] for version in (lowest, PINS[name])]
        assert numbers[0] <= numbers[1], requirement
    assert len(PINS) == len(PROJECT["dependencies"])


def test_the_environment_for_conda_installs_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip == [f"torch=={PINS['torch']}", f"-e .[{EXTRAS}]"]
    assert any(str(entry).startswith("python=3.1") for entry in environment["dependencies"])


def test_make_installs_the_pinned_torch_before_anything_that_needs_one():
    lines = [
        line
        for line in (ROOT / "Makefile").read_text().splitlines()
        if line.startswith("\t") and "pip install" in line and "--upgrade" not in line
    ]
    assert f"torch=={PINS['torch']}" in lines[0]
    assert f"-e '.[{EXTRAS}]'" in lines[1]


def test_torch_is_never_pinned_for_those_who_bring_their_own():
    assert next(r for r in PROJECT["dependencies"] if r.startswith("torch")) == "torch>=2.11"


def test_the_lock_has_every_pin_and_one_version_of_each_package():
    text = (ROOT / "requirements.lock").read_text()
    lines = [line.split()[0] for line in text.splitlines() if line and not line.startswith("#")]
    locked = dict(line.lower().split("==") for line in lines)
    pins = [pin for extra in PROJECT["optional-dependencies"].values() for pin in extra]
    missing = [pin for pin in pins if locked.get(pin.lower().split("==")[0]) != pin.split("==")[1]]
    assert not missing, "make lock"
    assert len(locked) == len(lines)
    assert not [name for name in locked if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_make_installs_what_is_locked():
    assert "--constraint requirements.lock -e '.[" in (ROOT / "Makefile").read_text()
