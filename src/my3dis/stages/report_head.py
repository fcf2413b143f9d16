"""The head of the report: what ran on what, and the key figures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from my3dis.reporting.model import Figure
from my3dis.reporting.page import format_megabytes, format_seconds
from my3dis.reporting.tables import count_figure
from my3dis.runs.scores import Scores
from my3dis.stages.context import StageContext
from my3dis.stages.report_facts import RunFacts
from my3dis.stages.report_material import DrawnMasks, Tracked
from my3dis.stages.report_scores import score_figures
from my3dis.types import InstanceSet

__all__ = ["key_figures", "summary_of"]


def summary_of(context: StageContext, facts: RunFacts) -> str:
    """Return in two sentences what was read and what made masks and tracks."""
    overview, config = context.reader.overview, context.config
    height, width = overview.image_size
    levels = ", ".join(str(level) for level in config.experiment.levels)
    proposer = facts.back_end("candidates") or config.stages.ssam.proposer
    tracker = facts.back_end("track") or config.stages.tracker.propagator
    proposed = f"Candidates by {proposer}" if facts.was_made("candidates") else "No candidates"
    tracked = f"tracked by {tracker}" if facts.was_made("track") else "not tracked"
    plural = "s" if len(config.experiment.levels) > 1 else ""
    return (
        f"Read as {overview.dataset}: {len(context.frames):,} of {overview.frame_count:,} frames at "
        f"{width} × {height}. {proposed} at level{plural} {levels}; {tracked}."
    )


def key_figures(
    context: StageContext,
    facts: RunFacts,
    material: tuple[Tracked | None, DrawnMasks | str],
    results: tuple[InstanceSet | str, Scores | str],
) -> tuple[Figure, ...]:
    """Return the key figures that this run has.

    Args:
        context: of the stage.
        facts: the run's records.
        material: tracks, and the masks that are drawn or why there are none.
        results: instances and scores, each a reason where there are none.
    """
    tracked, drawn = material
    instances, scores = results
    first_last = f"positions {context.frames[0]} to {context.frames[-1]}" if context.frames else ""
    figures = [
        Figure(
            label="Frames",
            value=f"{len(context.frames):,}",
            notes=(f"of {context.reader.overview.frame_count:,}", first_last),
        )
    ]
    if isinstance(drawn, DrawnMasks):
        figures.append(count_figure("Tracked masks" if not drawn.note else "Masks", drawn.by_level))
    if tracked is not None:
        figures.append(count_figure("Tracks", _by_level(tracked.tracks.level)))
    if not isinstance(instances, str):
        figures.append(count_figure("3D instances", _by_level(instances.level)))
    if not isinstance(scores, str):
        figures += score_figures(scores)
    return (*figures, *_cost_figures(facts))


def _by_level(levels: NDArray[np.int16]) -> tuple[tuple[int, int], ...]:
    found, counts = np.unique(levels, return_counts=True)
    return tuple(zip(found.tolist(), counts.tolist(), strict=True))


def _cost_figures(facts: RunFacts) -> tuple[Figure, ...]:
    before = [timing for timing in facts.timings if timing.name != "report"]
    if not before or not facts.config.stages.report.record_timings:
        return ()
    most = max(before, key=lambda timing: timing.peak_rss_mb)
    seconds = sum(timing.seconds for timing in before)
    return (
        Figure(label="Time", value=format_seconds(seconds), notes=("all stages before this report",)),
        Figure(label="Peak memory", value=format_megabytes(most.peak_rss_mb), notes=(f"stage {most.name}",)),
    )
