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


def test_curve_carries_the_steps_and_stays_small() -> None:
    """A full curve is thinned, and of neighbours that are joined the higher one stays."""
    # The test's own process, whose memory the first sample is, stays far below the made-up peak.
    with MemorySampler(interval_s=10, keep=8) as memory:
        readings = iter([10.0 + n for n in range(1, 37)] + [500_000.0] + [20.0] * 60)
        memory._rss_mb = lambda: next(readings)  # type: ignore[method-assign]
        for step in range(1, 41):
            memory.at(step, step * 100)
    samples = memory.samples
    assert len(samples) <= 8
    assert [s.done for s in samples] == sorted(s.done for s in samples)
    assert max(s.rss_mb for s in samples) == 500_000
    assert all(s.masks_written == s.done * 100 for s in samples if s.done)


def test_no_curve_unless_asked() -> None:
    """Without `keep` nothing is kept."""
    with MemorySampler() as memory:
        memory.at(1, 1)
    assert memory.samples == ()
