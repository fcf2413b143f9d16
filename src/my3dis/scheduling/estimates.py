"""What a stage of a scene will take: seconds and memory, from finished runs or from measured defaults."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from my3dis.backends.torch_models.sources import sources_of
from my3dis.errors import DataError
from my3dis.monitoring.timings import StageTiming, read_timings
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import Manifest, StageStatus, read_manifest
from my3dis.runs.summary import HISTORY_NAME

__all__ = [
    "BACKEND_SETTING",
    "Cost",
    "History",
    "Sample",
    "Work",
    "needs_model",
    "proposed_on",
    "read_history",
    "samples_of",
]

BACKEND_SETTING = {"candidates": "stages.ssam.proposer", "track": "stages.tracker.propagator"}
"""Stage → the setting that names what does its work."""

_REFERENCE_PIXELS = 640 * 480
_REFERENCE_LEVELS = 3
# Seconds per frame of 640x480 at three levels with watershed and warp, and what a stage takes however few
# frames there are. Source: `benchmarks/pipeline.py`, 43 to 46 s for 84 frames of two rooms (README, "What it
# costs"), split as in the `stage_timings.json` of 30 posed RGB-D frames of 7-Scenes.
_SECONDS_PER_FRAME = {
    "candidates": 0.13,
    "filter": 0.01,
    "track": 0.23,
    "lift": 0.055,
    "evaluate": 0.015,
    "report": 0.06,
}
_FIXED_SECONDS = {"report": 2.0}
_SECONDS_SKIPPED = 0.01
# No figure of ours stands behind these two: they hold until a first run has been recorded.
_MODEL_SECONDS_PER_FRAME = {True: 1.0, False: 20.0}
_MODEL_MEMORY_MB = 4000.0
# Peak of a whole run at 640x480: 310 to 330 MB (the same benchmark). Of it, 200 MB are the interpreter and
# its libraries (`rss_before_mb` of a first stage's successors); the rest goes with the size of the images.
_BASE_MEMORY_MB = 200.0
_IMAGE_MEMORY_MB = 130.0
_MEMORY_MARGIN = 1.2
_MOST_RUNS = 64
_TAIL_BYTES = 1 << 18
_WIDEST_RATIO = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How much there is to do in a stage.

    Attributes:
        stage: its name.
        backend: the proposer or propagator, for the stages that have one; else empty.
        frames: selected ones, for candidates those that are proposed on.
        levels: how many.
        pixels: of an image.
        on_gpu: a model runs on a GPU.
        skipped: the settings leave the stage out.
    """

    stage: str
    backend: str = ""
    frames: int
    levels: int
    pixels: int = _REFERENCE_PIXELS
    on_gpu: bool = False
    skipped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a stage is expected to take.

    Attributes:
        seconds: wall time.
        memory_mb: highest resident memory of its process.
        gpu_memory_mb: the same on its GPU; 0 = unknown.
        measured: from finished runs, not from defaults.
    """

    seconds: float
    memory_mb: float
    gpu_memory_mb: float = 0.0
    measured: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a stage of a finished run took; fields as in `Work` and `Cost`."""

    stage: str
    backend: str
    frames: int
    levels: int
    seconds: float
    memory_mb: float
    gpu_memory_mb: float = 0.0
    run: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """Stages of finished runs, by stage and back end."""

    samples: tuple[Sample, ...] = ()
    _by_kind: dict[tuple[str, str], list[Sample]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Sort the samples once: thousands of stages are looked up."""
        kinds: dict[tuple[str, str], list[Sample]] = {}
        for sample in self.samples:
            kinds.setdefault((sample.stage, sample.backend), []).append(sample)
        object.__setattr__(self, "_by_kind", kinds)

    @property
    def runs(self) -> int:
        """How many runs the samples come from."""
        return len({sample.run for sample in self.samples})

    def cost(self, work: Work) -> Cost:
        """Return what a stage is expected to take, from the samples of its back end or from defaults.

        Time grows with frames and levels, memory with frames (a map of a scene grows with what was seen) and
        never below what was seen for fewer. Image sizes are not recorded in samples: runs below one output
        folder are taken to have images of one size.
        """
        if work.skipped:
            return Cost(seconds=_SECONDS_SKIPPED, memory_mb=_BASE_MEMORY_MB)
        alike = _nearest(self._by_kind.get((work.stage, work.backend), ()), work.frames)
        if not alike:
            return _default(work)
        fixed = _FIXED_SECONDS.get(work.stage, 0.0)
        amount = work.frames * work.levels
        rates = [max(0.0, s.seconds - fixed) / (s.frames * s.levels) for s in alike]
        quickest = min(sample.seconds for sample in alike)
        seconds = statistics.median(rates) * amount + min(fixed, quickest)
        memory_mb = max(_grown(sample.memory_mb, work.frames / sample.frames) for sample in alike)
        return Cost(
            seconds=max(seconds, _SECONDS_SKIPPED),
            memory_mb=memory_mb * _MEMORY_MARGIN,
            gpu_memory_mb=max(sample.gpu_memory_mb for sample in alike) * _MEMORY_MARGIN,
            measured=True,
        )


def needs_model(backend: str) -> bool:
    """Return whether a proposer or tracker loads weights, so that a GPU is of use to it."""
    return bool(sources_of(backend))


def read_history(output_root: Path) -> History:
    """Read what the latest finished runs below a folder took; a run that cannot be read is left out."""
    samples: list[Sample] = []
    for folder in _latest_runs(output_root / HISTORY_NAME):
        layout = RunLayout(folder)
        try:
            manifest, timings = read_manifest(layout.manifest), read_timings(layout.timings)
        except DataError:  # replaced, moved or damaged since; others remain, and it is an estimate
            continue
        samples.extend(samples_of(manifest, timings, str(folder)))
    return History(tuple(samples))


def samples_of(manifest: Manifest, timings: Iterable[StageTiming], run: str = "") -> Iterator[Sample]:
    """Yield what the stages of a run took, those that were done to their end."""
    for timing in timings:
        record = manifest.stage(timing.name)
        if record is None or record.status is not StageStatus.DONE or manifest.frames_selected < 1:
            continue
        resumed = dict(timing.facts).get("frames_resumed", 0)
        settings = dict(record.settings)
        if resumed:  # its seconds are of a part of the work
            continue
        yield Sample(
            stage=timing.name,
            backend=str(settings.get(BACKEND_SETTING.get(timing.name, ""), "")),
            frames=proposed_on(timing.name, manifest.frames_selected, settings),
            levels=max(1, len(manifest.levels)),
            seconds=timing.seconds,
            memory_mb=timing.peak_rss_mb,
            gpu_memory_mb=max((peak for _, peak in timing.peak_gpu_mb), default=0.0),
            run=run,
        )


def proposed_on(stage: str, frames: int, settings: Mapping[str, object]) -> int:
    """Return on how many of the selected frames a stage works: candidates only on every n-th."""
    every = settings.get("stages.ssam.ssam_freq", 1) if stage == "candidates" else 1
    return math.ceil(frames / every) if isinstance(every, int) and every > 1 else frames


def _latest_runs(path: Path) -> list[Path]:
    """Return folders of the latest finished runs, the latest first, from the end of the history."""
    try:
        with path.open("rb") as handle:
            header = handle.readline().decode(errors="replace")
            size = handle.seek(0, 2)
            start = max(len(header), size - _TAIL_BYTES)
            handle.seek(start)
            lines = handle.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    if start > len(header):
        lines = lines[1:]  # a part of a line
    found: dict[str, None] = {}
    try:
        for row in reversed([*csv.DictReader([header, *lines])]):
            if row.get("status") == "finished" and row.get("run_dir") and len(found) < _MOST_RUNS:
                found.setdefault(str(row["run_dir"]))
    except csv.Error:  # a damaged file; estimates fall back on defaults
        return []
    return [Path(name) for name in found]


def _nearest(samples: Iterable[Sample], frames: int) -> list[Sample]:
    """Return the samples of about as many frames, or the nearest one: fixed costs distort small ones."""
    distance = {n: abs(math.log(max(1, s.frames) / max(1, frames))) for n, s in enumerate(samples)}
    if not distance:
        return []
    listed = list(samples)
    near = [listed[n] for n, far in distance.items() if far <= math.log(_WIDEST_RATIO)]
    return near or [listed[min(distance, key=lambda n: distance[n])]]


def _grown(peak_mb: float, ratio: float) -> float:
    """Return the peak for so many times the frames; far beyond what was seen it is bounded by design."""
    more = min(max(ratio, 1.0), _WIDEST_RATIO) - 1
    return peak_mb + max(0.0, peak_mb - _BASE_MEMORY_MB) * more


def _default(work: Work) -> Cost:
    size = work.pixels / _REFERENCE_PIXELS
    memory_mb = (_BASE_MEMORY_MB + _IMAGE_MEMORY_MB * max(1.0, size)) * _MEMORY_MARGIN
    if needs_model(work.backend):
        seconds = _MODEL_SECONDS_PER_FRAME[work.on_gpu] * work.frames
        return Cost(seconds=seconds, memory_mb=_MODEL_MEMORY_MB + memory_mb)
    per_frame = _SECONDS_PER_FRAME[work.stage] * size * work.levels / _REFERENCE_LEVELS
    return Cost(seconds=_FIXED_SECONDS.get(work.stage, 0.0) + per_frame * work.frames, memory_mb=memory_mb)
