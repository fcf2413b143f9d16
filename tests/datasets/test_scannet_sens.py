"""ScanNet's sensor files: streaming, bad input, memory; and the annotations of its scenes."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.annotations import load_truth
from my3dis.datasets.detect import open_scan
from my3dis.datasets.sens import SensFile
from my3dis.errors import DataError
from tests.datasets.miniatures import FRAMES, raw_scannet, room, scannet_corner, scannet_sens
from tests.datasets.miniatures.raw_scannet import plane_of_vertex, sens, sens_frame, sens_header


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return scannet_sens(tmp_path / "mini")


def test_the_file_alone_is_a_scan(scan: Path) -> None:
    """The file may be given instead of its folder; the mesh and annotations beside it are used."""
    reader = open_scan(scan / "mini.sens")
    assert (reader.overview.dataset, reader.overview.scene) == ("scannet_sens", "mini")
    assert reader.overview.has_cloud
    assert reader.overview.ground_truth == scan / "mini.aggregation.json"
    assert len(reader) == FRAMES
    assert reader.frame(10).name == "10"


def test_an_exported_scene_goes_before_its_sensor_file(tmp_path: Path) -> None:
    """Where both are, the exported images are read: they can be reached directly."""
    scan = scannet_corner(tmp_path / "mini")
    sens(scan / "mini.sens")
    assert open_scan(scan).overview.dataset == "scannet"
    assert open_scan(scan, "scannet_sens").overview.dataset == "scannet_sens"


def test_invalid_poses_are_counted(scan: Path) -> None:
    """Frames that were lost in reconstruction have -inf poses; they have none here."""
    lost = np.full((4, 4), -np.inf)
    sens(scan / "mini.sens", {2: lost, 10: np.zeros((4, 4))})
    reader = open_scan(scan)
    assert reader.overview.invalid_poses == (2, 10)
    assert reader.frame(2).world_from_camera is None
    assert reader.frame(3).world_from_camera is not None
    assert any("valid poses of 2 frames" in s for s in reader.overview.missing)
    sens(scan / "mini.sens", dict.fromkeys(range(FRAMES), lost))
    assert not open_scan(scan).overview.has_pose


def header(**changes: int) -> bytes:
    return sens_header(FRAMES, **{"color_kind": 2, "depth_kind": 1, **changes})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends in its version"),
        (b"\x04\0", "ends in its version"),
        (b"not a sensor file at all", "found version"),
        (header(version=3), "expected a .sens file of version 4, found version 3"),
        (header()[:200], "ends in its header"),
        (header(color_kind=7), "found compressions 7 and 1"),
        (header(depth_kind=2), "found compressions 2 and 2"),
        (struct.pack("<IQ", 4, 1 << 60), "expected a sensor's name"),
        (header(), "expected 12 frames, found .* too few"),
        (header()[:-12] + struct.pack("<fQ", 0, FRAMES), "expected depth steps per metre above 0"),
        (sens_header(0, color_kind=2, depth_kind=1), "expected frames, found none"),
    ],
)
def test_broken_headers_are_refused(scan: Path, data: bytes, message: str) -> None:
    """A file that is empty, of another kind or version, or has an impossible header is an error."""
    (scan / "mini.sens").write_bytes(data)
    with pytest.raises(DataError, match=message):
        open_scan(scan)


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.99])
def test_a_truncated_file_is_refused_when_it_is_opened(scan: Path, keep: float) -> None:
    """A file that ends within a frame is found before any work is done, and the frame is named."""
    path = scan / "mini.sens"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=r"mini\.sens: expected 12 frames, found"):
        open_scan(scan)


def rewritten(scan: Path, image: bytes | None = None, depth: bytes | None = None) -> None:
    """Write the file anew with other bytes in frame 3."""
    parts = [header()]
    for i in range(FRAMES):
        own = (
            raw_scannet.encoded(raw_scannet.color(i), ".jpg"),
            zlib.compress(raw_scannet.depth_mm(i).tobytes()),
        )
        chosen = [
            new if i == 3 and new is not None else old for new, old in zip((image, depth), own, strict=True)
        ]
        parts.append(sens_frame(room.pose(i), *chosen))
    (scan / "mini.sens").write_bytes(b"".join(parts))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"image": b""}, "frame 3: expected a colour image, found none of 0 bytes"),
        ({"image": b"noise"}, "frame 3: expected a colour image, found 5 bytes"),
        (
            {"image": raw_scannet.encoded(raw_scannet.color(0, 8, 8), ".jpg")},
            "expected 32x24 in frame 3.*8x8",
        ),
        ({"depth": b"noise"}, "frame 3: expected compressed depth, found corrupt data"),
        (
            {"depth": zlib.compress(bytes(10))},
            "frame 3: expected depth of 128x96, which is 24576 bytes, found 10",
        ),
        ({"depth": zlib.compress(bytes(30000))}, "frame 3: expected depth of 128x96.*found more"),
    ],
)
def test_broken_frames_are_named(scan: Path, spoil: dict[str, bytes], message: str) -> None:
    """Colour and depth that cannot be decoded or have another size are errors that name the frame."""
    rewritten(scan, **spoil)
    reader = open_scan(scan)
    reader.frame(2)
    with pytest.raises(DataError, match=message):
        reader.frame(3)
    reader.frame(4)


def test_a_frame_without_depth_has_none(scan: Path) -> None:
    """A frame whose depth has 0 bytes is read with colour only."""
    rewritten(scan, depth=b"")
    reader = open_scan(scan)
    assert reader.frame(3).depth_m is None
    assert reader.frame(4).depth_m is not None


def test_memory_does_not_follow_the_file(tmp_path: Path) -> None:
    """Indexing and reading a file of 40 MB holds less than 3 MB at any time."""
    noise = np.random.default_rng(0).integers(0, 255, 20_000, dtype=np.uint8).tobytes()
    image, depth = raw_scannet.encoded(raw_scannet.color(1), ".jpg"), raw_scannet.depth_mm(1).tobytes()
    frames = 2000
    with (tmp_path / "big.sens").open("wb") as file:
        file.write(sens_header(frames, color_kind=2, depth_kind=1))
        frame = sens_frame(room.pose(0), image + noise, zlib.compress(depth))
        for _ in range(frames):
            file.write(frame)
    tracemalloc.start()
    found = SensFile.index(tmp_path / "big.sens")
    for i in (0, 1000, 1999, 3):
        assert found.depth_m(i) is not None
        assert found.color(i).shape == (24, 32, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == frames
    assert peak < 3_000_000


def test_scannet_segments_label_vertices(scan: Path) -> None:
    """An object's id is one more than in the file, and categories become NYU40 numbers by their names."""
    truth = load_truth(scan / "mini.aggregation.json")
    assert truth.instances is not None
    assert truth.structural is not None
    expected = [(2001, 3002, 40003)[plane] for plane in plane_of_vertex()]
    assert truth.instances.tolist() == expected
    assert truth.structural.tolist() == [v == 2001 for v in expected]
    assert truth.structural_objects == frozenset({1})
    assert truth.parts is None


