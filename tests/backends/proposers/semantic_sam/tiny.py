"""A tiny Semantic-SAM with random weights, and its checkpoint in the layout of the released files.

The weights are drawn so that masks differ between points, are stable, and are rated just good enough: the
thresholds of the published model then let through a handful of masks per picture.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from my3dis.backends.proposers.semantic_sam.checkpoint import build_network, duplicates_of, needed_shapes
from my3dis.backends.proposers.semantic_sam.config import SemanticSamConfig
from my3dis.backends.proposers.semantic_sam.network import SemanticSam

CONFIG = SemanticSamConfig(
    embed_dim=24,
    depths=(1, 1, 1, 1),
    heads=(1, 2, 2, 2),
    window=7,
    hidden_dim=32,
    mask_dim=32,
    encoder_layers=1,
    encoder_heads=4,
    encoder_ffn=32,
    decoder_layers=2,
    decoder_ffn=32,
)
HEAD = "sem_seg_head.predictor"


def weights(seed: int = 2) -> dict[str, Tensor]:
    """Draw every parameter, without other names and prefix; the process's random state is left alone."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in needed_shapes(CONFIG).items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith("bias"):
            state[name] = 0.1 * noise
        elif len(shape) == 1:
            state[name] = 1 + 0.1 * noise
        else:
            state[name] = noise / math.sqrt(math.prod(shape[1:]))
    # Sharp masks (stable), and qualities around 0.95.
    state[f"{HEAD}.mask_embed.layers.2.weight"] *= 40.0
    state[f"{HEAD}.iou_prediction_head.layers.2.weight"] *= 0.1
    state[f"{HEAD}.iou_prediction_head.layers.2.bias"] = torch.full((1,), 0.95)
    # What a point sees outweighs what all points have in common.
    for name in state:
        if "cross_attn.output_proj.weight" in name:
            state[name] *= 30.0
        elif "sampling_offsets" in name or (name.startswith(HEAD) and "self_attn.out_proj" in name):
            state[name] *= 0.1
    return state


def network(seed: int = 2) -> SemanticSam:
    """Build the network."""
    return build_network({f"model.{name}": tensor for name, tensor in weights(seed).items()})


def write_checkpoint(folder: Path, seed: int = 2) -> Path:
    """Write ``tiny.pth`` with all names that a released file has, and return it."""
    state = weights(seed)
    state |= {name: state[own] for name, own in duplicates_of(CONFIG).items()}
    path = folder / "tiny.pth"
    torch.save({"model": {f"model.{name}": tensor for name, tensor in state.items()}}, path)
    return path
