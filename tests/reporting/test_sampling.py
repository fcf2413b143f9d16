"""Which frames are drawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my3dis.errors import DataError
from my3dis.reporting.sampling import comparison_frames, nearest_available


@pytest.mark.parametrize(
    ("frames", "every", "maximum", "expected"),
    [
        # every 10th of 0..24 and the last
        (range(25), 10, 12, (0, 10, 20, 24)),
        # counts in selected frames, not in frame indices: positions 0, 2, 4 of five
        ((100, 120, 140, 160, 180), 2, 12, (100, 140, 180)),
        # the last is on the grid already
        (range(21), 10, 12, (0, 10, 20)),
        # positions 0,1,..,9 thinned to 4: 0, 3, 6, 9
        (range(10), 1, 4, (0, 3, 6, 9)),
        # grid 0,10,20,24 (4 frames) thinned to 3: list positions 0, 1.5 -> 2, 3
        (range(25), 10, 3, (0, 20, 24)),
        # two at most: the first and the last
        (range(84), 10, 2, (0, 83)),
        (range(2), 50, 12, (0, 1)),
        ((7,), 10, 12, (7,)),
        ((), 10, 12, ()),
    ],
)
def test_frames_by_hand(frames, every: int, maximum: int, expected: tuple[int, ...]) -> None:
    """Hand-made cases: every n-th with first and last, thinned evenly when there are too many."""
    assert comparison_frames(tuple(frames), every, maximum) == expected


@given(st.integers(1, 400), st.integers(1, 60), st.integers(2, 30), st.integers(1, 7))
def test_first_and_last_always_in_and_never_too_many(count: int, every: int, maximum: int, step: int) -> None:
    """Whatever the settings, first and last are drawn, at most max, without repeats, in order."""
    frames = tuple(range(5, 5 + count * step, step))
    chosen = comparison_frames(frames, every, maximum)
    assert chosen[0] == frames[0]
    assert chosen[-1] == frames[-1]
    assert len(chosen) <= maximum
    assert list(chosen) == sorted(set(chosen))
    assert set(chosen) <= set(frames)


@pytest.mark.parametrize(("every", "maximum"), [(0, 5), (1, 1)])
def test_senseless_settings_are_refused(every: int, maximum: int) -> None:
    """No step of zero and no maximum that cannot hold first and last."""
    with pytest.raises(DataError, match="render_viz=false"):
        comparison_frames((1, 2), every, maximum)


def test_nearest_available_frame_stands_in() -> None:
    """A chosen frame without masks is replaced by the nearest with some, the earlier on a tie."""
    assert nearest_available((0, 10, 24), (0, 4, 8, 12, 20)) == (0, 8, 20)
    assert nearest_available((1, 2), (0,)) == (0,)
    assert nearest_available((1,), ()) == ()
