"""The one schema of all settings: YAML, ``MY3DIS_*``, ``.env``, the command line and Python go through it.

Every field says what it does, its unit and its default; the README's table is generated from here.
``None`` as a default means "chosen from the data", and the description says how.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "Comparison",
    "Config",
    "Evaluate",
    "Experiment",
    "Filter",
    "Frames",
    "Lift",
    "Report",
    "Slurm",
    "Ssam",
    "Stages",
    "Tracker",
    "frames_from_text",
]

_LAST_LEVEL = 32767
"""Levels are stored as 16-bit numbers."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def _at_home(path: Path) -> Path:
    """Return the path with a leading ``~`` replaced; no shell does so in YAML or after ``KEY=``."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"cannot tell whose home folder {path} means; write the path in full") from error


UserPath = Annotated[Path, AfterValidator(_at_home)]


class _Section(BaseModel):
    # Numbers where text is expected (a tag of 42) are what YAML makes of them, not a mistake.
    # Infinity is a value of no setting, and JSON, in which a run records its settings, cannot say it.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, coerce_numbers_to_str=True, allow_inf_nan=False
    )


def frames_from_text(text: str) -> dict[str, int | None]:
    """Return start, end and step written as ``start:end:step`` with parts left out as in Python.

    Raises:
        ValueError: if the text is of another form.
    """
    parts = [part.strip() for part in text.split(":")]
    if len(parts) not in (2, 3) or not all(part.isdecimal() or not part for part in parts):
        raise ValueError(f"expected start:end:step such as 1200:1600:20 or ::8, found {text!r}")
    start, end, step = (int(part) if part else None for part in (*parts, "")[:3])
    return {"start": start or 0, "end": end, "step": 1 if step is None else step}


class Frames(_Section):
    """Which frames of the scan are used; positions in the numerically sorted list.

    The whole section may be written as text: ``start:end:step``.
    """

    start: int = Field(0, ge=0, description="first position")
    end: int | None = Field(None, ge=0, description="position to stop before; null = to the end")
    step: int = Field(1, ge=1, description="use every step-th frame")

    @model_validator(mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return frames_from_text(value) if isinstance(value, str) else value

    def __str__(self) -> str:
        """Return the section as ``start:end:step``."""
        return f"{self.start}:{'' if self.end is None else self.end}:{self.step}"


class Slurm(_Section):
    """What the jobs of a sweep ask SLURM for; what is null is left to SLURM."""

    cluster: Literal["slurm", "local"] = Field(
        "slurm", description="local = processes on this machine instead, to try a sweep without SLURM"
    )
    partition: str | None = Field(None, description="partition of all jobs")
    gpu_partition: str | None = Field(None, description="partition of jobs with a GPU; null = the same")
    account: str | None = Field(None, description="account to charge")
    qos: str | None = Field(None, description="quality of service")
    time_min: int | None = Field(
        None, ge=1, description="time limit of a job, minutes; null = four times what it should take"
    )
    array_parallelism: int = Field(256, ge=1, description="jobs of one array at a time")
    setup: list[str] = Field([], description="shell lines before each job, such as module load cuda")
    extra: list[str] = Field([], description="more options of sbatch, such as constraint=a100")


class Experiment(_Section):
    """What is run, on which scans, and where results go."""

    name: str = Field("default", pattern=r"^[\w-][\w.-]*$", description="name of the run's folder")
    dataset: str = Field("auto", description="reader plug-in, or auto to recognise the scan's layout")
    dataset_root: UserPath | None = Field(None, description="folder that holds the scenes")
    scenes: list[str] | Literal["all"] = Field(
        "all", description="names below dataset_root, or all; a * matches anything; commas in text separate"
    )
    scene_start: int | None = Field(None, ge=0, description="first of the sorted scenes to run")
    scene_end: int | None = Field(None, ge=0, description="position in the sorted scenes to stop before")
    levels: list[int] = Field([2, 4, 6], min_length=1, description="granularities, coarse to fine")
    frames: Frames = Frames()
    output_root: UserPath = Field(
        Path("outputs"), description="folder for all runs; {name} becomes the run's name"
    )
    tag: str | None = Field(None, description="free text kept in the run's summary and history")
    parallel_scenes: int | None = Field(
        None, ge=1, description="scenes at a time; null = as many as processors, memory and GPUs allow"
    )
    executor: Literal["local", "ray", "slurm"] = Field(
        "local", description="what runs the jobs: this machine, a Ray cluster or SLURM (docs/clusters.md)"
    )
    ray_address: str | None = Field(
        None, description="of the Ray cluster, auto = the one of this machine; null = start Ray here"
    )
    ray_gpu_mb: int | None = Field(
        None, ge=1, description="memory of a GPU of the Ray cluster, MiB; null = its machines are asked"
    )
    slurm: Slurm = Slurm()
    retries: int = Field(
        2, ge=0, description="more attempts for a job that died for want of memory or by the machine's fault"
    )
    memory_mb: int | None = Field(
        None, ge=1, description="host memory to reserve for a job, MiB; null = estimated"
    )
    gpu_memory_mb: int | None = Field(
        None, ge=1, description="share of a GPU to lease for a job, MiB; null = as measured, else a whole one"
    )
    check: Literal["stop", "warn", "off"] = Field(
        "stop", description="what to do when depth, poses and intrinsics do not fit each other"
    )
    seed: int = Field(0, ge=0, description="for everything random")

    @field_validator("levels", mode="before")
    @classmethod
    def _levels_from_text(cls, value: object) -> object:
        if isinstance(value, str):  # 2,4,6 on the command line or in the environment
            return [part.strip() for part in value.strip("[] ").split(",") if part.strip()]
        return [value] if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("scenes", mode="before")
    @classmethod
    def _scenes_from_text(cls, value: object) -> object:
        if isinstance(value, str) and value != "all":
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("levels")
    @classmethod
    def _levels_rise(cls, levels: list[int]) -> list[int]:
        if any(level < 0 for level in levels) or sorted(set(levels)) != levels:
            raise ValueError(f"levels must rise without repeats, such as [2, 4, 6]; found {levels}")
        if levels and levels[-1] > _LAST_LEVEL:
            raise ValueError(f"levels must be at most {_LAST_LEVEL}; found {levels}")
        return levels


class Ssam(_Section):
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


class Filter(_Section):
    """Filter: which candidates go on; re-runs without proposing again."""

    enabled: bool = Field(True, description="run this stage")
    duplicate_iou: Fraction | None = Field(
        None,
        description="drop a mask that overlaps a better one of its level more; null = 0.9; final masks: off",
    )


class Comparison(_Section):
    """Which frames are drawn in the report; the first and the last always are."""

    every: int = Field(10, ge=1, description="draw every n-th selected frame")
    max: int = Field(12, ge=2, description="draw at most this many frames")


class Tracker(_Section):
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


class Lift(_Section):
    """Lifting: 3D instances from tracked masks."""

    enabled: bool = Field(True, description="run this stage")
    min_points: int = Field(
        50, ge=1, description="drop smaller instances; below the first level a fifth of it"
    )
    depth_tolerance_m: float = Field(
        0.05, gt=0, description="depth agreement for a point to be visible, metres at 2 m"
    )
    vote_ratio: Fraction = Field(0.5, description="share of a point's views that must agree")
    voxel_m: float = Field(0.02, gt=0, description="point spacing when points are fused from depth, metres")


class Evaluate(_Section):
    """Evaluation against ground truth, where the scan has it."""

    enabled: bool = Field(True, description="run this stage")
    min_region_objects: int = Field(100, ge=1, description="smallest object that counts, points")
    min_region_parts: int = Field(10, ge=1, description="smallest part that counts, points")


class Report(_Section):
    """The report that a person reads."""

    enabled: bool = Field(True, description="run this stage")
    name: str = Field("report", pattern=r"^[\w-][\w.-]*$", description="file stem of the report")
    max_width: int = Field(960, ge=64, description="widest picture, px")
    record_timings: bool = Field(True, description="show stage times and memory")


class Stages(_Section):
    """Settings of each stage."""

    gpu: int | None = Field(None, ge=0, description="GPU that device=auto means; null = the first, if any")
    ssam: Ssam = Ssam()
    filter: Filter = Filter()
    tracker: Tracker = Tracker()
    lift: Lift = Lift()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()


class Config(_Section):
    """All settings of a run."""

    experiment: Experiment = Experiment()
    stages: Stages = Stages()
