"""Small layers that several parts of the network share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["Conv2d", "ConvNorm", "Mlp", "group_norm"]

_GROUPS = 32


class Conv2d(nn.Conv2d):
    """A convolution that a CUDA device computes in full float32 unless `exact` is switched off.

    cuDNN's convolutions round to TF32 unless a setting of the whole process forbids it. That setting is not
    ours to change, so on CUDA an exact convolution is a sum of matrix products, which torch computes in full
    precision by default. Other devices take torch's own convolution.
    """

    exact: bool = True

    def forward(self, image: Tensor) -> Tensor:
        """Convolve `(B, C, h, w)`."""
        if self.exact and image.is_cuda and image.dtype == torch.float32:
            return self.as_products(image)
        return super().forward(image)

    def as_products(self, image: Tensor) -> Tensor:
        """Convolve by one matrix product per cell of the kernel; equal to the convolution up to rounding."""
        (rows, columns), (step_y, step_x) = self.kernel_size, self.stride
        pad_y, pad_x = (int(side) for side in self.padding)
        padded = F.pad(image, (pad_x, pad_x, pad_y, pad_y))
        height = (padded.shape[2] - rows) // step_y + 1
        width = (padded.shape[3] - columns) // step_x + 1
        total = image.new_zeros(image.shape[0], self.out_channels, height * width)
        for row in range(rows):
            for column in range(columns):
                shifted = padded[
                    :,
                    :,
                    row : row + (height - 1) * step_y + 1 : step_y,
                    column : column + (width - 1) * step_x + 1 : step_x,
                ]
                total += self.weight[:, :, row, column] @ shifted.flatten(2)
        if self.bias is not None:
            total += self.bias[:, None]
        return total.unflatten(-1, (height, width))


def group_norm(channels: int) -> nn.GroupNorm:
    """Give the group norm of 32 groups that the pixel decoder uses throughout."""
    return nn.GroupNorm(_GROUPS, channels)


class ConvNorm(Conv2d):
    """A convolution without bias that owns the group norm after it."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
        self.norm = group_norm(channels_out)

    def forward(self, image: Tensor) -> Tensor:
        """Convolve and norm `(B, C, h, w)`."""
        return self.norm(super().forward(image))


class Mlp(nn.Module):
    """Linear layers with ReLU between them; `widths` are the channels from input to output."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map `(..., widths[0])` to `(..., widths[-1])`."""
        *hidden, last = self.layers
        for layer in hidden:
            tokens = layer(tokens).relu()
        return last(tokens)
