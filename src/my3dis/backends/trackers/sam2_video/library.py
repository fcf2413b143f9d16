"""What is used of transformers' video models: the same calls for every family."""

from __future__ import annotations

from typing import Protocol

import torch

__all__ = ["Cache", "Config", "Features", "Network", "Outputs", "Segmentation", "Session"]

Output = dict[str, torch.Tensor]
Outputs = dict[str, dict[int, Output]]
"""One object's: ``cond_frame_outputs`` and ``non_cond_frame_outputs``, each by frame, then by name."""


class Config(Protocol):
    """Sizes of a model."""

    image_size: int | list[int]
    num_maskmem: int
    max_object_pointers_in_encoder: int


class Features(Protocol):
    """What the backbone makes of an image."""

    fpn_hidden_states: list[torch.Tensor]
    fpn_position_encoding: list[torch.Tensor]


class Cache(Protocol):
    """Features of the current frame."""

    # Private in the library, and the only way to count what is held.
    _vision_features: dict[int, dict[str, list[torch.Tensor]]]

    def cache_vision_features(self, frame_idx: int, features: dict[str, list[torch.Tensor]]) -> None:
        """Keep the features of a frame."""
        ...

    def get_vision_features(self, frame_idx: int) -> dict[str, list[torch.Tensor]] | None:
        """Return the features of a frame, or None."""
        ...

    def clear_all(self) -> None:
        """Forget all features."""
        ...


class Session(Protocol):
    """Objects of one forward pass."""

    cache: Cache
    dtype: torch.dtype
    output_dict_per_obj: dict[int, Outputs]
    frames_tracked_per_obj: dict[int, dict[int, dict[str, bool]]]
    obj_with_new_inputs: list[int]

    def obj_id_to_idx(self, obj_id: int) -> int:
        """Return the position of an object, taken in where it is new."""
        ...

    def add_mask_inputs(self, obj_idx: int, frame_idx: int, inputs: torch.Tensor) -> None:
        """Prompt an object with a (1, 1, S, S) mask."""
        ...

    def add_point_inputs(self, obj_idx: int, frame_idx: int, inputs: dict[str, torch.Tensor]) -> None:
        """Prompt an object with points and their labels."""
        ...


class Segmentation(Protocol):
    """What a forward pass returns."""

    pred_masks: torch.Tensor
    object_score_logits: torch.Tensor


class Network(Protocol):
    """A model of one of the families."""

    config: Config

    def __call__(self, session: Session, *, frame: torch.Tensor, frame_idx: int) -> Segmentation:
        """Run one frame of a stream for all objects of a session."""
        ...

    def get_image_features(self, pixel_values: torch.Tensor, *, return_dict: bool) -> Features:
        """Encode images (1, 3, S, S)."""
        ...

    def to(self, device: torch.device) -> Network:
        """Move the weights."""
        ...
