"""Inspection: what is in an archive, for people and for programs."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from my3dis import __version__
from my3dis.archive import StreamingSegmentWriter, format_summary, inspect
from my3dis.types import MaskSet
from tests.archive.make import archive, masks


def test_the_summary_says_what_is_there(tmp_path: Path) -> None:
    """Counts per level, tracks, sizes and the reasons of dropped masks are summed up."""
    path = tmp_path / "a.my3dis"
    archive(path)
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(20, MaskSet.empty(20, (8, 9)))
        writer.record_dropped(20, [1, 2, 3], [2, 4, 4], ["stability", "min_area", "min_area"])
    summary = inspect(path)
    assert (summary.frames, summary.first_frame, summary.last_frame, summary.masks) == (4, 3, 20, 12)
    assert summary.levels == ((2, 6), (4, 6))
    # Tracks 11 and 12 are at level 2, track 10 at level 4.
    assert summary.tracks == ((2, 2), (4, 1))
    assert summary.image_sizes == ((8, 9, 1), (24, 36, 3))
    assert summary.dropped == (("min_area", 2), ("stability", 1))
    assert (summary.purpose, summary.stage_digest, summary.finished) == ("tracks", "abc", True)
    assert summary.bytes == path.stat().st_size
    assert summary.bytes_per_mask == path.stat().st_size / 12
    text = format_summary(summary)
    for line in (
        "frames        4 (3..20)",
        "by level      6 at level 2, 6 at level 4",
        "dropped       2 min_area, 1 stability",
        "image size    9x8 (1 frames), 36x24 (3 frames)",
        f"written by    my3dis {__version__}, format 1",
        "state         finished",
    ):
        assert line in text.splitlines()


def test_json_has_the_frame_index(tmp_path: Path) -> None:
    """The JSON form holds every row of frame_index as the table has it."""
    path = tmp_path / "a.my3dis"
    archive(path)
    record = json.loads(inspect(path).to_json())
    db = sqlite3.connect(path)
    rows = db.execute("SELECT frame, level, first_row, n FROM frame_index ORDER BY frame, level").fetchall()
    db.close()
    assert [tuple(row.values()) for row in record["frame_index"]] == rows
    assert rows[0] == (3, 2, 1, 2)
    assert record["levels"] == [{"level": 2, "masks": 6}, {"level": 4, "masks": 6}]
    assert record["path"] == str(path)


def test_an_archive_in_use_and_an_empty_one(tmp_path: Path) -> None:
    """Inspection works beside a writer and on an archive without masks."""
    with StreamingSegmentWriter(tmp_path / "a.my3dis") as writer:
        empty = inspect(tmp_path / "a.my3dis")
        assert (empty.frames, empty.first_frame, empty.bytes_per_mask) == (0, None, None)
        assert "not closed by its writer" in format_summary(empty)
        writer.append_frame(0, masks(0))
        assert inspect(tmp_path / "a.my3dis").masks == 3
