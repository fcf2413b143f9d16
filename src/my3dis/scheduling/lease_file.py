"""The file that leases stand in: where it lies, and how several processes open it at once."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from pathlib import Path

from my3dis.errors import ResourceError

__all__ = ["BUSY_S", "default_lease_path", "open_table"]

BUSY_S = 30.0
"""How long to wait for others who change the table; each change takes a millisecond."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS leases (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, started TEXT NOT NULL, job TEXT NOT NULL,
    worker_pid INTEGER, worker_started TEXT);
CREATE TABLE IF NOT EXISTS parts (
    lease INTEGER NOT NULL, device TEXT NOT NULL, amount INTEGER NOT NULL,
    PRIMARY KEY (lease, device)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (
    pid INTEGER NOT NULL, started TEXT NOT NULL, job TEXT NOT NULL, since REAL NOT NULL, seen REAL NOT NULL,
    gpus_only INTEGER NOT NULL, PRIMARY KEY (pid, started, job)) WITHOUT ROWID;
"""


def default_lease_path() -> Path:
    """Return the file that all processes of this user on this machine share; makes its folder.

    Raises:
        ResourceError: if the folder cannot be made, or belongs to somebody else.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir() and os.access(runtime, os.W_OK):
        folder = Path(runtime) / "my3dis"
    else:
        folder = Path(tempfile.gettempdir()) / f"my3dis-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise ResourceError(
            f"leases: expected to make the folder {folder}, found {error}; set XDG_RUNTIME_DIR or TMPDIR to "
            "a folder on this machine that you can write"
        ) from error
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
        raise ResourceError(
            f"leases: expected {folder} to be your own folder, closed to others (mode 0700), found mode "
            f"{facts.st_mode & 0o777:04o} of user {facts.st_uid}; remove it, or set XDG_RUNTIME_DIR or TMPDIR"
        )
    return folder / "leases.sqlite"


def open_table(path: str) -> sqlite3.Connection:
    """Open the table; several processes may make it at the same moment."""
    give_up = time.monotonic() + BUSY_S
    while True:
        database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            # The write-ahead log survives a process that is killed at any point, without waits for the disk.
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            database.close()
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.02)
        except sqlite3.Error:
            database.close()
            raise
        else:
            return database
