"""Ground truth beside a scan; only evaluation and the oracle back ends read it.

The folder holds ``gt_instances.txt`` (a line per vertex: label id * 1000 + object id), ``gt_parts.txt``
(part id), ``gt_structural.txt`` (1 = wall, floor, ceiling), ``hierarchy.json`` (which part belongs to
which object) and 16-bit label images ``instance/<frame>.png`` and ``part/<frame>.png``; 0 = none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import read_bytes, read_label_map
from my3dis.errors import DataError
from my3dis.types.checks import frozen_array

__all__ = ["GroundTruth", "load_frame_labels", "load_ground_truth"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GroundTruth:
    """Labels of the P vertices of a scan's mesh, and the tree of its objects and parts.

    Attributes:
        instances: (P,) int32 label id * 1000 + object id, 0 = none, or None when not given.
        parts: (P,) int32 part id, 0 = none, or None.
        structural: (P,) bool, True on walls, floor and ceiling, or None.
        object_of_part: (part id, object id) pairs, ascending by part.
        structural_objects: object ids of walls, floor and ceiling.

    The arrays are not compared with each other here: the evaluator compares them with the prediction.
    """

    instances: NDArray[np.int32] | None = None
    parts: NDArray[np.int32] | None = None
    structural: NDArray[np.bool_] | None = None
    object_of_part: tuple[tuple[int, int], ...] = ()
    structural_objects: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for name, dtype in (("instances", np.int32), ("parts", np.int32), ("structural", np.bool_)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, frozen_array(value, f"GroundTruth.{name}", (None,), dtype))


def load_ground_truth(folder: Path) -> GroundTruth:
    """Load what a ground truth folder has; files that are absent give None or empty fields.

    Raises:
        DataError: if the folder is missing, or a file in it is broken.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a ground truth folder, found none; check the path")
    structural = _labels(folder / "gt_structural.txt")
    object_of_part, structural_objects = _hierarchy(folder / "hierarchy.json")
    return GroundTruth(
        instances=_labels(folder / "gt_instances.txt"),
        parts=_labels(folder / "gt_parts.txt"),
        structural=None if structural is None else structural != 0,
        object_of_part=object_of_part,
        structural_objects=structural_objects,
    )


def load_frame_labels(folder: Path, frame_name: str, kind: Literal["instance", "part"]) -> NDArray[np.int32]:
    """Load one frame's label image.

    Args:
        folder: the ground truth folder.
        frame_name: stem of the frame's colour file.
        kind: ``instance`` for object ids, ``part`` for part ids.

    Returns:
        (H, W) int32, 0 = none.

    Raises:
        DataError: if the image is missing, truncated or not single-channel.
    """
    return read_label_map(folder / kind / f"{frame_name}.png")


def _labels(path: Path) -> NDArray[np.int32] | None:
    if not path.exists():
        return None
    expected = "one whole number a line"
    words = read_bytes(path, expected).split()
    try:
        values = np.array(words, dtype=np.bytes_).astype(np.int64)
    except (ValueError, OverflowError):
        values = None
    if values is None or bool((values < 0).any()) or bool((values > np.iinfo(np.int32).max).any()):
        line, word = next((i, w) for i, w in enumerate(words, start=1) if not _is_label(w))
        raise DataError(
            f"{path}: expected {expected}, found {word.decode('utf-8', 'replace')!r} as entry {line}; "
            "write the ground truth again"
        )
    return values.astype(np.int32)


def _is_label(word: bytes) -> bool:
    return word.isdigit() and int(word[:20]) <= np.iinfo(np.int32).max


def _hierarchy(path: Path) -> tuple[tuple[tuple[int, int], ...], frozenset[int]]:
    if not path.exists():
        return (), frozenset()
    try:
        tree = json.loads(read_bytes(path, "a JSON tree of objects and parts"))
        objects = _mapping(tree, "objects")
        parts = _mapping(tree, "parts")
        pairs = tuple(sorted((int(part), int(str(entry["object"]))) for part, entry in parts.items()))
        structural = frozenset(int(key) for key, entry in objects.items() if entry.get("structural", False))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f'{path}: expected {{"objects": {{id: {{"structural"}}}}, "parts": {{id: {{"object"}}}}}}, '
            f"found something else ({type(error).__name__}: {error}); write the ground truth again"
        ) from error
    return pairs, structural


def _mapping(tree: object, key: str) -> Mapping[str, Mapping[str, object]]:
    if not isinstance(tree, dict) or not isinstance(tree.get(key), dict):
        raise TypeError(f"{key!r} is no object")
    section: Mapping[str, Mapping[str, object]] = tree[key]
    return section
