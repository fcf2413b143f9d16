"""Walk through a pickle of masks without unpickling it.

The oldest runs hold ``{frame: {object: mask}}`` as one pickled object. Python's unpickler would run whatever
the pickle names and would hold all masks at once. This machine knows the few instructions that a pickle of
dictionaries, lists and NumPy arrays consists of, refuses every other one by name, runs nothing, and hands
out one frame at a time. Pixels become run-length codes as soon as their array is complete.

What the instructions mean: the comments in the standard library's module ``pickletools``.
"""

from __future__ import annotations

import reprlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from my3dis.archive.legacy.containers import Member
from my3dis.archive.legacy.limits import (
    MAX_DEPTH,
    MAX_ITEMS_PER_FRAME,
    MAX_PIXELS,
    MAX_SMALL_BYTES,
)
from my3dis.archive.legacy.pickle_arrays import (
    Blob,
    Held,
    build,
    call,
    find_name,
    pack_record,
)
from my3dis.archive.legacy.pickle_bytes import REFUSED, PickleBytes
from my3dis.archive.legacy.pickle_memo import Memo
from my3dis.errors import ArchiveError

__all__ = ["Pair", "PickleStream"]

_BATCH = 1000
"""Items that a pickler writes at a time; a dictionary of a multiple of them may still go on."""
_MAX_STEPS = 100 * MAX_ITEMS_PER_FRAME
"""Instructions within one frame; a mask takes 30 to 60."""
_HIGHEST_PROTOCOL = 5


_NOT_YET: Final = object()


@dataclass(frozen=True, slots=True)
class Pair:
    """An item of an outermost dictionary.

    Attributes:
        dictionary: which one, counted from 0; arrays of several dictionaries have more than one.
        key, value: of the item.
    """

    dictionary: int
    key: object
    value: object


class PickleStream:
    """Goes through one pickle; a member of an archive gives its bytes.

    Memory: one frame as run-length codes, the pixels of one mask, and 8 bytes for each object numbered.
    """

    def __init__(self, source: Member) -> None:
        self._bytes = PickleBytes(source)
        self._name = source.name
        self._stack: list[object] = []
        self._below: list[list[object]] = []
        self._memo = Memo(source.name)
        self._held = Held()
        self._steps = 0
        self._outer: object = _NOT_YET
        self._outer_depth = self._outer_place = 0
        self._dictionaries = 0
        self._ready: list[Pair] = []

    def pairs(self) -> Iterator[Pair]:
        """Yield the items of the outermost dictionaries.

        Raises:
            ArchiveError: if the pickle is damaged, names or does anything but arrays, or asks for too much.
            DataError: if an array in it is no mask.
        """
        while True:
            code = self._bytes.read(1)
            self._steps += 1
            if self._steps > _MAX_STEPS:
                raise self._wrong(f"at most {_MAX_STEPS} instructions for a frame", "more")
            if code == b".":
                break
            step = _STEPS.get(code)
            if step is None:
                self._refuse(code)
            else:
                step(self)
            if self._ready:
                yield from self._ready
                self._forget()
        if self._bytes.read_some(1):
            raise self._wrong("the end of the file after the pickle", "more bytes")

    def _refuse(self, code: bytes) -> None:
        if code == b"i":  # makes an instance of what it names
            find_name(self._bytes.line(), self._bytes.line(), self._name)
        name = REFUSED.get(code, repr(code))
        raise self._wrong("the instructions of a pickle of arrays", f"{name}; refused")

    def _forget(self) -> None:
        """Let go of what was handed out; only names, types and texts may be referred to again."""
        self._ready = []
        self._steps = self._held.code_bytes = 0
        self._memo.forget()

    # The stack

    def _push(self, value: object) -> None:
        stack = self._stack
        stack.append(value)
        if len(stack) % 2 == 0 or len(stack) < 3 or not self._in_outer():
            return
        done = stack[-2]
        # A key after a filled dictionary is the next frame's: the frames before it are complete.
        if isinstance(value, str | int) and isinstance(done, dict) and len(done) % _BATCH:
            self._hand_out(stack[:-1])
            del stack[:-1]

    def _in_outer(self) -> bool:
        at_depth = len(self._below) == self._outer_depth + 1
        return at_depth and bool(self._below[-1]) and self._below[-1][-1] is self._outer

    def _hand_out(self, items: list[object]) -> None:
        if len(items) % 2:
            raise self._wrong("keys with values", "a key without one")
        number = self._dictionaries - 1
        pairs = zip(items[::2], items[1::2], strict=True)
        self._ready.extend(Pair(number, key, value) for key, value in pairs)

    def _pop(self) -> object:
        if not self._stack:
            raise self._wrong("a value", "an instruction without one")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[object]:
        if not self._below:
            raise self._wrong("a mark", "none")
        items, self._stack = self._stack, self._below.pop()
        return items

    def _mark(self) -> None:
        if len(self._below) >= MAX_DEPTH:
            raise self._wrong(f"at most {MAX_DEPTH} levels of nesting", "more")
        self._below.append(self._stack)
        self._stack = []

    # Values

    def _text(self, size: int) -> None:
        try:
            text = self._short(size).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._wrong("text in UTF-8", "other bytes") from error
        self._push(self._memo.share(text, size))

    def _short(self, size: int) -> bytes:
        if size > MAX_SMALL_BYTES:
            raise self._wrong(f"text of at most {MAX_SMALL_BYTES} bytes", f"a claim of {size}")
        return self._bytes.read(size)

    def _data(self, size: int) -> None:
        if size <= MAX_SMALL_BYTES:
            data = self._bytes.read(size)
            self._push(self._memo.share(data, size) if size <= 8 else Blob(data, self._held, self._name))
            return
        if size > MAX_PIXELS:
            raise self._wrong(f"at most {MAX_PIXELS} pixels at once", f"a claim of {size} bytes")
        self._push(Blob(self._bytes.read(size), self._held, self._name))

    def _long(self) -> None:
        size = self._bytes.number("<B")
        if size > 8:
            raise self._wrong("whole numbers of at most 8 bytes", f"one of {size}")
        self._push(int.from_bytes(self._bytes.read(size), "little", signed=True))

    def _new_dict(self) -> None:
        made: dict[object, object] = {}
        depth = len(self._below)
        # Directly after an outermost dictionary comes the next one of an array; after a key, a value.
        follows = bool(self._stack) and self._stack[-1] is self._outer
        below = self._stack[self._outer_place : self._outer_place + 1]
        is_inside = not follows and bool(below) and below[0] is self._outer
        if self._outer is _NOT_YET or (depth == self._outer_depth and not is_inside):
            self._outer, self._outer_depth, self._outer_place = made, depth, len(self._stack)
            self._dictionaries += 1
        self._push(made)

    def _set_items(self, items: list[object]) -> None:
        target = self._stack[-1] if self._stack else None
        if not isinstance(target, dict):
            raise self._wrong("a dictionary to put items into", type(target).__name__)
        if target is self._outer:
            self._hand_out(items)
            return
        if len(items) % 2 or len(target) + len(items) // 2 > MAX_ITEMS_PER_FRAME:
            raise self._wrong(f"at most {MAX_ITEMS_PER_FRAME} keys with values", "more, or a key without one")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int) or key in target:
                raise self._wrong("text or whole numbers as keys, each once", reprlib.repr(key))
            target[key] = value
        pack_record(target, self._held, self._name)

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _append(self, items: list[object]) -> None:
        target = self._stack[-1] if self._stack else None
        if not isinstance(target, list):
            raise self._wrong("a list to append to", type(target).__name__)
        target.extend(items)

    def _tuple(self, size: int) -> None:
        if len(self._stack) < size:
            raise self._wrong(f"{size} values", "fewer")
        items = tuple(self._stack[len(self._stack) - size :])
        del self._stack[len(self._stack) - size :]
        self._push(items)

    # References and names

    def _put(self, index: int) -> None:
        if not self._stack:
            raise self._wrong("an object to number", "none")
        self._memo.put(index, self._stack[-1])

    def _name_of(self, module: object, name: object) -> None:
        self._push(find_name(module, name, self._name))

    def _stack_name(self) -> None:
        name, module = self._pop(), self._pop()
        self._name_of(module, name)

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._push(call(function, arguments, self._name))

    def _build(self) -> None:
        state = self._pop()
        build(self._stack[-1] if self._stack else None, state, self._held, self._name)

    def _protocol(self) -> None:
        version = self._bytes.number("<B")
        if version > _HIGHEST_PROTOCOL:
            raise self._wrong(f"a pickle of protocol {_HIGHEST_PROTOCOL} or older", f"protocol {version}")

    def _wrong(self, expected: str, found: str) -> ArchiveError:
        return ArchiveError(
            f"{self._name}: expected {expected} in the pickle, found {found}; "
            "it is damaged or not of an old run"
        )


