"""Things from the surface: folds, planes, colours and drawn borders, on solids whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from my3dis.lifting.borders import BorderEvidence, BorderOptions, Sites, border_strength
from my3dis.lifting.grouping import GroupingOptions, cut_surface, group_instances
from my3dis.lifting.lift import surface_of
from my3dis.lifting.planes import PlaneOptions, bounding_planes
from my3dis.lifting.vote import VoteAccumulator
from my3dis.types import InstanceSet, MaskSource, SceneCloud
from tests.lifting.panels import Panel, cloud_of, points_of, track_set, tracked, view

STEP = 0.02
GREY = (128, 128, 128)


def sheet(
    origin: tuple[float, float, float], along: tuple[int, int], size: tuple[float, float], normal: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a rectangle on a grid, half a step inside its edges, and their normals."""
    u, v = (np.arange(STEP / 2, extent, STEP) for extent in size)
    points = np.tile(np.asarray(origin, np.float32), (len(u) * len(v), 1))
    points[:, along[0]] += np.repeat(u, len(v))
    points[:, along[1]] += np.tile(v, len(u))
    normals = np.zeros_like(points)
    normals[:, abs(normal) - 1] = np.sign(normal)
    return points, normals


def box(
    corner: tuple[float, float, float], size: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the top and four sides of a box."""
    (x, y, z), (w, d, h) = corner, size
    faces = [
        sheet((x, y, z + h), (0, 1), (w, d), 3),
        sheet((x, y, z), (0, 2), (w, h), -2),
        sheet((x, y + d, z), (0, 2), (w, h), 2),
        sheet((x, y, z), (1, 2), (d, h), -1),
        sheet((x + w, y, z), (1, 2), (d, h), 1),
    ]
    return np.concatenate([p for p, _ in faces]), np.concatenate([n for _, n in faces])


FLOOR = sheet((-1, -1, 0), (0, 1), (2, 2), 3)


def scene(*pieces: tuple[np.ndarray, np.ndarray], color: np.ndarray | None = None) -> SceneCloud:
    xyz = np.concatenate([p for p, _ in pieces]).astype(np.float32)
    normal = np.concatenate([n for _, n in pieces]).astype(np.float32)
    color = np.tile(np.array(GREY, np.uint8), (len(xyz), 1)) if color is None else color
    return SceneCloud(xyz_m=xyz, normal=normal, color=color, digest="solids")


def owners(cloud: SceneCloud, level: int = 2) -> np.ndarray:
    """Return the instance of every point when no view was asked: shape and colour alone."""
    evidence = BorderEvidence(cloud, surface_of(cloud), (level,))
    tracks = track_set({0: level})
    votes = VoteAccumulator(cloud.xyz_m, cloud.normal, tracks.track_id, view_count=1).result()
    found = group_instances(cloud, evidence, votes, tracks, GroupingOptions()).instances
    owner = np.full(len(cloud), -1)
    for k in range(len(found)):
        owner[found.points_of(k)] = k
    return owner


def purest(owner: np.ndarray, which: slice) -> tuple[int, float]:
    """Return the instance that most of some points belong to, and their share."""
    values, counts = np.unique(owner[which], return_counts=True)
    return int(values[counts.argmax()]), float(counts.max() / counts.sum())


def test_a_convex_box_stays_one_and_leaves_the_floor() -> None:
    """Convex edges hold a box together; the floor, which all of the scan lies above, is another thing."""
    solid = box((-0.2, -0.2, 0), (0.4, 0.4, 0.4))
    owner = owners(scene(FLOOR, solid))
    floor, floor_share = purest(owner, slice(0, len(FLOOR[0])))
    thing, thing_share = purest(owner, slice(len(FLOOR[0]), None))
    assert floor != thing
    assert floor_share > 0.95
    # The lowest rows of the sides lie within the thickness of the floor, but do not face as it does.
    assert thing_share > 0.9


def test_boxes_that_touch_in_a_concave_edge_are_two() -> None:
    """A low box against a high one: the fold between them is concave, so they part there."""
    high, low = box((-0.4, -0.2, 0), (0.4, 0.4, 0.6)), box((0, -0.3, 0), (0.4, 0.6, 0.3))
    # No camera sees the faces that they touch with.
    high = tuple(part[(high[0][:, 0] < -1e-6) | (high[0][:, 2] > 0.3)] for part in high)
    low = tuple(part[(low[0][:, 0] > 1e-6) | (np.abs(low[0][:, 1]) > 0.2)] for part in low)
    owner = owners(scene(FLOOR, high, low))
    n, m = len(FLOOR[0]), len(FLOOR[0]) + len(high[0])
    tall, tall_share = purest(owner, slice(n, m))
    flat, flat_share = purest(owner, slice(m, None))
    assert tall != flat
    assert min(tall_share, flat_share) > 0.7


def test_a_pattern_on_the_floor_does_not_split_it() -> None:
    """Where no view draws a border, stripes as strong as they come leave a plane whole at the first level."""
    stripes = (np.floor(FLOOR[0][:, 0] / 0.2) % 2).astype(np.uint8)[:, None] * np.uint8(255)
    solid = box((-0.2, -0.2, 0), (0.4, 0.4, 0.4))
    color = np.concatenate([np.repeat(stripes, 3, axis=1), np.full((len(solid[0]), 3), 90, np.uint8)])
    owner = owners(scene(FLOOR, solid, color=color))
    assert purest(owner, slice(0, len(FLOOR[0])))[1] > 0.95


def test_table_tops_are_not_the_rooms_bounds() -> None:
    """A plane with a tenth of the scan on its other side is furniture; floor and wall are bounds."""
    wall = sheet((-1, 1, 0), (0, 2), (2, 1.6), -2)
    top = sheet((-0.9, -0.9, 0.7), (0, 1), (1.2, 1.2), 3)
    cloud = scene(FLOOR, wall, top)
    sites = BorderEvidence(cloud, surface_of(cloud), (2,)).sites()
    plane = bounding_planes(sites, PlaneOptions())
    n, m = len(FLOOR[0]), len(FLOOR[0]) + len(wall[0])
    assert np.unique(plane[:n][plane[:n] >= 0]).size == 1
    assert (plane[:n] >= 0).mean() > 0.95
    assert (plane[n:m] >= 0).mean() > 0.9
    assert (plane[m:] == -1).all()


def line_of_sites(count: int, **given: np.ndarray) -> Sites:
    numbers = np.arange(count, dtype=np.int32)
    xyz = np.zeros((count, 3), np.float32)
    xyz[:, 0] = numbers * np.float32(STEP)
    up = np.tile(np.array([0, 0, 1], np.float32), (count, 1))
    links = np.stack([numbers[:-1], numbers[1:]], axis=1)
    sites = Sites(of_point=numbers, xyz_m=xyz, normal=up, lab=None, links=links, spacing_m=STEP)
    return replace(sites, **given)


def test_border_strength_by_hand() -> None:
    """Each cue alone, and two together as 1 - (1 - a)(1 - b)."""
    options = BorderOptions(views=0.6, crease=0.8, turn=0.2)
    none = np.full(3, -1, np.int32)
    flat = border_strength(line_of_sites(3), np.array([0, 0.5], np.float32), none, options)
    assert flat.tolist() == pytest.approx([0, 0.3])
    # Normals that lean towards each other: a valley. Those that lean apart: a ridge, which only turns.
    half = np.float32(np.sqrt(0.5))
    valley = np.array([[half, 0, half], [-half, 0, half]], np.float32)
    links = line_of_sites(2, normal=valley)
    turn = 0.2 * (1 - np.exp(-(1 - 0.05) / 0.3))
    crease = 0.8 * (1 - np.exp(-(2 * half - 0.1) / 0.3))
    nothing = np.zeros(1, np.float32)
    strength = border_strength(links, nothing, none[:2], options)
    assert strength[0] == pytest.approx(1 - (1 - turn) * (1 - crease), rel=1e-5)
    ridge = border_strength(replace(links, normal=valley[::-1].copy()), nothing, none[:2], options)
    assert ridge[0] == pytest.approx(turn, rel=1e-5)
    # On a plane folds are noise; its outline is a border.
    assert border_strength(links, nothing, np.zeros(2, np.int32), options)[0] == 0
    assert border_strength(links, nothing, np.array([0, -1], np.int32), options)[0] == 1
    lab = np.array([[50, 0, 0], [50, 18, 0]], np.float32)
    colored = border_strength(line_of_sites(2, lab=lab), nothing, none[:2], replace(options, color=0.5))
    assert colored[0] == pytest.approx(0.5 * (1 - np.exp(-(18 - 3) / 15)), rel=1e-5)


def test_cuts_of_a_line_are_nested_by_strength() -> None:
    """Borders of 0.9, 0.35 and 0.2 on a line: the cut at 0.5 leaves two pieces, at 0.3 three, at 0.1 four."""
    strength = np.zeros(15)
    strength[[3, 7, 11]] = 0.9, 0.35, 0.2
    groups = cut_surface(line_of_sites(16), strength, (0.5, 0.3, 0.1))
    assert [len(np.unique(group)) for group in groups] == [2, 3, 4]
    assert groups[0].tolist() == [groups[0][0]] * 4 + [groups[0][4]] * 12
    for coarse, fine in pairwise(groups):
        assert len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == len(np.unique(fine))


def test_small_pieces_are_dropped_and_counted() -> None:
    """Of two boxes apart the one below the least size is no instance, and is said to be dropped."""
    cloud = scene(box((0, 0, 0), (0.4, 0.4, 0.4)), box((2, 0, 0), (0.1, 0.1, 0.1)))
    evidence, tracks = BorderEvidence(cloud, surface_of(cloud), (2,)), track_set({0: 2})
    votes = VoteAccumulator(cloud.xyz_m, cloud.normal, tracks.track_id, view_count=1).result()
    every = group_instances(cloud, evidence, votes, tracks, GroupingOptions(first_min_points=1))
    large = group_instances(cloud, evidence, votes, tracks, GroupingOptions(first_min_points=500))
    sizes = np.diff(every.instances.point_offsets)
    assert every.dropped == 0
    assert sizes.sum() == len(cloud)
    assert large.dropped == (sizes < 500).sum() > 0
    assert np.diff(large.instances.point_offsets).tolist() == sizes[sizes >= 500].tolist()


def test_normals_are_turned_towards_the_cameras() -> None:
    """Of normals that point either way all look at the camera after a view of them."""
    cloud = cloud_of([WALL])
    given = surface_of(cloud)
    mixed = given.normal * np.where(np.arange(len(cloud)) % 2, 1, -1).astype(np.float32)[:, None]
    evidence = BorderEvidence(cloud, replace(given, normal=mixed), (2,))
    frame, things, _ = view([WALL], 0, 0.0)
    evidence.add(frame, tracked(things, 0))
    sites = evidence.sites()
    # The camera looks along +z and sees nearly all of the wall; before, half of the normals looked away.
    assert (sites.normal[:, 2] < -0.9).mean() > 0.8


def test_pieces_that_nothing_links_stay_apart() -> None:
    """Two sites without a link are two groups at any cut; one site is one."""
    apart = line_of_sites(2, links=np.zeros((0, 2), np.int32))
    assert cut_surface(apart, np.zeros(0), (0.9,)).tolist() == [[0, 1]]
    assert cut_surface(line_of_sites(1), np.zeros(0), (0.5, 0.2)).tolist() == [[0], [0]]


WALL = Panel((-1.6, 1.6), (-1.2, 1.2), 3.0)
LEFT = Panel((-1.6, 0.0), (-1.2, 1.2), 3.0, thing=1)
RIGHT = Panel((0.0, 1.6), (-1.2, 1.2), 3.0, thing=2)


def asked(source: MaskSource) -> tuple[SceneCloud, BorderEvidence, VoteAccumulator]:
    cloud = cloud_of([WALL])
    surface = surface_of(cloud)
    evidence = BorderEvidence(cloud, surface, (2, 4))
    tracks = track_set({1: 2, 2: 2})
    votes = VoteAccumulator(cloud.xyz_m, surface.normal, tracks.track_id, view_count=3)
    for index, x in enumerate((-0.2, 0.0, 0.2)):
        frame, things, _ = view([LEFT, RIGHT], index, x)
        masks = tracked(things, index)
        masks = replace(masks, source=np.full(len(masks), source, np.int8))
        evidence.add(frame, masks)
        votes.add(frame, masks)
    return cloud, evidence, votes


def test_views_draw_borders_that_shape_does_not_show() -> None:
    """Two masks on one flat wall, alike in all views: two instances, each with its track's id, one level."""
    cloud, evidence, votes = asked(MaskSource.CANDIDATE)
    # A mask that does not split is left out at the finer level; that is no border, and no second instance.
    tracks = track_set({1: 2, 2: 2, 3: 4})
    voted = replace(votes.result(), track_id=tracks.track_id, track_slots=np.zeros((3, 1), np.uint8))
    found = group_instances(cloud, evidence, voted, tracks, GroupingOptions()).instances
    assert sorted(zip(found.level.tolist(), found.instance_id.tolist(), strict=True)) == [(2, 1), (2, 2)]
    right = points_of([WALL])[0][:, 0] > 0
    of_right = found.points_of(int(np.flatnonzero(found.instance_id == 2)[0]))
    shared = right[of_right].sum()
    assert shared / (right.sum() + len(of_right) - shared) > 0.9


def test_carried_masks_draw_nothing() -> None:
    """A mask that a tracker carried is no new evidence of a border: the wall stays whole."""
    cloud, evidence, votes = asked(MaskSource.TRACK)
    assert not evidence.drawn().any()
    found = group_instances(cloud, evidence, votes.result(), track_set({1: 2, 2: 2}), GroupingOptions())
    assert isinstance(found.instances, InstanceSet)
    assert len(found.instances) == 1


def test_dense_scans_are_seen_at_the_same_spacing() -> None:
    """Points 5 mm apart become sites of 2 cm; points 2 cm apart are sites themselves."""
    x, y = np.meshgrid(np.arange(0, 0.4, 0.005), np.arange(0, 0.4, 0.005))
    dense = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1).astype(np.float32)
    cloud = SceneCloud(xyz_m=dense + np.float32(0.001), digest="dense")
    sites = BorderEvidence(cloud, surface_of(cloud), (2,)).sites()
    assert len(sites) == 400
    assert sites.spacing_m == pytest.approx(0.02, rel=0.01)
    coarse = scene(FLOOR)
    assert len(BorderEvidence(coarse, surface_of(coarse), (2,)).sites()) == len(coarse)
