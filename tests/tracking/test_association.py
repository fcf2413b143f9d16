"""Assignment is one to one and optimal."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from my3dis.tracking.association import assign


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.floats(0, 1)))
@settings(max_examples=80, deadline=None)
def test_no_other_assignment_scores_more(score: np.ndarray) -> None:
    """The total over pairs at or above the threshold equals the best of all permutations."""
    threshold = 0.3
    pairs = assign(score, threshold)
    assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
    assert all(score[r, c] >= threshold for r, c in pairs)
    counted = np.where(score >= threshold, score, 0.0)
    if counted.shape[0] > counted.shape[1]:
        counted = counted.T
    best = max(
        sum(counted[i, j] for i, j in enumerate(order))
        for order in permutations(range(counted.shape[1]), counted.shape[0])
    )
    assert abs(sum(score[r, c] for r, c in pairs) - best) < 1e-9


def test_nothing_is_assigned_to_nothing() -> None:
    """Empty sides and scores of 0 give no pairs."""
    assert assign(np.zeros((0, 3)), 0.5) == []
    assert assign(np.zeros((2, 3)), 0.0) == []
