"""Semantic-SAM as a proposer: three ways to look inside a parent, and what each of them costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from my3dis.backends.proposers.semantic_sam import encoding, placement
from my3dis.backends.proposers.semantic_sam.automatic import AutomaticOptions, generate, point_grid
from my3dis.backends.proposers.semantic_sam.config import tokens_for_levels
from my3dis.backends.proposers.semantic_sam.features import ImageFeatures, PointPrediction
from my3dis.backends.proposers.semantic_sam.network import SemanticSam
from my3dis.backends.proposers.semantic_sam.preprocess import resize_bicubic, resized_size
from my3dis.backends.proposers.semantic_sam.proposer import SemanticSamProposer
from my3dis.backends.proposers.semantic_sam.views import Parent, Shown, within
from my3dis.errors import ConfigError, ResourceError
from my3dis.masks import build, codec, hierarchy
from my3dis.protocols import BackendReport, RegionProposer, Reporting
from my3dis.refinement.progressive import RefineOptions, refine
from my3dis.types import Frame, MaskSet
from tests.backends.proposers.semantic_sam import painted, tiny

MODES = ("crop", "mask", "points")
LEVELS = (2, 4, 6)
GENEROUS = AutomaticOptions(
    points_per_side=4, predicted_iou=0.5, stability=0.5, box_nms_iou=0.999, settle_nms_iou=0.999
)
"""Lets a random network keep more than one mask of a picture."""


def proposer_of(core: object, mode: str, **changes: object) -> SemanticSamProposer:
    """A proposer whose network sees the frame at its own size, with a grid of 8 x 8 points."""
    automatic = cast(AutomaticOptions, changes.pop("automatic", AutomaticOptions(points_per_side=8)))
    given = {"short_side": 96, "pictures_at_once": 1, **changes}
    return SemanticSamProposer(cast(SemanticSam, core), refine=mode, automatic=automatic, **given)  # type: ignore[arg-type]


def facts_of(report: BackendReport) -> dict[str, float | int | str]:
    return dict(report.facts)


def decoded(masks: MaskSet) -> list[NDArray[np.bool_]]:
    return [codec.decode(rle, masks.image_size) for rle in masks.rle]


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [1.0, 2.0, 0.5])
def test_objects_come_first_and_parts_inside_them(mode: str, scale: float) -> None:
    """Wall and objects are found at level 2, and their parts inside them at level 4, in all modes."""
    proposer = proposer_of(painted.ByColor(), mode)
    assert isinstance(proposer, RegionProposer)
    assert isinstance(proposer, Reporting)
    masks = refine(painted.frame(scale=scale), LEVELS, proposer, RefineOptions(min_area=10)).kept
    hierarchy.require_nested(masks)
    assert len(set(masks.mask_id.tolist())) == len(masks)
    pixels, parents = decoded(masks), hierarchy.parent_positions(masks)
    for name, box in painted.OBJECTS.items():
        truth = painted.box_mask(box, scale)
        best = max(np.flatnonzero(masks.level == 2), key=lambda i: iou(pixels[i], truth))
        assert iou(pixels[best], truth) > 0.93, name
        for part, (part_box, _) in painted.PARTS.items():
            if not part.startswith(name):
                continue
            part_truth = painted.box_mask(part_box, scale)
            child = max(np.flatnonzero(masks.level == 4), key=lambda i: iou(pixels[i], part_truth))
            assert iou(pixels[child], part_truth) > (0.8 if scale < 1 else 0.9), part
            assert parents[child] == best, part
    assert ((masks.score > 0.9) & (masks.score < 0.99)).all()
    assert np.allclose(masks.stability, 1.0)


@pytest.mark.parametrize("mode", MODES)
def test_masks_of_a_level_stay_apart(mode: str) -> None:
    """No pixel is in two masks of one level and parent."""
    masks = refine(painted.frame(), LEVELS, proposer_of(painted.ByColor(), mode)).kept
    for level in LEVELS:
        at_level = decoded(masks.at_level(level))
        assert np.sum(at_level, axis=0).max(initial=0) == min(1, len(at_level))
    assert {2, 4} <= set(masks.level.tolist())


def test_points_need_one_backbone_pass_per_frame() -> None:
    """With `points`, three levels and all their parents cost one pass; a second frame costs another."""
    core = painted.ByColor()
    proposer = proposer_of(core, "points")
    for index in range(2):
        refine(painted.frame(index, scale=1.0 + index), LEVELS, proposer)
    facts = facts_of(proposer.report())
    assert core.backbone_passes == facts["backbone_passes"] == 2
    assert facts["backbone_passes_per_frame"] == 1.0
    # Level 4 looks into wall, red and blue; level 6 into the wall again and four parts.
    assert facts["regions"] == 2 * 8
    assert facts["proposed_frames"] == 2


@pytest.mark.parametrize("mode", ["mask", "crop"])
def test_other_modes_need_one_more_for_each_parent(mode: str) -> None:
    """`mask` and `crop` cost a pass for the frame and one per parent; a region seen again costs none."""
    core = painted.ByColor()
    proposer = proposer_of(core, mode)
    refine(painted.frame(), LEVELS, proposer)
    facts = facts_of(proposer.report())
    assert facts["regions"] == 8
    # The wall is whole at level 4 and looked into again at level 6: the same picture. A crop around it is
    # the whole frame, which is known from level 2.
    saved = 1 if mode == "mask" else 2
    assert core.backbone_passes == facts["backbone_passes"] == 1 + 8 - saved
    assert facts["backbone_passes_saved"] == saved
    assert facts["backbone_passes_per_frame"] == 9.0 - saved
    assert len({picture.tobytes() for picture in core.seen}) == len(core.seen)


@pytest.mark.parametrize("mode", MODES)
def test_the_real_network_counts_the_same(mode: str) -> None:
    """On a random network `points` needs one pass a frame, the others one more than they have parents."""
    network = tiny.network(0)
    automatic = GENEROUS
    proposer = proposer_of(network, mode, automatic=automatic)
    masks = refine(painted.frame(), LEVELS, proposer, RefineOptions(min_area=20)).kept
    assert set(masks.level.tolist()) == set(LEVELS)
    hierarchy.require_nested(masks)
    facts = facts_of(proposer.report())
    regions = facts["regions"]
    assert isinstance(regions, int)
    assert regions >= 2
    wanted = 1 if mode == "points" else 1 + regions - int(facts["backbone_passes_saved"])
    assert network.backbone_passes == facts["backbone_passes"] == wanted


def earlier(
    network: SemanticSam,
    picture: NDArray[np.uint8],
    parent: NDArray[np.bool_] | None,
    level: int,
    options: AutomaticOptions,
) -> list[NDArray[np.bool_]]:
    """What the earlier system did for one parent, on whole arrays: black out, generate, first come, cut."""
    shown = picture.copy()
    if parent is not None:
        shown[~parent] = 0
    features = network.encode(torch.from_numpy(shown).permute(2, 0, 1))
    grid = point_grid(options.points_per_side)
    found = generate(network, features, grid, tokens_for_levels([level]), options)
    labels = np.zeros(picture.shape[:2], np.int32)
    for number, rle in enumerate(found.rle, start=1):
        labels[codec.decode(rle, found.image_size) & (labels == 0)] = number
    masks = [labels == number for number in np.unique(labels[labels > 0])]
    if parent is None:
        return masks
    return [mask & parent for mask in masks if (mask & parent).any()]


def enlarged(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Nearest neighbour by the centres of pixels, written out."""
    rows = [int((y + 0.5) * mask.shape[0] / size[0]) for y in range(size[0])]
    columns = [int((x + 0.5) * mask.shape[1] / size[1]) for x in range(size[1])]
    return mask[np.ix_(rows, columns)]


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.6])
def test_mask_mode_does_what_the_earlier_system_did(scale: float) -> None:
    """Frame and parents give the earlier system's masks to the pixel, whatever the frame's size is."""
    network = tiny.network(0)
    automatic = GENEROUS
    proposer = proposer_of(network, "mask", automatic=automatic)
    frame = painted.frame(scale=scale)
    picture = resize_bicubic(frame.color, resized_size(frame.image_size, 96))
    first = proposer.propose_in(frame, 2, MaskSet.empty(0, frame.image_size))
    # In a smaller frame, what is thinner than one of its pixels may vanish.
    wanted = [
        mask
        for mask in earlier(network, picture, None, 2, automatic)
        if enlarged(mask, frame.image_size).any()
    ]
    assert len(first) == len(wanted) > 1
    for got, mask in zip(decoded(first), wanted, strict=True):
        assert np.array_equal(got, enlarged(mask, frame.image_size))
    second = proposer.propose_in(frame, 4, first)
    children = 0
    for parent, mask in enumerate(wanted):
        of_parent = decoded(second.select(second.parent_id == parent))
        expected = [
            whole
            for child in earlier(network, picture, mask, 4, automatic)
            if (whole := enlarged(child, frame.image_size)).any()
        ]
        assert len(of_parent) == len(expected)
        for got, child in zip(of_parent, expected, strict=True):
            assert np.array_equal(got, child)
        children += len(expected)
    assert children >= 2


