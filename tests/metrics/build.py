"""Makes instance sets from plain lists of vertices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from my3dis.types import InstanceSet


def instance_set(
    vertices: Sequence[Iterable[int]],
    n_points: int,
    *,
    scores: Sequence[float] | None = None,
    levels: Sequence[int] | None = None,
    parents: Sequence[int] | None = None,
) -> InstanceSet:
    """Instances with ids 0, 1, ... over the given vertices."""
    k = len(vertices)
    lists = [np.array(sorted(v), np.int64) for v in vertices]
    return InstanceSet(
        instance_id=np.arange(k, dtype=np.int32),
        level=np.array(levels if levels is not None else [2] * k, np.int16),
        parent_id=np.array(parents if parents is not None else [-1] * k, np.int32),
        label=np.full(k, -1, np.int32),
        score=np.array(scores if scores is not None else [1.0] * k, np.float32),
        point_offsets=np.cumsum([0, *map(len, lists)]).astype(np.int64),
        point_index=np.concatenate([np.zeros(0, np.int64), *lists]),
        n_points=n_points,
        cloud_digest="test",
    )
