"""One writer and many readers at once, in threads and processes; and which disks get which journal."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from my3dis.archive import Batch, StreamingSegmentWriter, connect, inspect, open_archive, verify
from my3dis.errors import ArchiveError, My3DISError
from tests.archive.make import archive, assert_equal, in_order, masks

ROOT = Path(__file__).resolve().parents[2]
SOAK = pytest.mark.soak
MODES = {"wal": ("wal", 1), "each commit": ("rollback", 1), "batches": ("rollback", 8)}

WRITER = """
    import sys, time
    from my3dis.archive import Batch, StreamingSegmentWriter
    from tests.archive.make import masks
    path, journal, batch, frames, pause = sys.argv[1:]
    with StreamingSegmentWriter(path, journal=journal, batch=Batch(frames=int(batch))) as writer:
        for frame in range(int(frames)):
            writer.append_frame(frame, masks(frame, range(6), tracks=[0, 1, 2, 3, 4, 5]))
            time.sleep(float(pause))
        print("last", flush=True)
        sys.stdin.readline()
"""

# Reads what a report or a viewer reads, again and again, until the writer has closed.
READER = """
    import sys
    from my3dis.archive import open_archive, verify
    from tests.archive.make import assert_equal, in_order, masks
    path, checks = sys.argv[1:]
    rounds = finished = last = 0
    while not finished:
        with open_archive(path) as reader:
            finished = reader.finished
            for _ in range(3):
                rounds += 1
                frames = reader.frames()
                assert frames == list(range(len(frames))), frames
                assert len(frames) >= last, (len(frames), last)
                last = len(frames)
                for frame in frames[-1:] + frames[:: max(len(frames) // 4, 1)]:
                    expected = in_order(masks(frame, range(6), tracks=[0, 1, 2, 3, 4, 5]))
                    assert_equal(reader.frame(frame), expected)
                    assert_equal(reader.frame(frame, 2), expected)
                tracks = reader.tracks()
                assert len(tracks.track_id) == (6 if len(tracks.obs_track) else 0)
                assert len(tracks.obs_track) % 6 == 0
                assert len(tracks.obs_track) >= 6 * last
                assert reader.count() % 6 == 0
                shown = sum(1 for _ in reader.track(3))
                assert shown >= last
        if checks == "verify":
            report = verify(path)
            assert report.ok, report.problems
            assert report.frames >= last
    print(rounds, last)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize(
    ("mode", "readers", "frames"),
    [
        ("wal", 2, 30),
        ("batches", 2, 30),
        *(pytest.param(mode, 6, 2000, marks=[SOAK, pytest.mark.timeout(3600)]) for mode in MODES),
    ],
)
def test_readers_see_whole_frames_while_another_process_writes(
    tmp_path: Path, mode: str, readers: int, frames: int
) -> None:
    """Reader processes open, read, list tracks and verify without any error; each frame is whole."""
    path = tmp_path / "tracks.my3dis"
    writer = start(WRITER, path, *MODES[mode], frames, 0.005)
    deadline = time.monotonic() + 60
    while not path.is_file():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    processes = [start(READER, path, "verify" if n % 2 else "read") for n in range(readers)]
    with writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "last\n"
        # Let every reader meet the end of the writing, the close included.
        writer.stdin.write("close\n")
        writer.stdin.flush()
        writer.stdout.read()
    assert writer.returncode == 0
    for process in processes:
        with process:
            said, _ = process.communicate(timeout=600)
        assert process.returncode == 0
        rounds, last = map(int, said.split())
        assert rounds > 0
        assert last == frames
    assert verify(path).finished
    # The last reader to leave an archive in WAL mode may keep an empty log beside it; nothing else is left.
    assert {p.name for p in tmp_path.iterdir()} - {"tracks.my3dis-wal", "tracks.my3dis-shm"} == {path.name}


@pytest.mark.parametrize("mode", MODES)
def test_threads_share_a_reader_while_another_thread_writes(tmp_path: Path, mode: str) -> None:
    """Threads that share one reader, and one that has its own, see whole frames only; all see the end."""
    path = tmp_path / "a.my3dis"
    journal, batch = MODES[mode]
    failures: list[Exception] = []
    done = threading.Event()

    def read(reader: object) -> None:
        try:
            while not done.is_set():
                for frame in reader.frames()[-3:]:  # type: ignore[attr-defined]
                    assert_equal(reader.frame(frame), in_order(masks(frame)))  # type: ignore[attr-defined]
                reader.tracks()  # type: ignore[attr-defined]
        except (AssertionError, My3DISError) as error:
            failures.append(error)

    StreamingSegmentWriter(path, journal=journal).close()
    with (
        open_archive(path) as shared,
        open_archive(path) as own,
        StreamingSegmentWriter(path, journal=journal, batch=Batch(frames=batch)) as writer,
    ):
        threads = [threading.Thread(target=read, args=(reader,)) for reader in (shared, shared, own)]
        for thread in threads:
            thread.start()
        for frame in range(60):
            writer.append_frame(frame, masks(frame))
        writer.flush()
        done.set()
        for thread in threads:
            thread.join(60)
        assert shared.frames() == own.frames() == list(range(60))
    assert not failures


def test_a_long_look_does_not_end_a_writer(tmp_path: Path) -> None:
    """With the rollback journal a commit waits for a reader in the middle of a look, and then goes on."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path, journal="rollback", batch=Batch(frames=1)) as writer:
        writer.append_frame(0, masks(0))
        reader = sqlite3.connect(path, check_same_thread=False)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM masks").fetchone()
        threading.Timer(0.4, reader.rollback).start()
        begun = time.monotonic()
        writer.append_frame(1, masks(1))
        assert time.monotonic() - begun > 0.2
        assert writer.frames() == [0, 1]
        reader.close()


def test_a_second_writer_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    """The message names the living process; once it is killed, its lock is taken over."""
    path = tmp_path / "a.my3dis"
    first = start(WRITER, path, "wal", 1, 3, 0)
    with first:
        assert first.stdout is not None
        assert first.stdout.readline() == "last\n"
        with pytest.raises(ArchiveError, match=rf"is being written by process {first.pid};") as refused:
            StreamingSegmentWriter(path)
        assert refused.value.exit_code == 3
        first.send_signal(signal.SIGKILL)
    with StreamingSegmentWriter(path) as writer:
        assert writer.frames() == [0, 1, 2]


def test_a_writer_on_another_machine_is_named_with_it(tmp_path: Path) -> None:
    """On a shared disk a process id alone would lead astray."""
    import fcntl

    path = tmp_path / "a.my3dis"
    lock = tmp_path / "a.my3dis-lock"
    lock.write_text("4321\nnode7\n")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ArchiveError, match="by process 4321 on node7;"):
            StreamingSegmentWriter(path)


def test_one_archive_under_two_names_has_one_writer(tmp_path: Path) -> None:
    """A link to an archive leads to the same lock, and the log lies beside the file itself."""
    (tmp_path / "disk").mkdir()
    path, link = tmp_path / "disk" / "a.my3dis", tmp_path / "link.my3dis"
    archive(path)
    link.symlink_to(path)
    with StreamingSegmentWriter(link) as writer:
        writer.append_frame(20, masks(20))
        with pytest.raises(ArchiveError, match=f"by process {os.getpid()}"):
            StreamingSegmentWriter(path)
        assert inspect(path).frames == 4
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("link")] == ["link.my3dis"]


@pytest.mark.parametrize("journal", ["wal", "rollback"])
def test_many_readers_find_an_archive_of_a_killed_writer(tmp_path: Path, journal: str) -> None:
    """Readers that arrive at the same time after a kill all recover it, or wait for the one that does."""
    path = tmp_path / "a.my3dis"
    first = start(WRITER, path, journal, 4, 30, 0)
    with first:
        assert first.stdout is not None
        first.stdout.readline()
        first.send_signal(signal.SIGKILL)
    found: list[list[int]] = []

    def look() -> None:
        with open_archive(path) as reader:
            found.append(reader.frames())

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # 30 frames in batches of 4: the last two were not committed with the rollback journal.
    assert found == [list(range(30 if journal == "wal" else 28))] * 8


def mounts(monkeypatch: pytest.MonkeyPatch, table: list[tuple[str, str]]) -> None:
    parts = [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in table]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: parts)


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        *((kind, False) for kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "fuseblk")),
        *((kind, True) for kind in ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "9p")),
        *(
            (kind, True)
            for kind in ("virtiofs", "vboxsf", "fuse.sshfs", "fuse", "macfuse", "afpfs", "wekafs")
        ),
        *((kind, True) for kind in ("", "a file system of next year")),
    ],
)
def test_what_is_not_known_to_be_local_counts_as_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, network: bool
) -> None:
    """Whoever has an unusual disk gets the journal that is safe everywhere, without asking for it."""
    mounts(monkeypatch, [("/", "ext4"), (str(tmp_path), kind)])
    assert connect.on_network(tmp_path / "a.my3dis") is network
    with StreamingSegmentWriter(tmp_path / "a.my3dis") as writer:
        writer.append_frame(0, masks(0))
        assert (tmp_path / "a.my3dis-wal").exists() is not network
        assert (tmp_path / "a.my3dis-journal").exists() is network


def test_links_and_later_mounts_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is where a file lies in the end, and what was mounted there last."""
    local, far = tmp_path / "local", tmp_path / "far"
    local.mkdir()
    far.mkdir()
    mounts(monkeypatch, [("/", "ext4"), (str(far), "autofs"), (str(far), "nfs4")])
    (local / "folder").symlink_to(far)
    (local / "file.my3dis").symlink_to(far / "a.my3dis")
    assert connect.on_network(local / "folder" / "a.my3dis")
    assert connect.on_network(local / "file.my3dis")
    assert not connect.on_network(local / "a.my3dis")
    monkeypatch.chdir(far)
    assert connect.on_network(Path("a.my3dis"))


@pytest.mark.parametrize("error", [PermissionError("no"), FileNotFoundError("/proc"), psutil.Error()])
def test_without_a_mount_table_the_safe_journal_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Where nothing can be found out, and where the table names no place above the file."""

    def unreadable(all: bool) -> list:
        raise error

    monkeypatch.setattr(psutil, "disk_partitions", unreadable)
    assert connect.on_network(tmp_path / "a.my3dis")
    mounts(monkeypatch, [("/elsewhere", "ext4")])
    assert connect.on_network(tmp_path / "a.my3dis")
