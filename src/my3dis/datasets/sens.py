"""Read ``.sens`` files of ScanNet: a header, then every frame's pose, colour and depth, one after the other.

The file is walked once, from frame header to frame header, without reading images; a frame is then read
where it lies. Little-endian; version 4. Source: ScanNet (Dai et al., CVPR 2017), SensReader.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import decode_color
from my3dis.datasets.poses import valid_poses
from my3dis.errors import DataError

__all__ = ["SensFile"]

_VERSION = 4
_RAW, _PNG, _JPEG = 0, 1, 2
_RAW_USHORT, _ZLIB_USHORT = 0, 1
_FRAME_HEADER = struct.Struct("<16f4Q")
_TAIL = struct.Struct("<2i4IfQ")
_LONGEST_NAME = 4096
_AGAIN = "download the file again, or export it with SensReader"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SensFile:
    """The index of a ``.sens`` file.

    Attributes:
        path: the file.
        color_k, depth_k: (4, 4) float64 intrinsic matrices.
        color_size, depth_size: (H, W).
        depth_unit_m: metres of one step of depth.
        poses: (N, 4, 4) float64 ``world_from_camera`` with OpenCV axes, NaN where invalid.
        offsets: (N,) int64 where the colour of a frame begins; depth follows.
        lengths: (N, 2) int64 bytes of colour and depth.
        color_kind, depth_kind: how they are compressed, as numbered in the file.
    """

    path: Path
    color_k: NDArray[np.float64]
    depth_k: NDArray[np.float64]
    color_size: tuple[int, int]
    depth_size: tuple[int, int]
    depth_unit_m: float
    poses: NDArray[np.float64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    color_kind: int
    depth_kind: int

    def __len__(self) -> int:
        return len(self.offsets)

    @classmethod
    def index(cls, path: Path) -> SensFile:
        """Walk a file's headers.

        Raises:
            DataError: if it is missing, of another version or compression, or ends within a frame.
        """
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                return cls._walk(path, file, size)
        except OSError as error:
            raise DataError(f"{path}: expected a .sens file, found {error.strerror}; {_AGAIN}") from error

    def color(self, index: int) -> NDArray[np.uint8]:
        """Decode a frame's colour as (H, W, 3) uint8 RGB.

        Raises:
            DataError: if the file changed meanwhile, or the image cannot be decoded or has another size.
        """
        data = self._read(int(self.offsets[index]), int(self.lengths[index, 0]), index)
        source = f"{self.path}, frame {index}"
        if self.color_kind == _RAW and len(data) == 3 * self.color_size[0] * self.color_size[1]:
            return np.frombuffer(data, np.uint8).reshape(*self.color_size, 3)
        if not data:
            raise DataError(f"{source}: expected a colour image, found none of 0 bytes; {_AGAIN}")
        return decode_color(data, source)

    def depth_m(self, index: int) -> NDArray[np.float32] | None:
        """Decode a frame's depth as (H, W) float32 metres, 0 = no reading; None where it has no depth.

        Raises:
            DataError: if the file changed meanwhile, or depth is corrupt or has another size.
        """
        first, length = int(self.offsets[index] + self.lengths[index, 0]), int(self.lengths[index, 1])
        if not length:
            return None
        data = self._read(first, length, index)
        height, width = self.depth_size
        expected = 2 * height * width
        if self.depth_kind == _ZLIB_USHORT:
            try:
                # One byte more than expected tells a longer image from a whole one without inflating it all.
                data = zlib.decompressobj().decompress(data, expected + 1)
            except zlib.error as error:
                raise DataError(
                    f"{self.path}, frame {index}: expected compressed depth, found corrupt data ({error}); "
                    f"{_AGAIN}"
                ) from error
        if len(data) != expected:
            raise DataError(
                f"{self.path}, frame {index}: expected depth of {width}x{height}, which is {expected} bytes, "
                f"found {'more' if len(data) > expected else len(data)}; {_AGAIN}"
            )
        raw = np.frombuffer(data, "<u2").reshape(height, width)
        return raw.astype(np.float32) * np.float32(self.depth_unit_m)

    def _read(self, offset: int, length: int, index: int) -> bytes:
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(offset)
                data = file.read(length)
        except OSError as error:
            raise DataError(
                f"{self.path}: expected a readable file, found {error.strerror}; restore it"
            ) from error
        if len(data) != length:
            raise DataError(
                f"{self.path}, frame {index}: expected {length} bytes, found {len(data)}; "
                "the file became shorter: open it again"
            )
        return data

    @classmethod
    def _walk(cls, path: Path, file: BinaryIO, size: int) -> SensFile:
        version = int.from_bytes(_exactly(file, 4, path, "its version"), "little")
        if version != _VERSION:
            raise DataError(f"{path}: expected a .sens file of version 4, found version {version}; {_AGAIN}")
        name_length = int.from_bytes(_exactly(file, 8, path, "its header"), "little")
        if name_length > _LONGEST_NAME:
            raise DataError(f"{path}: expected a sensor's name, found one of {name_length} bytes; {_AGAIN}")
        _exactly(file, name_length, path, "its header")
        matrices = np.frombuffer(_exactly(file, 256, path, "its header"), "<f4").reshape(4, 4, 4)
        color_kind, depth_kind, cw, ch, dw, dh, shift, count = _TAIL.unpack(
            _exactly(file, _TAIL.size, path, "its header")
        )
        if color_kind not in (_RAW, _PNG, _JPEG) or depth_kind not in (_RAW_USHORT, _ZLIB_USHORT):
            raise DataError(
                f"{path}: expected colour as raw, PNG or JPEG (0, 1, 2) and depth as raw or zlib (0, 1), "
                f"found compressions {color_kind} and {depth_kind}; export the scan with SensReader"
            )
        if min(cw, ch, dw, dh) < 1:
            raise DataError(f"{path}: expected images, found sizes {cw}x{ch} and {dw}x{dh}; {_AGAIN}")
        if not (shift > 0 and np.isfinite(shift)):
            raise DataError(f"{path}: expected depth steps per metre above 0, found {shift:g}; {_AGAIN}")
        poses, offsets, lengths = _frames(path, file, size, count)
        return cls(
            path=path,
            color_k=matrices[0].astype(np.float64),
            depth_k=matrices[2].astype(np.float64),
            color_size=(ch, cw),
            depth_size=(dh, dw),
            depth_unit_m=1.0 / shift,
            poses=valid_poses(poses),
            offsets=offsets,
            lengths=lengths,
            color_kind=color_kind,
            depth_kind=depth_kind,
        )


def _frames(
    path: Path, file: BinaryIO, size: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return poses, offsets and lengths of the frames that the header announces."""
    at = file.tell()
    if count > (size - at) // _FRAME_HEADER.size:
        raise DataError(f"{path}: expected {count} frames, found {size} bytes, too few for so many; {_AGAIN}")
    poses = np.empty((count, 4, 4))
    offsets, lengths = np.empty(count, np.int64), np.empty((count, 2), np.int64)
    for index in range(count):
        file.seek(at)
        header = file.read(_FRAME_HEADER.size)
        values = _FRAME_HEADER.unpack(header) if len(header) == _FRAME_HEADER.size else ()
        at += _FRAME_HEADER.size + sum(values[18:])
        if not values or at > size:
            raise DataError(
                f"{path}: expected {count} frames, found that the file ends in frame {index}; {_AGAIN}"
            )
        poses[index] = np.reshape(values[:16], (4, 4))
        lengths[index] = values[18:]
        offsets[index] = at - sum(values[18:])
    return poses, offsets, lengths


def _exactly(file: BinaryIO, count: int, path: Path, what: str) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise DataError(f"{path}: expected a .sens file, found one that ends in {what}; {_AGAIN}")
    return data
