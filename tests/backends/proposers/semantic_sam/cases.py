"""Run the network on a recorded case and give every stage under the name that the recording has for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from my3dis.backends.proposers.semantic_sam.checkpoint import build_network
from my3dis.backends.proposers.semantic_sam.config import MASK_TOKENS, SemanticSamConfig
from my3dis.backends.proposers.semantic_sam.decoder import POINT_SIDE
from my3dis.backends.proposers.semantic_sam.network import SemanticSam
from my3dis.backends.proposers.semantic_sam.pixel_decoder import flatten_levels
from my3dis.backends.proposers.semantic_sam.positions import logit, sine_of_map

GIVEN = ("input.image_u8", "input.points_xy", "input.level_indices")
"""What a case is computed from; everything else is compared."""


@dataclass(frozen=True)
class Case:
    """A recorded run: its tensors by name, and its network's weights and sizes."""

    tensors: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    config: SemanticSamConfig

    @property
    def tokens(self) -> list[int]:
        """The chosen token indices."""
        return [int(token) for token in self.tensors["input.level_indices"]]

    def network(self) -> SemanticSam:
        """Build the network anew."""
        return build_network(self.weights)


def load_case(folder: Path, letter: str) -> Case:
    """Read the case of a letter."""
    path = folder / f"tiny_case_{letter}.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    sizes = json.loads((folder / metadata["config"]).read_text())
    return Case(load_file(path), load_file(folder / metadata["weights"]), config_of(sizes))


def config_of(sizes: Mapping[str, Mapping[str, object]]) -> SemanticSamConfig:
    """Translate the sizes that a case's configuration file names."""
    swin, pixels, points = sizes["swin"], sizes["pixel_decoder"], sizes["decoder"]
    return SemanticSamConfig(
        embed_dim=swin["embed_dim"],
        depths=tuple(swin["depths"]),
        heads=tuple(swin["num_heads"]),
        window=swin["window_size"],
        hidden_dim=pixels["conv_dim"],
        mask_dim=pixels["mask_dim"],
        encoder_layers=pixels["enc_layers"],
        encoder_heads=pixels["n_heads"],
        encoder_ffn=pixels["ffn_dim"],
        decoder_layers=points["dec_layers"],
        decoder_ffn=points["ffn_dim"],
    )


def all_stages(network: SemanticSam, case: Case) -> dict[str, Tensor]:
    """Run a case and give every recorded stage except what was given."""
    stages: dict[str, Tensor] = {}
    handles = [*_watch_image(network, stages), *_watch_points(network, stages)]
    points, predictor = case.tensors["input.points_xy"], network.sem_seg_head.predictor
    with torch.inference_mode():
        stages["input.padded_normalized"] = network.normalise(case.tensors["input.image_u8"])
        features = network.encode(case.tensors["input.image_u8"])
        stages["pixel.mask_features"] = features.mask_features
        stages["pixel.memory"] = flatten_levels(features.multi_scale)
        for number, level in enumerate(features.multi_scale):
            stages[f"pixel.multi_scale.{number}"] = level
            stages[f"pixel.pos.{number}"] = sine_of_map(level.shape[-2:], level.shape[1], level.device)
        boxes = network.point_boxes(features, points)
        stages["input.points_xywh"] = F.pad(points, (0, 2), value=POINT_SIDE)
        stages["input.points_scaled_xywh"] = boxes
        stages["decoder.refpoints_unsigmoid"] = logit(boxes).repeat_interleave(MASK_TOKENS, dim=0)[None]
        full = network.predict(features, points, range(MASK_TOKENS))
        for handle in handles:
            handle.remove()
        stages["decoder.pred_masks_lowres"] = full.mask_logits[None]
        stages["decoder.pred_ious"] = full.ious[None]
        _add_heads(predictor, stages, network.config.decoder_layers)
        chosen = network.predict(features, points, case.tokens)
        stages["output.ious"] = chosen.ious[None]
        stages["output.masks"] = network.upsample(chosen.mask_logits, features)
    return stages


