"""What identities are decided by, and what follows from a frame."""

from __future__ import annotations

from dataclasses import dataclass

from my3dis.tracking.lifecycle import MAX_SLEEPING, Merge
from my3dis.types import MaskSet

__all__ = ["IdentityOptions", "IdentityStep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityOptions:
    """How identities are decided.

    Attributes:
        iou_threshold: overlap at which a candidate continues a track.
        max_propagate: frames that a track is carried on without a candidate; None = as long as no more than
            ``max_misses`` frames had candidates but none for it.
        max_misses: see ``max_propagate``; bridges a flicker of the proposer, not an object that is hidden.
        min_confidence: predictions below are not written.
        min_remainder: predictions smaller than this share of the object's last mask are not written.
        persistence: candidates in a row that a fragment of a living track needs to become a track.
        young_hits: candidates up to which a new track is still compared with those asleep.
        max_sleeping: tracks remembered while away.
    """

    iou_threshold: float = 0.5
    max_propagate: int | None = None
    max_misses: int = 3
    min_confidence: float = 0.5
    min_remainder: float = 0.1
    persistence: int = 3
    young_hits: int = 16
    max_sleeping: int = MAX_SLEEPING


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class IdentityStep:
    """What follows from one frame.

    Attributes:
        rows: masks to write for this frame, ``track_id`` set.
        late_rows: masks of earlier frames to write now, because a fragment became a track.
        prompts: masks to give to the tracker.
        dropped: tracks that the tracker should forget.
        merges: tracks found to be one object.
    """

    rows: MaskSet
    late_rows: tuple[MaskSet, ...]
    prompts: MaskSet
    dropped: tuple[int, ...]
    merges: tuple[Merge, ...]
