"""Areas compared tile by tile are those of the pixels, whatever the masks and however the work is cut up."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from my3dis.masks import codec, overlap, tiles
from tests.masks.scenes import mask_set


@st.composite
def stacks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two stacks of one size: noise, rectangles, empty, full and repeated masks, one row or column too."""
    size = draw(st.sampled_from([(1, 1), (1, 75), (70, 1), (32, 64), (33, 65), (40, 90), (95, 31)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def one(kind: str) -> np.ndarray:
        mask = np.zeros(size, bool)
        y, x = int(rng.integers(size[0])), int(rng.integers(size[1]))
        if kind == "full":
            mask[:] = True
        elif kind == "pixel":
            mask[y, x] = True
        elif kind == "box":
            mask[y : y + int(rng.integers(1, 80)), x : x + int(rng.integers(1, 80))] = True
        elif kind == "noise":
            mask = rng.random(size) < rng.random()
        return mask

    kinds = st.lists(
        st.sampled_from(["empty", "full", "pixel", "box", "box", "noise"]), min_size=1, max_size=6
    )
    first, second = ([one(kind) for kind in draw(kinds)] for _ in range(2))
    return np.stack(first), np.stack([*second, first[0]])


def cut(stack: np.ndarray) -> tiles.Tiles:
    runs = [codec.to_rle_mask(codec.encode(mask), stack.shape[1:]).counts for mask in stack]
    return tiles.tiles(runs, stack.shape[1:])


@settings(deadline=None, max_examples=120)
@given(stacks(), st.sampled_from([0, 12, 10**9]), st.sampled_from([1, 7, 10**6]))
def test_shared_areas_are_those_of_the_pixels(
    both: tuple[np.ndarray, np.ndarray], sparse_cost: int, at_once: int
) -> None:
    """Sparse or dense products, large or small pieces of work: every pair shares what it shares."""
    a, b = both
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_SPARSE_COST", sparse_cost)
        patch.setattr(tiles, "_PAIRS_AT_ONCE", at_once)
        patch.setattr(tiles, "_RUNS_AT_ONCE", at_once)
        first, second = cut(a), cut(b)
        shared = tiles.shared_areas(first, second)
    np.testing.assert_array_equal(shared, (a[:, None] & b[None]).sum(axis=(2, 3)))
    np.testing.assert_array_equal(first.mask_areas_px(), a.sum(axis=(1, 2)))


@settings(deadline=None, max_examples=60)
@given(stacks(), st.sampled_from([8, 10**6]))
def test_both_ways_of_measuring_agree_with_pycocotools(
    both: tuple[np.ndarray, np.ndarray], most_tiles: int
) -> None:
    """Walking runs and comparing tiles give pycocotools' IoU to the last bit, in one block or several."""
    a, b = mask_set(both[0]), mask_set(both[1])
    height, width = a.image_size
    records = [[{"size": [height, width], "counts": r} for r in masks.rle] for masks in (a, b)]
    expected = coco.iou(records[0], records[1], [0] * len(b))
    shared = (both[0][:, None] & both[1][None]).sum(axis=(2, 3))
    for pairs_per_mask in (0, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(overlap, "_PAIRS_PER_MASK", pairs_per_mask)
            patch.setattr(overlap, "MAX_TILES", most_tiles)
            np.testing.assert_array_equal(overlap.iou_matrix(a, b), expected)
            np.testing.assert_array_equal(overlap.intersection_matrix(a, b), shared)
            np.testing.assert_array_equal(overlap.iou_matrix(a, a), coco.iou(*records[:1] * 2, [0] * len(a)))


def test_large_images_are_exact() -> None:
    """Areas above what float32 holds exactly are exact: 4100 x 4100 pixels, less one."""
    side = 4100
    counts = [np.array([0, side * side], np.uint32), np.array([1, side * side - 1], np.uint32)]
    some = tiles.tiles(counts, (side, side))
    shared = tiles.shared_areas(some, some)
    assert shared.tolist() == [[side**2, side**2 - 1], [side**2 - 1, side**2 - 1]]


def test_many_masks_take_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks that all touch each other are compared tile by tile, a few are not; no mask is decoded."""
    stack = np.zeros((40, 64, 64), bool)
    for i, mask in enumerate(stack):
        mask[i : i + 20, 5:50] = True
    asked = []
    monkeypatch.setattr(overlap, "_by_tiles", lambda *given: asked.append(given) or _BY_TILES(*given))
    masks = mask_set(stack)
    codec.DECODED.reset_peak()
    before = codec.DECODED.peak
    iou = overlap.iou_matrix(masks, masks)
    few = masks.select(range(3))
    np.testing.assert_array_equal(overlap.iou_matrix(few, few), iou[:3, :3])
    assert len(asked) == 1
    assert codec.DECODED.peak == before


_BY_TILES = overlap._by_tiles


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.bool_, (6, 40, 40)))
def test_an_iou_matrix_is_symmetric(stack: np.ndarray) -> None:
    """A set against another is the transpose of the other against it; itself is 1 unless empty."""
    a, b = mask_set(stack[:3]), mask_set(stack[3:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "_PAIRS_PER_MASK", 0)
        np.testing.assert_array_equal(overlap.iou_matrix(a, b), overlap.iou_matrix(b, a).T)
        np.testing.assert_array_equal(np.diag(overlap.iou_matrix(a, a)), (a.area_px > 0).astype(float))
