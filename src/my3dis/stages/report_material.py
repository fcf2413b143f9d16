"""What the report draws from: archives, instances and points, as far as this run has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.archive import open_archive
from my3dis.datasets.ply import read_ply
from my3dis.reporting.colors import Color, family_colors
from my3dis.reporting.model import Drops, Timeline
from my3dis.reporting.tables import drop_table
from my3dis.reporting.timeline import build_timeline
from my3dis.runs import instances as instance_files
from my3dis.runs import relations as relation_files
from my3dis.stages.context import StageContext
from my3dis.stages.report_facts import RunFacts
from my3dis.types import InstanceSet, SceneCloud, TrackSet

__all__ = [
    "DrawnMasks",
    "Tracked",
    "choose_masks",
    "count_drops",
    "load_cloud",
    "load_instances",
    "load_tracks",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """The tracks of a run with their colours; a child track's colour lies near its parent's."""

    tracks: TrackSet
    colors: Mapping[int, Color]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnMasks:
    """Which archive the comparison pictures show.

    Attributes:
        path: of the archive.
        note: a sentence when these are not tracks, else empty.
        by_level: (level, number of masks).
    """

    path: Path
    note: str
    by_level: tuple[tuple[int, int], ...]


def load_tracks(context: StageContext, facts: RunFacts) -> Tracked | None:
    """Return the tracks of the run, or None when it has none."""
    path = context.layout.tracks
    if not facts.offers("track", path):
        return None
    with open_archive(path) as reader:
        tracks = reader.tracks()
    if not len(tracks):
        return None
    if context.layout.relations.is_file():
        tracks = relation_files.load_relations(context.layout.relations).apply_to(tracks)
    parents = dict(zip(tracks.track_id.tolist(), tracks.parent_id.tolist(), strict=True))
    return Tracked(tracks=tracks, colors=family_colors(tracks.track_id.tolist(), parents))


def choose_masks(context: StageContext, facts: RunFacts, tracked: Tracked | None) -> DrawnMasks | str:
    """Return the archive to draw (tracks, else kept masks, else candidates), or why there is none."""
    layout = context.layout
    if tracked is not None:
        with open_archive(layout.tracks) as reader:
            return DrawnMasks(path=layout.tracks, note="", by_level=reader.count_by_level())
    why = _why_no_tracks(context, facts)
    for stage, path, what in (
        ("filter", layout.masks, "masks that the filter kept"),
        ("candidates", layout.candidates, "candidates"),
    ):
        if facts.offers(stage, path):
            with open_archive(path) as reader:
                by_level = reader.count_by_level()
            if by_level:
                note = f"{why} The pictures show the {what}, frame by frame; colours do not last."
                return DrawnMasks(path=path, note=note, by_level=by_level)
    return f"{why} There are no kept masks and no candidates either."


def _why_no_tracks(context: StageContext, facts: RunFacts) -> str:
    if facts.offers("track", context.layout.tracks):
        return "No object was tracked: tracks.my3dis holds no tracked mask."
    return facts.why_missing("track", context.layout.tracks)


def timeline_of(context: StageContext, facts: RunFacts, tracked: Tracked | None) -> Timeline:
    """Return when each track is seen, or why there is nothing to show."""
    if tracked is None:
        return Timeline(notice=_why_no_tracks(context, facts))
    return build_timeline(tracked.tracks, context.frames, tracked.colors)


def count_drops(context: StageContext, facts: RunFacts) -> Drops:
    """Return how many masks the filter dropped, by reason and level."""
    path = context.layout.masks
    if not facts.offers("filter", path):
        return Drops(notice=facts.why_missing("filter", path))
    with open_archive(path) as reader:
        return drop_table(((mask.level, mask.reason) for mask in reader.dropped()), reader.count())


def load_instances(context: StageContext, facts: RunFacts) -> InstanceSet | str:
    """Return the 3D instances, or why there are none."""
    path = context.layout.instances
    if not facts.offers("lift", path):
        return facts.why_missing("lift", path)
    return instance_files.load_instances(path)


def load_cloud(context: StageContext, instances: InstanceSet | None) -> SceneCloud | str:
    """Return the points that the instances are made of, or why they cannot be shown."""
    overview, layout = context.reader.overview, context.layout
    cloud = context.reader.cloud() if overview.has_cloud else None
    if cloud is None and layout.cloud.is_file():
        cloud = read_ply(layout.cloud)
    if cloud is None:
        return "There are no points: the scan has no mesh, and none were fused from depth."
    if instances is not None and len(cloud) != instances.n_points:
        return (
            f"The points have changed since lifting: instances.npz refers to {instances.n_points:,} points, "
            f"the scan has {len(cloud):,}; run the stage lift again."
        )
    return cloud


def poses_of(context: StageContext, most: int = 8) -> NDArray[np.float64]:
    """Return (F, 4, 4) poses of a few frames spread over the selection; F is 0 without poses."""
    if not context.reader.overview.has_pose:
        return np.zeros((0, 4, 4))
    positions = np.unique(np.linspace(0, len(context.frames) - 1, most).round().astype(int)).tolist()
    frames = (context.reader.frame(context.frames[p]) for p in positions)
    poses = [frame.world_from_camera for frame in frames if frame.world_from_camera is not None]
    return np.stack(poses) if poses else np.zeros((0, 4, 4))
