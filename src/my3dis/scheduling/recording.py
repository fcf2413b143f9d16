"""What a sweep did over time: attempts of its jobs and memory, from its events as they come or from the file.

Memory is kept as at most `MOST_SAMPLES` samples however long a sweep takes: when there are more, each two
become one with the higher figures, so that no peak is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from my3dis.runs.events import read_events

__all__ = ["MOST_SAMPLES", "AttemptSpan", "MemoryPoint", "Recording", "read_recording"]

MOST_SAMPLES = 600
_ENDS = {
    "finished": "done",
    "failed": "failed",
    "requeued": "retried",
    "stopped": "stopped",
    "cancelled": "cancelled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSpan:
    """One process of a job.

    Attributes:
        job_id: the job.
        start_s, end_s: seconds since the sweep began; ``end_s`` is None while it runs.
        how: ``running``, ``done``, ``failed``, ``retried``, ``stopped`` or ``cancelled``.
        gpus: that it was lent, separated by commas.
        peak_rss_mb: of it, 0 when unknown.
    """

    job_id: str
    start_s: float
    end_s: float | None = None
    how: str = "running"
    gpus: str = ""
    peak_rss_mb: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPoint:
    """Memory at a time; MiB, 0 = unknown. ``gpus`` holds (index, used) of every GPU."""

    seconds: float
    used_mb: float = 0.0
    capacity_mb: float = 0.0
    hard_mb: float = 0.0
    jobs_mb: float = 0.0
    running: int = 0
    gpus: tuple[tuple[str, float], ...] = ()


@dataclass(slots=True)
class Recording:
    """Follows one sweep.

    Attributes:
        spans: attempts that have ended, in that order.
        open: attempts that run, by job.
        memory: samples, thinned.
        failures: (message, evidence) of jobs that failed.
        seconds: time of the last event.
    """

    spans: list[AttemptSpan] = field(default_factory=list)
    open: dict[str, AttemptSpan] = field(default_factory=dict)
    memory: list[MemoryPoint] = field(default_factory=list)
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    seconds: float = 0.0
    _together: int = 1
    _pending: list[MemoryPoint] = field(default_factory=list)

    def take(
        self, seconds: float, kind: str, job_id: str | None, facts: Mapping[str, object], text: str = ""
    ) -> None:
        """Note an event, ``seconds`` after the sweep began."""
        self.seconds = max(self.seconds, seconds)
        if kind == "memory":
            self._remember(_memory_point(seconds, facts))
        elif job_id is None:
            return
        elif kind == "started":
            self.failures.pop(job_id, None)
            self.open[job_id] = AttemptSpan(
                job_id=job_id, start_s=round(seconds, 2), gpus=str(facts.get("gpus", ""))
            )
        elif kind in _ENDS:
            if kind == "failed":
                self.failures[job_id] = (text.removeprefix("failed: "), str(facts.get("evidence", "")))
            begun = self.open.pop(job_id, None)
            if begun is not None:
                self.spans.append(
                    AttemptSpan(
                        job_id=job_id,
                        start_s=begun.start_s,
                        end_s=round(seconds, 2),
                        how=_ENDS[kind],
                        gpus=begun.gpus,
                        peak_rss_mb=_number(facts.get("peak_rss_mb")),
                    )
                )

    @property
    def attempts(self) -> list[AttemptSpan]:
        """All attempts, those that run last."""
        return [*self.spans, *self.open.values()]

    def _remember(self, point: MemoryPoint) -> None:
        self._pending.append(point)
        if len(self._pending) < self._together:
            return
        self.memory.append(_highest(self._pending))
        self._pending.clear()
        if len(self.memory) > MOST_SAMPLES:
            pairs = [self.memory[n : n + 2] for n in range(0, len(self.memory), 2)]
            self.memory = [_highest(pair) for pair in pairs]
            self._together *= 2


def read_recording(path: Path) -> Recording:
    """Return what the last sweep of an events file did; an absent file gives an empty recording."""
    recording, begun = Recording(), 0.0
    for event in read_events(path):
        at = _epoch_s(event.get("time"))
        kind = event.get("event")
        if at is None or not isinstance(kind, str):
            continue
        if kind == "sweep_started":
            recording, begun = Recording(), at
        job = event.get("job")
        recording.take(
            at - begun, kind, job if isinstance(job, str) else None, event, str(event.get("text", ""))
        )
    return recording


def _memory_point(seconds: float, facts: Mapping[str, object]) -> MemoryPoint:
    gpus = []
    for name, value in facts.items():
        if name.startswith("gpu ") and name.endswith(" used_mb"):
            gpus.append((name.removeprefix("gpu ").removesuffix(" used_mb"), _number(value)))
    names = ("used_mb", "capacity_mb", "hard_mb", "jobs_mb")
    return MemoryPoint(
        seconds=round(seconds, 1),
        running=int(_number(facts.get("running"))),
        gpus=tuple(gpus),
        **{name: _number(facts.get(name)) for name in names},
    )


def _highest(points: list[MemoryPoint]) -> MemoryPoint:
    gpus: dict[str, float] = {}
    for point in points:
        for name, used in point.gpus:
            gpus[name] = max(used, gpus.get(name, 0.0))
    return MemoryPoint(
        seconds=points[-1].seconds,
        used_mb=max(p.used_mb for p in points),
        capacity_mb=points[-1].capacity_mb,
        hard_mb=points[-1].hard_mb,
        jobs_mb=max(p.jobs_mb for p in points),
        running=max(p.running for p in points),
        gpus=tuple(gpus.items()),
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _epoch_s(value: object) -> float | None:
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return None
