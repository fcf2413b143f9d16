"""The pictures of figures in a run's report: masks over time, masks and memory per stage, scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.reporting.bars import BarChart, BarGroup
from my3dis.reporting.curves import Chart, Line, Panel
from my3dis.reporting.formats import format_count, format_megabytes, format_score
from my3dis.types import TrackSet

__all__ = ["Plots", "masks_chart", "memory_bars", "score_bars", "share_chart", "thinned", "time_chart"]

_MOST_POINTS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Plots:
    """Pictures of figures; None where the run has no such figures.

    Attributes:
        time: masks per frame of every level over the frames.
        masks: masks of every level after each stage.
        scores: AP, AP50 and AP25 of every level, and of classes where they are scored apart.
        overlaps: AP over the overlap that a hit needs.
        precision: precision over recall at 0.50.
        memory: peak memory per stage.
        profile: memory over the frames, where that was recorded.
    """

    time: Chart | None = None
    masks: BarChart | None = None
    scores: BarChart | None = None
    overlaps: Chart | None = None
    precision: Chart | None = None
    memory: BarChart | None = None
    profile: Chart | None = None


def thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], most: int = _MOST_POINTS
) -> tuple[tuple[float, float], ...]:
    """Return at most so many points of a curve: the mean of each part, at the middle of it."""
    if len(x) <= most:
        return tuple(zip(x.tolist(), y.tolist(), strict=True))
    parts = np.array_split(np.arange(len(x)), most)
    return tuple((float(x[part].mean()), float(y[part].mean())) for part in parts)


def time_chart(tracks: TrackSet, frames: Sequence[int]) -> Chart | None:
    """Return how many tracks of each level have a mask in each frame; None with fewer than two frames."""
    if len(frames) < 2 or not len(tracks.obs_frame):
        return None
    order = np.asarray(frames, np.int64)
    rows = np.searchsorted(tracks.track_id, tracks.obs_track)
    levels = tracks.level[rows]
    lines = []
    for number, level in enumerate(np.unique(tracks.level).tolist()):
        seen = tracks.obs_frame[levels == level]
        seen = seen[np.isin(seen, order)]
        counts = np.bincount(np.searchsorted(order, seen), minlength=len(order)).astype(np.float64)
        points = thinned(order.astype(np.float64), counts)
        lines.append(Line(points=points, color=number, label=f"level {level}"))
    note = f"means of about {len(order) / _MOST_POINTS:.1f} frames" if len(order) > _MOST_POINTS else ""
    panel = Panel(lines=tuple(lines), x_label="frame", x_from=float(order[0]), x_to=float(order[-1]))
    return Chart(
        title="Tracks seen in each frame", y_label="tracks", panels=(panel,), note=note, key_above=True
    )


def masks_chart(levels: Sequence[int], steps: Sequence[tuple[str, Sequence[int | None]]]) -> BarChart | None:
    """Return masks per level after each step, given as (name, masks of each level)."""
    known = [(name, counts) for name, counts in steps if any(count is not None for count in counts)]
    if not known:
        return None
    return BarChart(
        title="Masks of each level",
        groups=tuple(
            BarGroup(name=f"level {level}", values=tuple(counts[n] for _, counts in known))
            for n, level in enumerate(levels)
        ),
        series=tuple(name for name, _ in known),
        colors=(5, 0, 1),
        show=format_count,
    )


def memory_bars(stages: Sequence[tuple[str, float | None, float | None]]) -> BarChart | None:
    """Return peak memory per stage, given as (name, host MiB, MiB of its fullest GPU or None)."""
    known = [stage for stage in stages if stage[1] is not None]
    if not known:
        return None
    with_gpu = any(gpu is not None for _, _, gpu in known)
    return BarChart(
        title="Peak memory of each stage",
        groups=tuple(
            BarGroup(name=name, values=(host, gpu) if with_gpu else (host,)) for name, host, gpu in known
        ),
        series=("host", "GPU") if with_gpu else ("",),
        show=format_megabytes,
    )


def score_bars(
    groups: Sequence[tuple[str, tuple[float | None, ...]]], measures: Sequence[str]
) -> BarChart | None:
    """Return scores given as (name, value of each measure); shares, shown in per cent."""
    if not groups:
        return None
    return BarChart(
        title="Average precision, %",
        groups=tuple(BarGroup(name=name, values=values) for name, values in groups),
        series=tuple(measures),
        show=format_score,
        to=1.0,
    )


def share_chart(
    title: str, x_label: str, lines: Sequence[Line], *, x_from: float, x_to: float
) -> Chart | None:
    """Return curves of shares over shares, in per cent on the vertical axis; None without any."""
    drawn = tuple(
        Line(
            points=tuple((x, 100 * y) for x, y in line.points),
            color=line.color,
            label=line.label,
            dashed=line.dashed,
            dots=line.dots,
        )
        for line in lines
        if line.points
    )
    if not drawn:
        return None
    panel = Panel(lines=drawn, x_label=x_label, x_from=x_from, x_to=x_to)
    return Chart(title=title, y_label="%", panels=(panel,), y_to=100.0, key_above=True)
