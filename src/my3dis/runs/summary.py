"""What a script wants to know of a run: ``workflow_summary.json``, and its line in the history."""

from __future__ import annotations

from dataclasses import asdict

from my3dis.runs.events import now_utc
from my3dis.runs.files import atomic_write_json, read_json
from my3dis.runs.history import HistoryLine, append_history
from my3dis.runs.scores import load_scores
from my3dis.runs.session import RunSession

__all__ = ["record_history", "write_summary"]

HISTORY_NAME = "workflow_history.csv"
"""The history's file below the folder of all runs."""


def write_summary(session: RunSession) -> None:
    """Write the summary, the environment snapshot in it."""
    layout, manifest = session.inputs.layout, session.manifest
    timings = session.stage_timings()
    summary = {
        "scene": manifest.scene,
        "scan": manifest.scan,
        "dataset": manifest.dataset,
        "run_name": manifest.run_name,
        "tag": manifest.tag,
        "status": manifest.status,
        "started": manifest.started,
        "updated": now_utc(),
        "frames": {
            "slice": manifest.frame_slice,
            "selected": manifest.frames_selected,
            "total": manifest.frames_total,
        },
        "levels": list(manifest.levels),
        "stages": {
            record.name: {"status": str(record.status), "message": record.message}
            for record in manifest.stages
        },
        "seconds": round(sum(timing.seconds for timing in timings), 3),
        "peak_rss_mb": round(max((timing.peak_rss_mb for timing in timings), default=0.0), 1),
        "scores": read_json(layout.scores) if layout.scores.is_file() else None,
        "warnings": [asdict(warning) for warning in session.warnings],
        "plugins": dict(manifest.plugins),
        "checkpoints": dict(manifest.checkpoints),
        "environment": read_json(layout.environment),
    }
    atomic_write_json(layout.summary, summary)


def record_history(session: RunSession) -> None:
    """Append the run's line to the history of its output root."""
    layout, manifest = session.inputs.layout, session.manifest
    made = [result for result in session.results if result.status != "reused"]
    line = HistoryLine(
        finished=now_utc(),
        scene=manifest.scene,
        run_name=manifest.run_name,
        status=manifest.status,
        seconds=round(sum(result.seconds for result in made), 3),
        frames=manifest.frames_selected,
        levels=" ".join(map(str, manifest.levels)),
        stages_run=" ".join(result.name for result in made),
        stages_reused=" ".join(result.name for result in session.results if result.status == "reused"),
        object_ap50=_object_ap50(session),
        version=manifest.version,
        commit=manifest.commit or "",
        tag=manifest.tag or "",
        run_dir=str(layout.root),
    )
    append_history(layout.root.parents[1] / HISTORY_NAME, line)


def _object_ap50(session: RunSession) -> str:
    """Return the AP50 of the best level against objects, in percent, or nothing without scores."""
    path = session.inputs.layout.scores
    if not path.is_file():
        return ""
    for row in load_scores(path).instances:
        best = row.target == "objects" and row.selection == "best level" and row.scores == "ranked"
        if best and row.ap50 is not None:
            return f"{100 * row.ap50:.1f}"
    return ""
