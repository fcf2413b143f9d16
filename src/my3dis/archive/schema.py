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
    "MAX_FRAME_BYTES",
    "MAX_PIXELS",
    "check_identity",
    "check_tables",
    "is_blank",
]

APPLICATION_ID = 0x4D334453
"""SQLite application_id of a mask archive: the letters M3DS."""

FORMAT_VERSION = 1
"""SQLite user_version of the layout described here."""

MAX_PIXELS = 2**28
"""The largest image height x width that an archive may claim."""

MAX_BLOB_BYTES = 32 * 2**20
"""The longest run-length code that an archive may hold, packed or plain."""

MAX_FRAME_BYTES = 256 * 2**20
"""The most that the codes of one frame may take together, packed or plain; a thousand times what is usual."""

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
"""Statements that make an empty archive; a file with others is refused."""


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
    """Check that the file defines exactly the tables and indexes of `DDL`.

    A crafted file could hide a view that never ends behind a table's name, and a damaged definition could
    change what columns mean.

    Raises:
        ArchiveError: naming what is missing or unexpected.
    """
    found = {
        (kind, name, sql)
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master")
        if sql is not None
    }
    expected = {_definition(sql) for sql in DDL}
    for kind, name, _ in (*(found - expected), *(expected - found)):
        state = "missing or different" if (kind, name) in {e[:2] for e in expected} else "unexpected"
        raise ArchiveError(
            f"expected the tables of archive version {FORMAT_VERSION} in {path}, found the {kind} {name} "
            f"{state}; the file is damaged or foreign"
        )


def _definition(sql: str) -> tuple[str, str, str]:
    """Return type, name and text of a CREATE statement as SQLite lists them."""
    words = sql.removeprefix("CREATE ").replace("UNIQUE ", "", 1).split()
    return words[0].lower(), words[1], sql
