"""How much an instance can be trusted, from the agreement of the views that saw it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from my3dis.lifting.hierarchy import Tree
from my3dis.lifting.merge import alive_weight
from my3dis.lifting.vote import Votes

__all__ = ["instance_scores"]

_DOUBTFUL_VIEWS = 2.0
_DOUBTFUL_POINTS = 20.0


def instance_scores(votes: Votes, tree: Tree) -> NDArray[np.float32]:
    """Return a confidence in [0, 1] for each instance of a tree.

    The product of: agreement (share of the views of its points whose mask covered them), purity (share
    of its masks' votes that fell on its points), mask quality, and two factors that approach 1 with the
    number of views and of points. The first two are the halves of a multi-view overlap between the
    masks and the instance, which is what average precision asks a ranking to predict.

    Args:
        votes: of the scan, merged.
        tree: the instances.
    """
    scores = np.zeros(len(tree.track), np.float32)
    starts = np.searchsorted(votes.pair_track, np.arange(len(votes.track_id) + 1))
    for i, (track, point) in enumerate(zip(tree.track, tree.points, strict=True)):
        pairs = slice(int(starts[track]), int(starts[track + 1]))
        voted_point, voted = votes.pair_point[pairs], votes.pair_weight[pairs]
        own = np.isin(voted_point, point, assume_unique=True)
        covered = float(voted[own].sum())
        possible = float(alive_weight(votes, point, np.full(len(point), track)).sum())
        agreement = min(1.0, covered / possible) if possible > 0 else 0.0
        total = float(voted.sum())
        purity = covered / total if total > 0 else 0.0
        views = float(votes.track_views[track])
        scores[i] = (
            agreement
            * purity
            * float(votes.track_quality[track])
            * (views / (views + _DOUBTFUL_VIEWS))
            * (len(point) / (len(point) + _DOUBTFUL_POINTS))
        )
    return np.clip(scores, 0.0, 1.0)
