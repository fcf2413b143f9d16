"""The point decoder: every point becomes six queries, one per granularity, that refine a box and a mask.

Source: Li et al., "Semantic-SAM", 2023, section 3; Li et al., "Mask DINO", CVPR 2023, section 3; Liu et al.,
"DAB-DETR", ICLR 2022, section 4 (boxes as queries).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from my3dis.backends.proposers.semantic_sam.attention import DeformableAttention
from my3dis.backends.proposers.semantic_sam.config import MASK_TOKENS, SemanticSamConfig
from my3dis.backends.proposers.semantic_sam.layers import Mlp
from my3dis.backends.proposers.semantic_sam.pixel_decoder import flatten_levels, sizes_of
from my3dis.backends.proposers.semantic_sam.positions import logit, sine_of_boxes

__all__ = ["POINT_SIDE", "PointDecoder", "QueryStates"]

POINT_SIDE = 0.005
"""Side of the box that stands for a point, as a share of the image."""

_HEADS = 8


@dataclass(frozen=True, slots=True)
class QueryStates:
    """What the decoder layers leave behind.

    Attributes:
        content: `(1, Q, C)`, un-normed.
        boxes_cxcywh: `(1, Q, 4)` in 0..1 of the padded image, refined by every layer.
    """

    content: Tensor
    boxes_cxcywh: Tensor


class DecoderLayer(nn.Module):
    """Self-attention among all queries, deformable attention to the image, and a feed-forward block."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, _HEADS, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.cross_attn = DeformableAttention(dim, _HEADS)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self,
        content: Tensor,
        positions: Tensor,
        boxes_cxcywh: Tensor,
        memory: Tensor,
        sizes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Map the queries' content `(1, Q, C)` to the same shape."""
        placed = content + positions
        attended, _ = self.self_attn(placed, placed, content, need_weights=False)
        # The numbers of the norms are the checkpoint's: norm2 follows the self-attention.
        content = self.norm2(content + attended)
        content = self.norm1(content + self.cross_attn(content + positions, boxes_cxcywh, memory, sizes))
        return self.norm3(content + self.linear2(self.linear1(content).relu_()))


class _DecoderStack(nn.Module):
    """The layers and the position head under the names that checkpoints give them."""

    def __init__(self, config: SemanticSamConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.layers = nn.ModuleList(
            DecoderLayer(dim, config.decoder_ffn) for _ in range(config.decoder_layers)
        )
        self.ref_point_head = Mlp((2 * dim, dim, dim))


class PointDecoder(nn.Module):
    """Decode a batch of points together; the queries of all its points see one another."""

    def __init__(self, config: SemanticSamConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.dim = dim
        self.mask_tokens = nn.Embedding(MASK_TOKENS, dim)
        self.pb_embedding = nn.Embedding(2, dim)
        self.label_enc = nn.Embedding(2, dim)
        self.decoder = _DecoderStack(config)
        self.decoder_norm = nn.LayerNorm(dim)
        self._bbox_embed = Mlp((dim, dim, dim, 4))
        self.mask_embed = Mlp((dim, dim, dim, config.mask_dim))
        self.iou_prediction_head = Mlp((dim, dim, dim, 1))

    def initial_content(self, points: int) -> Tensor:
        """Give `(1, points*6, C)`: the same six contents for every point, point-major."""
        # Row 0 of the two tables is the point prompt; row 1 (boxes) is not used on this path.
        of_tokens = self.label_enc.weight[0] + self.pb_embedding.weight[0] + self.mask_tokens.weight
        return of_tokens.repeat(points, 1)[None]

    def forward(self, boxes_cxcywh: Tensor, multi_scale: Sequence[Tensor]) -> QueryStates:
        """Refine the queries of all points through all layers.

        Args:
            boxes_cxcywh: `(P, 4)` float32 in 0..1 of the padded image.
            multi_scale: Levels `(1, C, h, w)`, strides 8, 16, 32 and 64.

        Returns:
            States of `Q = P*6` queries; query `point*6 + token`.
        """
        coarse_first = tuple(reversed(multi_scale))
        memory, sizes = flatten_levels(coarse_first), sizes_of(coarse_first)
        content = self.initial_content(boxes_cxcywh.shape[0])
        boxes = logit(boxes_cxcywh).repeat_interleave(MASK_TOKENS, dim=0)[None].sigmoid()
        for layer in self.decoder.layers:
            positions = self.decoder.ref_point_head(sine_of_boxes(boxes, self.dim))
            content = layer(content, positions, boxes, memory, sizes)
            boxes = (self._bbox_embed(content) + logit(boxes)).sigmoid()
        return QueryStates(content, boxes)

    def read_out(self, content: Tensor) -> Tensor:
        """Norm the queries' content for the heads: the same layer norm, twice."""
        return self.decoder_norm(self.decoder_norm(content))
