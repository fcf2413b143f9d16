"""Turn a mask into what the model is prompted with: the mask itself, or its box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from my3dis.backends.trackers.sam2_video.families import VideoModel
from my3dis.backends.trackers.sam2_video.images import resized_mask
from my3dis.backends.trackers.sam2_video.library import Session
from my3dis.errors import ConfigError
from my3dis.masks import codec
from my3dis.types import MaskSet

__all__ = ["MODES", "SMALL_SHARE", "Prompt", "by_box", "prompt_of"]

Kind = Literal["mask", "box"]
MODES = ("all_mask", "small_box", "all_box")
SMALL_SHARE = 1 / 256
"""An object is small if it covers less of the image than this: 16 of the 64 x 64 cells of the model's memory,
1,200 pixels of 640 x 480. Of so few cells the mask tells the model little that the box does not, and the box
lets it draw the outline anew at its own resolution."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What one object is prompted with, at the model's size.

    Attributes:
        kind: which of the two it is.
        value: (1, 1, S, S) mask of zeros and ones, or (1, 1, 2, 2) corners x, y of a box.
    """

    kind: Kind
    value: torch.Tensor

    def add_to(self, session: Session, index: int, frame: int) -> None:
        """Hand the prompt to a session of the library.

        Args:
            session: the session.
            index: of the object in the session.
            frame: of the session.
        """
        if self.kind == "mask":
            session.add_mask_inputs(index, frame, self.value)
            return
        labels = torch.tensor([[[2, 3]]], dtype=torch.int32)  # the corners of a box, as SAM counts points
        # Coordinates stay in float32 whatever the model's precision: bfloat16 has no 1,001, only 1,000.
        session.add_point_inputs(index, frame, {"point_coords": self.value, "point_labels": labels})


def by_box(area_px: int, image_size: tuple[int, int], mode: str) -> bool:
    """Return whether an object is prompted by its box.

    Args:
        area_px: of its mask.
        image_size: (H, W).
        mode: one of `MODES`.

    Raises:
        ConfigError: if it is no such mode.
    """
    if mode not in MODES:
        raise ConfigError(f"prompt_mode: expected {', '.join(MODES)}, found {mode!r}")
    small = area_px < SMALL_SHARE * image_size[0] * image_size[1]
    return mode == "all_box" or (mode == "small_box" and small)


def prompt_of(masks: MaskSet, row: int, model: VideoModel, mode: str) -> Prompt:
    """Return the prompt for one mask of a set; a mask too thin for the model's size becomes a box.

    Args:
        masks: of one frame.
        row: position of a mask that is not empty.
        model: its image size and device count.
        mode: one of `MODES`.
    """
    if not by_box(int(masks.area_px[row]), masks.image_size, mode):
        mask = resized_mask(codec.decode(masks.rle[row], masks.image_size), model)
        if bool(mask.any()):
            return Prompt("mask", mask)
    height, width = masks.image_size
    x0, y0, x1, y1 = masks.boxes[row].tolist()
    # SAM's boxes end at the last pixel, ours behind it.
    corners = torch.tensor([[[[x0, y0], [x1 - 1, y1 - 1]]]], dtype=torch.float32)
    return Prompt("box", corners * torch.tensor([model.image_size_px / width, model.image_size_px / height]))
