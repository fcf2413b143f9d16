"""The network against recorded runs, stage by stage, and its contract."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from my3dis.backends.proposers.semantic_sam import network as network_module
from my3dis.backends.proposers.semantic_sam import swin
from my3dis.backends.proposers.semantic_sam.config import SIZE_DIVISOR, tokens_for_levels
from my3dis.backends.proposers.semantic_sam.decoder import PointDecoder
from my3dis.backends.proposers.semantic_sam.network import SemanticSam
from my3dis.errors import ConfigError, DataError
from tests.backends.proposers.semantic_sam.cases import (
    GIVEN,
    STRICT,
    STRICTLY,
    Case,
    all_stages,
    errors,
    load_case,
    tolerance_of,
)
from tests.parity import Parity

LETTERS = ("a", "b", "c", "d")
Record = Callable[[str, object], None]


@lru_cache(maxsize=4)
def computed(folder: Path, letter: str) -> tuple[Case, dict[str, Tensor]]:
    case = load_case(folder, letter)
    return case, all_stages(case.network(), case)


@pytest.mark.parametrize("letter", LETTERS)
def test_every_recorded_stage_is_reached(reference: Path, letter: str, record_property: Record) -> None:
    """Each of a case's tensors is computed within its tolerance, from the padded image to the final masks."""
    case, stages = computed(reference, letter)
    assert set(stages) == set(case.tensors) - set(GIVEN)
    parity = Parity("Semantic-SAM network", letter, record_property)
    found = errors(stages, case)
    for stage in sorted(found):
        parity.record(stage, found[stage], tolerance_of(stage))
    beyond = {stage: error for stage, error in found.items() if not error <= tolerance_of(stage)}
    assert not beyond


@pytest.mark.parametrize("letter", LETTERS[:3])
def test_second_pass_is_strict(reference: Path, letter: str) -> None:
    """Pixel stages and decoder states of cases a to c agree to 1e-5, which sees a wrong epsilon in a norm."""
    case, stages = computed(reference, letter)
    found = {name: e for name, e in errors(stages, case).items() if name.startswith(STRICTLY)}
    assert len(found) >= 25
    assert {name: error for name, error in found.items() if not error <= STRICT} == {}


@pytest.mark.parametrize("letter", LETTERS)
def test_no_pixel_changes_sides(reference: Path, letter: str) -> None:
    """The binary masks differ from the recorded ones in at most 1e-5 of the pixels."""
    case, stages = computed(reference, letter)
    for name in ("output.masks", "decoder.pred_masks_lowres"):
        differ = (stages[name] > 0) != (case.tensors[name] > 0)
        assert float(differ.float().mean()) <= 1e-5


def norms_of(part: nn.Module) -> list[nn.LayerNorm]:
    return [module for module in part.modules() if isinstance(module, nn.LayerNorm)]


def no_shift_mask(patch: pytest.MonkeyPatch) -> None:
    plain = swin.shift_mask
    patch.setattr(swin, "shift_mask", lambda *args: torch.zeros_like(plain(*args)))


def fine_first(patch: pytest.MonkeyPatch) -> None:
    plain = PointDecoder.forward
    patch.setattr(PointDecoder, "forward", lambda self, boxes, levels: plain(self, boxes, levels[::-1]))


def normed_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PointDecoder, "read_out", lambda self, content: self.decoder_norm(content))


