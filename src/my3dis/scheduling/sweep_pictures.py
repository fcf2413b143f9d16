"""Pictures of a sweep: slowest scenes, memory over time, jobs over time."""

from __future__ import annotations

from collections.abc import Sequence

from my3dis.monitoring.profile_view import STAGE_COLORS
from my3dis.reporting.bars import BarChart, BarGroup
from my3dis.reporting.curves import Chart, Line, Panel
from my3dis.reporting.gantt import Gantt, GanttBar
from my3dis.reporting.page import format_seconds
from my3dis.runs.plan import STAGE_NAMES
from my3dis.scheduling.recording import AttemptSpan, MemoryPoint, Recording
from my3dis.scheduling.sweep_state import SceneState

__all__ = ["gpu_chart", "jobs_chart", "memory_chart", "slowest_chart", "time_unit"]

_SLOWEST, _MOST_GPUS = 10, 6
_GB = 1024.0
_SHORT = {"seconds": "s", "minutes": "min", "hours": "h"}


def time_unit(seconds: float) -> tuple[str, float]:
    """Return what an axis of so many seconds counts in, and how many seconds that is."""
    if seconds < 180:
        return "seconds", 1.0
    return ("minutes", 60.0) if seconds < 3 * 3600 else ("hours", 3600.0)


def slowest_chart(scenes: Sequence[SceneState]) -> BarChart | None:
    """Return the slowest scenes, each with its longest stage; None where fewer than three took time."""
    timed = sorted((s for s in scenes if s.seconds > 0), key=lambda s: (-s.seconds, s.scene))
    if len(timed) < 3:
        return None
    middle = timed[len(timed) // 2].seconds
    unit, per_unit = time_unit(timed[0].seconds)
    return BarChart(
        title=f"The slowest of {len(timed):,} scenes; half take {format_seconds(middle)} or less",
        groups=tuple(
            BarGroup(name=s.scene, values=(s.seconds / per_unit,), note=_longest_stage(s))
            for s in timed[:_SLOWEST]
        ),
        show=lambda value: f"{value or 0.0:,.{0 if (value or 0.0) >= 100 else 1}f} {_SHORT[unit]}",
    )


def _longest_stage(scene: SceneState) -> str:
    run = scene.overview
    stages = [stage for stage in run.stages if stage.seconds] if run is not None else []
    if not stages:
        return ""
    longest = max(stages, key=lambda stage: stage.seconds or 0.0)
    return f"{longest.name} took {format_seconds(longest.seconds)}"


def memory_chart(recording: Recording) -> Chart | None:
    """Return the host's memory over time; None without at least two samples."""
    points = recording.memory
    if len(points) < 2:
        return None
    unit, per_unit = time_unit(points[-1].seconds)
    lines = [
        Line(points=tuple((p.seconds / per_unit, p.jobs_mb / _GB) for p in points), color=1, label="jobs")
    ]
    known = [p for p in points if p.capacity_mb]
    if known:
        used = tuple((p.seconds / per_unit, p.used_mb / _GB) for p in known)
        lines.insert(0, Line(points=used, color=0, label="in use"))
    limit = None
    if known:
        capacity = known[-1].capacity_mb / _GB
        # A limit far above everything would press the curves flat.
        if max(max(p.used_mb, p.jobs_mb) for p in points) / _GB > 0.25 * capacity:
            limit = (capacity, f"limit {capacity:,.1f} GB")
    most = max(p.running for p in points)
    room = f"; the limit is {known[-1].capacity_mb / _GB:,.1f} GB" if known and limit is None else ""
    return Chart(
        title="Memory of the host",
        y_label="GB",
        note=f"up to {most} job{'s' * (most != 1)} at a time{room}",
        panels=(
            Panel(lines=tuple(lines), x_label=f"{unit} since the sweep began", x_to=_end(points, per_unit)),
        ),
        limit=limit,
        key_above=True,
    )


def gpu_chart(recording: Recording) -> Chart | None:
    """Return the memory of the GPUs over time; None without any. With many, the fullest and the mean."""
    points = [p for p in recording.memory if p.gpus]
    if len(points) < 2:
        return None
    unit, per_unit = time_unit(points[-1].seconds)
    names = sorted({name for p in points for name, _ in p.gpus}, key=lambda n: (len(n), n))
    if len(names) <= _MOST_GPUS:
        lines = [
            Line(
                points=tuple((p.seconds / per_unit, dict(p.gpus).get(name, 0.0) / _GB) for p in points),
                color=n,
                label=f"GPU {name}",
            )
            for n, name in enumerate(names)
        ]
    else:
        fullest = tuple((p.seconds / per_unit, max(mb for _, mb in p.gpus) / _GB) for p in points)
        mean = tuple((p.seconds / per_unit, sum(mb for _, mb in p.gpus) / len(p.gpus) / _GB) for p in points)
        lines = [
            Line(points=fullest, color=1, label=f"fullest of {len(names)}"),
            Line(points=mean, color=0, label="mean"),
        ]
    panel = Panel(lines=tuple(lines), x_label=f"{unit} since the sweep began", x_to=_end(points, per_unit))
    return Chart(title="Memory of the GPUs", y_label="GB", panels=(panel,), key_above=True)


def _end(points: Sequence[MemoryPoint], per_unit: float) -> float:
    last = points[-1].seconds
    return max(last / per_unit, 1e-6)


def jobs_chart(recording: Recording) -> Gantt | None:
    """Return when which job ran; None where none was started."""
    spans = recording.attempts
    if not spans:
        return None
    now = max(recording.seconds, *(span.end_s or span.start_s for span in spans))
    stages = [name for name in STAGE_NAMES if any(_first(span) == name for span in spans)]
    kinds = [(f"from {name} on", STAGE_COLORS.get(name, 5)) for name in stages]
    unit, per_unit = time_unit(now)
    jobs = len({span.job_id for span in spans})
    processes = f"{len(spans):,} process{'es' * (len(spans) != 1)}"
    return Gantt(
        title=f"{processes} of {jobs:,} job{'s' * (jobs != 1)}",
        bars=tuple(_bar(span, stages, now) for span in spans),
        kinds=tuple(kinds),
        end=max(now, 1e-6),
        unit=unit,
        per_unit=per_unit,
    )


def _bar(span: AttemptSpan, stages: Sequence[str], now: float) -> GanttBar:
    end = span.end_s if span.end_s is not None else now
    first = _first(span)
    return GanttBar(
        name=f"{span.job_id}: {format_seconds(end - span.start_s)}, {span.how}",
        group=f"GPU {span.gpus}" if span.gpus else "no GPU",
        start=span.start_s,
        end=end,
        kind=stages.index(first) if first in stages else 0,
        bad=span.how in ("failed", "retried", "stopped", "cancelled"),
    )


def _first(span: AttemptSpan) -> str:
    return span.job_id.rpartition(":")[2]
