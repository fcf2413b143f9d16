"""A painted scene, and a core that finds its patches by colour: what a trained network would do, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from my3dis.backends.proposers.semantic_sam.features import ImageFeatures, PointPrediction
from my3dis.types import Frame

SIZE = (96, 128)
WALL = (200, 200, 200)
PARTS = {
    "red top": ((10, 20, 50, 50), (200, 40, 40)),
    "red bottom": ((10, 50, 50, 80), (200, 70, 40)),
    "blue left": ((70, 30, 90, 70), (40, 40, 200)),
    "blue right": ((90, 30, 110, 70), (40, 70, 200)),
}
OBJECTS = {"red": (10, 20, 50, 80), "blue": (70, 30, 110, 70)}


def frame(index: int = 0, scale: float = 1.0) -> Frame:
    """A wall with a red and a blue object of two parts each, drawn larger or smaller."""
    height, width = (round(side * scale) for side in SIZE)
    color = np.full((height, width, 3), WALL, np.uint8)
    for box, rgb in PARTS.values():
        x0, y0, x1, y1 = (round(v * scale) for v in box)
        color[y0:y1, x0:x1] = rgb
    return Frame(index=index, name=f"{index:04d}", color=color)


def box_mask(box: tuple[int, int, int, int], scale: float = 1.0) -> NDArray[np.bool_]:
    mask = np.zeros(tuple(round(side * scale) for side in SIZE), bool)
    x0, y0, x1, y1 = (round(v * scale) for v in box)
    mask[y0:y1, x0:x1] = True
    return mask


class ByColor:
    """Answers a point with what has nearly its colour: objects at level 2 (token 2), parts at finer ones.

    Attributes:
        seen: every picture that was encoded, (h, w, 3).
        prompts: the points of every call.
    """

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.backbone_dtype = torch.float32
        self.backbone_passes = self.decoder_passes = 0
        self.seen: list[NDArray[np.uint8]] = []
        self.prompts: list[NDArray[np.float32]] = []

    def encode_together(self, images: Sequence[Tensor]) -> list[ImageFeatures]:
        return [self._encode(image) for image in images]

    def _encode(self, image: Tensor) -> ImageFeatures:
        self.backbone_passes += 1
        self.seen.append(image.permute(1, 2, 0).numpy().copy())
        size = (int(image.shape[1]), int(image.shape[2]))
        return ImageFeatures(image.float()[None], (image.float()[None],) * 4, size, size)

    def predict(self, features: ImageFeatures, points_xy: Tensor, tokens: Sequence[int]) -> PointPrediction:
        self.decoder_passes += 1
        self.prompts.append(points_xy.numpy().copy())
        height, width = features.image_size
        x = (points_xy[:, 0] * width).long().clamp(max=width - 1)
        y = (points_xy[:, 1] * height).long().clamp(max=height - 1)
        image = features.mask_features[0]
        logits = []
        for i in range(len(points_xy)):
            distance = (image - image[:, y[i], x[i]][:, None, None]).abs().amax(0)
            logits += [torch.where(distance < (60 if token == 2 else 12), 9.0, -9.0) for token in tokens]
        masks = torch.stack(logits)
        # Larger masks are rated better, so that blurred borders never win.
        ious = 0.9 + 0.09 * (masks > 0).float().mean((1, 2))
        return PointPrediction(masks, ious.view(len(points_xy), len(tokens)))

    def upsample(self, mask_logits: Tensor, features: ImageFeatures) -> Tensor:
        return mask_logits
