"""Records of ``scores.json`` about tracks in the image."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from my3dis.metrics.boundary import SequenceScore
from my3dis.metrics.hota import HotaScores
from my3dis.metrics.video import IdentityScores

__all__ = ["IdentityScore", "Target", "VideoScore", "number"]

Target = Literal["objects", "parts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityScore:
    """Identities of the tracks of one level in the image; see `my3dis.metrics.video.IdentityScores`.

    ``hota``, ``detection``, ``association`` and ``localisation`` are those of `my3dis.metrics.hota`, or None
    when they were not asked for.
    """

    level: int
    target: Target
    scene: str
    mean_j: float | None
    idf1: float | None
    tracks_per_object: float | None
    claimants_per_object: float | None
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
    hota: float | None = None
    detection: float | None = None
    association: float | None = None
    localisation: float | None = None

    @classmethod
    def of(
        cls,
        result: IdentityScores,
        *,
        level: int,
        target: Target,
        scene: str,
        hota: HotaScores | None = None,
    ) -> IdentityScore:
        """Make a record from results."""
        found = asdict(result) | ({} if hota is None else asdict(hota))
        values: dict[str, Any] = {k: number(v) if isinstance(v, float) else v for k, v in found.items()}
        return cls(level=level, target=target, scene=scene, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoScore:
    """J and F of one object and the track that was given to it; the fields of `SequenceScore`.

    `track` is None where no track was left for the object; its frames then score as with an empty mask.
    """

    scene: str
    level: int
    object: int
    track: int | None
    frames: int
    j_mean: float | None
    j_recall: float | None
    j_decay: float | None
    f_mean: float | None
    f_recall: float | None
    f_decay: float | None
    jf_mean: float | None

    @classmethod
    def of(
        cls, j: SequenceScore, f: SequenceScore, *, scene: str, level: int, object: int, track: int | None
    ) -> VideoScore:
        """Make a record from results."""
        return cls(
            scene=scene,
            level=level,
            object=object,
            track=track,
            frames=j.frames,
            j_mean=number(j.mean),
            j_recall=number(j.recall),
            j_decay=number(j.decay),
            f_mean=number(f.mean),
            f_recall=number(f.recall),
            f_decay=number(f.decay),
            jf_mean=number((j.mean + f.mean) / 2),
        )


def number(value: float) -> float | None:
    """Return a figure as records have it: None where it is undefined."""
    return None if math.isnan(value) else float(value)
