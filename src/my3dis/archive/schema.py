"""Tables of the mask archive; FORMAT.md describes them for readers in other languages."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from my3dis.errors import ArchiveError

__all__ = [
    "APPLICATION_ID",
    "DDL",
    "FORMAT_VERSION",
    "MAX_BLOB_BYTES",
    "MAX_PIXELS",
    "TABLES",
    "check_identity",
    "check_tables",
    "is_blank",
]

APPLICATION_ID = 0x4D334453
"""SQLite application_id of a mask archive: the letters M3DS."""

FORMAT_VERSION = 1
"""SQLite user_version of the layout described here."""

MAX_PIXELS = 2**31
"""The largest image height x width that an archive may claim."""

MAX_BLOB_BYTES = 32 * 2**20
"""The longest run-length code that an archive may hold, packed or plain."""

TABLES: dict[str, tuple[str, ...]] = {
    "meta": ("key", "value"),
    "frames": ("frame", "height", "width", "n", "crc32"),
    "masks": (
        "row",
        "level",
        "frame",
        "mask_id",
        "track_id",
        "parent_id",
        "x0",
        "y0",
        "x1",
        "y1",
        "area_px",
        "score",
        "stability",
        "source",
        "height",
        "width",
        "codec",
        "crc32",
        "rle",
    ),
    "frame_index": ("frame", "level", "first_row", "n"),
    "dropped": ("frame", "mask_id", "level", "reason"),
}
"""Columns of every table, in order."""

DDL = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE frames (frame INTEGER PRIMARY KEY, height INTEGER NOT NULL, width INTEGER NOT NULL, "
    "n INTEGER NOT NULL, crc32 INTEGER NOT NULL)",
    "CREATE TABLE masks (row INTEGER PRIMARY KEY, level INTEGER NOT NULL, frame INTEGER NOT NULL, "
    "mask_id INTEGER NOT NULL, track_id INTEGER NOT NULL, parent_id INTEGER NOT NULL, "
    "x0 INTEGER NOT NULL, y0 INTEGER NOT NULL, x1 INTEGER NOT NULL, y1 INTEGER NOT NULL, "
    "area_px INTEGER NOT NULL, score REAL, stability REAL, source INTEGER NOT NULL, "
    "height INTEGER NOT NULL, width INTEGER NOT NULL, codec INTEGER NOT NULL, crc32 INTEGER NOT NULL, "
    "rle BLOB NOT NULL)",
    "CREATE UNIQUE INDEX masks_by_frame ON masks (frame, mask_id)",
    "CREATE INDEX masks_by_track ON masks (track_id, frame, mask_id) WHERE track_id >= 0",
    "CREATE TABLE frame_index (frame INTEGER NOT NULL, level INTEGER NOT NULL, first_row INTEGER NOT NULL, "
    "n INTEGER NOT NULL, PRIMARY KEY (frame, level)) WITHOUT ROWID",
    "CREATE TABLE dropped (frame INTEGER NOT NULL, mask_id INTEGER NOT NULL, level INTEGER NOT NULL, "
    "reason TEXT NOT NULL, PRIMARY KEY (frame, mask_id)) WITHOUT ROWID",
)
"""Statements that make an empty archive."""


def is_blank(connection: sqlite3.Connection) -> bool:
    """Tell whether the file is new: no table in it and no application id."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    objects = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return bool(application_id == 0 and objects == 0)


def check_identity(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the file is a mask archive of the version that this code reads.

    Raises:
        ArchiveError: if it is empty, of another application or of another version.
    """
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    if application_id != APPLICATION_ID:
        found = "an empty database" if is_blank(connection) else f"application id {application_id:#x}"
        raise ArchiveError(
            f"expected a My3DIS mask archive (application id {APPLICATION_ID:#x}) at {path}, found {found}; "
            "check the path, or delete the file and run the stage again"
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT_VERSION:
        advice = "update my3dis" if version > FORMAT_VERSION else "run the stage again"
        raise ArchiveError(
            f"expected archive version {FORMAT_VERSION} at {path}, found version {version}; {advice}"
        )


def check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Check that all tables are plain tables with the expected columns, and that nothing else is there.

    A crafted file could hide a view that never ends behind a table's name; such a file is refused.

    Raises:
        ArchiveError: naming what is missing or unexpected.
    """
    objects = {name: kind for kind, name in connection.execute("SELECT type, name FROM sqlite_master")}
    for kind in objects.values():
        if kind not in ("table", "index"):
            raise ArchiveError(f"expected only tables in the archive {path}, found a {kind}; don't trust it")
    for table, columns in TABLES.items():
        info = connection.execute("SELECT name, hidden FROM pragma_table_xinfo(?)", (table,)).fetchall()
        if objects.get(table) != "table" or info != [(name, 0) for name in columns]:
            raise ArchiveError(
                f"expected table {table}({', '.join(columns)}) in the archive {path}, found "
                f"({', '.join(str(name) for name, _ in info) or 'none'}); the file is damaged or foreign"
            )
