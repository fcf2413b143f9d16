"""Read the points of a scan from a PLY file, keeping the order of its vertices."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from my3dis.datasets.files import read_bytes
from my3dis.errors import DataError
from my3dis.types import SceneCloud

__all__ = ["CloudFile", "Faces", "cloud_digest", "read_faces", "read_ply"]

# What trimesh's parser is known to raise on damaged files; anything else is a bug worth a traceback.
_PARSE_ERRORS = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    UnboundLocalError,
    EOFError,
    OverflowError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class CloudFile:
    """Loads a PLY file when called."""

    path: Path

    def __call__(self) -> SceneCloud:
        """Return its points; see `read_ply`."""
        return read_ply(self.path)


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """The F triangles of a mesh.

    Attributes:
        corners: (F, 3) int32 vertex indices.
        properties: (F,) numbers by the names that the file gives them.
    """

    corners: NDArray[np.int32]
    properties: Mapping[str, NDArray[np.generic]]


def cloud_digest(xyz_m: NDArray[np.float32]) -> str:
    """Return the digest that identifies a cloud's geometry: SHA-256 of its (P, 3) float32 coordinates."""
    return hashlib.sha256(np.ascontiguousarray(xyz_m, dtype="<f4").tobytes()).hexdigest()


def read_ply(path: Path) -> SceneCloud:
    """Read a PLY mesh or point cloud, binary or ASCII; vertex order is kept exactly.

    Raises:
        DataError: if the file is missing, truncated, corrupt, has no vertices, or coordinates that are
            not finite, or faces that name vertices beyond the last.
    """
    parsed = _parse(path)
    vertices = parsed.get("vertices")
    if vertices is None or not len(vertices):
        raise DataError(f"{path}: expected a PLY file with vertices, found none; export the mesh again")
    with np.errstate(over="ignore"):  # doubles beyond float32 become inf and are refused below
        xyz = np.ascontiguousarray(vertices, dtype=np.float32)
    bad = int((~np.isfinite(xyz).all(axis=1)).sum())
    if bad:
        raise DataError(
            f"{path}: expected finite coordinates, found {bad} of {len(xyz)} vertices with inf or nan; "
            "remove those vertices or export the mesh again"
        )
    return SceneCloud(
        xyz_m=xyz,
        digest=cloud_digest(xyz),
        color=_colors(parsed.get("vertex_colors"), len(xyz)),
        normal=_normals(parsed.get("vertex_normals"), len(xyz)),
        triangles=_triangles(parsed.get("faces"), len(xyz), path),
    )


