"""Join tracks that are pieces of one object: they cover the same points, at different times.

Two tracks are compared only on points that some view saw while the other track was there, so two
tracks that saw an object from two sides are compared where both could look.
Source: after view consensus in Yan et al. 2024, MaskClustering, section 3.2, with tracks in place of masks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from my3dis.lifting.vote import Votes, popcount_rows

__all__ = ["MergeOptions", "alive_weight", "apply_merge", "find_merges", "members", "seen_during"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOptions:
    """When two tracks of one level are one object.

    Attributes:
        iou: least overlap of their points, where both could look. Masks of different objects exclude each
            other in a view, so their tracks share hardly any point; views from two sides differ by much.
        shared_points: fewest points in common.
        together: largest share of the shorter track's views in which both have a mask, as they have where an
            object's mask was split. The overlap must be larger by that share.
        contained: a brief track is a piece of another that covers this share of those it could see.
        brief: largest share of the other's views that a brief track has a mask in.
    """

    iou: float = 0.3
    shared_points: int = 20
    together: float = 0.3
    contained: float = 0.8
    brief: float = 0.5


def alive_weight(votes: Votes, point: NDArray[np.integer], track: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return for each (point, track) the weight of the views that saw the point while the track had a mask.

    Views in which the track was lost are no evidence against it. The weight is the point's total, in the
    proportion of views; exact when its views weigh the same.

    Args:
        votes: of the scan.
        point: (N,) indices into the cloud.
        track: (N,) positions in ``votes.track_id``.
    """
    weight = np.zeros(len(point), np.float32)
    chunk = max(1, 4_000_000 // max(1, votes.point_slots.shape[1]))
    for start in range(0, len(point), chunk):
        part = slice(start, start + chunk)
        slots = votes.point_slots[point[part]]
        seen = popcount_rows(slots)
        slots &= votes.track_slots[track[part]]
        weight[part] = popcount_rows(slots) / np.maximum(seen, 1)
    weight *= votes.point_weight[point]
    return weight


def members(votes: Votes, ratio: float) -> NDArray[np.bool_]:
    """Return (N,) whether each voted pair's point belongs to its track: covered in enough of its views."""
    possible = alive_weight(votes, votes.pair_point, votes.pair_track)
    kept: NDArray[np.bool_] = votes.pair_weight >= ratio * possible
    return kept


def find_merges(
    votes: Votes, level: NDArray[np.int16], member: NDArray[np.bool_], options: MergeOptions
) -> NDArray[np.int32]:
    """Group tracks of one level that are one object.

    Args:
        votes: of the scan.
        level: (K,) level of each track.
        member: (N,) from `members`.
        options: when two tracks are one.

    Returns:
        (K,) int32 position of the group's first track, for each track.
    """
    group = np.arange(len(votes.track_id), dtype=np.int32)
    slots, views = votes.track_slots.copy(), popcount_rows(votes.track_slots)
    of_track = views.copy()
    pairs = sorted(_overlapping(votes, level, member, options), key=lambda p: (-p[0], p[1], p[2]))
    for iou, a, b, held in pairs:
        first, second = sorted((int(group[a]), int(group[b])))
        if first == second:
            continue
        common = int(popcount_rows((slots[first] & slots[second])[None])[0])
        together = common / max(1, min(int(views[first]), int(views[second])))
        is_piece = held >= options.contained and min(of_track[a], of_track[b]) <= options.brief * max(
            of_track[a], of_track[b]
        )
        if not is_piece and (together > options.together or iou < options.iou + together):
            continue
        slots[first] |= slots[second]
        views[first] = popcount_rows(slots[first][None])[0]
        group[group == second] = first
    return group


def _overlapping(
    votes: Votes, level: NDArray[np.int16], member: NDArray[np.bool_], options: MergeOptions
) -> list[tuple[float, int, int, float]]:
    """Return (overlap, track, track, share of the briefer one's points that the other covers)."""
    tracks, points = len(votes.track_id), len(votes.point_weight)
    rows, columns = votes.pair_track[member], votes.pair_point[member]
    incidence = sparse.csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=(tracks, points))
    shared = (incidence @ incidence.T).tocoo()
    starts = incidence.indptr
    found: list[tuple[float, int, int, float]] = []
    views = popcount_rows(votes.track_slots)
    for a, b, common in zip(shared.row.tolist(), shared.col.tolist(), shared.data.tolist(), strict=True):
        if a >= b or level[a] != level[b] or common < options.shared_points:
            continue
        of_a = incidence.indices[starts[a] : starts[a + 1]]
        of_b = incidence.indices[starts[b] : starts[b + 1]]
        seen_a, seen_b = seen_during(votes, of_a, b), seen_during(votes, of_b, a)
        iou = common / max(1, seen_a + seen_b - common)
        found.append((iou, a, b, common / max(1, seen_a if views[a] < views[b] else seen_b)))
    return found


def seen_during(votes: Votes, point: NDArray[np.integer], track: int) -> int:
    """Return how many of some points were seen while a track had a mask, whether it covered them or not."""
    # A point that both claim was seen during both, or neither vote would exist.
    return int((votes.point_slots[point] & votes.track_slots[track]).any(axis=1).sum())


def apply_merge(votes: Votes, group: NDArray[np.int32]) -> Votes:
    """Give all votes of a group to its first track; the other tracks are left without votes.

    Args:
        votes: of the scan.
        group: (K,) from `find_merges`.
    """
    if np.array_equal(group, np.arange(len(group))):
        return votes
    points = max(1, len(votes.point_weight))
    key = group[votes.pair_track].astype(np.int64) * points + votes.pair_point
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else order
    weight = np.add.reduceat(votes.pair_weight[order], starts) if len(key) else votes.pair_weight
    slots = np.zeros_like(votes.track_slots)
    np.bitwise_or.at(slots, group, votes.track_slots)
    views = np.bincount(group, votes.track_views, len(group))
    score = np.bincount(group, votes.track_quality * votes.track_views, len(group))
    return replace(
        votes,
        pair_track=(key[starts] // points).astype(np.int32),
        pair_point=key[starts] % points,
        pair_weight=weight.astype(np.float32),
        track_slots=slots,
        track_views=views.astype(np.int32),
        track_quality=(score / np.maximum(views, 1)).astype(np.float32),
    )
