"""What a Ray cluster has, and what a job is to ask of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from my3dis.scheduling.executors.words import work_of
from my3dis.scheduling.jobs import Need, SweepPlan

__all__ = ["Node", "describe_nodes", "lack_of", "nodes_of", "request_of"]

_MIB = 1 << 20
_PARTS = 10_000
"""Ray counts a GPU in ten thousandths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of the cluster that can run jobs.

    Attributes:
        id: by which Ray knows it.
        host: its name.
        threads, gpus: as Ray counts them.
        memory_mb: that Ray lends.
    """

    id: str
    host: str
    threads: int
    gpus: int
    memory_mb: int


def nodes_of(described: Sequence[Mapping[str, Any]]) -> tuple[Node, ...]:
    """Return the machines among those that ``ray.nodes()`` describes that are up and lend processors."""
    found = []
    for one in described:
        resources = one.get("Resources", {})
        if one.get("Alive") and resources.get("CPU", 0) >= 1:
            found.append(
                Node(
                    id=str(one["NodeID"]),
                    host=str(one.get("NodeManagerHostname", "")),
                    threads=int(resources["CPU"]),
                    gpus=int(resources.get("GPU", 0)),
                    memory_mb=int(resources.get("memory", 0) / _MIB),
                )
            )
    return tuple(found)


def lack_of(need: Need, nodes: Sequence[Node]) -> str | None:
    """Return why no machine can ever meet a need, or None; more threads or memory than any has is cut."""
    if not nodes:
        return "no machine of the Ray cluster is left"
    most = max(node.gpus for node in nodes)
    if need.gpus > most:
        return (
            f"it needs {need.gpus} GPU{'s' * (need.gpus > 1)}, the machine of the Ray cluster with most has "
            f"{most or 'none'}"
        )
    return None


def request_of(need: Need, nodes: Sequence[Node], *, alone: bool, gpu_mb: int) -> dict[str, Any]:
    """Return the options of a Ray task that ask for a need.

    Args:
        need: of the job.
        nodes: of the cluster, some of which have its GPUs.
        alone: nothing may run beside it: it takes all processors of a machine.
        gpu_mb: memory of one GPU, 0 when unknown; a share is then a whole one.
    """
    having = [node for node in nodes if node.gpus >= need.gpus]
    # A machine that has all: the largest by memory may not be the one with most processors.
    threads = max((node.threads for node in having), default=1)
    whole = min((node.threads for node in having), default=1)
    memory_mb = max((node.memory_mb for node in having), default=0)
    share = 1.0
    if need.gpus == 1 and 0 < need.gpu_memory_mb < gpu_mb:
        share = math.ceil(_PARTS * need.gpu_memory_mb / gpu_mb) / _PARTS
    return {
        "num_cpus": max(whole, min(need.threads, threads)) if alone else min(need.threads, threads),
        "num_gpus": need.gpus * share,
        "memory": min(need.memory_mb, memory_mb) * _MIB,
        "max_retries": 0,
    }


def describe_nodes(plan: SweepPlan, nodes: Sequence[Node], address: str) -> tuple[str, ...]:
    """Return what a cluster has, and which jobs of a plan can never run there."""
    threads, gpus = sum(node.threads for node in nodes), sum(node.gpus for node in nodes)
    memory_mb = sum(node.memory_mb for node in nodes)
    has = f"{len(nodes)} machines with {threads} processors, {memory_mb:,} MiB and {gpus} GPUs"
    lines = [f"{work_of(plan)} on the Ray cluster at {address}: {has}"]
    lacking = next((why for job in plan.jobs if (why := lack_of(job.need, nodes))), None)
    return (*lines, *((f"some jobs cannot run there: {lacking}",) if lacking else ()))
