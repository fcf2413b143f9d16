"""Show the memory of stages: as text on a terminal, and as a picture in the run's folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from my3dis.monitoring.profile import PER_MASKS, WARM_UP_SHARE, MemoryProfile, PassSlope, save_profile
from my3dis.reporting.curves import Chart, Line, Panel, render_svg
from my3dis.reporting.text_curves import render_text
from my3dis.runs.files import atomic_write_text
from my3dis.runs.layout import RunLayout

__all__ = ["STAGE_COLORS", "describe_profile", "keep_profile", "panel_of", "profiles_chart"]

_LOG = logging.getLogger(__name__)

STAGE_COLORS = {"candidates": 5, "filter": 0, "track": 1, "lift": 2, "evaluate": 4, "report": 3}
"""One colour per stage, the same in every picture."""

_ENOUGH_MASKS = 5_000


def describe_profile(profile: MemoryProfile, *, width: int = 72) -> str:
    """Return the curve as text with peak and slope below it; a line of ASCII is at most ``width`` long."""
    levels = ", ".join(map(str, profile.levels))
    what = f"{profile.stage}, level{'s' * (len(profile.levels) > 1)} {levels}" if levels else profile.stage
    lines = [f"Memory of {what}: MB over {_axis(profile)}"]
    points = [(float(sample.done), sample.rss_mb) for sample in profile.samples]
    inner = max(20, width - 11)
    if points and profile.total:
        lines.append(render_text(points, width=inner, height=10))
        lines.append(" " * 11 + _ticks(profile, points[-1][0], inner))
    lines.append(
        f"peak {profile.peak_mb:,.1f} MB, {profile.before_mb:,.1f} MB before and {profile.after_mb:,.1f} MB "
        f"after; {profile.masks:,} masks in {profile.seconds:,.1f} s"
    )
    lines += [_sentence(slope, profile) for slope in profile.slopes]
    if profile.slopes and profile.masks < _ENOUGH_MASKS:
        lines.append(
            f"Only {profile.masks:,} masks: what is filled once weighs more than growth; a slope is "
            f"telling from about {_ENOUGH_MASKS:,} on."
        )
    if not profile.complete:
        lines.append("The stage did not reach its end; this is how far it came.")
    return "\n".join(lines)


def _ticks(profile: MemoryProfile, end: float, width: int) -> str:
    """Return the line below the axis: where each pass begins, and the last step."""
    last = f"{end:,.0f}"
    ticks = [(0, "0")]
    if profile.passes > 1:
        steps = [n * profile.frames for n in range(profile.passes) if n * profile.frames < end]
        ticks = [
            (int(step / end * width), f"{step:,} {profile.pass_name(n)}") for n, step in enumerate(steps)
        ]
    line = ""
    for column, text in ticks:
        if not line or len(line) < column:
            line = line.ljust(column) + text
    return line.ljust(width - len(last) - 1)[: width - len(last) - 1] + " " + last


def _axis(profile: MemoryProfile) -> str:
    if not profile.counts_frames:
        return "steps done"
    if profile.passes == 1:
        return f"frames done ({profile.frames:,} frames)"
    names = ", ".join(profile.pass_name(n) for n in range(profile.passes))
    return f"frames done ({profile.frames:,} frames, {profile.passes} passes: {names})"


def _sentence(slope: PassSlope, profile: MemoryProfile) -> str:
    name = f"slope, {slope.name}: " if slope.name else "slope: "
    if slope.mb_per_10k is None:
        return f"{name}too few samples for a line"
    text = (
        f"{name}{slope.mb_per_10k:+.2f} MB per {PER_MASKS:,} masks after the first {WARM_UP_SHARE:.0%} "
        f"({slope.samples} samples"
    )
    if slope.mb_per_10k_all is not None:
        text += f"; {slope.mb_per_10k_all:+.2f} with it"
    return text + ("" if profile.complete else "; masks estimated") + ")"


def panel_of(profile: MemoryProfile) -> Panel:
    """Return a stage's curve as a panel of a chart."""
    marks = []
    if profile.passes > 1:
        marks = [(float(n * profile.frames), profile.pass_name(n)) for n in range(profile.passes)]
    return Panel(
        lines=(
            Line(
                points=tuple((float(sample.done), sample.rss_mb) for sample in profile.samples),
                color=STAGE_COLORS.get(profile.stage, 5),
            ),
        ),
        title=f"{profile.stage}, peak {profile.peak_mb:,.0f} MB",
        x_label="frames done" if profile.counts_frames else "steps done",
        x_to=float(max(1, profile.total)),
        marks=tuple(marks),
        weight=0.6 + 0.4 * profile.passes,
    )


def profiles_chart(profiles: Sequence[MemoryProfile], title: str) -> Chart:
    """Return the curves of several stages side by side over one axis."""
    return Chart(
        title=title,
        y_label="resident memory, MB",
        note="interpreter and libraries included; sampled every 50 ms and at each step",
        panels=tuple(panel_of(profile) for profile in profiles),
    )


def keep_profile(layout: RunLayout, profile: MemoryProfile, title: str) -> None:
    """Put a stage's curve into the run's folder, as figures and as a picture of all the run's curves.

    Raises:
        ResourceError: if the disk is full or the folder cannot be written.
    """
    profiles = save_profile(layout.memory_profile, profile)
    atomic_write_text(layout.memory_plot, render_svg([profiles_chart(profiles, title)]))
    _LOG.info("memory of %s over its frames: %s", profile.stage, layout.memory_plot)
