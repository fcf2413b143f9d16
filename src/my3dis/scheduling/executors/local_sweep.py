"""The state of a sweep on this machine: what runs, what it was lent, and what follows from how it ends."""

from __future__ import annotations

import selectors
import time
from dataclasses import dataclass, field, replace

from my3dis.errors import My3DISError, ResourceError
from my3dis.monitoring.guard import MemoryGuard
from my3dis.monitoring.host import read_host_memory
from my3dis.scheduling.attempts import Attempts, failure_of, run_layout
from my3dis.scheduling.capacity import Capacity, machine_capacity
from my3dis.scheduling.dispatch import Dispatcher
from my3dis.scheduling.executors.options import ExecutorOptions
from my3dis.scheduling.executors.watch import Watch
from my3dis.scheduling.executors.words import Facts, Observe, figures, started, tell
from my3dis.scheduling.jobs import Job, JobStatus, SweepPlan
from my3dis.scheduling.leases import Lease, LeaseTable, environment_of
from my3dis.scheduling.owners import Owner
from my3dis.scheduling.placing import Start
from my3dis.scheduling.process import Ended, JobProcess
from my3dis.scheduling.retry import RetryPolicy, batches_of

__all__ = ["LocalSweep"]

_ASK_AGAIN_S = 1.0
"""After others held what a job needs."""
_WAITED_S = 10.0
"""With nothing running and nothing started, somebody is told who holds what."""


@dataclass(slots=True)
class _Running:
    """A job that runs now."""

    job: Job
    process: JobProcess
    lease: Lease
    told: dict[str, object] = field(default_factory=dict)
    stopped: bool = False
    kill_at: float | None = None


