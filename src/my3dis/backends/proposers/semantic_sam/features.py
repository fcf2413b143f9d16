"""What the Semantic-SAM network hands out: the features of one image and the masks of one batch of points."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["ImageFeatures", "PointPrediction"]


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """Everything that any number of point batches on one image share.

    Attributes:
        mask_features: `(1, C, H/4, W/4)` float32.
        multi_scale: Four maps `(1, C, H/s, W/s)` float32, strides `s` 8, 16, 32 and 64 (rounded up).
        image_size: `(h, w)` of the image in pixels, before padding.
        padded_size: `(H, W)`, multiples of 32; padding lies to the right and below.
    """

    mask_features: Tensor
    multi_scale: tuple[Tensor, Tensor, Tensor, Tensor]
    image_size: tuple[int, int]
    padded_size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PointPrediction:
    """Masks of P points at L tokens.

    Attributes:
        mask_logits: `(P*L, H/4, W/4)` float32, point-major; positive inside the mask.
        ious: `(P, L)` float32, the predicted quality; it can leave [0, 1].
    """

    mask_logits: Tensor
    ious: Tensor
