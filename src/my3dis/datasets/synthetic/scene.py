"""What a synthetic room is made of: pieces of furniture with parts, placed in a world with z up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.synthetic.materials import Material
from my3dis.datasets.synthetic.shapes import Kind, Shape
from my3dis.types import Camera

__all__ = ["LABELS", "ObjectInfo", "PartInfo", "Piece", "Room", "Surface", "rotation"]

LABELS: dict[str, int] = {
    "wall": 1, "floor": 2, "cabinet": 3, "bed": 4, "chair": 5, "sofa": 6, "table": 7, "door": 8,
    "window": 9, "bookshelf": 10, "picture": 11, "desk": 14, "floormat": 20, "ceiling": 22, "books": 23,
    "television": 25, "box": 29, "lamp": 35, "otherfurniture": 39, "otherprop": 40,
}  # fmt: skip
"""NYU40 label ids of the kinds of objects that rooms have."""

Point = tuple[float, float, float]


def rotation(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> NDArray[np.float64]:
    """Return the (3, 3) rotation: roll about y, then pitch about x, then yaw about z, in radians."""
    cz, sz, cx, sx = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(roll), math.sin(roll)
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1.0]])
    about_x = np.array([[1.0, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1.0, 0], [-sy, 0, cy]])
    turned: NDArray[np.float64] = about_z @ about_x @ about_y
    return turned


@dataclass(frozen=True, slots=True)
class Surface:
    """A free horizontal surface of a piece that small things may stand on, in the piece's frame."""

    x_m: tuple[float, float]
    y_m: tuple[float, float]
    z_m: float


@dataclass(slots=True, eq=False)
class Piece:
    """One object while it is being built, in a frame of its own.

    x runs along its width about the middle, y from its back (0) to its front, z up from its foot.

    Attributes:
        name: for people.
        label: a key of `LABELS`.
        width_m, depth_m: footprint.
        parts: part name → shapes, ids not yet assigned.
        surfaces: where small things may stand.
    """

    name: str
    label: str
    width_m: float
    depth_m: float
    parts: dict[str, list[Shape]] = field(default_factory=dict)
    surfaces: list[Surface] = field(default_factory=list)

    def box(
        self,
        part: str,
        low: Point,
        high: Point,
        material: Material,
        turn: NDArray[np.float64] | None = None,
    ) -> None:
        """Add a box given by two opposite corners, optionally turned about its centre."""
        a, b = np.array(low, float), np.array(high, float)
        turn = np.eye(3) if turn is None else turn
        self._add(part, Shape(Kind.BOX, (a + b) / 2, turn, np.abs(b - a) / 2, 0, material))

    def round(
        self, part: str, foot: Point, radius_m: tuple[float, float], height_m: float, material: Material
    ) -> None:
        """Add an upright frustum: middle of its foot, radii at foot and top, height."""
        bottom, top = radius_m
        half = np.array([max(radius_m), max(radius_m), height_m / 2])
        centre = np.array(foot, float) + np.array([0, 0, height_m / 2])
        self._add(part, Shape(Kind.FRUSTUM, centre, np.eye(3), half, 0, material, top / bottom))

    def ellipsoid(self, part: str, centre: Point, half_m: Point, material: Material) -> None:
        """Add an ellipsoid."""
        middle, half = np.array(centre, float), np.array(half_m, float)
        self._add(part, Shape(Kind.ELLIPSOID, middle, np.eye(3), half, 0, material))

    def bar(self, part: str, centre: Point, radius_m: float, length_m: float, material: Material) -> None:
        """Add a cylinder lying along x."""
        half = np.array([radius_m, radius_m, length_m / 2])
        turn = rotation(roll=math.pi / 2)
        self._add(part, Shape(Kind.FRUSTUM, np.array(centre, float), turn, half, 0, material))

    def _add(self, part: str, shape: Shape) -> None:
        self.parts.setdefault(part, []).append(shape)


@dataclass(frozen=True, slots=True)
class PartInfo:
    """A part of an object; ids are unique in the room and start at 1."""

    part_id: int
    object_id: int
    name: str


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object; ids are unique in the room and start at 1."""

    object_id: int
    name: str
    label: str
    structural: bool


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Room:
    """A frozen description of a furnished room and of a camera's way through it.

    Attributes:
        seed: what it was made from.
        size_m: width (x), depth (y) and height (z); the floor is z = 0, x and y are about the middle.
        shapes: all solids.
        parts: every part, by ascending id.
        objects: every object, by ascending id.
        camera: of colour and depth alike.
        poses: (N, 4, 4) float64 ``world_from_camera``.
        light_m: position of the lamp under the ceiling.
    """

    seed: int
    size_m: tuple[float, float, float]
    shapes: tuple[Shape, ...]
    parts: tuple[PartInfo, ...]
    objects: tuple[ObjectInfo, ...]
    camera: Camera
    poses: NDArray[np.float64]
    light_m: tuple[float, float, float]

    def __len__(self) -> int:
        return len(self.poses)
