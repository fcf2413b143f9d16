"""Samples of masks and point membership, against decoded masks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from my3dis.masks import codec
from my3dis.masks.build import from_codes
from my3dis.tracking.sampling import contains, sample_pixels

MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(MASKS, st.integers(1, 90))
@settings(max_examples=60, deadline=None)
def test_samples_are_distinct_pixels_of_the_mask(mask: np.ndarray, per_mask: int) -> None:
    """All samples lie in the mask, none repeats, and there are as many as asked for or as it has."""
    masks = from_codes([codec.encode(mask)], frame=0, image_size=mask.shape, mask_id=[0])
    sample = sample_pixels(masks, per_mask)
    assert len(sample.owner) == min(per_mask, mask.sum())
    assert mask[sample.y_px, sample.x_px].all()
    assert len(set(zip(sample.x_px.tolist(), sample.y_px.tolist(), strict=True))) == len(sample.owner)


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_membership_equals_the_decoded_mask(mask: np.ndarray) -> None:
    """`contains` says of every pixel what the decoded mask says."""
    masks = from_codes([codec.encode(mask)], frame=0, image_size=mask.shape, mask_id=[0])
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    assert np.array_equal(contains(masks, 0, x.ravel(), y.ravel()), mask.ravel())


def test_samples_of_several_masks_are_kept_apart() -> None:
    """The samples of each mask are found by its position, also of an empty one."""
    full, none = np.ones((4, 5), bool), np.zeros((4, 5), bool)
    masks = from_codes(
        [codec.encode(m) for m in (full, none, full)], frame=0, image_size=(4, 5), mask_id=[0, 1, 2]
    )
    sample = sample_pixels(masks, 3)
    assert sample.owner.tolist() == [0, 0, 0, 2, 2, 2]
