"""From the tensors of a Semantic-SAM checkpoint to a network, with every key accounted for.

A checkpoint holds more than the network needs: other names of shared tensors, tables that inference does not
read, indices that follow from the window. Each kind is checked and listed; anything else is an error that
names the key, because a file that fits only in part would give a network that is random in part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor

from my3dis.backends.proposers.semantic_sam.config import SemanticSamConfig
from my3dis.backends.proposers.semantic_sam.detection import detect_config
from my3dis.backends.proposers.semantic_sam.network import SemanticSam
from my3dis.backends.proposers.semantic_sam.swin import relative_position_index
from my3dis.errors import DataError

__all__ = [
    "LoadReport",
    "build_network",
    "duplicates_of",
    "load_network",
    "needed_shapes",
    "network_state",
]

_CONTAINER = "model"
_PREFIX = "model."
_PREDICTOR = "sem_seg_head.predictor"
_UNUSED = (
    f"{_PREDICTOR}.lang_mapper",
    f"{_PREDICTOR}.class_embed",
    f"{_PREDICTOR}.class_embed_part",
    "criterion.empty_weight",
)
_PARTS = ("weight", "bias")
_INDEX_KEY = re.compile(r"backbone\.layers\.\d+\.blocks\.\d+\.attn\.relative_position_index")
_NAMED_AT_MOST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What became of every key of a checkpoint; names are without the prefix `model.`.

    Attributes:
        config: The network that the keys and shapes belong to.
        loaded: Parameters of the network, all of them present with their exact shapes.
        duplicates: Other names of a loaded tensor, checked to be equal to it.
        buffers: Indices that follow from the window, checked and computed anew.
        unused: Tensors that inference does not read.
        ignored: Keys outside the network: without the prefix.
    """

    config: SemanticSamConfig
    loaded: tuple[str, ...]
    duplicates: tuple[str, ...]
    buffers: tuple[str, ...]
    unused: tuple[str, ...]
    ignored: tuple[str, ...]


@lru_cache(maxsize=8)
def needed_shapes(config: SemanticSamConfig) -> Mapping[str, tuple[int, ...]]:
    """Give name and shape of every parameter of the network; takes no memory."""
    state = _bare_network(config).state_dict()
    return MappingProxyType({name: tuple(tensor.shape) for name, tensor in state.items()})


def _bare_network(config: SemanticSamConfig) -> SemanticSam:
    """Build a network whose parameters have shapes and no memory."""
    with torch.device("meta"):
        return SemanticSam(config)


def duplicates_of(config: SemanticSamConfig) -> dict[str, str]:
    """Give the further names that a checkpoint has for a tensor, each with the tensor's own name."""
    names = {f"{_PREDICTOR}.decoder.norm.{part}": f"{_PREDICTOR}.decoder_norm.{part}" for part in _PARTS}
    for layer in range(config.decoder_layers):
        for place in ("bbox_embed", "decoder.bbox_embed"):
            for tail in (f"layers.{number}.{part}" for number in range(3) for part in _PARTS):
                names[f"{_PREDICTOR}.{place}.{layer}.{tail}"] = f"{_PREDICTOR}._bbox_embed.{tail}"
    return names


