"""Settings of the experiment: which scans, which frames, where results go, what runs the jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from my3dis.config.section import Section, UserPath

__all__ = ["Correct", "Experiment", "Frames", "Slurm", "frames_from_text"]

_LAST_LEVEL = 32767
"""Levels are stored as 16-bit numbers."""


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


class Frames(Section):
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


class Slurm(Section):
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


class Correct(Section):
    """Corrections of a scan whose poses, units or intrinsics are other than its layout says.

    ``my3dis check SCAN`` finds out which are needed.
    """

    poses: list[Literal["inverse", "opengl", "transposed", "transposed_rotation"]] = Field(
        [],
        description="changes of pose matrices, in order: inverse (camera-from-world is stored), opengl "
        "(camera axes y up, z backwards), transposed (written column by column), transposed_rotation",
    )
    pose_scale: float = Field(1.0, gt=0, description="metres of one unit of the poses' translations")
    depth_scale: float = Field(1.0, gt=0, description="factor on depth")
    focal_scale: float = Field(1.0, gt=0, description="factor on focal lengths")
    intrinsics_size: tuple[int, int] | None = Field(
        None, description="width and height of the images that the intrinsics are for; null = of the scan's"
    )
    depth_shift_px: tuple[float, float] = Field(
        (0.0, 0.0), description="x and y by which depth images must move to lie over colour, pixels"
    )
    alignment: UserPath | None = Field(
        None, description="file with 16 numbers that map the poses' world into the mesh's, row by row"
    )
    alignment_inverted: bool = Field(False, description="the file maps the other way")

    @field_validator("intrinsics_size")
    @classmethod
    def _size_above_zero(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None and min(size) < 1:
            raise ValueError(f"intrinsics_size must be a width and a height above 0, found {list(size)}")
        return size


class Experiment(Section):
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
    correct: Correct = Correct()
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
