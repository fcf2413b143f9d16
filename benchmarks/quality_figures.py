"""What a job of the quality benchmark is, and what it measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "ABSENT",
    "MASKS",
    "NAIVE",
    "OURS",
    "PEER",
    "PEERS",
    "PEER_COST",
    "PUBLIC",
    "TRUE",
    "Ap",
    "Figures",
    "Job",
    "Masks",
]

ABSENT = -1.0
"""Stands for a figure that is undefined."""


@dataclass(frozen=True)
class Masks:
    """One kind of masks.

    Attributes:
        label: as printed.
        judged: what these masks stand for, ``objects`` or ``parts``.
        level: of the tracks whose identities are scored.
        settings: of the run; those of proposers that replay masks lack their folder.
        recorded: what is replayed, ``degraded`` or ``part``; empty = nothing.
    """

    label: str
    judged: str
    level: int
    settings: tuple[tuple[str, object], ...]
    recorded: str = ""


_ALONE = ("experiment.levels", [2])
_REPLAYED = ("stages.ssam.proposer", "recorded")
MASKS = {
    "oracle": Masks("oracle objects", "objects", 2, (_ALONE, ("stages.ssam.proposer", "oracle"))),
    "degraded": Masks("degraded objects", "objects", 2, (_ALONE, _REPLAYED), "degraded"),
    # Parts are the only level here: what counts as too small is what it is for parts in a tree.
    "parts": Masks("oracle parts", "parts", 2, (_ALONE, _REPLAYED, ("stages.lift.min_points", 10)), "part"),
    "tree": Masks(
        "oracle objects + parts",
        "parts",
        4,
        (("experiment.levels", [2, 4]), ("stages.ssam.proposer", "oracle")),
    ),
    "weight-free": Masks("weight-free default", "objects", 2, (("stages.ssam.proposer", "watershed"),)),
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process does.

    Attributes:
        masks: a key of `MASKS`.
        scan: folder of a scan with ground truth.
        folder: of this job.
        step: every n-th frame is used.
        recorded: label maps to replay, or empty.
        switch: what is left out, a key of `quality_switches.SWITCHES`; empty = nothing.
        run_dir: of the finished run that a switch starts from.
        made_by: identifies the source.
    """

    masks: str
    scan: str
    folder: str
    step: int = 1
    recorded: str = ""
    switch: str = ""
    run_dir: str = ""
    made_by: str = ""

    @property
    def scene(self) -> str:
        """The scan's name."""
        return Path(self.scan).name


@dataclass(frozen=True)
class Ap:
    """Average precision in percent, and the level whose instances were scored."""

    ap: float = ABSENT
    ap50: float = ABSENT
    ap25: float = ABSENT
    level: int = -1
    predictions: int = 0
    truths: int = 0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one job measured; figures that are undefined or were not taken are `ABSENT`.

    Attributes:
        masks, scene, switch, step: of the job.
        objects, parts: with all confidences equal; ``objects_ranked``, ``parts_ranked``: as predicted.
        parents: share of parts under the right object, percent.
        switches, object_frames: changes of an object's track, and times that an object was visible.
        tracks_per_object, claimants, idf1: see `my3dis.metrics.video.IdentityScores`.
        seconds: of the stages from candidates to lift, wall; ``track_cpu_s``, ``lift_cpu_s``: processor
            seconds of these two.
        lift_peak_mb, run_peak_mb: resident memory, MiB.
        frames, masks_in, tracks, instances: counts.
        run_dir: of the run.
    """

    masks: str
    scene: str
    switch: str
    step: int
    run_dir: str
    objects: Ap = field(default_factory=Ap)
    objects_ranked: Ap = field(default_factory=Ap)
    parts: Ap = field(default_factory=Ap)
    parts_ranked: Ap = field(default_factory=Ap)
    parents: float = ABSENT
    switches: int = 0
    object_frames: int = 0
    tracks_per_object: float = ABSENT
    claimants: float = ABSENT
    idf1: float = ABSENT
    seconds: float = ABSENT
    track_cpu_s: float = ABSENT
    lift_cpu_s: float = ABSENT
    lift_peak_mb: float = ABSENT
    run_peak_mb: float = ABSENT
    frames: int = 0
    masks_in: int = 0
    tracks: int = 0
    instances: int = 0

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Figures:
        """Make figures from JSON."""
        aps = {name: Ap(**plain[name]) for name in ("objects", "objects_ranked", "parts", "parts_ranked")}
        return cls(**{**plain, **aps})


PUBLIC = ("synth0000_00", "synth0001_00")
OURS, NAIVE, TRUE = "My3DIS", "naive merging", "true identities, plain vote"
PEER = "MaskClustering"
PEERS: dict[tuple[str, str], tuple[tuple[float, float, float], ...]] = {
    (PEER, "oracle"): ((73.5, 89.9, 95.0), (71.7, 96.7, 96.7)),
    (PEER, "degraded"): ((67.7, 91.3, 96.6), (65.4, 90.2, 95.2)),
    (PEER, "parts"): ((46.0, 66.0, 76.8), (41.2, 60.3, 74.1)),
    (PEER, "weight-free"): ((3.8, 11.7, 31.7), (7.6, 15.5, 36.0)),
    (NAIVE, "oracle"): ((77.5, 91.3, 96.6), (79.1, 98.3, 98.3)),
    (NAIVE, "degraded"): ((57.3, 84.9, 96.6), (50.8, 88.9, 95.2)),
    (NAIVE, "parts"): ((57.6, 77.9, 80.4), (49.3, 78.1, 89.1)),
    (NAIVE, "weight-free"): ((4.1, 11.7, 36.4), (6.4, 15.7, 37.1)),
    (TRUE, "oracle"): ((88.9, 100.0, 100.0), (85.1, 100.0, 100.0)),
    (TRUE, "degraded"): ((73.3, 100.0, 100.0), (62.0, 100.0, 100.0)),
    (TRUE, "parts"): ((59.0, 82.0, 96.5), (56.0, 88.8, 98.6)),
    (TRUE, "weight-free"): ((36.5, 54.8, 85.2), (35.6, 66.8, 76.9)),
}
"""AP / AP50 / AP25 on the rooms of `PUBLIC`, from the file PEER.md beside them: all 84 frames, constant
scores, the same masks, except weight-free, where each method had one watershed cut at about 40 regions."""
PEER_COST = {
    "oracle": ((11, 13), 630),
    "degraded": ((9, 10), 608),
    "parts": ((17, 25), 718),
    "weight-free": ((31, 36), 816),
}
"""The peer's processor seconds (from, to) and peak MB, from the same file."""
