"""Who is part of whom in old runs: trees over tracked objects, and trees over the candidates of a frame.

Trees over tracked objects: ``relations/sam2_tree.json`` or ``relations.json`` as
``{"hierarchy": {level: {id: {"parent"}}}}``, older ones as ``{"objects": [{"id": "L04_00012", "parent"}]}``,
or ``level_<L>/relations/tree.json`` as ``[{"id", "parent", "children"}]``. A parent is named by its id alone,
which is unique in its level only: it is looked for on the nearest coarser level.

Trees over the candidates of a frame: ``_progressive_tmp/pr_<frame>/relations/tree.json`` as
``{level: [{"id", "parent", "children"}]}``, in the order of the candidates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from my3dis.archive.legacy.containers import open_regular
from my3dis.archive.legacy.json_stream import JsonCursor
from my3dis.archive.legacy.masks import whole_number
from my3dis.archive.legacy.run import LegacyRun
from my3dis.errors import DataError

__all__ = ["Node", "ObjectTree", "frame_tree", "object_trees"]

_OLD_ID = re.compile(r"L(\d{1,4})_(\d{1,10})")


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a tree: an id of a level, and the id of its parent, None for a root."""

    level: int
    id: int
    parent: int | None


@dataclass(frozen=True, slots=True)
class ObjectTree:
    """A tree over tracked objects.

    Attributes:
        path: the file that holds it, or the first of several.
        nodes: every node.
    """

    path: Path
    nodes: tuple[Node, ...]

    def parents(self) -> Mapping[tuple[int, int], tuple[int, int]]:
        """Return (level, id) of the parent for (level, id) of every node that has one.

        Raises:
            DataError: if a parent is on no coarser level.
        """
        known = {(node.level, node.id) for node in self.nodes}
        levels = sorted({node.level for node in self.nodes}, reverse=True)
        found = {}
        for node in self.nodes:
            if node.parent is None:
                continue
            coarser = (level for level in levels if level < node.level)
            level = next((level for level in coarser if (level, node.parent) in known), None)
            if level is None:
                raise DataError(
                    f"{self.path}: expected the parent of object {node.id} of level {node.level} on a "
                    f"coarser level, found no object {node.parent} there"
                )
            found[node.level, node.id] = (level, node.parent)
        return found


def object_trees(run: LegacyRun) -> Iterator[ObjectTree]:
    """Yield the trees over tracked objects that the run has, the most telling first.

    Raises:
        DataError: if one is damaged.
    """
    for path in (run.root / "relations" / "sam2_tree.json", run.root / "relations.json"):
        if path.exists():
            yield ObjectTree(path, tuple(_nodes_of_file(path)))
    per_level = [(level.level, run.root / f"level_{level.level}") for level in run.levels]
    paths = [(n, folder / "relations" / "tree.json") for n, folder in per_level]
    paths = [(n, path) for n, path in paths if path.exists()]
    if paths:
        nodes = tuple(node for level, path in paths for node in _nodes_of_list(path, level))
        yield ObjectTree(paths[0][1], nodes)


def frame_tree(run: LegacyRun, name: str | None) -> tuple[Node, ...]:
    """Return the tree over the candidates of a frame, empty where the run has none.

    Args:
        run: the old run.
        name: of the frame's colour file.

    Raises:
        DataError: if it is damaged.
    """
    stem = Path(name).stem if name else ""
    if not re.fullmatch(r"[\w-][\w.-]*", stem):  # the name is part of a path
        return ()
    path = run.root / "_progressive_tmp" / f"pr_{stem}" / "relations" / "tree.json"
    return tuple(_nodes_of_file(path)) if path.exists() else ()


def _nodes_of_file(path: Path) -> Iterator[Node]:
    owner = str(path)
    with open_regular(path) as handle:
        cursor = JsonCursor(handle, owner)
        for key in cursor.members():
            if key in ("hierarchy", "tree"):
                for level in cursor.members():
                    yield from _nodes_of_level(cursor, whole_number(level, f"{owner}: level"), owner)
            elif key == "objects":
                for _ in cursor.elements():
                    yield _old_node(cursor.value(), owner)
            elif key.isdecimal():
                yield from _nodes_of_level(cursor, whole_number(key, f"{owner}: level"), owner)
            else:
                cursor.skip()
        cursor.finish()


def _nodes_of_list(path: Path, level: int) -> Iterator[Node]:
    with open_regular(path) as handle:
        cursor = JsonCursor(handle, str(path))
        yield from _nodes_of_level(cursor, level, str(path))
        cursor.finish()


def _nodes_of_level(cursor: JsonCursor, level: int, owner: str) -> Iterator[Node]:
    """Yield the nodes of an object ``{id: node}`` or an array ``[node]``."""
    if cursor.peek() == "{":
        for key in cursor.members():
            yield _node(level, key, cursor.value(), owner)
    else:
        for _ in cursor.elements():
            value = cursor.value()
            yield _node(level, value.get("id") if isinstance(value, dict) else None, value, owner)


def _node(level: int, number: object, value: object, owner: str) -> Node:
    if not isinstance(value, dict):
        raise DataError(f"{owner}: expected an object for each node, found {type(value).__name__}")
    parent = value.get("parent")
    return Node(
        level,
        whole_number(number, f"{owner}: id"),
        None if parent is None else whole_number(parent, f"{owner}: parent"),
    )


def _old_node(value: object, owner: str) -> Node:
    name = str(value.get("id")) if isinstance(value, dict) else ""
    found = _OLD_ID.fullmatch(name)
    if found is None or not isinstance(value, dict):
        raise DataError(f"{owner}: expected ids such as L04_00012, found {name[:40]!r}")
    parent = value.get("parent")
    named = _OLD_ID.fullmatch(parent) if isinstance(parent, str) else None
    number = named[2] if named else parent
    return Node(
        whole_number(found[1], owner),
        whole_number(found[2], owner),
        None if number is None else whole_number(number, f"{owner}: parent"),
    )
