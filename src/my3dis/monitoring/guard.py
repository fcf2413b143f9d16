"""Keep jobs from running the host out of memory: hold back, stop the youngest, and say why.

Above a soft mark no job is admitted; above a hard mark the youngest is stopped, since it loses least, unless
it is the only one. What the kernel can take back (page cache) never stops a job. After a stop or a kill fewer
jobs run at a time; one more is tried when a job has ended and memory was calm for a while.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from my3dis.monitoring.evidence import evidence_of_shortage
from my3dis.monitoring.host import Bound, HostMemory, safe_concurrency, warning_of

__all__ = ["GuardDecision", "GuardTiming", "MemoryGuard", "RunningJob"]

_RESUME_ROOM = 0.25
"""Admission begins again so much of the soft mark's room below the mark."""
_SOFT_ROOM_MB, _HARD_ROOM_MB = 16_384.0, 4_096.0
"""On large hosts a share would leave more room than anybody needs; so much is enough."""
_SOME_STALLED, _ALL_STALLED = 40.0, 10.0
_REMEMBERED_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """A job that runs now.

    Attributes:
        job_id: its id.
        started: when, on any clock that is the same for all.
        rss_mb: resident memory of its processes.
        need_mb: what was reserved for it; the part that it does not use yet is kept free.
    """

    job_id: str
    started: float
    rss_mb: float
    need_mb: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardDecision:
    """What to do now.

    Attributes:
        admit: another job may start.
        stop: the job to stop and put back into the queue, or None.
        max_jobs: how many may run at a time, or None for no limit of the guard's.
        reason: why, in words; empty when nothing is held back.
    """

    admit: bool
    stop: str | None = None
    max_jobs: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardTiming:
    """How patient the guard is, in seconds.

    Attributes:
        settle_s: after a stopped job has gone, before another is stopped: memory is given back late.
        calm_s: under the soft mark before one job more is tried; doubles with each shortage, 16-fold at most.
        patience_s: with nothing running and others above the hard mark, before a job is admitted anyway.
    """

    settle_s: float = 2.0
    calm_s: float = 30.0
    patience_s: float = 60.0


