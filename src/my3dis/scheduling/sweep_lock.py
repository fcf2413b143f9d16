"""One sweep at a time in a folder of runs: a lock that the kernel releases when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from my3dis.errors import ResourceError
from my3dis.runs.events import now_utc
from my3dis.runs.files import translated_os_error

__all__ = ["sweep_lock"]

_NAME = ".sweep.lock"
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOTSUP, errno.EINVAL))
"""Of network folders that know no locks; there, one sweep at a time is up to the user."""


@contextlib.contextmanager
def sweep_lock(output_root: Path) -> Iterator[None]:
    """Hold the folder of all runs, so that no other sweep replaces this one's records.

    Args:
        output_root: is there already.

    Raises:
        ResourceError: if another sweep works there, or the folder cannot be written.
    """
    path = output_root / _NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise translated_os_error(error, path) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "a process"
            raise ResourceError(
                f"another sweep works in {output_root} ({holder}) and keeps its records there; wait until it "
                "has ended, stop it, or give this one another folder with --output"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise translated_os_error(error, path, "lock") from error
        os.ftruncate(descriptor, 0)
        words = f"process {os.getpid()} on {socket.gethostname()}, since {now_utc()}\n"
        os.pwrite(descriptor, words.encode(), 0)
        yield
    finally:
        os.close(descriptor)
