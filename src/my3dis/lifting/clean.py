"""Tidy the owners of points: fill small unseen patches and drop specks far from their object."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from my3dis.types import NO_ID

__all__ = ["CleanOptions", "drop_specks", "fill_unseen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanOptions:
    """What counts as a speck and what as a hole.

    Attributes:
        speck_share: a piece smaller than this share of the largest piece is a speck if it lies far off.
        speck_gap_m: how far off, in metres.
        hole_points: largest unseen patch that is filled.
        hole_majority: share of the patch's rim that must have one owner.
    """

    speck_share: float = 0.05
    speck_gap_m: float = 0.15
    hole_points: int = 200
    hole_majority: float = 0.6


def fill_unseen(
    owner: NDArray[np.int32], unseen: NDArray[np.bool_], edges: NDArray[np.int32], options: CleanOptions
) -> NDArray[np.int32]:
    """Give small patches that no view saw to the owner of most of their rim.

    Args:
        owner: (P,) int32, -1 = nobody.
        unseen: (P,) points without any view.
        edges: (E, 2) neighbours.
        options: what counts as a hole.

    Returns:
        (P,) int32, a new array.
    """
    filled = owner.copy()
    blank = unseen & (owner == NO_ID)
    a, b = edges[:, 0], edges[:, 1]
    inner = blank[a] & blank[b]
    patch, sizes = _pieces(len(owner), edges[inner])
    rim = blank[a] != blank[b]
    inside = np.where(blank[a[rim]], a[rim], b[rim])
    outside = np.where(blank[a[rim]], b[rim], a[rim])
    if not len(inside):
        return filled
    # Count (patch, owner) pairs over the rim; nobody counts too, so that walls do not join objects.
    pairs, counts = np.unique(np.stack([patch[inside], owner[outside]], axis=1), axis=0, return_counts=True)
    total = np.bincount(pairs[:, 0], counts, len(sizes))
    wins = (counts >= options.hole_majority * total[pairs[:, 0]]) & (
        sizes[pairs[:, 0]] <= options.hole_points
    )
    new_owner = np.full(len(sizes), NO_ID, np.int32)
    new_owner[pairs[wins, 0]] = pairs[wins, 1]
    filled[blank] = new_owner[patch[blank]]
    return filled


def drop_specks(
    owner: NDArray[np.int32],
    xyz_m: NDArray[np.float32],
    edges: NDArray[np.int32],
    options: CleanOptions,
) -> tuple[NDArray[np.int32], int]:
    """Take small pieces far from an object's largest piece away from it.

    Pieces of an object that others hide in part stay, when they are large or near.

    Args:
        owner: (P,) int32, -1 = nobody.
        xyz_m: (P, 3) metres.
        edges: (E, 2) neighbours.
        options: what counts as a speck.

    Returns:
        (P,) int32, a new array, and the number of points taken away.
    """
    cleaned = owner.copy()
    same = (owner[edges[:, 0]] == owner[edges[:, 1]]) & (owner[edges[:, 0]] != NO_ID)
    piece, sizes = _pieces(len(owner), edges[same])
    owned = np.flatnonzero(owner != NO_ID)
    owned = owned[np.argsort(owner[owned], kind="stable")]
    bounds = np.flatnonzero(np.diff(owner[owned], prepend=NO_ID, append=NO_ID))
    for start, end in pairwise(bounds.tolist()):
        point = owned[start:end]
        size = sizes[piece[point]]
        small = size < options.speck_share * size.max()
        if not small.any():
            continue
        anchors = cKDTree(xyz_m[point[~small]])
        gap, _ = anchors.query(xyz_m[point[small]], distance_upper_bound=options.speck_gap_m)
        # A piece is as far off as its nearest point.
        of_piece, back = np.unique(piece[point[small]], return_inverse=True)
        nearest = np.full(len(of_piece), np.inf)
        np.minimum.at(nearest, back, gap)
        cleaned[point[small][nearest[back] > options.speck_gap_m]] = NO_ID
    return cleaned, int((owner != NO_ID).sum() - (cleaned != NO_ID).sum())


def _pieces(count: int, edges: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    graph = csr_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    return label, np.bincount(label, minlength=1)
