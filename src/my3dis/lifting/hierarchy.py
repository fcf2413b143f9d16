"""One tree over all levels: every instance has at most one parent, of a coarser level, and lies inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from my3dis.lifting.consensus import LevelClaims
from my3dis.types import NO_ID

__all__ = ["HierarchyOptions", "Tree", "build_tree", "without_doubtful"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyOptions:
    """When an instance is part of another.

    Attributes:
        containment: least share of the child's points that the parent owns.
        first_min_points: smallest instance of the coarsest level.
        other_min_points: smallest instance of the other levels.
        kept_share: an instance that keeps less of the points it claims is a duplicate of better ones.
        least_score: instances without parts that are trusted less, before calibration, are what stray masks
            leave behind.
    """

    containment: float = 0.5
    first_min_points: int = 50
    other_min_points: int = 10
    kept_share: float = 0.3
    least_score: float = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """The instances that remain.

    Attributes:
        track: positions of the tracks that are instances, level by level.
        parent: for each, the position of its parent's track, -1 = none.
        points: for each, ascending indices into the cloud.
        dropped: instances that were too small, duplicates or not trusted.
    """

    track: tuple[int, ...]
    parent: tuple[int, ...]
    points: tuple[NDArray[np.int64], ...]
    dropped: int


def build_tree(claims: Sequence[LevelClaims], related: NDArray[np.int32], options: HierarchyOptions) -> Tree:
    """Find parents, clip children to them and drop what became too small.

    A parent seen in tracking is taken when its points agree; otherwise the instance of the nearest
    coarser level that holds most of the child. Where a child's points belong to nobody at the parent's
    level the parent takes them over: the child's masks are evidence for the parent too.

    Args:
        claims: owners per level, coarse to fine.
        related: (K,) position of the parent of each track by tracking, -1 = none.
        options: when an instance is part of another.
    """
    owners = [claim.owner.copy() for claim in claims]
    depth_of: dict[int, int] = {}
    parent_of: dict[int, int] = {}
    points_of: dict[int, NDArray[np.int64]] = {}
    dropped = 0
    for depth, claim in enumerate(claims):
        smallest = options.other_min_points if depth else options.first_min_points
        for track, point in _groups(owners[depth]):
            enough = max(smallest, options.kept_share * int(claim.claimed[track]))
            parent = _parent(owners[:depth], point, int(related[track]), options.containment)
            line = _line(parent, parent_of, depth_of)
            inside = _fits(owners, line, point)
            if int(inside.sum()) < enough:
                owners[depth][point] = NO_ID
                dropped += 1
                continue
            owners[depth][point[~inside]] = NO_ID
            for above, ancestor in line:
                owners[above][point[inside]] = ancestor
            depth_of[track], parent_of[track] = depth, parent
    for depth in range(len(claims)):
        points_of.update(_groups(owners[depth]))
    tracks = tuple(depth_of)
    return Tree(tracks, tuple(parent_of[t] for t in tracks), tuple(points_of[t] for t in tracks), dropped)


def without_doubtful(
    tree: Tree, score: NDArray[np.float32], least_score: float
) -> tuple[Tree, NDArray[np.float32]]:
    """Drop instances that are trusted too little, unless they hold others that stay.

    Args:
        tree: coarse to fine.
        score: of its instances.
        least_score: those below are doubtful.

    Returns:
        the tree and the scores of what stays.
    """
    kept: list[int] = []
    needed: set[int] = set()
    for i in reversed(range(len(tree.track))):
        if score[i] >= least_score or tree.track[i] in needed:
            kept.append(i)
            needed.add(tree.parent[i])
    kept.reverse()
    fewer = Tree(
        track=tuple(tree.track[i] for i in kept),
        parent=tuple(tree.parent[i] for i in kept),
        points=tuple(tree.points[i] for i in kept),
        dropped=tree.dropped + len(tree.track) - len(kept),
    )
    return fewer, score[kept]


def _groups(owner: NDArray[np.int32]) -> list[tuple[int, NDArray[np.int64]]]:
    owned = np.flatnonzero(owner != NO_ID)
    owned = owned[np.argsort(owner[owned], kind="stable")]
    bounds = np.flatnonzero(np.diff(owner[owned], prepend=NO_ID, append=NO_ID))
    return [(int(owner[owned[a]]), owned[a:b]) for a, b in pairwise(bounds.tolist())]


def _parent(
    coarser: Sequence[NDArray[np.int32]], point: NDArray[np.int64], related: int, containment: float
) -> int:
    for owner in reversed(coarser):
        holders, counts = np.unique(owner[point], return_counts=True)
        counts[holders == NO_ID] = 0
        if related != NO_ID and counts[holders == related].sum() >= containment * len(point):
            return related
        best = int(np.argmax(counts))
        if counts[best] >= containment * len(point) and counts[best] > 0:
            return int(holders[best])
    return NO_ID


def _line(track: int, parent_of: dict[int, int], depth_of: dict[int, int]) -> list[tuple[int, int]]:
    line = []
    while track != NO_ID:
        line.append((depth_of[track], track))
        track = parent_of[track]
    return line


def _fits(
    owners: list[NDArray[np.int32]], line: list[tuple[int, int]], point: NDArray[np.int64]
) -> NDArray[np.bool_]:
    # A point fits when every ancestor has it or may take it: all or none, so that the tree stays nested.
    fits = np.ones(len(point), np.bool_)
    for depth, track in line:
        holder = owners[depth][point]
        fits &= (holder == NO_ID) | (holder == track)
    return fits
