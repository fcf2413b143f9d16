"""Automatic masks: prompt a picture with a grid of points, keep good and stable masks, drop repeats, clean.

Points are given in batches whose bounds are part of the result, since points of a batch see one another. A
mask is encoded as soon as it is known to be good, so one batch of logits is all that is held.

Source: the automatic mask generation of Kirillov et al., "Segment anything", ICCV 2023, appendix B, with the
thresholds and the order of steps of Semantic-SAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from my3dis.backends.proposers.semantic_sam.boxes import inclusive_boxes, suppress_boxes
from my3dis.backends.proposers.semantic_sam.features import ImageFeatures, PointPrediction
from my3dis.backends.proposers.semantic_sam.regions import clean_regions
from my3dis.backends.torch_models.devices import BackOff
from my3dis.masks.codec import decode, encode, measure

__all__ = [
    "FULL_SIZE",
    "MASKS_AT_ONCE",
    "AutomaticOptions",
    "Found",
    "PointModel",
    "clean",
    "collect",
    "generate",
    "point_grid",
    "suppress",
]


FULL_SIZE = "masks at full size at once"
MASKS_AT_ONCE = 32


class PointModel(Protocol):
    """What is asked of the network."""

    def predict(self, features: ImageFeatures, points_xy: Tensor, tokens: Sequence[int]) -> PointPrediction:
        """Return logits and qualities of points that see one another."""
        ...

    def upsample(self, mask_logits: Tensor, features: ImageFeatures) -> Tensor:
        """Bring logits to the size of the picture."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticOptions:
    """The model's own thresholds.

    Attributes:
        points_per_side: points of the grid along each side.
        points_per_batch: points that are given together and see one another.
        predicted_iou: the quality that the model predicts for a mask must be above this.
        stability: share of the mask that is left when its threshold rises, at least.
        stability_offset: by how much the threshold is lowered and raised for it.
        box_nms_iou: a mask whose box overlaps a better one's by more is dropped.
        settle_nms_iou: the same after cleaning; the larger of both holds.
        min_region_area: holes and islands of fewer pixels go; 0 = nothing is cleaned.
    """

    points_per_side: int = 32
    points_per_batch: int = 200
    predicted_iou: float = 0.88
    stability: float = 0.92
    stability_offset: float = 1.0
    box_nms_iou: float = 0.7
    settle_nms_iou: float = 0.7
    min_region_area: int = 10


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Found:
    """Masks of one picture.

    Attributes:
        image_size: (H, W) of the picture that the network saw.
        rle: N COCO compressed counts.
        boxes_inclusive: (N, 4) int32, x1 and y1 the last pixels inside; zeros for an empty mask.
        area_px: (N,) int64.
        predicted_iou: (N,) float32, the model's own guess; it can leave [0, 1].
        stability: (N,) float32.
        points_xy: (N, 2) float32 prompt of each mask in 0..1 of the picture.
        candidates: masks predicted, good or not.
        passed_iou: those of them good enough.
        passed_stability: those of them stable too.
    """

    image_size: tuple[int, int]
    rle: tuple[bytes, ...]
    boxes_inclusive: NDArray[np.int32]
    area_px: NDArray[np.int64]
    predicted_iou: NDArray[np.float32]
    stability: NDArray[np.float32]
    points_xy: NDArray[np.float32]
    candidates: int
    passed_iou: int
    passed_stability: int

    def __len__(self) -> int:
        return len(self.rle)

    def select(self, positions: NDArray[np.int64]) -> Found:
        """Return the masks at the given positions, in their order; the counts stay."""
        return replace(
            self,
            rle=tuple(self.rle[i] for i in positions.tolist()),
            boxes_inclusive=self.boxes_inclusive[positions],
            area_px=self.area_px[positions],
            predicted_iou=self.predicted_iou[positions],
            stability=self.stability[positions],
            points_xy=self.points_xy[positions],
        )


def point_grid(points_per_side: int | tuple[int, int]) -> NDArray[np.float32]:
    """Return (N, 2) float32 points in 0..1, row by row, each in the middle of its cell; (columns, rows)."""
    columns, rows = (points_per_side,) * 2 if isinstance(points_per_side, int) else points_per_side
    x, y = (np.linspace(1 / (2 * n), 1 - 1 / (2 * n), n) for n in (columns, rows))
    return np.stack([np.tile(x, rows), np.repeat(y, columns)], axis=1).astype(np.float32)


