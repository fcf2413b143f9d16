"""`MaskSet` checks every field and decodes nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.masks import codec
from my3dis.types import NO_ID, MaskSet, MaskSource


def columns(n: int = 3, **changes: Any) -> dict[str, Any]:
    """Fields of n masks in an image of 20 rows and 30 columns."""
    return {
        "frame": 4,
        "image_size": (20, 30),
        "mask_id": np.arange(n, dtype=np.int32),
        "level": np.full(n, 2, np.int16),
        "parent_id": np.full(n, NO_ID, np.int32),
        "boxes": np.tile(np.array([1, 2, 5, 6], np.int32), (n, 1)),
        "area_px": np.full(n, 9, np.int64),
        "score": np.ones(n, np.float32),
        "stability": np.ones(n, np.float32),
        "source": np.zeros(n, np.int8),
        "rle": tuple(b"x" for _ in range(n)),
        **changes,
    }


def test_a_set_has_its_masks_and_defaults() -> None:
    """Length is the number of masks; tracks are unset unless given; codes are not looked into."""
    one = MaskSet(**columns())
    assert len(one) == 3
    assert one.track_id.tolist() == [-1, -1, -1]
    assert one.track_id.dtype == np.int32
    assert MaskSet(**columns(track_id=np.array([4, -1, 0], np.int32))).track_id.tolist() == [4, -1, 0]
    assert [int(source) for source in MaskSource] == [0, 1, 2]


def test_frame_and_size_become_plain_integers() -> None:
    """NumPy integers and a list as size are taken, and held as plain integers and a tuple."""
    masks = MaskSet(**columns(frame=np.int64(7), image_size=[np.int32(20), 30]))
    assert (type(masks.frame), masks.frame) == (int, 7)
    assert masks.image_size == (20, 30)
    assert [type(side) for side in masks.image_size] == [int, int]


def test_an_empty_mask_is_a_mask() -> None:
    """Area 0 with an all-zero box is fine."""
    boxes = np.zeros((1, 4), np.int32)
    one = MaskSet(**columns(1, boxes=boxes, area_px=np.zeros(1, np.int64)))
    assert one.area_px.tolist() == [0]


def test_an_empty_set() -> None:
    """A frame without masks has a set of length 0 with the right dtypes."""
    none = MaskSet.empty(7, (20, 30))
    assert (len(none), none.frame, none.image_size, none.rle) == (0, 7, (20, 30), ())
    assert none.boxes.shape == (0, 4)
    assert len(none.select([])) == len(MaskSet.concatenate([none, none])) == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "mask_id",
            np.arange(3),
            r"MaskSet.mask_id: expected dtype int32, found int64; .*astype\(np.int32\)",
        ),
        ("mask_id", [0, 1, 2], "MaskSet.mask_id: expected a NumPy array of int32, found list"),
        ("mask_id", np.arange(2, dtype=np.int32), r"MaskSet.mask_id: expected shape \(3\), found \(2,\)"),
        ("mask_id", np.array([0, 1, 1], np.int32), "unique in frame 4, found repeats"),
        ("mask_id", np.array([0, 1, -1], np.int32), "MaskSet.mask_id: expected ids of 0 or more"),
        ("level", np.zeros(3, np.int32), "MaskSet.level: expected dtype int16"),
        ("parent_id", np.array([-2, 0, 0], np.int32), "MaskSet.parent_id: expected -1 or an id"),
        ("track_id", np.array([-2, 0, 0], np.int32), "MaskSet.track_id: expected -1 or an id"),
        ("boxes", np.zeros((3, 2), np.int32), r"MaskSet.boxes: expected shape \(3, 4\), found \(3, 2\)"),
        ("boxes", np.array([[0, 0, 31, 5]] * 3, np.int32), "half-open xyxy boxes in 30x20, found .*31"),
        ("boxes", np.array([[0, 0, 5, 21]] * 3, np.int32), "half-open xyxy boxes in 30x20"),
        ("boxes", np.array([[5, 0, 4, 5]] * 3, np.int32), "half-open xyxy boxes in 30x20"),
        ("boxes", np.array([[-1, 0, 4, 5]] * 3, np.int32), "half-open xyxy boxes in 30x20"),
        ("area_px", np.array([1, 2, -3], np.int64), "MaskSet.area_px: expected 0 or more"),
        ("score", np.ones(3), "MaskSet.score: expected dtype float32, found float64"),
        ("stability", np.ones((3, 1), np.float32), "MaskSet.stability: expected shape"),
        ("source", np.zeros(3, np.int16), "MaskSet.source: expected dtype int8"),
        ("rle", [b"x", b"x", b"x"], "MaskSet.rle: expected a tuple of bytes"),
        ("rle", ("x", "x", "x"), "MaskSet.rle: expected a tuple of bytes"),
        ("rle", (b"x",), r"MaskSet.mask_id: expected shape \(1\), found \(3,\)"),
        ("frame", -1, "MaskSet.frame: expected 0 or more, found -1"),
        ("frame", 4.0, "MaskSet.frame: expected a whole number, found 4.0"),
        ("image_size", (20, 30, 3), r"MaskSet.image_size: expected \(H, W\), found \(20, 30, 3\)"),
        ("image_size", 20, r"MaskSet.image_size: expected \(H, W\), found 20"),
        ("image_size", (20.5, 30), "MaskSet.image_size: expected a whole number, found 20.5"),
        ("image_size", (0, 30), r"MaskSet.image_size: expected \(H, W\) above 0"),
    ],
)
def test_each_wrong_field_is_named(name: str, value: object, said: str) -> None:
    """The error names the field, what was expected and what was found."""
    with pytest.raises(DataError, match=said):
        MaskSet(**columns(**{name: value}))


def test_sets_are_frozen() -> None:
    """Neither fields nor the pixels of arrays can be changed; the caller's array stays writable."""
    ids = np.arange(3, dtype=np.int32)
    one = MaskSet(**columns(mask_id=ids))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.frame = 5  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        one.mask_id[0] = 7
    ids[0] = 5
    assert not one.mask_id.flags.writeable


