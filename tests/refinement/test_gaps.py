"""Gaps are what nobody covers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from my3dis.masks import codec
from my3dis.refinement.gaps import GAP_SCORE, gap_masks
from my3dis.types import MaskSet, MaskSource
from tests.masks.scenes import dense, dense_stacks, mask_set


def test_two_gaps_of_a_frame() -> None:
    """A bar leaves a large and a small region; only the one of at least fill_area becomes a mask."""
    bar = np.zeros((1, 6, 10), bool)
    bar[0, :, 2:4] = True
    gaps = gap_masks(mask_set(bar, mask_id=[7], level=2), level=2, fill_area=13)
    assert gaps.mask_id.tolist() == [8]
    assert gaps.boxes.tolist() == [[4, 0, 10, 6]]
    assert (gaps.source == MaskSource.GAP).all()
    assert gaps.parent_id.tolist() == [-1]
    assert gaps.score.tolist() == [GAP_SCORE]


def test_only_the_first_level_covers() -> None:
    """A finer mask does not close a gap of the first level; without any mask the frame is one gap."""
    everything = np.ones((1, 4, 5), bool)
    assert gap_masks(mask_set(everything, level=4), 2, 1).area_px.tolist() == [20]
    assert gap_masks(MaskSet.empty(0, (4, 5)), 2, 1).area_px.tolist() == [20]
    assert len(gap_masks(mask_set(everything, level=2), 2, 1)) == 0


@settings(max_examples=80, deadline=None)
@given(dense_stacks(), st.integers(1, 12))
def test_gaps_and_masks_cover_the_frame(stack: np.ndarray, fill_area: int) -> None:
    """Gaps are the components that SciPy finds, disjoint from the masks; what is left is too small."""
    masks = mask_set(stack, level=2)
    codec.DECODED.reset_peak()
    gaps = gap_masks(masks, 2, fill_area)
    assert codec.DECODED.peak == codec.DECODED.alive
    covered = dense(masks).any(axis=0)
    components, n = ndimage.label(~covered)
    sizes = sorted((int((components == i).sum()) for i in range(1, n + 1)), reverse=True)
    assert gaps.area_px.tolist() == [s for s in sizes if s >= fill_area]
    filled = dense(gaps)
    assert not (filled & covered).any()
    assert (filled.sum(axis=0) <= 1).all()
    if fill_area == 1:
        assert (covered | filled.any(axis=0)).all()
