"""Attention, positions and the whole network against hand-computed values and independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from my3dis.backends.proposers.semantic_sam.attention import DeformableAttention
from my3dis.backends.proposers.semantic_sam.checkpoint import build_network
from my3dis.backends.proposers.semantic_sam.positions import (
    logit,
    reference_grid,
    sine_of_boxes,
    sine_of_map,
)
from my3dis.backends.proposers.semantic_sam.swin import SwinBackbone, relative_position_index, shift_mask
from tests.backends.proposers.semantic_sam import slow_network
from tests.backends.proposers.semantic_sam.own_case import CONFIG, POINTS_XY, draw_image, draw_weights

SIZES = [(4, 5), (2, 3), (1, 2), (1, 1)]


def seeded(module: torch.nn.Module, seed: int = 3) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4
    return module.eval().requires_grad_(False)


def test_whole_network_equals_the_slow_one() -> None:
    """Masks and qualities of a small random network equal those of plain numpy in float64."""
    weights, image = draw_weights(), draw_image()
    exact = {name: one.astype(np.float64) for name, one in weights.items()}
    masks, qualities = slow_network.masks_and_qualities(
        image.astype(np.float64), POINTS_XY, exact, window=CONFIG.window, heads=CONFIG.encoder_heads
    )
    network = build_network({f"model.{name}": torch.from_numpy(one) for name, one in weights.items()})
    assert network.config == CONFIG
    features = network.encode(torch.from_numpy(image))
    found = network.predict(features, torch.from_numpy(POINTS_XY).float(), range(6))
    full = network.upsample(found.mask_logits, features)
    assert full.shape == masks.shape == (18, 40, 59)
    assert masks.std() > 0.5
    assert qualities.std() > 0.1
    np.testing.assert_allclose(full.numpy(), masks, atol=5e-4)
    np.testing.assert_allclose(found.ious.numpy(), qualities, atol=5e-5)


def test_window_index_by_hand() -> None:
    """For a window of 2 the pairs of tokens read the nine rows of the bias table as written down here."""
    by_hand = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    assert relative_position_index(2).tolist() == by_hand


def test_shift_mask_by_hand() -> None:
    """On 2x4 cells with windows of 2, only the wrapped halves of the last windows are strangers."""
    mask = shift_mask((2, 4), 2, torch.device("cpu"))
    # One row of windows: its second row of cells wrapped around. In the last window the right column did too.
    rows = torch.tensor([0, 0, 1, 1])
    parts = torch.tensor([0, 1, 2, 3])
    assert torch.equal(mask[0] == -100, rows[:, None] != rows[None])
    assert torch.equal(mask[1] == -100, parts[:, None] != parts[None])
    assert set(mask.unique().tolist()) == {-100.0, 0.0}


def test_map_positions_by_hand() -> None:
    """Rows fill the first half of the channels, columns the second, sine and cosine in turn."""
    position = sine_of_map((2, 4), 8, torch.device("cpu"))
    assert position.shape == (1, 8, 2, 4)
    # Row 0 of 2 is half a turn, column 2 of 4 three quarters; the second pair is slowed by 10000^(2/4) = 100.
    half, three_quarters = math.pi, 1.5 * math.pi
    by_hand = [
        *(math.sin(half), math.cos(half), math.sin(half / 100), math.cos(half / 100)),
        *(math.sin(three_quarters), math.cos(three_quarters)),
        *(math.sin(three_quarters / 100), math.cos(three_quarters / 100)),
    ]
    np.testing.assert_allclose(position[0, :, 0, 2], by_hand, atol=1e-5)


def test_box_positions_by_hand() -> None:
    """The sines of a box come in the order y, x, width, height."""
    sines = sine_of_boxes(torch.tensor([0.25, 0.5, 0.75, 1.0]), 4)
    by_hand = [0.0, -1.0, 1.0, 0.0, -1.0, 0.0, 0.0, 1.0]
    np.testing.assert_allclose(sines, by_hand, atol=1e-6)


def test_logit_is_clamped() -> None:
    """The logit inverts the sigmoid and is held finite at and beyond the ends."""
    values = torch.tensor([0.5, 0.25, 0.0, 1.0, 1.5, -2.0])
    end = math.log(1e5)
    np.testing.assert_allclose(logit(values), [0.0, -math.log(3), -end, end, end, -end], rtol=1e-6)


def test_reference_points_are_cell_centres() -> None:
    """References are (x, y) of the cells' centres, row by row and level by level."""
    grid = reference_grid([(1, 2), (2, 1)], torch.device("cpu"))
    assert grid.tolist() == [[[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]]


def one_sample(offset_xy: tuple[float, float], reference: list[float]) -> float:
    """Give what a query reads on a first level [[1, 2], [3, 4]] when all its samples share one offset."""
    attention = DeformableAttention(1, 1).requires_grad_(False)
    for parameter in attention.parameters():
        parameter.zero_()
    attention.value_proj.weight.fill_(1.0)
    attention.output_proj.weight.fill_(1.0)
    attention.sampling_offsets.bias.copy_(torch.tensor(offset_xy).repeat(16))
    # Nearly all weight on the first level; its four samples share it.
    attention.attention_weights.bias[:4] = 50.0
    value = torch.tensor([1.0, 2.0, 3.0, 4.0, 7.0, 7.0, 7.0]).view(1, 7, 1)
    sizes = [(2, 2), (1, 1), (1, 1), (1, 1)]
    return float(attention(torch.zeros(1, 1, 1), torch.tensor([[reference]]), value, sizes))


def test_deformable_sampling_by_hand() -> None:
    """Samples are bilinear between cell centres, zero outside, and offsets count cells or shares of a box."""
    assert one_sample((0, 0), [0.25, 0.25]) == pytest.approx(1.0)
    assert one_sample((0, 0), [0.5, 0.5]) == pytest.approx(2.5)
    assert one_sample((1, 0), [0.25, 0.25]) == pytest.approx(2.0)  # one column to the right
    assert one_sample((0, 1), [0.25, 0.25]) == pytest.approx(3.0)  # one row down
    assert one_sample((0, 0), [0.0, 0.25]) == pytest.approx(0.5)  # half of it outside
    # A box moves by offset / 4 points * half its side: 4 * (0.5 / 2) / 4 = 0.25 of the map.
    assert one_sample((2, 0), [0.25, 0.25, 1.0, 1.0]) == pytest.approx(1.5)
    assert one_sample((0, 4), [0.25, 0.25, 1.0, 0.5]) == pytest.approx(2.0)


@pytest.mark.parametrize("coordinates", [2, 4])
def test_deformable_attention_equals_the_slow_one(coordinates: int) -> None:
    """Random queries read the same as in a loop over single samples, for points and for boxes."""
    attention = seeded(DeformableAttention(16, 4))
    generator = torch.Generator().manual_seed(5)
    query = torch.randn(1, 6, 16, generator=generator)
    value = torch.randn(1, sum(h * w for h, w in SIZES), 16, generator=generator)
    references = torch.rand(1, 6, coordinates, generator=generator)
    weights = {f"a.{name}": one.double().numpy() for name, one in attention.state_dict().items()}
    ends = np.cumsum([h * w for h, w in SIZES])[:-1]
    parts = np.split(value[0].double().numpy(), ends)
    levels = [part.T.reshape(16, *size) for part, size in zip(parts, SIZES, strict=True)]
    slow = slow_network.deformable(
        query[0].double().numpy(), references[0].double().numpy(), levels, weights, "a", 4
    )
    np.testing.assert_allclose(attention(query, references, value, SIZES)[0], slow, atol=1e-5)


@pytest.mark.parametrize("coordinates", [2, 4])
def test_deformable_attention_equals_that_of_transformers(coordinates: int) -> None:
    """The class of transformers with the same weights gives the same, for points and for boxes."""
    from transformers import DeformableDetrConfig
    from transformers.models.deformable_detr import modeling_deformable_detr as detr

    theirs = detr.DeformableDetrMultiscaleDeformableAttention(
        DeformableDetrConfig(d_model=16, num_feature_levels=4), num_heads=4, n_points=4
    )
    ours = seeded(DeformableAttention(16, 4))
    theirs.load_state_dict(ours.state_dict())
    generator = torch.Generator().manual_seed(6)
    query, value = torch.randn(2, 6, 16, generator=generator), torch.randn(2, 29, 16, generator=generator)
    references = torch.rand(2, 6, coordinates, generator=generator)
    with torch.inference_mode():
        wanted = theirs(
            hidden_states=query,
            encoder_hidden_states=value,
            reference_points=references[:, :, None].expand(-1, -1, 4, -1),
            spatial_shapes=torch.tensor(SIZES),
            spatial_shapes_list=SIZES,
            level_start_index=torch.tensor([0, 20, 26, 28]),
        )[0]
    np.testing.assert_allclose(ours(query, references, value, SIZES), wanted, atol=2e-6)


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give a backbone's parameters the names that transformers 5 uses."""
    pairs = (
        ("patch_embed.proj", "swin.embeddings.patch_embeddings.projection"),
        ("patch_embed.norm", "swin.embeddings.norm"),
        ("layers.", "swin.encoder.layers."),
        (".norm1.", ".layernorm_before."),
        (".norm2.", ".layernorm_after."),
        (".attn.proj.", ".attention.o_proj."),
        (
            ".attn.relative_position_bias_table",
            ".attention.relative_position_bias.relative_position_bias_table",
        ),
    )
    out = {}
    for name, tensor in state.items():
        new = name
        for stage in range(4):
            if name.startswith(f"norm{stage}."):
                new = name.replace(f"norm{stage}", f"hidden_states_norms.stage{stage + 1}")
        if new == name:
            for before, after in pairs:
                new = new.replace(before, after)
        if ".attn.qkv." in new:
            for part, letter in zip(tensor.chunk(3), "qkv", strict=True):
                out[new.replace(".attn.qkv.", f".attention.{letter}_proj.")] = part
        else:
            out[new] = tensor
    return out


def test_backbone_equals_that_of_transformers() -> None:
    """The Swin backbone of transformers with the same weights gives the same four maps on an odd size."""
    from transformers import SwinBackbone as TheirBackbone
    from transformers import SwinConfig

    theirs = TheirBackbone(
        SwinConfig(
            embed_dim=CONFIG.embed_dim,
            depths=list(CONFIG.depths),
            num_heads=list(CONFIG.heads),
            window_size=CONFIG.window,
            drop_path_rate=0.0,
            layer_norm_eps=1e-5,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
    ).eval()
    ours = seeded(SwinBackbone(CONFIG))
    missing = theirs.load_state_dict(renamed(ours.state_dict()), strict=False)
    assert not missing.unexpected_keys
    assert all("swin.layernorm" in key or "position_index" in key for key in missing.missing_keys)
    image = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        for found, wanted in zip(ours(image), theirs(image).feature_maps, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)
