"""Automatic masks from known logits, and the contract with the tiny model."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from torch import Tensor

from my3dis import plugins
from my3dis.backends.proposers.sam2_auto.model import ImageModel, PointMasks
from my3dis.backends.proposers.sam2_auto.proposer import Sam2AutoProposer, Settings, point_grid
from my3dis.errors import ConfigError, DataError, PluginError, ResourceError
from my3dis.masks import codec, hierarchy
from my3dis.protocols import BackendOptions, MaskProposer, Reporting
from my3dis.refinement.progressive import refine
from my3dis.types import Frame, MaskSet
from tests.backends.proposers import boxes
from tests.backends.proposers.sam2_auto.tiny import save_tiny_model

LEVELS = (2, 4, 6)
H = W = 32
CPU = torch.device("cpu")


def frame() -> Frame:
    return Frame(index=5, name="0005", color=np.zeros((H, W, 3), np.uint8))


class FakeModel:
    """Answers each point with three masks that a function of the point draws, and counts."""

    def __init__(
        self,
        answer: Callable[[float, float], list[tuple[NDArray[np.float32], float]]],
        most: int = 1000,
    ) -> None:
        self.answer, self.most = answer, most
        self.looks = 0
        self.batches: list[int] = []

    def features(self, color: NDArray[np.uint8]) -> list[Tensor]:
        self.looks += 1
        return [torch.zeros(1)]

    def ask(
        self, features: list[Tensor], points_xy: NDArray[np.float32], image_size: tuple[int, int]
    ) -> PointMasks:
        assert image_size == (H, W)
        if len(points_xy) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(len(points_xy))
        answers = [self.answer(float(x), float(y)) for x, y in points_xy]
        return PointMasks(
            torch.tensor(np.array([[logits for logits, _ in three] for three in answers])),
            torch.tensor([[quality for _, quality in three] for three in answers]),
        )


def box_logits(x0: int, y0: int, x1: int, y1: int, inside: float = 9.0) -> NDArray[np.float32]:
    """Logits of the image's own size, so that nothing is interpolated."""
    logits = np.full((H, W), -9.0, np.float32)
    logits[y0:y1, x0:x1] = inside
    return logits


def proposer(model: FakeModel, **settings: float) -> Sam2AutoProposer:
    chosen = Settings(**{"points_per_side": 2, **settings})  # type: ignore[arg-type]  # by name
    return Sam2AutoProposer(model, chosen, device=CPU)  # type: ignore[arg-type]  # a fake of the same shape


def quadrants(x: float, y: float) -> list[tuple[NDArray[np.float32], float]]:
    """The whole picture, the point's half and its quarter; in another order on the right."""
    x0, y0 = 16 * (x > 16), 16 * (y > 16)
    three = [
        (box_logits(0, 0, W, H), 0.9),
        (box_logits(x0, 0, x0 + 16, H), 0.95),
        (box_logits(x0, y0, x0 + 16, y0 + 16), 0.99),
    ]
    return three[::-1] if x0 else three


def test_points_lie_in_the_middle_of_equal_cells() -> None:
    """A grid of 2 x 2 in a picture of 8 x 4 pixels, row by row."""
    assert point_grid(2, (4, 8)).tolist() == [[2, 1], [6, 1], [2, 3], [6, 3]]


def test_wholes_parts_and_subparts_go_to_the_levels() -> None:
    """Whatever the model's order, the largest mask of a point is coarsest; repeats are suppressed."""
    model = FakeModel(quadrants)
    tested = proposer(model)
    masks = tested.propose(frame(), LEVELS)
    assert masks.level.tolist() == [2, 4, 4, 6, 6, 6, 6]
    assert masks.area_px.tolist() == [1024, 512, 512, 256, 256, 256, 256]
    assert masks.parent_id.tolist() == [-1, 0, 0, 1, 2, 1, 2]
    assert np.allclose(masks.score, [0.9, 0.95, 0.95, 0.99, 0.99, 0.99, 0.99])
    assert (masks.stability == 1).all()
    facts = dict(tested.report().facts)
    assert facts["backbone_passes"] == facts["proposed_frames"] == model.looks == 1
    assert (facts["prompts"], facts["overlapping_boxes"]) == (4, 12 - 7)


def test_one_level_is_flat_and_two_share() -> None:
    """At one level all masks compete, as published; of two, the first has wholes and parts."""
    flat = proposer(FakeModel(quadrants)).propose(frame(), (3,))
    assert sorted(flat.area_px.tolist()) == [256] * 4 + [512] * 2 + [1024]
    assert (flat.parent_id == -1).all()
    two = proposer(FakeModel(quadrants)).propose(frame(), (1, 5))
    assert {level: int((two.level == level).sum()) for level in (1, 5)} == {1: 3, 5: 4}


