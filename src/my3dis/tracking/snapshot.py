"""Turn state that decides about later frames into two arrays and back, so that work goes on as if unbroken.

Whatever the state's classes hold is taken, fields added later included: a field of a kind that cannot be
kept is an error when the state is flattened, never a loss. Nothing is executed on the way back: objects of
the packages named here are made without their constructors, and nothing of any other package.
"""

from __future__ import annotations

import importlib
import json
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError

__all__ = ["PACKAGES", "flatten", "restored"]

PACKAGES = ("my3dis.tracking", "my3dis.types", "my3dis.backends.trackers")
"""State may consist of objects of classes in these packages."""

_SEQUENCES: dict[str, type] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
}
_KINDS = {kind: name for name, kind in _SEQUENCES.items()}
_MAPPINGS: dict[str, type] = {"dict": dict, "Counter": Counter}
_ARRAY_KINDS = "biuf"

Value: TypeAlias = Any
"""A value of JSON, or what it stands for."""


def flatten(state: object) -> dict[str, NDArray[Any]]:
    """Return state as arrays: ``layout`` (JSON in UTF-8) and ``data`` (the bytes of arrays), both (N,) uint8.

    What is reached by two ways is kept once, and is one object again afterwards.

    Raises:
        TypeError: naming what cannot be kept, such as an object of a library.
    """
    writer = _Writer()
    writer.node(state, "state")
    return {"layout": np.frombuffer(writer.layout, np.uint8), "data": np.frombuffer(writer.data, np.uint8)}


def restored(arrays: Mapping[str, NDArray[Any]]) -> Value:
    """Return the state that `flatten` was given.

    Raises:
        DataError: if the arrays are not what `flatten` makes, or a class has other fields by now.
    """
    try:
        layout = json.loads(arrays["layout"].tobytes())
        return _Reader(arrays["data"].tobytes()).value(layout)
    except (LookupError, TypeError, ValueError, AttributeError, ImportError, RecursionError) as error:
        raise DataError(f"expected saved state, found something else ({error})") from error


class _Writer:
    """Writes JSON value by value, since a tree of it would take many times the memory of its text.

    ``kept`` holds what was seen, so that no id is given out twice.
    """

    def __init__(self) -> None:
        self.layout, self.data = bytearray(), bytearray()
        self._number: dict[int, int] = {}
        self._kept: list[object] = []

    def node(self, value: object, where: str) -> None:
        if value is None or type(value) in (bool, int, str):
            self._say(value)
        elif type(value) is float:
            self._say(value if math.isfinite(value) else {"float": repr(value)})
        elif isinstance(value, bytes):
            self._array("bytes", np.frombuffer(value, np.uint8), where)
        elif isinstance(value, np.generic):
            self._array("scalar", np.asarray(value), where)
        elif id(value) in self._number:
            self._say({"again": self._number[id(value)]})
        else:
            self._number[id(value)] = len(self._kept)
            self._kept.append(value)
            self._held(value, where)

    def _held(self, value: Value, where: str) -> None:
        kind = type(value)
        if kind is np.ndarray:
            self._array("array", value, where)
        elif kind in _KINDS:
            self.layout += b'{"%b": ' % _KINDS[kind].encode()
            self._items(((v, f"{where}[{i}]") for i, v in enumerate(value)))
            self.layout += b"}"
        elif kind in _MAPPINGS.values():
            self.layout += b'{"%b": [' % kind.__name__.encode()
            for i, (key, held) in enumerate(value.items()):
                self.layout += b", " if i else b""
                self._items(((key, where), (held, f"{where}[{key!r}]")))
            self.layout += b"]}"
        elif isinstance(value, np.random.Generator):
            self._say({"random": [type(value.bit_generator).__name__, value.bit_generator.state]})
        else:
            self._object(value, where)

    def _items(self, items: Iterable[tuple[object, str]]) -> None:
        self.layout += b"["
        for i, (value, where) in enumerate(items):
            self.layout += b", " if i else b""
            self.node(value, where)
        self.layout += b"]"

    def _array(self, kind: str, array: NDArray[Any], where: str) -> None:
        if array.dtype.kind not in _ARRAY_KINDS:
            raise TypeError(f"{where}: arrays of {array.dtype} cannot be kept in a checkpoint")
        self._say({kind: [len(self.data), array.dtype.str, list(array.shape)]})
        self.data += array.tobytes()

    def _object(self, value: object, where: str) -> None:
        kind = type(value)
        if isinstance(value, Enum) or not _is_known(kind.__module__):
            raise TypeError(
                f"{where}: a {kind.__module__}.{kind.__qualname__} cannot be kept in a checkpoint; state "
                f"consists of numbers, text, arrays, collections and objects of {', '.join(PACKAGES)}"
            )
        self.layout += f'{{"object": ["{kind.__module__}", "{kind.__qualname__}", {{'.encode()
        for i, (name, held) in enumerate(_attributes(value)):
            self.layout += f'{", " if i else ""}"{name}": '.encode()
            self.node(held, f"{where}.{name}")
        self.layout += b"}]}"

    def _say(self, value: object) -> None:
        self.layout += json.dumps(value).encode()


