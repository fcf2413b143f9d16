"""Open SQLite connections for archives, and turn SQLite's errors into ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from my3dis.archive.schema import MAX_BLOB_BYTES, check_identity, check_tables
from my3dis.errors import ArchiveError, ResourceError

__all__ = ["connect_read_only", "connect_read_write", "on_network", "open_checked", "translated"]

_BUSY_SECONDS = 30.0
_CACHE_KIB = 512
# File systems on which several machines may hold the file: SQLite's WAL needs shared memory there.
_NETWORK = frozenset(
    (
        *(
            "9p",
            "afs",
            "beegfs",
            "ceph",
            "cifs",
            "coda",
            "fhgfs",
            "gfs",
            "gfs2",
            "glusterfs",
            "gpfs",
            "lustre",
        ),
        *("mmfs", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs"),
        "wekafs",
    )
)
_LOCAL_FUSE = frozenset({"fuse.ntfs-3g", "fuse.ntfs", "fuse.exfat", "fuse.fuse-overlayfs", "fuse.lxcfs"})


def on_network(path: Path) -> bool:
    """Tell whether a path lies on a network file system, as the mount table says."""
    import psutil

    folder = path.absolute().parent.resolve()
    kinds = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    for parent in (folder, *folder.parents):
        kind = kinds.get(parent)
        if kind is not None:
            return kind in _NETWORK or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE)
    return False


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite errors inside the block into `ArchiveError` or `ResourceError` about a path."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(error, path) from error
    except UnicodeDecodeError as error:
        # Python cannot even decode SQLite's message when it quotes a damaged schema.
        raise _damaged(path, "its table definitions are no text") from error


def _damaged(path: Path, what: object) -> ArchiveError:
    return ArchiveError(
        f"the archive {path} is damaged: {what}; `my3dis verify {path}` names the first bad row, and "
        "deleting the file lets the stage write it again"
    )


def _name(error: sqlite3.Error) -> str:
    return str(getattr(error, "sqlite_errorname", "") or "")


def _explain(error: sqlite3.Error, path: Path) -> ArchiveError | ResourceError:
    name = _name(error)
    if name == "SQLITE_FULL" or name.startswith(
        ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHM", "SQLITE_IOERR_TRUNCATE")
    ):
        return ResourceError(
            f"cannot write the archive {path}: the disk is full, a file-size limit is reached or the disk "
            f"fails ({error}); what was committed before is intact: free space and run again"
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return ArchiveError(
            f"the archive {path} is locked by another process ({error}); wait for it to end and run again"
        )
    if name == "SQLITE_READONLY_ROLLBACK":
        return ArchiveError(
            f"the writer of {path} was killed in the middle of a commit that must be rolled back first; "
            "open the archive again in a folder that is writable"
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN", "SQLITE_AUTH")):
        return ArchiveError(
            f"cannot open the archive {path} for this use ({error}); "
            "check that its folder exists and the permissions of both"
        )
    if name == "SQLITE_NOTADB":
        return ArchiveError(
            f"expected a mask archive at {path}, found a file that is no SQLite database (or one whose "
            "beginning is damaged); check the path, or delete the file and run the stage again"
        )
    return _damaged(path, error)


def _connect(path: Path, options: str) -> sqlite3.Connection:
    """Open a connection and read the file's first page, so that a wrong file is found here."""
    # Readers and writers hold a lock around every use, so one connection may serve several threads.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BLOB_BYTES + 4096)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def connect_read_write(path: Path) -> sqlite3.Connection:
    """Open or create a database file.

    Raises:
        ArchiveError: if the folder is missing or not writable, or the path is a folder.
    """
    if not path.parent.is_dir():
        raise ArchiveError(f"expected a folder at {path.parent} to write {path.name} into, found none")
    with translated(path):
        return _connect(path, "mode=rwc")


def open_checked(path: Path) -> sqlite3.Connection:
    """Open an archive for reading, after checking that it is one.

    Raises:
        ArchiveError: if the file is missing, no archive, of another version or damaged.
    """
    connection = connect_read_only(path)
    try:
        with translated(path):
            check_identity(connection, path)
            check_tables(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a database file for reading, also while it is written or after its writer was killed.

    A commit that a killed writer left half done in rollback mode is undone first. In a folder that cannot
    be written, SQLite cannot recover anything: a file that needs none is then opened as immutable.

    Raises:
        ArchiveError: if there is no file, or it needs a recovery that is not possible here.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "none"
        raise ArchiveError(f"expected a mask archive at {path}, found {found}")
    with translated(path):
        try:
            return _connect(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if not _name(error).startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                raise
        try:
            _connect(path, "mode=rw").close()
            return _connect(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if not _name(error).startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                raise
        for suffix in ("-wal", "-journal"):
            log = path.with_name(path.name + suffix)
            if log.exists() and log.stat().st_size:
                raise ArchiveError(
                    f"the archive {path} was not closed and {log.name} is needed to recover its last frames, "
                    "which is not possible in a folder that is not writable; copy both files to a writable "
                    "folder and read there"
                )
        return _connect(path, "mode=ro&immutable=1")
