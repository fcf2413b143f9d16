"""The evaluate stage on a little room with known truth: two chairs of two parts each, a wall and a floor."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from my3dis.archive import StreamingSegmentWriter
from my3dis.config import Config
from my3dis.errors import ConfigError, DataError
from my3dis.masks.build import from_codes
from my3dis.masks.codec import encode
from my3dis.runs.instances import save_instances
from my3dis.runs.layout import RunLayout
from my3dis.runs.scores import load_scores
from my3dis.stages import evaluate
from my3dis.stages.context import StageContext
from my3dis.stages.evaluate_files import evaluate_files
from my3dis.types import Frame, MaskSet, ScanOverview, SceneCloud
from tests.metrics.build import instance_set

SIZE = (40, 60)
# Vertices: chair 1 (parts 1, 2), chair 2 (parts 3, 4), wall (object 3, part 5), nothing.
GT_INSTANCES = np.repeat([5001, 5002, 1003, 0], 300)
GT_PARTS = np.repeat([1, 2, 3, 4, 5, 5, 0, 0], 150)
STRUCTURAL = np.repeat([0, 0, 1, 0], 300)
FRAME_LABELS = np.zeros(SIZE, np.uint16)
FRAME_LABELS[:, :15] = 1
FRAME_LABELS[:, 15:30] = 2
FRAME_LABELS[:, 30:] = 3


@dataclass
class Reader:
    """A scan of which only the names of frames and the overview matter."""

    overview: ScanOverview
    names: tuple[str, ...] = tuple(f"{i:04d}" for i in range(8))
    loaded: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def frame(self, index: int) -> Frame:
        self.loaded.append(index)
        return Frame(index=index, name=self.names[index], color=np.zeros((*SIZE, 3), np.uint8))

    def cloud(self) -> SceneCloud | None:
        return None

    def fingerprint(self) -> str:
        return "none"


def write_truth(folder: Path, *, images: bool = True) -> Path:
    folder.mkdir(parents=True)
    for name, values in (
        ("gt_instances", GT_INSTANCES),
        ("gt_parts", GT_PARTS),
        ("gt_structural", STRUCTURAL),
    ):
        (folder / f"{name}.txt").write_text("\n".join(map(str, values.tolist())) + "\n")
    objects = {str(i): {"structural": i == 3} for i in (1, 2, 3)}
    parts = {str(p): {"object": o} for p, o in ((1, 1), (2, 1), (3, 2), (4, 2), (5, 3))}
    (folder / "hierarchy.json").write_text(json.dumps({"objects": objects, "parts": parts}))
    if images:
        (folder / "instance").mkdir()
        for i in range(8):
            cv2.imwrite(str(folder / "instance" / f"{i:04d}.png"), FRAME_LABELS)
    return folder


def perfect() -> object:
    return instance_set(
        [range(300), range(300, 600), range(600, 900), *(range(s, s + 150) for s in range(0, 600, 150))],
        1200,
        levels=[2, 2, 2, 4, 4, 4, 4],
        parents=[-1, -1, -1, 0, 0, 1, 1],
        scores=[0.9, 0.8, 0.7, 0.9, 0.8, 0.7, 0.6],
    )


def write_tracks(path: Path, track_of: Callable[[int, int], int]) -> None:
    """Both chairs and the wall in every frame, at level 2; a finer level that is not scored."""
    with StreamingSegmentWriter(path) as writer:
        for frame in range(8):
            codes = [encode(i == FRAME_LABELS) for i in (1, 2, 3, 1)]
            masks = from_codes(
                codes,
                frame=frame,
                image_size=SIZE,
                mask_id=np.arange(4),
                level=[2, 2, 2, 4],
                track_id=[track_of(frame, i) for i in (1, 2, 3)] + [99],
            )
            writer.append_frame(frame, masks)


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    truth = write_truth(tmp_path / "room" / "gt")
    run = tmp_path / "out" / "room" / "default"
    run.mkdir(parents=True)
    overview = ScanOverview(
        scene="room",
        dataset="test",
        root=tmp_path / "room",
        frame_count=8,
        image_size=SIZE,
        has_cloud=True,
        ground_truth=truth,
    )
    return StageContext(
        reader=Reader(overview),
        frames=tuple(range(8)),
        layout=RunLayout(run),
        config=Config(),
        stage_digest="digest",
        progress=lambda done, total: None,
        warn=lambda warning: None,
    )


def with_overview(context: StageContext, **changes: object) -> StageContext:
    return replace(context, reader=Reader(replace(context.reader.overview, **changes)))


def facts_of(outcome: object) -> dict[str, object]:
    return dict(outcome.facts)  # type: ignore[attr-defined]


def test_perfect_run_scores_100_everywhere(context: StageContext) -> None:
    """Perfect instances and tracks reach AP 100, all parents right, one track per object."""
    save_instances(context.layout.instances, perfect())
    write_tracks(context.layout.tracks, lambda frame, obj: obj)
    outcome = evaluate.run(context)
    assert outcome.skipped is None
    facts = facts_of(outcome)
    assert facts["objects_ap50"] == facts["objects_ap"] == facts["parts_ap50"] == 1.0
    assert (facts["objects_best_level"], facts["parts_best_level"]) == (2, 4)
    assert facts["parent_consistency"] == facts["idf1"] == facts["tracks_per_object"] == 1.0
    scores = load_scores(context.layout.scores)
    assert scores.scenes == ("room",)
    assert scores.identity is not None
    assert (scores.identity.level, scores.identity.objects, scores.identity.frames) == (2, 2, 8)
    assert scores.instances[0].n_gt == 2
    assert {row.n_gt for row in scores.instances if row.target == "parts"} == {4}
    assert scores.notes == ()


def test_a_changed_identity_is_seen(context: StageContext) -> None:
    """A chair that gets a new id half way lowers IDF1 and counts as two tracks."""
    write_tracks(context.layout.tracks, lambda frame, obj: 50 if obj == 1 and frame >= 4 else obj)
    facts = facts_of(evaluate.run(context))
    assert facts["tracks_per_object"] == 1.5
    # 16 ground-truth frames, 16 predicted, 12 of them right.
    assert facts["idf1"] == pytest.approx(12 / 16)
    notes = load_scores(context.layout.scores).notes
    assert notes == ("no 3D instances to score",)


def test_nothing_tracked_scores_zero(context: StageContext) -> None:
    """Frames without any track are scored as such, not refused."""
    with StreamingSegmentWriter(context.layout.tracks) as writer:
        for frame in context.frames:
            writer.append_frame(frame, MaskSet.empty(frame, context.reader.overview.image_size))
    assert facts_of(evaluate.run(context))["idf1"] == 0
    identity = load_scores(context.layout.scores).identity
    assert identity is not None
    assert (identity.objects, identity.frames) == (2, 8)


def test_only_selected_frames_count(context: StageContext) -> None:
    """Frames outside the selection are not loaded."""
    write_tracks(context.layout.tracks, lambda frame, obj: obj)
    chosen = replace(context, frames=(0, 3, 6))
    evaluate.run(chosen)
    identity = load_scores(context.layout.scores).identity
    assert identity is not None
    assert identity.frames == 3
    assert chosen.reader.loaded == [0, 3, 6]  # type: ignore[attr-defined]


def test_missing_label_images_are_counted(context: StageContext) -> None:
    """Frames without a label image are left out, and the note says how many."""
    write_tracks(context.layout.tracks, lambda frame, obj: obj)
    assert context.reader.overview.ground_truth is not None
    (context.reader.overview.ground_truth / "instance" / "0003.png").unlink()
    evaluate.run(context)
    scores = load_scores(context.layout.scores)
    assert scores.identity is not None
    assert scores.identity.frames == 7
    assert any("1 of 8 frames" in note for note in scores.notes)


def test_minimum_regions_come_from_the_settings(context: StageContext) -> None:
    """Objects under the configured size do not count."""
    save_instances(context.layout.instances, perfect())
    section = context.config.stages.evaluate.model_copy(update={"min_region_objects": 301})
    stages = context.config.stages.model_copy(update={"evaluate": section})
    changed = replace(context, config=context.config.model_copy(update={"stages": stages}))
    evaluate.run(changed)
    row = load_scores(context.layout.scores).instances[0]
    assert (row.min_region, row.n_gt, row.ap) == (301, 0, None)


def test_without_ground_truth_it_is_skipped(context: StageContext) -> None:
    """No ground truth: skipped with the reason, nothing written."""
    outcome = evaluate.run(with_overview(context, ground_truth=None))
    assert outcome.skipped is not None
    assert "no ground truth" in outcome.skipped
    assert not context.layout.scores.exists()


def test_switched_off_it_is_skipped(context: StageContext) -> None:
    """The setting switches it off."""
    section = context.config.stages.evaluate.model_copy(update={"enabled": False})
    stages = context.config.stages.model_copy(update={"evaluate": section})
    outcome = evaluate.run(replace(context, config=context.config.model_copy(update={"stages": stages})))
    assert outcome.skipped is not None
    assert "evaluate.enabled" in outcome.skipped


def test_fused_points_have_no_vertex_labels(context: StageContext) -> None:
    """Instances on points fused from depth are not scored against a mesh's labels; identities still are."""
    save_instances(context.layout.instances, perfect())
    fused = with_overview(context, has_cloud=False)
    outcome = evaluate.run(fused)
    assert outcome.skipped is not None
    assert "fused from depth" in outcome.skipped
    write_tracks(context.layout.tracks, lambda frame, obj: obj)
    assert evaluate.run(fused).skipped is None
    assert load_scores(context.layout.scores).instances == ()


