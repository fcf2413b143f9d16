"""Parents of tracks from containment summed over frames."""

from __future__ import annotations

import numpy as np
import pytest

from my3dis.masks.build import with_columns
from my3dis.tracking import relations
from my3dis.tracking.relations import Containment
from my3dis.types import MaskSet
from tests.tracking.flatland import boxes


def frame_of(frame: int, *masks: tuple[int, int, tuple[int, int, int, int]]) -> MaskSet:
    """Return masks of (track, level, box)."""
    made = boxes(
        frame,
        *(box for _, _, box in masks),
        track_id=[track for track, _, _ in masks],
    )
    return with_columns(made, level=np.array([level for _, level, _ in masks], np.int16))


def parents_of(*frames: MaskSet) -> dict[int, int]:
    containment = Containment()
    for frame in frames:
        containment.observe(frame)
    return {entry.track_id: entry.parent_id for entry in containment.parents()}


def test_a_part_gets_the_object_that_holds_it() -> None:
    """A child lies in one of two objects; the tree has three levels."""
    found = parents_of(
        frame_of(
            0,
            (0, 2, (0, 0, 20, 20)),
            (1, 2, (30, 0, 50, 20)),
            (2, 4, (32, 2, 42, 18)),
            (3, 6, (33, 3, 37, 9)),
        )
    )
    assert found == {0: -1, 1: -1, 2: 1, 3: 2}


def test_frames_are_weighed_by_pixels() -> None:
    """One large sight inside an object outweighs two small ones inside another."""
    a, b = (0, 0, 30, 40), (30, 0, 60, 40)
    large = frame_of(0, (0, 2, a), (1, 2, b), (2, 4, (2, 2, 22, 22)))
    small = [frame_of(i, (0, 2, a), (1, 2, b), (2, 4, (40, 2, 45, 7))) for i in (1, 2)]
    assert parents_of(large, *small)[2] == 0


def test_a_child_that_is_mostly_elsewhere_has_no_parent() -> None:
    """Containment under half over all frames makes nobody a parent."""
    inside = frame_of(0, (0, 2, (0, 0, 20, 20)), (1, 4, (2, 2, 12, 12)))
    alone = [frame_of(i, (1, 4, (40, 2, 50, 12))) for i in (1, 2)]
    assert parents_of(inside, *alone) == {0: -1, 1: -1}


def test_a_missing_level_is_skipped() -> None:
    """Without a parent on the next coarser level the one above it is taken."""
    found = parents_of(frame_of(0, (0, 2, (0, 0, 30, 30)), (1, 4, (20, 20, 30, 30)), (2, 6, (2, 2, 8, 8))))
    assert found == {0: -1, 1: 0, 2: 0}


def test_compacting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Summing up after every frame gives what summing up at the end gives."""
    frames = [frame_of(i, (0, 2, (0, 0, 30, 30)), (1, 4, (20, 20, 30 + i, 30))) for i in range(6)]

    def entries() -> object:
        containment = Containment()
        for frame in frames:
            containment.observe(frame)
        return containment.parents()

    whole = entries()
    monkeypatch.setattr(relations, "COMPACT_ROWS", 0)
    assert entries() == whole
    assert Containment().parents() == ()
