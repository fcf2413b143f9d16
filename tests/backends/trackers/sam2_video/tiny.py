"""Video models with few, random weights; built here, so that no test needs published ones."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

HIDDEN = 128  # above 64, which the library takes for granted
SIDES = {"sam2": 128, "edgetam": 128, "sam3": 112}
NAMES = tuple(SIDES)
# Added to the object score, so that objects are mostly visible and sometimes not.
VISIBILITY = {"sam2": -1.3, "edgetam": 1.9, "sam3": 2.6}


def _decoder() -> dict[str, Any]:
    return {
        "hidden_size": HIDDEN,
        "mlp_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": HIDDEN,
    }


def _memory() -> dict[str, Any]:
    return {
        "memory_attention_hidden_size": HIDDEN,
        "memory_attention_num_layers": 1,
        "memory_encoder_hidden_size": HIDDEN,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": HIDDEN,
        "memory_fuser_embed_dim": HIDDEN,
        "memory_fuser_intermediate_dim": 64,
    }


def _hiera(side: int) -> dict[str, Any]:
    f = side // 4
    return {
        "model_type": "sam2_vision_model",
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 16,
            "num_attention_heads": 1,
            "image_size": [side, side],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [16, 32, 64, 128],
            "num_attention_heads_per_stage": [1, 1, 2, 2],
            "window_size_per_stage": [8, 4, 4, 4],
            "global_attention_blocks": [3],
        },
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[f, f], [f // 2, f // 2], [f // 4, f // 4]],
        "fpn_hidden_size": HIDDEN,
    }


def _prompts(side: int, patch: int) -> dict[str, Any]:
    return {"hidden_size": HIDDEN, "image_size": side, "patch_size": patch, "mask_input_channels": 8}


def _sam2(side: int) -> torch.nn.Module:
    config = transformers.Sam2VideoConfig(
        vision_config=_hiera(side),
        prompt_encoder_config=_prompts(side, 16),
        mask_decoder_config=_decoder(),
        image_size=side,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[side // 16, side // 16],
        **_memory(),
    )
    return transformers.Sam2VideoModel(config)


def _edgetam(side: int) -> torch.nn.Module:
    """EdgeTAM with a Hiera backbone: its own comes from timm, which needs torchvision."""
    config = transformers.EdgeTamVideoConfig(
        vision_config=_hiera(side),
        prompt_encoder_config=_prompts(side, 16),
        mask_decoder_config=_decoder(),
        image_size=side,
        memory_attention_mlp_hidden_size=64,
        memory_attention_rope_feat_sizes=[side // 16, side // 16],
        memory_attention_rope_k_sizes=[4, 4],
        perceiver_resampler_num_latents=16,
        perceiver_resampler_num_latents_2d=16,
        **_memory(),
    )
    return transformers.EdgeTamVideoModel(config)


def _sam3(side: int) -> torch.nn.Module:
    vision = {
        "model_type": "sam3_vision_model",
        "fpn_hidden_size": HIDDEN,
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": side,
            "patch_size": 14,
            "window_size": 4,
            "global_attn_indexes": [1],
            "pretrain_image_size": side,
        },
    }
    config = transformers.Sam3TrackerVideoConfig(
        vision_config=vision,
        prompt_encoder_config=_prompts(side, 14),
        mask_decoder_config=_decoder(),
        image_size=side,
        memory_attention_feed_forward_hidden_size=64,
        **_memory(),
    )
    return transformers.Sam3TrackerVideoModel(config)


BUILDERS = {"sam2": _sam2, "edgetam": _edgetam, "sam3": _sam3}


@cache
def network(name: str) -> torch.nn.Module:
    """Return a model whose masks and object scores depend visibly on image, prompt and memory.

    The library's own initialisation is so small that every prompt gives the same empty mask.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = BUILDERS[name](SIDES[name]).eval()
        for key, value in model.named_parameters():
            with torch.no_grad():
                if value.ndim >= 2:
                    gain = 1.0 if "embed" in key or "token" in key else value[0].numel() ** -0.5
                    value.normal_(0, gain * math.sqrt(2))
                elif key.endswith("bias"):
                    value.normal_(0, 0.02)
        with torch.no_grad():
            model.mask_decoder.pred_obj_score_head.proj_out.bias += VISIBILITY[name]
    return model


def save(name: str, folder: Path) -> Path:
    """Save a model as a checkpoint of the hub is laid out."""
    network(name).save_pretrained(folder)
    return folder
