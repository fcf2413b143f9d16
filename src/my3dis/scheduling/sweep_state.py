"""How far a sweep is, scene by scene, while it goes on or read back from its folder."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from my3dis.errors import DataError
from my3dis.runs.files import read_json
from my3dis.runs.layout import RunLayout
from my3dis.runs.overview import RunOverview, find_runs, is_run, read_overview
from my3dis.scheduling.recording import AttemptSpan, Recording, read_recording

__all__ = [
    "EVENTS_NAME",
    "SWEEP_NAME",
    "SceneState",
    "SweepState",
    "read_state",
    "state_of_runs",
    "try_overview",
]

SWEEP_NAME, EVENTS_NAME = "sweep.json", "sweep_events.jsonl"
_SILENT_S = 60.0
"""A sweep that goes on writes its record every few seconds; after so long without, it is taken for dead."""
_OF_JOBS = ("failed", "running", "cancelled", "blocked", "waiting")


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneState:
    """One scene.

    Attributes:
        scene, status, run_dir: its name, ``done``, ``unchanged``, ``failed``, ``cancelled``, ``running`` or
            ``waiting`` (or a status of a manifest where there was no sweep), its run's folder.
        overview: the run read back, None where nothing is there yet.
        seconds, peak_rss_mb, attempts: of its jobs; 0 = none.
        message, evidence: why it failed.
        exit_code: of its failed job, None when a signal ended it or unknown.
    """

    scene: str
    status: str
    run_dir: Path
    overview: RunOverview | None = None
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    attempts: int = 0
    message: str = ""
    evidence: tuple[str, ...] = ()
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepState:
    """A sweep, or runs that lie in one folder.

    Attributes:
        output_root, run_name, tag: as in its settings.
        status: ``running``, ``finished``, ``failed``, ``interrupted``, ``broken off`` (its process died), or
            ``collected`` where there was no sweep.
        started: UTC time in ISO 8601, empty when unknown.
        seconds: wall time so far.
        peak_used_mb: most memory in use on the host meanwhile, 0 when unknown.
        scenes: in order.
        recording: attempts and memory over time.
        decisions, decisions_made: the last ones, and how many there were.
        message: why the sweep itself ended.
        notes: what could not be read.
    """

    output_root: Path
    run_name: str
    status: str
    scenes: tuple[SceneState, ...]
    recording: Recording
    tag: str | None = None
    started: str = ""
    seconds: float = 0.0
    peak_used_mb: float = 0.0
    decisions: tuple[Mapping[str, object], ...] = ()
    decisions_made: int = 0
    message: str = ""
    notes: tuple[str, ...] = ()


def try_overview(run_dir: Path, notes: list[str]) -> RunOverview | None:
    """Return a run read back, None where there is none; what is damaged is noted."""
    if not is_run(run_dir):
        return None
    try:
        return read_overview(run_dir)
    except DataError as error:
        notes.append(str(error))
        return None


def read_state(output_root: Path) -> SweepState:
    """Read the last sweep of a folder back, or, without a ``sweep.json``, the runs that lie in it.

    Raises:
        DataError: if there are neither, or the record is damaged.
    """
    path = output_root / SWEEP_NAME
    if not path.is_file():
        return state_of_runs(output_root)
    content: Any = read_json(path)
    recording = read_recording(output_root / EVENTS_NAME)
    notes: list[str] = []
    try:
        known = content.get("scenes")
        if known is None:
            scenes = _unfinished(output_root, content, recording, notes)
        else:
            scenes = tuple(_finished(output_root, content, name, one, notes) for name, one in known.items())
        status = str(content["status"])
        if status == "running" and _age_s(content["updated"]) > _SILENT_S:
            status = "broken off"
        return SweepState(
            output_root=output_root,
            run_name=str(content["run_name"]),
            tag=content["tag"],
            status=status,
            started=str(content["started"]),
            seconds=float(content["seconds"]),
            peak_used_mb=float(content["peak_used_mb"]),
            scenes=scenes,
            recording=recording,
            decisions=tuple(content["decisions"]),
            decisions_made=int(content["decisions_made"]),
            message=str(content.get("message", "")),
            notes=tuple(notes),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: expected the record of a sweep, found a damaged file ({error!r}); delete it to see the "
            "runs alone"
        ) from error


def state_of_runs(output_root: Path, run_name: str | None = None) -> SweepState:
    """Return the runs that lie in a folder, whatever made them.

    Args:
        output_root: the folder.
        run_name: only runs of this name.

    Raises:
        DataError: if there is none.
    """
    notes: list[str] = []
    found = [path for path in find_runs(output_root) if run_name in (None, path.name)]
    runs = [run for path in found if (run := try_overview(path, notes)) is not None]
    if not found:
        named = f" of the name {run_name}" if run_name else ""
        raise DataError(
            f"expected a folder of runs, found none{named} in {output_root} (they lie in <scene>/<name>/); "
            "name the folder given to `my3dis run --output`"
        )
    names = {run.run_name for run in runs}
    scenes = tuple(
        SceneState(
            scene=run.scene if len(names) < 2 else f"{run.scene} / {run.run_name}",
            status="done" if run.status == "finished" else run.status,
            run_dir=run.run_dir,
            overview=run,
            seconds=run.seconds,
            peak_rss_mb=run.peak_rss_mb,
            message="; ".join(f"{s.name}: {s.message}" for s in run.stages if s.status == "failed"),
        )
        for run in runs
    )
    return SweepState(
        output_root=output_root,
        run_name=", ".join(sorted(names)),
        status="collected",
        scenes=scenes,
        recording=Recording(),
        notes=tuple(notes),
    )


def status_of_jobs(states: Iterable[str]) -> str:
    """Return what the states of a scene's jobs make of it; without jobs nothing is to be done."""
    found = set(states)
    if not found:
        return "unchanged"
    if "done" in found and found <= {"done", "waiting"}:
        return "done" if found == {"done"} else "waiting"
    return next((state for state in _OF_JOBS if state in found), "waiting")


