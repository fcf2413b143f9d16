"""Where ground truth lies in a scan, by names alone; nothing here opens any of it."""

from __future__ import annotations

from pathlib import Path

from my3dis.datasets.files import list_files

__all__ = ["MULTISCAN", "REPLICA", "SCANNET", "SCANNETPP", "find_truth", "is_annotations"]

MULTISCAN = ".annotations.json"
SCANNET = ".aggregation.json"
SCANNETPP = "segments_anno.json"
REPLICA = "info_semantic.json"

# ScanNet has a second aggregation, for a finer mesh that has another number of vertices.
_OTHER_MESH = "_vh_clean.aggregation.json"


def is_annotations(path: Path) -> bool:
    """Whether a path is called like the annotations of a data set."""
    return path.name.endswith((MULTISCAN, SCANNET, SCANNETPP, REPLICA)) and not path.name.endswith(
        _OTHER_MESH
    )


def find_truth(scan: Path) -> Path | None:
    """Return a scan's ground truth: its folder ``gt/``, or the annotations of a data set, or None."""
    if (scan / "gt").is_dir():
        return scan / "gt"
    if not scan.is_dir():
        return None
    folders = [scan, *(scan / name for name in ("scans", "habitat") if (scan / name).is_dir())]
    found = [p for folder in folders for p in list_files(folder, (".json",)) if is_annotations(p)]
    own = [p for p in found if p.name.startswith(f"{scan.name}.")]
    return next(iter(own or found), None)
