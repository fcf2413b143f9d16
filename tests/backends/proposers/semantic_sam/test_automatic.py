"""Automatic masks against recorded runs, and rules that no recorded run sees, by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from safetensors.numpy import load_file
from torch import Tensor

from my3dis.backends.proposers.semantic_sam import automatic
from my3dis.backends.proposers.semantic_sam.automatic import AutomaticOptions, Found
from my3dis.backends.proposers.semantic_sam.boxes import inclusive_boxes, suppress_boxes
from my3dis.backends.proposers.semantic_sam.checkpoint import load_network
from my3dis.backends.proposers.semantic_sam.features import ImageFeatures, PointPrediction
from my3dis.backends.proposers.semantic_sam.regions import clean_regions
from my3dis.backends.torch_models.devices import BackOff
from my3dis.masks import boxes as mask_boxes
from my3dis.masks import codec
from tests.backends.proposers.semantic_sam import tiny
from tests.parity import Parity


@dataclass
class FixedLogits:
    """A core that answers with given logits and qualities, whatever the picture and the points."""

    logits: Tensor
    ious: Tensor
    batches: list[int] = field(default_factory=list)

    def predict(self, features: ImageFeatures, points_xy: Tensor, tokens: Sequence[int]) -> PointPrediction:
        n, start = len(points_xy), sum(self.batches)
        self.batches.append(n)
        rows = slice(start * len(tokens), (start + n) * len(tokens))
        return PointPrediction(self.logits[rows], self.ious[rows].view(n, len(tokens)))

    def upsample(self, mask_logits: Tensor, features: ImageFeatures) -> Tensor:
        return mask_logits


def no_features(size: tuple[int, int]) -> ImageFeatures:
    nothing = torch.zeros(0)
    return ImageFeatures(nothing, (nothing,) * 4, size, size)


def run(logits: NDArray[np.float32], ious: Sequence[float], options: AutomaticOptions | None = None) -> Found:
    """Give every logit map a point of its own."""
    core = FixedLogits(torch.from_numpy(logits), torch.tensor(ious, dtype=torch.float32))
    points = np.full((len(ious), 2), 0.5, np.float32)
    return automatic.generate(
        core, no_features(logits.shape[1:]), points, (0,), options or AutomaticOptions()
    )


def options_of(settings: Mapping[str, float]) -> AutomaticOptions:
    return AutomaticOptions(
        points_per_side=int(settings["points_per_side"]),
        points_per_batch=int(settings["points_per_batch"]),
        predicted_iou=settings["pred_iou_thresh"],
        stability=settings["stability_score_thresh"],
        stability_offset=settings["stability_score_offset"],
        box_nms_iou=settings["box_nms_thresh"],
        settle_nms_iou=settings["crop_nms_thresh"],
        min_region_area=int(settings["min_mask_region_area"]),
    )


def recorded(folder: Path, name: str) -> tuple[dict, dict[str, NDArray]]:
    run_record = json.loads((folder / "amg_case.json").read_text())["runs"][name]
    tensors = load_file(folder / "amg_case.safetensors")
    prefix = f"{name}."
    return run_record, {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def test_the_recorded_fake_run_is_matched_exactly(reference: Path) -> None:
    """With a core of fixed logits every count, mask, box and figure is the recorded one, at each step."""
    record, tensors = recorded(reference, "fake")
    options = options_of(record["settings"])
    core = FixedLogits(torch.from_numpy(tensors["logits"]), torch.from_numpy(tensors["all_iou"]))
    points = automatic.point_grid(options.points_per_side)
    assert np.array_equal(points, tensors["point_grid"].astype(np.float32))
    tokens = record["settings"]["level_indices"]
    found = automatic.collect(core, no_features(tuple(record["image_hw"])), points, tokens, options)
    assert core.batches == tensors["batch_sizes"].tolist()
    assert (found.candidates, found.passed_iou, found.passed_stability) == (48, 46, 15)
    passed = tensors["pass_stability"]
    assert np.array_equal(found.predicted_iou, tensors["all_iou"][passed])
    assert np.array_equal(found.stability, tensors["all_stability"][passed])
    assert np.array_equal(found.boxes_inclusive, tensors["all_boxes_xyxy"][passed])
    suppressed = automatic.suppress(found, options)
    kept = automatic.clean(suppressed, options)
    for got, wanted in ((suppressed, record["kept_before_region_cleanup"]), (kept, record["kept"])):
        assert [rle.decode() for rle in got.rle] == [w["coco_counts"] for w in wanted]
        assert got.area_px.tolist() == [w["area"] for w in wanted]
        assert got.predicted_iou.tolist() == [w["predicted_iou"] for w in wanted]
        assert got.stability.tolist() == [w["stability_score"] for w in wanted]
        assert got.points_xy.tolist() == [w["point_coords"][0][:2] for w in wanted]
        corner, far = got.boxes_inclusive[:, :2], got.boxes_inclusive[:, 2:]
        assert np.hstack([corner, far - corner]).tolist() == [w["bbox_xywh"] for w in wanted]
    assert (len(suppressed), len(kept)) == (8, 7)


def test_the_recorded_model_run_is_matched(reference: Path, record_property) -> None:
    """The whole chain on a recorded picture gives the recorded masks, to 2 pixels, and batches matter."""
    record, tensors = recorded(reference, "model")
    options = options_of(record["settings"])
    network = load_network(reference / "tiny_weights.safetensors", device=torch.device("cpu"))
    features = network.encode(torch.from_numpy(tensors["image"]))
    points = automatic.point_grid(options.points_per_side)
    tokens = record["settings"]["level_indices"]
    found = automatic.collect(network, features, points, tokens, options)
    counts = (found.candidates, found.passed_iou, found.passed_stability)
    assert counts == tuple(record[n] for n in ("n_candidates", "n_pass_iou", "n_pass_stability"))
    assert network.decoder_passes == len(tensors["batch_sizes"])
    suppressed = automatic.suppress(found, options)
    kept = automatic.clean(suppressed, options)
    parity = Parity("Semantic-SAM automatic masks", "model run", record_property)
    for step, got, wanted in (
        ("after suppression", suppressed, record["kept_before_region_cleanup"]),
        ("final", kept, record["kept"]),
    ):
        assert len(got) == len(wanted)
        size = got.image_size
        pixels = [
            int((codec.decode(a, size) != codec.decode(w["coco_counts"].encode(), size)).sum())
            for a, w in zip(got.rle, wanted, strict=True)
        ]
        ious = np.abs(got.predicted_iou - [w["predicted_iou"] for w in wanted])
        stable = np.abs(got.stability - [w["stability_score"] for w in wanted])
        parity.record(f"{step}: different pixels of a mask", max(pixels), 2)
        parity.record(f"{step}: predicted IoU", float(ious.max()), 5e-5)
        assert max(pixels) <= 2
        assert ious.max() <= 5e-5
        # Two pixels of the smaller mask at the most.
        assert stable.max() <= 0.02
        assert got.points_xy.tolist() == [w["point_coords"][0][:2] for w in wanted]
    alone = automatic.collect(network, features, points, tokens, replace(options, points_per_batch=16))
    assert not np.allclose(alone.predicted_iou[:5], found.predicted_iou[:5], atol=1e-3)


def test_a_batch_of_masks_changes_nothing() -> None:
    """How many masks are brought to full size together is a matter of memory only."""
    network = tiny.network(0)
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    features = network.encode(image)
    results = [
        automatic.generate(
            network,
            features,
            automatic.point_grid(5),
            (2, 5),
            AutomaticOptions(box_nms_iou=1.0, stability=0.5, predicted_iou=0.7),
            BackOff(automatic.FULL_SIZE, n),
        )
        for n in (1, 4, 100)
    ]
    assert len(results[0]) > 1
    for other in results[1:]:
        assert other.rle == results[0].rle
        assert np.array_equal(other.stability, results[0].stability)


def test_the_grid_runs_row_by_row() -> None:
    """Points lie in the middles of cells, x fastest; the published grid comes in batches of 200 and 24."""
    grid = automatic.point_grid((3, 2))
    assert np.allclose(grid[:4], [(1 / 6, 1 / 4), (1 / 2, 1 / 4), (5 / 6, 1 / 4), (1 / 6, 3 / 4)])
    assert grid.dtype == np.float32
    logits, ious = torch.zeros(1024, 1, 1), torch.zeros(1024)
    core = FixedLogits(logits, ious)
    automatic.collect(core, no_features((1, 1)), automatic.point_grid(32), (0,), AutomaticOptions())
    assert core.batches == [200] * 5 + [24]


def test_quality_must_be_above_its_threshold() -> None:
    """A predicted IoU of 0.88 is dropped at 0.88 and the next larger float stays; no number is dropped."""
    logits = np.full((4, 6, 6), -9, np.float32)
    for i in range(4):
        logits[i, i : i + 2, 2 * (i % 3) : 2 * (i % 3) + 2] = 9
    above = float(np.nextafter(np.float32(0.88), np.float32(1)))
    found = run(logits, [0.88, above, float("nan"), 1.5], AutomaticOptions(min_region_area=0))
    assert found.passed_iou == 2
    assert found.predicted_iou.tolist() == [1.5, np.float32(above)]


def test_stability_may_equal_its_threshold() -> None:
    """23 of 25 pixels is stable at 0.92, 22 is not, and a mask of nothing at all is dropped."""
    logits = np.full((3, 10, 10), -9, np.float32)
    logits[:2, :5, :5] = 9
    logits[0, 0, :2] = 0.5
    logits[1, 0, :3] = 0.5
    found = run(logits, [1.0, 1.0, 1.0])
    assert found.passed_stability == 1
    assert found.stability.tolist() == [np.float32(0.92)]


def test_borders_of_logits_are_strict() -> None:
    """A logit of 0 is outside the mask, +1 is not counted inside, and -1 is not counted around."""
    logits = np.full((1, 8, 8), -9, np.float32)
    logits[0, :4] = 9
    logits[0, 4, :4] = 0
    logits[0, 5, :2] = 1
    logits[0, 6] = -1
    found = run(logits, [1.0], AutomaticOptions(stability=0.1, min_region_area=0))
    # 32 surely inside, 38 around: those four at 0 and two at +1 come to it, the eight at -1 do not.
    assert found.stability.tolist() == [np.float32(32) / np.float32(38)]
    assert found.area_px.tolist() == [34]


def test_boxes_are_inclusive_here_and_half_open_in_a_mask_set() -> None:
    """The box of pixels 2..4 x 1..1 is (2, 1, 4, 1) within the model, and one pixel wider outside it."""
    mask = np.zeros((6, 8), bool)
    mask[1, 2:5] = True
    rles = [codec.encode(mask), codec.encode(np.zeros_like(mask))]
    half_open, _ = codec.measure(rles, (6, 8))
    inclusive = inclusive_boxes(half_open)
    assert inclusive.tolist() == [[2, 1, 4, 1], [0, 0, 0, 0]]
    assert mask_boxes.from_inclusive(inclusive)[0].tolist() == half_open[0].tolist() == [2, 1, 5, 2]


def test_boxes_overlapping_exactly_the_threshold_survive() -> None:
    """An IoU of 0.7 survives 0.7; two equal boxes without area suppress nothing; better ones come first."""
    boxes = np.array([[0, 0, 10, 7], [0, 0, 10, 10], [5, 5, 5, 9], [5, 5, 5, 9]], np.int32)
    scores = np.array([0.9, 0.95, 1.0, 1.0], np.float32)
    assert suppress_boxes(boxes, scores, 0.7).tolist() == [2, 3, 1, 0]
    assert suppress_boxes(boxes, scores, 0.69).tolist() == [2, 3, 1]
    assert suppress_boxes(boxes[:0], scores[:0], 0.7).tolist() == []


def test_a_suppressed_box_suppresses_nothing() -> None:
    """In a chain of shifted boxes the second goes, the third stays; equal scores keep their order."""
    boxes = np.array([[4, 0, 14, 10], [2, 0, 12, 10], [0, 0, 10, 10]], np.int32)
    # Neighbours overlap by 8 of 12, the ends by 6 of 14.
    assert suppress_boxes(boxes, np.ones(3, np.float32), 0.5).tolist() == [0, 2]
    order = suppress_boxes(np.tile(boxes * 10, (500, 1)), np.ones(1500, np.float32), 1.0)
    assert order.tolist() == list(range(1500))


def beside_a_large_component(*pixels: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros((20, 40), bool)
    mask[:, 30:] = True
    for y, x in pixels:
        mask[y, x] = True
    return mask


ISLAND_5A = [(3, 3), (3, 4), (4, 3), (4, 4), (5, 5)]
ISLAND_5B = [(6, 6), (6, 7), (7, 6), (7, 7), (8, 7)]


def test_components_touching_at_a_corner_are_one() -> None:
    """Two islands of 5 pixels, and two such holes, that touch at a corner make one of 10, which stays."""
    islands = beside_a_large_component(*ISLAND_5A, *ISLAND_5B)
    kept, changed = clean_regions(islands, 10)
    assert not changed
    assert np.array_equal(kept, islands)
    kept, changed = clean_regions(~islands, 10)
    assert not changed
    assert np.array_equal(kept, ~islands)


def test_a_pit_open_through_a_corner_stays_open() -> None:
    """Two pixels of background that reach the outside through a corner only are part of the outside."""
    mask = np.ones((12, 12), bool)
    mask[:2] = False
    mask[2, 5] = mask[3, 6] = False
    kept, changed = clean_regions(mask, 10)
    assert not changed
    assert not kept[2, 5]
    assert not kept[3, 6]


def test_islands_below_the_area_go() -> None:
    """An island of 9 pixels is removed, one of 10 is not."""
    nine = [(y, x) for y in (3, 4, 5) for x in (3, 4, 5)]
    kept, changed = clean_regions(beside_a_large_component(*nine), 10)
    assert changed
    assert np.array_equal(kept, beside_a_large_component())
    ten = beside_a_large_component(*nine, (6, 6))
    kept, changed = clean_regions(ten, 10)
    assert not changed
    assert np.array_equal(kept, ten)


def test_holes_are_filled_before_islands_are_judged() -> None:
    """A ring of 8 pixels with one beside it has 9, and 10 once its hole is filled: it stays."""
    ring = [(y, x) for y in (3, 4, 5) for x in (3, 4, 5) if (y, x) != (4, 4)]
    kept, changed = clean_regions(beside_a_large_component(*ring, (6, 6)), 10)
    assert changed
    assert np.array_equal(kept, beside_a_large_component(*ring, (6, 6), (4, 4)))


def test_the_largest_island_stays_when_all_are_small() -> None:
    """Of a mask of specks the largest is left, and that counts as a change."""
    mask = np.zeros((10, 10), bool)
    mask[1, 1] = mask[4, 4:7] = mask[8, 8] = True
    kept, changed = clean_regions(mask, 10)
    assert changed
    assert kept.sum() == 3
    assert kept[4, 4:7].all()
    for plain in (np.zeros((10, 10), bool), np.ones((10, 10), bool)):
        kept, changed = clean_regions(plain, 10)
        assert not changed
        assert np.array_equal(kept, plain)


def test_unchanged_masks_win_over_cleaned_ones() -> None:
    """A cleaned mask of better quality yields to an unchanged one with its box, and keeps its figures."""
    logits = np.full((3, 20, 40), -9, np.float32)
    logits[0, 2:12, 2:12] = 9
    logits[0, 5, 5] = -9  # a hole: will be filled
    logits[1, 2:12, 2:12] = 9
    logits[2, 2:12, 20:30] = 9
    logits[2, 15, 15] = 9  # an island: will go, and the box shrinks
    # Before cleaning all boxes pass; after it the first two are equal.
    found = run(logits, [0.99, 0.95, 0.97], AutomaticOptions(box_nms_iou=1.0, settle_nms_iou=0.5))
    assert len(found) == 3  # the larger threshold counts
    found = run(logits[1:], [0.95, 0.97])
    assert found.predicted_iou.tolist() == [np.float32(0.95), np.float32(0.97)]
    assert found.boxes_inclusive.tolist() == [[2, 2, 11, 11], [20, 2, 29, 11]]
    before = run(logits[2:], [0.97], AutomaticOptions(min_region_area=0))
    assert before.boxes_inclusive.tolist() == [[15, 2, 29, 15]]
    assert found.stability[1] == before.stability[0]
    assert coco.area({"size": [20, 40], "counts": found.rle[1]}) == found.area_px[1] == 100


def test_nothing_found_is_an_empty_result() -> None:
    """No good mask, or none that is stable, gives no masks and the counts."""
    logits = np.zeros((2, 5, 5), np.float32)
    for ious in ([0.1, 0.2], [1.0, 1.0]):
        found = run(logits, ious)
        assert len(found) == 0
        assert found.candidates == 2
        assert found.boxes_inclusive.shape == (0, 4)
        assert found.points_xy.shape == (0, 2)
