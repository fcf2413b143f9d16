"""The import direction of the package: maths knows nothing of files, files nothing of the command line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "my3dis"

LAYERS = (
    {"types", "errors"},
    {"protocols", "masks", "geometry"},
    {"refinement", "archive", "tracking", "lifting", "metrics"},
    {"datasets", "backends", "exporters", "reporting"},
    {"stages", "runs", "monitoring", "config", "plugins"},
    {"pipeline", "scheduling", "serving"},
    {"cli"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# The package's own face may import anything lazily; `python -m my3dis` is the command line.
OUTSIDE = {"__init__", "__main__"}
PURE = {"types", "masks", "geometry", "refinement", "tracking", "lifting", "metrics"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_only_towards_the_core(path: Path) -> None:
    """A module imports from its own layer or from layers nearer the core types."""
    own = part_of(path)
    if own in OUTSIDE:
        return
    assert own in RANK, f"{own} has no place in the layers"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "my3dis" or len(parts) < 2 or parts[1] not in RANK:
            continue
        assert RANK[parts[1]] <= RANK[own], f"{path.name} imports {name}, which is farther out"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_keep_their_hands_off_the_process(path: Path) -> None:
    """No module changes the working directory or sys.path, unpickles, or (in pure parts) reads the clock."""
    text = path.read_text()
    for banned in ("os.chdir", "sys.path.", "import pickle", "allow_pickle=True", "weights_only=False"):
        assert banned not in text, f"{path.name} uses {banned}"
    if part_of(path) in PURE:
        names = imported(path)
        # A path may be named in a record (`ScanOverview.root`), but nothing pure may open one.
        for banned in ("time", "os", "pathlib", "datetime", "logging.handlers"):
            if banned == "pathlib" and part_of(path) == "types":
                continue
            assert banned not in names, f"{path.name} is pure but imports {banned}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_stay_small(path: Path) -> None:
    """A module has at most 320 lines and a function at most 65."""
    text = path.read_text()
    assert len(text.splitlines()) <= 320
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 65, f"{node.name} is too long"
