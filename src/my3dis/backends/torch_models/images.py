"""Frames as the models of transformers want them, without its processors (they need torchvision)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Channels", "square_image"]

Channels = tuple[float, float, float]
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)


def square_image(
    color: NDArray[np.uint8],
    side_px: int,
    device: torch.device,
    *,
    mean: Channels,
    std: Channels,
    whole_values: bool,
) -> torch.Tensor:
    """Return an image as (1, 3, S, S) float32, resized without regard to its aspect and normalised.

    Args:
        color: (H, W, 3) RGB.
        side_px: S.
        device: where to.
        mean: of each channel after scaling to 0..1.
        std: its deviation.
        whole_values: round what interpolation gives to 0, 1, ..., 255, as the processors of transformers do;
            SAM 2's own image predictor does not.
    """
    # A frame's arrays cannot be written to, which torch refuses to share.
    image = torch.tensor(color, device=device).permute(2, 0, 1)[None].float()
    image = torch.nn.functional.interpolate(
        image, (side_px, side_px), mode="bilinear", align_corners=False, antialias=True
    )
    if whole_values:
        image = image.round_().clamp_(0, 255)
    centre, spread = (torch.tensor(values, device=device).reshape(1, 3, 1, 1) for values in (mean, std))
    return (image / 255 - centre) / spread
