"""One writer per archive: a lock file beside it that the kernel releases when the writer dies."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from my3dis.errors import ArchiveError

__all__ = ["WriterLock", "discard_archive"]

logger = logging.getLogger(__name__)


class WriterLock:
    """Holds ``<archive>-lock`` under `flock`; the file holds the writer's process id.

    A lock file that a killed writer left behind is not locked any more and is taken over, which is said
    in the log.

    Raises:
        ArchiveError: if another writer is alive, with its process id where known.
    """

    def __init__(self, archive: Path) -> None:
        self._path = archive.with_name(archive.name + "-lock")
        self._descriptor: int | None = None
        try:
            self._descriptor = self._acquire(archive)
        except OSError as error:
            raise ArchiveError(
                f"cannot make {self._path} ({error.strerror}); check that the folder is writable"
            ) from error

    def _acquire(self, archive: Path) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _read_pid(descriptor)
                os.close(descriptor)
                raise ArchiveError(
                    f"the archive {archive} is being written by process {owner or 'unknown'}; "
                    "wait until it ends or stop it, then run again"
                ) from None
            # The last owner may have removed the file between our opening and locking it.
            if self._still_ours(descriptor):
                break
            os.close(descriptor)
        stale = _read_pid(descriptor)
        if stale:
            logger.warning("took over the lock of %s that process %s left behind", archive, stale)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor

    def _still_ours(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Remove the lock file; does nothing the second time."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def discard_archive(path: str | Path) -> None:
    """Delete an archive with the logs that belong to it; does nothing if there is none.

    Raises:
        ArchiveError: if a writer has it open, with its process id, or it cannot be deleted.
    """
    path = Path(path)
    if not path.parent.is_dir():
        return
    lock = WriterLock(path)
    try:
        # The file first: SQLite ignores a log without a file, but not a file without its log.
        for suffix in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise ArchiveError(f"cannot delete {path} ({error.strerror}); check its permissions") from error
    finally:
        lock.release()


def _read_pid(descriptor: int) -> str:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return text if text.isdigit() else ""
