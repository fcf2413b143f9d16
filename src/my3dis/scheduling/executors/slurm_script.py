"""What an array of jobs asks of SLURM, and what SLURM's states mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from my3dis.config.experiment import Slurm
from my3dis.scheduling.executors.cluster import Gone, Work
from my3dis.scheduling.executors.words import work_of
from my3dis.scheduling.jobs import SweepPlan

__all__ = ["arrays_of", "describe_arrays", "gone_of", "parameters_of"]

_ROOM_MB = 512
"""For what runs beside the job's own process; SLURM counts all of it."""
_ROUND_MB = 256
_LONGEST_ARRAY = 1000
"""MaxArraySize of a SLURM that nobody configured is 1001."""
_LEAST_MIN, _TIMES, _MORE_MIN = 30, 4.0, 10
_SIGNAL_S = 90
"""Seconds before the end of its time at which a job is told to stop."""

_MEANS = {
    "OUT_OF_MEMORY": "memory",
    "TIMEOUT": "time",
    "DEADLINE": "time",
    "PREEMPTED": "lost",
    "NODE_FAIL": "lost",
    "BOOT_FAIL": "lost",
    "REVOKED": "lost",
    "CANCELLED": "cancelled",
    "FAILED": "lost",
    "COMPLETED": "ended",
}


def arrays_of(works: Sequence[Work]) -> list[list[Work]]:
    """Return attempts in arrays of those that ask for the same, so that none holds a GPU for nothing.

    A job that is tried again with more memory gets an array of its own kind.
    """
    classes: dict[tuple[object, ...], list[Work]] = {}
    for work in works:
        need = work.need
        more_mb = need.memory_mb if need.memory_mb > work.job.need.memory_mb else 0
        kind = (need.gpus, need.threads, work.alone, work.timeouts, more_mb)
        classes.setdefault(kind, []).append(work)
    return [
        group[n : n + _LONGEST_ARRAY]
        for group in classes.values()
        for n in range(0, len(group), _LONGEST_ARRAY)
    ]


def parameters_of(works: Sequence[Work], settings: Slurm) -> dict[str, Any]:
    """Return what an array asks for, as submitit names it; the largest of its jobs decides.

    Args:
        works: of `arrays_of`.
        settings: of the user; what is not set is left to SLURM.
    """
    need, job = works[0].need, works[0].job
    memory_mb = max(work.need.memory_mb for work in works) + _ROOM_MB
    partition = (settings.gpu_partition if need.gpus else None) or settings.partition
    named = {
        "slurm_partition": partition,
        "slurm_account": settings.account,
        "slurm_qos": settings.qos,
        "slurm_array_parallelism": settings.array_parallelism,
        "slurm_exclusive": True if works[0].alone else None,
        "slurm_setup": list(settings.setup) or None,
        "slurm_additional_parameters": _options(settings.extra) or None,
        "gpus_per_node": need.gpus or None,
    }
    return {
        "name": f"my3dis-{'gpu' if need.gpus else 'cpu'}-{job.stages[0]}",
        "timeout_min": minutes_of(works, settings),
        "mem_gb": math.ceil(memory_mb / _ROUND_MB) * _ROUND_MB / 1024,
        "cpus_per_task": need.threads,
        "nodes": 1,
        "tasks_per_node": 1,
        "slurm_signal_delay_s": _SIGNAL_S,
        **{name: value for name, value in named.items() if value is not None},
    }


def describe_arrays(plan: SweepPlan, settings: Slurm) -> tuple[str, ...]:
    """Return a sentence about all work, and one about each array of jobs."""
    works = [Work(key=job.id, job=job, need=job.need, alone=False, order="") for job in plan.jobs]
    where = "processes on this machine, as submitit's stand-in" if settings.cluster == "local" else "SLURM"
    lines = [f"{work_of(plan)} through {where}; its queue decides when"]
    for group in arrays_of(works):
        asked = parameters_of(group, settings)
        parts = [
            f"{asked['gpus_per_node']} GPU" if "gpus_per_node" in asked else "no GPU",
            f"{asked['cpus_per_task']} processors",
            f"{round(asked['mem_gb'] * 1024):,} MiB",
            f"at most {asked['timeout_min']} min",
            f"partition {asked['slurm_partition']}" if "slurm_partition" in asked else "",
        ]
        lines.append(f"array {asked['name']}: {len(group)} jobs, each {', '.join(p for p in parts if p)}")
    return tuple(lines)


def minutes_of(works: Sequence[Work], settings: Slurm) -> int:
    """Return the time limit of an array; twice as long each time that it was too short."""
    longest_min = max(work.job.seconds for work in works) / 60
    least = settings.time_min or max(_LEAST_MIN, math.ceil(_TIMES * longest_min + _MORE_MIN))
    return int(least * 2 ** works[0].timeouts)


def gone_of(state: str, job_id: str, folder: str) -> Gone | None:
    """Return what a state of SLURM means for an attempt that said nothing more, None while it goes on.

    Args:
        state: such as ``RUNNING`` or ``CANCELLED by 1000``.
        job_id: in SLURM.
        folder: where SLURM writes what the attempt said.
    """
    word = (state.split() or ["UNKNOWN"])[0].rstrip("+").upper()
    kind = _MEANS.get(word)
    if kind is None:
        return None
    text = f"SLURM says {word} for job {job_id}"
    if word == "FAILED":
        text += (
            f"; what it said is in {folder} (if that is missing, its machine does not see the folder: "
            "experiment.output_root must be on storage that all machines share)"
        )
    return Gone(kind, text)  # type: ignore[arg-type]  # one of the words above


def _options(texts: Sequence[str]) -> dict[str, str | bool]:
    """Return options of sbatch written as ``name=value`` or ``--name=value``; a bare name is a switch."""
    found: dict[str, str | bool] = {}
    for text in texts:
        name, equals, value = text.strip().lstrip("-").partition("=")
        found[name] = value if equals else True
    return found
