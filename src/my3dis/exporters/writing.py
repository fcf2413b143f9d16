"""Let files of exports appear when they are complete, and say what is wrong where they cannot be written."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from my3dis.errors import ResourceError

__all__ = ["new_file", "remove", "write_json_array", "written"]

_counter = itertools.count()


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; the file takes its name when the block ends well.

    The folder is made. When the block raises, what was there before is still there and nothing else. The
    temporary name ends like the real one, for libraries that look at the suffix.

    Raises:
        ResourceError: if the disk is full or the place cannot be written.
    """
    unfinished = path.with_name(f".tmp-{os.getpid()}-{next(_counter)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            unfinished.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                unfinished.unlink()
    except OSError as error:
        raise ResourceError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another place"
        ) from error


def written(path: Path, write: Callable[[Path], None]) -> Path:
    """Return a path after a function has written its file; see `new_file`."""
    with new_file(path) as unfinished:
        write(unfinished)
    return path


def remove(path: Path) -> None:
    """Delete a file if it is there.

    Raises:
        ResourceError: if that is not allowed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ResourceError(
            f"cannot replace {path}: {error.strerror or error}; change its permissions or its place"
        ) from error


def write_json_array(out: TextIO, values: Iterable[object]) -> None:
    """Write values as a JSON array, one a line, holding one at a time; NaN is refused, as it is no JSON."""
    out.write("[")
    for n, value in enumerate(values):
        out.write((",\n" if n else "\n") + json.dumps(value, allow_nan=False, separators=(",", ":")))
    out.write("\n]")
