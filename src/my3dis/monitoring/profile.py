"""The memory of a stage over the frames it did: recorded, fitted and kept in the run's folder."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from my3dis.archive import open_archive
from my3dis.errors import ArchiveError, DataError
from my3dis.monitoring.sampler import KEPT_SAMPLES, MemorySample, MemorySampler
from my3dis.runs.files import atomic_write_text, read_json

__all__ = [
    "PER_MASKS",
    "WARM_UP_SHARE",
    "MemoryProfile",
    "PassSlope",
    "StageProfiler",
    "read_profiles",
    "save_profile",
]

PER_MASKS = 10_000
"""Growth is stated per so many masks."""

WARM_UP_SHARE = 0.2
"""The first fifth of a pass fills what is filled once: libraries loaded at first use, SQLite's caches, the
allocator's arenas, the objects in view. Growth with the scene goes on after it."""

_ASK_EVERY_S = 0.5
_LEAST_POINTS = 5
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSlope:
    """How memory grows in one pass over the frames: least squares of memory over masks gone through.

    Attributes:
        name: of the pass; empty where a stage has only one.
        mb_per_10k: MiB per 10,000 masks after the warm-up, None with too few samples for a line.
        mb_per_10k_all: the same with the warm-up.
        samples: that the first line is fitted to.
    """

    name: str
    mb_per_10k: float | None
    mb_per_10k_all: float | None
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryProfile:
    """What a stage's memory did.

    Attributes:
        stage: its name.
        levels: granularities that it worked on.
        frames: selected frames.
        total: steps that the stage counted; a multiple of ``frames`` where it passes over them several times.
        pass_names: of these passes, as far as the stage names them.
        masks: that each pass goes through: the larger of masks in and out.
        seconds: wall time.
        before_mb, peak_mb, after_mb: resident memory in MiB.
        complete: whether the stage reached its end.
        samples: the curve.
    """

    stage: str
    levels: tuple[int, ...] = ()
    frames: int = 0
    total: int = 0
    pass_names: tuple[str, ...] = ()
    masks: int = 0
    seconds: float = 0.0
    before_mb: float = 0.0
    peak_mb: float = 0.0
    after_mb: float = 0.0
    complete: bool = True
    samples: tuple[MemorySample, ...] = ()

    @property
    def passes(self) -> int:
        """How often the stage goes over the frames; 1 where its steps are no frames."""
        return self.total // self.frames if self.counts_frames else 1

    @property
    def counts_frames(self) -> bool:
        """Whether the steps are frames."""
        return bool(self.frames and self.total and self.total % self.frames == 0)

    @property
    def slopes(self) -> tuple[PassSlope, ...]:
        """The growth in every pass; empty without masks or steps."""
        if not (self.masks and self.total and self.samples):
            return ()
        steps = self.total // self.passes
        return tuple(self._slope(number, steps) for number in range(self.passes))

    def pass_name(self, number: int) -> str:
        """Return the name of a pass; empty where there is only one."""
        if self.passes == 1:
            return ""
        if len(self.pass_names) == self.passes:
            return self.pass_names[number]
        return f"pass {number + 1}"

    def _slope(self, number: int, steps: int) -> PassSlope:
        share = np.array([sample.done for sample in self.samples]) / steps - number
        rss_mb = np.array([sample.rss_mb for sample in self.samples])
        inside = (share > 0 if number else share >= 0) & (share <= 1)
        warm = inside & (share >= WARM_UP_SHARE)
        return PassSlope(
            name=self.pass_name(number),
            mb_per_10k=self._fit(share[warm], rss_mb[warm]),
            mb_per_10k_all=self._fit(share[inside], rss_mb[inside]),
            samples=int(warm.sum()),
        )

    def _fit(self, share: np.ndarray, rss_mb: np.ndarray) -> float | None:
        if len(np.unique(share)) < _LEAST_POINTS:
            return None
        return float(np.polyfit(share * self.masks, rss_mb, 1)[0]) * PER_MASKS


