"""Readers of the earlier system's run folders: streaming, bounded, and safe on hostile files.

Each reader yields one frame of one level at a time as `LegacyFrame`; `my3dis.runs.import_legacy` makes a run
of them. Nothing is unpickled or unpacked to disk, and no name in a file leads outside of it.
"""

from my3dis.archive.legacy.candidates import iter_candidates, iter_filtered
from my3dis.archive.legacy.frames import LegacyFrame
from my3dis.archive.legacy.masks import LegacyItem, LegacyMask
from my3dis.archive.legacy.raw import iter_raw
from my3dis.archive.legacy.relations import frame_tree, object_trees
from my3dis.archive.legacy.run import LegacyLevel, LegacyRun, open_legacy_run
from my3dis.archive.legacy.segments import iter_segments

__all__ = [
    "LegacyFrame",
    "LegacyItem",
    "LegacyLevel",
    "LegacyMask",
    "LegacyRun",
    "frame_tree",
    "iter_candidates",
    "iter_filtered",
    "iter_raw",
    "iter_segments",
    "object_trees",
    "open_legacy_run",
]
