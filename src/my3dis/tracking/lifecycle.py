"""A track's life: tentative, awake, asleep, dead; and the bounded crowd of sleepers."""

from __future__ import annotations

from dataclasses import dataclass, field

from my3dis.tracking.memory import Memory
from my3dis.types import NO_ID, MaskSet

__all__ = ["MAX_SLEEPING", "Counts", "Merge", "Sleepers", "Track"]

MAX_SLEEPING = 512
"""Tracks that are remembered while away; about 3 kB each, so 1.5 MB at most however long the scan."""


@dataclass(slots=True)
class Track:
    """One object at one level, as far as the forward pass knows it.

    Attributes:
        track_id: its id, also in the archive.
        level: granularity.
        first_frame, last_frame: frames of its first and latest mask.
        last_match: latest frame on which a candidate confirmed it.
        hits: candidates that it got.
        misses: frames with candidates since ``last_match`` on which it got none.
        hidden: whether another object lay where it was expected on the latest frame with candidates.
        last_step: step of its latest candidate; steps count the frames that were looked at.
        parent_track: track of its parent when last known, -1 = none.
        memory: what is remembered of it.
        guardian: for a tentative track, the track whose mask it lies in, -1 = none.
        pending: masks of a tentative track, not written yet.
        tentative: whether it still has to persist to become a track.
    """

    track_id: int
    level: int
    first_frame: int
    last_frame: int
    last_match: int
    last_step: int
    memory: Memory
    hits: int = 1
    misses: int = 0
    hidden: bool = False
    parent_track: int = NO_ID
    guardian: int = NO_ID
    pending: list[MaskSet] = field(default_factory=list)
    tentative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Two tracks that turned out to be one object.

    Attributes:
        old, new: ``old`` becomes ``new``.
        reason: ``place`` (same points in the world) or ``overlap`` (followed back, the masks met).
        strength: evidence in [0, 1].
    """

    old: int
    new: int
    reason: str
    strength: float


@dataclass(slots=True)
class Counts:
    """What happened so far, for the stage's facts."""

    births: int = 0
    wakes: int = 0
    coasted: int = 0
    merges: int = 0
    discarded_fragments: int = 0
    mended: int = 0
    joined_pieces: int = 0
    empty_candidates: int = 0
    forgotten: int = 0


class Sleepers:
    """Tracks that may come back, a bounded number; the briefest and longest gone are forgotten first."""

    def __init__(self, limit: int = MAX_SLEEPING) -> None:
        self._limit = limit
        self._tracks: dict[int, Track] = {}

    def __len__(self) -> int:
        return len(self._tracks)

    def __contains__(self, track_id: int) -> bool:
        return track_id in self._tracks

    @property
    def ids(self) -> frozenset[int]:
        """Ids of the tracks that are remembered."""
        return frozenset(self._tracks)

    def add(self, track: Track) -> int:
        """Put a track to sleep and return how many had to be forgotten for it (0 or 1)."""
        self._tracks[track.track_id] = track
        if len(self._tracks) <= self._limit:
            return 0
        # A track seen many times is worth more than one seen once, however recent.
        weakest = min(self._tracks.values(), key=lambda t: (min(t.hits, 8), t.last_frame, t.track_id))
        del self._tracks[weakest.track_id]
        return 1

    def take(self, track_id: int) -> Track:
        """Remove and return a track."""
        return self._tracks.pop(track_id)

    def at_level(self, level: int) -> list[Track]:
        """Return the sleepers of a level by id."""
        return sorted((t for t in self._tracks.values() if t.level == level), key=lambda t: t.track_id)