def test_mask_mode_shows_the_parent_on_black_and_asks_everywhere() -> None:
    """The picture is the frame with (0, 0, 0) outside the parent, and the grid is the whole one."""
    core = painted.ByColor()
    frame = painted.frame()
    red = painted.box_mask(painted.OBJECTS["red"])
    proposer_of(core, "mask").propose_in(frame, 4, one_parent(red))
    assert np.array_equal(core.seen[0], np.where(red[..., None], frame.color, 0))
    assert np.array_equal(core.prompts[0], point_grid(8))


def one_parent(mask: NDArray[np.bool_]) -> MaskSet:
    return build.from_codes(
        [codec.encode(mask)], frame=0, image_size=mask.shape, mask_id=[7], level=2, parent_id=-1
    )


@pytest.mark.parametrize("mode", ["points", "crop"])
def test_prompts_lie_inside_the_parent(mode: str) -> None:
    """With `points` and `crop` every prompt is on the parent, and the frame's picture is not darkened."""
    core = painted.ByColor()
    frame = painted.frame()
    ring = painted.box_mask(painted.OBJECTS["red"])
    ring[30:70, 15:45] = False
    found = proposer_of(core, mode).propose_in(frame, 4, one_parent(ring))
    assert len(core.prompts[0]) > 4
    height, width = painted.SIZE
    shown = Shown.of(frame.color, 96)
    view = within(shown, Parent(7, codec.encode(ring), (10, 20, 50, 80)), mode, 8)
    x0, y0, x1, y1 = view.box
    for x, y in core.prompts[0].tolist():
        assert ring[int(y0 + y * (y1 - y0)), int(x0 + x * (x1 - x0))]
    if mode == "points":
        assert np.array_equal(core.seen[0], frame.color)
    else:
        # Twelve tenths of the box's 60 rows are 3/4 of the frame's 96, so 3/4 of both sides are shown.
        assert (x0, y0, x1, y1) == (0, 14, 96, 86)
        assert core.seen[0].shape == (height, width, 3)
        assert np.array_equal(core.seen[0], resize_bicubic(frame.color[14:86, :96], painted.SIZE))
    assert set(found.parent_id.tolist()) == {7}
    assert all((mask & ~ring).sum() == 0 for mask in decoded(found))


