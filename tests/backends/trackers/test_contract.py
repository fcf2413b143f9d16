"""What every tracker promises, run for each one that is registered and needs no weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from my3dis import plugins
from my3dis.errors import DataError, PluginError
from my3dis.masks import codec
from my3dis.masks.build import with_columns
from my3dis.protocols import BackendOptions, MaskTracker
from my3dis.types import Frame, MaskSet
from tests.tracking.flatland import Card, masks_of, render

SQUARE = Card(5, -0.9, -0.3, -0.3, 0.3)
OTHER = Card(6, 0.2, -0.3, 0.8, 0.3, color=(40, 90, 200))
SCALE = 3
Scene = tuple[Frame, np.ndarray]
Make = Callable[[], MaskTracker]


@pytest.fixture
def scenes() -> list[Scene]:
    """Ten frames of two squares that move through the image as the camera passes them."""
    return [render(i, [SQUARE, OTHER], camera_x=-0.06 * i, scale=SCALE) for i in range(10)]


# Trackers that load weights are held to the same promises in a folder of their own, which needs torch.
TRACKERS = [name for name in plugins.names("trackers") if name != "sam2_video"]


@pytest.fixture(params=TRACKERS)
def make(request: pytest.FixtureRequest, tmp_path: Path, scenes: list[Scene]) -> Make:
    """Return a maker of the tracker, with ground truth of the scenes for those that look answers up."""
    for kind in ("instance", "part"):
        (tmp_path / kind).mkdir()
        for frame, labels in scenes:
            cv2.imwrite(str(tmp_path / kind / f"{frame.name}.png"), labels.astype(np.uint16))
    plugin = plugins.tracker(request.param)
    assert plugin.summary
    assert plugin.version
    return lambda: plugin.create(BackendOptions(ground_truth=tmp_path))


def prompts(scene: Scene, *labels: int, level: int = 2) -> MaskSet:
    frame, image = scene
    masks = masks_of(np.where(np.isin(image, labels), image, 0), frame.index, level)
    return with_columns(masks, track_id=masks.mask_id.copy())


def iou(found: MaskSet, track: int, truth: np.ndarray) -> float:
    (row,) = np.flatnonzero(found.track_id == track)
    mask = codec.decode(found.rle[row], found.image_size)
    return float((mask & truth).sum() / (mask | truth).sum())


def test_nothing_is_found_before_a_prompt(make: Make, scenes: list[Scene]) -> None:
    """Stepping without prompts gives empty sets of the frame's index and size."""
    tracker = make()
    for frame, _ in scenes[:2]:
        found = tracker.step(frame)
        assert (len(found), found.frame, found.image_size) == (0, frame.index, frame.image_size)


def test_moving_squares_are_followed(make: Make, scenes: list[Scene]) -> None:
    """Two squares that shift by over thirty pixels are covered to the end, each by its own track."""
    tracker = make()
    tracker.step(scenes[0][0])
    tracker.prompt(scenes[0][0], prompts(scenes[0], 5, 6))
    for frame, labels in scenes[1:]:
        found = tracker.step(frame)
        assert found.frame == frame.index
        for track in (5, 6):
            assert iou(found, track, labels == track) > 0.75
    assert abs(np.nonzero(scenes[0][1] == 5)[1].mean() - np.nonzero(scenes[-1][1] == 5)[1].mean()) > 20


def test_found_masks_are_measured_and_labelled(make: Make, scenes: list[Scene]) -> None:
    """Boxes, areas and levels fit the pixels, confidences are in [0, 1]."""
    tracker = make()
    tracker.step(scenes[0][0])
    tracker.prompt(scenes[0][0], prompts(scenes[0], 5, level=4))
    found = tracker.step(scenes[1][0])
    boxes, areas = codec.measure(found.rle, found.image_size)
    assert found.boxes.tolist() == boxes.tolist()
    assert found.area_px.tolist() == areas.tolist()
    assert found.level.tolist() == [4]
    assert ((found.score >= 0) & (found.score <= 1)).all()
    assert found.score[0] > 0.7


