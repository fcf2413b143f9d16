"""What the 3D viewer in the page shows, as typed rows, and the compact form in which the page carries it.

The page holds one base64 text: deflate (zlib) of a little-endian ``uint32`` length, a JSON head of that
length, and binary blocks that the head lists as ``[offset, bytes]``, offsets counted after the head.

Points are arrays of structure, byte planes apart, because such planes compress far better than records:
``x y z`` are 16 bits in the scene's box, each the difference to the point before it along a space-filling
curve; ``r g b`` are 8-bit differences; ``n0 n1`` are an octahedral normal in 8 bits each; ``level <i>`` is
the number of the point's instance in the list plus one (0 = none), 32 bits, as it is.

Source: Cigolle et al., "A Survey of Efficient Representations for Independent Unit Vectors", JCGT 3 (2),
2014, section 3 (the octahedral map).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.reporting.colors import Color, hex_color

__all__ = [
    "ViewerContent",
    "ViewerInstance",
    "ViewerPicture",
    "ViewerPoints",
    "ViewerSection",
    "ViewerShot",
    "encode_viewer",
]

_STEPS = 65535
_DATA_VERSION = 1

Polygon = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ViewerPoints:
    """The drawn points.

    Attributes:
        xyz_m: (V, 3) float64, z up.
        normal: (V, 3) float64 unit normals.
        color: (V, 3) uint8 RGB.
        owner: for each level, coarse first, (V,) int32 place in the list of instances, -1 = none.
        spacing_m: usual distance between neighbours among these.
        total: points of the scene before decimation.
    """

    xyz_m: NDArray[np.float64]
    normal: NDArray[np.float64]
    color: NDArray[np.uint8]
    owner: tuple[NDArray[np.int32], ...]
    spacing_m: float
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerPicture:
    """A colour frame, scaled down, that shows the masks of several instances."""

    frame: int
    width: int
    height: int
    jpeg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerShot:
    """Where an instance's mask is in a picture.

    Attributes:
        picture: place in the list of pictures.
        box: half-open xyxy, pixels of the picture.
        outline: closed polygons in half pixels of the picture; even-odd, so that holes stay open.
        projected: it is not a mask but where the frame sees the instance's points.
    """

    picture: int
    box: tuple[int, int, int, int]
    outline: tuple[Polygon, ...]
    projected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerInstance:
    """One instance: its place in the tree, and where its track is seen.

    Attributes:
        parent: place of the parent in the list, -1 = none.
        points: in the whole cloud, not in the decimated one.
        runs: half-open (start, stop) positions among the selected frames.
        seen: number of frames with a mask.
    """

    instance_id: int
    level: int
    parent: int
    color: Color
    score: float
    points: int
    runs: tuple[tuple[int, int], ...] = ()
    seen: int = 0
    shots: tuple[ViewerShot, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ViewerContent:
    """Everything that the viewer shows.

    Attributes:
        levels: coarse first.
        frames: indices of the selected frames.
    """

    points: ViewerPoints
    levels: tuple[int, ...]
    instances: tuple[ViewerInstance, ...]
    frames: Sequence[int]
    pictures: tuple[ViewerPicture, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerSection:
    """The viewer's part of the page, or the notice why there is none.

    Attributes:
        payload: from `encode_viewer`.
        levels: (level, number of instances), coarse first.
        shown, total: points in the page and in the scene.
        note: what was left out, in sentences.
    """

    payload: str = ""
    levels: tuple[tuple[int, int], ...] = ()
    shown: int = 0
    total: int = 0
    note: str = ""
    notice: str = ""

    @property
    def instances(self) -> int:
        """How many instances there are at all levels."""
        return sum(count for _, count in self.levels)


def encode_viewer(content: ViewerContent) -> str:
    """Return the content as base64 text, in the form that the module describes."""
    points = content.points
    low, size = _box(points.xyz_m)
    grid = np.rint((points.xyz_m - low) / size * _STEPS).astype(np.uint16)
    order = np.argsort(_curve(grid), kind="stable")
    blocks: dict[str, bytes] = {}
    for axis, name in enumerate("xyz"):
        blocks[name] = _planes(_differences(grid[order, axis]))
    for channel, name in enumerate("rgb"):
        blocks[name] = _planes(_differences(points.color[order, channel]))
    for part, name in zip(_octahedral(points.normal[order]), ("n0", "n1"), strict=True):
        blocks[name] = _planes(part)
    for i, owner in enumerate(points.owner):
        blocks[f"level {i}"] = _planes((owner[order] + 1).astype(np.uint32))
    for i, picture in enumerate(content.pictures):
        blocks[f"picture {i}"] = picture.jpeg
    head = _head(content, (low, size), blocks)
    packed = zlib.compress(len(head).to_bytes(4, "little") + head + b"".join(blocks.values()), 9)
    return base64.b64encode(packed).decode("ascii")


def _head(content: ViewerContent, box: tuple[NDArray[np.float64], float], blocks: dict[str, bytes]) -> bytes:
    places, offset = {}, 0
    for name, data in blocks.items():
        places[name] = [offset, len(data)]
        offset += len(data)
    low, size = box
    head = {
        "version": _DATA_VERSION,
        "count": len(content.points.xyz_m),
        "total": content.points.total,
        "low": [round(float(v), 4) for v in low],
        "size": round(size, 6),
        "spacing": round(content.points.spacing_m, 5),
        "levels": list(content.levels),
        "frames": list(content.frames),
        "instances": [_instance(one) for one in content.instances],
        "pictures": [[p.frame, p.width, p.height] for p in content.pictures],
        "blocks": places,
    }
    return json.dumps(head, separators=(",", ":")).encode("utf-8")


def _instance(one: ViewerInstance) -> dict[str, object]:
    return {
        "id": one.instance_id,
        "level": one.level,
        "parent": one.parent,
        "color": hex_color(one.color),
        "score": round(one.score, 4),
        "points": one.points,
        "seen": one.seen,
        "runs": [edge for run in one.runs for edge in run],
        "shots": [
            [
                shot.picture,
                *shot.box,
                [[v for xy in polygon for v in xy] for polygon in shot.outline],
                int(shot.projected),
            ]
            for shot in one.shots
        ],
    }


def _box(xyz_m: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the lowest corner and the longest side: a cube, so that steps are equal along the axes."""
    if not len(xyz_m):
        return np.zeros(3), 1.0
    low = xyz_m.min(axis=0)
    return low, max(float((xyz_m.max(axis=0) - low).max()), 1e-6)


