"""Between a `MaskSet` and rows of the table ``masks``: packing, checksums and damage found on reading."""

from __future__ import annotations

import math
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from my3dis.archive.schema import MAX_BLOB_BYTES, MAX_FRAME_BYTES, MAX_PIXELS
from my3dis.errors import ArchiveError, DataError
from my3dis.types import MaskSet

__all__ = [
    "CODEC_PLAIN",
    "CODEC_ZLIB",
    "INSERT_MASK",
    "SELECT_MASK",
    "check_row",
    "check_size",
    "fetch_rows",
    "frame_crc",
    "mask_rows",
    "mask_set",
    "repeated",
    "single_sets",
    "track_crc",
    "unpack",
]

CODEC_PLAIN = 0
CODEC_ZLIB = 1

_COLUMNS = (
    "level, frame, mask_id, track_id, parent_id, x0, y0, x1, y1, area_px, score, stability, source, "
    "height, width, codec, crc32, rle"
)
SELECT_MASK = f"SELECT {_COLUMNS} FROM masks"  # noqa: S608 - a constant
"""Reads the columns in the order that `mask_set` takes."""

INSERT_MASK = f"INSERT INTO masks ({_COLUMNS}) VALUES ({', '.join('?' * 18)})"  # noqa: S608 - a constant
"""Writes the columns in the order that `mask_rows` gives."""

Row = tuple[Any, ...]

_CHECKED = struct.Struct("<13q2d")
# The same for many rows at once.
_CHECKED_COLUMNS = np.dtype([("whole", "<i8", (13,)), ("real", "<f8", (2,))])
_FRAME = struct.Struct("<4q")
_TRACK = struct.Struct("<q")
# Measured on recorded tracks at 1920x1440, per mask: level 1 takes 41 us and leaves 1249 of 2244 bytes,
# level 4 takes 48 us and leaves 1208, level 6 takes 72 us and leaves 1203; unpacking takes 13 us whatever the
# level. Short codes and those that hardly shrink stay plain.
_DEFLATE_LEVEL = 4
_WORTH_PACKING_BYTES = 64
# No zlib stream grows more than this; short ones are unpacked in one step, twice as fast.
_MAX_INFLATION = 1032


def frame_crc(frame: int, height: int, width: int, n: int) -> int:
    """Return the checksum of a row of ``frames``."""
    return zlib.crc32(_FRAME.pack(frame, height, width, n))


def track_crc(track_id: int) -> int:
    """Return the part of a mask row's checksum that stands for its track.

    It is combined by exclusive or, so that relabelling needs neither the blob nor the other columns.
    """
    return zlib.crc32(_TRACK.pack(track_id))


def _row_crc(row: Sequence[Any]) -> int:
    """Return the checksum of a mask row without its track and without the checksum column."""
    level, frame, mask_id, _, parent_id, x0, y0, x1, y1, area, score, stability = row[:12]
    source, height, width, codec = row[12:16]
    numbers = _CHECKED.pack(
        *(level, frame, mask_id, parent_id, x0, y0, x1, y1, area, source, height, width, codec),
        math.nan if score is None else score,
        math.nan if stability is None else stability,
    )
    return zlib.crc32(row[17], zlib.crc32(numbers))


def _pack(rle: bytes) -> tuple[int, bytes]:
    if len(rle) >= _WORTH_PACKING_BYTES:
        packed = zlib.compress(rle, _DEFLATE_LEVEL)
        if len(packed) <= len(rle) * 7 // 8:
            return CODEC_ZLIB, packed
    return CODEC_PLAIN, rle


def unpack(codec: int, blob: bytes) -> bytes:
    """Return plain COCO compressed counts.

    Raises:
        ArchiveError: if the codec is unknown, the blob is damaged or unpacks to more than allowed.
    """
    if not isinstance(blob, bytes):
        raise ArchiveError(f"expected a blob, found {type(blob).__name__}")
    if codec == CODEC_PLAIN:
        return blob
    if codec != CODEC_ZLIB:
        raise ArchiveError(f"expected codec {CODEC_PLAIN} or {CODEC_ZLIB}, found {codec!r}")
    try:
        if len(blob) * _MAX_INFLATION <= MAX_BLOB_BYTES:
            return zlib.decompress(blob)
        inflate = zlib.decompressobj()
        plain = inflate.decompress(blob, MAX_BLOB_BYTES)
    except zlib.error as error:
        raise ArchiveError(f"expected a zlib stream, found damage ({error})") from error
    if not inflate.eof:
        raise ArchiveError(f"expected a complete zlib stream of at most {MAX_BLOB_BYTES} bytes")
    return plain


