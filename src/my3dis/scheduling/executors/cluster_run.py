"""Run a plan on a cluster, from the folder through which its jobs are heard to what became of each."""

from __future__ import annotations

import time

from my3dis.scheduling.executors.cluster import Cluster
from my3dis.scheduling.executors.cluster_sweep import ClusterSweep
from my3dis.scheduling.executors.local import Interrupts
from my3dis.scheduling.executors.mailbox import SweepFolder, clear_leftovers
from my3dis.scheduling.executors.options import ExecutorOptions
from my3dis.scheduling.executors.words import Observe, tell
from my3dis.scheduling.jobs import JobOutcome, SweepPlan

__all__ = ["run_on_cluster"]


def run_on_cluster(
    cluster: Cluster, plan: SweepPlan, observe: Observe, options: ExecutorOptions
) -> tuple[JobOutcome, ...]:
    """Run every job of a plan on a cluster, and return what became of each.

    Raises:
        ResourceError: if the folder of results cannot be written.
    """
    with SweepFolder(plan.output_root) as folder, Interrupts() as interrupts:
        for old in folder.path.parent.iterdir():
            if old != folder.path:
                cluster.clear(old)
        for sentence in clear_leftovers(plan.output_root, folder.path):
            tell(observe, "warning", sentence)
        sweep = ClusterSweep(plan, observe, options, cluster=cluster, folder=folder)
        try:
            while sweep.goes_on():
                if interrupts.count:
                    sweep.cancel(at_once=interrupts.count > 1)
                else:
                    sweep.submit()
                sweep.listen()
                sweep.collect()
                time.sleep(cluster.pace_s)
        finally:
            sweep.close()
        return sweep.attempts.outcomes()
