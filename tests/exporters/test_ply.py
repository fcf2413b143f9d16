"""Coloured points: read back by an independent reader, with the right colours and ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from my3dis.errors import DataError, ResourceError
from my3dis.exporters import ply
from my3dis.masks.palette import NO_ID_COLOR, colors_for_ids
from my3dis.plugins import exporter, names
from my3dis.runs.instances import save_instances
from my3dis.types import InstanceSet

XYZ = np.arange(18, dtype=np.float32).reshape(6, 3)


def some_instances() -> InstanceSet:
    return InstanceSet(
        instance_id=np.array([4, 6, 8], np.int32),
        level=np.array([2, 2, 4], np.int16),
        parent_id=np.array([-1, -1, 4], np.int32),
        label=np.full(3, -1, np.int32),
        score=np.array([0.9, 0.5, 0.7], np.float32),
        point_offsets=np.array([0, 3, 6, 7], np.int64),
        point_index=np.array([0, 1, 2, 2, 3, 4, 1], np.int64),
        n_points=6,
        cloud_digest="x",
    )


def run_folder(folder: Path) -> Path:
    save_instances(folder / "instances.npz", some_instances())
    (folder / "instances.ply").write_bytes(ply.instances_to_ply(XYZ, some_instances()))
    return folder


def read_back(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    loaded = trimesh.load(path)
    assert isinstance(loaded, trimesh.PointCloud)
    raw = loaded.metadata["_ply_raw"]["vertex"]["data"]
    return np.asarray(loaded.vertices), np.asarray(loaded.colors)[:, :3], raw


def test_points_keep_order_colour_and_ids(tmp_path: Path) -> None:
    """A single file has all points in order, the coarsest level's colours and every level's ids."""
    out = tmp_path / "out.ply"
    assert ply.export(run_folder(tmp_path), out) == (out,)
    xyz, color, raw = read_back(out)
    np.testing.assert_array_equal(xyz, XYZ)
    owner = [4, 4, 4, 6, 6, -1]  # point 2 is claimed twice; the surer instance shows
    assert raw["instance_level_2"].ravel().tolist() == owner
    assert raw["instance_level_4"].ravel().tolist() == [-1, 8, -1, -1, -1, -1]
    assert np.array_equal(color, colors_for_ids(np.array(owner)))
    assert color[5].tolist() == list(NO_ID_COLOR)


def test_a_folder_gets_one_file_per_level(tmp_path: Path) -> None:
    """Each file is coloured by its own level."""
    written = ply.export(run_folder(tmp_path), tmp_path / "export")
    assert [p.name for p in written] == ["level_2.ply", "level_4.ply"]
    assert np.array_equal(read_back(written[1])[1], colors_for_ids(np.array([-1, 8, -1, -1, -1, -1])))
    assert sorted(p.name for p in (tmp_path / "export").iterdir()) == ["level_2.ply", "level_4.ply"]


def test_no_instances_at_all(tmp_path: Path) -> None:
    """A run that found nothing still shows its points, in grey."""
    zero = np.zeros(0, np.int32)
    none = InstanceSet(
        instance_id=zero, level=zero.astype(np.int16), parent_id=zero, label=zero,
        score=zero.astype(np.float32), point_offsets=np.zeros(1, np.int64),
        point_index=zero.astype(np.int64), n_points=6, cloud_digest="",
    )  # fmt: skip
    path = tmp_path / "none.ply"
    path.write_bytes(ply.instances_to_ply(XYZ, none))
    assert np.array_equal(read_back(path)[1], np.tile(NO_ID_COLOR, (6, 1)))


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    """Another cloud, a run without instances and a place that cannot be written give one sentence each."""
    with pytest.raises(DataError, match="6 points"):
        ply.instances_to_ply(XYZ[:4], some_instances())
    with pytest.raises(DataError, match="stage lift"):
        ply.export(tmp_path, tmp_path / "out.ply")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError, match="cannot write"):
        ply.export(run_folder(tmp_path), tmp_path / "file" / "out.ply")


def test_it_is_a_plug_in() -> None:
    """The exporter is found by its name."""
    assert "ply" in names("exporters")
    assert exporter("ply").export is ply.export
