"""TUM RGB-D sequences: association by time, and broken lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.detect import open_scan
from my3dis.errors import DataError
from tests.datasets.miniatures import FRAMES, room, tum
from tests.datasets.miniatures.tum import START_S


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return tum(tmp_path / "mini")


def keep_lines(path: Path, keep: list[int]) -> None:
    lines = path.read_text().splitlines()
    head = [line for line in lines if line.startswith("#")]
    rest = [line for line in lines if not line.startswith("#")]
    path.write_text("\n".join(head + [rest[i] for i in keep]) + "\n")


def test_time_stamps_are_those_of_the_colour_images(scan: Path) -> None:
    """A frame's time and name are those of its colour image."""
    frame = open_scan(scan).frame(3)
    assert frame.timestamp_s == pytest.approx(START_S + 0.1, abs=1e-5)
    assert frame.name == "1305031102.275304"


def test_depth_and_pose_too_far_in_time_are_not_used(scan: Path) -> None:
    """A frame whose depth or pose is more than 20 ms away has none, and both are counted."""
    keep_lines(scan / "depth.txt", [i for i in range(FRAMES) if i != 4])
    keep_lines(scan / "groundtruth.txt", [i for i in range(2 * FRAMES) if i not in (13, 14, 15)])
    reader = open_scan(scan)
    assert reader.frame(4).depth_m is None
    assert reader.frame(5).depth_m is not None
    assert reader.overview.invalid_poses == (7,)
    assert reader.frame(7).world_from_camera is None
    assert any("depth of 1 frame" in s for s in reader.overview.missing)


def test_a_depth_image_belongs_to_one_colour_image(scan: Path) -> None:
    """Of two colour images near one depth image, the nearer gets it."""
    line = next(x for x in (scan / "depth.txt").read_text().splitlines() if not x.startswith("#"))
    middle = START_S + 0.0333 - 0.0160
    (scan / "depth.txt").write_text(f"{middle:.6f} {line.split()[1]}\n")
    reader = open_scan(scan)
    assert [reader.frame(i).depth_m is not None for i in range(3)] == [False, True, False]


def test_lists_may_be_in_any_order_or_absent(scan: Path) -> None:
    """Unordered lists are sorted by time; without lists the names of the images are their times."""
    before = [open_scan(scan).frame(i).name for i in range(FRAMES)]
    for name in ("rgb.txt", "groundtruth.txt"):
        keep_lines(scan / name, list(range(FRAMES))[::-1] if name == "rgb.txt" else list(range(23, -1, -1)))
    reader = open_scan(scan)
    assert [reader.frame(i).name for i in range(FRAMES)] == before
    pose = reader.frame(5).world_from_camera
    assert pose is not None
    assert np.allclose(pose, room.pose(5), atol=1e-5)
    for name in ("rgb.txt", "depth.txt"):
        (scan / name).unlink()
    reader = open_scan(scan)
    assert [reader.frame(i).name for i in range(FRAMES)] == before
    assert reader.frame(5).depth_m is not None


def test_the_camera_goes_by_the_name_without_a_calibration(tmp_path: Path) -> None:
    """A sequence of the data set gets its camera's published intrinsics, another one the usual guess."""
    for name, fx in (("rgbd_dataset_freiburg3_desk", 535.4), ("mine", 525.0)):
        scan = tum(tmp_path / name)
        (scan / "calibration.txt").unlink()
        reader = open_scan(scan)
        camera = reader.frame(0).color_camera
        assert camera is not None
        assert camera.fx == pytest.approx(fx / 20)
        assert any("no calibration.txt" in s for s in reader.overview.missing)


def test_a_sequence_without_poses_or_depth_opens(scan: Path) -> None:
    """What is missing is said, and what is there is read."""
    (scan / "groundtruth.txt").unlink()
    (scan / "depth.txt").write_text("# nothing\n")
    overview = open_scan(scan).overview
    assert not overview.has_pose
    assert not overview.has_depth
    assert any("no groundtruth.txt" in s for s in overview.missing)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rgb.txt", "1.0\n", r"rgb\.txt: expected a time stamp and a file name a line, found '1\.0'"),
        ("rgb.txt", "soon rgb/x.png\n", r"rgb\.txt: expected a time stamp in seconds, found 'soon'"),
        ("rgb.txt", "", r"rgb\.txt: .*empty"),
        ("rgb.txt", "# none\n", "expected colour images with time stamps, found none"),
        ("groundtruth.txt", "1 2 3\n", r"groundtruth\.txt: expected a time stamp, a position"),
        ("groundtruth.txt", "1 2 3 4 5 6 7 x\n", r"groundtruth\.txt: .*found other text"),
        ("calibration.txt", "525\n", r"calibration\.txt: expected fx fy cx cy"),
        ("calibration.txt", "-1 525 16 12\n", r"calibration\.txt: .*focal lengths above 0"),
    ],
)
def test_broken_lists_are_refused(scan: Path, name: str, text: str, message: str) -> None:
    """A list that is empty, cut or something else is an error that names it."""
    (scan / name).write_text(text)
    with pytest.raises(DataError, match=message):
        open_scan(scan)


def test_invalid_poses_are_counted(scan: Path) -> None:
    """A quaternion of zeros or of nan is no pose."""
    lines = (scan / "groundtruth.txt").read_text().splitlines()
    poses = [line for line in lines if not line.startswith("#")]
    for i, bad in ((2, "0"), (8, "nan")):
        poses[2 * i] = " ".join([*poses[2 * i].split()[:4], *[bad] * 4])
    (scan / "groundtruth.txt").write_text("\n".join(poses))
    assert open_scan(scan).overview.invalid_poses == (2, 8)


def test_a_listed_image_that_is_missing_is_named(scan: Path) -> None:
    """An image that the list names and the folder lacks is an error when it is read."""
    victim = sorted((scan / "rgb").iterdir())[6]
    victim.unlink()
    reader = open_scan(scan)
    with pytest.raises(DataError, match=victim.name):
        reader.frame(6)
