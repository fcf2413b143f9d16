"""The models that share SAM 2's video interface, and how one is loaded from a folder.

A loaded model lives as long as a tracker that uses it: trackers of the same checkpoint share it meanwhile.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from my3dis.backends.torch_models.devices import torch_errors
from my3dis.backends.torch_models.environment import unchanged_environment
from my3dis.backends.torch_models.images import IMAGENET_MEAN, IMAGENET_STD, Channels
from my3dis.backends.torch_models.pretrained import load_pretrained, model_type, require_tensors
from my3dis.backends.torch_models.sources import how_to_get
from my3dis.backends.trackers.sam2_video.library import Network, Session
from my3dis.errors import ConfigError, PluginError

__all__ = ["FAMILIES", "Family", "VideoModel", "family_of", "load", "loaded"]

BACKEND = "sam2_video"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models of one architecture.

    Attributes:
        name: what people call it.
        model_types: ``model_type`` in the checkpoint's ``config.json``.
        model_class, session_class: names in transformers.
        mean, std: of the colour channels after scaling to 0..1, as the published processors have them.
    """

    name: str
    model_types: tuple[str, ...]
    model_class: str
    session_class: str
    mean: Channels
    std: Channels


_HALF = (0.5, 0.5, 0.5)
FAMILIES: tuple[Family, ...] = (
    Family(
        name="SAM 2",
        model_types=("sam2_video",),
        model_class="Sam2VideoModel",
        session_class="Sam2VideoInferenceSession",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ),
    Family(
        name="EdgeTAM",
        model_types=("edgetam_video",),
        model_class="EdgeTamVideoModel",
        session_class="EdgeTamVideoInferenceSession",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ),
    Family(
        name="SAM 3 tracker",
        # The published checkpoint holds the detector too; transformers takes the tracker's part of it.
        model_types=("sam3_tracker_video", "sam3_video"),
        model_class="Sam3TrackerVideoModel",
        session_class="Sam3TrackerVideoInferenceSession",
        mean=_HALF,
        std=_HALF,
    ),
)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class VideoModel:
    """A loaded model with what a session needs to know of it.

    Attributes:
        network: the model of transformers, in evaluation mode.
        family: its architecture.
        device: where it runs.
        dtype: in which precision.
    """

    network: Network
    family: Family
    device: torch.device
    dtype: torch.dtype

    @property
    def image_size_px(self) -> int:
        """Side of the square that images are resized to."""
        size = self.network.config.image_size
        return int(size if isinstance(size, int) else size[0])

    @property
    def memory_frames(self) -> int:
        """Earlier frames whose spatial memory the model looks at."""
        return int(self.network.config.num_maskmem) - 1

    @property
    def pointer_frames(self) -> int:
        """Earlier frames whose object pointer the model looks at."""
        return int(self.network.config.max_object_pointers_in_encoder) - 1

    def new_session(self, state_device: torch.device) -> Session:
        """Return an empty streaming session of the library."""
        new_session: Callable[..., Session] = _of_transformers(self.family.session_class)
        return new_session(
            inference_device=self.device,
            inference_state_device=state_device,
            video_storage_device=self.device,
            dtype=self.dtype,
        )


_Key = tuple[Path, torch.device, torch.dtype]
_LOADED: weakref.WeakValueDictionary[_Key, VideoModel] = weakref.WeakValueDictionary()
_LOCK = threading.Lock()


def loaded(folder: Path, device: torch.device, dtype: torch.dtype) -> VideoModel | None:
    """Return the model if some tracker holds it at the moment."""
    return _LOADED.get((folder.resolve(), device, dtype))


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> VideoModel:
    """Load a model, or share the one that another tracker holds.

    Raises:
        ConfigError: if the folder holds no model of these families.
        DataError: if its weights are damaged or incomplete, naming what is missing.
        PluginError: if transformers lacks the family, or the model's backbone needs a missing library.
        ResourceError: if the memory does not suffice.
    """
    key = (folder.resolve(), device, dtype)
    with _LOCK:
        model = _LOADED.get(key)
        if model is None:
            family = family_of(folder)
            with unchanged_environment(), torch_errors(f"loading {family.name} onto {device}"):
                network = _network(folder, family, dtype).to(device)
            model = VideoModel(network, family, device, dtype)
            _LOADED[key] = model
        return model


def family_of(folder: Path) -> Family:
    """Return the family of the model in a folder, by its ``config.json``.

    Raises:
        ConfigError: if there is none, or it is of a model that is no video model of these families.
    """
    found = model_type(folder, BACKEND)
    for family in FAMILIES:
        if found in family.model_types:
            return family
    known = ", ".join(name for family in FAMILIES for name in family.model_types)
    raise ConfigError(
        f"{BACKEND}: expected a model of type {known} in {folder / 'config.json'}, found {found!r}; "
        f"{how_to_get(BACKEND)}"
    )


def _network(folder: Path, family: Family, dtype: torch.dtype) -> Network:
    model_class = _of_transformers(family.model_class)
    found = load_pretrained(model_class, folder, backend=BACKEND, name=family.name, dtype=dtype)
    require_tensors(found, folder, family.name)
    network: Network = found.model
    return network


def _of_transformers(name: str) -> Any:  # noqa: ANN401 - a class without types
    found = getattr(transformers, name, None)
    if found is None:
        raise PluginError(
            f"transformers {transformers.__version__} has no {name}; pip install 'transformers>=5.23'"
        )
    return found
