"""Jobs as real processes: what fails is retried or named, the others go on, and nothing is left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from my3dis.archive import open_archive
from my3dis.config.load import load_config
from my3dis.monitoring.guard import GuardTiming
from my3dis.pipeline import run_scan
from my3dis.runs.events import read_events
from my3dis.scheduling.executors.local import create
from my3dis.scheduling.executors.options import ExecutorOptions
from my3dis.scheduling.jobs import JobEvent, JobOutcome, JobStatus
from my3dis.scheduling.plan import plan_sweep
from tests.scheduling.tiny_scans import SETTINGS, install_plugin, make_tiny

ARCHIVES = ("candidates", "masks", "tracks")


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for tiny scans."""
    install_plugin(tmp_path, monkeypatch)
    folder = tmp_path / "scans"
    folder.mkdir()
    return folder


def settings(scans: Path, **more: object) -> dict[str, object]:
    """Return the settings of a sweep."""
    return {
        **SETTINGS,
        "experiment.dataset_root": str(scans),
        "experiment.output_root": str(scans.parent / "out"),
        **{key.replace("__", "."): value for key, value in more.items()},
    }


def sweep(
    scans: Path, options: ExecutorOptions, **more: object
) -> tuple[dict[str, JobOutcome], list[JobEvent]]:
    """Run all scans and return what became of each, and what was told."""
    plan = plan_sweep(load_config(values=settings(scans, **more), environment=False))
    events: list[JobEvent] = []
    outcomes = create(options).run(plan, events.append)
    return {outcome.job.scene: outcome for outcome in outcomes}, events


def masks_of(run_dir: Path) -> list[tuple[object, ...]]:
    """Return everything that a run's archives hold, to compare."""
    found: list[tuple[object, ...]] = []
    for name in ARCHIVES:
        with open_archive(run_dir / f"{name}.my3dis") as reader:
            for masks in reader.iter_frames():
                rows = (masks.mask_id.tolist(), masks.level.tolist(), masks.boxes.tolist(), masks.rle)
                found.append((name, masks.frame, *rows))
    return found


def expect_same(scans: Path, scenes: list[str], alone: Path) -> None:
    """Compare a sweep's results with those of one of its scans run in this process; all show the same."""
    (scans / scenes[0] / "do.json").unlink(missing_ok=True)
    undisturbed = run_scan(scans / scenes[0], alone, load_config(values=SETTINGS, environment=False))
    expected = masks_of(undisturbed.run_dir)
    assert len(expected) >= 6
    for scene in scenes:
        assert masks_of(scans.parent / "out" / scene / "default") == expected, scene


def test_scenes_in_parallel_give_what_one_after_the_other_gives(scans: Path, tmp_path: Path) -> None:
    """Three scenes at a time overlap, each as a process with a log, and give the masks of serial runs."""
    names = ["room1", "room2", "room3"]
    for name in names:
        make_tiny(scans / name, sleep_s=0.2)
    outcomes, events = sweep(scans, ExecutorOptions(parallel=3))
    assert {name: outcome.status for name, outcome in outcomes.items()} == dict.fromkeys(
        names, JobStatus.DONE
    )
    kinds = [event.kind for event in events if event.kind in ("started", "finished")]
    assert kinds == ["started"] * 3 + ["finished"] * 3
    assert all(outcome.attempts == 1 and outcome.exit_code == 0 for outcome in outcomes.values())
    assert all(outcome.peak_rss_mb > 30 for outcome in outcomes.values())
    assert "candidates done in" in (tmp_path / "out" / "room1" / "default" / "job.log").read_text()
    stages = [dict(e.facts)["stage"] for e in events if e.kind == "stage" and e.job_id == "room1:candidates"]
    assert list(dict.fromkeys(stages)) == ["candidates", "filter", "track", "lift", "evaluate", "report"]
    expect_same(scans, names, tmp_path / "alone")


def test_killed_job_is_tried_once_more_and_a_bug_is_not(scans: Path) -> None:
    """SIGKILL from outside is tried again; a bug or bad data ends one scene, and the others finish."""
    make_tiny(scans / "killed", signal=int(signal.SIGKILL))
    make_tiny(scans / "buggy", **{"raise": True, "times": 9})
    make_tiny(scans / "good")
    make_tiny(scans / "empty", frames=0)
    outcomes, events = sweep(scans, ExecutorOptions(parallel=2))
    assert {name: outcome.status.value for name, outcome in outcomes.items()} == {
        "killed": "done",
        "buggy": "failed",
        "good": "done",
        "empty": "failed",
    }
    assert outcomes["killed"].attempts == 2
    assert outcomes["buggy"].attempts == 1
    assert outcomes["buggy"].exit_code == 1
    assert "this reader is broken" in (outcomes["buggy"].message or "")
    assert "job.log" in (outcomes["buggy"].message or "")
    assert outcomes["empty"].exit_code == 2
    assert "selects none" in (outcomes["empty"].message or "")
    assert [event.job_id for event in events if event.kind == "requeued"] == ["killed:candidates"]


