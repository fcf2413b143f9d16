"""Simulate a sweep on many machines with the real dispatcher and lease tables, on a clock that jumps.

Everything that decides is real: which job starts where, what is leased, what is retried and what moves when a
machine is lost. Made up are only how long jobs take, which fail and when the machine goes.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from my3dis.errors import StageError
from my3dis.scheduling.capacity import Capacity
from my3dis.scheduling.dispatch import Dispatcher, Start
from my3dis.scheduling.jobs import Job, SweepPlan
from my3dis.scheduling.leases import Lease, LeaseTable
from my3dis.scheduling.owners import Owner

__all__ = ["Simulated", "Trouble", "lower_bound_s", "simulate"]

_DRIVER = Owner(1, "simulated/1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What goes wrong in a simulated sweep.

    Attributes:
        failing: share of all attempts that fail, each somewhere on its way.
        attempts: of a job in all; after the last its scene is given up.
        spread: of the true time of a job about the expected one (standard deviation of its logarithm).
        lost: number of the machine that goes, None for none.
        lost_at_s: when.
        seed: of the random choices; they hang on the job and the attempt only, never on the order.
    """

    failing: float = 0.0
    attempts: int = 3
    spread: float = 0.0
    lost: int | None = None
    lost_at_s: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What became of a simulated sweep; times on its clock, in seconds.

    Attributes:
        makespan_s: from the first start to the last end.
        bound_s: no schedule could have ended before, see `lower_bound_s`.
        gpu_busy_s, gpu_there_s: GPU-seconds leased, and those of all machines while they were there.
        gpu_wasted_s: of the leased ones, those of failed and lost attempts.
        gpu_tail_s: of those that were there, how many passed after the last GPU job had begun.
        done, failed, blocked: jobs.
        retried, moved: attempts that failed and were repeated; jobs that a lost machine took with it.
        starts: attempts in all.
        deciding_s: real seconds of the dispatcher, leases left out.
        leasing_s: real seconds of the lease tables.
        gpu_spans: (from, to, GPUs) of every attempt that was lent some.
    """

    makespan_s: float
    bound_s: float
    gpu_busy_s: float
    gpu_there_s: float
    gpu_wasted_s: float
    gpu_tail_s: float
    done: int
    failed: int
    blocked: int
    retried: int
    moved: int
    starts: int
    deciding_s: float
    leasing_s: float
    gpu_spans: tuple[tuple[float, float, int], ...] = ()

    @property
    def ratio(self) -> float:
        """Makespan by lower bound."""
        return self.makespan_s / self.bound_s if self.bound_s else 1.0

    @property
    def utilisation(self) -> float:
        """Share of the GPU-seconds in which jobs held them."""
        return self.gpu_busy_s / self.gpu_there_s if self.gpu_there_s else 0.0


@dataclass(slots=True)
class _Run:
    """A simulation as it goes."""

    plan: SweepPlan
    machines: Sequence[Capacity]
    trouble: Trouble
    dispatcher: Dispatcher
    tables: Sequence[LeaseTable]
    now: float = 0.0
    events: list[tuple[float, int, str, bool]] = field(default_factory=list)
    held: dict[str, tuple[float, int, Lease]] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    gpu_busy_s: float = 0.0
    gpu_wasted_s: float = 0.0
    last_gpu_start_s: float = 0.0
    deciding_s: float = 0.0
    leasing_s: float = 0.0
    gpu_spans: list[tuple[float, float, int]] = field(default_factory=list)

    def go(self) -> None:
        """Run until nothing is left."""
        trouble = self.trouble
        if trouble.lost is not None:
            heapq.heappush(self.events, (trouble.lost_at_s, -1, "", False))
        while not self.dispatcher.done:
            self._start()
            if not self.events:
                raise StageError(
                    "simulation: jobs wait, nothing runs and nothing starts: a fault of the dispatcher"
                )
            self.now, number, job_id, ok = heapq.heappop(self.events)
            if number < 0:
                self._lose(trouble.lost or 0)
            elif job_id in self.held and self.held[job_id][1] == number:
                self._end(job_id, ok=ok)

    def _start(self) -> None:
        leased = self.leasing_s
        begun = time.perf_counter()
        starts = self.dispatcher.start(self.now, place=self._lease)
        self.deciding_s += time.perf_counter() - begun - (self.leasing_s - leased)
        for start in starts:
            job = start.job
            self.attempts[job.id] += 1
            _, number, lease = self.held[job.id]
            seconds, ok = _fate(job, self.attempts[job.id], self.trouble)
            self.held[job.id] = self.now, number, lease
            heapq.heappush(self.events, (self.now + seconds, number, job.id, ok))
            if lease.gpus:
                self.last_gpu_start_s = self.now

    def _lease(self, start: Start) -> tuple[str, ...] | None:
        begun = time.perf_counter()
        lease = self.tables[start.host].acquire(
            _DRIVER,
            start.job.id,
            start.need,
            self.machines[start.host],
            prefer=start.gpu_ids,
            alone=start.alone,
        )
        self.leasing_s += time.perf_counter() - begun
        if lease is None:
            return None
        self.counts["starts"] += 1
        self.held[start.job.id] = self.now, self.counts["starts"], lease
        return tuple(gpu.id for gpu in lease.gpus)

    def _end(self, job_id: str, *, ok: bool) -> None:
        start = next(start for start in self.dispatcher.running if start.job.id == job_id)
        begun = time.perf_counter()
        self._count(job_id, wasted=not ok)
        self.tables[start.host].release(self.held.pop(job_id)[2])
        self.leasing_s += time.perf_counter() - begun
        begun = time.perf_counter()
        if not ok and self.attempts[job_id] < self.trouble.attempts:
            self.dispatcher.requeue(job_id, start.need)
            self.counts["retried"] += 1
        else:
            self.counts["done" if ok else "failed"] += 1
            self.counts["blocked"] += len(self.dispatcher.finished(job_id, ok))
        self.deciding_s += time.perf_counter() - begun

    def _lose(self, host: int) -> None:
        for job in self.dispatcher.lose(host):
            self._count(job.id, wasted=True)
            del self.held[job.id]
            self.counts["moved"] += 1

    def _count(self, job_id: str, *, wasted: bool) -> None:
        since, _, lease = self.held[job_id]
        seconds = (self.now - since) * len(lease.gpus)
        self.gpu_busy_s += seconds
        self.gpu_wasted_s += seconds * wasted
        if lease.gpus:
            self.gpu_spans.append((since, self.now, len(lease.gpus)))


def simulate(plan: SweepPlan, machines: Sequence[Capacity], trouble: Trouble | None = None) -> Simulated:
    """Run a plan on machines that are not there.

    Args:
        plan: the jobs, with the seconds that are expected of them.
        machines: what each can give.
        trouble: what goes wrong.
    """
    trouble = trouble or Trouble()
    with ExitStack() as stack:
        tables = [stack.enter_context(LeaseTable(":memory:", alive=lambda _: True)) for _ in machines]
        begun = time.perf_counter()
        dispatcher = Dispatcher(plan, machines)
        run = _Run(plan, machines, trouble, dispatcher, tables, deciding_s=time.perf_counter() - begun)
        run.go()
    counts = run.counts
    refused = dispatcher.refused
    return Simulated(
        makespan_s=run.now,
        bound_s=lower_bound_s(plan, machines, trouble),
        gpu_busy_s=run.gpu_busy_s,
        gpu_there_s=_there_s(0.0, run.now, [len(machine.gpus) for machine in machines], trouble),
        gpu_wasted_s=run.gpu_wasted_s,
        gpu_tail_s=_there_s(
            run.last_gpu_start_s, run.now, [len(machine.gpus) for machine in machines], trouble
        ),
        done=counts["done"],
        failed=counts["failed"] + len(refused),
        blocked=counts["blocked"] + sum(len(refusal.blocked) for refusal in refused),
        retried=counts["retried"],
        moved=counts["moved"],
        starts=counts["starts"],
        deciding_s=run.deciding_s,
        leasing_s=run.leasing_s,
        gpu_spans=tuple(run.gpu_spans),
    )


def lower_bound_s(plan: SweepPlan, machines: Sequence[Capacity], trouble: Trouble | None = None) -> float:
    """Return before when no schedule can have ended, however clever.

    The longest of: work of GPUs, of threads and of memory by what there is of each while it is there, and the
    longest way through a scene. Only the last attempt of a job counts as work, at its true time, so failed
    attempts and what a lost machine took with it are paid for by the schedule. Jobs that are given up count
    as work all the same; with them it is a bound on doing everything.
    """
    trouble = trouble or Trouble()
    seconds = {job.id: _true_s(job, trouble) for job in plan.jobs}
    ways: dict[str, float] = {}
    for job in plan.jobs:
        ways[job.id] = seconds[job.id] + max((ways[before] for before in job.after), default=0.0)
    kinds = (
        ([sum(gpu.whole_mb for gpu in m.gpus) for m in machines], _gpu_shares(plan.jobs, machines)),
        ([m.threads for m in machines], {job.id: job.need.threads for job in plan.jobs}),
        ([m.memory_mb for m in machines], {job.id: job.need.memory_mb for job in plan.jobs}),
    )
    return max(
        max(ways.values(), default=0.0),
        *(
            _reached_s(there, sum(seconds[n] * of for n, of in taken.items()), trouble)
            for there, taken in kinds
        ),
    )


def _gpu_shares(jobs: Iterable[Job], machines: Sequence[Capacity]) -> dict[str, int]:
    """Return the GPU memory that jobs take at least, MiB; a whole one is the smallest there is."""
    smallest = min((gpu.whole_mb for machine in machines for gpu in machine.gpus), default=0)
    return {job.id: job.need.gpus * (job.need.gpu_memory_mb or smallest) for job in jobs}


def _there_s(begin: float, end: float, amounts: Sequence[int], trouble: Trouble) -> float:
    """Return amount-seconds of all machines between two times, those of the lost one until it goes."""
    total = 0.0
    for n, amount in enumerate(amounts):
        until = min(end, trouble.lost_at_s) if n == trouble.lost else end
        total += amount * max(0.0, until - begin)
    return total


def _reached_s(amounts: Sequence[int], work: float, trouble: Trouble) -> float:
    """Return when all machines together can have done so many amount-seconds."""
    everything = sum(amounts)
    if not work or not everything:
        return 0.0
    if trouble.lost is None or work <= everything * trouble.lost_at_s:
        return work / everything
    rest = everything - amounts[trouble.lost]
    return trouble.lost_at_s + (work - everything * trouble.lost_at_s) / rest if rest else float("inf")


def _true_s(job: Job, trouble: Trouble) -> float:
    chance = random.Random(f"{trouble.seed} {job.id}")  # noqa: S311  # chance of a simulation
    return job.seconds * chance.lognormvariate(0.0, trouble.spread)


def _fate(job: Job, attempt: int, trouble: Trouble) -> tuple[float, bool]:
    """Return how long an attempt takes and whether it succeeds."""
    chance = random.Random(f"{trouble.seed} {job.id} {attempt}")  # noqa: S311  # chance of a simulation
    seconds = _true_s(job, trouble)
    return (seconds * chance.random(), False) if chance.random() < trouble.failing else (seconds, True)
