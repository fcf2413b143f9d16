"""Check an archive row by row, in memory for one mask only."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from my3dis.archive.connect import open_checked, translated
from my3dis.archive.rows import SELECT_MASK, check_size, frame_crc, mask_set, unpack
from my3dis.errors import ArchiveError, DataError
from my3dis.masks import codec

__all__ = ["MAX_PROBLEMS", "Problem", "VerifyReport", "format_report", "verify"]

MAX_PROBLEMS = 100
"""The most problems that a report lists; further ones are only counted."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What `verify` found.

    Attributes:
        path: the archive.
        finished: whether its writer closed it; an unfinished archive is no problem.
        frames, rows: number of frames and masks that were checked.
        problems: the first `MAX_PROBLEMS`, in the order of the file's frames.
        n_problems: how many there are.
    """

    path: Path
    finished: bool
    frames: int
    rows: int
    problems: tuple[Problem, ...]
    n_problems: int

    @property
    def ok(self) -> bool:
        """Whether everything checked was right."""
        return self.n_problems == 0

    @property
    def first_bad_row(self) -> Problem | None:
        """The first problem that is about one mask."""
        return next((p for p in self.problems if p.mask_id is not None), None)


def format_report(report: VerifyReport, limit: int = 10) -> str:
    """Return a few lines for a person: the verdict, then the first problems."""
    checked = f"{report.rows} masks in {report.frames} frames checked"
    state = "" if report.finished else " (its writer has not closed it)"
    if report.ok:
        return f"{report.path}: ok, {checked}{state}"
    lines = [f"{report.path}: {report.n_problems} problem(s), {checked}{state}"]
    lines += [f"  {problem}" for problem in report.problems[:limit]]
    if report.n_problems > limit:
        lines.append(f"  ... and {report.n_problems - limit} more")
    return "\n".join(lines)


def verify(path: str | Path, *, containment: bool = False) -> VerifyReport:
    """Check the whole archive: SQLite's own structure, every checksum, code, area, box, parent and count.

    Args:
        path: the archive; it may be written at the same time.
        containment: also report masks with pixels outside their parent.

    Raises:
        ArchiveError: if the file is missing or is not recognisable as an archive of this version.
    """
    path = Path(path)
    check = _Check(path, containment)
    db = open_checked(path)
    try:
        with translated(path):
            # One transaction: what a writer appends meanwhile is not seen, so counts must agree.
            db.execute("BEGIN")
        for problem in check.run(db):
            check.add(problem)
    finally:
        db.close()
    return VerifyReport(
        path=path,
        finished=check.finished,
        frames=check.frames,
        rows=check.rows,
        problems=tuple(check.problems),
        n_problems=check.n_problems,
    )


class _Check:
    """One pass over an archive; collects counts and problems."""

    def __init__(self, path: Path, containment: bool) -> None:
        self.path = path
        self.containment = containment
        self.finished = False
        self.frames = 0
        self.rows = 0
        self.problems: list[Problem] = []
        self.n_problems = 0

    def add(self, problem: Problem) -> None:
        self.n_problems += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def run(self, db: sqlite3.Connection) -> _Found:
        yield from self._guarded(self._structure(db))
        yield from self._guarded(self._every_frame(db))
        yield from self._guarded(_orphans(db))

    def _guarded(self, part: _Found, frame: int | None = None) -> _Found:
        """Turn an error that ends one part of the check into a problem, so that the next part runs."""
        try:
            with translated(self.path):
                yield from part
        except ArchiveError as error:
            yield Problem(str(error), frame)
        except (OverflowError, struct.error) as error:
            yield Problem(f"a value cannot be read ({error})", frame)

    def _structure(self, db: sqlite3.Connection) -> _Found:
        self.finished = db.execute("SELECT value FROM meta WHERE key = 'finished'").fetchone() == ("1",)
        for (line,) in db.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})"):
            if line != "ok":
                yield Problem(f"SQLite finds: {line}")

    def _every_frame(self, db: sqlite3.Connection) -> _Found:
        for frame, height, width, n, crc in db.execute(
            "SELECT frame, height, width, n, crc32 FROM frames ORDER BY frame"
        ):
            self.frames += 1
            yield from self._guarded(self._frame(db, (frame, height, width, n), crc), frame)
        (listed,) = db.execute("SELECT value FROM meta WHERE key = 'frames'").fetchone() or (None,)
        if listed != str(self.frames):
            yield Problem(f"expected {listed} frames as the table meta says, found {self.frames}")

    def _frame(self, db: sqlite3.Connection, head: tuple[Any, ...], crc: int) -> _Found:
        frame, height, width, n = head
        size = check_size(height, width)
        if not isinstance(n, int) or crc != frame_crc(frame, *size, n):
            yield Problem("its row in the table frames does not fit its checksum", frame)
        found = 0
        for row in db.execute(f"{SELECT_MASK} WHERE frame = ? ORDER BY mask_id", (frame,)):
            found += 1
            self.rows += 1
            problem = _check_mask(row, frame, size)
            if problem:
                yield Problem(problem, frame, row[2])
        if found != n:
            yield Problem(f"expected {n} masks as the table frames says, found {found}", frame)
        yield from _parents(db, frame)
        yield from _index(db, frame)
        if self.containment:
            yield from _outside_parent(db, frame, size)


def _check_mask(row: tuple[Any, ...], frame: int, size: tuple[int, int]) -> str | None:
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


def _parents(db: sqlite3.Connection, frame: int) -> _Found:
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


def _index(db: sqlite3.Connection, frame: int) -> _Found:
    listed = db.execute(
        "SELECT level, first_row, n FROM frame_index WHERE frame = ? ORDER BY level", (frame,)
    ).fetchmany(2**16)
    actual = db.execute(
        "SELECT level, min(row), count(*) FROM masks WHERE frame = ? GROUP BY level ORDER BY level", (frame,)
    ).fetchmany(2**16)
    if listed != actual:
        yield Problem(f"expected {actual[:4]} in the table frame_index, found {listed[:4]}", frame)


def _outside_parent(db: sqlite3.Connection, frame: int, size: tuple[int, int]) -> _Found:
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


def _orphans(db: sqlite3.Connection) -> _Found:
    for table in ("masks", "frame_index"):
        sql = (
            f"SELECT frame, count(*) FROM {table} WHERE frame NOT IN (SELECT frame FROM frames) "  # noqa: S608
            "GROUP BY frame ORDER BY frame"
        )
        for frame, n in db.execute(sql):
            yield Problem(f"{n} rows of the table {table} are of a frame that frames doesn't list", frame)