def test_selection_by_position_and_by_boolean() -> None:
    """Positions give an order, booleans a filter; a level is a filter."""
    one = MaskSet(**columns(level=np.array([2, 4, 2], np.int16), rle=(b"a", b"b", b"c")))
    assert one.select([2, 0]).rle == (b"c", b"a")
    assert one.select(np.array([False, True, False])).mask_id.tolist() == [1]
    assert one.at_level(2).mask_id.tolist() == [0, 2]
    assert len(one.at_level(6)) == 0
    with pytest.raises(DataError, match="expected 3 booleans"):
        one.select(np.array([True]))
    with pytest.raises(DataError, match="each mask at most once, found repeats"):
        one.select([1, 1])
    with pytest.raises(DataError, match=r"positions, found shape \(1, 2\)"):
        one.select(np.array([[0, 1]]))
    assert not one.select([2, 0]).boxes.flags.writeable
    # A plain list of booleans is a filter too, not positions 0 and 1.
    assert one.select([False, True, True]).mask_id.tolist() == [1, 2]


def test_joining_sets() -> None:
    """Sets of one frame are joined in order; repeated ids, other frames and sizes are refused."""
    one = MaskSet(**columns(2, rle=(b"a", b"b")))
    other = MaskSet(**columns(1, mask_id=np.array([9], np.int32), rle=(b"c",)))
    joined = MaskSet.concatenate([one, other])
    assert joined.mask_id.tolist() == [0, 1, 9]
    assert joined.rle == (b"a", b"b", b"c")
    with pytest.raises(DataError, match="found repeats"):
        MaskSet.concatenate([one, one])
    with pytest.raises(DataError, match="at least one set"):
        MaskSet.concatenate([])
    with pytest.raises(DataError, match="one frame and size"):
        MaskSet.concatenate([one, MaskSet.empty(5, (20, 30))])
    with pytest.raises(DataError, match="one frame and size"):
        MaskSet.concatenate([one, MaskSet.empty(4, (21, 30))])


