"""Measure how much memory a stage takes, from a thread beside it."""

from __future__ import annotations

import resource
import sys
import threading
from types import TracebackType
from typing import Self

import psutil

__all__ = ["MemorySampler"]

_MIB = 1 << 20
# ru_maxrss is in KiB on Linux and in bytes on macOS.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class MemorySampler:
    """Samples the resident memory of this process while a block runs; a context manager.

    Samples are 50 ms apart. A peak between two samples is caught where it raises the process's highest
    mark, which the kernel keeps.

    Attributes:
        before_mb, after_mb, peak_mb: resident memory in MiB at the start, at the end and at most.
    """

    def __init__(self, interval_s: float = 0.05) -> None:
        self.before_mb = self.after_mb = self.peak_mb = 0.0
        self._interval_s = interval_s
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="my3dis-memory", daemon=True)
        self._mark_mb = 0.0

    def _rss_mb(self) -> float:
        return self._process.memory_info().rss / _MIB

    def _sample(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.peak_mb = max(self.peak_mb, self._rss_mb())

    def __enter__(self) -> Self:
        self._mark_mb = _highest_mark_mb()
        self.before_mb = self.peak_mb = self._rss_mb()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.after_mb = self._rss_mb()
        mark = _highest_mark_mb()
        self.peak_mb = max(self.peak_mb, self.after_mb, mark if mark > self._mark_mb else 0.0)


def _highest_mark_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT / _MIB
