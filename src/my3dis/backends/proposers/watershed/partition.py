"""One tree over an image, cut at several scales: partitions that are nested by construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NestedPartition", "PixelGraph", "partition"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class NestedPartition:
    """Partitions of an image at C cuts, all unions of the same R small regions.

    Attributes:
        region: (H, W) int32 small region of each pixel, 0..R-1.
        cuts: (C, R) label 0..n-1 of each small region at each cut, in the order in which cuts were asked
            for; a region of a finer cut lies inside one of every coarser cut.
        area_px: (R,) pixels of each small region.
    """

    region: NDArray[np.int32]
    cuts: Ints
    area_px: Ints


class PixelGraph:
    """The 4-neighbour graph of images; kept for the last size, since making it costs a third of the time."""

    def __init__(self) -> None:
        self._size: tuple[int, int] | None = None
        self._graph: Any = None

    def of(self, size: tuple[int, int]) -> Any:  # noqa: ANN401 - higra has no types
        """Return the graph for an image size (H, W)."""
        import higra

        if self._size != size:
            self._graph = None  # the old one goes before the new one comes
            self._graph, self._size = higra.get_4_adjacency_graph(size), size
        return self._graph


def partition(
    strength: NDArray[np.float32], counts: Sequence[int], min_area_px: int, graphs: PixelGraph
) -> NestedPartition:
    """Cut the watershed hierarchy by volume of an edge map into about the given numbers of regions.

    The basins of the edge map, their depth and the lowest pass between each two of them hold all there is
    to know for the hierarchy, so it is built on the basins, in half the time that the pixels take.
    What would be smaller than ``min_area_px`` joins the neighbour behind the weakest boundary first, at
    the finest scale, so that every cut is free of it and stays nested.

    Args:
        strength: (H, W) edge strength, at least 0.
        counts: numbers of regions, any order; fewer come out where the image has no more edges.
        min_area_px: smallest region.
        graphs: keeper of the pixel graph.

    Source: Cousty and Najman, Incremental algorithm for hierarchical minimum spanning forests and saliency
        of watershed cuts, ISMM 2011; Najman, Cousty and Perret, Playing with Kruskal, ISMM 2013.
    """
    import higra

    if strength.size == 1:
        return NestedPartition(
            np.zeros((1, 1), np.int32), np.zeros((len(counts), 1), np.int64), np.ones(1, np.int64)
        )
    graph = graphs.of(strength.shape)
    weight = higra.weight_graph(graph, strength.ravel(), higra.WeightFunction.mean)
    basins = higra.labelisation_watershed(graph, weight)
    rag = higra.make_region_adjacency_graph_from_labelisation(graph, basins)
    basin = np.asarray(higra.CptRegionAdjacencyGraph.get_vertex_map(rag)).astype(np.int64)
    n = rag.num_vertices()
    ends = np.stack([np.asarray(end) for end in rag.edge_list()]).astype(np.int64)
    height = higra.rag_accumulate_on_edges(rag, higra.Accumulators.min, weight)
    area = np.bincount(basin, minlength=n)
    tree, altitudes = _hierarchy(ends, height, _bottoms(graph, weight, basin, n), area)
    finest = _cut(tree, altitudes, max(counts))[:n]
    small, first = _compact(finest)
    target = _absorb(small[ends], height, np.bincount(small, weights=area).astype(np.int64), min_area_px)
    kept, position = np.unique(target, return_inverse=True)
    cuts = np.stack([_compact(_cut(tree, altitudes, count)[first][kept])[0] for count in counts])
    region = position[small][basin].astype(np.int32).reshape(strength.shape)
    sizes = np.bincount(region.ravel(), minlength=len(kept))
    return NestedPartition(region, cuts, sizes)


def _bottoms(graph: Any, weight: NDArray[np.float64], basin: Ints, n: int) -> NDArray[np.float64]:  # noqa: ANN401
    """Return the lowest edge weight inside each of the n basins; 0 for one without inner edge."""
    source, target = (np.asarray(end) for end in graph.edge_list())
    inside = basin[source] == basin[target]
    bottoms = np.full(n, np.inf)
    np.minimum.at(bottoms, basin[source[inside]], weight[inside])
    return np.where(np.isfinite(bottoms), bottoms, 0.0)


def _hierarchy(
    ends: Ints, height: NDArray[np.float64], bottoms: NDArray[np.float64], area: Ints
) -> tuple[Any, NDArray[np.float64]]:
    """Return the binary watershed hierarchy by volume whose first n leaves are the basins.

    Minima of an edge-weighted graph are edges, and a basin that is one vertex has none left inside. So
    each basin gets a twin of no area (leaf n + i), tied to it by an edge as high as its bottom.
    """
    import higra

    n = len(area)
    graph = higra.UndirectedGraph(2 * n)
    graph.add_edges(ends[0], ends[1])
    graph.add_edges(np.arange(n), np.arange(n, 2 * n))
    leaf_area = np.concatenate([area, np.zeros(n, np.int64)])
    tree, altitudes = higra.watershed_hierarchy_by_attribute(
        graph,
        np.concatenate([height, bottoms]),
        lambda t, a: _volume(t, a, leaf_area),
        canonize_tree=False,
    )
    return tree, altitudes


def _volume(tree: Any, altitudes: NDArray[np.float64], leaf_area: Ints) -> NDArray[np.float64]:  # noqa: ANN401
    """Return the volume of every node: the water its basin holds below the pass to its parent."""
    import higra

    area = higra.attribute_area(tree, leaf_area.astype(np.float64))
    own = area * (altitudes[tree.parents()] - altitudes)
    volume: NDArray[np.float64] = higra.accumulate_and_add_sequential(
        tree, own, own[: tree.num_leaves()], higra.Accumulators.sum
    )
    return volume


def _cut(tree: Any, altitudes: NDArray[np.float64], count: int) -> Ints:  # noqa: ANN401
    """Label every leaf so that at most ``count`` regions remain; what has equal altitude stays together."""
    import higra

    leaves = tree.num_leaves()
    passes = np.sort(altitudes[leaves:])[::-1]
    # Passes of height 0 separate nothing. A binary tree with s splits has s + 1 regions.
    threshold = max(0.0, float(passes[count - 1]) if count <= len(passes) else 0.0)
    parents = tree.parents()
    joins = altitudes[parents] <= threshold
    joins[-1] = False
    labels = higra.propagate_sequential(tree, np.arange(len(parents), dtype=np.int64), joins)
    return np.asarray(labels[:leaves]).astype(np.int64)


def _compact(labels: Ints) -> tuple[Ints, Ints]:
    """Return labels as 0..n-1, and for each the position of one leaf that has it."""
    _, first, position = np.unique(labels, return_index=True, return_inverse=True)
    return position.astype(np.int64), first.astype(np.int64)


def _absorb(ends: Ints, height: NDArray[np.float64], area: Ints, min_area_px: int) -> Ints:
    """Return for every region the one it becomes part of, itself where it is large enough.

    Smallest first; a region joins the neighbour behind the lowest pass and adds its area to it.
    """
    n = len(area)
    across = ends[0] != ends[1]
    low, high = np.minimum(*ends[:, across]), np.maximum(*ends[:, across])
    order = np.lexsort((height[across], high, low))
    low, high, lowest = low[order], high[order], height[across][order]
    new = np.concatenate(([True], (low[1:] != low[:-1]) | (high[1:] != high[:-1]))) if len(low) else order
    neighbours: list[dict[int, float]] = [{} for _ in range(n)]
    for a, b, h in zip(low[new].tolist(), high[new].tolist(), lowest[new].tolist(), strict=True):
        neighbours[a][b] = neighbours[b][a] = h
    size = area.tolist()
    target = np.arange(n)
    for region in np.lexsort((np.arange(n), area)).tolist():
        if size[region] >= min_area_px or not neighbours[region]:
            continue
        into = min(neighbours[region], key=lambda other: (neighbours[region][other], other))
        target[region] = into
        size[into] += size[region]
        for other, h in neighbours[region].items():
            del neighbours[other][region]
            if other != into:
                best = min(h, neighbours[into].get(other, h))
                neighbours[into][other] = neighbours[other][into] = best
    while (target[target] != target).any():
        target = target[target]
    return target
