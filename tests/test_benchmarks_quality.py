"""The quality benchmark makes its tables of the scores of runs, and judges the means of the public rooms."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from my3dis.lifting.consensus import ConsensusOptions
from my3dis.lifting.vote import Votes
from my3dis.metrics.protocols import CLASS_AGNOSTIC, CLASS_AGNOSTIC_PARTS, object_targets
from my3dis.runs.scores import Scores
from my3dis.runs.scoring import SceneTargets, instance_scores
from my3dis.types import InstanceSet
from tests.metrics.build import instance_set

POINTS = 600


@pytest.fixture
def benchmark_modules(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The benchmark's modules, which find each other as scripts do."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    import quality_figures
    import quality_pictures
    import quality_runs
    import quality_switches
    import quality_tables

    return SimpleNamespace(
        figures=quality_figures,
        pictures=quality_pictures,
        runs=quality_runs,
        switches=quality_switches,
        tables=quality_tables,
    )


def scores_of(scene: str, instances: InstanceSet, truth: NDArray[np.int64]) -> Scores:
    targets = SceneTargets(
        scene=scene,
        object_protocol=CLASS_AGNOSTIC,
        part_protocol=CLASS_AGNOSTIC_PARTS,
        objects=object_targets(CLASS_AGNOSTIC, truth, np.zeros(len(truth), bool)),
    )
    return Scores(scenes=(scene,), instances=instance_scores(instances, targets))


def of_run(benchmark_modules: SimpleNamespace, scores: Scores, switch: str) -> object:
    return benchmark_modules.figures.Figures(
        masks="oracle",
        scene=scores.scenes[0],
        switch=switch,
        step=1,
        run_dir="",
        objects=benchmark_modules.runs.ap_of(scores, "objects", "constant"),
        objects_ranked=benchmark_modules.runs.ap_of(scores, "objects", "ranked"),
        switches=1,
        object_frames=50,
        frames=84,
    )


@pytest.fixture
def figures(benchmark_modules: SimpleNamespace) -> list[object]:
    """Two objects of 300 points: found whole in one room, and with 180 points (IoU 0.6) in the other."""
    truth = np.repeat([5001, 5002], POINTS // 2).astype(np.int64)
    whole = instance_set([range(300), range(300, 600)], n_points=POINTS)
    shrunk = instance_set([range(180), range(300, 480)], n_points=POINTS)
    rooms = [("synth0000_00", whole), ("synth0001_00", shrunk)]
    return [
        of_run(benchmark_modules, scores_of(scene, instances, truth), switch)
        for scene, instances in rooms
        for switch in ("", "no merging")
    ]


def test_tables_show_scores_beside_the_published_ones(
    benchmark_modules: SimpleNamespace, figures: list[object]
) -> None:
    """An overlap of 0.6 is above 0.50 and 0.55 alone: AP is 2 of 9; the mean stands below the rooms."""
    text = benchmark_modules.tables.markdown(figures, ["a note"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    assert [
        "oracle objects",
        "synth0000_00",
        "84",
        *["100.0 / 100.0 / 100.0"] * 2,
        *["– / – / –"] * 2,
        "2, -1",
        "–",
    ] in rows
    beside = {row[1]: row[2:] for row in rows if row[0] == "oracle objects → objects"}
    assert beside["synth0001_00"][0] == "22.2 / 100.0 / 100.0"
    assert beside["synth0001_00"][1] == "71.7 / 96.7 / 96.7"
    assert beside["**mean**"][:2] == ["**61.1 / 100.0 / 100.0**", "**72.6 / 93.3 / 95.8**"]
    assert next(row for row in rows if row[0] == "no merging")[1] == "+0.0 / +0.0"
    assert "a note" in text


def test_figures_are_judged_only_on_both_rooms(
    benchmark_modules: SimpleNamespace, figures: list[object]
) -> None:
    """AP50 of true objects is reached and their AP of 90 is missed; without both rooms nothing is judged."""
    judge, tables = benchmark_modules.tables.judge, benchmark_modules.tables
    required = {(v.bound.masks, v.bound.name): v.reached for v in judge(figures, tables.REQUIRED)}
    assert required.pop(("oracle", "objects AP50")) is True
    assert set(required.values()) == {None}
    assert judge(figures, tables.AIMS)[0].reached is False
    assert {v.reached for v in judge(figures[:2], (*tables.REQUIRED, *tables.AIMS))} == {None}


def test_pictures_are_drawn(benchmark_modules: SimpleNamespace, figures: list[object]) -> None:
    """A picture per score, and one of what is left out; each is a document by itself."""
    pictures = benchmark_modules.pictures.pictures(figures)
    assert sorted(pictures) == [
        "quality_ap.svg",
        "quality_ap25.svg",
        "quality_ap50.svg",
        "switches_oracle.svg",
    ]
    for svg in pictures.values():
        ElementTree.fromstring(svg)


def test_plain_vote_takes_the_most_views(benchmark_modules: SimpleNamespace) -> None:
    """Three views of five win; of two tracks the one with more; a view without a mask counts for nobody."""
    votes = Votes(
        track_id=np.array([7, 9], np.int32),
        pair_track=np.array([0, 0, 1, 1], np.int32),
        pair_point=np.array([0, 1, 1, 2]),
        pair_weight=np.array([3, 2, 3, 2], np.float32),
        point_weight=np.array([5, 5, 4, 1], np.float32),
        point_views=np.array([5, 5, 4, 1], np.int32),
        point_slots=np.zeros((4, 1), np.uint8),
        track_slots=np.zeros((2, 1), np.uint8),
        track_views=np.full(2, 5, np.int32),
        track_quality=np.ones(2, np.float32),
    )
    claim_points = benchmark_modules.switches.plain_claims
    (claims,) = claim_points(
        votes, np.array([2, 2], np.int16), sparse.csr_array((4, 4), dtype=np.float32), ConsensusOptions()
    )
    assert claims.owner.tolist() == [0, 1, -1, -1]
    assert claims.claimed.tolist() == [1, 1]
