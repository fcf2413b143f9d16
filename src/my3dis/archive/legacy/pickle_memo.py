"""What a pickle may refer to again: a table of objects, and one copy of each text."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from my3dis.archive.legacy.limits import MAX_MEMO
from my3dis.archive.legacy.pickle_arrays import DtypeValue, Name
from my3dis.errors import ArchiveError

__all__ = ["Memo"]

_MAX_TEXT_BYTES = 1 << 24
_TEXT_OVERHEAD = 64
_MAX_SIDES = 4


class _Gone:
    """Stands for an object that was handed out and is not held any more."""


_GONE: Final = _Gone()


class Memo:
    """Objects by number; those of a frame are let go when the frame is handed out.

    Raises:
        ArchiveError: if there are too many objects or texts, or one is asked for that is not there.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._objects: list[object] = []
        self._fresh: list[int] = []
        self._texts: dict[object, object] = {}
        self._text_bytes = 0

    def __len__(self) -> int:
        return len(self._objects)

    def put(self, index: int, value: object) -> None:
        """Give an object a number."""
        if index >= MAX_MEMO:
            raise ArchiveError(
                f"{self._owner}: expected at most {MAX_MEMO} numbered objects in the pickle, found more"
            )
        if index >= len(self._objects):
            self._objects.extend([_GONE] * (index + 1 - len(self._objects)))
        self._fresh.append(index)
        self._objects[index] = value

    def get(self, index: int) -> object:
        """Return the object of a number."""
        value = self._objects[index] if index < len(self._objects) else _GONE
        if value is _GONE:
            raise ArchiveError(
                f"{self._owner}: expected references within a frame of the pickle, found one to object "
                f"{index}, which is not there"
            )
        return value

    def share(self, text: Hashable, size: int) -> object:
        """Return the one copy of a text or shape that is kept."""
        known = self._texts.get(text)
        if known is not None:
            return known
        self._text_bytes += size + _TEXT_OVERHEAD
        if self._text_bytes > _MAX_TEXT_BYTES:
            raise ArchiveError(
                f"{self._owner}: expected at most {_MAX_TEXT_BYTES} bytes of keys and names in the pickle, "
                "found more"
            )
        self._texts[text] = text
        return text

    def forget(self) -> None:
        """Let go of the objects since the last call; only names, types, texts and shapes stay."""
        for i in self._fresh:
            value = self._objects[i]
            if isinstance(value, tuple) and len(value) <= _MAX_SIDES and all(type(v) is int for v in value):
                self._objects[i] = self.share(value, 32 * len(value))
            elif not isinstance(value, str | bytes | Name | DtypeValue):
                self._objects[i] = _GONE
        self._fresh.clear()
