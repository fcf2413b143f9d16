"""Seconds and peak memory of every stage, in ``stage_timings.json``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from my3dis.errors import DataError
from my3dis.runs.files import atomic_write_json, read_json

__all__ = ["StageTiming", "read_timings", "write_timings"]

_OWN = (
    "seconds",
    "peak_rss_mb",
    "peak_gpu_mb",
    "masks_in",
    "masks_out",
    "rss_before_mb",
    "rss_after_mb",
    "reused",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTiming:
    """What a stage took when it last ran.

    Attributes:
        name: of the stage.
        seconds: wall time.
        peak_rss_mb, rss_before_mb, rss_after_mb: resident memory in MiB.
        peak_gpu_mb: (GPU, MiB), empty without one.
        masks_in, masks_out: masks read and written (instances for lifting).
        facts: further named figures.
        reused: the figures are of an earlier run whose result was taken over.
    """

    name: str
    seconds: float
    peak_rss_mb: float
    rss_before_mb: float = 0.0
    rss_after_mb: float = 0.0
    peak_gpu_mb: tuple[tuple[str, float], ...] = ()
    masks_in: int = 0
    masks_out: int = 0
    facts: tuple[tuple[str, float | int | str], ...] = ()
    reused: bool = False

    def as_reused(self) -> StageTiming:
        """Return the same figures, marked as those of an earlier run."""
        return replace(self, reused=True)


def write_timings(path: Path, timings: tuple[StageTiming, ...]) -> None:
    """Write the timings in one step; see `my3dis.runs.files.atomic_path` for errors."""
    atomic_write_json(path, {"stages": {timing.name: _plain(timing) for timing in timings}})


def read_timings(path: Path) -> tuple[StageTiming, ...]:
    """Read timings; a run without the file has none.

    Raises:
        DataError: if the file is damaged.
    """
    if not path.is_file():
        return ()
    value = read_json(path)
    try:
        stages: dict[str, dict[str, Any]] = value["stages"]  # type: ignore[index]  # checked by the except below
        return tuple(_timing(name, plain) for name, plain in stages.items())
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected stage timings, found {error!r}; delete the file") from error


def _plain(timing: StageTiming) -> dict[str, object]:
    plain: dict[str, object] = {
        "seconds": round(timing.seconds, 3),
        "peak_rss_mb": round(timing.peak_rss_mb, 1),
        "peak_gpu_mb": dict(timing.peak_gpu_mb),
        "masks_in": timing.masks_in,
        "masks_out": timing.masks_out,
        "rss_before_mb": round(timing.rss_before_mb, 1),
        "rss_after_mb": round(timing.rss_after_mb, 1),
        "reused": timing.reused,
    }
    return plain | {name: value for name, value in timing.facts if name not in plain}


def _timing(name: str, plain: dict[str, Any]) -> StageTiming:
    own = {key: plain[key] for key in _OWN if key in plain}
    own["peak_gpu_mb"] = tuple(plain.get("peak_gpu_mb", {}).items())
    facts = tuple((key, value) for key, value in plain.items() if key not in _OWN)
    return StageTiming(name=name, facts=facts, **own)
