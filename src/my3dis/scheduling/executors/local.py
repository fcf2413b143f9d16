"""Run the jobs of a plan on this machine: a process each, as many at a time as there is room for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Self

from my3dis.scheduling.executors.local_sweep import LocalSweep
from my3dis.scheduling.executors.options import ExecutorOptions
from my3dis.scheduling.jobs import JobEvent, JobOutcome, SweepPlan
from my3dis.scheduling.leases import LeaseTable

__all__ = ["Interrupts", "LocalExecutor", "create"]

_TICK_S = 0.1


def create(options: ExecutorOptions) -> LocalExecutor:
    """Return the executor."""
    return LocalExecutor(options)


class LocalExecutor:
    """Runs jobs on this machine.

    Args:
        options: how.
    """

    def __init__(self, options: ExecutorOptions | None = None) -> None:
        self._options = options or ExecutorOptions()

    def gpus(self) -> int | None:
        """Return None: this machine is looked at when the plan is made."""

    def describe(self, plan: SweepPlan) -> tuple[str, ...]:
        """Return nothing: a plan says itself what this machine makes of it."""
        del plan
        return ()

    def run(self, plan: SweepPlan, observe: Callable[[JobEvent], None]) -> tuple[JobOutcome, ...]:
        """Run every job and return what became of each; see `my3dis.scheduling.jobs.Executor`.

        Raises:
            ResourceError: if the table of leases cannot be used.
        """
        with LeaseTable(self._options.leases) as leases, Interrupts() as interrupts:
            sweep = LocalSweep(plan, observe, self._options, leases)
            try:
                while sweep.goes_on():
                    if interrupts.count:
                        sweep.cancel(at_once=interrupts.count > 1)
                    else:
                        sweep.start()
                    sweep.listen(_TICK_S)
                    sweep.collect()
                    sweep.look()
            finally:
                sweep.close()
            return sweep.attempts.outcomes()


class Interrupts:
    """Counts Ctrl-C and SIGTERM instead of being ended by them; only a main thread can."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *error: object) -> None:
        del error
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() returned

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.count += 1
