"""Clouds and instances check themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.types import InstanceSet, SceneCloud


def instances(**changes: Any) -> InstanceSet:
    """Two overlapping instances, the second a child of the first, over ten points."""
    fields: dict[str, Any] = {
        "instance_id": np.array([5, 2], np.int32),
        "level": np.array([2, 4], np.int16),
        "parent_id": np.array([-1, 5], np.int32),
        "label": np.array([-1, -1], np.int32),
        "score": np.array([0.9, 0.4], np.float32),
        "point_offsets": np.array([0, 3, 5], np.int64),
        "point_index": np.array([1, 4, 9, 4, 9], np.int64),
        "n_points": 10,
        "cloud_digest": "d",
    }
    return InstanceSet(**{**fields, **changes})


def test_instances_give_their_points() -> None:
    """Points are found by position; instances may share them."""
    found = instances()
    assert len(found) == 2
    assert found.points_of(0).tolist() == [1, 4, 9]
    assert found.points_of(1).tolist() == [4, 9]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("instance_id", np.array([5, 5], np.int32), "InstanceSet.instance_id: expected unique ids"),
        ("level", np.array([2, 4]), "InstanceSet.level: expected dtype int16"),
        ("label", np.array([1], np.int32), r"InstanceSet.label: expected shape \(2\)"),
        ("point_offsets", np.array([0, 5], np.int64), r"point_offsets: expected shape \(3\)"),
        ("point_offsets", np.array([0, 6, 5], np.int64), "expected rising offsets from 0 to 5"),
        ("point_offsets", np.array([1, 3, 5], np.int64), "expected rising offsets from 0 to 5"),
        ("point_index", np.array([1, 4, 10, 4, 9], np.int64), r"indices in 0\.\.9, found 1\.\.10"),
        ("point_index", np.array([1, 4, -9, 4, 9], np.int64), r"indices in 0\.\.9, found -9\.\.9"),
    ],
)
def test_each_wrong_field_is_named(name: str, value: object, said: str) -> None:
    """The error names the field, what was expected and what was found."""
    with pytest.raises(DataError, match=said):
        instances(**{name: value})


def test_clouds_check_every_array() -> None:
    """Colours and normals have one row per point; triangles may have any number."""
    xyz = np.zeros((4, 3), np.float32)
    cloud = SceneCloud(xyz_m=xyz, digest="d", triangles=np.array([[0, 1, 2]], np.int32))
    assert len(cloud) == 4
    with pytest.raises(ValueError, match="read-only"):
        cloud.xyz_m[0] = 1
    for wrong, said in (
        ({"color": np.zeros((3, 3), np.uint8)}, r"SceneCloud.color: expected shape \(4, 3\), found \(3, 3\)"),
        ({"normal": np.zeros((4, 3))}, "SceneCloud.normal: expected dtype float32"),
        ({"triangles": np.zeros((2, 4), np.int32)}, r"SceneCloud.triangles: expected shape \(any, 3\)"),
        ({"xyz_m": np.zeros((4, 3))}, "SceneCloud.xyz_m: expected dtype float32"),
    ):
        with pytest.raises(DataError, match=said):
            SceneCloud(**{"xyz_m": xyz, "digest": "d", **wrong})  # type: ignore[arg-type]
