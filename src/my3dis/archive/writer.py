"""Write masks to an archive, one frame at a time, in memory for one frame only."""

from __future__ import annotations

import logging
import operator
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from my3dis import __version__
from my3dis.archive.commits import Batch, Commits
from my3dis.archive.connect import connect_read_write, on_network, translated
from my3dis.archive.create import create_missing, write_tables
from my3dis.archive.lock import WriterLock
from my3dis.archive.relabel import relabel, resolved
from my3dis.archive.rollback import Mark, mark_of, roll_back
from my3dis.archive.rows import INSERT_MASK, check_size, frame_crc, mask_rows, repeated
from my3dis.archive.schema import check_identity, check_tables, is_blank
from my3dis.errors import ArchiveError, ResourceError
from my3dis.types import MaskSet

__all__ = ["StreamingSegmentWriter"]

logger = logging.getLogger(__name__)

Journal = Literal["auto", "wal", "rollback"]


class StreamingSegmentWriter:
    """Opens or creates an archive and appends frames; a context manager.

    Every call is done wholly or not at all. On a local disk it is committed before it returns: after a kill,
    everything that returned is there. On a network file system frames are committed in small batches
    (`Batch`): after a kill every committed frame is there, and `frames` of the next writer says which.
    `flush`, `frames`, `assign_tracks` and leaving the block commit what waits.
    Leaving the block without an exception marks the archive as finished; with one, the frames so far stay and
    the archive may be continued. One writer at a time; many readers beside it.

    Args:
        path: the file; its folder must exist.
        purpose: what the masks are, such as ``candidates``, ``masks`` or ``tracks``.
        stage_digest: identifies the settings and inputs of the stage that writes.
        journal: ``auto`` takes SQLite's write-ahead log on a local disk and its rollback journal on a
            network file system, where the log is not safe.
        batch: with the rollback journal, the most that may wait for a commit; None takes the default.

    Raises:
        ArchiveError: if the file is no archive, of another version or stage, or being written already.
        ResourceError: if the disk is full.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        purpose: str | None = None,
        stage_digest: str | None = None,
        journal: Journal = "auto",
        batch: Batch | None = None,
    ) -> None:
        self.path = Path(path)
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._commits: Commits | None = None
        if not self.path.parent.is_dir():
            raise ArchiveError(f"expected a folder at {self.path.parent} to write into, found none")
        self._lock = WriterLock(self.path)
        try:
            create_missing(self.path)
            self._connection = connect_read_write(self.path)
            with translated(self.path):
                self._open(self._connection, purpose, stage_digest)
                batch = self._set_journal(self._connection, journal, batch or Batch())
                self._commits = Commits(self._connection, self.path, batch)
                self._remember(purpose, stage_digest)
        except BaseException:
            self._disconnect()
            raise

    def _open(self, db: sqlite3.Connection, purpose: str | None, stage_digest: str | None) -> None:
        if is_blank(db):
            with Commits(db, self.path, None).step():
                write_tables(db)
        check_identity(db, self.path)
        check_tables(db, self.path)
        stored = dict(db.execute("SELECT key, value FROM meta"))
        for key, value in (("purpose", purpose), ("stage_digest", stage_digest)):
            if value is not None and stored.get(key, value) != value:
                raise ArchiveError(
                    f"expected {key} {value} in the archive {self.path}, found {stored[key]}: it was written "
                    "with other settings or inputs; delete it to write it afresh"
                )

    def _set_journal(self, db: sqlite3.Connection, journal: Journal, batch: Batch) -> Batch | None:
        """Choose the journal; returns how commits are batched, None where each step is committed."""
        if journal == "auto":
            journal = "rollback" if on_network(self.path) else "wal"
        mode = db.execute(f"PRAGMA journal_mode = {'wal' if journal == 'wal' else 'delete'}").fetchone()[0]
        # In rollback mode NORMAL could damage the file on a power loss; FULL costs two more syncs a commit.
        db.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")
        return None if mode == "wal" else batch

    def _remember(self, purpose: str | None, stage_digest: str | None) -> None:
        told = {
            "purpose": purpose,
            "stage_digest": stage_digest,
            "application": f"my3dis {__version__}",
        }
        stored = {key for (key,) in self._database().execute("SELECT key FROM meta")}
        new = {key: value for key, value in told.items() if value is not None and key not in stored}
        if new:
            with self._step() as db:
                db.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", new.items())

    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ArchiveError(f"the archive {self.path} is closed; open a new StreamingSegmentWriter")
        return self._connection

    @contextmanager
    def _step(self, frame: int | None = None, n_bytes: int = 0) -> Iterator[sqlite3.Connection]:
        with self._mutex:
            self._database()
            assert self._commits is not None
            with self._commits.step(frame, n_bytes) as db:
                yield db

    def flush(self) -> None:
        """Commit what waits in a batch, so that readers see it and a kill spares it.

        Raises:
            ResourceError: if the disk is full.
        """
        with self._mutex:
            self._database()
            assert self._commits is not None
            self._commits.flush()

    def frames(self) -> list[int]:
        """Commit what waits and return the frames in the archive, ascending, those without masks included."""
        with self._mutex, translated(self.path):
            self.flush()
            return [row[0] for row in self._database().execute("SELECT frame FROM frames ORDER BY frame")]

    def append_frame(self, frame_idx: int, frame_payload: MaskSet) -> None:
        """Store the masks of a frame, all or none of them.

        May be called again for a frame with new mask ids. An empty set records that the frame was done.

        Args:
            frame_idx: index of the frame, equal to ``frame_payload.frame``.
            frame_payload: masks of the frame.

        Raises:
            ArchiveError: if the frame or image size differs, or a mask id of this frame is stored
                already; then nothing of this call is stored.
            ResourceError: if the disk is full; then nothing of this call is stored. It names earlier frames
                of the same batch that were not stored either.
        """
        if not isinstance(frame_payload, MaskSet):
            raise ArchiveError(f"expected a MaskSet to append, found {type(frame_payload).__name__}")
        frame = operator.index(frame_idx)
        if frame != frame_payload.frame:
            raise ArchiveError(f"expected masks of frame {frame}, found masks of frame {frame_payload.frame}")
        size = check_size(*(int(v) for v in frame_payload.image_size))
        with self._step(frame, sum(map(len, frame_payload.rle))) as db:
            self._mark_unfinished(db)
            before = db.execute("SELECT height, width, n FROM frames WHERE frame = ?", (frame,)).fetchone()
            if before is not None and before[:2] != size:
                raise ArchiveError(
                    f"expected masks of {before[1]}x{before[0]} for frame {frame} as appended before, "
                    f"found {size[1]}x{size[0]}"
                )
            if before is None:
                db.execute("UPDATE meta SET value = value + 1 WHERE key = 'frames'")
            n = len(frame_payload) + (before[2] if before else 0)
            db.execute(
                "INSERT OR REPLACE INTO frames (frame, height, width, n, crc32) VALUES (?, ?, ?, ?, ?)",
                (frame, *size, n, frame_crc(frame, *size, n)),
            )
            first_row = db.execute("SELECT coalesce(max(row), 0) + 1 FROM masks").fetchone()[0]
            try:
                db.executemany(INSERT_MASK, mask_rows(frame_payload))
            except sqlite3.IntegrityError as error:
                raise repeated(db, self.path, frame_payload, first_row) from error
            db.execute(
                "INSERT INTO frame_index (frame, level, first_row, n) "
                "SELECT frame, level, min(row), count(*) FROM masks WHERE row >= ? GROUP BY frame, level "
                "ON CONFLICT (frame, level) DO UPDATE SET n = n + excluded.n",
                (first_row,),
            )

    def assign_tracks(self, new_from_old: Mapping[int, int]) -> None:
        """Relabel tracks in one step and commit, following chains: ``{5: 3, 3: 1}`` makes 5 and 3 become 1.

        Args:
            new_from_old: new track id for each old one; -1 takes the masks out of any track.

        Raises:
            ArchiveError: if an id is negative (other than a new -1) or the mapping runs in a circle.
        """
        targets = resolved(new_from_old)
        with self._step() as db:
            self._mark_unfinished(db)
            relabel(db, targets)

    def record_dropped(
        self, frame: int, mask_ids: Sequence[int], levels: Sequence[int], reasons: Sequence[str]
    ) -> None:
        """Log masks that a stage did not keep, and why, all or none of them.

        Call it before `append_frame` of the same frame: repeating it after a kill overwrites equal rows.

        Args:
            frame: index of the frame.
            mask_ids: ids in the archive that the stage read.
            levels: level of each mask.
            reasons: a short stable code for each mask, such as ``min_area``.

        Raises:
            ArchiveError: if the lengths differ.
        """
        if not len(mask_ids) == len(levels) == len(reasons):
            raise ArchiveError(
                "expected as many levels and reasons as dropped masks, found "
                f"{len(mask_ids)}, {len(levels)} and {len(reasons)}"
            )
        rows = [
            (operator.index(frame), int(i), int(level), str(reason))
            for i, level, reason in zip(mask_ids, levels, reasons, strict=True)
        ]
        with self._step(operator.index(frame)) as db:
            self._mark_unfinished(db)
            db.executemany(
                "INSERT OR REPLACE INTO dropped (frame, mask_id, level, reason) VALUES (?, ?, ?, ?)", rows
            )

    def mark(self) -> Mark:
        """Commit what waits and return where the archive stands, for `roll_back`."""
        with self._mutex, translated(self.path):
            self.flush()
            return mark_of(self._database())

    def roll_back(self, mark: Mark) -> None:
        """Delete in one step what was appended since a mark; frames must have been appended in order.

        Raises:
            ArchiveError: if the archive ends before the mark.
        """
        with self._step() as db:
            self._mark_unfinished(db)
            roll_back(db, mark, self.path)

    @staticmethod
    def _mark_unfinished(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM meta WHERE key = 'finished'")

    def close(self) -> None:
        """Mark the archive as finished and leave one file that stands alone; nothing the second time.

        Raises:
            ResourceError: if the disk is full; the frames are safe, the archive stays unfinished.
        """
        with self._mutex:
            if self._connection is None:
                return
            try:
                with self._step() as db:
                    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('finished', '1')")
                with translated(self.path):
                    self._stand_alone()
            finally:
                self._disconnect()

    def _stand_alone(self) -> None:
        """Move the log into the file and remove it; a reader that is connected only delays the removal."""
        db = self._database()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA busy_timeout = 0")
        try:
            db.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            if not str(getattr(error, "sqlite_errorname", "")).startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise
            logger.debug("%s keeps its log until its readers close: %s", self.path, error)

    def _disconnect(self) -> None:
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        with self._mutex:
            try:
                if self._connection is not None and self._commits is not None:
                    if not self._commits.has_lost:
                        self._commits.flush()
                    with translated(self.path):
                        self._stand_alone()
            except (ArchiveError, ResourceError) as after:
                # The first error is the one to report; what was committed is safe.
                level = logging.DEBUG if isinstance(error, ResourceError) else logging.WARNING
                logger.log(level, "%s is left as it was committed last: %s", self.path, after)
            finally:
                self._disconnect()
