"""The way of the earlier system, measured: every mask dense in a dict, then `numpy.savez_compressed`.

Run by ``benchmarks/memory.py`` in a process of its own with a limit on its memory; prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.archive import open_archive
from my3dis.masks import codec


def main() -> None:
    """Hold masks dense and save them, or die of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--masks", type=int, required=True)
    parser.add_argument("--limit-mb", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    limit = options.limit_mb << 20
    # The memory that a process writes to; mapped files and libraries do not count.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    held: dict[str, NDArray[np.bool_]] = {}
    begun = time.perf_counter()
    try:
        # Not in one expression: what is held when memory runs out is counted.
        for name, mask in islice(dense_masks(options.archive), options.masks):
            held[name] = mask  # noqa: PERF403
        loaded = time.perf_counter()
        np.savez_compressed(options.out, **held)
    except MemoryError:
        n = len(held)
        held.clear()  # room for what is left to do
        print(json.dumps({"held": n, "died": True}))
        return
    print(
        json.dumps(
            {
                "held": len(held),
                "died": False,
                "seconds": time.perf_counter() - begun,
                "saving_s": time.perf_counter() - loaded,
                "file_bytes": options.out.stat().st_size,
            }
        )
    )


def dense_masks(archive: Path) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield every mask of an archive as a whole boolean image, each page of it touched."""
    with open_archive(archive) as reader:
        for masks in reader.iter_frames():
            for k in range(len(masks)):
                dense = np.full(masks.image_size, False)
                x0, y0, x1, y1 = masks.boxes[k].tolist()
                dense[y0:y1, x0:x1] = codec.decode_crop(masks.rle[k], masks.image_size, masks.boxes[k])
                yield f"{masks.frame}_{masks.mask_id[k]}", dense


if __name__ == "__main__":
    main()
