"""Check an archive row by row, in memory for one mask only."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from my3dis.archive.checks import (
    Problem,
    check_containment,
    check_index,
    check_log,
    check_mask,
    check_orphans,
    check_parents,
)
from my3dis.archive.connect import is_damage, open_checked, translated
from my3dis.archive.rows import SELECT_MASK, check_size, frame_crc
from my3dis.archive.survey import FrameStock, Survey
from my3dis.errors import ArchiveError

__all__ = ["MAX_PROBLEMS", "Problem", "VerifyReport", "format_report", "verify"]

MAX_PROBLEMS = 100
"""The most problems that a report lists; further ones are only counted."""

_MAX_BAD_ROWS = 10_000
"""Rows that are remembered so as not to be counted twice."""

_Found = Iterator[Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What `verify` found.

    Attributes:
        path: the archive.
        finished: whether its writer closed it; an unfinished archive is no problem.
        frames, rows: number of frames and masks that were checked.
        problems: `MAX_PROBLEMS` of them at most, in the order of the file's frames.
        n_problems: how many there are.
        first_bad_row: about the lowest frame and mask id whose row is lost, without mask id where nothing
            tells it any more; where none is lost, the first problem that is about one mask.
        n_sound: with problems, how many masks have a row that fits its checksum, wherever it lies;
            `my3dis.archive.salvage.salvage` saves them.
    """

    path: Path
    finished: bool
    frames: int
    rows: int
    problems: tuple[Problem, ...]
    n_problems: int
    first_bad_row: Problem | None = None
    n_sound: int | None = None

    @property
    def ok(self) -> bool:
        """Whether everything checked was right."""
        return self.n_problems == 0


def format_report(report: VerifyReport, limit: int = 10) -> str:
    """Return a few lines for a person: the verdict, then the first problems."""
    checked = f"{report.rows} masks in {report.frames} frames checked"
    state = "" if report.finished else " (its writer has not closed it)"
    if report.ok:
        return f"{report.path}: ok, {checked}{state}"
    lines = [f"{report.path}: {report.n_problems} problem(s), {checked}{state}"]
    if report.first_bad_row is not None:
        lines.append(
            f"  first bad row: frame {report.first_bad_row.frame}, mask {report.first_bad_row.mask_id}"
        )
    lines += [f"  {problem}" for problem in report.problems[:limit]]
    if report.n_problems > limit:
        lines.append(f"  ... and {report.n_problems - limit} more")
    if report.n_sound:
        lines.append(
            f"  {report.n_sound} masks are sound: `my3dis verify {report.path} --salvage OUT` saves them in "
            "a new archive"
        )
    return "\n".join(lines)


