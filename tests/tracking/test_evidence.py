"""Place and looks: what tells that a mask is an object seen before."""

from __future__ import annotations

import numpy as np

from my3dis.tracking.cues import FrameCues
from my3dis.tracking.evidence import looks, place
from my3dis.tracking.memory import Memory
from my3dis.types import MaskSet
from tests.tracking.flatland import Card, masks_of, render


def remember(cards: list[Card], camera_x: float = 0.0, *, depth: bool = True) -> list[Memory]:
    frame, labels = render(0, cards, camera_x, depth=depth)
    masks, cues = masks_of(labels, 0), FrameCues(frame)
    return [
        Memory.of(c, box, int(area), cues.viewpoint)
        for c, box, area in zip(cues.describe(masks), masks.boxes, masks.area_px, strict=True)
    ]


def look(cards: list[Card], camera_x: float, *, depth: bool = True) -> tuple[MaskSet, list, FrameCues]:
    frame, labels = render(1, cards, camera_x, depth=depth)
    masks, cues = masks_of(labels, 1), FrameCues(frame)
    return masks, cues.describe(masks), cues


CHAIR = Card(1, -0.4, -0.3, 0.1, 0.3)
TWIN = Card(2, 0.3, -0.3, 0.8, 0.3)


def test_equal_objects_at_different_places_are_told_apart_by_place() -> None:
    """Two equal cards seen from elsewhere get scores on the diagonal only."""
    score, certain = place(remember([CHAIR, TWIN]), *look([CHAIR, TWIN], 0.4))
    assert certain.all()
    assert (np.diag(score) > 0.7).all()
    assert score[0, 1] == score[1, 0] == 0


def test_a_part_of_another_object_is_not_the_object() -> None:
    """A small card that was remembered is not the large card behind it, once it is gone."""
    book, desk = Card(1, -0.1, -0.1, 0.1, 0.1, z=1.98), Card(2, -0.8, -0.4, 0.8, 0.4)
    memories = remember([book, desk])
    score, _ = place(memories, *look([desk], 0.1))
    assert score[0, 0] == 0
    assert score[1, 0] > 0.7


def test_what_the_border_cut_off_does_not_speak_against() -> None:
    """A card of which a quarter was seen at the border is recognised when all of it is seen."""
    card = Card(1, 0.9, -0.3, 2.1, 0.3)
    memories = remember([card], camera_x=0.0)
    masks, cues, frame = look([card], 1.4)
    assert masks.area_px[0] > 2.5 * memories[0].area_px
    score, _ = place(memories, masks, cues, frame)
    assert score[0, 0] > 0.5


def test_a_hidden_object_gives_no_certainty() -> None:
    """Behind a nearer card nothing of the remembered one is seen, so place has no opinion."""
    score, certain = place(remember([CHAIR]), *look([Card(9, -0.9, -0.9, 0.9, 0.9, z=1.0)], 0.0))
    assert not certain.any()
    assert (score == 0).all()


def test_without_depth_there_is_no_place() -> None:
    """Frames without depth and pose score nothing."""
    score, certain = place(remember([CHAIR], depth=False), *look([CHAIR], 0.0, depth=False))
    assert not certain.any()
    assert (score == 0).all()


def test_looks_need_colour_size_and_nearness() -> None:
    """The same colours nearby are alike; other colours, or a far place at once, are not."""
    red, blue = CHAIR, Card(2, -0.4, -0.3, 0.1, 0.3, color=(30, 60, 220))
    memories = remember([red], depth=False)
    away = np.array([1])
    masks, cues, _ = look([red], 0.1, depth=False)
    assert looks(memories, away, masks, cues)[0, 0] > 0.7
    masks, cues, _ = look([blue], 0.1, depth=False)
    assert looks(memories, away, masks, cues)[0, 0] == 0
    masks, cues, _ = look([Card(1, 0.6, -0.3, 1.1, 0.3)], 0.0, depth=False)
    assert looks(memories, away, masks, cues)[0, 0] == 0


def test_looks_stay_silent_between_equals() -> None:
    """Two remembered equals that fit one mask about as well wake nobody."""
    left, right = Card(1, -0.3, -0.2, 0.0, 0.2), Card(2, 0.0, -0.2, 0.3, 0.2)
    memories = remember([left, right], depth=False)
    masks, cues, _ = look([Card(3, -0.15, -0.2, 0.15, 0.2)], 0.0, depth=False)
    assert (looks(memories, np.array([3, 3]), masks, cues) == 0).all()
