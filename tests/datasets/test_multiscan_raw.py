"""MultiScan as downloaded: streams, bad input, memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from my3dis.datasets.detect import open_scan
from my3dis.datasets.inflate import DeflateFrames
from my3dis.errors import DataError
from tests.datasets.miniatures import FRAMES, HEIGHT, WIDTH, multiscan_raw, room
from tests.datasets.miniatures.raw_multiscan import metadata, raw_deflate


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return multiscan_raw(tmp_path / "mini")


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


@pytest.mark.parametrize("ios", [True, False])
def test_depth_of_low_confidence_is_left_out(tmp_path: Path, ios: bool) -> None:
    """Of three levels the best is kept, of 256 the upper half; the overview says so."""
    scan = multiscan_raw(tmp_path / "mini", ios=ios)
    depth = open_scan(scan).frame(3).depth_m
    assert depth is not None
    assert not depth[0].any()
    assert depth[1:].all()
    least = "2 of 2" if ios else "128 of 255"
    assert any(f"below {least} are left out" in s for s in open_scan(scan).overview.found)
    (scan / "mini.confidence.zlib").unlink()
    reader = open_scan(scan)
    depth = reader.frame(3).depth_m
    assert depth is not None
    assert depth.all()
    assert any("whatever its confidence" in s for s in reader.overview.missing)


def test_time_stamps_are_seconds(scan: Path) -> None:
    """Nanoseconds of the cameras file become seconds."""
    assert open_scan(scan).frame(6).timestamp_s == pytest.approx(81.1, abs=1e-6)


def test_readings_that_are_no_number_are_none(tmp_path: Path) -> None:
    """Half-precision inf, nan and negative depth count as no reading."""
    scan = multiscan_raw(tmp_path / "mini")
    values = np.full((FRAMES, 96, 128), 1.5, "<f2")
    values[:, 5, :4] = np.inf, np.nan, -1, 0
    (scan / "mini.depth.zlib").write_bytes(raw_deflate(values.tobytes()))
    depth = open_scan(scan).frame(2).depth_m
    assert depth is not None
    assert depth[5, :5].tolist() == [0, 0, 0, 0, 1.5]


def test_fewer_frames_in_one_stream_are_counted(scan: Path) -> None:
    """The smallest number of frames is used, and the difference is said."""
    meta = metadata()
    meta["streams"][1]["number_of_frames"] = FRAMES - 2  # type: ignore[index]
    (scan / "mini.json").write_text(json.dumps(meta))
    reader = open_scan(scan)
    assert len(reader) == FRAMES - 2
    assert any("announces 10 frames, the video has 12" in s for s in reader.overview.missing)


def test_fewer_cameras_than_frames_leave_frames_without_pose(scan: Path) -> None:
    """Frames beyond the last line of cameras are read without a pose and counted."""
    path = scan / "mini.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    reader = open_scan(scan)
    assert len(reader) == FRAMES
    assert reader.overview.invalid_poses == (9, 10, 11)
    assert reader.frame(11).world_from_camera is None
    assert reader.frame(11).depth_m is not None
    assert any("valid poses of 3 frames" in s for s in reader.overview.missing)


@pytest.mark.parametrize("bad", ["Infinity", "NaN", "null", "0"])
def test_invalid_poses_are_counted(scan: Path, bad: str) -> None:
    """A pose with inf, nan, null or zeros is none, as in exported ScanNet scenes."""
    lines = (scan / "mini.jsonl").read_text().splitlines()
    line = json.loads(lines[4])
    line["transform"] = "XX"
    lines[4] = json.dumps(line).replace('"XX"', "[" + ", ".join([bad] * 16) + "]")
    (scan / "mini.jsonl").write_text("\n".join(lines) + "\n")
    reader = open_scan(scan)
    assert reader.overview.invalid_poses == (4,)
    assert reader.frame(4).world_from_camera is None
    assert reader.frame(5).world_from_camera is not None


def test_matrices_are_divided_by_their_last_element(scan: Path) -> None:
    """A pose whose last element is 2 is the same pose when divided by it."""
    lines = [json.loads(line) for line in (scan / "mini.jsonl").read_text().splitlines()]
    for line in lines:
        line["transform"] = [2 * value for value in line["transform"]]
    (scan / "mini.jsonl").write_text("\n".join(map(json.dumps, lines)))
    pose = open_scan(scan).frame(7).world_from_camera
    assert pose is not None
    assert np.allclose(pose, room.pose(7))


def test_without_alignment_the_mesh_is_not_used(scan: Path) -> None:
    """Poses stay in the cameras' world, and the mesh and its annotations are left out, which is said."""
    (scan / "mini.align.json").unlink()
    reader = open_scan(scan)
    assert reader.overview.is_posed_rgbd
    assert not reader.overview.has_cloud
    assert reader.cloud() is None
    assert reader.overview.ground_truth is None
    assert any("where the mesh lies is not known" in s for s in reader.overview.missing)


