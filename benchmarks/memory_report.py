"""What the memory benchmark found: the records, the tables, the picture and the verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memory_scene import LIFE_FRAMES
from my3dis.monitoring.profile import PER_MASKS, WARM_UP_SHARE, MemoryProfile
from my3dis.monitoring.profile_view import panel_of
from my3dis.reporting.curves import Chart, Line, Panel

__all__ = [
    "BOUNDS",
    "ENOUGH_FRAMES",
    "ENOUGH_MASKS",
    "Bounds",
    "Figures",
    "OldWay",
    "SceneFacts",
    "SceneRun",
    "chart_of",
    "judge",
    "print_tables",
]

JUDGED = ("filter", "track", "report")
ENOUGH_MASKS = 5_000
ENOUGH_FRAMES = 4 * LIFE_FRAMES
"""In shorter scenes a line through memory mostly shows how what is bounded fills: the crowd of objects away,
the allocator's arenas."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What memory must keep to, in MiB."""

    peak_mb: float = 300.0
    slope_mb: float = 1.0


BOUNDS = Bounds()


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneRun:
    """One ``my3dis run`` over the first frames of the scene.

    Attributes:
        frames, masks: of this run.
        folder: of the run.
        profiles: of its stages, as the run kept them.
        file_bytes: of each stage's main file.
        seconds: of the whole command.
        peak_outside_mb: largest sample of the process tree, taken from outside every 50 ms.
    """

    frames: int
    masks: int
    folder: Path
    profiles: tuple[MemoryProfile, ...]
    file_bytes: dict[str, int]
    seconds: float
    peak_outside_mb: float

    @property
    def peak_mb(self) -> float:
        """The highest memory of the whole command, by either measurement."""
        return max(self.peak_outside_mb, *(profile.peak_mb for profile in self.profiles))


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFacts:
    """What the archives of the whole scene hold; codes are counted as plain COCO counts."""

    masks: int
    distinct: int
    plain_bytes_per_mask: float
    objects: int
    tracks: int
    source: str
    image_size: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class OldWay:
    """Masks held dense in a dict, then saved with `numpy.savez_compressed`.

    Attributes:
        masks: asked for.
        held: when it ended.
        died: of MemoryError.
        peak_mb: largest sample, from outside every 50 ms.
        seconds: to load and save; None when it died.
        saving_s: of these for saving.
        file_bytes: of the archive.
    """

    masks: int
    held: int
    died: bool
    peak_mb: float
    seconds: float | None
    saving_s: float | None
    file_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything that was measured; the last run is the whole scene."""

    runs: tuple[SceneRun, ...]
    facts: SceneFacts
    old: tuple[OldWay, ...]
    old_limit_mb: int
    load: float

    @property
    def whole(self) -> SceneRun:
        """The run over all frames."""
        return self.runs[-1]

    @property
    def tells_growth(self) -> bool:
        """Whether the whole scene is long enough for its slopes to be judged."""
        return self.whole.masks >= ENOUGH_MASKS and self.whole.frames >= ENOUGH_FRAMES

    def across_scenes(self, stage: str) -> float | None:
        """Return the slope of a stage's peak over the masks in the scene, MiB per 10,000 masks."""
        pairs = [(run.masks, p.peak_mb) for run in self.runs for p in run.profiles if p.stage == stage]
        if len(pairs) < 2:
            return None
        masks, peaks = np.array(pairs, float).T
        return float(np.polyfit(masks, peaks, 1)[0]) * PER_MASKS

    def old_line(self) -> tuple[float, float] | None:
        """Return (MiB with no mask, MiB per mask) of the old way, from the sizes that fitted."""
        fitted = [item for item in self.old if not item.died]
        if len(fitted) < 2:
            return None
        slope, start = np.polyfit([i.masks for i in fitted], [i.peak_mb for i in fitted], 1)
        return float(start), float(slope)


def print_tables(figures: Figures) -> None:
    """Print what each stage took, how it grows, and the old way."""
    run, facts = figures.whole, figures.facts
    height, width = facts.image_size
    print()
    print(
        f"{facts.masks:,} masks ({facts.distinct:,} different), {run.frames} frames of {height}x{width}, "
        f"{facts.objects:,} objects and parts, {facts.tracks:,} tracks; {facts.source}"
    )
    print(
        f"plain code {facts.plain_bytes_per_mask:,.0f} bytes a mask; load of the machine {figures.load:.1f}"
    )
    print()
    print(
        f"{'stage':<12}{'masks':>9}{'seconds':>9}{'masks/s':>9}{'file MB':>9}{'bytes/mask':>11}"
        f"{'before MB':>11}{'peak MB':>9}{'after MB':>10}"
    )
    for profile in run.profiles:
        size = run.file_bytes.get(profile.stage, 0)
        per_mask = f"{size / profile.masks:>11,.0f}" if profile.stage != "report" else f"{'':>11}"
        print(
            f"{profile.stage:<12}{profile.masks:>9,}{profile.seconds:>9.1f}"
            f"{profile.masks / profile.seconds:>9,.0f}{size / 1e6:>9.1f}{per_mask}"
            f"{profile.before_mb:>11.1f}{profile.peak_mb:>9.1f}{profile.after_mb:>10.1f}"
        )
    print(f"{'whole run':<12}{facts.masks:>9,}{run.seconds:>9.1f}{'':>38}{run.peak_mb:>11.1f}")
    print()
    _print_growth(figures)
    if figures.old:
        print()
        _print_old(figures)
    print()


