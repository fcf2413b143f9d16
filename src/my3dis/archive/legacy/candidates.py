"""Candidates of old runs: ``candidates.json`` and ``filtered.json`` of one level.

``candidates.json`` is ``{"items": [...]}`` with boxes and no pixels. ``filtered.json`` is
``{"frames": [{"frame_idx", "frame_name", "count", "items": [...]}]}`` with pixels in each item as packed bits
in base64, or, in the oldest runs, in a stack of arrays beside it, ``seg_frame_00012.npy``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from my3dis.archive.legacy.containers import Member, open_regular
from my3dis.archive.legacy.frames import LegacyFrame, candidate, frame_name
from my3dis.archive.legacy.json_stream import JsonCursor
from my3dis.archive.legacy.limits import MAX_ITEMS_PER_FRAME
from my3dis.archive.legacy.masks import (
    LegacyMask,
    check_size,
    mask_from_pixels,
    mask_from_record,
    whole_number,
)
from my3dis.archive.legacy.npy import NpyHeader, read_npy_header
from my3dis.errors import DataError

__all__ = ["iter_candidates", "iter_filtered"]

NextMask = Callable[[], LegacyMask | None]


def iter_candidates(path: Path) -> Iterator[LegacyFrame]:
    """Yield the candidates of ``candidates.json`` by frame; they have boxes only.

    Raises:
        DataError: if the file is missing or damaged, or the items of a frame are not together.
    """
    with open_regular(path) as handle:
        cursor = JsonCursor(handle, str(path))
        yield from _in_order(_frames_of_items(cursor, str(path)), str(path))


def iter_filtered(path: Path) -> Iterator[LegacyFrame]:
    """Yield the kept masks of ``filtered.json`` by frame; an item without pixels has no mask.

    Raises:
        DataError: if the file is missing or damaged, or a mask in it is none.
        ArchiveError: if a stack of masks beside it is damaged.
    """
    with open_regular(path) as handle:
        cursor = JsonCursor(handle, str(path))
        yield from _in_order(_frames_of_file(cursor, path), str(path))


def _in_order(frames: Iterator[LegacyFrame], owner: str) -> Iterator[LegacyFrame]:
    last = -1
    for frame in frames:
        if frame.index <= last:
            raise DataError(
                f"{owner}: expected frames in ascending order, each once, found frame {frame.index} after "
                f"{last}"
            )
        last = frame.index
        yield frame


def _frames_of_items(cursor: JsonCursor, owner: str) -> Iterator[LegacyFrame]:
    frame: LegacyFrame | None = None
    for key in cursor.members():
        if key != "items":
            cursor.skip()
            continue
        for _ in cursor.elements():
            record = _record(cursor.value(), owner)
            index = whole_number(record.get("frame_idx"), f"{owner}: frame_idx")
            if frame is None or frame.index != index:
                if frame is not None:
                    yield frame
                frame = LegacyFrame(index=index)
            item = candidate(record, None, f"{owner}, frame {index}")
            if frame.name is None and not item.is_gap:
                frame.name = frame_name(record.get("frame_name"), owner)
            frame.add(item, owner)
    cursor.finish()
    if frame is not None:
        yield frame


def _frames_of_file(cursor: JsonCursor, path: Path) -> Iterator[LegacyFrame]:
    for key in cursor.members():
        if key != "frames":
            cursor.skip()
            continue
        for _ in cursor.elements():
            yield _frame(cursor, path)
    cursor.finish()


def _frame(cursor: JsonCursor, path: Path) -> LegacyFrame:
    owner = str(path)
    frame = LegacyFrame(index=-1)
    count: int | None = None
    for key in cursor.members():
        if key == "frame_idx":
            frame.index = whole_number(cursor.value(), f"{owner}: frame_idx")
        elif key == "frame_name":
            frame.name = frame_name(cursor.value(), owner)
        elif key == "count":
            count = whole_number(cursor.value(), f"{owner}: count")
        elif key == "items":
            _add_items(frame, cursor, path)
        else:
            cursor.skip()
    if frame.index < 0:
        raise DataError(f"{owner}: expected a frame_idx for every frame, found none")
    if count is not None and count != len(frame.items):
        raise DataError(
            f"{owner}: expected {count} masks in frame {frame.index} as it says, found {len(frame.items)}"
        )
    return frame


def _add_items(frame: LegacyFrame, cursor: JsonCursor, path: Path) -> None:
    with contextlib.ExitStack() as stack:
        next_mask: NextMask | None = None
        for _ in cursor.elements():
            record = _record(cursor.value(), str(path))
            if frame.index < 0:
                frame.index = whole_number(record.get("frame_idx"), f"{path}: frame_idx")
            owner = f"{path}, frame {frame.index}, item {len(frame.items)}"
            mask: LegacyMask | None
            if record.get("mask") is not None:
                mask = mask_from_record(record["mask"], owner)
            else:
                if next_mask is None:
                    beside = path.with_name(f"seg_frame_{frame.index:05d}.npy")
                    next_mask = stack.enter_context(_stack_beside(beside))
                mask = next_mask()
            item = candidate(record, mask, owner)
            if frame.name is None and not item.is_gap:
                frame.name = frame_name(record.get("frame_name"), owner)
            frame.add(item, owner)


@contextlib.contextmanager
def _stack_beside(path: Path) -> Iterator[NextMask]:
    """Give the masks of a stack one after the other; None for ever where there is no stack."""
    if not path.exists():
        yield lambda: None
        return
    with open_regular(path) as handle:
        member = Member(handle, str(path))
        masks = masks_of_stack(member, read_npy_header(member, str(path)))

        def next_mask() -> LegacyMask:
            following = next(masks, None)
            if following is None:
                raise DataError(f"{path}: expected a mask for every item of its frame, found fewer")
            return following

        yield next_mask
        if next(masks, None) is not None:
            raise DataError(f"{path}: expected a mask for every item of its frame, found more")


def masks_of_stack(member: Member, header: NpyHeader) -> Iterator[LegacyMask]:
    """Yield the masks of an (N, H, W) array of booleans or bytes, reading one at a time.

    Raises:
        DataError: if it has another shape or type.
        ArchiveError: if it is cut off.
    """
    shape = header.shape
    is_mask = header.dtype.kind in "bu" and header.dtype.itemsize == 1 and not header.is_fortran
    if len(shape) != 3 or not is_mask or shape[0] > MAX_ITEMS_PER_FRAME:
        raise DataError(f"{member.name}: expected (N, H, W) masks, found {header.dtype} of shape {shape}")
    if not shape[0]:
        return
    height, width = check_size(list(shape[1:]), member.name)
    for _ in range(shape[0]):
        pixels = np.frombuffer(member.read_exactly(height * width), np.uint8)
        yield mask_from_pixels(pixels.reshape(height, width), member.name)


def _record(value: object, owner: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise DataError(f"{owner}: expected objects in the list of items, found {type(value).__name__}")
    return value
