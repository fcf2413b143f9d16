"""The memory of a track stays small and keeps what it saw."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from my3dis.tracking.cues import FrameCues
from my3dis.tracking.memory import MAX_POINTS, Memory, thin_out
from tests.tracking.flatland import Card, masks_of, render


@given(hnp.arrays(np.int16, st.tuples(st.integers(0, 900), st.just(3))))
@settings(max_examples=40, deadline=None)
def test_thinning_keeps_some_of_the_points_and_never_too_many(points: np.ndarray) -> None:
    """At most `MAX_POINTS` of the given points are left, and some as long as there were any."""
    kept, spacing = thin_out(points, 2)
    assert len(kept) <= MAX_POINTS
    assert (len(kept) > 0) == (len(points) > 0)
    given_points = set(map(tuple, points.tolist()))
    assert all(tuple(p) in given_points for p in kept.tolist())
    cells = kept.astype(int) // spacing
    assert len(np.unique(cells, axis=0)) == len(kept)


def test_points_are_where_the_card_is() -> None:
    """A mask's points, in centimetres of the world, lie on the card at 2 m."""
    frame, labels = render(0, [Card(7, -0.4, -0.4, 0.4, 0.4)], camera_x=0.3)
    (cues,) = FrameCues(frame).describe(masks_of(labels, 0))
    assert len(cues.points_cm) > 100
    assert np.abs(cues.points_cm[:, 2] - 200).max() <= 1
    assert np.abs(cues.points_cm[:, :2]).max() <= 41


def test_memory_keeps_the_view_in_which_most_was_seen() -> None:
    """A later, smaller sight updates box and area but not the best view."""
    card = Card(7, -0.4, -0.4, 0.4, 0.4)
    memories = []
    for index, camera_x in enumerate((0.0, 1.2)):
        frame, labels = render(index, [card], camera_x)
        masks, cues = masks_of(labels, index), FrameCues(frame)
        memories.append(
            Memory.of(cues.describe(masks)[0], masks.boxes[0], int(masks.area_px[0]), cues.viewpoint)
        )
    both = memories[0].seen_again(memories[1])
    assert both.area_px == memories[1].area_px < memories[0].area_px
    assert both.viewpoint is memories[0].viewpoint
