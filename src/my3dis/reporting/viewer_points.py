"""Which points the viewer draws, and to which instance each belongs at every level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from my3dis.reporting.rooms import own_colors
from my3dis.reporting.viewer import ViewerPoints
from my3dis.reporting.viewpoints import Room
from my3dis.types import InstanceSet

__all__ = ["MOST_POINTS", "choose_points", "owners", "viewer_points"]

MOST_POINTS = 200_000
"""More are drawn slowly by a laptop and make the page heavy."""
_LEAST_PER_INSTANCE = 64


def viewer_points(
    room: Room, instances: InstanceSet, levels: tuple[int, ...], most: int = MOST_POINTS
) -> ViewerPoints:
    """Thin a room to at most so many points and say whose they are.

    Args:
        room: from `prepare_room`, of the cloud that the instances refer to.
        instances: at any levels.
        levels: the levels to show, coarse first.
        most: points to keep at most.
    """
    chosen = choose_points(room, instances, most)
    index = room.point_index[chosen]
    growth = (len(room.xyz_m) / max(1, len(chosen))) ** 0.5  # surfaces thin out in two dimensions
    return ViewerPoints(
        xyz_m=room.xyz_m[chosen],
        normal=room.normal[chosen],
        color=own_colors(room)[chosen],
        owner=tuple(owners(instances, level)[index] for level in levels),
        spacing_m=room.spacing_m * growth,
        total=instances.n_points,
    )


def choose_points(room: Room, instances: InstanceSet, most: int) -> NDArray[np.int64]:
    """Return places in the room of the points to draw, ascending.

    Every n-th point of the cloud is taken; before that every instance is given some, so that a small one
    is not lost.
    """
    n = len(room.xyz_m)
    if n <= most:
        return np.arange(n)
    place = np.full(instances.n_points, -1, np.int64)
    place[room.point_index] = np.arange(n)
    taken = np.zeros(n, np.bool_)
    share = min(_LEAST_PER_INSTANCE, most // (2 * max(1, len(instances))))
    for k in range(len(instances) if share else 0):
        own = place[instances.points_of(k)]
        own = own[own >= 0]
        taken[own[_spread(len(own), share)]] = True
    rest = np.flatnonzero(~taken)
    taken[rest[_spread(len(rest), most - int(taken.sum()))]] = True
    return np.flatnonzero(taken)


def _spread(n: int, wanted: int) -> NDArray[np.int64]:
    """Return at most so many places evenly among n."""
    if n <= wanted:
        return np.arange(n)
    return np.arange(wanted, dtype=np.int64) * n // wanted


def owners(instances: InstanceSet, level: int) -> NDArray[np.int32]:
    """Return for every point of the cloud (P,) the place of its instance at a level, -1 = none.

    Where instances overlap the smaller one is on top, as in the report's pictures.
    """
    owner = np.full(instances.n_points, -1, np.int32)
    members = np.flatnonzero(instances.level == level)
    sizes = np.diff(instances.point_offsets)[members]
    for k in members[np.argsort(-sizes, kind="stable")].tolist():
        owner[instances.points_of(k)] = k
    return owner
