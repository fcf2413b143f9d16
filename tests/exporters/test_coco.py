"""COCO: read back by pycocotools, masks equal to the archive's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from my3dis.archive import open_archive
from my3dis.exporters import coco
from my3dis.masks.codec import decode
from tests.exporters.small_run import BOXES, SIZE, pixels, write_masks, write_run

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # inside pycocotools


def test_pycocotools_reads_every_mask(tmp_path: Path) -> None:
    """Images, categories, boxes, areas, parents and pixels are those of the archive."""
    run = write_run(tmp_path / "run", tmp_path / "scan")
    coco.PLUGIN.export(run, tmp_path / "a.json")
    data = COCO(str(tmp_path / "a.json"))
    assert [image["file_name"] for image in data.loadImgs(data.getImgIds())] == [
        "color/0.png",
        "color/20.png",
        "color/50.png",
    ]
    assert {c["id"]: (c["name"], c["level"]) for c in data.loadCats(data.getCatIds())} == {
        1: ("level_2", 2),
        2: ("level_4", 4),
    }
    with open_archive(run / "tracks.my3dis") as reader:
        for frame in BOXES:
            masks = reader.frame(frame)
            found = data.loadAnns(data.getAnnIds(imgIds=[frame]))
            assert [a["mask_id"] for a in found] == masks.mask_id.tolist()
            for k, one in enumerate(found):
                expected = decode(masks.rle[k], masks.image_size)
                np.testing.assert_array_equal(data.annToMask(one).astype(bool), expected)
                ys, xs = np.nonzero(expected)
                x, y = int(xs.min()), int(ys.min())
                assert one["bbox"] == [x, y, xs.max() + 1 - x, ys.max() + 1 - y]
                assert (one["area"], one["iscrowd"]) == (expected.sum(), 0)
                assert one["score"] == float(masks.score[k])
    by_track = {(a["image_id"], a["track_id"]): a for a in data.dataset["annotations"]}
    assert by_track[2, 7]["parent_id"] == by_track[2, 3]["id"]
    assert (by_track[2, 7]["parent_track_id"], by_track[2, 3]["parent_id"]) == (3, None)
    assert by_track[2, None]["track_id"] is None


def test_results_are_what_load_res_wants(tmp_path: Path) -> None:
    """The list of results fits the data set, with the same pixels."""
    run = write_run(tmp_path / "run")
    coco.PLUGIN.export(run, tmp_path / "truth.json")
    assert coco.PLUGIN.with_options is not None
    coco.PLUGIN.with_options({"form": "results"})(run, tmp_path / "results.json")
    data = COCO(str(tmp_path / "truth.json"))
    found = data.loadRes(str(tmp_path / "results.json"))
    assert len(found.anns) == len(data.anns) == 7
    for one, other in zip(found.dataset["annotations"], data.dataset["annotations"], strict=True):
        np.testing.assert_array_equal(found.annToMask(one), data.annToMask(other))
        assert one["score"] == other["score"]


def test_one_level_keeps_its_category(tmp_path: Path) -> None:
    """With one level only its masks are there, under their number among all; parents are gone."""
    run = write_run(tmp_path / "run")
    assert coco.PLUGIN.with_options is not None
    coco.PLUGIN.with_options({"level": "4"})(run, tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    assert [a["id"] for a in data["annotations"]] == [1, 2, 3, 4]
    assert {a["category_id"] for a in data["annotations"]} == {2}
    assert {a["parent_id"] for a in data["annotations"]} == {None}
    assert len(data["images"]) == 3


def test_a_folder_gets_a_file_for_every_archive(tmp_path: Path) -> None:
    """Without the suffix each archive becomes a file; frames without a scan are named by their index."""
    run = write_run(tmp_path / "run")
    write_masks(run, "masks")
    assert [path.name for path in coco.PLUGIN.export(run, tmp_path / "out")] == ["tracks.json", "masks.json"]
    data = json.loads((tmp_path / "out" / "masks.json").read_text())
    assert data["info"]["description"] == "My3DIS: room0, masks"
    assert [image["file_name"] for image in data["images"]] == ["00000.png", "00002.png", "00005.png"]
    assert (data["images"][0]["height"], data["images"][0]["width"]) == SIZE
    assert data["annotations"][0]["area"] == pixels(BOXES[0][0][3]).sum()
