"""Images with a COLMAP model: both forms of the model, its places, broken models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.detect import open_scan
from my3dis.errors import DataError
from tests.datasets.miniatures import FRAMES, HEIGHT, WIDTH, colmap, room


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("folder", ["sparse/0", "sparse", "colmap", "."])
def test_poses_and_cameras_come_out_as_made(tmp_path: Path, binary: bool, folder: str) -> None:
    """World-to-camera is inverted, pixels are counted from their centres, and the order is the images'."""
    reader = open_scan(colmap(tmp_path / "mini", binary=binary, folder=folder))
    assert reader.overview.dataset == "colmap"
    assert reader.overview.has_pose
    assert not reader.overview.has_depth
    k = room.intrinsics(WIDTH, HEIGHT)
    for i in (0, 9, 10):
        frame = reader.frame(i)
        assert frame.name == f"IMG_{i}"
        assert frame.world_from_camera is not None
        assert np.allclose(frame.world_from_camera, room.pose(i), atol=1e-9)
        camera = frame.color_camera
        assert camera is not None
        assert np.allclose((camera.fx, camera.cx, camera.cy), (k[0, 0], k[0, 2], k[1, 2]))


def test_images_that_are_not_registered_have_no_pose(tmp_path: Path) -> None:
    """An image that the model left out is read without a pose, with the camera of the others."""
    scan = colmap(tmp_path / "mini", binary=False)
    path = scan / "sparse/0/images.txt"
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith("IMG_4.jpg"))
    path.write_text("\n".join(lines[:at] + lines[at + 2 :]) + "\n")
    reader = open_scan(scan)
    assert reader.overview.invalid_poses == (4,)
    assert reader.frame(4).world_from_camera is None
    assert reader.frame(4).color_camera == reader.frame(5).color_camera


def test_images_in_folders_of_their_own_are_found_by_the_model(tmp_path: Path) -> None:
    """Where ``images/`` has only folders, the names of the model lead to the images."""
    scan = colmap(tmp_path / "mini", binary=False)
    (scan / "images" / "cam0").mkdir()
    for path in list((scan / "images").glob("*.jpg")):
        path.rename(path.parent / "cam0" / path.name)
    model = scan / "sparse/0/images.txt"
    model.write_text(model.read_text().replace("IMG_", "cam0/IMG_"))
    reader = open_scan(scan)
    assert len(reader) == FRAMES
    assert reader.frame(10).name == "IMG_10"
    pose = reader.frame(10).world_from_camera
    assert pose is not None
    assert np.allclose(pose, room.pose(10), atol=1e-9)
    (scan / "images" / "cam0" / "IMG_3.jpg").unlink()
    assert any("1 image of the COLMAP model" in s for s in open_scan(scan).overview.missing)


def test_distortion_is_said_not_to_be_removed(tmp_path: Path) -> None:
    """A model with distortion warns; the same kind of camera with zeros does not."""
    assert not any("distortion" in s for s in open_scan(colmap(tmp_path / "a")).overview.missing)
    assert any("distortion" in s for s in open_scan(colmap(tmp_path / "b", distortion=0.1)).overview.missing)


def cut(name: str, keep: float) -> Callable[[Path], object]:
    def spoil(scan: Path) -> None:
        path = scan / "sparse/0" / name
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return spoil


def write(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda scan: (scan / "sparse/0" / name).write_bytes(data)


@pytest.mark.parametrize(
    ("binary", "spoil", "message"),
    [
        (True, cut("cameras.bin", 0), r"cameras\.bin: expected complete cameras"),
        (True, cut("cameras.bin", 0.7), r"cameras\.bin: expected complete cameras"),
        (True, cut("images.bin", 0.5), r"images\.bin: expected complete images"),
        (True, cut("images.bin", 0.999), r"images\.bin: expected complete images"),
        (True, write("images.bin", b"\xff" * 40), r"images\.bin: expected complete images"),
        (True, write("cameras.bin", b"\1" + bytes(11) + b"\x63\0\0\0" + bytes(40)), "camera model number 99"),
        (False, write("cameras.txt", b"1 PINHOLE 32\n"), r"cameras\.txt: expected complete cameras"),
        (False, write("cameras.txt", b"1 PINHOLE 32 24 1 2 3\n"), "camera model PINHOLE with 3 parameters"),
        (False, write("cameras.txt", b"8 PINHOLE 32 24 30 30 16 12\n"), "found no camera 7"),
        (
            False,
            write("cameras.txt", b"7 PINHOLE 24 24 30 30 12 12\n"),
            "shaped like 32x24, found one for 24x24",
        ),
        (False, write("cameras.txt", b"7 PINHOLE 32 24 0 30 16 12\n"), "focal lengths above 0"),
        (False, write("images.txt", b"1 2 3\n"), r"images\.txt: expected complete images"),
    ],
)
def test_broken_models_are_refused(
    tmp_path: Path, binary: bool, spoil: Callable[[Path], object], message: str
) -> None:
    """A model that is cut, of another kind or of other images is an error that names the file."""
    scan = colmap(tmp_path / "mini", binary=binary)
    spoil(scan)
    with pytest.raises(DataError, match=message):
        open_scan(scan)


def test_a_model_without_its_images_is_refused(tmp_path: Path) -> None:
    """An empty folder of images, or no model when asked for by name, is an error that says what to do."""
    scan = colmap(tmp_path / "mini")
    for path in (scan / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="expected the images of the COLMAP model, found none of its 12"):
        open_scan(scan)
    with pytest.raises(DataError, match="expected a COLMAP model"):
        open_scan(scan.parent, "colmap")
