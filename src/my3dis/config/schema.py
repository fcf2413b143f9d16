"""The one schema of all settings: YAML, ``MY3DIS_*``, ``.env``, the command line and Python go through it.

Every field says what it does, its unit and its default; the README's table is generated from here.
``None`` as a default means "chosen from the data", and the description says how.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from my3dis.config.experiment import Experiment
from my3dis.config.section import Fraction, Section, UserPath

__all__ = [
    "Comparison",
    "Config",
    "Evaluate",
    "Filter",
    "Lift",
    "Report",
    "Ssam",
    "Stages",
    "Tracker",
]


class Ssam(Section):
    """Candidates: masks at every level, frame by frame."""

    enabled: bool = Field(True, description="run this stage")
    proposer: str = Field(
        "watershed", description="source of masks: watershed, recorded, oracle or a plug-in"
    )
    recorded_root: UserPath | None = Field(
        None, description="folder of level_<L>/<frame>.png for proposer=recorded"
    )
    checkpoint: str | None = Field(None, description="model weights, for proposers that load some")
    device: str = Field("auto", description="auto, cpu, cuda:N or mps, for proposers that load weights")
    dtype: str = Field("auto", description="floating-point type, for proposers that load weights")
    refine: Literal["crop", "mask", "points"] = Field(
        "crop",
        description="where a point-prompted proposer looks inside a parent: crop = a cut-out around it; "
        "mask = the frame blacked out around it; points = the frame itself, prompted inside the parent, "
        "one network pass per frame instead of one more per parent",
    )
    points_per_side: int | None = Field(
        None, ge=1, le=256, description="grid of prompts, for point-prompted proposers; null = its own"
    )
    points_per_batch: int | None = Field(
        None, ge=1, description="prompts at once, for point-prompted proposers; null = its own"
    )
    predicted_iou: Fraction | None = Field(
        None, description="drop masks that the model itself rates lower; null = the proposer's own"
    )
    ssam_freq: int = Field(1, ge=1, description="propose on every n-th selected frame")
    min_area: int | None = Field(
        None,
        ge=0,
        description="drop smaller masks, px; null = 200 at 640x480, scaled with the image; final masks: 0. "
        "Under 50 (scaled) nothing is proposed",
    )
    stability_threshold: Fraction | None = Field(
        None, description="drop less stable masks; null = the proposer's own; final masks: 0"
    )
    add_gaps: bool | None = Field(
        None, description="fill uncovered regions at the first level; null = yes, except for final masks"
    )
    fill_area: int | None = Field(
        None, ge=1, description="smallest gap to fill, px; null = 1000 at 640x480, scaled with the image"
    )
    max_masks_per_level: int | None = Field(
        None, ge=1, description="keep the largest of a frame's level; null = 200; final masks: no limit"
    )


class Filter(Section):
    """Filter: which candidates go on; re-runs without proposing again."""

    enabled: bool = Field(True, description="run this stage")
    duplicate_iou: Fraction | None = Field(
        None,
        description="drop a mask that overlaps a better one of its level more; null = 0.9; final masks: off",
    )


class Comparison(Section):
    """Which frames are drawn in the report; the first and the last always are."""

    every: int = Field(10, ge=1, description="draw every n-th selected frame")
    max: int = Field(12, ge=2, description="draw at most this many frames")


class Tracker(Section):
    """Tracking: one identity per object."""

    enabled: bool = Field(True, description="run this stage")
    propagator: str = Field("auto", description="auto, warp (depth and pose), flow, oracle or a plug-in")
    checkpoint: str | None = Field(None, description="model weights, for trackers that load some")
    device: str = Field("auto", description="auto, cpu, cuda:N or mps, for trackers that load weights")
    dtype: str = Field("auto", description="floating-point type, for trackers that load weights")
    iou_threshold: Fraction = Field(0.5, description="overlap at which a candidate continues a track")
    max_propagate: int | None = Field(
        None, ge=1, description="frames a track is carried on without a candidate; null = the tracker decides"
    )
    backward_frames: int = Field(8, ge=0, description="frames that a new track is followed back in time")
    prompt_mode: Literal["all_mask", "small_box", "all_box"] = Field(
        "all_mask",
        description="what model trackers are prompted with: masks, boxes for small objects, or boxes",
    )
    objects_per_batch: int | None = Field(
        None,
        ge=1,
        description="objects in one pass of a model tracker; null = its own (sam2_video: 1, so that "
        "an object's masks do not depend on the others; more encodes memories together, rounded differently)",
    )
    checkpoint_every: int | None = Field(
        50,
        ge=0,
        description="frames after which tracking saves its state, the most that a killed run repeats; "
        "0 or null = never, then tracking begins anew; results do not depend on it",
    )
    render_viz: bool = Field(True, description="draw comparison pictures for the report")
    comparison_sampling: Comparison = Comparison()


class Lift(Section):
    """Lifting: 3D instances from tracked masks."""

    enabled: bool = Field(True, description="run this stage")
    min_points: int = Field(
        50, ge=1, description="drop smaller instances; below the first level a fifth of it"
    )
    depth_tolerance_m: float = Field(
        0.05, gt=0, description="depth agreement for a point to be visible, metres at 2 m"
    )
    vote_ratio: Fraction = Field(0.4, description="share of a point's views that must agree")
    voxel_m: float = Field(0.02, gt=0, description="point spacing when points are fused from depth, metres")


class Evaluate(Section):
    """Evaluation against ground truth, where the scan has it."""

    enabled: bool = Field(True, description="run this stage")
    min_region_objects: int = Field(100, ge=1, description="smallest object that counts, points")
    min_region_parts: int = Field(10, ge=1, description="smallest part that counts, points")


class Report(Section):
    """The report that a person reads."""

    enabled: bool = Field(True, description="run this stage")
    name: str = Field("report", pattern=r"^[\w-][\w.-]*$", description="file stem of the report")
    max_width: int = Field(960, ge=64, description="widest picture, px")
    record_timings: bool = Field(True, description="show stage times and memory")


class Stages(Section):
    """Settings of each stage."""

    gpu: int | None = Field(None, ge=0, description="GPU that device=auto means; null = the first, if any")
    ssam: Ssam = Ssam()
    filter: Filter = Filter()
    tracker: Tracker = Tracker()
    lift: Lift = Lift()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()


class Config(Section):
    """All settings of a run."""

    experiment: Experiment = Experiment()
    stages: Stages = Stages()
