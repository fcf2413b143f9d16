"""Read the sizes of a Semantic-SAM network off the names and shapes of its tensors; needs no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, takewhile
from math import isqrt

from my3dis.backends.proposers.semantic_sam.config import PUBLISHED, SemanticSamConfig
from my3dis.errors import DataError

__all__ = ["detect_config"]

Shapes = Mapping[str, tuple[int, ...]]

_SAMPLES = 16  # per head: 4 levels of 4 sampling points, each with a weight and two offsets
_TABLE = "attn.relative_position_bias_table"
_PIXELS = "sem_seg_head.pixel_decoder"
_POINTS = "sem_seg_head.predictor"
_ENCODER = f"{_PIXELS}.transformer.encoder.layers"
_DECODER = f"{_POINTS}.decoder.layers"

Voter = tuple[str, int]
"""A tensor and the axis whose extent tells a size."""


def detect_config(shapes: Shapes) -> SemanticSamConfig:
    """Give the sizes that most tensors agree on, so that one misshapen tensor does not decide.

    A file with the widths of a published network must be that network, never one of fewer layers.

    Args:
        shapes: Shape of every tensor by its name, without the prefix `model.`.

    Raises:
        DataError: No tensor tells one of the sizes, or sizes contradict one another; the message names keys.
    """
    embed_dim = _vote(shapes, [(f"backbone.{name}", 0) for name in _OF_FIRST_STAGE])
    hidden_dim = _vote(shapes, [(f"{_POINTS}.{name}", axis) for name, axis in _OF_HIDDEN])
    tables = [[f"{block}.{_TABLE}" for block in _numbered(shapes, stage)] for stage in _STAGES]
    window = _window(shapes, [name for stage in tables for name in stage])
    for published in PUBLISHED:
        if (embed_dim, hidden_dim, window) == (published.embed_dim, published.hidden_dim, published.window):
            return published
    encoder, decoder = _numbered(shapes, _ENCODER), _numbered(shapes, _DECODER)
    first, second, third, fourth = (
        (len(stage), _heads(shapes, stage, embed_dim * 2**number)) for number, stage in enumerate(tables)
    )
    return SemanticSamConfig(
        embed_dim=embed_dim,
        depths=(first[0], second[0], third[0], fourth[0]),
        heads=(first[1], second[1], third[1], fourth[1]),
        window=window,
        hidden_dim=hidden_dim,
        mask_dim=_vote(shapes, _OF_MASKS),
        encoder_layers=len(encoder),
        encoder_heads=_encoder_heads(shapes, encoder),
        encoder_ffn=_vote(shapes, _feed_forward(encoder)),
        decoder_layers=len(decoder),
        decoder_ffn=_vote(shapes, _feed_forward(decoder)),
    )


_STAGES = tuple(f"backbone.layers.{stage}.blocks" for stage in range(4))
_OF_FIRST_STAGE = (
    "patch_embed.norm.weight",
    "patch_embed.norm.bias",
    "patch_embed.proj.bias",
    "norm0.weight",
)
_OF_HIDDEN = (("decoder_norm.weight", 0), ("decoder_norm.bias", 0), ("mask_tokens.weight", 1))
_OF_MASKS = (
    (f"{_PIXELS}.mask_features.bias", 0),
    (f"{_PIXELS}.mask_features.weight", 0),
    (f"{_POINTS}.mask_embed.layers.2.bias", 0),
)


def _extents(shapes: Shapes, voters: Iterable[Voter]) -> list[int]:
    return [shapes[name][axis] for name, axis in voters if len(shapes.get(name, ())) > axis]


def _most(extents: Iterable[int], key: str) -> int:
    """Give the extent that most tensors have; `key` stands for all of them where there is none."""
    counted = Counter(extents)
    if not counted:
        raise DataError(
            f"expected the key {key} of a Semantic-SAM checkpoint, found none or one of another shape. "
            f"Is this the file of another model?"
        )
    return counted.most_common(1)[0][0]


def _vote(shapes: Shapes, voters: Sequence[Voter]) -> int:
    return _most(_extents(shapes, voters), voters[0][0])


def _numbered(shapes: Shapes, start: str) -> list[str]:
    """List `start.0`, `start.1` and so on while there are such keys; `start.0` in any case."""
    beginnings = {
        name.removeprefix(f"{start}.").split(".")[0] for name in shapes if name.startswith(f"{start}.")
    }
    present = takewhile(lambda number: str(number) in beginnings, count(1))
    return [f"{start}.{number}" for number in (0, *present)]


def _feed_forward(layers: Sequence[str]) -> list[Voter]:
    voters = (("linear1.bias", 0), ("linear1.weight", 0), ("linear2.weight", 1))
    return [(f"{layer}.{name}", axis) for layer in layers for name, axis in voters]


def _encoder_heads(shapes: Shapes, layers: Sequence[str]) -> int:
    def of(part: str) -> list[Voter]:
        return [(f"{layer}.self_attn.{part}.{kind}", 0) for layer in layers for kind in ("bias", "weight")]

    weights = [extent // _SAMPLES for extent in _extents(shapes, of("attention_weights"))]
    offsets = [extent // (2 * _SAMPLES) for extent in _extents(shapes, of("sampling_offsets"))]
    return _most(weights + offsets, of("attention_weights")[0][0])


def _window(shapes: Shapes, tables: Sequence[str]) -> int:
    """Give the window whose `(2*window - 1)^2` relative positions most bias tables have."""
    sides = [
        isqrt(rows) for rows in _extents(shapes, [(name, 0) for name in tables]) if isqrt(rows) ** 2 == rows
    ]
    return (_most(sides, tables[0]) + 1) // 2


def _heads(shapes: Shapes, tables: Sequence[str], channels: int) -> int:
    heads = _vote(shapes, [(name, 1) for name in tables])
    if heads < 1 or channels % heads:
        raise DataError(
            f"expected heads that divide the {channels} channels, found {heads} in the shape of {tables[0]}"
        )
    return heads
