"""Find and load ground truth whatever its form: our own folder, or the annotations of a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from my3dis.datasets import gt_multiscan
from my3dis.datasets.files import list_files
from my3dis.datasets.ground_truth import GroundTruth, load_ground_truth
from my3dis.errors import DataError

__all__ = ["find_truth", "is_annotations", "load_truth"]

_LOADERS: tuple[tuple[str, Callable[[Path], GroundTruth]], ...] = (
    (gt_multiscan.SUFFIX, gt_multiscan.load_multiscan),
)


def is_annotations(path: Path) -> bool:
    """Whether a path is called like the annotations of a data set."""
    return any(path.name.endswith(suffix) for suffix, _ in _LOADERS)


def find_truth(scan: Path) -> Path | None:
    """Return a scan's ground truth: its folder ``gt/``, or the annotations of a data set, or None."""
    if (scan / "gt").is_dir():
        return scan / "gt"
    if not scan.is_dir():
        return None
    return next((p for p in list_files(scan, (".json",)) if is_annotations(p)), None)


def load_truth(path: Path) -> GroundTruth:
    """Load ground truth for the vertices of a scan's mesh.

    Args:
        path: a ground truth folder, or a file of annotations; the mesh is found beside the latter.

    Raises:
        DataError: if it is missing, broken, or of no known form.
    """
    if path.is_dir() or not path.exists():
        return load_ground_truth(path)
    for suffix, load in _LOADERS:
        if path.name.endswith(suffix):
            return load(path)
    known = ", ".join(f"*{suffix}" for suffix, _ in _LOADERS)
    raise DataError(f"{path}: expected a ground truth folder or annotations ({known}), found another file")