def larger_points(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(network_module, "POINT_SIDE", 0.006)


def blue_first(patch: pytest.MonkeyPatch) -> None:
    plain = SemanticSam.normalise
    patch.setattr(SemanticSam, "normalise", lambda self, image: plain(self, image.flip(0)))


def tanh_gelu(patch: pytest.MonkeyPatch) -> None:
    plain = torch.nn.functional.gelu
    patch.setattr(swin.F, "gelu", lambda tokens: plain(tokens, approximate="tanh"))


def unpadded_points(patch: pytest.MonkeyPatch) -> None:
    def boxes(self: SemanticSam, features: object, points: Tensor) -> Tensor:
        return torch.nn.functional.pad(points, (0, 2), value=0.005)

    patch.setattr(SemanticSam, "point_boxes", boxes)


MISTAKES = (no_shift_mask, fine_first, normed_once, larger_points, blue_first, tanh_gelu, unpadded_points)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_mistakes_are_seen(
    reference: Path, mistake: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each deliberate mistake leaves the tolerances in case a, so the comparison is able to fail."""
    case = load_case(reference, "a")
    mistake(monkeypatch)
    found = errors(all_stages(case.network(), case), case)
    assert any(not error <= tolerance_of(stage) for stage, error in found.items())


@pytest.mark.parametrize("part", ["pixel_decoder", "predictor"])
def test_strict_pass_sees_a_wrong_epsilon(reference: Path, part: str) -> None:
    """An epsilon of 1e-6 in the layer norms of either decoder leaves the tolerance of the second pass."""
    case = load_case(reference, "a")
    network = case.network()
    for norm in norms_of(getattr(network.sem_seg_head, part)):
        norm.eps = 1e-6
    found = errors(all_stages(network, case), case)
    assert any(error > STRICT for stage, error in found.items() if stage.startswith(STRICTLY))


def test_points_see_one_another(reference: Path) -> None:
    """A point alone gets another quality than in its recorded batch; the same batch repeats bit for bit."""
    case, stages = computed(reference, "a")
    network = case.network()
    features, points = network.encode(case.tensors["input.image_u8"]), case.tensors["input.points_xy"]
    alone = network.predict(features, points[:1], range(6)).ious
    together = network.predict(features, points, range(6)).ious
    assert float((alone[0] - together[0]).abs().max()) > 0.01
    assert torch.equal(together, stages["decoder.pred_ious"][0])


def test_tokens_are_chosen_in_the_given_order(reference: Path) -> None:
    """Chosen tokens are rows of the full run, point-major, with order and repeats kept."""
    case, stages = computed(reference, "b")
    network = case.network()
    features = network.encode(case.tensors["input.image_u8"])
    chosen = network.predict(features, case.tensors["input.points_xy"], [4, 1, 4])
    every = stages["decoder.pred_masks_lowres"][0].unflatten(0, (5, 6))
    assert torch.allclose(chosen.mask_logits.unflatten(0, (5, 3)), every[:, [4, 1, 4]], atol=1e-5)
    assert torch.allclose(chosen.ious, stages["decoder.pred_ious"][0][:, [4, 1, 4]], atol=1e-6)


def test_upsampling_a_part_gives_the_same_masks(reference: Path) -> None:
    """Masks may be brought to full size a few at a time, or none."""
    case, stages = computed(reference, "d")
    network = case.network()
    features = network.encode(case.tensors["input.image_u8"])
    logits = stages["decoder.pred_masks_lowres"][0]
    whole = network.upsample(logits, features)
    assert whole.shape == (12, 75, 110)
    assert torch.equal(network.upsample(logits[3:5], features), whole[3:5])
    assert network.upsample(logits[:0], features).shape == (0, 75, 110)


def test_float_images_and_passes_are_counted(reference: Path) -> None:
    """An image may be uint8 or float32 in 0..255, and each pass is counted once."""
    case, _ = computed(reference, "c")
    network = case.network()
    image, points = case.tensors["input.image_u8"], case.tensors["input.points_xy"]
    features = network.encode(image)
    assert torch.equal(network.encode(image.float()).mask_features, features.mask_features)
    for _ in range(3):
        network.predict(features, points, [0])
    assert (network.backbone_passes, network.decoder_passes) == (2, 3)
    assert features.image_size == (45, 131)
    assert features.padded_size == (64, 160)
    assert not any(side % SIZE_DIVISOR for side in features.padded_size)
    assert not features.mask_features.requires_grad


def test_half_precision_touches_the_backbone_only(reference: Path) -> None:
    """In bfloat16 the results are float32, near those of float32 and not equal to them."""
    case, stages = computed(reference, "a")
    network = case.network()
    network.backbone_dtype = torch.bfloat16
    features = network.encode(case.tensors["input.image_u8"])
    assert features.mask_features.dtype == torch.float32
    distance = float((features.mask_features - stages["pixel.mask_features"]).abs().mean())
    assert 1e-4 < distance < 0.1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        around = network.encode(case.tensors["input.image_u8"])
    assert torch.equal(around.mask_features, features.mask_features)
    with pytest.raises(ConfigError, match="float64"):
        network.backbone_dtype = torch.float64


def test_unusable_requests_are_refused(reference: Path) -> None:
    """Images, points and tokens of another form raise errors that say what was found."""
    case, _ = computed(reference, "c")
    network = case.network()
    image, points = case.tensors["input.image_u8"], case.tensors["input.points_xy"]
    features = network.encode(image)
    for wrong in (image[:2], image[None], image.double(), image[:, :0]):
        with pytest.raises(DataError, match="found"):
            network.encode(wrong)
    with pytest.raises(DataError, match="one size"):
        network.encode_together([image, image[:, 1:]])
    for wrong in (points[:0], points[0], torch.zeros(2, 4)):
        with pytest.raises(DataError, match=r"\(P, 2\)"):
            network.predict(features, wrong, [0])
    for tokens in ([], [6], [-1]):
        with pytest.raises(ConfigError, match="tokens"):
            network.predict(features, points, tokens)


def test_levels_are_translated_into_tokens() -> None:
    """Level 1 is token 3 and level 6 token 5, with order and repeats kept; other levels are refused."""
    assert tokens_for_levels([1, 2, 3, 4, 5, 6]) == (3, 2, 0, 4, 1, 5)
    assert tokens_for_levels([6, 1, 6]) == (5, 3, 5)
    for level in (0, 7):
        with pytest.raises(ConfigError, match=str(level)):
            tokens_for_levels([1, level])


def test_nothing_is_left_infinite(reference: Path) -> None:
    """A point on the very corner of the image, where the logit is clamped, gives finite masks."""
    case, _ = computed(reference, "d")
    network = case.network()
    features = network.encode(case.tensors["input.image_u8"])
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    prediction = network.predict(features, corners, [0, 5])
    assert math.isfinite(float(prediction.mask_logits.sum() + prediction.ious.sum()))
