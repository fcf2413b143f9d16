"""What back ends report reaches the stage's outcome once, added up."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from my3dis import plugins
from my3dis.protocols import BackendOptions, BackendReport, MaskTracker, Snapshotting
from my3dis.stages import track
from my3dis.stages.backend_reports import Reports
from my3dis.stages.context import StageContext, StageOutcome, StageWarning
from my3dis.types import Frame, MaskSet
from tests.stages.test_track import make  # noqa: F401 - a fixture


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
    reports.add(
        Backend(
            ("passes", 3), ("model", "a"), ("births", 1), ("held_at_most", 8), peak_mb=20.0, note="8, now 4"
        )
    )
    reports.add(object())
    reports.add(Backend(("passes", 4), ("model", "b"), ("held_at_most", 6), peak_mb=50.0, note="8, now 4"))
    reports.add(Backend(("passes", 0.5), peak_mb=30.0, note="4, now 2"))
    outcome = reports.finish(StageOutcome(masks_out=7, facts=(("births", 9),)), warnings.append)
    assert outcome.masks_out == 7
    assert dict(outcome.facts) == {
        "births": 9,
        "passes": 7.5,
        "model": "b",
        "tracker_births": 1,
        "held_at_most": 8,
    }
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


def test_every_tracker_of_the_stage_is_asked(
    make: Callable[..., StageContext],  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Forward, backward and re-made trackers add up; none is kept, and an unused one is not made again."""
    real = plugins.tracker("flow")
    made: list[weakref.ref[Counting]] = []
    steps: list[int] = []
    alive: list[int] = []

    class Counting:
        def __init__(self, inner: MaskTracker) -> None:
            self.inner, self.steps = inner, 0
            gc.collect()
            alive.append(sum(one() is not None for one in made))

        def step(self, frame: Frame) -> MaskSet:
            self.steps += 1
            steps.append(frame.index)
            return self.inner.step(frame)

        def prompt(self, frame: Frame, masks: MaskSet) -> None:
            self.inner.prompt(frame, masks)

        def drop(self, track_ids: list[int]) -> None:
            self.inner.drop(track_ids)

        def snapshot(self) -> Mapping[str, np.ndarray]:
            assert isinstance(self.inner, Snapshotting)
            return self.inner.snapshot()

        def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
            raise NotImplementedError

        def report(self) -> BackendReport:
            return BackendReport(facts=(("model_passes", self.steps), ("births", "twice")))

    def create(options: BackendOptions) -> Counting:
        counting = Counting(real.create(options))
        made.append(weakref.ref(counting))
        return counting

    monkeypatch.setattr(plugins, "tracker", lambda name: replace(real, create=create))
    late = lambda index: (2, 13, 14) if index < 5 else ()  # noqa: E731
    outcome = track.run(make(drop=late, propagator="flow", backward_frames=2))
    facts = dict(outcome.facts)
    assert facts["model_passes"] == len(steps) > 12
    assert isinstance(facts["births"], int)
    assert facts["tracker_births"] == "twice"
    # Forward, and backward until nothing is followed; none waits in vain.
    assert len(made) == 2
    assert max(alive) <= 1
