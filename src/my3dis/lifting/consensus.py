"""From votes to owners: which track owns each point, level by level.

A track's share of a point is the weight of the views whose mask covered it, over the weight of the
views that saw it while the track was there. Neighbouring points count as further views of little
weight, less so across creases and colour changes: this settles points with few or doubtful views and
leaves well-seen points alone.
Source: the neighbour term follows Zhou et al. 2004, Learning with local and global consistency,
section 2, with the number of views as the trust in a point's own evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from my3dis.lifting.merge import alive_weight
from my3dis.lifting.vote import Votes
from my3dis.types import NO_ID, SceneCloud

__all__ = ["ConsensusOptions", "LevelClaims", "claim_points", "neighbour_average"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusOptions:
    """How votes become owners.

    Attributes:
        vote_ratio: least share of a point's views that must agree.
        neighbour_views: views that all neighbours of a point are worth together.
        doubted_views: when tracks compete for a point, each is taken to have missed so many views more.
        near_tie: how much less a track may have than its rival when all neighbours are its own.
        settling_rounds: how often neighbours are asked again.
        rounds: how many neighbours far evidence travels.
        crease: how much normals may turn before neighbours count less, 1 - |cosine|.
        color_step: how much colour may differ before neighbours count less, RGB distance in 0..255.
    """

    vote_ratio: float = 0.4
    neighbour_views: float = 1.0
    doubted_views: float = 1.0
    near_tie: float = 0.3
    settling_rounds: int = 8
    rounds: int = 2
    crease: float = 0.15
    color_step: float = 40.0


@dataclass(frozen=True, slots=True, eq=False)
class LevelClaims:
    """Who owns each point at one level.

    Attributes:
        level: the level.
        owner: (P,) int32 position of a track, -1 = nobody.
        share: (P,) float32 the owner's share of the point, 0 where nobody owns it.
        claimed: (K,) int64 points that each track would own if it were alone.
    """

    level: int
    owner: NDArray[np.int32]
    share: NDArray[np.float32]
    claimed: NDArray[np.int64]


def neighbour_average(
    cloud: SceneCloud,
    normal: NDArray[np.float32] | None,
    edges: NDArray[np.int32],
    options: ConsensusOptions,
) -> sparse.csr_array:
    """Return the (P, P) matrix that averages over neighbours: rows sum to 1, or to 0 without neighbours.

    Args:
        cloud: the points; colours are used when it has them.
        normal: (P, 3) unit normals of either sign, 0 = unknown; or None.
        edges: (E, 2) neighbours.
        options: how much creases and colour changes separate.
    """
    a, b = edges[:, 0], edges[:, 1]
    affinity = np.ones(len(edges), np.float32)
    if normal is not None:
        turn = 1.0 - np.abs(np.einsum("ij,ij->i", normal[a], normal[b]))
        known = normal[a].any(axis=1) & normal[b].any(axis=1)
        affinity[known] *= np.exp(-turn[known] / np.float32(options.crease))
    if cloud.color is not None:
        step = cloud.color[a].astype(np.float32) - cloud.color[b].astype(np.float32)
        distance2 = np.einsum("ij,ij->i", step, step)
        affinity *= np.exp(-0.5 * distance2 / np.float32(options.color_step) ** 2)
    count = len(cloud)
    total = np.bincount(a, affinity, count) + np.bincount(b, affinity, count)
    inverse = np.divide(1.0, total, out=np.zeros(count), where=total > 1e-6).astype(np.float32)
    values = np.concatenate([affinity * inverse[a], affinity * inverse[b]])
    rows, columns = np.concatenate([a, b]), np.concatenate([b, a])
    return sparse.csr_array((values, (rows, columns)), shape=(count, count))


def claim_points(
    votes: Votes,
    track_level: NDArray[np.int16],
    average: sparse.csr_array,
    options: ConsensusOptions,
) -> list[LevelClaims]:
    """Decide who owns each point at every level, coarse to fine.

    Args:
        votes: of the scan, merged.
        track_level: (K,) level of each track.
        average: from `neighbour_average`.
        options: how votes become owners.
    """
    claims = []
    for level in np.unique(track_level).tolist():
        of_level = track_level[votes.pair_track] == level
        claims.append(_claim_level(votes, of_level, average, level, options))
    return claims


def _claim_level(
    votes: Votes,
    chosen: NDArray[np.bool_],
    average: sparse.csr_array,
    level: int,
    options: ConsensusOptions,
) -> LevelClaims:
    points, tracks = len(votes.point_weight), len(votes.track_id)
    point, track = votes.pair_point[chosen], votes.pair_track[chosen]
    voted = votes.pair_weight[chosen]
    possible = np.maximum(alive_weight(votes, point, track), voted)
    key = point * tracks + track
    order = np.argsort(key)
    key, voted, possible = key[order], voted[order], possible[order]
    share = sparse.csr_array((voted / possible, (point[order], track[order])), shape=(points, tracks))
    # Neighbours that no view saw know nothing: they must not count as views without a mask.
    known = (votes.point_weight > 0).astype(np.float32)
    weight = possible
    for _ in range(options.rounds):
        knowing = average @ known
        own = (key, voted, possible)
        share, weight = _smoothed(share, average, knowing, votes, own, options.neighbour_views)
        known = np.maximum(known, knowing > 0)
    return _decide(share, weight, average, level, options)


def _smoothed(
    share: sparse.csr_array,
    average: sparse.csr_array,
    knowing: NDArray[np.float32],
    votes: Votes,
    own: tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]],
    neighbour_views: float,
) -> tuple[sparse.csr_array, NDArray[np.float32]]:
    """Return shares with the neighbours' evidence added, and the weight of the views behind each."""
    key, voted, possible = own
    tracks = share.shape[1]
    # Adding the shares keeps every voted pair in the pattern even where no neighbour supports it.
    pattern = (average @ share + share * np.float32(1e-12)).tocsr()
    pattern.sort_indices()
    row = np.repeat(np.arange(share.shape[0]), np.diff(pattern.indptr))
    prior = np.float32(neighbour_views) * knowing[row]
    # The average of shares counts unknown neighbours as 0, so it is already scaled by how many know.
    numerator = pattern.data * np.float32(neighbour_views)
    denominator = votes.point_weight[row] + prior
    at = np.searchsorted(row * tracks + pattern.indices, key)
    numerator[at] += voted
    denominator[at] = possible + prior[at]
    values = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    smoothed = sparse.csr_array((values, pattern.indices, pattern.indptr), shape=share.shape)
    return smoothed, denominator


