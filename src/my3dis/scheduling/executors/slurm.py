"""Run the jobs of a plan through SLURM: one array of jobs for each class of stages, by way of submitit."""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from my3dis.config.experiment import Slurm
from my3dis.errors import PluginError, ResourceError
from my3dis.scheduling.executors.cluster import Gone, Work
from my3dis.scheduling.executors.cluster_run import run_on_cluster
from my3dis.scheduling.executors.on_node import carry_out
from my3dis.scheduling.executors.options import ExecutorOptions
from my3dis.scheduling.executors.slurm_script import arrays_of, describe_arrays, gone_of, parameters_of
from my3dis.scheduling.jobs import JobEvent, JobOutcome, Need, SweepPlan

__all__ = ["SlurmCluster", "SlurmExecutor", "create"]

_ASK_EVERY_S = 20.0
_PACE_S = {"slurm": 1.0, "local": 0.1}
_SETTLE_S = {"slurm": 10.0, "local": 0.5}
_GATHER_S = {"slurm": 5.0, "local": 0.0}
_LAST_WAIT_S = 5.0
_IDS = "slurm_jobs.json"


def create(options: ExecutorOptions) -> SlurmExecutor:
    """Return the executor.

    Raises:
        PluginError: if submitit is not installed.
    """
    return SlurmExecutor(options)


class SlurmExecutor:
    """Runs jobs through SLURM, with the settings in ``experiment.slurm``.

    Args:
        options: how.

    Raises:
        PluginError: if submitit is not installed.
    """

    def __init__(self, options: ExecutorOptions | None = None) -> None:
        self._options = options or ExecutorOptions()
        _library()

    def gpus(self) -> int | None:
        """Return 1: a cluster is taken to have GPUs, since the machine that asks may have none."""
        return 1

    def describe(self, plan: SweepPlan) -> tuple[str, ...]:
        """Return the arrays of jobs that a plan becomes; SLURM's queue decides when they run."""
        return describe_arrays(plan, plan.config.experiment.slurm)

    def run(self, plan: SweepPlan, observe: Callable[[JobEvent], None]) -> tuple[JobOutcome, ...]:
        """Run every job and return what became of each; see `my3dis.scheduling.jobs.Executor`.

        Raises:
            ResourceError: if SLURM cannot be reached, or the folder of results cannot be written.
        """
        cluster = SlurmCluster(plan.config.experiment.slurm, plan.output_root)
        return run_on_cluster(cluster, plan, observe, self._options)


