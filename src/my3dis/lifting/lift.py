"""Votes to instances, in the order of the work: merge, claim, clean, nest, score."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from my3dis.geometry.points import (
    median_spacing,
    nearest_spacing,
    neighbour_edges,
    normals_from_neighbours,
    normals_from_triangles,
    triangle_edges,
)
from my3dis.lifting.clean import CleanOptions, drop_specks, fill_unseen
from my3dis.lifting.confidence import calibrated, instance_scores
from my3dis.lifting.consensus import ConsensusOptions, LevelClaims, claim_points, neighbour_average
from my3dis.lifting.continuation import ContinuationOptions, find_continuations
from my3dis.lifting.hierarchy import HierarchyOptions, Tree, build_tree, without_doubtful
from my3dis.lifting.merge import MergeOptions, apply_merge, find_merges, members
from my3dis.lifting.vote import Votes
from my3dis.types import NO_ID, InstanceSet, SceneCloud, TrackSet

__all__ = ["LiftOptions", "Lifted", "Surface", "lift_instances", "surface_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftOptions:
    """All options of lifting beyond voting."""

    consensus: ConsensusOptions = field(default_factory=ConsensusOptions)
    merge: MergeOptions = field(default_factory=MergeOptions)
    continuation: ContinuationOptions = field(default_factory=ContinuationOptions)
    clean: CleanOptions = field(default_factory=CleanOptions)
    hierarchy: HierarchyOptions = field(default_factory=HierarchyOptions)


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """What is known of the surface that the points lie on.

    Attributes:
        normal: (P, 3) float32 unit normals of either sign, 0 = unknown.
        edges: (E, 2) int32 neighbours on the surface (mesh edges where there is a mesh).
        near: (N, 2) int32 neighbours in space, which bridge cracks of the mesh; includes ``edges``.
    """

    normal: NDArray[np.float32]
    edges: NDArray[np.int32]
    near: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Lifted:
    """Instances and what happened on the way.

    Attributes:
        instances: the result; ``instance_id`` is the id of the (first) track it came from.
        merged: pairs (track id, id of the track that it became part of).
        dropped: instances that were too small or duplicates of better ones.
        speck_points: points taken away as specks, all levels together.
    """

    instances: InstanceSet
    merged: tuple[tuple[int, int], ...]
    dropped: int
    speck_points: int


def surface_of(cloud: SceneCloud, *, neighbours: int = 8, reach: float = 2.5) -> Surface:
    """Find neighbours and normals of a cloud.

    Args:
        cloud: a mesh or loose points.
        neighbours: at most so many neighbours in space per point.
        reach: none farther than this many times the median spacing.
    """
    if cloud.triangles is not None and len(cloud.triangles):
        edges = triangle_edges(cloud.triangles)
        radius_m = reach * median_spacing(cloud.xyz_m, edges)
        near = neighbour_edges(cloud.xyz_m, neighbours=neighbours, radius_m=radius_m)
        normal = cloud.normal
        if normal is None:
            normal = normals_from_triangles(cloud.xyz_m, cloud.triangles)
        return Surface(normal, edges, np.concatenate([edges, near]))
    radius_m = reach * nearest_spacing(cloud.xyz_m)
    near = neighbour_edges(cloud.xyz_m, neighbours=neighbours, radius_m=radius_m)
    normal = cloud.normal if cloud.normal is not None else normals_from_neighbours(cloud.xyz_m, near)
    return Surface(normal, near, near)


def lift_instances(
    cloud: SceneCloud, surface: Surface, votes: Votes, tracks: TrackSet, options: LiftOptions
) -> Lifted:
    """Turn votes into instances at every level.

    Args:
        cloud: the points.
        surface: from `surface_of`.
        votes: of all views; ``votes.track_id`` equals ``tracks.track_id``.
        tracks: levels and parents.
        options: of lifting.
    """
    group, merged = _joined(cloud, surface, votes, tracks, options)
    average = neighbour_average(cloud, surface.normal, surface.edges, options.consensus)
    raw = claim_points(merged, tracks.level, average, options.consensus)
    unseen = votes.point_views == 0
    claims, specks = [], 0
    for claim in raw:
        owner = fill_unseen(claim.owner, unseen, surface.near, options.clean)
        owner, taken = drop_specks(owner, cloud.xyz_m, surface.near, options.clean)
        specks += taken
        claims.append(LevelClaims(claim.level, owner, claim.share, claim.claimed))
    tree = build_tree(claims, _related(tracks, group), options.hierarchy)
    scores = instance_scores(merged, tree, unseen, surface.near)
    tree, scores = without_doubtful(tree, scores, options.hierarchy.least_score)
    joined = np.flatnonzero(group != np.arange(len(group))).tolist()
    return Lifted(
        instances=_instances(cloud, tracks, tree, calibrated(scores)),
        merged=tuple((int(tracks.track_id[i]), int(tracks.track_id[group[i]])) for i in joined),
        dropped=tree.dropped,
        speck_points=specks,
    )


def _joined(
    cloud: SceneCloud, surface: Surface, votes: Votes, tracks: TrackSet, options: LiftOptions
) -> tuple[NDArray[np.int32], Votes]:
    """Group pieces that overlap, then those that go on, and return the groups and their votes."""
    ratio = options.consensus.vote_ratio
    overlapping = find_merges(votes, tracks.level, members(votes, ratio), options.merge)
    merged = apply_merge(votes, overlapping)
    continued = find_continuations(
        merged,
        tracks.level,
        members(merged, ratio),
        cloud,
        surface.normal,
        options=options.continuation,
    )
    return continued[overlapping], apply_merge(merged, continued)


def _related(tracks: TrackSet, group: NDArray[np.int32]) -> NDArray[np.int32]:
    # The parent of a group is the one that most of its tracks' observations name.
    related = np.full(len(tracks), NO_ID, np.int32)
    has_parent = np.flatnonzero(np.isin(tracks.parent_id, tracks.track_id))
    parent = group[np.searchsorted(tracks.track_id, tracks.parent_id[has_parent])]
    observed = np.bincount(np.searchsorted(tracks.track_id, tracks.obs_track), minlength=len(tracks))
    # Ascending by observations: the last assignment stands.
    order = np.argsort(observed[has_parent], kind="stable")
    related[group[has_parent[order]]] = parent[order]
    return related


def _instances(cloud: SceneCloud, tracks: TrackSet, tree: Tree, score: NDArray[np.float32]) -> InstanceSet:
    track = np.asarray(tree.track, np.int64)
    parent = np.asarray(tree.parent, np.int64)
    sizes = np.asarray([len(p) for p in tree.points], np.int64)
    id_or_none = np.append(tracks.track_id, np.int32(NO_ID))
    return InstanceSet(
        instance_id=tracks.track_id[track],
        level=tracks.level[track],
        parent_id=id_or_none[parent],
        label=np.full(len(track), NO_ID, np.int32),
        score=score,
        point_offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)]),
        point_index=np.concatenate([np.zeros(0, np.int64), *tree.points]),
        n_points=len(cloud),
        cloud_digest=cloud.digest,
    )
