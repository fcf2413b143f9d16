"""The exceptions that My3DIS raises on purpose, and the exit code of each.

::

    My3DISError                 1   never raised itself
    ├── ConfigError             2   a setting is unknown, mistyped or out of range
    ├── DataError               3   a scan, image, pose or cloud cannot be used
    ├── ArchiveError            3   a mask archive is corrupt, locked or misused
    ├── PluginError             4   a back end, data set or exporter is missing or broken
    ├── ResourceError           5   disk, memory or a device ran out
    └── StageError              6   a stage or some scenes of a sweep failed

Every message says what was expected, what was found and what to do about it.
``130`` is Ctrl-C; ``1`` is a bug of ours and the only case that shows a traceback.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "EXIT_BUG",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "OUT_OF_MEMORY",
    "ArchiveError",
    "ConfigError",
    "DataError",
    "My3DISError",
    "PluginError",
    "ResourceError",
    "StageError",
]

EXIT_OK = 0
EXIT_BUG = 1
EXIT_INTERRUPTED = 130

OUT_OF_MEMORY = (
    "the memory ran out; close other programs, or use fewer frames (--frames ::2), then run again: "
    "finished stages are kept"
)
"""What is said where memory ran out outside any stage, with the exit code of `ResourceError`."""


class My3DISError(Exception):
    """Base of every error that a caller may want to catch."""

    exit_code: ClassVar[int] = EXIT_BUG


class ConfigError(My3DISError):
    """A setting is unknown, mistyped or out of range."""

    exit_code = 2


class DataError(My3DISError, ValueError):
    """Input data (a scan, an image, a pose, an array) cannot be used as it is."""

    exit_code = 3


class ArchiveError(My3DISError):
    """A mask archive is corrupt, of another version, locked or misused."""

    exit_code = 3


class PluginError(My3DISError):
    """A back end, data set or exporter is missing, broken or lacks an extra."""

    exit_code = 4


class ResourceError(My3DISError):
    """The disk, the memory or a device ran out."""

    exit_code = 5


class StageError(My3DISError):
    """A stage cannot run, or some scenes of a sweep failed."""

    exit_code = 6
