"""When each track is seen: runs of frames per track, longest tracks first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from my3dis.reporting.colors import Color
from my3dis.reporting.model import Timeline, TimelineLevel, TimelineRow
from my3dis.types import TrackSet

__all__ = ["axis_ticks", "build_timeline", "runs_of"]

_MOST_COLUMNS = 600


def runs_of(positions: NDArray[np.integer], tolerance: int = 0) -> tuple[tuple[int, int], ...]:
    """Return half-open runs of ascending positions; gaps of up to ``tolerance`` positions are closed."""
    if not len(positions):
        return ()
    ordered = np.unique(np.asarray(positions, np.int64))
    breaks = np.flatnonzero(np.diff(ordered) > 1 + tolerance)
    starts = ordered[np.concatenate([[0], breaks + 1])]
    stops = ordered[np.concatenate([breaks, [len(ordered) - 1]])] + 1
    return tuple(zip(starts.tolist(), stops.tolist(), strict=True))


def axis_ticks(frames: Sequence[int], most: int = 6) -> tuple[tuple[int, int], ...]:
    """Return (position, frame index) of at most ``most`` ticks, first and last frame among them."""
    if not frames:
        return ()
    count = min(most, len(frames))
    positions = np.unique(np.rint(np.linspace(0, len(frames) - 1, count)).astype(int)).tolist()
    return tuple((p, int(frames[p])) for p in positions)


def build_timeline(
    tracks: TrackSet, frames: Sequence[int], colors: Mapping[int, Color], most_rows: int = 40
) -> Timeline:
    """Lay out the tracks of every level over the selected frames.

    Args:
        tracks: from the track archive.
        frames: selected frame indices, ascending; observations in other frames are left out.
        colors: RGB per track id.
        most_rows: rows per level; the others are counted.
    """
    order = np.asarray(frames, np.int64)
    by_track = np.argsort(tracks.obs_track, kind="stable")
    starts = np.searchsorted(tracks.obs_track[by_track], tracks.track_id)
    stops = np.searchsorted(tracks.obs_track[by_track], tracks.track_id, side="right")
    counts = stops - starts
    levels = []
    for level in np.unique(tracks.level).tolist():
        members = np.flatnonzero(tracks.level == level)
        longest = members[np.argsort(-counts[members], kind="stable")][:most_rows]
        rows = []
        for k in longest.tolist():
            seen = tracks.obs_frame[by_track[starts[k] : stops[k]]]
            seen = seen[np.isin(seen, order)]
            # Gaps too narrow to be drawn would only make the page heavier.
            runs = runs_of(np.searchsorted(order, seen), len(frames) // _MOST_COLUMNS)
            rows.append(_row(tracks, k, runs, len(np.unique(seen)), colors))
        levels.append(TimelineLevel(level=level, rows=tuple(rows), total=len(members)))
    return Timeline(levels=tuple(levels), positions=len(frames), ticks=axis_ticks(frames))


def _row(
    tracks: TrackSet,
    k: int,
    runs: tuple[tuple[int, int], ...],
    observations: int,
    colors: Mapping[int, Color],
) -> TimelineRow:
    track_id = int(tracks.track_id[k])
    return TimelineRow(
        track_id=track_id,
        color=colors[track_id],
        runs=runs,
        first_frame=int(tracks.first_frame[k]),
        last_frame=int(tracks.last_frame[k]),
        observations=observations,
    )
