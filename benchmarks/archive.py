"""Write 77,000 masks to an archive and read them back: seconds, size and memory.

    python benchmarks/archive.py                                  # procedural blobs, 1440x1920
    python benchmarks/archive.py --recorded level_2.json          # shapes of recorded tracks

A recorded file is JSON ``{"size": [H, W], "frames": {name: {object: compressed counts}}}``. Shapes are moved
to random places, so that no two codes are equal; besides, they are written once as they are, for the size of
the file. Encoding is not part of the writing time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from rlemasklib import RLEMask

from my3dis.archive import StreamingSegmentWriter, open_archive, verify
from my3dis.masks import build, codec
from my3dis.types import MaskSet

SIZE = (1440, 1920)
LEVELS = np.array([2, 4, 6], np.int16)


@dataclass(frozen=True)
class Scene:
    """What is written: number of masks, masks in each frame, and SQLite's journal."""

    masks: int
    per_frame: int = 200
    journal: str = "auto"


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


@dataclass
class Clock:
    """Seconds of processor and of wall time spent in blocks."""

    cpu: float = 0.0
    wall: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time that the block takes."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.cpu += time.process_time() - cpu
        self.wall += time.perf_counter() - wall


def line(name: str, value: str) -> None:
    """Print one figure."""
    print(f"{name:20} {value}")


def per_call(name: str, calls: Iterable[Callable[[], object]]) -> None:
    """Print median and quartiles of the processor time of calls, and the median of their wall time."""
    cpu, wall = [], []
    for call in calls:
        clock = Clock()
        with clock.running():
            call()
        cpu.append(clock.cpu * 1e3)
        wall.append(clock.wall * 1e3)
    low, middle, high = np.percentile(cpu, (25, 50, 75))
    line(name, f"{middle:8.2f} ms CPU ({low:.2f}-{high:.2f}), {statistics.median(wall):.2f} ms wall")


def write(path: Path, recorded: Path | None, scene: Scene, rng: np.random.Generator) -> None:
    """Write the archive and print seconds, size and memory."""
    pool = shapes(recorded, rng, 500)
    frames, per_frame = scene.masks // scene.per_frame, scene.per_frame
    rss_mb, written, raw_bytes, each, closing, merging = [], [], 0, [], Clock(), Clock()
    writer = StreamingSegmentWriter(path, journal=scene.journal)
    for frame in range(frames):
        masks = frame_of_masks(frame, pool, per_frame, rng)
        raw_bytes += sum(map(len, masks.rle))
        each.append(Clock())
        with each[-1].running():
            writer.append_frame(frame, masks)
        if (frame + 1) * per_frame % 5_000 < per_frame:
            rss_mb.append(psutil.Process().memory_info().rss / 2**20)
            written.append((frame + 1) * per_frame)
    with merging.running():
        writer.assign_tracks({per_frame - 1: per_frame - 2})
    with closing.running():
        writer.close()
    n, size = frames * per_frame, path.stat().st_size
    # The first sample has the caches that fill once; growth is what comes after.
    slope = np.polyfit(written[1:], rss_mb[1:], 1)[0] * 10_000 if len(written) > 2 else float("nan")
    span = f"{rss_mb[0]:.0f}..{rss_mb[-1]:.0f} MB" if rss_mb else "none"
    print(f"Archive: {n:,} masks in {frames} frames, {'recorded' if recorded else 'procedural'} shapes moved")
    cpu, wall = (sum(getattr(c, kind) for c in (*each, closing)) for kind in ("cpu", "wall"))
    line("write and close", f"{cpu:8.2f} s CPU, {wall:.2f} s wall ({n / wall:,.0f} masks/s)")
    low, middle, high = (v * frames for v in np.percentile([c.cpu for c in each], (25, 50, 75)))
    line("  by median frame", f"{middle:8.2f} s CPU ({low:.2f}-{high:.2f} by the quartiles)")
    line("merge two tracks", f"{merging.cpu * 1e3:8.1f} ms CPU")
    line("file", f"{size / 1e6:8.1f} MB, {size / n:.0f} bytes/mask (plain {raw_bytes / n:.0f})")
    line("RSS growth", f"{slope:8.3f} MB per 10,000 masks (samples {span})")


