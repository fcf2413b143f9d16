"""Read the sizes of a Semantic-SAM network off the names and shapes of its tensors; needs no torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from math import isqrt

from my3dis.backends.proposers.semantic_sam.config import PUBLISHED, SemanticSamConfig
from my3dis.errors import DataError

__all__ = ["detect_config"]

Shapes = Mapping[str, tuple[int, ...]]

_SAMPLES_PER_HEAD = 16  # 4 levels of 4 sampling points
_TABLE = "attn.relative_position_bias_table"
_PIXELS = "sem_seg_head.pixel_decoder"
_POINTS = "sem_seg_head.predictor"
_ENCODER = f"{_PIXELS}.transformer.encoder.layers"
_DECODER = f"{_POINTS}.decoder.layers"


def detect_config(shapes: Shapes) -> SemanticSamConfig:
    """Give the sizes that most tensors agree on, so that one misshapen tensor does not decide.

    A file with the widths of a published network must be that network, never one of fewer layers.

    Args:
        shapes: Shape of every tensor by its name, without the prefix `model.`.

    Raises:
        DataError: No tensor tells one of the sizes, or sizes contradict one another; the message names keys.
    """
    embed_dim = _vote(shapes, [f"backbone.{name}" for name in _OF_FIRST_STAGE], 0)
    hidden_dim = _vote(shapes, [f"{_POINTS}.decoder_norm.{part}" for part in ("weight", "bias")], 0)
    tables = [[f"{block}.{_TABLE}" for block in _blocks(shapes, stage)] for stage in range(4)]
    window = _window(shapes, [name for stage in tables for name in stage])
    for published in PUBLISHED:
        if (embed_dim, hidden_dim, window) == (published.embed_dim, published.hidden_dim, published.window):
            return published
    encoder, decoder = _layers(shapes, _ENCODER), _layers(shapes, _DECODER)
    depths = [len(stage) for stage in tables]
    heads = [_heads(shapes, stage, embed_dim * 2**number) for number, stage in enumerate(tables)]
    return SemanticSamConfig(
        embed_dim=embed_dim,
        depths=(depths[0], depths[1], depths[2], depths[3]),
        heads=(heads[0], heads[1], heads[2], heads[3]),
        window=window,
        hidden_dim=hidden_dim,
        mask_dim=_vote(shapes, [f"{_PIXELS}.mask_features.{part}" for part in ("bias", "weight")], 0),
        encoder_layers=len(encoder),
        encoder_heads=_vote(
            shapes,
            [f"{name}.self_attn.attention_weights.{part}" for name in encoder for part in ("bias", "weight")],
            0,
        )
        // _SAMPLES_PER_HEAD,
        encoder_ffn=_vote(shapes, [f"{name}.linear1.bias" for name in encoder], 0),
        decoder_layers=len(decoder),
        decoder_ffn=_vote(shapes, [f"{name}.linear1.bias" for name in decoder], 0),
    )


_OF_FIRST_STAGE = (
    "patch_embed.norm.weight",
    "patch_embed.norm.bias",
    "patch_embed.proj.bias",
    "norm0.weight",
)


def _vote(shapes: Shapes, names: Iterable[str], axis: int) -> int:
    """Give the extent along an axis that most of the named tensors have."""
    asked = list(names)
    extents = Counter(shapes[name][axis] for name in asked if len(shapes.get(name, ())) > axis)
    if not extents:
        raise DataError(
            f"expected the key {asked[0]} of a Semantic-SAM checkpoint, found none or one of another shape. "
            f"Is this the file of another model?"
        )
    return extents.most_common(1)[0][0]


def _layers(shapes: Shapes, start: str) -> list[str]:
    """List `start.0` to the last numbered one, or at least `start.0` so that its absence can be told."""
    numbered = re.compile(re.escape(start) + r"\.(\d+)\.")
    found = [int(match[1]) for match in map(numbered.match, shapes) if match]
    return [f"{start}.{number}" for number in range(max(found, default=0) + 1)]


def _blocks(shapes: Shapes, stage: int) -> list[str]:
    return _layers(shapes, f"backbone.layers.{stage}.blocks")


def _window(shapes: Shapes, tables: list[str]) -> int:
    """Give the window whose `(2*window - 1)^2` relative positions most bias tables have."""
    sides = {name: isqrt(shapes[name][0]) for name in tables if shapes.get(name)}
    square = {name: shapes[name] for name, side in sides.items() if side % 2 and side**2 == shapes[name][0]}
    side = isqrt(_vote(square, tables, 0))
    return (side + 1) // 2


def _heads(shapes: Shapes, tables: list[str], channels: int) -> int:
    heads = _vote(shapes, tables, 1)
    if heads < 1 or channels % heads:
        raise DataError(f"{channels} channels cannot be split over the {heads} heads of {tables[0]}")
    return heads
