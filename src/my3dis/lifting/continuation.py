"""Join tracks that go on beyond what hides the middle of their object.

A rug under a table is seen from one side as one piece and from the other side as another; no view shows
both, so no overlap can tell that they are one. Two tracks are joined when nothing speaks against it (they
hardly ever had masks in one view, and neither one was seen, unclaimed, while the other was there) and
surfaces and colours speak for it: close together, each in the planes of the other, alike in colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from my3dis.lifting.merge import seen_during
from my3dis.lifting.vote import Votes, popcount_rows
from my3dis.types import SceneCloud

__all__ = ["ContinuationOptions", "find_continuations"]

_SAMPLES = 256
_PARALLEL = 0.95
"""Normals whose |cosine| is at least this belong to parallel planes: 18 degrees."""
_COLOR_STEPS = 8
"""Colours are counted in so many steps per channel: shading moves a colour by less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuationOptions:
    """When two tracks that were never seen together are one object.

    Attributes:
        gap_m: farthest apart that the two may be at their nearest.
        conflict: largest share of one's points that were seen while the other was there.
        together: largest share of the shorter track's views in which both have a mask.
        coplanar: least share of either one's points that lie in a plane of the other.
        plane_m: how far from the plane, a few times the noise of fused points.
        likeness: least Bhattacharyya coefficient of their colours.
        fewest_points: smaller pieces say too little about their planes and colours.
    """

    gap_m: float = 0.25
    conflict: float = 0.1
    together: float = 0.1
    coplanar: float = 0.7
    plane_m: float = 0.025
    likeness: float = 0.7
    fewest_points: int = 50


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    point: NDArray[np.int64]
    low_m: NDArray[np.float32]
    high_m: NDArray[np.float32]


def find_continuations(
    votes: Votes,
    level: NDArray[np.int16],
    member: NDArray[np.bool_],
    cloud: SceneCloud,
    normal: NDArray[np.float32],
    *,
    options: ContinuationOptions,
) -> NDArray[np.int32]:
    """Group tracks of one level that continue each other.

    Args:
        votes: of the scan, with tracks of overlapping points merged.
        level: (K,) level of each track.
        member: (N,) from `members`.
        cloud: the points.
        normal: (P, 3) unit normals of either sign, 0 = unknown.
        options: when two tracks are one.

    Returns:
        (K,) int32 position of the group's first track, for each track.
    """
    group = np.arange(len(votes.track_id), dtype=np.int32)
    pieces = _pieces(votes, member, cloud, options)
    slots, views = votes.track_slots.copy(), popcount_rows(votes.track_slots)
    found = _candidates(votes, level, pieces, cloud, normal, options)
    for _, a, b in sorted(found):
        first, second = sorted((int(group[a]), int(group[b])))
        if first == second or _both_seen(slots, views, first, second) > options.together:
            continue
        slots[first] |= slots[second]
        views[first] = popcount_rows(slots[first][None])[0]
        group[group == second] = first
    return group


def _pieces(
    votes: Votes, member: NDArray[np.bool_], cloud: SceneCloud, options: ContinuationOptions
) -> dict[int, _Piece]:
    track, point = votes.pair_track[member], votes.pair_point[member]
    bounds = np.searchsorted(track, np.arange(len(votes.track_id) + 1))
    pieces = {}
    for i in np.flatnonzero(np.diff(bounds) >= options.fewest_points).tolist():
        own = point[bounds[i] : bounds[i + 1]]
        xyz_m = cloud.xyz_m[own]
        pieces[i] = _Piece(own, xyz_m.min(axis=0), xyz_m.max(axis=0))
    return pieces


def _candidates(
    votes: Votes,
    level: NDArray[np.int16],
    pieces: dict[int, _Piece],
    cloud: SceneCloud,
    normal: NDArray[np.float32],
    options: ContinuationOptions,
) -> list[tuple[float, int, int]]:
    found: list[tuple[float, int, int]] = []
    order = sorted(pieces)
    slots, views = votes.track_slots, popcount_rows(votes.track_slots)
    low = np.array([pieces[i].low_m for i in order]).reshape(-1, 3)
    high = np.array([pieces[i].high_m for i in order]).reshape(-1, 3)
    for at, a in enumerate(order):
        apart = np.maximum(low[at] - high, low - high[at]).max(axis=1)
        for other in np.flatnonzero(apart <= options.gap_m).tolist():
            b = order[other]
            if b <= a or level[a] != level[b] or _both_seen(slots, views, a, b) > options.together:
                continue
            one, two = pieces[a].point, pieces[b].point
            if max(_conflict(votes, one, b), _conflict(votes, two, a)) > options.conflict:
                continue
            if _likeness(cloud, one, two) < options.likeness:
                continue
            planes = (_coplanar(cloud, normal, x, y, options.plane_m) for x, y in _both(one, two))
            if any(share < options.coplanar for share in planes):
                continue
            # From all points: some of them would make gaps larger than they are.
            tree = cKDTree(cloud.xyz_m[one])
            gap_m = float(np.min(tree.query(cloud.xyz_m[two], distance_upper_bound=options.gap_m)[0]))
            if gap_m <= options.gap_m:
                found.append((gap_m, a, b))
    return found


def _both_seen(slots: NDArray[np.uint8], views: NDArray[np.int64], a: int, b: int) -> float:
    common = int(popcount_rows((slots[a] & slots[b])[None])[0])
    return common / max(1, min(int(views[a]), int(views[b])))


def _both(
    a: NDArray[np.int64], b: NDArray[np.int64]
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
    a, b = (x[np.linspace(0, len(x) - 1, min(len(x), _SAMPLES)).astype(np.int64)] for x in (a, b))
    return (a, b), (b, a)


def _conflict(votes: Votes, point: NDArray[np.int64], track: int) -> float:
    return seen_during(votes, point, track) / max(1, len(point))


def _likeness(cloud: SceneCloud, a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    if cloud.color is None:
        return 1.0
    roots = []
    for point in (a, b):
        step = cloud.color[point].astype(np.int64) * _COLOR_STEPS // 256
        cell = (step[:, 0] * _COLOR_STEPS + step[:, 1]) * _COLOR_STEPS + step[:, 2]
        roots.append(np.sqrt(np.bincount(cell, minlength=_COLOR_STEPS**3) / len(point)))
    return float(roots[0] @ roots[1])


def _coplanar(
    cloud: SceneCloud,
    normal: NDArray[np.float32],
    point: NDArray[np.int64],
    of: NDArray[np.int64],
    plane_m: float,
) -> float:
    """Return the share of points that lie in a plane of some other points."""
    parallel = np.abs(normal[point] @ normal[of].T) >= _PARALLEL
    offset_m = np.einsum("ij,ij->i", normal[point], cloud.xyz_m[point])[:, None]
    offset_m = np.abs(offset_m - normal[point] @ cloud.xyz_m[of].T)
    return float((parallel & (offset_m <= plane_m)).any(axis=1).mean())
