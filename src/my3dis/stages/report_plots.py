"""The pictures of figures in the report, from what the stages recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from my3dis.errors import DataError
from my3dis.monitoring.profile import read_profiles
from my3dis.monitoring.profile_view import profiles_chart
from my3dis.reporting.bars import BarChart
from my3dis.reporting.curves import Chart, Line
from my3dis.reporting.plots import (
    Plots,
    masks_chart,
    memory_bars,
    score_bars,
    share_chart,
    time_chart,
)
from my3dis.runs.plan import STAGE_NAMES
from my3dis.runs.scores import InstanceScore, Scores
from my3dis.stages.context import StageContext
from my3dis.stages.report_facts import RunFacts
from my3dis.stages.report_material import Tracked

__all__ = ["plots_of"]

_STEPS = (("candidates", "candidates"), ("filter", "kept"), ("track", "tracked"))
_MOST_SAMPLES = 200
_MOST_CLASSES = 40
_COLORS = {"objects": 0, "parts": 1}


def plots_of(
    context: StageContext,
    facts: RunFacts,
    tracked: Tracked | None,
    by_level: Sequence[tuple[int, int]],
    scores: Scores | str,
) -> Plots:
    """Return the pictures that the run has figures for.

    Args:
        context: of the report.
        facts: recorded by the stages.
        tracked: tracks, None without any.
        by_level: (level, masks) of the tracks, where there are any.
        scores: or the reason why there are none.
    """
    costs = context.config.stages.report.record_timings
    known = None if isinstance(scores, str) else scores
    return Plots(
        time=time_chart(tracked.tracks, context.frames) if tracked is not None else None,
        masks=_masks(context, facts, dict(by_level) if tracked is not None else {}),
        scores=_bars(known) if known else None,
        overlaps=_overlaps(known) if known else None,
        precision=_precision(known) if known else None,
        memory=_memory(facts) if costs else None,
        profile=_profile(context) if costs else None,
    )


def _masks(context: StageContext, facts: RunFacts, tracked: dict[int, int]) -> BarChart | None:
    levels = context.config.experiment.levels
    steps: list[tuple[str, list[int | None]]] = []
    for stage, name in _STEPS:
        timing = facts.timing(stage)
        recorded = dict(timing.facts) if timing is not None else {}
        counts: list[int | None] = []
        for level in levels:
            value = tracked.get(level) if stage == "track" else recorded.get(f"level_{level}")
            counts.append(int(value) if isinstance(value, int | float) else None)
        steps.append((name, counts))
    return masks_chart(levels, steps)


def _memory(facts: RunFacts) -> BarChart | None:
    rows = []
    for name in STAGE_NAMES:
        timing = facts.timing(name)
        if timing is not None and name != "report":  # which goes on while this is drawn
            gpu = max((mb for _, mb in timing.peak_gpu_mb), default=None)
            rows.append((name, timing.peak_rss_mb, gpu))
    return memory_bars(rows)


def _profile(context: StageContext) -> Chart | None:
    """Return memory over the frames, thinned, where `--profile-memory` has recorded it."""
    path = context.layout.memory_profile
    if not path.is_file():
        return None
    try:
        profiles = read_profiles(path)
    except DataError:
        return None  # `my3dis stage --profile-memory` says so; the report does without
    order = [p for name in STAGE_NAMES for p in profiles if p.stage == name and p.samples]
    if not order:
        return None
    thin = [replace(p, samples=p.samples[:: max(1, len(p.samples) // _MOST_SAMPLES)]) for p in order]
    return profiles_chart(thin, "Memory over the frames of each stage")


def _rows(scores: Scores, mode: str = "ranked") -> list[InstanceScore]:
    return [row for row in scores.instances if row.scores == mode]


def _bars(scores: Scores) -> BarChart | None:
    groups = [
        (f"{row.target}, {'all levels' if row.level is None else f'level {row.level}'}", row)
        for row in _rows(scores)
        if row.selection != "best level"
    ]
    values = [(name, (row.ap, row.ap50, row.ap25)) for name, row in groups]
    for row in _rows(scores):
        if row.selection == "best level":
            values += [
                (f"{row.target}, class {c.label}", (c.ap, c.ap50, c.ap25))
                for c in row.classes[:_MOST_CLASSES]
            ]
    return score_bars(values, ("AP", "AP50", "AP25"))


def _overlaps(scores: Scores) -> Chart | None:
    lines = []
    for mode in ("ranked", "constant"):
        for row in _rows(scores, mode):
            if row.selection == "best level":
                points = sorted((t.threshold, t.ap) for t in row.thresholds if t.ap is not None)
                label = (
                    f"{row.target}, level {row.level}" if mode == "ranked" else f"{row.target}, equal scores"
                )
                lines.append(
                    Line(
                        points=tuple(points),
                        color=_COLORS.get(row.target, 2),
                        label=label,
                        dashed=mode == "constant",
                        dots=mode == "ranked",
                    )
                )
    return share_chart(
        "AP over the overlap that a hit needs, best levels", "overlap (IoU)", lines, x_from=0.25, x_to=0.9
    )


def _precision(scores: Scores) -> Chart | None:
    lines = []
    for row in _rows(scores):
        if row.selection == "best level":
            curve = next((t.curve for t in row.thresholds if t.curve), ())
            label = f"{row.target}, level {row.level}"
            lines.append(Line(points=tuple(reversed(curve)), color=_COLORS.get(row.target, 2), label=label))
    return share_chart(
        "Precision over recall at IoU 0.50, best levels", "recall", lines, x_from=0.0, x_to=1.0
    )
