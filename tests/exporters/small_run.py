"""A run made by hand for the tests of exporters: two levels, tracks that come and go, a small mesh."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from my3dis.archive import StreamingSegmentWriter
from my3dis.datasets.ply import read_ply
from my3dis.exporters import ply
from my3dis.masks import codec
from my3dis.masks.build import from_codes
from my3dis.runs.instances import save_instances
from my3dis.types import InstanceSet, MaskSet

SIZE = (24, 36)
SCENE = "room0"
FRAMES = (0, 2, 5)

# frame → (track, level, parent's track, (x0, y0, x1, y1)); track 7 lies in 3 and lies over 8.
BOXES = {
    0: [(3, 2, -1, (0, 0, 20, 20)), (4, 2, -1, (18, 4, 30, 24)), (7, 4, 3, (2, 2, 8, 8))],
    2: [
        *((3, 2, -1, (1, 0, 21, 20)), (7, 4, 3, (3, 2, 9, 8))),
        *((8, 4, 3, (5, 1, 19, 19)), (-1, 4, -1, (0, 0, 2, 2))),
    ],
    5: [],
}  # fmt: skip


def pixels(box: tuple[int, int, int, int], size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def masks_of(frame: int, rows: list | None = None, size: tuple[int, int] = SIZE) -> MaskSet:
    rows = BOXES[frame] if rows is None else rows
    if not rows:
        return MaskSet.empty(frame, size)
    id_of = {track: k for k, (track, _, _, _) in enumerate(rows)}
    return from_codes(
        [codec.encode(pixels(box, size)) for *_, box in rows],
        frame=frame,
        image_size=size,
        mask_id=np.arange(len(rows)),
        level=np.array([level for _, level, _, _ in rows]),
        parent_id=np.array([id_of.get(parent, -1) if parent >= 0 else -1 for _, _, parent, _ in rows]),
        track_id=np.array([track for track, *_ in rows]),
        score=np.linspace(0.5, 1.0, len(rows)),
        stability=0.5,
    )


def write_masks(run: Path, name: str = "tracks") -> None:
    with StreamingSegmentWriter(run / f"{name}.my3dis", purpose=name) as writer:
        for frame in BOXES:
            writer.append_frame(frame, masks_of(frame))


def write_long_run(run: Path, frames: int, size: tuple[int, int] = (240, 320)) -> None:
    """A run of any number of frames, eight masks on each, of few tracks."""
    run.mkdir(parents=True)
    with StreamingSegmentWriter(run / "tracks.my3dis", purpose="tracks") as writer:
        for frame in range(frames):
            # The same four pictures again and again, so that no frame is larger than the first ones.
            corners = np.random.default_rng(frame % 4).integers(0, 100, (8, 2)).tolist()
            rows = [(k, 2 + 2 * (k % 2), -1, (x, y, x + 90, y + 90)) for k, (x, y) in enumerate(corners)]
            writer.append_frame(frame, masks_of(frame, rows, size))


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a mesh of six by six vertices, ten centimetres apart."""
    y, x = np.divmod(np.arange(36), 6)
    first = np.flatnonzero((x < 5) & (y < 5))
    halves = [np.stack([first, first + 1, first + 6], 1), np.stack([first + 1, first + 7, first + 6], 1)]
    return np.stack([0.1 * x, 0.1 * y, 0.01 * x * y], 1).astype(np.float32), np.concatenate(halves)


def instances(digest: str = "") -> InstanceSet:
    """Instance 3 has the first three rows; its child 7 a square of four; 4 shares a row; 9 is one vertex."""
    points = [np.arange(18), np.arange(12, 30), np.array([0, 1, 6, 7]), np.array([35])]
    return InstanceSet(
        instance_id=np.array([3, 4, 7, 9], np.int32),
        level=np.array([2, 2, 4, 4], np.int16),
        parent_id=np.array([-1, -1, 3, -1], np.int32),
        label=np.array([5, -1, -1, -1], np.int32),
        score=np.array([0.9, 0.4, 1 / 3, 0.2], np.float32),
        point_offsets=np.cumsum([0, *map(len, points)]).astype(np.int64),
        point_index=np.concatenate(points).astype(np.int64),
        n_points=36,
        cloud_digest=digest,
    )


def write_scan(scan: Path) -> None:
    """A ScanNet scene of six frames and the mesh; numbers count on by ten."""
    for name in ("color", "pose", "intrinsic"):
        (scan / name).mkdir(parents=True)
    for i in range(6):
        image = np.full((*SIZE, 3), 40 * i, np.uint8)
        cv2.imwrite(str(scan / "color" / f"{10 * i}.png"), image)
        pose = np.eye(4)
        pose[2, 3] = -1 - i
        np.savetxt(scan / "pose" / f"{10 * i}.txt", pose)
    camera = np.diag([30.0, 30.0, 1.0, 1.0])
    camera[:2, 2] = (17.5, 11.5)
    np.savetxt(scan / "intrinsic" / "intrinsic_color.txt", camera)
    xyz, triangles = grid()
    vertex = np.zeros(len(xyz), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    vertex["xyz"] = xyz
    face = np.zeros(len(triangles), [("n", "u1"), ("corners", "<i4", 3)])
    face["n"], face["corners"] = 3, triangles
    names = [f"property float {axis}" for axis in "xyz"]
    names += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(xyz)}", *names]
    head += [f"element face {len(face)}", "property list uchar int vertex_indices", "end_header\n"]
    data = "\n".join(head).encode() + vertex.tobytes() + face.tobytes()
    (scan / f"{SCENE}_vh_clean_2.ply").write_bytes(data)


def write_run(run: Path, scan: Path | None = None) -> Path:
    """A finished run in a folder, with its scan in another where one is given."""
    run.mkdir(parents=True)
    write_masks(run)
    tree = [(3, 2, -1), (4, 2, -1), (7, 4, 3), (8, 4, 3)]
    rows = [{"track_id": t, "level": v, "parent_id": p, "containment": 1.0} for t, v, p in tree]
    (run / "relations.json").write_text(json.dumps({"format": 1, "tracks": rows, "merges": []}))
    digest = ""
    if scan is not None:
        write_scan(scan)
        digest = read_ply(scan / f"{SCENE}_vh_clean_2.ply").digest
    save_instances(run / "instances.npz", instances(digest))
    (run / "instances.ply").write_bytes(ply.instances_to_ply(grid()[0], instances()))
    manifest = {"scene": SCENE, "scan": str(scan or ""), "dataset": "scannet"}
    (run / "manifest.json").write_text(json.dumps(manifest))
    return run
