"""The pixel decoder: backbone maps in, mask features and four mixed feature levels out.

Source: Zhu et al., "Deformable DETR", ICLR 2021, section 4.2; Cheng et al., "Masked-attention Mask
Transformer", CVPR 2022, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from my3dis.backends.proposers.semantic_sam.attention import FEATURE_LEVELS, DeformableAttention
from my3dis.backends.proposers.semantic_sam.config import SemanticSamConfig
from my3dis.backends.proposers.semantic_sam.layers import ConvNorm, group_norm
from my3dis.backends.proposers.semantic_sam.positions import reference_grid, sine_of_map

__all__ = ["PixelDecoder", "PixelFeatures", "flatten_levels", "sizes_of"]


@dataclass(frozen=True, slots=True)
class PixelFeatures:
    """Mask features `(B, M, H/4, W/4)` and four levels `(B, C, H/s, W/s)`, strides 8, 16, 32 and 64."""

    mask_features: Tensor
    multi_scale: tuple[Tensor, Tensor, Tensor, Tensor]


def sizes_of(levels: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Give `(rows, columns)` of each map."""
    return [(int(level.shape[-2]), int(level.shape[-1])) for level in levels]


def flatten_levels(levels: Sequence[Tensor]) -> Tensor:
    """Lay maps `(B, C, h, w)` out as one row of tokens `(B, S, C)`, level by level and row by row."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)


class EncoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward block, each normed after its shortcut."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, positions: Tensor, references: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Map tokens `(B, S, C)` to the same shape."""
        attended = self.self_attn(tokens + positions, references, tokens, sizes)
        tokens = self.norm1(tokens + attended)
        return self.norm2(tokens + self.linear2(self.linear1(tokens).relu_()))


class _Encoder(nn.Module):
    """The layers under the name that checkpoints give them."""

    def __init__(self, config: SemanticSamConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(config.hidden_dim, config.encoder_heads, config.encoder_ffn)
            for _ in range(config.encoder_layers)
        )


class LevelMixer(nn.Module):
    """Let every cell of every level look at a few cells of all levels."""

    def __init__(self, config: SemanticSamConfig) -> None:
        super().__init__()
        self.level_embed = nn.Parameter(torch.zeros(FEATURE_LEVELS, config.hidden_dim))
        self.encoder = _Encoder(config)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map four `(B, C, h, w)` to the same shapes."""
        sizes = sizes_of(levels)
        channels, device = levels[0].shape[1], levels[0].device
        positions = flatten_levels(
            [
                sine_of_map(size, channels, device) + self.level_embed[level].view(1, -1, 1, 1)
                for level, size in enumerate(sizes)
            ]
        )
        references = reference_grid(sizes, device)
        tokens = flatten_levels(levels)
        for layer in self.encoder.layers:
            tokens = layer(tokens, positions, references.expand(tokens.shape[0], -1, -1), sizes)
        parts = tokens.split([rows * columns for rows, columns in sizes], dim=1)
        return [part.transpose(1, 2).unflatten(-1, size) for part, size in zip(parts, sizes, strict=True)]


class PixelDecoder(nn.Module):
    """Project the backbone's maps, mix them and bring the finest to stride 4."""

    def __init__(self, config: SemanticSamConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        res2, *coarser = config.stage_channels
        projections = [nn.Conv2d(channels, dim, 1) for channels in coarser]
        projections.append(nn.Conv2d(coarser[-1], dim, 3, stride=2, padding=1))
        self.input_proj = nn.ModuleList(nn.Sequential(conv, group_norm(dim)) for conv in projections)
        self.transformer = LevelMixer(config)
        self.adapter_1 = ConvNorm(res2, dim, 1)
        self.layer_1 = ConvNorm(dim, dim, 3)
        self.mask_features = nn.Conv2d(dim, config.mask_dim, 1)

    def forward(self, maps: Sequence[Tensor]) -> PixelFeatures:
        """Decode the backbone's four maps `(B, C, H/s, W/s)`, strides 4, 8, 16 and 32."""
        res2, *coarser = maps
        # The fourth level is made from res5 itself, beside the third.
        sources = [*coarser, coarser[-1]]
        levels = [project(source) for project, source in zip(self.input_proj, sources, strict=True)]
        eight, sixteen, thirty_two, sixty_four = self.transformer(levels)
        fine = self.adapter_1(res2)
        fine = fine + F.interpolate(eight, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        fine = self.layer_1(fine).relu_()
        return PixelFeatures(self.mask_features(fine), (eight, sixteen, thirty_two, sixty_four))
