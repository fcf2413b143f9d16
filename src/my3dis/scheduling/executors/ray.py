"""Run the jobs of a plan on a Ray cluster: each a task that asks for what the job needs."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from my3dis.errors import PluginError, ResourceError
from my3dis.monitoring.clusters import ray_answers
from my3dis.monitoring.gpus import find_gpus
from my3dis.scheduling.executors.cluster import Gone, Work
from my3dis.scheduling.executors.cluster_run import run_on_cluster
from my3dis.scheduling.executors.on_node import carry_out
from my3dis.scheduling.executors.options import ExecutorOptions
from my3dis.scheduling.executors.ray_nodes import (
    Node,
    describe_nodes,
    lack_of,
    nodes_of,
    request_of,
)
from my3dis.scheduling.executors.words import work_of
from my3dis.scheduling.jobs import JobEvent, JobOutcome, Need, SweepPlan

__all__ = ["RayCluster", "RayExecutor", "create"]

_PROBE_S = 60.0
_FIRST_LINE = 300


def create(options: ExecutorOptions) -> RayExecutor:
    """Return the executor.

    Raises:
        PluginError: if Ray is not installed.
    """
    return RayExecutor(options)


class RayExecutor:
    """Runs jobs on a Ray cluster, or on one that it starts on this machine when no address is given.

    Args:
        options: how; ``address`` is that of the cluster, such as ``auto`` or ``10.0.0.1:6379``.

    Raises:
        PluginError: if Ray is not installed.
    """

    def __init__(self, options: ExecutorOptions | None = None) -> None:
        self._options = options or ExecutorOptions()
        _library()

    def gpus(self) -> int | None:
        """Return how many GPUs the cluster has; None without an address, since this machine's count then.

        Raises:
            ResourceError: if the cluster cannot be reached.
        """
        if self._options.address is None:
            return None
        with _connected(self._options.address):
            return sum(node.gpus for node in nodes_of(_library().nodes()))

    def describe(self, plan: SweepPlan) -> tuple[str, ...]:
        """Return what the cluster has and the least time that a plan takes there.

        Raises:
            ResourceError: if the cluster cannot be reached.
        """
        address = self._options.address
        if address is None:
            return (f"{work_of(plan)} on a Ray that is started on this machine",)
        with _connected(address):
            return describe_nodes(plan, nodes_of(_library().nodes()), address)

    def run(self, plan: SweepPlan, observe: Callable[[JobEvent], None]) -> tuple[JobOutcome, ...]:
        """Run every job and return what became of each; see `my3dis.scheduling.jobs.Executor`.

        Raises:
            ResourceError: if the cluster cannot be reached, or the folder of results cannot be written.
        """
        experiment = plan.config.experiment
        address = self._options.address or experiment.ray_address
        with _connected(address):
            cluster = RayCluster(gpu_mb=experiment.ray_gpu_mb)
            return run_on_cluster(cluster, plan, observe, self._options)


class RayCluster:
    """The Ray cluster that this process is connected to.

    Args:
        gpu_mb: memory of one GPU; None asks its machines when a job wants a share.

    Attributes:
        capacity_mb: most host memory that one machine lends.
    """

    name = "Ray"
    pace_s = 0.1
    settle_s = 1.0
    gather_s = 0.0
    ahead: int | None = 64
    keeps_files = False

    def __init__(self, gpu_mb: int | None = None) -> None:
        self._ray = _library()
        self._gpu_mb = gpu_mb
        self._tasks: dict[Any, str] = {}
        self._task = self._ray.remote(_on_ray)
        self._unfit: dict[str, str] = {}
        self._nodes = nodes_of(self._ray.nodes())
        self.capacity_mb: float | None = max((node.memory_mb for node in self._nodes), default=0) or None

    def never(self, need: Need) -> str | None:
        """Return why a need can never be met, or None."""
        fit = self._fit()
        if self._nodes and not fit:
            return next(iter(self._unfit.values()))
        return lack_of(need, fit)

    def submit(self, works: Sequence[Work]) -> None:
        """Hand over attempts as tasks."""
        fit = self._fit()
        for work in works:
            share = work.need.gpus and work.need.gpu_memory_mb
            asked = request_of(
                work.need, fit, alone=work.alone, gpu_mb=self._memory_of_gpus() if share else 0
            )
            if self._unfit:
                asked["label_selector"] = {"ray.io/node-id": f"!in({','.join(self._unfit)})"}
            reference = self._task.options(name=work.job.id, **asked).remote(work.order)
            self._tasks[reference] = work.key

    def gone(self) -> Sequence[tuple[str, Gone]]:
        """Return the tasks that have ended, each once."""
        self._nodes = nodes_of(self._ray.nodes())
        if not self._tasks:
            return ()
        ready, _ = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
        return [(self._tasks.pop(reference), self._outcome(reference)) for reference in ready]

    def cancel(self, keys: Sequence[str], *, at_once: bool) -> None:
        """Take back tasks that wait, or kill those that run."""
        for reference, key in self._tasks.items():
            if key in keys:
                self._ray.cancel(reference, force=at_once)

    def close(self) -> None:
        """Do nothing: whoever connected to Ray disconnects."""

    def clear(self, folder: Path) -> None:
        """Do nothing: Ray itself ends the tasks of a driver that is gone."""

    def _fit(self) -> tuple[Node, ...]:
        """Return the machines that are there now, but those which cannot see the results."""
        return tuple(node for node in self._nodes if node.id not in self._unfit)

    def _outcome(self, reference: object) -> Gone:
        errors = self._ray.exceptions
        try:
            found = self._ray.get(reference)
        except errors.OutOfMemoryError as error:
            return Gone("memory", f"Ray killed it since its machine's memory ran out: {_said(error)}")
        except errors.TaskCancelledError:
            return Gone("cancelled", "it was cancelled in Ray")
        except (errors.NodeDiedError, errors.WorkerCrashedError) as error:
            return Gone("lost", f"its machine or its Ray worker is gone: {_said(error)}")
        except errors.RayTaskError as error:
            return Gone("failed", f"the machine that Ray chose could not start it: {_said(error)}")
        except errors.RayError as error:
            return Gone("lost", f"Ray lost it: {_said(error)}")
        if found["problem"]:
            self._unfit[found["node"]] = found["problem"]
            return Gone("problem", found["problem"])
        return Gone("ended", f"it ended without a word on {found['host']}")

    def _memory_of_gpus(self) -> int:
        """Return the memory of the smallest GPU of the cluster, MiB, 0 when its machines do not say."""
        if self._gpu_mb is None:
            placed = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
            probe = self._ray.remote(_smallest_gpu_mb)
            asked = [
                probe.options(num_cpus=0, scheduling_strategy=placed(node.id, soft=False)).remote()
                for node in self._fit()
                if node.gpus
            ]
            try:
                self._gpu_mb = min(self._ray.get(asked, timeout=_PROBE_S), default=0)
            except self._ray.exceptions.RayError:
                self._gpu_mb = 0
        return self._gpu_mb


def _on_ray(order: str) -> dict[str, str]:
    """Make an attempt in a worker of Ray, which has set CUDA_VISIBLE_DEVICES for it."""
    ray = _library()
    found = carry_out(order) or {"host": "", "problem": ""}
    return {**found, "node": ray.get_runtime_context().get_node_id()}


def _smallest_gpu_mb() -> int:
    return int(min((gpu.total_mb for gpu in find_gpus(use_torch=False).devices), default=0))


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine when there is no address."""
    ray = _library()
    if ray.is_initialized():
        yield
        return
    answers, found = ray_answers(address) if address else (True, "")
    if not answers:  # Ray itself would try for minutes
        raise _unreachable(f"a Ray cluster at {address}", found)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    local = {} if address else {"include_dashboard": False}
    try:
        ray.init(address=address, **quiet, **local)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = f"a Ray cluster at {address}" if address else "to start Ray on this machine"
        raise _unreachable(where, _said(error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _unreachable(expected: str, found: str) -> ResourceError:
    return ResourceError(
        f"executor ray: expected {expected}, found: {found}; start one with `ray start --head`, name it with "
        "--address HOST:PORT, or leave --address out to use this machine alone"
    )


def _library() -> Any:  # noqa: ANN401 (an optional library, untyped here)
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.util.scheduling_strategies")
    except ImportError as error:
        raise PluginError(
            f"executor ray: expected the library ray, found: {error}; install it with "
            "`pip install 'my3dis[ray]'`, here and on all machines of the cluster"
        ) from error
    return ray


def _said(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_FIRST_LINE]
