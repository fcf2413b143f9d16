"""Reading of single files: order of names, clouds, ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from my3dis.datasets.files import natural_key
from my3dis.datasets.ground_truth import load_frame_labels, load_ground_truth
from my3dis.datasets.ply import read_ply
from my3dis.errors import DataError
from tests.datasets import miniatures


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_numbers_in_names_sort_as_numbers(numbers: list[int]) -> None:
    """Names that differ in one number come in the order of that number."""
    names = sorted((f"frame{n}.png" for n in numbers), key=natural_key)
    assert names == [f"frame{n}.png" for n in sorted(numbers)]


@given(st.lists(st.text("a1.²٣-", max_size=6), min_size=1))
def test_any_names_can_be_ordered(names: list[str]) -> None:
    """Mixed names never fail to compare, and different names have different keys."""
    assert len({natural_key(name) for name in sorted(names, key=natural_key)}) == len(set(names))


def write_binary(path: Path, xyz: np.ndarray, faces: np.ndarray) -> None:
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(xyz)}\nproperty float x\n"
        "property float y\nproperty float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    vertex = np.zeros(len(xyz), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    vertex["xyz"], vertex["rgb"] = xyz, np.arange(3) * 100
    face = np.zeros(len(faces), [("n", "u1"), ("v", "<i4", 3)])
    face["n"], face["v"] = 3, faces
    path.write_bytes(header.encode() + vertex.tobytes() + face.tobytes())


def test_ply_keeps_the_order_and_number_of_vertices(tmp_path: Path) -> None:
    """Vertices come as they are stored, duplicates and unused ones included."""
    xyz = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0], [9, 9, 9], [0, 1, 0]], np.float32)
    write_binary(tmp_path / "a.ply", xyz, np.array([[0, 1, 4], [2, 1, 4]]))
    cloud = read_ply(tmp_path / "a.ply")
    assert np.array_equal(cloud.xyz_m, xyz)
    assert cloud.triangles is not None
    assert cloud.triangles.tolist() == [[0, 1, 4], [2, 1, 4]]
    assert cloud.color is not None
    assert cloud.color[3].tolist() == [0, 100, 200]
    assert cloud.normal is None


def test_ascii_points_without_faces_are_read(tmp_path: Path) -> None:
    """A point cloud in text form is a cloud without triangles; its digest follows the coordinates."""
    miniatures.ply(tmp_path / "a.ply", 4)
    miniatures.ply(tmp_path / "b.ply", 5)
    a, b = read_ply(tmp_path / "a.ply"), read_ply(tmp_path / "b.ply")
    assert a.xyz_m.tolist() == [[i, 2 * i, 3 * i] for i in range(4)]
    assert a.triangles is None
    assert a.digest != b.digest


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.3, 0.5, 0.9, 0.999])
def test_truncated_ply_is_refused(tmp_path: Path, keep: float) -> None:
    """A cut file is an error that names it, wherever it was cut."""
    path = tmp_path / "a.ply"
    write_binary(path, np.random.default_rng(0).random((50, 3)), np.arange(48).reshape(-1, 3))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=r"a\.ply: expected"):
        read_ply(path)


ASCII_MESH = """ply
format ascii 1.0
comment written by hand
element vertex 4
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 2
property uchar flags
property list uchar int vertex_indices
end_header
0 0 0 10 20 30
1 0 0 10 20 30
1 1 0 10 20 30
0 1 0 10 20 30
200 3 0 1 2
200 3 0 2 3
"""


def test_truncated_text_ply_is_refused(tmp_path: Path) -> None:
    """A mesh in text form is read whole or not at all, wherever it was cut between two numbers."""
    path = tmp_path / "a.ply"
    path.write_text(ASCII_MESH)
    cloud = read_ply(path)
    assert (len(cloud.xyz_m), cloud.triangles is not None) == (4, True)
    body = ASCII_MESH.index("0 0 0 10")
    for cut in (i for i in range(body, len(ASCII_MESH) - 2) if ASCII_MESH[i] in " \n"):
        path.write_text(ASCII_MESH[:cut])
        with pytest.raises(DataError, match=r"a\.ply: expected a complete PLY mesh, found"):
            read_ply(path)


def test_impossible_ply_content_is_refused(tmp_path: Path) -> None:
    """Coordinates that are not finite and faces over absent vertices are errors."""
    path = tmp_path / "a.ply"
    write_binary(path, np.array([[0, 0, 0], [np.nan, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
    with pytest.raises(DataError, match="1 of 3 vertices with inf or nan"):
        read_ply(path)
    write_binary(path, np.zeros((3, 3)), np.array([[0, 1, 3]]))
    with pytest.raises(DataError, match="faces over 3 vertices"):
        read_ply(path)
    path.write_text("solid stl")
    with pytest.raises(DataError, match="another type"):
        read_ply(path)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_after_ply_never_crash(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    """Whatever follows the magic word, the reader answers with a cloud or a DataError."""
    path = tmp_path_factory.getbasetemp() / "fuzz.ply"
    path.write_bytes(b"ply\n" + tail)
    with pytest.raises(DataError):
        read_ply(path)


def write_ground_truth(folder: Path) -> Path:
    folder.mkdir()
    (folder / "gt_instances.txt").write_text("2001\n5007\n0\n")
    (folder / "gt_parts.txt").write_text("1\n3\n0\n")
    (folder / "gt_structural.txt").write_text("1\n0\n0\n")
    (folder / "hierarchy.json").write_text(
        '{"objects": {"1": {"structural": true}, "7": {"structural": false}},'
        ' "parts": {"3": {"object": 7}, "1": {"object": 1}}}'
    )
    miniatures.save(folder / "part" / "0004.png", np.array([[0, 3], [300, 0]], np.uint16))
    return folder


def test_ground_truth_is_loaded(tmp_path: Path) -> None:
    """Labels per vertex, the tree of parts and label images come as written."""
    folder = write_ground_truth(tmp_path / "gt")
    truth = load_ground_truth(folder)
    assert truth.instances is not None
    assert truth.parts is not None
    assert truth.structural is not None
    assert truth.instances.tolist() == [2001, 5007, 0]
    assert truth.parts.tolist() == [1, 3, 0]
    assert truth.structural.tolist() == [True, False, False]
    assert truth.object_of_part == ((1, 1), (3, 7))
    assert truth.structural_objects == {1}
    assert load_frame_labels(folder, "0004", "part").tolist() == [[0, 3], [300, 0]]


def test_absent_ground_truth_files_are_none(tmp_path: Path) -> None:
    """A folder with nothing in it has no labels; a folder that is not there is an error."""
    truth = load_ground_truth(tmp_path)
    assert truth.instances is None
    assert truth.object_of_part == ()
    with pytest.raises(DataError, match="expected a ground truth folder"):
        load_ground_truth(tmp_path / "absent")


@pytest.mark.parametrize("text", ["1\ntwo\n", "-4\n", "1.5\n", "99999999999999999999999\n", ""])
def test_broken_label_files_are_refused(tmp_path: Path, text: str) -> None:
    """A label that is no whole number of 32 bits is named with its place."""
    folder = write_ground_truth(tmp_path / "gt")
    (folder / "gt_parts.txt").write_text(text)
    with pytest.raises(DataError, match=r"gt_parts\.txt: expected one whole number a line"):
        load_ground_truth(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"objects": {}}', '{"objects": {}, "parts": {"1": {}}}', "[" * 9999]
)
def test_a_broken_hierarchy_is_refused(tmp_path: Path, text: str) -> None:
    """A tree that is no tree is an error that names the file."""
    folder = write_ground_truth(tmp_path / "gt")
    (folder / "hierarchy.json").write_text(text)
    with pytest.raises(DataError, match=r"hierarchy\.json: expected"):
        load_ground_truth(folder)