class MemoryGuard:
    """Decides, look by look, whether jobs may start and whether one must stop.

    Args:
        read: looks at the host.
        soft, hard: marks, as shares of what bounds memory.
        wanted: jobs at a time that were asked for; halved where the host cannot be seen well enough.
        timing: how patient it is.
        clock: seconds that only grow.

    Attributes:
        host: the last look.
    """

    def __init__(
        self,
        read: Callable[[], HostMemory],
        *,
        soft: float = 0.80,
        hard: float = 0.92,
        wanted: int | None = None,
        timing: GuardTiming | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0.0 < soft < hard <= 1.0:
            raise ValueError(f"expected 0 < soft < hard <= 1, found soft {soft} and hard {hard}")
        self._read = read
        self._soft, self._hard = soft, hard
        self._wanted = wanted
        self._timing = timing or GuardTiming()
        self._clock = clock
        self._closed = False
        self._limit: int | None = None
        self._shortages = 0
        self._calm_since: float | None = None
        self._idle_since: float | None = None
        self._stopping: str | None = None
        self._quiet_until = float("-inf")
        self._seen: frozenset[str] = frozenset()
        self._ended = False
        self.host = read()
        self._looks = deque([(clock(), self.host)], maxlen=1000)

    @property
    def warning(self) -> str | None:
        """The one warning about everything that cannot be seen here, or None."""
        return warning_of(self.host)

    @property
    def max_jobs(self) -> int | None:
        """How many jobs may run at a time, None for no limit of the guard's."""
        blind = safe_concurrency(self.host, self._wanted) if self._wanted and self.host.missing else None
        known = [limit for limit in (self._limit, blind) if limit is not None]
        return min(known, default=None)

    def decide(self, running: Sequence[RunningJob]) -> GuardDecision:
        """Look at the host and say what to do."""
        self.host = self._read()
        now = self._clock()
        self._remember(now)
        self._follow(running, now)
        closed = self._closed_because()
        self._closed = closed is not None
        stop = self._stop_because(running, now)
        if stop is not None:
            job, reason = stop
            self._stopping = job.job_id
            self._lower(len(running) - 1)
            return GuardDecision(admit=False, stop=job.job_id, max_jobs=self.max_jobs, reason=reason)
        self._raise(now)
        if closed is not None and (running or not self._may_try(now)):
            return GuardDecision(admit=False, max_jobs=self.max_jobs, reason=closed)
        limit = self.max_jobs
        if limit is not None and len(running) >= limit:
            return GuardDecision(admit=False, max_jobs=limit, reason=self._limited(limit))
        return GuardDecision(admit=True, max_jobs=limit)

    def may_start(self, need_mb: float, running: Sequence[RunningJob]) -> bool:
        """Return whether a job of this need fits beside those that run, as of the last look."""
        return self.refusal(need_mb, running) is None

    def refusal(self, need_mb: float, running: Sequence[RunningJob]) -> str | None:
        """Return why a job of this need must wait, or None; alone, a job may always be tried."""
        if not running:
            return None
        growth = sum(max(job.need_mb - job.rss_mb, 0.0) for job in running)
        for bound in self.host.bounds:
            room = self._mark(bound, self._soft, _SOFT_ROOM_MB) - bound.working_mb - growth
            if need_mb > room:
                return (
                    f"needs {need_mb:,.0f} MiB, and {max(room, 0):,.0f} of {bound.capacity_mb:,.0f} MiB "
                    f"({bound.name}) are left beside what {len(running)} running jobs may still take"
                )
        return None

    def marks_mb(self, bound: Bound) -> tuple[float, float]:
        """Return above which use of a bound no job starts, and above which the youngest is stopped."""
        soft = self._mark(bound, self._soft, _SOFT_ROOM_MB)
        return soft, self._mark(bound, self._hard, _HARD_ROOM_MB)

    def killed(self, running: int) -> None:
        """Say that a job died for want of memory while ``running`` jobs ran, itself included."""
        self._seen = frozenset()  # its end is no reason to try more jobs
        self._lower(running - 1)

    def explain(
        self,
        exit_code: int | None,
        signal: int | None,
        before: HostMemory,
        after: HostMemory,
        log_tail: str = "",
    ) -> tuple[str, ...]:
        """Return what shows that a death was for want of memory; empty = an ordinary failure.

        Args:
            exit_code: how the process ended, None where a signal did it.
            signal: that ended it, or None.
            before: the last look (`host`). A kill may be counted before the death is noticed, so the looks
                of the seconds before count too.
            after: a look after its end.
            log_tail: the end of its log.
        """
        looks = (*(look for _, look in self._looks), before)
        return evidence_of_shortage(exit_code, signal, looks, after, log_tail)

    def _mark(self, bound: Bound, share: float, room_mb: float) -> float:
        return max(share * bound.capacity_mb, bound.capacity_mb - room_mb)

    def _remember(self, now: float) -> None:
        self._looks.append((now, self.host))
        # The oldest that stays is at least so old, however seldom somebody looks.
        while len(self._looks) > 2 and now - self._looks[1][0] >= _REMEMBERED_S:
            self._looks.popleft()

    def _follow(self, running: Sequence[RunningJob], now: float) -> None:
        """Notice which jobs have ended since the last look."""
        ids = frozenset(job.job_id for job in running)
        self._ended = self._ended or bool(self._seen - ids - {self._stopping})
        self._seen = ids
        if self._stopping is not None and self._stopping not in ids:
            self._stopping = None
            self._quiet_until = now + self._timing.settle_s
        if running:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now

    def _closed_because(self) -> str | None:
        """Return why no job is admitted, or None. Once closed, it opens a little below the mark."""
        for bound in self.host.bounds:
            mark = self._mark(bound, self._soft, _SOFT_ROOM_MB)
            opens = mark - _RESUME_ROOM * (bound.capacity_mb - mark)
            if bound.working_mb > (opens if self._closed else mark):
                return (
                    f"{_used(bound, bound.working_mb)}: no job is started until it is under {opens:,.0f} MiB"
                )
        stalls = self.host.pressure
        ease = 0.5 if self._closed else 1.0
        if stalls and (stalls.full > ease * _ALL_STALLED or stalls.some > ease * _SOME_STALLED):
            return (
                f"work waited for memory in {stalls.some:.0f} % of the last ten seconds, all of it in "
                f"{stalls.full:.0f} %: no job is started until that eases"
            )
        return None

    def _stop_because(self, running: Sequence[RunningJob], now: float) -> tuple[RunningJob, str] | None:
        if len(running) < 2 or self._stopping is not None or now < self._quiet_until:
            return None
        for bound in self.host.bounds:
            if bound.held_mb > self._mark(bound, self._hard, _HARD_ROOM_MB):
                youngest = max(running, key=lambda job: (job.started, job.job_id))
                total = sum(job.rss_mb for job in running)
                return youngest, (
                    f"{_used(bound, bound.held_mb)}, {total:,.0f} by {len(running)} jobs: the youngest is "
                    "stopped and goes back into the queue"
                )
        return None

    def _may_try(self, now: float) -> bool:
        """Return whether a job may start with nothing else running, so that no sweep waits for ever."""
        full = any(b.working_mb > self._mark(b, self._hard, _HARD_ROOM_MB) for b in self.host.bounds)
        idle_s = 0.0 if self._idle_since is None else now - self._idle_since
        return not full or idle_s >= self._timing.patience_s

    def _lower(self, jobs: int) -> None:
        self._limit = max(1, jobs if self._limit is None else min(jobs, self._limit))
        self._shortages += 1
        self._calm_since, self._ended = None, False

    def _raise(self, now: float) -> None:
        """Try one job more when one has ended and memory was calm for long enough."""
        if self._limit is None or self._closed:
            self._calm_since = None
            return
        if self._calm_since is None:
            self._calm_since = now
        if self._ended and now - self._calm_since >= self._calm_s():
            self._limit += 1
            self._calm_since, self._ended = now, False
            if self._wanted is not None and self._limit >= self._wanted:
                self._limit = None

    def _calm_s(self) -> float:
        return float(self._timing.calm_s * 2 ** min(self._shortages - 1, 4))

    def _limited(self, limit: int) -> str:
        if self._limit is not None and limit == self._limit:
            return f"at most {limit} at a time since memory ran short"
        return f"at most {limit} at a time, since the guard cannot see enough here (`my3dis doctor`)"


def _used(bound: Bound, used_mb: float) -> str:
    share = 100 * used_mb / bound.capacity_mb
    return f"{used_mb:,.0f} of {bound.capacity_mb:,.0f} MiB in use ({share:.0f} %, {bound.name})"
