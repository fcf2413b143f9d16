"""Box suppression against a slow one, and masks of three ranks nested by hand-computed rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from my3dis.backends.proposers.sam2_auto.nesting import box_nms, nest, ranks_of_levels
from my3dis.masks import build, codec, hierarchy
from my3dis.types import MaskSet

SIZE = (40, 50)


def slow_nms(boxes: NDArray[np.int32], order: list[int], threshold: float) -> list[int]:
    """Keep a box unless it shares more than the threshold with one kept before, pixel by pixel."""
    pictures = []
    for x0, y0, x1, y1 in boxes.tolist():
        picture = np.zeros((64, 64), bool)
        picture[y0:y1, x0:x1] = True
        pictures.append(picture)
    kept: list[int] = []
    for i in order:
        overlaps = (
            (pictures[i] & pictures[j]).sum() / max(1, (pictures[i] | pictures[j]).sum()) for j in kept
        )
        if all(overlap <= threshold for overlap in overlaps):
            kept.append(i)
    return kept


@st.composite
def some_boxes(draw: st.DrawFn) -> NDArray[np.int32]:
    n = draw(st.integers(0, 12))
    corners = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9))
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (draw(corners) for _ in range(n))]
    return np.array(boxes, np.int32).reshape(n, 4)


@settings(deadline=None)
@given(some_boxes(), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]), st.randoms(use_true_random=False))
def test_suppression_agrees_with_a_slow_one(
    boxes: NDArray[np.int32], threshold: float, random: object
) -> None:
    """Whatever the boxes, their order and the threshold: the same are kept, in the same order."""
    order = list(range(len(boxes)))
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis's random
    assert box_nms(boxes, np.array(order, np.intp), threshold).tolist() == slow_nms(boxes, order, threshold)


def test_equal_boxes_keep_the_first() -> None:
    """Of equal boxes the first in the order stays; a box at the threshold exactly stays too."""
    boxes = np.array([[0, 0, 10, 10]] * 3 + [[0, 0, 10, 7]], np.int32)
    assert box_nms(boxes, np.array([2, 0, 1, 3]), 0.7).tolist() == [2, 3]
    assert box_nms(boxes, np.array([2, 0, 1, 3]), 0.69).tolist() == [2]


@pytest.mark.parametrize(
    ("n", "ranks"),
    [
        (1, [[0, 1, 2]]),
        (2, [[0, 1], [2]]),
        (3, [[0], [1], [2]]),
        (4, [[0], [0], [1], [2]]),
        (6, [[0], [0], [1], [1], [2], [2]]),
    ],
)
def test_ranks_of_levels(n: int, ranks: list[list[int]]) -> None:
    """Three levels take one rank each, fewer share them, more repeat them; none is lost."""
    assert ranks_of_levels(n) == ranks


def box_mask(x0: int, y0: int, x1: int, y1: int) -> bytes:
    picture = np.zeros(SIZE, bool)
    picture[y0:y1, x0:x1] = True
    return codec.encode(picture)


def masks(level: int, first_id: int, *boxes: tuple[int, int, int, int]) -> MaskSet:
    return build.from_codes(
        [box_mask(*box) for box in boxes],
        frame=3,
        image_size=SIZE,
        mask_id=np.arange(first_id, first_id + len(boxes)),
        level=level,
    )


def test_children_go_to_the_smallest_mask_that_holds_them() -> None:
    """A child is cut to its parent, one that fills it becomes it, and one that nothing holds stays free."""
    found = nest(
        [
            masks(2, 0, (0, 0, 40, 40), (0, 0, 20, 20)),
            masks(
                4,
                10,
                (2, 2, 12, 22),  # 18 of 20 rows in the small one: cut to them
                (0, 0, 20, 19),  # fills 0.95 of the small one: the same region
                (30, 5, 50, 15),  # half in the large one: free
                (20, 20, 40, 40),  # in the large one only
            ),
            masks(6, 20, (3, 3, 9, 9), (45, 0, 50, 4)),
        ]
    )
    by_id = {int(i): n for n, i in enumerate(found.masks.mask_id)}
    parent = {i: int(found.masks.parent_id[n]) for i, n in by_id.items()}
    area = {i: int(found.masks.area_px[n]) for i, n in by_id.items()}
    assert parent == {0: -1, 1: -1, 10: 1, 11: 1, 12: -1, 13: 0, 20: 10, 21: -1}
    assert area == {0: 1600, 1: 400, 10: 180, 11: 400, 12: 200, 13: 400, 20: 36, 21: 20}
    assert (found.repeats, found.clamped, found.orphans) == (1, 1, 2)
    hierarchy.require_linked(found.masks, (2, 4, 6))
    hierarchy.require_nested(found.masks)


def test_empty_levels() -> None:
    """A level without masks leaves the next without parents; no masks at all give an empty set."""
    empty = MaskSet.empty(3, SIZE)
    found = nest([masks(2, 0, (0, 0, 9, 9)), empty, masks(6, 1, (1, 1, 3, 3))])
    assert found.masks.parent_id.tolist() == [-1, -1]
    assert found.orphans == 1
    assert len(nest([empty, empty]).masks) == 0


@settings(deadline=None, max_examples=40)
@given(some_boxes(), some_boxes(), some_boxes())
def test_whatever_is_nested_keeps_the_contract(
    a: NDArray[np.int32], b: NDArray[np.int32], c: NDArray[np.int32]
) -> None:
    """Any boxes at three levels come out linked to the next coarser level and inside their parents."""
    sets, first = [], 0
    for level, boxes in zip((2, 4, 6), (a, b, c), strict=True):
        sets.append(
            masks(level, first, *map(tuple, boxes.tolist())) if len(boxes) else MaskSet.empty(3, SIZE)
        )
        first += len(boxes)
    found = nest(sets)
    assert len(found.masks) == len(a) + len(b) + len(c)
    hierarchy.require_linked(found.masks, (2, 4, 6))
    hierarchy.require_nested(found.masks)
