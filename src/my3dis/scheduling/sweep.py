"""Drive a sweep: hand the plan to an executor, record everything that happens, and say what became of it.

``sweep_events.jsonl`` below the folder of all runs gets a line for every event and decision, as it happens;
``sweep.json`` is the whole of the last sweep: scenes x stages with status, seconds and memory, the jobs with
their attempts, reasons and evidence; ``sweep.html`` shows it to a person. Both are replaced in one step, also
while the sweep goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import my3dis
from my3dis.runs.events import EventLog, now_utc
from my3dis.runs.files import atomic_write_json, make_folder
from my3dis.runs.layout import RunLayout
from my3dis.runs.overview import RunOverview
from my3dis.scheduling.jobs import Executor, JobEvent, JobOutcome, JobStatus, SweepPlan
from my3dis.scheduling.sweep_live import LiveSweep
from my3dis.scheduling.sweep_lock import sweep_lock
from my3dis.scheduling.sweep_report import PAGE_NAME
from my3dis.scheduling.sweep_state import EVENTS_NAME, SWEEP_NAME, SceneState

__all__ = ["EVENTS_NAME", "SWEEP_NAME", "SceneResult", "SweepResult", "run_sweep"]

_FORMAT = 1
_WRITE_EVERY_S = 5.0
_MEMORY_EVERY_S = 5.0
_DECISIONS = frozenset(("admission", "stopping", "stopped", "requeued", "lease", "warning", "blocked"))
_KEPT_DECISIONS = 1000
_ENDS = {"finished": "done", "failed": "failed", "blocked": "blocked", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneResult:
    """What became of one scene.

    Attributes:
        scene: its name.
        status: ``done``, ``unchanged``, ``failed`` or ``cancelled``.
        run_dir: its run's folder.
        report: the page to open, or None when there is none.
        message: one sentence when it failed.
        evidence: what was seen of a shortage.
        seconds: wall time of its jobs.
        peak_rss_mb: highest host memory of its jobs.
        attempts: most that one of its jobs took.
    """

    scene: str
    status: str
    run_dir: Path
    report: Path | None = None
    message: str | None = None
    evidence: tuple[str, ...] = ()
    seconds: float = 0.0
    peak_rss_mb: float = 0.0
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What became of a sweep.

    Attributes:
        outcomes: of the jobs, in the plan's order.
        scenes: in the plan's order.
        seconds: wall time.
        peak_used_mb: most memory in use on this host meanwhile, of whatever bounds it; 0 when unknown.
        path: of ``sweep.json``.
        page: of ``sweep.html``.
    """

    outcomes: tuple[JobOutcome, ...]
    scenes: tuple[SceneResult, ...]
    seconds: float
    peak_used_mb: float
    path: Path
    page: Path

    @property
    def failed(self) -> int:
        """How many scenes failed."""
        return sum(scene.status == "failed" for scene in self.scenes)

    @property
    def was_interrupted(self) -> bool:
        """Whether jobs were cancelled."""
        return any(outcome.status is JobStatus.CANCELLED for outcome in self.outcomes)


def run_sweep(
    plan: SweepPlan, executor: Executor, observe: Callable[[JobEvent], None] | None = None
) -> SweepResult:
    """Run a plan and record it.

    Args:
        plan: what to do.
        executor: does it.
        observe: is told everything that happens, after it was recorded.

    Raises:
        ResourceError: if the records cannot be written, or another sweep writes its own there.
    """
    with sweep_lock(make_folder(plan.output_root)):
        return _run(plan, executor, observe)


def _run(plan: SweepPlan, executor: Executor, observe: Callable[[JobEvent], None] | None) -> SweepResult:
    record = _Record(plan)

    def tell(event: JobEvent) -> None:
        record.take(event)
        if observe is not None:
            observe(event)

    record.begin()
    try:
        outcomes = executor.run(plan, tell)
    except BaseException as error:
        record.end("failed", str(error) or repr(error))
        raise
    by_scene: dict[str, list[JobOutcome]] = {scene: [] for scene in plan.scenes}
    for outcome in outcomes:
        by_scene[outcome.job.scene].append(outcome)
    return record.finish(outcomes, tuple(_scene_result(plan, *entry) for entry in by_scene.items()))


