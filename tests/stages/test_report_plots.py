"""The pictures of figures in the report come from what the stages recorded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from my3dis.metrics.average_precision import evaluate_score_modes
from my3dis.runs.scores import InstanceScore, Scores
from my3dis.stages.report_facts import read_facts
from my3dis.stages.report_plots import plots_of
from tests.metrics.build import instance_set
from tests.stages.test_report import Run, config_with


def scores() -> Scores:
    """Return scores of one instance of two that is found in full, at level 2."""
    target = np.repeat(np.array([1, 2], np.int64), 500)
    found = instance_set([range(500)], 1000, scores=[0.9])
    rows = [
        InstanceScore.of(
            result,
            target="objects",
            selection=selection,  # type: ignore[arg-type]  # one of the literals
            level=2,
            protocol="class_agnostic",
            scenes=("room",),
        )
        for result in evaluate_score_modes([(found, target)])
        for selection in ("level", "best level")
    ]
    return Scores(scenes=("room",), instances=tuple(rows))


def test_scores_become_bars_and_curves(tmp_path: Path) -> None:
    """Bars per level, AP at ten overlaps ranked and equal, and the precision-recall curve at 0.50."""
    run = Run(tmp_path)
    config = config_with()
    context = SimpleNamespace(config=config, frames=(), layout=run.layout)
    plots = plots_of(context, read_facts(run.layout, config), None, (), scores())
    assert plots.scores is not None
    assert [(group.name, group.values) for group in plots.scores.groups] == [
        ("objects, level 2", (0.5, 0.5, 0.5)),
    ]
    assert plots.overlaps is not None
    ranked, equal = plots.overlaps.panels[0].lines
    assert [x for x, _ in ranked.points] == [0.25, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9]
    assert {y for _, y in ranked.points} == {50.0}
    assert (ranked.dashed, equal.dashed) == (False, True)
    assert plots.precision is not None
    assert plots.precision.panels[0].lines[0].points == ((0.0, 100.0), (0.5, 100.0))
    nothing = plots_of(context, read_facts(run.layout, config), None, (), "no ground truth")
    assert (nothing.scores, nothing.overlaps, nothing.precision, nothing.time) == (None,) * 4


def test_report_shows_tracks_and_memory_over_the_run(tmp_path: Path) -> None:
    """Tracks per frame and memory per stage are drawn; memory goes with the times when these are hidden."""
    run = Run(tmp_path)
    run.report()
    for title in ("Tracks seen in each frame", "Peak memory of each stage", "Masks of each level"):
        assert title in run.page, title
    assert "Average precision, %" not in run.page
    run.report(config_with(report={"record_timings": False}))
    assert "Peak memory of each stage" not in run.page
