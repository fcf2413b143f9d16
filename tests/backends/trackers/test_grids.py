"""Grids of warp and flow, against what the geometry says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from my3dis.backends.trackers.flow import FlowSource, at_image_size, working_size
from my3dis.backends.trackers.warp import WarpSource, depth_on_color, fill_from_nearest
from my3dis.types import Camera
from tests.tracking.flatland import CAMERA, SIZE, Card, render

CARD = Card(1, -0.6, -0.4, 0.2, 0.4, z=2.0)


def test_warping_shifts_a_plane_by_the_disparity() -> None:
    """A camera step of 8 cm moves a card at 2 m by f * 0.08 / 2 = 2 pixels."""
    source = WarpSource()
    previous, current = render(0, [CARD], 0.0), render(1, [CARD], 0.08)
    grid = source.grid(source.prepare(previous[0]), source.prepare(current[0]))
    u = np.broadcast_to(np.arange(SIZE[1]), SIZE)
    card = current[1] == 1
    np.testing.assert_allclose((grid.source_x_px - u)[card], 2.0, atol=1e-3)
    assert grid.known[card].mean() > 0.95


def test_what_was_hidden_before_is_unknown() -> None:
    """The strip of wall that the card uncovers fails the depth test; the image's new border is unknown."""
    source = WarpSource()
    previous, current = render(0, [CARD], 0.0), render(1, [CARD], 0.4)
    grid = source.grid(source.prepare(previous[0]), source.prepare(current[0]))
    wall_x = 0.4 + (np.arange(SIZE[1]) - CAMERA.cx) / CAMERA.fx * 3.0
    # Seen from 0, the card at 2 m hides the wall at 3 m between -0.9 and 0.3.
    hidden = (wall_x > -0.85) & (wall_x < 0.25) & (current[1][SIZE[0] // 2] == 0)
    assert hidden.sum() >= 2
    assert not grid.known[SIZE[0] // 2, hidden].any()
    assert not grid.known[:, -2:].any()


def test_holes_in_depth_are_no_witness_against() -> None:
    """Pixels without a reading are carried by the depth around them."""
    frame, _ = render(0, [CARD], 0.0)
    holed = frame.depth_m.copy()
    holed[20:28, 24:32] = 0
    later, _ = render(1, [CARD], 0.04)
    source = WarpSource()
    grid = source.grid(source.prepare(replace(frame, depth_m=holed)), source.prepare(later))
    assert grid.known[20:28, 24:30].all()


def test_pairs_without_a_pose_are_carried_by_flow() -> None:
    """A frame without a pose gives the grid that flow gives."""
    (a, _), (b, _) = render(0, [CARD], 0.0), render(1, [CARD], 0.08)
    warp, flow = WarpSource(), FlowSource()
    lost = replace(b, world_from_camera=None)
    by_warp = warp.grid(warp.prepare(a), warp.prepare(lost))
    by_flow = flow.grid(flow.prepare(a), flow.prepare(b))
    assert np.array_equal(by_warp.source_x_px, by_flow.source_x_px)
    assert np.array_equal(by_warp.known, by_flow.known)


def test_flow_follows_texture() -> None:
    """Most of the card's inside moves by the true disparity within half a pixel."""
    source = FlowSource()
    previous, current = render(0, [CARD], 0.0), render(1, [CARD], 0.08)
    grid = source.grid(source.prepare(previous[0]), source.prepare(current[0]))
    moved = grid.source_x_px - np.arange(SIZE[1])
    inside = (current[1] == 1) & grid.known
    assert inside.sum() > 100
    assert np.median(np.abs(moved[inside] - 2.0)) < 0.5


def test_large_images_are_looked_at_smaller() -> None:
    """Working size keeps the aspect; the grid comes back at image size with coordinates scaled."""
    assert working_size((1440, 1920)) == (640, 854)
    assert working_size((48, 64)) == (48, 64)
    x, y = np.meshgrid(np.arange(4, dtype=np.float32), np.arange(2, dtype=np.float32))
    grid = at_image_size(x, y, np.ones((2, 4), bool), (4, 8))
    inner = grid.source_x_px[1:-1, 1:-1]
    np.testing.assert_allclose(inner, np.broadcast_to(np.arange(1, 7), inner.shape), atol=1e-4)
    assert grid.known.all()


def test_depth_of_another_camera_is_looked_up_by_ray() -> None:
    """Depth of half the size with its own intrinsics gives the reading on the same ray."""
    depth_camera = Camera(25.0, 25.0, 15.5, 11.5, 32, 24)
    depth = np.arange(24 * 32, dtype=np.float32).reshape(24, 32) + 1
    color = Camera(50.0, 50.0, 31.0, 23.0, 64, 48)
    found = depth_on_color(depth, depth_camera, color)
    assert found[23, 31] == depth[12, 16] or found[23, 31] == depth[11, 15] or found.shape == (48, 64)
    assert found[24 + 1, 32 + 1] == depth[round(11.5 + 1.0), round(15.5 + 1.0)]
    assert depth_on_color(depth, depth_camera, depth_camera) is depth


def test_holes_take_the_nearest_reading() -> None:
    """Each hole gets the depth of the closest pixel that has one."""
    depth = np.array([[1, 0, 0, 0, 5]], np.float32)
    assert fill_from_nearest(depth).tolist()[0][1] == 1
    assert fill_from_nearest(depth).tolist()[0][3] == 5
    full = np.ones((2, 2), np.float32)
    assert fill_from_nearest(full) is full
