"""The check of a scan accepts good scans and refuses wrong poses, units, intrinsics and meshes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.check import check_scan
from my3dis.datasets.detect import open_scan
from my3dis.datasets.synthetic import RoomReader, make_room
from my3dis.protocols import SceneReader
from my3dis.types import Frame, ScanOverview, SceneCloud


class Spoiled:
    """A reader whose frames or cloud are changed on the way."""

    def __init__(
        self,
        reader: SceneReader,
        frame: Callable[[Frame], Frame] = lambda f: f,
        move_cloud_m: float = 0.0,
        **overview: object,
    ) -> None:
        self.reader, self.spoil, self.move = reader, frame, move_cloud_m
        self.overview: ScanOverview = dataclasses.replace(reader.overview, **overview)

    def __len__(self) -> int:
        return len(self.reader)

    def frame(self, index: int) -> Frame:
        return self.spoil(self.reader.frame(index))

    def cloud(self) -> SceneCloud | None:
        cloud = self.reader.cloud()
        assert cloud is not None
        return dataclasses.replace(cloud, xyz_m=cloud.xyz_m + np.float32(self.move))

    def fingerprint(self) -> str:
        return self.reader.fingerprint()


@pytest.fixture(scope="module")
def room() -> RoomReader:
    return RoomReader(make_room(5, frames=24, image_size=(120, 160)))


def with_pose(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Frame], Frame]:
    def spoil(frame: Frame) -> Frame:
        assert frame.world_from_camera is not None
        return dataclasses.replace(frame, world_from_camera=change(frame.world_from_camera))

    return spoil


def with_depth(factor: float) -> Callable[[Frame], Frame]:
    def spoil(frame: Frame) -> Frame:
        assert frame.depth_m is not None
        return dataclasses.replace(frame, depth_m=frame.depth_m * np.float32(factor))

    return spoil


def with_focal(factor: float) -> Callable[[Frame], Frame]:
    def spoil(frame: Frame) -> Frame:
        camera = frame.depth_camera
        assert camera is not None
        wrong = dataclasses.replace(camera, fx=camera.fx * factor, fy=camera.fy * factor)
        return dataclasses.replace(frame, depth_camera=wrong)

    return spoil


def transposed(pose: np.ndarray) -> np.ndarray:
    turned = pose.copy()
    turned[:3, :3] = pose[:3, :3].T
    return turned


def millimetres(pose: np.ndarray) -> np.ndarray:
    scaled = pose.copy()
    scaled[:3, 3] *= 1000
    return scaled


def test_a_good_scan_fits(room: RoomReader) -> None:
    """The room's own frames agree within millimetres, and so does its mesh."""
    check = check_scan(room, range(len(room)))
    assert check.fits
    assert check.pairs == 8
    assert check.median_error_m < 0.01
    assert check.agreement > 0.8
    assert check.mesh_agreement is not None
    assert check.mesh_agreement > 0.9
    assert "fit together" in check.message


@pytest.mark.parametrize("with_mesh", [True, False])
@pytest.mark.parametrize(
    "spoil",
    [
        with_pose(np.linalg.inv),
        with_pose(lambda pose: pose @ np.diag([1.0, -1.0, -1.0, 1.0])),
        with_pose(transposed),
        with_pose(millimetres),
        with_depth(10),
        with_depth(0.1),
        with_depth(1000),
        with_focal(2),
        with_focal(0.5),
    ],
    ids=[
        "inverse",
        "opengl",
        "transposed",
        "pose_mm",
        "depth_10",
        "depth_01",
        "depth_1000",
        "focal_2",
        "focal_05",
    ],
)
def test_a_spoiled_scan_does_not_fit(
    room: RoomReader, spoil: Callable[[Frame], Frame], with_mesh: bool
) -> None:
    """Wrong pose conventions, units and focal lengths are found, with and without a mesh."""
    check = check_scan(Spoiled(room, spoil, has_cloud=with_mesh), range(len(room)))
    assert not check.fits
    assert "not fit" in check.message
    assert "check" in check.message


def test_a_moved_mesh_is_told_from_wrong_poses(room: RoomReader) -> None:
    """When only the mesh is elsewhere, the message says that it is the mesh."""
    check = check_scan(Spoiled(room, move_cloud_m=0.4), range(len(room)))
    assert not check.fits
    assert check.median_error_m < 0.01
    assert "the mesh does not fit" in check.message


def test_what_cannot_be_judged_is_let_through(room: RoomReader) -> None:
    """Without poses, or without any reading in common, the scan passes and the message says why."""
    unposed = check_scan(Spoiled(room, has_pose=False), range(len(room)))
    assert unposed.fits
    assert "not checked" in unposed.message
    blind = check_scan(Spoiled(room, with_depth(0), has_cloud=False), range(len(room)))
    assert blind.fits
    assert "could not be judged" in blind.message
    nothing = check_scan(Spoiled(room, has_cloud=False), ())
    assert nothing.fits


@pytest.mark.parametrize("place", ["synth/synth0000_00", "synth/synth0001_00", "rgbd_kitchen"])
def test_real_scans_fit(shared_data: Path, place: str) -> None:
    """The posed scans of the shared data pass, and fail once their poses are inverted."""
    reader = open_scan(shared_data / place)
    frames = range(0, len(reader), 8)
    assert check_scan(reader, frames).fits
    assert not check_scan(Spoiled(reader, with_pose(np.linalg.inv)), frames).fits
