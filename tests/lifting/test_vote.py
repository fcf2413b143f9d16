"""Votes on a small world whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.lifting.visibility import ViewOptions, visible_points
from my3dis.lifting.vote import VoteAccumulator, VoteOptions, Votes
from my3dis.masks.codec import DECODED
from my3dis.types import Camera, MaskSet
from tests.lifting.panels import CAMERA, Panel, points_of, tracked, view

WALL = Panel((-1.4, 1.4), (-1.2, 1.2), 3.0)
BOX = Panel((-0.3, 0.3), (-0.3, 0.3), 1.5, thing=1)
WORLD = [WALL, BOX]


def votes_of(
    positions: list[float], things_seen: bool = True, view_options: ViewOptions | None = None, **options: int
) -> Votes:
    xyz, _, _ = points_of(WORLD)
    accumulator = VoteAccumulator(
        xyz,
        None,
        np.array([1], np.int32),
        view_count=len(positions),
        options=VoteOptions(view=view_options or ViewOptions(), **options),
    )
    for index, x in enumerate(positions):
        frame, things, _ = view(WORLD, index, x)
        masks = tracked(things, index) if things_seen else MaskSet.empty(index, things.shape)
        accumulator.add(frame, masks)
    return accumulator.result()


def test_hidden_points_are_not_seen() -> None:
    """The wall behind the box is invisible from the front: its shadow is twice as large as the box."""
    xyz, things, _ = points_of(WORLD)
    frame, _, _ = view(WORLD, 0)
    seen = visible_points(frame, xyz, None, mask_size=(80, 100), options=ViewOptions())
    visible = np.zeros(len(xyz), np.bool_)
    visible[seen.point] = True
    shadow = (things == 0) & (np.abs(xyz[:, 0]) < 0.58) & (np.abs(xyz[:, 1]) < 0.58)
    assert shadow.sum() > 400
    assert not visible[shadow].any()
    lit = (things == 0) & ((np.abs(xyz[:, 0]) > 0.65) | (np.abs(xyz[:, 1]) > 0.65))
    assert visible[lit].mean() > 0.95
    assert visible[things == 1].all()


def test_only_points_of_the_box_get_its_votes() -> None:
    """With an exact mask, the object's points are voted for in every view and the wall in none."""
    _, things, _ = points_of(WORLD)
    votes = votes_of([-0.2, 0.0, 0.2])
    assert np.array_equal(np.sort(votes.pair_point), np.flatnonzero(things == 1))
    assert (votes.point_views[things == 1] == 3).all()
    np.testing.assert_allclose(votes.pair_weight, votes.point_weight[votes.pair_point], rtol=1e-6)
    assert votes.track_views.tolist() == [3]
    assert votes.track_quality.tolist() == [1.0]


def test_views_without_masks_count_as_views() -> None:
    """A frame in which nothing was found still sees points, and its slot is not the track's."""
    votes = votes_of([0.0, 0.1], things_seen=False)
    assert len(votes) == 0
    assert votes.point_views.max() == 2
    assert not votes.track_slots.any()


def test_pixels_at_depth_jumps_weigh_less() -> None:
    """The rim of the box weighs as little as the option says; its middle weighs fully."""
    xyz, things, _ = points_of(WORLD)
    votes = votes_of([0.0], view_options=ViewOptions(edge_radius_px=1, edge_weight=0.25))
    middle = (things == 1) & (np.abs(xyz[:, :2]).max(axis=1) < 0.2)
    rim = (things == 1) & (np.abs(xyz[:, :2]).max(axis=1) > 0.295 - 0.01)
    np.testing.assert_allclose(votes.point_weight[middle], votes.point_weight[middle].max(), rtol=1e-3)
    if rim.any():
        assert votes.point_weight[rim].max() < 0.3
    near_rim = (things == 1) & (np.abs(xyz[:, :2]).max(axis=1) > 0.27)
    assert votes.point_weight[near_rim].min() < 0.3


def test_surfaces_seen_edge_on_weigh_less() -> None:
    """A normal at a right angle to the view leaves the least weight, one towards the camera leaves all."""
    xyz = np.array([[0, 0, 3.0], [0.9, 0, 3.0]], np.float32)
    frame, _, _ = view([WALL], 0)
    options = ViewOptions(grazing_weight=0.3)
    facing = np.array([[0, 0, -1], [0, 1, 0]], np.float32)
    seen = visible_points(frame, xyz, facing, mask_size=(80, 100), options=options)
    plain = visible_points(frame, xyz, None, mask_size=(80, 100), options=options)
    ratio = dict(zip(seen.point.tolist(), (seen.weight / plain.weight).tolist(), strict=True))
    assert ratio[0] == pytest.approx(1.0, abs=1e-4)
    assert ratio[1] == pytest.approx(0.3, abs=1e-4)


