"""A slow second implementation in plain numpy and float64, written from the architecture alone.

It shares no code and few formulations with the package: windows are not cut but found by comparing positions,
shifted windows are told by who wrapped around, sampling is a loop over single samples. It exists to check the
package where the recorded cases are absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit

Array = NDArray[np.float64]
Weights = Mapping[str, Array]

EPS = 1e-5


def linear(x: Array, weights: Weights, name: str) -> Array:
    """Apply the linear layer of a name to the last axis."""
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)


def layer_norm(x: Array, weights: Weights, name: str) -> Array:
    """Norm the last axis."""
    spread = np.sqrt(x.var(-1, keepdims=True) + EPS)
    return (x - x.mean(-1, keepdims=True)) / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def group_norm(x: Array, weights: Weights, name: str, groups: int = 32) -> Array:
    """Norm `(C, h, w)` within groups of neighbouring channels."""
    parts = x.reshape(groups, -1)
    normed = (parts - parts.mean(1, keepdims=True)) / np.sqrt(parts.var(1, keepdims=True) + EPS)
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return normed.reshape(x.shape) * scale[:, None, None] + shift[:, None, None]


def softmax(x: Array) -> Array:
    """Give shares along the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def mlp(x: Array, weights: Weights, name: str) -> Array:
    """Apply the numbered linear layers with ReLU between them."""
    count = sum(key.startswith(f"{name}.layers.") and key.endswith(".weight") for key in weights)
    for number in range(count):
        x = linear(x, weights, f"{name}.layers.{number}")
        x = np.maximum(x, 0) if number < count - 1 else x
    return x


def conv(x: Array, weights: Weights, name: str, *, stride: int = 1, pad: int = 0) -> Array:
    """Convolve `(C, h, w)`, one output pixel at a time."""
    kernel = weights[f"{name}.weight"]
    side = kernel.shape[-1]
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    rows = range(0, padded.shape[1] - side + 1, stride)
    columns = range(0, padded.shape[2] - side + 1, stride)
    out = [[np.tensordot(kernel, padded[:, r : r + side, c : c + side], 3) for c in columns] for r in rows]
    bias = weights.get(f"{name}.bias", np.zeros(len(kernel)))
    return np.moveaxis(np.array(out), -1, 0) + bias[:, None, None]


