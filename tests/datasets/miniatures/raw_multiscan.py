"""MultiScan as it is downloaded: streams, column-major matrices, ARKit axes, a mesh in a world of its own."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import cv2
import numpy as np

from tests.datasets.miniatures import room
from tests.datasets.miniatures.basic import FRAMES, HEIGHT, WIDTH, color, save
from tests.datasets.miniatures.exr import exr

DEPTH_WIDTH, DEPTH_HEIGHT = 128, 96


def camera_world_from_mesh() -> np.ndarray:
    """Return a turn about two axes with a shift: ARKit's world is y up and starts anywhere."""
    a, b = 0.7, -np.pi / 2
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_x @ about_z
    matrix[:3, 3] = -1.9, -0.3, 2.2
    return matrix


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def camera_line(index: int) -> str:
    """Return a line of the cameras file: matrices column by column, ARKit axes, nanoseconds."""
    arkit = camera_world_from_mesh() @ room.pose(index) @ np.diag([1, -1, -1, 1])
    return json.dumps(
        {
            "timestamp": 81_000_000_000 + index * 16_666_667,
            "intrinsics": room.intrinsics(WIDTH, HEIGHT).T.ravel().tolist(),
            "transform": arkit.T.ravel().tolist(),
            "quaternion": [1, 0, 0, 0],
            "euler_angles": [0, 0, 0],
            "exposure_duration": 16_000_000,
        }
    )


def metadata(frames: int = FRAMES, *, ios: bool = True) -> dict[str, object]:
    return {
        "scene": {"type": "Kitchen", "description": "corner"},
        "camera_orientation_euler_angles_format": "xyz",
        "depth_confidence_avaliable": True,
        "depth_unit": "m" if ios else "mm",
        "depth_confidence_value_range": [0, 2 if ios else 255],
        "camera_orientation_quaternion_format": "wxyz",
        "number_of_files": 5,
        "streams": [
            {
                "frequency": 60,
                "number_of_frames": frames,
                "id": "color_back_1",
                "file_extension": "mp4",
                "type": "color_camera",
                "resolution": [HEIGHT, WIDTH],
                "encoding": "h264",
            },
            {
                "frequency": 60,
                "number_of_frames": frames,
                "id": "depth_back_1",
                "file_extension": "depth.zlib",
                "type": "lidar_sensor",
                "resolution": [DEPTH_HEIGHT, DEPTH_WIDTH],
                "encoding": "float16_zlib" if ios else "uint16_zlib",
            },
            {"id": "confidence_map", "encoding": "uint8_zlib", "number_of_frames": frames},
            {"id": "camera_info_color_back_1", "encoding": "jsonl", "number_of_frames": frames},
        ],
    }


def confidence(*, ios: bool = True) -> np.ndarray:
    """Return the confidence of every frame: the first row is not to be trusted."""
    values = np.full((DEPTH_HEIGHT, DEPTH_WIDTH), 2 if ios else 200, np.uint8)
    values[0] = 1 if ios else 100
    return values


def labelled_mesh(path: Path) -> None:
    """Write a binary mesh with doubles, colours and the object and part of every triangle.

    Object 1 is the floor, 2 and 3 are walls; part ids are objects' ids plus 10.
    """
    points, triangles, owner = room.mesh()
    vertex = np.zeros(len(points), [("xyz", "<f8", 3), ("normal", "<f8", 3), ("rgba", "u1", 4)])
    vertex["xyz"], vertex["rgba"] = points, (10, 20, 30, 255)
    face = np.zeros(len(triangles), [("n", "u1"), ("v", "<i4", 3), ("object", "<u2"), ("part", "<u2")])
    face["n"], face["v"], face["object"], face["part"] = 3, triangles, owner + 1, owner + 11
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment VCGLIB generated\n"
        f"element vertex {len(points)}\nproperty double x\nproperty double y\nproperty double z\n"
        "property double nx\nproperty double ny\nproperty double nz\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nproperty uchar alpha\n"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\n"
        "property ushort objectId\nproperty ushort partId\nend_header\n"
    )
    path.write_bytes(header.encode("ascii") + vertex.tobytes() + face.tobytes())


