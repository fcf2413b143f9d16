"""Every old layout is read back as the masks that an independent writer put into it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from my3dis.archive.legacy import (
    LegacyFrame,
    LegacyItem,
    iter_candidates,
    iter_filtered,
    iter_raw,
    iter_segments,
)
from my3dis.errors import DataError
from tests.archive.legacy import old_style

FRAMES = (0, 3, 20)


def pixels(item: LegacyItem) -> np.ndarray:
    """Decode with pycocotools, the reference for run-length codes."""
    assert item.mask is not None
    with warnings.catch_warnings():  # pycocotools speaks an older dialect of NumPy's array protocol
        warnings.simplefilter("ignore", DeprecationWarning)
        return coco.decode({"size": list(item.mask.image_size), "counts": item.mask.rle}).astype(bool)


def same(frames: Iterator[LegacyFrame], tracks: old_style.Tracks) -> None:
    found = {f.index: {i.object_id: pixels(i) for i in f.items} for f in frames}
    assert list(found) == list(tracks)
    for frame, objects in tracks.items():
        assert list(found[frame]) == list(objects)
        for number, mask in objects.items():
            np.testing.assert_array_equal(found[frame][number], mask)


@pytest.mark.parametrize(
    "write",
    [old_style.write_json_zip, old_style.write_pickled_dense, old_style.write_pickled_packed],
)
def test_tracks_are_read_from_every_layout(
    tmp_path: Path, write: Callable[[Path, old_style.Tracks], None]
) -> None:
    """Per-frame JSON, pickled dense masks and pickled packed bits give the same masks."""
    tracks = old_style.some_tracks(1, FRAMES)
    write(tmp_path / "video_segments.npz", tracks)
    same(iter_segments(tmp_path / "video_segments.npz"), tracks)


def test_an_array_of_dictionaries_has_a_frame_in_each(tmp_path: Path) -> None:
    """Where every element is {object: mask}, its position is the frame."""
    tracks = old_style.some_tracks(2, (0, 1, 2))
    old_style.write_pickled_list(tmp_path / "video_segments.npz", tracks)
    same(iter_segments(tmp_path / "video_segments.npz"), tracks)


@pytest.mark.parametrize("frames", [1, 2, 999, 1000, 1001])
@pytest.mark.parametrize("objects", [0, 1, 2])
def test_pickles_of_any_length_are_cut_into_frames(tmp_path: Path, frames: int, objects: int) -> None:
    """Picklers write items one by one or in batches of 1000; frames come out whole either way."""
    mask = np.eye(3, dtype=np.bool_)
    tracks = {f: dict.fromkeys(range(objects), mask) for f in range(frames)}
    path = tmp_path / "video_segments.npz"
    data = {str(f): {str(o): m.copy() for o, m in of.items()} for f, of in tracks.items()}
    np.savez(path, data=np.array(data, dtype=object))
    found = {f.index: [i.object_id for i in f.items] for f in iter_segments(path)}
    assert found == {f: list(of) for f, of in tracks.items()}


def test_a_frame_with_a_thousand_objects_stays_one(tmp_path: Path) -> None:
    """A batch boundary inside a frame does not end it."""
    tracks = {f: {o: np.eye(2, dtype=np.bool_) for o in range(n)} for f, n in enumerate((3, 1000, 2001, 1))}
    old_style.write_pickled_dense(tmp_path / "video_segments.npz", tracks, np.bool_)
    found = {f.index: len(f.items) for f in iter_segments(tmp_path / "video_segments.npz")}
    assert found == {0: 3, 1: 1000, 2: 2001, 3: 1}


def test_arrays_in_column_order_and_numpy_keys_are_understood(tmp_path: Path) -> None:
    """Keys may be NumPy integers, and masks may be stored column by column."""
    mask = np.asfortranarray(old_style.blob(np.random.default_rng(3), (9, 14)))
    data = {np.int64(7): {np.int32(4): mask}}
    np.savez(tmp_path / "video_segments.npz", data=np.array(data, dtype=object))
    same(iter_segments(tmp_path / "video_segments.npz"), {7: {4: mask}})


def test_boxes_without_pixels_gain_the_last_pixel(tmp_path: Path) -> None:
    """A recorded box [x, y, max x - min x, max y - min y] becomes half-open: one pixel more each way."""
    mask = np.zeros((20, 30), np.bool_)
    mask[4:9, 10:13] = True  # rows 4..8, columns 10..12
    entry = old_style.item(mask, 5, 2, "5.png")
    assert entry["bbox"] == [10, 4, 2, 4]
    corners = {key: value for key, value in entry.items() if key != "bbox"} | {"bbox_xyxy": [10, 4, 12, 8]}
    old_style.write_candidates(tmp_path / "candidates.json", [entry, corners])
    (frame,) = iter_candidates(tmp_path / "candidates.json")
    assert (frame.index, frame.name) == (5, "5.png")
    assert [item.box_xyxy for item in frame.items] == [(10, 4, 13, 9), (10, 4, 13, 9)]
    assert [item.mask for item in frame.items] == [None, None]


def test_kept_masks_are_read_from_their_json(tmp_path: Path) -> None:
    """Packed bits in base64 come with stability, ids and the mark of gap masks."""
    rng = np.random.default_rng(4)
    masks = [old_style.blob(rng, (17, 23)) for _ in range(3)]
    metas = [old_style.item(m, 8, 4, "8.png") for m in masks]
    metas[1] |= {"unique_id": 12, "parent_unique_id": 3}
    metas[2] |= {"source": "gap_fill", "stability_score": 1.0}
    old_style.write_filtered(tmp_path / "filtered.json", {8: list(zip(metas, masks, strict=True)), 9: []})
    first, second = iter_filtered(tmp_path / "filtered.json")
    assert (first.index, second.index, len(second.items)) == (8, 9, 0)
    for item, mask in zip(first.items, masks, strict=True):
        np.testing.assert_array_equal(pixels(item), mask)
    assert [i.stability for i in first.items] == [0.75, 0.75, 1.0]
    assert [i.unique_id for i in first.items] == [None, 12, None]
    assert [i.parent_unique_id for i in first.items] == [None, 3, None]
    assert [i.is_gap for i in first.items] == [False, False, True]


def test_kept_masks_are_read_from_the_stacks_of_the_oldest_runs(tmp_path: Path) -> None:
    """Where the JSON has no pixels, they are in ``seg_frame_00008.npy`` beside it, in the same order."""
    rng = np.random.default_rng(5)
    masks = np.stack([old_style.blob(rng, (17, 23)) for _ in range(3)])
    items = [old_style.item(m, 8, 2, "x.png") | {"id": k} for k, m in enumerate(masks)]
    frame = {"frame_idx": 8, "count": 3, "items": items}
    (tmp_path / "filtered.json").write_text(json.dumps({"frames": [frame]}))
    np.save(tmp_path / "seg_frame_00008.npy", masks.astype(np.uint8))
    (read,) = iter_filtered(tmp_path / "filtered.json")
    np.testing.assert_array_equal(np.stack([pixels(i) for i in read.items]), masks)
    np.save(tmp_path / "seg_frame_00008.npy", masks[:2])
    with pytest.raises(DataError, match="expected a mask for every item"):
        list(iter_filtered(tmp_path / "filtered.json"))


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", ""])
def test_raw_chunks_are_read_in_every_compression(tmp_path: Path, compression: str) -> None:
    """Frames come out of the chunks in order; a candidate without pixels has none."""
    rng = np.random.default_rng(6)
    frames: dict[int, list[tuple[dict[str, object], np.ndarray | None]]] = {}
    for frame in (1, 4, 9):
        masks = [old_style.blob(rng, (19, 25)) for _ in range(3)]
        frames[frame] = [(old_style.item(m, frame, 2, f"{frame}.png"), m) for m in masks]
    frames[4][1] = (frames[4][1][0], None)
    old_style.write_raw_chunks(tmp_path / "raw", frames, compression=compression)
    read = {f.index: f for f in iter_raw(tmp_path / "raw")}
    assert list(read) == [1, 4, 9]
    for frame, content in frames.items():
        for item, (_, mask) in zip(read[frame].items, content, strict=True):
            if mask is None:
                assert item.mask is None
            else:
                np.testing.assert_array_equal(pixels(item), mask)


@pytest.mark.parametrize("packed", [True, False])
def test_raw_frames_of_two_files_are_read(tmp_path: Path, packed: bool) -> None:
    """Before there were chunks, each frame had a JSON and an NPZ, packed or dense."""
    mask = old_style.blob(np.random.default_rng(7), (19, 25))
    meta = {"frame_idx": 2, "frame_name": "2.png", "candidates": [old_style.item(mask, 2, 2, "2.png")]}
    (tmp_path / "frame_00002.json").write_text(json.dumps(meta))
    (tmp_path / "frame_00002.npz").write_bytes(old_style.masks_npz([mask], packed=packed))
    (frame,) = iter_raw(tmp_path)
    np.testing.assert_array_equal(pixels(frame.items[0]), mask)


def test_text_is_read_in_any_portions(tmp_path: Path) -> None:
    """Numbers and names that straddle the ends of what was read at once come out whole."""
    masks = np.eye(4, dtype=np.bool_)
    entry = old_style.item(masks, 0, 2, "bäckerei/\u4e2d.png")
    items = [entry | {"frame_idx": 10**6 + k, "area": 123456789} for k in range(3000)]
    old_style.write_candidates(tmp_path / "candidates.json", items)
    read = list(iter_candidates(tmp_path / "candidates.json"))
    assert [f.index for f in read] == [10**6 + k for k in range(3000)]
    assert {f.name for f in read} == {"bäckerei/\u4e2d.png"}
