"""Measure how much memory a stage takes, from a thread beside it."""

from __future__ import annotations

import resource
import sys
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import psutil
from numpy.typing import NDArray

__all__ = ["KEPT_SAMPLES", "MemorySample", "MemorySampler"]

_MIB = 1 << 20
# ru_maxrss is in KiB on Linux and in bytes on macOS.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024

KEPT_SAMPLES = 4096
"""Enough for a smooth curve of a stage of any length; 128 kB."""


@dataclass(frozen=True, slots=True)
class MemorySample:
    """One look at the process.

    Attributes:
        time_s: seconds since the block began.
        rss_mb: resident memory in MiB.
        done: steps done by then.
        masks_written: masks in the stage's archive when last asked, -1 = not known.
    """

    time_s: float
    rss_mb: float
    done: int
    masks_written: int = -1


class MemorySampler:
    """Samples the resident memory of this process while a block runs; a context manager.

    Samples are 50 ms apart. A peak between two samples is caught where it raises the process's highest
    mark, which the kernel keeps.

    Args:
        interval_s: seconds between samples.
        keep: an even number of samples to keep for a curve, 0 = none. Their place is taken at the start, so
            that measuring adds nothing to what is measured; whenever it is full, neighbours are joined, now
            and from then on, and the higher one stays.

    Attributes:
        before_mb, after_mb, peak_mb: resident memory in MiB at the start, at the end and at most.
    """

    def __init__(self, interval_s: float = 0.05, *, keep: int = 0) -> None:
        self.before_mb = self.after_mb = self.peak_mb = 0.0
        self._interval_s = interval_s
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="my3dis-memory", daemon=True)
        self._mark_mb = 0.0
        self._begun_s = 0.0
        self._position = (0, -1)
        self._lock = threading.Lock()
        self._kept: NDArray[np.float64] = np.full((keep, 4), np.nan)
        self._n = self._seen = 0
        self._stride = 1
        self._highest_mb = 0.0

    def at(self, done: int, masks_written: int) -> None:
        """Say how far the block is; later samples carry it, and where a curve is kept one is taken now."""
        self._position = (done, masks_written)
        if len(self._kept):
            self._take()

    @property
    def samples(self) -> tuple[MemorySample, ...]:
        """The samples that were kept, in order."""
        return tuple(
            MemorySample(time_s, rss_mb, int(done), int(masks))
            for time_s, rss_mb, done, masks in self._kept[: self._n].tolist()
        )

    def _rss_mb(self) -> float:
        return self._process.memory_info().rss / _MIB

    def _sample(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._take()

    def _take(self) -> None:
        with self._lock:
            rss_mb = self._rss_mb()
            self.peak_mb = max(self.peak_mb, rss_mb)
            self._seen += 1
            self._highest_mb = max(self._highest_mb, rss_mb)
            if self._seen % self._stride == 0:
                self._keep(self._highest_mb)
                self._highest_mb = 0.0

    def _keep(self, rss_mb: float) -> None:
        if not len(self._kept):
            return
        if self._n == len(self._kept):
            half = self._n // 2
            pairs = self._kept.reshape(half, 2, 4)
            self._kept[:half] = pairs[np.arange(half), np.argmax(pairs[:, :, 1], axis=1)]
            self._n, self._stride = half, 2 * self._stride
        self._kept[self._n] = (time.monotonic() - self._begun_s, rss_mb, *self._position)
        self._n += 1

    def __enter__(self) -> Self:
        self._mark_mb = _highest_mark_mb()
        self._begun_s = time.monotonic()
        self.before_mb = self.peak_mb = self._rss_mb()
        self._keep(self.before_mb)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.after_mb = self._rss_mb()
        self._keep(self.after_mb)
        mark = _highest_mark_mb()
        self.peak_mb = max(self.peak_mb, self.after_mb, mark if mark > self._mark_mb else 0.0)


def _highest_mark_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT / _MIB
