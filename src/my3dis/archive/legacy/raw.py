"""Raw candidates of old runs: the folder ``raw`` of a level.

Newer runs have chunks, ``chunk_0000.tar.gz`` with ``frame_00012/meta.json`` and ``frame_00012/masks.npz`` for
each of 32 frames, and a ``manifest.json`` that lists them; older ones have two files per frame,
``frame_00012.json`` and ``frame_00012.npz``.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from my3dis.archive.legacy.candidates import masks_of_stack
from my3dis.archive.legacy.containers import Member, ZipMembers, open_regular, open_zip
from my3dis.archive.legacy.frames import LegacyFrame, candidate, frame_name
from my3dis.archive.legacy.json_stream import ByteSource, JsonCursor
from my3dis.archive.legacy.limits import (
    MAX_FRAME_CODE_BYTES,
    MAX_FRAME_MEMBER_BYTES,
    MAX_ITEMS_PER_FRAME,
    MAX_PIXELS,
)
from my3dis.archive.legacy.masks import LegacyMask, check_size, mask_from_bits, whole_number
from my3dis.archive.legacy.npy import read_npy_header
from my3dis.archive.legacy.tar_stream import TarMember, iter_tar
from my3dis.errors import ArchiveError, DataError

__all__ = ["iter_raw"]

_MEMBER = re.compile(r"(frame_\d{1,10})/(meta\.json|masks\.npz)")
_FILE = re.compile(r"frame_(\d{1,10})\.json")
_CHUNK = re.compile(r"[\w-][\w.-]{0,100}\.tar(\.gz|\.bz2|\.xz)?")
_SPOOL_BYTES = 1 << 22


@dataclass(slots=True)
class _Meta:
    """What the JSON of a frame says; masks come after it."""

    index: int = -1
    name: str | None = None
    records: list[dict[str, object]] = field(default_factory=list)


def iter_raw(folder: Path) -> Iterator[LegacyFrame]:
    """Yield the raw candidates of a level by frame.

    Raises:
        DataError: if something is missing, or a frame is no frame of masks.
        ArchiveError: if a chunk is damaged or hostile.
    """
    if (folder / "manifest.json").exists() or any(folder.glob("chunk_*.tar*")):
        frames = _chunked(folder)
    else:
        frames = _two_files(folder)
    last = -1
    for frame in frames:
        if frame.index <= last:
            raise DataError(
                f"{folder}: expected frames in ascending order, each once, found frame {frame.index} after "
                f"{last}"
            )
        last = frame.index
        yield frame


def _chunked(folder: Path) -> Iterator[LegacyFrame]:
    listed, chunks = _listing(folder)
    found = 0
    for chunk in chunks:
        for frame in _frames_of_chunk(folder / chunk):
            found += 1
            yield frame
    if listed is not None and found != listed:
        raise DataError(
            f"{folder}: expected the {listed} frames that manifest.json lists, found {found} in the chunks"
        )


def _listing(folder: Path) -> tuple[int | None, list[str]]:
    """Return how many frames the table of contents lists, and the chunks; None without a table."""
    path = folder / "manifest.json"
    if not path.exists():
        return None, sorted(p.name for p in folder.glob("chunk_*.tar*"))
    listed = 0
    chunks: list[str] = []
    with open_regular(path) as handle:
        cursor = JsonCursor(handle, str(path))
        for key in cursor.members():
            if key == "frames":
                for _ in cursor.elements():
                    cursor.value()
                    listed += 1
            elif key == "chunks":
                chunks.extend(_chunk_name(cursor.value(), path) for _ in cursor.elements())
            else:
                cursor.skip()
        cursor.finish()
    return listed, chunks


def _chunk_name(record: object, path: Path) -> str:
    name = record.get("name") if isinstance(record, dict) else None
    if not isinstance(name, str) or not _CHUNK.fullmatch(name):
        raise ArchiveError(f"{path}: expected chunks beside it, found the name {str(name)[:80]!r}; refused")
    return name


def _frames_of_chunk(path: Path) -> Iterator[LegacyFrame]:
    meta, key = _Meta(), ""
    for member in iter_tar(path):
        owner = f"{path}, member {member.name[:80]}"
        found = _MEMBER.fullmatch(member.name)
        if found is None:
            raise ArchiveError(
                f"{owner}: expected frame_N/meta.json and frame_N/masks.npz only, found another name; refused"
            )
        if found[2] == "meta.json":
            if key:
                yield _frame(meta, [], owner)
            meta, key = _read_meta(member, owner), found[1]
        else:
            if found[1] != key:
                raise ArchiveError(f"{owner}: expected {found[1]}/meta.json before it, found {key or 'none'}")
            yield _frame(meta, _masks_of_member(member, owner), owner)
            key = ""
    if key:
        yield _frame(meta, [], str(path))


def _two_files(folder: Path) -> Iterator[LegacyFrame]:
    numbered = sorted((int(f[1]), p) for p in folder.iterdir() if (f := _FILE.fullmatch(p.name)))
    for _, path in numbered:
        with open_regular(path) as handle:
            meta = _read_meta(handle, str(path))
        masks: list[LegacyMask | None] = []
        beside = path.with_suffix(".npz")
        if beside.exists():
            with open_regular(beside) as handle, open_zip(handle, str(beside)) as members:
                masks = _masks_of_zip(members, str(beside))
        yield _frame(meta, masks, str(path))


def _read_meta(source: ByteSource, owner: str) -> _Meta:
    meta = _Meta()
    cursor = JsonCursor(source, owner)
    for key in cursor.members():
        if key == "frame_idx":
            meta.index = whole_number(cursor.value(), f"{owner}: frame_idx")
        elif key == "frame_name":
            meta.name = frame_name(cursor.value(), owner)
        elif key == "candidates":
            for _ in cursor.elements():
                record = cursor.value()
                if not isinstance(record, dict) or len(meta.records) >= MAX_ITEMS_PER_FRAME:
                    raise DataError(
                        f"{owner}: expected at most {MAX_ITEMS_PER_FRAME} objects as candidates, found others"
                    )
                meta.records.append(record)
        else:
            cursor.skip()
    cursor.finish()
    if meta.index < 0:
        raise DataError(f"{owner}: expected a frame_idx, found none")
    return meta


def _frame(meta: _Meta, masks: list[LegacyMask | None], owner: str) -> LegacyFrame:
    frame = LegacyFrame(index=meta.index, name=meta.name)
    for position, record in enumerate(meta.records):
        row = whole_number(record.get("raw_index", position), f"{owner}: raw_index")
        mask = masks[row] if row < len(masks) else None
        frame.add(candidate(record, mask, f"{owner}, candidate {position}"), owner)
    return frame


def _masks_of_member(member: TarMember, owner: str) -> list[LegacyMask | None]:
    # A zip file is read from its end; in memory while it is small.
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spooled:
        shutil.copyfileobj(cast("BinaryIO", member), spooled, 1 << 16)
        spooled.seek(0)
        with open_zip(cast("BinaryIO", spooled), owner) as members:
            return _masks_of_zip(members, owner)


def _masks_of_zip(members: ZipMembers, owner: str) -> list[LegacyMask | None]:
    """Return a mask, or None, for each raw index."""
    names = members.names
    has_mask = _small_array(members, "has_mask.npy") if "has_mask.npy" in names else None
    if "packed_masks.npy" in names:
        size = check_size(_small_array(members, "mask_shape.npy").tolist(), owner)
        with members.open("packed_masks.npy", MAX_FRAME_MEMBER_BYTES * 8) as member:
            return _limited(_packed_rows(member, size), has_mask, owner)
    if "masks.npy" in names:
        with members.open("masks.npy", MAX_FRAME_MEMBER_BYTES * 64) as member:
            return _limited(masks_of_stack(member, read_npy_header(member, member.name)), has_mask, owner)
    raise ArchiveError(f"{owner}: expected packed_masks or masks, found {', '.join(names[:4]) or 'nothing'}")


def _packed_rows(member: Member, size: tuple[int, int]) -> Iterator[LegacyMask]:
    header = read_npy_header(member, member.name)
    shape = header.shape
    if len(shape) != 2 or header.dtype != np.uint8 or header.is_fortran or shape[1] > MAX_PIXELS // 8 + 1:
        raise ArchiveError(f"{member.name}: expected (N, bytes) packed bits, found shape {shape}")
    for _ in range(shape[0]):
        yield mask_from_bits(member.read_exactly(shape[1]), size, member.name)


def _limited(masks: Iterator[LegacyMask], has_mask: np.ndarray | None, owner: str) -> list[LegacyMask | None]:
    kept: list[LegacyMask | None] = []
    total = 0
    for row, mask in enumerate(masks):
        total += len(mask.rle)
        if row >= MAX_ITEMS_PER_FRAME or total > MAX_FRAME_CODE_BYTES:
            raise DataError(
                f"{owner}: expected at most {MAX_ITEMS_PER_FRAME} masks of {MAX_FRAME_CODE_BYTES} bytes in a "
                "frame, found more"
            )
        is_there = has_mask is None or (row < len(has_mask) and bool(has_mask[row]))
        kept.append(mask if is_there else None)
    return kept


def _small_array(members: ZipMembers, name: str) -> np.ndarray:
    if name not in members.names:
        raise ArchiveError(f"expected the array {name.removesuffix('.npy')} beside the masks, found none")
    with members.open(name, MAX_FRAME_MEMBER_BYTES) as member:
        header = read_npy_header(member, member.name)
        n = header.shape[0] if len(header.shape) == 1 else MAX_ITEMS_PER_FRAME + 1
        if n > MAX_ITEMS_PER_FRAME or header.dtype.kind not in "iub":
            raise ArchiveError(f"{member.name}: expected a short row of numbers, found shape {header.shape}")
        return np.frombuffer(member.read_exactly(n * header.dtype.itemsize), header.dtype)
