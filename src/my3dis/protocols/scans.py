"""What a scan reader must offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from my3dis.types import Frame, ScanOverview, SceneCloud

__all__ = [
    "DatasetPlugin",
    "SceneReader",
    "StoredPoses",
]


class SceneReader(Protocol):
    """Reads one scan, a frame at a time; opening it decodes no image beyond the first."""

    @property
    def overview(self) -> ScanOverview:
        """What was found in the scan."""
        ...

    def __len__(self) -> int:
        """Return the number of frames before slicing."""
        ...

    def frame(self, index: int) -> Frame:
        """Load the frame at a position of the numerically sorted list.

        Raises:
            DataError: naming the file that is missing, truncated or does not fit.
        """
        ...

    def cloud(self) -> SceneCloud | None:
        """Load the scan's mesh or point cloud, or return None when it has none.

        Raises:
            DataError: if the file is there but unreadable.
        """
        ...

    def fingerprint(self) -> str:
        """Return a digest that changes when any input file of the scan changes (ground truth excluded)."""
        ...


@runtime_checkable
class StoredPoses(Protocol):
    """Offered by readers that keep poses as they are stored, so that a wrong convention can be recognised."""

    def stored_pose(self, index: int) -> NDArray[np.float64] | None:
        """Return the (4, 4) float64 matrix stored for a frame, rigid or not; None when there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPlugin:
    """A data set's layout on disk.

    Attributes:
        summary: one line for ``my3dis plugins``.
        detect: whether a path has this layout; looks at names only and must be quick.
        open: make a reader; raises DataError when the layout turns out unusable.
        priority: larger is tried first by ``--dataset auto`` (specific layouts before general ones).
    """

    summary: str
    detect: Callable[[Path], bool]
    open: Callable[[Path], SceneReader]
    priority: int = 0
