"""A disk that fills up: what was committed stays, what was not is named, and more space is all it takes."""

from __future__ import annotations

import re
import resource
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from my3dis.archive import Batch, StreamingSegmentWriter, open_archive, salvage, verify
from my3dis.errors import ArchiveError, ResourceError
from tests.archive.make import assert_equal, in_order, masks

ROOT = Path(__file__).resolve().parents[2]
SOAK = pytest.mark.soak
MODES = {"wal": ("wal", 1), "each commit": ("rollback", 1), "batches": ("rollback", 8)}
FRAMES = 30

# Continues where the archive ends; says each frame that was appended, and the error.
PROGRAM = f"""
import resource, sys
from my3dis.archive import Batch, StreamingSegmentWriter
from my3dis.errors import ResourceError
from tests.archive.make import masks
path, journal, batch, limit = sys.argv[1:]
if limit != "none":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit),) * 2)
try:
    with StreamingSegmentWriter(path, journal=journal, batch=Batch(frames=int(batch))) as writer:
        for frame in sorted(set(range({FRAMES})) - set(writer.frames())):
            writer.append_frame(frame, masks(frame, range(8), size=(60, 80)))
            print(frame, flush=True)
        writer.assign_tracks({{0: 1}})
except ResourceError as error:
    print("error:", error)
    raise SystemExit(error.exit_code)
"""


def contents(path: Path) -> list[list[tuple]]:
    db = sqlite3.connect(path)
    rows = [
        db.execute(f"SELECT * FROM {t} ORDER BY 1, 2").fetchall() for t in ("frames", "masks", "frame_index")
    ]
    db.close()
    return rows


def write(path: Path, mode: str, limit: int | str = "none") -> subprocess.CompletedProcess[str]:
    journal, batch = MODES[mode]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), journal, str(batch), str(limit)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=300,
    )


def check_stored(path: Path, said: str) -> None:
    """What was said to be appended is stored, or the error names it."""
    appended = {int(line) for line in said.splitlines() if line.isdigit()}
    error = next(line for line in said.splitlines() if line.startswith("error:"))
    assert "full" in error
    assert "limit" in error
    assert str(path) in error
    assert "free space and run again" in error
    named = re.search(r"to be appended again: ([\d, ]+)$", error)
    lost = {int(word) for word in named[1].split(",")} if named else set()
    if not path.exists():
        assert not appended
        return
    with open_archive(path) as reader:
        assert appended - set(reader.frames()) == lost
        for one in reader.iter_frames():
            assert_equal(one, in_order(masks(one.frame, range(8), size=(60, 80))))
    assert verify(path).ok


@pytest.mark.parametrize(
    ("mode", "limits"),
    [
        ("wal", (20_000, 150_000)),
        ("batches", (150_000,)),
        *(
            pytest.param(mode, tuple(range(1, 400_000, 13_331)), marks=[SOAK, pytest.mark.timeout(3600)])
            for mode in MODES
        ),
    ],
    ids=["wal", "batches", *(f"many-{mode}" for mode in MODES)],
)
def test_a_writer_program_at_file_size_limits(tmp_path: Path, mode: str, limits: tuple[int, ...]) -> None:
    """At every limit the program ends with a clear error; with the limit lifted it comes to the same end."""
    whole, path = tmp_path / "whole.my3dis", tmp_path / "a.my3dis"
    assert write(whole, mode).returncode == 0
    met = 0
    for limit in limits:
        done = write(path, mode, limit)
        assert done.stderr == ""
        if done.returncode:
            assert done.returncode == 5
            check_stored(path, done.stdout)
            met += 1
    assert met >= 1
    assert write(path, mode).returncode == 0
    assert contents(path) == contents(whole)
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, whole.name}


