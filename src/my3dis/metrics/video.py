"""Scores of tracks in the image: region similarity, and whether one object keeps one identity.

Everything is computed from pixel counts per frame, so no mask is ever held here; the accumulator's
memory grows with tracks and objects, not with frames.

Source: J of DAVIS (Perazzi et al., CVPR 2016); identity F1 (Ristani et al., ECCV workshops 2016);
switches and fragmentations of CLEAR MOT (Bernardin and Stiefelhagen, 2008).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from my3dis.errors import DataError

__all__ = [
    "FrameOverlap",
    "IdentityAccumulator",
    "IdentityScores",
    "countable",
    "mean_region_similarity",
    "region_similarity",
]


def region_similarity(
    intersection_px: NDArray[np.integer], predicted_px: NDArray[np.integer], gt_px: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return J = intersection over union of each frame as (F,); 1 where both masks are empty."""
    inter = np.asarray(intersection_px, np.float64)
    union = np.asarray(predicted_px, np.float64) + np.asarray(gt_px, np.float64) - inter
    return np.divide(inter, union, out=np.ones_like(inter), where=union > 0)


def mean_region_similarity(j: NDArray[np.float64]) -> float:
    """Return the mean of J over frames after the first, whose mask is given; NaN without any."""
    return float(j[1:].mean()) if len(j) > 1 else math.nan


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrameOverlap:
    """Pixels that tracks share with objects in one frame.

    Attributes:
        track_id: (T,) tracks that have a mask here, unique.
        track_px: (T,) int64 pixels of each.
        gt_id: (G,) objects that are visible here, unique.
        gt_px: (G,) int64 pixels of each.
        shared_px: (T, G) int64.
        void_px: (T,) int64 pixels of each track where no object counts.
    """

    track_id: NDArray[np.integer]
    track_px: NDArray[np.int64]
    gt_id: NDArray[np.integer]
    gt_px: NDArray[np.int64]
    shared_px: NDArray[np.int64]
    void_px: NDArray[np.int64]

    def __post_init__(self) -> None:
        t, g = len(self.track_id), len(self.gt_id)
        shapes = (self.track_px.shape, self.gt_px.shape, self.shared_px.shape, self.void_px.shape)
        if shapes != ((t,), (g,), (t, g), (t,)):
            raise DataError(
                f"FrameOverlap: expected shapes ({t},) ({g},) ({t}, {g}) ({t},), found "
                + " ".join(str(shape) for shape in shapes)
            )


