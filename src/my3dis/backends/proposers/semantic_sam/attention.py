"""Multi-scale deformable attention on `grid_sample`; no compiled operator.

Source: Zhu et al., "Deformable DETR", ICLR 2021, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["FEATURE_LEVELS", "SAMPLING_POINTS", "DeformableAttention"]

FEATURE_LEVELS = 4
SAMPLING_POINTS = 4


class DeformableAttention(nn.Module):
    """Attend to a few sampled positions of each feature level.

    Args:
        dim: Channels of queries and values.
        heads: Attention heads; must divide `dim`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        samples = heads * FEATURE_LEVELS * SAMPLING_POINTS
        self.sampling_offsets = nn.Linear(dim, samples * 2)
        self.attention_weights = nn.Linear(dim, samples)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def forward(
        self, query: Tensor, references: Tensor, value: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Sample the values around each query's reference and mix them.

        Args:
            query: `(B, Q, C)`.
            references: `(B, Q, 2)` points (x, y) or `(B, Q, 4)` boxes (cx, cy, w, h), in 0..1 of every level.
            value: `(B, S, C)`, the levels flattened row by row, one after another.
            sizes: `(rows, columns)` of each level, in the order of `value`.

        Returns:
            `(B, Q, C)`.
        """
        batch, queries, dim = query.shape
        weights = self.attention_weights(query).view(batch, queries, self.heads, -1).softmax(-1)
        weights = weights.view(batch, queries, self.heads, FEATURE_LEVELS, SAMPLING_POINTS)
        locations = self._locations(query, references, sizes)
        heads_first = (
            self.value_proj(value).transpose(1, 2).reshape(batch * self.heads, dim // self.heads, -1)
        )
        mixed = query.new_zeros(batch * self.heads, dim // self.heads, queries)
        # Level by level, so that only one level's samples are held at a time.
        maps = heads_first.split([rows * columns for rows, columns in sizes], dim=-1)
        for level, (rows, columns) in enumerate(sizes):
            grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
            sampled = F.grid_sample(
                maps[level].unflatten(-1, (rows, columns)),
                grid,
                mode="bilinear",
                padding_mode="zeros",
                align_corners=False,
            )
            share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1).unsqueeze(1)
            mixed += sampled.mul_(share).sum(-1)
        return self.output_proj(mixed.view(batch, dim, queries).transpose(1, 2))

    def _locations(self, query: Tensor, references: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Give the sampled positions `(B, Q, heads, levels, points, 2)` as (x, y) in 0..1 of each level."""
        offsets = self.sampling_offsets(query).view(
            *query.shape[:2], self.heads, FEATURE_LEVELS, SAMPLING_POINTS, 2
        )
        centres = references[:, :, None, None, None, :2]
        if references.shape[-1] == 4:
            return centres + offsets / SAMPLING_POINTS * references[:, :, None, None, None, 2:] * 0.5
        columns_rows = torch.tensor([(w, h) for h, w in sizes], dtype=query.dtype, device=query.device)
        return centres + offsets / columns_rows[:, None, :]
