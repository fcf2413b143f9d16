"""A ScanNet++ telephone scan: video and depth.bin in each packing, or extracted images."""

from __future__ import annotations

import functools
import json
import zlib
from pathlib import Path

import cv2
import numpy as np

from tests.datasets.miniatures import room
from tests.datasets.miniatures.basic import FRAMES, HEIGHT, WIDTH, color, save
from tests.datasets.miniatures.raw_multiscan import raw_deflate
from tests.datasets.miniatures.raw_scannet import SEGMENTS, plane_of_vertex

DEPTH_WIDTH, DEPTH_HEIGHT = 256, 192


def lz4_packed(data: bytes) -> bytes:
    """Pack as LZ4: the first two bytes, then as many repetitions of two bytes as fit, then the rest."""
    out, at = bytearray(), 0
    literal = bytearray()
    while at < len(data):
        length = 0
        while at >= 2 and at + length < len(data) - 12 and data[at + length] == data[at + length - 2]:
            length += 1
        if length < 8:
            literal.append(data[at])
            at += 1
            continue
        out += sequence(bytes(literal), length)
        literal.clear()
        at += length
    return bytes(out + sequence(bytes(literal), None))


def sequence(literal: bytes, match: int | None) -> bytes:
    """Return one sequence: literals, then a match two bytes back; the last has no match."""
    extra = 0 if match is None else match - 4
    head = bytes([min(len(literal), 15) << 4 | min(extra, 15)])
    tail = b"" if match is None else b"\x02\x00" + more(extra)
    return head + more(len(literal)) + literal + tail


def more(length: int) -> bytes:
    if length < 15:
        return b""
    rest = length - 15
    return b"\xff" * (rest // 255) + bytes([rest % 255])


@functools.cache
def depth_bin(packing: str) -> bytes:
    frames = [room.depth_m(i, DEPTH_WIDTH, DEPTH_HEIGHT) for i in range(FRAMES)]
    if packing == "whole":
        return raw_deflate(b"".join(d.astype("<f4").tobytes() for d in frames))
    parts = []
    for depth in frames:
        steps = (1000 * depth).round().astype("<u2").tobytes()
        metres = depth.astype("<f4").tobytes()
        deflated = zlib.compress(metres) if packing == "zlib" else raw_deflate(metres)
        packed = lz4_packed(steps) if packing == "lz4" else deflated
        parts.append(len(packed).to_bytes(4, "little") + packed)
    return b"".join(parts)


def scannetpp(root: Path, *, packing: str = "whole") -> Path:
    folder = root / "iphone"
    folder.mkdir(parents=True)
    if packing == "extracted":
        for i in range(FRAMES):
            save(folder / "rgb" / f"frame_{i:06d}.jpg", color(i))
            steps = (1000 * room.depth_m(i, DEPTH_WIDTH, DEPTH_HEIGHT)).round().astype(np.uint16)
            save(folder / "depth" / f"frame_{i:06d}.png", steps)
    else:
        writer = cv2.VideoWriter(
            str(folder / "rgb.mkv"), cv2.VideoWriter_fourcc(*"FFV1"), 60, (WIDTH, HEIGHT)
        )
        for i in range(FRAMES):
            writer.write(np.ascontiguousarray(color(i)[..., ::-1]))
        writer.release()
        (folder / "depth.bin").write_bytes(depth_bin(packing))
    records = {
        f"frame_{i:06d}": {
            "timestamp": 100 + i / 60,
            "pose": np.eye(4).tolist(),
            "aligned_pose": room.pose(i).tolist(),
            "intrinsic": room.intrinsics(WIDTH, HEIGHT).tolist(),
            "imu": {"accelerometer": [0, 0, 0]},
        }
        for i in range(FRAMES)
    }
    (folder / "pose_intrinsic_imu.json").write_text(json.dumps(records))
    scans = root / "scans"
    scans.mkdir()
    points, triangles, _ = room.mesh()
    vertex = np.zeros(len(points), [("xyz", "<f8", 3)])
    vertex["xyz"] = points
    face = np.zeros(len(triangles), [("n", "u1"), ("v", "<u4", 3)])
    face["n"], face["v"] = 3, triangles
    head = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\nproperty double x\n"
        f"property double y\nproperty double z\nelement face {len(triangles)}\n"
        "property list uchar uint vertex_indices\nend_header\n"
    )
    (scans / "mesh_aligned_0.05.ply").write_bytes(head.encode() + vertex.tobytes() + face.tobytes())
    indices = [SEGMENTS[plane] for plane in plane_of_vertex()]
    (scans / "segments.json").write_text(json.dumps({"sceneId": root.name, "segIndices": indices}))
    groups = [
        {"id": i, "objectId": i, "segments": [segment], "label": name, "obb": {}}
        for i, (segment, name) in enumerate(
            zip(SEGMENTS, ("floor", "office chair", "table"), strict=True), start=1
        )
    ]
    (scans / "segments_anno.json").write_text(json.dumps({"sceneId": root.name, "segGroups": groups}))
    return root
