"""Ground truth is opened by the evaluator and by the oracle back ends, and by nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "my3dis"
LOADERS = {"load_ground_truth", "load_frame_labels"}
ALLOWED = {
    "datasets/ground_truth.py",
    "stages/evaluate.py",
    "backends/proposers/oracle.py",
    "backends/trackers/oracle.py",
}
FILES = ("gt_instances", "gt_parts", "gt_structural", "hierarchy.json")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def names_used(path: Path) -> set[str]:
    """Return every name, attribute and import of a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").rpartition(".")[2])
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update(alias.name.rpartition(".")[2] for alias in node.names)
    return found


def strings_outside_docstrings(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    prose = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }  # docstrings and attribute docs
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_evaluator_and_the_oracles_open_ground_truth(path: Path) -> None:
    """No other module imports the loaders or names the files of ground truth."""
    place = path.relative_to(PACKAGE).as_posix()
    # The built-in scan is made with its truth: it writes these files and reads none.
    if place in ALLOWED or place.startswith("datasets/synthetic"):
        return
    used = names_used(path)
    assert not used & LOADERS, f"{place} loads ground truth"
    assert not _imports_ground_truth(path), f"{place} imports ground truth"
    for text in strings_outside_docstrings(path):
        is_prose = " " in text.strip()  # help texts and messages may name the files
        assert is_prose or not any(name in text for name in FILES), f"{place} names the file {text!r}"


def _imports_ground_truth(path: Path) -> bool:
    wanted = "my3dis.datasets.ground_truth"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if wanted in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                return True
        elif isinstance(node, ast.Import) and any(alias.name == wanted for alias in node.names):
            return True
    return False


def test_the_built_in_scan_reads_no_ground_truth() -> None:
    """The generator of the built-in scan uses none of the loaders."""
    for path in (PACKAGE / "datasets").rglob("*.py"):
        if path.name != "ground_truth.py":
            assert not names_used(path) & LOADERS
