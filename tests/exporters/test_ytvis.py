"""YouTube-VIS: the published list of fields, and pixels by way of pycocotools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from my3dis.archive import StreamingSegmentWriter
from my3dis.errors import DataError
from my3dis.exporters import ytvis
from my3dis.types import MaskSet
from tests.exporters.small_run import BOXES, FRAMES, SIZE, masks_of, pixels, write_run

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # inside pycocotools

# Fields that the data set's web page names, with their types.
VIDEO = {"id": int, "width": int, "height": int, "length": int, "file_names": list}
ANNOTATION = {
    "id": int,
    "video_id": int,
    "category_id": int,
    "segmentations": list,
    "areas": list,
    "bboxes": list,
    "iscrowd": int,
}


def check_fields(record: dict, fields: dict[str, type]) -> None:
    for name, kind in fields.items():
        assert isinstance(record[name], kind), name


def test_a_reader_of_the_published_fields_finds_every_mask(tmp_path: Path) -> None:
    """Each track has a mask or null for every frame of the video, with areas and boxes that fit."""
    run = write_run(tmp_path / "run", tmp_path / "scan")
    ytvis.PLUGIN.export(run, tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    assert {"info", "licenses", "videos", "categories", "annotations"} <= set(data)
    (video,) = data["videos"]
    check_fields(video, VIDEO)
    assert video["file_names"] == ["color/0.png", "color/20.png", "color/50.png"]
    assert (video["length"], video["height"], video["width"]) == (3, *SIZE)
    level_of = {category["id"]: category["level"] for category in data["categories"]}
    boxes = {(f, t): box for f, rows in BOXES.items() for t, _, _, box in rows}
    by_track = {one["track_id"]: one for one in data["annotations"]}
    assert sorted(by_track) == [3, 4, 7, 8]
    for track, one in by_track.items():
        check_fields(one, ANNOTATION)
        assert level_of[one["category_id"]] == (2 if track < 7 else 4)
        for name in ("segmentations", "areas", "bboxes"):
            assert len(one[name]) == 3
        for k, frame in enumerate(FRAMES):
            code, box = one["segmentations"][k], boxes.get((frame, track))
            if box is None:
                assert (code, one["areas"][k], one["bboxes"][k]) == (None, None, None)
                continue
            np.testing.assert_array_equal(coco_mask.decode(code).astype(bool), pixels(box))
            assert one["areas"][k] == pixels(box).sum()
            assert one["bboxes"][k] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    assert by_track[7]["parent_id"] == by_track[3]["id"]
    assert by_track[3]["score"] == pytest.approx((0.5 + 0.5) / 2)


def test_results_are_what_a_submission_is(tmp_path: Path) -> None:
    """A list with video, category, score and segmentations; one level keeps its category."""
    assert ytvis.PLUGIN.with_options is not None
    run = write_run(tmp_path / "run")
    ytvis.PLUGIN.with_options({"form": "results", "level": "4"})(run, tmp_path / "a.json")
    results = json.loads((tmp_path / "a.json").read_text())
    assert [(one["track_id"], one["video_id"], one["category_id"]) for one in results] == [
        (7, 1, 2),
        (8, 1, 2),
    ]
    assert all(0 <= one["score"] <= 1 and len(one["segmentations"]) == 3 for one in results)


def test_two_masks_of_a_track_become_one(tmp_path: Path) -> None:
    """Where a track has two masks on a frame, their union is written."""
    first, second = (0, 0, 9, 9), (5, 5, 20, 20)
    with StreamingSegmentWriter(tmp_path / "tracks.my3dis", purpose="tracks") as writer:
        writer.append_frame(0, masks_of(0, [(1, 2, -1, first), (2, 2, -1, second)]))
        writer.assign_tracks({2: 1})
    ytvis.PLUGIN.export(tmp_path, tmp_path / "a.json")
    (one,) = json.loads((tmp_path / "a.json").read_text())["annotations"]
    found = coco_mask.decode(one["segmentations"][0]).astype(bool)
    np.testing.assert_array_equal(found, pixels(first) | pixels(second))
    assert one["areas"] == [found.sum()]


def test_frames_of_several_sizes_are_no_video(tmp_path: Path) -> None:
    """The error names the sizes and the formats that can hold them."""
    with StreamingSegmentWriter(tmp_path / "tracks.my3dis", purpose="tracks") as writer:
        writer.append_frame(0, masks_of(0))
        writer.append_frame(1, MaskSet.empty(1, (10, 20)))
    with pytest.raises(DataError, match=r"found 20x10, 36x24; export to coco"):
        ytvis.PLUGIN.export(tmp_path, tmp_path / "a.json")
