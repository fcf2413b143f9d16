"""Headers of ``.npy`` files and members, read without ever asking NumPy to load anything."""

from __future__ import annotations

import io
import math
import tokenize
from dataclasses import dataclass

import numpy as np

from my3dis.archive.legacy.json_stream import ByteSource
from my3dis.errors import ArchiveError

__all__ = ["NpyHeader", "read_npy_header"]

_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 10_000
_MAX_DIMENSIONS = 4
_MAX_ITEMS = 2**48
# NumPy evaluates the header as a literal; a deep one exhausts its parser.
_DAMAGE = (
    ValueError,
    TypeError,
    SyntaxError,
    RecursionError,
    MemoryError,
    KeyError,
    OverflowError,
    tokenize.TokenError,
)


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What an array file holds.

    Attributes:
        shape: of the array.
        dtype: of the array.
        is_fortran: whether the first index runs fastest.
        data_offset: bytes before the data.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    is_fortran: bool
    data_offset: int

    @property
    def holds_objects(self) -> bool:
        """Whether a pickle follows instead of numbers."""
        return bool(self.dtype.hasobject)


def read_npy_header(source: ByteSource, name: str) -> NpyHeader:
    """Read the header, leaving the source at the data.

    Raises:
        ArchiveError: if this is no array file, or it claims an absurd shape.
    """
    start = _exactly(source, 8, name)
    if start[:6] != _MAGIC or start[6] not in (1, 2, 3):
        raise ArchiveError(f"{name}: expected an array file of NumPy, found other bytes")
    width = 2 if start[6] == 1 else 4
    raw_length = _exactly(source, width, name)
    length = int.from_bytes(raw_length, "little")
    if length > _MAX_HEADER_BYTES:
        raise ArchiveError(f"{name}: expected a header of at most {_MAX_HEADER_BYTES} bytes, found {length}")
    text = io.BytesIO(raw_length + _exactly(source, length, name))
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    try:
        shape, is_fortran, dtype = read(text, max_header_size=_MAX_HEADER_BYTES)
    except _DAMAGE as error:
        raise ArchiveError(f"{name}: expected the header of an array, found damage ({error})") from error
    if len(shape) > _MAX_DIMENSIONS or any(side < 0 for side in shape) or math.prod(shape) > _MAX_ITEMS:
        raise ArchiveError(f"{name}: expected an array of masks, found one of shape {str(shape)[:80]}")
    return NpyHeader(tuple(int(s) for s in shape), dtype, bool(is_fortran), 8 + width + length)


def _exactly(source: ByteSource, size: int, name: str) -> bytes:
    data = b""
    while len(data) < size:
        part = source.read(size - len(data))
        if not part:
            raise ArchiveError(f"{name}: expected the header of an array, found the end of the file")
        data += part
    return data
