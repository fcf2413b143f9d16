"""`TrackSet` checks every field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.types import TrackSet


def columns(**changes: Any) -> dict[str, Any]:
    """Two tracks with three observations."""
    return {
        "track_id": np.array([3, 8], np.int32),
        "level": np.array([2, 4], np.int16),
        "parent_id": np.array([-1, 3], np.int32),
        "first_frame": np.array([0, 1], np.int32),
        "last_frame": np.array([1, 1], np.int32),
        "obs_track": np.array([3, 3, 8], np.int32),
        "obs_frame": np.array([0, 1, 1], np.int32),
        "obs_mask_id": np.array([0, 0, 1], np.int32),
        "obs_score": np.ones(3, np.float32),
        **changes,
    }


def test_a_track_set_has_its_tracks() -> None:
    """Length is the number of tracks, and arrays are read-only."""
    tracks = TrackSet(**columns())
    assert len(tracks) == 2
    with pytest.raises(ValueError, match="read-only"):
        tracks.level[0] = 6


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("track_id", np.array([8, 3], np.int32), "ascending unique ids"),
        ("track_id", np.array([3, 3], np.int32), "ascending unique ids"),
        ("level", np.array([2, 4], np.int32), "TrackSet.level: expected dtype int16"),
        ("first_frame", np.zeros(3, np.int32), r"TrackSet.first_frame: expected shape \(2\)"),
        ("obs_track", np.array([3, 3, 9], np.int32), "only ids listed in track_id"),
        ("obs_score", np.ones(2, np.float32), r"TrackSet.obs_score: expected shape \(3\)"),
    ],
)
def test_each_wrong_field_is_named(name: str, value: object, said: str) -> None:
    """The error names the field, what was expected and what was found."""
    with pytest.raises(DataError, match=said):
        TrackSet(**columns(**{name: value}))


def test_tracks_of_some_levels_keep_their_observations() -> None:
    """Taking level 4 alone leaves its one observation and no parent, for that was at level 2."""
    tracks = TrackSet(**columns()).at_levels([4])
    assert tracks.track_id.tolist() == [8]
    assert tracks.parent_id.tolist() == [-1]
    assert tracks.obs_mask_id.tolist() == [1]
