"""A writer program that is killed at any moment loses nothing committed, and goes on to the same end."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

from my3dis.archive import Batch, StreamingSegmentWriter, open_archive, verify
from tests.archive.make import assert_equal, in_order, masks

ROOT = Path(__file__).resolve().parents[2]
SOAK = pytest.mark.soak
FRAMES = 80
TABLES = ("meta", "frames", "masks", "frame_index", "dropped")

# What a stage does: log, append, merge tracks, close. Frames that are there already are skipped.
PROGRAM = f"""
    import sys
    from my3dis.archive import Batch, StreamingSegmentWriter
    from tests.archive.make import masks
    print("ready", flush=True)
    sys.stdin.readline()
    path, journal, frames = sys.argv[1:]
    batch = Batch(frames=int(frames))
    with StreamingSegmentWriter(path, purpose="tracks", journal=journal, batch=batch) as writer:
        done = set(writer.frames())
        for frame in range({FRAMES}):
            if frame not in done:
                writer.record_dropped(frame, [90], [2], ["min_area"])
                writer.append_frame(frame, masks(frame, range(8), tracks=[frame % 5, 5, 6, -1, 8, 9, 10, 11]))
                print(frame, flush=True)
        writer.assign_tracks({{5: 6, 1: 2, 10: 300}})
    print("end", flush=True)
"""


class Child:
    """The program as a process of its own, started up to its first call."""

    def __init__(self, path: Path, journal: str, frames: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), journal, str(frames)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def run(self, kill_after_s: float | None = None) -> tuple[list[str], float]:
        """Let it work, to the end or until it is killed; returns what it said and how long it worked."""
        with self.process as process:
            assert process.stdin is not None
            assert process.stdout is not None
            begun = time.perf_counter()
            process.stdin.write("go\n")
            process.stdin.flush()
            if kill_after_s is not None:
                time.sleep(kill_after_s)
                process.send_signal(signal.SIGKILL)
            said = process.stdout.read().split()
            seconds = time.perf_counter() - begun
        assert process.returncode in (0, -signal.SIGKILL)
        return said, seconds


def contents(path: Path) -> dict[str, list[tuple]]:
    """Every row of every table."""
    db = sqlite3.connect(path)
    rows = {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}
    db.close()
    return rows


def state_of_commit(path: Path) -> str:
    """Say where the kill hit, by what lies beside the archive."""
    journal, log = (path.with_name(path.name + suffix) for suffix in ("-journal", "-wal"))
    if journal.is_file() and journal.stat().st_size > 512 and journal.read_bytes()[:8] != bytes(8):
        return "inside a commit"
    if log.is_file() and log.stat().st_size > 32:
        data = log.read_bytes()
        frames = [data[at : at + 24] for at in range(32, len(data) - 24, 24 + 4096)]
        ours = [head for head in frames if len(head) == 24 and head[8:16] == data[16:24]]
        if ours and struct.unpack_from(">I", ours[-1], 4) == (0,):
            return "inside a commit"
    if not path.is_file():
        return "before the file"
    return "between commits"


def check_after_kill(path: Path, said: list[str], batch: int) -> None:
    """What was committed is there, whole and equal, and nothing else is."""
    reported = [int(word) for word in said if word.isdigit()]
    if not path.is_file():
        assert not reported
        return
    with open_archive(path) as reader:
        frames = reader.frames()
        assert frames == list(range(len(frames)))
        # At most one batch was not committed; the last commit may not have been reported yet.
        assert len(reported) - batch < len(frames) <= len(reported) + batch or not reported
        for one in reader.iter_frames():
            found = one.track_id.tolist()
            before = in_order(masks(one.frame, range(8), tracks=[one.frame % 5, 5, 6, -1, 8, 9, 10, 11]))
            after = [{5: 6, 1: 2, 10: 300}.get(i, i) for i in before.track_id.tolist()]
            assert found in (before.track_id.tolist(), after)
            expected = in_order(masks(one.frame, range(8), tracks=found))
            assert_equal(one, expected)
    assert verify(path).ok


MODES = {"wal": ("wal", 1), "each commit": ("rollback", 1), "batches": ("rollback", 16)}


@pytest.mark.parametrize("kills", [5, pytest.param(200, marks=[SOAK, pytest.mark.timeout(3600)])])
def test_killed_writers_lose_nothing_committed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kills: int
) -> None:
    """After SIGKILL at random moments every committed frame reads back equal, and the end is the same."""
    undisturbed, seconds = {}, {}
    for mode, (journal, batch) in MODES.items():
        path = tmp_path / f"{mode}.my3dis"
        said, seconds[mode] = Child(path, journal, batch).run()
        assert said[-1] == "end"
        undisturbed[mode] = contents(path)
    assert undisturbed["wal"] == undisturbed["each commit"] == undisturbed["batches"]
    rng, survived, where = random.Random(kills), 0, Counter[str]()
    for n in range(kills):
        mode = list(MODES)[n % 3]
        path = tmp_path / f"{n}.my3dis"
        child = Child(path, *MODES[mode])
        # One moment in each equal part of the time that an undisturbed writer takes, its close included.
        said, _ = child.run(seconds[mode] * (n + rng.random()) / kills)
        where[state_of_commit(path)] += 1
        check_after_kill(path, said, MODES[mode][1])
        said, _ = Child(path, *MODES[mode]).run()
        assert said[-1] == "end"
        assert contents(path) == undisturbed[mode]
        assert [entry.name for entry in tmp_path.glob(f"{n}.my3dis*")] == [path.name]
        survived += 1
        path.unlink()
    assert survived == kills
    with capsys.disabled():
        sys.stdout.write(f"\nwriter killed: {survived}/{kills} survived; {dict(where)}\n")


def test_frames_of_an_open_batch_go_with_a_kill_and_come_back(tmp_path: Path) -> None:
    """Readers and the next writer see whole batches; frames, flush and assign_tracks commit what waits."""
    path = tmp_path / "a.my3dis"
    options = {"journal": "rollback", "batch": Batch(frames=4, seconds=3600.0)}
    writer = StreamingSegmentWriter(path, **options)

    def seen() -> list[int]:
        with open_archive(path) as reader:
            return reader.frames()

    for frame in range(4):
        assert seen() == []
        writer.append_frame(frame, masks(frame))
    assert seen() == [0, 1, 2, 3]
    writer.append_frame(4, masks(4))
    assert seen() == [0, 1, 2, 3]
    assert writer.frames() == seen() == [0, 1, 2, 3, 4]
    writer.append_frame(5, masks(5))
    writer.flush()
    assert seen() == [0, 1, 2, 3, 4, 5]
    writer.append_frame(6, masks(6))
    writer.assign_tracks({})
    assert seen() == [0, 1, 2, 3, 4, 5, 6]
    writer.append_frame(7, masks(7))
    writer.close()
    assert seen() == list(range(8))
    assert verify(path).finished
