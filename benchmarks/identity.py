"""Measure identities on rooms with exact labels, and flow on videos with one labelled object.

    python benchmarks/identity.py rooms [--masks instance|part|degraded] [--propagator auto|warp|flow|oracle]
    python benchmarks/identity.py videos
    python benchmarks/identity.py memory

Rooms: masks are the label images of the scan's ground truth (walls, floor and ceiling left out), or recorded
label maps; their order is shuffled per frame so that no identity leaks; the track stage runs on them as in
the pipeline and its archive is scored. Videos: the first true mask is carried by flow to the end, and
compared with that mask standing still. Memory: resident memory while one room is tracked over and over.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from my3dis import plugins
from my3dis.archive import StreamingSegmentWriter, open_archive
from my3dis.config import Config
from my3dis.datasets.detect import open_scan
from my3dis.datasets.ground_truth import load_frame_labels, load_ground_truth
from my3dis.masks import codec
from my3dis.masks.build import from_codes
from my3dis.masks.labels import from_label_map
from my3dis.metrics.frame_overlap import frame_overlap
from my3dis.metrics.video import IdentityAccumulator, IdentityScores
from my3dis.protocols import BackendOptions, SceneReader
from my3dis.runs.layout import RunLayout
from my3dis.stages.context import StageContext, StageOutcome
from my3dis.stages.track import run as run_track
from my3dis.types import Frame, MaskSet

DATA = Path(os.environ.get("MY3DIS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
MIN_PIXELS = 200


def main() -> None:
    """Run the chosen measurement and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("rooms", "videos", "memory"))
    parser.add_argument("--masks", choices=("instance", "part", "degraded"), default="instance")
    parser.add_argument("--propagator", default="auto")
    parser.add_argument("--step", type=int, default=1, help="use every n-th frame")
    parser.add_argument("--ssam-freq", type=int, default=1, help="masks on every n-th of those only")
    parser.add_argument("--scenes", nargs="*", default=["synth0000_00", "synth0001_00"])
    parser.add_argument("--flow-tracker", default="flow", help="tracker for videos")
    args = parser.parse_args()
    if args.what == "videos":
        videos(args.flow_tracker)
    elif args.what == "memory":
        memory(args)
    else:
        rooms(args)


def rooms(args: argparse.Namespace) -> None:
    """Print identity scores of every scene."""
    print(
        f"masks={args.masks} propagator={args.propagator} step={args.step} ssam_freq={args.ssam_freq}, "
        f"objects with max_pixels >= {MIN_PIXELS}"
    )
    head = (
        "scene",
        "objects",
        "tracks/object",
        "claimants",
        "kept",
        "IDF1",
        "switches",
        "frag",
        "J",
        "s/frame",
    )
    print(" ".join(f"{name:>13}" for name in head))
    for scene in args.scenes:
        with tempfile.TemporaryDirectory() as folder:
            score, outcome, seconds, frames = track_room(DATA / "synth" / scene, Path(folder), args)
        cells = (
            scene,
            score.objects,
            f"{score.tracks_per_object:.3f}",
            f"{score.claimants_per_object:.3f}",
            f"{score.returning_kept}/{score.returning}",
            f"{score.idf1:.4f}",
            score.switches,
            score.fragmentations,
            f"{score.mean_j:.3f}",
            f"{seconds / frames:.3f}",
        )
        print(" ".join(f"{cell!s:>13}" for cell in cells))
        print("   ", " ".join(f"{key}={value}" for key, value in outcome.facts))


