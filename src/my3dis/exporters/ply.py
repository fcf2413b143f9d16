"""Coloured points per instance as binary PLY, for MeshLab, CloudCompare, Open3D and the like.

``OUT`` ending in ``.ply`` gives one file, coloured by the instances of the coarsest level; any other ``OUT``
is a folder with ``level_<L>.ply`` for every level. Every file holds all points of the scan in the order of
``instances.npz`` with one integer property ``instance_level_<L>`` per level (-1 = no instance there);
points of no instance are grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.archive.instances import read_instances
from my3dis.datasets.ply import read_ply
from my3dis.errors import DataError
from my3dis.exporters.writing import new_file
from my3dis.masks.palette import colors_for_ids
from my3dis.protocols import ExporterPlugin
from my3dis.types import NO_ID, InstanceSet

__all__ = ["PLUGIN", "export", "instance_of_points", "instances_to_ply", "points_to_ply"]


def points_to_ply(
    xyz_m: NDArray[np.float32],
    color: NDArray[np.uint8],
    properties: Sequence[tuple[str, NDArray[np.int32]]] = (),
) -> bytes:
    """Return a binary little-endian PLY file of points.

    Args:
        xyz_m: (P, 3) metres.
        color: (P, 3) uint8 RGB.
        properties: further (name, (P,) int32) values per point.
    """
    record = np.dtype(
        [
            *((axis, "<f4") for axis in ("x", "y", "z")),
            *((channel, "u1") for channel in ("red", "green", "blue")),
            *((name, "<i4") for name, _ in properties),
        ]
    )
    rows = np.zeros(len(xyz_m), record)
    for i, (axis, channel) in enumerate(zip(("x", "y", "z"), ("red", "green", "blue"), strict=True)):
        rows[axis], rows[channel] = xyz_m[:, i], color[:, i]
    for name, values in properties:
        rows[name] = values
    names = {"<f4": "float", "|u1": "uchar", "<i4": "int"}
    header = ["ply", "format binary_little_endian 1.0", "comment My3DIS", f"element vertex {len(rows)}"]
    header += [f"property {names[np.dtype(record[name]).str]} {name}" for name in record.names or ()]
    return ("\n".join([*header, "end_header"]) + "\n").encode("ascii") + rows.tobytes()


def instance_of_points(instances: InstanceSet, level: int) -> NDArray[np.int32]:
    """Return (P,) int32 ``instance_id`` of each point at a level, -1 = none; the surest wins."""
    of_point = np.full(instances.n_points, NO_ID, np.int32)
    at_level = np.flatnonzero(instances.level == level)
    for position in at_level[np.argsort(instances.score[at_level], kind="stable")].tolist():
        of_point[instances.points_of(position)] = instances.instance_id[position]
    return of_point


def instances_to_ply(xyz_m: NDArray[np.float32], instances: InstanceSet, level: int | None = None) -> bytes:
    """Return all points as PLY, coloured by the instances of a level (None = the coarsest).

    Args:
        xyz_m: (P, 3) metres, the cloud that the instances refer to.
        instances: of that cloud.
        level: which instances give the colours.

    Raises:
        DataError: if the cloud has another number of points than the instances say.
    """
    if len(xyz_m) != instances.n_points:
        raise DataError(
            f"expected the {instances.n_points} points that the instances refer to, found {len(xyz_m)}; "
            "run the stage lift again"
        )
    levels = np.unique(instances.level).tolist()
    columns = [(f"instance_level_{number}", instance_of_points(instances, number)) for number in levels]
    chosen = levels[0] if level is None and levels else level
    shown = np.full(len(xyz_m), NO_ID, np.int32) if chosen is None else instance_of_points(instances, chosen)
    return points_to_ply(xyz_m, colors_for_ids(shown), columns)


def export(run_dir: Path, out: Path) -> tuple[Path, ...]:
    """Write a run's instances as coloured points; see the module for what ``out`` means.

    Raises:
        DataError: if the run has no instances.
        ResourceError: if a file cannot be written.
    """
    instances = read_instances(run_dir / "instances.npz")
    # The scan may be gone by now; the points are in the run's own picture of the result.
    points = read_ply(run_dir / "instances.ply")
    if out.suffix.lower() == ".ply":
        return (_write(out, instances_to_ply(points.xyz_m, instances)),)
    return tuple(
        _write(out / f"level_{level}.ply", instances_to_ply(points.xyz_m, instances, level))
        for level in np.unique(instances.level).tolist()
    )


def _write(path: Path, data: bytes) -> Path:
    with new_file(path) as unfinished:
        unfinished.write_bytes(data)
    return path


PLUGIN = ExporterPlugin(summary="coloured points per instance, one file or one per level", export=export)
