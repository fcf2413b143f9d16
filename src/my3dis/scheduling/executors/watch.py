"""Watch the memory of a sweep: ask the guard at a steady pace, and tell when what it allows has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from my3dis.monitoring.device import nvml_library
from my3dis.monitoring.evidence import GPU_EVIDENCE
from my3dis.monitoring.gpus import Gpu, find_gpus
from my3dis.monitoring.guard import GuardDecision, MemoryGuard, RunningJob
from my3dis.scheduling.jobs import JobEvent, Need
from my3dis.scheduling.process import JobProcess

__all__ = ["Watch"]

_LOOK_EVERY_S = 0.2
_TELL_EVERY_S = 1.0
_GPUS_EVERY_S = 2.0


class Watch:
    """Looks at memory for a sweep, and remembers what it saw.

    Args:
        guard: decides.
        observe: is told of changes, and of the memory once a second.

    Attributes:
        reason: why no job may start, empty when some may.
    """

    def __init__(self, guard: MemoryGuard, observe: Callable[[JobEvent], None]) -> None:
        self._guard = guard
        self._observe = observe
        self._running: list[RunningJob] = []
        self._rss_mb: dict[str, float] = {}
        self._next_look = self._next_tell = self._next_gpus = float("-inf")
        self._allowed: tuple[bool, int | None] = (True, guard.max_jobs)
        self._gpus: tuple[Gpu, ...] = ()
        self._library = nvml_library()
        self.reason = ""
        if guard.warning is not None:
            observe(JobEvent(kind="warning", text=guard.warning))
        self._decision = guard.decide(())

    def look(self, running: Mapping[str, tuple[JobProcess, Need]]) -> GuardDecision | None:
        """Return what the guard says now; None when it was asked a moment ago."""
        now = time.monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + _LOOK_EVERY_S
        self._running = []
        for job_id, (process, need) in running.items():
            rss_mb = process.look()
            self._rss_mb[job_id] = max(rss_mb, 0.0) or self._rss_mb.get(job_id, 0.0)
            self._running.append(
                RunningJob(job_id=job_id, started=process.started, rss_mb=rss_mb, need_mb=need.memory_mb)
            )
        self._decision = self._guard.decide(self._running)
        self.reason = "" if self._decision.admit else self._decision.reason
        self._tell_change()
        if now >= self._next_tell:
            self._next_tell = now + _TELL_EVERY_S
            self._tell_memory(now)
        return self._decision

    def soon(self) -> None:
        """Look again at the next occasion, since something has ended."""
        self._next_look = float("-inf")

    def may_start(self, need: Need) -> bool:
        """Return whether a job of this need may start beside those that run and those just started."""
        return self._decision.admit and self._guard.may_start(need.memory_mb, self._running)

    def starting(self, job_id: str, need: Need) -> None:
        """Count a job that starts, before it is seen to run."""
        self._running.append(
            RunningJob(job_id=job_id, started=time.monotonic(), rss_mb=0.0, need_mb=need.memory_mb)
        )

    def last_rss_mb(self, job_id: str) -> float:
        """Return what a job held when it was last seen to hold something."""
        return self._rss_mb.get(job_id, 0.0)

    @staticmethod
    def on_host(evidence: tuple[str, ...]) -> bool:
        """Return whether evidence of a shortage is about the host's memory."""
        return any(not sentence.startswith(GPU_EVIDENCE) for sentence in evidence)

    def _tell_change(self) -> None:
        decision = self._decision
        # Running as many as are allowed is no news; that fewer or more are allowed is.
        closed = not decision.admit and "at most" not in decision.reason
        allowed = (not closed, decision.max_jobs)
        if allowed == self._allowed:
            return
        self._allowed = allowed
        if decision.reason:
            text = decision.reason
        elif decision.max_jobs is None:
            text = "memory is calm: as many jobs as there is room for"
        else:
            text = f"memory is calm: up to {decision.max_jobs} jobs at a time"
        facts: tuple[tuple[str, float | int | str], ...] = (("admit", int(decision.admit)),)
        if decision.max_jobs is not None:
            facts = (*facts, ("max_jobs", decision.max_jobs))
        self._observe(JobEvent(kind="admission", text=text, facts=facts))

    def _tell_memory(self, now: float) -> None:
        facts: list[tuple[str, float | int | str]] = [
            ("running", len(self._running)),
            ("jobs_mb", round(sum(job.rss_mb for job in self._running), 1)),
        ]
        bounds = self._guard.host.bounds
        if bounds:
            bound = max(bounds, key=lambda one: one.working_mb / one.capacity_mb)
            soft_mb, hard_mb = self._guard.marks_mb(bound)
            figures = (bound.working_mb, bound.capacity_mb, soft_mb, hard_mb)
            names = ("used_mb", "capacity_mb", "soft_mb", "hard_mb")
            facts += [(name, round(figure, 1)) for name, figure in zip(names, figures, strict=True)]
        if self._library is not None and now >= self._next_gpus:
            self._next_gpus = now + _GPUS_EVERY_S
            self._gpus = find_gpus(self._library, use_torch=False).devices
        for gpu in self._gpus:
            facts.append((f"gpu {gpu.index} used_mb", round(gpu.used_mb, 1)))
            facts.append((f"gpu {gpu.index} total_mb", round(gpu.total_mb, 1)))
        self._observe(JobEvent(kind="memory", text="", facts=tuple(facts)))