def mask_rows(masks: MaskSet) -> Iterator[Row]:
    """Return rows for `INSERT_MASK`, ordered by level and mask id, packed and with checksums.

    Raises:
        ArchiveError: if a code, or those of the frame together, are longer than an archive may hold.
    """
    lengths = [len(rle) for rle in masks.rle]
    if max(lengths, default=0) > MAX_BLOB_BYTES or sum(lengths) > MAX_FRAME_BYTES:
        raise ArchiveError(
            f"frame {masks.frame}: expected codes of at most {MAX_BLOB_BYTES} bytes a mask and "
            f"{MAX_FRAME_BYTES} bytes a frame, found {max(lengths)} and {sum(lengths)}; these masks are noise"
        )
    order = np.lexsort((masks.mask_id, masks.level))
    height, width = masks.image_size
    ids = (masks.level, masks.mask_id, masks.track_id, masks.parent_id)
    level, mask_id, track_id, parent_id = (column[order].astype(np.int64) for column in ids)
    boxes, area, source = masks.boxes[order], masks.area_px[order], masks.source[order]
    codecs, blobs = [], []
    for i in order.tolist():
        codec, blob = _pack(masks.rle[i])
        codecs.append(codec)
        blobs.append(blob)
    checked = np.zeros(len(order), _CHECKED_COLUMNS)
    numbers = (level, masks.frame, mask_id, parent_id, *boxes.T, area, source, height, width, codecs)
    for place, column in enumerate(numbers):
        checked["whole"][:, place] = column
    real = np.stack([masks.score[order], masks.stability[order]], axis=1).astype(np.float64)
    # A NaN in a checksum is always the same one.
    real[np.isnan(real)] = math.nan
    checked["real"] = real
    score, stability = ([None if math.isnan(v) else v for v in column.tolist()] for column in real.T)
    crcs = _crcs(checked.tobytes(), track_id, blobs)
    return zip(
        *(level.tolist(), repeat(masks.frame), mask_id.tolist(), track_id.tolist(), parent_id.tolist()),
        *boxes.T.tolist(),
        *(area.tolist(), score, stability, source.tolist(), repeat(height), repeat(width)),
        *(codecs, crcs, blobs),
        strict=False,
    )


def _crcs(numbers: bytes, track_id: NDArray[np.int64], blobs: Sequence[bytes]) -> list[int]:
    """Return the checksums of rows whose checked numbers lie one after the other."""
    crc32, size = zlib.crc32, _CHECKED.size
    tracks = {track: track_crc(track) for track in set(track_id.tolist())}
    view = memoryview(numbers)
    return [
        crc32(blob, crc32(view[i * size : (i + 1) * size])) ^ tracks[track]
        for i, (blob, track) in enumerate(zip(blobs, track_id.tolist(), strict=True))
    ]


def repeated(db: sqlite3.Connection, path: Path, masks: MaskSet, first_row: int) -> ArchiveError:
    """Return the error that says which masks of a set are among the rows before one already."""
    found = db.execute("SELECT mask_id FROM masks WHERE frame = ? AND row < ?", (masks.frame, first_row))
    again = sorted({row[0] for row in found}.intersection(masks.mask_id.tolist()))
    return ArchiveError(
        f"expected new mask ids for frame {masks.frame}, found {again[:8]} stored already in {path}; nothing "
        "of this call was stored"
    )


def fetch_rows(found: Iterable[Row]) -> list[Row]:
    """Return rows of `SELECT_MASK`, no more than memory should hold at once.

    Raises:
        ArchiveError: if the codes are more than a frame may have.
    """
    rows: list[Row] = []
    held = 0
    for row in found:
        held += len(row[17]) if isinstance(row[17], bytes) else 0
        if held > MAX_FRAME_BYTES:
            raise ArchiveError(
                f"frame {row[1]}: expected codes of at most {MAX_FRAME_BYTES} bytes together, found more; "
                "the archive is damaged or foreign"
            )
        rows.append(row)
    return rows


