"""The jobs of a sweep that a cluster has not got yet, in the order in which it should get them."""

from __future__ import annotations

from collections.abc import Iterable

from my3dis.scheduling.jobs import Job, SweepPlan
from my3dis.scheduling.waiting import followers_of, ways_to_the_end

__all__ = ["ClusterQueue"]


class ClusterQueue:
    """Jobs that wait, for others or for a place; the cluster itself decides where and when they run.

    Scenes that were begun come before fresh ones, and within either the job with the longest way to the end
    of its scene comes first, as on one machine.

    Args:
        plan: the jobs.

    Raises:
        StageError: if the plan's jobs are not in the order in which they wait for each other.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self._followers = followers_of(plan.jobs)
        self._ways = ways_to_the_end(plan.jobs, self._followers)
        self._order = {job.id: n for n, job in enumerate(plan.jobs)}
        self._jobs = {job.id: job for job in plan.jobs}
        self._missing = {job.id: set(job.after) for job in plan.jobs}
        self._begun = {reused.scene for reused in plan.reused}
        self._ready = {job.id for job in plan.jobs if not job.after}

    @property
    def is_empty(self) -> bool:
        """Whether no job waits."""
        return not self._jobs

    def ready(self) -> tuple[Job, ...]:
        """Return the jobs that wait for no other, the most urgent first."""
        return tuple(sorted((self._jobs[job_id] for job_id in self._ready), key=self._rank))

    def take(self, job: Job) -> None:
        """Take a job out, since the cluster gets it."""
        self._ready.discard(job.id)
        del self._jobs[job.id]
        self._begun.add(job.scene)

    def put_back(self, job: Job) -> None:
        """Put back a job that has to be tried again."""
        self._jobs[job.id] = job
        self._ready.add(job.id)

    def done(self, job: Job) -> None:
        """Count a job as succeeded: what waited for it may come."""
        for follower in self._followers[job.id]:
            self._missing[follower].discard(job.id)
            if not self._missing[follower] and follower in self._jobs:
                self._ready.add(follower)

    def failed(self, job: Job) -> tuple[Job, ...]:
        """Return the jobs that will never run because this one failed, in the plan's order, and drop them."""
        behind = [*self._followers[job.id]]
        found: dict[str, Job] = {}
        while behind:
            follower = behind.pop()
            if follower in self._jobs:
                found[follower] = self._jobs.pop(follower)
                self._ready.discard(follower)
                behind.extend(self._followers[follower])
        return self._in_order(found.values())

    def _in_order(self, jobs: Iterable[Job]) -> tuple[Job, ...]:
        return tuple(sorted(jobs, key=lambda job: self._order[job.id]))

    def _rank(self, job: Job) -> tuple[bool, float, int]:
        return job.scene not in self._begun, -self._ways[job.id], self._order[job.id]
