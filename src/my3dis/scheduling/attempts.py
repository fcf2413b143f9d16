"""Keep account of the attempts of each job, decide on another one, and tell in the end what became of it."""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass, field

from my3dis.config import Config
from my3dis.runs.events import now_utc
from my3dis.runs.layout import RunLayout
from my3dis.scheduling.job_spec import JobSpec
from my3dis.scheduling.jobs import Job, JobOutcome, JobStatus, Need, SweepPlan
from my3dis.scheduling.process import Ended
from my3dis.scheduling.retry import Retry, RetryPolicy, need_after_stop, next_attempt

__all__ = ["Attempts", "failure_of", "run_layout"]


@dataclass(slots=True)
class _Tried:
    """What was tried for one job."""

    need: Need
    settings: tuple[tuple[str, int], ...] = ()
    alone: bool = False
    starts: int = 0
    stops: int = 0
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    evidence: list[str] = field(default_factory=list)


class Attempts:
    """The attempts of all jobs of a plan.

    Args:
        plan: the jobs.
        policy: how far they are helped.
    """

    def __init__(self, plan: SweepPlan, policy: RetryPolicy) -> None:
        self._plan = plan
        self._policy = policy
        self._since = now_utc()
        self._tried = {job.id: _Tried(job.need) for job in plan.jobs}
        self._outcomes: dict[str, JobOutcome] = {}

    def need(self, job: Job) -> Need:
        """Return what the next attempt of a job occupies."""
        return self._tried[job.id].need

    def alone(self, job: Job) -> bool:
        """Return whether nothing may run beside the next attempt of a job."""
        return self._tried[job.id].alone

    def starts(self, job: Job) -> int:
        """Return how often a job was started."""
        return self._tried[job.id].starts

    def begin(self, job: Job, *, profile_memory: bool = False, on_gpus: bool = False) -> JobSpec:
        """Count a start, and return what the worker is to do."""
        tried = self._tried[job.id]
        tried.starts += 1
        lent = _lent_devices(self._plan.config) if on_gpus else ()
        return JobSpec(
            job_id=job.id,
            scan=job.scan,
            config=self._plan.config,
            stages=job.stages,
            keep=self._plan.keep,
            profile_memory=profile_memory,
            settings=(*tried.settings, *lent),
            since=self._since,
            complete=not job.after,
            threads=tried.need.threads,
        )

    def stopped(self, job: Job, ended: Ended, rss_mb: float) -> Need:
        """Count an attempt that the guard ended, which is no failure of the job; return its next need."""
        tried = self._count(job, ended)
        tried.stops += 1
        tried.need = need_after_stop(tried.need, rss_mb, self._policy.capacity_mb)
        return tried.need

    def retry(self, job: Job, ended: Ended, message: str, evidence: tuple[str, ...]) -> Retry | None:
        """Count an attempt that failed; return the next one, or None when the job has failed for good."""
        tried = self._count(job, ended)
        tried.evidence.extend(sentence for sentence in evidence if sentence not in tried.evidence)
        outcome = JobOutcome(
            job=job,
            status=JobStatus.FAILED,
            peak_rss_mb=ended.peak_rss_mb,
            exit_code=ended.exit_code,
            signal=ended.signal,
            message=message,
            evidence=evidence,
        )
        retry = next_attempt(outcome, tried.starts - tried.stops, tried.need, self._policy)
        if retry is not None:
            tried.need, tried.alone, tried.settings = retry.need, retry.alone, retry.settings
        else:
            self.close(job, JobStatus.FAILED, ended, message=message)
        return retry

    def done(self, job: Job, ended: Ended) -> None:
        """Count an attempt that succeeded."""
        self._count(job, ended)
        self.close(job, JobStatus.DONE, ended)

    def cancelled(self, job: Job, ended: Ended | None = None) -> None:
        """Record a job that was not finished when the sweep was stopped."""
        if ended is not None:
            self._count(job, ended)
        self.close(job, JobStatus.CANCELLED, ended, message="the sweep was stopped")

    def close(
        self, job: Job, status: JobStatus, ended: Ended | None = None, *, message: str | None = None
    ) -> None:
        """Record what became of a job."""
        tried = self._tried[job.id]
        self._outcomes[job.id] = JobOutcome(
            job=job,
            status=status,
            attempts=tried.starts,
            seconds=round(tried.seconds, 3),
            peak_rss_mb=round(tried.peak_rss_mb, 1),
            exit_code=ended.exit_code if ended else None,
            signal=ended.signal if ended else None,
            message=message,
            evidence=tuple(tried.evidence),
        )

    def open(self) -> tuple[Job, ...]:
        """Return the jobs of which it is not known yet what becomes of them."""
        return tuple(job for job in self._plan.jobs if job.id not in self._outcomes)

    def outcomes(self) -> tuple[JobOutcome, ...]:
        """Return what became of each job, in the plan's order; what is open counts as cancelled."""
        for job in self.open():
            self.cancelled(job)
        return tuple(self._outcomes[job.id] for job in self._plan.jobs)

    def _count(self, job: Job, ended: Ended) -> _Tried:
        tried = self._tried[job.id]
        tried.seconds += ended.seconds
        tried.peak_rss_mb = max(tried.peak_rss_mb, ended.peak_rss_mb)
        return tried


def run_layout(plan: SweepPlan, job: Job) -> RunLayout:
    """Return the files of the run that a job belongs to."""
    return RunLayout(plan.output_root / job.scene / plan.config.experiment.name)


def failure_of(ended: Ended, told: Mapping[str, object], log: str) -> str:
    """Return one sentence about a failed attempt.

    Args:
        ended: how its process ended.
        told: its last event, empty when it told nothing of its end.
        log: path of its log.
    """
    if isinstance(told.get("error"), str):
        text = str(told["error"])
        return text if not text.startswith("a bug of ours") else f"{text} (see {log})"
    if ended.signal is not None:
        return f"ended by {signals.Signals(ended.signal).name} (see {log})"
    return f"ended with exit code {ended.exit_code} without a word of its own (see {log})"


def _lent_devices(config: Config) -> tuple[tuple[str, object], ...]:
    """Return the settings by which a job finds the GPU that was lent to it: the first of those it sees."""
    stages = config.stages
    lent: list[tuple[str, object]] = []
    if stages.gpu is not None:
        lent.append(("stages.gpu", 0))
    for key, device in (
        ("stages.ssam.device", stages.ssam.device),
        ("stages.tracker.device", stages.tracker.device),
    ):
        if device.startswith("cuda:"):
            lent.append((key, "cuda:0"))
    return tuple(lent)
