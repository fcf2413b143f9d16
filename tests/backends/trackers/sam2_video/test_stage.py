"""The track stage with a video model: random weights give nonsense, and the stage has to cope with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from my3dis import plugins, run_scan
from my3dis.archive import StreamingSegmentWriter, open_archive
from my3dis.config import Config
from my3dis.errors import ConfigError, ResourceError
from my3dis.runs.layout import RunLayout
from my3dis.runs.relations import load_relations
from my3dis.stages import track
from my3dis.stages.context import StageContext, StageOutcome, StageWarning
from my3dis.types import MaskSet
from tests.tracking.flatland import masks_of

Row = tuple[int, int, int, int, bytes, float]
STEP, FRAMES = 9, 6
KEPT = (1, 4, 30, 32, 36)  # instances that are in view throughout


def run_stage(folder: Path, scan: Path, **tracker: object) -> tuple[StageOutcome, list[StageWarning]]:
    """Track the true instances and parts of a few frames of the built-in scan."""
    from my3dis.datasets.ground_truth import load_frame_labels

    reader = plugins.open_scan(scan)
    frames = tuple(range(0, STEP * FRAMES, STEP))
    layout = RunLayout(folder)
    folder.mkdir()
    with StreamingSegmentWriter(layout.masks, purpose="masks") as writer:
        for index in frames:
            labels = load_frame_labels(reader.overview.ground_truth, reader.frame(index).name, "instance")
            masks = masks_of(labels, index, 2)
            # Five objects, of which two are first proposed in mid-video.
            ids = list(KEPT) if index >= frames[3] else list(KEPT[2:])
            writer.append_frame(index, masks.select(np.isin(masks.mask_id, ids)))
    warnings: list[StageWarning] = []
    context = StageContext(
        reader=reader,
        frames=frames,
        layout=layout,
        config=Config.model_validate({"stages": {"tracker": {"propagator": "sam2_video", **tracker}}}),
        stage_digest="digest",
        progress=lambda done, total: None,
        warn=warnings.append,
    )
    return track.run(context), warnings


def rows(folder: Path) -> list[Row]:
    with open_archive(RunLayout(folder).tracks) as archive:
        return [row for masks in archive.iter_frames() for row in _rows(masks)]


def _rows(masks: MaskSet) -> list[Row]:
    columns = (masks.mask_id, masks.track_id, masks.level, masks.score)
    return [
        (masks.frame, int(mask), int(track_id), int(level), rle, float(score))
        for mask, track_id, level, score, rle in zip(*columns, masks.rle, strict=True)
    ]


@pytest.mark.parametrize("name", ["sam2", "sam3"])
def test_the_stage_runs_and_repeats(
    name: str, checkpoints: dict[str, Path], built_in: Path, tmp_path: Path
) -> None:
    """Nonsense masks neither crash identities nor make ids that repeat; a second run is the same."""
    settings = {"checkpoint": str(checkpoints[name]), "device": "cpu", "prompt_mode": "small_box"}
    outcome, warnings = run_stage(tmp_path / "a", built_in, **settings)
    run_stage(tmp_path / "b", built_in, **settings)
    found = rows(tmp_path / "a")
    assert found == rows(tmp_path / "b")
    assert warnings == []
    assert outcome.masks_out == len(found) > outcome.masks_in / 2
    assert len({(frame, mask) for frame, mask, *_ in found}) == len(found)
    assert len({(frame, track_id) for frame, _, track_id, *_ in found}) == len(found)
    facts = dict(outcome.facts)
    assert facts["propagator"] == "sam2_video"
    # Forward every frame once; backward none but those before a birth that are followed.
    assert FRAMES <= facts["backbone_passes"] <= 2 * FRAMES
    assert facts["births"] >= 3
    relations = load_relations(RunLayout(tmp_path / "a").relations)
    assert {entry.track_id for entry in relations.parents} == {row[2] for row in found}


def test_the_stage_needs_a_checkpoint(built_in: Path, tmp_path: Path) -> None:
    """Without one, the setting and a source are named before a frame is read."""
    with pytest.raises(ConfigError, match="sam2_video needs model weights"):
        run_stage(tmp_path / "a", built_in)


@pytest.mark.parametrize(
    ("setting", "error", "words"),
    [
        ({"device": "cuda:99"}, ResourceError, "cuda:99 was asked for"),
        ({"dtype": "fp16"}, ConfigError, "did you mean float16"),
        ({"checkpoint": __file__}, ConfigError, "layout of transformers"),
    ],
)
def test_wrong_settings_are_told_before_the_first_stage(
    built_in: Path,
    checkpoints: dict[str, Path],
    tmp_path: Path,
    setting: dict[str, str],
    error: type[Exception],
    words: str,
) -> None:
    """A device, precision or checkpoint that cannot be used ends a run before any mask is proposed."""
    tracker = {"propagator": "sam2_video", "checkpoint": str(checkpoints["sam2"]), **setting}
    values = {"experiment": {"frames": "0:2"}, "stages": {"tracker": tracker}}
    with pytest.raises(error, match=words):
        run_scan(built_in, tmp_path, values)
    assert not list(tmp_path.rglob("candidates.my3dis"))