def verify(path: str | Path, *, containment: bool = False) -> VerifyReport:
    """Check the whole archive: SQLite's own structure, every checksum, code, area, box, parent and count.

    Where something is wrong the pages of the file are read without SQLite too, so that every bad row is named
    that anything still names, and every sound one is known.

    Args:
        path: the archive; it may be written at the same time.
        containment: also report masks with pixels outside their parent.

    Raises:
        ArchiveError: if the file is missing, cannot be read, or is not recognisable as an archive.
        ResourceError: if the disk for temporary files is full.
    """
    path = Path(path)
    check = _Check(path, containment)
    n_sound = None
    try:
        db = open_checked(path)
    except ArchiveError as error:
        if not (path.is_file() and is_damage(error)):
            raise
        n_sound = check.survey(str(error))
        if n_sound is None:
            raise
    else:
        with contextlib.closing(db):
            for problem in check.run(db):
                check.add(problem)
            if check.n_problems:
                n_sound = check.survey()
    return VerifyReport(
        path=path,
        finished=check.finished,
        frames=check.frames,
        rows=check.rows,
        problems=tuple(check.problems),
        n_problems=check.n_problems,
        first_bad_row=check.first_bad_row,
        n_sound=n_sound,
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
        self._first_bad_row: Problem | None = None
        self._first_lost: Problem | None = None
        self._bad_rows: set[tuple[int, int]] = set()

    @property
    def first_bad_row(self) -> Problem | None:
        """The first lost row; where none is lost, the first that does not fit the others."""
        return self._first_lost or self._first_bad_row

    def add(self, problem: Problem) -> None:
        """Count a problem, keep it among the first, and remember which row it is about."""
        self.n_problems += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        if problem.frame is None or problem.mask_id is None:
            return
        first = self._first_bad_row
        if first is None or (problem.frame, problem.mask_id) < (first.frame, first.mask_id):
            self._first_bad_row = problem
        if len(self._bad_rows) < _MAX_BAD_ROWS:
            self._bad_rows.add((problem.frame, problem.mask_id))

    def run(self, db: sqlite3.Connection) -> _Found:
        """Check what SQLite finds its way to."""
        yield from self._guarded(self._structure(db))
        yield from self._guarded(self._every_frame(db))
        yield from self._guarded(check_orphans(db))
        yield from self._guarded(check_log(self.path))

    def survey(self, why_closed: str | None = None) -> int | None:
        """Name the lost rows; returns the number of sound ones, or None where nothing is left of an archive.

        Args:
            why_closed: why SQLite cannot open the file, if it cannot.
        """
        with Survey(self.path) as survey:
            stocks = survey.frames()
            first = next(stocks, None)
            if first is None:
                return None
            if why_closed is not None:
                self.add(Problem(why_closed))
            frames = rows = 0
            for stock in itertools.chain([first], stocks):
                frames += 1
                rows += stock.n_sound + stock.n_lost
                self._report_lost(stock)
            self.frames, self.rows = max(self.frames, frames), max(self.rows, rows)
            return survey.n_sound

    def _report_lost(self, stock: FrameStock) -> None:
        for mask_id in stock.lost:
            problem = Problem("its row is damaged beyond reading", stock.frame, mask_id)
            if (stock.frame, mask_id) not in self._bad_rows:
                self.add(problem)
            if self._first_lost is None:
                self._first_lost = problem
        nameless = stock.n_lost - len(stock.lost)
        if nameless:
            problem = Problem(f"{nameless} masks are lost that no row names any more", stock.frame)
            self.add(problem)
            self._first_lost = self._first_lost or problem

    def _guarded(self, part: _Found, frame: int | None = None) -> _Found:
        """Turn an error that ends one part of the check into a problem, so that the next part runs."""
        try:
            with translated(self.path):
                yield from part
        except ArchiveError as error:
            # The advice in the message is to call this function.
            cause = error.__cause__
            what = f"SQLite cannot read on: {cause}" if isinstance(cause, sqlite3.Error) else str(error)
            yield Problem(what, frame)
        except (OverflowError, struct.error) as error:
            yield Problem(f"a value cannot be read ({error})", frame)

    def _structure(self, db: sqlite3.Connection) -> _Found:
        self.finished = db.execute("SELECT value FROM meta WHERE key = 'finished'").fetchone() == ("1",)
        for (line,) in db.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})"):
            for each in str(line).removeprefix("*** in database main ***").split("\n"):
                if each not in ("", "ok"):
                    yield Problem(f"SQLite finds: {each}")

    def _every_frame(self, db: sqlite3.Connection) -> _Found:
        after = (-(2**63),)
        sql = "SELECT frame, height, width, n, crc32 FROM frames WHERE frame > ? ORDER BY frame LIMIT 1"
        while True:
            # One short transaction for each frame: a writer with the rollback journal waits for readers.
            db.execute("BEGIN")
            try:
                head = db.execute(sql, after).fetchone()
                if head is None:
                    break
                if not isinstance(head[0], int) or head[0] <= after[0]:
                    # A damaged page can send a search round in circles.
                    yield Problem(f"the table frames is out of order: frame {head[0]} follows {after[0]}")
                    break
                self.frames += 1
                # All at once, since nobody knows how long the caller takes over one.
                yield from list(self._guarded(self._frame(db, head[:4], head[4]), head[0]))
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            after = head[:1]
        listed, found = db.execute(
            "SELECT (SELECT value FROM meta WHERE key = 'frames'), (SELECT count(*) FROM frames)"
        ).fetchone()
        if listed != str(found):
            yield Problem(f"expected {listed} frames as the table meta says, found {found}")

    def _frame(self, db: sqlite3.Connection, head: tuple[Any, ...], crc: int) -> _Found:
        frame, height, width, n = head
        size = check_size(height, width)
        if not isinstance(n, int) or crc != frame_crc(frame, *size, n):
            yield Problem("its row in the table frames does not fit its checksum", frame)
        found = 0
        for row in db.execute(f"{SELECT_MASK} WHERE frame = ? ORDER BY mask_id", (frame,)):
            found += 1
            self.rows += 1
            problem = check_mask(row, frame, size)
            if problem:
                yield Problem(problem, frame, row[2])
        if found != n:
            yield Problem(f"expected {n} masks as the table frames says, found {found}", frame)
        yield from check_parents(db, frame)
        yield from check_index(db, frame)
        if self.containment:
            yield from check_containment(db, frame, size)
