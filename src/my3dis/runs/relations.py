"""The file ``relations.json``: parents of tracks, and which tracks were merged into which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from my3dis.errors import DataError
from my3dis.runs.files import atomic_write_json, read_json
from my3dis.tracking.lifecycle import Merge
from my3dis.tracking.relations import TrackParent
from my3dis.types import NO_ID, TrackSet

__all__ = ["Relations", "load_relations", "save_relations"]

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Relations:
    """The tree over the tracks of a scan.

    Attributes:
        parents: every track with its parent, ascending by track id.
        merges: tracks that became part of another; ids of merged tracks are gone from the archive.

    Raises:
        DataError: if ids repeat, or a parent is missing or not of a coarser level.
    """

    parents: tuple[TrackParent, ...]
    merges: tuple[Merge, ...] = ()

    def __post_init__(self) -> None:
        level = {entry.track_id: entry.level for entry in self.parents}
        if len(level) != len(self.parents):
            raise DataError("Relations.parents: expected each track once, found repeats")
        for entry in self.parents:
            # A parent on a coarser level also rules out circles.
            if entry.parent_id != NO_ID and level.get(entry.parent_id, entry.level) >= entry.level:
                raise DataError(
                    f"Relations.parents: expected the parent of track {entry.track_id} to be a track of a "
                    f"level coarser than {entry.level}, found track {entry.parent_id}"
                )

    def parent_of(self, track_id: int) -> int:
        """Return the parent of a track, -1 for none or an unknown track."""
        return next((e.parent_id for e in self.parents if e.track_id == track_id), NO_ID)

    def apply_to(self, tracks: TrackSet) -> TrackSet:
        """Return the tracks with their parents set; tracks not listed, or whose parent is gone, have none."""
        parent = {entry.track_id: entry.parent_id for entry in self.parents}
        present = {NO_ID, *tracks.track_id.tolist()}
        chosen = (parent.get(t, NO_ID) for t in tracks.track_id.tolist())
        return replace(tracks, parent_id=np.array([p if p in present else NO_ID for p in chosen], np.int32))


def save_relations(path: Path, relations: Relations) -> None:
    """Write the file in one step.

    Raises:
        ResourceError: if the disk is full or the folder cannot be written.
    """
    atomic_write_json(
        path,
        {
            "format": FORMAT,
            "tracks": [asdict(entry) for entry in relations.parents],
            "merges": [asdict(merge) for merge in relations.merges],
        },
    )


def load_relations(path: Path) -> Relations:
    """Read the file.

    Raises:
        DataError: if it is missing, no JSON, of another format or inconsistent.
    """
    content = read_json(path)
    try:
        return _parse(content)
    except DataError as error:
        raise DataError(f"{path}: {error}; run the track stage again") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f'{path}: expected {{"format": {FORMAT}, "tracks": [...], "merges": [...]}}, found something '
            f"else ({type(error).__name__}: {error}); run the track stage again"
        ) from error


def _parse(content: object) -> Relations:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise TypeError(f"no object with format {FORMAT}")
    return Relations(
        parents=tuple(_parent(entry) for entry in content["tracks"]),
        merges=tuple(_merge(entry) for entry in content["merges"]),
    )


def _parent(entry: Mapping[str, object]) -> TrackParent:
    return TrackParent(
        track_id=_whole(entry["track_id"]),
        level=_whole(entry["level"]),
        parent_id=_whole(entry["parent_id"]),
        containment=_real(entry["containment"]),
    )


def _merge(entry: Mapping[str, object]) -> Merge:
    return Merge(
        old=_whole(entry["old"]),
        new=_whole(entry["new"]),
        reason=str(entry["reason"]),
        strength=_real(entry["strength"]),
    )


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _real(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number")
    return float(value)