def check_row(row: Row, frame: int, image_size: tuple[int, int]) -> None:
    """Check a row of `SELECT_MASK` against its checksum, and that it is of a frame of this size.

    Raises:
        ArchiveError: if they differ or a column has a wrong type.
    """
    try:
        crc = _row_crc(row) ^ track_crc(row[3])
    except (struct.error, TypeError) as error:
        raise ArchiveError(f"expected numbers and a blob, found {error}") from error
    if crc != row[16]:
        raise ArchiveError("expected contents that fit the checksum, found a difference: the row is damaged")
    if (row[1], row[13], row[14]) != (frame, *image_size):
        raise ArchiveError(f"expected {image_size} as the table frames says, found {row[13:15]}")


def mask_set(frame: int, image_size: tuple[int, int], rows: Sequence[Row]) -> MaskSet:
    """Make a `MaskSet` of rows of one frame, checking each.

    Raises:
        ArchiveError: naming the frame and mask whose row is damaged.
    """
    rles = []
    held = 0
    for row in rows:
        try:
            check_row(row, frame, image_size)
            rles.append(unpack(row[15], row[17]))
            held = _still_held(held, rles[-1])
        except ArchiveError as error:
            raise ArchiveError(f"frame {frame}, mask {row[2]}: {error}") from error
    try:
        return MaskSet(frame=frame, image_size=image_size, rle=tuple(rles), **_columns(rows))
    except (DataError, OverflowError, TypeError, ValueError) as error:
        raise ArchiveError(f"frame {frame}: {error}; the archive is damaged") from error


def single_sets(rows: Sequence[Row]) -> Iterator[MaskSet]:
    """Yield a `MaskSet` of one mask for each row, of any frames, checking each.

    Raises:
        ArchiveError: naming the first row that is damaged, after the sets of those before it.
    """
    sizes, rles = [], []
    held = 0
    damage: ArchiveError | None = None
    for row in rows:
        try:
            size = check_size(*row[13:15])
            check_row(row, row[1], size)
            plain = unpack(row[15], row[17])
            held = _still_held(held, plain)
            rles.append(plain)
            sizes.append(size)
        except ArchiveError as error:
            damage = ArchiveError(f"frame {row[1]}, mask {row[2]}: {error}")
            break
    sound = rows[: len(rles)]
    try:
        sets = MaskSet.singles([row[1] for row in sound], sizes, rles, _columns(sound))
    except (DataError, OverflowError, TypeError, ValueError):
        # One by one, those before the row that cannot be are still read.
        sets = (mask_set(row[1], size, [row]) for row, size in zip(sound, sizes, strict=True))
    yield from sets
    if damage:
        raise damage


def _still_held(held: int, plain: bytes) -> int:
    """Return the bytes that are unpacked by now: a small file may claim to be more than any memory."""
    held += len(plain)
    if held > MAX_FRAME_BYTES:
        raise ArchiveError(f"expected codes of at most {MAX_FRAME_BYTES} bytes together, found more")
    return held


def _columns(rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """Return the columns of a `MaskSet` but for frame, size and codes."""
    columns = list(zip(*(row[:13] for row in rows), strict=True)) if rows else [()] * 13
    return {
        "level": np.array(columns[0], np.int16),
        "mask_id": np.array(columns[2], np.int32),
        "track_id": np.array(columns[3], np.int32),
        "parent_id": np.array(columns[4], np.int32),
        "boxes": np.array(columns[5:9], np.int32).T.reshape(-1, 4),
        "area_px": np.array(columns[9], np.int64),
        "score": np.array(columns[10], np.float32),
        "stability": np.array(columns[11], np.float32),
        "source": np.array(columns[12], np.int8),
    }


def check_size(height: object, width: object) -> tuple[int, int]:
    """Return an image size read from an archive.

    Raises:
        ArchiveError: if it is no positive size of at most `MAX_PIXELS` pixels.
    """
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        raise ArchiveError(f"expected a positive image size, found {width!r}x{height!r}")
    if height * width > MAX_PIXELS:
        raise ArchiveError(f"expected an image of at most {MAX_PIXELS} pixels, found {width}x{height}")
    return height, width
