"""Folders of Record3D and Open3D, and the depth images that they hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.detect import open_scan
from my3dis.datasets.exr import read_exr
from my3dis.errors import DataError
from tests.datasets.miniatures import FRAMES, WIDTH, open3d, record3d, room
from tests.datasets.miniatures.exr import exr


@pytest.mark.parametrize("compression", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint32])
def test_openexr_comes_out_as_written(tmp_path: Path, compression: int, dtype: type) -> None:
    """Every compression and type that is read gives the written numbers, from the right channel."""
    rng = np.random.default_rng(0)
    depth = rng.integers(0, 9, (37, 21)).astype(dtype)
    depth[5:20] = 3
    exr(tmp_path / "d.exr", {"R": depth, "A": np.zeros((37, 21), np.float32)}, compression)
    assert np.array_equal(read_exr(tmp_path / "d.exr"), depth.astype(np.float32))


def test_noise_that_does_not_compress_is_stored_as_it_is(tmp_path: Path) -> None:
    """A block that zip would make larger is stored, and read, unpacked."""
    noise = np.frombuffer(np.random.default_rng(1).bytes(4 * 64 * 32), "<u4").reshape(32, 64)
    exr(tmp_path / "d.exr", {"Y": noise})
    assert np.array_equal(read_exr(tmp_path / "d.exr"), noise.astype(np.float32))


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.2, 0.6, 0.99])
def test_cut_openexr_is_refused(tmp_path: Path, keep: float) -> None:
    """A file that ends anywhere is an error that names it."""
    path = tmp_path / "d.exr"
    exr(path, {"R": np.random.default_rng(0).random((40, 30), np.float32)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=r"d\.exr: expected"):
        read_exr(path)


def test_other_openexr_is_refused_by_its_kind(tmp_path: Path) -> None:
    """Tiles and wavelets are not read, and the message says what to export instead."""
    path = tmp_path / "d.exr"
    exr(path, {"R": np.ones((4, 4), np.float32)})
    data = path.read_bytes()
    path.write_bytes(
        data.replace(b"compression\0compression\0\1\0\0\0\3", b"compression\0compression\0\1\0\0\0\4")
    )
    with pytest.raises(DataError, match="found PIZ; export depth with ZIP"):
        read_exr(path)
    path.write_bytes(data[:5] + b"\2" + data[6:])
    with pytest.raises(DataError, match="found tiles"):
        read_exr(path)
    path.write_bytes(b"P5 noise")
    with pytest.raises(DataError, match="found another file"):
        read_exr(path)


def test_record3d_leaves_out_what_is_no_depth(tmp_path: Path) -> None:
    """Inf, nan and negative metres count as no reading."""
    scan = record3d(tmp_path / "mini")
    depth = np.full((96, 128), 2, np.float32)
    depth[0, :3] = np.inf, np.nan, -1
    exr(scan / "depth" / "4.exr", {"R": depth})
    found = open_scan(scan).frame(4).depth_m
    assert found is not None
    assert found[0, :4].tolist() == [0, 0, 0, 2]


def test_record3d_frames_are_matched_by_number(tmp_path: Path) -> None:
    """When images were thinned out, each keeps its own pose, depth and time."""
    scan = record3d(tmp_path / "mini")
    for i in range(FRAMES):
        if i % 3:
            (scan / "rgb" / f"{i}.jpg").unlink()
    reader = open_scan(scan)
    frame = reader.frame(2)
    assert len(reader) == 4
    assert frame.name == "6"
    assert frame.timestamp_s == pytest.approx(0.1)
    assert frame.world_from_camera is not None
    assert np.allclose(frame.world_from_camera, room.pose(6), atol=1e-6)


def test_record3d_frames_beyond_the_poses_have_none(tmp_path: Path) -> None:
    """Fewer poses than images, and quaternions of zeros, leave frames without a pose."""
    scan = record3d(tmp_path / "mini")
    meta = json.loads((scan / "metadata.json").read_text())
    meta["poses"] = meta["poses"][:10]
    meta["poses"][3] = [0] * 7
    (scan / "metadata.json").write_text(json.dumps(meta))
    assert open_scan(scan).overview.invalid_poses == (3, 10, 11)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"poses": []}', '{"K": [1, 2]}', '{"K": [0,0,0,0,0,0,0,0,1]}']
)
def test_broken_record3d_metadata_are_refused(tmp_path: Path, text: str) -> None:
    """Metadata that are empty, cut or impossible are an error that names the file."""
    scan = record3d(tmp_path / "mini")
    (scan / "metadata.json").write_text(text)
    with pytest.raises(DataError, match=r"metadata\.json: expected"):
        open_scan(scan)


def test_open3d_pairs_depth_by_order_where_names_differ(tmp_path: Path) -> None:
    """Redwood's sets number depth from another start; as many images in order belong together."""
    scan = open3d(tmp_path / "mini")
    for path in sorted((scan / "depth").iterdir(), reverse=True):
        path.rename(path.with_name(f"d{int(path.stem) + 1:05d}.png"))
    depth = open_scan(scan).frame(7).depth_m
    assert depth is not None
    assert np.abs(depth - room.depth_m(7, WIDTH, 24)).max() < 0.001


def test_open3d_takes_fewer_poses_by_their_numbers(tmp_path: Path) -> None:
    """A trajectory of some frames gives poses to those that it names."""
    scan = open3d(tmp_path / "mini")
    log = scan / "scene" / "trajectory.log"
    lines = log.read_text().splitlines()
    log.write_text("\n".join(lines[5 * 4 : 5 * 6]))
    reader = open_scan(scan)
    assert reader.overview.invalid_poses == tuple(i for i in range(FRAMES) if i not in (4, 5))
    pose = reader.frame(5).world_from_camera
    assert pose is not None
    assert np.allclose(pose, room.pose(5), atol=1e-6)


def test_open3d_without_intrinsics_says_what_it_assumes(tmp_path: Path) -> None:
    """Without intrinsics Open3D's own are used, scaled to the images, and the overview says so."""
    scan = open3d(tmp_path / "mini")
    (scan / "camera_intrinsic.json").unlink()
    reader = open_scan(scan)
    assert reader.overview.dataset == "open3d"
    assert any("525" in s for s in reader.overview.missing)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("scene/trajectory.log", "0 0 1\n1 0 0 0\n", "expected a line with the frame's number"),
        ("scene/trajectory.log", "", "empty"),
        ("scene/trajectory.log", "x\n" * 5, "expected a line with the frame's number"),
        ("camera_intrinsic.json", "{}", "expected intrinsics with"),
        (
            "camera_intrinsic.json",
            '{"width": 640, "height": 640, "intrinsic_matrix": [1, 0, 0, 0, 1, 0, 1, 1, 1]}',
            "shaped like 32x24",
        ),
    ],
)
def test_broken_open3d_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    """Intrinsics and trajectories that are cut or something else are errors that name the file."""
    scan = open3d(tmp_path / "mini")
    (scan / name).write_text(text)
    with pytest.raises(DataError, match=message):
        open_scan(scan)
