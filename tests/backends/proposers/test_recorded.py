"""Recorded maps are replayed as they are."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from my3dis import plugins
from my3dis.backends.proposers.rescale import nearest
from my3dis.errors import ConfigError, DataError
from my3dis.masks import hierarchy
from my3dis.protocols import BackendOptions
from my3dis.types import Frame, MaskSet
from tests.backends.proposers import boxes
from tests.masks.scenes import dense


def replay(root: Path, levels: tuple[int, ...] = (2, 4, 6), frame: Frame | None = None) -> MaskSet:
    proposer = plugins.proposer("recorded").create(BackendOptions(recorded_root=root))
    return proposer.propose(frame or boxes.frame(0), levels)  # type: ignore[union-attr]


def links(masks: MaskSet) -> set[tuple[int, int]]:
    """(area of a child, area of its parent or 0), which is unique for these boxes."""
    parents = hierarchy.parent_positions(masks)
    return {
        (int(area), int(masks.area_px[p]) if p >= 0 else 0)
        for area, p, level in zip(masks.area_px, parents, masks.level, strict=True)
        if level > 2
    }


def test_maps_and_parents_come_back(tmp_path: Path) -> None:
    """Every label is a mask with its pixels, parents are the recorded ones."""
    masks = replay(boxes.write_recording(tmp_path))
    fine = masks.at_level(6)
    assert sorted(fine.area_px.tolist()) == [750, 750, 1500, 1600, 7688]
    assert links(masks) == {
        (1500, 3000),
        (1600, 1600),
        (7688, 7688),
        (750, 1500),
        (1500, 1500),
    }
    hierarchy.require_linked(masks, (2, 4, 6))


def test_unused_levels_are_climbed_over(tmp_path: Path) -> None:
    """With levels 2 and 6 the parent of a level-6 mask is its recorded grandparent."""
    masks = replay(boxes.write_recording(tmp_path), levels=(2, 6))
    assert links(masks) == {(750, 3000), (1500, 3000), (1600, 1600), (7688, 7688)}


@pytest.mark.parametrize("cause", ["absent", "no pixels"])
def test_containment_stands_in_for_missing_records(tmp_path: Path, cause: str) -> None:
    """Without a record, or when the recorded parent has no pixels, the mask around is the parent."""
    root = boxes.write_recording(tmp_path)
    if cause == "absent":
        (root / "relations.json").unlink()
    else:
        relations = json.loads((root / "relations.json").read_text())
        for row in relations["0000"]["rows"]:
            if row["level"] == 4:
                row["parent"] = 77
        (root / "relations.json").write_text(json.dumps(relations))
    masks = replay(root, levels=(2, 4))
    assert links(masks) == {(1500, 3000), (1600, 1600), (7688, 7688)}


def test_a_recorded_null_is_no_parent(tmp_path: Path) -> None:
    """A mask that was recorded without parent has none, whatever lies around it."""
    root = boxes.write_recording(tmp_path)
    relations = json.loads((root / "relations.json").read_text())
    for row in relations["0000"]["rows"]:
        if row["level"] == 4:
            row["parent"] = None
    (root / "relations.json").write_text(json.dumps(relations))
    assert (replay(root, levels=(2, 4)).parent_id == -1).all()
    assert (replay(root, levels=(2, 6)).parent_id == -1).all()
    fine = replay(root).at_level(6)
    assert (fine.parent_id != -1).all()


def test_maps_are_scaled_by_nearest_neighbour(tmp_path: Path) -> None:
    """At twice the size each pixel becomes four, and children stay inside their parents."""
    root = boxes.write_recording(tmp_path)
    big = Frame(index=0, name="0000", color=np.zeros((192, 256, 3), np.uint8))
    masks = replay(root, frame=big)
    assert Counter((masks.area_px // 4).tolist()) == Counter(replay(root).area_px.tolist())
    hierarchy.require_nested(masks)
    odd = Frame(index=0, name="0000", color=np.zeros((77, 201, 3), np.uint8))
    hierarchy.require_nested(replay(root, frame=odd))


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    """Three pixels from two: centres 1/3, 1 and 5/3 of the old grid fall into columns 0, 1 and 1."""
    assert nearest(np.array([[5, 9]]), (1, 3)).tolist() == [[5, 9, 9]]
    assert nearest(np.array([[1, 2, 3, 4]]), (1, 2)).tolist() == [[2, 4]]


def test_frames_and_levels_that_are_missing(tmp_path: Path) -> None:
    """A frame that was not recorded has no masks; a level that was not recorded names what there is."""
    root = boxes.write_recording(tmp_path)
    assert len(replay(root, frame=boxes.frame(9))) == 0
    with pytest.raises(ConfigError, match=r"level_5.*level_2, level_4, level_6"):
        replay(root, levels=(2, 5))
    with pytest.raises(ConfigError, match="recorded_root"):
        replay(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["[]", '{"0000": {}}', "{", '{"0000": {"rows": [{"id": "a", "level": 2}]}}'])
def test_broken_relations_are_named(tmp_path: Path, text: str) -> None:
    """relations.json of another shape is an error that names the file."""
    root = boxes.write_recording(tmp_path)
    (root / "relations.json").write_text(text)
    with pytest.raises(DataError, match=r"relations\.json"):
        replay(root)


def test_real_recording(shared_data: Path) -> None:
    """On the recorded run every region has its recorded parent and lies in it, at the recorded size."""
    root = shared_data / "recorded_multiscan" / "ssam"
    frame = Frame(index=8, name="00008", color=np.zeros((640, 853, 3), np.uint8))
    masks = replay(root, frame=frame)
    rows = json.loads((root / "relations.json").read_text())["00008"]["rows"]
    maps = {lv: cv2.imread(str(root / f"level_{lv}" / "00008.png"), cv2.IMREAD_UNCHANGED) for lv in (2, 4, 6)}
    recorded = {r["id"]: r["parent"] for r in rows}
    parents = hierarchy.parent_positions(masks)
    pixels = [np.flatnonzero(p)[0] for p in dense(masks)]
    names = [int(maps[int(lv)].ravel()[at]) for lv, at in zip(masks.level, pixels, strict=True)]
    assert len(masks) == sum(len(np.unique(m[m > 0])) for m in maps.values())
    for name, parent in zip(names, parents.tolist(), strict=True):
        assert (names[parent] if parent >= 0 else None) == recorded[name]
    hierarchy.require_nested(masks)
