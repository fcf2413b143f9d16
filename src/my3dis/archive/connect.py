"""Open SQLite connections for archives, and turn SQLite's errors into ours."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from my3dis.archive.schema import MAX_BLOB_BYTES, check_identity, check_tables
from my3dis.errors import ArchiveError, ResourceError

__all__ = ["connect_read_only", "connect_read_write", "is_damage", "on_network", "open_checked", "translated"]

logger = logging.getLogger(__name__)

_READER_PATIENCE_S = 30.0
# A commit with the rollback journal waits until readers let go; giving up would end a run of hours.
_WRITER_PATIENCE_S = 300.0
_CACHE_KIB = 512
# SQLite's write-ahead log needs memory shared by everybody who has the file open. That holds on file systems
# that one machine alone has mounted. Every other kind counts as a network: nfs, cifs, lustre, gpfs, ceph, 9p,
# virtiofs, shared folders of virtual machines, FUSE (sshfs, s3fs, ...), and whatever comes next.
_LOCAL = frozenset(
    (
        *("apfs", "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfs"),
        *("hfsplus", "iso9660", "jfs", "msdos", "nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs"),
        *("rootfs", "squashfs", "tmpfs", "udf", "ufs", "vfat", "xfs", "zfs"),
        *("fuse.exfat", "fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.ntfs", "fuse.ntfs-3g"),
    )
)

# What SQLite's errors mean to a user, by the beginnings of their names; the first that fits holds.
_MEANINGS: tuple[tuple[tuple[str, ...], type[ArchiveError | ResourceError], str], ...] = (
    (
        (
            "SQLITE_FULL",
            "SQLITE_IOERR_WRITE",
            "SQLITE_IOERR_FSYNC",
            "SQLITE_IOERR_SHM",
            "SQLITE_IOERR_TRUNCATE",
        ),
        ResourceError,
        "cannot write the archive {path}: the disk is full, a file-size limit is reached or the disk fails "
        "({error}; {free}); what was committed before is intact: free space and run again",
    ),
    (
        ("SQLITE_BUSY", "SQLITE_LOCKED"),
        ArchiveError,
        "the archive {path} is locked by another process ({error}); wait for it to end and run again",
    ),
    (
        (
            "SQLITE_IOERR_LOCK",
            "SQLITE_IOERR_UNLOCK",
            "SQLITE_IOERR_RDLOCK",
            "SQLITE_IOERR_CHECKRESERVEDLOCK",
            "SQLITE_NOLFS",
        ),
        ArchiveError,
        "the file system of {path} gives no file locks ({error}), without which an archive is not safe "
        "there; mount it with locks, or choose an output folder on a local disk",
    ),
    (
        ("SQLITE_IOERR_READ",),
        ArchiveError,
        "cannot read the archive {path}: the disk or network fails ({error}); see the system log, and copy "
        "the file elsewhere",
    ),
    (
        ("SQLITE_READONLY_ROLLBACK",),
        ArchiveError,
        "the writer of {path} was killed in the middle of a commit that must be rolled back first; "
        "open the archive again in a folder that is writable",
    ),
    (
        ("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN", "SQLITE_AUTH"),
        ArchiveError,
        "cannot open the archive {path} for this use ({error}); "
        "check that its folder exists and the permissions of both",
    ),
    (
        ("SQLITE_NOTADB",),
        ArchiveError,
        "expected a mask archive at {path}, found a file that is no SQLite database (or one whose "
        "beginning is damaged); check the path, save what is good with `my3dis verify {path} --salvage OUT`, "
        "or delete the file and run the stage again",
    ),
)


def on_network(path: Path) -> bool:
    """Tell whether a path lies, links followed, on anything but a file system known to be local.

    What cannot be found out counts as a network: the journal that is safe there is safe everywhere.
    """
    import psutil

    try:
        folder = Path(os.path.realpath(path)).parent
        # Later entries of the table are mounted over earlier ones.
        kinds = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    except (OSError, RuntimeError, psutil.Error) as error:
        logger.debug("no mount table (%s): %s is treated as on a network", error, path)
        return True
    for parent in (folder, *folder.parents):
        if str(parent) in kinds:
            return kinds[str(parent)].lower() not in _LOCAL
    return True


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
        f"the archive {path} is damaged: {what}; `my3dis verify {path}` names the first bad row, with "
        "--salvage OUT it saves the good ones, and deleting the file lets the stage write it again"
    )


def _name(error: sqlite3.Error) -> str:
    return str(getattr(error, "sqlite_errorname", "") or "")


def is_damage(error: ArchiveError) -> bool:
    """Tell whether an error on opening lies in the file's content, not in its place or its users."""
    cause = error.__cause__
    if not isinstance(cause, sqlite3.Error):
        return True
    name = _name(cause)
    return name == "SQLITE_NOTADB" or not any(name.startswith(beginnings) for beginnings, _, _ in _MEANINGS)


def _free_space(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free / 1e6:,.1f} MB are free there"
    except OSError:
        return "free space unknown"


def _explain(error: sqlite3.Error, path: Path) -> ArchiveError | ResourceError:
    for beginnings, kind, sentence in _MEANINGS:
        if _name(error).startswith(beginnings):
            return kind(sentence.format(path=path, error=error, free=_free_space(path)))
    return _damaged(path, error)


def _connect(path: Path, options: str, patience_s: float = _READER_PATIENCE_S) -> sqlite3.Connection:
    """Open a connection and read the file's first page, so that a wrong file is found here."""
    # Readers and writers hold a lock around every use, so one connection may serve several threads.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        timeout=patience_s,
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
        return _connect(path, "mode=rwc", _WRITER_PATIENCE_S)


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
        ResourceError: if the disk is too full to read the log of a writer that has not closed.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "none"
        raise ArchiveError(f"expected a mask archive at {path}, found {found}")
    with translated(path):
        try:
            return _connect(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if _name(error).startswith(_MEANINGS[0][0]):
                raise ResourceError(
                    f"cannot read the archive {path}: its writer has not closed it, and to read its log "
                    f"takes 32 KiB beside it ({error}; {_free_space(path)}); free some space and try again"
                ) from error
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