@pytest.mark.parametrize(
    ("mode", "sizes_kib"),
    [
        ("wal", (40, 120)),
        *(pytest.param(mode, (4, 48, 100, 150, 200), marks=SOAK) for mode in MODES),
    ],
    ids=str,
)
def test_a_writer_program_on_a_full_disk(tmp_path: Path, mode: str, sizes_kib: tuple[int, ...]) -> None:
    """On a real full file system too, the log's shared memory included; then it is made larger."""
    disk, whole = tmp_path / "disk", tmp_path / "whole.my3dis"
    disk.mkdir()
    program, kept = tmp_path / "program.py", tmp_path / "kept.my3dis"
    program.write_text(PROGRAM)
    journal, batch = MODES[mode]
    run = shlex.join([sys.executable, str(program), str(disk / "a.my3dis"), journal, str(batch), "none"])
    check = shlex.join([sys.executable, "-m", "my3dis", "verify", str(disk / "a.my3dis")])
    place = shlex.quote(str(disk))
    script = [f"mount -t tmpfs -o size=4k none {place} || exit 90"]
    for size in sizes_kib:
        script.append(f"mount -o remount,size={size}k {place} && {run} && exit 91; [ $? = 5 ] || exit 92")
        # SQLite needs a little space to read the log of a writer that could not close.
        script.append(f"mount -o remount,size={size + 64}k {place} || exit 93")
        script.append(f"if [ -e {place}/a.my3dis ]; then {check} || exit 94; fi")
    script.append(
        f"mount -o remount,size=16m {place} && {run} && cp {place}/a.my3dis {shlex.quote(str(kept))}"
    )
    own_name_space = [shutil.which("unshare") or "false", "--map-root-user", "--mount", "sh", "-c"]
    done = subprocess.run(
        [*own_name_space, "\n".join(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        timeout=300,
    )
    if done.returncode in (1, 32, 90) and "error:" not in done.stdout:
        pytest.skip(f"this user may not mount a file system: {done.stderr.strip()[:100]}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("error: cannot ") == len(sizes_kib)
    assert "MB are free there" in done.stdout
    assert write(whole, mode).returncode == 0
    assert contents(kept) == contents(whole)


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_frames_lost_with_their_batch_are_named_and_never_passed_over(tmp_path: Path) -> None:
    """When a batch cannot be committed the error names its frames, and the writer goes no further."""
    path = tmp_path / "a.my3dis"
    writer = StreamingSegmentWriter(path, journal="rollback", batch=Batch(frames=4, seconds=3600.0))
    for frame in range(4):
        writer.append_frame(frame, masks(frame))
    for frame in (4, 5, 6):
        writer.append_frame(frame, masks(frame, range(40)))
    with file_size_limit(path.stat().st_size + 4096), pytest.raises(ResourceError, match=r"again: 4, 5, 6$"):
        writer.append_frame(7, masks(7, range(40)))
    for call in (lambda: writer.append_frame(8, masks(8)), writer.frames, writer.flush):
        with pytest.raises(
            ArchiveError, match=r"frames 4, 5, 6 .* could not be committed; open a new writer"
        ):
            call()
    with pytest.raises(ArchiveError, match="could not be committed"):
        writer.close()
    with open_archive(path) as reader:
        assert not reader.finished
        assert reader.frames() == [0, 1, 2, 3]
    with StreamingSegmentWriter(path) as again:
        assert again.frames() == [0, 1, 2, 3]
    assert verify(path).ok


def test_a_refused_frame_leaves_its_batch_alone(tmp_path: Path) -> None:
    """A wrong call takes back itself only: what waits in the batch is committed with the rest."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path, journal="rollback", batch=Batch(frames=8, seconds=3600.0)) as writer:
        writer.append_frame(0, masks(0))
        writer.record_dropped(1, [7], [2], ["min_area"])
        writer.append_frame(1, masks(1, (0, 1)))
        with pytest.raises(ArchiveError, match="stored already"):
            writer.append_frame(1, masks(1, (5, 1)))
        writer.append_frame(2, masks(2))
    with open_archive(path) as reader:
        assert reader.frames() == [0, 1, 2]
        assert reader.frame(1).mask_id.tolist() == [0, 1]
        assert [d.mask_id for d in reader.dropped()] == [7]
    assert verify(path).ok


@pytest.mark.parametrize(
    ("batch", "n"),
    [
        (Batch(frames=3, seconds=3600.0), 3),
        (Batch(frames=100, seconds=0.0), 1),
        (Batch(frames=100, bytes=1), 1),
    ],
)
def test_a_batch_ends_at_whatever_bound_is_met_first(tmp_path: Path, batch: Batch, n: int) -> None:
    """Number of frames, seconds since the last commit, bytes of codes."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path, journal="rollback", batch=batch) as writer:
        for frame in range(n):
            with open_archive(path) as reader:
                assert reader.frames() == []
            writer.append_frame(frame, masks(frame))
        with open_archive(path) as reader:
            assert reader.frames() == list(range(n))


def test_an_exception_commits_what_waits(tmp_path: Path) -> None:
    """An error in the block ends the writing, not what was appended before it."""
    path = tmp_path / "a.my3dis"
    with (
        pytest.raises(RuntimeError, match="stop"),
        StreamingSegmentWriter(path, journal="rollback", batch=Batch(frames=8, seconds=3600.0)) as writer,
    ):
        writer.append_frame(0, masks(0))
        raise RuntimeError("stop")
    with open_archive(path) as reader:
        assert (reader.frames(), reader.finished) == ([0], False)


def test_saving_sound_rows_on_a_full_disk_leaves_nothing_half_done(tmp_path: Path) -> None:
    """The new archive appears whole or not at all."""
    path, out = tmp_path / "a.my3dis", tmp_path / "out"
    out.mkdir()
    with StreamingSegmentWriter(path) as writer:
        for frame in range(10):
            writer.append_frame(frame, masks(frame, range(30)))
    with file_size_limit(40_000), pytest.raises(ResourceError, match="full"):
        salvage(path, out / "saved.my3dis")
    assert list(out.iterdir()) == []
    assert salvage(path, out / "saved.my3dis").masks == 300