def test_without_depth_colour_and_poses_remain(scan: Path) -> None:
    """A scan whose depth was not downloaded opens, and lifting is said to be skipped."""
    (scan / "mini.depth.zlib").unlink()
    reader = open_scan(scan)
    assert not reader.overview.has_depth
    assert reader.frame(1).depth_m is None
    assert any("mini.depth.zlib: lift and evaluate are skipped" in s for s in reader.overview.missing)


def test_intrinsics_follow_the_size_of_the_video(scan: Path) -> None:
    """A video of half the stated size gets intrinsics of half the size; one of another shape is refused."""
    for factor, fits in ((2, True), (1, False)):
        meta = metadata()
        meta["streams"][0]["resolution"] = [factor * HEIGHT, 2 * WIDTH]  # type: ignore[index]
        (scan / "mini.json").write_text(json.dumps(meta))
        if not fits:
            with pytest.raises(DataError, match=r"mini\.mp4: expected frames shaped like 64x24.*found 32x24"):
                open_scan(scan)
            continue
        camera = open_scan(scan).frame(0).color_camera
        assert camera is not None
        assert (camera.width, camera.fx) == (WIDTH, 0.8 * WIDTH / 2)


def write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda scan: (scan / name).write_bytes(data) and None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: (s / "mini.json").unlink(), r"mini\.json: expected metadata"),
        (write("mini.json", b""), r"mini\.json: expected metadata.*empty"),
        (write("mini.json", b'{"streams": []}'), r"mini\.json: expected metadata"),
        (write("mini.json", json.dumps({**metadata(), "depth_unit": "ft"}).encode()), "depth_unit.*'ft'"),
        (write("mini.jsonl", b""), r"mini\.jsonl: expected a camera a line, found none"),
        (write("mini.jsonl", b"{}\n"), r"mini\.jsonl: expected a camera a line.*line 1"),
        (lambda s: cut(s / "mini.jsonl", 0.5), r"mini\.jsonl: expected a camera a line.*line"),
        (write("mini.align.json", b"{}"), r"mini\.align\.json: expected an alignment"),
        (
            write("mini.align.json", json.dumps({"coordinate_transform": [0] * 16}).encode()),
            "expected a rotation with a translation",
        ),
        (write("mini.mp4", b"no video"), r"mini\.mp4: expected a video"),
        (lambda s: (s / "mini.mp4").write_bytes(b""), r"mini\.mp4: expected a video"),
    ],
)
def test_broken_members_are_refused(scan: Path, spoil: Callable[[Path], None], message: str) -> None:
    """Each file that is missing, empty, cut or wrong is an error that names it."""
    spoil(scan)
    with pytest.raises(DataError, match=message):
        open_scan(scan, "multiscan_raw")


def test_a_folder_without_the_pair_is_refused(tmp_path: Path) -> None:
    """When asked for by name, the layout says what it needs."""
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match=r"expected a video and its cameras"):
        open_scan(tmp_path, "multiscan_raw")


