"""What a sweep leaves, its events and the whole of it in one file; and the guard at work in it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from my3dis.config.load import load_config
from my3dis.monitoring.guard import GuardTiming
from my3dis.monitoring.host import Bound, HostMemory
from my3dis.runs.events import read_events
from my3dis.runs.plan import STAGE_NAMES
from my3dis.scheduling.capacity import Capacity
from my3dis.scheduling.executors.local import create
from my3dis.scheduling.executors.options import ExecutorOptions
from my3dis.scheduling.jobs import Job, JobEvent, JobOutcome, JobStatus, Need, SweepPlan
from my3dis.scheduling.leases import LeaseTable
from my3dis.scheduling.owners import Owner
from my3dis.scheduling.plan import plan_sweep
from my3dis.scheduling.sweep import run_sweep
from tests.monitoring.real_groups import limited_group
from tests.scheduling.test_local import expect_same, settings
from tests.scheduling.tiny_scans import install_plugin, make_tiny

_MIB = 1 << 20


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for tiny scans."""
    install_plugin(tmp_path, monkeypatch)
    folder = tmp_path / "scans"
    folder.mkdir()
    return folder


def plan_of(scans: Path, **more: object) -> SweepPlan:
    return plan_sweep(load_config(values=settings(scans, **more), environment=False))


def split(plan: SweepPlan) -> SweepPlan:
    """Return the plan with each scene's job in two, as where one half has a GPU."""
    jobs: list[Job] = []
    for job in plan.jobs:
        second = f"{job.scene}:lift"
        jobs.append(replace(job, stages=STAGE_NAMES[:3]))
        jobs.append(replace(job, id=second, stages=STAGE_NAMES[3:], after=(job.id,)))
    return replace(plan, jobs=tuple(jobs))


class Scripted:
    """An executor that tells and returns what a test wants."""

    def __init__(self, events: list[JobEvent], outcomes: list[JobOutcome]) -> None:
        self.events, self.results = events, outcomes

    def run(self, plan: SweepPlan, observe: object) -> tuple[JobOutcome, ...]:
        del plan
        for event in self.events:
            observe(event)  # type: ignore[operator]  # a function
        return tuple(self.results)


def test_records_hold_jobs_reasons_evidence_and_decisions(scans: Path, tmp_path: Path) -> None:
    """sweep.json has status, attempts and evidence per scene; every decision is there and in the events."""
    for name in ("bad", "good"):
        make_tiny(scans / name)
    plan = plan_of(scans)
    bad, good = plan.jobs
    evidence = ("oom_kill 3 -> 4 in /sys/fs/cgroup/memory.events",)
    outcomes = [
        JobOutcome(job=bad, status=JobStatus.FAILED, attempts=3, seconds=9.5, peak_rss_mb=700.0,
                   signal=9, message="ended by SIGKILL", evidence=evidence),
        JobOutcome(job=good, status=JobStatus.DONE, attempts=1, seconds=4.0, peak_rss_mb=300.0, exit_code=0),
    ]  # fmt: skip
    events = [
        JobEvent(kind="started", text="started", job_id=bad.id, facts=(("attempt", 1),)),
        JobEvent(kind="progress", text="", job_id=bad.id, facts=(("done", 1), ("total", 2))),
        JobEvent(kind="memory", text="", facts=(("used_mb", 900.0), ("capacity_mb", 1000.0))),
        JobEvent(kind="memory", text="", facts=(("used_mb", 950.0), ("capacity_mb", 1000.0))),
        JobEvent(kind="requeued", text="memory ran out", job_id=bad.id),
        JobEvent(kind="admission", text="at most 1 at a time", facts=(("max_jobs", 1),)),
    ]
    told: list[JobEvent] = []
    result = run_sweep(plan, Scripted(events, outcomes), told.append)
    assert told == events
    assert (result.failed, result.was_interrupted, result.peak_used_mb) == (1, False, 950.0)
    content = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert content["status"] == "failed"
    assert content["scenes"]["bad"]["status"] == "failed"
    assert content["scenes"]["bad"]["message"] == "ended by SIGKILL"
    assert content["scenes"]["bad"]["evidence"] == list(evidence)
    (job,) = content["scenes"]["bad"]["jobs"]
    assert (job["id"], job["attempts"], job["signal"], job["peak_rss_mb"]) == ("bad:candidates", 3, 9, 700.0)
    assert content["scenes"]["good"]["status"] == "done"
    assert [line["kind"] for line in content["decisions"]] == ["requeued", "admission"]
    written = [event["event"] for event in read_events(tmp_path / "out" / "sweep_events.jsonl")]
    assert written == ["sweep_started", "started", "memory", "requeued", "admission", "sweep_ended"]


def test_scene_in_two_jobs_is_one_run_and_is_not_made_again(scans: Path, tmp_path: Path) -> None:
    """The second half waits for the first; stages have their figures; a second sweep has nothing to do."""
    names = ["room1", "room2"]
    for name in names:
        make_tiny(scans / name)
    plan = split(plan_of(scans))
    result = run_sweep(plan, create(ExecutorOptions(parallel=2)))
    assert [outcome.status for outcome in result.outcomes] == [JobStatus.DONE] * 4
    content = json.loads(result.path.read_text())
    assert content["status"] == "finished"
    assert content["peak_used_mb"] > 0
    for name in names:
        stages = content["scenes"][name]["stages"]
        assert [stages[stage]["status"] for stage in STAGE_NAMES] == ["done"] * 3 + ["skipped"] * 3
        assert stages["candidates"]["seconds"] > 0
        assert stages["candidates"]["peak_rss_mb"] > 30
    again = plan_of(scans)
    assert again.jobs == ()
    result = run_sweep(again, create(ExecutorOptions()))
    assert [scene.status for scene in result.scenes] == ["unchanged", "unchanged"]
    expect_same(scans, names, tmp_path / "serial")