def _decide(
    share: sparse.csr_array,
    weight: NDArray[np.float32],
    average: sparse.csr_array,
    level: int,
    options: ConsensusOptions,
) -> LevelClaims:
    points, tracks = share.shape
    row = np.repeat(np.arange(points), np.diff(share.indptr))
    kept = share.data >= options.vote_ratio
    row, column, value = row[kept], share.indices[kept], share.data[kept]
    # Between two tracks that agree equally well the one with more views behind it wins, and near ties go
    # to the neighbours' owner. Without this, tracks that cover a surface at different times would own a
    # random mixture of its points.
    rank = value * weight[kept] / (weight[kept] + np.float32(options.doubted_views))
    owner, top = _highest(row, column, rank, points)
    contested = np.bincount(row, minlength=points)[row] > 1
    for _ in range(options.settling_rounds if contested.any() else 0):
        owned = np.flatnonzero(owner != NO_ID)
        ones = np.ones(len(owned), np.float32)
        around = average @ sparse.csr_array((ones, (owned, owner[owned])), shape=share.shape)
        support = np.zeros_like(rank)
        support[contested] = around[row[contested], column[contested]]
        settled, top = _highest(row, column, rank + np.float32(options.near_tie) * support, points)
        if np.array_equal(settled, owner):
            break
        owner = settled
    best = np.zeros(points, np.float32)
    best[row[top]] = value[top]
    return LevelClaims(level, owner, best, np.bincount(column, minlength=tracks).astype(np.int64))


def _highest(
    row: NDArray[np.int64], column: NDArray[np.integer], rank: NDArray[np.float32], points: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the column of the highest rank in each row (-1 = none) and the positions of those entries."""
    owner = np.full(points, NO_ID, np.int32)
    if not len(row):
        return owner, np.zeros(0, np.int64)
    starts = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
    highest = np.zeros(points, rank.dtype)
    highest[row[starts]] = np.maximum.reduceat(rank, starts)
    top = np.flatnonzero(rank == highest[row])
    # Among equals the smallest track wins.
    first = np.concatenate([[True], row[top][1:] != row[top][:-1]])
    top = top[first]
    owner[row[top]] = column[top]
    return owner, top
