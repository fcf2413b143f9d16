"""The seams of My3DIS: what a scan reader, a mask proposer, a mask tracker and an exporter must offer.

A plug-in is one module (or package) with one value ``PLUGIN`` of the type named here; its name is the
module's name. See `my3dis.plugins` for how they are found.
"""

from __future__ import annotations

from my3dis.protocols.backends import (
    BackendOptions,
    BackendReport,
    MaskProposer,
    MaskTracker,
    ProposerPlugin,
    RegionProposer,
    Reporting,
    Resumable,
    Snapshotting,
    TrackerPlugin,
)
from my3dis.protocols.exports import Exporter, ExporterPlugin, ExportOption
from my3dis.protocols.scans import DatasetPlugin, SceneReader, StoredPoses

__all__ = [
    "BackendOptions",
    "BackendReport",
    "DatasetPlugin",
    "ExportOption",
    "Exporter",
    "ExporterPlugin",
    "MaskProposer",
    "MaskTracker",
    "ProposerPlugin",
    "RegionProposer",
    "Reporting",
    "Resumable",
    "SceneReader",
    "Snapshotting",
    "StoredPoses",
    "TrackerPlugin",
]