def track_room(
    root: Path, folder: Path, args: argparse.Namespace
) -> tuple[IdentityScores, StageOutcome, float, int]:
    """Track one scene in a folder and score the result."""
    reader = open_scan(root)
    frames = tuple(range(0, len(reader), args.step))
    layout = RunLayout(folder)
    ignored = ignored_ids(root / "gt", args.masks)
    write_masks(reader, layout.masks, frames, args, ignored)
    tracker = {"propagator": args.propagator}
    context = StageContext(
        reader=reader,
        frames=frames,
        layout=layout,
        config=Config.model_validate({"stages": {"tracker": tracker}}),
        stage_digest="benchmark",
        progress=unreported,
        warn=lambda warning: print("   warning:", warning.message),
    )
    began = time.perf_counter()
    outcome = run_track(context)
    seconds = time.perf_counter() - began
    accumulator = IdentityAccumulator(min_visible_px=1)
    kind = "part" if args.masks == "part" else "instance"
    with open_archive(layout.tracks) as tracks:
        for index in frames:
            labels = load_frame_labels(root / "gt", reader.frame(index).name, kind)
            accumulator.add(frame_overlap(tracks.frame(index), labels, ignored))
    return accumulator.result(), outcome, seconds, len(frames)


def unreported(done: int, total: int) -> None:
    """Take progress and say nothing."""
    del done, total


def ignored_ids(ground_truth: Path, masks: str) -> frozenset[int]:
    """Return ids of walls, floors and ceilings, and of what is never seen large enough."""
    tree = json.loads((ground_truth / "hierarchy.json").read_text())
    structural = load_ground_truth(ground_truth).structural_objects
    if masks == "part":
        entries = tree["parts"].items()
        return frozenset(
            int(i) for i, e in entries if e["max_pixels"] < MIN_PIXELS or e["object"] in structural
        )
    small = {int(i) for i, e in tree["objects"].items() if e["max_pixels"] < MIN_PIXELS}
    return structural | small


def write_masks(
    reader: SceneReader,
    path: Path,
    frames: tuple[int, ...],
    args: argparse.Namespace,
    ignored: frozenset[int],
) -> None:
    """Write the label images of the frames as masks, shuffled."""
    root = reader.overview.root
    rng = np.random.default_rng(0)
    with StreamingSegmentWriter(path, purpose="masks") as writer:
        for index in frames[:: args.ssam_freq]:
            name = reader.frame(index).name
            if args.masks == "degraded":
                file = DATA / "synth" / "masks_degraded" / reader.overview.scene / "level_2" / f"{name}.png"
                labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED).astype(np.int32)
            else:
                labels = load_frame_labels(root / "gt", name, args.masks)
                labels = np.where(np.isin(labels, list(ignored)), 0, labels)
            writer.append_frame(index, shuffled(from_label_map(labels, frame=index, level=2), rng))


def shuffled(masks: MaskSet, rng: np.random.Generator) -> MaskSet:
    """Return the masks in another order under new ids."""
    mixed = masks.select(rng.permutation(len(masks)))
    return from_codes(
        mixed.rle,
        frame=masks.frame,
        image_size=masks.image_size,
        mask_id=np.arange(len(masks)),
        level=mixed.level,
    )


def videos(tracker: str) -> None:
    """Print mean J of the first mask carried by flow, and of the first mask standing still."""
    root = DATA / "video_davis"
    print(
        f"{'sequence':>12} {'frames':>7} {tracker:>8} {'copied':>8} {'s/frame':>8}   J of every tenth frame"
    )
    means: list[tuple[float, float]] = []
    for folder in sorted((root / "JPEGImages" / "480p").iterdir()):
        began = time.perf_counter()
        carried, copied = follow_first_mask(folder, root / "Annotations" / "480p" / folder.name, tracker)
        seconds = (time.perf_counter() - began) / (len(carried) + 1)
        means.append((float(np.mean(carried)), float(np.mean(copied))))
        some = " ".join(f"{j:.2f}" for j in carried[::10])
        print(
            f"{folder.name:>12} {len(carried) + 1:>7} {means[-1][0]:>8.3f} {means[-1][1]:>8.3f} "
            f"{seconds:>8.3f}   {some}"
        )
    overall = np.mean(means, axis=0)
    print(f"{'mean':>12} {'':>7} {overall[0]:>8.3f} {overall[1]:>8.3f}")


