"""A made-up host: its /proc and its control groups of either version, as files below a folder."""

from __future__ import annotations

from pathlib import Path

MIB = 1 << 20
V1_UNLIMITED = 9223372036854771712


class FakeHost:
    """Files of a host with a given memory; what a test does not write is not there."""

    def __init__(self, root: Path, *, total_mb: int = 64_000, available_mb: int = 60_000) -> None:
        self.root = root
        (root / "proc/self").mkdir(parents=True)
        self.meminfo(total_mb, available_mb)
        self._mounts: list[str] = []

    def write(self, path: str, text: str | int) -> Path:
        """Write a file of the host."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")
        return place

    def remove(self, path: str) -> None:
        """Remove a file of the host."""
        (self.root / path.lstrip("/")).unlink()

    def path(self, path: str) -> str:
        """Return a path as results name it."""
        return str(self.root / path.lstrip("/"))

    def meminfo(self, total_mb: int, available_mb: int, swap_mb: int = 0) -> None:
        """Write what the machine has."""
        lines = (
            f"MemTotal:       {total_mb * 1024} kB",
            f"MemFree:        {available_mb * 512} kB",
            f"MemAvailable:   {available_mb * 1024} kB",
            f"SwapTotal:      {swap_mb * 1024} kB",
            f"SwapFree:       {swap_mb * 1024} kB",
            "HugePages_Total:       0",
        )
        self.write("proc/meminfo", "\n".join(lines))

    def vmstat(self, kills: int) -> None:
        """Write the machine's counter of kills."""
        self.write("proc/vmstat", f"nr_free_pages 12\noom_kill {kills}\npgfault 9")

    def pressure(self, path: str, some: float, full: float) -> None:
        """Write a pressure file."""
        tail = "avg60=1.00 avg300=2.00 total=123"
        self.write(path, f"some avg10={some:.2f} {tail}\nfull avg10={full:.2f} {tail}")

    def own(self, *lines: str) -> None:
        """Write the groups of this process."""
        self.write("proc/self/cgroup", "\n".join(lines))

    def mount(self, version: int, place: str, within: str = "/") -> None:
        """Mount control groups; without any mount the list of mounts does not exist."""
        kind = "cgroup cgroup rw,memory" if version == 1 else "cgroup2 cgroup rw,nsdelegate"
        escaped = place.replace(" ", "\\040")
        self._mounts.append(
            f"{30 + len(self._mounts)} 23 0:26 {within} {escaped} rw,nosuid shared:9 - {kind}"
        )
        self.write("proc/self/mountinfo", "\n".join(["22 1 8:1 / / rw - ext4 /dev/sda1 rw", *self._mounts]))
        (self.root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def group_v2(
        self,
        place: str,
        *,
        current_mb: float = 1000,
        limit: str | int = "max",
        peak_mb: float | None = 1500,
        kills: int | None = 0,
        cache_mb: tuple[float, float] = (0, 0),
    ) -> None:
        """Write a group of version 2 with the memory controller; ``cache_mb`` = (inactive, active)."""
        self.write(f"{place}/cgroup.type", "domain")
        self.write(f"{place}/memory.current", int(current_mb * MIB))
        self.write(f"{place}/memory.max", limit)
        self.write(f"{place}/memory.high", "max")
        idle, busy = (int(size * MIB) for size in cache_mb)
        self.write(f"{place}/memory.stat", f"anon 5\ninactive_file {idle}\nactive_file {busy}\nslab 3")
        if peak_mb is not None:
            self.write(f"{place}/memory.peak", int(peak_mb * MIB))
        if kills is not None:
            self.write(f"{place}/memory.events", f"low 0\nhigh 0\nmax 7\noom 2\noom_kill {kills}")

    def group_v1(
        self,
        place: str,
        *,
        current_mb: float = 1000,
        limit: int = V1_UNLIMITED,
        peak_mb: float = 1500,
        kills: int | None = 0,
        cache_mb: tuple[float, float] = (0, 0),
        hierarchical: int = V1_UNLIMITED,
    ) -> None:
        """Write a group of version 1."""
        self.write(f"{place}/memory.use_hierarchy", 1)
        self.write(f"{place}/memory.usage_in_bytes", int(current_mb * MIB))
        self.write(f"{place}/memory.limit_in_bytes", limit)
        self.write(f"{place}/memory.max_usage_in_bytes", int(peak_mb * MIB))
        idle, busy = (int(size * MIB) for size in cache_mb)
        self.write(
            f"{place}/memory.stat",
            f"cache 1\ninactive_file 1\nhierarchical_memory_limit {hierarchical}\n"
            f"total_inactive_file {idle}\ntotal_active_file {busy}",
        )
        counter = "" if kills is None else f"\noom_kill {kills}"
        self.write(f"{place}/memory.oom_control", f"oom_kill_disable 0\nunder_oom 0{counter}")
