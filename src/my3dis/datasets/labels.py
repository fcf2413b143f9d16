"""Categories of annotated objects as NYU40 numbers, and ids of vertices made of both."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError

__all__ = ["NONE", "OTHER", "instance_ids", "label_id"]

NONE = 0
OTHER = 40
"""NYU40's "otherprop", for every category that has no number of its own."""

_MOST_OBJECTS = 999
_NYU40_NAMES = """
wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds desk shelves curtain
dresser pillow mirror floor_mat clothes ceiling books refrigerator television paper towel shower_curtain box
whiteboard person nightstand toilet sink lamp bathtub bag otherstructure otherfurniture otherprop
"""
_NYU40 = {name: number for number, name in enumerate(_NYU40_NAMES.split(), start=1)}


def label_id(category: str) -> int:
    """Return the NYU40 number of a category's name; spaces count as underscores; 40 where it has none."""
    return _NYU40.get(category.strip().lower().replace(" ", "_"), OTHER)


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
