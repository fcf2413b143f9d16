"""What every tracker promises, for each family of models, and that objects do not disturb each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from my3dis import plugins
from my3dis.backends.trackers.sam2_video import families
from my3dis.backends.trackers.sam2_video.tracker import Sam2VideoTracker, TrackerOptions
from my3dis.errors import ConfigError, DataError
from my3dis.masks import codec
from my3dis.masks.build import with_columns
from my3dis.protocols import BackendOptions
from my3dis.types import Frame, MaskSet
from tests.backends.trackers.sam2_video.scenes import SIZE, Rectangle, picture, rectangles

BOXES: dict[int, Rectangle] = {5: (10, 20, 50, 60), 6: (60, 10, 110, 50), 7: (30, 50, 80, 90)}
Make = Callable[..., Sam2VideoTracker]
Rows = dict[int, tuple[bytes, float]]


@pytest.fixture
def make(checkpoint: Path) -> Make:
    """Return a maker of trackers of each family in turn."""
    return lambda **options: plugins.tracker("sam2_video").create(
        BackendOptions(**{"checkpoint": str(checkpoint), "device": "cpu", **options})
    )


@pytest.fixture
def make_sam2(checkpoints: dict[str, Path]) -> Make:
    """Return a maker of trackers with SAM 2."""
    return lambda **options: plugins.tracker("sam2_video").create(
        BackendOptions(**{"checkpoint": str(checkpoints["sam2"]), "device": "cpu", **options})
    )


def prompts(frame: int, *tracks: int, level: int = 2) -> MaskSet:
    return rectangles(frame, *((track, BOXES[track]) for track in tracks), level=level)


def rows_of(found: MaskSet) -> Rows:
    return {int(track): (found.rle[row], float(found.score[row])) for row, track in enumerate(found.track_id)}


def follow(tracker: Sam2VideoTracker, frames: int, script: dict[int, MaskSet]) -> list[Rows]:
    """Step through frames, prompting by the script; what was found on each."""
    found = []
    for t in range(frames):
        found.append(rows_of(tracker.step(picture(t))))
        if t in script:
            tracker.prompt(picture(t), script[t])
    return found


def test_nothing_is_found_before_a_prompt(make: Make) -> None:
    """Stepping without prompts gives empty sets of the frame's index and size, and loads no model."""
    tracker = make()
    for t in (3, 4):
        found = tracker.step(picture(t))
        assert (len(found), found.frame, found.image_size) == (0, t, SIZE)
    assert tracker.report().facts == ()


def test_found_masks_are_measured_and_labelled(make: Make) -> None:
    """Boxes, areas and levels fit the pixels; confidences are those of visible objects, above one half."""
    tracker = make()
    tracker.step(picture(0))
    tracker.prompt(picture(0), prompts(0, 5, level=4))
    tracker.prompt(picture(0), prompts(0, 6, 7))
    seen = [tracker.step(picture(t)) for t in range(1, 12)]
    assert sum(map(len, seen)) > 5
    for found in seen:
        boxes, areas = codec.measure(found.rle, found.image_size)
        assert found.boxes.tolist() == boxes.tolist()
        assert found.area_px.tolist() == areas.tolist()
        assert found.level.tolist() == [4 if track == 5 else 2 for track in found.track_id]
        assert ((found.score > 0.5) & (found.score <= 1)).all()
        assert (found.area_px > 0).all()


def test_objects_out_of_sight_are_held_and_not_returned(make: Make) -> None:
    """An object that the model does not see is missing from some frames and comes back by itself."""
    tracker = make()
    found = follow(tracker, 16, {0: prompts(0, 5, 6, 7)})
    counts = {len(rows) for rows in found[1:]}
    assert min(counts) < 3
    assert max(counts) > 0
    assert len(tracker) == 3
    unseen = sum(3 - len(rows) for rows in found[1:])
    assert dict(tracker.report().facts)["unseen"] == unseen


def test_a_birth_disturbs_no_other(make: Make) -> None:
    """With and without a birth in mid-video, all others have the same codes and scores to the last bit."""
    plain = follow(make(), 10, {0: prompts(0, 5, 6)})
    birth = follow(make(), 10, {0: prompts(0, 5, 6), 4: prompts(4, 7)})
    assert any(7 in rows for rows in birth)
    assert [{k: v for k, v in rows.items() if k != 7} for rows in birth] == plain


