"""Read an archive: one frame, one track or one level at a time, without reading the rest."""

from __future__ import annotations

import logging
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from my3dis.archive.checks import follow
from my3dis.archive.connect import open_checked, translated
from my3dis.archive.rows import SELECT_MASK, check_size, fetch_rows, frame_crc, mask_set, single_sets
from my3dis.errors import ArchiveError, DataError
from my3dis.types import NO_ID, MaskSet, TrackSet

__all__ = ["ArchiveReader", "DroppedMask", "open_archive", "read_stage_digest"]

_TRACK_BATCH = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DroppedMask:
    """A mask that a stage did not keep: ids in the archive that the stage read, and a short reason."""

    frame: int
    mask_id: int
    level: int
    reason: str


class ArchiveReader:
    """Reads an archive through one read-only connection; a context manager.

    Works while a writer appends (each call sees the commits made before it) and on an archive whose writer
    was killed. Every row is checked against its checksum. Several threads may share a reader: calls wait
    for each other; for parallel reading open one reader per thread.

    Raises:
        ArchiveError: if the file is missing, no archive, of another version or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = open_checked(self.path)

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """Let the block's statements see one state of the archive, whatever a writer does meanwhile."""
        with self._mutex, translated(self.path):
            if self._connection is None:
                raise ArchiveError(f"the reader of {self.path} is closed; open the archive again")
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._snapshot() as db:
            return db.execute(sql, values).fetchall()

    def _mask_rows(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._snapshot() as db:
            return fetch_rows(db.execute(sql, values))

    def _meta(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    @property
    def purpose(self) -> str | None:
        """What the masks are, as the writer said."""
        return self._meta("purpose")

    @property
    def stage_digest(self) -> str | None:
        """Identity of the settings and inputs that the masks were made with."""
        return self._meta("stage_digest")

    @property
    def finished(self) -> bool:
        """Whether the last writer closed the archive after its last frame."""
        return self._meta("finished") == "1"

    def frames(self) -> list[int]:
        """Return the indices of all frames that were appended, ascending, those without masks included.

        Raises:
            ArchiveError: if the list of frames is damaged.
        """
        return [frame for frame, _ in self._heads()]

    def _heads(self) -> list[tuple[int, int]]:
        """Return (frame, number of masks) of every frame, checked against all checksums."""
        with self._snapshot():
            rows = self._rows("SELECT frame, height, width, n, crc32 FROM frames ORDER BY frame")
            listed = self._meta("frames")
        # A damaged page can also show one row twice in the place of another.
        if listed != str(len({row[0] for row in rows})) or listed != str(len(rows)):
            raise ArchiveError(f"expected {listed} frames in {self.path}, found {len(rows)}: it is damaged")
        for row in rows:
            self._check_head(*row)
        return [(row[0], row[3]) for row in rows]

    def levels(self) -> list[int]:
        """Return the levels that have masks, coarse to fine."""
        return [level for level, _ in self.count_by_level()]

    def count(self) -> int:
        """Return the number of masks."""
        return sum(n for _, n in self._heads())

    def count_by_level(self) -> tuple[tuple[int, int], ...]:
        """Return (level, number of masks) for every level that has masks, coarse to fine."""
        rows = self._rows("SELECT level, sum(n) FROM frame_index GROUP BY level ORDER BY level")
        return tuple((self._int(level), self._int(n)) for level, n in rows)

    def image_size(self, frame: int) -> tuple[int, int]:
        """Return height and width in pixels of the masks of a frame.

        Raises:
            ArchiveError: if the frame was never appended.
        """
        return self._frame_head(frame)[0]

    def _frame_head(self, frame: int) -> tuple[tuple[int, int], int]:
        rows = self._rows("SELECT height, width, n, crc32 FROM frames WHERE frame = ?", (int(frame),))
        if not rows:
            raise ArchiveError(
                f"expected one of {self._describe_frames()} of {self.path}, found frame {frame}"
            )
        return self._check_head(int(frame), *rows[0])

    def _check_head(
        self, frame: int, height: object, width: object, n: object, crc: object
    ) -> tuple[tuple[int, int], int]:
        try:
            size, count = check_size(height, width), self._int(n)
            if crc == frame_crc(frame, *size, count):
                return size, count
        except (ArchiveError, OverflowError, struct.error) as error:
            logger.debug("frame %s of %s: %s", frame, self.path, error)
        raise ArchiveError(f"frame {frame} of {self.path}: its row in the table frames is damaged")

    def _describe_frames(self) -> str:
        low, high, n = self._rows("SELECT min(frame), max(frame), count(*) FROM frames")[0]
        return f"the {n} frames {low}..{high}" if n else "the frames (there are none yet)"

    def _int(self, value: object) -> int:
        if not isinstance(value, int):
            raise ArchiveError(
                f"expected a whole number in {self.path}, found {value!r}; the file is damaged"
            )
        return value

    def frame(self, i: int, level: int | None = None) -> MaskSet:
        """Return the masks of a frame, ordered by level and mask id.

        Args:
            i: index of the frame.
            level: only this level; a level without masks in this frame gives an empty set.

        Raises:
            ArchiveError: if the frame was never appended, the archive has no such level, or a row is
                damaged.
        """
        i = int(i)
        with self._snapshot():
            size, n = self._frame_head(i)
            if level is None:
                rows = self._mask_rows(f"{SELECT_MASK} WHERE frame = ? ORDER BY level, mask_id", (i,))
            else:
                n = self._count_at(i, int(level))
                sql = f"{SELECT_MASK} WHERE frame = ? AND level = ? ORDER BY mask_id"
                rows = self._mask_rows(sql, (i, int(level)))
        if len(rows) != n:
            raise ArchiveError(
                f"expected {n} masks in frame {i} of {self.path}, found {len(rows)}: it is damaged"
            )
        return self._mask_set(i, size, rows)

    def _mask_set(self, frame: int, size: tuple[int, int], rows: list[tuple[Any, ...]]) -> MaskSet:
        try:
            return mask_set(frame, size, rows)
        except ArchiveError as error:
            raise ArchiveError(f"{self.path}: {error}") from error

    def _count_at(self, frame: int, level: int) -> int:
        rows = self._rows("SELECT n FROM frame_index WHERE frame = ? AND level = ?", (frame, level))
        if rows:
            return self._int(rows[0][0])
        levels = self.levels()
        if level not in levels:
            raise ArchiveError(f"expected one of the levels {levels} of {self.path}, found level {level}")
        return 0

    def iter_frames(self, level: int | None = None) -> Iterator[MaskSet]:
        """Yield the masks of every frame, ascending, one frame in memory at a time.

        Raises:
            ArchiveError: as `frame` does.
        """
        for i in self.frames():
            yield self.frame(i, level)

    def track(self, track_id: int) -> Iterator[MaskSet]:
        """Yield the masks of a track, one row at a time, by frame; nothing for an unknown track.

        Raises:
            ArchiveError: if a row is damaged.
        """
        # In batches by key: an open cursor would keep a writer on a network file system from committing.
        sql = (
            f"{SELECT_MASK} WHERE track_id = ? AND track_id >= 0 AND (frame, mask_id) > (?, ?) "
            f"ORDER BY frame, mask_id LIMIT {_TRACK_BATCH}"
        )
        after = (-1, -1)
        while rows := self._mask_rows(sql, (int(track_id), *after)):
            if not follow(after, rows, int(track_id)):
                raise ArchiveError(f"{self.path}: the index of track {track_id} is damaged")
            try:
                yield from single_sets(rows)
            except ArchiveError as error:
                raise ArchiveError(f"{self.path}: {error}") from error
            after = rows[-1][1:3]

    def tracks(self) -> TrackSet:
        """Return every track and its observations, parents unset; decodes nothing.

        The level of a track is the coarsest of its masks.

        Raises:
            ArchiveError: if the archive is damaged.
        """
        sql = (
            "SELECT track_id, frame, mask_id, score, level FROM masks WHERE track_id >= 0 "
            "ORDER BY track_id, frame, mask_id"
        )
        kinds = np.dtype([("track", "i4"), ("frame", "i4"), ("id", "i4"), ("score", "f4"), ("level", "i2")])
        try:
            with self._snapshot() as db:
                rows = np.fromiter(db.execute(sql), kinds)
            track_id, first = np.unique(rows["track"], return_index=True)
            last = np.append(first[1:], len(rows)) - 1 if len(rows) else first
            levels = np.minimum.reduceat(rows["level"], first) if len(rows) else rows["level"]
            return TrackSet(
                track_id=track_id,
                level=levels.astype(np.int16),
                parent_id=np.full(len(track_id), NO_ID, np.int32),
                first_frame=np.ascontiguousarray(rows["frame"][first]),
                last_frame=np.ascontiguousarray(rows["frame"][last]),
                obs_track=np.ascontiguousarray(rows["track"]),
                obs_frame=np.ascontiguousarray(rows["frame"]),
                obs_mask_id=np.ascontiguousarray(rows["id"]),
                obs_score=np.ascontiguousarray(rows["score"]),
            )
        except (DataError, OverflowError, TypeError, ValueError) as error:
            raise ArchiveError(f"{self.path}: the tracks cannot be read ({error}); it is damaged") from error

    def dropped(self) -> Iterator[DroppedMask]:
        """Yield the masks that the writing stage did not keep, by frame and mask id."""
        for (frame,) in self._rows("SELECT DISTINCT frame FROM dropped ORDER BY frame"):
            sql = "SELECT frame, mask_id, level, reason FROM dropped WHERE frame = ? ORDER BY mask_id"
            for row in self._rows(sql, (frame,)):
                yield DroppedMask(*row)

    def close(self) -> None:
        """Close the connection; nothing the second time."""
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_archive(path: str | Path) -> ArchiveReader:
    """Open an archive for reading.

    Raises:
        ArchiveError: if the file is missing, no archive, of another version or damaged.
    """
    return ArchiveReader(path)


def read_stage_digest(path: str | Path) -> str | None:
    """Return the stage digest of an archive; None if there is no file or no digest in it.

    Raises:
        ArchiveError: if the file is no archive.
    """
    if not Path(path).exists():
        return None
    with open_archive(path) as reader:
        return reader.stage_digest
