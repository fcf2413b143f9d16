"""Categories of annotated objects as NYU40 numbers, and ids of vertices made of both."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError

__all__ = ["NONE", "OTHER", "STRUCTURAL_NAMES", "instance_ids", "label_id", "majority"]

NONE = 0
OTHER = 40
"""NYU40's "otherprop", for every category that has no number of its own."""
STRUCTURAL_NAMES = ("wall", "floor", "ceiling")

_MOST_OBJECTS = 999
_NYU40_NAMES = """
wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds desk shelves curtain
dresser pillow mirror floor_mat clothes ceiling books refrigerator television paper towel shower_curtain box
whiteboard person nightstand toilet sink lamp bathtub bag otherstructure otherfurniture otherprop
"""
_NYU40 = {name.replace("_", ""): number for number, name in enumerate(_NYU40_NAMES.split(), start=1)}


def label_id(category: str) -> int:
    """Return the NYU40 number of a category's name, however its words are joined; 40 where it has none."""
    return _NYU40.get("".join(category.lower().replace("_", " ").split()), OTHER)


def instance_ids(
    object_of_vertex: NDArray[np.int64], labels: Mapping[int, int], source: str
) -> NDArray[np.int32]:
    """Return (P,) label id * 1000 + object id, 0 where a vertex has no object.

    Args:
        object_of_vertex: (P,) object ids, 0 = none.
        labels: object id → label id.
        source: where the objects are from, for messages.

    Raises:
        DataError: if an object's id needs more than three digits.
    """
    top = int(object_of_vertex.max(initial=0))
    if top > _MOST_OBJECTS:
        raise DataError(
            f"{source}: expected object ids up to {_MOST_OBJECTS}, found {top}; "
            "number the objects of the scan anew"
        )
    table = np.zeros(top + 1, np.int64)
    for number, label in labels.items():
        if 0 < number <= top:
            table[number] = label * 1000 + number
    return table[object_of_vertex].astype(np.int32)


def majority(corners: NDArray[np.int32], labels: NDArray[np.int64], vertices: int) -> NDArray[np.int64]:
    """Return (vertices,) the label of most triangles at a vertex; of equally many, the smaller one.

    Args:
        corners: (F, 3) vertex indices.
        labels: (F,) labels of at least 0, 0 = none.
        vertices: number of vertices; those without a triangle have 0.
    """
    top = int(labels.max(initial=0)) + 1
    keys = (corners.astype(np.int64) * top + labels[:, None]).ravel()
    values, counts = np.unique(keys, return_counts=True)
    vertex, label = values // top, values % top
    # The last of a vertex after sorting by count, then by falling label.
    order = np.lexsort((-label, counts, vertex))
    winners = np.zeros(vertices, np.int64)
    winners[vertex[order]] = label[order]
    return winners
