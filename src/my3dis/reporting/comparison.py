"""One comparison: a frame's colour image beside its masks, a panel per level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from my3dis.reporting.colors import Color, family_colors
from my3dis.reporting.model import ComparisonRow, Panel
from my3dis.reporting.overlays import draw_masks
from my3dis.reporting.pictures import encode_jpeg, join_panels, panel_width, resize
from my3dis.types import NO_ID, Frame, MaskSet

__all__ = ["draw_comparison", "mask_colors", "picture_name"]


def mask_colors(masks: MaskSet, track_colors: Mapping[int, Color] | None) -> dict[int, Color]:
    """Return the RGB colour of each position in a frame's masks.

    Tracked masks have their track's colour. Without tracks, colours are of the frame alone: parts have
    hues near the mask that they are part of.

    Args:
        masks: all masks of a frame.
        track_colors: RGB per track id, or None when nothing was tracked.
    """
    if track_colors is not None:
        return {i: track_colors[t] for i, t in enumerate(masks.track_id.tolist()) if t != NO_ID}
    ids = masks.mask_id.tolist()
    colors = family_colors(ids, dict(zip(ids, masks.parent_id.tolist(), strict=True)))
    return {i: colors[one] for i, one in enumerate(ids)}


def draw_comparison(
    frame: Frame,
    masks: MaskSet,
    levels: Sequence[int],
    track_colors: Mapping[int, Color] | None,
    max_width: int,
) -> tuple[ComparisonRow, NDArray[np.uint8]]:
    """Draw a frame beside its masks and return the panels and the joined picture.

    Args:
        frame: with its colour image.
        masks: all masks of the frame, any levels.
        levels: one panel for each, coarse to fine.
        track_colors: RGB per track id; only tracked masks are drawn. None = no tracks: all are drawn.
        max_width: the joined picture is at most this wide, pixels.
    """
    width = panel_width(len(levels) + 1, max_width)
    colors = mask_colors(masks, track_colors)
    images = [resize(frame.color, width)]
    titles = ["colour"]
    for level in levels:
        chosen = [i for i in np.flatnonzero(masks.level == level).tolist() if i in colors]
        images.append(
            draw_masks(frame.color, masks.select(chosen), {n: colors[i] for n, i in enumerate(chosen)}, width)
        )
        titles.append(f"level {level}: {len(chosen)} mask{'' if len(chosen) == 1 else 's'}")
    panels = tuple(
        Panel(title=title, alt=f"Frame {frame.index}, {title}", data=encode_jpeg(image))
        for title, image in zip(titles, images, strict=True)
    )
    row = ComparisonRow(frame=frame.index, name=frame.name, file=picture_name(frame), panels=panels)
    return row, join_panels(images, titles, max_width)


def picture_name(frame: Frame) -> str:
    """Return the file name of a frame's comparison picture, safe in any folder and unique in the scan."""
    safe = frame.name.isascii() and frame.name.replace("-", "").replace("_", "").isalnum()
    stem = frame.name if safe and len(frame.name) <= 60 else f"index-{frame.index:06d}"
    return f"comparison/{stem}.jpg"
