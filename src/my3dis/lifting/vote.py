"""Votes of tracked masks on points, frame by frame, in memory that does not grow with frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.lifting.visibility import ViewOptions, VisiblePoints, visible_points
from my3dis.masks.codec import decode_crop
from my3dis.types import NO_ID, Frame, MaskSet

__all__ = ["VoteAccumulator", "VoteOptions", "Votes", "popcount_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteOptions:
    """How votes are collected.

    Attributes:
        view: what a view may say about points.
        max_view_slots: views told apart when counting; more views share slots (neighbours in time).
        pending_votes: votes collected before they are merged.
    """

    view: ViewOptions = field(default_factory=ViewOptions)
    max_view_slots: int = 1024
    pending_votes: int = 1_000_000


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Votes:
    """All votes of a scan: N (track, point) pairs, sorted by track position, then point.

    Attributes:
        track_id: (K,) int32 ascending; ``pair_track`` holds positions in it.
        pair_track: (N,) int32 positions. pair_point: (N,) int64 indices into the cloud.
        pair_weight: (N,) float32 sum of the weights of the views whose mask covered the point.
        point_weight: (P,) float32 sum of the weights of all views that saw the point.
        point_views: (P,) int32 number of views that saw the point.
        point_slots: (P, B) uint8 bit set of the view slots that saw the point.
        track_slots: (K, B) uint8 bit set of the view slots in which the track has a mask.
        track_views: (K,) int32 number of views in which the track has a mask.
        track_quality: (K,) float32 mean score of its masks in [0, 1].
    """

    track_id: NDArray[np.int32]
    pair_track: NDArray[np.int32]
    pair_point: NDArray[np.int64]
    pair_weight: NDArray[np.float32]
    point_weight: NDArray[np.float32]
    point_views: NDArray[np.int32]
    point_slots: NDArray[np.uint8]
    track_slots: NDArray[np.uint8]
    track_views: NDArray[np.int32]
    track_quality: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pair_track)


def popcount_rows(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the number of set bits of each row of an (N, B) uint8 array."""
    counts: NDArray[np.int64] = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
    return counts


class VoteAccumulator:
    """Collects votes view by view; masks are decoded one at a time, cropped to their boxes.

    Args:
        xyz_m: (P, 3) float32 points in the world frame.
        normal: (P, 3) float32 unit normals of either sign, or None.
        track_id: (K,) int32 ascending ids that may vote; masks of other tracks are refused.
        view_count: number of views that will be added.
        options: how votes are collected.
    """

    def __init__(
        self,
        xyz_m: NDArray[np.float32],
        normal: NDArray[np.float32] | None,
        track_id: NDArray[np.int32],
        *,
        view_count: int,
        options: VoteOptions | None = None,
    ) -> None:
        self._xyz_m, self._normal, self._track_id = xyz_m, normal, track_id
        self._options = options or VoteOptions()
        self._view_count, self._views = max(1, view_count), 0
        self._slots = min(self._view_count, self._options.max_view_slots)
        points, tracks, slot_bytes = len(xyz_m), len(track_id), (self._slots + 7) // 8
        self._point_weight = np.zeros(points, np.float32)
        self._point_views = np.zeros(points, np.int32)
        self._point_slots = np.zeros((points, slot_bytes), np.uint8)
        self._track_slots = np.zeros((tracks, slot_bytes), np.uint8)
        self._track_views = np.zeros(tracks, np.int32)
        self._track_score = np.zeros(tracks, np.float64)
        self._keys, self._weights = np.zeros(0, np.int64), np.zeros(0, np.float32)
        self._pending: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        self._pending_votes = 0

    def add(self, frame: Frame, masks: MaskSet) -> int:
        """Let one view vote and return how many points it sees.

        Args:
            frame: with depth, depth camera and a rigid pose.
            masks: tracked masks of that frame, all levels; masks without a track do not vote.

        Raises:
            DataError: if the frame cannot vote, a mask belongs to an unknown track, or more views are
                added than announced.
        """
        if self._views >= self._view_count:
            raise DataError(f"expected {self._view_count} views as announced, found more")
        seen = visible_points(
            frame, self._xyz_m, self._normal, mask_size=masks.image_size, options=self._options.view
        )
        slot = self._views * self._slots // self._view_count
        byte, bit = slot // 8, np.uint8(1 << (slot % 8))
        self._point_weight[seen.point] += seen.weight
        self._point_views[seen.point] += 1
        self._point_slots[seen.point, byte] |= bit
        for i in np.flatnonzero((masks.track_id != NO_ID) & (masks.area_px > 0)).tolist():
            track = self._position(int(masks.track_id[i]))
            self._track_slots[track, byte] |= bit
            self._track_views[track] += 1
            self._track_score[track] += min(1.0, max(0.0, float(masks.score[i])))
            self._vote(track, masks, i, seen)
        self._views += 1
        if self._pending_votes >= self._options.pending_votes:
            self._merge()
        return len(seen.point)

    def result(self) -> Votes:
        """Return all votes so far."""
        self._merge()
        count = max(1, len(self._xyz_m))
        quality = self._track_score / np.maximum(self._track_views, 1)
        return Votes(
            track_id=self._track_id,
            pair_track=(self._keys // count).astype(np.int32),
            pair_point=self._keys % count,
            pair_weight=self._weights,
            point_weight=self._point_weight,
            point_views=self._point_views,
            point_slots=self._point_slots,
            track_slots=self._track_slots,
            track_views=self._track_views,
            track_quality=quality.astype(np.float32),
        )

    def _position(self, track_id: int) -> int:
        at = int(np.searchsorted(self._track_id, track_id))
        if at == len(self._track_id) or int(self._track_id[at]) != track_id:
            raise DataError(
                f"expected masks of the {len(self._track_id)} known tracks, found track {track_id}; "
                "the archive and the relations are of different runs: track again"
            )
        return at

    def _vote(self, track: int, masks: MaskSet, i: int, seen: VisiblePoints) -> None:
        x0, y0, x1, y1 = masks.boxes[i].tolist()
        first, last = np.searchsorted(seen.y, [y0, y1])
        x = seen.x[first:last]
        near = first + np.flatnonzero((x >= x0) & (x < x1))
        if not len(near):
            return
        crop = decode_crop(masks.rle[i], masks.image_size, masks.boxes[i])
        hit = near[crop[seen.y[near] - y0, seen.x[near] - x0]]
        if len(hit):
            self._pending.append((track * len(self._xyz_m) + seen.point[hit], seen.weight[hit]))
            self._pending_votes += len(hit)

    def _merge(self) -> None:
        if not self._pending:
            return
        keys = np.concatenate([self._keys, *(k for k, _ in self._pending)])
        weights = np.concatenate([self._weights, *(w for _, w in self._pending)])
        self._pending.clear()
        self._pending_votes = 0
        order = np.argsort(keys)
        keys, weights = keys[order], weights[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        self._keys, self._weights = keys[starts], np.add.reduceat(weights, starts)
