"""Objects from the surface itself, for masks that are regions and not objects.

One tree of regions of the surface, joined over the weakest border first, cut at every level: instances are
nested by construction, and do not depend on whether a region kept its identity through the video.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from my3dis.lifting.borders import BorderEvidence, BorderOptions, Sites, border_strength
from my3dis.lifting.lift import Lifted
from my3dis.lifting.planes import PlaneOptions, bounding_planes
from my3dis.lifting.vote import Votes
from my3dis.types import NO_ID, InstanceSet, SceneCloud, TrackSet

__all__ = ["GroupingOptions", "cut_surface", "group_instances"]

_APART = 2.0
"""Border between pieces of the surface that nothing links: none is as strong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupingOptions:
    """How the surface is taken apart.

    Attributes:
        border: what counts as a border.
        plane: what counts as floor, wall or ceiling.
        first_cut: mean strength of the borders of an instance at level 2.
        levels_to_half: so many levels finer, half the strength is enough.
        first_min_points: smallest instance of the coarsest level.
        other_min_points: smallest instance of the other levels.
        doubtful_m2: surface of an instance that is as likely a fragment as a whole; half the score.
        track_share: share of a track's votes that must fall on an instance for it to be the same thing.
    """

    border: BorderOptions = field(default_factory=BorderOptions)
    plane: PlaneOptions = field(default_factory=PlaneOptions)
    first_cut: float = 0.5
    levels_to_half: float = 4.0
    first_min_points: int = 50
    other_min_points: int = 10
    track_share: float = 0.5
    doubtful_m2: float = 0.1

    def cut(self, level: int) -> float:
        """Return the border strength at which a level is cut."""
        return float(self.first_cut * 0.5 ** ((level - 2) / self.levels_to_half))


def cut_surface(sites: Sites, strength: NDArray[np.float64], cuts: tuple[float, ...]) -> NDArray[np.int64]:
    """Join sites over weak borders, by the mean along the common border, and cut the tree.

    Args:
        sites: S sites, at least one.
        strength: (E,) of the links.
        cuts: strength of each level, falling.

    Returns:
        (L, S) int64 group 0..n-1 of each site at each level; a group of a level lies inside one of every
        coarser level.

    Source: Guigues et al., Scale-sets image analysis, IJCV 2006 (one tree, cut at scales).
    """
    import higra

    if len(sites) == 1:
        return np.zeros((len(cuts), 1), np.int64)
    links = sites.links.astype(np.int64)
    piece, bridges = _bridges(links, len(sites))
    strength = np.concatenate([strength, np.full(len(bridges), _APART)])
    graph = higra.UndirectedGraph(len(sites))
    ends = np.concatenate([links, bridges])
    graph.add_edges(ends[:, 0], ends[:, 1])
    basins = higra.labelisation_watershed(graph, strength).astype(np.int64)
    # A lone site's lowest pass is a bridge, which must not make it part of what it leads to.
    _, apart = np.unique(piece * (basins.max() + 1) + basins, return_inverse=True)
    rag = higra.make_region_adjacency_graph_from_labelisation(graph, apart)
    basin = np.asarray(higra.CptRegionAdjacencyGraph.get_vertex_map(rag)).astype(np.int64)
    count = rag.num_vertices()
    if count == 1:
        return np.zeros((len(cuts), len(sites)), np.int64)
    mean = higra.rag_accumulate_on_edges(rag, higra.Accumulators.mean, strength)
    length = higra.rag_accumulate_on_edges(rag, higra.Accumulators.sum, np.ones(len(strength)))
    tree, altitudes = higra.binary_partition_tree_average_linkage(rag, mean, length)
    return np.stack([_cut(tree, altitudes, cut, count)[basin] for cut in cuts])


