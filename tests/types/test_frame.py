"""Cameras, frames and overviews check themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.types import Camera, Frame, ScanOverview

CAMERA = Camera(fx=500.0, fy=510.0, cx=19.5, cy=14.5, width=40, height=30)


def frame(**changes: Any) -> Frame:
    """A posed RGB-D frame of 40x30 pixels with depth of 20x15."""
    fields: dict[str, Any] = {
        "index": 3,
        "name": "0003",
        "color": np.zeros((30, 40, 3), np.uint8),
        "depth_m": np.ones((15, 20), np.float32),
        "color_camera": CAMERA,
        "depth_camera": CAMERA.scaled_to(20, 15),
        "world_from_camera": np.eye(4),
    }
    return Frame(**{**fields, **changes})


def test_a_frame_knows_its_size() -> None:
    """The image size is that of the colour image; depth and pose are optional."""
    assert frame().image_size == (30, 40)
    bare = Frame(index=0, name="0", color=np.zeros((30, 40, 3), np.uint8))
    assert (bare.depth_m, bare.world_from_camera, bare.timestamp_s) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("color", np.zeros((30, 40), np.uint8), r"Frame '0003' color: expected shape \(any, any, 3\)"),
        ("color", np.zeros((30, 40, 3), np.float32), "Frame '0003' color: expected dtype uint8"),
        ("color", np.zeros((31, 40, 3), np.uint8), "an image of 40x30 as the intrinsics say, found 40x31"),
        ("depth_m", np.ones((15, 20)), "Frame '0003' depth_m: expected dtype float32"),
        ("depth_m", np.ones((15, 21), np.float32), "20x15 as the intrinsics say, found 21x15"),
        ("world_from_camera", np.eye(3), r"expected shape \(4, 4\), found \(3, 3\)"),
        ("world_from_camera", np.full((4, 4), np.nan), "expected a finite pose, found inf or nan"),
        ("world_from_camera", np.full((4, 4), -np.inf), "expected a finite pose, found inf or nan"),
    ],
)
def test_each_wrong_field_is_named(name: str, value: object, said: str) -> None:
    """The error names the frame and the field, what was expected and what was found."""
    with pytest.raises(DataError, match=said):
        frame(**{name: value})


def test_frames_are_frozen() -> None:
    """Neither fields nor pixels can be changed."""
    one = frame()
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.index = 4  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        one.color[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fx": 0.0}, "positive focal lengths, found fx=0.0"),
        ({"fy": -1.0}, "positive focal lengths"),
        ({"cx": float("nan")}, "finite intrinsics"),
        ({"width": 0}, "positive image size, found 0x30"),
    ],
)
def test_impossible_cameras_are_refused(changes: dict[str, Any], said: str) -> None:
    """Focal lengths, principal point and size must make sense."""
    with pytest.raises(DataError, match=said):
        dataclasses.replace(CAMERA, **changes)


def test_a_scaled_camera_sees_the_same_rays() -> None:
    """Half the resolution: pixel centres are at integers, so image corners (-0.5) stay corners."""
    half = CAMERA.scaled_to(20, 15)
    assert (half.fx, half.fy) == (250.0, 255.0)
    # The centre of a 40x30 image is (19.5, 14.5), of a 20x15 image (9.5, 7.0).
    assert (half.cx, half.cy) == (9.5, 7.0)
    for x in (-0.5, 7.0, 39.5):
        ray = (x - CAMERA.cx) / CAMERA.fx
        x_half = (x + 0.5) / 2 - 0.5
        assert (x_half - half.cx) / half.fx == pytest.approx(ray)


def test_an_overview_says_what_a_scan_allows() -> None:
    """Lifting needs depth and poses, both."""
    root = Path("scan")
    base = ScanOverview(scene="s", dataset="images", root=root, frame_count=1, image_size=(30, 40))
    assert not base.is_posed_rgbd
    assert not dataclasses.replace(base, has_depth=True).is_posed_rgbd
    assert dataclasses.replace(base, has_depth=True, has_pose=True).is_posed_rgbd