@pytest.mark.parametrize("mode", ["points", "crop"])
def test_a_parent_between_the_points_gets_one(mode: str) -> None:
    """A sliver that no point of the grid hits is prompted at its deepest pixel."""
    core = painted.ByColor()
    sliver = np.zeros(painted.SIZE, bool)
    for i in range(40):
        sliver[20 + i, 30 + i] = True
    sliver[50:53, 59:62] = True  # the thickest place, around (60, 51)
    sliver &= ~np.eye(96, 128, 10, dtype=bool) | (np.arange(96)[:, None] >= 49)
    shown = Shown.of(painted.frame().color, 96)
    x0, y0, x1, y1 = codec.measure([codec.encode(sliver)], painted.SIZE)[0][0].tolist()
    view = within(shown, Parent(7, codec.encode(sliver), (x0, y0, x1, y1)), mode, 1)
    bx0, by0, bx1, by1 = view.box
    (x, y) = view.points_xy[0].tolist()
    assert len(view.points_xy) == 1
    assert sliver[int(by0 + y * (by1 - by0)), int(bx0 + x * (bx1 - bx0))]
    assert len(proposer_of(core, mode).propose_in(painted.frame(), 4, one_parent(sliver))) == 1


def test_placing_a_mask_takes_the_pixel_under_each_centre() -> None:
    """A mask goes into its part of the frame by nearest neighbour, up and down, as written out by hand."""
    rng = np.random.default_rng(3)
    for size, box in (((6, 9), (2, 1, 20, 13)), ((20, 31), (0, 0, 9, 7)), ((5, 5), (3, 3, 8, 8))):
        for density in (0.0, 0.1, 0.9):
            mask = rng.random(size) < density
            frame_size = (15, 22)
            x0, y0, x1, y1 = box
            wanted = np.zeros(frame_size, bool)
            wanted[y0:y1, x0:x1] = enlarged(mask, (y1 - y0, x1 - x0))
            code = placement.place(codec.encode(mask), size, box, frame_size)
            assert np.array_equal(codec.decode(code, frame_size), wanted)


