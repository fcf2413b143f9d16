"""Turn what the schema refuses into sentences: key, place, expected, found."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from my3dis.config.fields import SECTIONS, SETTINGS

__all__ = ["describe", "shown"]

_LONGEST = 60


def describe(error: ValidationError, place: Callable[[str], str]) -> list[str]:
    """Return one sentence per wrong setting.

    Args:
        error: what the schema raised.
        place: where a dotted key was set, such as ``in run.yaml``.
    """
    sentences: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        key = _key_of(problem["loc"])
        if key in sentences:  # one value that fits none of several types is one problem
            continue
        sentences[key] = f"{key}: {_what(key, problem)} ({place(key)})"
    return list(sentences.values())


def _key_of(location: tuple[int | str, ...]) -> str:
    key = ""
    for part in location:
        longer = f"{key}.{part}" if key else str(part)
        if longer not in SETTINGS and longer not in SECTIONS:
            break
        key = longer
    return key or "settings"


def _what(key: str, problem: ErrorDetails) -> str:
    if problem["type"] == "value_error":  # a check of ours says it itself
        return str(problem["ctx"]["error"])
    expected = SETTINGS[key].expected if key in SETTINGS else "a section with settings in it"
    return f"expected {expected}, found {shown(problem['input'])}"


def shown(value: object) -> str:
    """Return how a value looks in a sentence: as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