def test_sweep_with_scenes_too_large_at_first_finishes_them_all(scans: Path, tmp_path: Path) -> None:
    """Two of eight scenes run out of memory: they are tried again, fewer at a time, and nothing is lost."""
    names = [f"room{n}" for n in range(8)]
    for name in names:
        large = name in ("room2", "room5")
        make_tiny(scans / name, sleep_s=0.05, **({"eat_mb": 300, "limit_mb": 150} if large else {}))
    options = ExecutorOptions(parallel=4, timing=GuardTiming(calm_s=600.0))
    outcomes, events = sweep(scans, options)
    assert {outcome.status for outcome in outcomes.values()} == {JobStatus.DONE}
    assert {name: outcome.attempts for name, outcome in outcomes.items() if outcome.attempts > 1} == {
        "room2": 2,
        "room5": 2,
    }
    assert all("memory ran out" in " ".join(outcomes[name].evidence) for name in ("room2", "room5"))
    limits = [dict(event.facts)["max_jobs"] for event in events if event.kind == "admission"]
    assert limits
    assert limits[0] in (2, 3)  # four ran, or three at the end of a wave
    expect_same(scans, names, tmp_path / "alone")


def run_driver(scans: Path, **more: object) -> subprocess.Popen[bytes]:
    """Start ``my3dis run`` on the scans, in a session of its own."""
    path = scans.parent / "sweep.json"
    path.write_text(json.dumps(settings(scans, **more)))  # JSON is YAML
    with (scans.parent / "driver.log").open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "my3dis", "run", str(path)],
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=scans.parent,
        )


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def started(scans: Path) -> list[int]:
    """Return the ids of all processes that opened a scan."""
    return [int(pid) for path in scans.glob("*/starts") for pid in path.read_text().split()]


def living(pids: list[int]) -> list[int]:
    """Return those that still run."""
    return [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]


def test_ctrl_c_stops_politely_and_the_same_command_goes_on(scans: Path, tmp_path: Path) -> None:
    """Ctrl-C lets running jobs record where they are; nothing stays behind, and the sweep can be finished."""
    names = ["room1", "room2", "room3"]
    for name in names:
        make_tiny(scans / name, frames=16, sleep_s=0.1)
    driver = run_driver(scans, experiment__parallel_scenes=2)
    wait_for(lambda: len(list(scans.parent.glob("out/*/default/candidates.my3dis"))) == 2)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(30) == 130
    assert not living(started(scans))
    log = (scans.parent / "driver.log").read_text()
    assert "the same command goes on from there" in log
    told = [event["event"] for event in read_events(tmp_path / "out" / "room1" / "default" / "events.jsonl")]
    assert "interrupted" in told
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["status"] == "interrupted"
    for name in names:
        (scans / name / "do.json").unlink()
    assert run_driver(scans).wait(120) == 0
    expect_same(scans, names, tmp_path / "alone")


def test_second_ctrl_c_kills_at_once(scans: Path) -> None:
    """A job that does not stop when asked is killed by the second Ctrl-C."""
    make_tiny(scans / "deaf", sleep_s=0.05, eat_mb=10, hold_s=600)
    driver = run_driver(scans)
    wait_for(lambda: len(list(scans.parent.glob("out/*/default/candidates.my3dis"))) == 1)
    (pid,) = started(scans)
    os.kill(pid, signal.SIGSTOP)
    driver.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert driver.poll() is None
    driver.send_signal(signal.SIGINT)
    assert driver.wait(10) == 130
    assert not living([pid])


@pytest.mark.parametrize(
    "kills", [3, pytest.param(30, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])], ids=str
)
def test_killed_driver_leaves_no_process_and_the_sweep_can_be_finished(
    scans: Path, tmp_path: Path, kills: int
) -> None:
    """A driver killed at any time takes its jobs along; the same command ends with undisturbed results."""
    names = ["room1", "room2"]
    for name in names:
        make_tiny(scans / name, frames=12, sleep_s=0.1)
    for n in range(kills):
        before = len(started(scans))
        driver = run_driver(scans, experiment__parallel_scenes=2)
        wait_for(lambda d=driver, at=before: len(started(scans)) > at or d.poll() is not None)  # type: ignore[misc]
        time.sleep(0.15 * (n * 7 % 11))
        driver.kill()
        driver.wait()
        wait_for(lambda: not living(started(scans)), 10.0)
    assert run_driver(scans).wait(120) == 0
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["status"] == "finished"
    expect_same(scans, names, tmp_path / "alone")
