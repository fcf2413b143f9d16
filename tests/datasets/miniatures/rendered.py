"""A Replica scene as NICE-SLAM renders it, with or without the original's labelled mesh."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.datasets.miniatures import room
from tests.datasets.miniatures.basic import FRAMES, HEIGHT, WIDTH, color, save


def replica(root: Path, *, labelled: bool = False) -> Path:
    rows = []
    for i in range(FRAMES):
        save(root / "results" / f"frame{i:06d}.jpg", color(i))
        steps = (6553.5 * room.depth_m(i, WIDTH, HEIGHT)).round().astype(np.uint16)
        save(root / "results" / f"depth{i:06d}.png", steps)
        rows.append(" ".join(f"{v:.18e}" for v in room.pose(i).ravel()))
    (root / "traj.txt").write_text("\n".join(rows) + "\n")
    k = room.intrinsics(WIDTH, HEIGHT)
    camera = {
        "w": WIDTH,
        "h": HEIGHT,
        "fx": k[0, 0],
        "fy": k[1, 1],
        "cx": k[0, 2],
        "cy": k[1, 2],
        "scale": 6553.5,
    }
    (root.parent / "cam_params.json").write_text(json.dumps({"camera": camera}))
    points, triangles, owner = room.mesh()
    vertex = np.zeros(len(points), [("xyz", "<f4", 3)])
    vertex["xyz"] = points
    head = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\nproperty float x\n"
        f"property float y\nproperty float z\nelement face {len(triangles)}\n"
        "property list uchar int vertex_indices\n"
    )
    kinds: list[tuple[str, str] | tuple[str, str, int]] = [("n", "u1"), ("v", "<i4", 3)]
    plain = np.zeros(len(triangles), kinds)
    plain["n"], plain["v"] = 3, triangles
    mesh = root.parent / f"{root.name}_mesh.ply"
    mesh.write_bytes(f"{head}end_header\n".encode() + vertex.tobytes() + plain.tobytes())
    if labelled:
        with_ids = np.zeros(len(triangles), [*kinds, ("object", "<i4")])
        with_ids["n"], with_ids["v"], with_ids["object"] = 3, triangles, owner * 5
        folder = root / "habitat"
        folder.mkdir()
        body = vertex.tobytes() + with_ids.tobytes()
        (folder / "mesh_semantic.ply").write_bytes(
            f"{head}property int object_id\nend_header\n".encode() + body
        )
        names = ("floor", "cabinet", "wall-cabinet")
        objects = [{"id": 5 * i, "class_id": i, "class_name": name} for i, name in enumerate(names)]
        (folder / "info_semantic.json").write_text(json.dumps({"classes": [], "objects": objects}))
    return root
