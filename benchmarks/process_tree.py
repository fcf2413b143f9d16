"""Runs a command and watches it from outside: memory of its whole process tree, masks written so far."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Sample", "Watched", "watch"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the tree.

    Attributes:
        time_s: seconds since the epoch.
        rss_mb: resident memory of all its processes in MiB.
        value: what the probe said at that time, or None when it was not asked or had no answer.
    """

    time_s: float
    rss_mb: float
    value: int | None


@dataclass(frozen=True, slots=True)
class Watched:
    """How a command went; processor seconds are those of the tree."""

    returncode: int
    wall_s: float
    cpu_s: float
    samples: tuple[Sample, ...]

    @property
    def peak_mb(self) -> float:
        """The largest sample in MiB."""
        return max((sample.rss_mb for sample in self.samples), default=0.0)


def watch(
    command: Sequence[str],
    *,
    log: Path,
    probe: Callable[[], int | None] = lambda: None,
    interval_s: float = 0.05,
    probe_every: int = 4,
) -> Watched:
    """Run a command to its end, sampling its tree.

    Args:
        command: program and arguments.
        log: file that takes its standard output and error.
        probe: a figure to note beside the memory, such as masks written so far.
        interval_s: seconds between samples.
        probe_every: ask the probe at every n-th sample.
    """
    before = _child_cpu_s()
    begun = time.perf_counter()
    samples: list[Sample] = []
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as child:
        tree = psutil.Process(child.pid)
        turn = 0
        while child.poll() is None:
            value = probe() if turn % probe_every == 0 else None
            samples.append(Sample(time.time(), _tree_rss_mb(tree), value))
            turn += 1
            time.sleep(interval_s)
    wall_s = time.perf_counter() - begun
    return Watched(child.returncode, wall_s, _child_cpu_s() - before, tuple(samples))


def _tree_rss_mb(process: psutil.Process) -> float:
    total = 0
    try:
        members = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for member in members:
        try:
            total += member.memory_info().rss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):  # ended between listing and asking
            continue
    return total / _MIB


def _child_cpu_s() -> float:
    """Return processor seconds of all children that have ended, with theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
