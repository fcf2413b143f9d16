"""What a script wants to know of a run: ``workflow_summary.json``, and its line in the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from my3dis.runs.events import now_utc, read_events
from my3dis.runs.files import atomic_write_json, read_json
from my3dis.runs.history import HistoryLine, append_history
from my3dis.runs.manifest import Manifest
from my3dis.runs.scores import load_scores
from my3dis.runs.session import RunSession

__all__ = ["record_history", "record_killed", "write_summary"]

HISTORY_NAME = "workflow_history.csv"
"""The history's file below the folder of all runs."""
ENDS = ("run_finished", "stages_finished")
"""Events after which a process may die without its attempt having been killed."""


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
    """Append the attempt's line to the history of its output root."""
    made = [result for result in session.results if result.status != "reused"]
    _append(
        session,
        session.manifest.status,
        {
            "finished": now_utc(),
            "seconds": round(sum(result.seconds for result in made), 3),
            "stages_run": " ".join(result.name for result in made),
            "stages_reused": " ".join(r.name for r in session.results if r.status == "reused"),
        },
    )


def record_killed(session: RunSession, earlier: Manifest | None) -> None:
    """Append the line of an attempt that was killed and could not; call it before this one tells anything.

    Args:
        session: of the attempt that goes on.
        earlier: what the killed one left; None if it did not come so far, then there is nothing to tell.
    """
    attempt: list[dict[str, object]] = []
    for event in read_events(session.inputs.layout.events):
        attempt = [] if event.get("event") == "run_started" else attempt
        attempt.append(event)
    if earlier is None or not attempt or attempt[-1].get("event") in ENDS:
        return
    made = [event for event in attempt if event.get("event") in ("stage_finished", "stage_skipped")]
    reused = [event for event in attempt if event.get("event") == "stage_reused"]
    seconds = [s for event in made if isinstance(s := event.get("seconds"), (int, float))]
    facts: dict[str, str | float] = {
        "finished": str(attempt[-1].get("time", earlier.updated)),
        "seconds": round(sum(seconds), 3),
        "stages_run": " ".join(str(event.get("stage")) for event in made),
        "stages_reused": " ".join(str(event.get("stage")) for event in reused),
    }
    _append(session, "killed", facts, earlier)


def _append(
    session: RunSession, status: str, facts: Mapping[str, str | float], manifest: Manifest | None = None
) -> None:
    root = session.inputs.layout.root
    manifest = manifest or session.manifest
    line = HistoryLine(
        finished=str(facts["finished"]),
        scene=manifest.scene,
        run_name=manifest.run_name,
        status=status,
        seconds=float(facts["seconds"]),
        frames=manifest.frames_selected,
        levels=" ".join(map(str, manifest.levels)),
        stages_run=str(facts["stages_run"]),
        stages_reused=str(facts["stages_reused"]),
        object_ap50=_object_ap50(session) if status != "killed" else "",
        version=manifest.version,
        commit=manifest.commit or "",
        tag=manifest.tag or "",
        run_dir=str(root),
    )
    append_history(root.parents[1] / HISTORY_NAME, line)


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