def network_state(state: Mapping[str, object]) -> tuple[dict[str, Tensor], LoadReport]:
    """Sort a checkpoint's keys and give the network's parameters.

    Args:
        state: What the file holds: tensors under names that begin with `model.`, or such a mapping in its
            entry `model`.

    Returns:
        Parameters by name, without the prefix and sharing memory with `state`, and the report.

    Raises:
        DataError: A key is missing, has another shape or type, is unknown, or a further name of a shared
            tensor holds other numbers; the message names the keys.
    """
    held = _without_container(state)
    tensors = {key.removeprefix(_PREFIX): held[key] for key in held if key.startswith(_PREFIX)}
    if not tensors:
        found = ", ".join(list(held)[:3]) or "nothing"
        raise DataError(
            f"expected the keys of a Semantic-SAM checkpoint, which begin with `{_PREFIX}`; found {found}. "
            f"Is this the file of another model?"
        )
    config = detect_config({name: tuple(t.shape) for name, t in tensors.items() if isinstance(t, Tensor)})
    needed, duplicates = needed_shapes(config), duplicates_of(config)
    _demand(tensors, needed, config)
    buffers = tuple(name for name in tensors if _is_index(name, config))
    unused = tuple(name for name in tensors if name in _UNUSED)
    known = {*needed, *duplicates, *buffers, *unused}
    _refuse(config, "unknown keys", [name for name in tensors if name not in known])
    present = tuple(name for name in tensors if name in duplicates)
    unequal = [name for name in present if not _equal(tensors[name], tensors[duplicates[name]])]
    _refuse(config, "keys whose tensor is not the one that they repeat", unequal)
    index = relative_position_index(config.window)
    wrong = [name for name in buffers if not _equal(tensors[name], index)]
    _refuse(config, "position indices of another window", wrong)
    report = LoadReport(
        config=config,
        loaded=tuple(needed),
        duplicates=present,
        buffers=buffers,
        unused=unused,
        ignored=tuple(key for key in held if not key.startswith(_PREFIX)),
    )
    return {name: cast(Tensor, tensors[name]) for name in needed}, report


def build_network(state: Mapping[str, object]) -> SemanticSam:
    """Build the network of a checkpoint on the tensors of the checkpoint themselves (nothing is copied).

    Raises:
        DataError: As `network_state`.
    """
    parameters, report = network_state(state)
    network = _bare_network(report.config)
    network.load_state_dict(parameters, strict=True, assign=True)
    network.requires_grad_(False)
    network.load_report = report
    return network


def load_network(path: Path, *, device: torch.device, dtype: torch.dtype = torch.float32) -> SemanticSam:
    """Load a checkpoint; the sizes of the network are read off its keys and shapes.

    Args:
        path: A `.pth` or `.safetensors` file.
        device: Where the network shall run.
        dtype: Precision of the backbone, see `SemanticSam.backbone_dtype`; weights stay float32.

    Raises:
        DataError: The file cannot be read or does not fit; the message names file and keys.
        ConfigError: The backbone cannot run in `dtype`.
    """
    from my3dis.backends.torch_models.weights import read_state_dict

    state = read_state_dict(path)
    try:
        network = build_network(state)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    network.backbone_dtype = dtype
    return network.to(device)


def _without_container(state: Mapping[str, object]) -> Mapping[str, object]:
    inner = state.get(_CONTAINER)
    return cast(Mapping[str, object], inner) if isinstance(inner, Mapping) else state


def _equal(one: object, other: object) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return False
    return one.shape == other.shape and one.dtype == other.dtype and bool(torch.equal(one, other))


def _is_index(name: str, config: SemanticSamConfig) -> bool:
    if not _INDEX_KEY.fullmatch(name):
        return False
    _, _, stage, _, block, *_ = name.split(".")
    return int(stage) < len(config.depths) and int(block) < config.depths[int(stage)]


def _demand(
    tensors: Mapping[str, object], needed: Mapping[str, tuple[int, ...]], config: SemanticSamConfig
) -> None:
    """Refuse a checkpoint in which a parameter is missing, misshapen or not float32."""
    _refuse(config, "missing keys", [name for name in needed if name not in tensors])
    misshapen = []
    for name, shape in needed.items():
        found = tensors[name]
        if not isinstance(found, Tensor):
            misshapen.append(f"{name} (expected a tensor, found {type(found).__name__})")
        elif tuple(found.shape) != shape or found.dtype != torch.float32:
            kind = str(found.dtype).removeprefix("torch.")
            misshapen.append(f"{name} (expected float32 {shape}, found {kind} {tuple(found.shape)})")
    _refuse(config, "misshapen tensors", misshapen)


def _refuse(config: SemanticSamConfig, what: str, names: list[str]) -> None:
    """Raise an error that names the keys, if there are any."""
    if not names:
        return
    shown = ", ".join(names[:_NAMED_AT_MOST])
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    sizes = "a network of its own sizes" if config.name == "custom" else config.name
    raise DataError(
        f"expected the keys of a Semantic-SAM checkpoint ({sizes}), found {len(names)} {what}: "
        f"{shown}{more}. Use the released file, whole and unchanged"
    )
