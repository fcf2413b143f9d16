"""The state of a sweep on a cluster: what it was given, what is heard of it, and what follows from that.

The cluster places jobs; whether a job is tried again, and with what, is decided here as on one machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from my3dis.errors import ResourceError
from my3dis.scheduling.attempts import Attempts, failure_of, run_layout
from my3dis.scheduling.executors.cluster import Cluster, Gone, Work
from my3dis.scheduling.executors.cluster_queue import ClusterQueue
from my3dis.scheduling.executors.mailbox import SweepFolder
from my3dis.scheduling.executors.on_node import Order
from my3dis.scheduling.executors.options import ExecutorOptions
from my3dis.scheduling.executors.words import Observe, figures, started, tell
from my3dis.scheduling.jobs import Job, JobStatus, SweepPlan
from my3dis.scheduling.process import Ended
from my3dis.scheduling.retry import RetryPolicy, batches_of

__all__ = ["ClusterSweep"]

_MOST_LOSSES = 5
"""A job that its machine or its time was taken from so often has failed: it may be what ends its machines."""
_MEMORY_EVERY_S = 5.0
_LAST_WAIT_S = 15.0
"""After everything was cancelled, how long the cluster has to say so."""
_TOLD = frozenset(("stage", "progress", "ready"))


@dataclass(slots=True)
class _Sent:
    """An attempt that the cluster has."""

    job: Job
    sent: float
    on_gpu: bool
    host: str = ""
    begun: float | None = None
    rss_mb: float = 0.0
    report: dict[str, Any] | None = None
    gone: Gone | None = None
    gone_at: float = 0.0


@dataclass(slots=True)
class _Lost:
    """What the cluster took from a job."""

    places: int = 0
    timeouts: int = 0
    since: dict[str, int] = field(default_factory=dict)


class ClusterSweep:
    """The state of a sweep on a cluster.

    Args:
        plan: the jobs.
        observe: is told everything.
        options: how.
        cluster: where.
        folder: through which jobs are heard.
    """

    def __init__(
        self,
        plan: SweepPlan,
        observe: Observe,
        options: ExecutorOptions,
        *,
        cluster: Cluster,
        folder: SweepFolder,
    ) -> None:
        self._plan, self._observe, self._options = plan, observe, options
        self._cluster, self._folder = cluster, folder
        experiment = plan.config.experiment
        self._parallel = options.parallel or experiment.parallel_scenes
        policy = RetryPolicy(
            attempts=options.attempts or experiment.retries + 1,
            capacity_mb=cluster.capacity_mb,
            batches=batches_of(plan.config),
        )
        self.attempts = Attempts(plan, policy)
        self._queue = ClusterQueue(plan)
        self._sent: dict[str, _Sent] = {}
        self._lost = {job.id: _Lost() for job in plan.jobs}
        self._number = {job.id: n for n, job in enumerate(plan.jobs)}
        self._gathering: float | None = None
        self._memory_at = 0.0
        self._cancelled_at: float | None = None
        self._killed_at: float | None = None

    def goes_on(self) -> bool:
        """Return whether the cluster has something or is still to get something."""
        if self._sent:
            return self._killed_at is None or time.monotonic() < self._killed_at + _LAST_WAIT_S
        return self._cancelled_at is None and not self._queue.is_empty

    def submit(self) -> None:
        """Hand over what may come now."""
        now = time.monotonic()
        chosen = self._choose()
        if not chosen:
            self._gathering = None
            return
        if self._gathering is None:
            self._gathering = now
        if self._sent and now - self._gathering < self._cluster.gather_s:
            return
        self._gathering = None
        works = [self._work(job) for job in chosen]
        try:
            self._cluster.submit(works)
        except ResourceError as error:
            for work in works:
                self._sent.pop(work.key)
                self._fail(work.job, None, str(error))

    def listen(self) -> None:
        """Hear what jobs tell, and which attempts the cluster says are over."""
        now = time.monotonic()
        self._folder.beat()
        for key, gone in self._cluster.gone():
            sent = self._sent.get(key)
            if sent is not None:
                sent.gone, sent.gone_at = gone, now
        for key, sent in self._sent.items():
            for event in self._folder.news(key):
                self._hear(key, sent, event)
        if now - self._memory_at >= _MEMORY_EVERY_S:
            self._memory_at = now
            running = [sent for sent in self._sent.values() if sent.begun is not None]
            jobs_mb = round(sum(sent.rss_mb for sent in running), 1)
            tell(self._observe, "memory", "", running=len(running), jobs_mb=jobs_mb)

    def collect(self) -> None:
        """Deal with attempts that are over."""
        now = time.monotonic()
        for key, sent in list(self._sent.items()):
            if sent.report is not None:
                del self._sent[key]
                self._judge(sent, sent.report)
            elif sent.gone is not None and (
                sent.gone.kind not in ("ended", "lost") or now - sent.gone_at >= self._cluster.settle_s
            ):
                del self._sent[key]
                self._judge_gone(sent, sent.gone)

    def cancel(self, *, at_once: bool) -> None:
        """Ask all jobs to stop and take back what has not begun, or end everything."""
        now = time.monotonic()
        if self._cancelled_at is None:
            self._cancelled_at = now
            running = sum(sent.begun is not None for sent in self._sent.values())
            text = (
                f"stopping {running} jobs, {len(self._sent) - running} in the queue of {self._cluster.name}"
            )
            tell(self._observe, "cancelled", f"{text}; Ctrl-C again kills them")
            self._folder.stop(at_once=False)
            self._cluster.cancel([k for k, s in self._sent.items() if s.begun is None], at_once=False)
        too_long = now - self._cancelled_at > self._options.grace_s + _LAST_WAIT_S
        if self._killed_at is None and (at_once or too_long):
            self._killed_at = now
            self._folder.stop(at_once=True)
            self._cluster.cancel(list(self._sent), at_once=True)

    def close(self) -> None:
        """Leave nothing running that can still be reached."""
        if self._sent:
            self._folder.stop(at_once=True)
            self._cluster.cancel(list(self._sent), at_once=True)
        self._cluster.close()

    def _choose(self) -> list[Job]:
        """Return the jobs to hand over now."""
        free = None if self._parallel is None else self._parallel - len(self._sent)
        ahead = {on_gpu: self._waiting(on_gpu=on_gpu) for on_gpu in (True, False)}
        chosen: list[Job] = []
        for job in self._queue.ready():
            if free is not None and len(chosen) >= free:
                break
            need = self.attempts.need(job)
            never = self._cluster.never(need)
            if never:
                self._queue.take(job)
                self._fail(job, None, f"{job.id} can never run there: {never}")
                continue
            on_gpu = need.gpus > 0
            if self._cluster.ahead is not None and ahead[on_gpu] >= self._cluster.ahead:
                continue
            ahead[on_gpu] += 1
            chosen.append(job)
        return chosen

    def _waiting(self, *, on_gpu: bool) -> int:
        return sum(sent.begun is None and sent.on_gpu == on_gpu for sent in self._sent.values())

    def _work(self, job: Job) -> Work:
        need, options = self.attempts.need(job), self._options
        spec = self.attempts.begin(job, profile_memory=options.profile_memory, on_gpus=need.gpus > 0)
        key = f"{self._number[job.id]}-{self.attempts.starts(job)}"
        order = Order(
            key=key,
            spec=spec,
            log=self._log(job),
            folder=self._folder.path,
            gpus=need.gpus,
            environment=options.environment,
            grace_s=options.grace_s,
            orphan_s=options.orphan_s,
        )
        self._queue.take(job)
        self._sent[key] = _Sent(job, time.monotonic(), need.gpus > 0)
        return Work(
            key=key,
            job=job,
            need=need,
            alone=self.attempts.alone(job),
            order=order.to_json(),
            timeouts=self._lost[job.id].timeouts,
        )

    def _hear(self, key: str, sent: _Sent, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "begun":
            sent.begun, sent.host = time.monotonic(), str(event["host"])
            attempt = int(key.rpartition("-")[2])
            gpus = str(event.get("gpus", ""))
            started(self._observe, sent.job, attempt, int(event["pid"]), gpus=gpus, host=sent.host)
        elif kind == "alive":
            sent.rss_mb = float(event["rss_mb"])
        elif kind == "ended":
            sent.report = dict(event)
        elif kind in _TOLD:
            facts = {k: v for k, v in event.items() if k != "event" and isinstance(v, int | float | str)}
            text = f"{event.get('stage', '')} {event.get('state', '')}".strip()
            tell(self._observe, kind, text, sent.job, **facts)

    def _judge(self, sent: _Sent, report: Mapping[str, Any]) -> None:
        """Decide what follows from the end of an attempt that its machine told of."""
        job = sent.job
        ended = Ended(
            exit_code=report.get("exit_code"),
            signal=report.get("signal"),
            seconds=float(report.get("seconds", 0.0)),
            peak_rss_mb=float(report.get("peak_rss_mb", 0.0)),
        )
        if ended.exit_code == 0:
            self.attempts.done(job, ended)
            self._queue.done(job)
            tell(self._observe, "finished", f"finished in {ended.seconds:.1f} s", job, **figures(ended))
        elif self._cancelled_at is not None:
            self._cancel_job(job, ended)
        elif report.get("stopped"):
            gone = sent.gone or Gone("lost")
            self._take_again(sent, ended, gone.kind, str(report["stopped"]))
        else:
            evidence = tuple(str(sentence) for sentence in report.get("evidence", ()))
            self._retry(sent, ended, failure_of(ended, report, str(self._log(job))), evidence)

    def _judge_gone(self, sent: _Sent, gone: Gone) -> None:
        """Decide what follows from an attempt of which only the cluster knows that it is over."""
        seconds = time.monotonic() - sent.begun if sent.begun is not None else 0.0
        ended = Ended(exit_code=None, signal=None, seconds=seconds, peak_rss_mb=sent.rss_mb)
        if self._cancelled_at is not None:
            self._cancel_job(sent.job, ended)
        elif gone.kind == "memory":
            self._retry(sent, ended, gone.text, (gone.text,))
        elif gone.kind in ("cancelled", "failed"):
            self._fail(sent.job, ended, gone.text)
        else:
            self._take_again(sent, ended, gone.kind, gone.text or "it ended without a word")

    def _retry(self, sent: _Sent, ended: Ended, message: str, evidence: tuple[str, ...]) -> None:
        job = sent.job
        retry = self.attempts.retry(job, ended, message, evidence)
        if retry is None:
            self._fail(job, ended, message, evidence)
            return
        self._queue.put_back(job)
        facts = figures(ended) | {"evidence": "; ".join(evidence), "host": sent.host}
        tell(self._observe, "requeued", retry.reason, job, **facts)

    def _take_again(self, sent: _Sent, ended: Ended, kind: str, why: str) -> None:
        """Put back a job whose place was taken from it, which is no failure of its own."""
        job, lost = sent.job, self._lost[sent.job.id]
        lost.places += 1
        lost.timeouts += kind == "time"
        if lost.places >= _MOST_LOSSES:
            self._fail(job, ended, f"{why} ({lost.places} times; see {self._log(job)})")
            return
        self.attempts.stopped(job, ended, 0.0)
        self._queue.put_back(job)
        text = f"{why}; it waits for another place, what it finished is kept"
        tell(self._observe, "requeued", text, job, host=sent.host, **figures(ended))

    def _cancel_job(self, job: Job, ended: Ended) -> None:
        self.attempts.cancelled(job, ended)
        tell(self._observe, "cancelled", "stopped; what it finished is kept", job, **figures(ended))

    def _fail(self, job: Job, ended: Ended | None, message: str, evidence: tuple[str, ...] = ()) -> None:
        self._folder.keep = self._cluster.keeps_files
        self.attempts.close(job, JobStatus.FAILED, ended, message=message)
        facts = (figures(ended) if ended else {}) | ({"evidence": "; ".join(evidence)} if evidence else {})
        tell(self._observe, "failed", f"failed: {message}", job, **facts)
        for other in self._queue.failed(job):
            self.attempts.close(other, JobStatus.BLOCKED, message=f"{job.id} failed")
            tell(self._observe, "blocked", f"not started, since {job.id} failed", other)

    def _log(self, job: Job) -> Path:
        return run_layout(self._plan, job).log