def test_more_than_three_levels_leave_no_gap() -> None:
    """A region that does not split further stays at the coarser level, and its children belong to it."""
    found = refine(frame(), (1, 2, 3, 4, 5, 6), proposer(FakeModel(quadrants)))
    assert found.kept.level.tolist() == [1, 3, 3, 5, 5, 5, 5]
    assert found.kept.parent_id[0] == -1
    assert (found.kept.parent_id[1:] >= 0).all()
    assert set(found.reasons) == {"equals_parent"}


def test_masks_that_the_model_doubts_are_left_out_and_counted() -> None:
    """The predicted quality has to exceed its threshold; an empty mask is counted; nothing may be left."""

    def doubtful(x: float, y: float) -> list[tuple[NDArray[np.float32], float]]:
        return [(box_logits(0, 0, 9, 9), 0.8), (box_logits(0, 0, 0, 0), 0.9), (box_logits(0, 0, 5, 5), 0.1)]

    tested = proposer(FakeModel(doubtful))
    assert len(tested.propose(frame(), LEVELS)) == 0
    facts = dict(tested.report().facts)
    assert (facts["below_predicted_iou"], facts["empty"]) == (8, 4)
    assert len(proposer(FakeModel(doubtful), predicted_iou=0.79).propose(frame(), LEVELS)) == 1


def random_answers(seed: int) -> Callable[[float, float], list[tuple[NDArray[np.float32], float]]]:
    def answer(x: float, y: float) -> list[tuple[NDArray[np.float32], float]]:
        rng = np.random.default_rng([seed, int(8 * x), int(8 * y)])
        three = []
        for _ in range(3):
            x0, y0 = rng.integers(0, 16, 2)
            logits = np.full((H, W), -3.0, np.float32)
            # Some pixels are near the threshold: stability below 1.
            logits[y0 : y0 + rng.integers(4, 16), x0 : x0 + rng.integers(4, 16)] = 3.0
            near = rng.random((H, W)) < rng.choice([0.0, 0.02, 0.1])
            three.append((np.where(near & (logits > 0), np.float32(0.5), logits), float(rng.random())))
        return three

    return answer


@pytest.mark.parametrize("seed", range(4))
def test_one_level_equals_the_published_procedure(seed: int) -> None:
    """Filter by quality, then by stability, then suppress: what ours leaves once the unstable ones go."""
    answer = random_answers(seed)
    model = FakeModel(answer)
    masks = proposer(model, points_per_side=6, predicted_iou=0.3).propose(frame(), (1,))
    ours = {rle for rle, steady in zip(masks.rle, masks.stability, strict=True) if steady >= 0.95}

    left = []
    for x, y in point_grid(6, (H, W)).tolist():
        for logits, quality in answer(x, y):
            steadiness = (logits > 1).sum() / (logits > -1).sum()
            if np.float32(quality) > 0.3 and steadiness >= 0.95:
                left.append((quality, logits > 0))
    left.sort(key=lambda pair: -pair[0])
    kept: list[NDArray[np.bool_]] = []
    for _, mask in left:
        filled = box_of(mask)
        if all((filled & box_of(k)).sum() <= 0.7 * (filled | box_of(k)).sum() for k in kept):
            kept.append(mask)
    assert len(kept) > 5
    assert ours == {codec.encode(mask) for mask in kept}


def box_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    filled = np.zeros_like(mask)
    ys, xs = np.nonzero(mask)
    filled[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = True
    return filled


def test_a_full_gpu_gets_smaller_batches_and_the_same_masks() -> None:
    """Out of memory, prompts go in smaller batches from then on; masks stay the same, and it is reported."""
    wide, narrow = FakeModel(random_answers(7)), FakeModel(random_answers(7), most=5)
    settings = {"points_per_side": 6, "predicted_iou": 0.2, "points_per_batch": 16}
    tested = proposer(narrow, **settings)
    expected = proposer(wide, **settings).propose(frame(), LEVELS)
    found = tested.propose(frame(), LEVELS)
    assert found.rle == expected.rle
    assert wide.batches == [16, 16, 4]
    assert narrow.batches == [4] * 9
    assert narrow.looks == 1
    assert isinstance(tested, Reporting)
    report = tested.report()
    assert [code for code, _ in report.notes] == ["smaller_batch", "smaller_batch"]
    assert "going on with 4" in report.notes[-1][1]
    assert dict(report.facts)["points_per_batch"] == 4
    tested.propose(frame(), LEVELS)
    assert narrow.batches == [4] * 18
    with pytest.raises(ResourceError, match=r"1 prompts at once \(tried 16, 8, 4, 2, 1\)"):
        proposer(FakeModel(random_answers(7), most=0), **settings).propose(frame(), LEVELS)


def test_features_that_do_not_fit_are_a_resource_error() -> None:
    """When the image itself is too much, the error says so and which frame."""

    class Full(FakeModel):
        def features(self, color: NDArray[np.uint8]) -> list[Tensor]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ResourceError, match="features of frame '0005': the memory ran out"):
        proposer(Full(quadrants)).propose(frame(), LEVELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("weights") / "tiny")


