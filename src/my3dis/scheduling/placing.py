"""Where jobs fit: the machines of a sweep, what runs on each, what is kept free for who waited too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from my3dis.scheduling.capacity import Capacity, Occupancy
from my3dis.scheduling.jobs import Job, Need

__all__ = ["Hosts", "Start"]


@dataclass(frozen=True, slots=True)
class Start:
    """A job to start now.

    Attributes:
        job: the job.
        gpu_ids: of the GPUs that it gets, see `Gpu.id`.
        host: number of the machine, 0 where there is one.
        need: what it occupies; more than the job's own after a shortage.
        alone: nothing else may run on its machine meanwhile.
    """

    job: Job
    gpu_ids: tuple[str, ...]
    host: int
    need: Need
    alone: bool = False


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept free on a machine for one job."""

    job_id: str
    need: Need
    gpu_ids: tuple[str, ...]
    alone: bool


class Hosts:
    """Counts what runs on some machines.

    Attributes:
        capacities: of the machines.
        up: whether each is there.
    """

    def __init__(self, capacities: Sequence[Capacity]) -> None:
        self.capacities = tuple(capacities)
        self.up = [True] * len(self.capacities)
        self._taken = [Occupancy(capacity) for capacity in self.capacities]
        # What others than the one for whom something is kept find taken.
        self._found = [Occupancy(capacity) for capacity in self.capacities]
        self._kept: dict[int, _Kept] = {}
        self._running: list[dict[str, tuple[float, Start]]] = [{} for _ in self.capacities]

    def possible(self, need: Need) -> tuple[tuple[int, ...], str]:
        """Return the machines where a need can ever be met, and why there is none.

        A need for more threads or memory than any has goes to the largest, where it runs alone.
        """
        here = [n for n, up in enumerate(self.up) if up]
        lacks = {n: self.capacities[n].gpus_lack(need) for n in here}
        having = [n for n in here if lacks[n] is None]
        if not having:
            return (), next(iter(lacks.values()), None) or "no machine is left"
        whole = tuple(n for n in having if not self.capacities[n].exceeded(need))
        if whole:
            return whole, ""
        return (max(having, key=lambda n: (self.capacities[n].memory_mb, self.capacities[n].threads)),), ""

    def place(self, job: Job, need: Need, hosts: Sequence[int], *, alone: bool) -> Start | frozenset[str]:
        """Return where a job would run now, the machine with most room; nothing is counted yet.

        Where there is none, return which of ``gpus``, ``threads`` and ``memory`` are short on all of them.
        """
        best: tuple[float, Start] | None = None
        short: frozenset[str] | None = None
        for n in hosts:
            kept = self._kept.get(n)
            mine = kept is not None and kept.job_id == job.id
            found = (self._taken if mine else self._found)[n]
            lacks = found.host_lacks(need, alone=alone)
            gpu_ids = found.gpus_for(need, kept.gpu_ids if kept is not None and mine else ())
            if gpu_ids is None:
                lacks |= {"gpus"}
            if lacks or gpu_ids is None:
                short = lacks if short is None else short & lacks
                continue
            room = (1.0 if mine else 0.0) - found.threads / self.capacities[n].threads
            if best is None or room > best[0]:
                best = room, Start(job, gpu_ids, n, need, alone or self.capacities[n].exceeded(need))
            if len(hosts) == 1:
                break
        return best[1] if best else short or frozenset()

    def add(self, start: Start, now: float) -> None:
        """Count a job that starts; whatever was kept for it is its own now."""
        self.forget(start.job.id)
        for occupancy in (self._taken[start.host], self._found[start.host]):
            occupancy.take(start.need, start.gpu_ids, alone=start.alone)
        self._running[start.host][start.job.id] = now + start.job.seconds, start

    def remove(self, start: Start) -> None:
        """Count a job no more."""
        del self._running[start.host][start.job.id]
        for occupancy in (self._taken[start.host], self._found[start.host]):
            occupancy.give(start.need, start.gpu_ids, alone=start.alone)

    def keep(self, job_id: str, need: Need, hosts: Sequence[int], *, alone: bool) -> bool:
        """Keep free, from now on, what a job will need on the machine that has it first; False when none can.

        What is kept stays the same GPUs of the same machine, so that what runs there only has to end.
        """
        best: tuple[float, int, tuple[str, ...]] | None = None
        for n in hosts:
            if n in self._kept:
                continue
            ready = self._first_room(n, need, alone=alone)
            if ready is not None and (best is None or ready[0] < best[0]):
                best = ready[0], n, ready[1]
        if best is None:
            return False
        _, host, gpu_ids = best
        self._kept[host] = _Kept(job_id, need, gpu_ids, alone)
        self._found[host].take(need, gpu_ids, alone=alone)
        return True

    def keeps(self, job_id: str) -> bool:
        """Return whether something is kept for a job."""
        return any(kept.job_id == job_id for kept in self._kept.values())

    def forget(self, job_id: str) -> None:
        """Keep nothing for a job any more."""
        for host, kept in list(self._kept.items()):
            if kept.job_id == job_id:
                del self._kept[host]
                self._found[host].give(kept.need, kept.gpu_ids, alone=kept.alone)

    def lose(self, host: int) -> tuple[str, ...]:
        """Take a machine away; return ids of those for whom something was kept there."""
        self.up[host] = False
        kept = self._kept.get(host)
        if kept is None:
            return ()
        self.forget(kept.job_id)
        return (kept.job_id,)

    def _first_room(self, host: int, need: Need, *, alone: bool) -> tuple[float, tuple[str, ...]] | None:
        """Return when a need is met as jobs end when they should, and by which GPUs."""
        then = self._taken[host].copy()
        ending = sorted(self._running[host].values(), key=lambda entry: entry[0])
        time_s = float("-inf")
        while True:
            gpu_ids = then.gpus_for(need)
            if gpu_ids is not None and not then.host_lacks(need, alone=alone):
                return time_s, gpu_ids
            if not ending:
                return None
            time_s, start = ending.pop(0)
            then.give(start.need, start.gpu_ids, alone=start.alone)