def _watch_image(network: SemanticSam, stages: dict[str, Tensor]) -> list[object]:
    def keep(name: str, module: nn.Module) -> object:
        return module.register_forward_hook(lambda _m, _i, output: stages.__setitem__(name, output))

    def keep_maps(_module: nn.Module, _inputs: object, maps: tuple[Tensor, ...]) -> None:
        stages.update({f"backbone.res{number + 2}": one for number, one in enumerate(maps)})

    def keep_patches(_module: nn.Module, _inputs: object, cells: Tensor) -> None:
        stages["backbone.patch_embed"] = cells.permute(0, 3, 1, 2)

    decoder = network.sem_seg_head.pixel_decoder
    return [
        network.backbone.register_forward_hook(keep_maps),
        network.backbone.patch_embed.register_forward_hook(keep_patches),
        *(keep(f"pixel.src.{n}", one) for n, one in enumerate(decoder.input_proj)),
        *(keep(f"pixel.encoder_layer.{n}", one) for n, one in enumerate(decoder.transformer.encoder.layers)),
    ]


def _watch_points(network: SemanticSam, stages: dict[str, Tensor]) -> list[object]:
    predictor = network.sem_seg_head.predictor
    seen = {"heads": 0}

    def keep_positions(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        layer, seen["heads"] = seen["heads"], seen["heads"] + 1
        stages[f"decoder.layer.{layer}.query_sine"] = inputs[0]
        stages[f"decoder.layer.{layer}.query_pos"] = output

    def keep_layer(number: int) -> object:
        def keep(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            content, _, boxes, memory, _ = inputs
            if number == 0:
                stages["decoder.tgt0"] = content
                stages["decoder.memory"] = memory
            stages[f"decoder.reference.{number}"] = boxes
            stages[f"decoder.layer.{number}.out"] = output

        return keep

    def keep_states(_module: nn.Module, _inputs: object, states: object) -> None:
        stages[f"decoder.reference.{network.config.decoder_layers}"] = states.boxes_cxcywh

    return [
        predictor.register_forward_hook(keep_states),
        predictor.decoder.ref_point_head.register_forward_hook(keep_positions),
        *(one.register_forward_hook(keep_layer(n)) for n, one in enumerate(predictor.decoder.layers)),
    ]


def _add_heads(predictor: nn.Module, stages: dict[str, Tensor], layers: int) -> None:
    """Add what only the recording looks at: normed states, qualities of all layers, boxes."""
    for number in range(layers):
        out = stages[f"decoder.layer.{number}.out"]
        stages[f"decoder.hs_normed.{number}"] = predictor.decoder_norm(out)
        if number < layers - 1:
            ious = predictor.iou_prediction_head(predictor.read_out(out))
            stages[f"decoder.aux_pred_ious.{number}"] = ious.view(1, -1, MASK_TOKENS)
    last = predictor._bbox_embed(predictor.read_out(stages[f"decoder.layer.{layers - 1}.out"]))
    stages["decoder.pred_boxes"] = (last + logit(stages[f"decoder.reference.{layers - 1}"])).sigmoid()


TOLERANCES = (
    ("input.", 1e-6),
    ("backbone.", 2e-5),
    ("pixel.pos", 1e-6),
    ("pixel.", 3e-4),
    ("decoder.memory", 3e-4),
    ("decoder.ref", 5e-6),
    ("decoder.pred_boxes", 5e-6),
    ("decoder.pred_masks_lowres", 1e-3),
    ("decoder.", 5e-5),
    ("output.ious", 5e-5),
    ("output.masks", 1e-3),
)
"""Largest absolute error by the beginning of a stage's name; the first that fits counts."""

STRICT = 1e-5
"""Tolerance of the second pass over cases a to c, which alone sees a wrong epsilon of a norm."""

STRICTLY = ("pixel.", "decoder.memory", "decoder.tgt0", "decoder.layer", "decoder.hs_normed")


def tolerance_of(stage: str) -> float:
    """Give the tolerance of a stage."""
    return next(tolerance for start, tolerance in TOLERANCES if stage.startswith(start))


def errors(stages: Mapping[str, Tensor], case: Case) -> dict[str, float]:
    """Give the largest absolute error of every recorded stage; another shape is infinitely wrong."""
    found = {}
    for name, wanted in case.tensors.items():
        if name not in GIVEN:
            stage = stages[name].cpu()
            same = stage.shape == wanted.shape
            found[name] = float((stage - wanted).abs().max()) if same else float("inf")
    return found
