"""Follow the true object that a prompt overlaps most: an upper bound for every other tracker.

It reads label images of the ground truth, so its results are no results of the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.ground_truth import load_frame_labels
from my3dis.errors import DataError, PluginError
from my3dis.masks import codec
from my3dis.masks.build import from_codes
from my3dis.protocols import BackendOptions, TrackerPlugin
from my3dis.tracking.snapshot import flatten, restored
from my3dis.types import Frame, MaskSet, MaskSource

__all__ = ["PLUGIN", "OracleTracker"]

Kind = Literal["instance", "part"]
KINDS: tuple[Kind, ...] = ("instance", "part")


class OracleTracker:
    """A `MaskTracker` that looks the answer up; it keeps two numbers per held object."""

    def __init__(self, ground_truth: Path) -> None:
        self._folder = ground_truth
        self._labels: dict[Kind, NDArray[np.int32]] = {}
        self._held: dict[int, tuple[Kind, int, int]] = {}

    def __len__(self) -> int:
        """Return the number of held objects."""
        return len(self._held)

    def step(self, frame: Frame) -> MaskSet:
        """Advance to a frame; see `MaskTracker.step`.

        Raises:
            DataError: if the frame has no label images, or they have another size than its colour.
        """
        self._labels = {kind: load_frame_labels(self._folder, frame.name, kind) for kind in KINDS}
        for kind, labels in self._labels.items():
            if labels.shape != frame.image_size:
                raise DataError(
                    f"{self._folder / kind}: expected labels of the colour's size {frame.image_size}, "
                    f"found {labels.shape} for frame {frame.name!r}"
                )
        rows = []
        for track_id, (kind, label, level) in self._held.items():
            mask = self._labels[kind] == label
            if mask.any():
                rows.append((codec.encode(mask), track_id, level))
        return from_codes(
            [rle for rle, _, _ in rows],
            frame=frame.index,
            image_size=frame.image_size,
            mask_id=np.arange(len(rows)),
            level=np.array([level for _, _, level in rows], np.int16),
            track_id=np.array([track for _, track, _ in rows], np.int32),
            source=MaskSource.TRACK,
        )

    def prompt(self, frame: Frame, masks: MaskSet) -> None:
        """Find the true object or part with the largest overlap; see `MaskTracker.prompt`."""
        for row, track_id in enumerate(masks.track_id.tolist()):
            found = self._best(masks.rle[row], frame.image_size) if masks.area_px[row] else None
            if found is None:
                self._held.pop(track_id, None)
            else:
                self._held[track_id] = (*found, int(masks.level[row]))

    def drop(self, track_ids: Sequence[int]) -> None:
        """Forget objects; unknown ids are ignored."""
        for track_id in track_ids:
            self._held.pop(track_id, None)

    def snapshot(self) -> Mapping[str, NDArray[Any]]:
        """Return what is held; see `Snapshotting`."""
        return flatten(self._held)

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a snapshot; see `Snapshotting`."""
        self._held = restored(arrays)

    def _best(self, rle: bytes, image_size: tuple[int, int]) -> tuple[Kind, int] | None:
        mask = codec.decode(rle, image_size)
        best: tuple[float, Kind, int] | None = None
        for kind, labels in self._labels.items():
            ids, shared = np.unique(labels[mask], return_counts=True)
            for label, pixels in zip(ids.tolist(), shared.tolist(), strict=True):
                union = int(mask.sum()) + int((labels == label).sum()) - pixels
                # An object of one part is the same mask twice: the object wins the tie, being listed first.
                if label and (best is None or pixels / union > best[0]):
                    best = (pixels / union, kind, label)
        return None if best is None else (best[1], best[2])


def create(options: BackendOptions) -> OracleTracker:
    """Make a tracker.

    Raises:
        PluginError: if the scan has no ground truth.
    """
    # Annotations of a data set tell vertices apart, not pixels.
    if options.ground_truth is None or not options.ground_truth.is_dir():
        raise PluginError(
            "tracker 'oracle' needs a scan with ground truth, found none; choose propagator=auto"
        )
    return OracleTracker(options.ground_truth)


PLUGIN = TrackerPlugin(
    summary="ground truth masks; an upper bound for experiments, not a result",
    version="1",
    create=create,
    resumable="checkpoint",
)