def follow_first_mask(images: Path, annotations: Path, tracker_name: str) -> tuple[list[float], list[float]]:
    """Return J of every frame after the first, carried and copied."""
    tracker = plugins.tracker(tracker_name).create(BackendOptions())
    carried: list[float] = []
    copied: list[float] = []
    first = np.zeros((0, 0), bool)
    for index, path in enumerate(sorted(images.glob("*.jpg"))):
        frame = Frame(
            index=index, name=path.stem, color=cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        )
        truth = cv2.imread(str(annotations / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE) > 127
        found = tracker.step(frame)
        if index == 0:
            first = truth
            prompt = from_codes(
                [codec.encode(truth)], frame=0, image_size=truth.shape, mask_id=[0], track_id=[0]
            )
            tracker.prompt(frame, prompt)
            continue
        mask = codec.decode(found.rle[0], truth.shape) if len(found) else np.zeros_like(truth)
        carried.append(jaccard(mask, truth))
        copied.append(jaccard(first, truth))
    return carried, copied


def jaccard(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return intersection over union, 1 for two empty masks."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


class Repeated:
    """A scan whose frames are gone through several times, back and forth, to make it long."""

    def __init__(self, reader: SceneReader, rounds: int) -> None:
        self._reader, self._rounds = reader, rounds
        self.overview = reader.overview

    def __len__(self) -> int:
        return len(self._reader) * self._rounds

    def frame(self, index: int) -> Frame:
        """Return a frame under its number in the long scan."""
        turn, position = divmod(index, len(self._reader))
        frame = self._reader.frame(position if turn % 2 == 0 else len(self._reader) - 1 - position)
        return Frame(**{**{name: getattr(frame, name) for name in Frame.__slots__}, "index": index})


def memory(args: argparse.Namespace) -> None:
    """Print resident memory against masks written while part masks of one room are tracked over and over."""
    root = DATA / "synth" / args.scenes[0]
    reader = Repeated(open_scan(root), 4)
    frames = tuple(range(0, len(reader), args.step))
    process = psutil.Process()
    written = 0
    windows: dict[int, tuple[int, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        layout = RunLayout(Path(folder))
        counts = write_three_levels(reader, root / "gt", layout.masks, frames)

        def progress(done: int, total: int) -> None:
            nonlocal written
            if done <= len(frames):
                written += counts[frames[done - 1]]
            # The least of a window is what is kept; the rest comes and goes with a frame's images.
            window = done * 36 // total
            least = windows.get(window, (0, np.inf))[1]
            windows[window] = (written, min(least, process.memory_info().rss / 2**20))

        context = StageContext(
            reader=reader,
            frames=frames,
            layout=layout,
            config=Config(),
            stage_digest="benchmark",
            progress=progress,
            warn=print,
        )
        began = time.perf_counter()
        outcome = run_track(context)
        print(f"{(time.perf_counter() - began) / len(frames):.3f} s/frame", dict(outcome.facts))
    for masks, rss_mb in windows.values():
        print(f"{masks:>7} masks, {rss_mb:7.1f} MB")
    forward = [w for w in windows.values() if written / 4 <= w[0] < written]
    slope = np.polyfit([w[0] for w in forward], [w[1] for w in forward], 1)[0] if len(forward) > 2 else np.nan
    print(f"growth {slope * 10_000:.2f} MB per 10,000 masks over the forward pass after its first quarter")


def write_three_levels(
    reader: SceneReader, ground_truth: Path, path: Path, frames: tuple[int, ...]
) -> dict[int, int]:
    """Write objects at one level and parts at two, and return the number of masks of each frame."""
    counts: dict[int, int] = {}
    with StreamingSegmentWriter(path) as writer:
        for index in frames:
            name = reader.frame(index).name
            sets = []
            for level, kind in ((2, "instance"), (4, "part"), (6, "part")):
                masks = from_label_map(load_frame_labels(ground_truth, name, kind), frame=index, level=level)
                ids = np.arange(len(masks)) + 1000 * level
                size = masks.image_size
                sets.append(from_codes(masks.rle, frame=index, image_size=size, mask_id=ids, level=level))
            writer.append_frame(index, MaskSet.concatenate(sets))
            counts[index] = sum(map(len, sets))
    return counts


if __name__ == "__main__":
    main()
