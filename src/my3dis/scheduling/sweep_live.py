"""Keep the page of a sweep up to date while it goes on, for next to nothing.

The page is made again at most every `EVERY_S` seconds, and less often where making it takes long: never more
than one part in `SHARE` of the driver's time. Finished scenes are read back once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from my3dis.runs.events import now_utc
from my3dis.runs.layout import RunLayout
from my3dis.runs.overview import RunOverview
from my3dis.scheduling.jobs import JobEvent, SweepPlan
from my3dis.scheduling.recording import AttemptSpan, Recording
from my3dis.scheduling.sweep_report import write_page
from my3dis.scheduling.sweep_state import (
    SceneState,
    SweepState,
    scene_of_job,
    try_overview,
    unfinished_scene,
)

__all__ = ["EVERY_S", "SHARE", "LiveSweep"]

EVERY_S, SHARE = 10.0, 200
_READ_AT_ONCE = 100
"""Scenes that were finished before are read back so many at a time, so that no refresh takes long."""


class LiveSweep:
    """Follows a sweep and writes its page.

    Args:
        plan: what is to be done.
        every_s: least time between two pages.

    Attributes:
        recording: attempts and memory over time.
    """

    def __init__(self, plan: SweepPlan, every_s: float = EVERY_S) -> None:
        self._plan, self._every_s = plan, every_s
        self._started, self._begun = now_utc(), time.monotonic()
        self._next = self._begun + every_s
        self.recording = Recording()
        self._runs: dict[str, RunOverview | None] = {}
        self._notes: list[str] = []
        self._jobs: dict[str, list[str]] = {scene: [] for scene in plan.scenes}
        for job in plan.jobs:
            self._jobs[job.scene].append(job.id)

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return round(time.monotonic() - self._begun, 3)

    def take(self, event: JobEvent) -> None:
        """Note what happened."""
        facts = dict(event.facts)
        self.recording.take(self.seconds, event.kind, event.job_id, facts, event.text)
        if event.job_id and event.kind in ("finished", "failed", "stopped", "requeued", "cancelled"):
            self._runs.pop(scene_of_job(event.job_id), None)

    def refresh(self, states: Mapping[str, str], facts: Mapping[str, object]) -> None:
        """Write the page if it is time; ``states`` holds how far each job is.

        Raises:
            ResourceError: if it cannot be written.
        """
        if time.monotonic() < self._next:
            return
        begun = time.perf_counter()
        spans = self._spans()
        room = _READ_AT_ONCE
        scenes: list[SceneState] = []
        for scene, jobs in self._jobs.items():
            own = {job: states.get(job, "waiting") for job in jobs}
            touched = not own or any(state not in ("waiting", "running") for state in own.values())
            if touched and scene not in self._runs and room:
                room -= 1
                self._overview(scene)
            run = self._runs.get(scene)
            folder = self._folder(scene)
            scenes.append(unfinished_scene(scene, folder, own, self.recording, spans.get(scene, ()), run))
        write_page(self._state("running", scenes, facts))
        self._next = time.monotonic() + max(self._every_s, SHARE * (time.perf_counter() - begun))

    def finish(self, status: str, scenes: Sequence[SceneState], facts: Mapping[str, object]) -> None:
        """Write the page of a sweep that has ended.

        Raises:
            ResourceError: if it cannot be written.
        """
        write_page(self._state(status, scenes, facts))

    def end(self, status: str, states: Mapping[str, str], facts: Mapping[str, object]) -> None:
        """Write the page of a sweep that broke off."""
        spans = self._spans()
        scenes = [
            unfinished_scene(
                scene,
                self._folder(scene),
                {job: states.get(job, "waiting") for job in jobs},
                self.recording,
                spans.get(scene, ()),
                self._runs.get(scene),
            )
            for scene, jobs in self._jobs.items()
        ]
        write_page(self._state(status, scenes, facts))

    def overview(self, scene: str) -> RunOverview | None:
        """Return a scene's run, read back once; None where there is none or it is damaged."""
        return self._runs[scene] if scene in self._runs else self._overview(scene)

    def _overview(self, scene: str) -> RunOverview | None:
        run = self._runs[scene] = try_overview(self._folder(scene), self._notes)
        return run

    def _folder(self, scene: str) -> Path:
        return RunLayout(self._plan.output_root / scene / self._plan.config.experiment.name).root

    def _spans(self) -> dict[str, list[AttemptSpan]]:
        spans: dict[str, list[AttemptSpan]] = {}
        for span in self.recording.attempts:
            spans.setdefault(scene_of_job(span.job_id), []).append(span)
        return spans

    def _state(self, status: str, scenes: Sequence[SceneState], facts: Mapping[str, object]) -> SweepState:
        experiment = self._plan.config.experiment
        decisions = facts.get("decisions")
        return SweepState(
            output_root=self._plan.output_root,
            run_name=experiment.name,
            tag=experiment.tag,
            status=status,
            scenes=tuple(scenes),
            recording=self.recording,
            started=self._started,
            seconds=self.seconds,
            peak_used_mb=float(str(facts.get("peak_used_mb", 0.0))),
            decisions=tuple(decisions) if isinstance(decisions, list) else (),
            decisions_made=int(str(facts.get("decisions_made", 0))),
            message=str(facts.get("message", "")),
            notes=tuple(self._notes),
        )
