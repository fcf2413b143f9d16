"""The timeline of tracks."""

from __future__ import annotations

import numpy as np

from my3dis.reporting.timeline import axis_ticks, build_timeline, runs_of
from my3dis.types import TrackSet


def track_set(seen: dict[int, list[int]], level: dict[int, int]) -> TrackSet:
    ids = sorted(seen)
    rows = [(t, f) for t in ids for f in seen[t]]
    m = len(rows)
    return TrackSet(
        track_id=np.array(ids, np.int32),
        level=np.array([level[t] for t in ids], np.int16),
        parent_id=np.full(len(ids), -1, np.int32),
        first_frame=np.array([min(seen[t]) for t in ids], np.int32),
        last_frame=np.array([max(seen[t]) for t in ids], np.int32),
        obs_track=np.array([r[0] for r in rows], np.int32),
        obs_frame=np.array([r[1] for r in rows], np.int32),
        obs_mask_id=np.arange(m, dtype=np.int32),
        obs_score=np.ones(m, np.float32),
    )


def test_runs_by_hand() -> None:
    """Runs are half-open, gaps split them, and small gaps are closed when asked."""
    assert runs_of(np.array([0, 1, 2, 5, 6, 9])) == ((0, 3), (5, 7), (9, 10))
    assert runs_of(np.array([0, 1, 2, 5, 6, 9]), tolerance=2) == ((0, 10),)
    assert runs_of(np.array([], int)) == ()
    assert runs_of(np.array([4, 4])) == ((4, 5),)


def test_rows_count_in_selected_frames() -> None:
    """With every 10th frame selected a track in frames 20, 30 and 60 has two runs and one gap."""
    tracks = track_set({3: [20, 30, 60], 5: [0, 10, 20, 30]}, {3: 2, 5: 2})
    line = build_timeline(tracks, range(0, 100, 10), {3: (1, 2, 3), 5: (4, 5, 6)})
    longest, other = line.levels[0].rows
    assert (longest.track_id, longest.runs, longest.gaps) == (5, ((0, 4),), 0)
    assert (other.track_id, other.runs, other.gaps, other.observations) == (3, ((2, 4), (6, 7)), 1, 3)
    assert (other.first_frame, other.last_frame, other.color) == (20, 60, (1, 2, 3))
    assert line.positions == 10


def test_levels_are_apart_and_rows_bounded() -> None:
    """Every level has its own rows, coarse first; what does not fit is counted."""
    seen = {t: list(range(t % 7 + 1)) for t in range(30)}
    tracks = track_set(seen, {t: 2 if t < 20 else 4 for t in seen})
    line = build_timeline(tracks, range(10), dict.fromkeys(seen, (0, 0, 0)), most_rows=5)
    assert [level.level for level in line.levels] == [2, 4]
    assert [level.hidden for level in line.levels] == [15, 5]
    lengths = [row.observations for row in line.levels[0].rows]
    assert lengths == sorted(lengths, reverse=True) == [7, 7, 6, 6, 6]


def test_long_videos_stay_drawable() -> None:
    """A track that flickers through 6,000 frames makes no more runs than can be seen."""
    frames = list(range(6000))
    tracks = track_set({1: frames[::2]}, {1: 2})
    assert len(build_timeline(tracks, frames, {1: (0, 0, 0)}).levels[0].rows[0].runs) == 1


def test_ticks_hold_first_and_last() -> None:
    """The axis names the first and the last frame and a few between."""
    ticks = axis_ticks(range(0, 84))
    assert ticks[0] == (0, 0)
    assert ticks[-1] == (83, 83)
    assert len(ticks) == 6
    assert axis_ticks((40, 60)) == ((0, 40), (1, 60))
    assert axis_ticks(()) == ()
