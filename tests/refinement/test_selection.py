"""A dropped mask has one reason, and its children a home."""

import numpy as np

from my3dis.refinement.limits import MaskLimits, scaled_area
from my3dis.refinement.selection import select_masks
from my3dis.types import MaskSource
from tests.masks.scenes import mask_set


def bars(*spans: tuple[int, int]) -> np.ndarray:
    stack = np.zeros((len(spans), 1, 100), bool)
    for mask, (a, b) in zip(stack, spans, strict=True):
        mask[:, a:b] = True
    return stack


def test_each_limit_names_its_reason() -> None:
    """Small, unstable, duplicate and surplus masks go, each for its own reason; the rest stays."""
    masks = mask_set(
        bars((0, 40), (0, 39), (40, 42), (50, 60), (60, 80), (80, 95)),
        mask_id=[1, 2, 3, 4, 5, 6],
        level=2,
        stability=[0.9, 0.8, 0.9, 0.2, 0.9, 0.9],
    )
    limits = MaskLimits(min_area=5, stability_threshold=0.5, max_per_level=2, duplicate_iou=0.9)
    result = select_masks(masks, limits)
    assert result.kept.mask_id.tolist() == [1, 5]
    reasons = dict(zip(result.dropped_id.tolist(), result.reasons, strict=True))
    assert reasons == {2: "duplicate", 3: "min_area", 4: "stability", 6: "max_masks_per_level"}


def test_no_limits_pass_everything_on() -> None:
    """With the default limits nothing is dropped, not even an empty mask."""
    masks = mask_set(bars((0, 0), (0, 10), (0, 10)), stability=0.0)
    assert select_masks(masks, MaskLimits()).kept.mask_id.tolist() == [0, 1, 2]


def test_threshold_is_inclusive_and_spares_gaps() -> None:
    """A stability of exactly 0.9 passes a threshold of 0.9; a gap mask is not judged by it."""
    masks = mask_set(
        bars((0, 10), (10, 20), (20, 30)),
        stability=[0.9, 0.1, 0.1],
        source=[0, MaskSource.GAP, MaskSource.CANDIDATE],
    )
    assert select_masks(masks, MaskLimits(stability_threshold=0.9)).kept.mask_id.tolist() == [0, 1]


def test_children_of_dropped_masks_move_up() -> None:
    """When a middle mask goes, its child belongs to the grandparent."""
    masks = mask_set(
        bars((0, 40), (0, 30), (0, 20)),
        mask_id=[1, 2, 3],
        level=[2, 4, 6],
        parent_id=[-1, 1, 2],
        stability=[1.0, 0.1, 1.0],
    )
    kept = select_masks(masks, MaskLimits(stability_threshold=0.5)).kept
    assert kept.mask_id.tolist() == [1, 3]
    assert kept.parent_id.tolist() == [-1, 1]


def test_areas_scale_with_the_image() -> None:
    """200 px at 640x480 are 50 px at half the size, and never less than one pixel."""
    assert scaled_area(200, (480, 640)) == 200
    assert scaled_area(200, (240, 320)) == 50
    assert scaled_area(1, (4, 4)) == 1
