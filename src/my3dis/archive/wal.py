"""Read the write-ahead log beside an archive: which page states it holds, and which of them SQLite takes.

Source: the file format of SQLite 3 (https://www.sqlite.org/fileformat2.html), section 4.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["FRAME_BYTES", "LoggedPage", "has_unseen_commits", "logged_pages"]

FRAME_BYTES = 24
"""Size of the header before each page in the log."""

_HEADER_BYTES = 32
_BIG_ENDIAN_SUMS = 0x377F0683


@dataclass(frozen=True, slots=True)
class LoggedPage:
    """A page in the log.

    Attributes:
        number: of the page in the database.
        offset: where its content begins in the log.
        ends_commit: whether it is the last one of a transaction.
        is_taken: whether SQLite takes it for a part of the log: all sums up to here fit.
    """

    number: int
    offset: int
    ends_commit: bool
    is_taken: bool


def logged_pages(file: int, page_size: int) -> Iterator[LoggedPage]:
    """Yield the pages of a log, in order, without those that an earlier round of the log left behind.

    Args:
        file: descriptor of the log.
        page_size: bytes per page.
    """
    header = os.pread(file, _HEADER_BYTES, 0)
    step = FRAME_BYTES + page_size
    offsets = range(_HEADER_BYTES, os.fstat(file).st_size - step + 1, step)
    if len(header) < _HEADER_BYTES or not offsets:
        return
    order = ">" if int.from_bytes(header[:4]) == _BIG_ENDIAN_SUMS else "<"
    sums = _add(header[:24], (0, 0), order)
    is_taken = sums == struct.unpack(">2I", header[24:32])
    salts = header[16:24]
    if not any(os.pread(file, 8, offset + 8) == salts for offset in offsets):
        salts = os.pread(file, 8, offsets[0] + 8)  # the header is damaged
    for offset in offsets:
        frame = os.pread(file, step, offset)
        number, size_after = struct.unpack_from(">2I", frame)
        if frame[8:16] != salts or len(frame) < step:
            is_taken = False
            continue
        if is_taken:
            sums = _add(frame[:8], sums, order)
            sums = _add(frame[FRAME_BYTES:], sums, order)
            is_taken = number > 0 and sums == struct.unpack_from(">2I", frame, 16)
        yield LoggedPage(number, offset + FRAME_BYTES, size_after > 0, is_taken)


def _add(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    """Return the log's running sums after more data, a multiple of 8 bytes.

    The sums of each pair of words x, y follow from the last ones: s' = s + t + x, t' = t + s' + y, all modulo
    2^32. This is linear: the sums after n pairs are a product with the n-th power of the step's matrix.
    """
    words = np.frombuffer(data, f"{order}u4").astype(np.uint32)
    x, y = words[0::2], words[1::2]
    n = len(x)
    powers = _powers(n)
    after = powers[n] @ np.array(sums, np.uint32)
    # A pair enters as (x, x + y), and is carried on by the pairs behind it.
    carried = powers[n - 1 :: -1] if n else powers[:0]
    pairs = np.stack([x, x + y], axis=1)
    after = after + (carried * pairs[:, None, :]).sum(axis=(0, 2), dtype=np.uint32)
    return int(after[0]), int(after[1])


@functools.cache
def _powers(n: int) -> NDArray[np.uint32]:
    """Return (n + 1, 2, 2) powers 0..n of the matrix of one step, modulo 2^32."""
    powers = np.empty((n + 1, 2, 2), np.uint32)
    powers[0] = np.eye(2, dtype=np.uint32)
    for i in range(n):
        (a, b), (c, d) = powers[i].tolist()
        powers[i + 1] = np.array([[a + c, b + d], [a + 2 * c, b + 2 * d]], np.uint64) & 0xFFFFFFFF
    return powers


def has_unseen_commits(path: Path) -> bool:
    """Tell whether the log of an archive holds commits behind a damaged page, of which SQLite says nothing.

    A writer may be at work: what is found must be found twice in the same round of the log.
    """
    return _unseen_round(path) is not None and _unseen_round(path) == _unseen_round(path)


def _unseen_round(path: Path) -> bytes | None:
    """Return the salts of a log with unseen commits."""
    try:
        file = os.open(path.with_name(path.name + "-wal"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        header = os.pread(file, _HEADER_BYTES, 0)
        page_size = int.from_bytes(header[8:12])
        if not 512 <= page_size <= 65536:
            return None
        found = any(page.ends_commit and not page.is_taken for page in logged_pages(file, page_size))
        return header[16:24] if found else None
    finally:
        os.close(file)
