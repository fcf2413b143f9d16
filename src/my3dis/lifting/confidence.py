"""How much an instance can be trusted, from the agreement of the views that saw it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from my3dis.lifting.hierarchy import Tree
from my3dis.lifting.merge import alive_weight
from my3dis.lifting.vote import Votes

__all__ = ["calibrated", "instance_scores"]

_DOUBTFUL_VIEWS = 1.0
"""With so many views the factor for views is one half."""
_RIM_DOUBT = 0.5
"""Part of the points just outside an instance that may be its own: which side of a border is a near thing."""
_EXPONENT = 0.5
"""What makes scores the overlaps that they stand for. The factors of a score are low together, as all of them
suffer from the same blurred border, so their product is too low. Fitted on generated rooms with spoilt masks;
anything from 0.4 to 0.6 fits as well."""


def calibrated(score: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the overlap with the true object that scores in [0, 1] stand for; their order stays."""
    overlap: NDArray[np.float32] = np.power(score, np.float32(_EXPONENT))
    return overlap


def instance_scores(
    votes: Votes, tree: Tree, unseen: NDArray[np.bool_], edges: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return a confidence in [0, 1] for each instance of a tree.

    The product of

    - agreement: share of the views of its points whose mask covered them,
    - purity: share of its masks' votes that fell on its points,
    - clearness: its points over its points and the doubtful ones around it. A point just outside is
      doubtful in part; one that no view saw is doubtful altogether, for the object may go on there,
    - mask quality, and a factor that approaches 1 with the number of views.

    The first three estimate the overlap with the true object from its two halves and from its border,
    which is what average precision asks a ranking to predict.

    Args:
        votes: of the scan, merged.
        tree: the instances.
        unseen: (P,) points without any view.
        edges: (E, 2) neighbours.
    """
    scores = np.zeros(len(tree.track), np.float32)
    starts = np.searchsorted(votes.pair_track, np.arange(len(votes.track_id) + 1))
    doubt = np.where(unseen, 1.0, _RIM_DOUBT)
    ends = np.concatenate([edges, edges[:, ::-1]])
    ones = np.ones(len(ends), np.int8)
    neighbours = sparse.csr_array((ones, (ends[:, 0], ends[:, 1])), shape=(len(unseen), len(unseen)))
    for i, (track, point) in enumerate(zip(tree.track, tree.points, strict=True)):
        pairs = slice(int(starts[track]), int(starts[track + 1]))
        agreement, purity = _overlap(votes, track, point, pairs)
        outside = _rim(point, neighbours)
        clearness = len(point) / (len(point) + float(doubt[outside].sum()))
        views = float(votes.track_views[track])
        trust = float(votes.track_quality[track]) * views / (views + _DOUBTFUL_VIEWS)
        scores[i] = agreement * purity * clearness * trust
    return np.clip(scores, 0.0, 1.0)


def _overlap(votes: Votes, track: int, point: NDArray[np.int64], pairs: slice) -> tuple[float, float]:
    voted = votes.pair_weight[pairs]
    covered = float(voted[np.isin(votes.pair_point[pairs], point, assume_unique=True)].sum())
    possible = float(alive_weight(votes, point, np.full(len(point), track)).sum())
    total = float(voted.sum())
    agreement = min(1.0, covered / possible) if possible > 0 else 0.0
    return agreement, covered / total if total > 0 else 0.0


def _rim(point: NDArray[np.int64], neighbours: sparse.csr_array) -> NDArray[np.int64]:
    reached = np.zeros(neighbours.shape[0], np.bool_)
    reached[neighbours[point].indices] = True
    reached[point] = False
    return np.flatnonzero(reached)
