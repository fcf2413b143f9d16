"""scores.json: written whole, read back as it was, refused when it is something else."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.metrics.protocols import CLASS_AGNOSTIC, CLASS_AGNOSTIC_PARTS, VOID
from my3dis.metrics.video import IdentityAccumulator
from my3dis.runs.scores import IdentityScore, Scores, format_scores, load_scores, save_scores
from my3dis.runs.scoring import SceneTargets, instance_scores, parent_score
from tests.metrics.build import instance_set

# Two chairs (label 5) of two parts each and a wall; parts 1..4, 150 vertices each.
OBJECTS = np.repeat([5001, 5001, 5002, 5002, VOID], 150).astype(np.int64)
PARTS = np.repeat([1, 2, 3, 4, VOID], 150).astype(np.int64)
INSTANCES = instance_set(
    [range(300), range(300, 600), range(150), range(150, 300), range(300, 450)],
    750,
    levels=[2, 2, 4, 4, 4],
    parents=[-1, -1, 0, 1, 1],
    scores=[0.9, 0.8, 0.7, 0.6, 0.5],
)
TARGETS = SceneTargets(
    scene="room",
    object_protocol=CLASS_AGNOSTIC,
    part_protocol=CLASS_AGNOSTIC_PARTS,
    objects=OBJECTS,
    parts=PARTS,
    object_of_part={1: 1, 2: 1, 3: 2, 4: 2},
)


@pytest.fixture
def scores() -> Scores:
    identity = IdentityScore.of(IdentityAccumulator().result(), level=2, target="objects", scene="room")
    return Scores(
        scenes=("room",),
        instances=instance_scores(INSTANCES, TARGETS),
        identity=identity,
        parents=parent_score(INSTANCES, TARGETS),
        notes=("a note",),
    )


def test_rows_cover_targets_levels_and_confidences(scores: Scores) -> None:
    """Each target has every level, all levels and the best level, ranked and constant."""
    keys = [(row.target, row.selection, row.level, row.scores) for row in scores.instances]
    assert len(keys) == len(set(keys)) == 2 * (2 + 1 + 1) * 2
    best = scores.best("objects")
    assert best is not None
    assert (best.level, best.ap50, best.protocol, best.min_region, best.scenes) == (
        2,
        1.0,
        "class_agnostic",
        100,
        ("room",),
    )
    parts = scores.best("parts", "constant")
    assert parts is not None
    # Three of four parts found, nothing wrong: R 3/4, P 1.
    assert (parts.level, parts.ap50, parts.min_region) == (4, pytest.approx(0.75), 10)


def test_parents_are_scored_with_the_object_id_alone(scores: Scores) -> None:
    """Parts refer to objects without the label; one of three matched parts hangs under the wrong chair."""
    assert scores.parents is not None
    assert (scores.parents.consistent, scores.parents.matched, scores.parents.n_parts) == (2, 3, 4)
    assert scores.parents.share == pytest.approx(2 / 3)


def test_written_scores_read_back_equal(scores: Scores, tmp_path: Path) -> None:
    """Every field survives, undefined ones as null."""
    path = tmp_path / "scores.json"
    save_scores(path, scores)
    assert load_scores(path) == scores
    raw = json.loads(path.read_text())
    assert raw["schema"] == 1
    assert raw["identity"]["idf1"] is None
    assert len(raw["thresholds"]) == 9


def test_no_ground_truth_is_null_not_nan(tmp_path: Path) -> None:
    """AP without ground truth is written as null and has no best level."""
    empty = SceneTargets(
        scene="room",
        object_protocol=CLASS_AGNOSTIC,
        part_protocol=CLASS_AGNOSTIC_PARTS,
        objects=np.full(750, VOID),
    )
    result = Scores(scenes=("room",), instances=instance_scores(INSTANCES, empty))
    save_scores(tmp_path / "scores.json", result)
    loaded = load_scores(tmp_path / "scores.json")
    assert all(row.ap is None for row in loaded.instances)
    assert loaded.best("objects") is None
    assert parent_score(INSTANCES, empty) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "expected JSON"),
        ('{"schema": 2, "scenes": []}', "schema"),
        ('{"scenes": "room"}', "scenes"),
        ("[]", "top"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """A damaged or foreign file gives one sentence that names it."""
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(DataError, match=says):
        load_scores(path)


def test_table_names_protocol_scenes_and_regions(scores: Scores) -> None:
    """The terminal's table carries all that a figure needs to be compared."""
    text = format_scores(scores)
    for needed in (
        "protocol class_agnostic ·",
        "protocol class_agnostic_parts",
        "1 scene (room)",
        "min region 100",
        "min region 10",
        "best: level 2",
        "0.50 to 0.90",
        "66.7 %",
        "note: a note",
        "IDF1 –",
    ):
        assert needed in text
    assert "nan" not in text
    assert max(map(len, text.splitlines())) < 250


def test_identity_record_has_no_nan() -> None:
    """Undefined shares become None."""
    record = IdentityScore.of(IdentityAccumulator().result(), level=2, target="objects", scene="room")
    assert record.idf1 is None
    assert record.tracks_per_object is None
    assert not any(isinstance(v, float) and math.isnan(v) for v in (record.iou,))
