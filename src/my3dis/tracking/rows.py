"""Collect the masks that a frame yields, number them, and point each at its parent's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from my3dis.types import NO_ID, MaskSet, MaskSource

__all__ = ["RowBuilder", "as_track_rows"]


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    mask: MaskSet
    track_id: int
    waits: bool
    parent_track: int


class RowBuilder:
    """Gathers the rows of one frame; `build` is called once at the end.

    Args:
        frame: any set of the frame, for its index and size.
    """

    def __init__(self, frame: MaskSet) -> None:
        self._frame = frame
        self._entries: list[_Entry] = []
        self._track_of_candidate: dict[int, int] = {}

    def add_candidate(self, candidates: MaskSet, position: int, track_id: int, *, waits: bool) -> None:
        """Take a candidate as the mask of a track; one that waits is numbered but not written yet."""
        mask = candidates.select([position])
        self._entries.append(_Entry(mask, track_id, waits, NO_ID))
        if not waits:
            self._track_of_candidate[int(mask.mask_id[0])] = track_id

    def add_carried(self, predictions: MaskSet, position: int, track_id: int, *, parent_track: int) -> None:
        """Take a prediction as the mask of a track; its parent is the row of a track, if it has one."""
        mask = as_track_rows(predictions.select([position]))
        self._entries.append(_Entry(mask, track_id, False, parent_track))

    def build(self) -> tuple[MaskSet, Mapping[int, MaskSet], Mapping[int, int]]:
        """Return the rows by level and track, the waiting masks by track, and each track's parent track."""
        entries = sorted(self._entries, key=lambda e: (e.waits, int(e.mask.level[0]), e.track_id))
        written = [e for e in entries if not e.waits]
        number = {e.track_id: i for i, e in enumerate(written)}
        parents: dict[int, int] = {}
        numbered: list[MaskSet] = []
        for i, entry in enumerate(entries):
            parent = entry.parent_track
            if parent == NO_ID:
                parent = self._track_of_candidate.get(int(entry.mask.parent_id[0]), NO_ID)
            parents[entry.track_id] = parent
            numbered.append(
                replace(
                    entry.mask,
                    mask_id=np.array([i], np.int32),
                    track_id=np.array([entry.track_id], np.int32),
                    parent_id=np.array([number.get(parent, NO_ID)], np.int32),
                )
            )
        n = len(written)
        rows = MaskSet.concatenate([MaskSet.empty(self._frame.frame, self._frame.image_size), *numbered[:n]])
        waiting = {e.track_id: m for e, m in zip(entries[n:], numbered[n:], strict=True)}
        return rows, waiting, parents


def as_track_rows(predictions: MaskSet) -> MaskSet:
    """Return predictions as masks to be written: source ``TRACK``, parents unset."""
    n = len(predictions)
    return replace(
        predictions,
        source=np.full(n, MaskSource.TRACK, np.int8),
        parent_id=np.full(n, NO_ID, np.int32),
        stability=predictions.score,
    )