def window_attention(cells: Array, weights: Weights, name: str, *, window: int, shift: int) -> Array:
    """Attend within windows on normed `(h, w, C)`: every pair of tokens is asked whether it shares one."""
    height, width, channels = cells.shape
    full = (math.ceil(height / window) * window, math.ceil(width / window) * window)
    padded = np.zeros((*full, channels))
    padded[:height, :width] = cells
    row, column = (axis.ravel() for axis in np.indices(full))
    # Where a token stands after the roll; those that wrapped around are strangers to their new neighbours.
    rolled = np.stack(((row - shift) % full[0], (column - shift) % full[1]))
    wrapped = np.stack((row < shift, column < shift))
    same = (rolled[:, :, None] // window == rolled[:, None] // window).all(0)
    strangers = (wrapped[:, :, None] != wrapped[:, None]).any(0)
    offset = rolled[:, :, None] - rolled[:, None] + window - 1
    inside = np.clip(offset, 0, 2 * window - 2)
    table = weights[f"{name}.relative_position_bias_table"][inside[0] * (2 * window - 1) + inside[1]]
    heads = table.shape[-1]
    query, key, value = np.split(linear(padded.reshape(-1, channels), weights, f"{name}.qkv"), 3, axis=1)
    size, mixed = channels // heads, []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = query[:, part] @ key[:, part].T / math.sqrt(size) + table[..., head] - 100.0 * strangers
        mixed.append(softmax(np.where(same, scores, -np.inf)) @ value[:, part])
    out = linear(np.concatenate(mixed, axis=1), weights, f"{name}.proj")
    return out.reshape(*full, channels)[:height, :width]


def backbone(image: Array, weights: Weights, window: int) -> list[Array]:
    """Map a normalised image `(3, H, W)` to four maps `(C, h, w)`."""
    cells = np.moveaxis(conv(image, weights, "backbone.patch_embed.proj", stride=4), 0, -1)
    cells = layer_norm(cells, weights, "backbone.patch_embed.norm")
    maps = []
    for stage in range(4):
        block = 0
        while f"backbone.layers.{stage}.blocks.{block}.norm1.weight" in weights:
            name = f"backbone.layers.{stage}.blocks.{block}"
            normed = layer_norm(cells, weights, f"{name}.norm1")
            shift = window // 2 if block % 2 else 0
            cells = cells + window_attention(normed, weights, f"{name}.attn", window=window, shift=shift)
            hidden = linear(layer_norm(cells, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
            hidden = hidden * (1 + erf(hidden / math.sqrt(2))) / 2
            cells = cells + linear(hidden, weights, f"{name}.mlp.fc2")
            block += 1
        maps.append(np.moveaxis(layer_norm(cells, weights, f"backbone.norm{stage}"), -1, 0))
        if stage < 3:
            odd = [cells[1::2, ::2], cells[::2, 1::2], cells[1::2, 1::2]]
            joined = np.concatenate([cells[::2, ::2], *odd], axis=-1)
            down = f"backbone.layers.{stage}.downsample"
            cells = linear(layer_norm(joined, weights, f"{down}.norm"), weights, f"{down}.reduction")
    return maps


def waves(angle: float, features: int) -> list[float]:
    """Give sine and cosine of an angle at falling frequencies."""
    out = []
    for pair in range(features // 2):
        slowed = angle / 10000 ** (2 * pair / features)
        out += [math.sin(slowed), math.cos(slowed)]
    return out


def sine_map(rows: int, columns: int, channels: int) -> Array:
    """Give `(channels, rows, columns)`."""
    half = channels // 2
    of_row = [waves(2 * math.pi * (r + 1) / (rows + 1e-6), half) for r in range(rows)]
    of_column = [waves(2 * math.pi * (c + 1) / (columns + 1e-6), half) for c in range(columns)]
    return np.array([[of_row[r] + of_column[c] for c in range(columns)] for r in range(rows)]).transpose(
        2, 0, 1
    )


def sample(values: Array, x: float, y: float) -> Array:
    """Read `(C, h, w)` at (x, y) in 0..1 between the four nearest centres; nothing lies outside."""
    _, height, width = values.shape
    column, row = x * width - 0.5, y * height - 0.5
    total = np.zeros(len(values))
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < height and 0 <= c < width:
                total += values[:, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return total


def deformable(
    query: Array, references: Array, levels: list[Array], weights: Weights, name: str, heads: int
) -> Array:
    """Attend from `(Q, C)` to maps `(C, h, w)`; references are points (x, y) or boxes (cx, cy, w, h)."""
    channels = query.shape[1]
    size = channels // heads
    offsets = linear(query, weights, f"{name}.sampling_offsets").reshape(len(query), heads, len(levels), 4, 2)
    shares = softmax(linear(query, weights, f"{name}.attention_weights").reshape(len(query), heads, -1))
    values = [
        np.moveaxis(linear(np.moveaxis(level, 0, -1), weights, f"{name}.value_proj"), -1, 0)
        for level in levels
    ]
    out = np.zeros((len(query), channels))
    for q, reference in enumerate(references):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for number, value in enumerate(values):
                _, height, width = value.shape
                for point in range(4):
                    step = offsets[q, head, number, point]
                    if len(reference) == 4:
                        place = reference[:2] + step / 4 * reference[2:] / 2
                    else:
                        place = reference + step / np.array([width, height])
                    out[q, part] += shares[q, head, number * 4 + point] * sample(value[part], *place)
    return linear(out, weights, f"{name}.output_proj")


def as_tokens(level: Array) -> Array:
    """Lay `(C, h, w)` out as `(h*w, C)`."""
    return level.reshape(len(level), -1).T


def enlarge(values: Array, height: int, width: int) -> Array:
    """Bring `(C, h, w)` to another size by reading it at the new cells' centres, edges held."""
    _, rows, columns = values.shape

    def nearest(cell: int, new: int, old: int) -> float:
        return min(max((cell + 0.5) / new, 0.5 / old), 1 - 0.5 / old)

    return np.moveaxis(
        np.array(
            [
                [sample(values, nearest(c, width, columns), nearest(r, height, rows)) for c in range(width)]
                for r in range(height)
            ]
        ),
        -1,
        0,
    )


def pixel_decoder(maps: list[Array], weights: Weights, heads: int) -> tuple[Array, list[Array]]:
    """Give mask features and the four levels of strides 8 to 64."""
    start = "sem_seg_head.pixel_decoder"
    levels = []
    for number, source in enumerate([*maps[1:], maps[3]]):
        stride, pad = (2, 1) if number == 3 else (1, 0)
        convolved = conv(source, weights, f"{start}.input_proj.{number}.0", stride=stride, pad=pad)
        levels.append(group_norm(convolved, weights, f"{start}.input_proj.{number}.1"))
    marks = weights[f"{start}.transformer.level_embed"]
    positions = np.concatenate(
        [as_tokens(sine_map(one.shape[1], one.shape[2], len(one))) + marks[n] for n, one in enumerate(levels)]
    )
    references = np.array(
        [
            ((c + 0.5) / one.shape[2], (r + 0.5) / one.shape[1])
            for one in levels
            for r in range(one.shape[1])
            for c in range(one.shape[2])
        ]
    )
    layer = 0
    while f"{start}.transformer.encoder.layers.{layer}.norm1.weight" in weights:
        name = f"{start}.transformer.encoder.layers.{layer}"
        tokens = np.concatenate([as_tokens(one) for one in levels])
        seen = deformable(tokens + positions, references, levels, weights, f"{name}.self_attn", heads)
        tokens = layer_norm(tokens + seen, weights, f"{name}.norm1")
        hidden = np.maximum(linear(tokens, weights, f"{name}.linear1"), 0)
        tokens = layer_norm(tokens + linear(hidden, weights, f"{name}.linear2"), weights, f"{name}.norm2")
        ends = np.cumsum([one.shape[1] * one.shape[2] for one in levels])[:-1]
        levels = [p.T.reshape(o.shape) for p, o in zip(np.split(tokens, ends), levels, strict=True)]
        layer += 1
    fine = group_norm(conv(maps[0], weights, f"{start}.adapter_1"), weights, f"{start}.adapter_1.norm")
    fine = fine + enlarge(levels[0], *fine.shape[1:])
    fine = group_norm(conv(fine, weights, f"{start}.layer_1", pad=1), weights, f"{start}.layer_1.norm")
    return conv(np.maximum(fine, 0), weights, f"{start}.mask_features"), levels


def inverse_sigmoid(share: Array) -> Array:
    """Give the log odds, held finite."""
    return np.log(np.maximum(share, 1e-5) / np.maximum(1 - share, 1e-5))


def self_attention(x: Array, places: Array, weights: Weights, name: str) -> Array:
    """Attend among all queries with 8 heads; places are added to queries and keys."""
    size = x.shape[1] // 8
    matrices = np.split(weights[f"{name}.in_proj_weight"], 3)
    biases = np.split(weights[f"{name}.in_proj_bias"], 3)
    query, key, value = (
        source @ matrix.T + bias
        for source, matrix, bias in zip((x + places, x + places, x), matrices, biases, strict=True)
    )
    mixed = [
        softmax(query[:, s : s + size] @ key[:, s : s + size].T / math.sqrt(size)) @ value[:, s : s + size]
        for s in range(0, x.shape[1], size)
    ]
    return linear(np.concatenate(mixed, axis=1), weights, f"{name}.out_proj")


def decode(boxes: Array, levels: list[Array], weights: Weights) -> Array:
    """Refine six queries per box and give their content `(P*6, C)`, normed for the heads."""
    start = "sem_seg_head.predictor"
    channels = len(levels[0])
    one_point = (
        weights[f"{start}.label_enc.weight"][:1]
        + weights[f"{start}.pb_embedding.weight"][:1]
        + weights[f"{start}.mask_tokens.weight"]
    )
    content = np.concatenate([one_point] * len(boxes))
    references = expit(inverse_sigmoid(np.clip(np.repeat(boxes, 6, axis=0), 0, 1)))
    layer = 0
    while f"{start}.decoder.layers.{layer}.norm1.weight" in weights:
        name = f"{start}.decoder.layers.{layer}"
        sines = [
            np.concatenate([waves(2 * math.pi * one, channels // 2) for one in (y, x, w, h)])
            for x, y, w, h in references
        ]
        places = mlp(np.array(sines), weights, f"{start}.decoder.ref_point_head")
        seen = self_attention(content, places, weights, f"{name}.self_attn")
        content = layer_norm(content + seen, weights, f"{name}.norm2")
        seen = deformable(content + places, references, levels[::-1], weights, f"{name}.cross_attn", 8)
        content = layer_norm(content + seen, weights, f"{name}.norm1")
        hidden = np.maximum(linear(content, weights, f"{name}.linear1"), 0)
        content = layer_norm(content + linear(hidden, weights, f"{name}.linear2"), weights, f"{name}.norm3")
        moved = mlp(content, weights, f"{start}._bbox_embed")
        references = expit(moved + inverse_sigmoid(references))
        layer += 1
    once = layer_norm(content, weights, f"{start}.decoder_norm")
    return layer_norm(once, weights, f"{start}.decoder_norm")


def masks_and_qualities(
    image: Array, points_xy: Array, weights: Weights, *, window: int, heads: int
) -> tuple[Array, Array]:
    """Run everything on an RGB image `(3, h, w)`: all six masks `(P*6, h, w)` and qualities `(P, 6)`."""
    _, height, width = image.shape
    mean, spread = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    normed = (image - mean[:, None, None]) / spread[:, None, None]
    full = (math.ceil(height / 32) * 32, math.ceil(width / 32) * 32)
    padded = np.zeros((3, *full))
    padded[:, :height, :width] = normed
    features, levels = pixel_decoder(backbone(padded, weights, window), weights, heads)
    boxes = np.concatenate([points_xy, np.full_like(points_xy, 0.005)], axis=1)
    boxes = boxes * np.array([width, height] * 2) / np.array([full[1], full[0]] * 2)
    states = decode(boxes, levels, weights)
    heads_start = "sem_seg_head.predictor"
    coarse = np.tensordot(mlp(states, weights, f"{heads_start}.mask_embed"), features, 1)
    qualities = mlp(states, weights, f"{heads_start}.iou_prediction_head").reshape(-1, 6)
    return enlarge(coarse, *full)[:, :height, :width], qualities
