"""What the back ends of a stage have to say, gathered into the stage's own outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from my3dis.protocols import BackendReport, Reporting
from my3dis.stages.context import StageOutcome, StageWarning

__all__ = ["Gathered", "Reports"]

Gathered: TypeAlias = tuple[dict[str, float | int | str], list[tuple[str, str]], dict[str, float]]
"""Facts, notes and peaks."""

_HIGHEST = "_at_most"


class Reports:
    """Reports of the back ends that one stage made, one after the other.

    Figures add up, but of those named ``..._at_most`` and of memory per GPU the highest counts, and of texts
    the latest. A note is handed on once however often it was given. Keeps no back end alive.

    Args:
        stage: name of the stage.
        role: ``proposer`` or ``tracker``; put before a fact whose name the stage uses itself.
    """

    def __init__(self, stage: str, role: str) -> None:
        self._stage = stage
        self._role = role
        self._facts: dict[str, float | int | str] = {}
        self._notes: dict[tuple[str, str], None] = {}
        self._peaks: dict[str, float] = {}

    def add(self, backend: object) -> None:
        """Ask a back end that has done its work; one that reports nothing is passed over."""
        if isinstance(backend, Reporting):
            self._take(backend.report())

    def so_far(self, working: object) -> Gathered:
        """Return what was gathered, with that of a back end that goes on working, for `take_over`."""
        copy = Reports(self._stage, self._role)
        copy.take_over((self._facts, list(self._notes), self._peaks))
        copy.add(working)
        return copy._facts, list(copy._notes), copy._peaks

    def take_over(self, gathered: Gathered) -> None:
        """Go on from what another process gathered before it was stopped."""
        facts, notes, peaks = gathered
        self._facts, self._notes, self._peaks = dict(facts), dict.fromkeys(notes), dict(peaks)

    def _take(self, report: BackendReport) -> None:
        for name, value in report.facts:
            before = self._facts.get(name)
            if isinstance(value, str) or before is None or isinstance(before, str):
                self._facts[name] = value
            else:
                self._facts[name] = max(before, value) if name.endswith(_HIGHEST) else before + value
        self._notes.update(dict.fromkeys(report.notes))
        for gpu, peak_mb in report.peak_gpu_mb:
            self._peaks[gpu] = max(peak_mb, self._peaks.get(gpu, 0.0))

    def finish(self, outcome: StageOutcome, warn: Callable[[StageWarning], None]) -> StageOutcome:
        """Return the outcome with what was reported, and hand the notes on as warnings."""
        for reason, sentence in self._notes:
            warn(StageWarning(stage=self._stage, reason=reason, message=sentence))
        own = {name for name, _ in outcome.facts}
        facts = tuple(
            (f"{self._role}_{name}" if name in own else name, value) for name, value in self._facts.items()
        )
        return replace(outcome, facts=outcome.facts + facts, peak_gpu_mb=tuple(self._peaks.items()))
