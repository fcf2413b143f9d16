"""Ground truth is opened by the evaluator and by the oracle back ends, and by nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "my3dis"
LOADERS = {
    "load_annotation",
    "load_frame_labels",
    "load_ground_truth",
    "load_multiscan",
    "load_replica",
    "load_scannet",
    "load_scannetpp",
    "load_truth",
    "load_vertex_ids",
    "load_vertex_truth",
}
ALLOWED = {
    "datasets/annotations.py",
    "datasets/ground_truth.py",
    "datasets/gt_multiscan.py",
    "datasets/gt_replica.py",
    "datasets/gt_scannet.py",
    "stages/evaluate.py",
    "stages/evaluate_files.py",
    "stages/evaluate_tracks.py",
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
        if path.relative_to(PACKAGE).as_posix() not in ALLOWED:
            assert not names_used(path) & LOADERS


_AUDITED_RUN = """
import sys
touched = []

def hook(event, values):
    if event == "open" and "/gt/" in str(values[0]):
        touched.append(str(values[0]))

sys.addaudithook(hook)
from my3dis.cli.main import main
code = main(sys.argv[1:])
print("touched:", touched)
sys.exit(code)
"""


def write_scan(root: Path) -> Path:
    """Write three frames of a wall with coloured squares, its mesh, and ground truth that is garbage."""
    import cv2
    import trimesh

    height, width, focal, wall_m = 96, 128, 100.0, 2.0
    for name in ("color", "depth", "pose", "intrinsic", "gt/instance", "gt/part"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    canvas = np.full((height, 2 * width, 3), 200, np.uint8)
    for n, x in enumerate(range(10, 2 * width - 30, 45)):
        canvas[20 + 8 * (n % 3) : 70, x : x + 28] = rng.integers(0, 160, 3)
    intrinsic = np.eye(4)
    intrinsic[0, 0] = intrinsic[1, 1] = focal
    intrinsic[0, 2], intrinsic[1, 2] = (width - 1) / 2, (height - 1) / 2
    for name in ("color", "depth"):
        np.savetxt(root / "intrinsic" / f"intrinsic_{name}.txt", intrinsic)
    for i in range(3):
        shift_px = 4 * i
        cv2.imwrite(str(root / "color" / f"{i:04d}.png"), canvas[:, shift_px : shift_px + width])
        depth_mm = np.full((height, width), int(1000 * wall_m), np.uint16)
        cv2.imwrite(str(root / "depth" / f"{i:04d}.png"), depth_mm)
        pose = np.eye(4)
        pose[0, 3] = shift_px * wall_m / focal
        np.savetxt(root / "pose" / f"{i:04d}.txt", pose)
        for kind in ("instance", "part"):
            (root / "gt" / kind / f"{i:04d}.png").write_text("garbage")
    for name in ("gt_instances.txt", "gt_parts.txt", "gt_structural.txt", "hierarchy.json"):
        (root / "gt" / name).write_text("garbage")
    x, y = np.meshgrid(np.linspace(-1.2, 1.4, 80), np.linspace(-0.9, 0.9, 60))
    points = np.stack([x.ravel(), y.ravel(), np.full(x.size, wall_m)], axis=1)
    at = np.arange(x.size).reshape(x.shape)
    corners = at[:-1, :-1].ravel(), at[:-1, 1:].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel()
    faces = np.concatenate([np.stack(corners[:3], axis=1), np.stack(corners[:0:-1], axis=1)])
    trimesh.Trimesh(points, faces, process=False).export(root / f"{root.name}_vh_clean_2.ply")
    return root


def test_a_run_without_evaluation_touches_no_ground_truth(tmp_path: Path) -> None:
    """Candidates, filter, track, lift and report open nothing in gt/, whose content here is garbage.

    Listing names is allowed: the manifest notes when the evaluator's inputs change.
    """
    scan = write_scan(tmp_path / "scene")
    options = ["--output", str(tmp_path / "out"), "--quiet", "--set", "stages.evaluate.enabled=false"]
    done = subprocess.run(
        [sys.executable, "-c", _AUDITED_RUN, "run", "--scan", str(scan), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "touched: []" in done.stdout
    run = tmp_path / "out" / "scene" / "default"
    for name in ("candidates.my3dis", "masks.my3dis", "tracks.my3dis", "instances.npz", "report.html"):
        assert (run / name).is_file(), name
    assert not (run / "scores.json").exists()