def tiny(folder: Path, **options: object) -> MaskProposer:
    values = {"points_per_side": 6, "predicted_iou": 0.0, **options}
    made = plugins.proposer("sam2_auto").create(BackendOptions(checkpoint=str(folder), **values))  # type: ignore[arg-type]
    assert isinstance(made, MaskProposer)
    return made


def codes(masks: MaskSet) -> list[tuple[int, int, bytes]]:
    return list(zip(masks.level.tolist(), masks.parent_id.tolist(), masks.rle, strict=True))


@pytest.mark.parametrize("levels", [LEVELS, (3,), (1, 2, 3, 4, 5)])
def test_the_contract_with_a_model(folder: Path, levels: tuple[int, ...]) -> None:
    """Linked, nested, measured by pycocotools, in range, and the same from a new proposer."""
    masks = tiny(folder).propose(boxes.frame(1), levels)
    assert len(masks) >= len(levels)
    assert masks.frame == 1
    hierarchy.require_linked(masks, levels)
    hierarchy.require_nested(masks)
    for i, rle in enumerate(masks.rle):
        code = {"size": list(masks.image_size), "counts": rle}
        x, y, w, h = coco.toBbox(code).astype(int).tolist()
        assert masks.boxes[i].tolist() == [x, y, x + w, y + h]
        assert masks.area_px[i] == coco.area(code) > 0
    for column in (masks.score, masks.stability):
        assert ((column >= 0) & (column <= 1)).all()
    assert codes(tiny(folder).propose(boxes.frame(1), levels)) == codes(masks)


def test_a_single_file_of_the_folder_will_do(folder: Path) -> None:
    """The weights file beside its configuration stands for the folder."""
    masks = tiny(folder).propose(boxes.frame(), LEVELS)
    assert codes(tiny(folder / "model.safetensors").propose(boxes.frame(), LEVELS)) == codes(masks)


def test_faster_type_runs(folder: Path) -> None:
    """The documented faster mode runs where the device has it."""
    masks = tiny(folder, dtype="bfloat16").propose(boxes.frame(), LEVELS)
    hierarchy.require_nested(masks)


def state() -> tuple[object, ...]:
    return (
        Path.cwd(),
        list(sys.path),
        dict(os.environ),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.random.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # type: ignore[index]  # noqa: NPY002 - the global one is watched
    )


def test_two_threads_propose_while_a_third_resolves_paths(folder: Path) -> None:
    """Two threads give what one gives, relative paths keep their meaning, and the process is as it was."""
    before = state()
    shared = tiny(folder)
    frames = [boxes.frame(index, shift=3 * index) for index in range(4)]
    alone = [codes(tiny(folder).propose(one, LEVELS)) for one in frames]
    wanted, seen, stop = Path("somewhere").resolve(), set(), threading.Event()

    def resolve() -> None:
        while not stop.is_set():
            seen.add(Path("somewhere").resolve())

    watcher = threading.Thread(target=resolve)
    watcher.start()
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda one: codes(shared.propose(one, LEVELS)), frames))
    stop.set()
    watcher.join()
    assert together == alone
    assert seen == {wanted}
    assert state() == before
    assert isinstance(shared, Reporting)
    assert dict(shared.report().facts)["backbone_passes"] == 4


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"checkpoint": None}, ConfigError, "MY3DIS_STAGES__SSAM__CHECKPOINT"),
        ({"device": "cuda:9"}, ResourceError, "cuda:9 was asked for"),
        ({"device": "gpu"}, ConfigError, "did you mean cuda:0"),
        ({"dtype": "fp16"}, ConfigError, "did you mean float16"),
    ],
)
def test_wrong_options(folder: Path, options: dict[str, object], error: type[Exception], words: str) -> None:
    """Missing weights, a device that is not here and misspelt settings are told before anything is loaded."""
    values = {"checkpoint": str(folder), **options}
    with pytest.raises(error, match=words):
        plugins.proposer("sam2_auto").create(BackendOptions(**values))  # type: ignore[arg-type]


def test_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch or transformers is missing, the error says which extra to install."""
    monkeypatch.setitem(sys.modules, "my3dis.backends.proposers.sam2_auto.proposer", None)
    with pytest.raises(PluginError, match=r"my3dis\[sam2\]"):
        plugins.proposer("sam2_auto").create(BackendOptions())


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    """A folder without a model is a wrong setting, one of another model wrong data."""
    with pytest.raises(ConfigError, match=r"config\.json"):
        tiny(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    with pytest.raises(DataError, match="found 'sam'"):
        tiny(tmp_path)


def test_the_model_is_an_image_model(folder: Path) -> None:
    """What the proposer holds is the image part alone."""
    made = tiny(folder)
    assert isinstance(made, Sam2AutoProposer)
    assert isinstance(made._model, ImageModel)
