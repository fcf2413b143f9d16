"""Rendered Replica scenes: camera, trajectory and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.annotations import load_truth
from my3dis.datasets.detect import open_scan
from my3dis.errors import DataError
from tests.datasets.miniatures import replica, room
from tests.datasets.miniatures.raw_scannet import plane_of_vertex


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return replica(tmp_path / "office0")


def test_without_a_camera_file_the_data_sets_own_is_used(scan: Path) -> None:
    """The published rendering has 1200x680 pixels and a focal length of 600; other sizes are scaled."""
    (scan.parent / "cam_params.json").unlink()
    camera = open_scan(scan).frame(0).color_camera
    assert camera is not None
    assert (camera.fx, camera.width) == (pytest.approx(16), 32)


def test_frames_are_matched_by_number(scan: Path) -> None:
    """When frames were thinned out, each keeps its own depth and line of the trajectory."""
    for path in (scan / "results").glob("frame*.jpg"):
        if int(path.stem[5:]) % 4:
            path.unlink()
    reader = open_scan(scan)
    pose = reader.frame(2).world_from_camera
    assert len(reader) == 3
    assert pose is not None
    assert np.allclose(pose, room.pose(8))
    assert reader.frame(2).depth_m is not None


def test_a_short_or_lost_trajectory_leaves_frames_without_pose(scan: Path) -> None:
    """Frames beyond the last line, and lines of inf, have no pose and are counted."""
    lines = (scan / "traj.txt").read_text().splitlines()
    lines[3] = "inf " * 16
    (scan / "traj.txt").write_text("\n".join(lines[:10]))
    assert open_scan(scan).overview.invalid_poses == (3, 10, 11)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("traj.txt", "", r"traj\.txt: .*empty"),
        ("traj.txt", "1 2 3\n", r"traj\.txt: expected 16 numbers a line"),
        ("traj.txt", "1 2 3 4\n" * 4, r"traj\.txt: expected 16 numbers a line"),
        ("traj.txt", "x " * 16, r"traj\.txt: expected 16 numbers a line"),
        ("../cam_params.json", "{}", r"cam_params\.json: expected"),
        (
            "../cam_params.json",
            '{"camera": {"w": 0, "h": 1, "fx": 1, "fy": 1, "cx": 0, "cy": 0, "scale": 1}}',
            "above 0",
        ),
    ],
)
def test_broken_files_are_refused(scan: Path, name: str, text: str, message: str) -> None:
    """A trajectory or camera file that is cut or something else is an error that names it."""
    (scan / name).write_text(text)
    with pytest.raises(DataError, match=message):
        open_scan(scan)


def test_the_labelled_mesh_is_ground_truth(tmp_path: Path) -> None:
    """With the original's labelled mesh in the folder, faces label its vertices; ids count from 1."""
    scan = replica(tmp_path / "office0", labelled=True)
    overview = open_scan(scan).overview
    assert overview.ground_truth == scan / "habitat" / "info_semantic.json"
    truth = load_truth(overview.ground_truth)
    assert truth.instances is not None
    assert truth.instances.tolist() == [(2001, 3006, 40011)[plane] for plane in plane_of_vertex()]
    assert truth.structural_objects == frozenset({1})
    (scan / "habitat" / "info_semantic.json").write_text("[]")
    with pytest.raises(DataError, match=r"info_semantic\.json: expected"):
        load_truth(overview.ground_truth)


def test_without_labels_there_is_no_ground_truth(scan: Path) -> None:
    """The rendering's own mesh is used, and scores are said to be skipped."""
    overview = open_scan(scan).overview
    assert overview.has_cloud
    assert overview.ground_truth is None
    assert any("evaluate is skipped" in s for s in overview.missing)
