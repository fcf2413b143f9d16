"""Load a model of transformers from a folder, and hear which tensors its files lack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from my3dis.backends.torch_models.devices import first_line, torch_errors
from my3dis.backends.torch_models.quiet import without_bars
from my3dis.backends.torch_models.sources import how_to_get
from my3dis.errors import ConfigError, DataError, PluginError

__all__ = ["Pretrained", "load_pretrained", "model_type", "require_tensors"]

_SHOWN = 5


@dataclass(frozen=True, slots=True, eq=False)
class Pretrained:
    """A model as it was loaded, on the CPU.

    Attributes:
        model: of transformers, in evaluation mode; what is missing or misshapen was drawn at random.
        missing, misshapen: tensors that the files lack, or have in another shape.
        unexpected: tensors of the files that the model has no use for.
    """

    model: Any
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]
    unexpected: tuple[str, ...]


def model_type(folder: Path, backend: str) -> object:
    """Return what a folder's ``config.json`` calls its model, None if nothing.

    Raises:
        ConfigError: if there is no such file, or it is no configuration.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found = "no such file" if isinstance(error, (FileNotFoundError, NotADirectoryError)) else error
        raise ConfigError(
            f"{backend}: expected a model in the layout of transformers in {folder} (config.json and "
            f"model.safetensors), found {found} at config.json; {how_to_get(backend)}"
        ) from error
    return content.get("model_type") if isinstance(content, dict) else None


def load_pretrained(
    model_class: Any,  # noqa: ANN401 - a class without types
    folder: Path,
    *,
    backend: str,
    name: str,
    dtype: torch.dtype = torch.float32,
    config: object = None,
) -> Pretrained:
    """Load a model from safetensors on this machine; the process's random state is left alone.

    Args:
        model_class: of transformers.
        folder: with ``config.json`` and safetensors.
        backend: that needs it, to say where to get it.
        name: of the model, for messages.
        dtype: of its tensors.
        config: another configuration than the folder's.

    Raises:
        DataError: if the files are damaged or not there.
        PluginError: if the model needs a library that is missing.
        ResourceError: if the memory does not suffice.
    """
    try:
        # What is missing is drawn at random before we hear of it: not from the process's generator.
        with torch_errors(f"loading {name} from {folder}"), without_bars(), torch.random.fork_rng(devices=[]):
            model, about = model_class.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told by name
            )
    except ImportError as error:
        raise PluginError(
            f"{backend}: {name} in {folder} needs a library that is missing ({first_line(error)}); "
            "EdgeTAM's own backbone comes from timm, and that needs the torchvision of your torch build"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"{backend}: the safetensors in {folder} cannot be loaded as {name} ({first_line(error)}); get "
            f"them anew: {how_to_get(backend)}"
        ) from error
    return Pretrained(
        model=model.eval(),
        missing=tuple(sorted(about["missing_keys"])),
        misshapen=tuple(sorted(str(entry[0]) for entry in about["mismatched_keys"])),
        unexpected=tuple(sorted(about["unexpected_keys"])),
    )


def require_tensors(found: Pretrained, folder: Path, name: str, *, unknown: Sequence[str] = ()) -> None:
    """Check that the files of a model have all its tensors.

    Args:
        found: what was loaded.
        folder: where from.
        name: of the model.
        unknown: unexpected tensors that belong to no model of the kind.

    Raises:
        DataError: naming what is missing, of another shape, or unknown.
    """
    for what, names in (
        ("missing", found.missing),
        ("of another shape", found.misshapen),
        ("unknown", unknown),
    ):
        if names:
            shown = ", ".join(sorted(names)[:_SHOWN])
            raise DataError(
                f"{folder}: expected all weights of {name}, found {len(names)} {what}: {shown}"
                f"{', ...' if len(names) > _SHOWN else ''}; config.json and weights are not of one model"
            )