class SlurmCluster:
    """SLURM, or submitit's stand-in for it on one machine.

    Args:
        settings: of the user.
        output_root: folder of all runs, which all machines see.

    Raises:
        ResourceError: if there is no SLURM here.
    """

    name = "SLURM"
    ahead: int | None = None
    capacity_mb: float | None = None
    keeps_files = True

    def __init__(self, settings: Slurm, output_root: Path) -> None:
        self._submitit = _library()
        self._settings, self._root = settings, output_root
        kind = settings.cluster
        self.pace_s, self.settle_s, self.gather_s = _PACE_S[kind], _SETTLE_S[kind], _GATHER_S[kind]
        self._jobs: dict[str, Any] = {}
        self._unfit: set[str] = set()
        self._over: list[Any] = []
        self._asked_at = time.monotonic()
        if kind == "slurm" and self._submitit.AutoExecutor.which() != "slurm":
            raise ResourceError(
                "executor slurm: expected the commands of SLURM (srun, sbatch, sacct), found none; start the "
                "sweep on a machine from which jobs are submitted (`experiment.slurm.cluster: local` tries "
                "it without SLURM)"
            )

    def never(self, need: Need) -> str | None:
        """Return None: SLURM itself refuses what it can never give."""
        del need
        return None

    def submit(self, works: Sequence[Work]) -> None:
        """Hand over attempts, as few arrays as their needs allow.

        Raises:
            ResourceError: if SLURM refuses an array.
        """
        for group in arrays_of(works):
            folder = Path(json.loads(group[0].order)["folder"])
            try:
                executor = self.executor(folder, group)
                with executor.batch():
                    jobs = [executor.submit(carry_out, work.order) for work in group]
            except (self._submitit.core.utils.FailedJobError, OSError, NameError, ValueError) as error:
                raise ResourceError(
                    f"SLURM refused {len(group)} jobs: {error}; see experiment.slurm (partition, account, "
                    "qos, extra) and what `sbatch` accepts here"
                ) from error
            self._jobs.update((work.key, job) for work, job in zip(group, jobs, strict=True))
            self._write_down(folder)

    def executor(self, folder: Path, works: Sequence[Work]) -> Any:  # noqa: ANN401 (untyped library)
        """Return submitit's executor for an array; its files are kept below the sweep's folder."""
        executor = self._submitit.AutoExecutor(folder=folder / "slurm" / "%j", cluster=self._settings.cluster)
        parameters = parameters_of(works, self._settings)
        if self._unfit:
            parameters["slurm_exclude"] = ",".join(sorted(self._unfit))
        executor.update_parameters(**parameters)
        return executor

    def gone(self) -> Sequence[tuple[str, Gone]]:
        """Return the attempts that are over, each once."""
        asks = time.monotonic() - self._asked_at >= _ASK_EVERY_S
        if asks:
            self._asked_at = time.monotonic()
            for job in list(self._jobs.values())[:1]:  # one question is about all of them
                job.get_info(mode="force")
        found = [(key, gone) for key, job in self._jobs.items() if (gone := self._look(job, asks=asks))]
        self._over.extend(self._jobs.pop(key) for key, _ in found)
        return found

    def cancel(self, keys: Sequence[str], *, at_once: bool) -> None:
        """Take back jobs that wait, or end those that run."""
        jobs = [job for key, job in self._jobs.items() if key in keys]
        if self._settings.cluster == "slurm":
            _scancel([job.job_id for job in jobs], pending=not at_once)
        elif at_once:
            for job in jobs:
                job.cancel(check=False)

    def close(self) -> None:
        """Wait for the processes that stand in for SLURM."""
        if self._settings.cluster == "local":
            until = time.monotonic() + _LAST_WAIT_S
            while any(job.get_info()["jobState"] == "RUNNING" for job in (*self._over, *self._jobs.values())):
                if time.monotonic() > until:
                    break
                time.sleep(0.05)

    def clear(self, folder: Path) -> None:
        """Take an earlier driver's jobs out of the queue; those that run hear of it by the sweep's folder."""
        with contextlib.suppress(OSError, ValueError):
            ids = json.loads((folder / _IDS).read_text("utf-8"))
            if self._settings.cluster == "slurm" and isinstance(ids, list):
                _scancel([str(one) for one in ids], pending=True)

    def _look(self, job: Any, *, asks: bool) -> Gone | None:  # noqa: ANN401
        if job.paths.result_pickle.exists():
            with contextlib.suppress(OSError, EOFError):  # the network shows it before it is whole
                return self._outcome(job)
            return None
        if self._settings.cluster == "local":
            state = job.get_info()["jobState"]
            return None if state == "RUNNING" else Gone("lost", f"its process {job.job_id} is gone ({state})")
        if not asks:
            return None
        return gone_of(job.watcher.get_state(job.job_id, mode="cache"), job.job_id, str(job.paths.folder))

    def _outcome(self, job: Any) -> Gone:  # noqa: ANN401
        how, what = self._submitit.core.utils.pickle_load(job.paths.result_pickle)
        if how != "success":
            last = (str(what).strip().splitlines() or ["it said nothing"])[-1]
            return Gone("failed", f"job {job.job_id} could not start it: {last} (see {job.paths.folder})")
        if what:
            self._unfit.add(what["host"])
            return Gone("problem", what["problem"])
        return Gone("ended", f"job {job.job_id} ended without a word (see {job.paths.folder})")

    def _write_down(self, folder: Path) -> None:
        """Write down the ids, for a later driver in case this one dies."""
        ids = [job.job_id for job in self._jobs.values()]
        with contextlib.suppress(OSError):
            (folder / _IDS).write_text(json.dumps(ids), "utf-8")


def _scancel(ids: Sequence[str], *, pending: bool) -> None:
    if ids:
        only = ["--state=PENDING"] if pending else []
        with contextlib.suppress(OSError):
            subprocess.run(  # noqa: S603 (ids that SLURM gave)
                [shutil.which("scancel") or "scancel", *only, *ids], check=False, capture_output=True
            )


def _library() -> Any:  # noqa: ANN401 (an optional library, untyped here)
    try:
        return importlib.import_module("submitit")
    except ImportError as error:
        raise PluginError(
            f"executor slurm: expected the library submitit, found: {error}; install it with "
            "`pip install 'my3dis[slurm]'`, in the environment that all machines share"
        ) from error