def test_truth_of_another_mesh_names_both_lengths(context: StageContext) -> None:
    """1,200 labels do not fit instances over 1,100 vertices."""
    save_instances(context.layout.instances, instance_set([range(300)], 1100))
    with pytest.raises(DataError, match=r"1100.*1200"):
        evaluate.run(context)


def test_files_are_scored_like_the_stage(context: StageContext, tmp_path: Path) -> None:
    """A run folder or an npz with a scan, a gt folder or a text file gives the stage's figures."""
    save_instances(context.layout.instances, perfect())
    evaluate.run(context)
    expected = load_scores(context.layout.scores)
    context.layout.manifest.write_text("{}")
    truth = context.reader.overview.ground_truth
    assert truth is not None
    for predictions in (context.layout.root, context.layout.instances):
        for gt in (truth, truth.parent):
            scores = evaluate_files(predictions, gt)
            assert scores.instances == expected.instances
            assert scores.parents == expected.parents
    parts = evaluate_files(context.layout.root, truth / "gt_parts.txt", "class_agnostic_parts")
    # The text file alone does not say that part 5 is a wall's, so it counts: R 4/5, P 1.
    best = parts.best("parts", "constant")
    assert best is not None
    assert (best.n_gt, best.ap50) == (5, pytest.approx(0.8))
    objects = evaluate_files(context.layout.root, truth / "gt_instances.txt")
    assert objects.best("objects") == expected.best("objects")


