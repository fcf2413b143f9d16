"""Write 77,000 masks to an archive and read them back: seconds, size and memory.

    python benchmarks/archive.py                                  # procedural blobs, 1440x1920
    python benchmarks/archive.py --recorded level_2.json          # shapes of recorded tracks

A recorded file is JSON ``{"size": [H, W], "frames": {name: {object: compressed counts}}}``. Shapes are moved
to random places, so that no two codes are equal. Encoding is not part of the writing time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from rlemasklib import RLEMask

from my3dis.archive import StreamingSegmentWriter, open_archive, verify
from my3dis.masks import codec
from my3dis.types import MaskSet

SIZE = (1440, 1920)
LEVELS = np.array([2, 4, 6], np.int16)


def ragged_blob(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw a star-shaped region with a noisy border, as segmenters give: 40 to 600 pixels across."""
    side = int(rng.integers(40, 600))
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    angle = np.arctan2(rows, columns)
    limit = np.full_like(angle, side * 0.35)
    for order in range(1, 6):
        phase, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.1) * side / order
        limit += strength * np.cos(order * angle + phase)
    limit += rng.normal(0, 1.5, limit.shape)
    return np.asarray(np.hypot(rows, columns) < limit)


def shapes(recorded: Path | None, rng: np.random.Generator, n: int) -> list[RLEMask]:
    """Return shapes cropped to their boxes, run-length encoded."""
    if recorded is None:
        return [RLEMask.from_array(ragged_blob(rng)) for _ in range(n)]
    content = json.loads(recorded.read_text())
    found = []
    for frame in content["frames"].values():
        for counts in frame.values():
            mask = codec.to_rle_mask(counts.encode(), tuple(content["size"]))
            if mask.area():
                found.append(mask.crop(np.array(mask.bbox(), int)))
    return found


def frame_of_masks(frame: int, pool: list[RLEMask], per_frame: int, rng: np.random.Generator) -> MaskSet:
    """Return masks of one frame: shapes of the pool at random places."""
    height, width = SIZE
    rles, boxes, areas = [], np.zeros((per_frame, 4), np.int32), np.zeros(per_frame, np.int64)
    for k, choice in enumerate(rng.integers(0, len(pool), per_frame)):
        shape = pool[choice]
        h, w = shape.shape
        y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        rles.append(codec.to_bytes(shape.pad(y, height - h - y, x, width - w - x)))
        left, top, box_width, box_height = shape.bbox()
        boxes[k] = (x + left, y + top, x + left + box_width, y + top + box_height)
        areas[k] = shape.area()
    return MaskSet(
        frame=frame,
        image_size=SIZE,
        mask_id=np.arange(per_frame, dtype=np.int32),
        level=LEVELS[np.arange(per_frame) % 3],
        parent_id=np.full(per_frame, -1, np.int32),
        boxes=boxes,
        area_px=areas,
        score=rng.random(per_frame).astype(np.float32),
        stability=rng.random(per_frame).astype(np.float32),
        source=np.zeros(per_frame, np.int8),
        rle=tuple(rles),
        track_id=np.arange(per_frame, dtype=np.int32),
    )


def timed_ms(calls: Iterator[None]) -> float:
    """Return the median time of a step of an iterator in milliseconds."""
    times = []
    while True:
        start = time.perf_counter()
        if next(calls, "end") == "end":
            return statistics.median(times)
        times.append((time.perf_counter() - start) * 1e3)


def write(path: Path, options: argparse.Namespace, rng: np.random.Generator) -> None:
    """Write the archive and print seconds, size and memory."""
    pool = shapes(options.recorded, rng, 500)
    frames, per_frame = options.masks // options.per_frame, options.per_frame
    rss_mb, written, raw_bytes, seconds = [], [], 0, 0.0
    writer = StreamingSegmentWriter(path, journal=options.journal)
    for frame in range(frames):
        masks = frame_of_masks(frame, pool, per_frame, rng)
        raw_bytes += sum(map(len, masks.rle))
        start = time.perf_counter()
        writer.append_frame(frame, masks)
        seconds += time.perf_counter() - start
        if (frame + 1) * per_frame % 5_000 < per_frame:
            rss_mb.append(psutil.Process().memory_info().rss / 2**20)
            written.append((frame + 1) * per_frame)
    start = time.perf_counter()
    writer.assign_tracks({per_frame - 1: per_frame - 2})
    merging = time.perf_counter() - start
    start = time.perf_counter()
    writer.close()
    seconds += time.perf_counter() - start
    n, size = frames * per_frame, path.stat().st_size
    # The first sample has the caches that fill once; growth is what comes after.
    slope = np.polyfit(written[1:], rss_mb[1:], 1)[0] * 10_000 if len(written) > 2 else float("nan")
    span = f"{rss_mb[0]:.0f}..{rss_mb[-1]:.0f} MB" if rss_mb else "none"
    print(f"{n:,} masks in {frames} frames, {'recorded' if options.recorded else 'procedural'} shapes")
    print(f"write and close     {seconds:8.2f} s  ({n / seconds:,.0f} masks/s)")
    print(f"merge two tracks    {merging * 1e3:8.1f} ms")
    print(f"file                {size / 1e6:8.1f} MB, {size / n:.0f} bytes/mask (plain {raw_bytes / n:.0f})")
    print(f"RSS growth          {slope:8.3f} MB per 10,000 masks (samples {span})")


def read(path: Path, per_frame: int, rng: np.random.Generator) -> None:
    """Read the archive in every way and print median times."""
    with open_archive(path) as reader:
        order = rng.permutation(reader.frames())[:50].tolist()
        tracks = rng.permutation(per_frame - 2)[:20].tolist()
        one_frame = timed_ms(reader.frame(f) and None for f in order)
        one_level = timed_ms(reader.frame(f, 4) and None for f in order)
        one_track = timed_ms(sum(1 for _ in reader.track(t)) and None for t in tracks)
        all_tracks = timed_ms(reader.tracks() and None for _ in range(5))
        print(f"read one frame      {one_frame:8.2f} ms")
        print(f"read one level      {one_level:8.2f} ms")
        print(f"read one track      {one_track:8.2f} ms")
        print(f"list all tracks     {all_tracks:8.2f} ms")
        start = time.perf_counter()
        assert sum(len(masks) for masks in reader.iter_frames()) == reader.count()
        print(f"iterate everything  {time.perf_counter() - start:8.2f} s")
    start = time.perf_counter()
    report = verify(path)
    print(f"verify              {time.perf_counter() - start:8.2f} s, {'ok' if report.ok else 'DAMAGED'}")


def main() -> None:
    """Run the measurement and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--masks", type=int, default=77_000)
    parser.add_argument("--per-frame", type=int, default=200)
    parser.add_argument("--recorded", type=Path, default=None)
    parser.add_argument("--journal", choices=("auto", "wal", "rollback"), default="auto")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "masks.my3dis"
        write(path, options, rng)
        read(path, options.per_frame, rng)
    print(f"RSS at the end      {psutil.Process().memory_info().rss / 2**20:8.0f} MB")


if __name__ == "__main__":
    main()
