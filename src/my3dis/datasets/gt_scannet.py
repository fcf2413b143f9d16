"""Ground truth of ScanNet and ScanNet++: segments of the mesh, and which of them make up each object.

Vertex instance = objectId + 1 where the vertex's segment is listed. Categories become NYU40 numbers by the
data set's table, ``scannetv2-labels.combined.tsv``, where that lies beside the scan or in a folder above;
otherwise by their names. Source: ScanNet (Dai et al., CVPR 2017), benchmark scripts.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import list_files, read_bytes
from my3dis.datasets.ground_truth import GroundTruth
from my3dis.datasets.labels import instance_ids, label_id
from my3dis.errors import DataError

__all__ = ["Group", "load_scannet", "load_scannetpp", "read_groups", "read_segments", "truth_of_groups"]

_TABLE = "scannetv2-labels.combined.tsv"
_STRUCTURAL = (1, 2, 22)
_LEVELS_UP = 3


@dataclass(frozen=True, slots=True)
class Group:
    """An annotated object: its id, from 1, its category, and its segments."""

    number: int
    category: str
    segments: tuple[int, ...]


def load_scannet(aggregation: Path) -> GroundTruth:
    """Load ground truth for the vertices of ``*_vh_clean_2.ply``, in its order.

    Args:
        aggregation: ``<scan>.aggregation.json``; ``*_vh_clean_2.*.segs.json`` must lie beside it.

    Raises:
        DataError: if a file is missing or broken.
    """
    folder = aggregation.parent
    segments = [p for p in list_files(folder, (".json",)) if _is_segments(p)]
    if not segments:
        raise DataError(
            f"{folder}: expected *_vh_clean_2.0.010000.segs.json beside {aggregation.name}, found none; "
            "download the segments of the scan"
        )
    groups = read_groups(aggregation, first=0)
    return truth_of_groups(groups, read_segments(segments[0]), _table(folder), str(aggregation))


def load_scannetpp(annotations: Path) -> GroundTruth:
    """Load ground truth for the vertices of ``mesh_aligned_0.05.ply``, in its order.

    Args:
        annotations: ``segments_anno.json``; ``segments.json`` must lie beside it.

    Raises:
        DataError: if a file is missing or broken.
    """
    groups = read_groups(annotations, first=1)
    return truth_of_groups(
        groups, read_segments(annotations.with_name("segments.json")), {}, str(annotations)
    )


def read_segments(path: Path) -> NDArray[np.int64]:
    """Return (P,) the segment of each vertex.

    Raises:
        DataError: if the file is missing or holds something else.
    """
    expected = 'segments with "segIndices", a whole number a vertex'
    try:
        found = np.array(json.loads(read_bytes(path, expected))["segIndices"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: expected {expected}, found something else ({type(error).__name__}: {error}); "
            "download the file again"
        ) from error
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "iu":
        raise DataError(
            f"{path}: expected {expected}, found {found.dtype} of shape {found.shape}; "
            "download the file again"
        )
    return found.astype(np.int64)


def read_groups(path: Path, *, first: int) -> tuple[Group, ...]:
    """Return the annotated objects.

    Args:
        path: a file of ``segGroups``.
        first: the id that becomes 1: ScanNet counts from 0, others from 1.

    Raises:
        DataError: if the file is missing or holds something else.
    """
    expected = 'objects in "segGroups", each with "objectId", "label" and "segments"'
    try:
        listed = json.loads(read_bytes(path, expected))["segGroups"]
        return tuple(
            Group(int(g["objectId"]) + 1 - first, str(g["label"]), tuple(int(s) for s in g["segments"]))
            for g in listed
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: expected {expected}, found something else ({type(error).__name__}: {error}); "
            "download the file again"
        ) from error


def truth_of_groups(
    groups: tuple[Group, ...], segments: NDArray[np.int64], table: Mapping[str, int], source: str
) -> GroundTruth:
    """Return ground truth of objects that are made of segments; where two list a segment, the later counts.

    Args:
        groups: the objects.
        segments: (P,) the segment of each vertex.
        table: category → NYU40 number; categories that are not in it go by their names.
        source: where the objects are from, for messages.

    Raises:
        DataError: if an object's number is not in 1..999.
    """
    known, of_vertex = np.unique(segments, return_inverse=True)
    owner = np.zeros(len(known), np.int64)
    for group in groups:
        if group.number < 1:
            raise DataError(f"{source}: expected objects counted up from the first, found {group.number - 1}")
        owner[np.isin(known, group.segments)] = group.number
    objects = owner[of_vertex]
    labels = {g.number: table.get(g.category) or label_id(g.category) for g in groups}
    structural = frozenset(n for n, label in labels.items() if label in _STRUCTURAL)
    return GroundTruth(
        instances=instance_ids(objects, labels, source),
        structural=np.isin(objects, sorted(structural)),
        structural_objects=structural,
    )


def _is_segments(path: Path) -> bool:
    return "_vh_clean_2." in path.name and path.name.endswith(".segs.json")


def _table(folder: Path) -> dict[str, int]:
    """Return category → NYU40 number of the data set's table, or nothing where there is no table."""
    for place in (folder, *folder.resolve().parents[:_LEVELS_UP]):
        path = place / _TABLE
        if path.is_file():
            return _read_table(path)
    return {}


def _read_table(path: Path) -> dict[str, int]:
    expected = "columns raw_category and nyu40id, with tabs between"
    try:
        rows = csv.DictReader(read_bytes(path, expected).decode("utf-8").splitlines(), delimiter="\t")
        return {row["raw_category"]: int(row["nyu40id"]) for row in rows if row["nyu40id"]}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(
            f"{path}: expected {expected}, found something else ({type(error).__name__}: {error}); "
            "download the table again, or remove it to go by names"
        ) from error
