"""Which track is part of which: containment summed over frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.masks.overlap import intersection_matrix
from my3dis.types import NO_ID, MaskSet

__all__ = ["Containment", "TrackParent"]

MIN_SHARE = 0.2
"""Overlaps smaller than this share of the child in a frame are border effects."""
COMPACT_ROWS = 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackParent:
    """The place of a track in the tree.

    Attributes:
        track_id: the track.
        level: its granularity.
        parent_id: track that holds it, -1 = none.
        containment: share of all its pixels that lie in the parent, 0 without one.
    """

    track_id: int
    level: int
    parent_id: int
    containment: float


class Containment:
    """Counts shared pixels of tracks on different levels; feed it frame by frame.

    Kept: a row of three numbers per pair of tracks that ever overlapped notably.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self._threshold = threshold
        self._pairs: NDArray[np.int64] = np.zeros((0, 2), np.int64)
        self._shared: NDArray[np.float64] = np.zeros(0)
        self._new_pairs: list[NDArray[np.int64]] = []
        self._new_shared: list[NDArray[np.float64]] = []
        self._waiting = 0
        self._area: dict[int, list[int]] = {}

    def observe(self, rows: MaskSet) -> None:
        """Add the masks of one frame."""
        for track_id, level, area in zip(
            rows.track_id.tolist(), rows.level.tolist(), rows.area_px.tolist(), strict=True
        ):
            entry = self._area.setdefault(track_id, [level, 0])
            entry[1] += area
        levels = np.unique(rows.level).tolist()
        for i, fine in enumerate(levels):
            children = rows.at_level(fine)
            for coarse in levels[:i]:
                self._add(children, rows.at_level(coarse))

    def _add(self, children: MaskSet, parents: MaskSet) -> None:
        shared = intersection_matrix(children, parents)
        row, column = np.nonzero(shared >= np.maximum(MIN_SHARE * children.area_px, 1)[:, None])
        pairs = np.stack([children.track_id[row], parents.track_id[column]], axis=1)
        self._new_pairs.append(pairs.astype(np.int64))
        self._new_shared.append(shared[row, column].astype(np.float64))
        self._waiting += len(row)
        if self._waiting > COMPACT_ROWS:
            self._compact()

    def _compact(self) -> None:
        pairs = np.concatenate([self._pairs, *self._new_pairs])
        shared = np.concatenate([self._shared, *self._new_shared])
        self._pairs, position = np.unique(pairs, axis=0, return_inverse=True)
        self._shared = np.bincount(position.ravel(), shared, minlength=len(self._pairs)).astype(np.float64)
        self._new_pairs, self._new_shared, self._waiting = [], [], 0

    def parents(self) -> tuple[TrackParent, ...]:
        """Return every track with its parent: on the nearest coarser level that has one, by track id.

        A parent holds at least the threshold's share of all pixels that the child ever had, counting frames
        on which the parent was not seen against it.
        """
        self._compact()
        best: dict[int, tuple[int, float]] = {}
        for (child, parent), shared in zip(self._pairs.tolist(), self._shared.tolist(), strict=True):
            share = min(1.0, shared / max(1, self._area[child][1]))
            if share < self._threshold:
                continue
            rank = (self._area[parent][0], share, -parent)
            known = best.get(child)
            if known is None or rank > (self._area[known[0]][0], known[1], -known[0]):
                best[child] = (parent, share)
        return tuple(
            TrackParent(
                track_id=track_id,
                level=level,
                parent_id=best.get(track_id, (NO_ID, 0.0))[0],
                containment=best.get(track_id, (NO_ID, 0.0))[1],
            )
            for track_id, (level, _) in sorted(self._area.items())
        )
