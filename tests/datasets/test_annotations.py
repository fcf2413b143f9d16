"""Annotations of the data sets become labels of vertices, objects and parts."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.annotations import load_truth
from my3dis.datasets.detect import open_scan
from my3dis.datasets.truth_files import find_truth
from my3dis.errors import DataError
from tests.datasets import miniatures
from tests.datasets.miniatures import room

PLANE_OF_OBJECT = {1: 0, 2: 1, 3: 2}


def planes_of_vertices() -> list[set[int]]:
    """Return the planes that each vertex lies on, by the triangles that it is a corner of."""
    points, triangles, owner = room.mesh()
    planes: list[set[int]] = [set() for _ in points]
    for corners, plane in zip(triangles.tolist(), owner.tolist(), strict=True):
        for vertex in corners:
            planes[vertex].add(plane)
    return planes


@pytest.mark.parametrize("old", [False, True], ids=["documented", "older"])
def test_multiscan_faces_label_vertices(tmp_path: Path, old: bool) -> None:
    """Both variants of the annotations give floor and cabinet; what is called "remove" is left out."""
    scan = miniatures.multiscan_raw(tmp_path / "scene_00000_00", old=old)
    overview = open_scan(scan).overview
    assert overview.ground_truth == scan / "scene_00000_00.annotations.json" == find_truth(scan)
    truth = load_truth(overview.ground_truth)
    assert truth.instances is not None
    assert truth.parts is not None
    assert truth.structural is not None
    expected = [{0: 2001, 1: 3002, 2: 0}[next(iter(planes))] for planes in planes_of_vertices()]
    assert truth.instances.tolist() == expected
    assert truth.parts.tolist() == [0 if v == 0 else v % 1000 + 10 for v in expected]
    assert truth.structural.tolist() == [v == 2001 for v in expected]
    assert truth.object_of_part == ((11, 1), (12, 2))
    assert truth.structural_objects == frozenset({1})


def test_a_vertex_takes_the_label_of_most_triangles(tmp_path: Path) -> None:
    """Three triangles of object 2 outvote one of object 1; of one each, the smaller number wins."""
    rows = [(0, 1, 2, 1, 5), (0, 2, 3, 2, 6), (0, 3, 4, 2, 6), (0, 4, 5, 2, 6)]
    points = "".join(f"{i} {i % 2} {i % 3}\n" for i in range(7))
    faces = "".join(f"3 {a} {b} {c} {o} {p}\n" for a, b, c, o, p in rows)
    (tmp_path / "s.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 7\nproperty double x\nproperty double y\nproperty double z\n"
        f"element face {len(rows)}\nproperty list uchar int vertex_indices\nproperty ushort objectId\n"
        f"property ushort partId\nend_header\n{points}{faces}"
    )
    objects = [{"objectId": i, "label": f"box.{i}", "mobilityType": "movable"} for i in (1, 2)]
    (tmp_path / "s.annotations.json").write_text(json.dumps({"objects": objects}))
    truth = load_truth(tmp_path / "s.annotations.json")
    assert truth.instances is not None
    box = 29
    assert truth.instances.tolist() == [box * 1000 + o if o else 0 for o in (2, 1, 1, 2, 2, 2, 0)]
    assert truth.object_of_part == ((5, 1), (6, 2))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"objects": [{}]}', '{"objects": 3}'])
def test_broken_multiscan_annotations_are_refused(tmp_path: Path, text: str) -> None:
    """Annotations that are empty, cut or something else are an error that names the file."""
    scan = miniatures.multiscan_raw(tmp_path / "scan")
    (scan / "scan.annotations.json").write_text(text)
    with pytest.raises(DataError, match=r"scan\.annotations\.json: expected annotations"):
        load_truth(scan / "scan.annotations.json")


def test_a_mesh_without_labels_is_refused(tmp_path: Path) -> None:
    """Annotations need the labels of the faces; a mesh without says which are missing."""
    scan = miniatures.multiscan_raw(tmp_path / "scan")
    mesh = scan / "scan.ply"
    mesh.write_bytes(mesh.read_bytes().replace(b"objectId", b"objectNo"))
    with pytest.raises(DataError, match=r"expected the property objectId of every face, found .*objectNo"):
        load_truth(scan / "scan.annotations.json")
    mesh.unlink()
    with pytest.raises(DataError, match=r"scan\.ply: expected a PLY mesh"):
        load_truth(scan / "scan.annotations.json")


_AUDIT = """
import sys
from pathlib import Path
touched = []

def hook(event, values):
    if event == "open" and str(values[0]).endswith((".annotations.json", "aggregation.json", "segs.json",
            "segments.json", "segments_anno.json", "info_semantic.json")):
        touched.append(str(values[0]))

sys.addaudithook(hook)
from my3dis.datasets.detect import open_scan
for scan in sys.argv[1:]:
    reader = open_scan(Path(scan))
    assert reader.overview.ground_truth is not None, scan
    reader.fingerprint(), reader.cloud()
    for i in range(len(reader)):
        reader.frame(i)
print("touched:", touched)
"""


def test_reading_a_scan_opens_no_annotations(tmp_path: Path) -> None:
    """Every reader points at the annotations of its data set, and opens none of them."""
    writers = {
        "multiscan": miniatures.multiscan_decoded,
        "multiscan_raw": miniatures.multiscan_raw,
        "scannet": miniatures.scannet_corner,
        "scannet_sens": miniatures.scannet_sens,
        "scannetpp": miniatures.scannetpp,
        "replica": partial(miniatures.replica, labelled=True),
    }
    scans = [str(write(tmp_path / name)) for name, write in writers.items()]
    done = subprocess.run(
        [sys.executable, "-c", _AUDIT, *scans], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "touched: []" in done.stdout


def test_normals_of_zeros_are_none(tmp_path: Path) -> None:
    """A mesh whose normals were never computed has none, rather than surfaces that face nowhere."""
    scan = miniatures.multiscan_raw(tmp_path / "scan")
    cloud = open_scan(scan).cloud()
    assert cloud is not None
    assert cloud.normal is None


def test_our_own_folder_comes_first(tmp_path: Path) -> None:
    """A folder gt/ in the scan is used whatever annotations lie beside it."""
    scan = miniatures.multiscan_raw(tmp_path / "scan")
    (scan / "gt").mkdir()
    (scan / "gt" / "gt_instances.txt").write_text("3001\n0\n")
    assert find_truth(scan) == scan / "gt" == open_scan(scan).overview.ground_truth
    found = load_truth(scan / "gt").instances
    assert np.array_equal([] if found is None else found, [3001, 0])


def test_unknown_ground_truth_is_refused(tmp_path: Path) -> None:
    """A file of another kind, and a path with nothing, are errors."""
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"annotations \(\*\.annotations\.json"):
        load_truth(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="expected a ground truth folder, found none"):
        load_truth(tmp_path / "absent")
