"""Sizes of the Semantic-SAM networks and the order of their granularity tokens; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from my3dis.errors import ConfigError

__all__ = [
    "LEVEL_TOKENS",
    "MASK_TOKENS",
    "PUBLISHED",
    "SIZE_DIVISOR",
    "SWIN_L",
    "SWIN_T",
    "SemanticSamConfig",
    "tokens_for_levels",
]

SIZE_DIVISOR = 32
"""Image sides are padded to multiples of this many pixels."""

MASK_TOKENS = 6
"""Granularity tokens, hence masks, per point."""

LEVEL_TOKENS: Mapping[int, int] = MappingProxyType({1: 3, 2: 2, 3: 0, 4: 4, 5: 1, 6: 5})
"""Token of each level; level 1 is the coarsest (semantic), level 6 the finest part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticSamConfig:
    """Sizes of one network; everything else (4 feature levels, 4 sampling points, 32 groups) is fixed.

    Attributes:
        name: `SwinT`, `SwinL` or `custom`.
        embed_dim: Channels of the first backbone stage; each further stage has twice as many.
        depths: Blocks of each of the four stages.
        heads: Attention heads of each of the four stages.
        window: Side of the attention window in tokens.
        hidden_dim: Channels of the pixel decoder and of the queries.
        mask_dim: Channels of the mask features.
        encoder_layers: Layers of the pixel decoder.
        encoder_heads: Attention heads of the pixel decoder.
        encoder_ffn: Hidden channels of the pixel decoder's feed-forward blocks.
        decoder_layers: Layers of the point decoder.
        decoder_ffn: Hidden channels of the point decoder's feed-forward blocks.
    """

    name: str = "custom"
    embed_dim: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window: int
    hidden_dim: int = 256
    mask_dim: int = 256
    encoder_layers: int = 6
    encoder_heads: int = 8
    encoder_ffn: int = 2048
    decoder_layers: int = 9
    decoder_ffn: int = 2048

    @property
    def stage_channels(self) -> tuple[int, int, int, int]:
        """Channels of the four backbone maps, strides 4, 8, 16 and 32."""
        width = self.embed_dim
        return (width, 2 * width, 4 * width, 8 * width)


SWIN_T = SemanticSamConfig(name="SwinT", embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7)
SWIN_L = SemanticSamConfig(
    name="SwinL", embed_dim=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12
)
PUBLISHED = (SWIN_T, SWIN_L)


def tokens_for_levels(levels: Sequence[int]) -> tuple[int, ...]:
    """Translate levels 1 (coarsest) to 6 (finest) into token indices, order and repeats kept.

    Raises:
        ConfigError: A level is none of 1 to 6.
    """
    unknown = [level for level in levels if level not in LEVEL_TOKENS]
    if unknown:
        raise ConfigError(f"Semantic-SAM has the levels 1 (coarsest) to 6 (finest); found {unknown}")
    return tuple(LEVEL_TOKENS[level] for level in levels)
