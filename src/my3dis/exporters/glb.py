"""3D instances as binary glTF 2.0, for Blender, three.js, game engines and every viewer of the kind.

``OUT`` is one ``.glb`` file. Every instance is a node ``level_<L>_instance_<id>`` below the node of its
parent, with ``extras`` ``instance_id level parent_id label score points``; the root node ``scene`` tells the
scene and turns z up, as scans have it, into y up, as glTF has it (``up=y``: the scan is upright already).

``geometry=auto`` (default): the triangles of an instance, those with all three corners in it, where the scan
is still there and is a mesh; else its points. ``geometry=points``: always points; ``geometry=mesh`` refuses
if there is no mesh. Coordinates are metres in the scan's world. Colours are the instances' in the report,
linear as glTF wants them: the material of a surface, the colour of every point.

``parents=whole`` (default): a node has all of its instance, so parents lie over their children where several
levels are shown at once. ``parents=rest``: what the children do not have, so that a node with all nodes below
it is the instance. ``rest=yes`` adds the points of no instance in grey.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.archive.instances import read_instances
from my3dis.datasets.ply import read_ply
from my3dis.errors import DataError
from my3dis.exporters.gltf import Glb, GlbNode
from my3dis.exporters.run_folder import LEVEL_OPTION, chosen_levels, open_run_scan, scene_of
from my3dis.exporters.writing import new_file
from my3dis.masks.palette import NO_ID_COLOR, colors_for_ids
from my3dis.protocols import ExporterPlugin, ExportOption
from my3dis.types import InstanceSet

__all__ = ["PLUGIN"]

_LOG = logging.getLogger(__name__)

# Columns; turns (x, y, z) into (x, z, -y).
_Y_UP_FROM_Z_UP = (1, 0, 0, 0, 0, 0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """What instances are made of.

    Attributes:
        xyz_m: (P, 3) metres.
        triangles: (T, 3) corners, ordered by the first; None = only points.
        starts: (P + 1,) the triangles with first corner p are ``starts[p]`` to ``starts[p + 1]``.
    """

    xyz_m: NDArray[np.float32]
    triangles: NDArray[np.int32] | None = None
    starts: NDArray[np.int64] | None = None

    @classmethod
    def of_mesh(cls, xyz_m: NDArray[np.float32], triangles: NDArray[np.int32]) -> _Shape:
        """Order triangles, so that those of an instance are found without looking at all."""
        ordered = triangles[np.argsort(triangles[:, 0], kind="stable")]
        return cls(xyz_m, ordered, np.searchsorted(ordered[:, 0], np.arange(len(xyz_m) + 1)))

    def triangles_of(self, points: NDArray[np.int64]) -> NDArray[np.uint32] | None:
        """Return (T, 3) positions in ascending points of the triangles that lie in them; None without any."""
        if self.triangles is None or self.starts is None or not len(points):
            return None
        begin = self.starts[points]
        count = self.starts[points + 1] - begin
        before = np.cumsum(count) - count
        corners = self.triangles[np.repeat(begin - before, count) + np.arange(count.sum())]
        position = np.searchsorted(points, corners)
        inside = points[np.minimum(position, len(points) - 1)] == corners
        chosen = position[inside.all(axis=1)]
        return chosen.astype(np.uint32) if len(chosen) else None


@dataclass(frozen=True, slots=True)
class _Export:
    """Writes some levels in one way."""

    level: str = "all"
    geometry: str = "auto"
    parents: str = "whole"
    rest: str = "no"
    up: str = "z"

    def __call__(self, run_dir: Path, out: Path) -> tuple[Path, ...]:
        """Write a run's instances as one file, holding the geometry of one instance at a time.

        Raises:
            DataError: if the run has no instances, or a mesh is asked for and there is none.
            ConfigError: if the run has no such level.
            ResourceError: if the file cannot be written.
        """
        instances = read_instances(run_dir / "instances.npz")
        levels = chosen_levels(np.unique(instances.level).tolist(), self.level)
        shape = self._shape(run_dir, instances)
        turn = _Y_UP_FROM_Z_UP if self.up == "z" else None
        with new_file(out) as unfinished, Glb(unfinished) as glb:
            extras = {"scene": scene_of(run_dir), "points": instances.n_points, "generator": "my3dis export"}
            root = glb.add(GlbNode(name="scene", extras=extras), matrix=turn)
            self._add_instances(glb, root, shape, (instances, levels))
            if self.rest == "yes":
                _add_rest(glb, root, shape, instances)
            glb.finish()
        return (out,)

    def _shape(self, run_dir: Path, instances: InstanceSet) -> _Shape:
        mesh = None if self.geometry == "points" else _mesh(run_dir, instances)
        if mesh is not None:
            return mesh
        if self.geometry == "mesh":
            raise DataError(
                f"{run_dir}: expected a scan with a mesh of {instances.n_points} vertices, found none at its "
                "place; leave out --option geometry=mesh to export points"
            )
        cloud = read_ply(run_dir / "instances.ply")
        if len(cloud) != instances.n_points:
            raise DataError(
                f"{run_dir / 'instances.ply'}: expected the {instances.n_points} points that the instances "
                f"refer to, found {len(cloud)}; run the stage lift again"
            )
        return _Shape(cloud.xyz_m)

    def _add_instances(
        self, glb: Glb, root: int, shape: _Shape, chosen: tuple[InstanceSet, tuple[int, ...]]
    ) -> None:
        """Add a node for every instance of the levels, parents before children."""
        instances, levels = chosen
        shown = np.flatnonzero(np.isin(instances.level, levels))
        children: dict[int, list[int]] = {}
        for k in shown.tolist():
            children.setdefault(int(instances.parent_id[k]), []).append(k)
        node_of: dict[int, int] = {}
        # A parent is of a coarser level.
        for k in shown[np.argsort(instances.level[shown], kind="stable")].tolist():
            number, level, score = instances.instance_id[k], instances.level[k], instances.score[k]
            points = instances.points_of(k)
            below = children.get(int(number), []) if self.parents == "rest" else []
            if below:
                points = np.setdiff1d(points, np.concatenate([instances.points_of(c) for c in below]))
            (color,) = colors_for_ids(np.array([number])).tolist()
            node = GlbNode(
                name=f"level_{level}_instance_{number}",
                extras={
                    "instance_id": int(number),
                    "level": int(level),
                    "parent_id": int(instances.parent_id[k]),
                    "label": int(instances.label[k]),
                    "score": float(score),
                    "points": len(instances.points_of(k)),
                },
                color=tuple(color),
                xyz_m=shape.xyz_m[points],
                triangles=shape.triangles_of(points),
            )
            node_of[int(number)] = glb.add(node, node_of.get(int(instances.parent_id[k]), root))


def _mesh(run_dir: Path, instances: InstanceSet) -> _Shape | None:
    reader = open_run_scan(run_dir)
    if reader is None:
        return None
    try:
        cloud = reader.cloud()
    except DataError as error:
        _LOG.warning("going on without the scan's mesh, which cannot be read: %s", error)
        return None
    if cloud is None or cloud.triangles is None or not len(cloud.triangles):
        return None
    if len(cloud) != instances.n_points or instances.cloud_digest not in ("", cloud.digest):
        _LOG.warning("the scan's mesh is another than that which the run was made from; points are exported")
        return None
    return _Shape.of_mesh(cloud.xyz_m, cloud.triangles)


def _add_rest(glb: Glb, root: int, shape: _Shape, instances: InstanceSet) -> None:
    points = np.setdiff1d(np.arange(instances.n_points), instances.point_index)
    glb.add(
        GlbNode(
            name="rest",
            extras={"points": len(points)},
            color=NO_ID_COLOR,
            xyz_m=shape.xyz_m[points],
            triangles=shape.triangles_of(points),
        ),
        root,
    )


PLUGIN = ExporterPlugin(
    summary="3D instances as glTF, one node each, in their tree",
    export=_Export(),
    options=(
        LEVEL_OPTION,
        ExportOption(
            name="geometry",
            values=("auto", "points", "mesh"),
            summary="triangles where there are some, points, or triangles or nothing",
        ),
        ExportOption(
            name="parents",
            values=("whole", "rest"),
            summary="all of an instance, or what its children do not have",
        ),
        ExportOption(
            name="rest", values=("no", "yes"), summary="whether the points of no instance are there too"
        ),
        ExportOption(name="up", values=("z", "y"), summary="the axis of the scan's world that points up"),
    ),
    with_options=lambda chosen: _Export(**chosen),
)
