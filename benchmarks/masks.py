"""Speed of mask arithmetic and of the archive, beside other ways, in one run on one thread.

    python benchmarks/masks.py [--recorded FILE ...] [--procedural] [--quick] [--skip-archive]

Masks are 1440x1920: recorded tracks where there are any, ragged procedural ones otherwise; the first line
says which. A recorded file is JSON ``{"size": [H, W], "frames": {name: {object: compressed counts}}}``. torch
is compared where it is installed. How it is measured is in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from rlemasklib import RLEMask

import archive
from my3dis.masks import build, codec, labels, overlap
from my3dis.masks.logits import encode_logits
from my3dis.types import MaskSet

SIZE = archive.SIZE
DATA = Path(os.environ.get("MY3DIS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RECORDED = [DATA / "recorded_multiscan" / "sam2" / f"level_{level}.json" for level in (2, 4)]
NEAR = 1e-4
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Ways = dict[str, Callable[[Any], object]]


def compare(ways: Ways, items: Sequence[Any], repeats: int) -> dict[str, NDArray[np.float64]]:
    """Return (items, 2) ms for each way: the best processor time and wall time of several calls per item.

    The ways take turns on each item, so that a busy moment of the machine meets all of them.
    """
    best = {name: np.full((len(items), 2), np.inf) for name in ways}
    for k, item in enumerate(items):
        for _ in range(repeats):
            for name, way in ways.items():
                wall, cpu = time.perf_counter(), time.process_time()
                way(item)
                spent = time.process_time() - cpu, time.perf_counter() - wall
                best[name][k] = np.minimum(best[name][k], np.array(spent) * 1e3)
    return best


def table(title: str, found: dict[str, NDArray[np.float64]], notes: dict[str, str]) -> None:
    """Print median and quartiles of processor time, median of wall time, and the ratio to the first way."""
    print(f"\n{title}")
    print(f"  {'':38} {'CPU ms':>8} {'quartiles':>15} {'mean':>8} {'wall ms':>8} {'times faster':>13}")
    first = next(iter(found.values()))
    for name, ms in found.items():
        low, middle, high = np.percentile(ms[:, 0], (25, 50, 75))
        # The ratio of the sums: what coding all of them takes.
        ratio = first[:, 0].sum() / ms[:, 0].sum()
        print(
            f"  {name:38} {middle:8.3f} {low:7.3f}-{high:<7.3f} {ms[:, 0].mean():8.3f} "
            f"{np.median(ms[:, 1]):8.3f} {ratio:12.1f}x  {notes.get(name, '')}"
        )


def by_coco(mask: NDArray[np.bool_]) -> bytes:
    """Return the code that pycocotools gives."""
    return bytes(coco.encode(np.asfortranarray(mask.view(np.uint8)))["counts"])


def encoding(masks: MaskSet, rng: np.random.Generator, n: int, repeats: int) -> None:
    """Compare ways to encode boolean masks of full size."""
    chosen = np.flatnonzero(masks.area_px > 0)
    some = rng.permutation(chosen)[:n].tolist()
    items = [(coco_decode(masks.rle[i]), tuple(masks.boxes[i].tolist())) for i in some]

    def known(item: tuple[NDArray[np.bool_], codec.Box]) -> bytes:
        mask, (x0, y0, x1, y1) = item
        return codec.encode_in_box(mask[y0:y1, x0:x1], item[1], SIZE)

    ways: Ways = {
        "pycocotools, asfortranarray": lambda item: by_coco(item[0]),
        "rlemasklib as it is": lambda item: codec.to_bytes(RLEMask.from_array(item[0])),
        "My3DIS, box unknown": lambda item: codec.encode(item[0]),
        "My3DIS, box known": known,
    }
    found = compare(ways, items, repeats)
    notes = {}
    for name, way in ways.items():
        same = sum(way(item) == by_coco(item[0]) for item in items)
        notes[name] = f"{same} of {len(items)} byte-equal"
    share = statistics.mean((b[2] - b[0]) * (b[3] - b[1]) / (SIZE[0] * SIZE[1]) for _, b in items)
    table(f"Encode one boolean mask ({len(items)} masks, boxes {share:.0%} of the image)", found, notes)


def coco_decode(rle: bytes) -> NDArray[np.bool_]:
    """Decode a mask of full size in C order."""
    return np.ascontiguousarray(coco.decode({"size": list(SIZE), "counts": rle}).view(np.bool_))


def from_logits(masks: MaskSet, rng: np.random.Generator, n: int, repeats: int) -> None:
    """Compare ways from 256x256 logits to a code of full size; the logits are made from masks."""
    items = []
    for i in rng.permutation(np.flatnonzero(masks.area_px > 0))[:n].tolist():
        small = cv2.resize(
            coco_decode(masks.rle[i]).astype(np.float32), (256, 256), interpolation=cv2.INTER_AREA
        )
        noise = rng.normal(0, 0.3, small.shape)
        items.append((20 * cv2.GaussianBlur(small, (0, 0), 1) - 10 + noise).astype(np.float32))

    def resized(grid: NDArray[np.float32]) -> bytes:
        return codec.encode(cv2.resize(grid, SIZE[::-1], interpolation=cv2.INTER_LINEAR) > 0)

    ways: Ways = {"OpenCV resize, compare, encode": resized}
    full = full_size
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)

        def full(grid: NDArray[np.float32]) -> NDArray[np.float32]:
            given = torch.from_numpy(grid)[None, None]
            return np.asarray(torch.nn.functional.interpolate(given, SIZE, mode="bilinear")[0, 0])

        ways = {"torch interpolate, compare, encode": lambda grid: codec.encode(full(grid) > 0), **ways}
    ways["My3DIS encode_logits"] = lambda grid: encode_logits(grid, SIZE).rle
    found = compare(ways, items, repeats)
    wrong = near = 0
    for grid in items:
        values, got = full(grid), coco_decode(encode_logits(grid, SIZE).rle)
        differs = got != (values > 0)
        wrong += int((differs & (np.abs(values) >= NEAR)).sum())
        near += int((differs & (np.abs(values) < NEAR)).sum())
    note = f"{wrong} pixels differ, {near} more within {NEAR:g} of the threshold"
    table(f"Encode from 256x256 logits ({len(items)} masks)", found, {"My3DIS encode_logits": note})


def full_size(grid: NDArray[np.float32]) -> NDArray[np.float64]:
    """Interpolate every pixel in float64, as torch defines it."""
    corners = []
    for n, size in zip(SIZE, grid.shape, strict=True):
        place = np.maximum((np.arange(n) + 0.5) * (size / n) - 0.5, 0)
        low = np.minimum(place.astype(int), size - 1)
        corners.append((low, np.minimum(low + 1, size - 1), place - low))
    (y0, y1, fy), (x0, x1, fx) = corners
    lines = grid[:, x0] * (1 - fx) + grid[:, x1] * fx
    return np.asarray(lines[y0] * (1 - fy)[:, None] + lines[y1] * fy[:, None])


def overlaps(tracks: MaskSet, candidates: MaskSet, title: str, repeats: int) -> None:
    """Compare ways to the IoU of every pair; parsing the codes counts, making the dense arrays once too."""
    side = 256 / max(SIZE)

    def records(masks: MaskSet) -> list[dict[str, object]]:
        return [{"size": list(SIZE), "counts": rle} for rle in masks.rle]

    def stacked(masks: MaskSet) -> NDArray[np.float32]:
        small = (round(SIZE[1] * side), round(SIZE[0] * side))
        stack = [
            cv2.resize(coco_decode(rle).view(np.uint8), small, interpolation=cv2.INTER_NEAREST)
            for rle in masks.rle
        ]
        return np.stack(stack).reshape(len(stack), -1).astype(np.float32)

    def ratio(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        shared = a @ b.T
        return np.asarray(shared / np.maximum(a.sum(1)[:, None] + b.sum(1)[None] - shared, 1))

    dense = stacked(tracks), stacked(candidates)
    ways: Ways = {
        "pycocotools": lambda _: coco.iou(records(tracks), records(candidates), [0] * len(candidates)),
        "rlemasklib": lambda _: RLEMask.iou_matrix(overlap.parse(tracks), overlap.parse(candidates)),
        "dense 256, made and multiplied": lambda _: ratio(stacked(tracks), stacked(candidates)),
        "dense 256, multiplied only": lambda _: ratio(*dense),
        "My3DIS iou_matrix": lambda _: overlap.iou_matrix(tracks, candidates),
    }
    exact = np.asarray(ways["pycocotools"](None))
    errors = {name: float(np.abs(np.asarray(way(None)) - exact).max()) for name, way in ways.items()}
    notes = {name: f"largest error of an IoU {error:.2g}" for name, error in errors.items()}
    # Every repeat is an item of its own: the quartiles are those of calls.
    slow = {name: way for name, way in ways.items() if name == "dense 256, made and multiplied"}
    found = compare({name: way for name, way in ways.items() if name not in slow}, range(repeats), 1)
    found |= compare(slow, range(2), 1)
    touching = f"{overlap.boxes_overlap(tracks.boxes, candidates.boxes).mean():.0%}"
    what = f"IoU of {len(tracks)} tracks and {len(candidates)} candidates"
    table(f"{what} {title} (boxes of {touching} touch)", found, notes)


def apart(masks: MaskSet, n: int) -> MaskSet:
    """Return the n largest regions of masks painted over each other, the smaller above: none overlap."""
    canvas = labels.paint(masks.select(np.argsort(-masks.area_px, kind="stable")))
    regions = labels.from_label_map(canvas, frame=0, background=-1)
    return regions.select(np.sort(np.argsort(-regions.area_px, kind="stable")[:n]))


def collect(files: Sequence[Path], rng: np.random.Generator) -> MaskSet:
    """Return masks of full size as one set: those recorded, or 900 procedural ones."""
    if files:
        contents = [json.loads(path.read_text()) for path in files]
        if any(tuple(content["size"]) != SIZE for content in contents):
            raise SystemExit(f"expected masks of {SIZE[1]}x{SIZE[0]} in {', '.join(map(str, files))}")
        frames = [frame for content in contents for frame in content["frames"].values()]
        rles = [rle.encode() for frame in frames for rle in frame.values()]
    else:
        pool = archive.shapes(None, rng, 300)
        rles = [rle for k in range(6) for rle in archive.frame_of_masks(k, pool, 150, rng).rle]
    return build.from_codes(rles, frame=0, image_size=SIZE, mask_id=np.arange(len(rles)))


def main() -> None:
    """Run all parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recorded", type=Path, nargs="+", default=None)
    parser.add_argument(
        "--procedural", action="store_true", help="no recorded masks even where there are any"
    )
    parser.add_argument("--quick", action="store_true", help="fewer masks and repeats")
    parser.add_argument("--skip-archive", action="store_true")
    options = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        # NumPy's library reads them when it is loaded.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)  # noqa: S606
    # pycocotools has not learned NumPy 2's way of making arrays.
    warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
    cv2.setNumThreads(1)
    files = options.recorded or ([] if options.procedural else [path for path in RECORDED if path.exists()])
    rng = np.random.default_rng(0)
    masks = collect(files, rng)
    kind = f"recorded ({', '.join(path.name for path in files)})" if files else "procedural"
    print(f"{len(masks)} {kind} masks of {SIZE[1]}x{SIZE[0]}, one thread")
    n, repeats = (12, 3) if options.quick else (60, 7)
    encoding(masks, rng, n, repeats)
    from_logits(masks, rng, n // 2, repeats)
    pool = masks.select(rng.permutation(np.flatnonzero(masks.area_px > 0)))
    tracks, candidates = pool.select(range(200)), pool.select(range(200, 400))
    overlaps(tracks, apart(pool.select(range(200, len(pool))), 200), "that do not overlap", 3 * repeats)
    overlaps(tracks, candidates, "in general", 3 * repeats)
    if options.skip_archive:
        return
    print()
    with tempfile.TemporaryDirectory() as folder:
        scene = archive.Scene(4_000 if options.quick else 77_000)
        archive.measure(Path(folder), files[0] if files else None, scene)


if __name__ == "__main__":
    main()
