"""The Semantic-SAM network: features once per image, masks for any number of point batches.

Points given together see one another, so a point's masks depend on its batch; whoever compares results must
keep the batches. Source: Li et al., "Semantic-SAM: Segment and recognize anything at any granularity", 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from my3dis.backends.proposers.semantic_sam.config import MASK_TOKENS, SIZE_DIVISOR, SemanticSamConfig
from my3dis.backends.proposers.semantic_sam.decoder import POINT_SIDE, PointDecoder
from my3dis.backends.proposers.semantic_sam.features import ImageFeatures, PointPrediction
from my3dis.backends.proposers.semantic_sam.pixel_decoder import PixelDecoder
from my3dis.backends.proposers.semantic_sam.swin import SwinBackbone
from my3dis.backends.torch_models.numerics import parity_numerics
from my3dis.errors import ConfigError, DataError

if TYPE_CHECKING:
    from my3dis.backends.proposers.semantic_sam.checkpoint import LoadReport

__all__ = ["ImageFeatures", "PointPrediction", "SemanticSam"]

_MEAN_RGB = (123.675, 116.28, 103.53)
_STD_RGB = (58.395, 57.12, 57.375)


class _Head(nn.Module):
    """Pixel and point decoder under the name that checkpoints give them."""

    def __init__(self, config: SemanticSamConfig) -> None:
        super().__init__()
        self.pixel_decoder = PixelDecoder(config)
        self.predictor = PointDecoder(config)


class SemanticSam(nn.Module):
    """Backbone, pixel decoder and point decoder.

    Everything is float32 unless `backbone_dtype` says otherwise; the pixel decoder, the point decoder and
    all results are float32 in any case.

    Attributes:
        config: Sizes.
        backbone_passes: Images encoded so far.
        decoder_passes: Point batches decoded so far.
        load_report: What was found in the checkpoint; None for a network that was not loaded.
    """

    def __init__(self, config: SemanticSamConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = SwinBackbone(config)
        self.sem_seg_head = _Head(config)
        self.backbone_passes = 0
        self.decoder_passes = 0
        self.load_report: LoadReport | None = None
        self._backbone_dtype: torch.dtype = torch.float32
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.sem_seg_head.predictor.mask_tokens.weight.device

    @property
    def backbone_dtype(self) -> torch.dtype:
        """Precision of the backbone's products: float32 is exact, bfloat16 and float16 are faster.

        In float32, TF32 and autocast are switched off while the network runs. In a faster precision the
        backbone runs under autocast and everything else rounds as the process's settings for TF32 allow;
        the results then differ visibly.
        """
        return self._backbone_dtype

    @backbone_dtype.setter
    def backbone_dtype(self, dtype: torch.dtype) -> None:
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ConfigError(f"the backbone runs in float32, bfloat16 or float16; found {dtype}")
        self._backbone_dtype = dtype

    @torch.inference_mode()
    def encode(self, image: Tensor) -> ImageFeatures:
        """Compute what all points on an image share.

        Args:
            image: `(3, h, w)` RGB, uint8 or float32 in 0..255, on any device.

        Raises:
            DataError: Another shape or type.
        """
        (features,) = self.encode_together([image])
        return features

    @torch.inference_mode()
    def encode_together(self, images: Sequence[Tensor]) -> list[ImageFeatures]:
        """Encode images of one size in one batch; equal to one by one up to rounding.

        Raises:
            DataError: Another shape or type, or sizes that differ.
        """
        for image in images:
            _require_image(image)
        sizes = {(int(image.shape[1]), int(image.shape[2])) for image in images}
        if len(sizes) != 1:
            raise DataError(f"images encoded together must have one size; found {sorted(sizes)}")
        padded = torch.cat([self.normalise(image) for image in images])
        with self._numerics():
            features = self.sem_seg_head.pixel_decoder(self._backbone_maps(padded))
        self.backbone_passes += len(images)
        (size,), padded_size = sizes, (int(padded.shape[2]), int(padded.shape[3]))
        if len(images) == 1:
            return [ImageFeatures(features.mask_features, features.multi_scale, size, padded_size)]
        # Copies, so that an image that is forgotten gives its memory back although the others stay.
        return [
            ImageFeatures(
                features.mask_features[i : i + 1].clone(),
                tuple(level[i : i + 1].clone() for level in features.multi_scale),
                size,
                padded_size,
            )
            for i in range(len(images))
        ]

    def _numerics(self) -> AbstractContextManager[None]:
        if self._backbone_dtype == torch.float32:
            return parity_numerics()
        # TF32 stays as the process has it; autocast is for the backbone alone.
        return torch.autocast(self.device.type, enabled=False)

    def _backbone_maps(self, padded: Tensor) -> list[Tensor]:
        if self._backbone_dtype == torch.float32:
            return list(self.backbone(padded))
        with torch.autocast(self.device.type, dtype=self._backbone_dtype):
            return [one.float() for one in self.backbone(padded)]

    def normalise(self, image: Tensor) -> Tensor:
        """Scale an image `(3, h, w)` in 0..255 and zero-pad it to `(1, 3, H, W)` float32, right and below."""
        pixels = image.to(self.device).float()
        mean = torch.tensor(_MEAN_RGB, device=self.device).view(3, 1, 1)
        std = torch.tensor(_STD_RGB, device=self.device).view(3, 1, 1)
        height, width = pixels.shape[1:]
        return F.pad((pixels - mean) / std, (0, -width % SIZE_DIVISOR, 0, -height % SIZE_DIVISOR))[None]

    @torch.inference_mode()
    def predict(self, features: ImageFeatures, points_xy: Tensor, tokens: Sequence[int]) -> PointPrediction:
        """Predict one mask per point and token.

        Args:
            features: Of the image.
            points_xy: `(P, 2)` float32, P >= 1, in 0..1 of the unpadded image, column share first. The points
                see one another: another batch gives other masks.
            tokens: Indices 0..5 of the wanted granularity tokens, order and repeats kept.

        Raises:
            ConfigError: An unknown token, or none.
            DataError: Points of another shape.
        """
        if not tokens or any(token not in range(MASK_TOKENS) for token in tokens):
            raise ConfigError(f"tokens must be some of 0 to {MASK_TOKENS - 1}; found {list(tokens)}")
        if points_xy.ndim != 2 or points_xy.shape[1] != 2 or points_xy.shape[0] < 1:
            raise DataError(f"points must be (P, 2), P at least 1; found {tuple(points_xy.shape)}")
        with self._numerics():
            prediction = self._predict(features, points_xy, list(tokens))
        self.decoder_passes += 1
        return prediction

    def _predict(self, features: ImageFeatures, points_xy: Tensor, tokens: list[int]) -> PointPrediction:
        predictor = self.sem_seg_head.predictor
        states = predictor(self.point_boxes(features, points_xy), features.multi_scale)
        # All tokens go through the decoder, because they see one another; only the heads can be spared.
        rows = predictor.read_out(states.content)[0].unflatten(0, (-1, MASK_TOKENS))
        chosen = rows[:, tokens]
        ious = predictor.iou_prediction_head(chosen)[..., 0]
        masks = predictor.mask_embed(chosen).flatten(0, 1) @ features.mask_features[0].flatten(1)
        return PointPrediction(masks.unflatten(-1, features.mask_features.shape[-2:]), ious)

    def point_boxes(self, features: ImageFeatures, points_xy: Tensor) -> Tensor:
        """Turn points `(P, 2)` of the image into boxes `(P, 4)` (cx, cy, w, h) of the padded image."""
        points = points_xy.to(self.device, torch.float32)
        (height, width), (padded_height, padded_width) = features.image_size, features.padded_size
        boxes = F.pad(points, (0, 2), value=POINT_SIDE)
        image = boxes.new_tensor((width, height, width, height))
        return boxes * image / boxes.new_tensor((padded_width, padded_height, padded_width, padded_height))

    @torch.inference_mode()
    def upsample(self, mask_logits: Tensor, features: ImageFeatures) -> Tensor:
        """Bring logits `(n, H/4, W/4)` to the image's size `(n, h, w)`; give few at a time."""
        height, width = features.image_size
        if not mask_logits.shape[0]:
            return mask_logits.new_zeros(0, height, width)
        full = F.interpolate(
            mask_logits[None], size=features.padded_size, mode="bilinear", align_corners=False
        )
        return full[0, :, :height, :width]


def _require_image(image: Tensor) -> None:
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise DataError(f"an image must be (3, height, width); found {tuple(image.shape)}")
    if image.dtype not in (torch.uint8, torch.float32):
        raise DataError(f"an image must be uint8 or float32 in 0..255; found {image.dtype}")
