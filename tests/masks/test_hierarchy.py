"""The tree stays a tree."""

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.masks import hierarchy
from my3dis.types import MaskSet
from tests.masks.scenes import mask_set


def chain(**columns: object) -> MaskSet:
    """Three nested bars at levels 2, 4, 6 with ids 10, 20, 30, and a lone bar 40 at level 4."""
    stack = np.zeros((4, 3, 12), bool)
    stack[0, :, :8], stack[1, :, :5], stack[2, :, :2], stack[3, :, 9:] = True, True, True, True
    columns = {
        "mask_id": [10, 20, 30, 40],
        "level": [2, 4, 6, 4],
        "parent_id": [-1, 10, 20, -1],
        **columns,
    }
    return mask_set(stack, **columns)


def test_a_good_tree_passes() -> None:
    """Links to the next coarser level and masks without parent are fine."""
    hierarchy.require_linked(chain(), (2, 4, 6))
    hierarchy.require_nested(chain())
    assert hierarchy.parent_positions(chain()).tolist() == [-1, 0, 1, -1]


def test_broken_trees_are_named() -> None:
    """A skipped level, an unknown level, a missing parent and a spilling child are each reported."""
    with pytest.raises(DataError, match="next coarser"):
        hierarchy.require_linked(chain(parent_id=[-1, 10, 10, -1]), (2, 4, 6))
    with pytest.raises(DataError, match="mask 30 at level 6"):
        hierarchy.require_linked(chain(), (2, 4))
    with pytest.raises(DataError, match="parent id 99"):
        hierarchy.require_linked(chain(parent_id=[-1, 99, 20, -1]), (2, 4, 6))
    with pytest.raises(DataError, match="9 pixels outside"):
        hierarchy.require_nested(chain(parent_id=[-1, 10, 20, 10]))


def test_dropping_a_mask_hands_its_children_up() -> None:
    """The child of a dropped mask goes to the nearest kept ancestor, or to none."""
    masks = chain()
    middle_gone = hierarchy.drop(masks, np.array([True, False, True, True]))
    assert middle_gone.mask_id.tolist() == [10, 30, 40]
    assert middle_gone.parent_id.tolist() == [-1, 10, -1]
    both_gone = hierarchy.drop(masks, np.array([False, False, True, True]))
    assert both_gone.parent_id.tolist() == [-1, -1]


def test_a_circle_is_an_error() -> None:
    """Masks that are each other's ancestors are refused instead of looping for ever."""
    with pytest.raises(DataError, match="circle"):
        hierarchy.drop(chain(parent_id=[30, 10, 20, -1]), np.array([False, False, False, True]))


def test_levels_taken_out_leave_children_with_grandparents() -> None:
    """Keeping levels 2 and 6 makes the coarsest bar the parent of the finest; keeping all changes nothing."""
    masks = chain()
    kept = hierarchy.at_levels(masks, [2, 6])
    assert kept.mask_id.tolist() == [10, 30]
    assert kept.parent_id.tolist() == [-1, 10]
    assert hierarchy.at_levels(masks, [2, 4, 6]) is masks
