"""Depth of a ScanNet++ telephone scan: ``depth.bin``, in either of its two packings.

One deflate stream of float32 metres for the whole scan; or for each frame its length (uint32) and the frame
by itself, as an LZ4 block of uint16 millimetres or a deflate stream, with or without a zlib header, of
float32 metres. Little-endian.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.inflate import DeflateFrames, window_bits
from my3dis.errors import DataError

__all__ = ["DepthBin", "lz4_block"]

_PREFIX = 4


class DepthBin:
    """Frames of a depth file; where they begin is found once, none is kept.

    Args:
        path: the file.
        size: (H, W) of a frame.

    Raises:
        DataError: if the file is missing, or of neither packing.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._path, self._size = path, size
        self._whole = DeflateFrames(path, 4 * size[0] * size[1])
        self._offsets: NDArray[np.int64] | None = None
        try:
            self._whole.read(0)
        except DataError as error:
            self._offsets = _index(path)
            if self._offsets is None:
                raise DataError(
                    f"{path}: expected depth as one deflate stream, or a length and a compressed frame after "
                    f"the other, found neither ({error}); download the file again"
                ) from error

    @property
    def frames(self) -> int | None:
        """The number of frames where the packing tells it, else None."""
        return None if self._offsets is None else len(self._offsets) - 1

    def frame(self, index: int) -> NDArray[np.float32]:
        """Return (H, W) float32 metres, 0 = no reading.

        Raises:
            DataError: if the file ends before the frame, or the frame is corrupt.
        """
        if self._offsets is None:
            return _metres(np.frombuffer(self._whole.read(index), "<f4"), self._size)
        if index >= len(self._offsets) - 1:
            raise DataError(
                f"{self._path}: expected frame {index}, found {len(self._offsets) - 1} frames; "
                "download the file again, or choose frames before its end"
            )
        first, last = int(self._offsets[index]) + _PREFIX, int(self._offsets[index + 1])
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(first)
                data = file.read(last - first)
        except OSError as error:
            raise DataError(f"{self._path}: expected a readable file, found {error.strerror}") from error
        return self._unpacked(data, index)

    def _unpacked(self, data: bytes, index: int) -> NDArray[np.float32]:
        pixels = self._size[0] * self._size[1]
        try:
            raw = lz4_block(data, 2 * pixels)
            return np.frombuffer(raw, "<u2").reshape(self._size).astype(np.float32) * np.float32(0.001)
        except ValueError as first:
            try:
                raw = zlib.decompressobj(window_bits(data)).decompress(data, 4 * pixels + 1)
                return _metres(np.frombuffer(raw, "<f4"), self._size)
            except (zlib.error, ValueError) as second:
                raise DataError(
                    f"{self._path}: expected frame {index} as an LZ4 block or a deflate stream of "
                    f"{self._size[1]}x{self._size[0]}, found neither ({first}; {second}); download it again"
                ) from second


def lz4_block(data: bytes, size: int) -> bytes:
    """Unpack one LZ4 block.

    Source: LZ4 Block Format Description (Collet).

    Raises:
        ValueError: if it is corrupt, or does not unpack to ``size`` bytes.
    """
    try:
        out = _sequences(data, size)
    except IndexError:
        raise ValueError("an LZ4 block that is cut") from None
    if len(out) != size:
        raise ValueError(f"an LZ4 block of {len(out)} instead of {size} bytes")
    return bytes(out)


def _sequences(data: bytes, size: int) -> bytearray:
    out, at, end = bytearray(), 0, len(data)
    while at < end:
        token = data[at]
        literals, at = _length(data, at + 1, token >> 4)
        out += data[at : at + literals]
        at += literals
        if at >= end:
            break
        offset = data[at] | data[at + 1] << 8
        match, at = _length(data, at + 2, token & 15)
        match += 4
        if not 0 < offset <= len(out) or len(out) + match > size:
            raise ValueError(f"no LZ4 block after byte {at}")
        piece = bytes(out[len(out) - offset : len(out) - offset + match])
        # A match may reach into what it writes: then it repeats.
        out += piece if len(piece) == match else (piece * (match // len(piece) + 1))[:match]
    return out


def _length(data: bytes, at: int, start: int) -> tuple[int, int]:
    """Return a length and where it ends: 15 goes on in further bytes, until one is below 255."""
    total = start
    while start == 15:
        step = data[at]
        total, at = total + step, at + 1
        if step < 255:
            break
    return total, at


def _metres(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    metres = values.reshape(size).astype(np.float32)
    metres[~(np.isfinite(metres) & (metres > 0))] = 0
    return metres


def _index(path: Path) -> NDArray[np.int64] | None:
    """Return where each frame's length lies, and the end; None if the lengths do not end with the file."""
    offsets = [0]
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while offsets[-1] < size:
                file.seek(offsets[-1])
                prefix = file.read(_PREFIX)
                length = int.from_bytes(prefix, "little")
                if len(prefix) < _PREFIX or not length or offsets[-1] + _PREFIX + length > size:
                    return None
                offsets.append(offsets[-1] + _PREFIX + length)
    except OSError:
        return None
    return np.array(offsets, np.int64) if len(offsets) > 1 else None
