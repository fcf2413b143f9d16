"""Read JSON of any size a value at a time.

The old runs keep a whole level in one JSON document, with every mask in it as text. A cursor walks through
the document and hands out one member or element after the other; only values that the caller takes with
`JsonCursor.value` are ever in memory, and those are bounded.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Protocol

from my3dis.archive.legacy.limits import (
    MAX_BLANK_CHARS,
    MAX_DEPTH,
    MAX_KEY_CHARS,
    MAX_STRUCTURES,
    MAX_VALUE_CHARS,
)
from my3dis.errors import DataError

__all__ = ["ByteSource", "JsonCursor"]

_CHUNK_BYTES = 1 << 16
_MAX_CHUNK_BYTES = 1 << 20
_KEY_OVERHEAD = 64
_BLANKS = re.compile(r"[ \t\n\r]*")


class ByteSource(Protocol):
    """Something that gives bytes: an open file or a member of an archive."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""
        ...


class JsonCursor:
    """A place in a JSON document that only moves forward.

    Use `members` or `elements` to step into an object or array, and in their loop take each value exactly
    once, with `value`, `skip` or another step inside.

    Args:
        source: where the document comes from.
        name: for error messages.
    """

    def __init__(self, source: ByteSource, name: str) -> None:
        self._source = source
        self._name = name
        self._decode_bytes = codecs.getincrementaldecoder("utf-8-sig")()
        self._decoder = json.JSONDecoder(object_pairs_hook=self._unique)
        self._buffer = ""
        self._at = 0
        self._ended = False
        self._depth = 0
        self._parts_checked = False

    def members(self) -> Iterator[str]:
        """Step into an object and yield its keys.

        Raises:
            DataError: if there is no object here, or it is malformed, repeats a key, has too many, or is
                nested too deeply.
        """
        seen: set[str] = set()
        held = 0
        for _ in self._inside("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise self._wrong("a key in quotes", repr(key)[:40])
            held += len(key) + _KEY_OVERHEAD
            if held > MAX_KEY_CHARS:
                raise DataError(
                    f"{self._name}: expected keys of at most {MAX_KEY_CHARS} characters in an object, "
                    "found more"
                )
            if key in seen:
                raise DataError(f"{self._name}: expected each key once, found {key[:40]!r} twice")
            seen.add(key)
            self._expect(":")
            yield key

    def elements(self) -> Iterator[None]:
        """Step into an array and yield once per element, before it is read; errors as `members`."""
        yield from self._inside("[", "]")

    def _inside(self, opening: str, closing: str) -> Iterator[None]:
        self._expect(opening)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._too_deep()
        if self.peek() == closing:
            self._at += 1
        else:
            while True:
                yield None
                found = self.peek()
                if found not in (",", closing):
                    raise self._wrong(f"',' or '{closing}'", repr(found or "the end of the file"))
                self._at += 1
                if found == closing:
                    break
        self._depth -= 1

    def value(self) -> object:
        """Return the value here, at most `MAX_VALUE_CHARS` characters of text.

        Raises:
            DataError: if it is malformed, too long, has too many parts, or a number in it is no number.
        """
        self.peek()
        chunk = _CHUNK_BYTES
        while True:
            self._check_parts()
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except RecursionError as error:
                raise self._too_deep() from error
            except json.JSONDecodeError as error:
                if self._ended or self._buffered() > MAX_VALUE_CHARS:
                    raise self._malformed(error) from error
            except ValueError as error:  # a whole number of thousands of digits
                raise DataError(f"{self._name}: expected a number of sane length, found {error}") from error
            else:
                # A number at the end of what was read may go on.
                if end < len(self._buffer) or self._ended:
                    self._at = end
                    return value
            self._read(chunk)
            chunk = min(2 * chunk, _MAX_CHUNK_BYTES)

    def skip(self) -> None:
        """Step over the value here, however long it is.

        Raises:
            DataError: if it is malformed.
        """
        found = self.peek()
        if found == "{":
            for _ in self.members():
                self.skip()
        elif found == "[":
            for _ in self.elements():
                self.skip()
        else:
            self.value()

    def finish(self) -> None:
        """Check that nothing but blanks follows.

        Raises:
            DataError: if something does.
        """
        found = self.peek()
        if found:
            raise self._wrong("the end of the document", repr(found))

    def peek(self) -> str:
        """Return the next character that is no blank without moving past it; none at the end."""
        blanks = 0
        while True:
            start, self._at = self._at, _BLANKS.match(self._buffer, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            blanks += self._at - start
            if blanks > MAX_BLANK_CHARS:
                raise self._wrong("a value", f"more than {MAX_BLANK_CHARS} blanks")
            if self._ended:
                return ""
            self._read(_CHUNK_BYTES)

    def _expect(self, character: str) -> None:
        found = self.peek()
        if found != character:
            raise self._wrong(repr(character), repr(found or "the end of the file"))
        self._at += 1

    def _read(self, size: int) -> None:
        data = self._source.read(size)
        self._ended = not data
        try:
            text = self._decode_bytes.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise DataError(f"{self._name}: expected text in UTF-8, found other bytes ({error})") from error
        self._buffer = self._buffer[self._at :] + text
        self._at = 0
        self._parts_checked = False

    def _buffered(self) -> int:
        return len(self._buffer) - self._at

    def _check_parts(self) -> None:
        if self._parts_checked:
            return
        parts = sum(self._buffer.count(mark, self._at) for mark in "[{,")
        if parts > MAX_STRUCTURES:
            raise DataError(
                f"{self._name}: expected a value of at most {MAX_STRUCTURES} parts, found more; "
                "this is no file of an old run"
            )
        self._parts_checked = True

    def _malformed(self, error: json.JSONDecodeError) -> DataError:
        if self._ended:
            return DataError(
                f"{self._name}: expected JSON, found a document that is damaged or cut off ({error.msg}); "
                "copy the file again"
            )
        return DataError(
            f"{self._name}: expected values of at most {MAX_VALUE_CHARS} characters, found a longer or "
            f"malformed one ({error.msg})"
        )

    def _wrong(self, expected: str, found: str) -> DataError:
        return DataError(
            f"{self._name}: expected {expected}, found {found}; the file is damaged or of another kind"
        )

    def _too_deep(self) -> DataError:
        return DataError(f"{self._name}: expected at most {MAX_DEPTH} levels of nesting, found more")

    def _unique(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise DataError(f"{self._name}: expected each key of an object once, found a repeat")
        return value
