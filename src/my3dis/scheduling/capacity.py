"""What a machine can give to jobs, what is given of it, and whether a need fits into the rest.

The dispatcher counts its own jobs with it, the lease table those of every process on the machine.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from my3dis.errors import ConfigError, ResourceError
from my3dis.monitoring.gpus import Gpus, find_gpus
from my3dis.monitoring.host import HostMemory, read_host_memory
from my3dis.monitoring.machine import processors
from my3dis.scheduling.jobs import Need

__all__ = ["Capacity", "Gpu", "Occupancy", "choose_gpus", "machine_capacity"]

_ROOM_SHARE, _ROOM_MB = 0.2, 16_384
"""Host memory that is never promised to jobs: at most the share, at most so much; the guard's soft mark."""
_UNKNOWN_MB = 1 << 30
"""Stands for host memory that cannot be read: no bound on what is promised, the guard halves the jobs."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of a machine.

    Attributes:
        id: its index as the driver counts, or what else it is called by.
        uuid: of the GPU or of the part of one, None when unknown.
        memory_mb: MiB, 0 when unknown; it is then lent as a whole only.
    """

    id: str
    uuid: str | None = None
    memory_mb: int = 0

    @property
    def key(self) -> str:
        """What it is called in the lease table: the same in every process, whatever that one sees."""
        return self.uuid or self.id

    @property
    def whole_mb(self) -> int:
        """What all of it counts as."""
        return max(1, self.memory_mb)

    def share_mb(self, need: Need) -> int:
        """Return what a job takes of it, MiB; more than `whole_mb` when it is too small."""
        return need.gpu_memory_mb if need.gpu_memory_mb and self.memory_mb else self.whole_mb


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one machine can give at a time: GPUs, threads, and host memory in MiB."""

    gpus: tuple[Gpu, ...] = ()
    threads: int = 1
    memory_mb: int = _UNKNOWN_MB

    def gpus_lack(self, need: Need) -> str | None:
        """Return why the GPUs of a need are never here, in words, or None when they are."""
        if need.gpus > len(self.gpus):
            return f"it needs {need.gpus} GPU{'s' * (need.gpus > 1)}, there {_are(len(self.gpus))}"
        fitting = sum(gpu.share_mb(need) <= gpu.whole_mb for gpu in self.gpus)
        if need.gpus > fitting:
            largest = max(gpu.memory_mb for gpu in self.gpus)
            return (
                f"it needs {need.gpu_memory_mb:,} MiB on {need.gpus} GPU{'s' * (need.gpus > 1)}, which "
                f"{fitting} of {len(self.gpus)} have (the largest has {largest:,})"
            )
        return None

    def exceeded(self, need: Need) -> bool:
        """Return whether a need is more threads or host memory than there are: it can only run alone."""
        return need.threads > self.threads or need.memory_mb > self.memory_mb

    def clipped(self, need: Need, *, alone: bool = False) -> Need:
        """Return a need with no more threads and memory than there are, or with all of both."""
        if alone or self.exceeded(need):
            return replace(need, threads=self.threads, memory_mb=self.memory_mb)
        return need


def choose_gpus(
    need: Need, gpus: Iterable[Gpu], used_mb: Mapping[str, int], prefer: tuple[str, ...] = ()
) -> tuple[Gpu, ...] | None:
    """Return the GPUs for a need, the emptiest first (jobs share its speed), or None when too few have room.

    Args:
        need: of the job.
        gpus: that may be taken.
        used_mb: MiB taken by `Gpu.key`.
        prefer: ids to take before others, where they have room.
    """
    if not need.gpus:
        return ()
    free = [
        (gpu.id not in prefer, used_mb.get(gpu.key, 0) - gpu.whole_mb, n, gpu)
        for n, gpu in enumerate(gpus)
        if used_mb.get(gpu.key, 0) + gpu.share_mb(need) <= gpu.whole_mb
    ]
    if len(free) < need.gpus:
        return None
    return tuple(gpu for *_, gpu in sorted(free, key=lambda entry: entry[:3])[: need.gpus])


class Occupancy:
    """What of one machine is given to jobs; whatever is taken is given back with the same arguments.

    Attributes:
        capacity: of the machine.
        used_mb: MiB of each GPU that is taken, by `Gpu.key`.
        threads, memory_mb: taken on the host.
        jobs: how many there are.
    """

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.used_mb: Counter[str] = Counter()
        self.threads = 0
        self.memory_mb = 0
        self.jobs = 0
        self._gpus = {gpu.id: gpu for gpu in capacity.gpus}

    def copy(self) -> Occupancy:
        """Return another one that holds the same."""
        other = Occupancy(self.capacity)
        other.used_mb = self.used_mb.copy()
        other.threads, other.memory_mb, other.jobs = self.threads, self.memory_mb, self.jobs
        return other

    def host_lacks(self, need: Need, *, alone: bool = False) -> frozenset[str]:
        """Return which of ``threads`` and ``memory`` are short; a job alone lacks both beside others."""
        capacity = self.capacity
        if alone or capacity.exceeded(need):
            return frozenset(("threads", "memory")) if self.jobs else frozenset()
        threads = self.threads + need.threads > capacity.threads
        memory = self.memory_mb + need.memory_mb > capacity.memory_mb
        if not (threads or memory):
            return frozenset()
        return frozenset(name for name, short in (("threads", threads), ("memory", memory)) if short)

    def gpus_for(self, need: Need, prefer: tuple[str, ...] = ()) -> tuple[str, ...] | None:
        """Return ids of the GPUs that a job would get, or None when too few have room."""
        if not need.gpus:
            return ()
        found = choose_gpus(need, self.capacity.gpus, self.used_mb, prefer)
        return None if found is None else tuple(gpu.id for gpu in found)

    def take(self, need: Need, gpu_ids: tuple[str, ...], *, alone: bool = False) -> None:
        """Count a job; a need that exceeds the host counts as all of it."""
        self._add(need, gpu_ids, alone, 1)

    def give(self, need: Need, gpu_ids: tuple[str, ...], *, alone: bool = False) -> None:
        """Count a job no more."""
        self._add(need, gpu_ids, alone, -1)

    def _add(self, need: Need, gpu_ids: tuple[str, ...], alone: bool, sign: int) -> None:
        held = self.capacity.clipped(need, alone=alone)
        for gpu_id in gpu_ids:
            gpu = self._gpus[gpu_id]
            self.used_mb[gpu.key] += sign * gpu.share_mb(need)
        self.threads += sign * held.threads
        self.memory_mb += sign * held.memory_mb
        self.jobs += sign


def machine_capacity(
    *,
    gpus: tuple[str, ...] | None = None,
    environment: Mapping[str, str] | None = None,
    found: Gpus | None = None,
    host: HostMemory | None = None,
    root: Path = Path("/"),
) -> Capacity:
    """Return what this machine can give to jobs of this process.

    GPUs are those of the driver that ``CUDA_VISIBLE_DEVICES`` leaves. Indices in it count as the driver does
    (``CUDA_DEVICE_ORDER=PCI_BUS_ID``), which differs from CUDA's own order only between unlike GPUs.

    Args:
        gpus: use only these: positions among the visible ones, as ``stages.gpu`` counts, or UUIDs.
        environment: with ``CUDA_VISIBLE_DEVICES``; of this process when None.
        found: GPUs of the driver; looked up when None.
        host: memory; looked up when None.
        root: of the file system; another one in tests.

    Raises:
        ResourceError: if one of ``gpus`` is not there.
    """
    devices = (found or find_gpus(use_torch=False)).devices
    known = tuple(Gpu(str(gpu.index), gpu.uuid or None, int(gpu.total_mb)) for gpu in devices)
    visible = _visible(
        known, (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    )
    if gpus is not None:
        visible = tuple(_named(name, visible) for name in dict.fromkeys(gpus))
    bound = (host or read_host_memory(root)).capacity_mb
    memory_mb = int(bound - min(_ROOM_SHARE * bound, _ROOM_MB)) if bound else _UNKNOWN_MB
    return Capacity(gpus=visible, threads=processors(root).usable, memory_mb=max(1, memory_mb))


def _visible(known: tuple[Gpu, ...], names: str | None) -> tuple[Gpu, ...]:
    """Return what CUDA would see: names in order, up to the first that is none, as CUDA reads them."""
    if names is None:
        return known
    found: dict[str, Gpu] = {}
    for name in (part.strip() for part in names.split(",")):
        if name.isdecimal():
            gpu = next((gpu for gpu in known if gpu.id == str(int(name))), None)
        elif name.startswith("MIG-"):
            gpu = Gpu(name, name)  # a part of a GPU, which the list of GPUs does not show
        elif name.startswith("GPU-"):
            matching = [gpu for gpu in known if gpu.uuid and gpu.uuid.startswith(name)]
            gpu = matching[0] if len(matching) == 1 else None
        else:
            gpu = None
        if gpu is None:
            break
        found.setdefault(gpu.key, gpu)
    return tuple(found.values())


def _named(name: str, visible: tuple[Gpu, ...]) -> Gpu:
    if name.isdecimal():
        if int(name) < len(visible):
            return visible[int(name)]
    elif name.startswith(("GPU-", "MIG-")):
        for gpu in visible:
            if gpu.uuid == name:
                return gpu
    else:
        raise ConfigError(f"expected the number or the UUID of a GPU, found {name!r}")
    here = ", ".join(f"{n} ({gpu.key})" for n, gpu in enumerate(visible)) or "none"
    raise ResourceError(
        f"GPU {name} was asked for, but this process sees {here}; choose one of them (stages.gpu), or change "
        "CUDA_VISIBLE_DEVICES"
    )


def _are(count: int) -> str:
    return "is none" if not count else "is 1" if count == 1 else f"are {count}"
