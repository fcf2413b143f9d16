"""Take stock of a damaged archive: which masks are sound, where they lie, and which are lost."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from my3dis.archive.connect import translated
from my3dis.archive.pages import USUAL_PAGE_SIZE, Image, PageFile
from my3dis.archive.records import heads_in, keys_in, mask_at, masks_in

__all__ = ["FrameStock", "Survey"]

# Ranks of the states in which a row is found; the lowest counts.
_LISTED, _UNLISTED, _OLDER = 0, 1, 2

_TABLES = (
    "CREATE TABLE sound (frame, mask_id, rank, file, page, at, row, PRIMARY KEY (frame, mask_id)) "
    "WITHOUT ROWID",
    "CREATE TABLE heads (frame INTEGER PRIMARY KEY, height, width, n, rank)",
    "CREATE TABLE named (frame, mask_id, row, PRIMARY KEY (frame, mask_id, row)) WITHOUT ROWID",
)
_PUT_SOUND = (
    "INSERT INTO sound VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (frame, mask_id) DO UPDATE SET "
    "rank = excluded.rank, file = excluded.file, page = excluded.page, at = excluded.at, row = excluded.row "
    "WHERE excluded.rank < rank"
)
# Of older states the one with most masks is the newest: frames only gain masks.
_PUT_HEAD = (
    "INSERT INTO heads VALUES (?, ?, ?, ?, ?) ON CONFLICT (frame) DO UPDATE SET height = excluded.height, "
    "width = excluded.width, n = excluded.n, rank = excluded.rank "
    "WHERE excluded.rank < rank OR (excluded.rank = rank AND excluded.n > n)"
)
_LOST_OF_FRAME = (
    "SELECT DISTINCT mask_id FROM named WHERE frame = ? "
    "AND NOT EXISTS (SELECT 1 FROM sound WHERE sound.frame = named.frame AND sound.mask_id = named.mask_id) "
    "AND NOT EXISTS (SELECT 1 FROM sound WHERE sound.row = named.row) ORDER BY mask_id"
)


@dataclass(frozen=True, slots=True)
class FrameStock:
    """What is left of a frame.

    Attributes:
        frame: index of the frame.
        image_size: height and width, or None if no sound row tells them.
        n_sound: number of sound masks.
        n: how many masks the frame had, or None if the row that tells it is lost.
        lost: ids of lost masks as far as some row or index still names them, ascending, at most 100.
    """

    frame: int
    image_size: tuple[int, int] | None
    n_sound: int
    n: int | None
    lost: tuple[int, ...]

    @property
    def n_lost(self) -> int:
        """How many masks are lost for certain."""
        return len(self.lost) if self.n is None else max(self.n - self.n_sound, 0)


class Survey:
    """Where the sound rows of an archive lie, in a temporary database on disk; a context manager.

    Reads the pages themselves: a row counts as sound if all its bytes fit its checksum, whether or not SQLite
    still finds a way to it. Of several stored states of a row the newest is taken. Memory is bounded.

    Raises:
        ArchiveError: if the file cannot be read.
        ResourceError: if the disk for temporary files is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = PageFile(path)
        self._db = sqlite3.connect("", isolation_level=None)
        try:
            with translated(path):
                self._take_stock()
                if self._file.page_size != USUAL_PAGE_SIZE:
                    self._try_usual_page_size()
        except BaseException:
            self.close()
            raise

    def _take_stock(self) -> None:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2048"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("BEGIN")
        for statement in _TABLES:
            self._db.execute(statement)
        for image in self._file.images():
            self._read(image)
        self._db.execute("CREATE INDEX sound_rows ON sound (row)")
        self._db.execute("COMMIT")

    def _try_usual_page_size(self) -> None:
        """Look again with the page size that archives have, in case the one in the file is damage."""
        other = Survey.__new__(Survey)
        other.path, other._file = self.path, PageFile(self.path, USUAL_PAGE_SIZE)
        other._db = sqlite3.connect("", isolation_level=None)
        try:
            other._take_stock()
            if other.n_sound > self.n_sound:
                self._file, other._file = other._file, self._file
                self._db, other._db = other._db, self._db
        finally:
            other.close()

    def _read(self, image: Image) -> None:
        page = self._file.content(image)
        listed, rows = masks_in(page, functools.partial(self._file.overflow, image))
        for row in rows:
            is_listed = row.rowid is not None
            if row.columns is None:
                if image.is_current:
                    self._name(row.frame, row.mask_id, row.rowid or 0)
            elif is_listed or not listed.is_sound:
                # What a sound list leaves out was deleted or moved.
                rank = _OLDER if not image.is_current else _LISTED if is_listed else _UNLISTED
                place = (image.file, image.offset, row.at)
                self._db.execute(_PUT_SOUND, (row.frame, row.mask_id, rank, *place, row.rowid))
        for head in heads_in(page):
            rank = _OLDER if not image.is_current else _LISTED if head.is_listed else _UNLISTED
            self._db.execute(_PUT_HEAD, (head.frame, head.height, head.width, head.n, rank))
        if image.is_current:
            for key in keys_in(page):
                self._name(*key)

    def _name(self, frame: int, mask_id: int, row: int) -> None:
        if 0 <= frame < 2**31 and 0 <= mask_id < 2**31:
            self._db.execute("INSERT OR IGNORE INTO named VALUES (?, ?, ?)", (frame, mask_id, row))

    @property
    def n_sound(self) -> int:
        """Number of sound masks."""
        return int(self._db.execute("SELECT count(*) FROM sound").fetchone()[0])

    def frames(self) -> Iterator[FrameStock]:
        """Yield what is left of every frame of which anything is left, ascending."""
        frame = -1
        while True:
            sql = "SELECT min(frame) FROM (SELECT min(frame) AS frame FROM {} WHERE frame > ?)"
            following = [
                self._db.execute(sql.format(table), (frame,)).fetchone()[0] for table in ("sound", "heads")
            ]
            known = [value for value in following if value is not None]
            if not known:
                return
            frame = min(known)
            yield self._stock(frame)

    def _stock(self, frame: int) -> FrameStock:
        head = self._db.execute("SELECT height, width, n FROM heads WHERE frame = ?", (frame,)).fetchone()
        (found,) = self._db.execute("SELECT count(*) FROM sound WHERE frame = ?", (frame,)).fetchone()
        lost: list[tuple[int]] = []
        if head is None or head[2] > found:
            most = 100 if head is None else min(100, head[2] - found)
            lost = self._db.execute(_LOST_OF_FRAME, (frame,)).fetchmany(most)
        size = None if head is None else (head[0], head[1])
        return FrameStock(frame, size, found, None if head is None else head[2], tuple(i for (i,) in lost))

    def rows(self, frame: int) -> Iterator[tuple[Any, ...]]:
        """Yield the sound rows of a frame by mask id, in the order of `my3dis.archive.rows.SELECT_MASK`."""
        sql = "SELECT file, page, at FROM sound WHERE frame = ? ORDER BY mask_id"
        for file, page, at in self._db.execute(sql, (frame,)):
            image = Image(file, page, True)
            row = mask_at(self._file.content(image), at, functools.partial(self._file.overflow, image))
            if row is not None:
                yield row

    def close(self) -> None:
        """Drop the temporary database; nothing the second time."""
        self._db.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
