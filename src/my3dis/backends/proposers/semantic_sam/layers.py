"""Small layers that several parts of the network share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

__all__ = ["ConvNorm", "Mlp", "group_norm"]

_GROUPS = 32


def group_norm(channels: int) -> nn.GroupNorm:
    """Give the group norm of 32 groups that the pixel decoder uses throughout."""
    return nn.GroupNorm(_GROUPS, channels)


class ConvNorm(nn.Conv2d):
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
            tokens = layer(tokens).relu_()
        return last(tokens)
