"""Masks from logits equal the full way: interpolate every pixel, compare, encode."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from my3dis.errors import DataError
from my3dis.masks import codec, logits

NEAR = 1e-4


def interpolated(grid: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """All pixels by the definition of bilinear interpolation without aligned corners, in float64."""

    def axis(n: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place = np.maximum((np.arange(n) + 0.5) * (size / n) - 0.5, 0)
        low = np.minimum(np.floor(place).astype(int), size - 1)
        return low, np.minimum(low + 1, size - 1), place - low

    y0, y1, fy = axis(image_size[0], grid.shape[0])
    x0, x1, fx = axis(image_size[1], grid.shape[1])
    wide = grid.astype(np.float64)
    top = wide[y0][:, x0] * (1 - fx) + wide[y0][:, x1] * fx
    bottom = wide[y1][:, x0] * (1 - fx) + wide[y1][:, x1] * fx
    return top * (1 - fy)[:, None] + bottom * fy[:, None]


def check(grid: np.ndarray, image_size: tuple[int, int], threshold: float = 0.0) -> int:
    """Compare with the full way but for pixels near the threshold; return how many of those differ."""
    made = logits.encode_logits(grid, image_size, threshold=threshold)
    got = codec.decode(made.rle, image_size)
    values = interpolated(grid, image_size)
    differs = got != (values > threshold)
    near = np.abs(values - threshold) < NEAR
    assert not (differs & ~near).any()
    boxes, areas = codec.measure([made.rle], image_size)
    assert (made.box, made.area_px) == (tuple(boxes[0].tolist()), areas[0])
    assert made.rle == codec.encode(got)
    return int((differs & near).sum())


GRIDS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(-8, 8, width=32)
)
SIZES = st.tuples(st.integers(1, 50), st.integers(1, 50))


@settings(deadline=None, max_examples=150)
@given(GRIDS, SIZES, st.sampled_from([0.0, 1.25, -0.5]))
def test_any_grid_and_size(grid: np.ndarray, image_size: tuple[int, int], threshold: float) -> None:
    """Up or down, of unequal sides, of one row, column or pixel: the mask is the full way's."""
    check(grid, image_size, threshold)


@pytest.mark.parametrize("image_size", [(360, 480), (97, 300), (40, 31), (64, 64)])
@pytest.mark.parametrize("bias", [0.0, 0.6, -0.6, 5.0, -5.0])
def test_smooth_logits(image_size: tuple[int, int], bias: float) -> None:
    """On blobs as a model gives them, from all of the image to none of it, no pixel at all differs."""
    noise = np.random.default_rng(7).normal(size=(64, 64))
    grid = (gaussian_filter(noise, 4) * 10 + bias).astype(np.float32)
    assert check(grid, image_size) == 0


def test_bands_of_columns_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpolating few columns at a time gives the same code."""
    noise = np.random.default_rng(8).normal(size=(30, 40)).astype(np.float32)
    whole = logits.encode_logits(noise, (200, 150))
    monkeypatch.setattr(logits, "_BAND_VALUES", 64)
    assert logits.encode_logits(noise, (200, 150)) == whole
    assert whole.area_px > 0


@pytest.mark.parametrize(
    ("grid", "counts", "box", "area_px"),
    [
        ([[1.0]], [0, 12], (0, 0, 4, 3), 12),
        ([[-1.0]], [12], (0, 0, 0, 0), 0),
        ([[0.0]], [12], (0, 0, 0, 0), 0),
        # Columns 0..3 lie at -0.25, 0.25, 0.75 and 1.25 of two grid points: +3, +2, 0 and -1.
        ([[3.0, -1.0]], [0, 6, 6], (0, 0, 2, 3), 6),
        # The other way round -1, 0, 2 and 3: a pixel at the threshold does not belong.
        ([[-1.0, 3.0]], [6, 6], (2, 0, 4, 3), 6),
    ],
)
def test_small_grids_by_hand(
    grid: list[list[float]], counts: list[int], box: tuple[int, int, int, int], area_px: int
) -> None:
    """One and two grid points over 3 rows and 4 columns give the runs that one writes down."""
    made = logits.encode_logits(np.array(grid, np.float32), (3, 4))
    assert codec.parse_counts(made.rle) == counts
    assert (made.box, made.area_px) == (box, area_px)


def test_a_batch_comes_one_by_one() -> None:
    """Each of (N, h, w) logits gives its own mask."""
    some = np.random.default_rng(9).normal(size=(3, 6, 7)).astype(np.float32)
    made = list(logits.iter_encode_logits(some, (20, 30)))
    assert made == [logits.encode_logits(one, (20, 30)) for one in some]


@settings(deadline=None, max_examples=60)
@given(GRIDS, SIZES, st.floats(0, 3))
def test_stability_is_the_iou_of_both_masks(
    grid: np.ndarray, image_size: tuple[int, int], offset: float
) -> None:
    """The ratio of areas is the IoU of the masks with the threshold raised and lowered."""
    high, low = (
        codec.decode(logits.encode_logits(grid, image_size, threshold=t).rle, image_size)
        for t in (0.25 + offset, 0.25 - offset)
    )
    expected = (high & low).sum() / (high | low).sum() if low.any() else 0.0
    assert logits.stability(grid, image_size, threshold=0.25, offset=offset) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_logit_is_refused(bad: float) -> None:
    """NaN and infinity, a batch instead of one mask and an empty image are each said."""
    grid = np.zeros((3, 3), np.float32)
    grid[1, 1] = bad
    with pytest.raises(DataError, match="expected finite logits"):
        logits.encode_logits(grid, (9, 9))
    with pytest.raises(DataError, match=r"shape \(h, w\), found \(2, 3, 3\)"):
        logits.encode_logits(np.zeros((2, 3, 3), np.float32), (9, 9))
    with pytest.raises(DataError, match=r"\(H, W\) above 0"):
        logits.encode_logits(np.zeros((3, 3), np.float32), (0, 9))
