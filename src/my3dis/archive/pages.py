"""Read the pages of an archive file without SQLite, so that damage in one place hides nothing elsewhere.

Source: the file format of SQLite 3 (https://www.sqlite.org/fileformat2.html), sections 1.3 (header),
1.5 (freelist) and 1.6 (overflow).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from my3dis.archive.wal import logged_pages
from my3dis.errors import ArchiveError

__all__ = ["ARCHIVE", "Image", "PageFile"]

USUAL_PAGE_SIZE = 4096

ARCHIVE, LOG, LOOSE_LOG = 0, 1, 2
"""Where a page lies: in the archive, in its log, or in a part of the log that SQLite does not take."""

_MAX_OVERFLOW_READS = 8
"""An overflow page belongs to one row; a file in which reading them all takes longer is made up."""


@dataclass(frozen=True, slots=True)
class Image:
    """One stored state of a page.

    Attributes:
        file: `ARCHIVE`, `LOG` or `LOOSE_LOG`.
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
            self.n_pages = -(-self._sizes[0] // self.page_size)
            self._logged, self._loose = self._newest_in_log()
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
            yield Image(ARCHIVE, (number - 1) * self.page_size, current)
        if len(self._files) > 1:
            for page in logged_pages(self._files[1], self.page_size):
                current = self._logged.get(page.number) == page.offset
                yield Image(LOG if page.is_taken else LOOSE_LOG, page.offset, current)

    def content(self, image: Image) -> bytes:
        """Return the bytes of a page; fewer at the end of a cut file."""
        return self._read(min(image.file, 1), image.offset, self.page_size)

    def overflow(self, image: Image, number: int, n: int) -> bytes | None:
        """Return n bytes from a chain of overflow pages that begins in a page; None if it is broken."""
        parts = []
        while n > 0:
            self._budget -= 1
            place = self._image_of(number, loose=image.file == LOOSE_LOG)
            if place is None or self._budget < 0:
                return None
            page = self.content(place)
            parts.append(page[4 : 4 + n])
            if len(parts[-1]) < min(n, self.page_size - 4):
                return None
            n -= len(parts[-1])
            number = int.from_bytes(page[:4])
        return b"".join(parts)

    def _image_of(self, number: int, *, loose: bool = False) -> Image | None:
        if loose and number in self._loose:
            return Image(LOOSE_LOG, self._loose[number], False)
        if number in self._logged:
            return Image(LOG, self._logged[number], True)
        return Image(ARCHIVE, (number - 1) * self.page_size, True) if 1 <= number <= self.n_pages else None

    def _newest_in_log(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return where the log holds the newest committed state of each page, and the newest not taken."""
        taken: dict[int, int] = {}
        loose: dict[int, int] = {}
        if len(self._files) > 1:
            uncommitted: dict[int, int] = {}
            for page in logged_pages(self._files[1], self.page_size):
                if not page.is_taken:
                    loose[page.number] = page.offset
                    continue
                uncommitted[page.number] = page.offset
                if page.ends_commit:
                    taken.update(uncommitted)
                    uncommitted.clear()
        return taken, loose

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
