"""One row per mask: read back with pandas and pyarrow, pixels with pycocotools, all equal to the archive."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from my3dis.archive import StreamingSegmentWriter
from my3dis.errors import ArchiveError, DataError, PluginError, ResourceError
from my3dis.exporters import parquet
from my3dis.masks import codec
from my3dis.plugins import exporter, names
from tests.archive import make


def run_folder(folder: Path) -> Path:
    make.archive(folder / "tracks.my3dis")
    make.archive(folder / "candidates.my3dis", frames=(3, 5, 9, 11))
    return folder


def test_every_mask_is_a_row(tmp_path: Path) -> None:
    """Every column of every mask reads back equal, in the order frame, level, mask id."""
    expected = make.archive(tmp_path / "tracks.my3dis")
    assert exporter("parquet").export(tmp_path, tmp_path / "out.parquet") == (tmp_path / "out.parquet",)
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert list(table["frame"]) == [frame for frame, masks in expected.items() for _ in range(len(masks))]
    for frame, masks in expected.items():
        rows = table[table["frame"] == frame]
        for name in ("level", "mask_id", "track_id", "parent_id", "area_px", "score", "stability", "source"):
            np.testing.assert_array_equal(rows[name], getattr(masks, name), err_msg=name)
            assert rows[name].dtype == getattr(masks, name).dtype
        np.testing.assert_array_equal(rows[["x0", "y0", "x1", "y1"]], masks.boxes)
        assert tuple(rows["rle"]) == masks.rle
        assert set(zip(rows["height"], rows["width"], strict=True)) == {masks.image_size}


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # inside pycocotools
def test_codes_are_plain_coco_counts(tmp_path: Path) -> None:
    """The pixels come out of pycocotools, also of codes that the archive stores packed."""
    size = (200, 300)
    pixels = np.random.default_rng(1).random(size) > 0.5
    rle = codec.encode(pixels)
    boxes, areas = codec.measure([rle], size)
    small = make.masks(0, (0,), size=size)
    one = type(small)(
        **{name: getattr(small, name) for name in ("frame", "image_size", "mask_id", "level", "parent_id")},
        **{name: getattr(small, name) for name in ("score", "stability", "source", "track_id")},
        boxes=boxes,
        area_px=areas,
        rle=(rle,),
    )
    with StreamingSegmentWriter(tmp_path / "masks.my3dis", purpose="masks") as writer:
        writer.append_frame(0, one)
    parquet.export(tmp_path, tmp_path / "a.parquet")
    row = pd.read_parquet(tmp_path / "a.parquet").iloc[0]
    decoded = coco.decode({"size": [int(row["height"]), int(row["width"])], "counts": row["rle"]})
    np.testing.assert_array_equal(decoded.astype(bool), pixels)


def test_a_folder_gets_a_file_for_every_archive(tmp_path: Path) -> None:
    """Without the suffix, each archive that the run has becomes a file of its name."""
    written = parquet.export(run_folder(tmp_path), tmp_path / "out")
    assert [path.name for path in written] == ["tracks.parquet", "candidates.parquet"]
    assert [pq.read_metadata(path).num_rows for path in written] == [12, 16]
    about = pq.read_schema(written[0]).metadata
    assert (about[b"my3dis.purpose"], about[b"my3dis.finished"]) == (b"tracks", b"true")
    assert "parquet" in names("exporters")


def test_rows_are_written_a_few_frames_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of rows ends as soon as it is full, so memory does not grow with the number of frames."""
    make.archive(tmp_path / "tracks.my3dis", frames=range(20))
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 8)
    parquet.export(tmp_path, tmp_path / "a.parquet")
    about = pq.read_metadata(tmp_path / "a.parquet")
    assert [about.row_group(i).num_rows for i in range(about.num_row_groups)] == [8] * 10


def test_an_archive_without_masks_gives_an_empty_table(tmp_path: Path) -> None:
    """No mask at all is a table with all columns and no row."""
    with StreamingSegmentWriter(tmp_path / "tracks.my3dis", purpose="tracks") as writer:
        writer.append_frame(0, make.masks(0, ()))
    parquet.export(tmp_path, tmp_path / "a.parquet")
    table = pd.read_parquet(tmp_path / "a.parquet")
    assert (len(table), len(table.columns)) == (0, 16)


def test_a_run_without_archives_is_refused(tmp_path: Path) -> None:
    """A folder without any archive names what was expected."""
    with pytest.raises(DataError, match="expected tracks"):
        parquet.export(tmp_path, tmp_path / "a.parquet")


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the error says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(PluginError, match=r"my3dis\[parquet\]"):
        parquet.export(run_folder(tmp_path), tmp_path / "a.parquet")


def test_a_damaged_archive_leaves_no_file(tmp_path: Path) -> None:
    """What was written before the damage was met does not stay behind looking whole."""
    path = run_folder(tmp_path) / "tracks.my3dis"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE masks SET rle = CAST('1' AS BLOB) WHERE frame = 9 AND mask_id = 3")
    with pytest.raises(ArchiveError, match="frame 9, mask"):
        parquet.export(tmp_path, tmp_path / "out" / "a.parquet")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in the place of the folder is an error that names the path."""
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(ResourceError, match="cannot write"):
        parquet.export(run_folder(tmp_path), tmp_path / "out" / "a.parquet")
