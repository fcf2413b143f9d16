"""Read YAML the way its version 1.2 means it, and say where it is wrong.

PyYAML follows version 1.1, in which ``off`` is false, ``1:20:2`` is a number in base 60 and ``010`` is 8.
Here only ``true`` and ``false`` are booleans, numbers are decimal, and a key given twice is an error.

Settings are small. A file that claims to be more than that (nested without end, or a few anchors that unfold
into billions of values) is refused before anything is unfolded.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path

import yaml

from my3dis.errors import ConfigError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "read_yaml_file", "read_yaml_value"]

MAX_BYTES = 1 << 20
"""The largest settings file that is read."""

MAX_DEPTH = 32
"""The deepest nesting; settings need four."""

MAX_VALUES = 100_000
"""The most values that a document may have once its anchors are unfolded."""

# What PyYAML's constructors let through when a tag stands before something else, such as `!!timestamp x`.
_ODD_VALUE = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own shape)
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse nesting that would end in a RecursionError, here or in whoever reads the result."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(
                None, None, f"nested more than {MAX_DEPTH} deep", self.get_mark()
            )
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Refuse a key that is given twice; the second would win silently."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {key.value!r} is given twice, first on line {lines[key.value]}",
                    key.start_mark,
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep)


for tag, pattern, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
):
    starts = ["" if letter == "\0" else letter for letter in first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), starts)


def read_yaml_value(text: str) -> object:
    """Return what a value on the command line or in the environment means; odd text stays text."""
    try:
        return _load(text)
    except yaml.YAMLError:
        return text


def read_yaml_file(path: Path) -> dict[str, object]:
    """Return the settings of a YAML file as nested data; an empty file has none.

    Raises:
        ConfigError: if the file is missing, unreadable, no YAML (naming the line) or no mapping.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(
                f"{path}: expected a settings file of at most {MAX_BYTES} bytes, found {size}; "
                "is this another file?"
            )
        value = _load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"expected a settings file at {path}, found none; check the path") from error
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected YAML in UTF-8, found other bytes; is this a settings file?"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise ConfigError(
            f"{where}: this is no YAML: {error.problem or error.context}; mend that line"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: this is no YAML: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(
            f"{path}: expected sections such as 'experiment:' and 'stages:', found {type(value).__name__}"
        )
    return value


def _load(text: str) -> object:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _unfolded(node, (), {})
        value: object = loader.construct_document(node)
    except _ODD_VALUE as error:
        raise yaml.YAMLError(f"a value is not of the kind that it claims to be ({error})") from error
    finally:
        loader.dispose()
    return value


def _unfolded(node: yaml.Node, above: tuple[yaml.Node, ...], known: dict[int, int]) -> int:
    """Return how many values a node has once every anchor in it is unfolded.

    Raises:
        yaml.MarkedYAMLError: if there are too many, or a node contains itself.
    """
    if id(node) in known:
        return known[id(node)]
    if any(node is other for other in above):
        raise yaml.MarkedYAMLError(None, None, "an anchor contains itself", node.start_mark)
    if len(above) > MAX_DEPTH:
        raise yaml.MarkedYAMLError(None, None, f"nested more than {MAX_DEPTH} deep", node.start_mark)
    total = 1
    if isinstance(node, yaml.CollectionNode):
        inner = (
            node.value if isinstance(node, yaml.SequenceNode) else [n for pair in node.value for n in pair]
        )
        total += sum(_unfolded(child, (*above, node), known) for child in inner)
    if total > MAX_VALUES:
        raise yaml.MarkedYAMLError(None, None, f"more than {MAX_VALUES} values", node.start_mark)
    known[id(node)] = total
    return total
