"""The bytes of a pickle, and the instructions that no pickle of arrays has."""

from __future__ import annotations

import struct

from my3dis.archive.legacy.containers import Member
from my3dis.archive.legacy.limits import MAX_SMALL_BYTES
from my3dis.errors import ArchiveError

__all__ = ["REFUSED", "PickleBytes"]

_CHUNK = 1 << 16

REFUSED = {
    b"i": "INST", b"o": "OBJ", b"\x81": "NEWOBJ", b"\x92": "NEWOBJ_EX", b"\x82": "EXT1", b"\x83": "EXT2",
    b"\x84": "EXT4", b"P": "PERSID", b"Q": "BINPERSID", b"\x97": "NEXT_BUFFER", b"\x98": "READONLY_BUFFER",
    b"\x96": "BYTEARRAY8", b"\x8f": "EMPTY_SET", b"\x90": "ADDITEMS", b"\x91": "FROZENSET", b"0": "POP",
    b"1": "POP_MARK", b"2": "DUP", b"I": "INT", b"L": "LONG", b"F": "FLOAT", b"S": "STRING", b"V": "UNICODE",
    b"T": "BINSTRING", b"U": "SHORT_BINSTRING", b"\x8b": "LONG4", b"g": "GET", b"p": "PUT", b"l": "LIST",
    b"d": "DICT",
}  # fmt: skip
"""Instructions that run something, refer to something outside, or that NumPy never writes."""


class PickleBytes:
    """Reads numbers, lines and data from a member, in chunks.

    Raises:
        ArchiveError: if the member ends early.
    """

    def __init__(self, source: Member) -> None:
        self._source = source
        self._buffer = b""
        self._at = 0

    def read_some(self, size: int) -> bytes:
        """Return at most so many bytes, none at the end."""
        if self._at >= len(self._buffer):
            self._buffer, self._at = self._source.read(_CHUNK), 0
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        return data

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes."""
        data = self.read_some(size)
        if len(data) < size:
            # Only now is the buffer used up, so that the rest follows in the source.
            data += self._source.read_exactly(size - len(data))
        return data

    def number(self, form: str) -> int:
        """Return a whole number in a format of `struct`."""
        value: int = struct.unpack(form, self.read(struct.calcsize(form)))[0]
        return value

    def line(self) -> str:
        """Return the text up to the end of the line, at most `MAX_SMALL_BYTES` long."""
        line = bytearray()
        while (character := self.read(1)) != b"\n":
            line += character
            if len(line) > MAX_SMALL_BYTES:
                raise ArchiveError(
                    f"{self._source.name}: expected short names in the pickle, found a long one"
                )
        return line.decode("utf-8", "replace")
