"""Union of a frame's masks for gap filling: runs against the loop that resizes and ORs dense masks.

The earlier system decoded every mask at the segmenter's size, resized it to the frame and ORed it in a
Python loop. `my3dis.refinement.gaps` unites run-length codes instead. Both are timed on the same masks;
the loop gets its masks decoded already, which it did not have for free.

Run: ``python benchmarks/gap_union.py``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from my3dis.masks.build import from_codes
from my3dis.masks.codec import encode
from my3dis.masks.overlap import union
from my3dis.refinement.gaps import find_gaps
from my3dis.types import MaskSet

SIZE = (1440, 1920)
SMALL = (720, 960)


def blobs(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Return wobbly discs at the segmenter's size."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        radius = rng.uniform(15, 110) * (1 + 0.2 * np.sin(angle * rng.integers(2, 9) + rng.uniform(0, 6)))
        centre = rng.uniform((0, 0), (SMALL[1], SMALL[0]))
        outline = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None] + centre
        mask = np.zeros(SMALL, np.uint8)
        cv2.fillPoly(mask, [outline.astype(np.int32)], 1)
        masks.append(mask)
    return masks


def enlarge(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Resize one mask to the frame by nearest neighbour."""
    return cv2.resize(mask, SIZE[::-1], interpolation=cv2.INTER_NEAREST) > 0


def loop_union(masks: list[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Unite masks as the earlier system did: resize and OR one after the other."""
    covered = np.zeros(SIZE, bool)
    for mask in masks:
        covered |= enlarge(mask)
    return covered


def loop_gaps(masks: list[NDArray[np.uint8]], fill_area: int) -> list[int]:
    """Return the areas of the gaps, largest first, from the loop's union."""
    uncovered = (~loop_union(masks)).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(uncovered, connectivity=4)
    return sorted((int(a) for a in stats[1:, cv2.CC_STAT_AREA] if a >= fill_area), reverse=True)


def best_of(repeats: int, work: Callable[[], object]) -> float:
    """Return the shortest of some runs in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print times and the ratio, after checking that both ways agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--masks", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--fill-area", type=int, default=1000)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    small = blobs(options.masks)
    masks: MaskSet = from_codes(
        [encode(enlarge(m)) for m in small], frame=0, image_size=SIZE, mask_id=np.arange(len(small))
    )
    ours = [int(g.area()) for g in find_gaps(masks, options.fill_area)]
    if ours != loop_gaps(small, options.fill_area):
        raise SystemExit("the two ways disagree")
    rows = (
        ("union", lambda: loop_union(small), lambda: union(masks.rle, SIZE)),
        (
            "union and gaps",
            lambda: loop_gaps(small, options.fill_area),
            lambda: find_gaps(masks, options.fill_area),
        ),
    )
    print(f"{options.masks} masks at {SIZE[1]}x{SIZE[0]}, {len(ours)} gaps, best of {options.repeats}")
    print(f"{'':16}{'loop ms':>10}{'runs ms':>10}{'ratio':>8}")
    for name, loop, runs in rows:
        slow, fast = best_of(options.repeats, loop), best_of(options.repeats, runs)
        print(f"{name:16}{slow * 1000:10.1f}{fast * 1000:10.2f}{slow / fast:8.0f}")


if __name__ == "__main__":
    main()