def _curve(grid: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """Return the place of each (V, 3) cell on the Z-order curve: bits of x, y and z in turn."""
    place = np.zeros(len(grid), np.uint64)
    for bit in range(16):
        for axis in range(3):
            taken = (grid[:, axis].astype(np.uint64) >> np.uint64(bit)) & np.uint64(1)
            place |= taken << np.uint64(3 * bit + axis)
    return place


def _differences(values: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Return each value minus the one before it, wrapping round; the first minus 0."""
    before = np.zeros_like(values)
    before[1:] = values[:-1]
    return values - before


def _planes(values: NDArray[np.unsignedinteger]) -> bytes:
    """Return all lowest bytes, then all second bytes, and so on."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(len(values), values.dtype.itemsize).T.tobytes()


def _octahedral(normal: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Map (V, 3) unit vectors to two bytes each: the octahedron unfolded to a square."""
    flat = normal / np.maximum(np.abs(normal).sum(axis=1, keepdims=True), 1e-12)
    x, y = flat[:, 0], flat[:, 1]
    below = flat[:, 2] < 0
    folded_x = np.where(below, (1 - np.abs(y)) * np.where(x < 0, -1.0, 1.0), x)
    folded_y = np.where(below, (1 - np.abs(x)) * np.where(y < 0, -1.0, 1.0), y)
    first, second = (np.rint((v * 0.5 + 0.5) * 255).astype(np.uint8) for v in (folded_x, folded_y))
    return first, second
