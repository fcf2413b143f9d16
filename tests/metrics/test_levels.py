"""Levels alone, the best one, and all flattened."""

from __future__ import annotations

import math

import numpy as np
import pytest

from my3dis.metrics.levels import best_level, evaluate_levels, select_level
from my3dis.metrics.protocols import VOID
from tests.metrics.build import instance_set

GT = np.repeat([1, 2, VOID], [200, 300, 100]).astype(np.int64)
# Level 2 merges both objects, level 4 is right, level 6 splits the second.
FOUND = instance_set(
    [range(500), range(200), range(200, 500), range(200), range(200, 340), range(340, 500)],
    600,
    levels=[2, 4, 4, 6, 6, 6],
    scores=[0.2, 0.9, 0.9, 0.8, 0.3, 0.3],
)


def test_each_level_and_all_levels_are_scored() -> None:
    """Levels come coarse to fine and the flattened list last."""
    results = evaluate_levels([(FOUND, GT)], min_region=100)
    assert [r.level for r in results] == [2, 4, 6, None]
    # Level 2: 300/500 = 0.6 on the second object is a hit at 0.50: R 1/2, P 1. Level 6: 160/300 > 0.5 too.
    assert [r.ranked.ap50 for r in results[:2]] == [pytest.approx(0.5), 1.0]
    assert results[3].ranked.n_predictions == 6
    assert (results[1].ranked.scores, results[1].constant.scores) == ("ranked", "constant")


def test_best_level_is_the_one_with_the_highest_ap50() -> None:
    """The best level is a single level, never the flattened list."""
    best = best_level(evaluate_levels([(FOUND, GT)], min_region=100))
    assert best is not None
    assert best.level == 4


def test_no_ground_truth_has_no_best_level() -> None:
    """Without ground truth nothing is best, and without instances only the flattened list is scored."""
    assert best_level(evaluate_levels([(FOUND, np.full(600, VOID))], min_region=100)) is None
    nothing = evaluate_levels([(instance_set([], 600), GT)], min_region=100)
    assert [r.level for r in nothing] == [None]
    assert nothing[0].ranked.ap == 0.0
    assert math.isnan(nothing[0].ranked.thresholds[0].precision)


def test_select_level_keeps_points_and_order() -> None:
    """The chosen level's instances keep their points."""
    fine = select_level(FOUND, 6)
    assert fine.instance_id.tolist() == [3, 4, 5]
    assert fine.points_of(1).tolist() == list(range(200, 340))
    assert len(select_level(FOUND, 9)) == 0
