"""Automatic masks of SAM 2 at several levels."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from my3dis.backends.proposers.sam2_auto.model import BACKEND, ImageModel, PointMasks, load_model
from my3dis.backends.proposers.sam2_auto.nesting import box_nms, nest, ranks_of_levels
from my3dis.backends.torch_models.devices import (
    BackOff,
    PeakMemory,
    choose_device,
    choose_dtype,
    parity_numerics,
    torch_errors,
)
from my3dis.backends.torch_models.weights import find_model_folder
from my3dis.errors import ConfigError
from my3dis.masks.logits import LogitMask, encode_logits, stability
from my3dis.protocols import BackendOptions, BackendReport
from my3dis.types import NO_ID, Frame, MaskSet, MaskSource

__all__ = ["Sam2AutoProposer", "Settings", "make_proposer", "point_grid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How masks are asked for and chosen.

    Attributes:
        points_per_side: side of the grid of prompts.
        points_per_batch: prompts at once, at most.
        predicted_iou: least quality that the model predicts for a mask (exceeded, not reached).
        stable: stability from which a mask counts as stable, and goes before others.
        stability_offset: how far the threshold is moved to see whether a mask is stable, in logits.
        box_iou: boxes of one level that overlap more are one mask.

    Source: defaults of SAM2AutomaticMaskGenerator (facebookresearch/sam2, sam2/automatic_mask_generator.py);
    it has no smallest region and one crop, the image, by default.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    predicted_iou: float = 0.8
    stable: float = 0.95
    stability_offset: float = 1.0
    box_iou: float = 0.7


@dataclass(frozen=True, slots=True)
class _Found:
    mask: LogitMask
    rank: int
    predicted_iou: float
    stability: float


def point_grid(points_per_side: int, image_size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the (n * n, 2) xy centres of n x n equal cells of an image, row by row."""
    height, width = image_size
    places = (np.arange(points_per_side) + 0.5) / points_per_side
    y, x = np.meshgrid(places * height, places * width, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def make_proposer(options: BackendOptions) -> Sam2AutoProposer:
    """Make the proposer that the options describe.

    Raises:
        ConfigError, PluginError: if a setting is wrong or the weights are not to be had.
        DataError: if the weights are damaged or of another model.
        ResourceError: if the device is not there, or the model does not fit on it.
    """
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    model = load_model(find_model_folder(options.checkpoint, backend=BACKEND), device, dtype)
    base = Settings()
    settings = Settings(
        points_per_side=options.points_per_side or base.points_per_side,
        points_per_batch=options.points_per_batch or base.points_per_batch,
        predicted_iou=base.predicted_iou if options.predicted_iou is None else options.predicted_iou,
    )
    return Sam2AutoProposer(ImageModel(model), settings, device=device, exact=dtype == torch.float32)


class Sam2AutoProposer:
    """Proposes masks at all levels from one look at the image and a grid of points.

    Of the three masks that the model gives for a point, the largest (on its own grid) is the whole, the
    next the part, the smallest the subpart: the order in which the model delivers them is not one of size.
    `ranks_of_levels` says which stand at which level; box suppression runs within a level, and `nest` finds
    the parents.

    Unstable masks are not left out here, since ``stages.ssam.stability_threshold`` may be changed later;
    stable ones go first in the suppression, so that at the default threshold of 0.95 the outcome is that of
    the published generator, which leaves unstable masks out before.

    Args:
        model: the image model on its device.
        settings: how masks are chosen.
        device: where the model runs.
        exact: keep TF32 and autocast away, whatever the process prefers.
    """

    def __init__(
        self, model: ImageModel, settings: Settings, *, device: torch.device, exact: bool = True
    ) -> None:
        self._model = model
        self._settings = settings
        self._exact = exact
        self._back_off = BackOff("prompts at once", settings.points_per_batch)
        self._peak = PeakMemory(device)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def propose(self, frame: Frame, levels: Sequence[int]) -> MaskSet:
        """Return the masks of the frame at every level, coarse to fine; see the class.

        ``score`` is the quality that the model predicts, in [0, 1]; ``stability`` is measured on the
        logits at full size. A mask that no mask of the next coarser level holds has no parent.

        Raises:
            ResourceError: if the memory runs out with a single prompt.
        """
        if not levels:
            raise ConfigError("expected at least one level, found none; set experiment.levels")
        counts: Counter[str] = Counter(proposed_frames=1, backbone_passes=1)
        with parity_numerics() if self._exact else contextlib.nullcontext():
            found = self._ask_everywhere(frame, counts)
        per_level, next_id = [], 0
        for level, ranks in zip(levels, ranks_of_levels(len(levels)), strict=True):
            here = self._chosen([one for one in found if one.rank in ranks])
            counts["overlapping_boxes"] += sum(one.rank in ranks for one in found) - len(here)
            per_level.append(_mask_set(frame, level, here, next_id))
            next_id += len(here)
        nested = nest(per_level)
        counts.update(
            repeats_of_parent=nested.repeats, clamped_to_parent=nested.clamped, without_parent=nested.orphans
        )
        with self._lock:
            self._counts.update(counts)
        return nested.masks

    def report(self) -> BackendReport:
        """Return counts, batches that were made smaller, and peak GPU memory so far."""
        with self._lock:
            facts = tuple(sorted(self._counts.items()))
        return BackendReport(
            facts=(*facts, ("points_per_batch", self._back_off.size)),
            notes=self._back_off.notes,
            peak_gpu_mb=self._peak.peak_mb(),
        )

    def _ask_everywhere(self, frame: Frame, counts: Counter[str]) -> list[_Found]:
        with torch_errors(f"sam2_auto, features of frame {frame.name!r}"):
            features = self._model.features(frame.color)
        points = point_grid(self._settings.points_per_side, frame.image_size)
        found: list[_Found] = []
        done = 0
        while done < len(points):

            def ask(size: int, start: int = done) -> tuple[int, PointMasks]:
                some = points[start : start + size]
                return len(some), self._model.ask(features, some, frame.image_size)

            n, answer = self._back_off.run(ask)
            done += n
            counts["prompts"] += n
            counts["decoder_passes"] += 1
            found.extend(self._good_ones(answer, frame.image_size, counts))
        return found

    def _good_ones(
        self, answer: PointMasks, image_size: tuple[int, int], counts: Counter[str]
    ) -> list[_Found]:
        """Encode the masks that the model thinks well of, one at a time."""
        areas = (answer.logits > 0).sum(dim=(2, 3)).cpu().numpy()
        # Largest first; equal ones keep the model's order.
        ranks = np.argsort(np.argsort(-areas, axis=1, kind="stable"), axis=1)
        predicted = answer.predicted_iou.cpu().numpy()
        rows, columns = np.nonzero(predicted > self._settings.predicted_iou)
        counts["below_predicted_iou"] += predicted.size - len(rows)
        good = answer.logits[torch.from_numpy(rows), torch.from_numpy(columns)].cpu().numpy()
        found = []
        for logits, row, column in zip(good, rows.tolist(), columns.tolist(), strict=True):
            mask = encode_logits(logits, image_size)
            if not mask.area_px:
                counts["empty"] += 1
                continue
            steady = stability(logits, image_size, offset=self._settings.stability_offset)
            found.append(_Found(mask, int(ranks[row, column]), float(predicted[row, column]), steady))
        return found

    def _chosen(self, found: list[_Found]) -> list[_Found]:
        """Return what box suppression leaves: stable masks first, then by predicted quality, then order."""
        if not found:
            return []
        unstable = np.array([one.stability < self._settings.stable for one in found])
        quality = np.array([one.predicted_iou for one in found])
        order = np.lexsort((np.arange(len(found)), -quality, unstable))
        boxes = np.array([one.mask.box for one in found], np.int32)
        return [found[i] for i in box_nms(boxes, order, self._settings.box_iou).tolist()]


def _mask_set(frame: Frame, level: int, found: Sequence[_Found], first_id: int) -> MaskSet:
    n = len(found)
    return MaskSet(
        frame=frame.index,
        image_size=frame.image_size,
        mask_id=np.arange(first_id, first_id + n, dtype=np.int32),
        level=np.full(n, level, np.int16),
        parent_id=np.full(n, NO_ID, np.int32),
        boxes=np.array([one.mask.box for one in found], np.int32).reshape(n, 4),
        area_px=np.array([one.mask.area_px for one in found], np.int64),
        score=np.clip([one.predicted_iou for one in found], 0, 1).astype(np.float32),
        stability=np.array([one.stability for one in found], np.float32),
        source=np.full(n, MaskSource.CANDIDATE, np.int8),
        rle=tuple(one.mask.rle for one in found),
    )
