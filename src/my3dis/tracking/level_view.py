"""One level of one frame while identities are decided on it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from my3dis.masks.codec import measure, to_bytes
from my3dis.masks.overlap import union
from my3dis.tracking.cues import FrameCues, MaskCues
from my3dis.tracking.evidence import looks, place
from my3dis.tracking.lifecycle import Track
from my3dis.tracking.memory import MIN_POINTS, Memory
from my3dis.tracking.overlaps import MOSTLY, NOTABLE, Overlaps
from my3dis.types import NO_ID, MaskSet

__all__ = ["LevelView"]

BRIEF_STEPS = 10


@dataclass(slots=True, eq=False)
class LevelView:
    """Candidates, predictions and who got what so far.

    Attributes:
        level: granularity.
        frame: colours and depth.
        step: number of frames looked at so far.
        candidates: N masks of the level in canonical order.
        cues: of the candidates.
        predictions: K carried masks of the level, by track.
        tracks: the track of each prediction; tentative ones included.
        overlaps: of predictions and candidates.
        owner: candidate → track that got it.
        carried: ids of tracks whose prediction is written.
    """

    level: int
    frame: FrameCues
    step: int
    candidates: MaskSet
    cues: list[MaskCues]
    predictions: MaskSet
    tracks: list[Track]
    overlaps: Overlaps
    owner: dict[int, Track] = field(default_factory=dict)
    carried: set[int] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        level: int,
        awake: dict[int, Track],
        predictions: MaskSet,
        candidates: MaskSet,
        frame: FrameCues,
        step: int,
    ) -> LevelView:
        """Gather a level; predictions of unknown tracks are left out."""
        rows = [i for i, t in enumerate(predictions.track_id.tolist()) if t in awake]
        rows.sort(key=lambda i: int(predictions.track_id[i]))
        carried = predictions.select(rows)
        return cls(
            level=level,
            frame=frame,
            step=step,
            candidates=candidates,
            cues=frame.describe(candidates),
            predictions=carried,
            tracks=[awake[t] for t in carried.track_id.tolist()],
            overlaps=Overlaps.between(carried, candidates),
        )

    @property
    def free(self) -> list[int]:
        """Candidates that no track has got."""
        return [c for c in range(len(self.candidates)) if c not in self.owner]

    @property
    def matched(self) -> set[int]:
        """Ids of tracks that got a candidate."""
        return {track.track_id for track in self.owner.values()}

    @property
    def established(self) -> NDArray[np.bool_]:
        """(K,) whether each prediction is of a track that is not tentative."""
        return np.array([not t.tentative for t in self.tracks], bool)

    def row_of(self, track: Track) -> int | None:
        """Return the row of a track's prediction, or None."""
        found = np.flatnonzero(self.predictions.track_id == track.track_id)
        return int(found[0]) if len(found) else None

    def merged(self) -> NDArray[np.bool_]:
        """Whether each candidate (N,) holds several tracks that were seen apart lately."""
        # One missed frame is a proposer's slip, where depth shows that the object is not hidden.
        slips = int(self.frame.is_posed)
        fresh = [not t.tentative and t.misses <= slips and t.hits > 1 for t in self.tracks]
        return self.overlaps.swallowing(np.array(fresh, bool))

    def memory_of(self, column: int) -> Memory:
        """Return what would be remembered of a candidate."""
        masks = self.candidates
        return Memory.of(
            self.cues[column], masks.boxes[column], int(masks.area_px[column]), self.frame.viewpoint
        )

    def likeness(self, lost: list[Track], asleep: list[Track], columns: list[int]) -> NDArray[np.float64]:
        """Score (lost + asleep, columns) that candidates are tracks which got none, or were away.

        By place in the world where enough of a track is seen there. Else, for tracks lost only now, by growth
        out of the prediction or by looks. Sleepers are known by looks only where places cannot be compared:
        looks would mistake one of two equal chairs for the other.
        """
        masks = self.candidates.select(columns)
        cues = [self.cues[c] for c in columns]
        tracks = lost + asleep
        score, certain = place([t.memory for t in tracks], masks, cues, self.frame)
        by_looks = [
            i
            for i, t in enumerate(tracks)
            if not certain[i] and (i < len(lost) or not self.frame.is_posed or self._is_brief(t))
        ]
        if by_looks:
            away = np.array([self.step - tracks[i].last_step for i in by_looks], np.int64)
            score[by_looks] = looks([tracks[i].memory for i in by_looks], away, masks, cues)
        grown = self.overlaps.grown()
        for i, track in enumerate(lost):
            row = self.row_of(track)
            if row is not None and not certain[i]:
                score[i] = np.maximum(score[i], grown[row, columns])
        return score

    def _is_brief(self, track: Track) -> bool:
        """Whether a track without points to find it by was lost so recently that it must be near still."""
        return not track.memory.has_place and self.step - track.last_step <= BRIEF_STEPS

    def hidden(self, row: int) -> bool:
        """Whether candidates of other tracks lie where a prediction expects its own track."""
        own = self.tracks[row].track_id
        others = [c for c, owner in self.owner.items() if owner.track_id != own and not owner.tentative]
        return float(self.overlaps.of_prediction[row, others].sum()) >= 1 - MOSTLY

    def explained(self, column: int) -> tuple[bool, int]:
        """Whether established tracks cover most of a candidate, and the one that alone does, or -1."""
        shares = np.where(self.established, self.overlaps.of_candidate[:, column], 0.0)
        if not len(shares) or shares.sum() < MOSTLY:
            return self._is_remembered(column), NO_ID
        best = int(np.argmax(shares))
        return True, self.tracks[best].track_id if shares[best] >= MOSTLY else NO_ID

    def is_foreign(self, track: Track, column: int) -> bool:
        """Whether a notable part of a candidate is new to a track and lies where another was seen before."""
        points_m = self.cues[column].points_m
        if len(points_m) < MIN_POINTS or not track.memory.has_place:
            return False
        new_m = points_m[~track.memory.near(points_m)]
        if len(new_m) < NOTABLE * len(points_m):
            return False
        known = np.zeros(len(new_m), np.bool_)
        for other in self.tracks:
            if other is not track and not other.tentative and other.memory.has_place:
                known |= other.memory.near(new_m)
        return float(known.sum()) >= NOTABLE * len(points_m)

    def _is_remembered(self, column: int) -> bool:
        """Whether most of a candidate lies where an established track in view was seen before."""
        points_m = self.cues[column].points_m
        known = [t.memory for t in self.tracks if not t.tentative and t.memory.has_place]
        return any(memory.holds(points_m) >= MOSTLY for memory in known)

    def mend(self) -> int:
        """Complete candidates that are pieces of their tracks by other pieces, and return how many.

        A piece lies mostly inside what the tracker expects of the track, belongs to no established track, and
        brings the whole clearly nearer to what is expected. If it persists it becomes a track of its own.
        """
        loose = [c for c in range(len(self.candidates)) if c not in self.owner or self.owner[c].tentative]
        mended: dict[int, bytes] = {}
        for column, track in self.owner.items():
            row = None if track.tentative else self.row_of(track)
            if row is None:
                continue
            pieces = [c for c in loose if self.overlaps.of_candidate[row, c] >= MOSTLY]
            if pieces and self._fit(row, [column, *pieces]) >= self._fit(row, [column]) + NOTABLE:
                masks = self.candidates
                mended[column] = to_bytes(union([masks.rle[c] for c in (column, *pieces)], masks.image_size))
        if mended:
            self._replace(mended)
        return len(mended)

    def _fit(self, row: int, columns: list[int]) -> float:
        """Return the overlap of a prediction with disjoint candidates together."""
        expected = int(self.predictions.area_px[row])
        shared = float(self.overlaps.of_prediction[row, columns].sum()) * expected
        return shared / max(1.0, expected + int(self.candidates.area_px[columns].sum()) - shared)

    def _replace(self, rle_of: dict[int, bytes]) -> None:
        columns = sorted(rle_of)
        boxes, area_px = self.candidates.boxes.copy(), self.candidates.area_px.copy()
        rle = [rle_of.get(i, code) for i, code in enumerate(self.candidates.rle)]
        boxes[columns], area_px[columns] = measure([rle[c] for c in columns], self.candidates.image_size)
        self.candidates = replace(self.candidates, boxes=boxes, area_px=area_px, rle=tuple(rle))

    def prompts(self, columns: list[int]) -> MaskSet:
        """Return candidates with their tracks, numbered so that levels can be joined."""
        masks = self.candidates.select(columns)
        track_id = np.array([self.owner[c].track_id for c in columns], np.int32)
        return replace(masks, track_id=track_id)
