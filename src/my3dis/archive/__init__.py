"""The streaming mask archive: one SQLite file per scan; FORMAT.md describes it for other readers."""

from my3dis.archive.reader import ArchiveReader, DroppedMask, open_archive, read_stage_digest
from my3dis.archive.writer import StreamingSegmentWriter

__all__ = ["ArchiveReader", "DroppedMask", "StreamingSegmentWriter", "open_archive", "read_stage_digest"]
