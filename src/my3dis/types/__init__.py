"""The core types: frozen, validated, without input or output."""

from my3dis.types.cloud import SceneCloud
from my3dis.types.frame import Camera, Frame, ScanOverview
from my3dis.types.instances import InstanceSet
from my3dis.types.masks import NO_ID, MaskSet, MaskSource
from my3dis.types.tracks import TrackSet

__all__ = [
    "NO_ID",
    "Camera",
    "Frame",
    "InstanceSet",
    "MaskSet",
    "MaskSource",
    "ScanOverview",
    "SceneCloud",
    "TrackSet",
]
