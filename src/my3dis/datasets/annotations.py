"""Load ground truth whatever its form: our own folder, or the annotations of a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from my3dis.datasets import truth_files
from my3dis.datasets.ground_truth import GroundTruth, load_ground_truth
from my3dis.datasets.gt_multiscan import load_multiscan
from my3dis.datasets.gt_replica import load_replica
from my3dis.datasets.gt_scannet import load_scannet, load_scannetpp
from my3dis.errors import DataError

__all__ = ["load_truth"]

_LOADERS: tuple[tuple[str, Callable[[Path], GroundTruth]], ...] = (
    (truth_files.MULTISCAN, load_multiscan),
    (truth_files.SCANNET, load_scannet),
    (truth_files.SCANNETPP, load_scannetpp),
    (truth_files.REPLICA, load_replica),
)


def load_truth(path: Path) -> GroundTruth:
    """Load ground truth for the vertices of a scan's mesh.

    Args:
        path: a ground truth folder, or a file of annotations; what else is needed is found beside it.

    Raises:
        DataError: if it is missing, broken, or of no known form.
    """
    if path.is_dir() or not path.exists():
        return load_ground_truth(path)
    for suffix, load in _LOADERS:
        if path.name.endswith(suffix):
            return load(path)
    known = ", ".join(f"*{suffix}" for suffix, _ in _LOADERS)
    raise DataError(
        f"{path}: expected a ground truth folder or annotations ({known}), found another file; "
        "give the folder of the scan"
    )