def test_a_view_measures_its_own_noise() -> None:
    """A sheet 3 cm in front of the wall hides it, although 3 cm is within the tolerance at that distance."""
    sheet = Panel((-0.5, 0.5), (-0.5, 0.5), 2.97, thing=1)
    xyz, things, _ = points_of([WALL, sheet])
    frame, _, _ = view([WALL, sheet], 0)
    seen = visible_points(frame, xyz, None, mask_size=(80, 100), options=ViewOptions(depth_tolerance_m=0.05))
    hidden = (things == 0) & (np.abs(xyz[:, :2]).max(axis=1) < 0.45)
    assert hidden.sum() > 100
    assert not np.isin(np.flatnonzero(hidden), seen.point).any()


def test_masks_may_have_another_size_than_depth() -> None:
    """Masks of twice the resolution vote for the same points."""
    xyz, things, _ = points_of(WORLD)
    frame, labels, _ = view(WORLD, 0)
    large = np.repeat(np.repeat(labels, 2, axis=0), 2, axis=1)
    accumulator = VoteAccumulator(xyz, None, np.array([1], np.int32), view_count=1)
    accumulator.add(frame, tracked(large, 0))
    assert np.array_equal(np.sort(accumulator.result().pair_point), np.flatnonzero(things == 1))


def test_colour_and_depth_cameras_may_differ() -> None:
    """Depth is looked up with the depth camera and masks with the colour camera."""
    xyz, things, _ = points_of(WORLD)
    frame, labels, _ = view(WORLD, 0)
    shifted = Camera(CAMERA.fx, CAMERA.fy, CAMERA.cx + 10, CAMERA.cy, 100, 80)
    moved = np.zeros_like(labels)
    moved[:, 10:] = labels[:, :-10]
    accumulator = VoteAccumulator(xyz, None, np.array([1], np.int32), view_count=1)
    accumulator.add(replace(frame, color_camera=shifted), tracked(moved, 0))
    assert np.array_equal(np.sort(accumulator.result().pair_point), np.flatnonzero(things == 1))


def test_merging_early_changes_nothing() -> None:
    """Votes merged after every view equal votes merged once at the end."""
    late, early = votes_of([-0.2, 0.0, 0.2]), votes_of([-0.2, 0.0, 0.2], pending_votes=1)
    assert np.array_equal(late.pair_point, early.pair_point)
    np.testing.assert_allclose(late.pair_weight, early.pair_weight, rtol=1e-6)


def test_many_views_share_slots() -> None:
    """Memory for telling views apart is bounded: twenty views in eight slots need one byte per point."""
    votes = votes_of([0.01 * i for i in range(20)], max_view_slots=8)
    assert votes.point_slots.shape[1] == 1
    assert int(votes.track_slots[0, 0]) == 255
    assert votes.track_views.tolist() == [20]


def test_one_mask_is_decoded_at_a_time() -> None:
    """However many masks vote, no more than one exists as pixels."""
    labels = np.arange(80 * 100, dtype=np.int32).reshape(80, 100) // 40 + 1
    xyz, _, _ = points_of(WORLD)
    accumulator = VoteAccumulator(xyz, None, np.arange(1, 201, dtype=np.int32), view_count=1)
    DECODED.reset_peak()
    before = DECODED.alive
    accumulator.add(view(WORLD, 0)[0], tracked(labels, 0))
    assert DECODED.peak <= before + 2


def test_what_cannot_vote_is_refused() -> None:
    """A frame without pose, a mask of an unknown track and one view too many raise a DataError."""
    xyz, _, _ = points_of(WORLD)
    frame, labels, _ = view(WORLD, 0)
    accumulator = VoteAccumulator(xyz, None, np.array([5], np.int32), view_count=1)
    with pytest.raises(DataError, match="pose"):
        accumulator.add(replace(frame, world_from_camera=None), MaskSet.empty(0, (80, 100)))
    with pytest.raises(DataError, match="track 1"):
        accumulator.add(frame, tracked(labels, 0))
    accumulator.add(frame, MaskSet.empty(0, (80, 100)))
    with pytest.raises(DataError, match="announced"):
        accumulator.add(frame, MaskSet.empty(0, (80, 100)))
