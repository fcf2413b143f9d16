"""Save and load a run's ``instances.npz``; the format is described in `my3dis.archive.instances`."""

from __future__ import annotations

from pathlib import Path

from my3dis.archive.instances import instances_to_bytes, read_instances
from my3dis.runs.files import atomic_write_bytes
from my3dis.types import InstanceSet

__all__ = ["load_instances", "save_instances"]


def save_instances(path: Path, instances: InstanceSet) -> None:
    """Write instances in one step: a reader sees the old file or the new.

    Raises:
        ResourceError: if the disk is full or the folder cannot be written.
    """
    atomic_write_bytes(path, instances_to_bytes(instances))


def load_instances(path: Path) -> InstanceSet:
    """Read instances.

    Raises:
        DataError: if the file is missing or damaged.
    """
    return read_instances(path)
