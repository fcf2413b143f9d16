"""When a writer commits: after every frame or, on a network file system, after a small batch of them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from my3dis.archive.connect import translated
from my3dis.errors import ArchiveError, ResourceError

__all__ = ["Batch", "Commits"]

_NAMED = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """The most that may be appended and not yet committed; whatever is reached first ends the batch.

    A commit on a network file system costs several round trips, so one for each frame would be slow.

    Attributes:
        frames: number of frames; 1 commits every frame.
        seconds: a frame that is appended this long after the last commit is committed at once, so that a
            stage that is slow anyway loses nothing.
        bytes: of run-length codes, since an open batch is kept in memory.
    """

    frames: int = 16
    seconds: float = 2.0
    bytes: int = 4 * 2**20


class Commits:
    """Carries out steps, each wholly or not at all, and commits them one by one or in batches.

    An open batch holds no lock that readers would meet: nothing goes to the file before the commit.

    Args:
        db: connection in autocommit mode.
        path: of the archive, for messages.
        batch: None commits every step.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, batch: Batch | None) -> None:
        self._db = db
        self._path = path
        self._batch = batch
        self._frames: set[int] = set()
        self._bytes = 0
        self._last_s = time.monotonic()
        self._lost: list[int] = []
        if batch is not None:
            # A spilling cache would lock readers out until the batch ends.
            db.execute("PRAGMA cache_spill = OFF")

    @contextmanager
    def step(self, frame: int | None = None, n_bytes: int = 0) -> Iterator[sqlite3.Connection]:
        """Do what the block does, or nothing of it when the block or a commit fails.

        Args:
            frame: which frame is appended; such a step may wait for its batch, all others commit at once,
                with everything before them.
            n_bytes: about how much the block writes.

        Raises:
            ResourceError: if the disk is full; it names the frames that have to be appended again.
            ArchiveError: as the block does, and after frames of a batch were lost.
        """
        self._refuse_after_loss()
        waiting = frozenset(self._frames)
        try:
            with translated(self._path):
                if not self._db.in_transaction:
                    self._db.execute("BEGIN IMMEDIATE")
                self._db.execute("SAVEPOINT step")
                yield self._db
                self._db.execute("RELEASE step")
                if self._is_due(frame, n_bytes):
                    self._commit()
        except (ArchiveError, ResourceError) as error:
            self._undo(waiting)
            if not self._lost:
                raise
            raise type(error)(f"{error}; not stored and to be appended again: {_some(self._lost)}") from error
        except BaseException:
            self._undo(waiting)
            raise

    @property
    def has_lost(self) -> bool:
        """Whether frames of a batch could not be committed, so that nothing more can be appended."""
        return bool(self._lost)

    def flush(self) -> None:
        """Commit what waits in a batch; errors as for `step`."""
        self._refuse_after_loss()
        if self._frames:
            with self.step():
                pass

    def _refuse_after_loss(self) -> None:
        if self._lost:
            raise ArchiveError(
                f"frames {_some(self._lost)} of {self._path} could not be committed; open a new writer and "
                "append the frames that its frames() lacks"
            )

    def _is_due(self, frame: int | None, n_bytes: int) -> bool:
        if self._batch is None or frame is None:
            return True
        self._frames.add(frame)
        self._bytes += n_bytes
        return (
            len(self._frames) >= self._batch.frames
            or self._bytes >= self._batch.bytes
            or time.monotonic() - self._last_s >= self._batch.seconds
        )

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except BaseException:
            # The step itself is released already: the batch stands or falls as one.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._frames.clear()
        self._bytes = 0
        self._last_s = time.monotonic()

    def _undo(self, waiting: frozenset[int]) -> None:
        """Take back a failed step; remember frames of earlier steps that went with it."""
        if not self._db.in_transaction:
            self._lost = sorted(waiting)
        elif waiting:
            self._db.execute("ROLLBACK TO step")
            self._db.execute("RELEASE step")
            self._frames = set(waiting)
        else:
            self._db.execute("ROLLBACK")
            self._frames.clear()


def _some(frames: list[int]) -> str:
    shown = ", ".join(map(str, frames[:_NAMED]))
    return shown if len(frames) <= _NAMED else f"{shown} and {len(frames) - _NAMED} more"
