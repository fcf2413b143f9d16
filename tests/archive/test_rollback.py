"""An archive taken back to a mark is the archive of that moment, to the last row."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from my3dis.archive import Mark, StreamingSegmentWriter, verify
from my3dis.errors import ArchiveError
from tests.archive.make import masks


def rows(path: Path) -> list[list[tuple[object, ...]]]:
    db = sqlite3.connect(path)
    found = [
        db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
        for name in ("meta", "frames", "masks", "frame_index")
    ]
    db.close()
    return found


def append(writer: StreamingSegmentWriter, frame: int) -> None:
    """Append a frame of two levels, and now and then masks of an earlier one or none at all."""
    writer.append_frame(
        frame, masks(frame, () if frame == 3 else (0, 1, 2), levels=[] if frame == 3 else [2, 4, 2])
    )
    if frame in (2, 5):
        writer.append_frame(1, masks(1, (10 + frame, 20 + frame), levels=[2, 6]))


@pytest.mark.parametrize("journal", ["wal", "rollback"])
@pytest.mark.parametrize("at", range(7))
def test_rolled_back_is_as_it_was(tmp_path: Path, at: int, journal: str) -> None:
    """Whatever came after, late masks of earlier frames and empty frames included, is gone; work goes on."""
    for name, total in (("short", at), ("whole", 7), ("long", 7)):
        with StreamingSegmentWriter(tmp_path / name, purpose="tracks", journal=journal) as writer:  # type: ignore[arg-type]
            for frame in range(total):
                if name == "long" and frame == at:
                    mark = writer.mark()
                append(writer, frame)
    with StreamingSegmentWriter(tmp_path / "long", journal=journal) as writer:  # type: ignore[arg-type]
        writer.roll_back(mark)
    assert rows(tmp_path / "long") == rows(tmp_path / "short")
    assert verify(tmp_path / "long").ok
    with StreamingSegmentWriter(tmp_path / "long", journal=journal) as writer:  # type: ignore[arg-type]
        for frame in range(at, 7):
            append(writer, frame)
    assert rows(tmp_path / "long") == rows(tmp_path / "whole")


def test_a_mark_beyond_the_end_is_refused(tmp_path: Path) -> None:
    """An archive that lost rows since the mark is told, and is left as it is."""
    path = tmp_path / "a"
    with StreamingSegmentWriter(path) as writer:
        append(writer, 0)
    before = rows(path)
    with StreamingSegmentWriter(path) as writer:
        for mark in (Mark(row=4, frame=0), Mark(row=3, frame=1)):
            with pytest.raises(ArchiveError, match=f"expected row {mark.row} and frame {mark.frame} in"):
                writer.roll_back(mark)
    assert rows(path) == before
