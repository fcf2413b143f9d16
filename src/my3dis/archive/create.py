"""Make an empty archive, so that other processes and a kill meet none or a whole one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from my3dis.archive.connect import connect_read_write, translated
from my3dis.archive.lock import LOGS
from my3dis.archive.schema import APPLICATION_ID, DDL, FORMAT_VERSION

__all__ = ["create_missing", "write_tables"]


def create_missing(path: Path) -> None:
    """Make an archive unless there is a file with something in it; the caller holds the lock.

    Raises:
        ArchiveError: if the folder is not writable.
        ResourceError: if the disk is full.
    """
    # A link stays one; the archive is made where it leads.
    target = Path(os.path.realpath(path))
    if target.is_dir() or (target.is_file() and target.stat().st_size):
        return
    draft = target.with_name(f".tmp-{target.name}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    try:
        with contextlib.closing(connect_read_write(draft)) as db, translated(path):
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("BEGIN")
            write_tables(db)
            db.execute("COMMIT")
        # SQLite would take a log that a deleted archive left behind for one of the new file.
        for suffix in LOGS:
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def write_tables(db: sqlite3.Connection) -> None:
    """Define what an archive holds, inside a transaction of the caller."""
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    for statement in DDL:
        db.execute(statement)
    db.execute("INSERT INTO meta (key, value) VALUES ('frames', '0')")
