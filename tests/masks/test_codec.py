"""The mask code against pycocotools, and the bound on decoded masks."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from my3dis.errors import DataError, ResourceError
from my3dis.masks import codec

# pycocotools 2.0 has not learned NumPy 2's __array__ signature.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)
MASKS = hnp.arrays(np.bool_, SHAPES)


@st.composite
def patches(draw: st.DrawFn) -> np.ndarray:
    """Masks with a few rectangles set or cleared: long runs, touching borders, often empty or full."""
    mask = np.full(draw(SHAPES), draw(st.booleans()))
    for _ in range(draw(st.integers(0, 4))):
        y, x = draw(st.integers(0, mask.shape[0])), draw(st.integers(0, mask.shape[1]))
        mask[y : y + draw(st.integers(0, 30)), x : x + draw(st.integers(0, 30))] ^= True
    return mask


def by_coco(mask: np.ndarray) -> bytes:
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The half-open box by definition."""
    if not mask.any():
        return (0, 0, 0, 0)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


@settings(deadline=None, max_examples=80)
@given(MASKS | patches())
def test_codes_are_those_of_pycocotools(mask: np.ndarray) -> None:
    """Encoding gives the same bytes, decoding either gives the mask back."""
    code = codec.encode(mask)
    assert code == by_coco(mask)
    assert codec.encode(mask.astype(np.uint8)) == code
    assert codec.encode(np.asfortranarray(mask)) == code
    decoded = codec.decode(code, mask.shape)
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, mask)
    oracle = coco.decode({"size": list(mask.shape), "counts": code})
    np.testing.assert_array_equal(decoded, oracle.astype(bool))


@settings(deadline=None, max_examples=80)
@given(MASKS | patches(), st.integers(1, 9))
def test_boxes_are_found_before_coding(mask: np.ndarray, band_rows: int) -> None:
    """The box of any mask, boolean or of bytes, is the least that holds it; coding by it changes nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_SMALL_PX", 0)
        patch.setattr(codec, "_BAND_ROWS", band_rows)
        assert codec.find_box(mask) == codec.find_box(mask.astype(np.uint8)) == box_of(mask)
        assert codec.encode(mask) == codec.encode(mask.astype(np.uint8)) == by_coco(mask)
        assert codec.encode(np.asfortranarray(mask)) == codec.encode(mask[::-1][::-1]) == by_coco(mask)


@pytest.mark.parametrize("rows", [slice(0, 0), slice(0, 1), slice(500, 900), slice(None)])
@pytest.mark.parametrize("columns", [slice(853, 854), slice(100, 300), slice(60, 800), slice(None)])
def test_large_masks_have_the_codes_of_pycocotools(rows: slice, columns: slice) -> None:
    """Empty, narrow, wide and full masks of a photograph's size are coded byte for byte as there."""
    mask = np.zeros((1001, 857), bool)
    mask[rows, columns] = np.random.default_rng(5).random(mask[rows, columns].shape) < 0.99
    assert codec.encode(mask) == by_coco(mask)


