"""One object whose middle no view shows, against two objects that only lie near each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from my3dis.lifting.hierarchy import HierarchyOptions
from my3dis.lifting.lift import LiftOptions, lift_instances, surface_of
from my3dis.lifting.vote import VoteAccumulator
from my3dis.types import SceneCloud
from tests.lifting.panels import Panel, cloud_of, track_set, tracked, view

RUG = Panel((-1.6, 1.6), (-0.4, 0.4), 2.0, thing=1)
ENDS = (-1.05, 1.05)
"""From here the camera sees the rug up to about 6 cm before its middle."""


def instances(
    views: tuple[float, ...], cloud: SceneCloud, panels: list[Panel], options: LiftOptions | None = None
) -> list[int]:
    """Lift with one identity left of the middle and another right of it, and return the sizes."""
    tracks = track_set({1: 2, 2: 2})
    surface = surface_of(cloud)
    votes = VoteAccumulator(cloud.xyz_m, surface.normal, tracks.track_id, view_count=len(views))
    for index, x in enumerate(views):
        frame, things, _ = view(panels, index, x)
        u = np.arange(things.shape[1])
        right = (u - 49.5) / 100 * 2.0 + x > 0
        votes.add(frame, tracked(np.where(right & (things > 0), 2, things), index))
    options = options or LiftOptions(hierarchy=HierarchyOptions(first_min_points=10))
    return [
        len(p) for p in _points(lift_instances(cloud, surface, votes.result(), tracks, options).instances)
    ]


def _points(found: object) -> list[np.ndarray]:
    return [found.points_of(i) for i in range(len(found))]  # type: ignore[attr-defined]


def colored(cloud: SceneCloud, right: tuple[int, int, int]) -> SceneCloud:
    """Paint points left of the middle red and the others as given."""
    color = np.where(cloud.xyz_m[:, :1] > 0, right, (200, 40, 40)).astype(np.uint8)
    return replace(cloud, color=color)


def test_ends_of_a_surface_hidden_in_the_middle_are_one() -> None:
    """Two tracks in one plane, close, alike and never seen together become one instance."""
    assert len(instances(ENDS, colored(cloud_of([RUG]), (200, 40, 40)), [RUG])) == 1


def test_another_colour_is_another_object() -> None:
    """The same ends in different colours stay two."""
    assert len(instances(ENDS, colored(cloud_of([RUG]), (40, 40, 200)), [RUG])) == 2


def test_masks_side_by_side_in_one_view_are_two() -> None:
    """A view that shows both, apart, is believed."""
    assert len(instances((*ENDS, 0.0), colored(cloud_of([RUG]), (200, 40, 40)), [RUG])) == 2


@pytest.mark.parametrize(("z", "far"), [(2.2, 0.0), (2.0, 0.5)])
def test_a_step_or_a_wide_gap_separates(z: float, far: float) -> None:
    """Ends in other planes, or farther apart than can be bridged, stay two."""
    panels = [
        Panel((-1.6, -0.1), (-0.4, 0.4), 2.0, thing=1),
        Panel((0.1 + far, 1.6), (-0.4, 0.4), z, thing=1),
    ]
    assert len(instances(ENDS, colored(cloud_of(panels), (200, 40, 40)), panels)) == 2
