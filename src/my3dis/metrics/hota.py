"""Higher-order tracking accuracy: finding objects and keeping their identities, weighed alike.

Everything is computed from pixel counts per frame. The frames are gone through twice, because matches
depend on how well track and object agree over the whole sequence; nothing grows with the frames.

Source: HOTA (Luiten et al., IJCV 2021), equations 5 to 17, over overlaps 0.05 to 0.95.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from my3dis.metrics.video import FrameOverlap, countable

__all__ = ["HOTA_THRESHOLDS", "HotaScores", "hota_scores"]

HOTA_THRESHOLDS: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(1, 20))
_ROUNDING = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class HotaScores:
    """Means over the thresholds; shares in [0, 1], NaN without objects.

    Attributes:
        hota: geometric mean of detection and association, mean over thresholds.
        detection: DetA; association: AssA; localisation: LocA, the mean IoU of matches.
    """

    hota: float
    detection: float
    association: float
    localisation: float


def hota_scores(
    frames: Callable[[], Iterable[FrameOverlap]], *, iou: float = 0.5, min_visible_px: int = 100
) -> HotaScores:
    """Score tracks against objects.

    Args:
        frames: gives the frames in order; called twice.
        iou: tracks that match no object by it and lie mostly on void are left out, as in
            `my3dis.metrics.video.IdentityAccumulator`, so that all scores are over the same masks.
        min_visible_px: objects with fewer pixels are left out.
    """
    agreement: defaultdict[tuple[int, int], float] = defaultdict(float)
    track_frames: Counter[int] = Counter()
    gt_frames: Counter[int] = Counter()
    for frame in frames():
        tracks, gts, overlap = _counted(frame, iou, min_visible_px)
        track_frames.update(tracks)
        gt_frames.update(gts)
        share = overlap.sum(axis=1, keepdims=True) + overlap.sum(axis=0, keepdims=True) - overlap
        share = np.divide(overlap, share, out=np.zeros_like(overlap), where=share > _ROUNDING)
        for t, g in zip(*np.nonzero(share), strict=True):
            agreement[tracks[t], gts[g]] += float(share[t, g])
    hits: defaultdict[tuple[int, int], NDArray[np.int64]] = defaultdict(
        lambda: np.zeros(len(HOTA_THRESHOLDS), np.int64)
    )
    overlap_sum = np.zeros(len(HOTA_THRESHOLDS))
    for frame in frames():
        tracks, gts, overlap = _counted(frame, iou, min_visible_px)
        weight = np.zeros_like(overlap)
        for t, g in zip(*np.nonzero(overlap), strict=True):
            pair = tracks[t], gts[g]
            weight[t, g] = overlap[t, g] * (
                agreement[pair] / (track_frames[pair[0]] + gt_frames[pair[1]] - agreement[pair])
            )
        for t, g in zip(*linear_sum_assignment(weight, maximize=True), strict=True):
            above = overlap[t, g] >= np.array(HOTA_THRESHOLDS) - _ROUNDING
            if above.any():
                hits[tracks[t], gts[g]] += above
                overlap_sum += above * overlap[t, g]
    return _scores(hits, overlap_sum, track_frames, gt_frames)


def _scores(
    hits: dict[tuple[int, int], NDArray[np.int64]],
    overlap_sum: NDArray[np.float64],
    track_frames: Counter[int],
    gt_frames: Counter[int],
) -> HotaScores:
    n_gt, n_tracked = gt_frames.total(), track_frames.total()
    if not n_gt:
        return HotaScores(hota=math.nan, detection=math.nan, association=math.nan, localisation=math.nan)
    true = np.zeros(len(HOTA_THRESHOLDS))
    associated = np.zeros(len(HOTA_THRESHOLDS))
    for (track, gt), n in hits.items():
        true += n
        # Every frame in which the pair matches is rated by how much of both lies in such frames.
        associated += n * (n / np.maximum(1, track_frames[track] + gt_frames[gt] - n))
    detection = true / np.maximum(1, n_gt + n_tracked - true)
    association = associated / np.maximum(1, true)
    localisation = np.where(true > 0, overlap_sum / np.maximum(1, true), 1.0)
    return HotaScores(
        hota=float(np.sqrt(detection * association).mean()),
        detection=float(detection.mean()),
        association=float(association.mean()),
        localisation=float(localisation.mean()),
    )


def _counted(
    frame: FrameOverlap, iou: float, min_visible_px: int
) -> tuple[list[int], list[int], NDArray[np.float64]]:
    """Return the ids of the tracks and objects that count, and their (T, G) IoU."""
    overlap, _, visible, counted = countable(frame, iou, min_visible_px)
    tracks = [int(i) for i in frame.track_id[counted]]
    gts = [int(i) for i in frame.gt_id[visible]]
    return tracks, gts, overlap[np.ix_(counted, visible)]
