"""What lifting makes of perfect identities: average precision, seconds and peak memory of the stage.

Usage::

    python benchmarks/lifting.py SCAN [SCAN ...] [--degraded FOLDER] [--step N]

Each SCAN is a folder in ScanNet's exported layout with ground truth (``gt/``). The tracks archive is made
straight from the ground-truth label images, so every figure is the loss of lifting alone. With
``--degraded`` the first level comes from ``FOLDER/<scene>/level_2/<frame>.png`` instead, and each mask has
the identity of the object that it overlaps most. The stage runs in a process of its own, which is what the
seconds and the memory are of.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.archive import StreamingSegmentWriter, open_archive
from my3dis.config import Config
from my3dis.datasets.detect import open_scan
from my3dis.datasets.files import read_label_map
from my3dis.datasets.ground_truth import GroundTruth, load_frame_labels, load_ground_truth
from my3dis.masks.labels import from_label_map
from my3dis.metrics.average_precision import evaluate_score_modes
from my3dis.metrics.protocols import CLASS_AGNOSTIC, CLASS_AGNOSTIC_PARTS, object_targets, part_targets
from my3dis.protocols import SceneReader
from my3dis.runs.instances import load_instances
from my3dis.runs.layout import RunLayout
from my3dis.runs.relations import Relations, save_relations
from my3dis.stages import lift
from my3dis.stages.context import StageContext, StageWarning
from my3dis.tracking.relations import TrackParent
from my3dis.types import InstanceSet, MaskSet

OBJECTS, PARTS = 2, 4
PART_IDS_FROM = 10_000
"""Parts and objects share the track ids of one archive."""


def build_tracks(scan: Path, layout: RunLayout, frames: tuple[int, ...], degraded: Path | None) -> None:
    """Write tracks with true identities, and their relations."""
    reader, gt = open_scan(scan), load_ground_truth(scan / "gt")
    with StreamingSegmentWriter(layout.tracks, purpose="tracks") as writer:
        for index in frames:
            writer.append_frame(index, frame_masks(reader, scan, gt, index, degraded))
    object_of = {PART_IDS_FROM + part: owner for part, owner in gt.object_of_part}
    with open_archive(layout.tracks) as archive:
        tracks = archive.tracks()
    known = set(tracks.track_id.tolist())
    parents = tuple(
        TrackParent(track_id=t, level=level, parent_id=p if p in known else -1, containment=1.0)
        for t, level in zip(tracks.track_id.tolist(), tracks.level.tolist(), strict=True)
        for p in (object_of.get(t, -1),)
    )
    save_relations(layout.relations, Relations(parents=parents))


def frame_masks(
    reader: SceneReader, scan: Path, gt: GroundTruth, index: int, degraded: Path | None
) -> MaskSet:
    """Return one frame's masks of objects and parts, structure left out."""
    name = reader.frame(index).name
    objects = load_frame_labels(scan / "gt", name, "instance")
    parts = load_frame_labels(scan / "gt", name, "part")
    structure = np.isin(objects, sorted(gt.structural_objects))
    objects[structure] = parts[structure] = 0
    fine = from_label_map(parts, frame=index, level=PARTS)
    ids = fine.mask_id + np.int32(PART_IDS_FROM)
    fine = replace(fine, mask_id=ids, track_id=ids)
    if degraded is None:
        coarse = from_label_map(objects, frame=index, level=OBJECTS)
        return MaskSet.concatenate([replace(coarse, track_id=coarse.mask_id), fine])
    labels = read_label_map(degraded / scan.name / "level_2" / f"{name}.png")
    coarse = from_label_map(labels, frame=index, level=OBJECTS)
    track = np.array([most_covered(objects[labels == i]) for i in coarse.mask_id.tolist()], np.int32)
    return MaskSet.concatenate([replace(coarse, track_id=track).select(track > 0), fine])


def most_covered(objects: NDArray[np.int32]) -> int:
    """Return the object that most of a mask's pixels show, 0 for structure."""
    return int(np.bincount(objects).argmax()) if len(objects) else 0


def run_stage(scan: Path, root: Path, frames: tuple[int, ...], answer: multiprocessing.SimpleQueue) -> None:
    """Run the stage in a fresh process and answer its seconds, memory and facts."""
    warnings: list[StageWarning] = []
    context = StageContext(
        reader=open_scan(scan),
        frames=frames,
        layout=RunLayout(root),
        config=Config(),
        stage_digest="benchmark",
        progress=lambda *_: None,
        warn=warnings.append,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started, cpu = time.perf_counter(), time.process_time()
    outcome = lift.run(context)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer.put((seconds, cpu, before, peak, outcome.facts, [w.message for w in warnings]))


def at_level(instances: InstanceSet, level: int) -> InstanceSet:
    """Return the instances of one level."""
    chosen = np.flatnonzero(instances.level == level)
    points = [instances.points_of(i) for i in chosen.tolist()]
    return InstanceSet(
        **{k: getattr(instances, k)[chosen] for k in ("instance_id", "level", "parent_id", "label", "score")},
        point_offsets=np.cumsum([0, *map(len, points)], dtype=np.int64),
        point_index=np.concatenate([np.zeros(0, np.int64), *points]),
        n_points=instances.n_points,
        cloud_digest=instances.cloud_digest,
    )


def print_scores(scan: Path, instances: InstanceSet) -> None:
    """Print AP / AP50 / AP25 with confidences as predicted, and all equal as in published scripts."""
    gt = load_ground_truth(scan / "gt")
    assert gt.instances is not None
    assert gt.parts is not None
    structural = [part for part, owner in gt.object_of_part if owner in gt.structural_objects]
    objects = object_targets(CLASS_AGNOSTIC, gt.instances, gt.structural)
    for name, level, target, protocol in (
        ("objects", OBJECTS, objects, CLASS_AGNOSTIC),
        ("parts", PARTS, part_targets(gt.parts, structural), CLASS_AGNOSTIC_PARTS),
    ):
        scene = (at_level(instances, level), target)
        for result in evaluate_score_modes([scene], min_region=protocol.min_region):
            figures = " / ".join(f"{100 * value:5.1f}" for value in (result.ap, result.ap50, result.ap25))
            print(f"  {name:8} {result.scores:9} AP {figures}   ({result.n_predictions} of {result.n_gt})")


def main() -> None:
    """Measure every scan given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--degraded", type=Path, help="folder with <scene>/level_2/<frame>.png")
    parser.add_argument("--step", type=int, default=1, help="use every N-th frame")
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    for scan in arguments.scans:
        frames = tuple(range(0, len(open_scan(scan)), arguments.step))
        with tempfile.TemporaryDirectory() as folder:
            layout = RunLayout(Path(folder))
            build_tracks(scan, layout, frames, arguments.degraded)
            answer = spawn.SimpleQueue()
            child = spawn.Process(target=run_stage, args=(scan, layout.root, frames, answer))
            child.start()
            child.join()
            seconds, cpu, before, peak, facts, warnings = answer.get()
            print(f"{scan.name}: {len(frames)} frames")
            print_scores(scan, load_instances(layout.instances))
            print(
                f"  {seconds:.1f} s, {cpu:.1f} CPU s; peak {peak:.0f} MB ({before:.0f} MB before the stage)"
            )
            print("  " + ", ".join(f"{name} {value}" for name, value in facts))
            for message in warnings:
                print("  warning: " + message)


if __name__ == "__main__":
    main()
