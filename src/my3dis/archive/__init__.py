"""The streaming mask archive: one SQLite file per scan; FORMAT.md describes it for other readers."""

from my3dis.archive.commits import Batch
from my3dis.archive.inspect import ArchiveSummary, format_summary, inspect
from my3dis.archive.lock import discard_archive
from my3dis.archive.reader import ArchiveReader, DroppedMask, open_archive, read_stage_digest
from my3dis.archive.rollback import Mark
from my3dis.archive.salvage import LostMask, SalvageReport, format_salvage, salvage
from my3dis.archive.verify import Problem, VerifyReport, format_report, verify
from my3dis.archive.writer import StreamingSegmentWriter

__all__ = [
    "ArchiveReader",
    "ArchiveSummary",
    "Batch",
    "DroppedMask",
    "LostMask",
    "Mark",
    "Problem",
    "SalvageReport",
    "StreamingSegmentWriter",
    "VerifyReport",
    "discard_archive",
    "format_report",
    "format_salvage",
    "format_summary",
    "inspect",
    "open_archive",
    "read_stage_digest",
    "salvage",
    "verify",
]
