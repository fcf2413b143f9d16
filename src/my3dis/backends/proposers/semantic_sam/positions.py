"""Sine positions of map cells and of boxes, and the clamped inverse of the sigmoid.

Source: Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.5, in the two-axis form of
Carion et al., "End-to-end object detection with transformers", ECCV 2020, appendix A.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["logit", "reference_grid", "sine_of_boxes", "sine_of_map"]

_TEMPERATURE = 10000.0
_LOGIT_EPS = 1e-5


def _waves(angles: Tensor, features: int) -> Tensor:
    """Turn angles `(...)` into `(..., features)`: sines at even, cosines at odd places."""
    pairs = torch.arange(features, device=angles.device) // 2
    scaled = angles[..., None] / _TEMPERATURE ** (2 * pairs / features).to(angles.dtype)
    return torch.stack((scaled[..., 0::2].sin(), scaled[..., 1::2].cos()), dim=-1).flatten(-2)


def sine_of_map(size: tuple[int, int], channels: int, device: torch.device) -> Tensor:
    """Give `(1, channels, rows, columns)` float32: half the channels from the row, half from the column."""
    rows, columns = size

    def axis(length: int) -> Tensor:
        steps = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        return _waves(steps / (length + 1e-6) * (2 * math.pi), channels // 2)

    of_row = axis(rows)[:, None].expand(rows, columns, -1)
    of_column = axis(columns)[None].expand(rows, columns, -1)
    return torch.cat((of_row, of_column), dim=-1).permute(2, 0, 1)[None]


def sine_of_boxes(boxes_cxcywh: Tensor, channels: int) -> Tensor:
    """Give `(..., 2*channels)` for boxes `(..., 4)` in 0..1; the parts come in the order y, x, w, h."""
    waves = _waves(boxes_cxcywh * (2 * math.pi), channels // 2)
    centre_x, centre_y, width, height = waves.unbind(-2)
    return torch.cat((centre_y, centre_x, width, height), dim=-1)


def reference_grid(sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Give the centre (x, y) in 0..1 of every cell of every level, `(1, S, 2)` float32, row by row."""
    centres = []
    for rows, columns in sizes:
        y = (torch.arange(rows, dtype=torch.float32, device=device) + 0.5) / rows
        x = (torch.arange(columns, dtype=torch.float32, device=device) + 0.5) / columns
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        centres.append(torch.stack((grid_x, grid_y), dim=-1).flatten(0, 1))
    return torch.cat(centres)[None]


def logit(share: Tensor) -> Tensor:
    """Invert the sigmoid, held finite at 0 and 1 by a clamp of 1e-5 on either side."""
    inside = share.clamp(0.0, 1.0)
    return (inside.clamp(min=_LOGIT_EPS) / (1.0 - inside).clamp(min=_LOGIT_EPS)).log()