def annotations(scan_id: str, *, old: bool = False) -> dict[str, object]:
    """Return annotations of the labelled mesh: as documented, or as in the older published sample."""
    labels = ("floor.1", "cabinet.1", "Remove.1" if old else "remove.1")
    kinds = ("arch", "fixed", "movable")
    if old:
        objects = [
            {"label": label, "type": kind, "parts": ["door.1"] if kind == "fixed" else []}
            for label, kind in zip(labels, kinds, strict=True)
        ]
        joint = {"type": "rotation", "origin": [0, 0, 0], "axis": [0, 0, 1], "rangeMin": 0, "rangeMax": 1.5}
        return {
            "version": "multiscan@0.0.1",
            "scanId": scan_id,
            "objects": objects,
            "articulations": {"cabinet.1:door.1": joint},
        }
    return {
        "version": "multiscan@0.0.1",
        "scanId": scan_id,
        "objects": [
            {"objectId": i, "label": label, "mobilityType": kind, "partIds": [i + 10], "obb": {}}
            for i, (label, kind) in enumerate(zip(labels, kinds, strict=True), start=1)
        ],
        "parts": [{"partId": i + 10, "label": label} for i, label in enumerate(labels, start=1)],
    }


def alignment(scan_id: str) -> dict[str, object]:
    return {
        "version": "multiscan@0.0.1",
        "coordinate_transform": camera_world_from_mesh().T.ravel().tolist(),
        "reference_scan_alignment": {"target_id": scan_id, "transformation": np.eye(4).ravel().tolist()},
    }


def multiscan_raw(root: Path, *, ios: bool = True, old: bool = False) -> Path:
    root.mkdir(parents=True)
    stem = root / root.name
    # The published videos are H.264; OpenCV's encoder writes MPEG-4 into the same container.
    code = cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(f"{stem}.mp4", code, 60, (WIDTH, HEIGHT))
    for i in range(FRAMES):
        writer.write(np.ascontiguousarray(color(i)[..., ::-1]))
    writer.release()
    frames = [room.depth_m(i, DEPTH_WIDTH, DEPTH_HEIGHT) for i in range(FRAMES)]
    packed = [d.astype("<f2") if ios else (1000 * d).round().astype("<u2") for d in frames]
    Path(f"{stem}.depth.zlib").write_bytes(raw_deflate(b"".join(d.tobytes() for d in packed)))
    Path(f"{stem}.confidence.zlib").write_bytes(raw_deflate(confidence(ios=ios).tobytes() * FRAMES))
    Path(f"{stem}.json").write_text(json.dumps(metadata(ios=ios)))
    Path(f"{stem}.jsonl").write_text("".join(camera_line(i) + "\n" for i in range(FRAMES)))
    Path(f"{stem}.align.json").write_text(json.dumps(alignment(root.name)))
    labelled_mesh(Path(f"{stem}.ply"))
    Path(f"{stem}.annotations.json").write_text(json.dumps(annotations(root.name, old=old)))
    return root


def multiscan_decoded(root: Path, *, step: int = 10, exr_depth: bool = False) -> Path:
    """Write what the server decodes from a recording: every tenth frame, called by its number."""
    for i in range(FRAMES):
        name = f"{step * i}"
        save(root / "outputs" / "color" / f"{name}.png", color(i))
        depth = room.depth_m(i, DEPTH_WIDTH, DEPTH_HEIGHT)
        if exr_depth:
            exr(root / "outputs" / "depth" / f"{name}.exr", {"Y": depth.astype(np.float32)})
        else:
            save(root / "outputs" / "depth" / f"{name}.png", (1000 * depth).round().astype(np.uint16))
    lines = [camera_line(i // step) for i in range(step * FRAMES - step // 2)]
    stem = root / root.name
    Path(f"{stem}.jsonl").write_text("\n".join(lines) + "\n")
    Path(f"{stem}.align.json").write_text(json.dumps(alignment(root.name)))
    labelled_mesh(Path(f"{stem}.ply"))
    Path(f"{stem}.annotations.json").write_text(json.dumps(annotations(root.name)))
    return root
