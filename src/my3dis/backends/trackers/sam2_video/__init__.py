"""Track with the video models of the SAM 2 family: SAM 2 and 2.1, EdgeTAM, and the tracker of SAM 3.

Which of them it is follows from the checkpoint's ``config.json``. The models come from transformers (extra
``sam2``); frames are read one at a time, and what the model remembers of an object stays within its memory
window, so that memory does not grow with the length of the scan. Importing this needs no torch.

Proven with random weights only (the published ones were not at hand): with one object in a pass, as is the
default, pruning, births and corrections change no bit of what the library computes for an object alone; more
in a pass round memories differently. EdgeTAM was run with a Hiera backbone in place of its own (RepViT comes
from timm, which needs torchvision), the tracker of SAM 3 with a small ViT.
"""

from __future__ import annotations

from my3dis.backends.torch_models.environment import unchanged_environment
from my3dis.backends.torch_models.extras import needs_extra
from my3dis.protocols import BackendOptions, MaskTracker, TrackerPlugin

__all__ = ["PLUGIN", "create"]


def create(options: BackendOptions) -> MaskTracker:
    """Make a tracker for one pass; the model is loaded at the first prompt.

    Raises:
        PluginError: if torch or transformers is missing, or a model of the hub cannot be had.
        ConfigError: if no checkpoint is set or there, or an option is none.
        ResourceError: if there is no such device.
    """
    with unchanged_environment():
        with needs_extra("sam2_video", "sam2"):
            from my3dis.backends.trackers.sam2_video.tracker import Sam2VideoTracker, TrackerOptions
        return Sam2VideoTracker(TrackerOptions.of(options))


PLUGIN = TrackerPlugin(
    summary="SAM 2 / 2.1, EdgeTAM or SAM 3's tracker, by the checkpoint; needs the extra sam2 and weights",
    version="1",
    create=create,
    resumable="checkpoint",
)