def test_the_best_mask_takes_a_pixel() -> None:
    """Of overlapping masks the first keeps its pixels, the next what is left, and a covered one none."""
    size = (4, 6)
    masks = [np.zeros(size, bool) for _ in range(3)]
    masks[0][:, :3] = True
    masks[1][:, 2:5] = True
    masks[2][1, 1:3] = True
    codes = placement.apart([codec.encode(mask) for mask in masks], size)
    assert np.array_equal(codec.decode(codes[0], size), masks[0])
    assert np.array_equal(codec.decode(codes[1], size), masks[1] & ~masks[0])
    assert codes[2] == b""


def test_batches_of_pictures_change_only_rounding() -> None:
    """Pictures encoded together have the features that each has alone, and give the same masks."""
    network = tiny.network(0)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (70, 100, 3), dtype=np.uint8) for _ in range(3)]
    together = encoding.encode_together(network, pictures)
    assert network.backbone_passes == 3
    for picture, features in zip(pictures, together, strict=True):
        (alone,) = encoding.encode_together(network, [picture])
        assert features.image_size == alone.image_size == (70, 100)
        assert features.padded_size == alone.padded_size == (96, 128)
        torch.testing.assert_close(features.mask_features, alone.mask_features, atol=2e-5, rtol=1e-5)
        for got, wanted in zip(features.multi_scale, alone.multi_scale, strict=True):
            torch.testing.assert_close(got, wanted, atol=2e-5, rtol=1e-5)
    automatic = GENEROUS
    found = [
        refine(
            painted.frame(),
            LEVELS,
            proposer_of(network, "mask", automatic=automatic, pictures_at_once=n),
            RefineOptions(min_area=20),
        ).kept
        for n in (1, 3)
    ]
    assert len(found[0]) == len(found[1]) > 3
    for one, other in zip(decoded(found[0]), decoded(found[1]), strict=True):
        assert (one != other).sum() <= 2


class Small(painted.ByColor):
    """A core on a device whose memory holds so many points and no more."""

    def __init__(self, most_points: int) -> None:
        super().__init__()
        self.most_points = most_points

    def predict(self, features: ImageFeatures, points_xy: Tensor, tokens: Sequence[int]) -> PointPrediction:
        if len(points_xy) > self.most_points:
            raise torch.OutOfMemoryError("out of memory, says the test")
        return super().predict(features, points_xy, tokens)


def test_too_many_points_are_halved_and_noted() -> None:
    """When memory runs out, points per batch halve until they fit; that is said, as it changes results."""
    core = Small(20)
    proposer = proposer_of(core, "mask", automatic=AutomaticOptions(points_per_side=8, points_per_batch=64))
    plenty = proposer_of(painted.ByColor(), "mask")
    frame = painted.frame()
    assert refine(frame, LEVELS, proposer).kept.rle == refine(frame, LEVELS, plenty).kept.rle
    assert max(len(points) for points in core.prompts) == 16
    (first, second) = proposer.report().notes
    assert first[0] == second[0] == "smaller_batch"
    assert "64 points at once" in first[1]
    assert "going on with 16" in second[1]


