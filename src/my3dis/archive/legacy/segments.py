"""Tracked masks of old runs: the file called ``video_segments*.npz``, in three layouts.

1. A zip of one JSON per frame, ``frames/frame_000012.json``, with a table of contents ``manifest.json``.
2. ``data.npy`` with one pickled dictionary ``{frame: {object: mask}}``, masks dense or as packed bits.
3. ``frame_000012/object_id.npy`` and ``frame_000012/masks.npy``: plain arrays, as ``my3dis export`` writes
   with ``layout=dense``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from my3dis.archive.legacy.containers import Member, ZipMembers, open_regular, open_zip
from my3dis.archive.legacy.frames import LegacyFrame, frame_name
from my3dis.archive.legacy.json_stream import JsonCursor
from my3dis.archive.legacy.limits import MAX_FRAME_MEMBER_BYTES, MAX_FRAMES, MAX_ITEMS_PER_FRAME
from my3dis.archive.legacy.masks import (
    BITS,
    LegacyItem,
    LegacyMask,
    check_size,
    mask_from_pixels,
    mask_from_record,
    whole_number,
)
from my3dis.archive.legacy.npy import read_npy_header
from my3dis.archive.legacy.pickle_arrays import PickledArray
from my3dis.archive.legacy.pickle_stream import Pair, PickleStream
from my3dis.errors import ArchiveError, DataError

__all__ = ["iter_segments"]

_MANIFEST = "manifest.json"
_PICKLED = "data.npy"
_JSON_FRAME = re.compile(r"(?:frames/)?frame_(\d{1,10})\.json")
_DENSE_FRAME = re.compile(r"frame_(\d{1,10})/masks\.npy")
_MAX_MEMBER_BYTES = 2**40


def iter_segments(path: Path) -> Iterator[LegacyFrame]:
    """Yield the tracked masks of one level, a frame at a time, in the order of the file.

    Raises:
        DataError: if the file is missing, or something in it is no mask of a frame.
        ArchiveError: if it is damaged, of another kind, or hostile.
    """
    with open_regular(path) as handle, open_zip(handle, str(path)) as members:
        names = set(members.names)
        if _PICKLED in names:
            frames = _pickled_frames(members, str(path))
        elif any(_DENSE_FRAME.fullmatch(name) for name in names):
            frames = _dense_frames(members, str(path))
        elif _MANIFEST in names or any(_JSON_FRAME.fullmatch(name) for name in names):
            frames = _json_frames(members, str(path))
        else:
            raise ArchiveError(
                f"{path}: expected per-frame JSON, the array 'data' or arrays per frame in it, found "
                f"{', '.join(sorted(names)[:4]) or 'nothing'}; this is no file of tracked masks"
            )
        seen: set[int] = set()
        for frame in frames:
            if frame.index in seen:
                raise DataError(f"{path}: expected each frame once, found frame {frame.index} twice")
            seen.add(frame.index)
            if len(seen) > MAX_FRAMES:
                raise DataError(f"{path}: expected at most {MAX_FRAMES} frames, found more")
            yield frame


def _json_frames(members: ZipMembers, owner: str) -> Iterator[LegacyFrame]:
    entries = sorted(
        (int(found[1]), name) for name in members.names if (found := _JSON_FRAME.fullmatch(name))
    )
    _compare_with_manifest(members, {name for _, name in entries}, owner)
    for number, name in entries:
        with members.open(name, MAX_FRAME_MEMBER_BYTES) as member:
            frame = _json_frame(JsonCursor(member, member.name), member.name)
        if frame.index < 0:
            frame.index = number
        yield frame


def _compare_with_manifest(members: ZipMembers, names: set[str], owner: str) -> None:
    """Check that every frame of the table of contents is there: the writer adds it last."""
    if _MANIFEST not in members.names:
        raise ArchiveError(
            f"{owner}: expected the member {_MANIFEST}, found none: the file was not finished; track again"
        )
    with members.open(_MANIFEST, MAX_FRAME_MEMBER_BYTES) as member:
        cursor = JsonCursor(member, member.name)
        for key in cursor.members():
            if key != "frames":
                cursor.skip()
                continue
            for _ in cursor.elements():
                record = cursor.value()
                entry = record.get("entry") if isinstance(record, dict) else None
                if entry not in names:
                    raise ArchiveError(
                        f"{owner}: expected the frame {str(entry)[:80]!r} that its {_MANIFEST} lists, found "
                        "no such member"
                    )
        cursor.finish()


def _json_frame(cursor: JsonCursor, owner: str) -> LegacyFrame:
    frame = LegacyFrame(index=-1)
    for key in cursor.members():
        if key == "frame_index":
            frame.index = whole_number(cursor.value(), f"{owner}: frame_index")
        elif key == "frame_name":
            frame.name = frame_name(cursor.value(), owner)
        elif key == "objects":
            for object_id in cursor.members():
                number = whole_number(object_id, f"{owner}: object")
                mask = mask_from_record(cursor.value(), f"{owner}, object {number}")
                frame.add(LegacyItem(mask=mask, object_id=number), owner)
        else:
            cursor.skip()
    cursor.finish()
    return frame


def _pickled_frames(members: ZipMembers, owner: str) -> Iterator[LegacyFrame]:
    with members.open(_PICKLED, _MAX_MEMBER_BYTES) as member:
        header = read_npy_header(member, member.name)
        if not header.holds_objects:
            raise ArchiveError(
                f"{owner}: expected an array of dictionaries called 'data', found one of {header.dtype}"
            )
        loose: LegacyFrame | None = None
        for pair in PickleStream(member).pairs():
            if not _is_mask(pair.value):
                yield _frame_of_pair(pair, owner)
                continue
            # An array of dictionaries {object: mask}, one for each frame.
            if loose is None or loose.index != pair.dictionary:
                if loose is not None:
                    yield loose
                loose = LegacyFrame(index=pair.dictionary)
            _add_object(loose, pair.key, pair.value, owner)
        if loose is not None:
            yield loose


def _frame_of_pair(pair: Pair, owner: str) -> LegacyFrame:
    frame = LegacyFrame(index=whole_number(pair.key, f"{owner}: frame"))
    if not isinstance(pair.value, dict):
        raise DataError(
            f"{owner}: expected masks by object in frame {frame.index}, found {type(pair.value).__name__}"
        )
    for key, value in pair.value.items():
        _add_object(frame, key, value, owner)
    return frame


def _is_mask(value: object) -> bool:
    return isinstance(value, PickledArray) or (isinstance(value, dict) and BITS in value)


def _add_object(frame: LegacyFrame, key: object, value: object, owner: str) -> None:
    number = whole_number(key, f"{owner}: object in frame {frame.index}")
    mask = value.mask if isinstance(value, PickledArray) else None
    if isinstance(value, dict) and isinstance(value.get(BITS), LegacyMask):
        mask = value[BITS]
    if mask is None:
        raise DataError(f"{owner}: expected a mask for object {number} of frame {frame.index}, found another")
    frame.add(LegacyItem(mask=mask, object_id=number), owner)


def _dense_frames(members: ZipMembers, owner: str) -> Iterator[LegacyFrame]:
    numbers = sorted(int(found[1]) for name in members.names if (found := _DENSE_FRAME.fullmatch(name)))
    by_number = {int(f[1]): n.rpartition("/")[0] for n in members.names if (f := _DENSE_FRAME.fullmatch(n))}
    for number in numbers:
        folder = by_number[number]
        with members.open(f"{folder}/object_id.npy", MAX_FRAME_MEMBER_BYTES) as member:
            ids = _ids(member)
        with members.open(f"{folder}/masks.npy", _MAX_MEMBER_BYTES) as member:
            yield _dense_frame(number, ids, member, owner)


def _ids(member: Member) -> list[int]:
    header = read_npy_header(member, member.name)
    if len(header.shape) != 1 or header.dtype.kind not in "iu" or header.shape[0] > MAX_ITEMS_PER_FRAME:
        raise ArchiveError(f"{member.name}: expected ids, found {header.dtype} of shape {header.shape}")
    data = member.read_exactly(header.shape[0] * header.dtype.itemsize)
    return [whole_number(v, member.name) for v in np.frombuffer(data, header.dtype).tolist()]


def _dense_frame(index: int, ids: list[int], member: Member, owner: str) -> LegacyFrame:
    header = read_npy_header(member, member.name)
    shape, one_byte = header.shape, header.dtype.itemsize == 1 and header.dtype.kind in "bu"
    if len(shape) != 3 or not one_byte or header.is_fortran or shape[0] != len(ids):
        raise ArchiveError(
            f"{member.name}: expected one mask for each of {len(ids)} ids, found {header.dtype} of shape "
            f"{shape}"
        )
    frame = LegacyFrame(index=index)
    if not ids:
        return frame
    height, width = check_size(list(shape[1:]), member.name)
    for number in ids:
        pixels = np.frombuffer(member.read_exactly(height * width), np.uint8).reshape(height, width)
        frame.add(LegacyItem(mask=mask_from_pixels(pixels, owner), object_id=number), owner)
    return frame
