"""What is known of a sweep that goes on: how far each stage of each scene is, memory, and the time left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

__all__ = ["Board", "BoardJob", "Cell", "clock_text"]

_GPU = "gpu "
_LEAST_SHARE = 0.02
"""A job that did less of its stages says nothing of how long it takes."""


@dataclass(frozen=True, slots=True)
class BoardJob:
    """A job of the sweep: its id, scene, stages in order, and expected seconds."""

    job_id: str
    scene: str
    stages: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Cell:
    """A stage of a scene.

    Attributes:
        state: ``reused``, ``waiting``, ``running``, ``done``, ``failed``, ``blocked`` or ``cancelled``.
        done, total: steps, 0 when unknown.
        seconds: that it took, 0 before its end.
    """

    state: str
    done: int = 0
    total: int = 0
    seconds: float = 0.0


class Board:
    """The state of a sweep, kept up to date by `tell`.

    Args:
        scenes: names of all scenes.
        stages: names of all stages, in order.
        jobs: what will run; stages of a scene that are in none are there already.
        clock: seconds that only grow.

    Attributes:
        memory: figures of the last look at memory, empty before.
        gpus: (name, used, total) MiB of the last look.
    """

    def __init__(
        self,
        scenes: Sequence[str],
        stages: Sequence[str],
        jobs: Iterable[BoardJob],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scenes, self.stages = tuple(scenes), tuple(stages)
        self.memory: dict[str, float] = {}
        self.gpus: tuple[tuple[str, float, float], ...] = ()
        self._jobs = {job.job_id: job for job in jobs}
        self._clock = clock
        self._begun = clock()
        self._cells: dict[tuple[str, str], Cell] = {}
        for job in self._jobs.values():
            for stage in job.stages:
                self._cells[job.scene, stage] = Cell("waiting")
        self._running: dict[str, float] = {}
        self._ended: dict[str, str] = {}
        self._expected_s = self._taken_s = 0.0
        self._most_at_once = 1

    def tell(
        self, kind: str, text: str, job_id: str | None, facts: Sequence[tuple[str, float | int | str]]
    ) -> None:
        """Take an event in."""
        del text
        known = dict(facts)
        if kind == "memory":
            self._look(known)
        job = self._jobs.get(job_id or "")
        if job is None:
            return
        if kind == "started":
            self._running[job.job_id] = self._clock()
            self._most_at_once = max(self._most_at_once, len(self._running))
            # It loads and looks at the scan before it tells of a stage, and does not wait meanwhile.
            first = next((s for s in job.stages if self._cells[job.scene, s].state == "waiting"), None)
            if first is not None:
                self._cells[job.scene, first] = Cell("running")
        elif kind in ("stage", "progress"):
            self._advance(job, kind, known)
        elif kind in ("requeued", "stopped"):
            self._running.pop(job.job_id, None)
            self._mark(job, "running", "waiting")
        elif kind in ("finished", "failed", "blocked", "cancelled"):
            self._end(job, kind)

    def cell(self, scene: str, stage: str) -> Cell:
        """Return how far a stage of a scene is."""
        return self._cells.get((scene, stage), Cell("reused"))

    def state_of(self, scene: str) -> str:
        """Return a scene's state: that of the stage that matters most."""
        states = {self.cell(scene, stage).state for stage in self.stages}
        for state in ("running", "failed", "cancelled", "blocked", "waiting", "done"):
            if state in states:
                return state
        return "reused"

    def remaining_s(self) -> float | None:
        """Return seconds until all is done, as far as one can tell: None before anything has ended or run."""
        pace = self._taken_s / self._expected_s if self._expected_s else 1.0
        left = 0.0
        longest = 0.0
        now = self._clock()
        for job in self._jobs.values():
            if job.job_id in self._ended:
                continue
            rest = job.seconds * pace
            if job.job_id in self._running:
                elapsed = now - self._running[job.job_id]
                share = self._share(job)
                known = share >= _LEAST_SHARE
                rest = elapsed * (1 - share) / share if known else max(rest - elapsed, 0.0)
            longest = max(longest, rest)
            left += rest
        if not self._ended and not self._running:
            return None
        return max(longest, left / self._most_at_once)

    def summary(self, *, with_memory: bool = True) -> str:
        """Return one line about the whole."""
        states = Counter(self.state_of(scene) for scene in self.scenes)
        named = (("done", "done"), ("reused", "unchanged"), ("running", "running"), ("waiting", "waiting"),
                 ("failed", "failed"), ("cancelled", "stopped"))  # fmt: skip
        counts = ", ".join(f"{states[state]} {word}" for state, word in named if states[state])
        line = f"{len(self.scenes)} scenes: {counts}; {clock_text(self._clock() - self._begun)} so far"
        left = self.remaining_s()
        if left is not None and left > 0:
            line += f", about {clock_text(left)} left"
        if with_memory and self.memory.get("capacity_mb"):
            used, capacity = self.memory.get("used_mb", 0.0), self.memory["capacity_mb"]
            line += f"; memory {used / 1024:.1f} of {capacity / 1024:.1f} GiB"
        return line

    def _look(self, known: dict[str, float | int | str]) -> None:
        figures = {name: float(value) for name, value in known.items() if not isinstance(value, str)}
        self.memory = {name: value for name, value in figures.items() if not name.startswith(_GPU)}
        totals = {name for name in figures if name.startswith(_GPU) and name.endswith(" total_mb")}
        names = sorted(name.removesuffix(" total_mb") for name in totals)
        self.gpus = tuple((n, figures.get(f"{n} used_mb", 0.0), figures[f"{n} total_mb"]) for n in names)

    def _advance(self, job: BoardJob, kind: str, known: dict[str, float | int | str]) -> None:
        key = (job.scene, str(known.get("stage")))
        cell = self._cells.get(key)
        if cell is None:
            return
        if kind == "progress":
            self._cells[key] = replace(
                cell, state="running", done=int(known.get("done", 0)), total=int(known.get("total", 0))
            )
        elif known.get("state") == "started":
            self._cells[key] = Cell("running")
        else:
            self._cells[key] = Cell("done", seconds=float(known.get("seconds", 0.0)))

    def _end(self, job: BoardJob, kind: str) -> None:
        started = self._running.pop(job.job_id, None)
        self._ended[job.job_id] = kind
        if kind == "finished":
            if started is not None:
                self._expected_s += job.seconds
                self._taken_s += self._clock() - started
            self._mark(job, None, "done")
            return
        # The stage in which it ended is the one that failed; those after it were never begun.
        running = [stage for stage in job.stages if self._cells[job.scene, stage].state == "running"]
        waiting = [stage for stage in job.stages if self._cells[job.scene, stage].state == "waiting"]
        for stage in running or (waiting[:1] if kind == "failed" else ()):
            self._cells[job.scene, stage] = replace(self._cells[job.scene, stage], state=kind)
        self._mark(job, "waiting", "blocked" if kind == "failed" else kind)

    def _mark(self, job: BoardJob, old: str | None, new: str) -> None:
        for stage in job.stages:
            cell = self._cells[job.scene, stage]
            if old is None or cell.state == old:
                self._cells[job.scene, stage] = replace(cell, state=new)

    def _share(self, job: BoardJob) -> float:
        """Return the share of a job's stages that is done, each counting alike."""
        cells = [self._cells[job.scene, stage] for stage in job.stages]
        done = sum(
            1.0 if cell.state == "done" else cell.done / cell.total if cell.total else 0.0 for cell in cells
        )
        return done / len(cells)


def clock_text(seconds: float) -> str:
    """Return seconds as a person reads them: ``8.3 s``, ``4:05`` or ``2:04:05``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
