"""Tracks of a run on disk: identities with HOTA, and J and F as DAVIS has them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from my3dis.archive import StreamingSegmentWriter
from my3dis.errors import ConfigError, DataError
from my3dis.masks.build import from_codes
from my3dis.masks.codec import encode
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import Manifest, write_manifest
from my3dis.runs.scores import format_scores, load_scores, save_scores
from my3dis.stages.evaluate_files import EvaluateOptions, evaluate_files

SIZE = (40, 60)
LABELS = np.zeros(SIZE, np.uint8)
LABELS[5:35, 5:25] = 1
LABELS[5:35, 35:55] = 2


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Eight frames with both objects; track 11 is the first, and the second is 12, from frame 4 on 13."""
    folder = tmp_path / "out" / "room" / "default"
    folder.mkdir(parents=True)
    layout = RunLayout(folder)
    manifest = Manifest(
        status="finished",
        scene="room",
        scan=str(tmp_path / "room"),
        dataset="images",
        run_name="default",
        version="1",
        started="",
        updated="",
        frames_total=8,
    )
    write_manifest(layout.manifest, manifest)
    with StreamingSegmentWriter(layout.tracks) as writer:
        for frame in range(8):
            codes = [encode(i == LABELS) for i in (1, 2)]
            ids = [11, 12 if frame < 4 else 13]
            writer.append_frame(
                frame,
                from_codes(
                    codes, frame=frame, image_size=SIZE, mask_id=np.arange(2), level=[2, 2], track_id=ids
                ),
            )
    return folder


def write_images(folder: Path, n: int = 8) -> Path:
    folder.mkdir(parents=True)
    for i in range(n):
        cv2.imwrite(str(folder / f"{i:05d}.png"), LABELS)
    return folder


def test_identities_of_a_run_on_disk(run: Path, tmp_path: Path) -> None:
    """One switch; HOTA's association is (1 + 1/2) / 2 while everything is found."""
    write_images(tmp_path / "room" / "gt" / "instance")
    scores = evaluate_files(run, tmp_path / "room", "identity")
    (row,) = scores.identities
    assert (row.level, row.switches, row.detection, row.association) == (2, 1, 1.0, 0.75)
    assert row.hota == pytest.approx(0.75**0.5)
    assert "HOTA 0.87" in format_scores(scores)
    save_scores(tmp_path / "scores.json", scores)
    assert load_scores(tmp_path / "scores.json") == scores


def test_outlines_of_a_run_on_disk(run: Path, tmp_path: Path) -> None:
    """The first object is right all along; of the second half of the six counted frames are."""
    scores = evaluate_files(run, write_images(tmp_path / "annotations"), "davis")
    first, second = scores.videos
    assert (first.object, first.track, first.frames, first.jf_mean) == (1, 11, 6, 1.0)
    assert (second.j_mean, second.f_mean, second.j_recall) == (0.5, 0.5, 0.5)
    assert second.track in {12, 13}
    assert "mean J&F over 2 objects: 75.0" in format_scores(scores)


def test_davis_palette_is_read(run: Path, tmp_path: Path) -> None:
    """Annotations with a palette give the same scores; its void counts for nobody."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    palette = [[128 * (i & 1), 128 * (i >> 1 & 1), 0] for i in range(3)]
    colours = np.zeros((256, 3), np.uint8)
    colours[:3] = palette
    colours[255] = (224, 224, 192)
    for i in range(8):
        labels = LABELS.copy()
        labels[0, :] = 255
        picture = Image.new("P", labels.shape[::-1])
        picture.putdata(labels.ravel().tolist())
        picture.putpalette(colours.ravel().tolist())
        picture.save(folder / f"{i:05d}.png")
    scores = evaluate_files(run, folder, "davis")
    assert [row.object for row in scores.videos] == [1, 2]
    assert scores.videos[0].jf_mean == 1.0


def test_frames_without_annotation_are_counted(run: Path, tmp_path: Path) -> None:
    """Where some images are missing, names decide, and the rest is noted."""
    scan = tmp_path / "room"
    scan.mkdir()
    for i in range(8):
        cv2.imwrite(str(scan / f"{i:05d}.jpg"), np.zeros((*SIZE, 3), np.uint8))
    scores = evaluate_files(run, write_images(tmp_path / "annotations", 6), "davis")
    assert scores.videos[0].frames == 4
    assert scores.notes == ("2 tracked frames have no label image and are not scored",)


@pytest.mark.parametrize("protocol", ["identity", "davis"])
def test_wrong_places_are_refused(run: Path, tmp_path: Path, protocol: str) -> None:
    """A folder without a run, ground truth without images, and options of other protocols."""
    images = write_images(tmp_path / "images")
    with pytest.raises(DataError, match="folder of a run"):
        evaluate_files(tmp_path, images, protocol)
    with pytest.raises(DataError, match="label images"):
        evaluate_files(run, tmp_path / "none", protocol)
    with pytest.raises(ConfigError, match="leave out"):
        evaluate_files(run, images, protocol, EvaluateOptions(ten=True))
