"""Refinement keeps children in their parents, whatever the proposer says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from my3dis.errors import PluginError
from my3dis.masks import build, codec, hierarchy
from my3dis.masks.labels import from_label_map
from my3dis.refinement.progressive import RefineOptions, refine
from my3dis.types import Frame, MaskSet
from tests.masks.scenes import dense

SIZE = (8, 12)
FRAME = Frame(index=3, name="0003", color=np.zeros((*SIZE, 3), np.uint8))


def rectangles(
    level: int, *rows: tuple[int, int, int, int], parents: Sequence[int] | int = -1, first_id: int = 0
) -> MaskSet:
    """Masks from half-open boxes."""
    codes = []
    for x0, y0, x1, y1 in rows:
        mask = np.zeros(SIZE, bool)
        mask[y0:y1, x0:x1] = True
        codes.append(codec.encode(mask))
    ids = np.arange(first_id, first_id + len(codes))
    return build.from_codes(
        codes, frame=3, image_size=SIZE, mask_id=ids, level=level, parent_id=parents, score=0.5
    )


class Regions:
    """A point-prompted proposer with scripted answers; keeps what it was asked."""

    def __init__(self, answers: dict[int, MaskSet]) -> None:
        self.answers = answers
        self.asked: list[tuple[int, list[int]]] = []

    def propose_in(self, frame: Frame, level: int, parents: MaskSet) -> MaskSet:
        self.asked.append((level, parents.mask_id.tolist()))
        return self.answers[level]


class Nested:
    """A nested proposer with one answer."""

    def __init__(self, masks: MaskSet) -> None:
        self.masks = masks

    def propose(self, frame: Frame, levels: Sequence[int]) -> MaskSet:
        return self.masks


def test_children_are_clamped_and_the_useless_dropped() -> None:
    """A spilling child loses its spill; an equal one, a tiny one and one outside its parent go, counted."""
    proposer = Regions(
        {
            2: rectangles(2, (0, 0, 6, 8), (6, 0, 12, 8), first_id=40),
            4: rectangles(
                4,
                (4, 0, 9, 8),  # spills over the border at x = 6
                (0, 0, 12, 8),  # clamped it equals parent 1
                (0, 0, 1, 2),  # two pixels
                (8, 0, 12, 8),  # outside parent 0 altogether
                parents=[0, 1, 0, 0],
            ),
        }
    )
    result = refine(FRAME, [2, 4], proposer, RefineOptions(min_area=3))
    assert proposer.asked == [(2, []), (4, [0, 1])]
    masks = result.kept
    assert masks.mask_id.tolist() == [0, 1, 2]
    assert result.dropped_id.tolist() == [3, 4, 5]
    assert masks.level.tolist() == [2, 2, 4]
    assert masks.parent_id.tolist() == [-1, -1, 0]
    assert masks.boxes[2].tolist() == [4, 0, 6, 8]
    assert masks.area_px[2] == 16
    assert masks.score.tolist() == [0.5] * 3
    assert result.reasons == ("equals_parent", "min_area", "min_area")
    hierarchy.require_nested(masks)


def test_a_whole_region_is_looked_into_again() -> None:
    """A region that is one piece at level 4 is proposed in again at level 6; others by their children."""
    proposer = Regions(
        {
            2: rectangles(2, (0, 0, 6, 8), (6, 0, 12, 8)),
            4: rectangles(4, (0, 0, 6, 8), (6, 0, 9, 8), parents=[0, 1]),
            6: rectangles(6, (0, 0, 3, 8), (6, 0, 8, 8), parents=[0, 3]),
        }
    )
    masks = refine(FRAME, [2, 4, 6], proposer).kept
    assert proposer.asked[2] == (6, [0, 3])
    assert masks.level.tolist() == [2, 2, 4, 6, 6]
    assert masks.parent_id.tolist() == [-1, -1, 1, 0, 3]
    hierarchy.require_nested(masks)


def test_nothing_found_ends_early() -> None:
    """When the first level is empty no finer level is asked for, and the result is empty."""
    proposer = Regions({2: MaskSet.empty(3, SIZE)})
    assert len(refine(FRAME, [2, 4, 6], proposer).kept) == 0
    assert [level for level, _ in proposer.asked] == [2]


def test_final_masks_pass_untouched() -> None:
    """Final masks keep ids, tiny masks and children equal to their parent."""
    masks = MaskSet.concatenate(
        [rectangles(2, (0, 0, 1, 1), first_id=9), rectangles(4, (0, 0, 1, 1), parents=9, first_id=4)]
    )
    result = refine(FRAME, [2, 4], Nested(masks), RefineOptions(min_area=50, final=True))
    assert result.kept is masks
    assert result.reasons == ()


def test_equal_children_of_nested_proposals_are_dropped() -> None:
    """An equal child goes and the grandchild hangs on the grandparent."""
    masks = MaskSet.concatenate(
        [
            rectangles(2, (0, 0, 6, 8)),
            rectangles(4, (0, 0, 6, 8), parents=0, first_id=1),
            rectangles(6, (0, 0, 3, 8), (3, 0, 6, 1), parents=[1, 1], first_id=2),
        ]
    )
    result = refine(FRAME, [2, 4, 6], Nested(masks), RefineOptions(min_area=5))
    assert result.kept.mask_id.tolist() == [0, 2]
    assert result.kept.parent_id.tolist() == [-1, 0]
    assert result.reasons == ("equals_parent", "min_area")


@pytest.mark.parametrize(
    "proposer",
    [
        Nested(replace(rectangles(2, (0, 0, 2, 2)), frame=4)),
        Nested(rectangles(3, (0, 0, 2, 2))),
        Nested(rectangles(2, (0, 0, 2, 2), parents=5)),
        Regions({2: rectangles(4, (0, 0, 2, 2))}),
        Regions({2: rectangles(2, (0, 0, 2, 2), parents=5)}),
    ],
)
def test_broken_contracts_are_the_plugin_s_fault(proposer: Nested | Regions) -> None:
    """Another frame, an unknown level or a parent that does not exist is a PluginError."""
    with pytest.raises(PluginError, match=r"contract|expected"):
        refine(FRAME, [2, 4], proposer)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, (2, *SIZE), elements={"min_value": 0, "max_value": 4}))
def test_random_proposals_end_nested(maps: np.ndarray) -> None:
    """Whatever masks are proposed for whatever parent, every child of the result lies in its parent."""
    first = from_label_map(maps[0], frame=3, level=2)
    second = from_label_map(maps[1], frame=3, level=4)
    if len(first):
        parents = np.arange(len(second), dtype=np.int32) % len(first)
        second = replace(second, parent_id=parents)
    result = refine(FRAME, [2, 4], Regions({2: first, 4: second})).kept
    hierarchy.require_linked(result, [2, 4])
    hierarchy.require_nested(result)
    assert (result.area_px > 0).all()
    assert np.array_equal(dense(result).sum(axis=(1, 2)), result.area_px)
