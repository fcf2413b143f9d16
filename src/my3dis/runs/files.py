"""Write files so that a reader sees the old content or the new, never half of one.

Everything a run writes outside its archives goes through here; operating-system errors become the
errors of `my3dis.errors` with a sentence that says what to do.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

from my3dis.errors import DataError, My3DISError, ResourceError

__all__ = [
    "TEMPORARY_PREFIX",
    "atomic_path",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "is_disk_full",
    "make_folder",
    "read_json",
    "remove_leftovers",
    "translated_os_error",
]

TEMPORARY_PREFIX = ".tmp-"
"""Names of files being written start with this; a killed process may leave some behind."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_FOLDER = frozenset({errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG})
_counter = itertools.count()


def is_disk_full(error: BaseException) -> bool:
    """Return whether an operating-system error says that no more can be written."""
    return isinstance(error, OSError) and error.errno in _FULL


def translated_os_error(error: OSError, path: Path, doing: str = "write") -> My3DISError:
    """Return the error of ours that tells what an operating-system error means and what to do about it."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return ResourceError(
            f"cannot {doing} {path}: the disk (or a quota) is full: {reason}; free some space or choose "
            "another output folder, then run the same command again: it continues where it stopped"
        )
    if error.errno in _DENIED:
        return ResourceError(
            f"cannot {doing} {path}: expected a folder that may be written, found: {reason}; "
            "choose another output folder or change its permissions"
        )
    if error.errno in _NO_FOLDER:
        return ResourceError(
            f"cannot {doing} {path}: expected a usable path, found: {reason}; choose another output folder"
        )
    return ResourceError(f"cannot {doing} {path}: {reason}; look at the disk or choose another output folder")


def make_folder(path: Path) -> Path:
    """Create a folder with its parents, unless it exists, and return it.

    Raises:
        ResourceError: if it cannot be created or is no folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise translated_os_error(error, path, "create") from error
    return path


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder to write to; it takes the place of ``path`` at the end.

    The temporary name ends like the real one, for libraries that look at the suffix. When the block
    raises, the temporary file is removed and ``path`` is as it was.

    Raises:
        ResourceError: if the disk is full or the folder cannot be written.
    """
    name = f"{TEMPORARY_PREFIX}{os.getpid()}-{next(_counter)}-{path.name}"
    temporary = path.with_name(name)
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(path)
        _flush_to_disk(path.parent)
    except OSError as error:
        raise translated_os_error(error, path) from error
    finally:
        with contextlib.suppress(
            OSError
        ):  # gone after the rename; unremovable ones are swept at the next run
            temporary.unlink()


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Replace a file's content in one step; see `atomic_path` for errors."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path, text: str) -> None:
    """Replace a file's content by UTF-8 text in one step; see `atomic_path` for errors."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: Path, value: object) -> None:
    """Replace a file's content by JSON in one step; paths become text; NaN is refused (it is no JSON)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    atomic_write_text(path, text + "\n")


def read_json(path: Path) -> object:
    """Return the content of a JSON file of a run.

    Raises:
        DataError: if it is missing, unreadable or no JSON.
    """
    try:
        value: object = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"expected {path}, found no such file; is this the folder of a run?") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # no UTF-8 or no JSON
        raise DataError(
            f"{path}: expected JSON, found something else ({error}); delete the file and run again"
        ) from error
    return value


def remove_leftovers(folder: Path) -> int:
    """Delete temporary files that a killed process left in a folder and return how many."""
    found = [*folder.glob(f"{TEMPORARY_PREFIX}*"), *folder.glob(f"*/{TEMPORARY_PREFIX}*")]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network folders cannot be synced
            raise
    finally:
        os.close(handle)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    item = getattr(value, "item", None)  # a NumPy scalar
    if callable(item):
        return item()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
