"""What the report's 3D viewer shows of a run: its points, its instances, and where their tracks are seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.archive import open_archive
from my3dis.reporting.colors import Color
from my3dis.reporting.timeline import runs_of
from my3dis.reporting.viewer import (
    ViewerContent,
    ViewerInstance,
    ViewerPicture,
    ViewerSection,
    ViewerShot,
    encode_viewer,
)
from my3dis.reporting.viewer_points import viewer_points
from my3dis.reporting.viewer_projection import PointSights, sees_points
from my3dis.reporting.viewer_shots import choose_frames, mask_shot, picture_of
from my3dis.reporting.viewpoints import Room
from my3dis.stages.context import StageContext
from my3dis.stages.report_material import Tracked
from my3dis.types import InstanceSet, MaskSet, SceneCloud, TrackSet

__all__ = ["viewer_of"]

_MOST_PICTURES = 24
_PICTURE_WIDTH = 480
_SAMPLED_FRAMES = 64
_EXTRA_FRAMES = 32
_PROJECTED_FRAMES = 32
_SHOTS_EACH = 3
_MOST_WITH_SHOTS = 1500
_MOST_INSTANCES = 20_000
_MOST_COLUMNS = 600


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """Observations by instance: rows ``order[start[k]:stop[k]]`` of the tracks are instance k's."""

    tracks: TrackSet
    order: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]

    def frames(self, k: int) -> NDArray[np.int32]:
        """Return the frames in which an instance's track has a mask, ascending."""
        return np.unique(self.tracks.obs_frame[self.order[self.start[k] : self.stop[k]]])


def viewer_of(
    context: StageContext,
    cloud: SceneCloud,
    room: Room,
    instances: InstanceSet,
    colors: Mapping[int, Color],
    tracked: Tracked | None,
) -> ViewerSection:
    """Return the viewer's part of the page.

    An instance carries the id of its track; frames and masks are that track's. One that no track stands for
    is outlined where a frame sees its points.

    Args:
        context: frames and the track archive.
        cloud: the scene's points.
        room: the points, ready for drawing.
        instances: over the cloud of the room.
        colors: RGB per instance id.
        tracked: None where the run has no tracks: the viewer then shows no frames.

    Raises:
        ArchiveError: if the track archive is damaged.
        DataError: if a frame cannot be read.
    """
    if not len(instances):
        return ViewerSection(notice="Lifting found no instance, so there is nothing to explore.")
    if len(instances) > _MOST_INSTANCES:
        return ViewerSection(
            notice=f"There are {len(instances):,} instances; the page can hold {_MOST_INSTANCES:,}. "
            "Use my3dis export to look at them in another program."
        )
    levels = tuple(np.unique(instances.level).tolist())
    points = viewer_points(room, instances, levels)
    seen = None if tracked is None else _observed(instances, tracked.tracks)
    pictures: tuple[ViewerPicture, ...] = ()
    shots: dict[int, list[ViewerShot]] = {}
    if seen is not None:
        untracked = np.flatnonzero(seen.start == seen.stop)
        wanted = _largest(instances)
        sights = PointSights(cloud.xyz_m, instances, np.intersect1d(wanted, untracked), room.spacing_m)
        pictures, shots = _pictures(context, instances, seen, (wanted, sights))
    content = ViewerContent(
        points=points,
        levels=levels,
        instances=_rows(instances, colors, context.frames, seen, shots),
        frames=context.frames,
        pictures=pictures,
    )
    counts = tuple((level, int((instances.level == level).sum())) for level in levels)
    return ViewerSection(
        payload=encode_viewer(content),
        levels=counts,
        shown=len(points.xyz_m),
        total=points.total,
        note=_note(len(instances), len(shots), seen is not None),
    )


def _note(instances: int, with_shots: int, tracked: bool) -> str:
    if not tracked:
        return "The run has no tracks any more, so the viewer shows no frames and no masks."
    if with_shots == instances:
        return ""
    return f"{with_shots:,} of {instances:,} instances are outlined in frames."


def _observed(instances: InstanceSet, tracks: TrackSet) -> _Seen:
    order = np.argsort(tracks.obs_track, kind="stable")
    ordered = tracks.obs_track[order]
    start = np.searchsorted(ordered, instances.instance_id, side="left")
    stop = np.searchsorted(ordered, instances.instance_id, side="right")
    return _Seen(tracks, order, start, stop)


