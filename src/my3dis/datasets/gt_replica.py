"""Ground truth of Replica: the object of every face of ``habitat/mesh_semantic.ply``.

The format was read in its description only, not tried on the data. Objects count from 0 there and from 1
here. Source: Straub et al., "The Replica dataset", 2019.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from my3dis.datasets.files import read_bytes
from my3dis.datasets.ground_truth import GroundTruth
from my3dis.datasets.labels import STRUCTURAL_NAMES, instance_ids, label_id, majority
from my3dis.datasets.ply import read_faces
from my3dis.errors import DataError

__all__ = ["load_replica"]

_MESH = "mesh_semantic.ply"


def load_replica(info: Path) -> GroundTruth:
    """Load ground truth for the vertices of ``mesh_semantic.ply``, which lies beside ``info_semantic.json``.

    Raises:
        DataError: if a file is missing or broken, or the mesh has no ``object_id``.
    """
    expected = '"objects", each with "id" and "class_name"'
    try:
        listed = json.loads(read_bytes(info, expected))["objects"]
        classes = {int(o["id"]) + 1: str(o["class_name"]).replace("-", "_") for o in listed}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{info}: expected {expected}, found something else ({type(error).__name__}: {error}); "
            "download the file again"
        ) from error
    mesh = info.with_name(_MESH)
    vertices, faces = read_faces(mesh)
    if "object_id" not in faces.properties:
        raise DataError(
            f"{mesh}: expected the property object_id of every face, found "
            f"{', '.join(faces.properties) or 'none'}; download the mesh of the data set"
        )
    owner = faces.properties["object_id"].astype(np.int64) + 1
    owner = np.where(np.isin(owner, sorted(classes)), owner, 0)
    of_vertex = majority(faces.corners, owner, vertices)
    structural = frozenset(n for n, name in classes.items() if name in STRUCTURAL_NAMES)
    return GroundTruth(
        instances=instance_ids(of_vertex, {n: label_id(name) for n, name in classes.items()}, str(info)),
        structural=np.isin(of_vertex, sorted(structural)),
        structural_objects=structural,
    )