_STEPS: dict[bytes, Callable[[PickleStream], object]] = {
    b"\x80": PickleStream._protocol,
    b"\x95": lambda s: s._bytes.read(8),  # the length of a piece, which only helps unpicklers to read ahead
    b"(": PickleStream._mark,
    b")": lambda s: s._push(()),
    b"t": lambda s: s._push(tuple(s._pop_to_mark())),
    b"\x85": lambda s: s._tuple(1),
    b"\x86": lambda s: s._tuple(2),
    b"\x87": lambda s: s._tuple(3),
    b"]": lambda s: s._push([]),
    b"a": lambda s: s._append([s._pop()]),
    b"e": lambda s: s._append(s._pop_to_mark()),
    b"}": PickleStream._new_dict,
    b"s": PickleStream._set_item,
    b"u": lambda s: s._set_items(s._pop_to_mark()),
    b"N": lambda s: s._push(None),
    b"\x88": lambda s: s._push(True),
    b"\x89": lambda s: s._push(False),
    b"J": lambda s: s._push(s._bytes.number("<i")),
    b"K": lambda s: s._push(s._bytes.number("<B")),
    b"M": lambda s: s._push(s._bytes.number("<H")),
    b"\x8a": PickleStream._long,
    b"G": lambda s: s._push(struct.unpack(">d", s._bytes.read(8))[0]),
    b"C": lambda s: s._data(s._bytes.number("<B")),
    b"B": lambda s: s._data(s._bytes.number("<I")),
    b"\x8e": lambda s: s._data(s._bytes.number("<Q")),
    b"X": lambda s: s._text(s._bytes.number("<I")),
    b"\x8c": lambda s: s._text(s._bytes.number("<B")),
    b"\x8d": lambda s: s._text(s._bytes.number("<Q")),
    b"q": lambda s: s._put(s._bytes.number("<B")),
    b"r": lambda s: s._put(s._bytes.number("<I")),
    b"\x94": lambda s: s._put(len(s._memo)),
    b"h": lambda s: s._push(s._memo.get(s._bytes.number("<B"))),
    b"j": lambda s: s._push(s._memo.get(s._bytes.number("<I"))),
    b"c": lambda s: s._name_of(s._bytes.line(), s._bytes.line()),
    b"\x93": PickleStream._stack_name,
    b"R": PickleStream._reduce,
    b"b": PickleStream._build,
}
"""What each instruction does; every other one is refused."""
