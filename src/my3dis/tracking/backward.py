"""Follow new tracks back in time: fill in what came before them, and find the tracks that they continue.

One sweep over the frames in reverse serves all births. A track followed back whose mask meets the mask of a
track that ended before it was born is one object with it; where nobody explains its mask, the mask is
written; where a track that lives beside it does, following stops.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from my3dis.tracking.lifecycle import Merge
from my3dis.tracking.overlaps import Overlaps
from my3dis.tracking.rows import as_track_rows
from my3dis.types import NO_ID, MaskSet, TrackSet

__all__ = ["BackwardOptions", "BackwardPass", "BackwardStep", "Spans"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackwardOptions:
    """How far and how carefully births are followed back.

    Attributes:
        frames: frames that a track is followed back at most.
        iou_threshold: overlap at which two masks are of one object.
        min_confidence: predictions below are not written; stricter than forward, as nothing confirms them.
        max_explained: share of a prediction that other tracks may cover before it is theirs.
        min_remainder: predictions smaller than this share of the track's first mask are not written.
        min_agreement: frames on which two tracks have to meet to be merged, fewer where fewer were tried.
    """

    frames: int = 8
    iou_threshold: float = 0.5
    min_confidence: float = 0.6
    max_explained: float = 0.3
    min_remainder: float = 0.25
    min_agreement: int = 2


class Spans:
    """First and last frame of every track, two numbers each."""

    def __init__(self, tracks: TrackSet) -> None:
        self._ids: NDArray[np.int32] = tracks.track_id.copy()
        self._first: NDArray[np.int32] = tracks.first_frame.copy()
        self._last: NDArray[np.int32] = tracks.last_frame.copy()

    def first(self, track_id: int) -> int:
        """Return the first frame of a track."""
        return int(self._first[np.searchsorted(self._ids, track_id)])

    def last(self, track_id: int) -> int:
        """Return the last frame of a track."""
        return int(self._last[np.searchsorted(self._ids, track_id)])

    def extend_back(self, track_id: int, frame: int) -> None:
        """Let a track begin earlier."""
        position = np.searchsorted(self._ids, track_id)
        self._first[position] = min(int(self._first[position]), frame)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BackwardStep:
    """What follows from one frame of the sweep.

    Attributes:
        rows: masks to add to the frame.
        prompts: births to give to the tracker.
        dropped: tracks that need not be followed on.
    """

    rows: MaskSet
    prompts: MaskSet
    dropped: tuple[int, ...]


@dataclass(slots=True)
class _Followed:
    birth_frame: int
    birth_area_px: int
    parent_track: int
    steps: int = 0
    agreement: dict[int, list[float]] = field(default_factory=dict)
    met: set[int] = field(default_factory=set)


class BackwardPass:
    """Call `observe` once per frame in descending order, then `merges`."""

    def __init__(self, spans: Spans, options: BackwardOptions | None = None) -> None:
        self.options = options or BackwardOptions()
        self.rows_written = 0
        self._spans = spans
        self._followed: dict[int, _Followed] = {}
        self._proposals: list[Merge] = []

    @property
    def is_following(self) -> bool:
        """Whether any track is being followed back at the moment."""
        return bool(self._followed)

    def births_in(self, rows: MaskSet) -> MaskSet:
        """Return the rows that are the first of their tracks."""
        return rows.select([i for i, t in enumerate(rows.track_id.tolist()) if self._is_birth(t, rows.frame)])

    def _is_birth(self, track_id: int, frame: int) -> bool:
        return track_id not in self._followed and self._spans.first(track_id) == frame

    def observe(self, predictions: MaskSet, rows: MaskSet) -> BackwardStep:
        """Compare what was carried back to a frame with what the forward pass wrote there."""
        births = self.births_in(rows)
        added: list[MaskSet] = []
        dropped: list[int] = []
        next_id = int(rows.mask_id.max(initial=NO_ID)) + 1
        seen = set(predictions.track_id.tolist())
        dropped.extend(t for t in self._followed if t not in seen)
        for level in sorted(set(predictions.level.tolist())):
            carried, there = predictions.at_level(level), rows.at_level(level)
            overlaps = Overlaps.between(carried, there)
            for row, track_id in enumerate(carried.track_id.tolist()):
                followed = self._followed.get(track_id)
                if followed is None:
                    continue
                followed.steps += 1
                verdict = self._judge(followed, carried, there, (overlaps, row))
                if verdict == "write":
                    added.append(self._row(carried, row, next_id, rows, followed))
                    next_id += 1
                    self._spans.extend_back(track_id, rows.frame)
                    followed.met.update(there.track_id.tolist())
                if verdict == "stop" or followed.steps >= self.options.frames:
                    dropped.append(track_id)
        for track_id in dropped:
            self._finish(track_id)
        self._begin(births, rows)
        self.rows_written += len(added)
        return BackwardStep(
            rows=MaskSet.concatenate([rows.select([]), *added]),
            prompts=births,
            dropped=tuple(dropped),
        )

    def _begin(self, births: MaskSet, rows: MaskSet) -> None:
        track_of_row = dict(zip(rows.mask_id.tolist(), rows.track_id.tolist(), strict=True))
        for i, track_id in enumerate(births.track_id.tolist()):
            parent = track_of_row.get(int(births.parent_id[i]), NO_ID)
            self._followed[track_id] = _Followed(births.frame, int(births.area_px[i]), parent)

    def _judge(
        self,
        followed: _Followed,
        carried: MaskSet,
        there: MaskSet,
        measured: tuple[Overlaps, int],
    ) -> str:
        """Return ``meet``, ``write`` or ``stop``."""
        overlaps, row = measured
        if len(there):
            best = int(np.argmax(overlaps.iou[row]))
            if overlaps.iou[row, best] >= self.options.iou_threshold:
                older = int(there.track_id[best])
                if self._spans.last(older) >= followed.birth_frame:
                    return "stop"
                followed.agreement.setdefault(older, []).append(float(overlaps.iou[row, best]))
                return "meet"
            if overlaps.of_prediction[row].sum() > self.options.max_explained:
                return "stop"
        sure = float(carried.score[row]) >= self.options.min_confidence
        large = int(carried.area_px[row]) >= self.options.min_remainder * followed.birth_area_px
        return "write" if sure and large and not followed.agreement else "stop"

    @staticmethod
    def _row(carried: MaskSet, row: int, mask_id: int, rows: MaskSet, followed: _Followed) -> MaskSet:
        parents = rows.mask_id[rows.track_id == followed.parent_track]
        columns = as_track_rows(carried.select([row]))
        return MaskSet(
            frame=rows.frame,
            image_size=rows.image_size,
            mask_id=np.array([mask_id], np.int32),
            level=columns.level,
            parent_id=parents[:1] if len(parents) else np.array([NO_ID], np.int32),
            boxes=columns.boxes,
            area_px=columns.area_px,
            score=columns.score,
            stability=columns.stability,
            source=columns.source,
            rle=columns.rle,
            track_id=columns.track_id,
        )

    def _finish(self, track_id: int) -> None:
        followed = self._followed.pop(track_id, None)
        if followed is None:
            return
        candidates = {t: scores for t, scores in followed.agreement.items() if t not in followed.met}
        if not candidates:
            return
        best = max(candidates, key=lambda t: (len(candidates[t]), sum(candidates[t]), -t))
        scores = candidates[best]
        if len(scores) >= min(self.options.min_agreement, followed.steps):
            strength = sum(scores) / len(scores)
            self._proposals.append(Merge(old=track_id, new=best, reason="overlap", strength=strength))

    def merges(self) -> tuple[Merge, ...]:
        """Return the merges that leave no track with two masks in one frame, strongest first."""
        for track_id in list(self._followed):
            self._finish(track_id)
        groups: dict[int, list[int]] = {}
        leader: dict[int, int] = {}
        accepted: list[Merge] = []
        for merge in sorted(self._proposals, key=lambda m: (-m.strength, m.old)):
            one, other = (leader.get(t, t) for t in (merge.new, merge.old))
            members, others = groups.get(one, [one]), groups.get(other, [other])
            if one == other or any(self._co_occur(a, b) for a in members for b in others):
                continue
            for track_id in others:
                leader[track_id] = one
            groups[one] = members + others
            accepted.append(merge)
        return tuple(accepted)

    def _co_occur(self, a: int, b: int) -> bool:
        return self._spans.first(a) <= self._spans.last(b) and self._spans.first(b) <= self._spans.last(a)
