"""Write binary glTF 2.0 of coloured points and triangles, a node at a time.

Source: Khronos Group, glTF 2.0 Specification, sections 3.5 (nodes), 3.6 (buffers and accessors), 3.7 (meshes)
and 4.4 (GLB).
"""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError

__all__ = ["Glb", "GlbNode", "linear_from_srgb"]

_FLOAT, _UINT, _UBYTE = 5126, 5125, 5121
_ARRAY, _ELEMENTS = 34962, 34963
_POINTS, _TRIANGLES = 0, 4
_MOST_BYTES = (1 << 32) - 1


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GlbNode:
    """A node with or without geometry.

    Attributes:
        name: shown by viewers.
        extras: what else is known of it; plain values.
        color: sRGB of all its vertices, 0..255.
        xyz_m: (V, 3) metres.
        triangles: (T, 3) uint32 positions in ``xyz_m``; None = points.
    """

    name: str
    extras: Mapping[str, object]
    color: tuple[int, int, int] = (255, 255, 255)
    xyz_m: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    triangles: NDArray[np.uint32] | None = None


def linear_from_srgb(color: Sequence[int]) -> NDArray[np.float64]:
    """Return linear intensities 0..1 of sRGB values 0..255.

    Source: IEC 61966-2-1, as glTF refers to it for colours.
    """
    value = np.asarray(color, np.float64) / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


class Glb:
    """A GLB file that is being written; its geometry waits in a temporary file beside it.

    Args:
        path: file to write; complete after `finish`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  # closed by __exit__
        self._nodes: list[dict[str, Any]] = []
        unlit: dict[str, Any] = {"extensions": {"KHR_materials_unlit": {}}}
        self._materials: list[dict[str, Any]] = [{"name": "points", **unlit, **_material(np.ones(3))}]
        self._meshes: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._views: list[dict[str, Any]] = []

    def add(self, node: GlbNode, parent: int | None = None, matrix: Sequence[float] | None = None) -> int:
        """Write a node below another one and return its number.

        Args:
            node: without vertices it only holds others.
            parent: number of the node that it is below; None = it is a root.
            matrix: 16 numbers, column by column, that move it and all below it.
        """
        entry: dict[str, Any] = {"name": node.name, "extras": dict(node.extras)}
        if matrix is not None:
            entry["matrix"] = list(matrix)
        if len(node.xyz_m):
            entry["mesh"] = self._mesh(node)
        self._nodes.append(entry)
        number = len(self._nodes) - 1
        if parent is not None:
            self._nodes[parent].setdefault("children", []).append(number)
        else:
            entry["root"] = True  # taken out again when the file is finished
        return number

    def _mesh(self, node: GlbNode) -> int:
        xyz = np.ascontiguousarray(node.xyz_m, "<f4")
        low, high = xyz.min(axis=0).tolist(), xyz.max(axis=0).tolist()
        attributes = {"POSITION": self._accessor(xyz, (_FLOAT, "VEC3", _ARRAY), min=low, max=high)}
        linear = linear_from_srgb(node.color)
        if node.triangles is None:
            rgba = np.append(np.rint(linear * 255), 255).astype("u1")
            colors = np.tile(rgba, (len(xyz), 1))
            attributes["COLOR_0"] = self._accessor(colors, (_UBYTE, "VEC4", _ARRAY), normalized=True)
            primitive: dict[str, Any] = {"attributes": attributes, "mode": _POINTS, "material": 0}
        else:
            corners = np.ascontiguousarray(node.triangles, "<u4").reshape(-1)
            indices = self._accessor(corners, (_UINT, "SCALAR", _ELEMENTS))
            # A material of its own, which editors show and let people change, where few show vertex colours.
            self._materials.append({"name": node.name, "doubleSided": True, **_material(linear)})
            primitive = {"attributes": attributes, "indices": indices, "mode": _TRIANGLES}
            primitive["material"] = len(self._materials) - 1
        self._meshes.append({"name": node.name, "primitives": [primitive]})
        return len(self._meshes) - 1

    def _accessor(self, values: NDArray[np.generic], kind: tuple[int, str, int], **more: object) -> int:
        component, shape, target = kind
        # All are of 4 or 12 bytes a row, so that the next one is aligned as it must be.
        view = {"buffer": 0, "byteOffset": self._data.tell(), "byteLength": values.nbytes, "target": target}
        self._data.write(values.tobytes())
        self._views.append(view)
        entry = {"bufferView": len(self._views) - 1, "componentType": component, "count": len(values)}
        self._accessors.append({**entry, "type": shape, **more})
        return len(self._accessors) - 1

    def finish(self) -> None:
        """Write the file.

        Raises:
            DataError: if it would be larger than 4 GB, which the format cannot say.
        """
        size = self._data.tell()
        text = json.dumps(self._document(size), separators=(",", ":"), allow_nan=False).encode("ascii")
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + (8 + size if size else 0)
        if total > _MOST_BYTES:
            raise DataError(
                f"expected less than 4 GB of glTF, found {total / 1e9:.1f} GB; export one level: "
                "--option level=N"
            )
        self._data.seek(0)
        with self._path.open("wb") as out:
            out.write(
                struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<I4s", len(text), b"JSON") + text
            )
            if size:
                out.write(struct.pack("<I4s", size, b"BIN\0"))
                shutil.copyfileobj(self._data, out, 1 << 20)

    def _document(self, size: int) -> dict[str, Any]:
        roots = [number for number, node in enumerate(self._nodes) if node.pop("root", False)]
        document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "My3DIS"},
            "scene": 0,
            "scenes": [{"nodes": roots}],
            "nodes": self._nodes,
        }
        if self._meshes:
            document |= {
                "extensionsUsed": ["KHR_materials_unlit"],
                "materials": self._materials,
                "meshes": self._meshes,
                "accessors": self._accessors,
                "bufferViews": self._views,
                "buffers": [{"byteLength": size}],
            }
        return document

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._data.close()


def _material(linear: NDArray[np.float64]) -> dict[str, Any]:
    color = [*linear.tolist(), 1.0]
    return {"pbrMetallicRoughness": {"baseColorFactor": color, "metallicFactor": 0, "roughnessFactor": 1}}
