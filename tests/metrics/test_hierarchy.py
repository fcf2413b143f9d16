"""Whether parts hang under the right object."""

from __future__ import annotations

import math

import numpy as np

from my3dis.metrics.hierarchy import parent_consistency
from my3dis.metrics.protocols import VOID
from tests.metrics.build import instance_set

# Two objects of two parts each, 20 points a part.
PARTS = np.repeat([1, 2, 3, 4], 20).astype(np.int64)
OBJECTS = np.repeat([10, 20], 40).astype(np.int64)
OBJECT_OF_PART = {1: 10, 2: 10, 3: 20, 4: 20}


def scene(parents: list[int], levels: tuple[int, ...] = (2, 2, 4, 4, 4, 4)):
    spans = [range(40), range(40, 80), range(20), range(20, 40), range(40, 60), range(60, 80)]
    return instance_set(spans, 80, levels=levels, parents=parents)


def test_right_parents_are_consistent() -> None:
    """A perfect tree scores 1."""
    result = parent_consistency(scene([-1, -1, 0, 0, 1, 1]), PARTS, OBJECTS, OBJECT_OF_PART)
    assert (result.consistent, result.matched, result.n_parts, result.orphans) == (4, 4, 4, 0)
    assert result.share == 1.0


def test_wrong_and_missing_parents_are_not() -> None:
    """A part under the other object and a part without parent both lower the share."""
    result = parent_consistency(scene([-1, -1, 0, 1, -1, 1]), PARTS, OBJECTS, OBJECT_OF_PART)
    assert (result.consistent, result.matched, result.orphans) == (2, 4, 1)
    assert result.share == 0.5


def test_an_ancestor_further_up_counts() -> None:
    """With a middle level between, the object may be the grandparent."""
    # The middle one is half on the other object, so that it matches neither and the search must go on.
    spans = [range(40), [*range(20), *range(40, 60)], range(20)]
    tree = instance_set(spans, 80, levels=[2, 4, 6], parents=[-1, 0, 1])
    result = parent_consistency(tree, PARTS, OBJECTS, OBJECT_OF_PART)
    assert (result.consistent, result.matched) == (1, 1)


def test_coarsest_level_is_no_part() -> None:
    """Instances of the coarsest level do not match parts; without matches the share is NaN."""
    result = parent_consistency(scene([-1] * 6, levels=(2,) * 6), PARTS, OBJECTS, OBJECT_OF_PART)
    assert result.matched == 0
    assert math.isnan(result.share)


def test_void_parts_and_loops_are_harmless() -> None:
    """Void parts do not count, and parents in a circle end the search."""
    parts = np.where(PARTS == 4, VOID, PARTS)
    result = parent_consistency(scene([2, -1, 0, 0, 1, 1]), parts, OBJECTS, OBJECT_OF_PART)
    assert (result.n_parts, result.matched, result.consistent) == (3, 3, 3)


def test_no_instances() -> None:
    """An empty set matches nothing."""
    assert parent_consistency(instance_set([], 80), PARTS, OBJECTS, OBJECT_OF_PART).matched == 0
