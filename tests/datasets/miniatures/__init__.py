"""Writes a tiny scan in every layout that the package reads, byte for byte as its format says.

Nothing here uses the package's own code, so that reader and writer cannot share a mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.datasets.miniatures.apps import open3d, record3d
from tests.datasets.miniatures.basic import (
    FRAMES,
    HEIGHT,
    WIDTH,
    color,
    images,
    intrinsics,
    multiscan,
    ply,
    pose,
    save,
    save_matrix,
    scannet,
    seven_scenes,
    video,
)
from tests.datasets.miniatures.motion import colmap
from tests.datasets.miniatures.raw_multiscan import multiscan_decoded, multiscan_raw
from tests.datasets.miniatures.raw_scannet import scannet_corner, scannet_flat, scannet_sens
from tests.datasets.miniatures.rendered import replica
from tests.datasets.miniatures.telephone import scannetpp
from tests.datasets.miniatures.tum import tum

__all__ = [
    "FRAMES",
    "HEIGHT",
    "WIDTH",
    "WRITERS",
    "colmap",
    "color",
    "images",
    "intrinsics",
    "multiscan",
    "multiscan_decoded",
    "multiscan_raw",
    "open3d",
    "ply",
    "pose",
    "record3d",
    "replica",
    "save",
    "save_matrix",
    "scannet",
    "scannet_corner",
    "scannet_flat",
    "scannet_sens",
    "scannetpp",
    "seven_scenes",
    "tum",
    "video",
]

WRITERS: dict[str, Callable[[Path], Path]] = {
    "colmap": colmap,
    "images": images,
    "multiscan": multiscan,
    "multiscan_raw": multiscan_raw,
    "open3d": open3d,
    "record3d": record3d,
    "replica": replica,
    "scannet": scannet,
    "scannet_sens": scannet_sens,
    "scannetpp": scannetpp,
    "seven_scenes": seven_scenes,
    "tum": tum,
    "video": video,
}
