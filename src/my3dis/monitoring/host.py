"""How much host memory this process may use, how much is used, and what the kernel tells of shortages.

Three sources: control groups of version 2 or of version 1 (whichever has the memory controller), else the
machine as a whole. The machine counts beside a group's limit too: whichever is nearer to its end decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from my3dis.monitoring.cgroups import Pressure, figures, find_group, pressure_of, read_text
from my3dis.monitoring.group_memory import FEWER, Bound, GroupMemory, read_group

__all__ = ["Bound", "HostMemory", "Pressure", "read_host_memory", "safe_concurrency", "warning_of"]

_MIB = 1 << 20
Source = Literal["cgroup v2", "cgroup v1", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """One look at the memory of this host, in MiB.

    Attributes:
        source: which was found.
        limit_mb: of the group nearest to its limit, None without one.
        current_mb: used there, page cache included; of the machine where no group was found.
        peak_mb: the most that was used there, None where the kernel does not keep it.
        oom_kills: processes killed for want of memory so far, None when nothing counts them.
        pressure: stalls, None where the kernel does not measure them.
        missing: a sentence per thing that the guard needs and cannot see: what, why it matters, what to do.
        notes: sentences about lesser gaps.
        group: the group that was read, or None.
        limit_from, kills_from: files that gave limit and kills, for a person.
        bounds: what may run out, the machine last.
        total_mb, available_mb, swap_total_mb, swap_free_mb: of the machine; 0 when unknown.
    """

    source: Source
    limit_mb: float | None = None
    current_mb: float = 0.0
    peak_mb: float | None = None
    oom_kills: int | None = None
    pressure: Pressure | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    group: str | None = None
    limit_from: str | None = None
    kills_from: str | None = None
    bounds: tuple[Bound, ...] = ()
    total_mb: float = 0.0
    available_mb: float = 0.0
    swap_total_mb: float = 0.0
    swap_free_mb: float = 0.0

    @property
    def capacity_mb(self) -> float:
        """The most that may ever be used: the lowest bound; 0 when nothing is known."""
        return min((bound.capacity_mb for bound in self.bounds), default=0.0)

    @property
    def used_share(self) -> float:
        """Working memory as a share of the bound that is nearest to its end."""
        return max((bound.working_mb / bound.capacity_mb for bound in self.bounds), default=0.0)


def read_host_memory(root: Path = Path("/")) -> HostMemory:
    """Look at the memory of this host; never raises.

    Args:
        root: of the file system; another one in tests.
    """
    machine = _machine(root)
    group = find_group(root)
    found = read_group(group)
    host = _joined(machine, found)
    missing = [*machine.missing, *found.missing]
    if group.hidden:
        missing.insert(
            0,
            f"{group.hidden}, so a memory limit set on this process and the kills that it causes may stay "
            "unseen; start the container with its own cgroup namespace (docker run --cgroupns=private) or "
            f"mount /sys/fs/cgroup into it; {FEWER}",
        )
    if host.pressure is None:
        host = replace(host, pressure=pressure_of(read_text(root / "proc/pressure/memory")))
    if host.oom_kills is None:
        kills = figures(read_text(root / "proc/vmstat")).get("oom_kill")
        host = replace(host, oom_kills=kills, kills_from=None if kills is None else "/proc/vmstat")
        if kills is None and not missing:
            missing.append(
                "no counter of killed processes is there (/proc/vmstat has no oom_kill), so a job that the "
                "kernel kills for want of memory looks like any other killed job, and every killed job is "
                f"treated as one; a Linux kernel of 4.13 or later counts them; {FEWER}"
            )
    return replace(host, missing=tuple(missing))


def safe_concurrency(host: HostMemory, wanted: int) -> int:
    """Return how many jobs may run at a time: half of what is wanted where the guard cannot see enough."""
    return max(1, wanted // 2) if host.missing else wanted


def warning_of(host: HostMemory) -> str | None:
    """Return the one warning about everything that the guard cannot see here, or None."""
    if not host.missing:
        return None
    return f"memory is watched with less than it should be ({host.source}): {'; '.join(host.missing)}"


def _joined(machine: HostMemory, found: GroupMemory) -> HostMemory:
    if not found.folder:
        return replace(machine, notes=found.notes)
    return replace(
        machine,
        source="cgroup v1" if found.version == 1 else "cgroup v2",
        limit_mb=found.limit.capacity_mb if found.limit else None,
        limit_from=found.limit.name if found.limit else None,
        current_mb=found.current_mb,
        peak_mb=found.peak_mb,
        oom_kills=found.oom_kills,
        kills_from=found.kills_from,
        pressure=found.pressure,
        notes=found.notes,
        group=str(found.folder),
        bounds=(*found.bounds, *machine.bounds),
    )


def _machine(root: Path) -> HostMemory:
    found = {
        name: int(kib) / 1024
        for name, kib in re.findall(
            r"^(\w+): +([0-9]{1,18}) kB$", read_text(root / "proc/meminfo") or "", re.MULTILINE
        )
    }
    total, available = found.get("MemTotal", 0.0), found.get("MemAvailable")
    swap, swap_free = found.get("SwapTotal", 0.0), found.get("SwapFree", 0.0)
    if not total or available is None:
        try:
            memory, swapped = psutil.virtual_memory(), psutil.swap_memory()
        except (OSError, RuntimeError, ValueError, psutil.Error) as error:
            return HostMemory(
                source="system",
                missing=(
                    f"the memory of this machine cannot be read ({error}), so no job can be held back before "
                    f"it runs out; make /proc/meminfo readable; {FEWER}",
                ),
            )
        total, available = memory.total / _MIB, memory.available / _MIB
        swap, swap_free = swapped.total / _MIB, swapped.free / _MIB
    used = max(total - available, 0.0)
    return HostMemory(
        source="system",
        current_mb=used,
        total_mb=total,
        available_mb=available,
        swap_total_mb=swap,
        swap_free_mb=swap_free,
        bounds=(Bound(name="this machine", capacity_mb=total, working_mb=used, held_mb=used),),
    )