@pytest.mark.parametrize("name", ["mini.depth.zlib", "mini.confidence.zlib"])
def test_a_truncated_stream_is_read_as_far_as_it_goes(scan: Path, name: str) -> None:
    """Frames before the cut are read; the first beyond it is an error that says how many there are."""
    cut(scan / name, 0.5)
    reader = open_scan(scan)
    reader.frame(0)
    with pytest.raises(
        DataError, match=rf"{name}: expected frame \d+, found that the stream ends.*whole frames"
    ):
        for i in range(FRAMES):
            reader.frame(i)
    reader.frame(0)


def test_a_corrupt_stream_is_refused(scan: Path) -> None:
    """A stream of other bytes is an error, not a picture of noise."""
    (scan / "mini.depth.zlib").write_bytes(b"\xff" * 500)
    with pytest.raises(DataError, match=r"mini\.depth\.zlib: expected a deflate stream"):
        open_scan(scan).frame(0)
    (scan / "mini.depth.zlib").write_bytes(b"")
    with pytest.raises(DataError, match=r"mini\.depth\.zlib: expected frame 0, found that the stream ends"):
        open_scan(scan).frame(0)


def test_a_turned_video_comes_as_the_sensor_saw_it(tmp_path: Path) -> None:
    """A mark that asks players to turn the picture does not turn it: depth is not turned either."""
    scan = multiscan_raw(tmp_path / "mini")
    path = scan / "mini.mp4"
    data = path.read_bytes()
    # The track header holds a 3x3 matrix of 16.16 and 2.30 numbers; this is a turn by 90 degrees.
    plain = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    turned = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4").tobytes()
    at = data.index(plain, data.index(b"tkhd"))
    path.write_bytes(data[:at] + turned + data[at + len(plain) :])
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert capture.read()[1].shape[:2] == (WIDTH, HEIGHT)
    capture.release()
    assert open_scan(scan).frame(2).image_size == (HEIGHT, WIDTH)


def stream(path: Path, frames: int, size: int) -> None:
    rng = np.random.default_rng(0)
    block = rng.integers(0, 40, size, dtype=np.uint8)
    with path.open("wb") as file:
        import zlib

        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        for i in range(frames):
            file.write(packer.compress(np.roll(block, i).tobytes()))
        file.write(packer.flush())


def test_memory_of_a_long_stream_is_flat(tmp_path: Path) -> None:
    """Reading 24 MB of frames forwards, backwards and at random holds under 4 MB, decoders included."""
    frames, size = 1500, 16_000
    stream(tmp_path / "s", frames, size)
    expected = np.random.default_rng(0).integers(0, 40, size, dtype=np.uint8)
    reader = DeflateFrames(tmp_path / "s", size)
    tracemalloc.start()
    order = [*range(0, frames, 10), *range(frames - 1, 0, -100), 700, 3, 1499]
    for i in order:
        assert np.array_equal(np.frombuffer(reader.read(i), np.uint8), np.roll(expected, i))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reader.places <= 64
    assert peak < 4_000_000


def test_reading_in_order_inflates_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In ascending order each frame is inflated once, and a step back starts at the last copy before it."""
    stream(tmp_path / "s", 400, 1000)
    reader = DeflateFrames(tmp_path / "s", 1000)
    done: list[int] = []
    original = DeflateFrames._inflate
    monkeypatch.setattr(
        DeflateFrames, "_inflate", lambda *a, **k: (done.append(a[1].frame), original(*a, **k))[1]
    )
    for i in range(400):
        reader.read(i)
    assert done == list(range(400))
    done.clear()
    reader.read(250)
    assert len(done) <= 16


def test_a_stream_with_a_zlib_header_is_read(tmp_path: Path) -> None:
    """The same frames packed with a zlib header come out the same."""
    import zlib

    (tmp_path / "s").write_bytes(zlib.compress(bytes(range(250)) * 4))
    assert DeflateFrames(tmp_path / "s", 100).read(3) == (bytes(range(250)) * 4)[300:400]
