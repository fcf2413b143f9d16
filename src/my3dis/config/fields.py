"""Every setting by its dotted key, with what it expects: one walk over the schema that all others use."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from my3dis.config.experiment import Frames
from my3dis.config.schema import Config

__all__ = ["ENV_PREFIX", "SECTIONS", "SETTINGS", "Setting", "nearest_key", "value_of", "variable_of"]

ENV_PREFIX = "MY3DIS_"
NESTING = "__"
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of the schema.

    Attributes:
        key: dotted path such as ``stages.ssam.min_area``.
        expected: what a value must be, in words.
        default: the value without any setting.
        description: what the setting does, with its unit.
    """

    key: str
    expected: str
    default: object
    description: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return variable_of(self.key)


def variable_of(key: str) -> str:
    """Return the environment variable of a dotted key."""
    return ENV_PREFIX + key.replace(".", NESTING).upper()


def value_of(config: Config, key: str) -> object:
    """Return the value of a dotted key; a section comes back as plain data, frames as a slice.

    Raises:
        KeyError: if there is no such key.
    """
    value: object = config
    for part in key.split("."):
        if not isinstance(value, BaseModel) or part not in type(value).model_fields:
            raise KeyError(key)
        value = getattr(value, part)
    if isinstance(value, Frames):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def nearest_key(wrong: str, keys: typing.Iterable[str] | None = None) -> str | None:
    """Return the dotted key that a mistyped one most likely means, or None when nothing is near.

    The last part counts most, so that a right name in the wrong section is found too.
    """
    wrong = wrong.lower()
    leaf = wrong.rpartition(".")[2]
    best, best_score = None, 0.0
    for key in keys if keys is not None else (*SETTINGS, *SECTIONS):
        whole = difflib.SequenceMatcher(None, wrong, key).ratio()
        last = difflib.SequenceMatcher(None, leaf, key.rpartition(".")[2]).ratio()
        if max(whole, last) >= 0.7 and whole + 2 * last > best_score:
            best, best_score = key, whole + 2 * last
    return best


def _walk(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        yield prefix + name, info
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _walk(annotation, f"{prefix}{name}.")


def _is_section(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)


def _expected(annotation: Any, metadata: list[Any]) -> str:  # noqa: ANN401 (a type expression has no type)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        inner = [part for extra in arguments[1:] for part in getattr(extra, "metadata", [extra])]
        return _expected(arguments[0], [*inner, *metadata])
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else _expected(a, metadata) for a in arguments)
    if origin is Literal:
        return " or ".join(str(a) for a in arguments)
    if origin is list and typing.get_origin(arguments[0]) is Literal:
        return f"a list of {_expected(arguments[0], [])}"
    if origin is list:
        return f"a list of {_PLURALS[arguments[0]]}"
    if origin is tuple:
        return f"a list of {len(arguments)} {_PLURALS[arguments[0]]}"
    return " ".join([_NAMES[annotation], *_bounds(metadata)])


def _bounds(metadata: list[Any]) -> Iterator[str]:
    lower = upper = None
    for part in metadata:
        if isinstance(part, Ge):
            lower = f"{part.ge:g}"
        elif isinstance(part, Gt):
            yield f"above {part.gt:g}"
        elif isinstance(part, Le):
            upper = f"{part.le:g}"
        elif isinstance(part, Lt):
            yield f"below {part.lt:g}"
        elif getattr(part, "pattern", None):
            yield "of letters, digits, - _ . (no dot first)"
    if lower and upper:
        yield f"from {lower} to {upper}"
    elif lower or upper:
        yield f"of at least {lower}" if lower else f"of at most {upper}"


SETTINGS: dict[str, Setting] = {
    key: Setting(key, _expected(info.annotation, info.metadata), info.default, info.description or "")
    for key, info in _walk(Config)
    if not _is_section(info)
}
"""All settings by dotted key, in the schema's order."""

SECTIONS: frozenset[str] = frozenset(key for key, info in _walk(Config) if _is_section(info))
"""Dotted keys that hold settings but are none themselves."""
