"""One process per run folder: a lock that the kernel releases when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from my3dis.errors import ResourceError
from my3dis.runs.files import translated_os_error

__all__ = ["exclusive_file", "run_lock"]


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[int | None]:
    """Hold a run folder; gives the id of a dead process whose lock was taken over, else None.

    Raises:
        ResourceError: if another process works in the folder, or it cannot be written.
    """
    path = folder / ".lock"
    descriptor = _acquire(path, folder)
    try:
        left_by = _process_in(descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield left_by
    finally:
        with contextlib.suppress(OSError):  # the kernel drops the lock itself when the file cannot go
            path.unlink()
        os.close(descriptor)


@contextlib.contextmanager
def exclusive_file(path: Path) -> Iterator[int]:
    """Open a file for appending and wait until nobody else holds it; gives its descriptor."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            _lock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise translated_os_error(error, path) from error


def _acquire(path: Path, folder: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise translated_os_error(error, path) from error
        try:
            _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _process_in(descriptor)
            os.close(descriptor)
            raise ResourceError(
                f"another process ({holder or 'unknown'}) is working in {folder}; wait for it, or give this "
                "run another name with --name"
            ) from None
        # The last holder may have removed the file between our opening and locking it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def _lock(descriptor: int, operation: int) -> None:
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        # Some network folders know no locks; there, one process per run is up to the user.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise


def _process_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else None
