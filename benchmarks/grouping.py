"""What each part of grouping the surface is worth: the weight-free default lifted again with one left out.

Usage::

    python benchmarks/grouping.py SCAN RUN [SCAN RUN ...]

Each SCAN has ground truth (``gt/``) and a mesh; each RUN is the folder of a finished run on it with the
watershed proposer (``OUTPUT/<scene>/<name>``), whose tracked masks are used again. Printed are AP, AP50 and
AP25 of level 2 on objects with all confidences equal, AP50 with confidences as predicted, the number of
instances, all as means over the scans, and the processor seconds of grouping alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.archive import open_archive
from my3dis.datasets.detect import open_scan
from my3dis.datasets.ground_truth import load_ground_truth
from my3dis.lifting.borders import BorderEvidence
from my3dis.lifting.grouping import GroupingOptions, group_instances
from my3dis.lifting.lift import surface_of
from my3dis.lifting.vote import VoteAccumulator, Votes
from my3dis.metrics.levels import evaluate_levels
from my3dis.metrics.protocols import CLASS_AGNOSTIC, object_targets
from my3dis.runs.layout import RunLayout
from my3dis.runs.relations import load_relations
from my3dis.types import SceneCloud, TrackSet


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One scan with all views asked."""

    cloud: SceneCloud
    evidence: BorderEvidence
    votes: Votes
    tracks: TrackSet
    target: NDArray[np.int64]


def prepare(scan: Path, run: Path) -> Prepared:
    """Let every frame of a run vote and tell of borders."""
    reader, layout = open_scan(scan), RunLayout(run)
    cloud = reader.cloud()
    assert cloud is not None
    surface = surface_of(cloud)
    with open_archive(layout.tracks) as archive:
        tracks = load_relations(layout.relations).apply_to(archive.tracks())
        frames, levels = archive.frames(), tuple(np.unique(tracks.level).tolist())
        votes = VoteAccumulator(cloud.xyz_m, surface.normal, tracks.track_id, view_count=len(frames))
        evidence = BorderEvidence(cloud, surface, levels)
        for index in frames:
            frame, masks = reader.frame(index), archive.frame(index)
            votes.add(frame, masks)
            evidence.add(frame, masks)
    gt = load_ground_truth(scan / "gt")
    assert gt.instances is not None
    target = object_targets(CLASS_AGNOSTIC, gt.instances, gt.structural)
    return Prepared(cloud, evidence, votes.result(), tracks, target)


def variants() -> Iterator[tuple[str, GroupingOptions]]:
    """Return the options as they are, with one part left out, and with other cuts."""
    plain = GroupingOptions()
    yield "as it is", plain
    for cue in ("views", "crease", "turn", "color"):
        yield f"without {cue}", replace(plain, border=replace(plain.border, **{cue: 0.0}))
    yield "without bounding planes", replace(plain, plane=replace(plain.plane, area_m2=np.inf))
    for factor in (0.75, 1.25, 1.5):
        cut = factor * plain.first_cut
        yield f"cut at {cut:.2f}, not {plain.first_cut:.2f}", replace(plain, first_cut=cut)


def main() -> None:
    """Print one line per variant."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="SCAN RUN")
    paths = parser.parse_args().paths
    if len(paths) % 2:
        parser.error("expected pairs of a scan and the folder of a run on it")
    scenes = [prepare(scan, run) for scan, run in zip(paths[::2], paths[1::2], strict=True)]
    print(f"{len(scenes)} scans{'':24} AP  AP50  AP25  AP50 ranked  instances  CPU s")
    for name, options in variants():
        rows, spent = [], 0.0
        for scene in scenes:
            started = time.process_time()
            found = group_instances(scene.cloud, scene.evidence, scene.votes, scene.tracks, options).instances
            spent += time.process_time() - started
            (result,) = (r for r in evaluate_levels([(found, scene.target)], min_region=100) if r.level == 2)
            same = result.constant
            rows.append((same.ap, same.ap50, same.ap25, result.ranked.ap50, same.n_predictions / 100))
        ap, ap50, ap25, ranked, count = 100 * np.mean(rows, axis=0)
        print(
            f"{name:30} {ap:5.1f} {ap50:5.1f} {ap25:5.1f}        {ranked:5.1f}      {count:5.0f} "
            f" {spent / len(scenes):5.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
