"""What back ends report reaches the stage's outcome once, added up."""

from __future__ import annotations

from my3dis.protocols import BackendReport
from my3dis.stages.backend_reports import Reports
from my3dis.stages.context import StageOutcome, StageWarning


class Backend:
    """Reports what it is given."""

    def __init__(self, *facts: tuple[str, float | int | str], peak_mb: float = 0.0, note: str = "") -> None:
        self.facts, self.peak_mb, self.note = facts, peak_mb, note

    def report(self) -> BackendReport:
        return BackendReport(
            facts=self.facts,
            notes=(("smaller_batch", self.note),) if self.note else (),
            peak_gpu_mb=(("cuda:0", self.peak_mb),) if self.peak_mb else (),
        )


def test_figures_add_up_and_texts_are_replaced() -> None:
    """Over three trackers figures are summed, the latest text holds, and the highest memory counts."""
    warnings: list[StageWarning] = []
    reports = Reports("track", "tracker")
    reports.add(Backend(("passes", 3), ("model", "a"), ("births", 1), peak_mb=20.0, note="8, now 4"))
    reports.add(object())
    reports.add(Backend(("passes", 4), ("model", "b"), peak_mb=50.0, note="8, now 4"))
    reports.add(Backend(("passes", 0.5), peak_mb=30.0, note="4, now 2"))
    outcome = reports.finish(StageOutcome(masks_out=7, facts=(("births", 9),)), warnings.append)
    assert outcome.masks_out == 7
    assert dict(outcome.facts) == {"births": 9, "passes": 7.5, "model": "b", "tracker_births": 1}
    assert outcome.peak_gpu_mb == (("cuda:0", 50.0),)
    assert [(w.stage, w.reason, w.message) for w in warnings] == [
        ("track", "smaller_batch", "8, now 4"),
        ("track", "smaller_batch", "4, now 2"),
    ]


def test_silent_back_ends_change_nothing() -> None:
    """A back end that reports nothing leaves the outcome as it is."""
    reports = Reports("candidates", "proposer")
    reports.add(object())
    outcome = StageOutcome(masks_in=1, masks_out=2, facts=(("a", 1),))
    assert reports.finish(outcome, lambda warning: None) == outcome
