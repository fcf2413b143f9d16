"""Ground truth beside a scan; only evaluation and the oracle back ends read it.

The folder holds ``gt_instances.txt`` (a line per vertex: label id * 1000 + object id), ``gt_parts.txt``
(part id), ``gt_structural.txt`` (1 = wall, floor, ceiling), ``hierarchy.json`` (which part belongs to
which object) and 16-bit label images ``instance/<frame>.png`` and ``part/<frame>.png``; 0 = none.

A single file is read too: text with an id per vertex, as benchmarks have it, or ``.npz`` with the arrays
``instances``, ``parts``, ``structural`` (each (P,)), ``object_of_part`` ((M, 2) part and object) and
``structural_objects``, of which it needs ``instances`` or ``parts`` only.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import read_bytes, read_color, read_label_map
from my3dis.errors import DataError
from my3dis.types.checks import frozen_array

__all__ = [
    "GroundTruth",
    "load_annotation",
    "load_frame_labels",
    "load_ground_truth",
    "load_vertex_ids",
    "load_vertex_truth",
]

_DAMAGE = (ValueError, KeyError, TypeError, EOFError, OverflowError, NotImplementedError, RuntimeError)
_PNG_HEAD, _PNG_COLOR_TYPE, _PNG_PALETTE = 26, 25, 3
_VOID_INDEX = 255


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


def load_annotation(path: Path) -> NDArray[np.int32]:
    """Load one frame's annotation of a video, 0 = none; (H, W) int32.

    Either one channel of object ids, or a PNG with a palette of the VOC kind, as DAVIS 2017 has them; 255 in
    a palette is void and becomes -1.

    Raises:
        DataError: if the image is missing, truncated or of another kind.
    """
    head = read_bytes(path, "a PNG of object ids")[:_PNG_HEAD]
    if len(head) < _PNG_HEAD or head[_PNG_COLOR_TYPE] != _PNG_PALETTE:
        return read_label_map(path)
    colours = read_color(path).astype(np.int32)
    ids = np.zeros(colours.shape[:2], np.int32)
    # Each group of three bits of an id goes to one bit of red, green and blue, the highest first.
    for group in range(3):
        for channel in range(3):
            ids |= ((colours[..., channel] >> (7 - group)) & 1) << (3 * group + channel)
    ids[ids == _VOID_INDEX] = -1
    return ids


def load_vertex_truth(path: Path) -> GroundTruth:
    """Load an ``.npz`` of ground truth.

    Raises:
        DataError: if it is damaged, or has neither ``instances`` nor ``parts``.
    """
    expected = "an .npz of whole numbers: instances or parts (P,), perhaps structural, object_of_part"
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: np.asarray(file[name]) for name in file.files}
        nothing = np.zeros(0, np.int32)
        pairs, whole = (
            _whole(found.get(name, nothing).ravel()) for name in ("object_of_part", "structural_objects")
        )
        structural = found.get("structural")
        if structural is not None and structural.dtype.kind not in "biu":
            raise ValueError(f"structural flags of {structural.dtype}")
        truth = GroundTruth(
            instances=_whole(found["instances"]) if "instances" in found else None,
            parts=_whole(found["parts"]) if "parts" in found else None,
            structural=None if structural is None else structural.astype(np.bool_),
            object_of_part=tuple(sorted((int(part), int(of)) for part, of in pairs.reshape(-1, 2).tolist())),
            structural_objects=frozenset(whole.tolist()),
        )
    except OSError as error:
        raise DataError(f"{path}: expected {expected}, found no readable file ({error})") from error
    except (*_DAMAGE, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: expected {expected}, found something else ({error})") from error
    if truth.instances is None and truth.parts is None:
        raise DataError(f"{path}: expected {expected}, found {', '.join(found) or 'nothing'}")
    return truth


def _whole(values: NDArray[np.generic]) -> NDArray[np.int32]:
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(f"an array of {values.dtype} and shape {values.shape}")
    wide = values.astype(np.int64)
    if len(wide) and not 0 <= int(wide.min()) <= int(wide.max()) <= np.iinfo(np.int32).max:
        raise ValueError(f"ids {wide.min()}..{wide.max()}")
    return wide.astype(np.int32)


def load_vertex_ids(path: Path) -> NDArray[np.int32]:
    """Load (P,) ids from a text file with one whole number per vertex.

    Raises:
        DataError: if it is missing or holds something else, naming the entry.
    """
    values = _labels(path)
    if values is None:
        raise DataError(f"{path}: expected one whole number a line, found no file; check the path")
    return values


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