def test_protocol_without_void_counts_the_rest_as_an_object(context: StageContext) -> None:
    """The same run under another protocol has the wall and the unannotated rest as objects."""
    save_instances(context.layout.instances, perfect())
    truth = context.reader.overview.ground_truth
    assert truth is not None
    scores = evaluate_files(context.layout.root, truth, "no_void")
    row = scores.best("objects", "constant")
    assert row is not None
    # Chairs and wall found, the rest missed: R 3/4, P 1.
    assert (row.protocol, row.n_gt, row.ap50) == ("no_void", 4, pytest.approx(0.75))
    assert all(r.target == "objects" for r in scores.instances)


def test_wrong_files_give_one_sentence(context: StageContext, tmp_path: Path) -> None:
    """Each wrong input names what was expected."""
    truth = context.reader.overview.ground_truth
    assert truth is not None
    with pytest.raises(DataError, match=r"instances\.npz"):
        evaluate_files(tmp_path, truth)
    save_instances(context.layout.instances, perfect())
    with pytest.raises(ConfigError, match="class_agnostic"):
        evaluate_files(context.layout.root, truth, "class_agnostik")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"gt_instances\.txt"):
        evaluate_files(context.layout.root, tmp_path / "empty")
    for text in ("1\nchair\n", "1\n-2\n", "99999999999\n"):
        (tmp_path / "bad.txt").write_text(text)
        with pytest.raises(DataError, match="whole number"):
            evaluate_files(context.layout.root, tmp_path / "bad.txt")
    with pytest.raises(DataError, match="missing"):
        evaluate_files(context.layout.root, tmp_path / "missing")
