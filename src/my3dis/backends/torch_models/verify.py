"""Load weights the way their back end does and say what became of every tensor."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from my3dis.backends.torch_models.weights import weight_files
from my3dis.errors import DataError, My3DISError

__all__ = ["Verified", "verify_weights"]

_IMAGE_TYPES = ("sam2", "sam2_video")


@dataclass(frozen=True, slots=True)
class Verified:
    """Weights that load whole.

    Attributes:
        model: what they are.
        backends: names of the proposers and trackers that take them.
        files: that hold them.
        found: sentences about their content.
    """

    model: str
    backends: tuple[str, ...]
    files: tuple[Path, ...]
    found: tuple[str, ...]


def verify_weights(path: Path) -> Verified:
    """Check that a file or folder holds every weight of the model that it is of.

    A folder with a ``config.json`` (or safetensors beside one) is a model in the layout of transformers; any
    other file, and a folder of safetensors alone, is taken for a checkpoint of Semantic-SAM.

    Raises:
        DataError: if it is damaged, incomplete or of a model that no back end loads, naming what is wrong.
        ConfigError: if there is nothing of the kind.
        PluginError: if a library lacks the model.
    """
    if path.is_file() and path.suffix == ".safetensors" and (path.parent / "config.json").is_file():
        path = path.parent
    if not path.exists():
        raise DataError(
            f"expected weights at {path}, found nothing; `my3dis weights list` says where to get some"
        )
    alone = path.is_file() or (weight_files(path) and not (path / "config.json").is_file())
    return _semantic_sam(path) if alone else _folder(path)


def _semantic_sam(path: Path) -> Verified:
    from my3dis.backends.proposers.semantic_sam.checkpoint import network_state
    from my3dis.backends.torch_models.state_dict import read_weights

    weights = read_weights(path)
    try:
        parameters, report = network_state(weights.tensors)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    _require_finite(parameters, path)
    n = sum(tensor.numel() for tensor in parameters.values())
    return Verified(
        model=f"Semantic-SAM {report.config.name}",
        backends=("semantic_sam",),
        files=weight_files(path),
        found=(
            f"all {len(report.loaded)} weights that inference needs, {n:,} numbers",
            f"{len(report.duplicates)} further names of the same tensors, equal to them",
            f"{len(report.buffers)} indices that follow from the window, as they should be",
            f"{len(report.unused)} tensors that inference does not read",
            f"{len(report.ignored) + len(weights.dropped)} entries beside the model, ignored",
        ),
    )


def _folder(folder: Path) -> Verified:
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"{folder}: expected a model in the layout of transformers (config.json beside safetensors), "
            f"found {error}; `my3dis weights list` names some"
        ) from error
    files = weight_files(folder)
    if not files:
        raise DataError(f"{folder}: expected safetensors beside config.json, found none; get them again")
    checks: list[tuple[str, Callable[[Path], dict[str, torch.Tensor]]]] = []
    if kind in _IMAGE_TYPES:
        checks.append(("sam2_auto", _image_parameters))
    if kind != "sam2":
        checks.append(("sam2_video", _video_parameters))
    found = []
    for backend, load in checks:
        parameters = load(folder)
        _require_finite(parameters, folder)
        n = sum(tensor.numel() for tensor in parameters.values())
        found.append(f"all {len(parameters)} weights that {backend} needs, {n:,} numbers")
    return Verified(str(kind), tuple(backend for backend, _ in checks), files, tuple(found))


def _image_parameters(folder: Path) -> dict[str, torch.Tensor]:
    from my3dis.backends.proposers.sam2_auto.model import load_model

    return dict(load_model(folder, torch.device("cpu"), torch.float32).named_parameters())


def _video_parameters(folder: Path) -> dict[str, torch.Tensor]:
    from my3dis.backends.trackers.sam2_video.families import load

    try:
        network: Any = load(folder, torch.device("cpu"), torch.float32).network
    except My3DISError as error:
        raise DataError(f"{folder}: {error}; get the model again") from error
    parameters: dict[str, torch.Tensor] = dict(network.named_parameters())
    return parameters


def _require_finite(parameters: dict[str, torch.Tensor], path: Path) -> None:
    wrong = [name for name, tensor in parameters.items() if not bool(torch.isfinite(tensor).all())]
    if wrong:
        raise DataError(
            f"{path}: expected finite weights, found NaN or infinity in {len(wrong)} of them, "
            f"first {wrong[0]}; get them again"
        )
