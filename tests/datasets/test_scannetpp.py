"""ScanNet++ telephone scans: both packings of depth, broken input, labels."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from my3dis.datasets.annotations import load_truth
from my3dis.datasets.depth_bin import lz4_block
from my3dis.datasets.detect import open_scan
from my3dis.errors import DataError
from tests.datasets.miniatures import FRAMES, scannetpp
from tests.datasets.miniatures.raw_scannet import plane_of_vertex
from tests.datasets.miniatures.telephone import lz4_packed


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return scannetpp(tmp_path / "0a5c013435")


def test_names_and_times_are_those_of_the_data_set(scan: Path) -> None:
    """Frames are called as in the pose file, and have its times."""
    frame = open_scan(scan).frame(6)
    assert frame.name == "frame_000006"
    assert frame.timestamp_s == pytest.approx(100.1)


@given(st.binary(max_size=300), st.integers(1, 40))
def test_lz4_comes_out_as_packed(data: bytes, times: int) -> None:
    """Blocks with long literals and matches that reach into themselves unpack to what was packed."""
    whole = data + b"ab" * times + data
    assert lz4_block(lz4_packed(whole), len(whole)) == whole


@given(st.binary(max_size=60))
def test_noise_is_no_lz4_block(data: bytes) -> None:
    """Any bytes give the asked number of bytes or a ValueError, nothing else."""
    with contextlib.suppress(ValueError):
        assert len(lz4_block(data, 40)) == 40


def test_frames_without_a_record_have_no_pose(scan: Path) -> None:
    """Frames that the pose file lacks, or has no aligned pose of, are counted; intrinsics carry over."""
    path = scan / "iphone" / "pose_intrinsic_imu.json"
    records = json.loads(path.read_text())
    del records["frame_000003"]
    del records["frame_000005"]["aligned_pose"]
    records["frame_000007"]["aligned_pose"] = (np.full((4, 4), -np.inf)).tolist()
    path.write_text(json.dumps(records))
    reader = open_scan(scan)
    assert reader.overview.invalid_poses == (3, 5, 7)
    assert reader.frame(3).depth_camera == reader.frame(2).depth_camera


def test_a_scan_without_depth_or_mesh_opens(scan: Path) -> None:
    """What is missing is said, and what is there is read."""
    (scan / "iphone" / "depth.bin").unlink()
    (scan / "scans" / "mesh_aligned_0.05.ply").unlink()
    overview = open_scan(scan).overview
    assert not overview.has_depth
    assert not overview.has_cloud
    assert overview.ground_truth is None
    assert any("no depth/ and no depth.bin" in s for s in overview.missing)


def test_fewer_depth_frames_than_images_are_counted(tmp_path: Path) -> None:
    """Frames after the last depth frame have colour only, where the packing tells their number."""
    scan = scannetpp(tmp_path / "s", packing="lz4")
    path = scan / "iphone" / "depth.bin"
    data, at = path.read_bytes(), 0
    for _ in range(FRAMES - 2):
        at += 4 + int.from_bytes(data[at : at + 4], "little")
    path.write_bytes(data[:at])
    reader = open_scan(scan)
    assert reader.frame(FRAMES - 3).depth_m is not None
    assert reader.frame(FRAMES - 1).depth_m is None
    assert any("depth of 2 frames" in s for s in reader.overview.missing)


def test_frames_with_a_zlib_header_are_read(tmp_path: Path) -> None:
    """A frame by itself may be deflated with a header or without; both give the same depth."""
    scans = [open_scan(scannetpp(tmp_path / packing, packing=packing)) for packing in ("zlib", "deflate")]
    headed, raw = (scan.frame(1).depth_m for scan in scans)
    assert headed is not None
    np.testing.assert_array_equal(headed, raw)


@pytest.mark.parametrize("packing", ["whole", "lz4"])
def test_cut_depth_is_refused(tmp_path: Path, packing: str) -> None:
    """A file that ends within a frame is an error that names it, at opening or when that frame is read."""
    scan = scannetpp(tmp_path / "s", packing=packing)
    path = scan / "iphone" / "depth.bin"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"depth\.bin: expected"):
        open_scan(scan).frame(FRAMES - 1)


def test_a_corrupt_frame_is_named(tmp_path: Path) -> None:
    """A frame of other bytes is an error; its neighbours are read."""
    scan = scannetpp(tmp_path / "s", packing="lz4")
    path = scan / "iphone" / "depth.bin"
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[:4], "little")
    data[4 : 4 + size] = b"\xff" * size
    path.write_bytes(bytes(data))
    reader = open_scan(scan)
    with pytest.raises(DataError, match=r"depth\.bin: expected frame 0 as an LZ4 block or a deflate stream"):
        reader.frame(0)
    reader.frame(1)


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda scan: (scan / name).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (write("iphone/pose_intrinsic_imu.json", ""), r"imu\.json: .*empty"),
        (write("iphone/pose_intrinsic_imu.json", "[]"), r"imu\.json: expected for each frame"),
        (write("iphone/pose_intrinsic_imu.json", "{}"), "expected intrinsics of frames such as frame_000000"),
        (
            write("iphone/pose_intrinsic_imu.json", '{"frame_000000": {}}'),
            r"imu\.json: expected for each frame",
        ),
        (write("iphone/depth.bin", "no depth"), r"depth\.bin: expected depth as one deflate stream"),
        (write("iphone/depth.bin", ""), r"depth\.bin: expected depth as one deflate stream"),
        (write("iphone/rgb.mkv", "no video"), r"rgb\.mkv: expected a video"),
        (lambda s: (s / "iphone" / "rgb.mkv").unlink(), r"expected colour in rgb/ or rgb\.mkv"),
    ],
)
def test_broken_files_are_refused(scan: Path, spoil: Callable[[Path], object], message: str) -> None:
    """Each file that is missing, empty, cut or wrong is an error that names it."""
    spoil(scan)
    with pytest.raises(DataError, match=message):
        open_scan(scan)


def test_segments_label_vertices(scan: Path) -> None:
    """Objects keep their ids, which count from 1, and categories go by their names."""
    overview = open_scan(scan).overview
    assert overview.ground_truth == scan / "scans" / "segments_anno.json"
    truth = load_truth(overview.ground_truth)
    assert truth.instances is not None
    assert truth.instances.tolist() == [(2001, 40002, 7003)[plane] for plane in plane_of_vertex()]