def test_memory_that_holds_nothing_is_an_error() -> None:
    """When not even one point fits, the error is a shortage of resources that says what was tried."""
    proposer = proposer_of(Small(0), "points", automatic=AutomaticOptions(points_per_side=2))
    with pytest.raises(ResourceError, match=r"1 points at once \(tried 200, 100"):
        refine(painted.frame(), LEVELS, proposer)


def test_pictures_are_encoded_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """When several pictures do not fit at once, fewer are encoded together, with the same masks."""
    sizes: list[int] = []
    one_by_one = encoding.encode_together

    def short_of_memory(network: SemanticSam, pictures: Sequence[NDArray[np.uint8]]) -> list[ImageFeatures]:
        sizes.append(len(pictures))
        if len(pictures) > 2:
            raise torch.OutOfMemoryError("out of memory, says the test")
        return [one_by_one(network, [picture])[0] for picture in pictures]

    frame = painted.frame()
    wanted = refine(frame, LEVELS, proposer_of(painted.ByColor(), "crop")).kept
    monkeypatch.setattr(encoding, "encode_together", short_of_memory)
    proposer = proposer_of(painted.ByColor(), "crop", pictures_at_once=8)
    assert refine(frame, LEVELS, proposer).kept.rle == wanted.rle
    assert sizes == [1, 2, 4, 4, 2, 2]
    # From 8 to 4, which four pictures show to be too many as well, and to 2.
    assert [note for note, _ in proposer.report().notes] == ["smaller_batch"] * 2


@pytest.mark.parametrize("mode", MODES)
def test_many_frames_hold_no_more_than_a_few(mode: str) -> None:
    """Frames and features that are remembered do not grow with the number of frames."""
    proposer = proposer_of(painted.ByColor(), mode)
    for index in range(12):
        frame = painted.frame(index)
        color = frame.color.copy()
        color[0, 0] = index
        refine(replace(frame, color=color), LEVELS, proposer)
        assert proposer.held[0] <= 4
        assert proposer.held[1] <= 16
    # Four frames, and the regions of the last ones that were seen whole and might have come again.
    assert proposer.held == (4, 4 if mode == "points" else proposer.held[1])
    assert facts_of(proposer.report())["proposed_frames"] == 12


def test_what_is_dropped_is_counted() -> None:
    """Masks of the black around a parent are counted as outside it."""
    proposer = proposer_of(painted.ByColor(), "mask")
    found = proposer.propose_in(painted.frame(), 4, one_parent(painted.box_mask(painted.OBJECTS["red"])))
    assert len(found) == 2
    assert facts_of(proposer.report())["masks_outside_parent"] == 1


def test_a_proposer_that_did_nothing_reports_nothing() -> None:
    """Before the first frame all figures are 0 and there are no notes."""
    report = proposer_of(painted.ByColor(), "points").report()
    assert {value for name, value in report.facts if name != "refine"} == {0}
    assert report.notes == report.peak_gpu_mb == ()


def test_wrong_levels_and_modes_are_refused() -> None:
    """A level outside 1..6 and an unknown mode are errors of the configuration."""
    empty = MaskSet.empty(0, painted.SIZE)
    with pytest.raises(ConfigError, match="levels 1"):
        proposer_of(painted.ByColor(), "points").propose_in(painted.frame(), 7, empty)
    with pytest.raises(ConfigError, match="expected one of crop, mask, points, found 'box'"):
        proposer_of(painted.ByColor(), "box")


def test_ratings_beyond_one_are_cut() -> None:
    """The network's rating can leave [0, 1]; a score cannot."""

    class Sure(painted.ByColor):
        def predict(
            self, features: ImageFeatures, points_xy: Tensor, tokens: Sequence[int]
        ) -> PointPrediction:
            found = super().predict(features, points_xy, tokens)
            return PointPrediction(found.mask_logits, found.ious + 1)

    frame: Frame = painted.frame()
    found = proposer_of(Sure(), "points").propose_in(frame, 2, MaskSet.empty(0, frame.image_size))
    assert set(found.score.tolist()) == {1.0}
