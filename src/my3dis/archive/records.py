"""Find rows of an archive in the bytes of a page, whatever else in the page is damaged.

A row begins with a header that gives the type of each column. The tables have fixed columns, so their headers
follow a pattern, and what the pattern finds is proven by the row's checksum.

Source: the file format of SQLite 3 (https://www.sqlite.org/fileformat2.html), sections 1.6 (b-tree pages) and
2.1 (records).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from my3dis.archive.rows import check_row, check_size, frame_crc
from my3dis.archive.schema import MAX_BLOB_BYTES
from my3dis.errors import ArchiveError

__all__ = ["FoundHead", "FoundRow", "PageList", "heads_in", "keys_in", "mask_at", "masks_in"]

_INT = rb"[\x01-\x06\x08\x09]"
_REAL = rb"[\x00-\x09]"
# Columns of `masks`: the rowid (stored as NULL), ten numbers, two scores, five numbers, the blob.
_MASK = re.compile(rb"(?=[\x14-\x17]\x00%b{10}%b{2}%b{5}[\x80-\xff]{0,3}[\x00-\x7f])" % (_INT, _REAL, _INT))
# Columns of `frames`: the frame (as NULL), height, width, n, crc32.
_HEAD = re.compile(rb"(?=\x06\x00%b{4})" % _INT)
# Columns of the index masks_by_frame: frame, mask_id, rowid, after the length of the record.
_KEY = re.compile(rb"(?=[\x04-\x1c]\x04%b{3})" % _INT)
_N_MASK_NUMBERS = 18
_TABLE_LEAF = 0x0D
_INDEX_PAGES = (0x02, 0x0A)
_LENGTHS = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
_MAX_ROWID_BYTES = 9

ReadOverflow = Callable[[int, int], bytes | None]


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row of ``masks``, in the order of `my3dis.archive.rows.SELECT_MASK`.

    Attributes:
        columns: the row; None if it cannot be read or differs from its checksum.
        frame, mask_id: which mask it is or, of a damaged row, seems to be.
        at: where its header begins in the page.
        rowid: None if the page doesn't list it.
    """

    columns: tuple[Any, ...] | None
    frame: int
    mask_id: int
    at: int
    rowid: int | None


@dataclass(frozen=True, slots=True)
class FoundHead:
    """A row of ``frames`` that fits its checksum, and whether its page lists it."""

    frame: int
    height: int
    width: int
    n: int
    is_listed: bool


class PageList:
    """The rows that a page of a table lists.

    Attributes:
        is_sound: whether the list is as it was written: every entry leads to a row, none is left out.
    """

    def __init__(self, page: bytes) -> None:
        first = 100 if page.startswith(b"SQLite format 3\0") else 0
        self._page = page
        n = int.from_bytes(page[first + 3 : first + 5])
        starts = struct.unpack_from(f">{n}H", page, first + 8) if first + 8 + 2 * n <= len(page) else ()
        self._starts = frozenset(starts)
        self.is_sound = page[first : first + 1] == bytes([_TABLE_LEAF]) and len(self._starts) == n > 0

    def mark(self, found: set[int]) -> None:
        """Tell where listed rows of the page were found to begin."""
        self.is_sound = self.is_sound and found == self._starts

    def rowid(self, at: int, length: int) -> tuple[int, int] | None:
        """Return start and rowid of the listed row whose header begins at a place; None if not listed."""
        start_of_length = _varint_bytes(length)
        for n in range(1, _MAX_ROWID_BYTES + 1):
            start = at - n - len(start_of_length)
            if start < 0:
                break
            if start in self._starts and self._page.startswith(start_of_length, start):
                value, end = _varint(self._page, at - n)
                if end == at:
                    return start, value
        return None


def masks_in(page: bytes, read_overflow: ReadOverflow) -> tuple[PageList, list[FoundRow]]:
    """Return the rows of ``masks`` that begin in a page: sound ones, and damaged ones that it lists."""
    listed, rows, starts = PageList(page), [], set()
    for match in _MASK.finditer(page):
        at = match.start()
        parsed = _parse_mask(page, at)
        place = listed.rowid(at, parsed.length)
        columns = _checked(parsed, page, read_overflow)
        if place is not None:
            starts.add(place[0])
        if columns is not None or (place is not None and parsed.numbers is not None):
            known = columns or parsed.numbers
            assert known is not None
            rows.append(FoundRow(columns, known[1], known[2], at, None if place is None else place[1]))
    listed.mark(starts)
    return listed, rows