def test_the_table_of_categories_is_used_where_it_is(scan: Path) -> None:
    """With the data set's table in a folder above, "office chair" is a chair."""
    table = "id\traw_category\tcategory\tnyu40id\n1\tfloor\tfloor\t2\n2\toffice chair\tchair\t5\n9\tx\tx\t\n"
    (scan.parent / "scannetv2-labels.combined.tsv").write_text(table)
    truth = load_truth(scan / "mini.aggregation.json")
    assert truth.instances is not None
    assert set(truth.instances.tolist()) == {2001, 3002, 5003}
    (scan.parent / "scannetv2-labels.combined.tsv").write_text("no\ttable\n1\t2\n")
    with pytest.raises(DataError, match=r"combined\.tsv: expected columns"):
        load_truth(scan / "mini.aggregation.json")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: (s / "mini_vh_clean_2.0.010000.segs.json").unlink(), "expected .*segs.json beside"),
        (lambda s: (s / "mini_vh_clean_2.0.010000.segs.json").write_text(""), "segs.json: expected segments"),
        (lambda s: (s / "mini_vh_clean_2.0.010000.segs.json").write_text('{"segIndices": [0.5]}'), "float64"),
        (lambda s: (s / "mini.aggregation.json").write_text('{"segGroups": [{}]}'), "expected objects in"),
        (
            lambda s: (s / "mini.aggregation.json").write_text(
                '{"segGroups": [{"objectId": 1000, "label": "x", "segments": [7]}]}'
            ),
            "expected object ids up to 999, found 1001",
        ),
        (
            lambda s: (s / "mini.aggregation.json").write_text(
                '{"segGroups": [{"objectId": -1, "label": "x", "segments": [7]}]}'
            ),
            "counted up from the first",
        ),
    ],
)
def test_broken_annotations_are_refused(scan: Path, spoil: Callable[[Path], object], message: str) -> None:
    """Segments or objects that are missing, cut or impossible are errors that name the file."""
    spoil(scan)
    with pytest.raises(DataError, match=message):
        load_truth(scan / "mini.aggregation.json")
