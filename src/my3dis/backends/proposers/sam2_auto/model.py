"""SAM 2's image model: load it, see an image once, ask it about points."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, Sam2Config, Sam2Model

from my3dis.backends.torch_models.devices import torch_errors
from my3dis.backends.torch_models.quiet import without_bars
from my3dis.errors import ConfigError, DataError

__all__ = ["ImageModel", "PointMasks", "checked_names", "image_config", "load_model"]

_LOG = logging.getLogger(__name__)
_MODEL_TYPES = ("sam2", "sam2_video")
# Of a video checkpoint; a single image has no use for them.
_VIDEO_ONLY = (
    "memory_attention.",
    "memory_encoder.",
    "mask_downsample.",
    "object_pointer_proj.",
    "temporal_positional_encoding_projection_layer.",
    "memory_temporal_positional_encoding",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def image_config(folder: Path) -> Sam2Config:
    """Return the configuration of the image model in a folder of SAM 2 or SAM 2 video.

    Raises:
        ConfigError: if the path is no folder with ``config.json``.
        DataError: if the configuration is damaged or of another model.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ConfigError(
            f"expected a folder with config.json and safetensors of SAM 2 in the layout of transformers, "
            f"found {folder} without config.json; `my3dis weights list` names models in this layout"
        )
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError, OSError) as error:
        raise DataError(f"{path}: expected a model's configuration, found {error}; get it again") from error
    if kind not in _MODEL_TYPES:
        raise DataError(
            f"{path}: expected a model of type {' or '.join(_MODEL_TYPES)}, found {kind!r}; sam2_auto loads "
            "SAM 2 and SAM 2.1 only"
        )
    try:
        found = AutoConfig.from_pretrained(folder, local_files_only=True)
        # A video model's own values would only be carried along: the three parts are the image model.
        return Sam2Config(
            vision_config=found.vision_config.to_dict(),
            prompt_encoder_config=found.prompt_encoder_config.to_dict(),
            mask_decoder_config=found.mask_decoder_config.to_dict(),
        )
    except (ValueError, TypeError, AttributeError, KeyError, OSError, StrictDataclassError) as error:
        raise DataError(f"{path}: expected SAM 2's configuration, found {error}; get it again") from error


def checked_names(
    missing: Sequence[str], unexpected: Sequence[str], misshapen: Sequence[str], where: Path
) -> tuple[str, ...]:
    """Return the names of weights that are there and not used, or raise.

    Raises:
        DataError: naming what is missing, of another shape, or belongs to no SAM 2.
    """
    strange = [name for name in unexpected if not name.startswith(_VIDEO_ONLY)]
    for what, names in (("missing", missing), ("of another shape", misshapen), ("unknown", strange)):
        if names:
            shown = ", ".join(sorted(names)[:5])
            raise DataError(
                f"{where}: expected all weights of SAM 2's image model, found {len(names)} {what}: {shown}"
                f"{', ...' if len(names) > 5 else ''}; config.json and weights are not of one model"
            )
    return tuple(sorted(unexpected))


def load_model(folder: Path, device: torch.device, dtype: torch.dtype) -> Sam2Model:
    """Load the image model from safetensors, check that every weight was there, and put it on a device.

    Raises:
        ConfigError, DataError: if the folder does not hold it whole.
        ResourceError: if it does not fit.
    """
    config = image_config(folder)
    try:
        # What is missing is drawn at random before we hear of it: not from the process's generator.
        with without_bars(), torch.random.fork_rng(devices=[]):
            model, info = Sam2Model.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported by name below
            )
    except (OSError, SafetensorError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"{folder}: expected safetensors of SAM 2, found {lines[0]}; get them again"
        ) from error
    unused = checked_names(
        sorted(info["missing_keys"]),
        sorted(info["unexpected_keys"]),
        sorted(str(entry[0]) for entry in info["mismatched_keys"]),
        folder,
    )
    _LOG.debug("%s: %d weights of the video part are not used", folder, len(unused))
    with torch_errors(f"loading {folder.name} onto {device}"):
        return model.to(device=device, dtype=dtype).eval()


@dataclass(frozen=True, slots=True, eq=False)
class PointMasks:
    """What the model says about n points.

    Attributes:
        logits: (n, 3, h, w) on the model's device; above 0 = inside.
        predicted_iou: (n, 3) the model's own estimate of each mask's quality.
    """

    logits: Tensor
    predicted_iou: Tensor


class ImageModel:
    """The model with the features of one image at a time; features are values, so threads may share it."""

    def __init__(self, model: Sam2Model) -> None:
        self._model = model
        parameter = next(model.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._side = int(model.config.prompt_encoder_config.image_size)

    @torch.inference_mode()
    def features(self, color: NDArray[np.uint8]) -> list[Tensor]:
        """Run the backbone once.

        The image is resized to a square, whatever its shape, and normalised with ImageNet's mean and
        deviation: what the published predictor does.

        Args:
            color: (H, W, 3) RGB.
        """
        image = torch.from_numpy(np.array(color)).to(self._device).permute(2, 0, 1)[None].float()
        image = torch.nn.functional.interpolate(
            image / 255, (self._side, self._side), mode="bilinear", align_corners=False, antialias=True
        )
        mean, std = (image.new_tensor(v).view(1, 3, 1, 1) for v in (_MEAN, _STD))
        features: list[Tensor] = self._model.get_image_embeddings(((image - mean) / std).to(self._dtype))
        return features

    @torch.inference_mode()
    def ask(
        self, features: list[Tensor], points_xy: NDArray[np.float32], image_size: tuple[int, int]
    ) -> PointMasks:
        """Return three masks for each point.

        Args:
            features: of the image.
            points_xy: (n, 2) in pixels of the image, the corner of the first pixel being (0, 0).
            image_size: (H, W).
        """
        height, width = image_size
        scaled = points_xy * np.array([self._side / width, self._side / height], np.float32)
        points = torch.from_numpy(scaled.astype(np.float32)).to(self._device)[None, :, None]
        found: Any = self._model(
            image_embeddings=features,
            input_points=points.to(self._dtype),
            input_labels=torch.ones(points.shape[:3], dtype=torch.int32, device=self._device),
            multimask_output=True,
        )
        return PointMasks(found.pred_masks[0].float(), found.iou_scores[0].float())
