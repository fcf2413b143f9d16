"""A frame beside its masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from my3dis.reporting.comparison import draw_comparison, mask_colors, picture_name
from my3dis.types import Frame
from tests.reporting.fakes import FakeReader, mask_set

COLORS = {1: (255, 0, 0), 7: (0, 255, 0)}


def test_a_track_keeps_its_colour_while_it_moves() -> None:
    """The outline of track 1 is red in two frames at two places, and only at its own level."""
    reader = FakeReader()
    for index, x in ((0, 4), (9, 30)):
        masks = mask_set(index, [(1, 2, (x, 8, x + 20, 30)), (7, 4, (x + 4, 12, x + 10, 20))])
        row, _ = draw_comparison(reader.frame(index), masks, (2, 4), COLORS, 960)
        assert [panel.title for panel in row.panels] == ["colour", "level 2: 1 mask", "level 4: 1 mask"]
        plain, coarse, fine = (
            cv2.imdecode(np.frombuffer(panel.data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)
            for panel in row.panels
        )
        scale = coarse.shape[1] / 64
        border = (slice(int(12 * scale), int(28 * scale)), int(x * scale) + 1)
        assert (coarse[border][:, 0] - coarse[border][:, 1]).min() > 80
        assert abs(fine[border][:, 0] - fine[border][:, 1]).max() < 40
        assert np.ptp(plain[border], axis=1).max() < 10


def test_only_tracked_masks_are_drawn_where_there_are_tracks() -> None:
    """A mask without a track has no colour then; without any tracks all have one."""
    masks = mask_set(0, [(1, 2, (0, 0, 5, 5)), (7, 4, (1, 1, 3, 3))])
    untracked = mask_set(0, [(1, 2, (0, 0, 5, 5)), (7, 4, (1, 1, 3, 3))], tracked=False)
    assert mask_colors(masks, COLORS) == {0: COLORS[1], 1: COLORS[7]}
    assert mask_colors(untracked, COLORS) == {}
    assert set(mask_colors(untracked, None)) == {0, 1}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("0040", "0040.jpg"),
        ("frame-000040_a", "frame-000040_a.jpg"),
        ("../../etc/x", "index-000005.jpg"),
        ("a b", "index-000005.jpg"),
        ("x" * 80, "index-000005.jpg"),
        ("", "index-000005.jpg"),
    ],
)
def test_file_names_are_safe(name: str, file: str) -> None:
    """A picture is called as its frame unless that name could leave the folder or break a link."""
    frame = Frame(index=5, name=name, color=np.zeros((4, 4, 3), np.uint8))
    assert picture_name(frame) == f"comparison/{file}"
