"""The history has one line per attempt, and each says how that attempt ended."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import pytest

from my3dis import run_scan
from my3dis.runs.events import read_events
from tests.runs.fakes import FakeStages, install, make_scan

Line = dict[str, str]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> FakeStages:
    fake = FakeStages()
    install(monkeypatch, fake)
    return fake


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return make_scan(tmp_path / "room")


def lines(output: Path) -> list[Line]:
    with (output / "workflow_history.csv").open() as handle:
        return list(csv.DictReader(handle))


def raise_(error: BaseException) -> None:
    raise error


def killed_in(stages: FakeStages, scan: Path, output: Path, stage: str) -> None:
    """Run in a process of its own that kills itself in a stage."""
    child = os.fork()
    if not child:
        stages.fail[stage] = lambda: os.kill(os.getpid(), signal.SIGKILL)
        run_scan(scan, output)
        os._exit(1)  # not reached
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_stopped_run_that_goes_on_has_two_lines(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """Interrupted is what the first attempt was and stays so; the second is finished and made the rest."""
    stages.fail["track"] = lambda: raise_(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_scan(scan, tmp_path / "out")
    stages.fail.clear()
    result = run_scan(scan, tmp_path / "out")
    first, second = lines(tmp_path / "out")
    assert (first["status"], second["status"]) == ("interrupted", "finished")
    assert first["run_dir"] == second["run_dir"] == str(result.run_dir)
    assert first["stages_run"].split()[-1] == "filter"
    assert second["stages_reused"] == first["stages_run"]
    assert second["stages_run"].split()[0] == "track"


def test_a_killed_attempt_gets_its_line_from_the_next(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """What was killed twice and then finished has three lines, in order, with the stages of each."""
    output = tmp_path / "out"
    killed_in(stages, scan, output, "track")
    assert not (output / "workflow_history.csv").exists()
    killed_in(stages, scan, output, "lift")
    result = run_scan(scan, output)
    found = lines(output)
    assert [line["status"] for line in found] == ["killed", "killed", "finished"]
    assert [line["stages_run"].split()[-1] for line in found] == ["filter", "track", "report"]
    assert found[1]["stages_reused"] == found[0]["stages_run"]
    assert len({line["run_dir"] for line in found}) == 1
    ends = [event["time"] for event in read_events(result.run_dir / "events.jsonl")]
    assert found[0]["finished"] in ends
    assert found[0]["finished"] < found[1]["finished"] < found[2]["finished"]
    assert all(float(line["seconds"]) >= 0 for line in found)


def test_a_run_that_had_ended_is_no_killed_one(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """A lock left behind after the last event of a finished run adds no line."""
    result = run_scan(scan, tmp_path / "out")
    (result.run_dir / ".lock").write_text("4194304\n")
    assert run_scan(scan, tmp_path / "out").did_nothing
    assert [line["status"] for line in lines(tmp_path / "out")] == ["finished"]


def test_memory_that_runs_out_outside_a_stage_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scan: Path
) -> None:
    """Exit code 5 and one sentence with what to do, in place of a traceback."""
    from my3dis.cli.main import main

    def too_much(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("my3dis.pipeline.open_inputs", too_much)
    assert main(["run", "--scan", str(scan), "--output", str(scan.parent / "out")]) == 5
    said = capsys.readouterr().err
    assert "my3dis: error: the memory ran out; close other programs, or use fewer frames" in said
    assert "Traceback" not in said
