"""The process of one job: what it tells, how it ends, and that it ends with its driver."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from my3dis.config.load import load_config
from my3dis.errors import ConfigError, StageError
from my3dis.pipeline import Attempt, run_scan
from my3dis.runs.events import now_utc, read_events
from my3dis.runs.manifest import read_manifest
from my3dis.runs.plan import STAGE_NAMES
from my3dis.scheduling.job_spec import JobSpec, spec_from_json, spec_to_json, thread_variables
from my3dis.scheduling.process import Ended, JobProcess
from tests.runs.fakes import FakeStages, install, make_scan
from tests.scheduling.tiny_scans import SETTINGS, install_plugin, make_tiny

MODEL, REST = STAGE_NAMES[:3], STAGE_NAMES[3:]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> FakeStages:
    fake = FakeStages()
    install(monkeypatch, fake)
    return fake


def job(scan: Path, **more: object) -> JobSpec:
    """Return what a worker is to do with a tiny scan."""
    config = load_config(
        values={**SETTINGS, "experiment.output_root": str(scan.parent / "out")}, environment=False
    )
    values = {"job_id": f"{scan.name}:candidates", "scan": scan, "config": config, "stages": STAGE_NAMES}
    return JobSpec(**{**values, **more})  # type: ignore[arg-type]  # fields by name


def run_job(spec: JobSpec) -> tuple[Ended, list[dict[str, object]], str]:
    """Run a job to its end; return how it ended, what it told, and its log."""
    process = JobProcess(spec, spec.scan.parent / "out" / "job.log", {})
    try:
        ended, until = process.wait(0.1), time.monotonic() + 60
        while ended is None and time.monotonic() < until:
            process.look()
            ended = process.wait(0.1)
        assert ended is not None
        return ended, process.events(), process.log_tail()
    finally:
        process.close()


def test_parts_of_a_run_leave_what_a_whole_run_leaves(stages: FakeStages, tmp_path: Path) -> None:
    """Two calls of one sweep give the records of one run: the last writes summary and history."""
    scan = make_scan(tmp_path / "room")
    attempt = Attempt(since=now_utc())
    first = run_scan(scan, tmp_path / "out", {}, stages=MODEL, attempt=attempt)
    assert [stage.name for stage in first.stages] == list(MODEL)
    assert stages.ran == list(MODEL)
    assert read_manifest(first.run_dir / "manifest.json").status == "running"
    assert not (first.run_dir / "workflow_summary.json").exists()
    last = run_scan(scan, tmp_path / "out", {}, stages=REST, attempt=attempt)
    assert [(stage.name, stage.status) for stage in last.stages] == [(name, "done") for name in STAGE_NAMES]
    assert stages.ran == list(STAGE_NAMES)
    assert read_manifest(first.run_dir / "manifest.json").status == "finished"
    summary = json.loads((first.run_dir / "workflow_summary.json").read_text())
    assert summary["status"] == "finished"
    with (tmp_path / "out" / "workflow_history.csv").open() as handle:
        (line,) = csv.DictReader(handle)
    assert line["stages_run"] == " ".join(STAGE_NAMES)
    assert line["stages_reused"] == ""
    assert not any(event["event"] == "stage_reused" for event in read_events(first.run_dir / "events.jsonl"))
    again = run_scan(scan, tmp_path / "out", {})
    assert again.did_nothing


def test_a_part_needs_those_before_it_or_makes_them(stages: FakeStages, tmp_path: Path) -> None:
    """Stages whose predecessors are missing are refused, unless they are to be completed."""
    scan = make_scan(tmp_path / "room")
    with pytest.raises(StageError, match="expected candidates to be finished before lift, found: not made"):
        run_scan(scan, tmp_path / "out", {}, stages=REST)
    for wrong in (("lift", "filter"), ("lifting",), ()):
        with pytest.raises(ConfigError, match="in this order"):
            run_scan(scan, tmp_path / "out", {}, stages=wrong)
    assert stages.ran == []
    result = run_scan(scan, tmp_path / "out", {}, stages=REST, attempt=Attempt(complete=True))
    assert [stage.status for stage in result.stages] == ["done"] * 6


def test_settings_of_an_attempt_change_nothing_that_is_recorded(stages: FakeStages, tmp_path: Path) -> None:
    """Smaller batches hold while stages run; the same command later finds everything made."""
    scan = make_scan(tmp_path / "room")
    attempt = Attempt(settings=(("stages.report.name", "other"), ("stages.tracker.objects_per_batch", 1)))
    result = run_scan(scan, tmp_path / "out", {"stages.tracker.objects_per_batch": 8}, attempt=attempt)
    assert (result.run_dir / "other.html").is_file()
    assert "objects_per_batch: 8" in (result.run_dir / "config.yaml").read_text()
    told = [e for e in read_events(result.run_dir / "events.jsonl") if e["event"] == "settings_adjusted"]
    assert told[0]["settings"] == {"stages.report.name": "other", "stages.tracker.objects_per_batch": 1}
    plain = {stage.name: stage for stage in read_manifest(result.run_dir / "manifest.json").stages}
    assert ("stages.report.name", "report") in plain["report"].settings


def test_specification_survives_json(tmp_path: Path) -> None:
    """What the driver writes is what the worker reads."""
    spec = job(tmp_path / "room", settings=(("stages.gpu", 0),), threads=3, since="2026-01-01T00:00:00Z")
    assert spec_from_json(spec_to_json(spec)) == spec


def test_worker_tells_what_it_does_and_ends_with_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages and progress come as events, words go to the log, and threads are bounded by variables."""
    install_plugin(tmp_path, monkeypatch)
    ended, events, log = run_job(job(make_tiny(tmp_path / "room")))
    assert (ended.exit_code, ended.signal) == (0, None)
    assert ended.peak_rss_mb > 30
    assert events[0]["event"] == "ready"
    began = [event["stage"] for event in events if event.get("state") == "started"]
    assert began == list(STAGE_NAMES)
    done = [event for event in events if event["event"] == "progress" and event["stage"] == "candidates"]
    assert (done[-1]["done"], done[-1]["total"]) == (3, 3)
    assert events[-1]["event"] == "end"
    assert events[-1]["code"] == 0
    assert "candidates done in" in log
    assert thread_variables(3)["OPENBLAS_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("todo", "code", "number", "words"),
    [
        ({"raise": True}, 1, None, "ValueError: this reader is broken"),
        ({"signal": int(signal.SIGKILL)}, None, signal.SIGKILL, ""),
        ({"signal": int(signal.SIGTERM)}, 130, None, ""),
        ({"eat_mb": 400, "limit_mb": 200}, 5, None, "the memory ran out"),
    ],
    ids=["bug", "killed", "asked", "memory"],
)
def test_exit_code_and_signal_are_read_exactly(
    todo: dict[str, object],
    code: int,
    number: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bug is 1 with a traceback, a kill its signal, a polite one 130, a shortage 5."""
    install_plugin(tmp_path, monkeypatch)
    ended, _, log = run_job(job(make_tiny(tmp_path / "room", **todo)))
    assert (ended.exit_code, ended.signal) == (code, number)
    assert words in log


def test_worker_ends_when_its_driver_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the pipe to the driver ends, so does the worker, even without the kernel's help."""
    install_plugin(tmp_path, monkeypatch)
    spec = job(make_tiny(tmp_path / "room", sleep_s=60.0))
    worker = subprocess.Popen(
        [sys.executable, "-m", "my3dis.scheduling.worker", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert worker.stdin is not None
    with worker.stdin as pipe:
        pipe.write(spec_to_json(spec).encode() + b"\n")
        pipe.flush()
        until = time.monotonic() + 60
        while not (tmp_path / "room" / "starts").exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert worker.poll() is None
    assert worker.wait(10) == -signal.SIGKILL


def test_log_of_an_attempt_is_not_that_of_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log grows over attempts, but evidence is sought in what the last one said."""
    install_plugin(tmp_path, monkeypatch)
    log = tmp_path / "out" / "job.log"
    log.parent.mkdir()
    log.write_text("MemoryError of an earlier attempt\n")
    _, _, tail = run_job(job(make_tiny(tmp_path / "room")))
    assert "MemoryError" not in tail
    assert log.read_text().startswith("MemoryError")
