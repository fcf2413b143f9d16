"""Read one channel of an OpenEXR image: depth in metres, as scanners and decoders write it.

Scan lines, uncompressed or compressed by run lengths or zip; other compressions are refused by name. OpenCV
can be built with or without OpenEXR, so it is not relied on. Source: "OpenEXR File Layout", openexr.com.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import read_bytes
from my3dis.errors import DataError

__all__ = ["read_exr"]

_MAGIC = 20000630
_TILED_DEEP_MULTIPART = 0x200 | 0x800 | 0x1000
_TYPES: dict[int, np.dtype[np.generic]] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_PREFERRED = ("Z", "R", "Y", "V", "depth.V", "G", "B")
_NAMES = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
_LINES = {0: 1, 1: 1, 2: 1, 3: 16}
_LARGEST = 1 << 28


@dataclass(frozen=True, slots=True)
class _Header:
    """What a header says, and where the table of blocks begins.

    Attributes:
        channels: (name, type), in the order of the file.
        compression: its number.
        box: first column, first row, last column, last row.
        end: byte after the header.
    """

    channels: tuple[tuple[str, np.dtype[np.generic]], ...]
    compression: int
    box: tuple[int, int, int, int]
    end: int

    @property
    def width(self) -> int:
        return self.box[2] - self.box[0] + 1

    @property
    def height(self) -> int:
        return self.box[3] - self.box[1] + 1


def read_exr(path: Path) -> NDArray[np.float32]:
    """Read the depth (or the only, or the red) channel as (H, W) float32.

    Raises:
        DataError: if the file is missing, truncated, corrupt or of a kind that is not read here.
    """
    data = read_bytes(path, "an OpenEXR image")
    if len(data) < 8 or int.from_bytes(data[:4], "little") != _MAGIC:
        raise DataError(f"{path}: expected an OpenEXR image, found another file; export the depth again")
    if int.from_bytes(data[4:8], "little") & _TILED_DEEP_MULTIPART:
        raise DataError(
            f"{path}: expected a single image of scan lines, found tiles, several parts or deep data; "
            "export depth as scan lines or 16-bit PNG"
        )
    try:
        header = _header(data)
        if header.compression not in _LINES:
            raise DataError(
                f"{path}: expected compression none, RLE, ZIPS or ZIP, found {_named(header.compression)}; "
                "export depth with ZIP compression, or as 16-bit PNG in millimetres"
            )
        return _image(data, header)
    except (struct.error, IndexError, KeyError, ValueError, zlib.error) as error:
        raise DataError(
            f"{path}: expected a complete OpenEXR image, found one that is cut or corrupt ({error}); "
            "copy or export it again"
        ) from error


def _named(compression: int) -> str:
    return _NAMES[compression] if compression < len(_NAMES) else f"number {compression}"


def _header(data: bytes) -> _Header:
    at, attributes = 8, {}
    while data[at]:
        name, at = _text(data, at)
        _, at = _text(data, at)
        (size,) = struct.unpack_from("<i", data, at)
        attributes[name] = data[at + 4 : at + 4 + size]
        at += 4 + size
    box: tuple[int, int, int, int] = struct.unpack("<4i", attributes["dataWindow"])
    header = _Header(_channels(attributes["channels"]), attributes["compression"][0], box, at + 1)
    if not (0 < header.width * header.height <= _LARGEST and header.width > 0 and header.channels):
        raise ValueError(f"an image of {header.width}x{header.height}")
    return header


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode("latin-1"), end + 1


def _channels(data: bytes) -> tuple[tuple[str, np.dtype[np.generic]], ...]:
    found: list[tuple[str, np.dtype[np.generic]]] = []
    at = 0
    while data[at]:
        name, at = _text(data, at)
        kind, _, x_step, y_step = struct.unpack_from("<4i", data, at)
        if (x_step, y_step) != (1, 1):
            raise ValueError(f"channel {name} is subsampled")
        found.append((name, _TYPES[kind]))
        at += 16
    return tuple(found)


def _image(data: bytes, header: _Header) -> NDArray[np.float32]:
    names = [name for name, _ in header.channels]
    wanted = next((name for name in _PREFERRED if name in names), names[0])
    before = sum(dtype.itemsize for _, dtype in header.channels[: names.index(wanted)]) * header.width
    dtype = dict(header.channels)[wanted]
    row_bytes = sum(d.itemsize for _, d in header.channels) * header.width
    lines = _LINES[header.compression]
    result = np.empty((header.height, header.width), np.float32)
    for block in range(-(-header.height // lines)):
        (offset,) = struct.unpack_from("<Q", data, header.end + 8 * block)
        first, size = struct.unpack_from("<ii", data, offset)
        first -= header.box[1]
        rows = min(lines, header.height - first)
        packed = data[offset + 8 : offset + 8 + size]
        if len(packed) != size or not 0 <= first < header.height:
            raise ValueError("a block beyond the end")
        raw = _unpacked(packed, rows * row_bytes, header.compression)
        for row in range(rows):
            values = np.frombuffer(raw, dtype, header.width, row * row_bytes + before)
            result[first + row] = values.astype(np.float32)
    return result


def _unpacked(packed: bytes, size: int, compression: int) -> bytes:
    """Return the bytes of a block; one that would not become smaller is stored as it is."""
    if compression == 0 or len(packed) == size:
        raw = packed
    else:
        unpack: Callable[[bytes, int], bytes] = _run_lengths if compression == 1 else _inflated
        raw = _merged(unpack(packed, size))
    if len(raw) != size:
        raise ValueError(f"{len(raw)} of {size} bytes of a block")
    return raw


def _inflated(packed: bytes, size: int) -> bytes:
    return zlib.decompressobj().decompress(packed, size + 1)


def _run_lengths(packed: bytes, size: int) -> bytes:
    out, at = bytearray(), 0
    while at < len(packed) and len(out) <= size:
        count = packed[at] - 256 if packed[at] > 127 else packed[at]
        if count < 0:
            out += packed[at + 1 : at + 1 - count]
            at += 1 - count
        else:
            out += packed[at + 1 : at + 2] * (count + 1)
            at += 2
    return bytes(out)


def _merged(data: bytes) -> bytes:
    """Undo the differences between bytes, and the split into even and odd ones."""
    steps = np.frombuffer(data, np.uint8).astype(np.int64)
    steps[1:] -= 128
    values = (np.cumsum(steps) & 255).astype(np.uint8)
    half = (len(values) + 1) // 2
    merged = np.empty(len(values), np.uint8)
    merged[0::2], merged[1::2] = values[:half], values[half:]
    return merged.tobytes()
