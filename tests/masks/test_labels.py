"""Label maps and mask sets are two views of one thing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from my3dis.errors import DataError
from my3dis.masks.labels import from_label_map, paint
from tests.masks.scenes import dense, mask_set

MAPS = st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda shape: hnp.arrays(np.uint16, shape, elements=st.sampled_from([0, 1, 2, 7, 300, 65535]))
)


@settings(max_examples=150, deadline=None)
@given(MAPS)
def test_every_label_becomes_its_mask(labels: np.ndarray) -> None:
    """Codes, boxes and areas are byte for byte pycocotools' for every label; 0 is background."""
    masks = from_label_map(labels, frame=4, level=2)
    wanted = [v for v in np.unique(labels).tolist() if v]
    assert masks.mask_id.tolist() == wanted
    assert set(masks.level.tolist()) <= {2}
    for i, value in enumerate(wanted):
        code = coco.encode(np.asfortranarray(labels == value, np.uint8))
        assert masks.rle[i] == code["counts"]
        x, y, w, h = coco.toBbox(code).astype(int).tolist()
        assert masks.boxes[i].tolist() == [x, y, x + w, y + h]
        assert masks.area_px[i] == coco.area(code)


@settings(max_examples=50, deadline=None)
@given(MAPS)
def test_painting_undoes_it(labels: np.ndarray) -> None:
    """Painting the masks of a map gives the map back, and a second round with -1 as background too."""
    masks = from_label_map(labels, frame=0)
    painted = paint(masks)
    assert np.array_equal(np.append(masks.mask_id, 0)[painted], labels)
    assert from_label_map(painted, frame=0, background=-1).rle == masks.rle


def test_later_masks_lie_on_top() -> None:
    """Painting follows the order of the set: the last mask that holds a pixel owns it."""
    stack = np.zeros((2, 2, 3), bool)
    stack[0, :, :2], stack[1, 0, 1:] = True, True
    assert paint(mask_set(stack)).tolist() == [[0, 1, 1], [0, 0, -1]]
    assert dense(mask_set(stack)).sum() == 6


def test_bad_maps_are_refused() -> None:
    """A map of colours and a negative label are errors, not masks."""
    with pytest.raises(DataError, match="label map"):
        from_label_map(np.zeros((2, 2, 3), int), frame=0)
    with pytest.raises(DataError, match="0 or more"):
        from_label_map(np.array([[-2, 0]]), frame=0)