def test_a_correction_disturbs_no_other(make: Make) -> None:
    """Correcting one object leaves the others as they are, and changes that one."""
    script = {0: prompts(0, 5, 6, 7)}
    moved = rectangles(4, (6, (40, 10, 100, 70)))
    plain, corrected = follow(make(), 10, script), follow(make(), 10, {**script, 4: moved})
    others = [[{k: v for k, v in rows.items() if k != 6} for rows in run] for run in (plain, corrected)]
    assert others[0] == others[1]
    assert [rows.get(6) for rows in plain] != [rows.get(6) for rows in corrected]


def test_dropped_objects_are_forgotten_and_freed(make: Make) -> None:
    """A dropped id is found no more, its bytes are free at once, unknown ids are ignored, the others stay."""
    tracker, alone = make(), make()
    follow(tracker, 18, {0: prompts(0, 5, 6, 7)})
    expected = follow(alone, 22, {0: prompts(0, 6)})
    before = tracker.held_bytes()
    tracker.drop([5, 7, 77])
    assert tracker.held_bytes() < before
    assert abs(tracker.held_bytes() - alone.held_bytes()) < 100
    after = [rows_of(tracker.step(picture(t))) for t in range(18, 22)]
    assert after == expected[18:]
    assert len(tracker) == 1


def test_results_do_not_depend_on_the_direction(make_sam2: Make) -> None:
    """Pictures that come under descending indices are followed as they are under ascending ones."""
    forward = follow(make_sam2(), 10, {0: prompts(0, 5)})
    backward, found = make_sam2(), []
    for t in range(10):
        frame = Frame(index=50 - t, name=str(50 - t), color=picture(t).color)
        found.append(rows_of(backward.step(frame)))
        if t == 0:
            backward.prompt(frame, prompts(50, 5))
    assert found == forward


def test_a_mask_that_confirms_costs_nothing(make_sam2: Make) -> None:
    """Prompted with its own prediction, an object is neither decoded again nor changed but for its level."""
    tracker, plain = make_sam2(), make_sam2()
    expected = follow(plain, 12, {0: prompts(0, 5)})
    confirmed = 0
    for t in range(12):
        found = tracker.step(picture(t))
        assert rows_of(found) == expected[t]
        if t == 0:
            tracker.prompt(picture(t), prompts(0, 5))
        elif len(found):
            tracker.prompt(picture(t), with_columns(found, level=np.array([6], np.int16)))
            confirmed += 1
    facts, plain_facts = dict(tracker.report().facts), dict(plain.report().facts)
    assert facts["prompts_confirmed"] == confirmed > 3
    assert facts["object_passes"] == plain_facts["object_passes"]
    assert [memory.level for memory in tracker._held.values()] == [6]


def test_a_mask_elsewhere_begins_the_object_anew(make_sam2: Make) -> None:
    """With a prompt that its prediction does not touch, an object goes on as if it had been born there."""
    tracker, fresh = make_sam2(), make_sam2()
    t = next(t for t, rows in enumerate(follow(tracker, 20, {0: prompts(0, 5)})) if t > 12 and rows)
    tracker, fresh = make_sam2(), make_sam2()
    follow(tracker, t + 1, {0: prompts(0, 5)})
    follow(fresh, t + 1, {})
    covered = codec.decode(tracker._predicted.rle[0], SIZE)
    y, x = (int(v[0]) for v in np.nonzero(~covered))
    moved = rectangles(t, (5, (x, y, x + 1, y + 1)))
    for one in (tracker, fresh):
        one.prompt(picture(t), moved)
    assert dict(tracker.report().facts)["restarts"] == 1
    after = [[rows_of(one.step(picture(i))) for i in range(t + 1, t + 8)] for one in (tracker, fresh)]
    assert after[0] == after[1]


def test_an_empty_mask_drops_the_object(make_sam2: Make) -> None:
    """A prompt without a pixel says that the object is gone."""
    tracker = make_sam2()
    follow(tracker, 3, {0: prompts(0, 5, 6)})
    tracker.prompt(picture(2), rectangles(2, (5, (0, 0, 0, 0))))
    assert len(tracker) == 1


