"""Read use, limits, peak and kills of a control group, in either version.

Source: the kernel's ``Documentation/admin-guide/cgroup-v1/memory.rst`` and ``cgroup-v2.rst``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from my3dis.monitoring.cgroups import Group, Pressure, exists, figures, number, pressure_of, read_text

__all__ = ["FEWER", "Bound", "GroupMemory", "read_group"]

FEWER = "until then fewer jobs run at a time"
"""What follows where the guard cannot see enough; ends each sentence about a gap."""

_MIB = 1 << 20
_UNLIMITED = 1 << 60
"""Version 1 writes "no limit" as the largest multiple of a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One bound on memory and how far it is used, in MiB.

    Attributes:
        name: of what bounds, for a sentence.
        capacity_mb: the bound.
        working_mb: used, without page cache that nobody has touched lately (as Kubernetes counts).
        held_mb: used, without any page cache: what the kernel cannot take back.
    """

    name: str
    capacity_mb: float
    working_mb: float
    held_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMemory:
    """What was read of a group.

    Attributes:
        version: of the control groups, 0 without one.
        folder: the group whose use, limit and peak these are; None when nothing could be read.
        limit: the bound with the least room, or None.
        bounds: of the group and of those above it.
        current_mb: all memory in use, page cache included.
        peak_mb: the most that was in use, or None.
        oom_kills, kills_from: processes killed in the process's own group, and the file that counts them.
        pressure: of the group, or None.
        missing, notes: sentences about gaps, grave and lesser ones.
    """

    version: int = 0
    folder: Path | None = None
    limit: Bound | None = None
    bounds: tuple[Bound, ...] = ()
    current_mb: float = 0.0
    peak_mb: float | None = None
    oom_kills: int | None = None
    kills_from: str | None = None
    pressure: Pressure | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Names:
    """What a version calls its files and figures."""

    current: str
    limits: tuple[str, ...]
    peak: str
    inactive: str
    active: str


_V1 = _Names(
    "memory.usage_in_bytes",
    ("memory.limit_in_bytes",),
    "memory.max_usage_in_bytes",
    "total_inactive_file",
    "total_active_file",
)
# Above memory.high the kernel slows a group down until it hardly moves, so it bounds as memory.max does.
_V2 = _Names("memory.current", ("memory.max", "memory.high"), "memory.peak", "inactive_file", "active_file")


@dataclass(frozen=True, slots=True)
class _Use:
    all_mb: float
    working_mb: float
    held_mb: float


@dataclass(slots=True)
class _Gaps:
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_group(group: Group) -> GroupMemory:
    """Return what a group's files say; what they do not say is told."""
    if not group.chain:
        return GroupMemory()
    gaps = _Gaps()
    found = _version_1(group, gaps) if group.version == 1 else _version_2(group, gaps)
    return replace(found, version=group.version, missing=tuple(gaps.missing), notes=tuple(gaps.notes))


def _version_2(group: Group, gaps: _Gaps) -> GroupMemory:
    # A group without the controller is accounted to the nearest group above that has it.
    chain = tuple(folder for folder in group.chain if exists(folder / _V2.current))
    own = group.chain[0]
    if not chain:
        # The root of the machine has no such files, and no limit.
        if (len(group.chain) > 1 or exists(own / "cgroup.type")) and not group.hidden:
            gaps.missing.append(
                f"{own} has no {_V2.current}, memory.max or memory.events (its memory controller is off), so "
                "neither a limit nor a kill can be seen; start the sweep with `systemd-run --user --scope "
                f"-p MemoryAccounting=yes`, or enable the controller for the group; {FEWER}"
            )
        return GroupMemory()
    found = _walked(chain, _V2, gaps)
    if found.folder is None:
        return found
    own = chain[0]
    kills, source = None, own / "memory.events"
    for source in (own / "memory.events", own / "memory.events.local"):
        kills = figures(read_text(source)).get("oom_kill")
        if kills is not None:
            break
    if kills is None:
        gaps.missing.append(_no_counter(own, "memory.events"))
    return replace(
        found,
        oom_kills=kills,
        kills_from=None if kills is None else str(source),
        pressure=pressure_of(read_text(own / "memory.pressure")),
    )


