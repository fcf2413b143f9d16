"""glTF: read back by trimesh, with the tree, the colours, the counts and what is said of each instance."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from my3dis.errors import DataError
from my3dis.exporters import glb
from my3dis.exporters.gltf import linear_from_srgb
from my3dis.masks.palette import colors_for_ids
from tests.exporters.small_run import grid, instances, write_run

NAMES = ("level_2_instance_3", "level_2_instance_4", "level_4_instance_7", "level_4_instance_9")


def read_back(path: Path) -> trimesh.Scene:
    loaded = trimesh.load(path)
    assert isinstance(loaded, trimesh.Scene)
    return loaded


def document(path: Path) -> dict:
    """The JSON of the file, after its frame was checked by the letter of the specification."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    assert size % 4 == 0
    return json.loads(data[20 : 20 + size])


def shape(scene: trimesh.Scene, name: str) -> trimesh.Trimesh | trimesh.PointCloud:
    return scene.geometry[scene.graph[name][1]]


def test_instances_are_nodes_in_their_tree(tmp_path: Path) -> None:
    """Every instance is a node below its parent's, with its points, its colour and its scores."""
    run = write_run(tmp_path / "run")
    assert glb.PLUGIN.export(run, tmp_path / "a.glb") == (tmp_path / "a.glb",)
    scene = read_back(tmp_path / "a.glb")
    assert set(scene.graph.nodes_geometry) == set(NAMES)
    parents = scene.graph.transforms.parents
    assert [parents[name] for name in NAMES] == ["scene", "scene", NAMES[0], "scene"]
    expected, xyz = instances(), grid()[0]
    linear = linear_from_srgb(colors_for_ids(expected.instance_id).ravel()).reshape(-1, 3)
    for k, name in enumerate(NAMES):
        found = shape(scene, name)
        assert isinstance(found, trimesh.PointCloud)
        np.testing.assert_array_equal(found.vertices, xyz[expected.points_of(k)])
        np.testing.assert_allclose(
            found.colors[:, :3] / 255, np.tile(linear[k], (len(found.colors), 1)), atol=0.005
        )
    extras = {node["name"]: node["extras"] for node in document(tmp_path / "a.glb")["nodes"]}
    assert extras["scene"]["scene"] == "room0"
    assert extras[NAMES[2]] == {
        "instance_id": 7,
        "level": 4,
        "parent_id": 3,
        "label": -1,
        "score": float(np.float32(1 / 3)),
        "points": 4,
    }


def test_z_is_up_in_the_scan_and_y_in_gltf(tmp_path: Path) -> None:
    """A point above another in the scan is above it in a viewer; up=y leaves the axes alone."""
    run = write_run(tmp_path / "run")
    glb.PLUGIN.export(run, tmp_path / "z.glb")
    turn, _ = read_back(tmp_path / "z.glb").graph[NAMES[0]]
    np.testing.assert_allclose(turn @ [1, 2, 3, 1], [1, 3, -2, 1])
    assert glb.PLUGIN.with_options is not None
    glb.PLUGIN.with_options({"up": "y"})(run, tmp_path / "y.glb")
    np.testing.assert_array_equal(read_back(tmp_path / "y.glb").graph[NAMES[0]][0], np.eye(4))


def test_a_mesh_gives_the_triangles_of_each_instance(tmp_path: Path) -> None:
    """Triangles with all corners in an instance are its own; one without any is shown as points."""
    run = write_run(tmp_path / "run", tmp_path / "scan")
    glb.PLUGIN.export(run, tmp_path / "a.glb")
    scene = read_back(tmp_path / "a.glb")
    xyz, triangles = grid()
    expected = instances()
    for k, name in enumerate(NAMES[:3]):
        found = shape(scene, name)
        assert isinstance(found, trimesh.Trimesh)
        inside = triangles[np.isin(triangles, expected.points_of(k)).all(axis=1)]
        assert sorted(map(tuple, found.triangles.reshape(-1, 9).tolist())) == sorted(
            map(tuple, xyz[inside].astype(float).reshape(-1, 9).tolist())
        )
        srgb = colors_for_ids(expected.instance_id[k : k + 1])[0]
        np.testing.assert_allclose(
            found.visual.material.main_color[:3] / 255, linear_from_srgb(srgb), atol=0.005
        )
    assert [len(shape(scene, name).faces) for name in NAMES[:3]] == [20, 20, 2]
    assert isinstance(shape(scene, NAMES[3]), trimesh.PointCloud)


def test_what_children_do_not_have(tmp_path: Path) -> None:
    """With parents=rest no point is twice below a node; with rest=yes the points of no instance are there."""
    run = write_run(tmp_path / "run", tmp_path / "scan")
    assert glb.PLUGIN.with_options is not None
    options = {"parents": "rest", "rest": "yes", "geometry": "points"}
    glb.PLUGIN.with_options(options)(run, tmp_path / "a.glb")
    scene = read_back(tmp_path / "a.glb")
    counts = {name: len(shape(scene, name).vertices) for name in (*NAMES, "rest")}
    assert counts == dict(zip((*NAMES, "rest"), (14, 18, 4, 1, 5), strict=True))


def test_one_level(tmp_path: Path) -> None:
    """Only its instances are there; those whose parent is not are below the root."""
    run = write_run(tmp_path / "run")
    assert glb.PLUGIN.with_options is not None
    glb.PLUGIN.with_options({"level": "4"})(run, tmp_path / "a.glb")
    parents = read_back(tmp_path / "a.glb").graph.transforms.parents
    assert {name: parents[name] for name in NAMES[2:]} == dict.fromkeys(NAMES[2:], "scene")
    assert NAMES[0] not in parents


def test_the_mesh_of_another_scan_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A mesh that has changed since gives points and a warning, or an error where a mesh is asked for."""
    run = write_run(tmp_path / "run", tmp_path / "scan")
    (mesh,) = (tmp_path / "scan").glob("*.ply")
    data = bytearray(mesh.read_bytes())
    at = data.index(b"end_header\n") + len(b"end_header\n")
    data[at : at + 4] = struct.pack("<f", 0.5)
    mesh.write_bytes(bytes(data))
    glb.PLUGIN.export(run, tmp_path / "a.glb")
    assert "another than that which the run was made from" in caplog.text
    assert isinstance(shape(read_back(tmp_path / "a.glb"), NAMES[0]), trimesh.PointCloud)
    assert glb.PLUGIN.with_options is not None
    with pytest.raises(DataError, match="expected a scan with a mesh of 36 vertices"):
        glb.PLUGIN.with_options({"geometry": "mesh"})(run, tmp_path / "b.glb")


def test_a_scan_that_is_gone_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without the scan the points of the run are exported, with a warning."""
    run = write_run(tmp_path / "run", tmp_path / "scan")
    (tmp_path / "scan").rename(tmp_path / "moved")
    glb.PLUGIN.export(run, tmp_path / "a.glb")
    assert "going on without the scan of this run" in caplog.text
    assert len(read_back(tmp_path / "a.glb").geometry) == 4
