"""SAM 2's image model: load it, see an image once, ask it about points."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, Sam2Config, Sam2Model

from my3dis.backends.torch_models.devices import torch_errors
from my3dis.backends.torch_models.images import IMAGENET_MEAN, IMAGENET_STD, square_image
from my3dis.backends.torch_models.pretrained import load_pretrained, model_type, require_tensors
from my3dis.errors import DataError

__all__ = ["BACKEND", "ImageModel", "PointMasks", "image_config", "load_model"]

BACKEND = "sam2_auto"

_LOG = logging.getLogger(__name__)
_NAME = "SAM 2's image model"
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


def image_config(folder: Path) -> Sam2Config:
    """Return the configuration of the image model in a folder of SAM 2 or SAM 2 video.

    Raises:
        ConfigError: if the path is no folder with a ``config.json`` that can be read.
        DataError: if the configuration is of another model.
    """
    path, kind = folder / "config.json", model_type(folder, BACKEND)
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


def load_model(folder: Path, device: torch.device, dtype: torch.dtype) -> Sam2Model:
    """Load the image model from safetensors, check that every weight was there, and put it on a device.

    Raises:
        ConfigError, DataError: if the folder does not hold it whole.
        ResourceError: if it does not fit.
    """
    found = load_pretrained(Sam2Model, folder, backend=BACKEND, name=_NAME, config=image_config(folder))
    unknown = [name for name in found.unexpected if not name.startswith(_VIDEO_ONLY)]
    require_tensors(found, folder, _NAME, unknown=unknown)
    _LOG.debug("%s: %d weights of the video part are not used", folder, len(found.unexpected))
    with torch_errors(f"loading {folder.name} onto {device}"):
        model: Sam2Model = found.model.to(device=device, dtype=dtype)
    return model


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
        image = square_image(
            color, self._side, self._device, mean=IMAGENET_MEAN, std=IMAGENET_STD, whole_values=False
        )
        features: list[Tensor] = self._model.get_image_embeddings(image.to(self._dtype))
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
