"""3D instances at every level, as index lists into a cloud."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.types.checks import frozen_array, require

__all__ = ["InstanceSet"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class InstanceSet:
    """K instances over the P points of one cloud; instances may overlap.

    Attributes:
        instance_id: (K,) int32, unique.
        level: (K,) int16; a smaller number is coarser.
        parent_id: (K,) int32 ``instance_id`` of the parent, -1 = none.
        label: (K,) int32 semantic label, -1 = unknown.
        score: (K,) float32 confidence in [0, 1].
        point_offsets: (K + 1,) int64; instance k owns ``point_index[point_offsets[k]:point_offsets[k + 1]]``.
        point_index: (Q,) int64 indices into the cloud, ascending within an instance.
        n_points: P, the size of the cloud.
        cloud_digest: ``SceneCloud.digest`` of that cloud.

    Raises:
        DataError: if a field has another shape, dtype or range than stated here.
    """

    instance_id: NDArray[np.int32]
    level: NDArray[np.int16]
    parent_id: NDArray[np.int32]
    label: NDArray[np.int32]
    score: NDArray[np.float32]
    point_offsets: NDArray[np.int64]
    point_index: NDArray[np.int64]
    n_points: int
    cloud_digest: str

    def __post_init__(self) -> None:
        k = len(self.instance_id)
        for name, n, dtype in (
            ("instance_id", k, np.int32),
            ("level", k, np.int16),
            ("parent_id", k, np.int32),
            ("label", k, np.int32),
            ("score", k, np.float32),
            ("point_offsets", k + 1, np.int64),
            ("point_index", None, np.int64),
        ):
            checked = frozen_array(getattr(self, name), f"InstanceSet.{name}", (n,), dtype)
            object.__setattr__(self, name, checked)
        offsets = self.point_offsets
        rising = (
            offsets[0] == 0 and offsets[-1] == len(self.point_index) and bool((np.diff(offsets) >= 0).all())
        )
        require(
            rising, "InstanceSet.point_offsets", f"expected rising offsets from 0 to {len(self.point_index)}"
        )
        require(len(np.unique(self.instance_id)) == k, "InstanceSet.instance_id", "expected unique ids")
        if len(self.point_index):
            low, high = int(self.point_index.min()), int(self.point_index.max())
            require(
                low >= 0 and high < self.n_points,
                "InstanceSet.point_index",
                f"expected indices in 0..{self.n_points - 1}, found {low}..{high}",
            )

    def __len__(self) -> int:
        return len(self.instance_id)

    def points_of(self, position: int) -> NDArray[np.int64]:
        """Return the point indices of the instance at a position (not an id)."""
        return self.point_index[self.point_offsets[position] : self.point_offsets[position + 1]]
