"""The words of a sweep: what a job needs, what a plan holds, what became of a job, what is told meanwhile.

A job is a run of consecutive stages of one scene that need the same resources; it is one process. Splitting
a scene where its needs change lets one scene's lifting (no GPU) overlap another's tracking (a GPU).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from my3dis.config import Config

__all__ = [
    "Executor",
    "Job",
    "JobEvent",
    "JobOutcome",
    "JobStatus",
    "Need",
    "ReusedStage",
    "SweepPlan",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a job occupies while it runs.

    Attributes:
        gpus: how many GPUs; 0 for stages without a model.
        gpu_memory_mb: on each of them; 0 = the whole GPU.
        threads: of the processor.
        memory_mb: host memory.
    """

    gpus: int = 0
    gpu_memory_mb: int = 0
    threads: int = 1
    memory_mb: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One process to run.

    Attributes:
        id: ``<scene>:<first stage>``, unique in a plan.
        scene, scan: the scan's name and path.
        stages: consecutive stages, in order.
        need: what it occupies.
        seconds: how long it is expected to take.
        after: ids of the jobs that must have succeeded before.
        why: why its stages are made, such as ``not made yet``.
    """

    id: str
    scene: str
    scan: Path
    stages: tuple[str, ...]
    need: Need
    seconds: float
    after: tuple[str, ...] = ()
    why: str = "not made yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReusedStage:
    """A stage that is there already with these settings."""

    scene: str
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """Everything that a sweep will do, in the order in which it would be done on one machine.

    Attributes:
        config: the settings of every scene.
        output_root: folder of all runs, resolved.
        scenes: names of all scenes, those with nothing to do included.
        jobs: what will run; a job comes after those that it waits for.
        reused: what is there already.
        keep: refuse to replace results that were made with other settings.
    """

    config: Config
    output_root: Path
    scenes: tuple[str, ...]
    jobs: tuple[Job, ...]
    reused: tuple[ReusedStage, ...] = ()
    keep: bool = False


class JobStatus(enum.StrEnum):
    """How a job ended; ``blocked`` jobs waited for one that failed."""

    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """What became of a job after its last attempt.

    Attributes:
        job: the job.
        status: how it ended.
        attempts: how often it was started.
        seconds: wall time of all attempts.
        peak_rss_mb: highest host memory of its processes, 0 when unknown.
        exit_code: of the last attempt; None when a signal ended it or it never ran.
        signal: number of the signal that ended the last attempt, or None.
        message: one sentence when it failed.
        evidence: what was seen of a shortage, such as ``oom_kill 3 -> 4 in /sys/fs/cgroup/...``.
    """

    job: Job
    status: JobStatus
    attempts: int = 0
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    exit_code: int | None = None
    signal: int | None = None
    message: str | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """Something that happened to a job or to the sweep, as it is shown and recorded.

    Attributes:
        kind: ``started``, ``ready`` (its process has loaded everything), ``stage`` (a stage of it began or
            ended), ``progress``, ``finished``, ``failed``, ``requeued``, ``stopping`` (the guard asks it to
            stop), ``stopped`` (it waits again), ``admission`` (fewer or more jobs may run), ``memory`` (a
            look at the host), ``lease``, ``warning``, ``blocked``, ``cancelled``.
        job_id: the job, or None when it is about the sweep.
        text: a sentence for a person.
        facts: named figures, such as ``("done", 12)`` and ``("total", 60)``.
    """

    kind: str
    text: str
    job_id: str | None = None
    facts: tuple[tuple[str, float | int | str], ...] = ()


class Executor(Protocol):
    """Runs the jobs of a plan somewhere: on this machine, on Ray or through SLURM."""

    def run(self, plan: SweepPlan, observe: Callable[[JobEvent], None]) -> tuple[JobOutcome, ...]:
        """Run every job, retry what a shortage ended, and return what became of each, in the plan's order.

        A job that fails never stops the others; those that wait for it are ``blocked``. Ctrl-C cancels what
        runs and returns with those jobs ``cancelled``; a second one kills at once.

        Args:
            plan: what to do.
            observe: told everything that happens, from one thread at a time.
        """
        ...
