"""One writer per archive: a lock file beside it that the kernel releases when the writer dies."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path

from my3dis.errors import ArchiveError, ResourceError

__all__ = ["LOGS", "WriterLock", "discard_archive"]

logger = logging.getLogger(__name__)

LOGS = ("-wal", "-shm", "-journal")
"""What SQLite adds to an archive's name for the files beside it."""


class WriterLock:
    """Holds ``<archive>-lock`` under `flock`; the file holds the writer's process id and machine.

    An archive that is reached over links is locked where it really lies.

    A lock file that a killed writer left behind is not locked any more and is taken over, which is said
    in the log.

    Raises:
        ArchiveError: if another writer is alive, with its process id where known, or the folder is not
            writable or has no locks.
        ResourceError: if the disk is full.
    """

    def __init__(self, archive: Path) -> None:
        self._path = Path(f"{os.path.realpath(archive)}-lock")
        self._descriptor: int | None = None
        try:
            self._descriptor = self._acquire(archive)
        except OSError as error:
            raise _explained(error, self._path) from error

    def _acquire(self, archive: Path) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The last owner may have removed the file between our opening and locking it.
                if self._still_ours(descriptor):
                    self._sign(descriptor, archive)
                    return descriptor
            except BlockingIOError:
                owner = _read_owner(descriptor)
                os.close(descriptor)
                raise ArchiveError(
                    f"the archive {archive} is being written by process {owner or 'unknown'}; "
                    "wait until it ends or stop it, then run again"
                ) from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _sign(self, descriptor: int, archive: Path) -> None:
        stale = _read_owner(descriptor)
        if stale:
            logger.warning("took over the lock of %s that process %s left behind", archive, stale)
        os.ftruncate(descriptor, 0)
        try:
            os.pwrite(descriptor, f"{os.getpid()}\n{os.uname().nodename}\n".encode(), 0)
        except OSError:
            # Nobody is to wait for us on a full disk.
            self._path.unlink(missing_ok=True)
            raise

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
        for suffix in ("", *LOGS):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise ArchiveError(f"cannot delete {path} ({error.strerror}); check its permissions") from error
    finally:
        lock.release()


def _read_owner(descriptor: int) -> str:
    """Return the process id in a lock file, with its machine if that is another one; empty if unreadable."""
    words = os.pread(descriptor, 256, 0).decode("ascii", "replace").split()
    if not words or not words[0].isdigit():
        return ""
    elsewhere = len(words) > 1 and words[1] != os.uname().nodename
    return f"{words[0]} on {words[1]}" if elsewhere else words[0]


def _explained(error: OSError, path: Path) -> ArchiveError | ResourceError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceError(
            f"cannot make {path}: the disk is full or a file-size limit is reached ({error.strerror}); "
            "free space and run again"
        )
    if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL):
        return ArchiveError(
            f"the file system of {path} gives no file locks ({error.strerror}), without which an archive is "
            "not safe there; mount it with locks, or choose an output folder on a local disk"
        )
    return ArchiveError(f"cannot make {path} ({error.strerror}); check that the folder is writable")
