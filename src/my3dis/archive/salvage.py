"""Save every sound mask of a damaged archive into a new one."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from my3dis.archive.connect import connect_read_only, translated
from my3dis.archive.lock import LOGS
from my3dis.archive.rows import mask_set
from my3dis.archive.schema import MAX_FRAME_BYTES
from my3dis.archive.survey import FrameStock, Survey
from my3dis.archive.writer import StreamingSegmentWriter
from my3dis.errors import ArchiveError
from my3dis.types import NO_ID, MaskSet

__all__ = ["LostMask", "SalvageReport", "format_salvage", "salvage"]

logger = logging.getLogger(__name__)

_MAX_LISTED = 100


@dataclass(frozen=True, slots=True)
class LostMask:
    """A mask that could not be saved; ``mask_id`` is None where nothing names it any more."""

    frame: int
    mask_id: int | None

    def __str__(self) -> str:
        return f"frame {self.frame}: " + ("a mask" if self.mask_id is None else f"mask {self.mask_id}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SalvageReport:
    """What `salvage` saved and what not.

    Attributes:
        path: the damaged archive.
        out: the new one.
        frames, masks: how many were saved.
        lost: the first 100 lost masks, by frame; of a frame those first that something still names.
        n_lost: how many masks are lost for certain.
        lost_frames: how many frames are missing as a whole, masks and all.
        orphans: saved masks whose parent is lost; they have none in the new archive.
        dropped: entries saved of the log of masks that the stage did not keep.
        is_dropped_whole: whether that log could be read to its end.
    """

    path: Path
    out: Path
    frames: int
    masks: int
    lost: tuple[LostMask, ...]
    n_lost: int
    lost_frames: int
    orphans: int
    dropped: int
    is_dropped_whole: bool

    @property
    def is_whole(self) -> bool:
        """Whether no mask and no frame is lost."""
        return not self.n_lost and not self.lost_frames


def salvage(path: str | Path, out: str | Path) -> SalvageReport:
    """Write every mask of an archive whose row fits its checksum into a new, sound archive.

    Rows are found in the bytes of the file, so damage to SQLite's structure, to the header or the end of the
    file costs no more than the rows it hits. The new archive has the same frames, ids, tracks and pixels, the
    purpose, but no stage digest: a run does not take it for a finished stage. Memory is that of one frame.

    Args:
        path: the archive, damaged or not; a log left by its writer is read too.
        out: the new file; its folder must exist and it must not.

    Raises:
        ArchiveError: if the file cannot be read, holds nothing of an archive, or ``out`` exists.
        ResourceError: if the disk is full.
    """
    path, out = Path(path), Path(out)
    if not path.is_file():
        raise ArchiveError(f"expected a mask archive at {path}, found none")
    if out.exists():
        raise ArchiveError(f"expected a new file to save masks in, found {out} there already; name another")
    notes = _read_notes(path)
    partial = out.with_name(f".tmp-{os.getpid()}-{out.name}")
    try:
        with Survey(path) as survey, StreamingSegmentWriter(partial, purpose=notes.purpose) as writer:
            transfer = _Transfer(writer)
            for stock in survey.frames():
                transfer.frame(stock, survey)
            if not transfer.frames:
                raise ArchiveError(
                    f"found nothing of a mask archive in {path}; check the path, or run the stage again"
                )
            dropped, whole = _save_dropped(path, writer)
        partial.replace(out)
    finally:
        for suffix in ("", *LOGS, "-lock"):
            with contextlib.suppress(OSError):
                partial.with_name(partial.name + suffix).unlink()
    return SalvageReport(
        path=path,
        out=out,
        frames=transfer.frames,
        masks=transfer.masks,
        lost=tuple(transfer.lost),
        n_lost=transfer.n_lost,
        lost_frames=max(notes.frames - transfer.frames, 0),
        orphans=transfer.orphans,
        dropped=dropped,
        is_dropped_whole=whole,
    )


class _Transfer:
    """Carries frames into the new archive and counts."""

    def __init__(self, writer: StreamingSegmentWriter) -> None:
        self._writer = writer
        self.frames = 0
        self.masks = 0
        self.orphans = 0
        self.n_lost = 0
        self.lost: list[LostMask] = []

    def frame(self, stock: FrameStock, survey: Survey) -> None:
        size, sets, n_rows, n_bytes = stock.image_size, [], 0, 0
        for row in survey.rows(stock.frame):
            n_rows += 1
            size = size or (row[13], row[14])
            found = _one_mask(stock.frame, size, row)
            if found is not None and n_bytes + len(found.rle[0]) <= MAX_FRAME_BYTES:
                sets.append(found)
                n_bytes += len(found.rle[0])
        if size is None:
            return  # a writer that is at work has moved the rows meanwhile
        masks = MaskSet.concatenate(sets) if sets else MaskSet.empty(stock.frame, size)
        orphans = (masks.parent_id != NO_ID) & ~np.isin(masks.parent_id, masks.mask_id)
        if orphans.any():
            masks = dataclasses.replace(masks, parent_id=np.where(orphans, NO_ID, masks.parent_id))
        self._writer.append_frame(stock.frame, masks)
        self.frames += 1
        self.masks += len(masks)
        self.orphans += int(orphans.sum())
        self._count_lost(stock, n_rows - len(masks))

    def _count_lost(self, stock: FrameStock, n_unusable: int) -> None:
        n = stock.n_lost + n_unusable
        self.n_lost += n
        ids = itertools.chain(stock.lost, itertools.repeat(None))
        room = _MAX_LISTED - len(self.lost)
        self.lost += [LostMask(stock.frame, mask_id) for mask_id in itertools.islice(ids, min(n, room))]


def _one_mask(frame: int, size: tuple[int, int], row: tuple[Any, ...]) -> MaskSet | None:
    try:
        return mask_set(frame, size, [row])
    except ArchiveError as error:
        # Its checksum fits, so a writer of its own made it like this.
        logger.debug("not saved: %s", error)
        return None


@dataclass(frozen=True, slots=True)
class _Notes:
    """What the table meta says, as far as SQLite can read it."""

    purpose: str | None = None
    frames: int = 0


def _read_notes(path: Path) -> _Notes:
    """Read the table meta; opening the file also undoes a commit that was left half done."""
    try:
        with contextlib.closing(connect_read_only(path)) as db, translated(path):
            meta = {str(key): str(value) for key, value in db.execute("SELECT key, value FROM meta LIMIT 16")}
    except ArchiveError as error:
        logger.debug("the notes of %s cannot be read: %s", path, error)
        return _Notes()
    listed = meta.get("frames", "0")
    return _Notes(meta.get("purpose"), int(listed) if listed.isascii() and listed.isdigit() else 0)


def _save_dropped(path: Path, writer: StreamingSegmentWriter) -> tuple[int, bool]:
    """Copy the log of dropped masks as far as SQLite can read it; returns how many, and whether all."""
    n = 0
    try:
        with contextlib.closing(connect_read_only(path)) as db, translated(path):
            rows = db.execute("SELECT frame, mask_id, level, reason FROM dropped ORDER BY frame, mask_id")
            for frame, group in itertools.groupby(rows, key=lambda row: row[0]):
                entries = [row for row in group if _is_entry(row)]
                if entries:
                    _, ids, levels, reasons = zip(*entries, strict=True)
                    writer.record_dropped(frame, ids, levels, reasons)
                    n += len(entries)
    except ArchiveError as error:
        logger.debug("the log of dropped masks of %s ends early: %s", path, error)
        return n, False
    return n, True


def _is_entry(row: tuple[Any, ...]) -> bool:
    return all(isinstance(value, int) for value in row[:3]) and isinstance(row[3], str)


def format_salvage(report: SalvageReport, limit: int = 10) -> str:
    """Return a few lines for a person: what was saved, then the first lost masks."""
    lines = [f"{report.out}: {report.masks} sound masks in {report.frames} frames saved"]
    if report.is_whole:
        lines.append("  no mask is lost")
    if report.n_lost:
        lines.append(f"  {report.n_lost} mask(s) lost:")
        lines += [f"    {lost}" for lost in report.lost[:limit]]
        if report.n_lost > limit:
            lines.append(f"    ... and {report.n_lost - limit} more")
    if report.lost_frames:
        lines.append(f"  {report.lost_frames} frame(s) lost as a whole")
    if report.orphans:
        lines.append(f"  {report.orphans} mask(s) are without parent now: it is lost")
    if not report.is_dropped_whole:
        lines.append(f"  of the log of dropped masks only {report.dropped} entries could be read")
    return "\n".join(lines)
