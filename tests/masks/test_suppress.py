"""Duplicates go, neighbours stay."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dis.masks.overlap import iou_matrix
from my3dis.masks.suppress import best_first, duplicates
from tests.masks.scenes import dense_stacks, mask_set


def bars(*spans: tuple[int, int]) -> np.ndarray:
    stack = np.zeros((len(spans), 2, 20), bool)
    for mask, (a, b) in zip(stack, spans, strict=True):
        mask[:, a:b] = True
    return stack


def test_the_worse_of_two_goes() -> None:
    """Of two masks with IoU 0.9 the less stable one is a duplicate; a mask of another level is none."""
    stack = bars((0, 10), (0, 9), (0, 10))
    masks = mask_set(stack, level=[2, 2, 4], stability=[0.5, 0.8, 0.9])
    assert duplicates(masks, 0.85).tolist() == [True, False, False]
    assert duplicates(masks, 0.9).tolist() == [False, False, False]


def test_a_chain_does_not_vanish() -> None:
    """A mask is compared with kept ones only: a-b and b-c overlap, a-c do not, so a and c stay."""
    masks = mask_set(bars((0, 10), (1, 11), (2, 12)), score=[0.9, 0.8, 0.7])
    assert duplicates(masks, 0.7).tolist() == [False, True, False]


@settings(max_examples=40, deadline=None)
@given(dense_stacks(), st.randoms(use_true_random=False))
def test_order_of_input_does_not_matter(stack: np.ndarray, random: object) -> None:
    """Shuffling the set drops the same ids, and no two kept masks overlap beyond the threshold."""
    masks = mask_set(stack)
    order = list(range(len(masks)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = masks.select(np.array(order, int))
    kept = masks.select(~duplicates(masks, 0.4))
    other = shuffled.select(~duplicates(shuffled, 0.4))
    assert sorted(kept.mask_id.tolist()) == sorted(other.mask_id.tolist())
    iou = iou_matrix(kept, kept)
    np.fill_diagonal(iou, 0)
    assert (iou <= 0.4).all()
    assert masks.mask_id[best_first(masks)].tolist() == shuffled.mask_id[best_first(shuffled)].tolist()
