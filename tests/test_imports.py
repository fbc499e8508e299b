"""The package's imports run one way, read from the sources and once from a running interpreter."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "robust_lib"
MODULES = sorted(PACKAGE.rglob("*.py"))
TORCHLESS = ["metrics", "compare", "report", "published", "params"]
ALONE = ["losses", "masks", "passes", "smoothing"]
# What alone stands on the methods: the command line, and the audit, which composes everything.
ABOVE = ["__main__", "audit", "commands", "doctor", "plan"]


def top(file: Path) -> str:
    """The part of the package that a file belongs to: `data` for robust_lib/data/hub.py."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """Dotted names of all that a file imports, also inside functions: `robust_lib.losses`, `torch.nn`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(file: Path) -> set[str]:
    """The other parts of the package that a file imports."""
    found = {name.split(".")[1] for name in imported(file) if name.startswith("robust_lib.")}
    return found - {top(file), "__version__"}


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_one_way(file: Path) -> None:
    part = top(file)
    assert "methods" not in ours(file) or part in ABOVE
    assert not ours(file) & set(ABOVE) or part in ABOVE
    assert not any(name.split(".")[0] == "notebooks" for name in imported(file))
    assert "attack" not in ours(file) or part in ("methods", *ABOVE)
    assert "losses" not in ours(file) or part != "train"
    assert not ours(file) or part not in ALONE
    assert not any(name.split(".")[0] == "torch" for name in imported(file)) or part not in TORCHLESS


@pytest.mark.parametrize(
    "part", [part for part in TORCHLESS if (PACKAGE / part).exists() or (PACKAGE / f"{part}.py").exists()]
)
def test_what_stands_after_the_last_tensor_never_loads_torch(part: str) -> None:
    code = f"import sys, robust_lib.{part}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