def read(path: Path, per_frame: int, rng: np.random.Generator) -> None:
    """Read the archive in every way and print median times."""
    with open_archive(path) as reader:
        order = rng.permutation(reader.frames())[:50].tolist()
        tracks = rng.permutation(per_frame - 2)[:20].tolist()
        per_call("read one frame", (partial(reader.frame, f) for f in order))
        per_call("read one level", (partial(reader.frame, f, 4) for f in order))
        per_call("read one track", (partial(deque, reader.track(t), 0) for t in tracks))
        per_call("list all tracks", (reader.tracks for _ in range(5)))
        clock = Clock()
        with clock.running():
            assert sum(len(masks) for masks in reader.iter_frames()) == reader.count()
        line("iterate everything", f"{clock.cpu:8.2f} s CPU, {clock.wall:.2f} s wall")
    clock = Clock()
    with clock.running():
        report = verify(path)
    state = "ok" if report.ok else "DAMAGED"
    line("verify", f"{clock.cpu:8.2f} s CPU, {clock.wall:.2f} s wall, {state}")


def as_recorded(path: Path, recorded: Path) -> None:
    """Write the recorded masks where they are, frame by frame, and print the size of the file."""
    content = json.loads(recorded.read_text())
    size = tuple(content["size"])
    n = raw_bytes = 0
    with StreamingSegmentWriter(path) as writer:
        for frame, codes in enumerate(content["frames"].values()):
            rles = [counts.encode() for counts in codes.values()]
            ids = np.arange(len(rles))
            writer.append_frame(
                frame, build.from_codes(rles, frame=frame, image_size=size, mask_id=ids, track_id=ids)
            )
            n, raw_bytes = n + len(rles), raw_bytes + sum(map(len, rles))
    per_mask = path.stat().st_size / n
    line("as recorded", f"{per_mask:8.0f} bytes/mask of {n} masks (plain {raw_bytes / n:.0f})")
    drawn = [counts.encode() for codes in content["frames"].values() for counts in codes.values()]
    write_drawn(path.with_name("drawn.my3dis"), drawn, size)


def write_drawn(path: Path, codes: list[bytes], size: tuple[int, int]) -> None:
    """Print how long 77,000 codes take that are drawn from those recorded, unmoved, 100 frames timed."""
    rng = np.random.default_rng(0)
    ids = np.arange(200)
    frames = [
        build.from_codes(
            [codes[i] for i in rng.integers(0, len(codes), 200)],
            frame=frame,
            image_size=size,
            mask_id=ids,
            track_id=ids,
        )
        for frame in range(100)
    ]
    clock = Clock()
    with clock.running(), StreamingSegmentWriter(path) as writer:
        for masks in frames:
            writer.append_frame(masks.frame, masks)
    share = 77_000 / (len(frames) * len(ids))
    line("write as recorded", f"{clock.cpu * share:8.2f} s CPU for 77,000 (20,000 written and scaled up)")


def measure(folder: Path, recorded: Path | None, scene: Scene) -> None:
    """Write and read an archive in a folder and print the figures."""
    rng = np.random.default_rng(0)
    path = folder / "masks.my3dis"
    write(path, recorded, scene, rng)
    if recorded is not None:
        as_recorded(folder / "recorded.my3dis", recorded)
    read(path, scene.per_frame, rng)
    line("RSS at the end", f"{psutil.Process().memory_info().rss / 2**20:8.0f} MB")


def main() -> None:
    """Run the measurement and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--masks", type=int, default=77_000)
    parser.add_argument("--per-frame", type=int, default=200)
    parser.add_argument("--recorded", type=Path, default=None)
    parser.add_argument("--journal", choices=("auto", "wal", "rollback"), default="auto")
    options = parser.parse_args()
    scene = Scene(masks=options.masks, per_frame=options.per_frame, journal=options.journal)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.recorded, scene)


if __name__ == "__main__":
    main()
