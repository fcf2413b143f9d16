"""The page of a sweep: ``sweep.html`` beside ``sweep.json``, also while the sweep goes on."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import my3dis
from my3dis.reporting.model import Figure
from my3dis.reporting.page import format_count, format_megabytes, format_seconds
from my3dis.reporting.sweep_model import (
    DecisionRow,
    FailureRow,
    MeanRow,
    SceneRow,
    StageCell,
    SweepPage,
)
from my3dis.reporting.sweep_page import render_sweep
from my3dis.runs.files import atomic_write_text
from my3dis.runs.layout import RunLayout
from my3dis.runs.overview import RunOverview
from my3dis.runs.plan import STAGE_NAMES
from my3dis.scheduling.sweep_advice import advice_for
from my3dis.scheduling.sweep_pictures import gpu_chart, jobs_chart, memory_chart, slowest_chart
from my3dis.scheduling.sweep_state import SceneState, SweepState

__all__ = ["PAGE_NAME", "as_json", "page_of", "write_page"]

PAGE_NAME = "sweep.html"
_MOST_ROWS, _MOST_FAILURES, _MOST_NAMES, _MOST_DECISIONS = 5000, 20, 60, 200
_NUMBER = re.compile(r"\d+")
_MEASURES = (("objects", "ap"), ("objects", "ap50"), ("objects", "ap25"), ("parts", "ap50"))
_NAMES = {"ap": "AP", "ap50": "AP50", "ap25": "AP25"}
_ORDER = ("failed", "broken off", "interrupted", "cancelled", "blocked", "running")


def write_page(state: SweepState, page: Path | None = None) -> Path:
    """Write the page of a sweep in one step and return its path.

    Raises:
        ResourceError: if it cannot be written.
    """
    path = page or state.output_root / PAGE_NAME
    atomic_write_text(path, render_sweep(page_of(state, path.parent)))
    return path


def page_of(state: SweepState, folder: Path) -> SweepPage:
    """Return everything that the page shows.

    Args:
        state: the sweep.
        folder: in which the page will lie; links are relative to it.
    """
    scenes = state.scenes
    measures = [
        measure
        for measure in _MEASURES
        if any(_score(scene.overview, measure) is not None for scene in scenes)
    ]
    shown = sorted(scenes, key=_rank)[:_MOST_ROWS]
    failures = _failures(scenes, folder)
    return SweepPage(
        title=state.output_root.name or str(state.output_root),
        name=f"{state.run_name}{' · ' + state.tag if state.tag else ''}",
        summary=_summary(state),
        alive=state.status == "running",
        notes=_notes(state),
        figures=_figures(state),
        stages=STAGE_NAMES,
        measures=tuple(f"{target} {_NAMES[name]}" for target, name in measures),
        rows=tuple(_row(scene, folder, measures) for scene in shown),
        total=len(scenes),
        failures=failures[:_MOST_FAILURES],
        more_failures=max(0, len(failures) - _MOST_FAILURES),
        decisions=_decisions(state),
        decisions_made=state.decisions_made,
        means=tuple(mean for measure in measures if (mean := _mean(scenes, measure)) is not None),
        slowest=slowest_chart(scenes),
        memory=memory_chart(state.recording),
        gpu_memory=gpu_chart(state.recording),
        jobs=jobs_chart(state.recording),
        version=my3dis.__version__,
    )


def as_json(state: SweepState) -> dict[str, object]:
    """Return the whole of a sweep as plain data for scripts; shares stay shares, memory is in MiB."""
    return {
        "kind": "sweep",
        "status": state.status,
        "output_root": str(state.output_root),
        "run_name": state.run_name,
        "tag": state.tag,
        "started": state.started or None,
        "seconds": state.seconds,
        "peak_used_mb": state.peak_used_mb,
        "message": state.message or None,
        "counts": _counts(state.scenes),
        "means": {
            f"{target} {name}": {"mean": mean.mean, "scenes": mean.scenes}
            for target, name in _MEASURES
            if (mean := _mean(state.scenes, (target, name))) is not None
        },
        "scenes": {scene.scene: _plain(scene) for scene in state.scenes},
        "memory": [
            {
                "seconds": point.seconds,
                "used_mb": point.used_mb,
                "capacity_mb": point.capacity_mb,
                "jobs_mb": point.jobs_mb,
                "running": point.running,
                "gpus_mb": dict(point.gpus),
            }
            for point in state.recording.memory
        ],
        "decisions_made": state.decisions_made,
        "decisions": [dict(decision) for decision in state.decisions],
        "notes": list(state.notes),
    }


def _plain(scene: SceneState) -> dict[str, object]:
    run = scene.overview.as_json() if scene.overview is not None else {}
    return {
        "status": scene.status,
        "run_dir": str(scene.run_dir),
        "report": run.get("report"),
        "seconds": scene.seconds,
        "peak_rss_mb": scene.peak_rss_mb,
        "attempts": scene.attempts,
        "message": scene.message or None,
        "evidence": list(scene.evidence),
        "advice": advice_for(scene) if scene.status == "failed" else None,
        "stages": run.get("stages", {}),
        "scores": run.get("scores", {}),
    }


def _rank(scene: SceneState) -> int:
    return _ORDER.index(scene.status) if scene.status in _ORDER else len(_ORDER)


def _row(scene: SceneState, folder: Path, measures: Sequence[tuple[str, str]]) -> SceneRow:
    run = scene.overview
    gpu = [stage.peak_gpu_mb for stage in run.stages if stage.peak_gpu_mb is not None] if run else []
    return SceneRow(
        name=scene.scene,
        href=_link(run.report, folder) if run is not None and run.report is not None else "",
        status=scene.status,
        seconds=scene.seconds or (run.seconds if run else None),
        cells=tuple(_cell(scene, name) for name in STAGE_NAMES),
        peak_rss_mb=scene.peak_rss_mb or (run.peak_rss_mb if run else None) or None,
        peak_gpu_mb=max(gpu, default=None),
        attempts=scene.attempts,
        scores=tuple(_score(run, measure) for measure in measures),
    )


def _cell(scene: SceneState, name: str) -> StageCell:
    stage = scene.overview.stage(name) if scene.overview is not None else None
    if stage is None:
        return StageCell()
    status = stage.status
    if status == "running" and scene.status not in ("running", "waiting"):
        status = "failed" if scene.status == "failed" else "interrupted"  # it died before it could say so
    memory = f"{format_megabytes(stage.peak_rss_mb)} at most" if stage.peak_rss_mb is not None else ""
    words = "; ".join(w for w in ("" if status == "done" else status, stage.message or "", memory) if w)
    return StageCell(status=status, seconds=stage.seconds, words=words)


def _score(run: RunOverview | None, measure: tuple[str, str]) -> float | None:
    target, name = measure
    for score in run.scores if run is not None else ():
        if score.target == target:
            return {"ap": score.ap, "ap50": score.ap50, "ap25": score.ap25}[name]
    return None


def _mean(scenes: Sequence[SceneState], measure: tuple[str, str]) -> MeanRow | None:
    values = [value for scene in scenes if (value := _score(scene.overview, measure)) is not None]
    if not values:
        return None
    return MeanRow(
        measure=f"{measure[0]} {_NAMES[measure[1]]}",
        mean=sum(values) / len(values),
        lowest=min(values),
        highest=max(values),
        scenes=len(values),
    )


def _failures(scenes: Sequence[SceneState], folder: Path) -> tuple[FailureRow, ...]:
    """Return the failures, those that differ in names and numbers only as one; most frequent first."""
    groups: dict[tuple[str, str], list[SceneState]] = {}
    for scene in scenes:
        if scene.status == "failed":
            words = _NUMBER.sub("#", scene.message.replace(scene.scene, "*"))
            groups.setdefault((words, advice_for(scene)), []).append(scene)
    rows = []
    for (_, advice), members in sorted(groups.items(), key=lambda entry: -len(entry[1])):
        logs = ((scene.scene, RunLayout(scene.run_dir).log) for scene in members[:_MOST_NAMES])
        rows.append(
            FailureRow(
                scenes=tuple((name, _link(log, folder) if log.is_file() else "") for name, log in logs),
                reason=members[0].message or "no reason was recorded",
                evidence=members[0].evidence,
                advice=advice,
                more=max(0, len(members) - _MOST_NAMES),
            )
        )
    return tuple(rows)


def _link(path: Path, folder: Path) -> str:
    """Return a relative address, so that the folder may be moved or served as it is."""
    return quote(Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix())


def _decisions(state: SweepState) -> tuple[DecisionRow, ...]:
    begun = _epoch_s(state.started)
    rows = []
    for decision in state.decisions[-_MOST_DECISIONS:]:
        at = _epoch_s(decision.get("time"))
        rows.append(
            DecisionRow(
                seconds=max(0.0, at - begun) if at is not None and begun is not None else None,
                kind=str(decision.get("kind", "")),
                job=str(decision.get("job", "")),
                text=str(decision.get("text", "")),
            )
        )
    return tuple(rows)


def _counts(scenes: Sequence[SceneState]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for scene in scenes:
        counts[scene.status] = counts.get(scene.status, 0) + 1
    return counts


def _summary(state: SweepState) -> str:
    total = len(state.scenes)
    count = f"{total:,} scene{'s' * (total != 1)}"
    if state.status == "collected":
        return f"{count}: the finished runs in this folder."
    words = {"running": "in progress", "failed": "finished, some scenes failed"}.get(
        state.status, state.status
    )
    begun = f", begun {state.started[:16].replace('T', ' ')} UTC" if state.started else ""
    return (
        f"{count}, {words}{begun}; {format_seconds(state.seconds)} so far."
        if state.status == "running"
        else (f"{count}, {words}{begun}; it took {format_seconds(state.seconds)}.")
    )


def _notes(state: SweepState) -> tuple[str, ...]:
    notes = list(state.notes[:20])
    if len(state.notes) > len(notes):
        notes.append(f"and {len(state.notes) - len(notes):,} more records that cannot be read")
    if state.status == "broken off":
        notes.insert(
            0,
            "The sweep ended without saying so: its process was killed, or the machine went down. Finished "
            "stages are kept; the same command goes on from there.",
        )
    if state.message:
        notes.insert(0, state.message)
    return tuple(notes)


def _figures(state: SweepState) -> tuple[Figure, ...]:
    counts = _counts(state.scenes)
    done = counts.get("done", 0) + counts.get("unchanged", 0)
    kept = (f"{counts['unchanged']:,} were there already",) if counts.get("unchanged") else ()
    work = sum(scene.seconds for scene in state.scenes)
    figures = [Figure(label="Scenes done", value=f"{done:,}", notes=(f"of {len(state.scenes):,}", *kept))]
    figures += [
        Figure(label=name.capitalize(), value=format_count(counts[name]))
        for name in ("failed", "running", "waiting", "cancelled", "interrupted")
        if counts.get(name)
    ]
    beside = work / state.seconds if state.seconds else 0.0
    notes = (f"{beside:.1f} jobs side by side on average",) if beside > 1.05 else ()
    figures.append(Figure(label="Work of all jobs", value=format_seconds(work), notes=notes))
    peak = max((scene.peak_rss_mb for scene in state.scenes), default=0.0)
    if peak:
        host = (f"{format_megabytes(state.peak_used_mb)} in use on the host",) if state.peak_used_mb else ()
        figures.append(Figure(label="Highest memory of a job", value=format_megabytes(peak), notes=host))
    retried = sum(span.how in ("retried", "stopped") for span in state.recording.spans)
    if retried:
        figures.append(Figure(label="Attempts repeated", value=format_count(retried)))
    return tuple(figures)


def _epoch_s(value: object) -> float | None:
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return None
