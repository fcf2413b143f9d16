"""Every posed layout shows the same corner of a room: poses, depth, intrinsics and mesh come out as made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.check import CheckOptions, check_scan
from my3dis.datasets.detect import open_scan
from tests.datasets.miniatures import (
    FRAMES,
    HEIGHT,
    WIDTH,
    multiscan_decoded,
    multiscan_raw,
    open3d,
    record3d,
    replica,
    room,
    scannet_corner,
    scannet_flat,
    scannet_sens,
    scannetpp,
    tum,
)

CORNERS: dict[str, Callable[[Path], Path]] = {
    "multiscan": multiscan_decoded,
    "multiscan-every": partial(multiscan_decoded, step=1),
    "multiscan-exr": partial(multiscan_decoded, exr_depth=True),
    "multiscan_raw": multiscan_raw,
    "multiscan_raw-android": partial(multiscan_raw, ios=False),
    "scannet": scannet_corner,
    "scannet-flat": scannet_flat,
    "scannet_sens": scannet_sens,
    "scannet_sens-raw": partial(scannet_sens, compressed=False),
    "open3d": open3d,
    "record3d": record3d,
    "record3d-inner": partial(record3d, inner=True),
    "replica": replica,
    "replica-labelled": partial(replica, labelled=True),
    **{f"scannetpp-{p}": partial(scannetpp, packing=p) for p in ("whole", "lz4", "deflate", "extracted")},
    "tum": tum,
}
DEPTH_M = {"multiscan_raw": 0.002}
"""Tolerance of depth; half a millimetre where it is in millimetres, more for 16-bit floats at 4 m."""
WITHOUT_MESH = {"record3d", "record3d-inner", "tum"}


@pytest.mark.parametrize("name", CORNERS)
def test_a_corner_comes_out_as_it_was_made(name: str, tmp_path: Path) -> None:
    """The conventions of each format lead to the same poses, metres, pixels and vertices."""
    reader = open_scan(CORNERS[name](tmp_path / "mini"))
    assert reader.overview.dataset == name.partition("-")[0]
    assert reader.overview.is_posed_rgbd
    assert reader.overview.invalid_poses == ()
    for i in (0, 5, FRAMES - 1):
        frame = reader.frame(i)
        assert frame.world_from_camera is not None
        assert frame.depth_m is not None
        assert frame.color_camera is not None
        assert frame.depth_camera is not None
        assert np.allclose(frame.world_from_camera, room.pose(i), atol=1e-5)
        height, width = frame.depth_m.shape
        exact = room.depth_m(i, width, height)
        seen = frame.depth_m > 0
        assert seen[1:].all()
        assert np.abs(frame.depth_m - exact)[seen].max() <= DEPTH_M.get(name, 0.00051)
        for camera, (w, h) in ((frame.color_camera, (WIDTH, HEIGHT)), (frame.depth_camera, (width, height))):
            k = room.intrinsics(w, h)
            found = camera.fx, camera.fy, camera.cx, camera.cy
            assert np.allclose(found, (k[0, 0], k[1, 1], k[0, 2], k[1, 2]), atol=1e-4)
    cloud = reader.cloud()
    if name in WITHOUT_MESH:
        assert cloud is None
        return
    assert cloud is not None
    assert np.allclose(cloud.xyz_m, room.mesh()[0], atol=1e-6)


SLOW = ("open3d", "replica", "replica-labelled", "tum")
"""The check searches longer where depth has few pixels."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.soak) if n in SLOW else n for n in CORNERS]
)
def test_a_corner_passes_the_check(name: str, tmp_path: Path) -> None:
    """The check of poses and depth accepts every miniature, and judges it rather than giving up."""
    reader = open_scan(CORNERS[name](tmp_path / "mini"))
    check = check_scan(reader, range(FRAMES), CheckOptions(least_points=60))
    assert check.fits, check.message
    assert check.median_error_m < 0.04
    assert name in WITHOUT_MESH or (check.mesh_agreement or 0) > 0.7