class LocalSweep:
    """The state of a sweep on this machine."""

    def __init__(
        self, plan: SweepPlan, observe: Observe, options: ExecutorOptions, leases: LeaseTable
    ) -> None:
        self._plan, self._observe, self._options, self._leases = plan, observe, options, leases
        experiment = plan.config.experiment
        self._parallel = options.parallel or experiment.parallel_scenes
        self._capacity = _capacity(plan, self._parallel)
        guard = MemoryGuard(
            read_host_memory, wanted=self._parallel or self._capacity.threads, timing=options.timing
        )
        self._watch = Watch(guard, observe)
        self._guard = guard
        policy = RetryPolicy(
            attempts=options.attempts or experiment.retries + 1,
            capacity_mb=guard.host.capacity_mb or None,
            batches=batches_of(plan.config),
        )
        self.attempts = Attempts(plan, policy)
        self._dispatcher = Dispatcher(plan, self._capacity, max_jobs=self._parallel)
        self._owner = Owner.of()
        self._running: dict[str, _Running] = {}
        self._lent: dict[str, Lease] = {}
        self._owed: list[Lease] = []
        self._pay_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._ask_at = 0.0
        self._idle_since = time.monotonic()
        self._cancelling = self._killing = False
        for sentence in leases.reclaim():
            self._tell("lease", sentence)
        self._refuse()

    def goes_on(self) -> bool:
        """Return whether something runs or is still to be run."""
        return bool(self._running) or not (self._cancelling or self._dispatcher.done)

    def start(self) -> None:
        """Start what fits now."""
        now = time.monotonic()
        if self._owed and now >= self._pay_at:
            self._give_back()
        if now < self._ask_at:
            return
        for start in self._dispatcher.start(now, self._may_start, self._place):
            self._launch(start)
        if self._running or not self._dispatcher.waiting:
            self._idle_since = now
        elif now - self._idle_since >= _WAITED_S:
            self._idle_since = now
            self._tell("lease", self._why_idle())

    def cancel(self, *, at_once: bool) -> None:
        """Ask all jobs to stop, or kill them."""
        if not self._cancelling:
            self._cancelling = True
            self._tell("cancelled", f"stopping {len(self._running)} jobs; Ctrl-C again kills them")
            for running in self._running.values():
                running.process.ask()
                running.kill_at = time.monotonic() + self._options.grace_s
        if at_once and not self._killing:
            self._killing = True
            for running in self._running.values():
                running.process.kill()

    def listen(self, seconds: float) -> None:
        """Pass on what jobs tell, waiting at most so long for it."""
        if not self._running:
            time.sleep(seconds)
            return
        for key, _ in self._selector.select(seconds):
            self._hear(key.data)

    def collect(self) -> None:
        """Deal with jobs that have ended."""
        for running in list(self._running.values()):
            if running.kill_at is not None and time.monotonic() >= running.kill_at:
                running.process.kill()
            ended = running.process.poll()
            if ended is None:
                continue
            self._hear(running)
            del self._running[running.job.id]
            log_tail = running.process.log_tail()
            self._release(running)
            self._judge(running, ended, log_tail)
            self._watch.soon()

    def look(self) -> None:
        """Look at memory and obey the guard."""
        due = self._watch.look(
            {r.job.id: (r.process, self.attempts.need(r.job)) for r in self._running.values()}
        )
        if due is None:
            return
        limits = [limit for limit in (self._parallel, due.max_jobs) if limit is not None]
        self._dispatcher.limit(min(limits, default=None))
        running = self._running.get(due.stop or "")
        if running is not None and not running.stopped and not self._cancelling:
            running.stopped = True
            running.kill_at = time.monotonic() + self._options.stop_s
            self._tell("stopping", due.reason, running.job)
            running.process.ask()

    def close(self) -> None:
        """Leave nothing running and nothing lent."""
        for running in self._running.values():
            running.process.kill()
        for running in list(self._running.values()):
            self._release(running)
        self._selector.close()
        try:
            self._leases.release_all(self._owner)
        except ResourceError as error:
            self._tell("lease", f"what this sweep held stays lent until this process ends: {error}")

    def _tell(self, kind: str, text: str, job: Job | None = None, **facts: float | int | str) -> None:
        tell(self._observe, kind, text, job, **facts)

    def _refuse(self) -> None:
        for refusal in self._dispatcher.refused:
            self._fail(refusal.job, None, refusal.reason, refusal.blocked)

    def _may_start(self, job: Job) -> bool:
        return self._watch.may_start(self.attempts.need(job))

    def _place(self, start: Start) -> tuple[str, ...] | None:
        lease = self._leases.acquire(
            self._owner, start.job.id, start.need, self._capacity, prefer=start.gpu_ids, alone=start.alone
        )
        if lease is None:
            self._ask_at = time.monotonic() + _ASK_AGAIN_S
            return None
        self._lent[start.job.id] = lease
        self._watch.starting(start.job.id, start.need)
        return tuple(gpu.id for gpu in lease.gpus)

    def _launch(self, start: Start) -> None:
        job, lease = start.job, self._lent.pop(start.job.id)
        spec = self.attempts.begin(job, profile_memory=self._options.profile_memory, on_gpus=bool(lease.gpus))
        environment = {**environment_of(lease), **dict(self._options.environment)}
        try:
            process = JobProcess(spec, run_layout(self._plan, job).log, environment)
        except My3DISError as error:
            self._give_back(lease)
            self._fail(job, None, str(error), self._dispatcher.finished(job.id, ok=False))
            return
        self._leases.attach(lease, process.pid)
        self._running[job.id] = running = _Running(job, process, lease)
        self._selector.register(process.events_fd, selectors.EVENT_READ, running)
        attempt = self.attempts.starts(job)
        gpus = ",".join(gpu.id for gpu in lease.gpus)
        started(self._observe, job, attempt, process.pid, gpus=gpus)

    def _hear(self, running: _Running) -> None:
        for event in running.process.events():
            kind = event.pop("event", None)
            if kind == "end":
                running.told = event
            elif kind in ("stage", "progress", "ready"):
                facts = {k: v for k, v in event.items() if isinstance(v, int | float | str)}
                self._tell(
                    str(kind),
                    f"{event.get('stage', '')} {event.get('state', '')}".strip(),
                    running.job,
                    **facts,
                )

    def _release(self, running: _Running) -> None:
        if running.process.events_fd >= 0:
            self._selector.unregister(running.process.events_fd)
        running.process.close()
        self._give_back(running.lease)

    def _give_back(self, *leases: Lease) -> None:
        """Give back leases; what the table does not take now is given back later, and told once."""
        self._pay_at = time.monotonic() + _ASK_AGAIN_S
        told = bool(self._owed)
        owed, self._owed = [*self._owed, *leases], []
        while owed:
            try:
                self._leases.release(owed[0])
            except ResourceError as error:
                self._owed = owed
                if not told:
                    held = ", ".join(lease.job_id for lease in owed)
                    self._tell("lease", f"what {held} held could not be given back yet: {error}")
                return
            del owed[0]

    def _judge(self, running: _Running, ended: Ended, log_tail: str) -> None:
        """Decide what follows from the end of an attempt."""
        job, facts = running.job, figures(ended)
        if ended.exit_code == 0:
            self.attempts.done(job, ended)
            self._dispatcher.finished(job.id, ok=True)
            self._tell("finished", f"finished in {ended.seconds:.1f} s", job, **facts)
            return
        if self._cancelling:
            self.attempts.cancelled(job, ended)
            self._dispatcher.finished(job.id, ok=False)
            self._tell("cancelled", "stopped; what it finished is kept", job, **facts)
            return
        if running.stopped:
            need = self.attempts.stopped(job, ended, self._watch.last_rss_mb(job.id))
            self._again(
                job, "stopped", f"stopped for want of memory, waits for {need.memory_mb:,} MiB", facts
            )
            return
        message = failure_of(ended, running.told, str(run_layout(self._plan, job).log))
        after = read_host_memory()
        evidence = self._guard.explain(ended.exit_code, ended.signal, self._guard.host, after, log_tail)
        if self._watch.on_host(evidence):
            self._guard.killed(len(self._running) + 1)
        retry = self.attempts.retry(job, ended, message, evidence)
        if retry is not None:
            self._again(job, "requeued", retry.reason, facts | {"evidence": "; ".join(evidence)})
            return
        self._fail(job, ended, message, self._dispatcher.finished(job.id, ok=False), evidence)

    def _again(self, job: Job, kind: str, reason: str, facts: Facts) -> None:
        try:
            self._dispatcher.requeue(job.id, self.attempts.need(job), self.attempts.alone(job))
        except ResourceError as error:
            self._fail(job, None, str(error), self._dispatcher.finished(job.id, ok=False))
            return
        self._tell(kind, reason, job, **facts)

    def _fail(
        self,
        job: Job,
        ended: Ended | None,
        message: str,
        blocked: tuple[Job, ...],
        evidence: tuple[str, ...] = (),
    ) -> None:
        self.attempts.close(job, JobStatus.FAILED, ended, message=message)
        facts = (figures(ended) if ended else {}) | ({"evidence": "; ".join(evidence)} if evidence else {})
        self._tell("failed", f"failed: {message}", job, **facts)
        for other in blocked:
            self.attempts.close(other, JobStatus.BLOCKED, message=f"{job.id} failed")
            self._tell("blocked", f"not started, since {job.id} failed", other)

    def _why_idle(self) -> str:
        held = self._watch.reason
        if held:
            return f"nothing runs: {held}"
        holders = "; ".join(self._leases.holders()[:3]) or "nobody is known to hold anything"
        return f"nothing runs: what the next jobs need is lent to others ({holders})"


def _capacity(plan: SweepPlan, parallel: int | None) -> Capacity:
    """Return what this machine has; so many jobs as were asked for may share its processors."""
    gpus = _asked_gpus(plan) if any(job.need.gpus for job in plan.jobs) else ()
    capacity = machine_capacity(gpus=gpus) if gpus is not None else machine_capacity()
    if parallel is None:
        return capacity
    threads = max((job.need.threads for job in plan.jobs), default=1)
    return replace(capacity, threads=max(capacity.threads, parallel * threads))


def _asked_gpus(plan: SweepPlan) -> tuple[str, ...] | None:
    """Return the GPUs that the settings name, None for all."""
    stages = plan.config.stages
    names = [device.partition(":")[2] for device in (stages.ssam.device, stages.tracker.device)]
    asked = [*([str(stages.gpu)] if stages.gpu is not None else []), *(name for name in names if name)]
    return tuple(dict.fromkeys(asked)) or None
