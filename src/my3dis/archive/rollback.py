"""Take an archive back to how it was at an earlier row, so that work can go on from there."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from my3dis.archive.rows import frame_crc
from my3dis.errors import ArchiveError

__all__ = ["Mark", "mark_of", "roll_back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A state of an archive whose frames are appended in ascending order.

    Attributes:
        row: last row of ``masks``, 0 = none.
        frame: last frame, -1 = none.
    """

    row: int
    frame: int


def mark_of(db: sqlite3.Connection) -> Mark:
    """Return the mark of the archive as it is."""
    row = db.execute("SELECT coalesce(max(row), 0) FROM masks").fetchone()[0]
    frame = db.execute("SELECT coalesce(max(frame), -1) FROM frames").fetchone()[0]
    return Mark(row=row, frame=frame)


def roll_back(db: sqlite3.Connection, mark: Mark, path: Path) -> None:
    """Delete what was appended since a mark, inside a transaction of the caller; labels of tracks stay.

    Raises:
        ArchiveError: if the archive ends before the mark.
    """
    found = mark_of(db)
    if found.row < mark.row or found.frame < mark.frame:
        raise ArchiveError(
            f"expected row {mark.row} and frame {mark.frame} in {path}, found it to end at row {found.row} "
            f"and frame {found.frame}"
        )
    gone = db.execute(
        "SELECT frame, level, count(*) FROM masks WHERE row > ? GROUP BY frame, level", (mark.row,)
    ).fetchall()
    db.execute("DELETE FROM masks WHERE row > ?", (mark.row,))
    db.execute("DELETE FROM frame_index WHERE first_row > ? OR frame > ?", (mark.row, mark.frame))
    db.execute("DELETE FROM frames WHERE frame > ?", (mark.frame,))
    for frame, level, n in gone:
        db.execute("UPDATE frame_index SET n = n - ? WHERE frame = ? AND level = ?", (n, frame, level))
        db.execute("UPDATE frames SET n = n - ? WHERE frame = ?", (n, frame))
    for frame in {frame for frame, _, _ in gone}:
        head = db.execute("SELECT height, width, n FROM frames WHERE frame = ?", (frame,)).fetchone()
        if head is not None:
            db.execute("UPDATE frames SET crc32 = ? WHERE frame = ?", (frame_crc(frame, *head), frame))
    db.execute("UPDATE meta SET value = (SELECT count(*) FROM frames) WHERE key = 'frames'")
