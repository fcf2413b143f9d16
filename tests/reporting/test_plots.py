"""The pictures of figures in a run's report."""

from __future__ import annotations

import numpy as np

from my3dis.reporting.curves import Line
from my3dis.reporting.plots import (
    masks_chart,
    memory_bars,
    score_bars,
    share_chart,
    thinned,
    time_chart,
)
from my3dis.types import TrackSet


def test_thinned_keeps_the_mean() -> None:
    """A long curve becomes few points with the same mean; a short one is left as it is."""
    x = np.arange(1000.0)
    points = thinned(x, x % 7, most=100)
    assert len(points) == 100
    assert abs(np.mean([y for _, y in points]) - np.mean(x % 7)) < 1e-9
    assert thinned(np.arange(3.0), np.ones(3)) == ((0, 1), (1, 1), (2, 1))


def test_tracks_are_counted_per_frame_and_level() -> None:
    """Two tracks of level 2 and one of level 4 are counted in the selected frames where they are seen."""
    tracks = TrackSet(
        track_id=np.array([1, 2, 7], np.int32),
        level=np.array([2, 2, 4], np.int16),
        parent_id=np.array([-1, -1, 1], np.int32),
        first_frame=np.array([0, 2, 0], np.int32),
        last_frame=np.array([4, 4, 0], np.int32),
        obs_track=np.array([1, 1, 1, 2, 2, 7], np.int32),
        obs_frame=np.array([0, 2, 4, 2, 4, 0], np.int32),
        obs_mask_id=np.arange(6, dtype=np.int32),
        obs_score=np.ones(6, np.float32),
    )
    chart = time_chart(tracks, (0, 2, 4))
    assert chart is not None
    lines = {line.label: [y for _, y in line.points] for line in chart.panels[0].lines}
    assert lines == {"level 2": [1, 2, 2], "level 4": [1, 0, 0]}
    assert time_chart(tracks, (0,)) is None


def test_without_figures_there_is_no_picture() -> None:
    """Each picture is None where nothing was recorded, and leaves out what was not."""
    assert masks_chart((2, 4), [("candidates", [None, None])]) is None
    assert memory_bars([("lift", None, None)]) is None
    assert score_bars([], ("AP",)) is None
    assert share_chart("t", "x", [Line(points=())], x_from=0, x_to=1) is None
    chart = masks_chart((2, 4), [("candidates", [5, 6]), ("kept", [None, None]), ("tracked", [3, None])])
    assert chart is not None
    assert chart.series == ("candidates", "tracked")
    assert [group.values for group in chart.groups] == [(5, 3), (6, None)]
    memory = memory_bars([("track", 100.0, 900.0), ("lift", 50.0, None)])
    assert memory is not None
    assert [group.values for group in memory.groups] == [(100.0, 900.0), (50.0, None)]
