"""Ground truth of MultiScan: the object and part of every triangle, and what the objects are called.

A vertex gets the label that most of its triangles have; of equally many, the smaller one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import read_bytes
from my3dis.datasets.ground_truth import GroundTruth
from my3dis.datasets.labels import NONE, STRUCTURAL_NAMES, instance_ids, label_id, majority
from my3dis.datasets.ply import read_faces
from my3dis.datasets.truth_files import MULTISCAN
from my3dis.errors import DataError

__all__ = ["load_multiscan"]


@dataclass(frozen=True, slots=True)
class _Object:
    """An annotated object: its category without index, and the parts that it names."""

    category: str
    parts: tuple[int, ...]


def load_multiscan(annotations: Path) -> GroundTruth:
    """Load ground truth for the vertices of ``<scan>.ply``, in its order.

    Both published variants are read: with ``objectId`` and ``partIds``, and the older one, in which the
    objects are numbered from 1 as they are listed.

    Raises:
        DataError: if the annotations or the mesh are missing or broken, or the mesh has no labels.
    """
    objects = _objects(annotations)
    mesh = annotations.with_name(annotations.name.removesuffix(MULTISCAN) + ".ply")
    vertices, faces = read_faces(mesh)
    owner, part = (_labels(faces.properties, name, mesh) for name in ("objectId", "partId"))
    known = np.array(
        sorted(n for n, o in objects.items() if not o.category.lower().startswith("remove")), np.int64
    )
    kept = np.isin(owner, known)
    owner = np.where(kept, owner, NONE)
    part = np.where(kept, part, NONE)
    of_vertex = majority(faces.corners, owner, vertices)
    part_of_vertex = majority(faces.corners, part, vertices)
    structural = frozenset(n for n, o in objects.items() if o.category in STRUCTURAL_NAMES)
    labels = {n: label_id(o.category) for n, o in objects.items()}
    return GroundTruth(
        instances=instance_ids(of_vertex, labels, str(annotations)),
        parts=part_of_vertex.astype(np.int32),
        structural=np.isin(of_vertex, sorted(structural)),
        object_of_part=_object_of_part(objects, owner, part),
        structural_objects=structural,
    )


def _objects(path: Path) -> dict[int, _Object]:
    expected = 'annotations with "objects", each with its "label"'
    try:
        listed = json.loads(read_bytes(path, expected))["objects"]
        found = {}
        for number, entry in enumerate(listed, start=1):
            parts = entry.get("partIds", ())
            category = str(entry["label"]).partition(":")[0].rpartition(".")[0] or str(entry["label"])
            found[int(entry.get("objectId", number))] = _Object(category, tuple(int(p) for p in parts))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: expected {expected}, found something else ({type(error).__name__}: {error}); "
            "download the annotations again"
        ) from error
    return found


def _labels(properties: Mapping[str, NDArray[np.generic]], name: str, mesh: Path) -> NDArray[np.int64]:
    if name not in properties:
        raise DataError(
            f"{mesh}: expected the property {name} of every face, found {', '.join(properties) or 'none'}; "
            "download the mesh that belongs to the annotations"
        )
    return properties[name].astype(np.int64)


def _object_of_part(
    objects: Mapping[int, _Object], owner: NDArray[np.int64], part: NDArray[np.int64]
) -> tuple[tuple[int, int], ...]:
    """Return (part, object) pairs: as annotated, otherwise the object of most triangles of the part."""
    pairs = np.stack([part, owner], axis=1)[(part > 0) & (owner > 0)]
    unique, counts = np.unique(pairs.reshape(-1, 2), axis=0, return_counts=True)
    found = {
        int(p): int(o)
        for (p, o), _ in sorted(zip(unique.tolist(), counts.tolist(), strict=True), key=_rising)
    }
    named = {p: n for n, o in objects.items() for p in o.parts}
    return tuple(sorted((p, named.get(p, o)) for p, o in found.items()))


def _rising(entry: tuple[list[int], int]) -> int:
    return entry[1]
