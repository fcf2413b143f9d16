"""Fusing points in voxels with flat memory; neighbours and normals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dis.errors import DataError
from my3dis.geometry.points import (
    VoxelFusion,
    median_spacing,
    nearest_spacing,
    neighbour_edges,
    normals_from_neighbours,
    normals_from_triangles,
    triangle_edges,
)


def grey(count: int, value: int = 100) -> np.ndarray:
    return np.full((count, 3), value, np.uint8)


def test_two_points_of_one_voxel_by_hand() -> None:
    """Positions and colours are averaged; a batch counts once per voxel, however many points it has."""
    fusion = VoxelFusion(0.1)
    fusion.add(np.array([[0.02, 0.02, 0.02], [0.04, 0.04, 0.04]], np.float32), grey(2, 10))
    fusion.add(np.array([[0.06, 0.06, 0.06], [-0.01, 0.0, 0.0]], np.float32), grey(2, 40))
    fused = fusion.result()
    np.testing.assert_allclose(fused.xyz_m, [[-0.01, 0, 0], [0.04, 0.04, 0.04]], atol=1e-6)
    assert fused.color.tolist() == [[40, 40, 40], [20, 20, 20]]
    assert fused.frames.tolist() == [1, 2]
    assert len(fusion.result(min_frames=2).xyz_m) == 1


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_batches_do_not_matter(seed: int, batches: int) -> None:
    """Points added in any number of batches give the voxels and means of a plain dictionary."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-1, 1, (200, 3)).astype(np.float32)
    color = rng.integers(0, 256, (200, 3)).astype(np.uint8)
    fusion = VoxelFusion(0.25)
    for part in np.array_split(np.arange(200), batches):
        fusion.add(xyz[part], color[part])
    expected: dict[tuple[int, ...], list[int]] = {}
    for i, cell in enumerate(np.floor(xyz.astype(np.float64) / 0.25).astype(int).tolist()):
        expected.setdefault(tuple(cell), []).append(i)
    fused = fusion.result()
    assert len(fused.xyz_m) == len(expected)
    ordered = sorted(expected, key=lambda cell: cell[::-1])
    means = np.array([xyz[expected[cell]].astype(np.float64).mean(axis=0) for cell in ordered])
    np.testing.assert_allclose(fused.xyz_m, means, atol=1e-6)


def test_memory_is_bounded_by_coarser_voxels() -> None:
    """More voxels than allowed double the voxel size; every point still lies in a voxel of the new grid."""
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-2, 2, (4000, 3)).astype(np.float32)
    fusion = VoxelFusion(0.05, max_voxels=500)
    for part in np.array_split(xyz, 8):
        fusion.add(part, grey(len(part)))
        assert len(fusion) <= 500
    fused = fusion.result()
    assert fused.voxel_m > 0.05
    assert len(fused.xyz_m) == len(np.unique(np.floor(xyz / fused.voxel_m), axis=0))


def test_points_far_away_are_refused() -> None:
    """Poses in millimetres put points beyond what voxels can count, and the message says what to check."""
    with pytest.raises(DataError, match="unit"):
        VoxelFusion(0.01).add(np.array([[1e6, 0, 0]], np.float32), grey(1))
    with pytest.raises(DataError, match="finite"):
        VoxelFusion(0.01).add(np.array([[np.nan, 0, 0]], np.float32), grey(1))


def test_nothing_added_gives_nothing() -> None:
    """An empty batch and no batch at all give an empty cloud."""
    fusion = VoxelFusion(0.1)
    fusion.add(np.zeros((0, 3), np.float32), grey(0))
    assert len(fusion.result().xyz_m) == 0


def test_edges_of_two_triangles() -> None:
    """Two triangles that share an edge have five, each once, smaller index first."""
    edges = triangle_edges(np.array([[0, 1, 2], [2, 1, 3]], np.int32))
    assert edges.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]


def test_neighbours_on_a_line() -> None:
    """Points one apart are neighbours, the one three apart is alone."""
    xyz = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [5, 0, 0]], np.float32)
    assert neighbour_edges(xyz, neighbours=2, radius_m=1.5).tolist() == [[0, 1], [1, 2]]
    assert neighbour_edges(xyz[:1], neighbours=2, radius_m=1.5).shape == (0, 2)
    assert median_spacing(xyz, np.array([[0, 1], [1, 2], [2, 3]], np.int32)) == pytest.approx(1.0)
    assert median_spacing(xyz, np.zeros((0, 2), np.int32)) == 0.0


def test_normals_of_a_plane() -> None:
    """Both ways of finding normals agree on a tilted plane, up to the sign."""
    y, x = np.mgrid[0:6, 0:6].reshape(2, -1).astype(np.float32)
    xyz = np.stack([x, y, x], axis=1)
    wanted = np.array([1, 0, -1]) / np.sqrt(2)
    near = neighbour_edges(xyz, neighbours=6, radius_m=3.0)
    found = normals_from_neighbours(xyz, near)
    np.testing.assert_allclose(np.abs(found @ wanted), 1.0, atol=1e-5)
    corners = np.array([[0, 1, 6], [1, 7, 6]], np.int32)
    by_triangles = normals_from_triangles(xyz, corners)
    np.testing.assert_allclose(np.abs(by_triangles[[0, 1, 6, 7]] @ wanted), 1.0, atol=1e-5)
    assert not by_triangles[20].any(), "a vertex of no triangle has no normal"


def test_too_few_neighbours_give_no_normal() -> None:
    """Two points define no plane."""
    xyz = np.array([[0, 0, 0], [1, 0, 0]], np.float32)
    assert not normals_from_neighbours(xyz, np.array([[0, 1]], np.int32)).any()


def test_layers_of_noise_are_thinned() -> None:
    """A layer hit once beside one hit four times goes; a surface hit once with nothing beside it stays."""
    fusion = VoxelFusion(1.0)
    wall, layer, alone = [[0.5, 0.5, 0.5]], [[1.5, 0.5, 0.5]], [[9.5, 0.5, 0.5]]
    for _ in range(4):
        fusion.add(np.array(wall, np.float32), grey(1))
    fusion.add(np.array(layer + alone, np.float32), grey(2))
    assert len(fusion.result().xyz_m) == 3
    assert fusion.result(support=0.3).xyz_m.tolist() == wall + alone
    assert len(VoxelFusion(1.0).result(support=0.3).xyz_m) == 0


def test_spacing_of_a_grid() -> None:
    """Points on a grid lie one step apart, however few are sampled; fewer than two have no spacing."""
    y, x = np.mgrid[0:20, 0:20].reshape(2, -1).astype(np.float32)
    xyz = np.stack([x, y, x * 0], axis=1) * np.float32(0.25)
    assert nearest_spacing(xyz) == nearest_spacing(xyz, samples=7) == pytest.approx(0.25)
    assert nearest_spacing(xyz[:1]) == 0.0