def generate(
    model: PointModel,
    features: ImageFeatures,
    points_xy: NDArray[np.float32],
    tokens: Sequence[int],
    options: AutomaticOptions,
    full_size: BackOff | None = None,
) -> Found:
    """Return the masks that points on a picture lead to, best first.

    Masks that cleaning changed come after those that it did not.

    Args:
        model: the network.
        features: of the picture.
        points_xy: (P, 2) float32 in 0..1 of the picture.
        tokens: granularities wanted for every point.
        options: thresholds.
        full_size: how many masks are brought to full size at once, and fewer when memory runs out, which
            changes no result; None = always `MASKS_AT_ONCE`.
    """
    found = collect(model, features, points_xy, tokens, options, full_size)
    return clean(suppress(found, options), options)


def collect(
    model: PointModel,
    features: ImageFeatures,
    points_xy: NDArray[np.float32],
    tokens: Sequence[int],
    options: AutomaticOptions,
    full_size: BackOff | None = None,
) -> Found:
    """Return all good and stable masks in the order of points, then tokens; see `generate`."""
    full_size = full_size or BackOff(FULL_SIZE, MASKS_AT_ONCE)
    rles: list[bytes] = []
    kept: list[tuple[NDArray[np.float32], ...]] = []
    good = 0
    for start in range(0, len(points_xy), options.points_per_batch):
        batch = points_xy[start : start + options.points_per_batch]
        predicted = model.predict(features, torch.from_numpy(np.ascontiguousarray(batch)), tokens)
        ious = predicted.ious.flatten()
        # Quality is known before a mask is brought to full size, which is what takes the memory.
        waiting = torch.nonzero(ious > float(np.float32(options.predicted_iou))).flatten()
        good += len(waiting)
        while len(waiting):
            some, codes, stable, steady = full_size.run(
                partial(_encoded, model, features, predicted.mask_logits, waiting, options)
            )
            rles += codes
            prompts = batch[steady.cpu().numpy() // len(tokens)]
            kept.append((ious[steady].cpu().numpy(), stable, prompts))
            waiting = waiting[some:]
    size = features.image_size
    boxes, area_px = measure(rles, size)
    empty = (np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros((0, 2), np.float32))
    predicted_iou, stability, at = (np.concatenate(column) for column in zip(empty, *kept, strict=True))
    return Found(
        image_size=size,
        rle=tuple(rles),
        boxes_inclusive=inclusive_boxes(boxes),
        area_px=area_px,
        predicted_iou=predicted_iou.astype(np.float32),
        stability=stability.astype(np.float32),
        points_xy=at,
        candidates=len(points_xy) * len(tokens),
        passed_iou=good,
        passed_stability=len(rles),
    )


def _encoded(
    model: PointModel,
    features: ImageFeatures,
    mask_logits: Tensor,
    waiting: Tensor,
    options: AutomaticOptions,
    most: int,
) -> tuple[int, list[bytes], NDArray[np.float32], Tensor]:
    """Bring the first of the waiting masks to full size and encode the stable ones.

    Returns:
        How many were looked at, and of the stable ones codes, stabilities and positions.
    """
    some = waiting[:most]
    logits = model.upsample(mask_logits[some], features)
    inside = (logits > options.stability_offset).sum((1, 2), dtype=torch.int64)
    around = (logits > -options.stability_offset).sum((1, 2), dtype=torch.int64)
    # Nothing by nothing is not a number, and that is not stable.
    stability = inside.float() / around.float()
    steady = torch.nonzero(stability >= float(np.float32(options.stability))).flatten()
    masks = (logits[steady] > 0).cpu().numpy()
    return len(some), [encode(mask) for mask in masks], stability[steady].cpu().numpy(), some[steady]


def suppress(found: Found, options: AutomaticOptions) -> Found:
    """Drop masks whose box repeats a better one's; the others come best first."""
    return found.select(suppress_boxes(found.boxes_inclusive, found.predicted_iou, options.box_nms_iou))


def clean(found: Found, options: AutomaticOptions) -> Found:
    """Fill small holes, remove small islands, and drop what repeats another mask then.

    Masks that did not need it win over those that did. Quality and stability stay those of before.
    """
    if not options.min_region_area or not len(found):
        return found
    rles = list(found.rle)
    untouched = np.ones(len(found), np.float32)
    for i, rle in enumerate(found.rle):
        mask, changed = clean_regions(decode(rle, found.image_size), options.min_region_area)
        if changed:
            rles[i], untouched[i] = encode(mask), 0.0
    boxes, area_px = measure(rles, found.image_size)
    cleaned = replace(found, rle=tuple(rles), boxes_inclusive=inclusive_boxes(boxes), area_px=area_px)
    most = max(options.box_nms_iou, options.settle_nms_iou)
    return cleaned.select(suppress_boxes(cleaned.boxes_inclusive, untouched, most))
