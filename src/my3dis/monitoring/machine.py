"""What this machine offers a sweep besides memory and GPUs: processors, disk, and what is installed."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from my3dis.monitoring.cgroups import exists, find_group, number, read_text

__all__ = [
    "EXTRAS",
    "Disk",
    "Extra",
    "Processors",
    "address_space_mb",
    "extras",
    "look_at_disk",
    "package_version",
    "processors",
]

_MIB = 1 << 20

EXTRAS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("sam2", "SAM 2 as proposer and tracker", ("torch", "transformers", "safetensors", "huggingface_hub")),
    ("semantic-sam", "Semantic-SAM", ("torch", "safetensors", "huggingface_hub")),
    ("gpu", "GPU memory as the driver counts it", ("nvidia-ml-py",)),
    ("parquet", "export to Parquet", ("pyarrow",)),
    ("ray", "jobs on a Ray cluster", ("ray",)),
    ("slurm", "jobs on a SLURM cluster", ("submitit",)),
    ("rerun", "export to Rerun and its viewer", ("rerun-sdk",)),
)
"""(extra, what it is for, packages), in the order in which they are shown; a test compares pyproject.toml."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processors:
    """Processors that this process may use.

    Attributes:
        count: whole ones.
        quota: processors' worth of time that its group may take, None without a limit.
        name: of the processor.
    """

    count: int
    quota: float | None

    @property
    def usable(self) -> int:
        """How many threads can truly run at a time."""
        return self.count if self.quota is None else max(1, min(self.count, round(self.quota)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system of a folder.

    Attributes:
        folder: that was asked for.
        looked_at: the folder, or the nearest above it that is there.
        free_mb, total_mb: of the file system, for this user; 0 = it does not answer.
        filesystem: its kind, such as ``ext4``; empty when unknown.
        network: not known to be local, so archives use the journal that is safe on a network.
        writable: files can be made there.
        locks: whether a lock was given; None when that could not be tried.
    """

    folder: str
    looked_at: str
    free_mb: float
    total_mb: float
    filesystem: str
    network: bool
    writable: bool
    locks: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """An optional part of this package.

    Attributes:
        name: as in ``pip install 'my3dis[NAME]'``.
        purpose: what it is for.
        installed: (package, version).
        absent: packages that are not installed.
    """

    name: str
    purpose: str
    installed: tuple[tuple[str, str], ...]
    absent: tuple[str, ...]


def processors(root: Path = Path("/")) -> Processors:
    """Return the processors that this process may use, by affinity and by its control group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in find_group(root, "cpu").chain if (quota := _quota(folder)) is not None]
    return Processors(count=count, quota=min(quotas, default=None))


def address_space_mb() -> float | None:
    """Return the limit of each process's address space (``ulimit -v``) in MiB, or None without one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft / _MIB


def look_at_disk(folder: Path) -> Disk:
    """Return space and properties of the file system on which a folder lies or would be made."""
    from my3dis.archive.connect import on_network

    place = Path(os.path.realpath(folder))
    while not exists(place, folder=True) and place != place.parent:
        place = place.parent
    try:
        usage = shutil.disk_usage(place)
        free_mb, total_mb = usage.free / _MIB, usage.total / _MIB
    except OSError:  # a network that has gone
        free_mb = total_mb = 0.0
    return Disk(
        folder=str(folder.absolute()),
        looked_at=str(place),
        free_mb=free_mb,
        total_mb=total_mb,
        filesystem=_filesystem(place),
        network=on_network(place / "archive"),
        writable=os.access(place, os.W_OK | os.X_OK),
        locks=_locks_in(place),
    )


def extras() -> tuple[Extra, ...]:
    """Return which optional parts are installed; nothing is imported to find out."""
    found = []
    for name, purpose, packages in EXTRAS:
        versions = {package: package_version(package) for package in packages}
        found.append(
            Extra(
                name=name,
                purpose=purpose,
                installed=tuple((package, version) for package, version in versions.items() if version),
                absent=tuple(package for package, version in versions.items() if not version),
            )
        )
    return tuple(found)


def _quota(folder: Path) -> float | None:
    found = re.fullmatch(r"\s*([0-9]{1,18}) ([0-9]{1,18})\s*", read_text(folder / "cpu.max") or "", re.ASCII)
    quota, period = (
        (int(found[1]), int(found[2]))
        if found
        else (number(read_text(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
    )
    return quota / period if quota and period else None


def _filesystem(place: Path) -> str:
    try:
        kinds = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    except (OSError, RuntimeError, psutil.Error):
        return ""
    return next((kinds[str(p)] for p in (place, *place.parents) if str(p) in kinds), "")


def _locks_in(place: Path) -> bool | None:
    """Lock a file without a name in a folder, which leaves nothing behind."""
    try:
        with tempfile.TemporaryFile(dir=place) as handle:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            return True
    except OSError:
        return None


def package_version(package: str) -> str | None:
    """Return the version of an installed package, or None; nothing is imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