def group_instances(
    cloud: SceneCloud, evidence: BorderEvidence, votes: Votes, tracks: TrackSet, options: GroupingOptions
) -> Lifted:
    """Turn the surface into instances at every level of the tracks.

    An instance that most votes of a track fall on has that track's id; others get ids above all tracks'.
    A group that does not split between two levels is an instance at the coarser one only.

    Args:
        cloud: the points, at least one.
        evidence: all views asked.
        votes: of all views; ``votes.track_id`` equals ``tracks.track_id``.
        tracks: with levels.
        options: how the surface is taken apart.
    """
    sites = evidence.sites()
    plane = bounding_planes(sites, options.plane)
    strength = border_strength(sites, evidence.drawn(), plane, options.border)
    levels = np.unique(tracks.level).tolist()
    groups = cut_surface(sites, strength, tuple(options.cut(level) for level in levels))
    next_id = int(tracks.track_id.max()) + 1 if len(tracks) else 0
    ids: list[int] = []
    parents: list[int] = []
    of_level: list[int] = []
    scores: list[float] = []
    points: list[NDArray[np.int64]] = []
    dropped = 0
    above = np.full(len(cloud), NO_ID, np.int64)
    for rank, level in enumerate(levels):
        owner = groups[rank][sites.of_point]
        area_m2 = np.bincount(groups[rank]) * sites.spacing_m**2
        known = _tracks_of(owner, votes, tracks.level == level, options.track_share)
        smallest = options.other_min_points if rank else options.first_min_points
        here = above.copy()
        for group, point in _members(owner):
            if len(point) < smallest:
                dropped += 1
                continue
            parent = int(above[point[0]])
            if parent != NO_ID and len(points[parent]) == len(point):
                continue
            track = known.get(group, NO_ID)
            ids.append(int(tracks.track_id[track]) if track != NO_ID else next_id)
            next_id += track == NO_ID
            parents.append(parent)
            of_level.append(level)
            scores.append(float(area_m2[group] / (area_m2[group] + options.doubtful_m2)))
            here[point] = len(points)
            points.append(point)
        above = here
    return Lifted(
        instances=_instance_set(cloud, ids, parents, of_level, scores, points),
        merged=(),
        dropped=dropped,
        speck_points=0,
    )


def _bridges(links: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the connected piece of each site, and (B, 2) links that join all pieces in a chain."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(links), np.int8)
    graph = csr_array((ones, (links[:, 0], links[:, 1])), shape=(count, count))
    piece = connected_components(graph, directed=False)[1].astype(np.int64)
    _, first = np.unique(piece, return_index=True)
    return piece, np.stack([first[:-1], first[1:]], axis=1)


def _cut(
    tree: Any,  # noqa: ANN401 - higra has no types
    altitudes: NDArray[np.float64],
    cut: float,
    leaves: int,
) -> NDArray[np.int64]:
    """Return the (leaves,) group of each leaf when everything up to a height is joined."""
    import higra

    parents = np.asarray(tree.parents())
    joins = altitudes[parents] <= cut
    joins[-1] = False
    top = np.asarray(higra.propagate_sequential(tree, np.arange(len(parents)), joins))[:leaves]
    return np.unique(top, return_inverse=True)[1].astype(np.int64)


def _tracks_of(
    owner: NDArray[np.int64], votes: Votes, of_level: NDArray[np.bool_], least: float
) -> dict[int, int]:
    """Return the position of the track that is the same thing as a group, for groups that have one.

    Of the tracks with most of their votes on the group it is the one with the most votes.
    """
    chosen = np.flatnonzero(of_level[votes.pair_track])
    tracks = len(votes.track_id)
    key = owner[votes.pair_point[chosen]] * tracks + votes.pair_track[chosen]
    pairs, back = np.unique(key, return_inverse=True)
    shared = np.bincount(back, votes.pair_weight[chosen], len(pairs))
    group, track = pairs // max(1, tracks), pairs % max(1, tracks)
    total = np.bincount(track, shared, tracks)
    best: dict[int, int] = {}
    order = np.argsort(shared, kind="stable")
    for i in order[shared[order] > least * total[track[order]]].tolist():
        best[int(group[i])] = int(track[i])
    return best


def _members(owner: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    order = np.argsort(owner, kind="stable")
    first = np.flatnonzero(np.diff(owner[order], prepend=NO_ID))
    return [(int(owner[part[0]]), part) for part in np.split(order, first[1:]) if len(part)]


def _instance_set(
    cloud: SceneCloud,
    ids: list[int],
    parents: list[int],
    of_level: list[int],
    scores: list[float],
    points: list[NDArray[np.int64]],
) -> InstanceSet:
    sizes = np.asarray([len(point) for point in points], np.int64)
    id_or_none = np.asarray([*ids, NO_ID], np.int32)
    return InstanceSet(
        instance_id=id_or_none[:-1],
        level=np.asarray(of_level, np.int16),
        parent_id=id_or_none[np.asarray(parents, np.int64)],
        label=np.full(len(ids), NO_ID, np.int32),
        score=np.clip(np.asarray(scores, np.float32), 0, 1),
        point_offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        point_index=np.concatenate([np.zeros(0, np.int64), *points]),
        n_points=len(cloud),
        cloud_digest=cloud.digest,
    )
