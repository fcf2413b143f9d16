"""Decide which job starts next and where: pure, so that the executors and the simulation share it.

Scenes that were begun come before fresh ones, and within either the job with the longest way to the end of
its scene comes first. A job that does not fit lets others pass it, but not for ever: once it was passed
`OVERTAKES` times by jobs that took what it lacks, its place is kept free as what runs there ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from my3dis.errors import ResourceError
from my3dis.scheduling.capacity import Capacity
from my3dis.scheduling.jobs import Job, Need, SweepPlan
from my3dis.scheduling.placing import Hosts, Start
from my3dis.scheduling.waiting import GPUS, Floors, Queue, Waiting, followers_of, ways_to_the_end

__all__ = ["OVERTAKES", "Dispatcher", "Refusal", "Start"]

OVERTAKES = 8
"""How often a job is passed before its place is kept free."""

_NOT_PLACED = frozenset(("gpus", "threads", "memory"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A job that can never run.

    Attributes:
        job: the job.
        reason: why, in words.
        blocked: jobs that wait for it, directly or not, in the plan's order.
    """

    job: Job
    reason: str
    blocked: tuple[Job, ...] = ()


class Dispatcher:
    """The queue of a sweep, and what runs of it.

    Args:
        plan: the jobs.
        capacity: what the machine can give, or what each of several can.
        max_jobs: how many run at a time at most, None for no limit but what there is.

    Attributes:
        refused: jobs that can never run, with the reason and those that wait for them. Those with more
            threads or memory than there is are not among them: they run alone.

    Raises:
        StageError: if the plan's jobs are not in the order in which they wait for each other.
    """

    def __init__(
        self, plan: SweepPlan, capacity: Capacity | Sequence[Capacity], *, max_jobs: int | None = None
    ) -> None:
        self._hosts = Hosts([capacity] if isinstance(capacity, Capacity) else capacity)
        self._max_jobs = max_jobs
        self._followers = followers_of(plan.jobs)
        ways = ways_to_the_end(plan.jobs, self._followers)
        self._waiting: dict[str, Waiting] = {}
        self._ready = Queue()
        self._starved: dict[str, Waiting] = {}
        self._running: dict[str, tuple[Start, Waiting]] = {}
        self._begun = {reused.scene for reused in plan.reused}
        self.refused: list[Refusal] = []
        for order, job in enumerate(plan.jobs):
            self._waiting[job.id] = Waiting(job, job.need, ways[job.id], order, missing=set(job.after))
        for waiting in list(self._waiting.values()):
            self._settle(waiting)
        for waiting in self._waiting.values():
            if not waiting.missing:
                self._make_ready(waiting)

    @property
    def running(self) -> tuple[Start, ...]:
        """What runs now, in the order in which it was started."""
        return tuple(start for start, _ in self._running.values())

    @property
    def done(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self._running and not self._waiting

    @property
    def waiting(self) -> tuple[Job, ...]:
        """All jobs that have not started or were put back, in the plan's order."""
        return tuple(entry.job for entry in sorted(self._waiting.values(), key=lambda entry: entry.order))

    def ready(self) -> tuple[Job, ...]:
        """Return the jobs that wait for no other, in the order in which they are tried."""
        return tuple(entry.job for entry in self._order(Floors(sum(self._hosts.up)), {}))

    def start(
        self,
        now: float,
        may_start: Callable[[Job], bool] | None = None,
        place: Callable[[Start], tuple[str, ...] | None] | None = None,
    ) -> tuple[Start, ...]:
        """Return the jobs to start now; they count as running from here on.

        Args:
            now: seconds on any clock.
            may_start: asked about each job that fits; False leaves it in the queue. All jobs when None.
            place: asked last, with what is proposed: returns the ids of the GPUs that the job really gets, or
                None when others hold what it needs (a lease table). Not asked again in this call about jobs
                that need as much.
        """
        started: list[Start] = []
        passed: dict[frozenset[str], list[Waiting]] = {}
        floors = Floors(sum(self._hosts.up))
        for entry in self._order(floors, passed):
            if self._max_jobs is not None and len(self._running) >= self._max_jobs:
                break
            # What is kept for a job is free to nobody else, so others' failures say nothing about it.
            starved = entry.job.id in self._starved
            short = None if starved else floors.short(entry)
            found = short or self._propose(entry, floors, may_start, place)
            if isinstance(found, Start):
                self._begin(entry, found, now)
                self._count_overtakes(found, passed)
                started.append(found)
            else:
                passed.setdefault(found, []).append(entry)
                if starved:
                    self._keep_free(entry)
        return tuple(started)

    def finished(self, job_id: str, ok: bool) -> tuple[Job, ...]:
        """Count a running job as ended, and return the jobs that will never run because it failed."""
        start, _ = self._running.pop(job_id)
        self._hosts.remove(start)
        if not ok:
            return self._block(job_id)
        for follower in self._followers[job_id]:
            entry = self._waiting.get(follower)
            if entry is not None:
                entry.missing.discard(job_id)
                if not entry.missing:
                    self._make_ready(entry)
        return ()

    def requeue(self, job_id: str, need: Need | None = None, alone: bool = False) -> None:
        """Put a running job back; it starts again when what it needs now is there.

        Args:
            job_id: of the job.
            need: from now on; as before when None.
            alone: nothing may run beside it on its machine.

        Raises:
            ResourceError: if the need can never be met; the job then counts as running until `finished`.
        """
        start, entry = self._running[job_id]
        need = need or start.need
        hosts, reason = self._hosts.possible(need)
        if not hosts:
            raise ResourceError(f"{job_id} can never run with what it needs now: {reason}")
        del self._running[job_id]
        self._hosts.remove(start)
        entry.need, entry.alone = need, alone
        self._assign(entry, hosts)
        self._waiting[job_id] = entry
        self._make_ready(entry)

    def limit(self, max_jobs: int | None) -> None:
        """Change how many jobs run at a time; more that run already go on."""
        self._max_jobs = max_jobs

    def lose(self, host: int) -> tuple[Job, ...]:
        """Take a machine away and return the jobs that ran there; they wait again, for another one."""
        lost = [start for start in self.running if start.host == host]
        self._hosts.lose(host)
        for start in lost:
            _, entry = self._running.pop(start.job.id)
            self._hosts.remove(start)
            self._waiting[start.job.id] = entry
            self._make_ready(entry)
        for entry in list(self._waiting.values()):
            self._settle(entry)
        return tuple(start.job for start in lost)

    def _order(self, floors: Floors, passed: dict[frozenset[str], list[Waiting]]) -> Iterator[Waiting]:
        """Yield what is ready in the order in which it is tried: who waited too long first."""
        yield from (first := tuple(self._starved.values()))
        for entry in self._ready.walk(floors, passed):
            if entry not in first:
                yield entry

    def _propose(
        self,
        entry: Waiting,
        floors: Floors,
        may_start: Callable[[Job], bool] | None,
        place: Callable[[Start], tuple[str, ...] | None] | None,
    ) -> Start | frozenset[str]:
        """Return where a job starts now, or what is short for it."""
        found = self._hosts.place(entry.job, entry.need, entry.hosts, alone=entry.alone)
        if not isinstance(found, Start):
            floors.learn(entry, found)
            return found
        if may_start is not None and not may_start(entry.job):
            return _NOT_PLACED
        if place is None:
            return found
        gpu_ids = place(found)
        floors.learn_refusal(entry, gpu_ids)
        return _NOT_PLACED if gpu_ids is None else replace(found, gpu_ids=gpu_ids)

    def _settle(self, entry: Waiting) -> None:
        """Find the machines where a job can run, or refuse it and what waits for it."""
        if entry.job.id not in self._waiting:
            return  # it waited for one that was refused
        hosts, reason = self._hosts.possible(entry.need)
        if hosts:
            self._assign(entry, hosts)
            return
        self._withdraw(entry)
        blocked = self._block(entry.job.id)
        self.refused.append(Refusal(entry.job, f"{entry.job.id} can never run here: {reason}", blocked))

    def _assign(self, entry: Waiting, hosts: tuple[int, ...]) -> None:
        entry.hosts = hosts
        entry.exceeds = self._hosts.capacities[hosts[0]].exceeded(entry.need)

    def _make_ready(self, entry: Waiting) -> None:
        entry.rank = entry.job.scene not in self._begun, -entry.way_s, entry.order
        self._ready.add(entry)

    def _begin(self, entry: Waiting, start: Start, now: float) -> None:
        self._withdraw(entry)
        self._hosts.add(start, now)
        self._running[entry.job.id] = start, entry
        entry.overtaken = 0
        if entry.job.scene not in self._begun:
            self._begun.add(entry.job.scene)
            for other in self._ready.of_scene(entry.job.scene):
                self._ready.remove(other)
                self._make_ready(other)

    def _withdraw(self, entry: Waiting) -> None:
        """Take a job out of the queue."""
        del self._waiting[entry.job.id]
        self._starved.pop(entry.job.id, None)
        self._hosts.forget(entry.job.id)
        self._ready.remove(entry)

    def _block(self, job_id: str) -> tuple[Job, ...]:
        """Take out of the queue whatever waits for a job, and return it in the plan's order."""
        found: dict[int, Job] = {}
        behind = list(self._followers[job_id])
        while behind:
            follower = behind.pop()
            entry = self._waiting.get(follower)
            if entry is not None:
                self._withdraw(entry)
                found[entry.order] = entry.job
                behind.extend(self._followers[follower])
        return tuple(job for _, job in sorted(found.items()))

    def _count_overtakes(self, start: Start, passed: dict[frozenset[str], list[Waiting]]) -> None:
        """Count a start against those before it that lack what it took."""
        for short, entries in passed.items():
            if not start.need.gpus and short == GPUS:
                continue
            for entry in entries:
                entry.overtaken += 1
                if entry.overtaken == OVERTAKES:
                    self._starved[entry.job.id] = entry
                    self._keep_free(entry)

    def _keep_free(self, entry: Waiting) -> None:
        if not self._hosts.keeps(entry.job.id):
            self._hosts.keep(entry.job.id, entry.need, entry.hosts, alone=entry.alone)
