"""What goes into a video model and comes out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from my3dis.backends.torch_models.images import square_image
from my3dis.backends.trackers.sam2_video.families import VideoModel

__all__ = ["as_logits", "as_pixels", "resized_mask"]


def as_pixels(color: NDArray[np.uint8], model: VideoModel) -> torch.Tensor:
    """Return an image as the model wants it: (1, 3, S, S), normalised.

    Resized without regard to its aspect, by antialiased bilinear interpolation rounded to whole values, as
    the published processors do it.

    Args:
        color: (H, W, 3) RGB.
        model: its image size, normalisation, device and precision count.
    """
    family = model.family
    image = square_image(
        color, model.image_size_px, model.device, mean=family.mean, std=family.std, whole_values=True
    )
    return image.to(model.dtype)


def resized_mask(mask: NDArray[np.bool_], model: VideoModel) -> torch.Tensor:
    """Return a mask at the model's size, (1, 1, S, S) of zeros and ones; thin masks may vanish.

    Args:
        mask: (H, W) bool.
        model: its image size and device count.
    """
    side = model.image_size_px
    image = torch.tensor(mask, device=model.device)[None, None].float()
    if image.shape[-2:] != (side, side):
        image = torch.nn.functional.interpolate(
            image, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
    return (image >= 0.5).float()


def as_logits(pred_masks: torch.Tensor) -> NDArray[np.float32]:
    """Return predictions of n objects as (n, h, w) float32 on the host."""
    h, w = pred_masks.shape[-2:]
    logits: NDArray[np.float32] = pred_masks.reshape(-1, h, w).float().cpu().numpy()
    return logits