def read_faces(path: Path) -> tuple[int, Faces]:
    """Read the number of vertices, and the triangles with the numbers that each of them has.

    Raises:
        DataError: as `read_ply`, or if there are no faces, or they are no triangles.
    """
    parsed = _parse(path)
    count = len(parsed.get("vertices", ()))
    corners = _triangles(parsed.get("faces"), count, path)
    raw = parsed.get("metadata", {}).get("_ply_raw", {}).get("face", {})
    rows = int(raw.get("length", 0))
    if corners is None or not rows or len(corners) % rows or len(corners) > 2 * rows:
        raise DataError(
            f"{path}: expected a mesh of triangles or of quads, found other faces; triangulate it"
        )
    # Quads are cut in two: first halves, then second halves.
    numbers = {k: np.tile(v, len(corners) // rows) for k, v in _per_face(raw.get("data"), rows).items()}
    return count, Faces(corners, numbers)


def _per_face(data: object, n: int) -> dict[str, NDArray[np.generic]]:
    """Return the properties that hold one number a face; text files are parsed to a dict, binary to rows."""
    if isinstance(data, np.ndarray) and data.dtype.names:
        columns = {name: data[name] for name in data.dtype.names}
    else:
        columns = {k: np.asarray(v) for k, v in data.items()} if isinstance(data, dict) else {}
    numbers = {name: column.reshape(-1) for name, column in columns.items() if column.dtype.kind in "iuf"}
    return {name: column for name, column in numbers.items() if len(column) == n}


def _parse(path: Path) -> dict[str, Any]:
    from trimesh.exchange.ply import load_ply

    data = read_bytes(path, "a PLY mesh")
    if not data.startswith(b"ply"):
        raise DataError(f"{path}: expected a PLY mesh, found a file of another type; export the mesh as PLY")
    missing = _rows_short(data)
    if missing is not None:
        raise DataError(f"{path}: expected a complete PLY mesh, found {missing}; copy or export it again")
    try:
        # Without fix_texture=False, vertices with several texture coordinates would be split.
        parsed: dict[str, Any] = load_ply(io.BytesIO(data), fix_texture=False, skip_materials=True)
    except _PARSE_ERRORS as error:
        raise DataError(
            f"{path}: expected a complete PLY mesh, found one that cannot be read "
            f"({type(error).__name__}: {error}); copy or export it again"
        ) from error
    return parsed


def _rows_short(data: bytes) -> str | None:
    """Say where a text file ends too early, or return None; trimesh pads or drops what is not there."""
    head, _, body = data.partition(b"end_header")
    lines = head.split(b"\n")
    if not any(line.split()[:2] == [b"format", b"ascii"] for line in lines):
        return None
    rows = [line for line in body.splitlines() if line.strip()]
    at = 0
    for name, count, lists in _elements(lines):
        if len(rows) < at + count:
            return f"{len(rows) - at} of {count} rows of {name}"
        for row in rows[at : at + count]:
            if not _is_complete(row.split(), lists):
                return f"{row[:40].decode('ascii', 'replace')!r} as a row of {name}"
        at += count
    return None


def _elements(header: list[bytes]) -> list[tuple[str, int, list[bool]]]:
    """Return name, number of rows and, for each property, whether it is a list, of the elements."""
    found: list[tuple[str, int, list[bool]]] = []
    for words in (line.split() for line in header):
        if words[:1] == [b"element"] and len(words) == 3 and words[2].isdigit():
            found.append((words[1].decode("ascii", "replace"), int(words[2]), []))
        elif words[:1] == [b"property"] and found:
            found[-1][2].append(words[1:2] == [b"list"])
    return found


def _is_complete(values: list[bytes], lists: list[bool]) -> bool:
    """Whether a row has a value for each property, and in a list as many as its first one says."""
    if not any(lists):
        return len(values) >= len(lists)
    at = 0
    for is_list in lists:
        if at >= len(values) or (is_list and not values[at].isdigit()):
            return False
        at += 1 + (int(values[at]) if is_list else 0)
    return at <= len(values)


def _colors(value: ArrayLike | None, n: int) -> NDArray[np.uint8] | None:
    colors = np.asarray([] if value is None else value)
    if colors.ndim != 2 or len(colors) != n or colors.shape[1] < 3:
        return None
    if colors.dtype.kind == "f":
        colors = np.clip(np.nan_to_num(colors) * 255.0 + 0.5, 0, 255)
    return np.ascontiguousarray(colors[:, :3], dtype=np.uint8)


def _normals(value: ArrayLike | None, n: int) -> NDArray[np.float32] | None:
    normals = np.nan_to_num(np.asarray([] if value is None else value, dtype=np.float32))
    if normals.shape != (n, 3):
        return None
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    if not length.any():
        return None  # written, but never computed
    return np.ascontiguousarray(normals / np.where(length > 0, length, 1), dtype=np.float32)


def _triangles(value: ArrayLike | None, n: int, path: Path) -> NDArray[np.int32] | None:
    faces = np.asarray([] if value is None else value)
    if not faces.size:
        return None
    if faces.ndim == 2 and faces.shape[1] == 4:
        faces = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise DataError(
            f"{path}: expected faces of three or four corners, found shape {faces.shape}; triangulate them"
        )
    if int(faces.min()) < 0 or int(faces.max()) >= n:
        raise DataError(
            f"{path}: expected faces over {n} vertices, found indices {int(faces.min())}.."
            f"{int(faces.max())}; export the mesh again"
        )
    return np.ascontiguousarray(faces, dtype=np.int32)