def test_dropped_objects_are_forgotten(make: Make, scenes: list[Scene]) -> None:
    """A dropped id is found no more, unknown ids are ignored, the others stay."""
    tracker = make()
    tracker.step(scenes[0][0])
    tracker.prompt(scenes[0][0], prompts(scenes[0], 5, 6))
    tracker.drop([5, 77])
    assert tracker.step(scenes[1][0]).track_id.tolist() == [6]


def test_a_second_prompt_replaces_the_first(make: Make, scenes: list[Scene]) -> None:
    """A corrected mask of a held object is the one that is carried on."""
    tracker = make()
    tracker.step(scenes[0][0])
    tracker.prompt(scenes[0][0], prompts(scenes[0], 5))
    tracker.step(scenes[1][0])
    corrected = with_columns(prompts(scenes[1], 6), track_id=np.array([5], np.int32))
    tracker.prompt(scenes[1][0], corrected)
    found = tracker.step(scenes[2][0])
    assert iou(found, 5, scenes[2][1] == 6) > 0.8


def test_frames_may_come_in_descending_order(make: Make, scenes: list[Scene]) -> None:
    """A tracker of its own follows back in time just as well."""
    tracker = make()
    tracker.step(scenes[-1][0])
    tracker.prompt(scenes[-1][0], prompts(scenes[-1], 5))
    for frame, labels in scenes[-2::-1]:
        assert iou(tracker.step(frame), 5, labels == 5) > 0.75


def test_state_is_bounded_by_held_objects(make: Make, scenes: list[Scene]) -> None:
    """Prompting ever new objects and dropping the old leaves as many held as are prompted at a time."""
    tracker = make()
    for turn in range(6):
        for scene in scenes:
            tracker.step(scene[0])
            first = prompts(scene, 5)
            new = np.array([turn * 100 + scene[0].index], np.int32)
            tracker.prompt(scene[0], with_columns(first, track_id=new))
            tracker.drop([int(new[0]) - 1, (turn - 1) * 100 + 9])
    assert len(tracker) == 1  # type: ignore[arg-type]


def test_few_masks_are_decoded_at_once(make: Make, scenes: list[Scene]) -> None:
    """However many objects are held, one is decoded at a time."""
    tracker = make()
    tracker.step(scenes[0][0])
    one = prompts(scenes[0], 5)
    for track in range(300):
        tracker.prompt(scenes[0][0], with_columns(one, track_id=np.array([track], np.int32)))
    codec.DECODED.reset_peak()
    before = codec.DECODED.alive
    assert len(tracker.step(scenes[1][0])) == 300
    assert codec.DECODED.peak - before <= 2


# The oracle looks every mask up and carries nothing.
@pytest.mark.parametrize("make", [name for name in TRACKERS if name != "oracle"], indirect=True)
def test_masks_do_not_wear_off(make: Make) -> None:
    """Carried sixty times over a still image, or over slow motion, a mask keeps its area."""
    for shift in (0.0, 0.004):
        tracker = make()
        first = render(0, [SQUARE, OTHER], -0.1, scale=SCALE)
        tracker.step(first[0])
        tracker.prompt(first[0], prompts(first, 5))
        for i in range(1, 61):
            scene = render(i, [SQUARE, OTHER], -0.1 - shift * i, scale=SCALE)
            found = tracker.step(scene[0])
        assert iou(found, 5, scene[1] == 5) > 0.75, shift


@pytest.mark.parametrize("name", ["warp", "flow"])
def test_frames_of_another_size_are_refused(name: str, scenes: list[Scene]) -> None:
    """A frame whose size changes mid-way is an error that names both sizes."""
    tracker = plugins.tracker(name).create(BackendOptions())
    tracker.step(scenes[0][0])
    with pytest.raises(DataError, match=r"192x144 throughout, found 10x20"):
        tracker.step(Frame(index=1, name="small", color=np.zeros((20, 10, 3), np.uint8)))


def test_the_oracle_needs_ground_truth() -> None:
    """Without ground truth the oracle says so."""
    with pytest.raises(PluginError, match="ground truth"):
        plugins.tracker("oracle").create(BackendOptions())
