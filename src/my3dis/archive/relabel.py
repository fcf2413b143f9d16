"""Give tracks other numbers, checksums included, without reading a mask."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from my3dis.archive.rows import track_crc
from my3dis.errors import ArchiveError
from my3dis.types import NO_ID

__all__ = ["relabel", "resolved"]


def resolved(new_from_old: Mapping[int, int]) -> dict[int, int]:
    """Follow chains: ``{5: 3, 3: 1}`` becomes ``{5: 1, 3: 1}``; what stays as it is is left out.

    Raises:
        ArchiveError: if an id is negative (other than a new -1) or the mapping runs in a circle.
    """
    steps = {int(old): int(new) for old, new in new_from_old.items() if old != new}
    return {old: _end(steps, old) for old in steps}


def _end(steps: Mapping[int, int], old: int) -> int:
    seen = {old}
    new = steps[old]
    while new in steps:
        if new in seen:
            raise ArchiveError(f"expected a mapping of tracks without circles, found one through {new}")
        seen.add(new)
        new = steps[new]
    if old < 0 or new < NO_ID:
        raise ArchiveError(f"expected track ids of 0 or more (new: -1 or more), found {old} -> {new}")
    return new


def relabel(db: sqlite3.Connection, targets: Mapping[int, int]) -> None:
    """Carry out what `resolved` returned, inside a transaction of the caller."""
    for old, new in targets.items():
        delta = track_crc(old) ^ track_crc(new)
        # SQLite has no exclusive or: a ^ b = (a | b) - (a & b).
        db.execute(
            "UPDATE masks SET track_id = ?, crc32 = (crc32 | ?) - (crc32 & ?) WHERE track_id = ?",
            (new, delta, delta, old),
        )
