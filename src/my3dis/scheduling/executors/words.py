"""How the executors tell what happens, so that it reads the same wherever jobs run."""

from __future__ import annotations

from collections.abc import Callable

from my3dis.scheduling.format_plan import format_seconds
from my3dis.scheduling.jobs import Job, JobEvent, SweepPlan
from my3dis.scheduling.process import Ended

__all__ = ["Facts", "Observe", "figures", "started", "tell", "work_of"]

Observe = Callable[[JobEvent], None]
Facts = dict[str, float | int | str]


def tell(observe: Observe, kind: str, text: str, job: Job | None = None, **facts: float | int | str) -> None:
    """Tell an event of a job, or of the sweep."""
    observe(JobEvent(kind=kind, text=text, job_id=job.id if job else None, facts=tuple(facts.items())))


def started(observe: Observe, job: Job, attempt: int, pid: int, *, gpus: str = "", host: str = "") -> None:
    """Tell that an attempt of a job runs.

    Args:
        observe: is told.
        job: of the attempt.
        attempt: which, from 1.
        pid: of its process.
        gpus: that it may use, separated by commas.
        host: machine on which it runs; empty for this one.
    """
    words = [
        ", ".join(job.stages),
        f"attempt {attempt}" if attempt > 1 else "",
        f"GPU {gpus}" if gpus else "",
        f"on {host}" if host else "",
    ]
    where: Facts = {"host": host} if host else {}
    text = f"started ({'; '.join(word for word in words if word)})"
    tell(observe, "started", text, job, attempt=attempt, pid=pid, gpus=gpus, **where)


def figures(ended: Ended) -> Facts:
    """Return the figures of an attempt that ended."""
    found: Facts = {"seconds": round(ended.seconds, 3), "peak_rss_mb": round(ended.peak_rss_mb, 1)}
    if ended.exit_code is not None:
        found["exit_code"] = ended.exit_code
    if ended.signal is not None:
        found["signal"] = ended.signal
    return found


def work_of(plan: SweepPlan) -> str:
    """Return how much work a plan is, in words."""
    return f"about {format_seconds(sum(job.seconds for job in plan.jobs))} of work"
