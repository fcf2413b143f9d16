"""How likely masks of this frame are objects that were seen before: by place in the world, or by looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from my3dis.tracking.cues import FrameCues, MaskCues
from my3dis.tracking.memory import MIN_POINTS, Memory
from my3dis.tracking.sampling import contains
from my3dis.types import MaskSet

__all__ = ["looks", "place"]

MIN_SHARE = 0.5
"""Both ways at least half of what could be seen must agree; a neighbour or a part of another cannot."""
MIN_LIKENESS = 0.85
"""Bhattacharyya coefficient of colours that may be one object; samples of one object reach 0.95."""
MIN_SIZE_RATIO = 0.35
REACH_AT_ONCE, REACH_PER_FRAME = 0.15, 0.02
FARTHEST_REACH = 0.5
"""How far from its last place an object may return, in image diagonals: at once, per frame away, at most."""
CLEAR_LEAD = 0.9
"""A second-best track scoring more than this part of the best makes looks ambiguous: then nobody wakes."""


def place(
    memories: Sequence[Memory], masks: MaskSet, cues: Sequence[MaskCues], frame: FrameCues
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Score (K, N) how well masks and remembered points are the same surface, 0 = no evidence.

    One way: of the remembered points that are seen in this frame, the share inside the mask. Other way: of
    the mask's points that the best view of the track could see, the share near remembered points. The
    score is their product where each is at least `MIN_SHARE`; a part grown out of the image's border or
    from behind another object counts for neither way, so it does not speak against.

    Returns:
        the scores, and (K,) whether enough of each track is seen in this frame for its scores to mean much.
    """
    score = np.zeros((len(memories), len(masks)))
    if not frame.is_posed or not len(masks) or not len(memories):
        return score, np.zeros(len(memories), bool)
    sizes = [len(memory.points_cm) for memory in memories]
    owner = np.repeat(np.arange(len(memories)), sizes)
    points_m = np.concatenate([memory.points_m for memory in memories])
    x_px, y_px, seen = frame.look_at(points_m)
    owner, x_px, y_px = owner[seen], x_px[seen], y_px[seen]
    visible = np.bincount(owner, minlength=len(memories))
    for column in range(len(masks)):
        hit = contains(masks, column, x_px, y_px)
        inside = np.bincount(owner[hit], minlength=len(memories))
        share = inside / np.maximum(visible, 1)
        points = cues[column].points_m
        if len(points) < MIN_POINTS:
            continue
        for row in np.flatnonzero((visible >= MIN_POINTS) & (share >= MIN_SHARE)).tolist():
            back = _explained(points, memories[row])
            if back >= MIN_SHARE:
                score[row, column] = share[row] * back
    return score, visible >= MIN_POINTS


def _explained(points_m: NDArray[np.float32], memory: Memory) -> float:
    """Return the share of points near remembered ones, among these and those that the best view could see."""
    near = memory.near(points_m)
    could = near if memory.viewpoint is None else near | memory.viewpoint.could_see(points_m)
    return float(near.sum() / max(1, could.sum())) if near.sum() >= MIN_POINTS else 0.0


def looks(
    memories: Sequence[Memory], frames_away: NDArray[np.int64], masks: MaskSet, cues: Sequence[MaskCues]
) -> NDArray[np.float64]:
    """Score (K, N) how alike masks are to remembered ones in colour, size and place in the image.

    Args:
        memories: K tracks.
        frames_away: (K,) steps since each was seen.
        masks: N masks of the frame.
        cues: of those masks.
    """
    score = np.zeros((len(memories), len(masks)))
    if not len(masks) or not len(memories):
        return score
    remembered = np.stack([m.colors for m in memories]).astype(np.float32) / 255
    found = np.stack([c.colors for c in cues]).astype(np.float32) / 255
    likeness = remembered @ found.T
    area = np.array([m.area_px for m in memories], np.float64)[:, None]
    ratio = np.minimum(area, masks.area_px) / np.maximum(np.maximum(area, masks.area_px), 1)
    diagonal = float(np.hypot(*masks.image_size))
    was = np.array([m.box_xyxy for m in memories], np.float64)
    # What the border cut off, then or now, may have any size.
    cut = _touches_border(was, masks.image_size)[:, None] | _touches_border(masks.boxes, masks.image_size)
    ratio = np.where(cut, np.maximum(ratio, MIN_SIZE_RATIO), ratio)
    centre_was = (was[:, :2] + was[:, 2:]) / 2
    centre_is = (masks.boxes[:, :2] + masks.boxes[:, 2:]) / 2
    distance = np.linalg.norm(centre_was[:, None] - centre_is[None], axis=2) / diagonal
    reach = np.minimum(REACH_AT_ONCE + REACH_PER_FRAME * frames_away, FARTHEST_REACH)[:, None]
    plausible = (likeness >= MIN_LIKENESS) & (ratio >= MIN_SIZE_RATIO) & (distance <= reach)
    score[plausible] = (likeness * np.sqrt(ratio) * np.exp(-np.square(distance / reach)))[plausible]
    return _without_ambiguous(score)


def _touches_border(boxes_xyxy: NDArray[np.number], image_size: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = image_size
    x0, y0, x1, y1 = boxes_xyxy.T
    touching: NDArray[np.bool_] = (x0 <= 1) | (y0 <= 1) | (x1 >= width - 1) | (y1 >= height - 1)
    return touching


def _without_ambiguous(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clear the columns whose second-best row is about as good as the best."""
    if len(score) > 1:
        second, best = np.sort(score, axis=0)[-2:]
        score[:, second > CLEAR_LEAD * best] = 0
    return score
