"""Sweeps of stand-in jobs, for the contract of the executors; ``python -m`` this drives one in a process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from my3dis.config.load import load_config
from my3dis.runs.plan import STAGE_NAMES
from my3dis.scheduling.executors.choose import executor_for
from my3dis.scheduling.executors.options import ExecutorOptions
from my3dis.scheduling.jobs import Job, JobEvent, Need, SweepPlan
from my3dis.scheduling.plan import plan_sweep
from my3dis.scheduling.sweep import SweepResult, run_sweep
from tests.scheduling import tiny_scans
from tests.scheduling.executors import fake_worker

MODEL, REST = STAGE_NAMES[:3], STAGE_NAMES[3:]


def settings(scans: Path, kind: str, address: str | None = None) -> dict[str, object]:
    """Return the settings of a sweep of all scans."""
    return {
        **tiny_scans.SETTINGS,
        "experiment.dataset_root": str(scans),
        "experiment.output_root": str(scans.parent / "out"),
        "experiment.executor": kind,
        "experiment.ray_address": address,
        "experiment.slurm.cluster": "local",
    }


def make_fake(scan: Path, **todo: dict[str, object]) -> Path:
    """Write a scan whose jobs do as they are told, by first stage."""
    tiny_scans.make_tiny(scan)
    (scan / "do.json").write_text(json.dumps(todo))
    return scan


def split_plan(scans: Path, kind: str, address: str | None = None, *, gpus: int = 1) -> SweepPlan:
    """Return a plan with two jobs a scene: one that needs GPUs, and one after it that needs none."""
    plan = plan_sweep(load_config(values=settings(scans, kind, address), environment=False))
    jobs: list[Job] = []
    for job in plan.jobs:
        jobs.append(replace(job, stages=MODEL, need=Need(gpus=gpus, memory_mb=100)))
        rest = replace(job, id=f"{job.scene}:{REST[0]}", stages=REST, after=(job.id,))
        jobs.append(replace(rest, need=Need(memory_mb=100)))
    return replace(plan, jobs=tuple(jobs))


def with_fakes(site: Path) -> tuple[tuple[str, str], ...]:
    """Return the environment that puts the stand-in in the worker's place."""
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(
        "import runpy, sys\n"
        "if 'my3dis.scheduling.worker' in sys.orig_argv:\n"
        f"    runpy.run_path({fake_worker.__file__!r}, run_name='__main__')\n"
    )
    return (("PYTHONPATH", os.pathsep.join((str(site), os.environ.get("PYTHONPATH", "")))),)


def drive(
    scans: Path,
    kind: str,
    address: str | None = None,
    *,
    gpus: int = 1,
    observe: Callable[[JobEvent], None] | None = None,
) -> tuple[SweepResult, list[JobEvent]]:
    """Run a sweep of stand-ins to its end; return what became of it, and what was told."""
    plan = split_plan(scans, kind, address, gpus=gpus)
    options = ExecutorOptions(environment=with_fakes(scans.parent / "site-fakes"), address=address)
    events: list[JobEvent] = []

    def take(event: JobEvent) -> None:
        events.append(event)
        if observe is not None:
            observe(event)

    return run_sweep(plan, executor_for(plan.config, options), take), events


if __name__ == "__main__":
    # A process of its own does not see the GPUs that a test pretends.
    result, _ = drive(Path(sys.argv[1]), sys.argv[2], sys.argv[3] or None, gpus=int(sys.argv[2] != "local"))
    sys.exit(130 if result.was_interrupted else result.failed)