@pytest.mark.parametrize(
    ("mode", "masks", "boxes"), [("all_mask", 2, 0), ("small_box", 1, 1), ("all_box", 0, 2)]
)
def test_prompt_modes(make: Make, mode: str, masks: int, boxes: int) -> None:
    """Of a large and a small object, none, the small one or both are prompted by their box, at once."""
    tracker = make(prompt_mode=mode, objects_per_batch=4)
    tracker.step(picture(0))
    tracker.prompt(picture(0), rectangles(0, (1, (10, 10, 60, 60)), (2, (70, 70, 76, 76))))
    facts = dict(tracker.report().facts)
    assert (facts["prompts_mask"], facts["prompts_box"]) == (masks, boxes)
    tracker.step(picture(1))
    assert len(tracker) == 2


def test_the_report_counts_passes(make: Make) -> None:
    """One backbone pass per frame with objects, however many batches; an object passes once per frame."""
    tracker = make(objects_per_batch=2)
    for t in range(3):
        tracker.step(picture(t))
    follow(tracker, 6, {0: prompts(0, 5, 6, 7)})
    facts = dict(tracker.report().facts)
    assert (facts["backbone_passes"], facts["object_passes"], facts["batches"]) == (6, 3 + 15, 2 + 10)
    assert facts["objects_at_most"] == 3
    assert 0 < facts["held_mb_at_most"] < 3
    assert tracker.report().peak_gpu_mb == ()


def test_state_is_bounded_by_held_objects(make_sam2: Make) -> None:
    """Sixty frames with a birth and a drop each hold no more than one object does."""
    tracker, held = make_sam2(), []
    for t in range(60):
        tracker.step(picture(t))
        tracker.prompt(picture(t), rectangles(t, (t, BOXES[5])))
        tracker.drop([t - 1])
        held.append(tracker.held_bytes())
    assert len(tracker) == 1
    assert len(set(held[1:])) == 1


def test_few_masks_are_decoded_at_once(make_sam2: Make) -> None:
    """Prompting and following forty objects decodes one mask at a time."""
    tracker = make_sam2(objects_per_batch=8)
    tracker.step(picture(0))
    codec.DECODED.reset_peak()
    before = codec.DECODED.alive
    tracker.prompt(picture(0), rectangles(0, *((t, (t, 10, t + 40, 60)) for t in range(40))))
    tracker.step(picture(1))
    assert codec.DECODED.peak - before <= 1


def test_frames_of_another_size_are_refused(make_sam2: Make) -> None:
    """A frame whose size changes mid-way, or prompts of another frame or size, are named errors."""
    tracker = make_sam2()
    tracker.step(picture(0))
    with pytest.raises(DataError, match="128x96 throughout, found 10x20"):
        tracker.step(Frame(index=1, name="small", color=np.zeros((20, 10, 3), np.uint8)))
    with pytest.raises(DataError, match="last stepped to"):
        tracker.prompt(picture(1), prompts(1, 5))
    with pytest.raises(DataError, match="expected prompts of the frame's size"):
        tracker.prompt(picture(0), MaskSet.empty(0, (10, 10)))


def test_trackers_share_the_model_while_they_live(make: Make, checkpoint: Path) -> None:
    """Two trackers at once hold one model and find what each finds alone; with the last one it is freed."""
    first, second = make(), make()
    alone = follow(make(), 6, {0: prompts(0, 5)})
    found: list[list[Rows]] = [[], []]
    for t in range(6):
        for tracker, rows, track in ((first, found[0], 5), (second, found[1], 6)):
            rows.append(rows_of(tracker.step(picture(t))))
            if t == 0:
                tracker.prompt(picture(t), prompts(0, track))
    assert found[0] == alone
    assert found[1] != alone
    assert first._model is second._model is make()._model
    del first, second, tracker
    assert families.loaded(checkpoint, torch.device("cpu"), torch.float32) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_mode": "boxes"}, "expected all_mask, small_box, all_box, found 'boxes'"),
        ({"objects_per_batch": 0}, "expected 1 or more, found 0"),
        ({"device": "gpu"}, "did you mean cuda:0"),
        ({"dtype": "float8"}, "dtype: expected"),
    ],
)
def test_wrong_options_are_named(make_sam2: Make, options: dict[str, object], message: str) -> None:
    """An option that is none is refused when the tracker is made."""
    with pytest.raises(ConfigError, match=message):
        make_sam2(**options)


def test_a_single_file_of_the_folder_will_do(checkpoints: dict[str, Path]) -> None:
    """The weights file beside its configuration stands for the folder."""
    options = BackendOptions(checkpoint=str(checkpoints["sam2"] / "model.safetensors"))
    assert TrackerOptions.of(options).folder == checkpoints["sam2"]
