"""What an archive's rows and tables must agree on; `my3dis.archive.verify` goes through them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from my3dis.archive.rows import mask_set, unpack
from my3dis.archive.wal import has_unseen_commits
from my3dis.errors import ArchiveError, DataError
from my3dis.masks import codec

__all__ = [
    "Problem",
    "check_containment",
    "check_index",
    "check_log",
    "check_mask",
    "check_orphans",
    "check_parents",
    "follow",
]

_Found = Iterator["Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in an archive; ``frame`` and ``mask_id`` are None where it is not about one."""

    what: str
    frame: int | None = None
    mask_id: int | None = None

    def __str__(self) -> str:
        place = "" if self.frame is None else f"frame {self.frame}: "
        mask = "" if self.mask_id is None else f"mask {self.mask_id}: "
        return place + mask + self.what


def check_mask(row: tuple[Any, ...], frame: int, size: tuple[int, int]) -> str | None:
    """Return what is wrong with a row, or None."""
    try:
        (rle,) = mask_set(frame, size, [row]).rle
        boxes, areas = codec.measure([rle], size)
        # A code that the codec would write is right; another one may be, or may overflow in other readers.
        if codec.to_bytes(codec.to_rle_mask(rle, size)) != rle:
            pixels = sum(codec.parse_counts(rle))
            if pixels != size[0] * size[1]:
                return f"expected runs of {size[0] * size[1]} pixels, found {pixels}"
    except (ArchiveError, DataError) as error:
        return str(error)
    if areas[0] != row[9]:
        return f"expected the area {areas[0]} of its pixels, found {row[9]}"
    if tuple(boxes[0].tolist()) != row[5:9]:
        return f"expected the box {tuple(boxes[0].tolist())} of its pixels, found {row[5:9]}"
    return None


def check_parents(db: sqlite3.Connection, frame: int) -> _Found:
    """Report masks whose parent is missing or at no coarser level."""
    sql = (
        "SELECT child.mask_id, child.parent_id, parent.level, child.level FROM masks AS child "
        "LEFT JOIN masks AS parent ON parent.frame = child.frame AND parent.mask_id = child.parent_id "
        "WHERE child.frame = ? AND child.parent_id <> -1 "
        "AND (parent.mask_id IS NULL OR parent.level >= child.level) ORDER BY child.mask_id"
    )
    for mask_id, parent, parent_level, level in db.execute(sql, (frame,)):
        if parent_level is None:
            yield Problem(f"expected its parent {parent} in the same frame, found none", frame, mask_id)
        else:
            what = f"expected its parent {parent} at a level above {level}, found level {parent_level}"
            yield Problem(what, frame, mask_id)


def check_index(db: sqlite3.Connection, frame: int) -> _Found:
    """Report a frame whose rows the table frame_index describes otherwise."""
    listed = db.execute(
        "SELECT level, first_row, n FROM frame_index WHERE frame = ? ORDER BY level", (frame,)
    ).fetchmany(2**16)
    actual = db.execute(
        "SELECT level, min(row), count(*) FROM masks WHERE frame = ? GROUP BY level ORDER BY level", (frame,)
    ).fetchmany(2**16)
    if listed != actual:
        yield Problem(f"expected {actual[:4]} in the table frame_index, found {listed[:4]}", frame)


def check_containment(db: sqlite3.Connection, frame: int, size: tuple[int, int]) -> _Found:
    """Report masks with pixels outside their parent."""
    sql = (
        "SELECT child.mask_id, child.codec, child.rle, parent.codec, parent.rle FROM masks AS child "
        "JOIN masks AS parent ON parent.frame = child.frame AND parent.mask_id = child.parent_id "
        "WHERE child.frame = ? ORDER BY child.mask_id"
    )
    for mask_id, child_codec, child_rle, parent_codec, parent_rle in db.execute(sql, (frame,)):
        try:
            child = codec.to_rle_mask(unpack(child_codec, child_rle), size)
            parent = codec.to_rle_mask(unpack(parent_codec, parent_rle), size)
        except (ArchiveError, DataError):
            continue  # reported with the row itself
        outside = int((child - parent).area())
        if outside:
            yield Problem(
                f"expected a mask inside its parent, found {outside} pixels outside", frame, mask_id
            )


def check_log(path: Path) -> _Found:
    """Report commits in the writer's log that SQLite passes over because of damage before them."""
    if has_unseen_commits(path):
        yield Problem(f"the log {path.name}-wal is damaged: what was committed behind the damage is not seen")


def check_orphans(db: sqlite3.Connection) -> _Found:
    """Report rows of frames that the table frames doesn't list."""
    for table in ("masks", "frame_index"):
        sql = (
            f"SELECT frame, count(*) FROM {table} WHERE frame NOT IN (SELECT frame FROM frames) "  # noqa: S608
            "GROUP BY frame ORDER BY frame"
        )
        for frame, n in db.execute(sql):
            yield Problem(f"{n} rows of the table {table} are of a frame that frames doesn't list", frame)


def follow(after: tuple[int, int], rows: Sequence[tuple[Any, ...]], track_id: int) -> bool:
    """Tell whether rows of a track follow a (frame, mask_id) in order.

    A damaged index leads to rows of other tracks, or round in circles for ever.
    """
    whole = all(isinstance(value, int) for row in rows for value in row[1:4])
    keys = [after, *(row[1:3] for row in rows)]
    return whole and all(row[3] == track_id for row in rows) and all(a < b for a, b in pairwise(keys))
