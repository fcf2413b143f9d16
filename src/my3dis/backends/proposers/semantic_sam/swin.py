"""The Swin backbone for maps of any size: windows are padded, never shrunk, and the shift is never dropped.

Source: Liu et al., "Swin Transformer", ICCV 2021, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from my3dis.backends.proposers.semantic_sam.config import SemanticSamConfig

__all__ = ["SwinBackbone", "relative_position_index"]

PATCH = 4
_MLP_RATIO = 4
_FOREIGN = -100.0
"""Added between tokens that only the cyclic shift made neighbours."""


def relative_position_index(window: int) -> Tensor:
    """Give the bias table's row for every pair of tokens of a window: int64 `(window^2, window^2)`."""
    row, column = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    rows, columns = row.flatten(), column.flatten()
    down = rows[:, None] - rows[None] + window - 1
    right = columns[:, None] - columns[None] + window - 1
    return down * (2 * window - 1) + right


def _to_windows(cells: Tensor, window: int) -> Tensor:
    """Cut `(B, h, w, C)`, sides multiples of the window, into `(B, windows, window^2, C)`."""
    batch, height, width, channels = cells.shape
    tiles = cells.view(batch, height // window, window, width // window, window, channels)
    return tiles.transpose(2, 3).reshape(batch, -1, window * window, channels)


def _from_windows(windows: Tensor, window: int, size: tuple[int, int]) -> Tensor:
    """Undo `_to_windows`."""
    batch, _, _, channels = windows.shape
    height, width = size
    tiles = windows.view(batch, height // window, width // window, window, window, channels)
    return tiles.transpose(2, 3).reshape(batch, height, width, channels)


def shift_mask(size: tuple[int, int], window: int, device: torch.device) -> Tensor:
    """Give `(windows, window^2, window^2)` float32: -100 between parts that were not neighbours, else 0."""

    def bands(length: int) -> Tensor:
        cells = torch.arange(length, device=device)
        return (cells >= length - window).long() + (cells >= length - window // 2).long()

    height, width = size
    labels = bands(height)[:, None] * 3 + bands(width)[None]
    of_windows = _to_windows(labels.view(1, height, width, 1), window)[0, :, :, 0]
    return (of_windows[:, :, None] != of_windows[:, None]).float() * _FOREIGN


class WindowAttention(nn.Module):
    """Self-attention within windows, biased by the relative position of two tokens."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))

    def forward(self, windows: Tensor, index: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within `(B, windows, N, C)`; `mask` is `(windows, N, N)` or nothing."""
        batch, count, tokens, dim = windows.shape
        parts = self.qkv(windows).view(batch, count, tokens, 3, self.heads, dim // self.heads)
        query, key, value = parts.permute(3, 0, 1, 4, 2, 5)
        scores = (query * (dim // self.heads) ** -0.5) @ key.transpose(-2, -1)
        scores += self.relative_position_bias_table[index].permute(2, 0, 1)
        if mask is not None:
            scores += mask[:, None]
        mixed = scores.softmax(dim=-1).to(value.dtype) @ value
        return self.proj(mixed.transpose(2, 3).reshape(batch, count, tokens, dim))


class SwinMlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, _MLP_RATIO * dim)
        self.fc2 = nn.Linear(_MLP_RATIO * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map `(..., dim)` to `(..., dim)`."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class SwinBlock(nn.Module):
    """Windowed attention and an MLP, each behind a layer norm and beside a shortcut."""

    def __init__(self, dim: int, heads: int, *, window: int, shift: int) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = SwinMlp(dim)

    def forward(self, cells: Tensor, index: Tensor, mask: Tensor) -> Tensor:
        """Map `(B, h, w, C)` to the same shape; `mask` is used by shifted blocks only."""
        height, width = cells.shape[1:3]
        # Padding comes after the norm and before the shift: padded tokens are zeros and roll along.
        padded = F.pad(self.norm1(cells), (0, 0, 0, -width % self.window, 0, -height % self.window))
        size = (padded.shape[1], padded.shape[2])
        if self.shift:
            padded = padded.roll((-self.shift, -self.shift), dims=(1, 2))
        windows = self.attn(_to_windows(padded, self.window), index, mask if self.shift else None)
        padded = _from_windows(windows, self.window, size)
        if self.shift:
            padded = padded.roll((self.shift, self.shift), dims=(1, 2))
        cells = cells + padded[:, :height, :width]
        return cells + self.mlp(self.norm2(cells))


class PatchMerging(nn.Module):
    """Join each 2x2 cells into one of twice the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, cells: Tensor) -> Tensor:
        """Map `(B, h, w, C)` to `(B, ceil(h/2), ceil(w/2), 2C)`."""
        height, width = cells.shape[1:3]
        even = F.pad(cells, (0, 0, 0, width % 2, 0, height % 2))
        corners = [even[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class SwinStage(nn.Module):
    """Blocks of one resolution and the merging that leads to the next."""

    def __init__(self, dim: int, depth: int, heads: int, *, window: int, last: bool) -> None:
        super().__init__()
        self.window = window
        shifts = [(window // 2) * (block % 2) for block in range(depth)]
        self.blocks = nn.ModuleList(SwinBlock(dim, heads, window=window, shift=shift) for shift in shifts)
        self.downsample = None if last else PatchMerging(dim)

    def forward(self, cells: Tensor, index: Tensor) -> Tensor:
        """Run the blocks on `(B, h, w, C)`; merging is left to the backbone, which also norms a copy."""
        height, width = cells.shape[1:3]
        size = (height + -height % self.window, width + -width % self.window)
        mask = shift_mask(size, self.window, cells.device)
        for block in self.blocks:
            cells = block(cells, index, mask)
        return cells


class PatchEmbedding(nn.Module):
    """Turn 4x4 pixels into one token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        """Map `(B, 3, H, W)` to `(B, H/4, W/4, C)`."""
        return self.norm(self.proj(image).permute(0, 2, 3, 1))


class SwinBackbone(nn.Module):
    """Four stages; every stage's output is normed on its own."""

    def __init__(self, config: SemanticSamConfig) -> None:
        super().__init__()
        channels = config.stage_channels
        self.window = config.window
        self.patch_embed = PatchEmbedding(config.embed_dim)
        self.layers = nn.ModuleList(
            SwinStage(channels[stage], depth, heads, window=config.window, last=stage == len(channels) - 1)
            for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True))
        )
        for stage, width in enumerate(channels):
            self.add_module(f"norm{stage}", nn.LayerNorm(width))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map a normalised image `(B, 3, H, W)` to four maps `(B, C, H/s, W/s)`, strides 4, 8, 16 and 32."""
        cells = self.patch_embed(image)
        index = relative_position_index(self.window).to(image.device)
        maps = []
        for number, stage in enumerate(self.layers):
            cells = stage(cells, index)
            normed = self.get_submodule(f"norm{number}")(cells)
            # Channels first in memory too: convolutions round differently on channels-last maps.
            maps.append(normed.permute(0, 3, 1, 2).contiguous())
            if stage.downsample is not None:
                cells = stage.downsample(cells)
        return tuple(maps)