def countable(
    frame: FrameOverlap, iou: float, min_visible_px: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what of a frame counts.

    Returns:
        (T, G) IoU; (T, G) which pairs match; (G,) which objects are visible; (T,) which tracks count: those
        that match, or do not lie mostly where nothing is to be tracked.
    """
    visible = frame.gt_px >= min_visible_px
    union = frame.track_px[:, None] + frame.gt_px[None, :] - frame.shared_px
    overlap = np.divide(frame.shared_px, union, out=np.zeros(union.shape), where=union > 0)
    hits = (overlap >= iou) & visible[None, :]
    unseen_px = frame.void_px + frame.shared_px[:, ~visible].sum(axis=1)
    counted = hits.any(axis=1) | (2 * unseen_px <= frame.track_px)
    return overlap, hits, visible, counted & (frame.track_px > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityScores:
    """How well tracks keep identities; NaN where undefined.

    Attributes:
        mean_j: IoU of an object with the track that it is matched to, mean over every frame in which the
            object is visible; 0 where it has none.
        idf1: F1 over (object, frame) under the best one-to-one assignment of tracks to objects.
        tracks_per_object: distinct tracks that an object was matched to, mean over matched objects.
        claimants_per_object: tracks most of whose pixels lie on the object, mean over objects with any;
            fragments too small for a match count here.
        switches: times that an object's track is another than it was before.
        fragmentations: times that a visible object is matched again after frames without a match.
        returning: objects that were out of sight for `gap_frames` frames or more and came back.
        returning_kept: those whose track after every such absence is the track before it.
        objects: objects that were ever visible; `matched_objects`: those ever matched.
        tracks: tracks that were ever on an object (not mostly in void).
        frames: frames counted; `iou`: what a match needs at least; `min_visible_px`: what counts as visible.
    """

    mean_j: float
    idf1: float
    tracks_per_object: float
    claimants_per_object: float
    switches: int
    fragmentations: int
    returning: int
    returning_kept: int
    objects: int
    matched_objects: int
    tracks: int
    frames: int
    iou: float
    min_visible_px: int
    gap_frames: int


@dataclass(slots=True)
class _History:
    """What is remembered of one object."""

    visible_frames: int = 0
    absent_since: int = 0
    track: int | None = None
    seen_before: bool = False
    lost_in_view: bool = False
    pending_return: bool = False
    returned: bool = False
    kept: bool = True
    tracks: set[int] = field(default_factory=set)


class IdentityAccumulator:
    """Takes frames in order and scores identities.

    Args:
        iou: overlap that a match needs at least.
        min_visible_px: fewer pixels do not count as visible; a track there is neither right nor wrong.
        gap_frames: frames out of sight that make an absence.
    """

    def __init__(self, *, iou: float = 0.5, min_visible_px: int = 100, gap_frames: int = 5) -> None:
        self._iou = iou
        self._min_visible_px = min_visible_px
        self._gap_frames = gap_frames
        self._objects: dict[int, _History] = {}
        self._pairs: Counter[tuple[int, int]] = Counter()
        self._pixels: dict[int, Counter[int]] = {}
        self._predicted_frames: Counter[int] = Counter()
        self._iou_sum = 0.0
        self._switches = 0
        self._fragmentations = 0
        self._frames = 0

    def add(self, frame: FrameOverlap) -> None:
        """Take the next frame."""
        self._frames += 1
        iou, hits, visible, counted = countable(frame, self._iou, self._min_visible_px)
        for t in np.flatnonzero(counted).tolist():
            track = int(frame.track_id[t])
            self._predicted_frames[track] += 1
            claims = self._pixels.setdefault(track, Counter())
            for g in np.flatnonzero(frame.shared_px[t]).tolist():
                claims[int(frame.gt_id[g])] += int(frame.shared_px[t, g])
        for t, g in zip(*np.nonzero(hits), strict=True):
            self._pairs[int(frame.track_id[t]), int(frame.gt_id[g])] += 1
        present = {int(i) for i in frame.gt_id[visible]}
        for gt, history in self._objects.items():
            if gt not in present:
                history.absent_since += 1
        for g in np.flatnonzero(visible).tolist():
            self._follow(int(frame.gt_id[g]), frame.track_id, iou[:, g], hits[:, g])

    def _follow(
        self, gt: int, track_id: NDArray[np.integer], iou: NDArray[np.float64], hit: NDArray[np.bool_]
    ) -> None:
        """Continue the history of an object that is visible in this frame."""
        history = self._objects.setdefault(gt, _History())
        if history.seen_before and history.absent_since >= self._gap_frames:
            history.returned = True
            # A second absence before any match means that the first return was never recognised.
            history.kept &= not history.pending_return
            history.pending_return = True
        history.seen_before = True
        history.absent_since = 0
        history.visible_frames += 1
        candidates = np.flatnonzero(hit)
        if not len(candidates):
            history.lost_in_view = history.track is not None
            return
        ids = [int(track_id[c]) for c in candidates]
        # The track of before wins while it still fits, as in CLEAR MOT; else the best overlap.
        chosen = history.track if history.track in ids else ids[int(np.argmax(iou[candidates]))]
        assert chosen is not None
        self._iou_sum += float(iou[candidates[ids.index(chosen)]])
        if history.track is not None:
            self._switches += chosen != history.track
            self._fragmentations += history.lost_in_view
        if history.pending_return:
            history.kept &= chosen == history.track
            history.pending_return = False
        history.lost_in_view = False
        history.track = chosen
        history.tracks.add(chosen)

    def result(self) -> IdentityScores:
        """Return the scores of all frames so far."""
        histories = self._objects.values()
        matched = [h for h in histories if h.tracks]
        claimants: Counter[int] = Counter()
        for claims in self._pixels.values():
            if claims:
                claimants[max(claims, key=lambda gt: (claims[gt], -gt))] += 1
        returning = [h for h in histories if h.returned]
        n_visible = sum(h.visible_frames for h in histories)
        return IdentityScores(
            mean_j=self._iou_sum / n_visible if n_visible else math.nan,
            idf1=self._idf1(),
            tracks_per_object=_mean([len(h.tracks) for h in matched]),
            claimants_per_object=_mean([n for gt, n in claimants.items() if gt in self._objects]),
            switches=self._switches,
            fragmentations=self._fragmentations,
            returning=len(returning),
            returning_kept=sum(h.kept and not h.pending_return for h in returning),
            objects=len(self._objects),
            matched_objects=len(matched),
            tracks=len(self._predicted_frames),
            frames=self._frames,
            iou=self._iou,
            min_visible_px=self._min_visible_px,
            gap_frames=self._gap_frames,
        )

    def _idf1(self) -> float:
        n_gt = sum(h.visible_frames for h in self._objects.values())
        n_predicted = sum(self._predicted_frames.values())
        if not n_gt:
            return math.nan
        if not self._pairs:
            return 0.0
        row = {track: i for i, track in enumerate(sorted({track for track, _ in self._pairs}))}
        column = {gt: i for i, gt in enumerate(sorted({gt for _, gt in self._pairs}))}
        shared = np.zeros((len(row), len(column)))
        for (track, gt), n in self._pairs.items():
            shared[row[track], column[gt]] = n
        rows, columns = linear_sum_assignment(shared, maximize=True)
        return float(2 * shared[rows, columns].sum() / (n_gt + n_predicted))


def _mean(values: list[int]) -> float:
    return float(np.mean(values)) if values else math.nan
