"""How an executor is to work; each takes what concerns it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from my3dis.monitoring.guard import GuardTiming

__all__ = ["ExecutorOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorOptions:
    """Options of an executor.

    Attributes:
        parallel: jobs at a time; None takes ``experiment.parallel_scenes`` of the plan, or what there is.
        attempts: of a job that dies of a shortage; None takes ``experiment.retries`` of the plan.
        profile_memory: keep the curve of every stage's memory.
        leases: file of the table of what is lent on this machine; None takes the one of this user.
        environment: variables for the processes of jobs, beside those of this process.
        timing: how patient the guard of memory is.
        grace_s: seconds that a job has to stop when it is asked to, before it is killed.
        stop_s: the same for a job that the guard stops, since memory goes on growing meanwhile.
        address: of a cluster, for executors that have one.
        orphan_s: jobs on other machines stop when nothing is heard of their driver for so long.
    """

    parallel: int | None = None
    attempts: int | None = None
    profile_memory: bool = False
    leases: Path | None = None
    environment: tuple[tuple[str, str], ...] = ()
    timing: GuardTiming | None = None
    grace_s: float = 30.0
    stop_s: float = 5.0
    address: str | None = None
    orphan_s: float = 120.0
