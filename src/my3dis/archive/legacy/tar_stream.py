"""Read the chunks of raw candidates: tar files, plain or compressed, one member after the other.

Only what those chunks consist of is understood: regular files with short names. Python's `tarfile` would
follow extended headers and take whatever size they claim; here every other kind of entry is refused.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from my3dis.archive.legacy.containers import check_name, open_regular
from my3dis.archive.legacy.json_stream import ByteSource
from my3dis.archive.legacy.limits import MAX_TAR_MEMBER_BYTES
from my3dis.errors import ArchiveError

__all__ = ["TarMember", "iter_tar"]

_BLOCK = 512
_CHUNK = 1 << 16
_LZMA_MEMORY = 1 << 27
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"x": "an extended header",
    b"g": "an extended header",
    b"L": "an extended header",
    b"K": "an extended header",
    b"S": "a sparse file",
}


@dataclass(slots=True)
class TarMember:
    """A file in a chunk; what is not read of it is stepped over.

    Attributes:
        name: its path in the chunk.
        size: bytes.
    """

    name: str
    size: int
    _stream: _Stream
    _left: int

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; ArchiveError when the chunk is damaged or cut off."""
        wanted = min(size, self._left)
        if wanted <= 0:
            return b""
        data = self._stream.read_exactly(wanted)
        self._left -= len(data)
        return data

    def skip_rest(self) -> None:
        """Step over what was not read, and the padding."""
        while self.read(_CHUNK):
            pass
        self._stream.read_exactly(-self.size % _BLOCK)


class _Stream:
    """Bytes of a chunk after unpacking."""

    def __init__(self, source: ByteSource, name: str) -> None:
        self._source = source
        self._name = name
        self._pending = b""

    def read_exactly(self, size: int) -> bytes:
        parts, missing = [], size
        while missing:
            data = self._read(min(missing, _CHUNK))
            if not data:
                raise ArchiveError(
                    f"{self._name}: expected {missing} more bytes, found the end: the chunk is cut off; "
                    "copy it again"
                )
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def read_block(self) -> bytes:
        """Return the next block, or nothing at the end."""
        first = self._read(_BLOCK)
        return first + self.read_exactly(_BLOCK - len(first)) if first else b""

    def _read(self, size: int) -> bytes:
        try:
            return self._source.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise ArchiveError(
                f"{self._name}: the chunk is damaged or cut off ({error}); copy it again"
            ) from error


class _Xz:
    """Unpacks xz with a bound on the memory that its header may ask for."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)

    def read(self, size: int, /) -> bytes:
        while not self._unpack.eof:
            data = self._source.read(_CHUNK) if self._unpack.needs_input else b""
            if self._unpack.needs_input and not data:
                raise EOFError("the stream ends early")
            plain = self._unpack.decompress(data, size)
            if plain:
                return plain
        return b""


def iter_tar(path: Path) -> Iterator[TarMember]:
    """Yield the files of a chunk, each to be read before the next is asked for; folders are stepped over.

    Raises:
        DataError: if the file is missing or not readable.
        ArchiveError: if it is damaged or cut off, repeats a name, or has a member that is a link, a device,
            too large or named outside of the chunk.
    """
    with open_regular(path) as handle, _unpacked(handle) as source:
        stream = _Stream(source, str(path))
        seen: set[str] = set()
        while True:
            block = stream.read_block()
            if not block.strip(b"\0"):
                return  # two empty blocks end a tar file; some writers leave them out
            member, is_folder = _member(block, stream, str(path))
            if member.name in seen:
                raise ArchiveError(f"{path}: expected each member once, found {member.name!r} twice")
            seen.add(member.name)
            if not is_folder:
                yield member
            member.skip_rest()


@contextlib.contextmanager
def _unpacked(handle: BinaryIO) -> Iterator[ByteSource]:
    magic = handle.read(6)
    handle.seek(0)
    if magic[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=handle) as plain:
            yield plain
    elif magic[:3] == b"BZh":
        with bz2.BZ2File(handle) as plain_bz2:
            yield plain_bz2
    elif magic == b"\xfd7zXZ\0":
        yield _Xz(handle)
    else:
        yield handle


def _member(block: bytes, stream: _Stream, owner: str) -> tuple[TarMember, bool]:
    """Return the member that a header announces, and whether it is a folder."""
    counted = sum(block) - sum(block[148:156]) + 8 * 0x20
    if len(block) != _BLOCK or _number(block[148:156], owner) != counted:
        raise ArchiveError(f"{owner}: expected the header of a member, found damage; copy the chunk again")
    kind = block[156:157]
    try:
        name = _text(block[:100])
        prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    except UnicodeDecodeError as error:
        raise ArchiveError(f"{owner}: expected names in UTF-8, found other bytes") from error
    name = f"{prefix}/{name}" if prefix else name
    if kind not in (b"0", b"\0", b"5", b"7"):
        what = _KINDS.get(kind, f"an entry of kind {kind!r}")
        raise ArchiveError(f"{owner}: expected only files, found {what}: {name[:80]!r}; refused")
    check_name(name, owner)
    size = _number(block[124:136], owner)
    if size > MAX_TAR_MEMBER_BYTES:
        raise ArchiveError(
            f"{owner}: expected members of at most {MAX_TAR_MEMBER_BYTES} bytes, found {name[:80]!r} "
            f"with a claim of {size}; refused"
        )
    return TarMember(name, size, stream, size), kind == b"5"


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8")


def _number(field: bytes, owner: str) -> int:
    if field[0] & 0x80:  # binary, for files beyond 8 GB
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if not set(digits) <= set(b"01234567"):
        raise ArchiveError(f"{owner}: expected a number in a header, found {field!r}")
    return int(digits, 8)
