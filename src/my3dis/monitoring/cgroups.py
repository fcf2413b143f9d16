"""Find the control group that limits this process's memory, and read what it says.

Version 1 (``memory.limit_in_bytes``) and version 2 (``memory.max``) name the same things differently, hybrid
hosts mount both, and a container sees only part of the tree. Every file may be absent, unreadable or garbage:
that is told in the result and never raised.

Source: the kernel's ``Documentation/admin-guide/cgroup-v1/memory.rst`` and ``cgroup-v2.rst``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["Group", "Pressure", "exists", "figures", "find_group", "number", "pressure_of", "read_text"]

_AT_MOST_CHARACTERS = 1 << 20
_MOUNTS, _OWN = "proc/self/mountinfo", "proc/self/cgroup"


@dataclass(frozen=True, slots=True)
class Pressure:
    """Share of the last ten seconds, in percent, in which some or all tasks waited for memory."""

    some: float
    full: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Where this process is accounted.

    Attributes:
        version: 1 or 2, or 0 when no group limits memory here.
        chain: folders from the process's own group up to the mount.
        path: the group as the kernel names it.
        hidden: why the process's own group cannot be looked at, or None.
    """

    version: int
    chain: tuple[Path, ...] = ()
    path: str = "/"
    hidden: str | None = None


@dataclass(frozen=True, slots=True)
class _Mount:
    version: int
    within: str
    place: Path


def read_text(path: Path) -> str | None:
    """Return a small file's text, or None when it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as handle:
            return handle.read(_AT_MOST_CHARACTERS)
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return None


def exists(path: Path, *, folder: bool = False) -> bool:
    """Return whether a file or folder is there and may be seen."""
    try:
        return path.is_dir() if folder else path.exists()
    except (OSError, ValueError):
        return False


def number(text: str | None) -> int | None:
    """Return a file's only number, or None."""
    found = re.fullmatch(r"\s*([0-9]{1,20})\s*", text or "", re.ASCII)
    return int(found[1]) if found else None


def figures(text: str | None) -> dict[str, int]:
    """Return the ``name value`` lines of a file; other lines are passed over."""
    return {name: int(n) for name, n in re.findall(r"^(\w+) ([0-9]{1,20})$", text or "", re.MULTILINE)}


def pressure_of(text: str | None) -> Pressure | None:
    """Return the ten-second averages of a pressure file, or None when it has none."""
    found = dict(re.findall(r"^(some|full) avg10=([0-9]{1,3}(?:\.[0-9]{1,9})?)\b", text or "", re.MULTILINE))
    if "some" not in found:
        return None
    return Pressure(float(found["some"]), float(found.get("full", 0.0)))


def find_group(root: Path, controller: str = "memory") -> Group:
    """Return the group that accounts what this process uses.

    A controller that version 1 has is not in version 2, so the kernel's list of this process's groups
    decides on hybrid hosts.

    Args:
        root: of the file system; another one in tests.
        controller: what is accounted, ``memory`` or ``cpu``.
    """
    text = read_text(root / _OWN)
    if text is None:
        reason = f"/{_OWN} cannot be read" if exists(root / "proc", folder=True) else None
        return Group(version=0, hidden=reason)
    groups = dict(_groups(text, controller))
    if not groups:
        hidden = None if not text.strip() else f"/{_OWN} says nothing that can be understood"
        return Group(version=0, hidden=hidden)
    version = 1 if 1 in groups else 2
    path = groups[version]
    mounts = [
        mount
        for mount in _mounts(root, controller)
        if mount.version == version and exists(mount.place, folder=True)
    ]
    if not mounts:
        return Group(version=version, path=path, hidden=f"no mount of cgroup v{version} is visible here")
    within = [mount for mount in mounts if _below(path, mount.within) is not None]
    mount = max(within or mounts, key=lambda m: len(m.within))
    return _on_mount(mount, path)


def _on_mount(mount: _Mount, path: str) -> Group:
    below = _below(path, mount.within)
    hidden = None
    if below is None:
        below, hidden = PurePosixPath(), f"the group {path} is outside of what is mounted here"
    own = mount.place / below
    while own != mount.place and not exists(own, folder=True):
        hidden = f"the group {path} is not visible here"
        own = own.parent
    chain = [own]
    while chain[-1] != mount.place:
        chain.append(chain[-1].parent)
    return Group(version=mount.version, chain=tuple(chain), path=path, hidden=hidden)


def _groups(text: str, controller: str) -> Iterator[tuple[int, str]]:
    """Yield (version, path) of the controller's group in version 1, and of the group in version 2."""
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3 or not parts[2].startswith("/") or "\0" in parts[2]:
            continue
        if controller in parts[1].split(","):
            yield 1, parts[2]
        elif parts[0] == "0" and not parts[1]:
            yield 2, parts[2]


def _below(path: str, within: str) -> PurePosixPath | None:
    """Return a group's path relative to the group that is mounted, or None when it is not below it."""
    group, base = PurePosixPath(path), PurePosixPath(within)
    if ".." in group.parts or ".." in base.parts or not group.is_relative_to(base):
        return None
    return group.relative_to(base)


def _mounts(root: Path, controller: str) -> Iterator[_Mount]:
    """Yield the mounts of control groups that may hold the controller; without a list, the usual places."""
    text = read_text(root / _MOUNTS)
    for line in (text or "").splitlines():
        before, dash, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if not dash or len(fields) < 6 or not kinds or "\0" in line:
            continue
        place = root / _unescaped(fields[4]).lstrip("/")
        if kinds[0] == "cgroup2":
            yield _Mount(2, _unescaped(fields[3]), place)
        elif kinds[0] == "cgroup" and controller in kinds[-1].split(","):
            yield _Mount(1, _unescaped(fields[3]), place)
    if text is None:
        usual = root / "sys/fs/cgroup"
        yield _Mount(1, "/", usual / controller)
        yield _Mount(2, "/", usual / "unified" if exists(usual / "unified", folder=True) else usual)


def _unescaped(text: str) -> str:
    """Return a mount's path with its spaces, which the kernel writes as octal numbers."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda found: chr(int(found[1], 8)), text)
