"""Arrays in one file in the layout of safetensors, with a checksum, written whole or not at all.

The layout is simple enough to be written without the library, which only model back ends need: eight bytes
with the length of a JSON header, the header with type, shape and place of every array, and their bytes.
Source: the format's description in the documentation of safetensors ("Format").
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.runs.files import atomic_path, translated_os_error

__all__ = ["ArrayFile", "read_arrays", "write_arrays"]

_LENGTH = struct.Struct("<Q")
_TYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_METADATA, _CHECKSUM = "__metadata__", "crc32"


@dataclass(frozen=True, slots=True, eq=False)
class ArrayFile:
    """What is in a file.

    Attributes:
        arrays: by name; not to be written to.
        facts: text by name.
    """

    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, str]


def write_arrays(path: Path, content: ArrayFile) -> None:
    """Replace a file in one step, array by array; no copy of all is made.

    Raises:
        ResourceError: if the disk is full or the folder cannot be written.
        TypeError: if an array is of a type that the layout lacks.
    """
    # Wide types first, so that every array lies where its type wants it.
    names = sorted(content.arrays, key=lambda name: (-content.arrays[name].dtype.itemsize, name))
    header: dict[str, object] = {}
    begin = 0
    for name in names:
        array = content.arrays[name]
        dtype = array.dtype.newbyteorder("<").str if array.dtype.itemsize > 1 else array.dtype.str
        if dtype not in _NAMES:
            raise TypeError(f"{name}: arrays of {array.dtype} cannot be written")
        end = begin + array.nbytes
        header[name] = {"dtype": _NAMES[dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    facts = dict(content.facts)
    header[_METADATA] = {**facts, _CHECKSUM: str(_checksum(facts, header, _blocks(content.arrays, names)))}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_LENGTH.pack(len(text)) + text)
        for block in _blocks(content.arrays, names):
            file.write(block)


def read_arrays(path: Path) -> ArrayFile:
    """Read a file that `write_arrays` wrote.

    Raises:
        DataError: if it is damaged, cut off or something else.
        ResourceError: if it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise translated_os_error(error, path, "read") from error
    try:
        return _parsed(data)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: expected saved arrays, found damage ({error})") from error


def _parsed(data: bytes) -> ArrayFile:
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size + length
    header = json.loads(data[_LENGTH.size : start])
    facts = header.pop(_METADATA)
    checksum = facts.pop(_CHECKSUM)
    if str(_checksum(facts, header, iter([memoryview(data)[start:]]))) != checksum:
        raise ValueError("the checksum differs")
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        shape, dtype = tuple(entry["shape"]), np.dtype(_TYPES[entry["dtype"]])
        count = math.prod(shape)
        place = start + entry["data_offsets"][0]
        arrays[name] = (
            np.frombuffer(data, dtype, count, place).reshape(shape) if count else np.zeros(shape, dtype)
        )
    return ArrayFile(arrays, facts)


def _checksum(facts: Mapping[str, str], header: Mapping[str, object], blocks: Iterator[memoryview]) -> int:
    entries = sorted((name, entry) for name, entry in header.items() if name != _METADATA)
    crc = zlib.crc32(json.dumps([sorted(facts.items()), entries]).encode())
    for block in blocks:
        crc = zlib.crc32(block, crc)
    return crc


def _blocks(arrays: Mapping[str, NDArray[Any]], names: list[str]) -> Iterator[memoryview]:
    for name in names:
        array = np.ascontiguousarray(arrays[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if little.size:
            yield little.reshape(-1).view(np.uint8).data