@pytest.mark.parametrize("shape", [(30, 40), (900, 1200)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_read_only_masks_and_masks_of_any_bytes(shape: tuple[int, int], order: str) -> None:
    """A mask that may not be written to, as PIL and memory maps give it, is coded; so is one of 0 and 255."""
    mask = np.zeros(shape, bool, order=order)
    mask[10:20, : shape[1] - 3] = True
    code = by_coco(mask)
    for other in (mask, mask.astype(np.uint8), mask * np.uint8(255), mask * np.uint8(2)):
        other.flags.writeable = False
        assert codec.encode(other) == code
        assert codec.encode_in_box(other[10:20], (0, 10, shape[1], 20), shape) == code


@pytest.mark.parametrize(
    "mask",
    [np.full((900, 1200), 0.5, np.float32), np.zeros((1, 4, 4), bool), np.zeros(4, bool), np.zeros((2, 2))],
)
def test_what_is_no_mask_is_refused(mask: np.ndarray) -> None:
    """Probabilities, which rlemasklib would take for background, and arrays of other shapes are named."""
    with pytest.raises(DataError, match=r"expected a boolean or uint8 mask of shape \(H, W\), found "):
        codec.encode(mask)


@pytest.mark.parametrize("box", [(8, 8, 13, 13), (-2, 0, 3, 5), (0, -1, 5, 4), (0, 6, 5, 11)])
def test_boxes_outside_the_image_are_refused(box: codec.Box) -> None:
    """A crop of the right shape at a place that the image does not have is an error, not a shifted mask."""
    with pytest.raises(DataError, match="expected a box inside 10x10 pixels"):
        codec.encode_in_box(np.ones((5, 5), bool), box, (10, 10))


@settings(deadline=None, max_examples=80)
@given(st.lists(patches(), min_size=1, max_size=4))
def test_areas_and_boxes_are_those_of_the_pixels(found: list[np.ndarray]) -> None:
    """Area and half-open box come from the runs; an empty mask has area 0 and an all-zero box."""
    for mask in found:
        code = codec.encode(mask)
        boxes, areas = codec.measure([code, code], mask.shape)
        assert boxes.dtype == np.int32
        assert areas.dtype == np.int64
        assert areas.tolist() == [mask.sum()] * 2
        assert [tuple(box) for box in boxes.tolist()] == [box_of(mask)] * 2
        assert int(coco.area({"size": list(mask.shape), "counts": code})) == mask.sum()


@settings(deadline=None, max_examples=80)
@given(patches(), st.data())
def test_parts_of_masks(mask: np.ndarray, data: st.DataObject) -> None:
    """Decoding a box gives that part; encoding a mask from its part gives the code of the whole."""
    height, width = mask.shape
    x0, y0 = data.draw(st.integers(0, width)), data.draw(st.integers(0, height))
    x1, y1 = data.draw(st.integers(x0, width)), data.draw(st.integers(y0, height))
    part = codec.decode_crop(codec.encode(mask), mask.shape, (x0, y0, x1, y1))
    np.testing.assert_array_equal(part, mask[y0:y1, x0:x1])
    alone = np.zeros_like(mask)
    alone[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    assert codec.encode_in_box(part, (x0, y0, x1, y1), mask.shape) == codec.encode(alone)
    own = box_of(mask)
    crop = mask[own[1] : own[3], own[0] : own[2]]
    assert codec.encode_in_box(crop, own, mask.shape) == codec.encode(mask)


@settings(deadline=None, max_examples=80)
@given(MASKS | patches())
def test_counts_are_runs_down_the_columns(mask: np.ndarray) -> None:
    """The strict parser gives the lengths of runs in column order, background first."""
    pixels = mask.T.ravel()
    counts = codec.parse_counts(codec.encode(mask))
    assert sum(counts) == mask.size
    np.testing.assert_array_equal(np.repeat(np.arange(len(counts)) % 2 == 1, counts), pixels)


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        (np.zeros((1, 1), bool), [1]),
        (np.ones((1, 1), bool), [0, 1]),
        (np.zeros((3, 5), bool), [15]),
        (np.ones((3, 5), bool), [0, 15]),
        (np.eye(3, dtype=bool), [0, 1, 3, 1, 3, 1]),
    ],
)
def test_small_masks_by_hand(mask: np.ndarray, counts: list[int]) -> None:
    """Single pixels, empty and full masks have the runs that one writes down."""
    assert codec.parse_counts(codec.encode(mask)) == counts
    np.testing.assert_array_equal(codec.decode(codec.encode(mask), mask.shape), mask)


@pytest.mark.parametrize("code", [b"", b"T3", b"o", b"\xff\xfe", b"0" * 50, b"PPPPPPPPPPPP8"])
@pytest.mark.parametrize("size", [(4, 6), (1, 1)])
def test_codes_of_another_size_or_none_are_refused(code: bytes, size: tuple[int, int]) -> None:
    """A code whose runs don't cover the image exactly is a clear error, everywhere it is used."""
    for use in (
        lambda: codec.decode(code, size),
        lambda: codec.decode_crop(code, size, (0, 0, 1, 1)),
        lambda: codec.measure([code], size),
    ):
        with pytest.raises(DataError, match=f"a run-length code of {size[1]}x{size[0]} pixels"):
            use()


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=40), st.sampled_from([(4, 6), (1, 1), (40, 30), (2**15, 2**15)]))
def test_noise_is_decoded_or_refused(code: bytes, size: tuple[int, int]) -> None:
    """Bytes that are no code never do anything but raise `DataError`."""
    try:
        boxes, areas = codec.measure([code], size)
    except DataError:
        return
    assert 0 <= areas[0] <= size[0] * size[1]
    assert (boxes[0] <= (size[1], size[0], size[1], size[0])).all()


@pytest.mark.parametrize(
    ("code", "said"),
    [(b"5\x20", "characters of 48..111"), (b"5T", "another character"), (b"5O", "runs of 0 or more")],
)
def test_the_strict_parser_says_what_is_wrong(code: bytes, said: str) -> None:
    """Foreign characters, an unfinished number and a negative run are told apart."""
    with pytest.raises(DataError, match=said):
        codec.parse_counts(code)


def test_a_crop_of_another_shape_is_refused() -> None:
    """A crop that doesn't fit its box is an error that states both sizes."""
    with pytest.raises(DataError, match="expected a crop of 3x2 as the box says, found 2x3"):
        codec.encode_in_box(np.ones((3, 2), bool), (1, 1, 4, 3), (10, 10))


@pytest.fixture
def no_decoded_masks() -> Iterator[None]:
    """Start and end with no decoded mask alive."""
    gc.collect()
    before = codec.DECODED.alive
    assert before == 0
    yield
    gc.collect()
    assert codec.DECODED.alive == 0


def test_at_most_256_masks_are_decoded_at_once(no_decoded_masks: None) -> None:
    """The 257th mask decoded while 256 are alive is refused; freeing one makes room for one."""
    assert codec.MAX_DECODED == 256
    code = codec.encode(np.ones((4, 6), bool))
    held = [codec.decode(code, (4, 6)) for _ in range(128)]
    held += [codec.decode_crop(code, (4, 6), (0, 0, 2, 2)) for _ in range(128)]
    with pytest.raises(ResourceError, match="at most 256 decoded masks at once, found 257"):
        codec.decode(code, (4, 6))
    held.pop()
    held.append(codec.decode(code, (4, 6)))
    with pytest.raises(ResourceError):
        codec.decode_crop(code, (4, 6), (0, 0, 2, 2))
    assert codec.DECODED.peak == 256


def test_a_slice_keeps_its_mask_counted(no_decoded_masks: None) -> None:
    """A view of a decoded mask holds all its pixels, so the mask stays counted until the view is gone."""
    mask = codec.decode(codec.encode(np.ones((4, 6), bool)), (4, 6))
    corner = mask[:2, :2]
    del mask
    gc.collect()
    assert codec.DECODED.alive == 1
    del corner


def test_iterating_crops_holds_one_mask(no_decoded_masks: None) -> None:
    """A thousand masks are decoded one after the other, each in its own box."""
    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:17] = True
    codes = [codec.encode(mask)] * 1000
    boxes, _ = codec.measure(codes, mask.shape)
    codec.DECODED.reset_peak()
    for crop in codec.iter_crops(codes, mask.shape, boxes):
        assert crop.shape == (6, 13)
        assert crop.all()
    # One in use while the next is made.
    assert codec.DECODED.peak <= 2
