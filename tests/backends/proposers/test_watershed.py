"""The weight-free proposer finds what is there, nested, and says how sure it is."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from my3dis.backends.proposers.watershed import WatershedProposer, persistence, regions_at
from my3dis.backends.proposers.watershed.edges import color_edges, depth_edges, edge_strength, filled_depth
from my3dis.backends.proposers.watershed.partition import NestedPartition, PixelGraph, partition
from my3dis.masks import hierarchy
from my3dis.masks.labels import paint
from my3dis.refinement.progressive import RefineOptions, refine
from my3dis.types import Camera, Frame, MaskSet
from tests.backends.proposers import boxes
from tests.masks.scenes import dense

CAMERA = Camera(fx=110.0, fy=110.0, cx=63.5, cy=47.5, width=128, height=96)


def best_iou(masks: MaskSet, truth: np.ndarray) -> float:
    pixels = dense(masks)
    shared = (pixels & truth).sum(axis=(1, 2))
    return float((shared / (pixels | truth).sum(axis=(1, 2))).max())


@pytest.mark.parametrize("depth", [True, False])
def test_boxes_on_a_wall_are_found(depth: bool) -> None:
    """Every part of a noisy scene is a mask with IoU above 0.9, with and without depth."""
    masks = WatershedProposer().propose(boxes.frame(depth=depth), (2, 4, 6))
    for part in boxes.PARTS:
        assert best_iou(masks, boxes.parts() == part) > 0.9


def test_depth_alone_finds_objects() -> None:
    """In a picture without any contrast the objects are found by their depth, of half the size."""
    frame = replace(boxes.frame(), color=np.full((*boxes.SIZE, 3), 128, np.uint8))
    masks = WatershedProposer().propose(frame, (2,))
    for label in boxes.OBJECTS:
        assert best_iou(masks, boxes.objects() == label) > 0.85


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 10), min_size=1, max_size=4, unique=True))
def test_levels_are_partitions_and_nested(seed: int, levels: list[int]) -> None:
    """For random pictures and any list of levels each level covers the frame once, inside the coarser one."""
    rng = np.random.default_rng(seed)
    color = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (64, 48), interpolation=cv2.INTER_NEAREST)
    color = np.clip(color + rng.normal(0, 6, color.shape), 0, 255).astype(np.uint8)
    frame = Frame(index=0, name="0", color=color)
    masks = WatershedProposer().propose(frame, sorted(levels))
    hierarchy.require_linked(masks, sorted(levels))
    hierarchy.require_nested(masks)
    counts = []
    for level in sorted(levels):
        at = masks.at_level(level)
        assert at.area_px.sum() == 48 * 64
        assert (paint(at) >= 0).all()
        assert len(at) <= max(1, round(regions_at(level)))
        counts.append(len(at))
    assert counts == sorted(counts)


def test_levels_stand_for_scales() -> None:
    """Levels 2, 4 and 6 stand for 12, 38 and 120 regions, and finer levels always for more."""
    assert [round(regions_at(level)) for level in (2, 4, 6)] == [12, 38, 120]
    assert all(regions_at(level + 1) > regions_at(level) for level in range(20))
    assert regions_at(32767) > 1e10


def test_one_tree_for_all_levels() -> None:
    """The masks of a level do not depend on which coarser levels are asked for."""
    both = WatershedProposer().propose(boxes.frame(), (2, 6)).at_level(6)
    alone = WatershedProposer().propose(boxes.frame(), (6,))
    assert both.rle == alone.rle
    assert both.stability.tolist() == alone.stability.tolist()


def test_a_plain_picture_is_one_region() -> None:
    """Without any edge there is one mask per level, and refinement keeps one of them."""
    frame = Frame(index=0, name="0", color=np.full((40, 50, 3), 90, np.uint8))
    masks = WatershedProposer().propose(frame, (2, 4, 6))
    assert masks.area_px.tolist() == [2000, 2000, 2000]
    assert masks.stability.tolist() == [1, 1, 1]
    kept = refine(frame, (2, 4, 6), WatershedProposer(), RefineOptions())
    assert kept.kept.level.tolist() == [2]
    assert kept.reasons == ("equals_parent", "equals_parent")


def test_single_pixels_and_lines_are_no_problem() -> None:
    """Images of one row, one column or one pixel give one partition each."""
    for size in ((1, 1), (1, 9), (9, 1)):
        color = np.zeros((*size, 3), np.uint8)
        color[-1, -1] = 255
        masks = WatershedProposer().propose(Frame(index=0, name="0", color=color), (2, 4))
        assert masks.at_level(2).area_px.sum() == size[0] * size[1]


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (9, 11), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])),
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.integers(1, 12),
)
def test_cuts_are_connected_nested_and_large(strength: np.ndarray, counts: list[int], least: int) -> None:
    """Regions of a cut are 4-connected, at least as large as asked, at most as many, and nested in order."""
    nested = partition(strength, counts, least, PixelGraph())
    assert nested.area_px.tolist() == np.bincount(nested.region.ravel()).tolist()
    for count, cut in zip(counts, nested.cuts, strict=True):
        image = np.unique(cut, return_inverse=True)[1][nested.region].astype(np.uint8)
        regions = np.unique(image)
        assert len(regions) <= count
        for region in regions:
            assert cv2.connectedComponents((image == region).astype(np.uint8), connectivity=4)[0] == 2
        assert np.bincount(image.ravel()).min() >= min(least, image.size)
    order = np.argsort(counts, kind="stable")
    for coarse, fine in itertools.pairwise(order):
        pairs = set(zip(nested.cuts[fine].tolist(), nested.cuts[coarse].tolist(), strict=True))
        assert len(pairs) == len(np.unique(nested.cuts[fine]))


def test_persistence_by_hand() -> None:
    """Of regions of 10 = 6 + 4 pixels and 5 pixels: 0.6 survives the finer cut; joined they are 15."""
    cut, finer, coarser = np.array([0, 0, 1]), np.array([3, 8, 9]), np.array([4, 4, 4])
    area = np.array([6, 4, 5])
    assert persistence(cut, finer, coarser, area).tolist() == pytest.approx([0.6, 5 / 15])
    assert persistence(cut, cut, cut, area).tolist() == [1, 1]


def test_slanted_planes_have_no_depth_edges() -> None:
    """A floor seen at a grazing angle, noisy and with holes, is flat; a step of ten per cent is not."""
    camera = Camera(fx=550.0, fy=550.0, cx=63.5, cy=47.5, width=128, height=96)
    rng = np.random.default_rng(0)
    y = (np.arange(96)[:, None] - 47.5) / 550 + 0.4
    floor = np.broadcast_to(1.2 / y, (96, 128)).astype(np.float32)
    noisy = floor * (1 + rng.normal(0, 0.002, floor.shape)).astype(np.float32)
    noisy[rng.random(noisy.shape) < 0.1] = 0
    noisy[30:60, 40:80] = 0
    assert (depth_edges(noisy, camera) == 0).mean() > 0.99
    stepped = noisy.copy()
    stepped[:, 90:] *= np.float32(1.1)
    edges = depth_edges(stepped, camera)
    assert np.median(edges[:, 88:92].max(axis=1)) > 0.5
    assert (edges[:, :80] == 0).mean() > 0.99


def test_a_crease_is_an_edge() -> None:
    """Where wall and floor meet there is no jump, but the normal turns."""
    rows = np.arange(96, dtype=np.float32)[:, None]
    wall = np.full((96, 1), 3.0, np.float32)
    floor = 1.0 / np.maximum((rows - 47.5) / 110, 1e-3)
    room = np.minimum(wall, floor) * np.ones((1, 128), np.float32)
    edges = depth_edges(room, CAMERA)
    crease = int(np.flatnonzero(floor[:, 0] < 3.0)[0])
    assert edges[crease - 2 : crease + 3, 20:-20].max(axis=0).min() > 0.1
    assert edges[:60].max() == 0


def test_missing_depth_is_filled_or_ignored() -> None:
    """A hole takes the nearest reading; only its rim is believed. No reading at all means colour only."""
    depth = np.full((20, 30), 2.0, np.float32)
    depth[:, 15:] = 0
    filled, gap_px = filled_depth(depth)
    assert (filled == 2).all()
    assert gap_px[5].tolist() == pytest.approx([0] * 15 + list(range(1, 16)))
    frame = boxes.frame()
    blind = np.zeros((96, 128), np.float32)
    assert np.array_equal(edge_strength(frame.color, blind, CAMERA), color_edges(frame.color))


def test_large_images_are_cut_small_and_scaled_back() -> None:
    """At 2000 pixels of width masks have the full size, and borders are at most three pixels off."""
    color = np.full((60, 2000, 3), 40, np.uint8)
    color[:, 700:] = 200
    frame = Frame(index=0, name="0", color=color)
    masks = WatershedProposer().propose(frame, (2,))
    assert masks.image_size == (60, 2000)
    assert masks.area_px.sum() == 60 * 2000
    assert abs(masks.boxes[:, 2].min() - 700) <= 3


def test_nested_partition_of_nothing_to_cut() -> None:
    """A map without edges is one region at every cut."""
    nested = partition(np.zeros((5, 6), np.float32), [1, 7], 1, PixelGraph())
    assert isinstance(nested, NestedPartition)
    assert nested.cuts.tolist() == [[0], [0]]


def test_rendered_room(shared_data: Path) -> None:
    """On a rendered room with sensor-like depth, most true objects have a mask that fits by half."""
    scene = shared_data / "synth" / "synth0000_00"
    color = cv2.cvtColor(cv2.imread(str(scene / "color" / "0020.jpg")), cv2.COLOR_BGR2RGB)
    depth = cv2.imread(str(scene / "depth" / "0020.png"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
    frame = Frame(index=20, name="0020", color=color, depth_m=depth)
    found = refine(frame, (2, 4, 6), WatershedProposer(), RefineOptions(min_area=50)).kept
    hierarchy.require_nested(found)
    truth = cv2.imread(str(scene / "gt" / "instance" / "0020.png"), cv2.IMREAD_UNCHANGED)
    labels, sizes = np.unique(truth, return_counts=True)
    fits = [
        best_iou(found, truth == label) for label, n in zip(labels, sizes, strict=True) if label and n > 2000
    ]
    assert np.mean(np.array(fits) > 0.5) > 0.7
    blind = replace(frame, depth_m=None)
    assert len(refine(blind, (2, 4, 6), WatershedProposer(), RefineOptions()).kept)