def unfinished_scene(
    scene: str,
    run_dir: Path,
    jobs: Mapping[str, str],
    recording: Recording,
    spans: Iterable[AttemptSpan],
    overview: RunOverview | None,
) -> SceneState:
    """Return a scene while its sweep goes on, from the states of its jobs and their attempts so far."""
    own = list(spans)
    failed = next((job for job, state in jobs.items() if state == "failed"), None)
    message, evidence = recording.failures.get(failed or "", ("", ""))
    tries: dict[str, int] = {}
    for span in own:
        tries[span.job_id] = tries.get(span.job_id, 0) + 1
    return SceneState(
        scene=scene,
        status=status_of_jobs(jobs.values()),
        run_dir=run_dir,
        overview=overview,
        seconds=round(sum(span.end_s - span.start_s for span in own if span.end_s is not None), 2),
        peak_rss_mb=max((span.peak_rss_mb for span in own), default=0.0),
        attempts=max(tries.values(), default=0),
        message=message,
        evidence=tuple(evidence.split("; ")) if evidence else (),
    )


def scene_of_job(job_id: str) -> str:
    """Return the scene that a job belongs to."""
    return job_id.rpartition(":")[0]


def _unfinished(
    output_root: Path, content: Mapping[str, Any], recording: Recording, notes: list[str]
) -> tuple[SceneState, ...]:
    """Return the scenes of a sweep that has no end yet: those with jobs, and those with runs of its name."""
    jobs: dict[str, dict[str, str]] = {}
    for job, state in content.get("job_states", {}).items():
        jobs.setdefault(scene_of_job(job), {})[job] = state
    spans: dict[str, list[AttemptSpan]] = {}
    for span in recording.attempts:
        spans.setdefault(scene_of_job(span.job_id), []).append(span)
    name = content["run_name"]
    there = {path.parent.name for path in find_runs(output_root) if path.name == name}
    states = []
    for scene in sorted(there | jobs.keys()):
        folder = output_root / scene / name
        run = try_overview(folder, notes) if scene in there else None
        own = jobs.get(scene, {})
        states.append(unfinished_scene(scene, folder, own, recording, spans.get(scene, ()), run))
    return tuple(states)


def _finished(
    output_root: Path, content: Mapping[str, Any], name: str, known: Mapping[str, Any], notes: list[str]
) -> SceneState:
    # The folder may have been moved or be mounted elsewhere: runs are looked for where the record lies.
    folder = output_root / name / content["run_name"]
    failed = next((job for job in known["jobs"] if job["status"] == "failed"), None)
    return SceneState(
        scene=name,
        status=str(known["status"]),
        run_dir=folder if folder.is_dir() else RunLayout(Path(known["run_dir"])).root,
        overview=try_overview(folder, notes),
        seconds=float(known["seconds"]),
        peak_rss_mb=float(known["peak_rss_mb"]),
        attempts=int(known["attempts"]),
        message=known["message"] or "",
        evidence=tuple(known["evidence"]),
        exit_code=failed["exit_code"] if failed else None,
    )


def _age_s(updated: object) -> float:
    try:
        return time.time() - datetime.fromisoformat(str(updated)).timestamp()
    except ValueError:
        return float("inf")
