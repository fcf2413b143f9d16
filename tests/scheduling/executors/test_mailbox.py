"""The folder through which driver and jobs hear of each other, and what a job on another machine checks."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from my3dis.config.load import load_config
from my3dis.errors import ResourceError
from my3dis.scheduling.executors import on_node
from my3dis.scheduling.executors.mailbox import Channel, DriverWatch, SweepFolder, clear_leftovers
from my3dis.scheduling.executors.on_node import Order, carry_out
from my3dis.scheduling.job_spec import JobSpec
from my3dis.scheduling.sweep_lock import sweep_lock


def order(root: Path, folder: Path, **more: object) -> str:
    scan = root / "scan"
    scan.mkdir(exist_ok=True)
    config = load_config(values={"experiment.output_root": str(root)}, environment=False)
    spec = JobSpec(job_id="scan:lift", scan=scan, config=config, stages=("lift",))
    values = {"key": "0-1", "spec": spec, "log": root / "job.log", "folder": folder}
    return Order(**{**values, **more}).to_json()  # type: ignore[arg-type]  # fields by name


def test_lines_arrive_whole_and_once(tmp_path: Path) -> None:
    """A line is heard when it is whole; the next call returns only what is new."""
    with SweepFolder(tmp_path) as folder:
        assert folder.news("0-1") == []
        channel = Channel(folder.path, "0-1")
        channel.tell("alive", rss_mb=5.0)
        channel.tell("stage", stage="lift")
        assert [event["event"] for event in folder.news("0-1")] == ["alive", "stage"]
        with (folder.path / "0-1.jsonl").open("a") as handle:
            handle.write('{"event": "en')
        assert folder.news("0-1") == []
        with (folder.path / "0-1.jsonl").open("a") as handle:
            handle.write('ded"}\n')
        assert folder.news("0-1") == [{"event": "ended"}]
        channel.close()
    assert not (tmp_path / ".sweep").exists()


def test_a_job_hears_of_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word to stop is heard at once; a driver that shows nothing new for long is taken to be gone."""
    now = [100.0]
    monkeypatch.setattr("my3dis.scheduling.executors.mailbox.time.monotonic", lambda: now[0])
    with SweepFolder(tmp_path) as folder:
        watch = DriverWatch(folder.path, orphan_s=10.0)
        assert watch.word() == ""
        now[0] += 9.0
        folder.beat()
        assert watch.word() == ""
        now[0] += 9.0
        assert watch.word() == ""
        now[0] += 2.0
        assert watch.word() == "stop"
        folder.beat()
        assert watch.word() == ""
        folder.stop(at_once=False)
        assert watch.word() == "stop"
        folder.stop(at_once=True)
        assert watch.word() == "kill"


def test_what_an_earlier_driver_left_is_stopped_first(tmp_path: Path) -> None:
    """A job that still runs is asked to stop and waited for; dead and ended ones are not waited for."""
    old = SweepFolder(tmp_path)
    ended, dead, alive = (Channel(old.path, key) for key in ("0-1", "1-1", "2-1"))
    ended.begun(pid=1)
    ended.tell("ended", exit_code=0)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead.tell("begun", host=socket.gethostname(), owner=[gone.pid, "pid:[1]/gone"])
    alive.begun(pid=1)
    shutil.copy(old.path / "2-1.jsonl", tmp_path / "kept.jsonl")

    def stop_when_asked() -> None:
        while not (old.path / "stop").exists():
            pass
        alive.tell("ended", exit_code=130)

    job = threading.Thread(target=stop_when_asked)
    job.start()
    with SweepFolder(tmp_path) as mine:
        # The process of another namespace cannot be judged; it is waited for until it is silent.
        (said,) = clear_leftovers(tmp_path, mine.path, silent_s=0.3)
        assert "whose driver is gone" in said
        assert not old.path.exists()
        assert clear_leftovers(tmp_path, mine.path) == ()
    job.join()
    for channel in (ended, dead, alive):
        channel.close()


def test_a_machine_without_the_storage_says_so(tmp_path: Path) -> None:
    """Results, scan and version are checked before anything is made, each with a sentence of its own."""
    root = tmp_path / "runs"
    root.mkdir()
    with SweepFolder(root) as folder:
        missing = tmp_path / "elsewhere" / ".sweep" / "abc"
        found = carry_out(order(root, missing))
        assert found is not None
        assert found["host"] == socket.gethostname()
        assert "cannot see the results" in found["problem"]
        assert "at the same path" in found["problem"]
        text = order(root, folder.path)
        (root / "scan").rmdir()
        found = carry_out(text)
        assert found is not None
        assert "cannot see the scan" in found["problem"]
        found = carry_out(order(root, folder.path, version="0.0.1"))
        assert found is not None
        assert "the driver 0.0.1" in found["problem"]
    assert not (root / "job.log").exists()


def test_a_job_that_comes_after_the_end_does_nothing(tmp_path: Path) -> None:
    """A job that waited in a queue until its sweep was stopped ends without starting a process."""
    with SweepFolder(tmp_path) as folder:
        folder.stop(at_once=False)
        assert carry_out(order(tmp_path, folder.path)) is None
        assert folder.news("0-1") == [{"event": "ended", "stopped": "the sweep is over"}]
    assert not (tmp_path / "job.log").exists()


def test_evidence_of_a_shortage_comes_from_the_machine_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose log ends with a MemoryError comes back with that line as evidence, and its exit code."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, sys\nif 'my3dis.scheduling.worker' in sys.orig_argv:\n"
        "    print('Traceback (most recent call last):\\nMemoryError: no more', flush=True)\n"
        "    os._exit(1)\n"
    )
    with SweepFolder(tmp_path) as folder:
        assert carry_out(order(tmp_path, folder.path, environment=(("PYTHONPATH", str(site)),))) is None
        begun, *_, ended = folder.news("0-1")
    assert (begun["event"], begun["host"]) == ("begun", socket.gethostname())
    assert (ended["event"], ended["exit_code"], ended["stopped"]) == ("ended", 1, "")
    assert ended["evidence"] == ["its log ends with: MemoryError: no more"]
    assert json.loads(order(tmp_path, folder.path))["version"] == on_node.my3dis.__version__


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second is refused with who holds the folder; afterwards it is free, whatever the file says."""
    words = rf"another sweep works in .*process {os.getpid()} on"
    with sweep_lock(tmp_path), pytest.raises(ResourceError, match=words), sweep_lock(tmp_path):
        pass
    with sweep_lock(tmp_path):
        pass
