"""Tracks of one scan: who was seen where. Pixels stay in the archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.types.checks import frozen_array, require
from my3dis.types.masks import NO_ID

__all__ = ["TrackSet"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrackSet:
    """K tracks and their M observations.

    Attributes:
        track_id: (K,) int32, ascending.
        level: (K,) int16 granularity of each track.
        parent_id: (K,) int32 ``track_id`` of the parent, -1 = none.
        first_frame, last_frame: (K,) int32 frame indices, inclusive.
        obs_track: (M,) int32 ``track_id`` of each observation.
        obs_frame: (M,) int32 frame index.
        obs_mask_id: (M,) int32 ``mask_id`` in the track archive.
        obs_score: (M,) float32.

    Raises:
        DataError: if a field has another shape or dtype, or ids are not ascending.
    """

    track_id: NDArray[np.int32]
    level: NDArray[np.int16]
    parent_id: NDArray[np.int32]
    first_frame: NDArray[np.int32]
    last_frame: NDArray[np.int32]
    obs_track: NDArray[np.int32]
    obs_frame: NDArray[np.int32]
    obs_mask_id: NDArray[np.int32]
    obs_score: NDArray[np.float32]

    def __post_init__(self) -> None:
        k, m = len(self.track_id), len(self.obs_track)
        for name, n, dtype in (
            ("track_id", k, np.int32),
            ("level", k, np.int16),
            ("parent_id", k, np.int32),
            ("first_frame", k, np.int32),
            ("last_frame", k, np.int32),
            ("obs_track", m, np.int32),
            ("obs_frame", m, np.int32),
            ("obs_mask_id", m, np.int32),
            ("obs_score", m, np.float32),
        ):
            object.__setattr__(self, name, frozen_array(getattr(self, name), f"TrackSet.{name}", (n,), dtype))
        require(
            bool((np.diff(self.track_id) > 0).all()), "TrackSet.track_id", "expected ascending unique ids"
        )
        require(
            bool(np.isin(self.obs_track, self.track_id).all()),
            "TrackSet.obs_track",
            "expected only ids listed in track_id",
        )

    def __len__(self) -> int:
        return len(self.track_id)

    def at_levels(self, levels: Sequence[int]) -> TrackSet:
        """Return the tracks of some levels with their observations; parents at other levels become -1."""
        kept = np.isin(self.level, levels)
        observed = np.isin(self.obs_track, self.track_id[kept])
        parent_id = self.parent_id[kept]
        return TrackSet(
            track_id=self.track_id[kept],
            level=self.level[kept],
            parent_id=np.where(np.isin(parent_id, self.track_id[kept]), parent_id, np.int32(NO_ID)),
            first_frame=self.first_frame[kept],
            last_frame=self.last_frame[kept],
            obs_track=self.obs_track[observed],
            obs_frame=self.obs_frame[observed],
            obs_mask_id=self.obs_mask_id[observed],
            obs_score=self.obs_score[observed],
        )