def mask_at(page: bytes, at: int, read_overflow: ReadOverflow) -> tuple[Any, ...] | None:
    """Return the row of ``masks`` whose header begins at a place; None if it is damaged."""
    return _checked(_parse_mask(page, at), page, read_overflow)


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What the part of a mask row says that lies in its own page."""

    length: int
    numbers: tuple[Any, ...] | None
    blob_at: int
    n_blob: int


def _parse_mask(page: bytes, at: int) -> _Parsed:
    serial, end = _varint(page, at + 1 + _N_MASK_NUMBERS)
    n_blob = max(serial - 12, 0) // 2
    types = page[at + 2 : at + 1 + _N_MASK_NUMBERS]
    length = page[at] + sum(_LENGTHS[kind] for kind in types) + n_blob
    if end != at + page[at] or serial < 12 or serial % 2 or n_blob > MAX_BLOB_BYTES:
        return _Parsed(length, None, 0, 0)
    numbers = []
    for kind in types:
        n = _LENGTHS[kind]
        raw = page[end : end + n]
        if len(raw) < n:
            return _Parsed(length, None, 0, 0)
        numbers.append(_number(kind, raw))
        end += n
    return _Parsed(length, tuple(numbers), end, n_blob)


def _checked(row: _Parsed, page: bytes, read_overflow: ReadOverflow) -> tuple[Any, ...] | None:
    if row.numbers is None:
        return None
    local = _local_bytes(row.length, len(page)) - (row.length - row.n_blob)
    if local < 0:
        return None
    blob = page[row.blob_at : row.blob_at + local]
    if local < row.n_blob:
        if row.blob_at + local + 4 > len(page):
            return None
        number = int.from_bytes(page[row.blob_at + local : row.blob_at + local + 4])
        rest = read_overflow(number, row.n_blob - local)
        blob = b"" if rest is None else blob + rest
    columns = (*row.numbers, blob)
    try:
        check_row(columns, columns[1], check_size(columns[13], columns[14]))
    except ArchiveError:
        return None
    return columns


def _local_bytes(length: int, page_size: int) -> int:
    """Return how much of a row of a table lies in its own page."""
    most = page_size - 35
    if length <= most:
        return length
    least = (page_size - 12) * 32 // 255 - 23
    even = least + (length - least) % (page_size - 4)
    return even if even <= most else least


def heads_in(page: bytes) -> Iterator[FoundHead]:
    """Yield the rows of ``frames`` in a page that fit their checksums."""
    listed = PageList(page)
    for match in _HEAD.finditer(page):
        at = match.start()
        types = page[at + 2 : at + 6]
        length = 6 + sum(_LENGTHS[kind] for kind in types)
        values, end = [], at + 6
        for kind in types:
            values.append(_number(kind, page[end : end + _LENGTHS[kind]]))
            end += _LENGTHS[kind]
        place = listed.rowid(at, length)
        for frame in [place[1]] if place is not None else _rowids_before(page, at, length):
            head = _head(frame, values, place is not None)
            if head is not None:
                yield head
                break


def _head(frame: int, values: list[Any], is_listed: bool) -> FoundHead | None:
    height, width, n, crc = values
    try:
        if frame >= 0 and n >= 0 and frame_crc(frame, *check_size(height, width), n) == crc:
            return FoundHead(frame, height, width, n, is_listed)
    except (ArchiveError, struct.error):
        return None
    return None


def _rowids_before(page: bytes, at: int, length: int) -> Iterator[int]:
    """Yield the numbers that may be the rowid of a row that no list names."""
    for n in range(1, _MAX_ROWID_BYTES + 1):
        if at - n - 1 >= 0 and page[at - n - 1] == length:
            value, end = _varint(page, at - n)
            if end == at:
                yield value


def keys_in(page: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (frame, mask_id, row) as the index of masks in a page says; no checksum proves them."""
    if page[:1] == b"" or page[0] not in _INDEX_PAGES:
        return
    for match in _KEY.finditer(page):
        at = match.start() + 1
        types = page[at + 1 : at + 4]
        if page[at - 1] != 4 + sum(_LENGTHS[kind] for kind in types):
            continue
        values, end = [], at + 4
        for kind in types:
            values.append(_number(kind, page[end : end + _LENGTHS[kind]]))
            end += _LENGTHS[kind]
        frame, mask_id, row = values
        if 0 <= frame < 2**31 and 0 <= mask_id < 2**31 and row > 0:
            yield frame, mask_id, row


def _number(kind: int, raw: bytes) -> Any:  # noqa: ANN401 - what SQLite stores: a number or nothing
    if kind == 0:
        return None
    if kind == 7:
        return float(struct.unpack(">d", raw)[0]) if len(raw) == 8 else None
    return kind - 8 if kind >= 8 else int.from_bytes(raw, signed=True)


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """Return a variable-length number and where it ends."""
    value = 0
    for i in range(8):
        if at + i >= len(page):
            return 0, -1
        byte = page[at + i]
        value = value << 7 | byte & 127
        if byte < 128:
            return value, at + i + 1
    return (value << 8 | page[at + 8], at + 9) if at + 8 < len(page) else (0, -1)


def _varint_bytes(value: int) -> bytes:
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127 | 128)
    return bytes(reversed(groups))