class StageProfiler:
    """Notes memory and progress while a stage runs inside ``with profiler.memory``.

    Args:
        about: the profile as far as it is known before.
        archive: what the stage writes its masks to; they are counted twice a second. None counts nothing.
        curve: whether to keep the curve, or only the peak.

    Attributes:
        memory: the sampler.
    """

    def __init__(self, about: MemoryProfile, archive: Path | None, *, curve: bool) -> None:
        self.memory = MemorySampler(keep=KEPT_SAMPLES if curve else 0)
        self._masks: int | None = None
        self._about = about
        self._archive = archive if curve else None
        self._done = self._total = 0
        self._written = -1
        self._asked_s = float("-inf")
        self._begun_s = time.monotonic()

    def watch(self, progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """Return the function to call with (done, total); it passes both on."""

        def note(done: int, total: int) -> None:
            self._done, self._total = done, total
            now = time.monotonic()
            if now - self._asked_s >= _ASK_EVERY_S:
                self._asked_s = now
                self._written = _masks_in(self._archive)
            self.memory.at(done, self._written)
            progress(done, total)

        return note

    def finish(self, masks: int) -> None:
        """Say that the stage reached its end, and how many masks went through; call it in the block."""
        self._masks = masks
        self.memory.at(self._done, _masks_in(self._archive))

    def profile(self) -> MemoryProfile:
        """Return what was measured; call it after the block."""
        profile = replace(
            self._about,
            total=self._total,
            seconds=time.monotonic() - self._begun_s,
            before_mb=self.memory.before_mb,
            peak_mb=self.memory.peak_mb,
            after_mb=self.memory.after_mb,
            complete=self._masks is not None,
            samples=self.memory.samples,
        )
        return replace(profile, masks=self._expected(profile) if self._masks is None else self._masks)

    def _expected(self, profile: MemoryProfile) -> int:
        """Return the masks that a pass of a stage that was stopped would have gone through."""
        steps = self._total // profile.passes
        done = min(self._done, steps)
        return round(max(0, self._written) * steps / done) if done else 0


def _masks_in(archive: Path | None) -> int:
    """Return how many masks an archive has by now, -1 where that cannot be told."""
    if archive is None or not archive.is_file():
        return -1
    try:
        with open_archive(archive) as reader:
            return reader.count()
    except ArchiveError as error:  # a curve without this figure is better than none
        _LOG.debug("masks in %s not counted: %s", archive, error)
        return -1


def save_profile(path: Path, profile: MemoryProfile) -> tuple[MemoryProfile, ...]:
    """Put a stage's profile into the file of all profiles of a run, and return them all.

    Raises:
        ResourceError: if the disk is full or the folder cannot be written.
    """
    try:
        others = read_profiles(path)
    except DataError as error:
        _LOG.warning("%s; the memory curves in it are replaced", error)
        others = ()
    profiles = (*(other for other in others if other.stage != profile.stage), profile)
    plain = {"stages": {item.stage: _plain(item) for item in profiles}}
    atomic_write_text(path, json.dumps(plain, allow_nan=False) + "\n")
    return profiles


def read_profiles(path: Path) -> tuple[MemoryProfile, ...]:
    """Read the profiles of a run, in the order in which they were made; a run without the file has none.

    Raises:
        DataError: if the file is damaged.
    """
    if not path.is_file():
        return ()
    value = read_json(path)
    try:
        stages: dict[str, dict[str, Any]] = value["stages"]  # type: ignore[index]  # checked by the except below
        return tuple(_profile(name, plain) for name, plain in stages.items())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: expected memory profiles, found {error!r}; delete the file") from error


_SCALARS = ("frames", "total", "masks", "seconds", "before_mb", "peak_mb", "after_mb", "complete")
_COLUMNS = ("time_s", "rss_mb", "done", "masks_written")


def _plain(profile: MemoryProfile) -> dict[str, object]:
    """Return a profile for JSON: scalars, slopes, and the samples as columns."""
    columns = {name: [round(getattr(sample, name), 3) for sample in profile.samples] for name in _COLUMNS}
    return {
        "levels": list(profile.levels),
        "passes": list(profile.pass_names),
        **{name: getattr(profile, name) for name in _SCALARS},
        "slopes": [
            {
                "pass": slope.name,
                "mb_per_10k_masks": slope.mb_per_10k,
                "mb_per_10k_masks_with_warm_up": slope.mb_per_10k_all,
                "samples": slope.samples,
            }
            for slope in profile.slopes
        ],
        "samples": columns,
    }


def _profile(name: str, plain: Mapping[str, Any]) -> MemoryProfile:
    columns = zip(*(plain["samples"][column] for column in _COLUMNS), strict=True)
    return MemoryProfile(
        stage=name,
        levels=tuple(plain["levels"]),
        pass_names=tuple(plain["passes"]),
        samples=tuple(MemorySample(*row) for row in columns),
        **{key: plain[key] for key in _SCALARS},
    )
