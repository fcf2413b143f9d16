"""Pixels that tracks share with labelled objects."""

from __future__ import annotations

import numpy as np

from my3dis.masks.build import from_codes
from my3dis.masks.codec import DECODED, encode
from my3dis.metrics.frame_overlap import frame_overlap

LABELS = np.zeros((40, 60), np.int32)
LABELS[:20, :30] = 7
LABELS[20:, :30] = 9
LABELS[:, 50:] = 3


def tracks(*regions: tuple[slice, slice], size: tuple[int, int] = (40, 60)):
    codes = []
    for rows, columns in regions:
        mask = np.zeros(size, np.bool_)
        mask[rows, columns] = True
        codes.append(encode(mask))
    n = len(codes)
    return from_codes(
        codes, frame=0, image_size=size, mask_id=np.arange(n), level=2, track_id=np.arange(n) + 100
    )


def test_counts_equal_the_pixels() -> None:
    """Shared and void pixels are those of the drawing; void ids count as none."""
    found = frame_overlap(
        tracks((slice(0, 20), slice(0, 40)), (slice(10, 30), slice(0, 30)), (slice(0, 0), slice(0, 0))),
        LABELS,
        {3},
    )
    assert found.gt_id.tolist() == [7, 9]
    assert found.gt_px.tolist() == [600, 600]
    assert found.track_id.tolist() == [100, 101, 102]
    assert found.track_px.tolist() == [800, 600, 0]
    assert found.shared_px.tolist() == [[600, 0], [300, 300], [0, 0]]
    assert found.void_px.tolist() == [200, 0, 0]


def test_labels_of_half_size_are_resampled() -> None:
    """A label image of another size is stretched to the masks."""
    found = frame_overlap(tracks((slice(0, 20), slice(0, 30))), LABELS[::2, ::2], {3})
    assert found.gt_px.tolist() == [600, 600]
    assert found.shared_px.tolist() == [[600, 0]]


def test_one_mask_is_decoded_at_a_time() -> None:
    """Many masks never exist as pixels together."""
    many = tracks(*[(slice(0, 10), slice(0, 10))] * 50)
    DECODED.reset_peak()
    frame_overlap(many, LABELS)
    assert DECODED.peak - DECODED.alive <= 2


def test_no_masks_and_no_objects() -> None:
    """An empty frame has no rows and no columns."""
    found = frame_overlap(tracks(), np.zeros((40, 60), np.int32))
    assert found.shared_px.shape == (0, 0)
