"""Every data set plug-in keeps the promises of `SceneReader`, on a tiny scan written here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.detect import built_in_plugins, open_scan
from my3dis.errors import DataError
from my3dis.protocols import SceneReader
from my3dis.types import Frame
from tests.datasets.miniatures import FRAMES, HEIGHT, WIDTH, WRITERS

NAMES = [name for name, _ in built_in_plugins()]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def scan(name: str, tmp_path: Path) -> Path:
    return WRITERS[name](tmp_path / "mini")


@pytest.fixture
def reader(name: str, scan: Path) -> SceneReader:
    return open_scan(scan, name)


def input_file(scan: Path) -> Path:
    if scan.is_file():
        return scan
    kinds = (".png", ".jpg", ".mp4", ".sens", ".mkv")
    return min(p for p in scan.rglob("*") if p.is_file() and p.suffix in kinds)


def test_every_plugin_has_a_miniature() -> None:
    """No reader escapes the contract."""
    assert set(NAMES) == set(WRITERS)


def test_auto_recognises_the_layout(name: str, scan: Path) -> None:
    """``auto`` finds the layout that the scan was written in."""
    assert open_scan(scan).overview.dataset == name


def test_frames_come_in_numeric_order(reader: SceneReader) -> None:
    """Frame 10 comes after frame 9, and each frame knows its place."""
    assert len(reader) == FRAMES
    for i in range(FRAMES):
        frame = reader.frame(i)
        assert isinstance(frame, Frame)
        assert frame.index == i
        assert abs(int(frame.color[12, 16, 0]) - (10 * i + 5)) <= 8  # videos are lossy
    assert len({reader.frame(i).name for i in range(FRAMES)}) == FRAMES


def test_frames_can_be_read_in_any_order(reader: SceneReader) -> None:
    """Reading backwards or repeatedly gives the same pictures as reading forwards."""
    forwards = [reader.frame(i).color.copy() for i in range(FRAMES)]
    for i in (7, 7, 3, 11, 0, 10):
        assert np.array_equal(reader.frame(i).color, forwards[i])


def test_the_overview_says_what_frames_have(reader: SceneReader) -> None:
    """Depth, pose and cloud are promised exactly where they are delivered."""
    overview, frame = reader.overview, reader.frame(1)
    assert overview.frame_count == len(reader)
    assert overview.image_size == frame.image_size == (HEIGHT, WIDTH)
    assert overview.has_depth == (frame.depth_m is not None) == (frame.depth_camera is not None)
    assert overview.has_pose == (frame.world_from_camera is not None)
    assert overview.has_cloud == (reader.cloud() is not None)
    assert overview.found
    assert overview.is_posed_rgbd or any("skipped" in sentence for sentence in overview.missing)
    assert overview.scene == ("clip" if overview.dataset == "video" else "mini")


def test_frames_out_of_range_are_refused(reader: SceneReader) -> None:
    """An index outside the scan is an error that names the range."""
    for index in (-1, FRAMES):
        with pytest.raises(DataError, match=rf"0\.\.{FRAMES - 1}, found {index}"):
            reader.frame(index)


def test_the_fingerprint_follows_the_input(reader: SceneReader, scan: Path, name: str) -> None:
    """The digest is the same for the same files and another one after a change of any."""
    first = reader.fingerprint()
    assert first == reader.fingerprint() == open_scan(scan, name).fingerprint()
    changed = input_file(scan)
    status = changed.stat()
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    assert open_scan(scan, name).fingerprint() != first


def test_no_file_stays_open(reader: SceneReader) -> None:
    """Reading frames opens files and closes them, but for the one decoder of a video."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("open files are counted in /proc, which is Linux")
    reader.frame(0)
    before = len(list(folder.iterdir()))
    for i in range(FRAMES):
        reader.frame(i)
    reader.cloud()
    assert len(list(folder.iterdir())) <= before
