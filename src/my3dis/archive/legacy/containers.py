"""Open the files of an old run, and the members of its zip files, as if an enemy had written them.

Nothing is ever unpacked to disk. Names that point outside, repeated names, links, encrypted members and
members that claim too much are refused by name.
"""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from my3dis.archive.legacy.limits import MAX_DIRECTORY_BYTES
from my3dis.errors import ArchiveError, DataError

__all__ = ["Member", "ZipMembers", "check_name", "open_regular", "open_zip"]

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_END = b"PK\x05\x06"
_END_BYTES, _MAX_COMMENT = 22, 1 << 16
# What zipfile raises on damage; anything else is a bug worth a traceback.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, which must be a regular one: a pipe would make the import wait for ever.

    Raises:
        DataError: if it is missing, no regular file or not readable.
    """
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
        handle = path.open("rb") if is_regular else None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise DataError(f"cannot read {str(path)!r}: {error}") from error
    if handle is None:
        raise DataError(f"expected a file at {path}, found a folder, pipe or device")
    with handle:
        yield handle


def check_name(name: str, owner: str) -> str:
    """Return the name of a member of an archive.

    Raises:
        ArchiveError: if it points outside of the archive or is no plain relative path.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in name:
        raise ArchiveError(
            f"{owner}: expected names of members inside the archive, found {name[:80]!r}; refused"
        )
    return name


class Member:
    """A member of an archive that is being read; damage comes up as `ArchiveError`."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self.name = name

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes.

        Raises:
            ArchiveError: if the member is damaged or cut off.
        """
        try:
            return self._stream.read(size)
        except (*_DAMAGE, OSError) as error:  # OSError also where a damaged zip points before its start
            raise ArchiveError(
                f"{self.name}: the member is damaged or cut off ({error}); copy the file again"
            ) from error

    def read_exactly(self, size: int) -> bytes:
        """Return exactly so many bytes; errors as `read`, also when there are fewer."""
        parts: list[bytes] = []
        missing = size
        while missing:
            part = self.read(min(missing, 1 << 20))
            if not part:
                raise ArchiveError(
                    f"{self.name}: expected {size} more bytes, found {size - missing}: it is cut off"
                )
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the member."""
        self._stream.close()


class ZipMembers:
    """The members of a zip file, checked before any is opened; `open_zip` makes one."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive = archive
        self._name = name
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            check_name(info.filename, name)
            if info.filename in self._infos:
                raise ArchiveError(f"{name}: expected each member once, found {info.filename!r} twice")
            self._infos[info.filename] = info

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members, in the order of the file."""
        return tuple(self._infos)

    def check_total(self, file_bytes: int) -> None:
        """Refuse members that lie over each other, as in bombs of a few kilobytes.

        Raises:
            ArchiveError: if the members are larger than the file.
        """
        packed = sum(info.compress_size for info in self._infos.values())
        if packed > file_bytes:
            raise ArchiveError(
                f"{self._name}: expected members of at most {file_bytes} bytes in all, found {packed}: "
                "they overlap; refused"
            )

    @contextlib.contextmanager
    def open(self, name: str, limit_bytes: int) -> Iterator[Member]:
        """Open a member.

        Raises:
            ArchiveError: if it is missing, encrypted, a link, packed in an unusual way, or claims more bytes
                than the limit.
        """
        owner = f"{self._name}, member {name[:80]}"
        info = self._infos.get(name)
        if info is None:
            raise ArchiveError(f"{self._name}: expected the member {name[:80]!r}, found none of that name")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ArchiveError(f"{owner}: expected a file, found a link; refused")
        if info.flag_bits & _ENCRYPTED:
            raise ArchiveError(f"{owner}: expected a readable member, found an encrypted one")
        if info.compress_type not in _METHODS:
            raise ArchiveError(f"{owner}: expected plain or deflated data, found method {info.compress_type}")
        if info.file_size > limit_bytes:
            raise ArchiveError(
                f"{owner}: expected at most {limit_bytes} bytes, found a claim of {info.file_size}; refused"
            )
        try:
            stream = self._archive.open(info)
        except (*_DAMAGE, OSError) as error:
            raise ArchiveError(f"{owner}: cannot be opened ({error}); the file is damaged") from error
        with contextlib.closing(Member(stream, owner)) as member:
            yield member


@contextlib.contextmanager
def open_zip(source: BinaryIO, name: str) -> Iterator[ZipMembers]:
    """Open a zip file.

    Raises:
        ArchiveError: if it is none, damaged, cut off, or has too many members or members with bad names.
    """
    size = _check_directory(source, name)
    try:
        archive = zipfile.ZipFile(source)
    except (*_DAMAGE, OSError) as error:
        raise ArchiveError(
            f"{name}: expected a zip file, found one that is damaged or cut off ({error}); copy it again"
        ) from error
    with archive:
        members = ZipMembers(archive, name)
        members.check_total(size)
        yield members


def _check_directory(source: BinaryIO, name: str) -> int:
    """Return the size of the file after looking at the size that its table of contents claims."""
    size = source.seek(0, io.SEEK_END)
    source.seek(max(0, size - _END_BYTES - _MAX_COMMENT))
    tail = source.read()
    source.seek(0)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise ArchiveError(
            f"{name}: expected a zip file, found another or one that is cut off; copy it again"
        )
    claimed: int = struct.unpack_from("<L", tail, at + 12)[0]
    if claimed != 0xFFFFFFFF and claimed > MAX_DIRECTORY_BYTES:
        raise ArchiveError(
            f"{name}: expected a table of contents of at most {MAX_DIRECTORY_BYTES} bytes, found {claimed}"
        )
    if claimed == 0xFFFFFFFF and size > MAX_DIRECTORY_BYTES:
        _check_large_directory(source, size - len(tail) + at, name)
    return size


def _check_large_directory(source: BinaryIO, end: int, name: str) -> None:
    """Look at the size of the table of contents in the records of a file beyond 4 GB."""
    source.seek(max(0, end - 20))
    locator = source.read(20)
    claimed = 0
    if locator[:4] == b"PK\x06\x07" and len(locator) == 20:
        source.seek(struct.unpack_from("<Q", locator, 8)[0])
        record = source.read(56)
        if record[:4] == b"PK\x06\x06" and len(record) == 56:
            claimed = struct.unpack_from("<Q", record, 40)[0]
    source.seek(0)
    if not 0 < claimed <= MAX_DIRECTORY_BYTES:
        raise ArchiveError(
            f"{name}: expected a table of contents of at most {MAX_DIRECTORY_BYTES} bytes, found {claimed}"
        )
