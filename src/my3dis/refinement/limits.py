"""Thresholds on masks, and how areas that were chosen for one image size apply to another."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["REFERENCE_SIZE", "MaskLimits", "scaled_area"]

REFERENCE_SIZE = (480, 640)
"""(H, W) of the images that area thresholds are stated for."""


def scaled_area(area_px: int, image_size: tuple[int, int]) -> int:
    """Return the area that covers the same share of an image as ``area_px`` does of 640x480; at least 1."""
    share = image_size[0] * image_size[1] / (REFERENCE_SIZE[0] * REFERENCE_SIZE[1])
    return max(1, round(area_px * share))


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskLimits:
    """What a mask must fulfil to be kept.

    Attributes:
        min_area: pixels a mask must have; 0 = any.
        stability_threshold: stability it must reach; 0 = any.
        max_per_level: largest masks of a level that are kept; None = all.
        duplicate_iou: a mask that overlaps a better one of its level more is dropped; None = never.
    """

    min_area: int = 0
    stability_threshold: float = 0.0
    max_per_level: int | None = None
    duplicate_iou: float | None = None
