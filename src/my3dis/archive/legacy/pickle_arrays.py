"""What a pickle of masks may consist of: NumPy arrays of small integers, nothing else.

Every name that a pickle mentions is looked up in one table of four names of NumPy, which stand for values of
this module; nothing is imported or called. Arrays of pixels become run-length codes at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from my3dis.archive.legacy.limits import MAX_FRAME_CODE_BYTES, MAX_PIXELS, MAX_SMALL_BYTES
from my3dis.archive.legacy.masks import (
    BITS,
    FULL_SHAPE,
    SHAPE,
    LegacyMask,
    check_full_size,
    check_size,
    mask_from_bits,
    mask_from_pixels,
)
from my3dis.errors import ArchiveError

__all__ = ["Blob", "DtypeValue", "Held", "Name", "PickledArray", "build", "call", "find_name", "pack_record"]


class Name(Enum):
    """The names that a pickle of arrays needs."""

    RECONSTRUCT = "multiarray._reconstruct"
    NDARRAY = "numpy.ndarray"
    DTYPE = "numpy.dtype"
    SCALAR = "multiarray.scalar"


_NAMES = {
    ("numpy", "ndarray"): Name.NDARRAY,
    ("numpy", "dtype"): Name.DTYPE,
    # NumPy 2 moved its core; files name the place where it was when they were written.
    ("numpy.core.multiarray", "_reconstruct"): Name.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): Name.RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): Name.SCALAR,
    ("numpy._core.multiarray", "scalar"): Name.SCALAR,
}
_DTYPES = {
    code: np.dtype(code) for code in ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "O")
} | {"O8": np.dtype("O")}


@dataclass(slots=True)
class Held:
    """How much of a frame is in memory: bytes of pixels that wait for their array, and finished codes."""

    pixel_bytes: int = 0
    code_bytes: int = 0

    def add_code(self, mask: LegacyMask, owner: str) -> LegacyMask:
        """Count a finished mask.

        Raises:
            ArchiveError: if the frame has more than `MAX_FRAME_CODE_BYTES`.
        """
        self.code_bytes += len(mask.rle)
        if self.code_bytes > MAX_FRAME_CODE_BYTES:
            raise ArchiveError(
                f"{owner}: expected at most {MAX_FRAME_CODE_BYTES} bytes of masks in a frame, found more"
            )
        return mask


class Blob:
    """Bytes of pixels, held until the mask that they belong to is made.

    Raises:
        ArchiveError: if too many wait already.
    """

    __slots__ = ("_data", "_held")

    def __init__(self, data: bytes, held: Held, owner: str) -> None:
        self._data: bytes | None = data
        self._held = held
        held.pixel_bytes += len(data)
        if held.pixel_bytes > 2 * MAX_PIXELS:
            raise ArchiveError(
                f"{owner}: expected pixels of one mask at a time, found more than {2 * MAX_PIXELS} bytes "
                "that belong to none yet"
            )

    def take(self) -> bytes | None:
        """Return the bytes and hold them no more; None the second time."""
        data, self._data = self._data, None
        self._held.pixel_bytes -= len(data or b"")
        return data


@dataclass(slots=True)
class DtypeValue:
    """A type of NumPy."""

    dtype: np.dtype[np.generic]


@dataclass(slots=True)
class PickledArray:
    """An array: a mask, packed bits, a few numbers, or the objects that an array of objects holds.

    Attributes:
        mask: of an array of two or more dimensions.
        bits: of an array of one dimension of bytes.
        numbers: of a short array of whole numbers, as shapes are sometimes written.
        is_built: whether the contents were given.
    """

    mask: LegacyMask | None = None
    bits: Blob | None = None
    numbers: tuple[int, ...] | None = None
    is_built: bool = False


def find_name(module: object, name: object, owner: str) -> Name:
    """Return what a name in a pickle stands for.

    Raises:
        ArchiveError: naming it, if it is none that arrays need.
    """
    found = _NAMES.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
    if found is None:
        raise ArchiveError(
            f"{owner}: expected a pickle of NumPy arrays only; refused: {_named(module)}.{_named(name)}; "
            "nothing of it was run. Do not open this file with NumPy's allow_pickle"
        )
    return found


def call(function: object, arguments: object, owner: str) -> object:
    """Return what a call in a pickle makes: an empty array, a type, or a number.

    Raises:
        ArchiveError: if it is another call.
    """
    match function, arguments:
        case Name.RECONSTRUCT, (Name.NDARRAY, (0,), b"b" | "b"):
            return PickledArray()
        case Name.DTYPE, (str() as code, *_) if code in _DTYPES:
            return _SHARED[code]
        case Name.SCALAR, (DtypeValue(dtype), bytes() as data) if dtype.kind in "bui":
            if len(data) == dtype.itemsize:
                return int(np.frombuffer(data, dtype)[0])
        case _:
            pass
    what = function.value if isinstance(function, Name) else type(function).__name__
    raise ArchiveError(f"{owner}: expected calls that make arrays; refused: {what} of {_shape_of(arguments)}")


def build(target: object, state: object, held: Held, owner: str) -> None:
    """Fill an array, or finish a type.

    Raises:
        ArchiveError: if it is something else, or the state does not fit.
        DataError: if an array is no mask.
    """
    match target, state:
        case DtypeValue(dtype), (int(), "|" | "<" | "=", None, None, None, *_):
            del dtype
            return
        case PickledArray(is_built=False) as array, (
            int(),
            tuple() as shape,
            DtypeValue(dtype),
            order,
            data,
        ):
            array.is_built = True
            if dtype.hasobject and isinstance(data, list):
                return
            if all(isinstance(side, int) and side >= 0 for side in shape):
                _fill(array, _Layout(shape, dtype, bool(order)), data, held, owner)
                return
        case _:
            pass
    raise ArchiveError(
        f"{owner}: expected the contents of an array, found {_shape_of(state)} for {type(target).__name__}"
    )


def pack_record(record: dict[object, object], held: Held, owner: str) -> None:
    """Turn a dictionary of packed bits and a shape into one that holds the mask under `BITS`.

    Raises:
        DataError: if the bits do not fit the shape.
        ArchiveError: if they are no bits.
    """
    if BITS not in record or SHAPE not in record or isinstance(record[BITS], LegacyMask):
        return
    bits = record[BITS]
    blob = bits.bits if isinstance(bits, PickledArray) else None
    data = blob.take() if blob is not None else None
    if data is None:
        raise ArchiveError(f"{owner}: expected packed bits as an array of bytes, found {type(bits).__name__}")
    size = check_size(_plain_shape(record[SHAPE]), owner)
    mask = mask_from_bits(data, size, owner)
    full = _plain_shape(record.get(FULL_SHAPE))
    full_size = None if full is None else check_full_size(full, owner)
    record.clear()
    record[BITS] = held.add_code(LegacyMask(mask.rle, size, full_size if full_size != size else None), owner)


_SHARED = {code: DtypeValue(dtype) for code, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class _Layout:
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    is_fortran: bool


def _fill(array: PickledArray, layout: _Layout, data: object, held: Held, owner: str) -> None:
    shape, dtype = layout.shape, layout.dtype
    plain = data.take() if isinstance(data, Blob) else data
    n = math.prod(shape)
    if n > MAX_PIXELS or not isinstance(plain, bytes) or len(plain) != n * dtype.itemsize:
        found = f"{len(plain)} bytes" if isinstance(plain, bytes) else type(plain).__name__
        raise ArchiveError(
            f"{owner}: expected an array of at most {MAX_PIXELS} pixels with all its data, found shape "
            f"{str(shape)[:60]} of {dtype} with {found}"
        )
    if len(shape) >= 2:
        pixels = np.frombuffer(plain, dtype).reshape(shape, order="F" if layout.is_fortran else "C")
        array.mask = held.add_code(mask_from_pixels(pixels, owner), owner)
    elif dtype.itemsize == 1:
        array.bits = Blob(plain, held, owner)
    elif n * dtype.itemsize <= MAX_SMALL_BYTES and dtype.kind in "ui":
        array.numbers = tuple(np.frombuffer(plain, dtype).tolist())
    else:
        raise ArchiveError(f"{owner}: expected masks, found an array of {dtype} of shape {shape}")


def _plain_shape(shape: object) -> object:
    return shape.numbers if isinstance(shape, PickledArray) else shape


def _named(part: object) -> str:
    return part[:60] if isinstance(part, str) else f"<{type(part).__name__}>"


def _shape_of(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(type(part).__name__ for part in value[:6])})"
    return type(value).__name__
