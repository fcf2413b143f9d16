"""Peak memory of a block is what the block really took."""

from __future__ import annotations

import time

import numpy as np

from my3dis.monitoring.sampler import MemorySampler


def test_peak_counts_what_is_freed_before_the_end() -> None:
    """An array of 200 MB that lives for a moment raises the peak by about that, but not the end."""
    with MemorySampler() as memory:
        block = np.ones(25 << 20)  # 200 MiB, every page touched
        time.sleep(0.15)
        del block
    assert 190 < memory.peak_mb - memory.before_mb < 260
    assert memory.after_mb < memory.before_mb + 100


def test_short_block_is_measured_too() -> None:
    """A block shorter than the sampling interval still has figures."""
    with MemorySampler(interval_s=10) as memory:
        pass
    assert 1 < memory.before_mb <= memory.peak_mb