def _rows(
    instances: InstanceSet,
    colors: Mapping[int, Color],
    frames: Sequence[int],
    seen: _Seen | None,
    shots: Mapping[int, Sequence[ViewerShot]],
) -> tuple[ViewerInstance, ...]:
    selected = np.asarray(frames, np.int64)
    sizes = np.diff(instances.point_offsets)
    place = {one: k for k, one in enumerate(instances.instance_id.tolist())}
    rows = []
    for k, one in enumerate(instances.instance_id.tolist()):
        own = np.zeros(0, np.int32) if seen is None else seen.frames(k)
        own = own[np.isin(own, selected)]
        rows.append(
            ViewerInstance(
                instance_id=one,
                level=int(instances.level[k]),
                parent=place.get(int(instances.parent_id[k]), -1),
                color=colors[one],
                score=float(instances.score[k]),
                points=int(sizes[k]),
                # Gaps too narrow to be drawn would only make the page heavier.
                runs=runs_of(np.searchsorted(selected, own), len(frames) // _MOST_COLUMNS),
                seen=len(own),
                shots=tuple(shots.get(k, ())),
            )
        )
    return tuple(rows)


def _pictures(
    context: StageContext,
    instances: InstanceSet,
    seen: _Seen,
    looking: tuple[NDArray[np.int64], PointSights],
) -> tuple[tuple[ViewerPicture, ...], dict[int, list[ViewerShot]]]:
    """Choose frames, scale them down, and outline in each the instances that it shows best."""
    wanted, sights = looking
    with open_archive(context.layout.tracks) as archive:
        have = set(archive.frames())
        frames = [frame for frame in _candidate_frames(context.frames, wanted, seen) if frame in have]
        areas = np.zeros((len(frames), len(instances)), np.float32)
        for row, frame in enumerate(frames):
            masks = archive.frame(frame)
            columns, positions = _instances_in(masks, instances, wanted)
            # A track may have several masks in a frame, one from either direction; the last stands.
            areas[row, columns] = masks.area_px[positions]
        _add_points(context, sights, frames, areas)
        chosen = choose_frames(areas, _MOST_PICTURES)
        areas = areas[chosen]
        shown = (areas > 0) & (np.argsort(np.argsort(-areas, axis=0, kind="stable"), axis=0) < _SHOTS_EACH)
        pictures: list[ViewerPicture] = []
        shots: dict[int, list[ViewerShot]] = {}
        for row, frame in enumerate(frames[i] for i in chosen.tolist()):
            image = context.reader.frame(frame)
            picture = picture_of(image, _PICTURE_WIDTH)
            masks = archive.frame(frame)
            columns, positions = _instances_in(masks, instances, wanted)
            for k, position in zip(columns.tolist(), positions.tolist(), strict=True):
                if shown[row, k]:
                    shots.setdefault(k, []).append(mask_shot(masks, position, len(pictures), picture.width))
            asked = sights.places[shown[row, sights.places]]
            size = picture.height, picture.width
            for k, shot in sights.shots(image, asked, len(pictures), size).items():
                shots.setdefault(k, []).append(shot)
            pictures.append(picture)
    return tuple(pictures), shots


def _add_points(
    context: StageContext, sights: PointSights, frames: Sequence[int], areas: NDArray[np.float32]
) -> None:
    """Fill in how large the instances without a track are seen, in some of the frames, one at a time."""
    if not len(sights.places) or not context.reader.overview.has_depth:
        return
    rows = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _PROJECTED_FRAMES)).round().astype(int))
    for row in rows.tolist():
        frame = context.reader.frame(frames[row])
        if sees_points(frame):
            areas[row] += sights.areas(frame)


def _largest(instances: InstanceSet) -> NDArray[np.int64]:
    """Return places of the instances that get pictures: coarse levels first, then large ones."""
    sizes = np.diff(instances.point_offsets)
    return np.lexsort((-sizes, instances.level))[:_MOST_WITH_SHOTS]


def _candidate_frames(frames: Sequence[int], wanted: NDArray[np.int64], seen: _Seen) -> list[int]:
    """Return frames spread over the scan, and one each for instances that none of these shows."""
    if not frames:
        return []
    places = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _SAMPLED_FRAMES)).round().astype(int))
    chosen = {int(frames[p]) for p in places.tolist()}
    selected = set(frames)
    extra = _EXTRA_FRAMES
    for k in wanted.tolist():
        own = [frame for frame in seen.frames(k).tolist() if frame in selected]
        if own and extra and chosen.isdisjoint(own):
            chosen.add(own[len(own) // 2])
            extra -= 1
    return sorted(chosen)


def _instances_in(
    masks: MaskSet, instances: InstanceSet, wanted: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return places of the wanted instances whose tracks have a mask in a frame, and of these masks."""
    ids = instances.instance_id[wanted]
    by_id = np.argsort(ids, kind="stable")
    found = np.searchsorted(ids[by_id], masks.track_id)
    found = np.minimum(found, len(ids) - 1)
    match = (ids[by_id][found] == masks.track_id) & (masks.area_px > 0)
    positions = np.flatnonzero(match)
    # One mask of a track: the last of several.
    columns = wanted[by_id[found[positions]]]
    columns, last = np.unique(columns[::-1], return_index=True)
    return columns, positions[::-1][last]
