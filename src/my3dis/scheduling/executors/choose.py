"""Find the executor that the settings name."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from my3dis.config import Config
from my3dis.scheduling.executors.options import ExecutorOptions
from my3dis.scheduling.jobs import Executor, SweepPlan

__all__ = ["PlannedExecutor", "executor_for"]


class PlannedExecutor(Executor, Protocol):
    """An executor that says what to plan with."""

    def gpus(self) -> int | None:
        """Return how many GPUs there are for jobs; None = those of this machine."""
        ...

    def describe(self, plan: SweepPlan) -> tuple[str, ...]:
        """Return sentences about where a plan would run; none where that is this machine."""
        ...


def executor_for(config: Config, options: ExecutorOptions | None = None) -> PlannedExecutor:
    """Return the executor of ``experiment.executor``; its library is imported only now.

    Args:
        config: settings of the sweep.
        options: how it is to work; an address that they lack is that of the settings.

    Raises:
        PluginError: if the library that it needs is not installed.
    """
    options = options or ExecutorOptions()
    experiment = config.experiment
    if experiment.executor == "ray":
        from my3dis.scheduling.executors import ray

        return ray.create(replace(options, address=options.address or experiment.ray_address))
    if experiment.executor == "slurm":
        from my3dis.scheduling.executors import slurm

        return slurm.create(options)
    from my3dis.scheduling.executors import local

    return local.create(options)
