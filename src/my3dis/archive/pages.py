"""Read the pages of an archive file without SQLite, so that damage in one place hides nothing elsewhere.

Source: the file format of SQLite 3 (https://www.sqlite.org/fileformat2.html), sections 1.3 (header),
1.5 (freelist), 1.6 (overflow) and 4 (write-ahead log).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from my3dis.errors import ArchiveError

__all__ = ["Image", "PageFile", "last_logged_commit"]

USUAL_PAGE_SIZE = 4096
_LOG_HEADER = 32
_LOG_FRAME = 24
_MAX_OVERFLOW_READS = 8
"""An overflow page belongs to one row; a file in which reading them all takes longer is made up."""


@dataclass(frozen=True, slots=True)
class Image:
    """One stored state of a page.

    Attributes:
        file: 0 = the archive, 1 = its log.
        offset: where it begins in the file, bytes.
        is_current: whether it is the newest committed state of its page, and the page is in use.
    """

    file: int
    offset: int
    is_current: bool


class PageFile:
    """The pages of an archive, and of the log that a writer has left or is writing; a context manager.

    Args:
        path: the archive.
        page_size: bytes per page; 0 takes what the file says.

    Raises:
        ArchiveError: if the file cannot be read.
    """

    def __init__(self, path: Path, page_size: int = 0) -> None:
        self.path = path
        self._files: list[int] = []
        with ExitStack() as undo:
            undo.callback(self.close)
            try:
                self._files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                log = path.with_name(path.name + "-wal")
                if log.is_file():
                    self._files.append(os.open(log, os.O_RDONLY | os.O_CLOEXEC))
                self._sizes = [os.fstat(file).st_size for file in self._files]
            except OSError as error:
                raise ArchiveError(f"cannot read {path} ({error.strerror}); check its permissions") from error
            self.page_size = page_size or self.stated_page_size()
            self._frame_size = _LOG_FRAME + self.page_size
            self.n_pages = -(-self._sizes[0] // self.page_size)
            self._logged = self._newest_in_log()
            self._is_free = self._free_pages()
            undo.pop_all()
        self._budget = _MAX_OVERFLOW_READS * (sum(self._sizes) // self.page_size + 64)

    def stated_page_size(self) -> int:
        """Return the page size that the file's beginning names, or the usual one where it names none."""
        stated = int.from_bytes(self._read(0, 16, 2))
        size = 65536 if stated == 1 else stated
        return size if 512 <= size <= 65536 and size & (size - 1) == 0 else USUAL_PAGE_SIZE

    def _read(self, file: int, offset: int, n: int) -> bytes:
        try:
            return os.pread(self._files[file], n, offset)
        except OSError as error:
            raise ArchiveError(
                f"cannot read {self.path}: the disk reports an error ({error.strerror}); copy the file to "
                "another disk first"
            ) from error

    def images(self) -> Iterator[Image]:
        """Yield every stored state of every page: the archive's, then the log's."""
        for number in range(1, self.n_pages + 1):
            current = number not in self._logged and not self._is_free[number - 1]
            yield Image(0, (number - 1) * self.page_size, current)
        if len(self._files) > 1:
            current_offsets = set(self._logged.values())
            for offset in range(_LOG_HEADER, self._sizes[1] - _LOG_FRAME, self._frame_size):
                start = offset + _LOG_FRAME
                yield Image(1, start, start in current_offsets)

    def content(self, image: Image) -> bytes:
        """Return the bytes of a page; fewer at the end of a cut file."""
        return self._read(image.file, image.offset, self.page_size)

    def overflow(self, number: int, n: int) -> bytes | None:
        """Return n bytes from a chain of overflow pages; None if it is broken."""
        parts = []
        while n > 0:
            self._budget -= 1
            image = self._image_of(number)
            if image is None or self._budget < 0:
                return None
            page = self.content(image)
            parts.append(page[4 : 4 + n])
            if len(parts[-1]) < min(n, self.page_size - 4):
                return None
            n -= len(parts[-1])
            number = int.from_bytes(page[:4])
        return b"".join(parts)

    def _image_of(self, number: int) -> Image | None:
        if number in self._logged:
            return Image(1, self._logged[number], True)
        return Image(0, (number - 1) * self.page_size, True) if 1 <= number <= self.n_pages else None

    def _newest_in_log(self) -> dict[int, int]:
        """Return where the log holds the newest committed state of each page that it holds."""
        if len(self._files) < 2:
            return {}
        newest: dict[int, int] = {}
        uncommitted: dict[int, int] = {}
        for start, number, is_commit in _log_frames(self._files[1], self._sizes[1], self.page_size):
            uncommitted[number] = start
            if is_commit:
                newest.update(uncommitted)
                uncommitted.clear()
        return newest

    def _free_pages(self) -> bytearray:
        """Return a flag for each page of the archive file: whether it is listed as unused."""
        free = bytearray(self.n_pages + 1)
        image = self._image_of(1)
        head = b"" if image is None else self.content(image)
        trunk = int.from_bytes(head[32:36])
        while 1 <= trunk <= self.n_pages and not free[trunk - 1]:
            free[trunk - 1] = 1
            image = self._image_of(trunk)
            page = b"" if image is None else self.content(image)
            for i in range(min(int.from_bytes(page[4:8]), self.page_size // 4 - 2)):
                leaf = int.from_bytes(page[8 + 4 * i : 12 + 4 * i])
                if 1 <= leaf <= self.n_pages:
                    free[leaf - 1] = 1
            trunk = int.from_bytes(page[:4])
        return free

    def close(self) -> None:
        """Close the files; nothing the second time."""
        while self._files:
            os.close(self._files.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _log_frames(file: int, size: int, page_size: int) -> Iterator[tuple[int, int, bool]]:
    """Yield offset of the content, page number and whether it ends a commit, of each frame of the log.

    Only of the frames that belong together: the log is reused from its start, and what an earlier round left
    behind the present one carries other salts. A damaged content is not noticed here.
    """
    step = _LOG_FRAME + page_size
    offsets = range(_LOG_HEADER, size - _LOG_FRAME, step)
    salts = os.pread(file, 8, 16)
    if offsets and os.pread(file, 8, _LOG_HEADER + 8) != salts and not _any_salted(file, offsets, salts):
        salts = os.pread(file, 8, _LOG_HEADER + 8)
    for offset in offsets:
        head = os.pread(file, _LOG_FRAME, offset)
        if head[8:16] == salts:
            yield offset + _LOG_FRAME, int.from_bytes(head[:4]), head[4:8] != bytes(4)


def _any_salted(file: int, offsets: range, salts: bytes) -> bool:
    return any(os.pread(file, 8, offset + 8) == salts for offset in offsets)


def last_logged_commit(path: Path) -> tuple[bytes, int, int]:
    """Return salts of an archive's log, the number of the frame of its last commit, and what SQLite takes.

    SQLite takes the frames before the first one that is damaged, and says nothing of those after it. Needs an
    open connection. Numbers count from 1; 0 = none.
    """
    log, shared = path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")
    if not (log.is_file() and shared.is_file()):
        return b"", 0, 0
    file = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.pread(file, _LOG_HEADER, 0)
        page_size = int.from_bytes(head[8:12])
        last = 0
        if 512 <= page_size <= 65536:
            for start, _, is_commit in _log_frames(file, os.fstat(file).st_size, page_size):
                if is_commit:
                    last = (start - _LOG_HEADER) // (_LOG_FRAME + page_size) + 1
    finally:
        os.close(file)
    with shared.open("rb") as index:
        # Field mxFrame of the index's header, in the machine's own byte order.
        taken = int.from_bytes(index.read(20)[16:20], sys.byteorder)
    return head[16:24], last, taken
