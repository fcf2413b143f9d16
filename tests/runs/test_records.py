"""The records of a run: manifest, events, history, lock, provenance."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from my3dis.errors import DataError, ResourceError
from my3dis.runs.events import EventLog, read_events
from my3dis.runs.history import HistoryLine, append_history
from my3dis.runs.lock import run_lock
from my3dis.runs.manifest import Manifest, StageRecord, StageStatus, read_manifest, write_manifest
from my3dis.runs.provenance import environment_snapshot, file_digest, git_commit, tree_digest


def manifest() -> Manifest:
    record = StageRecord(
        name="track",
        status=StageStatus.DONE,
        digest="d",
        settings=(("stages.tracker.iou_threshold", 0.5), ("experiment.levels", [2, 4])),
        inputs=(("scan", "x"),),
        outputs=(("tracks.my3dis", 10),),
        warnings=(("few", "few tracks", 2),),
    )
    return Manifest(
        status="finished",
        scene="room",
        scan="/scans/room",
        dataset="scannet",
        run_name="default",
        version="0.1.0",
        started="a",
        updated="b",
        levels=(2, 4),
        plugins=(("tracker", "flow 1"),),
        checkpoints=(("w.pt", "abc"),),
        stages=(record,),
    )


def test_manifest_survives_the_file(tmp_path: Path) -> None:
    """What is written is read back equal."""
    path = tmp_path / "manifest.json"
    write_manifest(path, manifest())
    assert read_manifest(path) == manifest()


@pytest.mark.parametrize("text", ["[]", '{"format": 99}', '{"format": 1, "stages": {"a": {}}}', "half"])
def test_damaged_manifest_is_named(text: str, tmp_path: Path) -> None:
    """A manifest that is no manifest raises DataError with its path."""
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json"):
        read_manifest(path)


def test_events_after_half_a_line(tmp_path: Path) -> None:
    """A line cut off by a kill is left out, and the next event starts on a line of its own."""
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append("a", number=1)
    with path.open("a") as handle:
        handle.write('{"event": "cut o')
    log.append("b", path=Path("x"))
    assert [event["event"] for event in read_events(path)] == ["a", "b"]
    assert all(str(event["time"]).endswith("Z") for event in read_events(path))


def history_line(name: str) -> HistoryLine:
    return HistoryLine(
        finished="t", scene=name, run_name="r", status="finished", seconds=1.5, frames=3, levels="2 4",
        stages_run="lift", stages_reused="", object_ap50="", version="0", commit="", tag='a, "b"',
        run_dir="d",
    )  # fmt: skip


def test_history_of_many_writers(tmp_path: Path) -> None:
    """Lines of several threads all arrive whole, under one heading."""
    path = tmp_path / "workflow_history.csv"
    threads = [threading.Thread(target=append_history, args=(path, history_line(f"s{i}"))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with path.open() as handle:
        rows = list(csv.DictReader(handle))
    assert sorted(row["scene"] for row in rows) == [f"s{i}" for i in range(8)]
    assert {row["tag"] for row in rows} == {'a, "b"'}


def test_lock_of_a_living_process_is_respected(tmp_path: Path) -> None:
    """A second holder is told who holds the folder; afterwards the folder is free and clean."""
    with run_lock(tmp_path) as left_by:
        assert left_by is None
        with pytest.raises(ResourceError, match=str(os.getpid())), run_lock(tmp_path):
            pass
    with run_lock(tmp_path) as left_by:
        assert left_by is None
    assert list(tmp_path.iterdir()) == []


def test_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    """The lock of a process that was killed is free, and its id is told."""
    code = f"""
import os, signal
from pathlib import Path
from my3dis.runs.lock import run_lock
with run_lock(Path({str(tmp_path)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    child = subprocess.Popen([sys.executable, "-c", code])
    child.wait()
    with run_lock(tmp_path) as left_by:
        assert left_by == child.pid


def test_commit_without_git(tmp_path: Path) -> None:
    """The commit is read from a branch, a packed branch, a detached head and a worktree; else it is None."""
    package = tmp_path / "src" / "my3dis"
    package.mkdir(parents=True)
    git = tmp_path / ".git"
    assert git_commit(package) is None
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "refs" / "heads" / "main").write_text("abc\n")
    assert git_commit(package) == "abc"
    (git / "refs" / "heads" / "main").unlink()
    (git / "packed-refs").write_text("# pack-refs\ndef refs/heads/main\n")
    assert git_commit(package) == "def"
    (git / "HEAD").write_text("123\n")
    assert git_commit(package) == "123"
    worktree = tmp_path / "other"
    (worktree / "src" / "my3dis").mkdir(parents=True)
    place = git / "worktrees" / "other"
    place.mkdir(parents=True)
    (worktree / ".git").write_text(f"gitdir: {place}\n")
    (place / "HEAD").write_text("ref: refs/heads/main\n")
    (place / "commondir").write_text("../..\n")
    assert git_commit(worktree / "src" / "my3dis") == "def"
    assert git_commit(tmp_path / "site-packages" / "my3dis") is None


def test_environment_without_importing_torch() -> None:
    """The snapshot names versions and hardware, and loads no heavy library to find out."""
    code = (
        "import sys; from my3dis.runs.provenance import environment_snapshot as e; e(); "
        "assert 'torch' not in sys.modules and 'cv2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    plain = environment_snapshot().as_json()
    assert str(plain["python"]).startswith("CPython 3.")
    assert isinstance(plain["packages"], dict)
    assert plain["packages"]["higra"]
    assert {"torch", "cuda", "driver", "os", "cpu", "memory_mb"} <= set(plain)


def test_digests_follow_content_and_times(tmp_path: Path) -> None:
    """A file's digest follows its content; a folder's follows names, sizes and times, opening nothing."""
    file = tmp_path / "a"
    assert tree_digest(tmp_path / "none") == tree_digest(tmp_path)
    file.write_text("x")
    first, tree = file_digest(file), tree_digest(tmp_path)
    assert tree != tree_digest(tmp_path / "none")
    os.utime(file, ns=(1, 1))
    assert file_digest(file) == first
    assert tree_digest(tmp_path) != tree
    file.write_text("y")
    assert file_digest(file) != first