def _print_growth(figures: Figures) -> None:
    sizes = "/".join(f"{run.masks:,}" for run in figures.runs)
    print(f"growth, MB per {PER_MASKS:,} masks   after the first {WARM_UP_SHARE:.0%}   with it   samples")
    for profile in figures.whole.profiles:
        for slope in profile.slopes:
            name = f"{profile.stage} {slope.name}".strip()
            print(
                f"  {name:<28}{_signed(slope.mb_per_10k):>22}{_signed(slope.mb_per_10k_all):>10}"
                f"{slope.samples:>10}"
            )
    if len(figures.runs) > 1:
        print(f"growth of the peak over scenes of {sizes} masks")
        for profile in figures.whole.profiles:
            peaks = " / ".join(
                f"{p.peak_mb:,.1f}" for run in figures.runs for p in run.profiles if p.stage == profile.stage
            )
            print(f"  {profile.stage:<28}{_signed(figures.across_scenes(profile.stage)):>22}   {peaks} MB")


def _print_old(figures: Figures) -> None:
    print(f"the old way: dense masks in a dict, numpy.savez_compressed; at most {figures.old_limit_mb:,} MB")
    print(f"  {'masks':>8}{'peak MB':>10}{'seconds':>9}{'file MB':>9}")
    for item in figures.old:
        if item.died:
            print(
                f"  {item.masks:>8,}{item.peak_mb:>10,.0f}   MemoryError with {item.held:,} masks held: "
                f"{item.held / item.masks:.1%} of the scene"
            )
        else:
            assert item.seconds is not None
            assert item.file_bytes is not None
            print(
                f"  {item.masks:>8,}{item.peak_mb:>10,.0f}{item.seconds:>9.1f}{item.file_bytes / 1e6:>9.1f}"
            )
    line = figures.old_line()
    if line is not None:
        start, per_mask = line
        n = figures.facts.masks
        largest = [item for item in figures.old if not item.died][-1]
        assert largest.seconds is not None
        assert largest.file_bytes is not None
        factor = n / largest.masks
        print(
            f"  {n:>8,}{start + per_mask * n:>10,.0f}{largest.seconds * factor:>9,.0f}"
            f"{largest.file_bytes / 1e6 * factor:>9,.1f}   EXTRAPOLATED along a line "
            f"({per_mask * PER_MASKS:,.0f} MB per {PER_MASKS:,} masks), not measured"
        )


def judge(figures: Figures) -> list[tuple[str, bool]]:
    """Return (sentence, whether it holds) for every bound; growth is judged where the scene tells it."""
    facts, run = figures.facts, figures.whole
    whole = f"all {run.masks:,} masks are there and different"
    found = [(whole, facts.distinct == facts.masks == run.masks)]
    peak = f"peak of the whole run {run.peak_mb:.0f} MB <= {BOUNDS.peak_mb:.0f} MB"
    found.append((peak, run.peak_mb <= BOUNDS.peak_mb))
    if figures.tells_growth:
        found += [
            (
                f"{name}: {value:+.2f} MB per {PER_MASKS:,} masks <= {BOUNDS.slope_mb:g}",
                value <= BOUNDS.slope_mb,
            )
            for name, value in _growths(figures)
        ]
    return found


def _growths(figures: Figures) -> Iterator[tuple[str, float]]:
    for profile in figures.whole.profiles:
        if profile.stage not in JUDGED:
            continue
        for slope in profile.slopes:
            if slope.mb_per_10k is not None:
                yield f"{profile.stage} {slope.name}".strip(), slope.mb_per_10k
        across = figures.across_scenes(profile.stage)
        # The other stages stream in proportion to the scene: the lines above tell their growth, and this one
        # mostly how far a short scene fills what is bounded.
        if across is not None and profile.stage == "report":
            yield f"{profile.stage}, peak over scenes", across


def chart_of(figures: Figures) -> list[Chart]:
    """Return memory over frames per stage, and memory over masks beside the old way."""
    run = figures.whole
    limit = (BOUNDS.peak_mb, f"bound: {BOUNDS.peak_mb:.0f} MB")
    over_frames = Chart(
        title=f"Memory over frames, {run.masks:,} different masks",
        note="one process, interpreter and libraries included; sampled every 50 ms and at each step",
        y_label="resident memory, MB",
        panels=tuple(panel_of(profile) for profile in run.profiles),
        limit=limit,
    )
    if not figures.old:
        return [over_frames]
    ours = Line(
        points=tuple((float(r.masks), r.peak_mb) for r in figures.runs),
        color=0,
        label="My3DIS, highest of all stages: measured",
        dots=True,
    )
    fitted = tuple((float(item.masks), item.peak_mb) for item in figures.old if not item.died)
    lines = [
        ours,
        Line(points=fitted, color=4, label="dense masks and savez_compressed: measured", dots=True),
    ]
    line = figures.old_line()
    if line is not None:
        start, per_mask = line
        reach = np.geomspace(max(1.0, fitted[-1][0]), max(run.masks, fitted[-1][0]), 60)
        points = tuple((float(n), start + per_mask * float(n)) for n in reach)
        text = f"the same, extrapolated to {points[-1][1] / 1024:,.0f} GB (not measured)"
        lines.append(Line(points=points, color=4, label=text, dashed=True))
    over_masks = Chart(
        title="Peak memory over the size of the scene, beside the way it was done before",
        note="logarithmic" + _how_it_ended(figures),
        y_label="resident memory, MB",
        panels=(Panel(lines=tuple(lines), x_label="masks in the scene", x_to=float(run.masks)),),
        limit=limit,
        log=True,
    )
    return [over_frames, over_masks]


def _how_it_ended(figures: Figures) -> str:
    last = figures.old[-1]
    if not last.died:
        return ""
    return (
        f"; allowed {figures.old_limit_mb:,} MB, the old way ended with MemoryError when it held "
        f"{last.held:,} of {last.masks:,} masks"
    )


def _signed(value: float | None) -> str:
    return "too few" if value is None else f"{value:+.2f}"
