"""Find model weights (a file, a folder or an id of the Hugging Face hub) without loading them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.backends.torch_models.sources import how_to_get
from my3dis.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HubId", "find_model_folder", "find_weights", "local_weights", "read_state_dict", "weight_files"]

SUFFIXES = (".safetensors", ".pth", ".pt")
"""Of files that hold weights; in a folder, safetensors are taken and nothing else is looked at."""

# Configuration and weights; a repository's pickled copies of the same weights stay where they are.
_WANTED = ["*.json", "*.safetensors"]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


@dataclass(frozen=True, slots=True)
class HubId:
    """A model on the Hugging Face hub, written ``organisation/name`` or ``organisation/name@revision``."""

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubId | None:
        """Return the id that a text spells, or None when it looks like a path."""
        if not _HUB_ID.fullmatch(text) or text.endswith(SUFFIXES):
            return None
        repository, _, revision = text.partition("@")
        return cls(repository, revision or None)


def find_weights(checkpoint: str | None, *, backend: str) -> Path:
    """Return the local file or folder that a setting means.

    A path that exists is taken as it is. Else ``organisation/name`` is looked up in the local cache of the
    Hugging Face hub and downloaded when it is not there, unless ``HF_HUB_OFFLINE`` or
    ``TRANSFORMERS_OFFLINE`` is set.

    Args:
        checkpoint: the setting, or None.
        backend: name of the back end, to say what it needs.

    Raises:
        ConfigError: if nothing is set, or there is no such file or folder.
        PluginError: if a model of the hub is not here and cannot be downloaded.
    """
    if not checkpoint:
        raise ConfigError(f"{backend} needs model weights, found no checkpoint set; {how_to_get(backend)}")
    path = Path(checkpoint).expanduser()
    if path.exists():
        return path
    hub = HubId.parse(checkpoint)
    if hub is None:
        raise ConfigError(
            f"{backend}: expected model weights at {path}, found nothing; {how_to_get(backend)}"
        )
    return _cached(hub) or _downloaded(hub, backend)


def find_model_folder(checkpoint: str | None, *, backend: str) -> Path:
    """Return the folder in the layout of transformers that a setting means; as `find_weights`.

    A file of weights beside its ``config.json`` stands for the folder.
    """
    found = find_weights(checkpoint, backend=backend)
    return found.parent if found.is_file() and (found.parent / "config.json").is_file() else found


def local_weights(checkpoint: str | None) -> Path | None:
    """Return the file or folder that a setting means when it is on this machine already, else None."""
    if not checkpoint:
        return None
    path = Path(checkpoint).expanduser()
    if path.exists():
        return path
    hub = HubId.parse(checkpoint)
    return _cached(hub) if hub else None


def weight_files(path: Path) -> tuple[Path, ...]:
    """Return the files that hold the weights: the file itself, or the safetensors of a folder, sorted."""
    return tuple(sorted(path.glob("*.safetensors"))) if path.is_dir() else (path,)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name; see `my3dis.backends.torch_models.state_dict`."""
    from my3dis.backends.torch_models.state_dict import read_weights

    return read_weights(path).tensors


def _cached(hub: HubId) -> Path | None:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        folder = snapshot_download(
            hub.repository, revision=hub.revision, local_files_only=True, allow_patterns=_WANTED
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return Path(folder)


def _downloaded(hub: HubId, backend: str) -> Path:
    try:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
        )
    except ImportError as error:
        raise PluginError(
            f"{backend}: {hub.repository} is neither a path nor can it be downloaded without "
            "huggingface_hub; pip install 'my3dis[models]'"
        ) from error
    if constants.HF_HUB_OFFLINE:
        raise PluginError(
            f"{backend}: {hub.repository} is neither a path nor in the local cache {constants.HF_HUB_CACHE}, "
            "and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids downloading; unset it, or copy the model "
            f"here; {how_to_get(backend)}"
        )
    try:
        return Path(snapshot_download(hub.repository, revision=hub.revision, allow_patterns=_WANTED))
    except GatedRepoError as error:
        raise PluginError(
            f"{backend}: {hub.repository} is given out only to those who accepted its licence; accept it at "
            f"https://huggingface.co/{hub.repository}, then `hf auth login` or set HF_TOKEN"
        ) from error
    except (
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        HFValidationError,
        HfHubHTTPError,
        OSError,
    ) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise PluginError(
            f"{backend}: {hub.repository} is neither a path nor in the local cache, and could not be "
            f"downloaded ({type(error).__name__}: {reason}); "
            f"see whether the machine is online and the id right; {how_to_get(backend)}"
        ) from error