def test_what_waits_for_a_failed_job_is_blocked(scans: Path) -> None:
    """A scene whose first half fails is failed with that reason; its second half is never started."""
    make_tiny(scans / "bad", **{"raise": True, "times": 9})
    make_tiny(scans / "good")
    result = run_sweep(split(plan_of(scans)), create(ExecutorOptions(parallel=2)))
    statuses = {outcome.job.id: outcome.status.value for outcome in result.outcomes}
    assert statuses == {
        "bad:candidates": "failed",
        "bad:lift": "blocked",
        "good:candidates": "done",
        "good:lift": "done",
    }
    assert [scene.status for scene in result.scenes] == ["failed", "done"]


def test_job_that_needs_a_gpu_fails_where_there_is_none(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that can never run is failed with the reason, and the rest goes on."""
    monkeypatch.setattr(
        "my3dis.scheduling.executors.local_sweep.machine_capacity", lambda **_: Capacity(threads=2)
    )
    make_tiny(scans / "a")
    make_tiny(scans / "b")
    plan = plan_of(scans)
    first = replace(plan.jobs[0], need=Need(gpus=1))
    result = run_sweep(replace(plan, jobs=(first, plan.jobs[1])), create(ExecutorOptions()))
    assert [outcome.status.value for outcome in result.outcomes] == ["failed", "done"]
    assert "needs 1 GPU, there is none" in (result.outcomes[0].message or "")
    assert result.outcomes[0].attempts == 0


def test_sweep_waits_for_what_others_hold(scans: Path, tmp_path: Path) -> None:
    """Threads lent to another process of this machine are waited for."""
    make_tiny(scans / "room")
    path = tmp_path / "leases.sqlite"
    with LeaseTable(path) as table:
        held = table.acquire(Owner.of(1), "other", Need(threads=10**6), Capacity(threads=1))
        assert held is not None
        released: list[bool] = []

        def release() -> None:
            released.append(True)
            table.release(held)

        timer = threading.Timer(1.5, release)
        timer.start()
        started: list[bool] = []
        run_sweep(
            plan_of(scans),
            create(ExecutorOptions(leases=path)),
            lambda event: started.append(bool(released)) if event.kind == "started" else None,
        )
        timer.join()
        assert started == [True]
        assert table.holders() == ()


def test_guard_stops_the_youngest_and_both_finish(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the hard mark the youngest job is stopped and waits for room; that counts as no attempt."""
    for name in ("a", "b"):
        make_tiny(scans / name, eat_mb=400, hold_s=2.0, times=1)
    me = psutil.Process()

    def pretended() -> HostMemory:
        used = 0.0
        for child in me.children(recursive=True):
            try:
                used += child.memory_info().rss / _MIB
            except psutil.Error:
                continue
        bound = Bound(name="a pretended machine", capacity_mb=1000.0, working_mb=used, held_mb=used)
        return HostMemory(source="system", oom_kills=0, bounds=(bound,))

    monkeypatch.setattr("my3dis.scheduling.executors.local_sweep.read_host_memory", pretended)
    events: list[JobEvent] = []
    plan = plan_of(scans)
    jobs = tuple(replace(job, need=Need(memory_mb=100)) for job in plan.jobs)
    options = ExecutorOptions(parallel=2, attempts=1, timing=GuardTiming(settle_s=0.5, calm_s=1.0))
    result = run_sweep(replace(plan, jobs=jobs), create(options), events.append)
    assert [outcome.status.value for outcome in result.outcomes] == ["done", "done"]
    stopped = [event.job_id for event in events if event.kind == "stopped"]
    assert len(stopped) == 1
    assert sorted(outcome.attempts for outcome in result.outcomes) == [1, 2]
    reasons = [event.text for event in events if event.kind == "stopping"]
    assert "the youngest is stopped" in reasons[0]
    assert "of 1,000 MiB in use" in reasons[0]


@pytest.mark.soak
def test_real_limit_of_a_control_group_is_survived(scans: Path, tmp_path: Path) -> None:
    """Eight scenes under a real limit that holds few at a time: the kernel may kill, and all are finished."""
    names = [f"room{n}" for n in range(8)]
    for name in names:
        large = name in ("room1", "room4")
        make_tiny(scans / name, sleep_s=0.05, eat_mb=700 if large else 20, hold_s=0.5)
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps(settings(scans, experiment__parallel_scenes=4, experiment__memory_mb=150)))
    code = (
        "import os, sys; open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid())); "
        "from my3dis.cli.main import main; sys.exit(main(['run', sys.argv[2]]))"
    )
    with limited_group(1000) as group:
        done = subprocess.run(
            [sys.executable, "-c", code, str(group), str(path)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert {scene["status"] for scene in content["scenes"].values()} == {"done"}
    assert content["decisions_made"] > 0
    expect_same(scans, names, tmp_path / "serial")


def test_sweep_that_breaks_off_is_recorded_as_such(scans: Path, tmp_path: Path) -> None:
    """When the executor itself fails, the record says so and the error goes on."""
    make_tiny(scans / "a")

    class Broken:
        def run(self, plan: SweepPlan, observe: object) -> tuple[JobOutcome, ...]:
            del plan, observe
            raise RuntimeError("no executor")

    with pytest.raises(RuntimeError, match="no executor"):
        run_sweep(plan_of(scans), Broken())
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["status"] == "failed"
