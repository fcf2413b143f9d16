"""Write tracked masks in the layouts of the earlier system's ``video_segments.npz``, a mask at a time.

A zip file's members are written one after the other, each piece by piece, so that memory holds one mask
whatever the number of frames. The pickled layout is written instruction by instruction: nothing is pickled
here, and the file names nothing but NumPy's arrays.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from my3dis.archive import ArchiveReader
from my3dis.masks.codec import decode
from my3dis.types import NO_ID, MaskSet, MaskSource

__all__ = [
    "candidate_item",
    "frame_file",
    "member_of",
    "object_ids",
    "packed_record",
    "write_array_header",
    "write_dense",
    "write_objects",
    "write_packed",
    "write_pickled",
]

_DATE = (1980, 1, 1, 0, 0, 0)
_SCALE = {"mask_scale_ratio": 1.0}


def frame_file(frame: int) -> str:
    """Return the name that old runs give a frame without a recorded one."""
    return f"{frame:05d}.png"


def object_ids(rows: MaskSet) -> NDArray[np.int32]:
    """Return the (N,) object id of each track: its id plus 1, since old tools take 0 for the background."""
    ids: NDArray[np.int32] = rows.track_id + np.int32(1)
    return ids


def candidate_item(masks: MaskSet, position: int) -> dict[str, object]:
    """Return what old runs say of a mask. Their boxes end on the last pixel, ours behind it."""
    x0, y0, x1, y1 = masks.boxes[position].tolist()
    item: dict[str, object] = {
        "frame_idx": masks.frame,
        "frame_name": frame_file(masks.frame),
        "bbox": [x0, y0, max(0, x1 - x0 - 1), max(0, y1 - y0 - 1)],
        "area": int(masks.area_px[position]),
        "stability_score": _number(float(masks.stability[position])),
        "level": int(masks.level[position]),
        "unique_id": int(masks.mask_id[position]),
    }
    if masks.parent_id[position] != NO_ID:
        item["parent_unique_id"] = int(masks.parent_id[position])
    if masks.source[position] == MaskSource.GAP:
        item["source"] = "gap_fill"
    return item


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def packed_record(rle: bytes, image_size: tuple[int, int]) -> dict[str, object]:
    """Return a mask as a shape and packed bits in base64, row by row, the highest bit of a byte first."""
    bits = np.packbits(decode(rle, image_size).reshape(-1))
    return {"shape": list(image_size), "packed_bits_b64": base64.b64encode(bits.tobytes()).decode("ascii")}


def write_packed(path: Path, reader: ArchiveReader, level: int | None) -> None:
    """Write the last layout: ``frames/frame_000012.json`` for every frame, then ``manifest.json``.

    Opens with `zipfile` and with NumPy alike; nothing in it is pickled.

    Args:
        path: file to write.
        reader: tracks.
        level: only this level; None writes all, whose track ids are distinct.
    """
    listing = io.StringIO()
    with _new_zip(path) as archive:
        for n, rows in enumerate(_frames(reader, level)):
            name = f"frames/frame_{rows.frame:06d}.json"
            head = {"frame_index": rows.frame, "frame_name": frame_file(rows.frame)}
            objects = sorted(map(str, object_ids(rows).tolist()))
            listing.write(", " if n else "")
            listing.write(json.dumps({**head, "entry": name, "objects": objects}))
            with member_of(archive, name) as member:
                member.write(json.dumps(head)[:-1].encode() + b', "objects": {')
                for k, (number, rle) in enumerate(zip(object_ids(rows).tolist(), rows.rle, strict=True)):
                    record = json.dumps(packed_record(rle, rows.image_size))
                    member.write(f'{", " if k else ""}"{number}": {record}'.encode())
                member.write(b"}}")
        meta = json.dumps({**({} if level is None else {"level": level}), **_SCALE})
        with member_of(archive, "manifest.json") as member:
            member.write(f'{{"meta": {meta}, "frames": [{listing.getvalue()}]}}'.encode())


def write_objects(path: Path, reader: ArchiveReader, level: int, video: str) -> None:
    """Write ``object_segments.npz``: on which frames each object is, referring to the packed file."""
    tracks = reader.tracks().at_levels([level])
    starts = np.searchsorted(tracks.obs_track, tracks.track_id)
    with _new_zip(path) as archive, member_of(archive, "manifest.json") as member:
        meta = json.dumps({"level": level, "linked_video": video, **_SCALE})
        member.write(f'{{"meta": {meta}, "objects": {{'.encode())
        for k, track in enumerate(tracks.track_id.tolist()):
            end = starts[k + 1] if k + 1 < len(starts) else len(tracks.obs_track)
            frames = tracks.obs_frame[starts[k] : end].tolist()
            seen = [{"frame_index": f, "frame_entry": f"frames/frame_{f:06d}.json"} for f in frames]
            member.write(f'{", " if k else ""}"{track + 1}": {json.dumps(seen)}'.encode())
        member.write(b"}}")


def write_dense(path: Path, reader: ArchiveReader, level: int | None) -> None:
    """Write plain arrays: ``frame_000012/object_id`` (K,) int32 and ``frame_000012/masks`` (K, H, W) bool.

    ``np.load(path, allow_pickle=False)`` reads it, a frame at a time.
    """
    with _new_zip(path) as archive:
        for rows in _frames(reader, level):
            folder = f"frame_{rows.frame:06d}"
            with member_of(archive, f"{folder}/object_id.npy") as member:
                write_array_header(member, (len(rows),), "<i4")
                member.write(object_ids(rows).astype("<i4").tobytes())
            with member_of(archive, f"{folder}/masks.npy") as member:
                write_array_header(member, (len(rows), *rows.image_size), "|b1")
                for rle in rows.rle:
                    member.write(decode(rle, rows.image_size).data)


def write_pickled(path: Path, reader: ArchiveReader, level: int | None) -> None:
    """Write the first layout: ``data``, a pickled ``{frame: {object: (H, W) bool}}`` with text as keys.

    For tools that let NumPy unpickle ``data`` and take its ``.item()``; they need memory for all masks.
    """
    with _new_zip(path) as archive, member_of(archive, "data.npy") as member:
        write_array_header(member, (), "|O")
        member.write(_PICKLE_HEAD)
        booleans = _dtype("b1", 0) + b"q\x03"
        for rows in _frames(reader, level):
            member.write(_text(rows.frame) + b"}")
            height, width = rows.image_size
            for object_id, rle in zip(object_ids(rows).tolist(), rows.rle, strict=True):
                pixels = decode(rle, rows.image_size)
                shape = b"J" + struct.pack("<i", height) + b"J" + struct.pack("<i", width) + b"\x86"
                member.write(_text(object_id) + _ARRAY + shape + booleans + b"\x89")
                member.write(b"B" + struct.pack("<I", pixels.size))
                member.write(pixels.data)
                member.write(b"tbs")
                booleans = b"h\x03"
            member.write(b"s")
        member.write(b"atb.")


def _dtype(code: str, flags: int) -> bytes:
    """Return the instructions that make a type of NumPy."""
    made = b"cnumpy\ndtype\n" + _text(code) + b"\x89\x88\x87R"
    return made + b"(K\x03" + _text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK" + bytes([flags]) + b"tb"


def _text(value: object) -> bytes:
    data = str(value).encode()
    return b"X" + struct.pack("<I", len(data)) + data


# Instructions, see the comments in the standard library's `pickletools`. Numbers 0..3 of the memo: the two
# names that every array needs, its empty type, and the type of booleans.
_PICKLE_HEAD = (
    b"\x80\x03cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85C\x01bq\x02\x87R(K\x01)"
    + _dtype("O8", 63)
    + b"\x89]}"
)
_ARRAY = b"h\x00h\x01K\x00\x85h\x02\x87R(K\x01"


def _frames(reader: ArchiveReader, level: int | None) -> Iterator[MaskSet]:
    """Yield the tracked masks of every frame that has some."""
    for rows in reader.iter_frames(level):
        tracked = rows.select(rows.track_id != NO_ID)
        if len(tracked):
            yield tracked


def _new_zip(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=1)


def member_of(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open a new member for writing; the same content gives the same bytes on any day."""
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return archive.open(info, "w", force_zip64=True)


def write_array_header(member: IO[bytes], shape: Sequence[int], descr: str) -> None:
    """Write the header of a ``.npy`` member; the data follows."""
    header = {"descr": descr, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(member, header)
