"""Turn a checkpoint of Semantic-SAM into safetensors, which cannot hold code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from my3dis.backends.proposers.semantic_sam.checkpoint import network_state
from my3dis.backends.torch_models.state_dict import read_weights
from my3dis.errors import DataError, ResourceError

__all__ = ["Converted", "converted", "write_safetensors"]


@dataclass(frozen=True, slots=True)
class Converted:
    """A checkpoint ready to be written.

    Attributes:
        model: what it is of.
        tensors: all tensors of its container, under their names there.
        dropped: what stood beside them, as ``name (type)``.
    """

    model: str
    tensors: dict[str, Tensor]
    dropped: tuple[str, ...]


def converted(path: Path) -> Converted:
    """Read a checkpoint and check that it is Semantic-SAM's, whole.

    Names stay as they are, prefix and repeated tensors included: the loader takes either file by the same
    rules.

    Raises:
        DataError: if it is damaged, asks for forbidden types, or is of another model.
    """
    weights = read_weights(path)
    try:
        _, report = network_state(weights.tensors)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Converted(f"Semantic-SAM {report.config.name}", weights.tensors, weights.dropped)


def write_safetensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write tensors; those that share memory are written once per name.

    Raises:
        ResourceError: if they cannot be written.
    """
    seen: set[int] = set()
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        whole = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
        apart[name] = tensor if whole and storage not in seen else _own(tensor)
        seen.add(storage)
    try:
        save_file(apart, path, {"format": "pt", **metadata})
        path.chmod(0o644)  # the library makes it readable to its owner alone
    except (SafetensorError, OSError) as error:
        raise ResourceError(
            f"cannot write {path}: {error}; free some space or choose another folder"
        ) from error


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)
