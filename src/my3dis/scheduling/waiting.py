"""Jobs in a queue: how far each is from the end of its scene, and what is known not to fit."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from my3dis.errors import StageError
from my3dis.scheduling.jobs import Job, Need

__all__ = ["GPUS", "Floors", "Queue", "Waiting", "followers_of", "ways_to_the_end"]

GPUS, _HOST = frozenset(("gpus",)), frozenset(("threads", "memory"))
_NEVER = 1 << 62


@dataclass(slots=True, eq=False)
class Waiting:
    """A job that has not started, or that was put back.

    Attributes:
        job: the job.
        need: what it occupies now; more than the job's own after a shortage.
        way_s: seconds of work along the longest way to the end of its scene, itself included.
        order: in the plan.
        alone: nothing may run beside it.
        hosts: machines where it can run.
        exceeds: its need is more threads or memory than any of them has.
        missing: ids of jobs that must succeed before.
        overtaken: how often another took what it lacked.
        rank: it is tried before those with a higher one.
    """

    job: Job
    need: Need
    way_s: float
    order: int
    alone: bool = False
    hosts: tuple[int, ...] = ()
    exceeds: bool = False
    missing: set[str] = field(default_factory=set)
    overtaken: int = 0
    rank: tuple[bool, float, int] = (True, 0.0, 0)


class Queue:
    """Jobs that may start, in the order in which they are tried, apart by the GPUs that they need."""

    def __init__(self) -> None:
        self._alike: dict[tuple[int, int], list[Waiting]] = {}
        self._of_scene: dict[str, list[Waiting]] = {}

    def add(self, entry: Waiting) -> None:
        """Put a job where its rank belongs."""
        alike = self._alike.setdefault((entry.need.gpus, entry.need.gpu_memory_mb), [])
        bisect.insort(alike, entry, key=_rank)
        self._of_scene.setdefault(entry.job.scene, []).append(entry)

    def remove(self, entry: Waiting) -> None:
        """Take a job out; one that is not in it is left alone."""
        alike = self._alike.get((entry.need.gpus, entry.need.gpu_memory_mb), [])
        n = bisect.bisect_left(alike, entry.rank, key=_rank)
        if n < len(alike) and alike[n] is entry:
            del alike[n]
            self._of_scene[entry.job.scene].remove(entry)

    def of_scene(self, scene: str) -> tuple[Waiting, ...]:
        """Return the jobs of a scene."""
        return tuple(self._of_scene.get(scene, ()))

    def walk(self, floors: Floors, passed: dict[frozenset[str], list[Waiting]]) -> Iterator[Waiting]:
        """Yield the jobs in order; all for which no GPU is left go to ``passed`` at once, unseen."""
        lists = [list(alike) for alike in self._alike.values() if alike]
        heads = [(alike[0].rank, n, 0) for n, alike in enumerate(lists)]
        heapq.heapify(heads)
        while heads:
            _, n, place = heads[0]
            entry = lists[n][place]
            if floors.without_gpu(entry):
                heapq.heappop(heads)
                passed.setdefault(GPUS, []).extend(lists[n][place:])
                continue
            yield entry
            if place + 1 < len(lists[n]):
                heapq.heapreplace(heads, (lists[n][place + 1].rank, n, place + 1))
            else:
                heapq.heappop(heads)


class Floors:
    """What did not fit in one pass through the queue, so that whatever needs as much is not tried."""

    def __init__(self, hosts: int) -> None:
        self._all = hosts
        self._gpus, self._share_mb = _NEVER, _NEVER
        self._threads, self._memory_mb = _NEVER, _NEVER

    def short(self, entry: Waiting) -> frozenset[str] | None:
        """Return what is known to be short for a job, or None when it has to be tried."""
        need = entry.need
        if self.without_gpu(entry):
            return GPUS
        return _HOST if need.threads >= self._threads or need.memory_mb >= self._memory_mb else None

    def without_gpu(self, entry: Waiting) -> bool:
        """Return whether GPUs are known to be short for a job."""
        need = entry.need
        return need.gpus >= self._gpus and (need.gpu_memory_mb or _NEVER) >= self._share_mb

    def learn(self, entry: Waiting, short: frozenset[str]) -> None:
        """Remember what is short on every machine for a job."""
        need = entry.need
        if len(entry.hosts) < self._all:
            return  # others may go where it never fits
        if "gpus" in short:
            share_mb = need.gpu_memory_mb or _NEVER
            if self._gpus == _NEVER or (need.gpus <= self._gpus and share_mb <= self._share_mb):
                self._gpus, self._share_mb = need.gpus, share_mb
        if entry.alone or entry.exceeds:
            return  # it lacks what others do not need
        if "threads" in short:
            self._threads = min(self._threads, need.threads)
        if "memory" in short:
            self._memory_mb = min(self._memory_mb, need.memory_mb)

    def learn_refusal(self, entry: Waiting, gpu_ids: tuple[str, ...] | None) -> None:
        """Remember that others hold what a job needs."""
        if gpu_ids is None:
            self.learn(entry, GPUS if entry.need.gpus else _HOST)


def _rank(entry: Waiting) -> tuple[bool, float, int]:
    return entry.rank


def followers_of(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Return which jobs wait for each."""
    followers: dict[str, list[str]] = {}
    for job in jobs:
        for before in dict.fromkeys(job.after):
            if before not in followers:
                raise StageError(
                    f"plan: {job.id} waits for {before}, which should come before it in the plan and does "
                    "not; plan the sweep again"
                )
            followers[before].append(job.id)
        if job.id in followers:
            raise StageError(f"plan: expected every job once, found {job.id} twice; plan the sweep again")
        followers[job.id] = []
    return followers


def ways_to_the_end(jobs: Sequence[Job], followers: dict[str, list[str]]) -> dict[str, float]:
    """Return how many seconds of work follow each job along its longest way, itself included."""
    ways: dict[str, float] = {}
    for job in reversed(jobs):
        ways[job.id] = job.seconds + max((ways[follower] for follower in followers[job.id]), default=0.0)
    return ways
