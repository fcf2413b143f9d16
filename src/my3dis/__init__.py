"""My3DIS: instance masks at several granularities, tracked through a scan and lifted to 3D.

The public names below are loaded when they are first used, so that ``import my3dis`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from my3dis.archive import StreamingSegmentWriter, open_archive
    from my3dis.config import Config
    from my3dis.config.load import load_config
    from my3dis.errors import My3DISError
    from my3dis.pipeline import RunResult, run_scan
    from my3dis.plugins import open_scan
    from my3dis.types import Frame, InstanceSet, MaskSet, TrackSet

__version__ = "0.1.0"

__all__ = [
    "Config",
    "Frame",
    "InstanceSet",
    "MaskSet",
    "My3DISError",
    "RunResult",
    "StreamingSegmentWriter",
    "TrackSet",
    "__version__",
    "load_config",
    "open_archive",
    "open_scan",
    "run_scan",
]

_HOMES = {
    "Config": "my3dis.config",
    "Frame": "my3dis.types",
    "InstanceSet": "my3dis.types",
    "MaskSet": "my3dis.types",
    "My3DISError": "my3dis.errors",
    "RunResult": "my3dis.pipeline",
    "StreamingSegmentWriter": "my3dis.archive",
    "TrackSet": "my3dis.types",
    "load_config": "my3dis.config.load",
    "open_archive": "my3dis.archive",
    "open_scan": "my3dis.plugins",
    "run_scan": "my3dis.pipeline",
}


def __getattr__(name: str) -> object:
    """Load a public name on its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'my3dis' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
