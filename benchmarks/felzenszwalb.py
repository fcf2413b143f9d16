"""Times three-scale felzenszwalb (scikit-image) on frames of a scan: the yardstick of `pipeline.py`.

Prints one JSON object: ``frames`` (segmented), ``read_s`` and ``segment_s`` (wall), ``segment_cpu_s``,
``regions`` (mean number per scale). Needs scikit-image and an importable my3dis.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from skimage.segmentation import felzenszwalb

from my3dis.datasets.detect import open_scan

SCALES = (50.0, 200.0, 800.0)
SIGMA = 0.8
MIN_SIZE_PX = 50


def main() -> int:
    """Segment every step-th frame at all scales and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--frames", required=True, help="indices, separated by commas")
    arguments = parser.parse_args()
    reader = open_scan(arguments.scan)
    indices = [int(word) for word in arguments.frames.split(",")]
    regions = np.zeros(len(SCALES))
    read_s = segment_s = segment_cpu_s = 0.0
    for index in indices:
        begun = time.perf_counter()
        color = reader.frame(index).color
        read = time.perf_counter()
        cpu = time.process_time()
        for n, scale in enumerate(SCALES):
            labels = felzenszwalb(color, scale=scale, sigma=SIGMA, min_size=MIN_SIZE_PX)
            regions[n] += labels.max() + 1
        segment_cpu_s += time.process_time() - cpu
        segment_s += time.perf_counter() - read
        read_s += read - begun
    result = {
        "frames": len(indices),
        "read_s": read_s,
        "segment_s": segment_s,
        "segment_cpu_s": segment_cpu_s,
        "scales": SCALES,
        "regions": (regions / max(1, len(indices))).round(1).tolist(),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