class _Record:
    """Writes down a sweep."""

    def __init__(self, plan: SweepPlan) -> None:
        self._plan = plan
        self._path = plan.output_root / SWEEP_NAME
        self._events = EventLog(plan.output_root / EVENTS_NAME)
        self._live = LiveSweep(plan)
        self._begun, self._started = time.monotonic(), now_utc()
        self._written = self._memory_at = float("-inf")
        self._peak_used_mb = 0.0
        self._states = {job.id: "waiting" for job in plan.jobs}
        self._decisions: list[dict[str, object]] = []
        self._decided = 0

    def begin(self) -> None:
        """Record that it begins."""
        self._events.append(
            "sweep_started",
            my3dis=my3dis.__version__,
            scenes=len(self._plan.scenes),
            jobs=len(self._plan.jobs),
            reused=len(self._plan.reused),
        )
        for reused in self._plan.reused:
            self._events.append("reused", scene=reused.scene, stage=reused.stage)
        self._write("running", {})

    def take(self, event: JobEvent) -> None:
        """Record an event. How far stages are is not kept, and memory only every few seconds."""
        now = time.monotonic()
        facts = dict(event.facts)
        self._live.take(event)
        if event.kind == "memory":
            used = facts.get("used_mb", 0.0)
            self._peak_used_mb = max(self._peak_used_mb, float(used))
            if now - self._memory_at < _MEMORY_EVERY_S:
                return
            self._memory_at = now
        if event.kind in ("progress", "ready"):
            return
        job = {"job": event.job_id} if event.job_id else {}
        text = {"text": event.text} if event.text else {}
        self._events.append(event.kind, **job, **text, **facts)
        if event.kind in _DECISIONS:
            self._decided += 1
            line: dict[str, object] = {
                "time": now_utc(),
                "kind": event.kind,
                **job,
                "text": event.text,
                **facts,
            }
            self._decisions = [*self._decisions, line][-_KEPT_DECISIONS:]
        if event.job_id in self._states:
            self._states[event.job_id] = _ENDS.get(
                event.kind, "running" if event.kind in ("started", "stage") else self._states[event.job_id]
            )
            if event.kind in ("requeued", "stopped"):
                self._states[event.job_id] = "waiting"
        if now - self._written >= _WRITE_EVERY_S:
            self._write("running", {"job_states": self._states})
            self._live.refresh(self._states, self._facts())

    def end(self, status: str, message: str) -> None:
        """Record that the sweep itself broke off."""
        self._events.append("sweep_ended", status=status, message=message)
        self._write(status, {"message": message, "job_states": self._states})
        self._live.end(status, self._states, self._facts() | {"message": message})

    def finish(self, outcomes: tuple[JobOutcome, ...], scenes: tuple[SceneResult, ...]) -> SweepResult:
        """Record what became of everything."""
        result = SweepResult(
            outcomes=outcomes,
            scenes=scenes,
            seconds=round(time.monotonic() - self._begun, 3),
            peak_used_mb=round(self._peak_used_mb, 1),
            path=self._path,
            page=self._plan.output_root / PAGE_NAME,
        )
        status = "interrupted" if result.was_interrupted else "failed" if result.failed else "finished"
        jobs: dict[str, list[dict[str, object]]] = {scene.scene: [] for scene in scenes}
        for outcome in outcomes:
            jobs[outcome.job.scene].append(_job(outcome))
        runs = {scene.scene: self._live.overview(scene.scene) for scene in scenes}
        described = {s.scene: _described(s, jobs[s.scene], runs[s.scene]) for s in scenes}
        self._write(status, {"scenes": described})
        codes = {
            outcome.job.scene: outcome.exit_code for outcome in outcomes if outcome.status is JobStatus.FAILED
        }
        states = [_state(s, runs[s.scene], codes.get(s.scene)) for s in scenes]
        self._live.finish(status, states, self._facts())
        counts = {
            name: sum(scene.status == name for scene in scenes) for name in ("done", "unchanged", "failed")
        }
        self._events.append("sweep_ended", status=status, seconds=result.seconds, **counts)
        return result

    def _facts(self) -> dict[str, object]:
        return {
            "peak_used_mb": round(self._peak_used_mb, 1),
            "decisions_made": self._decided,
            "decisions": self._decisions,
        }

    def _write(self, status: str, what: dict[str, object]) -> None:
        self._written = time.monotonic()
        experiment = self._plan.config.experiment
        content = {
            "format": _FORMAT,
            "status": status,
            "my3dis": my3dis.__version__,
            "started": self._started,
            "updated": now_utc(),
            "seconds": round(self._written - self._begun, 3),
            "output_root": str(self._plan.output_root),
            "executor": experiment.executor,
            "run_name": experiment.name,
            "tag": experiment.tag,
            **what,
            **self._facts(),
        }
        atomic_write_json(self._path, content)


def _scene_result(plan: SweepPlan, scene: str, own: list[JobOutcome]) -> SceneResult:
    statuses = {outcome.status for outcome in own}
    failed = next((outcome for outcome in own if outcome.status is JobStatus.FAILED), None)
    layout = RunLayout(plan.output_root / scene / plan.config.experiment.name)
    report = layout.report(plan.config.stages.report.name)
    return SceneResult(
        scene=scene,
        status=(
            "failed"
            if failed is not None
            else "cancelled"
            if JobStatus.CANCELLED in statuses
            else "done"
            if own
            else "unchanged"
        ),
        run_dir=layout.root,
        report=report if report.is_file() else None,
        message=failed.message if failed else None,
        evidence=failed.evidence if failed else (),
        seconds=round(sum(outcome.seconds for outcome in own), 3),
        peak_rss_mb=max((outcome.peak_rss_mb for outcome in own), default=0.0),
        attempts=max((outcome.attempts for outcome in own), default=0),
    )


def _described(
    scene: SceneResult, jobs: list[dict[str, object]], run: RunOverview | None
) -> dict[str, object]:
    plain = asdict(scene)
    del plain["scene"]
    known = run.as_json() if run is not None else {}
    return plain | {"jobs": jobs, "stages": known.get("stages", {}), "scores": known.get("scores", {})}


def _state(scene: SceneResult, run: RunOverview | None, exit_code: int | None) -> SceneState:
    return SceneState(
        scene=scene.scene,
        status=scene.status,
        run_dir=scene.run_dir,
        overview=run,
        seconds=scene.seconds,
        peak_rss_mb=scene.peak_rss_mb,
        attempts=scene.attempts,
        message=scene.message or "",
        evidence=scene.evidence,
        exit_code=exit_code,
    )


def _job(outcome: JobOutcome) -> dict[str, object]:
    job = outcome.job
    known = {"id": job.id, "stages": job.stages, "why": job.why, "expected_seconds": job.seconds}
    names = (name for name in JobOutcome.__dataclass_fields__ if name != "job")
    return known | {name: getattr(outcome, name) for name in names}