def test_construction_decodes_nothing() -> None:
    """No mask is decoded by making, selecting or joining sets."""
    codec.DECODED.reset_peak()
    before = codec.DECODED.peak
    one = MaskSet(**columns())
    MaskSet.concatenate([one.select([0]), one.select([1, 2])])
    assert codec.DECODED.peak == before


def batch(n: int = 3, **changes: Any) -> dict[str, Any]:
    """What `MaskSet.singles` takes for n masks of different frames."""
    fields = columns(n, track_id=np.arange(n, dtype=np.int32), **changes)
    taken = ("frame", "image_size", "rle")
    return {
        "frames": list(range(n)),
        "image_sizes": [(20, 30 + i) for i in range(n)],
        "rle": list(fields["rle"]),
        "columns": {name: value for name, value in fields.items() if name not in taken},
    }


def test_single_sets_are_those_made_one_by_one() -> None:
    """A batch of masks gives one set for each, equal to constructing it, and as frozen."""
    given = batch()
    made = list(MaskSet.singles(**given))
    assert [one.frame for one in made] == [0, 1, 2]
    assert [one.image_size for one in made] == [(20, 30), (20, 31), (20, 32)]
    for i, one in enumerate(made):
        alone = MaskSet(
            frame=i,
            image_size=(20, 30 + i),
            rle=(b"x",),
            **{name: value[i : i + 1] for name, value in given["columns"].items()},
        )
        for name in MaskSet.__slots__:
            found, expected = getattr(one, name), getattr(alone, name)
            assert type(found) is type(expected)
            np.testing.assert_array_equal(found, expected)
        with pytest.raises(ValueError, match="read-only"):
            one.mask_id[0] = 7
    assert list(MaskSet.singles([], [], [], batch(0)["columns"])) == []


def test_ids_may_repeat_in_different_frames() -> None:
    """Ids are unique in a frame only."""
    made = MaskSet.singles(**batch(mask_id=np.zeros(3, np.int32)))
    assert [one.mask_id.tolist() for one in made] == [[0], [0], [0]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mask_id": np.array([0, 1, -1], np.int32)}, "MaskSet.mask_id: expected ids of 0 or more"),
        ({"level": np.zeros(3, np.int32)}, "MaskSet.level: expected dtype int16"),
        ({"boxes": np.array([[0, 0, 31, 5]] * 3, np.int32)}, "half-open xyxy boxes in 30x20, found .*31"),
        ({"boxes": np.array([[0, 0, 30, 21]] * 3, np.int32)}, "half-open xyxy boxes in 30x20"),
        ({"rle": ("x", b"x", b"x")}, "MaskSet.rle: expected a tuple of bytes"),
    ],
)
def test_a_wrong_mask_of_a_batch_is_named(changes: dict[str, Any], said: str) -> None:
    """Each mask is checked as alone, against its own image size, before any set is given."""
    with pytest.raises(DataError, match=said):
        MaskSet.singles(**batch(**changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frames": [0, -1, 2]}, "MaskSet.frame: expected 0 or more"),
        ({"frames": [0, 1.5, 2]}, "MaskSet.frame: expected a whole number"),
        ({"frames": [0, 1]}, "expected 3 frames and sizes, found 2 and 3"),
        ({"image_sizes": [(20, 30), (0, 30), (20, 30)]}, r"MaskSet.image_size: expected \(H, W\) above 0"),
    ],
)
def test_frames_and_sizes_of_a_batch_are_checked(changes: dict[str, Any], said: str) -> None:
    """Frames and sizes are held to the same rules as one by one."""
    with pytest.raises(DataError, match=said):
        MaskSet.singles(**{**batch(), **changes})
