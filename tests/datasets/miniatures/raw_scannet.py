"""ScanNet: the downloaded ``.sens`` file and mesh, the exported scene, and SAI3D's single folder."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from tests.datasets.miniatures import room
from tests.datasets.miniatures.basic import FRAMES, HEIGHT, WIDTH, color, save, save_matrix

DEPTH_WIDTH, DEPTH_HEIGHT = 128, 96
NAMES = ("floor", "cabinet", "office chair")
SEGMENTS = (40, 7, 300)


def depth_mm(index: int) -> np.ndarray:
    return (1000 * room.depth_m(index, DEPTH_WIDTH, DEPTH_HEIGHT)).round().astype("<u2")


def matrix4(k: np.ndarray) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3] = k
    return result


def encoded(image: np.ndarray, suffix: str) -> bytes:
    done, data = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]))
    assert done
    return bytes(data)


def sens_header(frames: int, *, color_kind: int, depth_kind: int, version: int = 4) -> bytes:
    name = b"StructureSensor"
    matrices = (
        matrix4(room.intrinsics(WIDTH, HEIGHT)),
        np.eye(4),
        matrix4(room.intrinsics(DEPTH_WIDTH, DEPTH_HEIGHT)),
        np.eye(4),
    )
    return (
        struct.pack("<IQ", version, len(name))
        + name
        + b"".join(m.astype("<f4").tobytes() for m in matrices)
        + struct.pack(
            "<iiIIIIfQ", color_kind, depth_kind, WIDTH, HEIGHT, DEPTH_WIDTH, DEPTH_HEIGHT, 1000, frames
        )
    )


def sens_frame(pose: np.ndarray, color_bytes: bytes, depth_bytes: bytes) -> bytes:
    sizes = struct.pack("<4Q", 1000, 1001, len(color_bytes), len(depth_bytes))
    return pose.astype("<f4").tobytes() + sizes + color_bytes + depth_bytes


def sens(path: Path, poses: dict[int, np.ndarray] | None = None, *, compressed: bool = True) -> None:
    """Write a sensor file: JPEG and zlib, or raw; poses may replace those of the corner."""
    kinds = {"color_kind": 2, "depth_kind": 1} if compressed else {"color_kind": 0, "depth_kind": 0}
    parts = [sens_header(FRAMES, **kinds)]
    for i in range(FRAMES):
        depth = depth_mm(i).tobytes()
        image = encoded(color(i), ".jpg") if compressed else color(i).tobytes()
        parts.append(
            sens_frame(
                (poses or {}).get(i, room.pose(i)), image, zlib.compress(depth) if compressed else depth
            )
        )
    # Version 4 ends with the readings of the inertial sensor, of which there are none.
    path.write_bytes(b"".join(parts) + struct.pack("<Q", 0))


def scene_files(root: Path) -> None:
    """Write the mesh, its segments and the objects that are made of them; ids count from 0."""
    points, triangles, _ = room.mesh()
    vertex = np.zeros(len(points), [("xyz", "<f4", 3), ("rgba", "u1", 4)])
    vertex["xyz"], vertex["rgba"] = points, (90, 80, 70, 255)
    face = np.zeros(len(triangles), [("n", "u1"), ("v", "<i4", 3)])
    face["n"], face["v"] = 3, triangles
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\nproperty float x\n"
        "property float y\nproperty float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\n"
        f"property uchar alpha\nelement face {len(triangles)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    stem = root / root.name
    Path(f"{stem}_vh_clean_2.ply").write_bytes(header.encode() + vertex.tobytes() + face.tobytes())
    indices = [SEGMENTS[plane] for plane in plane_of_vertex()]
    segments = {"params": {"kThresh": "0.0001"}, "sceneId": root.name, "segIndices": indices}
    Path(f"{stem}_vh_clean_2.0.010000.segs.json").write_text(json.dumps(segments))
    groups = [
        {"id": i, "objectId": i, "segments": [segment], "label": name}
        for i, (segment, name) in enumerate(zip(SEGMENTS, NAMES, strict=True))
    ]
    aggregation = {"sceneId": f"scannet.{root.name}", "appId": "Aggregator.v2", "segGroups": groups}
    Path(f"{stem}.aggregation.json").write_text(json.dumps(aggregation))
    Path(f"{stem}_vh_clean.aggregation.json").write_text(json.dumps({"segGroups": []}))
    Path(f"{stem}.txt").write_text("axisAlignment = 0 1 0 0 -1 0 0 0 0 0 1 0 0 0 0 1 \ncolorHeight = 24\n")


def plane_of_vertex() -> list[int]:
    points, triangles, owner = room.mesh()
    planes = np.zeros(len(points), int)
    planes[triangles] = owner[:, None]
    return [int(plane) for plane in planes]


def scannet_sens(root: Path, *, compressed: bool = True) -> Path:
    root.mkdir(parents=True)
    sens(root / f"{root.name}.sens", compressed=compressed)
    scene_files(root)
    return root


def scannet_corner(root: Path) -> Path:
    root.mkdir(parents=True)
    for i in range(FRAMES):
        save(root / "color" / f"{i}.jpg", color(i))
        save(root / "depth" / f"{i}.png", depth_mm(i))
        save_matrix(root / "pose" / f"{i}.txt", room.pose(i))
    for kind, size in (("color", (WIDTH, HEIGHT)), ("depth", (DEPTH_WIDTH, DEPTH_HEIGHT))):
        save_matrix(root / "intrinsic" / f"intrinsic_{kind}.txt", matrix4(room.intrinsics(*size)))
        save_matrix(root / "intrinsic" / f"extrinsic_{kind}.txt", np.eye(4))
    scene_files(root)
    return root


def scannet_flat(root: Path) -> Path:
    exported = scannet_corner(root.with_name(f"{root.name}-exported"))
    root.mkdir()
    for kind in ("color", "depth", "pose", "intrinsic"):
        for path in (exported / kind).iterdir():
            stem = f"{int(path.stem):05d}" if path.stem.isdecimal() else path.stem
            shutil.move(path, root / f"{stem}{path.suffix}")
    shutil.rmtree(exported)
    scene_files(root)
    return root
