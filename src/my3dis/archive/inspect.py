"""Say what is in an archive, without decoding a mask."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from my3dis.archive.connect import open_checked, translated
from my3dis.archive.schema import FORMAT_VERSION
from my3dis.errors import ArchiveError

__all__ = ["ArchiveSummary", "FrameIndexRow", "format_summary", "inspect"]


@dataclass(frozen=True, slots=True)
class FrameIndexRow:
    """Where the masks of a level of a frame begin in the table masks, and how many there are."""

    frame: int
    level: int
    first_row: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSummary:
    """What is in an archive.

    Attributes:
        path: the file.
        bytes: its size, with the log of a writer that has not closed it.
        format_version: version of the layout.
        application: the program and version that created it.
        purpose, stage_digest: as the writer said, or None.
        finished: whether the writer closed it.
        frames: number of frames, those without masks included.
        first_frame, last_frame: lowest and highest frame index, or None.
        masks: number of masks.
        levels: (level, number of masks), coarse to fine.
        tracks: (level, number of tracks), coarse to fine; a track is counted at each level it has.
        image_sizes: (height, width, number of frames).
        dropped: (reason, number of masks) that the stage did not keep, most first.
        rle_bytes: stored size of all run-length codes.
        frame_index: one row per frame and level.
    """

    path: Path
    bytes: int
    format_version: int
    application: str | None
    purpose: str | None
    stage_digest: str | None
    finished: bool
    frames: int
    first_frame: int | None
    last_frame: int | None
    masks: int
    levels: tuple[tuple[int, int], ...]
    tracks: tuple[tuple[int, int], ...]
    image_sizes: tuple[tuple[int, int, int], ...]
    dropped: tuple[tuple[str, int], ...]
    rle_bytes: int
    frame_index: tuple[FrameIndexRow, ...]

    @property
    def bytes_per_mask(self) -> float | None:
        """Size of the file over the number of masks; None without masks."""
        return self.bytes / self.masks if self.masks else None

    def to_json(self) -> str:
        """Return everything as one JSON object."""
        record: dict[str, Any] = asdict(self)
        record["path"] = str(self.path)
        record["bytes_per_mask"] = self.bytes_per_mask
        record["levels"] = [{"level": level, "masks": n} for level, n in self.levels]
        record["tracks"] = [{"level": level, "tracks": n} for level, n in self.tracks]
        record["image_sizes"] = [{"height": h, "width": w, "frames": n} for h, w, n in self.image_sizes]
        record["dropped"] = [{"reason": reason, "masks": n} for reason, n in self.dropped]
        return json.dumps(record, indent=1)


def inspect(path: str | Path) -> ArchiveSummary:
    """Summarise an archive; works while it is written.

    Raises:
        ArchiveError: if the file is missing, no archive, of another version or damaged.
    """
    path = Path(path)
    db = open_checked(path)
    try:
        with translated(path):
            db.execute("BEGIN")
            return _summarise(db, path)
    finally:
        db.close()


def _summarise(db: sqlite3.Connection, path: Path) -> ArchiveSummary:
    def whole(sql: str) -> tuple[tuple[int, ...], ...]:
        rows = tuple(db.execute(sql))
        if not all(isinstance(value, int) for row in rows for value in row):
            raise ArchiveError(f"expected whole numbers in the tables of {path}; the archive is damaged")
        return rows

    meta = {str(key): str(value) for key, value in db.execute("SELECT key, value FROM meta")}
    ((frames, masks),) = whole("SELECT count(*), coalesce(sum(n), 0) FROM frames")
    ends = whole("SELECT min(frame), max(frame) FROM frames GROUP BY NULL")
    ((rle_bytes,),) = whole("SELECT coalesce(sum(length(rle)), 0) FROM masks")
    per_reason = db.execute("SELECT reason, count(*) FROM dropped GROUP BY reason ORDER BY 2 DESC, 1")
    index = whole("SELECT frame, level, first_row, n FROM frame_index ORDER BY frame, level")
    log = path.with_name(path.name + "-wal")
    return ArchiveSummary(
        path=path,
        bytes=path.stat().st_size + (log.stat().st_size if log.exists() else 0),
        format_version=FORMAT_VERSION,
        application=meta.get("application"),
        purpose=meta.get("purpose"),
        stage_digest=meta.get("stage_digest"),
        finished=meta.get("finished") == "1",
        frames=frames,
        first_frame=ends[0][0] if frames else None,
        last_frame=ends[0][1] if frames else None,
        masks=masks,
        levels=_pairs(whole("SELECT level, sum(n) FROM frame_index GROUP BY level ORDER BY level")),
        tracks=_pairs(
            whole(
                "SELECT level, count(DISTINCT track_id) FROM masks WHERE track_id >= 0 "
                "GROUP BY level ORDER BY level"
            )
        ),
        image_sizes=tuple(
            (height, width, n)
            for height, width, n in whole(
                "SELECT height, width, count(*) FROM frames GROUP BY height, width ORDER BY height, width"
            )
        ),
        dropped=tuple((str(reason), int(n)) for reason, n in per_reason),
        rle_bytes=rle_bytes,
        frame_index=tuple(FrameIndexRow(*row) for row in index),
    )


def _pairs(rows: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, int], ...]:
    return tuple((first, second) for first, second in rows)


def format_summary(summary: ArchiveSummary) -> str:
    """Return the summary as lines for a person, without the frame index."""

    def each(pairs: tuple[tuple[int, int], ...]) -> str:
        return ", ".join(f"{n:,} at level {level}" for level, n in pairs) or "none"

    rows = [
        ("archive", str(summary.path)),
        ("holds", summary.purpose or "masks"),
        (
            "state",
            "finished" if summary.finished else "not closed by its writer (still running, or ended early)",
        ),
        ("frames", f"{summary.frames:,}"),
        ("masks", f"{summary.masks:,}"),
        ("by level", each(summary.levels)),
        ("tracks", each(summary.tracks)),
        ("image size", ", ".join(f"{w}x{h} ({n} frames)" for h, w, n in summary.image_sizes) or "none"),
        ("dropped", ", ".join(f"{n:,} {reason}" for reason, n in summary.dropped) or "none"),
        ("size", f"{summary.bytes / 1e6:.2f} MB"),
        ("written by", f"{summary.application or 'unknown'}, format {summary.format_version}"),
        ("stage digest", summary.stage_digest or "none"),
    ]
    if summary.frames:
        rows[3] = ("frames", f"{summary.frames:,} ({summary.first_frame}..{summary.last_frame})")
    if summary.bytes_per_mask is not None:
        packed = summary.rle_bytes / summary.masks
        rows[9] = (
            "size",
            f"{summary.bytes / 1e6:.2f} MB, {summary.bytes_per_mask:,.0f} bytes per mask "
            f"({packed:,.0f} of them its run-length code)",
        )
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
