"""Tell pieces of one object from neighbours, by how often one mask holds both and how often each has its own.

A proposer that cuts an object in two now and then shows it whole most of the time; one that joins two
neighbours now and then shows them apart most of the time. So two tracks are one object as soon as one mask
held both clearly more often than each had its own.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from my3dis.tracking.level_view import LevelView
from my3dis.tracking.lifecycle import Track
from my3dis.tracking.memory import MIN_POINTS
from my3dis.tracking.overlaps import MOSTLY, NOTABLE
from my3dis.tracking.sampling import contains

__all__ = ["Pieces"]

LEAD = 2
"""So many frames more together than apart make one object: slips of a proposer in a row are rare."""
TOUCHING_PX = 4
"""Boxes this close may be of pieces; tracks farther apart are not counted as seen apart."""


@dataclass(slots=True)
class Pieces:
    """Counts for every pair of neighbouring tracks how often they were together rather than apart.

    Bounded by the pairs of neighbours among the tracks that are remembered.

    Attributes:
        lead: frames together less frames apart, by pair of track ids, the smaller first.
    """

    lead: dict[tuple[int, int], int] = field(default_factory=dict)

    def observe(self, view: LevelView) -> list[tuple[int, list[Track]]]:
        """Count a frame's pairs, and return what turned out to be one object: candidate and its tracks.

        Args:
            view: with the candidates of known tracks assigned.
        """
        column_of = {track.track_id: column for column, track in view.owner.items()}
        found: list[tuple[int, list[Track]]] = []
        for column in range(len(view.candidates)):
            inside = self._inside(view, column, column_of)
            if len(inside) < 2:
                continue
            for a, b in combinations(inside, 2):
                self._count(a, b, 1)
            leader = min(inside, key=lambda t: (-t.hits, -t.memory.area_px, t.track_id))
            one = [leader, *(t for t in inside if t is not leader and self._are_one(leader, t))]
            if len(one) > 1:
                found.append((column, one))
        return found

    def count_apart(self, view: LevelView) -> None:
        """Count the neighbours that have a mask each, once all candidates of a frame are given."""
        columns = sorted(view.owner)
        boxes: NDArray[np.int32] = view.candidates.boxes[columns]
        for i, column in enumerate(columns):
            gap = np.maximum(boxes[i, :2] - boxes[i + 1 :, 2:], boxes[i + 1 :, :2] - boxes[i, 2:]).max(axis=1)
            for j in (i + 1 + np.flatnonzero(gap <= TOUCHING_PX)).tolist():
                self._count(view.owner[column], view.owner[columns[j]], -1)

    def forget(self, track_id: int) -> None:
        """Drop what is known of a track that is gone for good."""
        for pair in [pair for pair in self.lead if track_id in pair]:
            del self.lead[pair]

    def keep(self, remembered: Container[int]) -> None:
        """Drop what is known of tracks that are not remembered any longer."""
        for pair in [pair for pair in self.lead if not (pair[0] in remembered and pair[1] in remembered)]:
            del self.lead[pair]

    def _count(self, a: Track, b: Track, change: int) -> None:
        pair = _pair(a, b)
        self.lead[pair] = self.lead.get(pair, 0) + change

    def _are_one(self, a: Track, b: Track) -> bool:
        return self.lead.get(_pair(a, b), 0) >= LEAD

    def _inside(self, view: LevelView, column: int, column_of: dict[int, int]) -> list[Track]:
        """Return the tracks that a candidate holds: its owner, and those without a mask of their own."""
        shares, owner = view.overlaps.of_prediction[:, column], view.owner.get(column)
        inside = [] if owner is None or owner.tentative else [owner]
        for row in np.flatnonzero(view.established & (shares >= MOSTLY)).tolist():
            track = view.tracks[row]
            if track.track_id not in column_of and self._is_shown(view, row, column):
                inside.append(track)
        return inside

    @staticmethod
    def _is_shown(view: LevelView, row: int, column: int) -> bool:
        """Whether a track's surface is seen in a candidate: what is hidden behind it is no piece of it."""
        track = view.tracks[row]
        if not view.frame.is_posed or not track.memory.has_place:
            return track.misses == 0 and float(view.overlaps.of_candidate[row, column]) >= NOTABLE
        x_px, y_px, seen = view.frame.look_at(track.memory.points_m)
        hit = contains(view.candidates, column, x_px[seen], y_px[seen])
        return int(hit.sum()) >= MIN_POINTS and float(hit.mean()) >= MOSTLY


def _pair(a: Track, b: Track) -> tuple[int, int]:
    return min(a.track_id, b.track_id), max(a.track_id, b.track_id)
