"""A network and an image small enough for the slow implementation, drawn from a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from my3dis.backends.proposers.semantic_sam.checkpoint import needed_shapes
from my3dis.backends.proposers.semantic_sam.config import SemanticSamConfig

CONFIG = SemanticSamConfig(
    embed_dim=4,
    depths=(2, 2, 1, 2),
    heads=(1, 2, 2, 4),
    window=3,
    hidden_dim=64,
    mask_dim=16,
    encoder_layers=1,
    encoder_heads=4,
    encoder_ffn=24,
    decoder_layers=2,
    decoder_ffn=24,
)
"""Every part is there, windows do not fit the maps, and the last maps are smaller than a window."""

POINTS_XY = np.array([[0.31, 0.62], [1.0, 0.0], [0.77, 0.41]])


def draw_weights(seed: int = 7) -> dict[str, NDArray[np.float32]]:
    """Draw every parameter so that no branch is trivially zero."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in needed_shapes(CONFIG).items():
        wide = 1.7 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.3
        shift = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        scale = 1.0 if name.endswith(("tokens.weight", "embedding.weight", "enc.weight", "table")) else wide
        weights[name] = (shift + scale * rng.standard_normal(shape)).astype(np.float32)
    return weights


def draw_image(seed: int = 8) -> NDArray[np.uint8]:
    """Draw an RGB image `(3, 40, 59)`, padded to 64x64 by the network."""
    return np.random.default_rng(seed).integers(0, 256, (3, 40, 59), dtype=np.uint8)