class _Reader:
    """Makes values of the tree, in the order in which `_Writer` numbered them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._kept: list[Any] = []

    def value(self, node: Value) -> Value:
        if not isinstance(node, dict):
            return node
        ((kind, content),) = node.items()
        if kind == "float":
            return float(content)
        if kind == "again":
            return self._kept[content]
        if kind in ("bytes", "scalar"):
            array = self._array(content)
            return array.tobytes() if kind == "bytes" else array[()]
        place = len(self._kept)
        self._kept.append(None)
        self._kept[place] = self._numbered(kind, content, place)
        return self._kept[place]

    def _numbered(self, kind: str, content: Value, place: int) -> Value:
        if kind == "array":
            return self._array(content)
        if kind in _MAPPINGS:
            mapping = self._kept[place] = _MAPPINGS[kind]()
            for key, value in content:
                mapping[self.value(key)] = self.value(value)
            return mapping
        if kind == "list":
            made: list[Value] = []
            self._kept[place] = made
            made.extend(self.value(one) for one in content)
            return made
        if kind in _SEQUENCES:
            return _SEQUENCES[kind](self.value(one) for one in content)
        if kind == "random":
            generator = np.random.Generator(getattr(np.random, content[0])())
            generator.bit_generator.state = content[1]
            return generator
        if kind == "object":
            module, name, held = content
            return self._object(f"{module}:{name}", held, place)
        raise ValueError(f"unknown kind {kind!r}")

    def _array(self, content: Value) -> NDArray[Any]:
        begin, dtype, shape = content
        count = math.prod(shape)
        if not count:
            return np.zeros(shape, np.dtype(dtype))
        return np.frombuffer(self._data, np.dtype(dtype), count, begin).reshape(shape).copy()

    def _object(self, path: str, held: dict[str, Value], place: int) -> Value:
        module, _, name = path.partition(":")
        if not _is_known(module):
            raise ValueError(f"{module} is none of {', '.join(PACKAGES)}")
        kind: Any = importlib.import_module(module)
        for part in name.split("."):
            kind = getattr(kind, part)
        if not isinstance(kind, type):
            raise TypeError(f"{module}.{name} is no class")
        made: Value = object.__new__(kind)
        self._kept[place] = made
        if is_dataclass(kind) and {field.name for field in fields(kind)} != set(held):
            raise ValueError(f"{name} has other fields by now")
        for field_name, node in held.items():
            object.__setattr__(made, field_name, self.value(node))
        return made


def _is_known(module: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in PACKAGES)


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    """Yield every attribute that an object itself holds, whatever its class is made of."""
    kind: type = type(value)
    for name in dict.fromkeys([*_slots_of(kind), *getattr(value, "__dict__", {})]):
        if hasattr(value, name):
            yield name, getattr(value, name)


@cache
def _slots_of(kind: type) -> tuple[str, ...]:
    return tuple(name for base in kind.__mro__ for name in _slots(base))


def _slots(kind: type) -> tuple[str, ...]:
    names = kind.__dict__.get("__slots__", ())
    found = (names,) if isinstance(names, str) else tuple(names)
    return tuple(name for name in found if name not in ("__dict__", "__weakref__"))