def _version_1(group: Group, gaps: _Gaps) -> GroupMemory:
    own = group.chain[0]
    # Without hierarchy (old kernels) limits of the groups above do not hold.
    alone = number(read_text(own / "memory.use_hierarchy")) == 0
    found = _walked((own,) if alone else group.chain, _V1, gaps)
    if found.folder is None:
        return found
    found = _with_unseen_limit(found, own)
    control = figures(read_text(own / "memory.oom_control"))
    kills = control.get("oom_kill")
    if kills is None:
        gaps.missing.append(_no_counter(own, "memory.oom_control with oom_kill"))
    if control.get("oom_kill_disable"):
        gaps.notes.append(
            f"{own / 'memory.oom_control'} has oom_kill_disable 1: at the limit jobs hang instead of being "
            "killed; write 0 into it (docker run without --oom-kill-disable)"
        )
    return replace(
        found, oom_kills=kills, kills_from=None if kills is None else str(own / "memory.oom_control")
    )


def _with_unseen_limit(found: GroupMemory, own: Path) -> GroupMemory:
    """Add the lowest limit of all groups above, which version 1 tells even where a container hides them."""
    lowest = figures(read_text(own / "memory.stat")).get("hierarchical_memory_limit", _UNLIMITED)
    lowest_mb = lowest / _MIB
    if not 0 < lowest < _UNLIMITED or any(bound.capacity_mb <= lowest_mb for bound in found.bounds):
        return found
    use = _used(own, _V1) or _Use(found.current_mb, found.current_mb, found.current_mb)
    name = f"hierarchical_memory_limit in {own / 'memory.stat'}"
    bound = Bound(name=name, capacity_mb=lowest_mb, working_mb=use.working_mb, held_mb=use.held_mb)
    return replace(found, folder=own, limit=bound, bounds=(*found.bounds, bound), current_mb=use.all_mb)


def _no_counter(own: Path, what: str) -> str:
    return (
        f"{own} has no {what}, so a job that the kernel kills for want of memory cannot be told by this "
        "group's counter; mount the group's files into the container, or use a Linux kernel of 4.13 or "
        f"later; {FEWER}"
    )


def _walked(chain: tuple[Path, ...], names: _Names, gaps: _Gaps) -> GroupMemory:
    """Return use, limit and peak of the group with the least room between its use and its limit."""
    own = _used(chain[0], names)
    if own is None:
        gaps.missing.append(
            f"{chain[0] / names.current} is not there or holds no number, so the memory in use under the "
            f"limit of this group is unknown; make the group's files readable; {FEWER}"
        )
        return GroupMemory()
    if not exists(chain[0] / "memory.stat"):
        gaps.notes.append(f"{chain[0]} has no memory.stat: page cache counts as used, so jobs wait longer")
    bounds: list[tuple[Path, Bound]] = []
    for folder in chain:
        use = _used(folder, names) or own
        for name in names.limits:
            limit = _limit(folder / name, gaps, needed=folder == chain[0] and name == names.limits[0])
            if limit is not None:
                bound = Bound(
                    name=str(folder / name),
                    capacity_mb=limit,
                    working_mb=use.working_mb,
                    held_mb=use.held_mb,
                )
                bounds.append((folder, bound))
    least = min(bounds, key=lambda b: b[1].capacity_mb - b[1].held_mb, default=None)
    folder = least[0] if least else chain[0]
    peak = number(read_text(folder / names.peak))
    if peak is None:
        gaps.notes.append(
            f"{folder} has no {names.peak}: the most that was used is known only from looking again and "
            "again (Linux keeps it from 5.19 on)"
        )
    return GroupMemory(
        folder=folder,
        limit=least[1] if least else None,
        bounds=tuple(bound for _, bound in bounds),
        current_mb=(_used(folder, names) or own).all_mb,
        peak_mb=None if peak is None else peak / _MIB,
    )


def _used(folder: Path, names: _Names) -> _Use | None:
    current = number(read_text(folder / names.current))
    if current is None:
        return None
    stat = figures(read_text(folder / "memory.stat"))
    idle, busy = stat.get(names.inactive, 0), stat.get(names.active, 0)
    return _Use(current / _MIB, max(current - idle, 0) / _MIB, max(current - idle - busy, 0) / _MIB)


def _limit(path: Path, gaps: _Gaps, *, needed: bool) -> float | None:
    """Return a limit in MiB, None where there is none; what cannot be understood is told."""
    text = read_text(path)
    if text is None:
        if needed:
            gaps.missing.append(
                f"{path} cannot be read, so a limit on memory may stay unseen; make it readable; {FEWER}"
            )
        return None
    limit = number(text)
    if limit:
        return None if limit >= _UNLIMITED else limit / _MIB
    if text.strip() not in ("max", "-1"):
        gaps.missing.append(
            f"{path}: expected a number of bytes or max, found {text.strip()[:40]!r}, so that limit is "
            f"unknown; set it again; {FEWER}"
        )
    return None
