"""DAVIS: palette images read back by Pillow, overlaps resolved as the description says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from my3dis.archive import StreamingSegmentWriter
from my3dis.errors import DataError
from my3dis.exporters import davis
from tests.exporters.small_run import BOXES, FRAMES, SIZE, masks_of, pixels, write_run


def labels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.array_equal(np.array(image.getpalette()).reshape(-1, 3), davis.davis_palette())
        return np.array(image)


def test_the_palette_is_the_known_one() -> None:
    """The first colours are those of PASCAL VOC: black, dark red, dark green, olive, dark blue, ..."""
    expected = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128)]
    assert davis.davis_palette()[:6].tolist() == [list(color) for color in expected]
    assert davis.davis_palette()[[8, 254, 255]].tolist() == [[64, 0, 0], [96, 224, 192], [224, 224, 192]]


def test_every_frame_and_level_is_an_image(tmp_path: Path) -> None:
    """Values are the objects in their order of appearance; frames without masks are all 0."""
    run = write_run(tmp_path / "run")
    davis.PLUGIN.export(run, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out" / "level_2" / "room0").iterdir()) == [
        f"{frame:05d}.png" for frame in FRAMES
    ]
    about = json.loads((tmp_path / "out" / "room0.json").read_text())
    track_of = {level["level"]: level["folders"][0]["track_of"] for level in about["levels"]}
    assert track_of == {2: {"1": 3, "2": 4}, 4: {"1": 7, "2": 8}}
    first = labels(tmp_path / "out" / "level_2" / "room0" / "00000.png")
    expected = np.zeros(SIZE, int)
    expected[pixels(BOXES[0][0][3])] = 1  # the larger one, 400 px, below that of 240
    expected[pixels(BOXES[0][1][3])] = 2
    np.testing.assert_array_equal(first, expected)
    assert not labels(tmp_path / "out" / "level_4" / "room0" / "00005.png").any()


def test_the_rule_for_overlaps_is_said_and_kept(tmp_path: Path) -> None:
    """Smaller masks are on top, or surer ones; what is hidden is counted."""
    run = write_run(tmp_path / "run")
    assert davis.PLUGIN.with_options is not None
    small, large = pixels(BOXES[2][1][3]), pixels(BOXES[2][2][3])
    shared = int((small & large).sum())
    for rule, value in (("small", 1), ("sure", 2)):
        out = tmp_path / rule
        davis.PLUGIN.with_options({"overlaps": rule, "level": "4"})(run, out)
        found = labels(out / "level_4" / "room0" / "00002.png")
        assert set(np.unique(found[small & large])) == {value}
        assert set(np.unique(found[small | large])) == {1, 2}
        about = json.loads((out / "room0.json").read_text())
        (level,) = about["levels"]
        assert (level["hidden_px"], level["shared_px"], level["hidden_masks"]) == (shared, shared, 0)
        assert rule == about["overlaps"]
        assert about["rule"].startswith("where masks of a level overlap, the ")
        assert not (out / "level_2").exists()


def test_more_objects_than_a_palette_has(tmp_path: Path) -> None:
    """The 255th object begins another folder; none is lost and 255 is never used."""
    rows = [(track, 2, -1, (x, y, x + 1, y + 1)) for track, (y, x) in enumerate(np.ndindex(20, 13))]
    with StreamingSegmentWriter(tmp_path / "tracks.my3dis", purpose="tracks") as writer:
        writer.append_frame(3, masks_of(3, rows[:200]))
        writer.append_frame(4, masks_of(4, rows))
    davis.PLUGIN.export(tmp_path, tmp_path / "out")
    (about,) = tmp_path.glob("out/*.json")
    folders = json.loads(about.read_text())["levels"][0]["folders"]
    assert [len(part["track_of"]) for part in folders] == [254, 6]
    found: dict[int, int] = {}
    for part in folders:
        image = labels(tmp_path / "out" / part["folder"] / about.stem / "00004.png")
        for y, x in np.argwhere(image):
            found[part["track_of"][str(image[y, x])]] = int(y) * 13 + int(x)
    assert found == {track: track for track in range(260)}


def test_images_of_another_run_are_in_the_way(tmp_path: Path) -> None:
    """Readers take all images of a folder, so others than this run's are an error, and stay."""
    run = write_run(tmp_path / "run")
    davis.PLUGIN.export(run, tmp_path / "out")
    other = tmp_path / "out" / "level_4" / "room0" / "00007.png"
    other.write_bytes(b"other")
    with pytest.raises(DataError, match=r"1 other images such as 00007\.png"):
        davis.PLUGIN.export(run, tmp_path / "out")
    assert other.read_bytes() == b"other"
